//! Pods: what is filled in, what is refused and in which words, what may change, and who owns the status.

use serde_json::{Value, json};

use super::*;

mod containers;
mod defaults;
mod spec;
mod status;
mod updates;
mod volumes;

fn context(subresource: Option<&'static str>) -> Context<'static> {
    Context {
        now: "2026-01-01T00:00:00Z",
        subresource,
        user: "",
    }
}

/// A pod of one container, changed by a merge patch, with its defaults.
fn pod(patch: &Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": "p", "namespace": "ns"},
        "spec": {"containers": [{"name": "c", "image": "i:1"}]},
    });
    merge(&mut pod, patch);
    Pod::PLAIN.default(&mut pod);
    pod
}

fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    target.remove(key);
                } else {
                    merge(target.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

fn texts(errors: &Errors) -> Vec<String> {
    errors.0.iter().map(ToString::to_string).collect()
}

/// The errors begin with these texts.
#[track_caller]
fn check_errors(errors: &Errors, expected: &[&str]) {
    let texts = texts(errors);
    assert_eq!(texts.len(), expected.len(), "{texts:#?}");
    for (text, start) in texts.iter().zip(expected) {
        assert!(text.starts_with(start), "{text:?}, not {start:?}");
    }
}

/// A new pod with this spec is refused with these words.
#[track_caller]
fn spec(patch: &Value, expected: &[&str]) {
    let mut errors = Errors::new();
    Pod::PLAIN.validate(&context(None), &pod(&json!({"spec": patch})), &mut errors);
    check_errors(&errors, expected);
}

/// A new pod whose container has this is refused with these words, after the container's path.
#[track_caller]
fn container(patch: &Value, expected: &[&str]) {
    let mut own = json!({"name": "c", "image": "i:1"});
    merge(&mut own, patch);
    let mut errors = Errors::new();
    let pod = pod(&json!({"spec": {"containers": [own]}}));
    Pod::PLAIN.validate(&context(None), &pod, &mut errors);
    let expected: Vec<String> = expected
        .iter()
        .map(|text| format!("spec.containers[0]{text}"))
        .collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check_errors(&errors, &expected);
}

/// A change of a pod by this patch is refused with these words; `from` is what the pod was before.
#[track_caller]
fn change(subresource: Option<&'static str>, from: &Value, patch: &Value, expected: &[&str]) {
    let mut old = pod(from);
    if old.get("status").is_none() {
        old["status"] = json!({"qosClass": qos::class(&old["spec"])});
    }
    let mut new = old.clone();
    merge(&mut new, patch);
    Pod::PLAIN.default(&mut new);
    let context = context(subresource);
    Pod::PLAIN.prepare_update(&context, &mut new, &old);
    let mut errors = Errors::new();
    Pod::PLAIN.validate_update(&context, &new, &old, &mut errors);
    check_errors(&errors, expected);
}
