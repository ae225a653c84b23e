//! APIService: who serves a version of a group.

use serde_json::{Value, json};

use crate::apiserver::kinds::{check, names};
use crate::apiserver::registry::strategy::{CLIENT_METADATA, Context, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(super) struct ApiService;

const GROUP_PRIORITY: i64 = 20000;
const VERSION_PRIORITY: i64 = 1000;
const HTTPS: i64 = 443;

impl Strategy for ApiService {
    fn default(&self, object: &mut Value) {
        if let Some(service) = object.at_mut(&["spec", "service"])
            && service.is_object()
        {
            service.default_at(&["port"], HTTPS);
        }
    }

    fn prepare_create(&self, context: &Context<'_>, object: &mut Value) {
        object["status"] = if is_local(object) {
            json!({ "conditions": [{
                "type": "Available",
                "status": "True",
                "lastTransitionTime": context.now,
                "reason": "Local",
                "message": "Local APIServices are always available",
            }] })
        } else {
            json!({})
        };
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        if context.subresource.is_none() {
            object["status"] = old.get("status").cloned().unwrap_or_default();
        }
    }

    fn status_keeps(&self) -> &[&[&str]] {
        CLIENT_METADATA
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        validate(object, errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        _old: &Value,
        errors: &mut Errors,
    ) {
        if context.subresource.is_none() {
            validate(object, errors);
            return;
        }
        let path = Path::new("status").child("conditions");
        let conditions = object.list_at(&["status", "conditions"]);
        for (index, condition) in conditions.iter().enumerate() {
            let status = condition.str_at(&["status"]);
            let known = ["True", "False", "Unknown"];
            if !known.contains(&status) {
                errors.not_supported(path.index(index).child("status"), status, &known);
            }
        }
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// Whether this server itself serves the version.
fn is_local(object: &Value) -> bool {
    object
        .at(&["spec", "service"])
        .is_none_or(|service| !service.is_object())
}

fn validate(object: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let (group, version) = (spec.str_at(&["group"]), spec.str_at(&["version"]));
    name_of_version(object, &format!("{version}.{group}"), errors);
    if group.is_empty() && version != "v1" {
        let why = "only v1 may have an empty group and it better be legacy kube";
        errors.required(path.child("group"), why);
    }
    if !group.is_empty() {
        let problems = name::dns_subdomain(group);
        check::problems(group, problems, &path.child("group"), errors);
    }
    let problems = name::dns_1035_label(version);
    check::problems(version, problems, &path.child("version"), errors);
    for (field, most) in [
        ("groupPriorityMinimum", GROUP_PRIORITY),
        ("versionPriority", VERSION_PRIORITY),
    ] {
        let priority = spec.i64_at(&[field]).unwrap_or(0);
        if !(1..=most).contains(&priority) {
            let why = format!("must be positive and less than {most}");
            errors.invalid(path.child(field), priority, &why);
        }
    }
    let bundle = spec.get("caBundle").unwrap_or(&Value::Null);
    let has_bundle = check::base64_size(bundle) > 0;
    let insecure = spec.at(&["insecureSkipTLSVerify"]) == Some(&Value::Bool(true));
    let insecure_path = path.child("insecureSkipTLSVerify");
    if is_local(object) {
        if has_bundle {
            let shown = format!("{} bytes", check::base64_size(bundle));
            let why = "local APIServices may not have a caBundle";
            errors.invalid(path.child("caBundle"), shown, why);
        }
        if insecure {
            let why = "local APIServices may not have insecureSkipTLSVerify";
            errors.invalid(insecure_path, true, why);
        }
        return;
    }
    for field in ["namespace", "name"] {
        if spec.str_at(&["service", field]).is_empty() {
            errors.required(path.child("service").child(field), "");
        }
    }
    let port = spec.i64_at(&["service", "port"]).unwrap_or(0);
    if !(1..=65535).contains(&port) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        errors.invalid(path.child("service").child("port"), port, why);
    }
    if insecure && has_bundle {
        errors.invalid(
            insecure_path,
            true,
            "may not be true if caBundle is present",
        );
    }
}

/// The object must be named after the version it is about.
fn name_of_version(object: &Value, wanted: &str, errors: &mut Errors) {
    let why = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
    let texts = [
        (
            "generateName",
            object.str_at(&["metadata", "generateName"]),
            true,
        ),
        ("name", object.name(), false),
    ];
    for (field, text, prefix) in texts {
        let wrong = !text.is_empty() && text != wanted;
        if wrong && names::path_segment(text, prefix).is_empty() {
            errors.invalid(Path::new("metadata").child(field), text, &why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::kinds::testing::{context, defaulted, errors_of, errors_of_update};

    fn service() -> Value {
        json!({
            "metadata": { "name": "v1.g.io" },
            "spec": {
                "group": "g.io", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15,
                "service": { "namespace": "n", "name": "s" },
            },
        })
    }

    #[test]
    fn a_remote_server_is_reached_through_https() {
        let object = defaulted(&ApiService, service());
        assert_eq!(object["spec"]["service"]["port"], 443);
        assert_eq!(errors_of(&ApiService, &object), "");
    }

    #[test]
    fn what_this_server_serves_is_available_at_once() {
        let mut object = service();
        object["spec"]["service"] = Value::Null;
        ApiService.prepare_create(&context(None), &mut object);
        assert_eq!(object["status"]["conditions"][0]["reason"], "Local");
        let mut remote = service();
        ApiService.prepare_create(&context(None), &mut remote);
        assert_eq!(remote["status"], json!({}));
    }

    #[test]
    fn rules() {
        let cases = [
            (
                json!({ "metadata": { "name": "v1.other" } }),
                "metadata.name: Invalid value: \"v1.other\": must be `spec.version+\".\"+spec.group`: \"v1.g.io\"",
            ),
            (
                json!({ "spec": { "groupPriorityMinimum": 0, "versionPriority": 1001 } }),
                "spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000; spec.versionPriority: Invalid value: 1001: must be positive and less than 1000",
            ),
            (
                json!({ "spec": { "service": null, "caBundle": "YWJj", "insecureSkipTLSVerify": true } }),
                "spec.caBundle: Invalid value: \"3 bytes\": local APIServices may not have a caBundle; spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
            ),
            (
                json!({ "spec": { "service": { "name": "", "port": 65536 }, "caBundle": "YWJj", "insecureSkipTLSVerify": true } }),
                "spec.service.name: Required value; spec.service.port: Invalid value: 65536: port is not valid: must be between 1 and 65535, inclusive; spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
            ),
        ];
        for (change, wanted) in cases {
            let mut object = service();
            merge(&mut object, &change);
            let object = defaulted(&ApiService, object);
            assert_eq!(errors_of(&ApiService, &object), wanted, "{change}");
        }
        let mut object = defaulted(&ApiService, service());
        object["metadata"]["name"] = "v2.".into();
        object["spec"]["version"] = "v2".into();
        object["spec"]["group"] = "".into();
        assert_eq!(
            errors_of(&ApiService, &object),
            "spec.group: Required value: only v1 may have an empty group and it better be legacy kube"
        );
    }

    #[test]
    fn a_condition_is_true_false_or_unknown() {
        let mut object = service();
        object["status"] = json!({ "conditions": [{ "type": "Available", "status": "Maybe" }] });
        assert_eq!(
            errors_of_update(&ApiService, Some("status"), &object, &service()),
            "status.conditions[0].status: Unsupported value: \"Maybe\": supported values: \"True\", \"False\", \"Unknown\""
        );
    }

    fn merge(object: &mut Value, change: &Value) {
        let (Some(map), Some(changes)) = (object.as_object_mut(), change.as_object()) else {
            *object = change.clone();
            return;
        };
        for (key, value) in changes {
            merge(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
