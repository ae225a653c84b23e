//! CSINode: the drivers of a node.

use serde_json::{Value, json};

use super::driver_name;
use crate::apiserver::kinds::check;
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct CsiNode;

/// The longest id of a node.
const MOST: usize = 192;

impl Strategy for CsiNode {
    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let path = Path::new("spec").child("drivers");
        let drivers = drivers(object);
        for (index, driver) in drivers.iter().enumerate() {
            let at = path.index(index);
            validate_driver(driver, &at, errors);
            let text = driver.str_at(&["name"]);
            if drivers[..index]
                .iter()
                .any(|other| other.str_at(&["name"]) == text)
            {
                errors.duplicate(at.child("name"), text);
            }
            validate_topology(driver.list_at(&["topologyKeys"]), &at, errors);
        }
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        // The real server does so twice.
        self.validate(context, object, errors);
        self.validate(context, object, errors);
        for before in drivers(old) {
            for driver in drivers(object) {
                if driver.str_at(&["name"]) == before.str_at(&["name"])
                    && identity(driver) != identity(before)
                {
                    let path = Path::new("spec").child("drivers");
                    errors.invalid_text(path, &shown(driver), "field is immutable");
                }
            }
        }
    }

    fn metadata_check(&self, _context: &Context<'_>) -> MetadataCheck {
        MetadataCheck::Whole
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn returns_deleted_object(&self) -> bool {
        true
    }
}

fn drivers(object: &Value) -> &[Value] {
    object.list_at(&["spec", "drivers"])
}

/// Everything of a driver but how many volumes it takes, which changes.
fn identity(driver: &Value) -> Value {
    let mut driver = driver.clone();
    driver.remove_at(&["allocatable"]);
    driver
}

/// A driver as Go prints its internal form.
fn shown(driver: &Value) -> String {
    let text = |field: &str| json!(driver.str_at(&[field]));
    let keys = driver.get("topologyKeys").cloned().unwrap_or(Value::Null);
    format!(
        "{{\"Name\":{},\"NodeID\":{},\"TopologyKeys\":{keys},\"Allocatable\":null}}",
        text("name"),
        text("nodeID")
    )
}

fn validate_driver(driver: &Value, path: &Path, errors: &mut Errors) {
    driver_name(driver.str_at(&["name"]), &path.child("name"), errors);
    let id = driver.str_at(&["nodeID"]);
    if id.is_empty() {
        errors.required(path.child("nodeID"), "");
    }
    if id.len() > MOST {
        let why = format!("must be {MOST} characters or less");
        errors.invalid(path.child("nodeID"), id, &why);
    }
    if let Some(allocatable) = driver.get("allocatable") {
        check::not_negative(allocatable, "count", &path.child("allocatable"), errors);
    }
}

fn validate_topology(keys: &[Value], path: &Path, errors: &mut Errors) {
    let keys: Vec<&str> = keys.iter().filter_map(Value::as_str).collect();
    for (index, key) in keys.iter().enumerate() {
        if key.is_empty() {
            errors.required(path.clone(), "");
        }
        if keys[..index].contains(key) {
            errors.duplicate(path.clone(), *key);
        }
        check::problems(key, name::qualified(key), path, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::kinds::testing::{errors_of, errors_of_update};

    fn with(drivers: Value) -> Value {
        json!({ "spec": { "drivers": drivers } })
    }

    #[test]
    fn rules() {
        let driver = json!({ "name": "d.example.com", "nodeID": "n" });
        for (drivers, expected) in [
            (json!([driver]), ""),
            (
                json!([driver, driver]),
                "spec.drivers[1].name: Duplicate value: \"d.example.com\"",
            ),
            (
                json!([{ "name": "d.example.com" }]),
                "spec.drivers[0].nodeID: Required value",
            ),
            (
                json!([{ "name": "d.example.com", "nodeID": "n", "topologyKeys": ["a", "a"], "allocatable": { "count": -1 } }]),
                "spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0; spec.drivers[0]: Duplicate value: \"a\"",
            ),
        ] {
            assert_eq!(errors_of(&CsiNode, &with(drivers)), expected);
        }
    }

    #[test]
    fn a_driver_stays_as_it_is() {
        let old = with(json!([{ "name": "d.example.com", "nodeID": "n" }]));
        let more = with(
            json!([{ "name": "d.example.com", "nodeID": "n", "allocatable": { "count": 3 } }]),
        );
        assert_eq!(errors_of_update(&CsiNode, None, &more, &old), "");
        let other = with(json!([{ "name": "d.example.com", "nodeID": "m" }]));
        assert_eq!(
            errors_of_update(&CsiNode, None, &other, &old),
            "spec.drivers: Invalid value: {\"Name\":\"d.example.com\",\"NodeID\":\"m\",\"TopologyKeys\":null,\"Allocatable\":null}: field is immutable"
        );
    }
}
