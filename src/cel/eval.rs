//! Evaluation, step by step and at a bounded cost.
//!
//! The cost is cel-go's, so that what a user may spend is what the real server lets them spend. It says little of the work: two
//! large objects are compared for next to nothing. So work is bounded too, widely enough that no fair rule notices.
use super::authority::{self, Authorize, Permission};
use super::check::qualified;
use super::operator::{add, binary, check_growth, key, optional_index, unary};
use super::types;
use super::unordered::Lists;
use super::value::{self, deep_size, map, optional, size, to_optional};
use super::{PER_CALL, Program, Value, cost, function, macros, spent};
use kube::core::cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators,
};
use kube::core::cel::cel::objects::Key;
use kube::core::cel::cel::parser::Expression;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// How many steps a unit of cost may take.
const STEPS: u64 = 10;
/// What a name costs, and a field of something.
const NAME: u64 = 1;

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It went wrong.
    Error(String),
    /// It alone cost too much.
    TooCostly,
    /// All expressions together cost too much; nothing more is evaluated.
    OutOfBudget,
}

impl Failure {
    pub(super) fn error(why: &str) -> Self {
        Self::Error(why.to_owned())
    }
    /// Whether nothing more is to be evaluated.
    pub(crate) fn is_final(&self) -> bool {
        *self == Self::OutOfBudget
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error(why) => why,
            Self::TooCostly => "operation cancelled: actual cost limit exceeded",
            Self::OutOfBudget => {
                "validation failed due to running out of cost budget, no further validation rules will be run"
            }
        })
    }
}

/// What an expression is evaluated over. Values of variables are kept once they are known.
pub(crate) struct Activation<'a> {
    names: BTreeMap<&'static str, Value>,
    variables: Vec<(&'a str, &'a Program)>,
    known: RefCell<BTreeMap<String, Result<Value, Failure>>>,
    authorizer: Option<&'a dyn Authorize>,
    /// Lists whose order says nothing.
    unordered: Lists,
    /// What all expressions together may still cost.
    left: Cell<u64>,
}

impl fmt::Debug for Activation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activation")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl<'a> Activation<'a> {
    /// Nothing bound, with a budget for all expressions together.
    pub(crate) fn new(budget: u64) -> Self {
        Self {
            names: BTreeMap::new(),
            variables: Vec::new(),
            known: RefCell::default(),
            authorizer: None,
            unordered: Lists::default(),
            left: Cell::new(budget),
        }
    }
    /// With the lists among its values whose order says nothing.
    #[must_use]
    pub(crate) fn with_unordered(mut self, lists: Lists) -> Self {
        self.unordered = lists;
        self
    }
    /// What all expressions together may still cost.
    pub(crate) fn left(&self) -> u64 {
        self.left.get()
    }
    /// With a value under a name.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: Value) -> Self {
        self.names.insert(name, value);
        self
    }
    /// With `variables`, which see those before them.
    #[must_use]
    pub(crate) fn with_variables(mut self, variables: Vec<(&'a str, &'a Program)>) -> Self {
        self.variables = variables;
        self
    }
    /// With `authorizer`; `of` is what `authorizer.requestResource` asks about.
    #[must_use]
    pub(crate) fn with_authorizer(
        mut self,
        authorizer: &'a dyn Authorize,
        of: &Permission,
    ) -> Self {
        self.authorizer = Some(authorizer);
        let mut asked = authority::question("Authorizer", &Permission::default());
        if let Value::Map(fields) = &mut asked {
            let mut fields_ = (*fields.map).clone();
            fields_.insert(
                "requestResource".into(),
                authority::question("ResourceCheck", of),
            );
            fields.map = Arc::new(fields_);
        }
        self.names.insert("authorizer", asked);
        self
    }

    /// The value of an expression.
    ///
    /// # Errors
    /// That it has none, or costs too much.
    pub(crate) fn evaluate(&self, program: &Program) -> Result<Value, Failure> {
        if self.left.get() == 0 {
            return Err(Failure::OutOfBudget);
        }
        let mut run = Run {
            activation: self,
            scope: Vec::new(),
            left: PER_CALL,
            steps: PER_CALL * STEPS,
        };
        let outcome = run.value(&program.tree);
        let spent = (PER_CALL - run.left).max((PER_CALL * STEPS - run.steps) / STEPS);
        let left = self.left.get();
        self.left.set(left.saturating_sub(spent));
        if spent > left {
            self.left.set(0);
            return Err(Failure::OutOfBudget);
        }
        outcome
    }

    fn variable(&self, name: &str) -> Result<Value, Failure> {
        if let Some(known) = self.known.borrow().get(name) {
            return known.clone();
        }
        let Some((_, program)) = self.variables.iter().find(|(known, _)| *known == name) else {
            return Err(Failure::Error(format!("no such key: {name}")));
        };
        // A variable that needs itself, in a policy that nobody checked, ends here.
        let circular = Err(Failure::Error(format!("no such key: {name}")));
        self.known.borrow_mut().insert(name.to_owned(), circular);
        let outcome = self.evaluate(program).map_err(|failure| match failure {
            Failure::Error(why) => Failure::Error(format!(
                "composited variable \"{name}\" fails to evaluate: {why}"
            )),
            other => other,
        });
        self.known
            .borrow_mut()
            .insert(name.to_owned(), outcome.clone());
        outcome
    }
}

/// One evaluation.
struct Run<'r> {
    activation: &'r Activation<'r>,
    /// The variables of the comprehensions around.
    scope: Vec<(String, Value)>,
    /// What may still be spent.
    left: u64,
    /// The steps that may still be taken.
    steps: u64,
}

impl Run<'_> {
    fn spend(&mut self, cost: u64) -> Result<(), Failure> {
        take_from(&mut self.left, cost)
    }

    fn work(&mut self, steps: u64) -> Result<(), Failure> {
        take_from(&mut self.steps, steps)
    }

    /// The value of an entry or a field that is written down; `None`: it is marked with `?`, and there is none.
    fn entry(&mut self, tree: &Expression, optional: bool) -> Result<Option<Value>, Failure> {
        let value = self.value(tree)?;
        if optional {
            held(value)
        } else {
            Ok(Some(value))
        }
    }

    fn value(&mut self, tree: &Expression) -> Result<Value, Failure> {
        self.work(1)?;
        match &tree.expr {
            Expr::Unspecified => Err(Failure::error("unspecified expression")),
            Expr::Literal(literal) => Ok(self::literal(literal)),
            Expr::Ident(name) => {
                self.spend(NAME)?;
                self.name(name)
            }
            Expr::Select(select) => self.select(select),
            Expr::List(list) => {
                self.spend(cost::LIST)?;
                let mut items = Vec::with_capacity(list.elements.len());
                for (index, element) in list.elements.iter().enumerate() {
                    let item = self.value(element)?;
                    if list.optional_indices.contains(&index) {
                        items.extend(held(item)?);
                    } else {
                        items.push(item);
                    }
                }
                Ok(Value::List(Arc::new(items)))
            }
            Expr::Map(entries) => {
                self.spend(cost::MAP)?;
                let mut found: BTreeMap<Key, Value> = BTreeMap::new();
                for entry in &entries.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        continue;
                    };
                    let key = key(&self.value(&entry.key)?)?;
                    let value = self.entry(&entry.value, entry.optional)?;
                    if let Some(value) = value {
                        found.insert(key, value);
                    }
                }
                Ok(map(found))
            }
            Expr::Struct(object) => {
                self.spend(cost::STRUCT)?;
                let mut found: BTreeMap<Key, Value> = BTreeMap::new();
                for entry in &object.entries {
                    let EntryExpr::StructField(entry) = &entry.expr else {
                        continue;
                    };
                    let value = self.entry(&entry.value, entry.optional)?;
                    if let Some(value) = value {
                        found.insert(Key::String(Arc::new(entry.field.clone())), value);
                    }
                }
                Ok(map(found))
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Call(call) => self.call(call),
        }
    }

    fn name(&self, name: &str) -> Result<Value, Failure> {
        let local = self.scope.iter().rev().find(|(known, _)| known == name);
        if let Some((_, value)) = local {
            return Ok(value.clone());
        }
        let known = self.activation.names.get(name).cloned();
        known
            .or_else(|| type_value(name))
            .ok_or_else(|| Failure::Error(format!("no such attribute(s): {name}")))
    }

    fn select(&mut self, select: &SelectExpr) -> Result<Value, Failure> {
        if matches!(&select.operand.expr, Expr::Ident(name) if name == "variables")
            && !self.scope.iter().any(|(known, _)| known == "variables")
            && !self.activation.variables.is_empty()
        {
            self.spend(2 * NAME)?;
            let value = self.activation.variable(&select.field);
            return if select.test {
                Ok(Value::Bool(value.is_ok()))
            } else {
                value
            };
        }
        if let Some(named) =
            qualified(&select.operand, &select.field).and_then(|name| type_value(&name))
        {
            return Ok(named);
        }
        let operand = self.value(&select.operand)?;
        if !select.test {
            self.spend(NAME)?;
        }
        let is_optional = optional(&operand);
        let within = match &is_optional {
            Some(None) => {
                return Ok(if select.test {
                    Value::Bool(false)
                } else {
                    operand
                });
            }
            Some(Some(held)) => held,
            None => &operand,
        };
        let Value::Map(fields) = within else {
            return if select.test && matches!(within, Value::Null) {
                Ok(Value::Bool(false))
            } else {
                Err(Failure::Error(format!("no such key: {}", select.field)))
            };
        };
        let found = fields.map.get(&Key::String(Arc::new(select.field.clone())));
        if select.test {
            return Ok(Value::Bool(found.is_some()));
        }
        match (is_optional.is_some(), found) {
            (true, found) => Ok(to_optional(found.cloned())),
            (false, Some(found)) => Ok(found.clone()),
            (false, None) => Err(Failure::Error(format!("no such key: {}", select.field))),
        }
    }

    fn comprehension(&mut self, comprehension: &ComprehensionExpr) -> Result<Value, Failure> {
        let range = self.value(&comprehension.iter_range)?;
        // With two variables, the index or key goes before the value.
        let has_two = comprehension.iter_var2.is_some();
        let items: Vec<(Value, Value)> = match &range {
            Value::List(items) if has_two => {
                let items = items.iter().cloned();
                (0..).map(Value::Int).zip(items).collect()
            }
            Value::List(items) => items
                .iter()
                .map(|item| (item.clone(), Value::Null))
                .collect(),
            Value::Map(entries) => {
                let mut entries: Vec<(&Key, &Value)> = entries.map.iter().collect();
                entries.sort_by_key(|(key, _)| *key);
                let entries = entries.into_iter();
                entries
                    .map(|(key, value)| (key.into(), value.clone()))
                    .collect()
            }
            other => {
                return Err(Failure::Error(format!(
                    "no such overload: cannot iterate over {}",
                    value::type_name(other)
                )));
            }
        };
        self.work(items.len() as u64)?;
        let start = self.value(&comprehension.accu_init)?;
        let known = self.scope.len();
        self.scope.push((comprehension.accu_var.clone(), start));
        let second = comprehension.iter_var2.iter();
        for name in std::iter::once(&comprehension.iter_var).chain(second) {
            self.scope.push((name.clone(), Value::Null));
        }
        let outcome = self.iterate(comprehension, items, known);
        self.scope.truncate(known);
        outcome
    }

    fn iterate(
        &mut self,
        comprehension: &ComprehensionExpr,
        items: Vec<(Value, Value)>,
        at: usize,
    ) -> Result<Value, Failure> {
        // An error is forgotten when a later item settles the outcome, as `all` and `exists` do.
        let mut pending: Option<Failure> = None;
        for (item, second) in items {
            match self.value(&comprehension.loop_cond) {
                Ok(Value::Bool(true)) | Err(Failure::Error(_)) => {}
                Err(failure) => return Err(failure),
                Ok(_) => break,
            }
            if let Some((_, bound)) = self.scope.get_mut(at + 1) {
                *bound = item;
            }
            if comprehension.iter_var2.is_some()
                && let Some((_, bound)) = self.scope.get_mut(at + 2)
            {
                *bound = second;
            }
            match self.step(comprehension, at) {
                Ok(value) => {
                    let settled = matches!(value, Value::Bool(_))
                        && !matches!(self.scope.get(at), Some((_, old)) if *old == value);
                    if settled {
                        pending = None;
                    }
                    if let Some((_, accumulated)) = self.scope.get_mut(at) {
                        *accumulated = value;
                    }
                }
                Err(Failure::Error(why)) if is_logical(&comprehension.loop_step) => {
                    pending.get_or_insert(Failure::Error(why));
                }
                Err(failure) => return Err(failure),
            }
        }
        if let Some(failure) = pending {
            return Err(failure);
        }
        // What `map` and `filter` add goes to the end of one list, so that the cost does not grow with the square.
        self.value(&comprehension.result)
    }

    /// The next state. What grows is taken out of the scope first: added to, not copied.
    fn step(&mut self, comprehension: &ComprehensionExpr, at: usize) -> Result<Value, Failure> {
        let Expr::Call(call) = &comprehension.loop_step.expr else {
            return self.value(&comprehension.loop_step);
        };
        if let Some(added) = self.grows(call, comprehension) {
            return self.grow(added, at);
        }
        if let (operators::CONDITIONAL, [condition, yes, no]) =
            (call.func_name.as_str(), &call.args[..])
            && self.is_accumulator(no, comprehension)
            && let Expr::Call(inner) = &yes.expr
            && let Some(added) = self.grows(inner, comprehension)
        {
            return match self.value(condition)? {
                Value::Bool(true) => self.grow(added, at),
                Value::Bool(false) => self.take(at),
                _ => Err(Failure::error("no such overload")),
            };
        }
        self.value(&comprehension.loop_step)
    }

    /// What a call adds to what has been gathered.
    fn grows<'e>(
        &self,
        call: &'e CallExpr,
        comprehension: &ComprehensionExpr,
    ) -> Option<Added<'e>> {
        let (accumulated, added) = call.args.split_first()?;
        let added = match (call.func_name.as_str(), added) {
            (operators::ADD, [added]) => Added::Value(added),
            (macros::INSERT, entry) => Added::Entry(entry),
            _ => return None,
        };
        self.is_accumulator(accumulated, comprehension)
            .then_some(added)
    }

    #[expect(clippy::unused_self, reason = "reads as a question about the run")]
    fn is_accumulator(&self, tree: &Expression, comprehension: &ComprehensionExpr) -> bool {
        matches!(&tree.expr, Expr::Ident(name) if *name == comprehension.accu_var)
    }

    fn take(&mut self, at: usize) -> Result<Value, Failure> {
        self.spend(NAME)?;
        let slot = self.scope.get_mut(at);
        slot.map(|(_, value)| std::mem::replace(value, Value::Null))
            .ok_or_else(|| Failure::error("no such overload"))
    }

    fn grow(&mut self, added: Added<'_>, at: usize) -> Result<Value, Failure> {
        match added {
            Added::Value(added) => {
                let added = self.value(added)?;
                let grown = self.take(at)?;
                self.spend(spent::before(operators::ADD, &[&grown, &added]))?;
                add(grown, added)
            }
            Added::Entry(entry) => {
                let entry = self.all(entry)?;
                let grown = self.take(at)?;
                self.spend(NAME)?;
                insert(grown, &entry)
            }
        }
    }

    fn call(&mut self, call: &CallExpr) -> Result<Value, Failure> {
        let name = call.func_name.as_str();
        if let Some(target) = &call.target {
            return self.member(name, target, &call.args);
        }
        match (name, &call.args[..]) {
            (operators::CONDITIONAL, [condition, yes, no]) => match self.value(condition)? {
                Value::Bool(true) => self.value(yes),
                Value::Bool(false) => self.value(no),
                _ => Err(Failure::error("no such overload")),
            },
            (operators::LOGICAL_AND, [left, right]) => self.logical(false, left, right),
            (operators::LOGICAL_OR, [left, right]) => self.logical(true, left, right),
            (operators::NOT_STRICTLY_FALSE, [one]) => {
                self.spend(1)?;
                match self.value(one) {
                    Ok(value) => Ok(Value::Bool(value != Value::Bool(false))),
                    Err(Failure::Error(_)) => Ok(Value::Bool(true)),
                    Err(failure) => Err(failure),
                }
            }
            (operators::OPT_SELECT, [operand, field]) => {
                self.spend(NAME)?;
                let (operand, field) = (self.value(operand)?, self.value(field)?);
                optional_index(&operand, &field)
            }
            (operators::OPT_INDEX, [operand, index]) => {
                self.spend(NAME)?;
                let (operand, index) = (self.value(operand)?, self.value(index)?);
                optional_index(&operand, &index)
            }
            (name, trees) => {
                let arguments = self.all(trees)?;
                if let [left, right] = &arguments[..] {
                    if matches!(
                        name,
                        operators::EQUALS | operators::NOT_EQUALS | operators::IN
                    ) {
                        let left_size = deep_size(left, self.steps);
                        self.work(left_size.min(deep_size(right, self.steps)))?;
                    }
                    let unordered = self.activation.unordered.binary(name, left, right);
                    if let Some(outcome) = unordered.map(Ok).or_else(|| binary(name, left, right)) {
                        self.spend(spent::before(name, &[left, right]))?;
                        return outcome;
                    }
                }
                if let [one] = &arguments[..]
                    && let Some(outcome) = unary(name, one)
                {
                    self.spend(1)?;
                    return outcome;
                }
                self.invoke(name, None, &arguments)
            }
        }
    }

    fn all(&mut self, trees: &[Expression]) -> Result<Vec<Value>, Failure> {
        trees.iter().map(|tree| self.value(tree)).collect()
    }

    fn member(
        &mut self,
        name: &str,
        target: &Expression,
        trees: &[Expression],
    ) -> Result<Value, Failure> {
        if let Some(whole) = qualified(target, name).filter(|whole| function::is_qualified(whole)) {
            let arguments = self.all(trees)?;
            return self.invoke(&whole, None, &arguments);
        }
        if let Some(outcome) = self.optional_macro(name, target, trees) {
            return outcome;
        }
        let receiver = self.value(target)?;
        let arguments = self.all(trees)?;
        if let Some(outcome) =
            authority::ask(self.activation.authorizer, name, &receiver, &arguments)
        {
            self.spend(spent::before(name, &[]))?;
            return outcome;
        }
        self.invoke(name, Some(&receiver), &arguments)
    }

    /// `optMap` and `optFlatMap`, which the parser leaves as calls.
    fn optional_macro(
        &mut self,
        name: &str,
        target: &Expression,
        trees: &[Expression],
    ) -> Option<Result<Value, Failure>> {
        let ("optMap" | "optFlatMap", [variable, body]) = (name, trees) else {
            return None;
        };
        let Expr::Ident(variable) = &variable.expr else {
            return None;
        };
        let held = match self.value(target) {
            Ok(value) => match optional(&value) {
                Some(Some(held)) => held,
                Some(None) => return Some(Ok(value)),
                None => return Some(Err(Failure::error("no such overload"))),
            },
            Err(failure) => return Some(Err(failure)),
        };
        self.scope.push((variable.clone(), held));
        let outcome = self.value(body);
        self.scope.pop();
        Some(outcome.map(|value| {
            if name == "optMap" {
                to_optional(Some(value))
            } else {
                value
            }
        }))
    }

    fn invoke(
        &mut self,
        name: &str,
        receiver: Option<&Value>,
        arguments: &[Value],
    ) -> Result<Value, Failure> {
        let given: Vec<&Value> = receiver.into_iter().chain(arguments).collect();
        self.spend(spent::before(name, &given))?;
        let mut steps = 1;
        for value in &given {
            steps += deep_size(value, self.steps);
        }
        // Libraries copy what they are given, and some look at every pair.
        if matches!(
            name,
            "distinct" | "sort" | "sets.contains" | "sets.equivalent" | "sets.intersects"
        ) {
            steps = steps.saturating_mul(steps.min(1_000));
        }
        self.work(steps)?;
        check_growth(name, receiver, arguments)?;
        let found = function::call(name, receiver, arguments)?;
        self.spend(spent::after(name, &found))?;
        self.work(size(&found))?;
        Ok(found)
    }

    /// `&&` and `||`: an error on one side is forgotten when the other side settles it.
    fn logical(
        &mut self,
        settles: bool,
        left: &Expression,
        right: &Expression,
    ) -> Result<Value, Failure> {
        let first = match self.value(left) {
            Ok(Value::Bool(value)) if value == settles => return Ok(Value::Bool(settles)),
            Ok(Value::Bool(_)) => None,
            Ok(_) => Some(Failure::error("no such overload")),
            Err(Failure::Error(why)) => Some(Failure::Error(why)),
            Err(failure) => return Err(failure),
        };
        match (self.value(right)?, first) {
            (Value::Bool(value), None) => Ok(Value::Bool(value)),
            (Value::Bool(value), Some(_)) if value == settles => Ok(Value::Bool(settles)),
            (_, first) => Err(first.unwrap_or_else(|| Failure::error("no such overload"))),
        }
    }
}

/// Takes from what is left; what is not enough is gone too.
fn take_from(left: &mut u64, amount: u64) -> Result<(), Failure> {
    let enough = left.checked_sub(amount);
    *left = enough.unwrap_or(0);
    enough.map(drop).ok_or(Failure::TooCostly)
}

/// Whether a step is `… && …` or `… || …`, whose errors a later item can settle.
/// What a step of a comprehension adds: to a number or a list, or to a map.
enum Added<'e> {
    Value(&'e Expression),
    Entry(&'e [Expression]),
}

/// A map with one more entry: a key and its value, or the entries of another map.
fn insert(map: Value, entry: &[Value]) -> Result<Value, Failure> {
    let Value::Map(mut fields) = map else {
        return Err(Failure::error("no such overload"));
    };
    let entries = match entry {
        [name, value] => vec![(key(name)?, value.clone())],
        [Value::Map(entries)] => {
            let entries = entries.map.iter();
            entries
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect()
        }
        _ => return Err(Failure::error("no such overload")),
    };
    let known = Arc::make_mut(&mut fields.map);
    for (name, value) in entries {
        if known.contains_key(&name) {
            return Err(Failure::Error(format!(
                "insert failed: key {name} already exists"
            )));
        }
        known.insert(name, value);
    }
    Ok(Value::Map(fields))
}

fn is_logical(step: &Expression) -> bool {
    matches!(&step.expr, Expr::Call(call)
        if matches!(call.func_name.as_str(), operators::LOGICAL_AND | operators::LOGICAL_OR))
}

fn literal(literal: &LiteralValue) -> Value {
    match literal {
        LiteralValue::Boolean(value) => Value::Bool(*value.inner()),
        LiteralValue::Bytes(value) => Value::Bytes(Arc::new(value.inner().to_vec())),
        LiteralValue::Double(value) => Value::Float(*value.inner()),
        LiteralValue::Int(value) => Value::Int(*value.inner()),
        LiteralValue::Null => Value::Null,
        LiteralValue::String(value) => Value::String(Arc::new(value.inner().to_owned())),
        LiteralValue::UInt(value) => Value::UInt(*value.inner()),
    }
}

/// The name of a type as a value.
fn type_value(name: &str) -> Option<Value> {
    types::NAMES.contains(&name).then(|| Value::from(name))
}

/// What an entry marked with `?` gives: what it holds, or nothing.
fn held(value: Value) -> Result<Option<Value>, Failure> {
    optional(&value).ok_or_else(|| {
        Failure::Error(format!(
            "cannot initialize optional entry from non-optional value {}",
            value::type_name(&value)
        ))
    })
}
