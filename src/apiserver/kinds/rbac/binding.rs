//! RoleBinding and ClusterRoleBinding.

use serde_json::{Value, json};

use super::GROUP;
use crate::apiserver::kinds::{check, names};
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::Document;
use crate::object::field::{Errors, Path};

/// Either kind of binding.
#[derive(Debug)]
pub(crate) struct Binding {
    pub(crate) namespaced: bool,
}

impl Strategy for Binding {
    fn default(&self, object: &mut Value) {
        if object.str_at(&["roleRef", "apiGroup"]).is_empty() {
            object.set_at(&["roleRef", "apiGroup"], GROUP);
        }
        let subjects = object.get_mut("subjects").and_then(Value::as_array_mut);
        for subject in subjects.into_iter().flatten() {
            let of_group = matches!(subject.kind(), "User" | "Group");
            if of_group && subject.str_at(&["apiGroup"]).is_empty() {
                subject.set_at(&["apiGroup"], GROUP);
            }
        }
    }

    fn prepare_update(&self, _context: &Context<'_>, _object: &mut Value, _old: &Value) {}

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let path = Path::new("roleRef");
        let reference = |field: &str| object.str_at(&["roleRef", field]);
        if reference("apiGroup") != GROUP {
            errors.not_supported(path.child("apiGroup"), reference("apiGroup"), &[GROUP]);
        }
        let kinds: &[&str] = if self.namespaced {
            &["Role", "ClusterRole"]
        } else {
            &["ClusterRole"]
        };
        if !kinds.contains(&reference("kind")) {
            errors.not_supported(path.child("kind"), reference("kind"), kinds);
        }
        let name = reference("name");
        if name.is_empty() {
            errors.required(path.child("name"), "");
        } else {
            let problems = names::path_segment(name, false);
            check::problems(name, problems, &path.child("name"), errors);
        }
        for (index, subject) in object.list_at(&["subjects"]).iter().enumerate() {
            let path = Path::new("subjects").index(index);
            check_subject(subject, self.namespaced, &path, errors);
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
        let field = |object: &Value, field: &str| object.str_at(&["roleRef", field]).to_owned();
        let fields = ["apiGroup", "kind", "name"];
        if fields
            .iter()
            .any(|name| field(object, name) != field(old, name))
        {
            // Upstream shows its internal type here.
            let shown = json!({
                "APIGroup": field(object, "apiGroup"), "Kind": field(object, "kind"), "Name": field(object, "name"),
            });
            errors.invalid(Path::new("roleRef"), shown, "cannot change roleRef");
        }
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn check_subject(subject: &Value, namespaced: bool, path: &Path, errors: &mut Errors) {
    let (name, group) = (subject.str_at(&["name"]), subject.str_at(&["apiGroup"]));
    if name.is_empty() {
        errors.required(path.child("name"), "");
    }
    match subject.kind() {
        "ServiceAccount" => {
            if !name.is_empty() {
                let problems = names::dns_subdomain(name, false);
                check::problems(name, problems, &path.child("name"), errors);
            }
            if !group.is_empty() {
                errors.not_supported(path.child("apiGroup"), group, &[""]);
            }
            if !namespaced && subject.str_at(&["namespace"]).is_empty() {
                errors.required(path.child("namespace"), "");
            }
        }
        kind @ ("User" | "Group") => {
            if name.is_empty() {
                let why = format!("{} name cannot be empty", kind.to_lowercase());
                errors.invalid(path.child("name"), name, &why);
            }
            if group != GROUP {
                errors.not_supported(path.child("apiGroup"), group, &[GROUP]);
            }
        }
        other => errors.not_supported(
            path.child("kind"),
            other,
            &["Group", "ServiceAccount", "User"],
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: Context<'_> = Context {
        now: "",
        subresource: None,
        user: "",
    };

    fn texts(errors: &Errors) -> Vec<String> {
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn bindings_are_checked() {
        let role =
            |kind: &str, name: &str| json!({ "apiGroup": GROUP, "kind": kind, "name": name });
        let with =
            |subject: Value| json!({ "roleRef": role("ClusterRole", "r"), "subjects": [subject] });
        for (namespaced, object, expected) in [
            (true, json!({ "roleRef": role("Role", "r") }), vec![]),
            (
                false,
                json!({ "roleRef": role("Role", "r") }),
                vec![
                    "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"",
                ],
            ),
            (
                true,
                json!({ "roleRef": { "apiGroup": "x" } }),
                vec![
                    "roleRef.apiGroup: Unsupported value: \"x\": supported values: \"rbac.authorization.k8s.io\"",
                    "roleRef.kind: Unsupported value: \"\": supported values: \"Role\", \"ClusterRole\"",
                    "roleRef.name: Required value",
                ],
            ),
            (
                true,
                json!({ "roleRef": role("Role", "a/b") }),
                vec!["roleRef.name: Invalid value: \"a/b\": may not contain '/'"],
            ),
            (
                true,
                with(json!({ "kind": "User", "apiGroup": GROUP, "name": "u" })),
                vec![],
            ),
            (
                true,
                with(json!({ "kind": "User", "apiGroup": "" })),
                vec![
                    "subjects[0].name: Required value",
                    "subjects[0].name: Invalid value: \"\": user name cannot be empty",
                    "subjects[0].apiGroup: Unsupported value: \"\": supported values: \"rbac.authorization.k8s.io\"",
                ],
            ),
            (
                true,
                with(json!({ "kind": "Group", "apiGroup": GROUP })),
                vec![
                    "subjects[0].name: Required value",
                    "subjects[0].name: Invalid value: \"\": group name cannot be empty",
                ],
            ),
            (
                true,
                with(json!({ "kind": "ServiceAccount", "name": "sa" })),
                vec![],
            ),
            (
                false,
                with(json!({ "kind": "ServiceAccount", "name": "sa", "apiGroup": "x" })),
                vec![
                    "subjects[0].apiGroup: Unsupported value: \"x\": supported values: \"\"",
                    "subjects[0].namespace: Required value",
                ],
            ),
            (
                true,
                with(json!({ "kind": "Robot", "name": "r" })),
                vec![
                    "subjects[0].kind: Unsupported value: \"Robot\": supported values: \"Group\", \"ServiceAccount\", \"User\"",
                ],
            ),
        ] {
            let mut errors = Errors::new();
            Binding { namespaced }.validate(&CONTEXT, &object, &mut errors);
            assert_eq!(texts(&errors), expected, "{object}");
        }
    }

    #[test]
    fn groups_are_defaulted_and_the_role_stays() {
        let binding = Binding { namespaced: true };
        let mut object = json!({
            "roleRef": { "kind": "Role", "name": "r" },
            "subjects": [{ "kind": "User", "name": "u" }, { "kind": "ServiceAccount", "name": "s" }, { "kind": "Group", "name": "g", "apiGroup": "x" }],
        });
        Strategy::default(&binding, &mut object);
        let groups: Vec<&str> = object
            .list_at(&["subjects"])
            .iter()
            .map(|subject| subject.str_at(&["apiGroup"]))
            .collect();
        assert_eq!(groups, [GROUP, "", "x"]);
        let old = json!({ "roleRef": { "apiGroup": GROUP, "kind": "Role", "name": "r" } });
        for (kind, name, expected) in [
            ("Role", "r", vec![]),
            (
                "ClusterRole",
                "s",
                vec![
                    "roleRef: Invalid value: {\"APIGroup\":\"rbac.authorization.k8s.io\",\"Kind\":\"ClusterRole\",\"Name\":\"s\"}: cannot change roleRef",
                ],
            ),
        ] {
            let new = json!({ "roleRef": { "apiGroup": GROUP, "kind": kind, "name": name } });
            let mut errors = Errors::new();
            binding.validate_update(&CONTEXT, &new, &old, &mut errors);
            assert_eq!(texts(&errors), expected);
        }
    }
}
