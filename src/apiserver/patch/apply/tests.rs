//! Server-side apply and managed fields.
use crate::apiserver::patch::fieldset::Set;
use crate::apiserver::patch::managed::{self, Writer};
use crate::apiserver::patch::{apply, typed};
use crate::apiserver::schema::{Schema, builtin};
use crate::object::{Document, GroupVersionKind, Status};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

fn kind(group: &str, kind: &str) -> (GroupVersionKind, Arc<Schema>) {
    let kind = GroupVersionKind {
        group: group.into(),
        version: "v1".into(),
        kind: kind.into(),
    };
    let schema = builtin(&kind).unwrap();
    (kind, schema)
}

/// An object and the requests that change it, one a minute.
struct World {
    kind: GroupVersionKind,
    schema: Arc<Schema>,
    live: Option<Value>,
    minute: u32,
    subresource: &'static str,
    reset: Option<Set>,
}

impl World {
    fn new(group: &str, name: &str) -> Self {
        let (kind, schema) = kind(group, name);
        Self {
            kind,
            schema,
            live: None,
            minute: 0,
            subresource: "",
            reset: None,
        }
    }
    fn api_version(&self) -> String {
        match &*self.kind.group {
            "" => "v1".into(),
            group => format!("{group}/v1"),
        }
    }
    fn apply(&mut self, manager: &str, force: bool, mut object: Value) -> Result<&Value, Status> {
        self.minute += 1;
        let now = format!("2020-01-01T00:{:02}:00Z", self.minute);
        let version = self.api_version();
        object["apiVersion"] = version.as_str().into();
        object["kind"] = self.kind.kind.as_str().into();
        let writer = Writer {
            manager,
            api_version: &version,
            subresource: self.subresource,
            now: &now,
            reset: self.reset.as_ref(),
        };
        let mut new = apply::apply(
            self.live.as_ref(),
            &object,
            &self.schema,
            &self.kind,
            &writer,
            force,
        )?;
        if let Some(live) = &self.live {
            managed::keep_times(live, &mut new);
        }
        Ok(self.live.insert(new))
    }
    fn update(&mut self, manager: &str, mut object: Value) -> &Value {
        self.minute += 1;
        let now = format!("2020-01-01T00:{:02}:00Z", self.minute);
        let version = self.api_version();
        object["apiVersion"] = version.as_str().into();
        object["kind"] = self.kind.kind.as_str().into();
        let decoded =
            crate::apiserver::schema::decode::check(object, Some(&self.schema), &self.kind)
                .unwrap();
        let mut new = decoded.object;
        let writer = Writer {
            manager,
            api_version: &version,
            subresource: self.subresource,
            now: &now,
            reset: self.reset.as_ref(),
        };
        let managed = managed::update(self.live.as_ref(), &new, &self.schema, &writer, &|_| None);
        managed::set_entries(&mut new, managed);
        self.live.insert(new)
    }
    /// The entries as `manager/operation[/subresource]: fields @minute`.
    fn owners(&self) -> Vec<String> {
        let entries = managed::entries(self.live.as_ref().unwrap()).unwrap();
        entries
            .into_iter()
            .map(|entry| {
                let operation = if entry.applied { "A" } else { "U" };
                let minute = entry.time.get(14..16).unwrap_or("-").to_owned();
                let sub = if entry.subresource.is_empty() {
                    String::new()
                } else {
                    format!("/{}", entry.subresource)
                };
                format!(
                    "{}/{operation}{sub} {minute}: {}",
                    entry.manager,
                    entry.fields.paths().join(" ")
                )
            })
            .collect()
    }
}

fn data(fields: Value) -> Value {
    json!({"metadata": {"name": "x"}, "data": fields})
}

#[test]
fn fields_change_hands() {
    let mut world = World::new("", "ConfigMap");
    world.update("create", data(json!({"a": "1", "b": "2"})));
    assert_eq!(world.owners(), ["create/U 01: .data .data.a .data.b"]);
    // An update takes what it changes; the other fields, and an untouched entry's time, stay.
    world.update("up", data(json!({"a": "9", "b": "2"})));
    assert_eq!(
        world.owners(),
        ["create/U 01: .data .data.b", "up/U 02: .data.a"]
    );
    // What changes nothing owns nothing.
    world.update("idle", data(json!({"a": "9", "b": "2"})));
    assert_eq!(world.owners().len(), 2);
    // A field that goes is nobody's.
    world.update("up", data(json!({"b": "2"})));
    assert_eq!(world.owners(), ["create/U 01: .data .data.b"]);
    // Fields of the system are nobody's.
    world.update("up", json!({"metadata": {"name": "x", "resourceVersion": "7", "generation": 2, "uid": "u"}, "data": {"b": "2"}}));
    assert_eq!(world.owners().len(), 1);
}

#[test]
fn applying_and_giving_up() {
    let mut world = World::new("", "ConfigMap");
    world
        .apply("m1", false, data(json!({"a": "1", "b": "1"})))
        .unwrap();
    assert_eq!(world.owners(), ["m1/A 01: .data.a .data.b"]);
    // The same value can have two owners.
    world
        .apply("m2", false, data(json!({"a": "1", "c": "1"})))
        .unwrap();
    assert_eq!(
        world.owners(),
        ["m1/A 01: .data.a .data.b", "m2/A 02: .data.a .data.c"]
    );
    // What one gives up and another owns stays; what nobody else owns goes.
    let object = world.apply("m1", false, data(json!({}))).unwrap();
    assert_eq!(object["data"], json!({"a": "1", "c": "1"}));
    // Applying the same again changes nothing, not even the time.
    world
        .apply("m2", false, data(json!({"a": "1", "c": "1"})))
        .unwrap();
    assert_eq!(
        world.owners(),
        ["m2/A 02: .data.a .data.c", "m1/A 03: .data"]
    );
    let status = world
        .apply("m3", false, data(json!({"a": "2", "c": "2"})))
        .unwrap_err();
    assert_eq!(status.code, 409);
    assert_eq!(
        status.message,
        "Apply failed with 2 conflicts: conflicts with \"m2\":\n- .data.a\n- .data.c"
    );
    let details = status.details.unwrap();
    assert_eq!(details.causes[1].field, ".data.c");
    assert_eq!(details.causes[1].message, "conflict with \"m2\"");
    assert_eq!(details.causes[1].reason, "FieldManagerConflict");
    world
        .apply("m3", true, data(json!({"a": "2", "c": "2"})))
        .unwrap();
    assert_eq!(
        world.owners(),
        ["m1/A 03: .data", "m3/A 06: .data.a .data.c"]
    );
    // An updater conflicts as well, and is named with its version.
    world.update("up", data(json!({"a": "3", "c": "2"})));
    let status = world
        .apply("m3", false, data(json!({"a": "2", "c": "2"})))
        .unwrap_err();
    assert_eq!(
        status.message,
        "Apply failed with 1 conflict: conflict with \"up\" using v1: .data.a"
    );
}

#[test]
fn lists_merge_by_their_keys() {
    let mut world = World::new("apps", "Deployment");
    let with = |containers: Value| json!({"metadata": {"name": "d"}, "spec": {"template": {"spec": {"containers": containers}}}});
    let names = |object: &Value| -> Vec<String> {
        object
            .list_at(&["spec", "template", "spec", "containers"])
            .iter()
            .map(|c| c["name"].as_str().unwrap().to_owned())
            .collect()
    };
    world.apply("m1", false, with(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1", "ports": [{"containerPort": 80}]}]))).unwrap();
    assert_eq!(
        world.owners()[0],
        r#"m1/A 01: .spec.template.spec.containers[name="a"] .spec.template.spec.containers[name="a"].image .spec.template.spec.containers[name="a"].name .spec.template.spec.containers[name="b"] .spec.template.spec.containers[name="b"].image .spec.template.spec.containers[name="b"].name .spec.template.spec.containers[name="b"].ports[containerPort=80,protocol="TCP"] .spec.template.spec.containers[name="b"].ports[containerPort=80,protocol="TCP"].containerPort"#
    );
    let object = world
        .apply(
            "m2",
            false,
            with(json!([{"name": "c", "image": "1"}, {"name": "a", "tty": true}])),
        )
        .unwrap();
    assert_eq!(names(object), ["c", "a", "b"]);
    assert_eq!(
        object["spec"]["template"]["spec"]["containers"][1]["image"],
        "1"
    );
    let status = world
        .apply("m2", false, with(json!([{"name": "a", "image": "2"}])))
        .unwrap_err();
    assert_eq!(
        status.details.unwrap().causes[0].field,
        r#".spec.template.spec.containers[name="a"].image"#
    );
    // An item that its owner gives up goes, unless another owns it too.
    let object = world.apply("m1", false, with(json!([]))).unwrap();
    assert_eq!(names(object), ["c", "a"]);
    assert_eq!(
        object["spec"]["template"]["spec"]["containers"][1],
        json!({"name": "a", "tty": true, "resources": {}})
    );
}

#[test]
fn subresources_have_entries_of_their_own() {
    let mut world = World::new("apps", "Deployment");
    world.reset = Some(Set::of_paths(&[&["status"]]));
    world.update("c", json!({"metadata": {"name": "d"}, "spec": {"replicas": 1, "paused": true}, "status": {"replicas": 7}}));
    assert_eq!(world.owners(), ["c/U 01: .spec.paused .spec.replicas"]);
    world.subresource = "status";
    world.reset = Some(Set::of_paths(&[&["spec"], &["metadata", "labels"]]));
    let mut object = world.live.clone().unwrap();
    object["status"] = json!({"replicas": 2, "conditions": [{"type": "A", "status": "True"}]});
    object["spec"]["replicas"] = json!(5);
    world.update("c", object);
    assert_eq!(
        world.owners(),
        [
            "c/U 01: .spec.paused .spec.replicas",
            r#"c/U/status 02: .status.conditions .status.conditions[type="A"] .status.conditions[type="A"].lastTransitionTime .status.conditions[type="A"].lastUpdateTime .status.conditions[type="A"].status .status.conditions[type="A"].type .status.replicas"#
        ]
    );
    let status = world
        .apply(
            "m",
            false,
            json!({"metadata": {"name": "d"}, "status": {"replicas": 3}}),
        )
        .unwrap_err();
    assert_eq!(
        status.details.unwrap().causes[0].message,
        r#"conflict with "c" with subresource "status" using apps/v1"#
    );
}

#[test]
fn managed_fields_can_be_forgotten() {
    let mut world = World::new("", "ConfigMap");
    world.update("a", data(json!({"a": "1"})));
    for empty in [json!([]), json!([{}])] {
        let mut object = data(json!({"a": "1", "b": "1"}));
        object["metadata"]["managedFields"] = empty;
        let object = world.update("a", object);
        assert_eq!(object.at(&["metadata", "managedFields"]), None);
    }
    // Then updates are not tracked, until somebody applies.
    world.update("a", data(json!({"a": "1", "b": "2"})));
    assert_eq!(world.owners(), [""; 0]);
    world.apply("m", false, data(json!({"a": "1"}))).unwrap();
    assert_eq!(
        world.owners(),
        [
            "m/A -: .data.a",
            "before-first-apply/U 05: .data .data.a .data.b"
        ]
    );
    // What the request brings counts, when it can be read.
    let mut object = data(json!({"a": "1", "b": "2"}));
    object["metadata"]["managedFields"] = json!([{"manager": "z", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:a": {}}}}]);
    world.update("a", object);
    assert_eq!(world.owners(), ["z/A -: .data.a"]);
    let mut object = data(json!({"a": "1", "b": "2"}));
    object["metadata"]["managedFields"] = json!([{"manager": "z", "operation": "Nope"}]);
    world.update("a", object);
    assert_eq!(world.owners(), ["z/A -: .data.a"]);
}

#[test]
fn the_oldest_updaters_are_put_together() {
    let mut world = World::new("", "ConfigMap");
    for index in 0..13 {
        let fields: serde_json::Map<_, _> = (0..=index)
            .map(|i| (format!("k{i:02}"), json!("v")))
            .collect();
        world.update(&format!("u{index:02}"), data(Value::Object(fields)));
    }
    let owners = world.owners();
    assert_eq!(owners.len(), 10);
    assert_eq!(
        owners[0],
        "ancient-changes/U 04: .data .data.k00 .data.k01 .data.k02 .data.k03"
    );
    assert_eq!(owners[1], "u04/U 05: .data.k04");
}

#[test]
fn what_kubectl_applied_itself_may_be_taken_over() {
    let annotation = json!({"metadata": {"name": "x"}, "data": {"a": "1"}}).to_string();
    let key = "kubectl.kubernetes.io/last-applied-configuration";
    let mut world = World::new("", "ConfigMap");
    let object = json!({"metadata": {"name": "x", "annotations": {key: annotation}}, "data": {"a": "1", "b": "1"}});
    world.update("kubectl-client-side-apply", object);
    // A field that differs from what was applied then is no one's to take.
    let status = world
        .apply("kubectl", false, data(json!({"a": "2", "b": "2"})))
        .unwrap_err();
    assert_eq!(status.details.unwrap().causes.len(), 1);
    let status = world
        .apply("other", false, data(json!({"a": "2"})))
        .unwrap_err();
    assert_eq!(status.code, 409);
    let object = world
        .apply("kubectl", false, data(json!({"a": "2"})))
        .unwrap();
    assert_eq!(object["data"], json!({"a": "2", "b": "1"}));
    let annotation = object["metadata"]["annotations"][key].as_str().unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(annotation).unwrap()["data"],
        json!({"a": "2"})
    );
}

#[test]
fn configurations_that_cannot_be_applied() {
    let (kind, schema) = kind("", "ConfigMap");
    let writer = Writer {
        manager: "m",
        api_version: "v1",
        subresource: "",
        now: "2020-01-01T00:00:00Z",
        reset: None,
    };
    let cases = [
        (
            json!({"apiVersion": "v1", "kind": "Secret"}),
            400,
            "invalid object type: /v1, Kind=Secret",
        ),
        (
            json!({"kind": "ConfigMap"}),
            400,
            "invalid object type: /, Kind=ConfigMap",
        ),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"managedFields": []}}),
            400,
            "metadata.managedFields must be nil",
        ),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "z"}, "data": {"a": 1}}),
            500,
            "failed to create typed patch object (/z; /v1, Kind=ConfigMap): .data.a: expected string, got &value.valueUnstructured{Value:1}",
        ),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "z"}, "unknown": 1, "data": []}),
            500,
            "failed to create typed patch object (/z; /v1, Kind=ConfigMap): errors:\n  .data: expected map, got &{[]}\n  .unknown: field not declared in schema",
        ),
    ];
    for (object, code, message) in cases {
        let status = apply::apply(None, &object, &schema, &kind, &writer, false).unwrap_err();
        assert_eq!((status.code, &*status.message), (code, message));
    }
    let refused = |text: &str| apply::parse(text.as_bytes(), false).unwrap_err().message;
    assert_eq!(
        refused("{"),
        "error decoding YAML: error converting YAML to JSON: yaml: line 1: did not find expected node content"
    );
    assert_eq!(
        refused("- a"),
        "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type map[string]interface {}"
    );
    let doubled = b"data:\n  q: a\n  q: b\n";
    assert_eq!(
        apply::parse(doubled, false).unwrap().1,
        [r#"line 3: key "q" already set in map"#]
    );
    assert_eq!(
        apply::parse(doubled, true).unwrap_err().message,
        "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 3: key \"q\" already set in map"
    );
    // Of several documents the first counts.
    assert_eq!(
        apply::parse(b"a: 1\n---\nb: 2\n", true).unwrap().0,
        json!({"a": 1})
    );
}

#[test]
fn custom_resources_merge_by_their_schema() {
    let schema = Schema::structural(
        &json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "lm": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "p"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "p": {"type": "string", "default": "TCP"}, "v": {"type": "integer"}}}},
            "st": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "at": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"x": {"type": "integer"}}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }}}}),
    );
    let mut world = World {
        schema: Arc::new(schema),
        ..World::new("", "ConfigMap")
    };
    let spec = |spec: Value| json!({"metadata": {"name": "x"}, "spec": spec});
    world.apply("m1", false, spec(json!({"lm": [{"k": "1", "v": 1}], "st": ["a"], "at": {"x": 1}, "free": {"deep": {"x": 1}}}))).unwrap();
    assert_eq!(
        world.owners(),
        [
            r#"m1/A 01: .spec.at .spec.free.deep .spec.free.deep.x .spec.lm[k="1",p="TCP"] .spec.lm[k="1",p="TCP"].k .spec.lm[k="1",p="TCP"].v .spec.st[="a"]"#
        ]
    );
    let object = world
        .apply(
            "m2",
            false,
            spec(json!({"st": ["b", "a"], "free": {"deep": {"y": 1}}})),
        )
        .unwrap();
    assert_eq!(object["spec"]["st"], json!(["b", "a"]));
    assert_eq!(object["spec"]["free"], json!({"deep": {"x": 1, "y": 1}}));
    let status = world
        .apply(
            "m2",
            false,
            spec(json!({"lm": [{"k": "1", "v": 2}], "at": {"x": 2}, "free": {"deep": {"x": 2}}})),
        )
        .unwrap_err();
    let fields: Vec<_> = status
        .details
        .unwrap()
        .causes
        .into_iter()
        .map(|cause| cause.field)
        .collect();
    assert_eq!(
        fields,
        [
            ".spec.at",
            ".spec.free.deep.x",
            r#".spec.lm[k="1",p="TCP"].v"#
        ]
    );
    for (bad, message) in [
        (
            json!({"st": ["d", "d"]}),
            r#".spec.st: duplicate entries for key [="d"]"#,
        ),
        (
            json!({"lm": [{"k": "1"}, {"k": "1", "p": "TCP"}]}),
            r#".spec.lm: duplicate entries for key [k="1",p="TCP"]"#,
        ),
        (
            json!({"lm": [{"v": 1}]}),
            r#".spec.lm: element 0: associative list with keys has an element that omits key field "k" (and doesn't have default value)"#,
        ),
        (
            json!({"nope": 1}),
            ".spec.nope: field not declared in schema",
        ),
    ] {
        let status = world.apply("m2", false, spec(bad)).unwrap_err();
        assert!(status.message.ends_with(message), "{}", status.message);
    }
}

#[test]
fn a_write_of_nothing_keeps_the_times() {
    let mut world = World::new("", "ConfigMap");
    let old = world.update("a", data(json!({"a": "1"}))).clone();
    let mut new = old.clone();
    new["metadata"]["managedFields"][0]["time"] = json!("2030-01-01T00:00:00Z");
    managed::keep_times(&old, &mut new);
    assert_eq!(new, old);
    new["metadata"]["managedFields"][0]["time"] = json!("2030-01-01T00:00:00Z");
    new["data"]["a"] = json!("2");
    let before = new.clone();
    managed::keep_times(&old, &mut new);
    assert_eq!(new, before);
}

#[test]
fn managers_are_named_after_user_agents() {
    assert_eq!(
        managed::manager_of_user_agent("kubectl/v1.36.0 (linux/amd64)"),
        "kubectl"
    );
    assert_eq!(managed::manager_of_user_agent(""), "");
    assert_eq!(
        managed::manager_of_user_agent(&"é".repeat(200))
            .chars()
            .count(),
        128
    );
}

fn configs() -> impl Strategy<Value = Value> {
    let container = (0..3u8, prop::option::of(0..2u8), prop::collection::btree_set(0..3u8, 0..3)).prop_map(|(name, image, ports)| {
        let mut container = json!({"name": format!("c{name}"), "ports": ports.into_iter().map(|port| json!({"containerPort": port})).collect::<Vec<_>>()});
        if let Some(image) = image {
            container["image"] = json!(format!("i{image}"));
        }
        container
    });
    (
        prop::collection::btree_map("[ab]", "[xy]", 0..3),
        prop::collection::vec(container, 0..3),
        prop::collection::btree_set("[fgh]", 0..3),
    )
        .prop_map(|(labels, mut containers, finalizers)| {
            containers.sort_by_key(|c| c["name"].to_string());
            containers.dedup_by_key(|c| c["name"].to_string());
            json!({"metadata": {"name": "p", "labels": labels, "finalizers": finalizers}, "spec": {"containers": containers}})
        })
}

/// Paths of fields, each of a few names.
fn paths() -> impl Strategy<Value = BTreeSet<Vec<&'static str>>> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    prop::collection::btree_set(prop::collection::vec(name, 1..4), 0..6)
}

fn set_of(paths: &BTreeSet<Vec<&'static str>>) -> Set {
    let paths: Vec<&[&str]> = paths.iter().map(Vec::as_slice).collect();
    Set::of_paths(&paths)
}

proptest! {
    #[test]
    fn sets_of_fields_are_sets_of_paths(mine in paths(), theirs in paths()) {
        let (a, b) = (set_of(&mine), set_of(&theirs));
        let both = |paths: Vec<Vec<&'static str>>| set_of(&paths.into_iter().collect());
        prop_assert_eq!(a.clone().union(b.clone()), both(mine.union(&theirs).cloned().collect()));
        prop_assert_eq!(a.intersection(&b), both(mine.intersection(&theirs).cloned().collect()));
        prop_assert_eq!(a.clone().difference(&b), both(mine.difference(&theirs).cloned().collect()));
        let outside = |path: &&Vec<&'static str>| !theirs.iter().any(|tree| path.starts_with(tree));
        prop_assert_eq!(a.without_trees(&b), both(mine.iter().filter(outside).cloned().collect()));
    }

    #[test]
    fn sets_of_fields_survive_their_document(config in configs()) {
        let (_, schema) = kind("", "Pod");
        let set = typed::field_set(&schema.root, &config);
        let again = Set::from_fields_v1(&set.clone().into_fields_v1());
        prop_assert_eq!(&again, &set);
        prop_assert_eq!(set.clone().union(set.clone()), set.clone());
        prop_assert!(set.clone().difference(&set).is_empty());
        prop_assert_eq!(set.intersection(&set), set);
    }

    #[test]
    fn applying_twice_is_applying_once(first in configs(), second in configs()) {
        let mut world = World::new("", "Pod");
        world.apply("m1", false, first.clone()).unwrap();
        world.apply("m2", true, second.clone()).unwrap();
        let (object, owners) = (world.live.clone(), world.owners());
        world.apply("m2", true, second).unwrap();
        prop_assert_eq!(&world.live, &object);
        prop_assert_eq!(world.owners(), owners);
        // What nobody asks for any more goes.
        world.apply("m1", true, json!({"metadata": {"name": "p"}})).unwrap();
        world.apply("m2", true, json!({"metadata": {"name": "p"}})).unwrap();
        let object = world.live.clone().unwrap();
        prop_assert!(object["metadata"].get("labels").is_none());
        prop_assert!(object["spec"]["containers"].is_null());
    }

    #[test]
    fn differences_lead_from_one_to_the_other(old in configs(), new in configs()) {
        let (_, schema) = kind("", "Pod");
        let changes = typed::compare(&schema.root, &old, &new);
        prop_assert_eq!(changes.is_empty(), typed::compare(&schema.root, &new, &old).is_empty());
        prop_assert!(typed::compare(&schema.root, &old, &old).is_empty());
        // What was added is what goes the other way.
        prop_assert_eq!(changes.added.paths(), typed::compare(&schema.root, &new, &old).removed.paths());
    }
}
