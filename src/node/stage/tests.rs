//! Stages as KWOK's own are written.

use serde_json::json;

use super::*;

fn place(clock: &Clock) -> Place<'_> {
    Place {
        clock,
        node: "n".to_owned(),
        port: 10_250,
        node_ip: &|node| format!("ip-{node}"),
        pod_ip: &|| "10.0.0.9".to_owned(),
    }
}

fn one(spec: &str) -> Result<Stage, StageError> {
    let text = format!(
        "apiVersion: kwok.x-k8s.io/v1alpha1\nkind: Stage\nmetadata: {{name: s}}\nspec:\n{spec}"
    );
    Stage::parse(&text).map(|mut all| all.remove(0))
}

const POD: &str = "  resourceRef: {apiGroup: v1, kind: Pod}\n";

#[test]
fn a_pod_becomes_ready() {
    let clock = Clock::seeded(1);
    let stage = one(&format!(
        "{POD}  selector:
    matchExpressions:
    - {{key: .metadata.deletionTimestamp, operator: DoesNotExist}}
    - {{key: .status.podIP, operator: DoesNotExist}}
  next:
    statusTemplate: |
      {{{{ $now := Now }}}}
      conditions:
      {{{{ range .spec.readinessGates }}}}
      - lastTransitionTime: {{{{ $now | Quote }}}}
        status: \"True\"
        type: {{{{ .conditionType | Quote }}}}
      {{{{ end }}}}
      containerStatuses:
      {{{{ range $index, $item := .spec.containers }}}}
      - name: {{{{ $item.name | Quote }}}}
        restartCount: {{{{ $index }}}}
        {{{{ if eq .restartPolicy \"Always\" }}}}
        started: true
        {{{{ end }}}}
      {{{{ end }}}}
      hostIP: {{{{ NodeIPWith .spec.nodeName | Quote }}}}
      podIP: {{{{ PodIPWith .spec.nodeName ( or .spec.hostNetwork false ) ( or .metadata.uid \"\" ) ( or .metadata.name \"\" ) ( or .metadata.namespace \"\" ) | Quote }}}}
      phase: Running
"
    ))
    .unwrap();
    let pod = json!({
        "metadata": {"name": "p"},
        "spec": {"nodeName": "n", "containers": [{"name": "a"}, {"name": "b", "restartPolicy": "Always"}], "readinessGates": [{"conditionType": "g"}]},
    });
    assert!(stage.fits(&pod));
    let played = stage.play(&pod, &place(&clock)).unwrap();
    let [
        Outcome::Status {
            patch,
            strategic: true,
        },
    ] = &played[..]
    else {
        panic!("{played:?}");
    };
    let status = &patch["status"];
    assert_eq!(status["phase"], "Running");
    assert_eq!(
        (&status["hostIP"], &status["podIP"]),
        (&json!("ip-n"), &json!("10.0.0.9"))
    );
    assert_eq!(status["conditions"][0]["type"], "g");
    assert_eq!(
        status["containerStatuses"],
        json!([{"name": "a", "restartCount": 0}, {"name": "b", "restartCount": 1, "started": true}])
    );
    let running = json!({"metadata": {"name": "p"}, "status": {"podIP": "1.2.3.4"}});
    assert!(!stage.fits(&running));
}

#[test]
fn a_node_is_filled_in() {
    let clock = Clock::seeded(1);
    let stage = one("  resourceRef: {apiGroup: v1, kind: Node}
  selector:
    matchExpressions:
    - key: '.status.conditions.[] | select( .type == \"Ready\" ) | .status'
      operator: NotIn
      values: ['True']
  next:
    statusTemplate: |
      conditions:
      {{ range NodeConditions }}
      - message: {{ .message | Quote }}
        status: {{ .status | Quote }}
        type: {{ .type  | Quote}}
      {{ end }}
      addresses:
      {{ with .status.addresses }}
      {{ YAML . 1 }}
      {{ else }}
      {{ with NodeIP }}
      - address: {{ . | Quote }}
        type: InternalIP
      {{ end }}
      {{ end }}
      {{ with NodePort }}
      daemonEndpoints:
        kubeletEndpoint:
          Port: {{ . }}
      {{ end }}
      allocatable:
      {{ with .status.allocatable }}
      {{ YAML . 1 }}
      {{ else }}
        cpu: 1k
      {{ end }}
      {{ with .status.nodeInfo }}
      nodeInfo:
        architecture: {{ with .architecture }} {{ . }} {{ else }} \"amd64\" {{ end }}
        kernelVersion: {{ with .kernelVersion }} {{ . }} {{ else }} \"kwok-{{ Version }}\" {{ end }}
      {{ end }}
      phase: Running
")
    .unwrap();
    let bare = json!({"metadata": {"name": "n"}, "status": {"nodeInfo": {"architecture": "arm64", "kernelVersion": ""}}});
    let status = |node: &Value| match stage.play(node, &place(&clock)).unwrap().remove(0) {
        Outcome::Status { patch, .. } => patch["status"].clone(),
        other => panic!("{other:?}"),
    };
    assert!(stage.fits(&bare));
    let found = status(&bare);
    assert_eq!(found["conditions"].as_array().unwrap().len(), 5);
    assert_eq!(
        found["addresses"],
        json!([{"address": "ip-n", "type": "InternalIP"}])
    );
    assert_eq!(found["daemonEndpoints"]["kubeletEndpoint"]["Port"], 10_250);
    assert_eq!(found["allocatable"], json!({"cpu": "1k"}));
    assert_eq!(found["nodeInfo"]["architecture"], "arm64");
    let full = json!({"metadata": {"name": "n"}, "status": {
        "addresses": [{"address": "a", "type": "InternalIP"}, {"address": "b", "type": "Hostname"}],
        "allocatable": {"cpu": "4", "memory": "1Gi"},
    }});
    let found = status(&full);
    assert_eq!(found["addresses"], full["status"]["addresses"]);
    assert_eq!(found["allocatable"], full["status"]["allocatable"]);
}

#[test]
fn events_finalizers_and_the_end() {
    let clock = Clock::seeded(1);
    let stage = one(&format!(
        "{POD}  selector: {{matchLabels: {{app: a}}, matchAnnotations: {{b: c}}}}
  steps:
  - event: {{type: Normal, reason: Killing, message: 'Stopping container: {{{{ ( index .spec.containers 0 ).name }}}}'}}
  - finalizers: {{remove: [{{value: x}}], add: [{{value: w}}]}}
  - delete: true
"
    ))
    .unwrap();
    let pod = json!({
        "metadata": {"labels": {"app": "a"}, "annotations": {"b": "c"}, "finalizers": ["x", "z"]},
        "spec": {"containers": [{"name": "c"}]},
    });
    assert!(stage.fits(&pod));
    assert!(!stage.fits(&json!({"metadata": {"labels": {"app": "a"}}})));
    assert_eq!(
        stage.play(&pod, &place(&clock)).unwrap(),
        [
            Outcome::Event {
                type_: "Normal".to_owned(),
                reason: "Killing".to_owned(),
                message: "Stopping container: c".to_owned(),
            },
            Outcome::Finalizers(json!({"metadata": {"finalizers": ["z", "w"]}})),
            Outcome::Delete,
        ]
    );
}

#[test]
fn waits_and_chances() {
    let clock = Clock::seeded(7);
    let stage = one(&format!(
        "{POD}  selector: {{}}
  weight: 3
  weightFrom: {{expressionFrom: '.metadata.annotations[\"w\"]'}}
  delay:
    durationMilliseconds: 1000
    durationFrom: {{expressionFrom: '.metadata.annotations[\"d\"]'}}
    jitterDurationMilliseconds: 5000
    jitterDurationFrom: {{jq: {{expression: '.metadata.annotations[\"j\"]'}}}}
"
    ))
    .unwrap();
    let with = |annotations: Value| json!({"metadata": {"annotations": annotations}});
    for _ in 0..50 {
        let wait = stage.wait(&with(json!({})), &clock).as_millis();
        assert!((1000..5000).contains(&wait), "{wait}");
    }
    let fixed = stage.wait(&with(json!({"d": "1m2.5s", "j": "1s"})), &clock);
    assert_eq!(fixed, Duration::from_secs(1));
    let until = clock.now() + Duration::from_secs(90);
    let fixed = stage.wait(&with(json!({"d": "90s", "j": until.to_string()})), &clock);
    assert!(fixed <= Duration::from_secs(90), "{fixed:?}");
    assert_eq!(stage.weight(&with(json!({}))), Some(3));
    assert_eq!(stage.weight(&with(json!({"w": "9"}))), Some(9));
    assert_eq!(stage.weight(&with(json!({"w": "x"}))), None);

    let weighed =
        |weight: u32| one(&format!("{POD}  selector: {{}}\n  weight: {weight}\n")).unwrap();
    let stages = [weighed(0), weighed(1), weighed(3)];
    let mut taken = [0; 3];
    for _ in 0..400 {
        taken[next(&stages, &with(json!({})), &clock).unwrap()] += 1;
    }
    assert_eq!(taken[0], 0);
    assert!((240..360).contains(&taken[2]), "{taken:?}");
    let nobodys = one(POD).unwrap();
    assert_eq!(next(&[nobodys], &with(json!({})), &clock), None);
}

#[test]
fn what_is_not_supported_is_named() {
    for (spec, expected) in [
        (
            "  resourceRef: {apiGroup: apps/v1, kind: Deployment}\n".to_owned(),
            "stage \"s\": spec.resourceRef.apiGroup: only pods and nodes have stages",
        ),
        (
            format!("{POD}  next: {{reboot: true}}\n"),
            "stage \"s\": spec.next.reboot: not supported",
        ),
        (
            format!("{POD}  next: {{statusTemplate: '{{{{ shuffle }}}}'}}\n"),
            "stage \"s\": spec.next.statusTemplate: function \"shuffle\" not defined",
        ),
        (
            format!(
                "{POD}  selector: {{matchExpressions: [{{key: .a, operator: Exists}}, {{key: '.a | length', operator: Exists}}]}}\n"
            ),
            "stage \"s\": spec.selector.matchExpressions[1].key: not supported: \"length\"",
        ),
        (
            format!("{POD}  selector: {{matchExpressions: [{{key: .a, operator: Like}}]}}\n"),
            "stage \"s\": spec.selector.matchExpressions[0].operator: operator \"Like\" is not supported",
        ),
        (
            format!("{POD}  delay: {{durationMilliseconds: -1}}\n"),
            "stage \"s\": spec.delay.durationMilliseconds: must not be negative",
        ),
        (
            format!(
                "{POD}  next: {{patches: [{{subresource: status, root: status, type: json, template: ''}}]}}\n"
            ),
            "stage \"s\": spec.next.patches[0].type: patches of type \"json\" are not supported",
        ),
    ] {
        assert_eq!(one(&spec).unwrap_err().to_string(), expected);
    }
    assert!(matches!(
        Stage::parse("a: ["),
        Err(StageError::Syntax { .. })
    ));
    assert!(Stage::parse("---\n").unwrap().is_empty());
}
