//! Server-side apply: merges a configuration into the live object, takes back what its manager no longer asks for, and refuses
//! to change what others own. `docs/server-side-apply.md` tells the algorithm.
use super::fieldset::Set;
use super::managed::{self, Entry, Writer};
use super::{typed, validate};
use crate::apiserver::schema::decode::{self, Decoded};
use crate::apiserver::schema::types::Node;
use crate::apiserver::schema::{Schema, yaml};
use crate::object::status::{Cause, Details};
use crate::object::{Document, GroupVersion, GroupVersionKind, Reason, Status};
use serde_json::{Map, Value};

#[cfg(test)]
mod tests;

/// The annotation in which kubectl's client-side apply keeps what it applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The manager that may take over what client-side apply owned, and whose annotation is kept up to date.
const KUBECTL: &str = "kubectl";

/// Who owns the fields of an object that was written before its fields were managed.
const BEFORE: &str = "before-first-apply";

/// Decodes an apply configuration. Gives what a strict parser complains of as well; with `strict` that is an error.
///
/// # Errors
/// 400 when it is no YAML or JSON object.
pub(crate) fn parse(bytes: &[u8], strict: bool) -> Result<(Value, Vec<String>), Status> {
    let document = yaml::parse(bytes)
        .map_err(|why| Status::bad_request(format!("error decoding YAML: {why}")))?;
    let kind = match &document.value {
        Value::Object(_) => None,
        Value::Null => return Ok((Value::Object(Map::new()), Vec::new())),
        Value::Array(_) => Some("array"),
        Value::String(_) => Some("string"),
        Value::Number(_) => Some("number"),
        Value::Bool(_) => Some("bool"),
    };
    if let Some(kind) = kind {
        return Err(Status::bad_request(format!(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        )));
    }
    if strict && !document.complaints.is_empty() {
        return Err(Status::bad_request(format!(
            "error strict decoding YAML: {}",
            decode::yaml_errors(&document.complaints)
        )));
    }
    Ok((document.value, document.complaints))
}

/// Applies a configuration to the live object (`None`: it is made). Gives the merged object with its managed fields; defaults
/// are still to be filled in.
///
/// # Errors
/// 400 for a configuration that is another kind or brings managed fields, 409 with one cause a field for conflicts, 500 as the
/// real server answers what does not fit the schema.
pub(crate) fn apply(
    live: Option<&Value>,
    applied: &Value,
    schema: &Schema,
    kind: &GroupVersionKind,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Value, Status> {
    admissible(applied, schema, kind)?;
    let made;
    let old = if let Some(live) = live {
        live
    } else {
        made = managed::nothing(schema);
        &made
    };
    let mut entries = managed::entries(old)
        .ok_or_else(|| fault("failed to decode managed fields: invalid entry".to_owned()))?;
    if entries.is_empty() {
        let before = Writer {
            manager: BEFORE,
            ..*writer
        };
        let nothing = managed::nothing(schema);
        entries = managed::updated(&nothing, old, entries, schema, &before, &|_| None);
    }
    let mut job = Job {
        old,
        applied,
        node: &schema.root,
        writer,
        entries,
    };
    let object = match job.run(force) {
        Err(conflicts) if writer.manager == KUBECTL => {
            // What client-side apply put there may be taken over by its successor.
            let allowed = job.last_applied_fields();
            let conflicts: Vec<_> = conflicts
                .into_iter()
                .map(|(manager, fields)| (manager, fields.difference(&allowed)))
                .filter(|(_, fields)| !fields.is_empty())
                .collect();
            if conflicts.is_empty() {
                job.run(true)
            } else {
                Err(conflicts)
            }
        }
        outcome => outcome,
    };
    let mut object = object.map_err(|conflicts| conflict(&conflicts))?;
    let entries = job.entries;
    if writer.manager == KUBECTL
        && !old
            .str_at(&["metadata", "annotations", LAST_APPLIED])
            .is_empty()
    {
        set_last_applied(&mut object, applied);
    }
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.remove("managedFields");
    }
    let Decoded { mut object, .. } =
        decode::check_text(object, Some(schema), kind).map_err(fault)?;
    managed::set_entries(&mut object, entries);
    Ok(object)
}

/// Checks what must hold of a configuration before anything is merged.
fn admissible(applied: &Value, schema: &Schema, kind: &GroupVersionKind) -> Result<(), Status> {
    let version = GroupVersion::parse(applied.str_at(&["apiVersion"])).unwrap_or_default();
    let name = applied.str_at(&["kind"]);
    if (&version.group, &version.version, name) != (&kind.group, &kind.version, &*kind.kind) {
        return Err(Status::bad_request(format!(
            "invalid object type: {}/{}, Kind={name}",
            version.group, version.version
        )));
    }
    let managed = applied.at(&["metadata", "managedFields"]);
    if managed.is_some_and(|managed| !managed.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let errors = validate::validate(&schema.root, applied);
    let errors = match &errors[..] {
        [] => return Ok(()),
        [one] => one.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    Err(fault(format!(
        "failed to create typed patch object ({}/{}; {}/{}, Kind={}): {errors}",
        applied.str_at(&["metadata", "namespace"]),
        applied.str_at(&["metadata", "name"]),
        kind.group,
        kind.version,
        kind.kind
    )))
}

/// An error that the real server has no status for.
fn fault(why: String) -> Status {
    Status::new(500, Reason::Unknown, why)
}

/// The fields of others that would change.
type Conflicts = Vec<(Entry, Set)>;

struct Job<'a> {
    old: &'a Value,
    applied: &'a Value,
    node: &'a Node,
    writer: &'a Writer<'a>,
    entries: Vec<Entry>,
}

impl Job<'_> {
    /// Gives the merged object and brings the entries up to date; leaves them alone on conflicts.
    fn run(&mut self, force: bool) -> Result<Value, Conflicts> {
        let mut entries = self.entries.clone();
        let mut fields = typed::field_set(self.node, self.applied);
        if let Some(reset) = self.writer.reset {
            fields = fields.without_trees(reset);
        }
        let position = entries
            .iter()
            .position(|entry| entry.is_of(self.writer, true));
        let last = position.map(|index| entries.remove(index));
        let own = Entry {
            manager: self.writer.manager.to_owned(),
            applied: true,
            api_version: self.writer.api_version.to_owned(),
            time: last
                .as_ref()
                .map(|last| last.time.clone())
                .unwrap_or_default(),
            subresource: self.writer.subresource.to_owned(),
            fields,
        };
        let merged = typed::merge(self.node, self.old, self.applied);
        let new = match &last {
            Some(last) if !last.fields.is_empty() => {
                self.prune(&merged, &last.fields, entries.iter().chain([&own]))
            }
            _ => merged,
        };
        let mut changes = typed::compare(self.node, self.old, &new);
        if let Some(reset) = self.writer.reset {
            changes = changes.without_trees(reset);
        }
        let same = changes.is_empty();
        let taken = changes.modified.union(changes.added);
        let conflicts: Conflicts = entries
            .iter()
            .map(|entry| (entry.clone(), entry.fields.intersection(&taken)))
            .filter(|(_, fields)| !fields.is_empty())
            .collect();
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        let lost = taken.union(changes.removed);
        for entry in &mut entries {
            entry.fields = std::mem::take(&mut entry.fields).difference(&lost);
        }
        entries.retain(|entry| !entry.fields.is_empty());
        entries.push(Entry {
            fields: typed::without_system_fields(own.fields),
            time: if same {
                own.time
            } else {
                self.writer.now.to_owned()
            },
            ..own
        });
        self.entries = entries;
        Ok(new)
    }

    /// Takes out of the merged object what the manager applied last and applies no more, unless somebody else owns it.
    fn prune<'e>(
        &self,
        merged: &Value,
        last: &Set,
        entries: impl Iterator<Item = &'e Entry>,
    ) -> Value {
        let named = |set: &Set| typed::with_named_fields(self.node, set);
        let fields_of = |value: &Value| named(&typed::field_set(self.node, value));
        let last = named(last);
        let in_merged = fields_of(merged);
        let pruned = typed::remove(self.node, merged, &last);
        // What somebody owns comes back, within what was taken away as a whole.
        let owned = entries.fold(Set::default(), |owned, entry| {
            owned.union(entry.fields.clone())
        });
        let kept = fields_of(&pruned).union(named(&owned));
        let pruned = typed::remove(self.node, merged, &in_merged.clone().difference(&kept));
        // So does what the manager never applied itself.
        let gone = in_merged.difference(&fields_of(&pruned));
        typed::remove(self.node, merged, &gone.intersection(&last))
    }

    /// The fields that client-side apply set last and that still are as it set them.
    fn last_applied_fields(&self) -> Set {
        let text = self.old.str_at(&["metadata", "annotations", LAST_APPLIED]);
        let Ok(last) = serde_json::from_str::<Value>(text) else {
            return Set::default();
        };
        let changes = typed::compare(self.node, &last, self.old);
        typed::field_set(self.node, &last)
            .difference(&changes.modified)
            .difference(&changes.added)
            .difference(&changes.removed)
    }
}

/// Writes what is applied into the annotation of client-side apply, so that going back to it works.
fn set_last_applied(object: &mut Value, applied: &Value) {
    let mut applied = applied.clone();
    if let Some(Value::Object(annotations)) = applied.at_mut(&["metadata", "annotations"]) {
        annotations.remove(LAST_APPLIED);
    }
    if let Some(Value::Object(annotations)) = object.at_mut(&["metadata", "annotations"]) {
        annotations.insert(LAST_APPLIED.to_owned(), format!("{applied}\n").into());
    }
}

/// 409 with one cause a field.
fn conflict(conflicts: &Conflicts) -> Status {
    let mut sorted: Vec<(String, Vec<String>)> = conflicts
        .iter()
        .map(|(entry, fields)| (show_manager(entry), fields.paths()))
        .collect();
    sorted.sort();
    let mut causes: Vec<(&String, &String)> = sorted
        .iter()
        .flat_map(|(manager, paths)| paths.iter().map(move |path| (path, manager)))
        .collect();
    causes.sort();
    let message = if let [(path, manager)] = causes[..] {
        format!("Apply failed with 1 conflict: conflict with {manager}: {path}")
    } else {
        let lines: Vec<String> = sorted
            .iter()
            .flat_map(|(manager, paths)| {
                std::iter::once(format!("conflicts with {manager}:"))
                    .chain(paths.iter().map(|path| format!("- {path}")))
            })
            .collect();
        format!(
            "Apply failed with {} conflicts: {}",
            causes.len(),
            lines.join("\n")
        )
    };
    let causes = causes
        .into_iter()
        .map(|(path, manager)| Cause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {manager}"),
            field: path.clone(),
        })
        .collect();
    Status::new(409, Reason::Conflict, message).with_details(Details {
        causes,
        ..Details::default()
    })
}

/// A manager as conflicts name it.
fn show_manager(entry: &Entry) -> String {
    use std::fmt::Write as _;
    let mut text = format!("{:?}", entry.manager);
    // Writing to a string does not fail.
    if !entry.subresource.is_empty() {
        let _ = write!(text, " with subresource {:?}", entry.subresource);
    }
    if !entry.applied {
        let _ = write!(text, " using {}", entry.api_version);
    }
    text
}
