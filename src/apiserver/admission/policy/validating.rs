//! `ValidatingAdmissionPolicy`
use super::params::{self, Problem};
use super::{Common, matches};
use crate::apiserver::admission::cached::{Compiled, GROUP};
use crate::apiserver::admission::expression::{Context, Expression, Facts, Outcome};
use crate::apiserver::admission::{Admission, AdmissionRequest, matching};
use crate::cel::{Failure, PER_MATCH_CONDITIONS, PER_POLICY};
use crate::object::status::Cause;
use crate::object::{Document, Reason, Status};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longer messages of expressions are not shown.
const LONGEST_MESSAGE: usize = 5 * 1024;

/// The policies and bindings there are.
#[derive(Debug)]
pub(in crate::apiserver::admission) struct ValidatingAdmissionPolicy {
    policies: Compiled<Policy>,
    bindings: Compiled<Value>,
}

impl Default for ValidatingAdmissionPolicy {
    fn default() -> Self {
        Self {
            policies: Compiled::new(GROUP, "validatingadmissionpolicies", Policy::of),
            bindings: Compiled::new(GROUP, "validatingadmissionpolicybindings", |binding| {
                binding
            }),
        }
    }
}

/// A compiled policy.
#[derive(Debug)]
struct Policy {
    common: Common,
    validations: Vec<Validation>,
    /// Keys and values.
    annotations: Vec<(String, Expression)>,
}

#[derive(Debug)]
struct Validation {
    expression: Expression,
    message: String,
    message_expression: Option<Expression>,
    reason: String,
}

/// What a validation came to when it did not let the request be.
#[derive(Clone, Debug)]
struct Denial {
    index: usize,
    message: String,
    reason: String,
}

/// What a policy with one set of parameters came to.
#[derive(Debug, Default)]
struct Verdict {
    denials: Vec<Denial>,
    annotations: Vec<(String, String)>,
    /// Annotations that have no value: they deny whatever the binding says.
    failed: Vec<String>,
}

impl Policy {
    fn of(object: Value) -> Self {
        let list = |field: &str| object.list_at(&["spec", field]).to_vec();
        let validations = list("validations");
        let annotations = list("auditAnnotations");
        Self {
            validations: validations
                .iter()
                .map(|validation| {
                    let source = validation.str_at(&["messageExpression"]);
                    Validation {
                        expression: Expression::new(validation.str_at(&["expression"])),
                        message: validation.str_at(&["message"]).trim().to_owned(),
                        message_expression: (!source.is_empty()).then(|| Expression::new(source)),
                        reason: validation.str_at(&["reason"]).to_owned(),
                    }
                })
                .collect(),
            annotations: annotations
                .iter()
                .map(|annotation| {
                    let source = annotation.str_at(&["valueExpression"]).trim();
                    (
                        annotation.str_at(&["key"]).to_owned(),
                        Expression::new(source),
                    )
                })
                .collect(),
            common: Common::of(object),
        }
    }

    fn evaluate(&self, facts: &Facts, params: Option<&Value>) -> Verdict {
        let common = &self.common;
        let mut verdict = Verdict::default();
        let fail = |message: String| {
            let denial = Denial {
                index: 0,
                message,
                reason: String::new(),
            };
            if common.ignores_failures() {
                None
            } else {
                Some(denial)
            }
        };
        if !common.conditions.is_empty() {
            let context = facts.context(params, &[], PER_MATCH_CONDITIONS);
            match common.conditions.hold(&context, common.ignores_failures()) {
                Ok(true) => {}
                Ok(false) => return verdict,
                Err(why) => {
                    verdict.denials.extend(fail(why));
                    return verdict;
                }
            }
        }
        let context = facts.context(params, &common.variables, PER_POLICY);
        for (index, validation) in self.validations.iter().enumerate() {
            match context.evaluate(&validation.expression) {
                Ok(outcome) if outcome.is_true() => {}
                Ok(_) => verdict.denials.push(Denial {
                    index,
                    message: validation.message(&context),
                    reason: validation.reason.clone(),
                }),
                Err(failure @ Failure::OutOfBudget) => {
                    verdict.denials = fail(failure.to_string()).into_iter().collect();
                    return verdict;
                }
                Err(failure) => {
                    let denial = fail(validation.expression.failed(&failure));
                    verdict
                        .denials
                        .extend(denial.map(|denial| Denial { index, ..denial }));
                }
            }
        }
        let context = facts.context(params, &common.variables, PER_POLICY);
        for (key, expression) in &self.annotations {
            match context.evaluate(expression) {
                Ok(outcome) => {
                    let value = outcome.text().unwrap_or_default().trim();
                    if !value.is_empty() {
                        verdict.annotations.push((key.clone(), value.to_owned()));
                    }
                }
                Err(_) if common.ignores_failures() => {}
                Err(failure) => verdict.failed.push(expression.failed(&failure)),
            }
        }
        verdict
    }
}

impl Validation {
    /// What the client is told when it does not hold.
    fn message(&self, context: &Context<'_>) -> String {
        let outcome = self
            .message_expression
            .as_ref()
            .and_then(|expression| context.evaluate(expression).ok());
        let text = outcome.as_ref().and_then(Outcome::text);
        let text = text.map(str::trim).filter(|text| {
            !text.is_empty() && text.len() <= LONGEST_MESSAGE && !text.contains('\n')
        });
        match (text, self.message.as_str()) {
            (Some(text), _) => text.to_owned(),
            (None, "") => format!("failed expression: {}", self.expression.source.trim()),
            (None, message) => message.to_owned(),
        }
    }
}

/// The first reason for which a request is refused.
#[derive(Debug, Default)]
struct Refusal(Option<(String, String)>);

impl Refusal {
    fn add(&mut self, policy: &str, binding: Option<&Value>, message: &str, reason: &str) {
        self.0.get_or_insert_with(|| {
            let whole = match binding {
                Some(binding) => format!(
                    "ValidatingAdmissionPolicy '{policy}' with binding '{}' denied request: {message}",
                    binding.name()
                ),
                None => format!("ValidatingAdmissionPolicy '{policy}' denied request: {message}"),
            };
            (whole, reason.to_owned())
        });
    }

    fn into_status(self, request: &AdmissionRequest<'_>, object: Option<&Value>) -> Option<Status> {
        let (message, reason) = self.0?;
        let mut status = request.forbidden(object, &message);
        (status.code, status.reason) = match reason.as_str() {
            "Forbidden" => (403, Reason::Forbidden),
            "RequestEntityTooLarge" => (413, Reason::RequestEntityTooLarge),
            _ => (422, Reason::Invalid),
        };
        if let Some(details) = &mut status.details {
            details.causes.push(Cause {
                message,
                ..Cause::default()
            });
        }
        Some(status)
    }
}

#[async_trait]
impl Admission for ValidatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    async fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        if matching::is_exempt(request) {
            return Ok(());
        }
        let bindings = self.bindings.all(&request.view).await?;
        if bindings.is_empty() {
            return Ok(());
        }
        let mut refusal = Refusal::default();
        for policy in self.policies.all(&request.view).await? {
            let name = policy.common.name();
            let bound: Vec<&Arc<Value>> = bindings
                .iter()
                .filter(|binding| binding.str_at(&["spec", "policyName"]) == name)
                .collect();
            if !bound.is_empty() {
                dispatch(request, object, &policy, &bound, &mut refusal).await?;
            }
        }
        refusal.into_status(request, object).map_or(Ok(()), Err)
    }
}

/// Asks one policy with each of its bindings.
async fn dispatch(
    request: &AdmissionRequest<'_>,
    object: Option<&Value>,
    policy: &Policy,
    bindings: &[&Arc<Value>],
    refusal: &mut Refusal,
) -> Result<(), Status> {
    let (common, name) = (&policy.common, policy.common.name());
    let criteria = common.spec().get("matchConstraints");
    let Some(found) = matches(request, criteria, object).await? else {
        return Ok(());
    };
    let fails = !common.ignores_failures();
    let mut facts = None;
    let mut notes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for binding in bindings {
        let criteria = binding.at(&["spec", "matchResources"]);
        if matches(request, criteria, object).await?.is_none() {
            continue;
        }
        let spec = binding.get("spec").unwrap_or(&Value::Null);
        let params = match params::collect(request, common.spec(), spec).await {
            Ok(params) => params,
            Err(Problem::Policy(why)) => {
                if fails {
                    let why = format!("failed to configure policy: {why}");
                    refusal.add(name, None, &why, "");
                }
                break;
            }
            Err(Problem::Binding(why)) => {
                if fails {
                    let why = format!("failed to configure binding: {why}");
                    refusal.add(name, Some(binding), &why, "");
                }
                continue;
            }
        };
        let facts: &Facts = match &mut facts {
            Some(facts) => facts,
            none => none.insert(Facts::of(request, &found, object).await?),
        };
        for params in &params {
            let verdict = facts.settle(request, || policy.evaluate(facts, params.as_ref()));
            let verdict = verdict.await;
            for denial in &verdict.denials {
                deny(request, name, binding, denial, refusal);
            }
            for (key, value) in verdict.annotations {
                let values = notes.entry(key).or_default();
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            for why in verdict.failed {
                refusal.add(name, Some(binding), &why, "");
            }
        }
    }
    for (key, values) in notes {
        request
            .session
            .annotate(format!("{name}/{key}"), values.join(", "));
    }
    Ok(())
}

/// Does what the binding says about a denial.
fn deny(
    request: &AdmissionRequest<'_>,
    policy: &str,
    binding: &Value,
    denial: &Denial,
    refusal: &mut Refusal,
) {
    let actions = binding.list_at(&["spec", "validationActions"]);
    for action in actions.iter().filter_map(Value::as_str) {
        match action {
            "Deny" => refusal.add(policy, Some(binding), &denial.message, &denial.reason),
            "Warn" => request.warn(format!(
                "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{}': {}",
                binding.name(),
                denial.message
            )),
            "Audit" => request.session.annotate(
                "validation.policy.admission.k8s.io/validation_failure",
                json!([{"message": denial.message, "policy": policy, "binding": binding.name(),
                    "expressionIndex": denial.index, "validationActions": actions}])
                .to_string(),
            ),
            _ => {}
        }
    }
}
