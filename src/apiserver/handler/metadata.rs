//! The metadata that the server owns: filled in, kept and reset (`k8s.io/apiserver/pkg/registry/rest`, create, update and delete).
use crate::apiserver::registry::Resource;
use crate::apiserver::response::Warnings;
use crate::clock::Clock;
use crate::object::{Document, Status};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

/// Generated names are at most this long, with their suffix.
const LONGEST_GENERATED: usize = 63;
const SUFFIX: usize = 5;

/// The metadata, made where it is missing.
pub(crate) fn of(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let slot = match object {
        Value::Object(map) => map.entry("metadata").or_insert(Value::Null),
        other => other,
    };
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

/// A timestamp as the API writes it.
pub(crate) fn timestamp(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second())
        .unwrap_or(time)
        .to_string()
}

/// Gives the object the namespace of the request.
///
/// # Errors
/// 400 when it names another one.
pub(crate) fn place(
    resource: &Resource,
    namespace: &str,
    object: &mut Value,
) -> Result<(), Status> {
    let metadata = of(object);
    let named = metadata
        .get("namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !resource.namespaced {
        metadata.remove("namespace");
    } else if named.is_empty() {
        metadata.insert("namespace".into(), namespace.into());
    } else if named != namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// Whether the object is the one that the path names.
///
/// # Errors
/// 400.
pub(crate) fn check_name(object: &Value, name: &str) -> Result<(), Status> {
    match object.name() {
        "" => Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        ))),
        named if named != name => Err(Status::bad_request(format!(
            "the name of the object ({named}) does not match the name on the URL ({name})"
        ))),
        _ => Ok(()),
    }
}

/// Takes out what a client may not bring along to a creation.
pub(crate) fn wipe(object: &mut Value) {
    let metadata = of(object);
    for field in [
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "uid",
    ] {
        metadata.remove(field);
    }
}

/// Fills in what every new object has.
pub(crate) fn fill(object: &mut Value, clock: &Clock, now: &str) {
    let metadata = of(object);
    metadata.insert("creationTimestamp".into(), now.into());
    metadata.insert("uid".into(), clock.uid().into());
}

/// The name for an object that has only a `generateName`.
pub(crate) fn generate_name(base: &str, clock: &Clock) -> String {
    let mut end = base.len().min(LONGEST_GENERATED - SUFFIX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!(
        "{}{}",
        base.get(..end).unwrap_or_default(),
        clock.suffix(SUFFIX)
    )
}

/// Carries over the metadata that an update may not change. `old` comes from the store.
pub(crate) fn keep(object: &mut Value, old: &Value) {
    let (metadata, old) = (of(object), old.get("metadata").and_then(Value::as_object));
    let old = |field: &str| {
        old.and_then(|old| old.get(field))
            .filter(|value| !value.is_null())
    };
    if metadata
        .get("uid")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .is_empty()
    {
        set(metadata, "uid", old("uid"));
    }
    if let Some(created) = old("creationTimestamp") {
        set(metadata, "creationTimestamp", Some(created));
    }
    if let Some(deleted) = old("deletionTimestamp") {
        set(metadata, "deletionTimestamp", Some(deleted));
    }
    if metadata
        .get("deletionGracePeriodSeconds")
        .is_none_or(Value::is_null)
    {
        set(
            metadata,
            "deletionGracePeriodSeconds",
            old("deletionGracePeriodSeconds"),
        );
    }
    metadata.remove("selfLink");
}

/// Sets what is at `path` to what is stored.
pub(crate) fn keep_at(object: &mut Value, old: &Value, path: &[&str]) {
    match old.at(path) {
        Some(value) => object.set_at(path, value.clone()),
        None => {
            object.remove_at(path);
        }
    }
}

/// Sets the generation to the stored one: clients cannot change it.
pub(crate) fn keep_generation(object: &mut Value, old: &Value) {
    let old = old.at(&["metadata", "generation"]).cloned();
    set(of(object), "generation", old.as_ref());
}

/// Counts the generation up when anything but metadata and status differs and the strategy has not done so itself.
pub(crate) fn count_generation(object: &mut Value, old: &Value) {
    if object.generation() != old.generation() || !desired_differs(object, old) {
        return;
    }
    let next = old.generation() + 1;
    of(object).insert("generation".into(), next.into());
}

fn desired_differs(object: &Value, old: &Value) -> bool {
    let desired =
        |key: &&String| !matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status");
    let (Some(new), Some(old)) = (object.as_object(), old.as_object()) else {
        return true;
    };
    let changed = new
        .keys()
        .filter(desired)
        .any(|key| new.get(key) != old.get(key));
    changed || old.keys().filter(desired).any(|key| !new.contains_key(key))
}

/// Marks an object that waits only for its finalizers as being deleted.
pub(crate) fn mark_deleted(object: &mut Value, now: Timestamp) {
    let generation = object.generation();
    let metadata = of(object);
    let graceless = metadata
        .get("deletionGracePeriodSeconds")
        .is_none_or(Value::is_null);
    if graceless && generation > 0 {
        metadata.insert("generation".into(), (generation + 1).into());
    }
    let deleted = metadata.get("deletionTimestamp").and_then(Value::as_str);
    let later = deleted
        .and_then(|text| text.parse::<Timestamp>().ok())
        .is_none_or(|deleted| deleted > now);
    if later {
        metadata.insert("deletionTimestamp".into(), timestamp(now).into());
    }
    metadata.insert("deletionGracePeriodSeconds".into(), 0.into());
}

/// Marks an object as being deleted `grace` seconds from now.
pub(crate) fn mark_deleted_in(object: &mut Value, now: Timestamp, grace: i64) {
    let generation = object.generation();
    let metadata = of(object);
    metadata.insert(
        "deletionTimestamp".into(),
        timestamp(later(now, grace)).into(),
    );
    metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
    if generation > 0 {
        metadata.insert("generation".into(), (generation + 1).into());
    }
}

/// Shortens the grace of an object that is being deleted already.
pub(crate) fn shorten(object: &mut Value, from: i64, to: i64) {
    let metadata = of(object);
    let deleted = metadata.get("deletionTimestamp").and_then(Value::as_str);
    if let Some(deleted) = deleted.and_then(|text| text.parse::<Timestamp>().ok()) {
        let sooner = later(deleted, to.saturating_sub(from));
        metadata.insert("deletionTimestamp".into(), timestamp(sooner).into());
    }
    metadata.insert("deletionGracePeriodSeconds".into(), to.into());
}

/// Gives the object the resource version of the stored one, so that the two can be compared.
pub(crate) fn set_version(object: &mut Value, old: &Value) {
    let version = old.at(&["metadata", "resourceVersion"]);
    set(of(object), "resourceVersion", version);
}

fn later(time: Timestamp, seconds: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX)
}

/// Takes out repeated owner references of equal uid and content, with a warning.
pub(crate) fn dedupe_owners(object: &mut Value, warnings: &Warnings) {
    if object.owner_references().len() < 2 {
        return;
    }
    let mut repeated = Vec::new();
    if let Some(Value::Array(owners)) = object.at_mut(&["metadata", "ownerReferences"]) {
        let mut kept: Vec<Value> = Vec::with_capacity(owners.len());
        for owner in owners.drain(..) {
            if kept.contains(&owner) {
                repeated.push(owner.str_at(&["uid"]).to_owned());
            } else {
                kept.push(owner);
            }
        }
        *owners = kept;
    }
    if !repeated.is_empty() {
        repeated.dedup();
        warnings.add(format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            repeated.join(", ")
        ));
    }
}

fn set(metadata: &mut Map<String, Value>, field: &str, value: Option<&Value>) {
    match value {
        Some(value) => metadata.insert(field.into(), value.clone()),
        None => metadata.remove(field),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_generated_within_bounds() {
        let clock = Clock::seeded(1);
        let name = generate_name(&"p".repeat(80), &clock);
        assert_eq!(name.len(), 63);
        assert!(generate_name("gen-", &clock).starts_with("gen-"));
        assert!(generate_name(&"é".repeat(40), &clock).len() <= 63);
    }

    #[test]
    fn the_generation_counts_what_is_desired() {
        let old = json!({"metadata": {"generation": 3}, "spec": {"a": 1}, "status": {"b": 1}});
        for (new, expected) in [
            (
                json!({"metadata": {"labels": {"a": "b"}}, "spec": {"a": 1}, "status": {"b": 2}}),
                3,
            ),
            (json!({"metadata": {"generation": 9}, "spec": {"a": 2}}), 4),
            (json!({"metadata": {}}), 4),
        ] {
            let mut new = new;
            keep_generation(&mut new, &old);
            count_generation(&mut new, &old);
            assert_eq!(new.generation(), expected);
        }
    }

    #[test]
    fn updates_keep_what_is_the_servers() {
        let old = json!({"metadata": {"uid": "u", "creationTimestamp": "c", "deletionTimestamp": "d", "deletionGracePeriodSeconds": 5}});
        let mut new = json!({"metadata": {"creationTimestamp": "x", "selfLink": "y", "deletionTimestamp": null}});
        keep(&mut new, &old);
        assert_eq!(new, old);
    }

    #[test]
    fn deletion_marks() {
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        let mut object = json!({"metadata": {"generation": 1}});
        mark_deleted_in(&mut object, now, 30);
        assert_eq!(
            object["metadata"],
            json!({"generation": 2, "deletionTimestamp": "2026-01-01T00:00:40Z", "deletionGracePeriodSeconds": 30})
        );
        shorten(&mut object, 30, 5);
        assert_eq!(object.deletion_timestamp(), Some("2026-01-01T00:00:15Z"));
        mark_deleted(&mut object, now);
        assert_eq!(
            object["metadata"],
            json!({"generation": 2, "deletionTimestamp": "2026-01-01T00:00:10Z", "deletionGracePeriodSeconds": 0})
        );
    }
}
