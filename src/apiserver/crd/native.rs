//! Resources that the program brings along: defined by a Rust type, without a CustomResourceDefinition in the store.
use super::definition::{Definition, set_condition};
use super::{CustomResourceDefinition, serving};
use crate::apiserver::registry::Resource;
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::Document;
use crate::object::field::Errors;
use serde_json::Value;

/// The served versions of a definition, which is checked as one that is written.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn resources(definition: &Value) -> Result<Vec<Resource>, String> {
    let context = Context {
        now: "1970-01-01T00:00:00Z",
        subresource: None,
        user: "",
    };
    let mut object = definition.clone();
    let strategy = CustomResourceDefinition;
    strategy.default(&mut object);
    strategy.prepare_create(&context, &mut object);
    let mut errors = Errors::new();
    strategy.validate(&context, &object, &mut errors);
    if !errors.is_empty() {
        let errors: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        return Err(format!("{}: {}", object.name(), errors.join(", ")));
    }
    let names = object.at(&["spec", "names"]).cloned().unwrap_or_default();
    object.set_at(&["status", "acceptedNames"], names);
    for condition in ["NamesAccepted", "Established"] {
        set_condition(&mut object, condition, "True", "Built", "", context.now);
    }
    let resources = serving::resources(&Definition::of(&object)).into_iter();
    Ok(resources
        .filter_map(|(served, resource)| served.then_some(resource))
        .collect())
}
