//! IPAddress: which object holds an address.

use serde_json::Value;

use crate::apiserver::kinds::{check, ip, names};
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct IpAddress;

impl Strategy for IpAddress {
    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let path = Path::new("spec").child("parentRef");
        let Some(parent) = object
            .at(&["spec", "parentRef"])
            .filter(|parent| parent.is_object())
        else {
            errors.required(path, "");
            return;
        };
        let group = parent.str_at(&["group"]);
        if !group.is_empty() {
            check::problems(
                group,
                name::dns_subdomain(group),
                &path.child("group"),
                errors,
            );
        }
        for (field, required) in [("resource", true), ("name", true), ("namespace", false)] {
            let text = parent.str_at(&[field]);
            if !text.is_empty() {
                let problems = names::path_segment(text, false);
                check::problems(text, problems, &path.child(field), errors);
            } else if required {
                errors.required(path.child(field), "");
            }
        }
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        self.validate(context, object, errors);
        let (new, old) = (
            object.at(&["spec", "parentRef"]),
            old.at(&["spec", "parentRef"]),
        );
        if new != old {
            let shown = new.map_or_else(|| "null".to_owned(), show_parent);
            let path = Path::new("spec").child("parentRef");
            errors.invalid_text(path, &shown, "field is immutable");
        }
    }

    fn validate_name(&self, name: &str, _prefix: bool) -> Vec<String> {
        ip::canonical_address(name)
    }

    fn has_generation(&self) -> bool {
        false
    }
}

/// A parent as Go prints its internal form.
fn show_parent(parent: &Value) -> String {
    let fields = [
        ("Group", "group"),
        ("Resource", "resource"),
        ("Namespace", "namespace"),
        ("Name", "name"),
    ];
    let fields = fields.map(|(shown, field)| format!("{shown:?}:{:?}", parent.str_at(&[field])));
    format!("{{{}}}", fields.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apiserver::kinds::testing::{errors_of, errors_of_update};

    #[test]
    fn rules() {
        for (spec, expected) in [
            (
                json!({ "parentRef": { "resource": "services", "name": "a", "namespace": "b" } }),
                "",
            ),
            (json!({}), "spec.parentRef: Required value"),
            (
                json!({ "parentRef": {} }),
                "spec.parentRef.resource: Required value; spec.parentRef.name: Required value",
            ),
            (
                json!({ "parentRef": { "resource": "a/b", "name": "." } }),
                "spec.parentRef.resource: Invalid value: \"a/b\": may not contain '/'; spec.parentRef.name: Invalid value: \".\": may not be '.'",
            ),
        ] {
            assert_eq!(errors_of(&IpAddress, &json!({ "spec": spec })), expected);
        }
        assert_eq!(
            IpAddress.validate_name("010.0.0.1", false),
            ["must not have leading 0s"]
        );
    }

    #[test]
    fn the_parent_stays() {
        let with = |name: &str| json!({ "spec": { "parentRef": { "resource": "services", "name": name } } });
        assert_eq!(
            errors_of_update(&IpAddress, None, &with("b"), &with("a")),
            "spec.parentRef: Invalid value: {\"Group\":\"\",\"Resource\":\"services\",\"Namespace\":\"\",\"Name\":\"b\"}: field is immutable"
        );
        assert_eq!(
            errors_of_update(&IpAddress, None, &with(""), &with("a")),
            "spec.parentRef.name: Required value; \
             spec.parentRef: Invalid value: {\"Group\":\"\",\"Resource\":\"services\",\"Namespace\":\"\",\"Name\":\"\"}: field is immutable"
        );
    }
}
