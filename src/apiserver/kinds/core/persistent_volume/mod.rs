//! PersistentVolume.

mod source;

use serde_json::{Value, json};

use crate::apiserver::kinds::{check, difference, node_selector, resource_name};
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct PersistentVolume;

/// How volumes can be used.
pub(in crate::apiserver::kinds) const ACCESS_MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];
/// What volumes show of themselves.
pub(in crate::apiserver::kinds) const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
const RECLAIM: [&str; 3] = ["Delete", "Recycle", "Retain"];
/// How the class was given before there was a field for it.
pub(super) const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const CLASS_IS_OLD: &str = "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use \"storageClassName\" attribute instead";
const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";

impl Strategy for PersistentVolume {
    fn default(&self, object: &mut Value) {
        default_phase(object);
        object.default_at(&["spec", "persistentVolumeReclaimPolicy"], "Retain");
        if object
            .str_at(&["spec", "persistentVolumeReclaimPolicy"])
            .is_empty()
        {
            object.set_at(&["spec", "persistentVolumeReclaimPolicy"], "Retain");
        }
        object.default_at(&["spec", "volumeMode"], "Filesystem");
        if let Some(spec) = object.get_mut("spec") {
            resource_name::round_to_milli(spec.get_mut("capacity"));
            source::default(spec);
        }
    }

    fn prepare_create(&self, context: &Context<'_>, object: &mut Value) {
        object["status"] = json!({ "phase": "Pending", "lastPhaseTransitionTime": context.now });
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        if context.subresource.is_none() {
            object["status"] = old.get("status").cloned().unwrap_or_default();
            return;
        }
        let path = ["status", "lastPhaseTransitionTime"];
        let time = |object: &Value| object.at(&path).filter(|time| !time.is_null()).cloned();
        let phase = |object: &Value| object.str_at(&["status", "phase"]).to_owned();
        let given = time(object);
        if phase(object) == phase(old) {
            if let (None, Some(time)) = (given, time(old)) {
                object.set_at(&path, time);
            }
        } else if given.is_none() || given == time(old) {
            object.set_at(&path, context.now);
        }
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        validate_spec(object, errors);
        let path = Path::new("metadata").child("annotations");
        if object.annotation(MOUNT_OPTIONS).is_some() && !source::takes_mount_options(object) {
            let why = "may not specify mount options for this volume type";
            errors.forbidden(path.child(MOUNT_OPTIONS), why);
        }
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        if context.subresource.is_some() {
            return;
        }
        // The real server does so twice.
        self.validate(context, object, errors);
        validate_spec(object, errors);
        validate_change(object, old, errors);
    }

    fn warnings(&self, object: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut warnings = class_warning(object);
        let spec = object.get("spec").unwrap_or(&Value::Null);
        if spec.str_at(&["persistentVolumeReclaimPolicy"]) == "Recycle" {
            warnings.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".to_owned());
        }
        let terms = spec.list_at(&["nodeAffinity", "required", "nodeSelectorTerms"]);
        let path = Path::new("spec.nodeAffinity.required.nodeSelectorTerms");
        warnings.extend(node_selector::term_warnings(terms, &path));
        warnings.extend(source::warnings(spec));
        warnings
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

/// What has no phase yet is pending.
pub(super) fn default_phase(object: &mut Value) {
    if object.str_at(&["status", "phase"]).is_empty() {
        object.set_at(&["status", "phase"], "Pending");
    }
}

/// The warning about the class in an annotation.
pub(super) fn class_warning(object: &Value) -> Vec<String> {
    let old = object.annotation(CLASS).map(|_| CLASS_IS_OLD.to_owned());
    old.into_iter().collect()
}

/// The modes of a volume or of a claim; there must be one.
pub(super) fn access_modes(spec: &Value, why: &str, path: &Path, errors: &mut Errors) {
    let path = path.child("accessModes");
    let modes = spec.list_at(&["accessModes"]);
    let modes: Vec<&str> = modes.iter().filter_map(Value::as_str).collect();
    if modes.is_empty() {
        errors.required(path.clone(), why);
    }
    for mode in modes.iter().filter(|mode| !ACCESS_MODES.contains(mode)) {
        errors.not_supported(path.clone(), *mode, &ACCESS_MODES);
    }
    let is_single = |mode: &&str| *mode == "ReadWriteOncePod";
    let is_other = |mode: &&str| !is_single(mode) && ACCESS_MODES.contains(mode);
    if modes.iter().any(is_single) && modes.iter().any(is_other) {
        let why = "may not use ReadWriteOncePod with other access modes";
        errors.forbidden(path, why);
    }
}

/// The name of a class at `field`.
pub(super) fn class_name(spec: &Value, field: &str, path: &Path, errors: &mut Errors) {
    let class = spec.str_at(&[field]);
    if !class.is_empty() {
        let problems = name::dns_subdomain(class);
        check::problems(class, problems, &path.child(field), errors);
    }
}

fn validate_spec(object: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    let empty = json!({});
    let spec = object.get("spec").unwrap_or(&empty);
    access_modes(spec, "", &path, errors);
    validate_capacity(spec, &path, errors);
    check::one_of(
        spec,
        "persistentVolumeReclaimPolicy",
        &RECLAIM,
        &path,
        errors,
    );
    let affinity = spec
        .get("nodeAffinity")
        .filter(|affinity| affinity.is_object());
    if let Some(affinity) = affinity {
        let at = path.child("nodeAffinity").child("required");
        match affinity
            .get("required")
            .filter(|required| required.is_object())
        {
            Some(required) => node_selector::validate(required, &at, errors),
            None => errors.required(at, "must specify required node constraints"),
        }
    }
    source::validate(spec, object.name(), &path, errors);
    if spec.get("local").is_some_and(Value::is_object) && affinity.is_none() {
        let why = "Local volume requires node affinity";
        errors.required(path.child("nodeAffinity"), why);
    }
    let recycled = spec.str_at(&["persistentVolumeReclaimPolicy"]) == "Recycle";
    if recycled && source::is_root(spec) {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        errors.forbidden(path.child("persistentVolumeReclaimPolicy"), why);
    }
    class_name(spec, "storageClassName", &path, errors);
    check::one_of(spec, "volumeMode", &VOLUME_MODES, &path, errors);
    let attributes = spec.get("volumeAttributesClassName");
    if let Some(class) = attributes.and_then(Value::as_str) {
        if class.is_empty() {
            let at = path.child("volumeAttributesClassName");
            errors.required(at, "an empty string is disallowed");
        }
        class_name(spec, "volumeAttributesClassName", &path, errors);
        if !spec.get("csi").is_some_and(Value::is_object) {
            let why = "has to be specified when using volumeAttributesClassName";
            errors.required(path.child("csi"), why);
        }
    }
}

fn validate_capacity(spec: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("capacity");
    let capacity = check::map_at(spec, &["capacity"]);
    let count = capacity.map_or(0, serde_json::Map::len);
    if count == 0 {
        errors.required(path.clone(), "");
    }
    if count != 1 || !capacity.is_some_and(|capacity| capacity.contains_key("storage")) {
        let shown = spec.get("capacity").cloned().unwrap_or(Value::Null);
        errors.not_supported(path.clone(), shown, &["storage"]);
    }
    for (resource, amount) in capacity.into_iter().flatten() {
        resource_name::storage(amount, &path.key(resource), errors);
        resource_name::positive(amount, &path.key(resource), errors);
    }
}

/// The spec of a volume that is written out in a `VolumeAttachment`.
pub(in crate::apiserver::kinds) fn validate_inline(spec: &Value, path: &Path, errors: &mut Errors) {
    let why = "may not be specified in the context of inline volumes";
    let given = |field: &str| spec.get(field).is_some_and(|value| !value.is_null());
    if given("claimRef") {
        errors.forbidden(path.child("claimRef"), why);
    }
    if check::map_at(spec, &["capacity"]).is_some_and(|capacity| !capacity.is_empty()) {
        errors.forbidden(path.child("capacity"), why);
    }
    if !given("csi") {
        let why = "has to be specified in the context of inline volumes";
        errors.required(path.child("csi"), why);
    }
    access_modes(spec, "", path, errors);
    if !matches!(
        spec.str_at(&["persistentVolumeReclaimPolicy"]),
        "" | "Retain"
    ) {
        let why = "may only be Retain in the context of inline volumes";
        errors.forbidden(path.child("persistentVolumeReclaimPolicy"), why);
    }
    if given("nodeAffinity") {
        errors.forbidden(path.child("nodeAffinity"), why);
    }
    source::validate(spec, "", path, errors);
    if given("local") {
        let why = "Local volume requires node affinity";
        errors.required(path.child("nodeAffinity"), why);
    }
    if !spec.str_at(&["storageClassName"]).is_empty() {
        errors.forbidden(path.child("storageClassName"), why);
    }
    if !matches!(spec.str_at(&["volumeMode"]), "" | "Filesystem") {
        let why =
            "may not specify volumeMode other than Filesystem in the context of inline volumes";
        errors.forbidden(path.child("volumeMode"), why);
    }
}

/// The source within a volume's spec.
const SOURCE: &str = "api.core.v1.PersistentVolumeSpec#v1.PersistentVolumeSource";

fn validate_change(object: &Value, old: &Value, errors: &mut Errors) {
    let empty = Value::Null;
    let (old, mut new) = (
        old.get("spec").unwrap_or(&empty),
        object.get("spec").cloned().unwrap_or_default(),
    );
    // A secret to expand the volume with may be added.
    let secret = ["csi", "controllerExpandSecretRef"];
    if old.at(&secret).is_none_or(Value::is_null) {
        new.remove_at(&secret);
    }
    let changes = difference::of(SOURCE, old, &new);
    if !changes.is_empty() {
        let why = format!("spec.persistentvolumesource is immutable after creation\n{changes}");
        errors.forbidden(Path::new("spec").child("persistentvolumesource"), &why);
    }
    check::immutable(&new, old, "volumeMode", &Path::default(), errors);
    if old.get("nodeAffinity").is_some_and(Value::is_object)
        && !source::same_affinity(old.get("nodeAffinity"), new.get("nodeAffinity"))
    {
        let shown = new.get("nodeAffinity").cloned().unwrap_or_default();
        let why = "field is immutable, except for updating from beta label to GA";
        let (definition, path) = ("api.core.v1.VolumeNodeAffinity", Path::new("nodeAffinity"));
        check::invalid_struct(&shown, definition, path, why, errors);
    }
    let attributes = |spec: &Value| spec.str_at(&["volumeAttributesClassName"]).to_owned();
    if !attributes(old).is_empty() && attributes(&new).is_empty() {
        let why = "update from non-nil value to nil is forbidden";
        errors.forbidden(Path::new("spec").child("volumeAttributesClassName"), why);
    }
}

#[cfg(test)]
mod tests;
