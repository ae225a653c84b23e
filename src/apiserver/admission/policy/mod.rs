//! `ValidatingAdmissionPolicy` and `MutatingAdmissionPolicy`: rules in the Common Expression Language that are objects of the
//! API (`k8s.io/apiserver/pkg/admission/plugin/policy`).
mod mutating;
mod params;
mod validating;

pub(super) use self::mutating::MutatingAdmissionPolicy;
pub(super) use self::validating::ValidatingAdmissionPolicy;

use super::AdmissionRequest;
use super::conditions::Conditions;
use super::expression::Expression;
use super::matching::{self, Match};
use crate::object::{Document, Status};
use serde_json::Value;

/// What both kinds of policy have.
#[derive(Debug)]
struct Common {
    object: Value,
    conditions: Conditions,
    variables: Vec<(String, Expression)>,
}

impl Common {
    fn of(object: Value) -> Self {
        let spec = object.get("spec").cloned().unwrap_or_default();
        let variables = spec.list_at(&["variables"]).iter().map(|variable| {
            let source = Expression::new(variable.str_at(&["expression"]));
            (variable.str_at(&["name"]).to_owned(), source)
        });
        Self {
            conditions: Conditions::of(&spec),
            variables: variables.collect(),
            object,
        }
    }

    fn name(&self) -> &str {
        self.object.name()
    }

    fn spec(&self) -> &Value {
        self.object.get("spec").unwrap_or(&Value::Null)
    }

    fn ignores_failures(&self) -> bool {
        self.spec().str_at(&["failurePolicy"]) == "Ignore"
    }
}

/// What policies do not see, because nobody could get in any more if they refused it.
const EXEMPT: [(&str, &str); 6] = [
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
];

/// As what a request matches the criteria of a policy or binding; those that are not there match everything.
async fn matches(
    request: &AdmissionRequest<'_>,
    criteria: Option<&Value>,
    object: Option<&Value>,
) -> Result<Option<Match>, Status> {
    if EXEMPT
        .iter()
        .any(|(group, plural)| request.is_for(group, plural))
    {
        return Ok(None);
    }
    let Some(criteria) = criteria.filter(|criteria| !criteria.is_null()) else {
        return Ok(Some(Match::exact(request)));
    };
    let equivalent = criteria.str_at(&["matchPolicy"]) != "Exact";
    let rules = criteria.list_at(&["resourceRules"]);
    let excluded = criteria.list_at(&["excludeResourceRules"]);
    // The rules say no at once; selectors have to be read.
    let found = if rules.is_empty() {
        Some(Match::exact(request))
    } else {
        matching::by_rules(request, rules, equivalent)
    };
    let Some(found) = found else { return Ok(None) };
    if matching::by_rules(request, excluded, equivalent).is_some()
        || !matching::by_namespace(request, criteria, object).await?
        || !matching::by_object(request, criteria, object)?
    {
        return Ok(None);
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests;
