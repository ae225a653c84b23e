//! `metadata.managedFields`: who owns which field. Every write that is no apply goes through [`update`].
use super::fieldset::Set;
use super::typed::{self, Changes};
use crate::apiserver::schema::Schema;
use crate::apiserver::schema::types::zero;
use serde_json::{Map, Value, json};

/// More entries of updaters are not kept: the oldest are put together.
const MAX_UPDATERS: usize = 10;

/// The manager that the oldest entries are put under.
const ANCIENT: &str = "ancient-changes";

/// Who writes, how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer<'a> {
    /// The field manager.
    pub(crate) manager: &'a str,
    /// The version in which the object is written, `apps/v1`.
    pub(crate) api_version: &'a str,
    /// `""` for the object itself.
    pub(crate) subresource: &'a str,
    /// The time, RFC 3339 with seconds.
    pub(crate) now: &'a str,
    /// Fields that a write of this kind resets (the status for writes of the object itself, the rest for writes of the
    /// status): nobody comes to own them by it.
    pub(crate) reset: Option<&'a Set>,
}

/// One entry of `managedFields`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) manager: String,
    /// Whether by apply rather than by update.
    pub(crate) applied: bool,
    pub(crate) api_version: String,
    /// `""` when there is none.
    pub(crate) time: String,
    pub(crate) subresource: String,
    pub(crate) fields: Set,
}

impl Entry {
    fn of(writer: &Writer<'_>, applied: bool, fields: Set) -> Self {
        Self {
            manager: writer.manager.to_owned(),
            applied,
            api_version: writer.api_version.to_owned(),
            time: String::new(),
            subresource: writer.subresource.to_owned(),
            fields,
        }
    }
    /// Whether the entry is this writer's: one entry for each manager, operation and subresource, and for updates also version.
    pub(crate) fn is_of(&self, writer: &Writer<'_>, applied: bool) -> bool {
        self.applied == applied
            && self.manager == writer.manager
            && self.subresource == writer.subresource
            && (applied || self.api_version == writer.api_version)
    }
    fn from_value(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        let applied = match text("operation") {
            "Apply" => true,
            "Update" => false,
            _ => return None,
        };
        Some(Self {
            manager: text("manager").to_owned(),
            applied,
            api_version: text("apiVersion").to_owned(),
            time: text("time").to_owned(),
            subresource: text("subresource").to_owned(),
            fields: Set::from_fields_v1(value.get("fieldsV1").unwrap_or(&Value::Null)),
        })
    }
    fn into_value(self) -> Value {
        let operation = if self.applied { "Apply" } else { "Update" };
        let texts = [
            ("manager", self.manager),
            ("operation", operation.to_owned()),
            ("apiVersion", self.api_version),
            ("fieldsType", "FieldsV1".to_owned()),
        ];
        let optional = [("time", self.time), ("subresource", self.subresource)];
        let optional = optional.into_iter().filter(|(_, text)| !text.is_empty());
        let mut map: Map<String, Value> = texts
            .into_iter()
            .chain(optional)
            .map(|(name, text)| (name.to_owned(), text.into()))
            .collect();
        map.insert("fieldsV1".to_owned(), self.fields.into_fields_v1());
        Value::Object(map)
    }
}

/// The entries of an object; `None` when what is there cannot be read.
pub(crate) fn entries(object: &Value) -> Option<Vec<Entry>> {
    match object.get("metadata")?.get("managedFields") {
        Some(Value::Array(entries)) => entries.iter().map(Entry::from_value).collect(),
        _ => Some(Vec::new()),
    }
}

/// Writes the entries into the object, in their order: appliers first, then by time.
pub(crate) fn set_entries(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    entries.sort_by(|a, b| {
        let key = |entry: &Entry| !entry.applied;
        (key(a), &a.time, &a.manager, &a.api_version, &a.subresource).cmp(&(
            key(b),
            &b.time,
            &b.manager,
            &b.api_version,
            &b.subresource,
        ))
    });
    let Value::Object(object) = object else {
        return;
    };
    if entries.is_empty() {
        if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
            metadata.remove("managedFields");
        }
        return;
    }
    let metadata = object
        .entry("metadata")
        .or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(metadata) = metadata {
        let entries = entries.into_iter().map(Entry::into_value).collect();
        metadata.insert("managedFields".into(), entries);
    }
}

/// The object as it is before it is made: what a Go server writes for its type.
pub(crate) fn nothing(schema: &Schema) -> Value {
    if schema.custom {
        return json!({"metadata": {}});
    }
    zero(&schema.root.ty)
}

/// What an update changes, told in another version: `None` when that is as in the writer's.
pub(crate) type Elsewhere<'a> = dyn Fn(&str) -> Option<Set> + 'a;

/// The managed fields of `new` after an update: who writes comes to own what changes from `live` (`None`: the object is made),
/// and everybody else loses it.
///
/// The managed fields that the request brings count, if they can be read; an empty list, or a list of one empty entry, forgets
/// all. An object whose managed fields were forgotten stays without them until somebody applies.
pub(crate) fn update(
    live: Option<&Value>,
    new: &Value,
    schema: &Schema,
    writer: &Writer<'_>,
    elsewhere: &Elsewhere<'_>,
) -> Vec<Entry> {
    let managed = live_or_new(live, new, writer);
    if managed.is_empty() && live.is_some() {
        return managed;
    }
    let made;
    let old = if let Some(live) = live {
        live
    } else {
        made = nothing(schema);
        &made
    };
    updated(old, new, managed, schema, writer, elsewhere)
}

/// The entries after an update from `old` to `new`.
pub(crate) fn updated(
    old: &Value,
    new: &Value,
    mut managed: Vec<Entry>,
    schema: &Schema,
    writer: &Writer<'_>,
    elsewhere: &Elsewhere<'_>,
) -> Vec<Entry> {
    let mut changes = typed::compare(&schema.root, old, new);
    if let Some(reset) = writer.reset {
        changes = changes.without_trees(reset);
    }
    if changes.is_empty() {
        return managed;
    }
    let Changes {
        added,
        removed,
        modified,
    } = changes;
    let taken = added.union(modified);
    if !managed.is_empty() {
        let lost = removed.union(taken.clone());
        for entry in &mut managed {
            let other = (entry.api_version != writer.api_version)
                .then(|| elsewhere(&entry.api_version))
                .flatten();
            let fields = std::mem::take(&mut entry.fields);
            entry.fields = fields.difference(other.as_ref().unwrap_or(&lost));
        }
    }
    let taken = typed::without_system_fields(taken);
    if !taken.is_empty() {
        let index = managed
            .iter()
            .position(|entry| entry.is_of(writer, false))
            .unwrap_or_else(|| {
                managed.push(Entry::of(writer, false, Set::default()));
                managed.len() - 1
            });
        if let Some(entry) = managed.get_mut(index) {
            entry.fields = std::mem::take(&mut entry.fields).union(taken);
            writer.now.clone_into(&mut entry.time);
        }
    }
    managed.retain(|entry| !entry.fields.is_empty());
    cap(&mut managed);
    managed
}

/// All that differs between `old` and `new`, but for what a write of this kind resets.
pub(crate) fn changed(old: &Value, new: &Value, schema: &Schema, writer: &Writer<'_>) -> Set {
    let mut changes = typed::compare(&schema.root, old, new);
    if let Some(reset) = writer.reset {
        changes = changes.without_trees(reset);
    }
    changes.added.union(changes.modified).union(changes.removed)
}

/// The entries to go on from: those of the request, or the stored ones when it has none that can be read.
fn live_or_new(live: Option<&Value>, new: &Value, writer: &Writer<'_>) -> Vec<Entry> {
    let stored = || live.and_then(entries).unwrap_or_default();
    if !writer.subresource.is_empty() {
        return stored();
    }
    let given = new
        .get("metadata")
        .and_then(|metadata| metadata.get("managedFields"));
    let empty = Value::Object(Map::new());
    match given {
        Some(Value::Array(given)) if given.is_empty() || given[..] == [empty] => Vec::new(),
        _ => match entries(new) {
            Some(entries) if !entries.is_empty() => entries,
            _ => stored(),
        },
    }
}

/// Puts the oldest entries of updaters together until there are no more than may be, version by version.
fn cap(managed: &mut Vec<Entry>) {
    let updaters = |managed: &[Entry]| managed.iter().filter(|entry| !entry.applied).count();
    if updaters(managed) <= MAX_UPDATERS {
        return;
    }
    // Oldest first; appliers last, out of the way.
    managed.sort_by(|a, b| {
        (a.applied, &a.time, &a.manager, &a.subresource).cmp(&(
            b.applied,
            &b.time,
            &b.manager,
            &b.subresource,
        ))
    });
    let mut index = 0;
    while updaters(managed) > MAX_UPDATERS && managed.get(index).is_some_and(|entry| !entry.applied)
    {
        let version = managed.get(index).map(|entry| entry.api_version.clone());
        let earlier = managed
            .iter()
            .take(index)
            .position(|entry| Some(&entry.api_version) == version.as_ref());
        let Some(earlier) = earlier else {
            index += 1;
            continue;
        };
        let entry = managed.remove(index);
        if let Some(bucket) = managed.get_mut(earlier) {
            bucket.fields = std::mem::take(&mut bucket.fields).union(entry.fields);
            ANCIENT.clone_into(&mut bucket.manager);
            bucket.subresource.clear();
            bucket.time = entry.time;
        }
    }
}

/// When `new` differs from `live` in nothing but the times of its managed fields, gives it back the old times, so that the
/// write is none.
pub(crate) fn keep_times(live: &Value, new: &mut Value) {
    let (Some(before), Some(after)) = (entries(live), entries(new)) else {
        return;
    };
    let timeless = |entries: &[Entry]| -> Vec<Entry> {
        let mut entries = entries.to_vec();
        for entry in &mut entries {
            entry.time.clear();
        }
        entries.sort_by(|a, b| {
            (&a.manager, a.applied, &a.api_version, &a.subresource).cmp(&(
                &b.manager,
                b.applied,
                &b.api_version,
                &b.subresource,
            ))
        });
        entries
    };
    if before.len() != after.len() || timeless(&before) != timeless(&after) {
        return;
    }
    set_entries(new, before.clone());
    if new != live {
        set_entries(new, after);
    }
}

/// The manager's name for a request that names none: the first part of its user agent.
pub(crate) fn manager_of_user_agent(user_agent: &str) -> &str {
    let name = user_agent.split('/').next().unwrap_or_default();
    let end = name
        .char_indices()
        .nth(128)
        .map_or(name.len(), |(at, _)| at);
    name.get(..end).unwrap_or_default()
}
