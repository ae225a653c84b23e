//! Tables of what events of both groups refuse and keep.

use serde_json::json;

use super::*;

const CONTEXT: Context<'static> = Context {
    now: "",
    subresource: None,
    user: "",
};

fn event(change: Value) -> Value {
    let mut event = json!({
        "metadata": {"name": "e", "namespace": "ns"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "ns"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal", "reason": "R", "action": "A", "message": "m",
        "reportingComponent": "example.com/c", "reportingInstance": "i",
    });
    for (field, value) in change.as_object().unwrap() {
        event[field.as_str()] = value.clone();
    }
    event
}

fn texts(errors: &Errors) -> Vec<String> {
    errors.0.iter().map(ToString::to_string).collect()
}

#[test]
fn creation() {
    for (kind, change, expected) in [
        (Event::Events, json!({}), vec![]),
        (
            Event::Events,
            json!({"eventTime": null}),
            vec!["eventTime: Required value"],
        ),
        (
            Event::Events,
            json!({"type": "Foo"}),
            vec!["type: Invalid value: \"\": has invalid value: Foo"],
        ),
        (
            Event::Events,
            json!({"series": {"count": 1}}),
            vec![
                "series.count: Invalid value: \"\": should be at least 2",
                "series.lastObservedTime: Required value",
            ],
        ),
        (
            Event::Events,
            json!({"count": 1, "source": {"host": "h"}}),
            vec![
                "count: Invalid value: \"\": needs to be unset",
                "source: Invalid value: \"\": needs to be unset",
            ],
        ),
        (
            Event::Events,
            json!({"action": "", "reason": "r".repeat(129), "message": "m".repeat(1025)}),
            vec![
                "action: Required value",
                "reason: Invalid value: \"\": can have at most 128 characters",
                "message: Invalid value: \"\": can have at most 1024 characters",
            ],
        ),
        (
            Event::Core,
            json!({"eventTime": null, "reportingComponent": "", "type": "Foo"}),
            vec![],
        ),
        (
            Event::Core,
            json!({"eventTime": null, "involvedObject": {"namespace": "other"}}),
            vec![
                "involvedObject.namespace: Invalid value: \"other\": does not match event.namespace",
            ],
        ),
        (
            Event::Core,
            json!({"involvedObject": {"namespace": "other"}}),
            vec![],
        ),
        (
            Event::Core,
            json!({"involvedObject": {}}),
            vec!["involvedObject.namespace: Invalid value: \"\": does not match event.namespace"],
        ),
    ] {
        let mut errors = Errors::new();
        kind.validate(&CONTEXT, &event(change), &mut errors);
        assert_eq!(texts(&errors), expected);
    }
}

#[test]
fn updates() {
    let old = event(json!({}));
    for (kind, change, expected) in [
        (Event::Core, json!({"message": "other"}), vec![]),
        (
            Event::Events,
            json!({"message": "other"}),
            vec!["message: Invalid value: \"other\": field is immutable"],
        ),
        (
            Event::Events,
            json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}}),
            vec![],
        ),
        (
            Event::Events,
            json!({"reportingComponent": "other"}),
            vec!["reportingController: Invalid value: \"other\": field is immutable"],
        ),
    ] {
        let mut errors = Errors::new();
        kind.validate_update(&CONTEXT, &event(change), &old, &mut errors);
        assert_eq!(texts(&errors), expected);
    }
}

#[test]
fn the_two_dresses() {
    let core = event(json!({"kind": "Event", "apiVersion": "v1"}));
    let mut object = core.clone();
    Event::Events.convert(&mut object, "v1", "events.k8s.io/v1");
    assert_eq!(
        (
            &object["note"],
            &object["regarding"]["name"],
            &object["reportingController"]
        ),
        (&json!("m"), &json!("p"), &json!("example.com/c"))
    );
    assert_eq!(Event::Events.field(&object, "regarding.kind"), "Pod");
    Event::Events.convert(&mut object, "events.k8s.io/v1", "v1");
    assert_eq!(object["message"], core["message"]);
    assert_eq!(Event::Core.field(&object, "source"), "example.com/c");
}
