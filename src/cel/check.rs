//! Type checking: undeclared names, unknown fields, operators without an overload, and the type of the whole.
//!
//! What the real server would infer and we do not is [`Type::Unknown`], which nothing complains about.
use super::Environment;
use super::authority;
use super::function;
use super::source::{self, Place, Problem};
use super::types::{self, Type};
use kube::core::cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, StructExpr, operators,
};
use kube::core::cel::cel::parser::Expression;

/// The type of an expression.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn check(
    environment: &Environment,
    source: &str,
    tree: &Expression,
) -> Result<Type, String> {
    let mut checker = Checker {
        environment,
        scope: Vec::new(),
        problems: Vec::new(),
    };
    let found = checker.infer(tree);
    if checker.problems.is_empty() {
        Ok(found)
    } else {
        Err(source::problems(source, &checker.problems))
    }
}

struct Checker<'a> {
    environment: &'a Environment,
    /// The variables of the comprehensions around.
    scope: Vec<(&'a str, Type)>,
    problems: Vec<Problem<'a>>,
}

impl<'a> Checker<'a> {
    fn complain(&mut self, place: Place<'a>, message: impl Into<String>) -> Type {
        let problem = Problem {
            place,
            message: message.into(),
        };
        self.problems.push(problem);
        Type::Unknown
    }

    fn infer(&mut self, tree: &'a Expression) -> Type {
        match &tree.expr {
            Expr::Unspecified => Type::Unknown,
            Expr::Literal(literal) => match literal {
                LiteralValue::Boolean(_) => Type::Bool,
                LiteralValue::Bytes(_) => Type::Bytes,
                LiteralValue::Double(_) => Type::Double,
                LiteralValue::Int(_) => Type::Int,
                LiteralValue::Null => Type::Null,
                LiteralValue::String(_) => Type::String,
                LiteralValue::UInt(_) => Type::Uint,
            },
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.select(select),
            Expr::List(list) => {
                let mut item = None;
                for (index, element) in list.elements.iter().enumerate() {
                    let mut found = self.infer(element);
                    if list.optional_indices.contains(&index) {
                        found = Type::Unknown;
                    }
                    item = Some(match item {
                        None => found,
                        Some(other) => found.join(other),
                    });
                }
                Type::list(item.unwrap_or(Type::Dyn))
            }
            Expr::Map(map) => {
                let mut entry: Option<(Type, Type)> = None;
                for item in &map.entries {
                    let EntryExpr::MapEntry(item) = &item.expr else {
                        continue;
                    };
                    let (key, mut value) = (self.infer(&item.key), self.infer(&item.value));
                    if item.optional {
                        value = Type::Unknown;
                    }
                    entry = Some(match entry {
                        None => (key, value),
                        Some((other_key, other_value)) => {
                            (key.join(other_key), value.join(other_value))
                        }
                    });
                }
                let (key, value) = entry.unwrap_or((Type::Dyn, Type::Dyn));
                Type::map(key, value)
            }
            Expr::Struct(object) => self.object(object),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Call(call) => self.call(call),
        }
    }

    fn lookup(&self, name: &str) -> Option<Type> {
        let local = self.scope.iter().rev().find(|(known, _)| *known == name);
        if let Some((_, found)) = local {
            return Some(found.clone());
        }
        if let Some(only) = &self.environment.only {
            let found = only.iter().find(|(known, _)| *known == name);
            let named = types::NAMES.contains(&name).then_some(Type::Type);
            return found.map(|(_, found)| found.clone()).or(named);
        }
        Some(match name {
            "object" | "oldObject" => self.environment.object.clone().unwrap_or(Type::Dyn),
            "request" => Type::named("kubernetes.AdmissionRequest"),
            "namespaceObject" => Type::named("kubernetes.Namespace"),
            "params" => self.environment.params.clone()?,
            "authorizer" if self.environment.authorizer => authority::type_of("Authorizer"),
            "variables" if self.environment.variables.is_some() => {
                Type::named("kubernetes.variables")
            }
            _ if types::NAMES.contains(&name) => Type::Type,
            _ => return None,
        })
    }

    fn name(&mut self, name: &'a str) -> Type {
        self.lookup(name).unwrap_or_else(|| {
            self.complain(
                Place::Name(name),
                format!("undeclared reference to '{name}' (in container '')"),
            )
        })
    }

    fn select(&mut self, select: &'a SelectExpr) -> Type {
        if qualified(&select.operand, &select.field)
            .is_some_and(|name| types::NAMES.contains(&&*name))
        {
            return Type::Type;
        }
        // A name of its own, with a dot in it.
        let whole = qualified(&select.operand, &select.field);
        if self.environment.authorizer && whole.as_deref() == Some("authorizer.requestResource") {
            return authority::type_of("ResourceCheck");
        }
        let operand = self.infer(&select.operand);
        let found = self.field(&operand, &select.field);
        if select.test { Type::Bool } else { found }
    }

    fn field(&mut self, operand: &Type, field: &'a str) -> Type {
        match operand {
            Type::Dyn => Type::Dyn,
            Type::Unknown => Type::Unknown,
            Type::Map(_, value) => (**value).clone(),
            Type::Named(name) if name == "kubernetes.variables" => {
                let variables = self.environment.variables.as_deref().unwrap_or_default();
                match variables.iter().find(|(known, _)| known == field) {
                    Some((_, found)) => found.clone(),
                    None => {
                        self.complain(Place::Field(field), format!("undefined field '{field}'"))
                    }
                }
            }
            Type::Declared(fields) => match fields.get(field) {
                Some(found) => found.clone(),
                None => self.complain(Place::Field(field), format!("undefined field '{field}'")),
            },
            Type::Named(name) if *operand == authority::type_of("Authorizer") => {
                let message = format!("unexpected failed resolution of '{name}'");
                self.complain(Place::Field(field), message)
            }
            Type::Named(name) => match types::field(name, field) {
                Some(found) => found,
                None => self.complain(Place::Field(field), format!("undefined field '{field}'")),
            },
            other => {
                let message = format!("type '{other}' does not support field selection");
                self.complain(Place::Field(field), message)
            }
        }
    }

    fn object(&mut self, object: &'a StructExpr) -> Type {
        let name = object.type_name.trim_start_matches('.');
        let patched = name == "Object" || name.starts_with("Object.");
        if !self.environment.patches || !(patched || name == "JSONPatch") {
            let message = format!("undeclared reference to '{name}' (in container '')");
            return self.complain(Place::Struct(&object.type_name), message);
        }
        for entry in &object.entries {
            let EntryExpr::StructField(entry) = &entry.expr else {
                continue;
            };
            let given = self.infer(&entry.value);
            let Some(wanted) = types::field(name, &entry.field) else {
                let field = &entry.field;
                self.complain(Place::Name(field), format!("undefined field '{field}'"));
                continue;
            };
            if let (Type::Named(given), true) = (&given, patched) {
                // The parts of a patched object are named after where they belong.
                let right = format!("{name}.{}", entry.field);
                if given.starts_with("Object") && *given != right {
                    let message = format!(
                        "expected type of field '{}' is '{right}' but provided type is '{given}'",
                        entry.field
                    );
                    self.complain(Place::Name(&entry.field), message);
                    continue;
                }
            }
            if !given.fits(&wanted) {
                let message = format!(
                    "expected type of field '{}' is '{wanted}' but provided type is '{given}'",
                    entry.field
                );
                self.complain(Place::Name(&entry.field), message);
            }
        }
        Type::named(name)
    }

    fn comprehension(&mut self, comprehension: &'a ComprehensionExpr) -> Type {
        let range = self.infer(&comprehension.iter_range);
        let has_two = comprehension.iter_var2.is_some();
        let (item, second) = match &range {
            Type::List(item) if has_two => (Type::Int, (**item).clone()),
            Type::List(item) => ((**item).clone(), Type::Unknown),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn => (Type::Dyn, Type::Dyn),
            _ => (Type::Unknown, Type::Unknown),
        };
        let start = self.infer(&comprehension.accu_init);
        let known = self.scope.len();
        let collects = matches!(start, Type::List(_));
        let accumulated = if collects || matches!(start, Type::Map(..)) {
            Type::Unknown
        } else {
            start.clone()
        };
        self.scope.push((&comprehension.iter_var, item));
        if let Some(name) = &comprehension.iter_var2 {
            self.scope.push((name, second));
        }
        self.scope
            .push((&comprehension.accu_var, accumulated.clone()));
        self.infer(&comprehension.loop_cond);
        let found = if collects {
            let found = self.collected(&comprehension.loop_step, &comprehension.accu_var);
            found.map_or(Type::Unknown, Type::list)
        } else {
            self.infer(&comprehension.loop_step);
            // What goes into a map says nothing of it here.
            if matches!(start, Type::Map(..)) {
                Type::Unknown
            } else {
                start
            }
        };
        if let Some((_, accumulated)) = self.scope.last_mut() {
            *accumulated = found;
        }
        let result = self.infer(&comprehension.result);
        self.scope.truncate(known);
        result
    }

    /// The type of what a step of `map` or `filter` adds to the list.
    fn collected(&mut self, step: &'a Expression, accumulator: &str) -> Option<Type> {
        let Expr::Call(call) = &step.expr else {
            return None;
        };
        match (call.func_name.as_str(), &call.args[..]) {
            (operators::CONDITIONAL, [condition, yes, _]) => {
                self.infer(condition);
                self.collected(yes, accumulator)
            }
            (operators::ADD, [accumulated, added]) if matches!(&accumulated.expr, Expr::Ident(name) if name == accumulator) => {
                match self.infer(added) {
                    Type::List(item) => Some(*item),
                    _ => None,
                }
            }
            _ => {
                self.infer(step);
                None
            }
        }
    }

    fn call(&mut self, call: &'a CallExpr) -> Type {
        let name = call.func_name.as_str();
        if let Some(target) = &call.target {
            let whole = qualified(target, name);
            if let Some(found) = whole.as_deref().and_then(function::result_of) {
                self.all(&call.args);
                return found;
            }
            let receiver = self.infer(target);
            let given = self.all(&call.args);
            let known = function::result_of(name);
            let asked = authority::result_of(name, &receiver, &given);
            if let (Some(_), Some(found)) = (&known, asked) {
                return found.unwrap_or_else(|| {
                    let message = format!(
                        "found no matching overload for '{name}' applied to '{receiver}.({})'",
                        shown(&given)
                    );
                    self.complain(Place::Call(name), message)
                });
            }
            return match known {
                Some(found) => function::refine(name, &receiver, found),
                None => self.complain(
                    Place::Call(name),
                    format!("undeclared reference to '{name}' (in container '')"),
                ),
            };
        }
        if name == operators::OPT_SELECT || name == operators::OPT_INDEX {
            self.all(&call.args);
            return Type::Unknown;
        }
        let given = self.all(&call.args);
        if let Some(found) = operator(name, &given) {
            return found.unwrap_or_else(|| {
                let message = format!(
                    "found no matching overload for '{name}' applied to '({})'",
                    shown(&given)
                );
                self.complain(Place::Operator(sign(name)), message)
            });
        }
        match function::result_of(name) {
            Some(found) => found,
            None => self.complain(
                Place::Call(name),
                format!("undeclared reference to '{name}' (in container '')"),
            ),
        }
    }

    fn all(&mut self, trees: &'a [Expression]) -> Vec<Type> {
        trees.iter().map(|tree| self.infer(tree)).collect()
    }
}

/// Types as arguments.
fn shown(types: &[Type]) -> String {
    let shown: Vec<String> = types.iter().map(ToString::to_string).collect();
    shown.join(", ")
}

/// `a.b.c`, when it is nothing but names.
pub(super) fn qualified(operand: &Expression, last: &str) -> Option<String> {
    match &operand.expr {
        Expr::Ident(name) => Some(format!("{name}.{last}")),
        Expr::Select(select) if !select.test => Some(format!(
            "{}.{last}",
            qualified(&select.operand, &select.field)?
        )),
        _ => None,
    }
}

/// What an operator gives; `Some(None)`: there is no such overload; `None`: it is no operator.
#[expect(
    clippy::option_option,
    reason = "two questions in one: is it an operator, and what does it give"
)]
fn operator(name: &str, given: &[Type]) -> Option<Option<Type>> {
    let boolean = |found: &Type| found.is_open() || *found == Type::Bool;
    Some(match (name, given) {
        (operators::CONDITIONAL, [condition, yes, no]) => {
            let found = match (yes, no) {
                // Which of the two the real server settles on depends on more than we know.
                (Type::Dyn, other) | (other, Type::Dyn) if *other != Type::Dyn => Type::Unknown,
                (yes, no) => yes.clone().join(no.clone()),
            };
            (boolean(condition) && yes.fits(no)).then_some(found)
        }
        (operators::LOGICAL_AND | operators::LOGICAL_OR, [left, right]) => {
            (boolean(left) && boolean(right)).then_some(Type::Bool)
        }
        (operators::LOGICAL_NOT | operators::NOT_STRICTLY_FALSE, [one]) => {
            boolean(one).then_some(Type::Bool)
        }
        (operators::NEGATE, [one]) => {
            (one.is_open() || matches!(one, Type::Int | Type::Double)).then(|| one.clone())
        }
        (operators::EQUALS | operators::NOT_EQUALS, [left, right]) => {
            left.fits(right).then_some(Type::Bool)
        }
        (
            operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS,
            [left, right],
        ) => {
            let number = |found: &Type| matches!(found, Type::Int | Type::Uint | Type::Double);
            let ordered = |found: &Type| {
                number(found)
                    || found.is_open()
                    || matches!(
                        found,
                        Type::Bool | Type::String | Type::Bytes | Type::Timestamp | Type::Duration
                    )
            };
            let same = left.fits(right) || (number(left) && number(right));
            (same && ordered(left) && ordered(right)).then_some(Type::Bool)
        }
        (operators::IN, [_, container]) => (container.is_open()
            || matches!(container, Type::List(_) | Type::Map(..)))
        .then_some(Type::Bool),
        (operators::INDEX, [container, _]) => match container {
            Type::List(item) => Some((**item).clone()),
            Type::Map(_, value) => Some((**value).clone()),
            Type::Dyn => Some(Type::Dyn),
            Type::Unknown => Some(Type::Unknown),
            _ => None,
        },
        (operators::ADD, [left, right]) => match (left, right) {
            (Type::Unknown, _) | (_, Type::Unknown) => Some(Type::Unknown),
            (Type::Dyn, Type::Dyn) => Some(Type::Dyn),
            (Type::Timestamp, Type::Duration) | (Type::Duration, Type::Timestamp) => {
                Some(Type::Timestamp)
            }
            // The one overload that fits decides; lists and times leave more than one.
            (Type::Dyn, known) | (known, Type::Dyn) => Some(match known {
                Type::Int | Type::Uint | Type::Double | Type::String | Type::Bytes => known.clone(),
                _ => Type::Unknown,
            }),
            (Type::List(_), Type::List(_)) => Some(left.clone().join(right.clone())),
            _ => (left == right
                && matches!(
                    left,
                    Type::Int
                        | Type::Uint
                        | Type::Double
                        | Type::String
                        | Type::Bytes
                        | Type::Duration
                ))
            .then(|| left.clone()),
        },
        (
            operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO,
            [left, right],
        ) => match (left, right) {
            (Type::Dyn, Type::Dyn) => Some(Type::Dyn),
            (one, other) if one.is_open() || other.is_open() => {
                let known = if one.is_open() { other } else { one };
                Some(match known {
                    Type::Int | Type::Uint | Type::Double => known.clone(),
                    _ => Type::Unknown,
                })
            }
            (Type::Timestamp | Type::Duration, Type::Timestamp | Type::Duration)
                if name == operators::SUBSTRACT =>
            {
                Some(if (left, right) == (&Type::Timestamp, &Type::Duration) {
                    Type::Timestamp
                } else {
                    Type::Duration
                })
            }
            _ => (left == right && matches!(left, Type::Int | Type::Uint | Type::Double))
                .then(|| left.clone()),
        },
        _ => return None,
    })
}

/// How an operator is written.
fn sign(name: &str) -> &'static str {
    match name {
        operators::CONDITIONAL => "?",
        operators::LOGICAL_AND => "&&",
        operators::LOGICAL_OR => "||",
        operators::LOGICAL_NOT | operators::NOT_STRICTLY_FALSE => "!",
        operators::NEGATE | operators::SUBSTRACT => "-",
        operators::EQUALS => "==",
        operators::NOT_EQUALS => "!=",
        operators::LESS => "<",
        operators::LESS_EQUALS => "<=",
        operators::GREATER => ">",
        operators::GREATER_EQUALS => ">=",
        operators::IN => "in",
        operators::INDEX => "[",
        operators::ADD => "+",
        operators::MULTIPLY => "*",
        operators::DIVIDE => "/",
        operators::MODULO => "%",
        _ => "(",
    }
}
