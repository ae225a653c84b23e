//! Match conditions: expressions that must all be true for a webhook or policy to be asked.
use super::expression::{Context, Expression};
use serde_json::Value;

use crate::object::Document;

/// Compiled conditions.
#[derive(Debug)]
pub(super) struct Conditions(Vec<Expression>);

impl Conditions {
    /// Those of a webhook or of the spec of a policy.
    pub(super) fn of(owner: &Value) -> Self {
        let conditions = owner.list_at(&["matchConditions"]).iter();
        let compile = |condition: &Value| Expression::new(condition.str_at(&["expression"]).trim());
        Self(conditions.map(compile).collect())
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all are true. A condition that is false decides whatever else went wrong. `ignores`: whoever asks ignores
    /// failures, so that what went wrong counts as false.
    ///
    /// # Errors
    /// What went wrong.
    pub(super) fn hold(&self, context: &Context<'_>, ignores: bool) -> Result<bool, String> {
        let mut problems: Vec<String> = Vec::new();
        for condition in &self.0 {
            match context.evaluate(condition) {
                Ok(value) if value.is_false() => return Ok(false),
                Ok(_) => {}
                Err(failure) if failure.is_final() => {
                    problems = vec![failure.to_string()];
                    break;
                }
                Err(failure) => {
                    let text = condition.failed(&failure);
                    if !problems.contains(&text) {
                        problems.push(text);
                    }
                }
            }
        }
        match &problems[..] {
            [] => Ok(true),
            _ if ignores => Ok(false),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }
}
