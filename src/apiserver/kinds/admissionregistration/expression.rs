//! Expressions of policies and conditions: what they may refer to, and what they must give.

use crate::object::field::{Errors, Path};

/// What an expression is for, which decides the types it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// True or false: a validation, a match condition.
    Condition,
    /// The message of a validation.
    Message,
    /// The value of an audit annotation.
    Annotation,
    /// A variable, of any type.
    Variable,
    /// A mutation by an apply configuration.
    Apply,
    /// A mutation by a JSON patch.
    Patch,
}

/// The expressions of one policy, which share its variables.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    #[cfg_attr(not(feature = "cel"), expect(dead_code, reason = "nothing is checked"))]
    params: bool,
    #[cfg(feature = "cel")]
    variables: Option<Vec<(String, crate::cel::Type)>>,
}

impl Scope {
    /// Expressions on their own; `params`: there are parameters.
    pub(super) fn new(params: bool) -> Self {
        Self {
            params,
            ..Self::default()
        }
    }
}

#[cfg(feature = "cel")]
impl Scope {
    /// A policy with variables.
    pub(super) fn composed(mut self) -> Self {
        self.variables = Some(Vec::new());
        self
    }

    /// Compiles an expression; what is wrong with it goes to `errors`. A variable is known to those after it.
    pub(super) fn check(
        &mut self,
        source: &str,
        purpose: Use,
        variable: Option<&str>,
        path: Path,
        errors: &mut Errors,
    ) {
        use crate::cel::{Environment, Type};
        let environment = Environment {
            object: None,
            params: self.params.then_some(Type::Dyn),
            authorizer: purpose != Use::Message,
            patches: matches!(purpose, Use::Apply | Use::Patch),
            variables: self.variables.clone(),
            only: None,
        };
        let expected = match purpose {
            Use::Condition => vec![Type::Bool],
            Use::Message => vec![Type::String],
            Use::Annotation => vec![Type::String, Type::Null],
            Use::Variable => Vec::new(),
            Use::Apply => vec![Type::named("Object")],
            Use::Patch => vec![Type::list(Type::named("JSONPatch"))],
        };
        let outcome = environment.compile(source, &expected);
        let found = match outcome {
            Ok((_, found)) => found,
            Err(why) => {
                errors.invalid(path, source, &why);
                Type::Unknown
            }
        };
        if let (Some(name), Some(variables)) = (variable, &mut self.variables) {
            variables.push((name.to_owned(), found));
        }
    }
}

/// Without the language nothing is checked.
#[cfg(not(feature = "cel"))]
impl Scope {
    pub(super) fn composed(self) -> Self {
        self
    }
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(super) fn check(&mut self, _: &str, _: Use, _: Option<&str>, _: Path, _: &mut Errors) {}
}

/// What whoever writes expressions is told when they are not enforced.
pub(super) fn warning(has_expressions: bool) -> Vec<String> {
    if cfg!(feature = "cel") || !has_expressions {
        Vec::new()
    } else {
        vec![
            "this server does not evaluate CEL expressions: they are stored, but not enforced"
                .to_owned(),
        ]
    }
}
