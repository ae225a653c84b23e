//! `MutatingAdmissionPolicy`
use super::params::{self, Problem};
use super::{Common, matches};
use crate::apiserver::admission::cached::{Compiled, GROUP};
use crate::apiserver::admission::expression::{Context, Expression, Facts};
use crate::apiserver::admission::matching::{self, Match};
use crate::apiserver::admission::{Admission, AdmissionRequest, Operation};
use crate::apiserver::patch::{json, merge_typed};
use crate::cel::{self, PER_MATCH_CONDITIONS, PER_POLICY};
use crate::object::status::Cause;
use crate::object::{Document, Reason, Status};
use async_trait::async_trait;
use serde_json::Value;

const NAME: &str = "MutatingAdmissionPolicy";

/// The policies and bindings there are.
#[derive(Debug)]
pub(in crate::apiserver::admission) struct MutatingAdmissionPolicy {
    policies: Compiled<Policy>,
    bindings: Compiled<Value>,
}

impl Default for MutatingAdmissionPolicy {
    fn default() -> Self {
        Self {
            policies: Compiled::new(GROUP, "mutatingadmissionpolicies", Policy::of),
            bindings: Compiled::new(GROUP, "mutatingadmissionpolicybindings", |binding| binding),
        }
    }
}

#[derive(Debug)]
struct Policy {
    common: Common,
    mutations: Vec<Mutation>,
    reinvoked: bool,
}

#[derive(Debug)]
struct Mutation {
    /// A JSON patch; an apply configuration otherwise.
    patches: bool,
    expression: Expression,
}

impl Policy {
    fn of(object: Value) -> Self {
        let mutations = object.list_at(&["spec", "mutations"]).iter();
        let mutations = mutations
            .map(|mutation| {
                let patches = mutation.str_at(&["patchType"]) == "JSONPatch";
                let field = if patches {
                    "jsonPatch"
                } else {
                    "applyConfiguration"
                };
                Mutation {
                    patches,
                    expression: Expression::new(mutation.str_at(&[field, "expression"]).trim()),
                }
            })
            .collect();
        Self {
            mutations,
            reinvoked: object.str_at(&["spec", "reinvocationPolicy"]) == "IfNeeded",
            common: Common::of(object),
        }
    }
}

#[async_trait]
impl Admission for MutatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn mutate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &mut Value,
    ) -> Result<(), Status> {
        if request.operation == Operation::Delete || matching::is_exempt(request) {
            return Ok(());
        }
        let bindings = self.bindings.all(&request.view).await?;
        if bindings.is_empty() {
            return Ok(());
        }
        request.session.enter(NAME, object);
        let mut problems = Vec::new();
        for policy in self.policies.all(&request.view).await? {
            for binding in &bindings {
                if binding.str_at(&["spec", "policyName"]) == policy.common.name() {
                    dispatch(request, object, &policy, binding, &mut problems).await?;
                }
            }
        }
        request.session.leave(NAME, object);
        refuse(request, object, problems)
    }
}

/// One of the reasons for which a request is refused, and whether it is the fault of an expression.
type Refusal = (String, bool);

fn refuse(
    request: &AdmissionRequest<'_>,
    object: &Value,
    problems: Vec<Refusal>,
) -> Result<(), Status> {
    let Some((message, invalid)) = problems.first().cloned() else {
        return Ok(());
    };
    let mut status = request.forbidden(Some(object), &message);
    status.message = message;
    if invalid {
        status.reason = Reason::Invalid;
    }
    if let Some(details) = &mut status.details {
        let causes = problems.into_iter().map(|(message, _)| Cause {
            message,
            ..Cause::default()
        });
        details.causes.extend(causes);
    }
    Err(status)
}

/// Lets one policy change the object under one of its bindings.
async fn dispatch(
    request: &AdmissionRequest<'_>,
    object: &mut Value,
    policy: &Policy,
    binding: &Value,
    problems: &mut Vec<Refusal>,
) -> Result<(), Status> {
    let (common, name) = (&policy.common, policy.common.name());
    let criteria = common.spec().get("matchConstraints");
    let Some(found) = matches(request, criteria, Some(object)).await? else {
        return Ok(());
    };
    let criteria = binding.at(&["spec", "matchResources"]);
    if matches(request, criteria, Some(object)).await?.is_none() {
        return Ok(());
    }
    let with_binding = |why: &str| {
        format!(
            "policy '{name}' with binding '{}' denied request: {why}",
            binding.name()
        )
    };
    let mut fail = |message: String, invalid: bool| {
        if !common.ignores_failures() {
            problems.push((message, invalid));
        }
    };
    let spec = binding.get("spec").unwrap_or(&Value::Null);
    let params = match params::collect(request, common.spec(), spec).await {
        Ok(params) => params,
        Err(Problem::Policy(why)) => {
            let why = format!("policy {name:?} denied request: failed to configure policy: {why}");
            fail(why, false);
            return Ok(());
        }
        Err(Problem::Binding(why)) => {
            let why = format!("failed to configure binding: {why}");
            fail(with_binding(&why), false);
            return Ok(());
        }
    };
    for params in &params {
        let key = format!(
            "{name}/{}/{}/{}",
            binding.name(),
            params.as_ref().map_or("", Document::namespace),
            params.as_ref().map_or("", Document::name)
        );
        let mut facts = Facts::of(request, &found, Some(object)).await?;
        if !common.conditions.is_empty() {
            let held = facts.settle(request, || {
                let context = facts.context(params.as_ref(), &[], PER_MATCH_CONDITIONS);
                common.conditions.hold(&context, common.ignores_failures())
            });
            match held.await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(why) => {
                    fail(with_binding(&why), true);
                    continue;
                }
            }
        }
        if !request.session.is_due(NAME, &key) {
            continue;
        }
        let before = object.clone();
        for mutation in &policy.mutations {
            let shown = found.convert(object);
            facts.set_object(&shown);
            let changed = facts.settle(request, || {
                let context = facts.context(params.as_ref(), &common.variables, PER_POLICY);
                mutation.apply(&context, &found, &shown)
            });
            match changed.await {
                Ok(mut changed) => {
                    found.restore(&mut changed);
                    *object = changed;
                }
                Err(why) => fail(with_binding(&why), true),
            }
        }
        if *object != before {
            request.session.changed(NAME);
        }
        if policy.reinvoked {
            request.session.asked(NAME, &key);
        }
    }
    Ok(())
}

impl Mutation {
    /// The object as this mutation leaves it, in the matched version.
    fn apply(&self, context: &Context<'_>, found: &Match, shown: &Value) -> Result<Value, String> {
        let outcome = context
            .evaluate(&self.expression)
            .map_err(|failure| self.expression.failed(&failure))?;
        let given = cel::to_json(&outcome.0)?;
        let changed = if self.patches {
            let patch = json::Patch::parse(given.to_string().as_bytes())
                .map_err(|status| status.message)?;
            patch
                .apply(shown.clone())
                .map_err(|status| format!("JSON Patch: {}", status.message))?
        } else {
            merged(found, shown, &given)?
        };
        Ok(checked(found, shown, changed))
    }
}

/// Merges an apply configuration into the object by the schema of its kind.
fn merged(found: &Match, shown: &Value, given: &Value) -> Result<Value, String> {
    if !given.is_object() {
        return Err("must evaluate to Object".to_owned());
    }
    Ok(match found.schema() {
        Some(schema) => merge_typed(&schema.root, shown, given),
        None => crate::apiserver::patch::merge::apply(shown.clone(), given),
    })
}

/// What no mutation may change stays.
fn checked(found: &Match, shown: &Value, mut changed: Value) -> Value {
    changed.set_at(&["apiVersion"], found.kind.api_version());
    changed.set_at(&["kind"], found.kind.kind.as_str());
    for field in ["name", "namespace", "uid", "managedFields"] {
        match shown.at(&["metadata", field]) {
            Some(value) => changed.set_at(&["metadata", field], value.clone()),
            None => {
                changed.remove_at(&["metadata", field]);
            }
        }
    }
    changed
}
