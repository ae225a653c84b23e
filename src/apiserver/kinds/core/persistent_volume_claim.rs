//! PersistentVolumeClaim.

use serde_json::{Value, json};

use super::persistent_volume::{
    CLASS, VOLUME_MODES, access_modes, class_name, class_warning, default_phase,
};
use crate::apiserver::kinds::{check, difference, resource_name};
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct PersistentVolumeClaim;

const REQUEST: [&str; 3] = ["resources", "requests", "storage"];
/// How far the growth of a volume is, sorted.
const RESIZING: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

impl Strategy for PersistentVolumeClaim {
    fn default(&self, object: &mut Value) {
        default_phase(object);
        if let Some(spec) = object.get_mut("spec") {
            default_spec(spec);
        }
        if let Some(status) = object.get_mut("status") {
            resource_name::round_to_milli(status.get_mut("capacity"));
        }
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object["status"] = json!({ "phase": "Pending" });
        if let Some(spec) = object.get_mut("spec") {
            drop_sources(spec, None);
            unite_sources(spec);
        }
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        if context.subresource.is_none() {
            object["status"] = old.get("status").cloned().unwrap_or_default();
            if let Some(spec) = object.get_mut("spec") {
                drop_sources(spec, old.get("spec"));
            }
        }
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        validate_spec(spec_of(object), &Path::new("spec"), errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        if context.subresource.is_some() {
            validate_status(object, errors);
            return;
        }
        // The real server does so twice.
        self.validate(context, object, errors);
        self.validate(context, object, errors);
        validate_change(object, old, errors);
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut warnings = class_warning(object);
        warnings.extend(spec_warnings(spec_of(object), &Path::new("spec")));
        warnings
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

fn spec_of(object: &Value) -> &Value {
    object.get("spec").unwrap_or(&Value::Null)
}

/// What is left out of the spec of a claim.
pub(in crate::apiserver::kinds) fn default_spec(spec: &mut Value) {
    spec.default_at(&["volumeMode"], "Filesystem");
    for list in ["limits", "requests"] {
        resource_name::round_to_milli(spec.at_mut(&["resources", list]));
    }
}

/// The warnings about amounts of storage that are no whole bytes.
pub(in crate::apiserver::kinds) fn spec_warnings(spec: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for list in ["requests", "limits"] {
        let amount = spec.at(&["resources", list, "storage"]);
        if resource_name::quantity(amount).milli_value() % 1000 != 0 {
            let at = path.child("resources").child(list).key("storage");
            let amount = amount.and_then(Value::as_str).unwrap_or_default();
            warnings.push(format!(
                "{at}: fractional byte value {amount:?} is invalid, must be an integer"
            ));
        }
    }
    warnings
}

/// The object at `field`.
fn given<'a>(spec: &'a Value, field: &str) -> Option<&'a Value> {
    spec.get(field).filter(|value| value.is_object())
}

/// The older field for what a volume starts with only ever took claims and snapshots; anything else is silently taken out, and
/// so is what comes from another namespace.
fn drop_sources(spec: &mut Value, old: Option<&Value>) {
    let had = |field: &str| old.is_some_and(|old| given(old, field).is_some());
    if !spec.str_at(&["dataSourceRef", "namespace"]).is_empty() && !had("dataSourceRef") {
        spec.remove_at(&["dataSourceRef"]);
    }
    if had("dataSource") || had("dataSourceRef") || given(spec, "dataSourceRef").is_some() {
        return;
    }
    let kind = spec.str_at(&["dataSource", "kind"]);
    let group = spec.str_at(&["dataSource", "apiGroup"]);
    let known = [
        ("PersistentVolumeClaim", ""),
        ("VolumeSnapshot", "snapshot.storage.k8s.io"),
    ];
    if !known.contains(&(kind, group)) {
        spec.remove_at(&["dataSource"]);
    }
}

/// The older and the newer field say the same.
fn unite_sources(spec: &mut Value) {
    let copy = |spec: &Value, field: &str| {
        let source = given(spec, field)?;
        Some(json!({
            "apiGroup": source.get("apiGroup").cloned().unwrap_or_default(),
            "kind": source.str_at(&["kind"]),
            "name": source.str_at(&["name"]),
        }))
    };
    let (older, newer) = (copy(spec, "dataSource"), copy(spec, "dataSourceRef"));
    match (older, newer) {
        (Some(older), None) => spec.set_at(&["dataSourceRef"], older),
        (None, Some(newer)) if spec.str_at(&["dataSourceRef", "namespace"]).is_empty() => {
            spec.set_at(&["dataSource"], newer);
        }
        _ => {}
    }
}

/// The spec of a claim, also of one in a template.
pub(in crate::apiserver::kinds) fn validate_spec(spec: &Value, path: &Path, errors: &mut Errors) {
    access_modes(spec, "at least 1 access mode is required", path, errors);
    if let Some(selector) = given(spec, "selector") {
        check::label_selector(selector, &path.child("selector"), errors);
    }
    let at = path.child("resources").key("storage");
    match spec.at(&REQUEST).filter(|amount| !amount.is_null()) {
        None => errors.required(at, ""),
        Some(amount) => {
            resource_name::positive(amount, &at, errors);
        }
    }
    class_name(spec, "storageClassName", path, errors);
    if let Some(mode) = spec.get("volumeMode").and_then(Value::as_str)
        && !VOLUME_MODES.contains(&mode)
    {
        errors.not_supported(path.child("volumeMode"), mode, &VOLUME_MODES);
    }
    validate_sources(spec, path, errors);
    class_name(spec, "volumeAttributesClassName", path, errors);
}

fn validate_sources(spec: &Value, path: &Path, errors: &mut Errors) {
    let (older, newer) = (given(spec, "dataSource"), given(spec, "dataSourceRef"));
    for (field, source) in [("dataSource", older), ("dataSourceRef", newer)] {
        if let Some(source) = source {
            validate_source(source, &path.child(field), errors);
        }
    }
    let Some(newer) = newer else {
        return;
    };
    let namespace = newer.str_at(&["namespace"]);
    if !namespace.is_empty() {
        let at = path.child("dataSourceRef").child("namespace");
        check::problems(namespace, name::dns_label(namespace), &at, errors);
    }
    let Some(older) = older else {
        return;
    };
    let part = |source: &Value, field: &str| source.str_at(&[field]).to_owned();
    let differs = ["apiGroup", "kind", "name"]
        .iter()
        .any(|field| part(older, field) != part(newer, field));
    if !namespace.is_empty() {
        let why = "may not be specified when dataSourceRef.namespace is specified";
        errors.invalid(path.clone(), json!({}), why);
    } else if differs {
        errors.invalid(path.clone(), json!({}), "must match dataSourceRef");
    }
}

fn validate_source(source: &Value, path: &Path, errors: &mut Errors) {
    for field in ["name", "kind"] {
        if source.str_at(&[field]).is_empty() {
            errors.required(path.child(field), "");
        }
    }
    let (group, kind) = (source.str_at(&["apiGroup"]), source.str_at(&["kind"]));
    if !group.is_empty() {
        let problems = name::dns_subdomain(group);
        check::problems(group, problems, &path.child("apiGroup"), errors);
    } else if kind != "PersistentVolumeClaim" {
        let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.invalid(path.clone(), kind, why);
    }
}

fn validate_change(object: &Value, old: &Value, errors: &mut Errors) {
    let (mut new, mut before) = (spec_of(object).clone(), spec_of(old).clone());
    let text =
        |spec: &Value, field: &str| spec.get(field).and_then(Value::as_str).map(str::to_owned);
    // The volume is set once.
    if before.str_at(&["volumeName"]).is_empty() {
        set(&mut before, "volumeName", new.get("volumeName").cloned());
    }
    let (class, class_before) = (
        text(&new, "storageClassName"),
        text(&before, "storageClassName"),
    );
    let (annotation, annotation_before) = (object.annotation(CLASS), old.annotation(CLASS));
    let was_unset = class.is_some() && class_before.is_none();
    let moves = was_unset
        && annotation_before.is_some()
        && annotation_before == class.as_deref()
        && annotation.is_none_or(|annotation| Some(annotation) == annotation_before);
    if !moves && annotation != annotation_before {
        let at = Path::new("metadata").child("annotations").child(CLASS);
        errors.invalid(at, annotation.unwrap_or_default(), "field is immutable");
    }
    if moves || was_unset && annotation_before.is_none_or(|was| Some(was) == class.as_deref()) {
        set(&mut new, "storageClassName", None);
    }
    if old.str_at(&["status", "phase"]) == "Bound" {
        if new
            .at(&["resources", "requests"])
            .is_some_and(Value::is_object)
            && let Some(size) = before.at(&REQUEST)
        {
            new.set_at(&REQUEST, size.clone());
        }
        if text(&new, "volumeAttributesClassName").is_some() {
            let class = before.get("volumeAttributesClassName").cloned();
            set(&mut new, "volumeAttributesClassName", class);
        }
    }
    let changes = difference::of("api.core.v1.PersistentVolumeClaimSpec", &before, &new);
    if !changes.is_empty() {
        let why = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{changes}"
        );
        errors.forbidden(Path::new("spec"), &why);
    }
    validate_size(object, old, errors);
    let (new, before) = (spec_of(object), spec_of(old));
    check::immutable(new, before, "volumeMode", &Path::default(), errors);
    let field = "volumeAttributesClassName";
    if let Some(was) = text(before, field)
        && text(new, field).as_ref() != Some(&was)
    {
        let why = match text(new, field).as_deref() {
            None => "update from non-nil value to nil is forbidden",
            Some("") => "update from non-nil value to an empty string is forbidden",
            Some(_) => return,
        };
        errors.forbidden(Path::new("spec").child(field), why);
    }
}

fn set(spec: &mut Value, field: &str, value: Option<Value>) {
    match value {
        Some(value) => spec.set_at(&[field], value),
        None => {
            spec.remove_at(&[field]);
        }
    }
}

/// A claim may shrink only to give up a growth that has not happened.
fn validate_size(object: &Value, old: &Value, errors: &mut Errors) {
    let size = |object: &Value| resource_name::quantity(spec_of(object).at(&REQUEST));
    let capacity = resource_name::quantity(old.at(&["status", "capacity", "storage"]));
    if size(object) < size(old) && size(object) <= capacity {
        let why = "field can not be less than status.capacity";
        errors.forbidden(Path::new("spec.resources.requests.storage"), why);
    }
}

fn validate_status(object: &Value, errors: &mut Errors) {
    if object.list_at(&["spec", "accessModes"]).is_empty() {
        errors.required(Path::new("Spec").child("accessModes"), "");
    }
    let path = Path::new("status");
    let status = object.get("status").unwrap_or(&Value::Null);
    let map = |field: &str| check::map_at(status, &[field]).into_iter().flatten();
    for (resource, amount) in map("capacity") {
        resource_name::storage(amount, &path.child("capacity").key(resource), errors);
    }
    let at = path.child("allocatedResourceStatus");
    for (resource, state) in map("allocatedResourceStatuses") {
        resource_key(resource, &at, errors);
        if !RESIZING.contains(&state.as_str().unwrap_or_default()) {
            errors.not_supported(at.clone(), resource.as_str(), &RESIZING);
        }
    }
    let at = path.child("allocatedResources");
    for (resource, amount) in map("allocatedResources") {
        if resource_key(resource, &at, errors) {
            resource_name::storage(amount, &at.key(resource), errors);
        }
    }
}

/// Of Kubernetes' own resources a claim has storage only. Whether the name is valid.
fn resource_key(resource: &str, path: &Path, errors: &mut Errors) -> bool {
    let problems = name::qualified(resource);
    if !problems.is_empty() {
        check::problems(resource, problems, path, errors);
        return false;
    }
    let known = !resource_name::is_native(resource) || resource == "storage";
    if !known {
        errors.not_supported(path.clone(), resource, &["storage"]);
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::kinds::testing::{context, defaulted, errors_of, errors_of_update};

    fn claim(change: &Value) -> Value {
        let mut spec = json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } });
        let fields = change.as_object().unwrap().clone();
        spec.as_object_mut().unwrap().extend(fields);
        defaulted(&PersistentVolumeClaim, json!({ "spec": spec }))
    }

    fn size(size: &str) -> Value {
        claim(&json!({ "resources": { "requests": { "storage": size } } }))
    }

    #[test]
    fn rules() {
        for (change, expected) in [
            (json!({}), ""),
            (
                json!({ "accessModes": [] }),
                "spec.accessModes: Required value: at least 1 access mode is required",
            ),
            (
                json!({ "resources": {} }),
                "spec.resources[storage]: Required value",
            ),
            (
                json!({ "resources": { "requests": { "storage": "0" } } }),
                "spec.resources[storage]: Invalid value: \"0\": must be greater than zero",
            ),
            (
                json!({ "volumeMode": "X" }),
                "spec.volumeMode: Unsupported value: \"X\": supported values: \"Block\", \"Filesystem\"",
            ),
            (
                json!({ "dataSource": { "kind": "K", "name": "n" } }),
                "spec.dataSource: Invalid value: \"K\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            ),
            (
                json!({ "dataSource": { "kind": "PersistentVolumeClaim", "name": "a" }, "dataSourceRef": { "kind": "PersistentVolumeClaim", "name": "b" } }),
                "spec: Invalid value: {}: must match dataSourceRef",
            ),
        ] {
            assert_eq!(errors_of(&PersistentVolumeClaim, &claim(&change)), expected);
        }
    }

    #[test]
    fn sources() {
        let mut object =
            claim(&json!({ "dataSourceRef": { "kind": "PersistentVolumeClaim", "name": "a" } }));
        PersistentVolumeClaim.prepare_create(&context(None), &mut object);
        assert_eq!(
            object["spec"]["dataSource"],
            json!({ "apiGroup": null, "kind": "PersistentVolumeClaim", "name": "a" })
        );
        let mut object = claim(&json!({ "dataSource": { "kind": "Other", "name": "a" } }));
        PersistentVolumeClaim.prepare_create(&context(None), &mut object);
        assert_eq!(object["spec"].get("dataSource"), None);
    }

    #[test]
    fn sizes() {
        let mut old = size("1Gi");
        for (phase, new, expected) in [
            ("Bound", "2Gi", ""),
            (
                "Bound",
                "500Mi",
                "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity",
            ),
            (
                "Pending",
                "2Gi",
                "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n\
                 @@ -6,7 +6,7 @@\n  \"Resources\": {\n   \"Limits\": null,\n   \"Requests\": {\n-   \"storage\": \"1Gi\"\n+   \"storage\": \"2Gi\"\n   }\n  },\n  \"VolumeName\": \"\",\n",
            ),
        ] {
            old["status"] = json!({ "phase": phase, "capacity": { "storage": "1Gi" } });
            assert_eq!(
                errors_of_update(&PersistentVolumeClaim, None, &size(new), &old),
                expected
            );
        }
    }

    #[test]
    fn what_may_change() {
        let old = claim(&json!({}));
        for (change, valid) in [
            (json!({ "volumeName": "v" }), true),
            (json!({ "storageClassName": "c" }), true),
            (json!({ "volumeMode": "Block" }), false),
            (json!({ "selector": {} }), false),
        ] {
            let found = errors_of_update(&PersistentVolumeClaim, None, &claim(&change), &old);
            assert_eq!(found.is_empty(), valid, "{change}: {found}");
        }
        let old = claim(&json!({ "storageClassName": "c" }));
        let found = errors_of_update(
            &PersistentVolumeClaim,
            None,
            &claim(&json!({ "storageClassName": "d" })),
            &old,
        );
        assert!(found.contains("- \"StorageClassName\": \"c\",\n+ \"StorageClassName\": \"d\","));
    }

    #[test]
    fn status() {
        let mut object = claim(&json!({}));
        object["status"] = json!({
            "capacity": { "storage": "-1" }, "allocatedResourceStatuses": { "cpu": "X" },
        });
        let found = errors_of_update(&PersistentVolumeClaim, Some("status"), &object, &object);
        assert_eq!(
            found,
            "status.capacity[storage]: Invalid value: -1: must be a valid resource quantity; \
             status.allocatedResourceStatus: Unsupported value: \"cpu\": supported values: \"storage\"; \
             status.allocatedResourceStatus: Unsupported value: \"cpu\": supported values: \"ControllerResizeInProgress\", \
             \"ControllerResizeInfeasible\", \"NodeResizeInProgress\", \"NodeResizeInfeasible\", \"NodeResizePending\""
        );
    }

    #[test]
    fn fractions_are_warned_of() {
        assert_eq!(
            PersistentVolumeClaim.warnings(&size("1500m"), None),
            [
                "spec.resources.requests[storage]: fractional byte value \"1500m\" is invalid, must be an integer"
            ]
        );
    }
}
