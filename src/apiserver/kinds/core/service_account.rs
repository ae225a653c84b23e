//! ServiceAccount.

use serde_json::{Value, json};

use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::Document;

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct ServiceAccount;

const MOUNTABLE: &str = "kubernetes.io/enforce-mountable-secrets";

impl Strategy for ServiceAccount {
    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        name_secrets(object);
    }

    fn prepare_update(&self, _context: &Context<'_>, object: &mut Value, _old: &Value) {
        name_secrets(object);
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        let had = old.is_some_and(|old| old.annotation(MOUNTABLE).is_some());
        if had || object.annotation(MOUNTABLE).is_none() {
            return Vec::new();
        }
        vec![format!(
            "metadata.annotations[{MOUNTABLE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        )]
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

/// Of a reference to a secret only the name counts.
fn name_secrets(object: &mut Value) {
    let secrets = object.at_mut(&["secrets"]).and_then(Value::as_array_mut);
    for secret in secrets.into_iter().flatten() {
        let name = secret.str_at(&["name"]);
        *secret = if name.is_empty() {
            json!({})
        } else {
            json!({ "name": name })
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::kinds::testing::context;

    #[test]
    fn only_names_of_secrets_are_kept() {
        let mut object = json!({ "secrets": [{ "name": "a", "namespace": "b", "kind": "Secret" }, { "kind": "x" }] });
        ServiceAccount.prepare_create(&context(None), &mut object);
        assert_eq!(object["secrets"], json!([{ "name": "a" }, {}]));
    }

    #[test]
    fn an_old_annotation_is_warned_of_when_it_comes() {
        let object = json!({ "metadata": { "annotations": { MOUNTABLE: "true" } } });
        assert_eq!(ServiceAccount.warnings(&object, None).len(), 1);
        assert_eq!(ServiceAccount.warnings(&object, Some(&object)).len(), 0);
    }
}
