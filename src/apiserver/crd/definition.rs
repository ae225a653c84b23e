//! A CustomResourceDefinition as the server reads it.
use crate::object::Document;
use serde_json::{Value, json};

/// The names of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub kind: String,
    pub list_kind: String,
    pub categories: Vec<String>,
}

/// What the server needs to know of one version.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Version {
    pub name: String,
    pub served: bool,
    pub storage: bool,
    /// The warning for its clients, when it is on its way out.
    pub deprecation: Option<String>,
    /// `openAPIV3Schema`; null when there is none.
    pub schema: Value,
    pub has_status: bool,
    /// The paths of replicas, actual replicas and selector.
    pub scale: Option<[String; 3]>,
    pub columns: Vec<Value>,
    pub selectable: Vec<String>,
}

/// A definition, as far as serving depends on it.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a field of the document"
)]
pub(crate) struct Definition {
    pub name: String,
    pub uid: String,
    pub group: String,
    pub namespaced: bool,
    /// The names that are its own by now.
    pub names: Names,
    pub versions: Vec<Version>,
    /// `spec.conversion`.
    pub conversion: Value,
    pub established: bool,
    pub names_accepted: bool,
    pub terminating: bool,
}

impl Names {
    pub(crate) fn of(names: Option<&Value>) -> Self {
        let text = |field: &str| {
            names
                .map(|names| names.str_at(&[field]))
                .unwrap_or_default()
                .to_owned()
        };
        let list = |field: &str| {
            let items = names.map(|names| names.list_at(&[field]));
            let items = items.unwrap_or_default().iter().filter_map(Value::as_str);
            items.map(str::to_owned).collect()
        };
        Self {
            plural: text("plural"),
            singular: text("singular"),
            short_names: list("shortNames"),
            kind: text("kind"),
            list_kind: text("listKind"),
            categories: list("categories"),
        }
    }

    /// As the status shows them.
    pub(crate) fn to_value(&self) -> Value {
        let mut names = json!({ "plural": self.plural, "kind": self.kind });
        for (field, text) in [("singular", &self.singular), ("listKind", &self.list_kind)] {
            if !text.is_empty() {
                names[field] = text.as_str().into();
            }
        }
        for (field, list) in [
            ("shortNames", &self.short_names),
            ("categories", &self.categories),
        ] {
            if !list.is_empty() {
                names[field] = list.clone().into();
            }
        }
        names
    }
}

impl Definition {
    pub(crate) fn of(object: &Value) -> Self {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let group = spec.str_at(&["group"]).to_owned();
        let kind = spec.str_at(&["names", "kind"]);
        let is = |condition| is_true(object, condition);
        Self {
            name: object.name().to_owned(),
            uid: object.uid().to_owned(),
            namespaced: spec.str_at(&["scope"]) == "Namespaced",
            names: Names::of(object.at(&["status", "acceptedNames"])),
            versions: spec
                .list_at(&["versions"])
                .iter()
                .map(|version| Version::of(version, &group, kind))
                .collect(),
            conversion: spec.get("conversion").cloned().unwrap_or_default(),
            established: is("Established"),
            names_accepted: is("NamesAccepted"),
            terminating: is("Terminating"),
            group,
        }
    }

    /// The version that objects are stored in.
    pub(crate) fn storage_version(&self) -> &str {
        let version = self.versions.iter().find(|version| version.storage);
        version.map_or("", |version| &version.name)
    }

    /// Whether any of it can be served.
    pub(crate) fn is_served(&self) -> bool {
        self.established || self.names_accepted
    }
}

impl Version {
    fn of(version: &Value, group: &str, kind: &str) -> Self {
        let name = version.str_at(&["name"]);
        let deprecated = version.bool_at(&["deprecated"]) == Some(true);
        let warning = version.str_at(&["deprecationWarning"]);
        let scale = version.at(&["subresources", "scale"]);
        Self {
            name: name.to_owned(),
            served: version.bool_at(&["served"]) == Some(true),
            storage: version.bool_at(&["storage"]) == Some(true),
            deprecation: deprecated.then(|| {
                if warning.is_empty() {
                    format!("{group}/{name} {kind} is deprecated")
                } else {
                    warning.to_owned()
                }
            }),
            schema: version
                .at(&["schema", "openAPIV3Schema"])
                .cloned()
                .unwrap_or_default(),
            has_status: version
                .at(&["subresources", "status"])
                .is_some_and(|status| !status.is_null()),
            scale: scale.filter(|scale| scale.is_object()).map(|scale| {
                [
                    "specReplicasPath",
                    "statusReplicasPath",
                    "labelSelectorPath",
                ]
                .map(|field| scale.str_at(&[field]).to_owned())
            }),
            columns: version.list_at(&["additionalPrinterColumns"]).to_vec(),
            selectable: version
                .list_at(&["selectableFields"])
                .iter()
                .map(|field| field.str_at(&["jsonPath"]).to_owned())
                .collect(),
        }
    }
}

/// Whether a condition of a definition is `True`.
pub(crate) fn is_true(object: &Value, condition: &str) -> bool {
    crate::object::condition::is_true(object.list_at(&["status", "conditions"]), condition)
}

/// Sets a condition; its time is that of its last change of status.
pub(crate) fn set_condition(
    object: &mut Value,
    type_: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: &str,
) {
    let mut condition = json!({
        "type": type_, "status": status, "lastTransitionTime": now, "reason": reason, "message": message,
    });
    let mut conditions = object.list_at(&["status", "conditions"]).to_vec();
    let existing = conditions
        .iter_mut()
        .find(|existing| existing.str_at(&["type"]) == type_);
    match existing {
        Some(existing) => {
            if existing.str_at(&["status"]) == status {
                condition["lastTransitionTime"] = existing["lastTransitionTime"].clone();
            }
            *existing = condition;
        }
        None => conditions.push(condition),
    }
    object.set_at(&["status", "conditions"], conditions);
}
