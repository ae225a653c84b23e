//! Names of resources, such as `cpu` or `example.com/gpu`, and their amounts: which may stand where.

use serde_json::Value;

use crate::object::field::{Errors, Path};
use crate::object::{Quantity, name};

/// What is counted in wholes.
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// What containers use.
const USED: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// What quotas limit besides.
const LIMITED: [&str; 7] = [
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "requests.storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

const HUGE_PAGES: &str = "hugepages-";

fn is_huge_pages(name: &str) -> bool {
    name.starts_with(HUGE_PAGES)
}

fn is_quota_huge_pages(name: &str) -> bool {
    is_huge_pages(name.strip_prefix("requests.").unwrap_or(name))
}

/// Whether a quota can limit it.
pub(super) fn is_quota(name: &str) -> bool {
    COUNTED.contains(&name)
        || USED.contains(&name)
        || LIMITED.contains(&name)
        || is_quota_huge_pages(name)
}

/// Whether it is one of Kubernetes' own.
pub(super) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether it is one that a device plugin or an administrator brings in.
pub(super) fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && name::qualified(&format!("requests.{name}")).is_empty()
}

/// Whether more of it may be promised than there is.
pub(super) fn is_overcommittable(name: &str) -> bool {
    is_native(name) && !is_huge_pages(name)
}

fn is_whole(name: &str) -> bool {
    COUNTED.contains(&name) || is_extended(name)
}

/// The name of any resource. Whether it is well formed and known.
pub(super) fn any(name: &str, path: &Path, errors: &mut Errors) -> bool {
    let problems = name::qualified(name);
    let well_formed = problems.is_empty();
    super::check::problems(name, problems, path, errors);
    let known = name.contains('/') || name == "storage" || is_quota(name);
    if well_formed && !known {
        let why = "must be a standard resource type or fully qualified";
        errors.invalid(path.clone(), name, why);
    }
    well_formed && known
}

/// The name of a resource that containers use.
pub(super) fn of_container(name: &str, path: &Path, errors: &mut Errors) {
    any(name, path, errors);
    if !name.contains('/') {
        if !USED.contains(&name) && !is_huge_pages(name) {
            let why = "must be a standard resource for containers";
            errors.invalid(path.clone(), name, why);
        }
    } else if !is_native(name) && !is_extended(name) {
        let why = "doesn't follow extended resource name standard";
        errors.invalid(path.clone(), name, why);
    }
}

/// The name of a resource that a quota limits.
pub(super) fn of_quota(name: &str, path: &Path, errors: &mut Errors) {
    any(name, path, errors);
    if !name.contains('/') && !is_quota(name) {
        let why = "must be a standard resource for quota";
        errors.invalid(path.clone(), name, why);
    }
}

/// The quantity in a document; zero where there is none.
pub(super) fn quantity(value: Option<&Value>) -> Quantity {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    Quantity::parse(text).unwrap_or(Quantity::ZERO)
}

/// Amounts finer than thousandths are rounded up.
pub(super) fn round_to_milli(amounts: Option<&mut Value>) {
    for amount in amounts
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(serde_json::Map::values_mut)
    {
        let exact = quantity(Some(amount));
        let rounded = exact.round_to_milli();
        if rounded != exact {
            *amount = rounded.to_string().into();
        }
    }
}

/// An amount of `name`: zero or more, and whole where it is counted.
pub(super) fn amount(name: &str, value: &Value, path: &Path, errors: &mut Errors) {
    let quantity = quantity(Some(value));
    if quantity.is_negative() {
        let why = "must be greater than or equal to 0";
        errors.invalid(path.clone(), value.clone(), why);
    }
    if is_whole(name) && quantity.milli_value() % 1000 != 0 {
        errors.invalid(path.clone(), value.clone(), "must be an integer");
    }
}

/// An amount that is more than nothing. Whether it is.
pub(super) fn positive(value: &Value, path: &Path, errors: &mut Errors) -> bool {
    let quantity = quantity(Some(value));
    let positive = quantity > Quantity::ZERO;
    if !positive {
        errors.invalid(path.clone(), value.clone(), "must be greater than zero");
    }
    positive
}

/// An amount of storage. Whether it is valid.
pub(super) fn storage(value: &Value, path: &Path, errors: &mut Errors) -> bool {
    let wholes = quantity(Some(value)).value();
    if wholes < 0 {
        errors.invalid(path.clone(), wholes, "must be a valid resource quantity");
    }
    wholes >= 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names() {
        type Rule = fn(&str, &Path, &mut Errors);
        let any: Rule = |name, path, errors| {
            any(name, path, errors);
        };
        for (name, rule, expected) in [
            ("cpu", any, 0),
            ("storage", any, 0),
            ("foo", any, 1),
            ("a b", any, 1),
            ("example.com/gpu", any, 0),
            ("cpu", of_container as Rule, 0),
            ("hugepages-2Mi", of_container, 0),
            ("pods", of_container, 1),
            ("requests.example.com/gpu", of_container, 1),
            ("requests.hugepages-2Mi", of_quota, 0),
            ("services.nodeports", of_quota, 0),
            ("storage", of_quota, 1),
        ] {
            let mut errors = Errors::new();
            rule(name, &Path::new("f"), &mut errors);
            assert_eq!(errors.0.len(), expected, "{name}: {errors:?}");
        }
    }

    #[test]
    fn amounts() {
        for (name, value, expected) in [
            ("cpu", "500m", 0),
            ("cpu", "-1", 1),
            ("pods", "1500m", 1),
            ("pods", "-1500m", 2),
            ("example.com/gpu", "1500m", 1),
        ] {
            let mut errors = Errors::new();
            amount(name, &json!(value), &Path::new("f"), &mut errors);
            assert_eq!(errors.0.len(), expected, "{name}: {errors:?}");
        }
        let mut errors = Errors::new();
        assert!(!storage(&json!("-1"), &Path::new("f"), &mut errors));
        assert_eq!(
            errors.0[0].to_string(),
            "f: Invalid value: -1: must be a valid resource quantity"
        );
        assert!(!positive(&json!("0"), &Path::new("f"), &mut errors));
        assert!(positive(&json!("1m"), &Path::new("f"), &mut errors));
    }
}
