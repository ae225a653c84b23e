//! PriorityLevelConfiguration.

use serde_json::{Value, json};

use super::{metadata_check, shuffle, validate_conditions, validate_update};
use crate::apiserver::kinds::check;
use crate::apiserver::registry::strategy::{CLIENT_METADATA, Context, MetadataCheck, Strategy};
use crate::object::Document;
use crate::object::field::{Errors, Path};

#[derive(Debug)]
pub(in crate::apiserver::kinds) struct PriorityLevelConfiguration;

const MOST_QUEUES: i64 = 10_000_000;
const SPEC: &str = "api.flowcontrol.v1.PriorityLevelConfigurationSpec";

impl Strategy for PriorityLevelConfiguration {
    fn default(&self, object: &mut Value) {
        for (level, shares) in [("exempt", 0), ("limited", 30)] {
            if let Some(level) = object
                .at_mut(&["spec", level])
                .filter(|level| level.is_object())
            {
                level.default_at(&["nominalConcurrencyShares"], shares);
                level.default_at(&["lendablePercent"], 0);
            }
        }
        if let Some(queuing) = object
            .at_mut(&["spec", "limited", "limitResponse", "queuing"])
            .filter(|queuing| queuing.is_object())
        {
            for (field, value) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
                if queuing.i64_at(&[field]).unwrap_or(0) == 0 {
                    queuing.set_at(&[field], value);
                }
            }
        }
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object["status"] = json!({});
    }

    fn status_keeps(&self) -> &[&[&str]] {
        CLIENT_METADATA
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        validate_spec(object.name(), spec, errors);
        if object.name() == "catch-all" && *spec != catch_all() {
            let why = "spec of 'catch-all' must equal the fixed value";
            check::invalid_struct(spec, SPEC, Path::new("spec"), why, errors);
        }
        validate_conditions(object, errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        _old: &Value,
        errors: &mut Errors,
    ) {
        validate_update(self, context, object, errors);
    }

    fn metadata_check(&self, context: &Context<'_>) -> MetadataCheck {
        metadata_check(context)
    }
}

/// What the level for everything that no other takes must be.
fn catch_all() -> Value {
    json!({
        "type": "Limited",
        "limited": { "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": { "type": "Reject" } },
    })
}

fn validate_spec(name: &str, spec: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    let kind = spec.str_at(&["type"]);
    if (name == "exempt") != (kind == "Exempt") {
        let why = "type must be 'Exempt' if and only if name is 'exempt'";
        errors.invalid(path.child("type"), kind, why);
    }
    let part = |field: &str| spec.get(field).filter(|part| part.is_object());
    match kind {
        "Exempt" => {
            let at = path.child("exempt");
            match part("exempt") {
                None => errors.required(at, "must not be empty when type is Exempt"),
                Some(exempt) => validate_shares(exempt, &at, errors),
            }
            if part("limited").is_some() {
                let why = "must be nil if the type is not Limited";
                errors.forbidden(path.child("limited"), why);
            }
        }
        "Limited" => {
            if part("exempt").is_some() {
                let why = "must be nil if the type is Limited";
                errors.forbidden(path.child("exempt"), why);
            }
            let at = path.child("limited");
            match part("limited") {
                None => errors.required(at, "must not be empty when type is Limited"),
                Some(limited) => validate_limited(limited, &at, errors),
            }
        }
        other => errors.not_supported(path.child("type"), other, &["Exempt", "Limited"]),
    }
}

fn validate_nominal(level: &Value, path: &Path, errors: &mut Errors) {
    let shares = level.i64_at(&["nominalConcurrencyShares"]).unwrap_or(0);
    if shares < 0 {
        let why = "must be a non-negative integer";
        errors.invalid(path.child("nominalConcurrencyShares"), shares, why);
    }
}

fn validate_lendable(level: &Value, path: &Path, errors: &mut Errors) {
    if let Some(percent) = level
        .i64_at(&["lendablePercent"])
        .filter(|percent| !(0..=100).contains(percent))
    {
        let why = "must be between 0 and 100, inclusive";
        errors.invalid(path.child("lendablePercent"), percent, why);
    }
}

fn validate_shares(level: &Value, path: &Path, errors: &mut Errors) {
    validate_nominal(level, path, errors);
    validate_lendable(level, path, errors);
}

fn validate_limited(limited: &Value, path: &Path, errors: &mut Errors) {
    validate_nominal(limited, path, errors);
    let response = limited.get("limitResponse").unwrap_or(&Value::Null);
    let queuing = response
        .get("queuing")
        .filter(|queuing| queuing.is_object());
    let at = path.child("limitResponse");
    match response.str_at(&["type"]) {
        "Reject" => {
            if queuing.is_some() {
                let why = "must be nil if limited.limitResponse.type is not Limited";
                errors.forbidden(at.child("queuing"), why);
            }
        }
        "Queue" => match queuing {
            None => {
                let why = "must not be empty if limited.limitResponse.type is Limited";
                errors.required(at.child("queuing"), why);
            }
            Some(queuing) => validate_queuing(queuing, &at.child("queuing"), errors),
        },
        other => errors.not_supported(at.child("type"), other, &["Queue", "Reject"]),
    }
    validate_lendable(limited, path, errors);
    if let Some(percent) = limited
        .i64_at(&["borrowingLimitPercent"])
        .filter(|percent| *percent < 0)
    {
        let why = "if specified, must be a non-negative integer";
        errors.invalid(path.child("borrowingLimitPercent"), percent, why);
    }
}

fn validate_queuing(queuing: &Value, path: &Path, errors: &mut Errors) {
    let number = |field: &str| queuing.i64_at(&[field]).unwrap_or(0);
    let (queues, hand) = (number("queues"), number("handSize"));
    for field in ["queueLengthLimit", "queues", "handSize"] {
        if number(field) <= 0 {
            errors.invalid(path.child(field), number(field), "must be positive");
        }
    }
    if queues > MOST_QUEUES {
        let why = format!("must not be greater than {MOST_QUEUES}");
        errors.invalid(path.child("queues"), queues, &why);
    }
    if hand <= 0 {
        return;
    }
    let at = path.child("handSize");
    if hand > queues {
        let why = format!("should not be greater than queues ({queues})");
        errors.invalid(at, hand, &why);
    } else if shuffle::bits(queues, hand) > shuffle::MOST_BITS {
        let most = shuffle::MOST_BITS;
        let why = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {most}"
        );
        errors.invalid(at, hand, &why);
    }
}
