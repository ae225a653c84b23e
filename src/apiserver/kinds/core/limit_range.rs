//! LimitRange.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

use crate::apiserver::kinds::{check, resource_name};
use crate::apiserver::registry::strategy::{Context, MetadataCheck, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, Quantity, name};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct LimitRange;

const TYPES: [&str; 3] = ["Pod", "Container", "PersistentVolumeClaim"];
/// Larger amounts are compared in wholes rather than in thousandths.
const MOST_MILLI: i64 = i64::MAX / 1000;

impl Strategy for LimitRange {
    fn default(&self, object: &mut Value) {
        let limits = object
            .at_mut(&["spec", "limits"])
            .and_then(Value::as_array_mut);
        for limit in limits.into_iter().flatten() {
            for list in [
                "max",
                "min",
                "default",
                "defaultRequest",
                "maxLimitRequestRatio",
            ] {
                resource_name::round_to_milli(limit.get_mut(list));
            }
            if limit.str_at(&["type"]) == "Container" {
                fill(limit, "max", "default");
                fill(limit, "default", "defaultRequest");
                fill(limit, "min", "defaultRequest");
            }
        }
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let path = Path::new("spec").child("limits");
        let limits = object.list_at(&["spec", "limits"]);
        for (index, limit) in limits.iter().enumerate() {
            let at = path.index(index);
            let kind = limit.str_at(&["type"]);
            validate_type(kind, &at.child("type"), errors);
            if limits[..index]
                .iter()
                .any(|other| other.str_at(&["type"]) == kind)
            {
                errors.duplicate(at.child("type"), kind);
            }
            validate_limit(limit, kind, &at, errors);
        }
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        _old: &Value,
        errors: &mut Errors,
    ) {
        self.validate(context, object, errors);
    }

    fn metadata_check(&self, _context: &Context<'_>) -> MetadataCheck {
        MetadataCheck::Whole
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        false
    }
}

/// What `to` does not say it takes from `from`.
fn fill(limit: &mut Value, from: &str, to: &str) {
    let amounts = check::map_at(limit, &[from]).cloned().unwrap_or_default();
    for (resource, amount) in amounts {
        limit.default_at(&[to, &resource], amount);
    }
}

fn validate_type(kind: &str, path: &Path, errors: &mut Errors) {
    let problems = name::qualified(kind);
    if problems.is_empty() && !kind.contains('/') && !TYPES.contains(&kind) {
        let why = "must be a standard limit type or fully qualified";
        errors.invalid(path.clone(), kind, why);
    }
    check::problems(kind, problems, path, errors);
}

fn validate_limit(limit: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    let empty = Map::new();
    let map = |field: &str| check::map_at(limit, &[field]).unwrap_or(&empty);
    let mut named: Vec<&str> = vec!["max", "min"];
    if kind == "Pod" {
        for field in ["default", "defaultRequest"] {
            if !map(field).is_empty() {
                let why = "may not be specified when `type` is 'Pod'";
                errors.forbidden(path.child(field), why);
            }
        }
    } else {
        named.extend(["default", "defaultRequest"]);
    }
    let has_storage = ["min", "max"]
        .iter()
        .any(|field| map(field).contains_key("storage"));
    if kind == "PersistentVolumeClaim" && !has_storage {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.required(path.child("limits"), why);
    }
    named.push("maxLimitRequestRatio");
    let mut resources: BTreeSet<&str> = BTreeSet::new();
    for field in &named {
        for resource in map(field).keys() {
            resources.insert(resource);
            let at = path.child(field).key(resource);
            if matches!(kind, "Pod" | "Container") {
                resource_name::of_container(resource, &at, errors);
            } else {
                resource_name::any(resource, &at, errors);
            }
        }
    }
    for resource in resources {
        let given = |field: &'static str| {
            let amount = map(field)
                .get(resource)
                .filter(|_| named.contains(&field))?;
            Some(Amount {
                field,
                shown: amount,
                quantity: resource_name::quantity(Some(amount)),
            })
        };
        let amounts = Amounts {
            min: given("min"),
            max: given("max"),
            limit: given("default"),
            request: given("defaultRequest"),
            ratio: given("maxLimitRequestRatio"),
        };
        amounts.validate(resource, path, errors);
    }
}

/// An amount of a resource in one of the lists.
#[derive(Clone, Copy)]
struct Amount<'a> {
    field: &'static str,
    shown: &'a Value,
    quantity: Quantity,
}

impl Amount<'_> {
    fn text(&self) -> &str {
        self.shown.as_str().unwrap_or_default()
    }
}

/// What is said of one resource.
struct Amounts<'a> {
    min: Option<Amount<'a>>,
    max: Option<Amount<'a>>,
    limit: Option<Amount<'a>>,
    request: Option<Amount<'a>>,
    ratio: Option<Amount<'a>>,
}

impl Amounts<'_> {
    fn validate(&self, resource: &str, path: &Path, errors: &mut Errors) {
        let at = |field: &str| path.child(field).key(resource);
        // The smaller, the larger, whose field and value are named, and their names.
        let orders = [
            (
                self.min,
                self.max,
                "min",
                self.min,
                "min value",
                "max value",
            ),
            (
                self.min,
                self.request,
                "defaultRequest",
                self.request,
                "min value",
                "default request value",
            ),
            (
                self.request,
                self.max,
                "defaultRequest",
                self.request,
                "default request value",
                "max value",
            ),
            (
                self.request,
                self.limit,
                "defaultRequest",
                self.request,
                "default request value",
                "default limit value",
            ),
            (
                self.min,
                self.limit,
                "default",
                self.min,
                "min value",
                "default value",
            ),
            (
                self.limit,
                self.max,
                "default",
                self.max,
                "default value",
                "max value",
            ),
        ];
        for (low, high, field, shown, low_name, high_name) in orders {
            let (Some(low), Some(high), Some(shown)) = (low, high, shown) else {
                continue;
            };
            if low.quantity > high.quantity {
                let why = format!(
                    "{low_name} {} is greater than {high_name} {}",
                    low.text(),
                    high.text()
                );
                errors.invalid(at(field), shown.shown.clone(), &why);
            }
        }
        if let Some(ratio) = self.ratio {
            self.validate_ratio(ratio, &at(ratio.field), errors);
        }
        if let (Some(limit), Some(request)) = (self.limit, self.request)
            && !resource_name::is_overcommittable(resource)
            && limit.quantity != request.quantity
        {
            let why = format!(
                "default value {} must equal to defaultRequest value {} in {resource}",
                limit.text(),
                request.text()
            );
            errors.invalid(at("defaultRequest"), request.shown.clone(), &why);
        }
    }

    fn validate_ratio(&self, ratio: Amount<'_>, path: &Path, errors: &mut Errors) {
        if ratio.quantity.milli_value() < 1000 {
            let why = format!("ratio {} is less than 1", ratio.text());
            errors.invalid(path.clone(), ratio.shown.clone(), &why);
        }
        let (Some(min), Some(max)) = (self.min, self.max) else {
            return;
        };
        let small = [ratio, min, max]
            .iter()
            .all(|amount| amount.quantity.value() < MOST_MILLI);
        let number = |amount: Amount<'_>| {
            if small {
                amount.quantity.milli_value()
            } else {
                amount.quantity.value()
            }
        };
        let most = float(number(max)) / float(number(min));
        let wanted = float(number(ratio)) / if small { 1000.0 } else { 1.0 };
        if wanted > most {
            let why = format!("ratio {} is greater than max/min = {most:.6}", ratio.text());
            errors.invalid(path.clone(), ratio.shown.clone(), &why);
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the real server compares floating point numbers too"
)]
fn float(number: i64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apiserver::kinds::testing::{defaulted, errors_of};

    fn range(limit: Value) -> Value {
        defaulted(&LimitRange, json!({ "spec": { "limits": [limit] } }))
    }

    #[test]
    fn containers_have_defaults() {
        let range =
            range(json!({ "type": "Container", "max": { "cpu": "2" }, "min": { "memory": "1" } }));
        let limit = &range["spec"]["limits"][0];
        assert_eq!(limit["default"], json!({ "cpu": "2" }));
        assert_eq!(
            limit["defaultRequest"],
            json!({ "cpu": "2", "memory": "1" })
        );
    }

    #[test]
    fn rules() {
        let at = "spec.limits[0]";
        for (limit, expected) in [
            (
                json!({ "type": "Pod", "max": { "cpu": "1" } }),
                String::new(),
            ),
            (
                json!({ "type": "Bad" }),
                format!(
                    "{at}.type: Invalid value: \"Bad\": must be a standard limit type or fully qualified"
                ),
            ),
            (
                json!({ "type": "Pod", "default": { "cpu": "1" } }),
                format!("{at}.default: Forbidden: may not be specified when `type` is 'Pod'"),
            ),
            (
                json!({ "type": "PersistentVolumeClaim" }),
                format!(
                    "{at}.limits: Required value: either minimum or maximum storage value is required, but neither was provided"
                ),
            ),
            (
                json!({ "type": "Container", "max": { "cpu": "1" }, "min": { "cpu": "2" } }),
                format!(
                    "{at}.min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1; \
                     {at}.defaultRequest[cpu]: Invalid value: \"1\": min value 2 is greater than default request value 1; \
                     {at}.default[cpu]: Invalid value: \"2\": min value 2 is greater than default value 1"
                ),
            ),
            (
                json!({ "type": "Container", "default": { "cpu": "3" }, "max": { "cpu": "2" } }),
                format!(
                    "{at}.defaultRequest[cpu]: Invalid value: \"3\": default request value 3 is greater than max value 2; \
                     {at}.default[cpu]: Invalid value: \"2\": default value 3 is greater than max value 2"
                ),
            ),
            (
                json!({ "type": "Pod", "maxLimitRequestRatio": { "cpu": "500m" } }),
                format!(
                    "{at}.maxLimitRequestRatio[cpu]: Invalid value: \"500m\": ratio 500m is less than 1"
                ),
            ),
            (
                json!({ "type": "Pod", "max": { "cpu": "2" }, "min": { "cpu": "1" }, "maxLimitRequestRatio": { "cpu": "3" } }),
                format!(
                    "{at}.maxLimitRequestRatio[cpu]: Invalid value: \"3\": ratio 3 is greater than max/min = 2.000000"
                ),
            ),
            (
                json!({ "type": "Container", "default": { "hugepages-2Mi": "2Mi" }, "defaultRequest": { "hugepages-2Mi": "1Mi" } }),
                format!(
                    "{at}.defaultRequest[hugepages-2Mi]: Invalid value: \"1Mi\": default value 2Mi must equal to defaultRequest value 1Mi in hugepages-2Mi"
                ),
            ),
        ] {
            assert_eq!(errors_of(&LimitRange, &range(limit)), expected);
        }
        let twice = json!({ "spec": { "limits": [{ "type": "Pod" }, { "type": "Pod" }] } });
        assert_eq!(
            errors_of(&LimitRange, &twice),
            "spec.limits[1].type: Duplicate value: \"Pod\""
        );
    }
}
