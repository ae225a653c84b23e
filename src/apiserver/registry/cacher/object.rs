//! One revision of one object, decoded once.
use super::made::Made;
use crate::apiserver::registry::{Resource, encoding};
use crate::apiserver::transform::Part;
use crate::object::{FieldSelector, LabelSelector};
use crate::store::{Entry, Revision};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use tokio::sync::OnceCell;

/// By what an object is selected. Shared by the revisions of an object for as long as it stays the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    labels: Box<[(Box<str>, Box<str>)]>,
    /// The values of the strategy's selectable fields, in its order.
    fields: Box<[Box<str>]>,
}

/// One revision of one object.
#[derive(Debug)]
pub(crate) struct Cached {
    /// The store's key.
    pub key: Arc<str>,
    /// The revision that wrote it (or, in the event of a deletion, that deleted it).
    pub revision: Revision,
    /// The answer to a get, resource version included.
    pub bytes: Bytes,
    /// Where in `bytes` an item without `apiVersion` and `kind` goes on after its `{`; 0 when there is no such place.
    item_at: usize,
    facts: Arc<Facts>,
    /// What it looks like otherwise; most objects are never asked.
    forms: OnceLock<Box<Forms>>,
}

/// What an object looks like in other forms and versions than its own.
#[derive(Debug, Default)]
struct Forms {
    parts: Made<Part>,
    converted: OnceCell<Arc<Cached>>,
}

impl Cached {
    /// From what the store holds. `None` when that is no JSON object.
    pub(crate) fn from_entry(resource: &Resource, entry: &Entry) -> Option<Self> {
        let decoded = if needs_document(resource) {
            let mut document = encoding::decode(&entry.value, entry.modified).ok()?;
            let converted = convert(resource, &mut document);
            Some((document, converted))
        } else {
            None
        };
        let (bytes, facts) = match decoded {
            Some((document, true)) => {
                let encoded = encoding::encode(&document);
                (
                    encoding::with_revision(&encoded, entry.modified),
                    Facts::of(resource, &document),
                )
            }
            Some((document, false)) => (
                encoding::with_revision(&entry.value, entry.modified),
                Facts::of(resource, &document),
            ),
            None => (
                encoding::with_revision(&entry.value, entry.modified),
                Facts::labels_only(&entry.value)?,
            ),
        };
        Some(Self::new(
            entry.key.clone(),
            entry.modified,
            bytes,
            Arc::new(facts),
        ))
    }

    /// From what a writer has at hand: the document in the version of `resource`, and its answer.
    pub(crate) fn from_document(
        resource: &Resource,
        key: Arc<str>,
        revision: Revision,
        document: &Value,
        answer: Bytes,
    ) -> Self {
        Self::new(
            key,
            revision,
            answer,
            Arc::new(Facts::of(resource, document)),
        )
    }

    /// The same content as of a later revision, as deletions show it. `stored` is what the store held.
    pub(crate) fn at_revision(
        &self,
        resource: &Resource,
        stored: &Bytes,
        revision: Revision,
    ) -> Self {
        let converted = is_converted(resource)
            .then(|| {
                let mut document = encoding::decode(stored, revision).ok()?;
                convert(resource, &mut document);
                Some(encoding::with_revision(
                    &encoding::encode(&document),
                    revision,
                ))
            })
            .flatten();
        let bytes = converted.unwrap_or_else(|| encoding::with_revision(stored, revision));
        Self::new(self.key.clone(), revision, bytes, self.facts.clone())
    }

    fn new(key: Arc<str>, revision: Revision, bytes: Bytes, facts: Arc<Facts>) -> Self {
        let item_at = envelope_end(&bytes).unwrap_or(0);
        Self {
            key,
            revision,
            bytes,
            item_at,
            facts,
            forms: OnceLock::new(),
        }
    }

    /// Of what it is put together in other forms.
    pub(crate) fn parts(&self) -> &Made<Part> {
        &self.forms.get_or_init(Box::default).parts
    }

    /// What a webhook made of it, for all who want to see it in that version.
    pub(crate) fn converted(&self) -> &OnceCell<Arc<Self>> {
        &self.forms.get_or_init(Box::default).converted
    }

    /// Shares the facts of `previous` when they are the same.
    pub(crate) fn share_facts(&mut self, previous: &Self) {
        if self.facts == previous.facts {
            self.facts = previous.facts.clone();
        }
    }

    /// The object without its `apiVersion` and `kind`, as lists of built-in kinds show it: how it begins and the rest. With
    /// another layout of the bytes than expected it is the whole object.
    pub(crate) fn item(&self) -> (&'static [u8], &[u8]) {
        match self.bytes.get(self.item_at..) {
            Some(rest) if self.item_at > 0 => (b"{", rest),
            _ => (b"", &self.bytes),
        }
    }

    /// The value of label `key`.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        let labels = &self.facts.labels;
        let found = labels
            .binary_search_by(|(name, _)| (**name).cmp(key))
            .ok()?;
        labels.get(found).map(|(_, value)| &**value)
    }

    /// The value of the selectable field at `index` of the strategy's list.
    pub(crate) fn field_at(&self, index: usize) -> &str {
        self.facts.fields.get(index).map_or("", |value| value)
    }

    /// The value of a selectable field; `None` when the kind does not have it.
    pub(crate) fn field<'a>(&'a self, resource: &Resource, field: &str) -> Option<&'a str> {
        match field {
            "metadata.name" => Some(self.name()),
            "metadata.namespace" => Some(self.namespace(resource)),
            _ => {
                let index = resource
                    .selectable_fields()
                    .position(|known| known == field)?;
                Some(self.field_at(index))
            }
        }
    }

    /// The object's name.
    pub(crate) fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }

    /// The object's namespace, `""` when the kind has none.
    pub(crate) fn namespace(&self, resource: &Resource) -> &str {
        if !resource.namespaced {
            return "";
        }
        namespace_of(&self.key, resource)
    }

    /// Whether the selectors select it.
    pub(crate) fn matches(
        &self,
        resource: &Resource,
        labels: &LabelSelector,
        fields: &FieldSelector,
    ) -> bool {
        (labels.is_empty() || labels.matches_with(|key| self.label(key)))
            && (fields.is_empty() || fields.matches_with(|field| self.field(resource, field)))
    }

    /// The whole document, decoded anew.
    ///
    /// # Errors
    /// When the bytes are no JSON.
    pub(crate) fn document(&self) -> Result<Value, serde_json::Error> {
        serde_json::from_slice(&self.bytes)
    }
}

/// The namespace part of `key`.
pub(crate) fn namespace_of<'a>(key: &'a str, resource: &Resource) -> &'a str {
    key.get(resource.key_prefix.len() + 1..)
        .and_then(|rest| rest.split('/').next())
        .unwrap_or_default()
}

impl Facts {
    fn of(resource: &Resource, document: &Value) -> Self {
        let labels = document
            .get("metadata")
            .and_then(|metadata| metadata.get("labels"))
            .and_then(Value::as_object);
        // serde_json's map is sorted, as the binary search of `Cached::label` needs; sort anyway should that change.
        let mut labels: Vec<(Box<str>, Box<str>)> = labels
            .into_iter()
            .flatten()
            .map(|(key, value)| {
                (
                    key.as_str().into(),
                    value.as_str().unwrap_or_default().into(),
                )
            })
            .collect();
        labels.sort_unstable();
        let fields = resource
            .selectable_fields()
            .map(|field| resource.strategy.field(document, field).into())
            .collect();
        Self {
            labels: labels.into(),
            fields,
        }
    }

    /// Reads the labels without building the document.
    fn labels_only(stored: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Outer {
            metadata: Option<Inner>,
        }
        #[derive(Deserialize)]
        struct Inner {
            labels: Option<BTreeMap<Box<str>, Box<str>>>,
        }
        let outer: Outer = serde_json::from_slice(stored).ok()?;
        let labels = outer.metadata.and_then(|metadata| metadata.labels);
        Some(Self {
            labels: labels.into_iter().flatten().collect(),
            fields: Box::default(),
        })
    }
}

/// Whether objects must be decoded as a whole to be cached.
fn needs_document(resource: &Resource) -> bool {
    is_converted(resource) || resource.selectable_fields().next().is_some()
}

/// Whether the resource shows another version or group than the one that is stored.
pub(crate) fn is_converted(resource: &Resource) -> bool {
    resource.custom.is_some()
        || resource.gvk.version != resource.storage_version
        || resource.gvk.group != resource.storage_group
}

/// The `apiVersion` that objects of `resource` are stored with.
fn storage_api_version(resource: &Resource) -> String {
    crate::object::GroupVersion::new(&*resource.storage_group, &*resource.storage_version)
        .to_string()
}

/// Brings a stored document into the version of `resource`; whether there was anything to do.
fn convert(resource: &Resource, document: &mut Value) -> bool {
    if !is_converted(resource) {
        return false;
    }
    if let Some(custom) = &resource.custom {
        custom.read(document);
        return true;
    }
    let (from, to) = (storage_api_version(resource), resource.gvk.api_version());
    resource.strategy.convert(document, &from, &to);
    document["apiVersion"] = to.into();
    true
}

/// Where the bytes go on after `{"apiVersion":"…","kind":"…",`.
fn envelope_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    for marker in [&b"{\"apiVersion\":\""[..], b",\"kind\":\""] {
        at += bytes
            .get(at..)?
            .starts_with(marker)
            .then_some(marker.len())?;
        // Versions and kinds hold no characters that JSON escapes.
        at += bytes.get(at..)?.iter().position(|byte| *byte == b'"')? + 1;
    }
    (bytes.get(at) == Some(&b',')).then_some(at + 1)
}
