//! What may change.
use super::*;

#[test]
fn changes_of_the_spec() {
    let containers = |image: &str| json!({"spec": {"containers": [{"name": "c", "image": image}]}});
    let none = json!({});
    change(None, &none, &containers("j:2"), &[]);
    change(
        None,
        &none,
        &json!({"spec": {"nodeName": "n"}}),
        &[
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,",
        ],
    );
    change(
        None,
        &none,
        &json!({"spec": {"containers": []}}),
        &[
            "spec.containers: Required value",
            "spec.containers: Forbidden: pod updates may not add or remove containers",
        ],
    );
    let deadline = json!({"spec": {"activeDeadlineSeconds": 10}});
    change(None, &none, &deadline, &[]);
    change(
        None,
        &deadline,
        &json!({"spec": {"activeDeadlineSeconds": 11}}),
        &[
            "spec.activeDeadlineSeconds: Invalid value: 11: must be less than or equal to previous value",
        ],
    );
    change(
        None,
        &deadline,
        &json!({"spec": {"activeDeadlineSeconds": null}}),
        &[
            "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
        ],
    );
    let tolerations = |list: Value| json!({"spec": {"tolerations": list}});
    let one =
        json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1});
    let longer =
        json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9});
    change(
        None,
        &tolerations(json!([one])),
        &tolerations(json!([longer, {"key": "b", "operator": "Exists"}])),
        &[],
    );
    change(
        None,
        &tolerations(json!([one])),
        &tolerations(json!([])),
        &[
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
        ],
    );
    let gated = |gates: Value, selector: Value| json!({"spec": {"schedulingGates": gates, "nodeSelector": selector}});
    let from = gated(json!([{"name": "a"}, {"name": "b"}]), json!({"x": "1"}));
    change(
        None,
        &from,
        &gated(json!([{"name": "a"}]), json!({"x": "1", "y": "2"})),
        &[],
    );
    change(
        None,
        &from,
        &gated(json!([{"name": "c"}]), json!({"x": "2"})),
        &[
            "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'c'",
            "spec.nodeSelector: Invalid value: {\"x\":\"2\"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        ],
    );
}

#[test]
fn the_difference_is_shown() {
    let mut errors = Errors::new();
    let (old, new) = (pod(&json!({})), pod(&json!({"spec": {"hostname": "h"}})));
    Pod::PLAIN.validate_update(&context(None), &new, &old, &mut errors);
    let text = texts(&errors).concat();
    assert!(
        text.contains("\n-  \"Hostname\": \"\",\n+  \"Hostname\": \"h\",\n")
            || text.contains("\n- \"Hostname\": \"\",\n+ \"Hostname\": \"h\",\n"),
        "{text}"
    );
}

#[test]
fn ephemeral_containers_only_come() {
    let list = |list: Value| json!({"spec": {"ephemeralContainers": list}});
    let (one, other) = (
        json!({"name": "e", "image": "i"}),
        json!({"name": "e", "image": "j"}),
    );
    let sub = Some("ephemeralcontainers");
    change(sub, &json!({}), &list(json!([one])), &[]);
    change(
        sub,
        &list(json!([one])),
        &list(json!([])),
        &[
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be removed\n",
        ],
    );
    change(
        sub,
        &list(json!([one])),
        &list(json!([other])),
        &[
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be changed\n@@ ",
        ],
    );
    // Whatever else is sent along is dropped.
    change(
        sub,
        &json!({}),
        &json!({"metadata": {"labels": {"a": "b"}}, "spec": {"nodeName": "n"}}),
        &[],
    );
}

#[test]
fn sizes_change_through_resize() {
    let of = |resources: Value| json!({"spec": {"containers": [{"name": "c", "image": "i:1", "resources": resources}]}});
    let from = of(json!({"requests": {"cpu": "1"}, "limits": {"a.io/b": "1"}}));
    let sub = Some("resize");
    change(
        sub,
        &from,
        &of(json!({"requests": {"cpu": "2", "a.io/b": "1"}, "limits": {"a.io/b": "1"}})),
        &[],
    );
    change(
        sub,
        &from,
        &of(json!({"requests": {"a.io/b": "2"}, "limits": {"a.io/b": "2"}})),
        &[
            "spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing",
            "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
            "spec: Forbidden: only cpu and memory resources are mutable",
        ],
    );
    change(
        sub,
        &from,
        &json!({"spec": {"containers": [{"name": "d", "image": "i:1"}]}}),
        &[
            "spec: Invalid value: \"Burstable\": Pod QOS Class may not change",
            "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
        ],
    );
    // The pod as a whole can get more, too.
    let whole = |resources: Value| json!({"spec": {"resources": resources}});
    let small = whole(json!({"requests": {"cpu": "1"}}));
    change(sub, &small, &whole(json!({"requests": {"cpu": "2"}})), &[]);
    change(
        sub,
        &whole(json!({"requests": {"cpu": "1", "memory": "1"}})),
        &whole(json!({"requests": {"memory": null}})),
        &["spec.resources.requests: Forbidden: pod-level resource requests cannot be removed"],
    );
}
