//! Rules in the Common Expression Language, for admission policies and match conditions: compiled and type checked in the words
//! of the real server, evaluated with a bound on the cost.
//!
//! The syntax tree and the function libraries are kube-cel's; the evaluation is our own, because a hostile rule must not spin
//! for ever, objects (`Object{…}`, `JSONPatch{…}`) are built, variables are computed when they are first asked for, and errors
//! read as those of the real server. Architecture invariant: pure.
mod authority;
mod check;
pub(crate) mod cost;
mod eval;
mod function;
mod library;
mod macros;
mod name;
mod operator;
mod source;
mod spent;
mod types;
mod unordered;
mod url;
mod value;
mod zone;

pub(crate) use self::authority::{Authorize, Permission, Verdict};
pub(crate) use self::eval::{Activation, Failure};
pub(crate) use self::name::escape;
pub(crate) use self::types::Type;
pub(crate) use self::unordered::{Kind as ListKind, Lists};
pub(crate) use self::value::{from_json, to_json};
pub(crate) use kube::core::cel::cel::Value;

use kube::core::cel::cel::parser::{Expression, Parser};
use std::sync::Arc;

/// What one expression may cost at most, counted as cel-go counts ([`spent`]).
pub(crate) const PER_CALL: u64 = 1_000_000;
/// What the expressions of one policy may cost together for one request.
pub(crate) const PER_POLICY: u64 = 10_000_000;
/// What the match conditions of one webhook or policy may cost together.
pub(crate) const PER_MATCH_CONDITIONS: u64 = 2_500_000;
/// Longer expressions are not parsed at all.
const LONGEST: usize = 64 * 1024;

/// A compiled expression.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    tree: Arc<Expression>,
}

/// What an expression may refer to, apart from `request` and `namespaceObject`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// `object` and `oldObject`, which are always there; `None`: they may be anything.
    pub object: Option<Type>,
    /// `params`
    pub params: Option<Type>,
    /// `authorizer`
    pub authorizer: bool,
    /// `Object{…}` and `JSONPatch{…}`
    pub patches: bool,
    /// `variables.<name>`; `None`: there are no variables at all.
    pub variables: Option<Vec<(String, Type)>>,
    /// All there is, instead of any of the above: what rules of custom resources are about.
    pub only: Option<Vec<(&'static str, Type)>>,
}

impl Environment {
    /// Compiles an expression that must give one of `expected` (empty: anything), with the type it gives.
    ///
    /// # Errors
    /// What is wrong with it, as the real server says it after `Invalid value: "…": `.
    pub(crate) fn compile(
        &self,
        source: &str,
        expected: &[Type],
    ) -> Result<(Program, Type), String> {
        let checked = self.check(source);
        let (tree, found) = checked.map_err(|why| format!("compilation failed: {why}"))?;
        if !expected.is_empty() && !found.is_unknown() && !expected.contains(&found) {
            return Err(if let [one] = expected {
                format!("must evaluate to {one} but got {found}")
            } else {
                let names: Vec<String> = expected.iter().map(ToString::to_string).collect();
                format!(
                    "must evaluate to one of [{}] but got {found}",
                    names.join(" ")
                )
            });
        }
        let program = Program {
            tree: Arc::new(tree),
        };
        Ok((program, found))
    }

    /// The type that an expression gives.
    ///
    /// # Errors
    /// What is wrong with it, in the words of cel-go.
    pub(crate) fn infer(&self, source: &str) -> Result<Type, String> {
        self.check(source).map(|(_, found)| found)
    }

    fn check(&self, source: &str) -> Result<(Expression, Type), String> {
        let tree = parse(source)?;
        let found = check::check(self, source, &tree)?;
        Ok((tree, found))
    }
}

impl Program {
    /// Parses an expression that was checked when it was stored.
    ///
    /// # Errors
    /// That it cannot be parsed.
    pub(crate) fn parse(source: &str) -> Result<Self, String> {
        let tree = parse(source).map_err(|why| format!("compilation failed: {why}"))?;
        Ok(Self {
            tree: Arc::new(tree),
        })
    }
}

impl Program {
    /// Whether it refers to a variable.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        self.tree.references().has_variable(name)
    }
}

/// What a conversion function makes of a value; `None`: nothing.
pub(crate) fn convert(function: &str, value: Value) -> Option<Value> {
    function::call(function, None, &[value]).ok()
}

/// An optional that holds `value`, or nothing.
pub(crate) fn optional(value: Option<Value>) -> Value {
    value::to_optional(value)
}

fn parse(source: &str) -> Result<Expression, String> {
    if source.len() > LONGEST {
        return Err(format!(
            "ERROR: <input>:-1:0: expression code point size exceeds limit: size: {}, limit {LONGEST}",
            source.len()
        ));
    }
    source::nesting(source)?;
    let mut tree = Parser::new()
        .enable_optional_syntax(true)
        .parse(source)
        .map_err(|errors| source::parse_errors(source, &errors))?;
    macros::expand(&mut tree);
    Ok(tree)
}

#[cfg(test)]
mod tests;
