//! How much an expression may cost at most, before it is ever evaluated (`cel-go/checker/cost.go`, `apiserver/pkg/cel/library/cost.go`).
//!
//! Sizes that nothing bounds are as large as can be, and so is what is multiplied by them.
use super::Program;
use super::function;
use super::types::Type;
use kube::core::cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators,
};
use kube::core::cel::cel::parser::Expression;
use std::collections::BTreeMap;

pub(super) const LIST: u64 = 10;
pub(super) const MAP: u64 = 30;
pub(super) const STRUCT: u64 = 40;
pub(super) const TRAVERSAL: f64 = 0.1;
pub(super) const REGEX: f64 = 0.25;

/// What is declared of a value: how large it can get.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared {
    /// Characters, items or entries, at most.
    pub most: u64,
    /// Whether it is a string or bytes.
    pub text: bool,
    /// The items of a list, the values of a map.
    pub item: Option<Box<Self>>,
    /// Whether it is a map, which is gone through by key.
    pub map: bool,
    /// Characters of a key, at most.
    pub key: u64,
    pub fields: BTreeMap<String, Self>,
    /// The fewest bytes it takes in JSON.
    pub least_bytes: u64,
}

/// The most that an expression over values with these names may cost.
pub(crate) fn estimate(program: &Program, roots: &[(&str, &Declared)]) -> u64 {
    let mut coster = Coster {
        roots,
        scope: Vec::new(),
    };
    coster.cost(&program.tree).0
}

/// What is known of a part of an expression.
#[derive(Clone, Copy, Debug, Default)]
struct Node<'d> {
    declared: Option<&'d Declared>,
    /// The least and the most size, where it was worked out.
    size: Option<(u64, u64)>,
    /// Whether it is a number or the like.
    scalar: bool,
    /// Whether it is a list whose items are texts.
    texts: bool,
}

struct Coster<'d, 'e> {
    roots: &'d [(&'d str, &'d Declared)],
    scope: Vec<(&'e str, Node<'d>)>,
}

/// Whether a function compares two values, for which the shorter one is looked through.
pub(super) fn compares(function: &str) -> bool {
    matches!(
        function,
        operators::EQUALS
            | operators::NOT_EQUALS
            | operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS
    )
}

/// A size times a factor, rounded up.
pub(super) fn by(size: u64, factor: f64) -> u64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "as cel-go does; conversions saturate"
    )]
    {
        (size as f64 * factor).ceil() as u64
    }
}

impl Node<'_> {
    fn scalar() -> Self {
        Self {
            scalar: true,
            ..Self::default()
        }
    }
    fn sized(least: u64, most: u64) -> Self {
        Self {
            size: Some((least, most)),
            ..Self::default()
        }
    }
    fn range(&self) -> (u64, u64) {
        self.size
            .or_else(|| self.declared.map(|declared| (0, declared.most)))
            .unwrap_or(if self.scalar { (1, 1) } else { (0, u64::MAX) })
    }
    fn most(&self) -> u64 {
        self.range().1
    }
}

impl<'d, 'e> Coster<'d, 'e> {
    fn cost(&mut self, tree: &'e Expression) -> (u64, Node<'d>) {
        match &tree.expr {
            Expr::Unspecified => (0, Node::scalar()),
            Expr::Literal(literal) => (
                0,
                match literal {
                    LiteralValue::String(text) => {
                        let length = text.inner().chars().count() as u64;
                        Node::sized(length, length)
                    }
                    LiteralValue::Bytes(bytes) => {
                        let length = bytes.inner().len() as u64;
                        Node::sized(length, length)
                    }
                    _ => Node::scalar(),
                },
            ),
            Expr::Ident(name) => (1, self.name(name)),
            Expr::Select(select) => {
                let (cost, operand) = self.cost(&select.operand);
                if select.test {
                    return (cost, Node::scalar());
                }
                (cost.saturating_add(1), self.field(operand, &select.field))
            }
            Expr::List(list) => {
                let (mut cost, mut texts) = (LIST, !list.elements.is_empty());
                for element in &list.elements {
                    let (more, node) = self.cost(element);
                    cost = cost.saturating_add(more);
                    texts &= !node.scalar && node.size.is_some();
                }
                let length = list.elements.len() as u64;
                let node = Node {
                    texts,
                    ..Node::sized(length, length)
                };
                (cost, node)
            }
            Expr::Map(map) => {
                let mut cost = MAP;
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        cost = cost
                            .saturating_add(self.cost(&entry.key).0)
                            .saturating_add(self.cost(&entry.value).0);
                    }
                }
                let length = map.entries.len() as u64;
                (cost, Node::sized(length, length))
            }
            Expr::Struct(object) => {
                let mut cost = STRUCT;
                for entry in &object.entries {
                    if let EntryExpr::StructField(entry) = &entry.expr {
                        cost = cost.saturating_add(self.cost(&entry.value).0);
                    }
                }
                (cost, Node::default())
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Call(call) => self.call(call),
        }
    }

    fn name(&self, name: &str) -> Node<'d> {
        let local = self.scope.iter().rev().find(|(known, _)| *known == name);
        if let Some((_, node)) = local {
            return *node;
        }
        let mut roots = self.roots.iter();
        match roots.find(|(known, _)| *known == name) {
            Some((_, declared)) => Node {
                declared: Some(declared),
                ..Node::default()
            },
            None => Node::scalar(),
        }
    }

    #[expect(clippy::unused_self, reason = "reads as a question about the whole")]
    fn field(&self, operand: Node<'d>, field: &str) -> Node<'d> {
        let declared = operand.declared.and_then(|declared| {
            let field = declared.fields.get(field);
            field.or_else(|| declared.item.as_deref().filter(|_| declared.map))
        });
        Node {
            declared,
            ..Node::default()
        }
    }

    fn comprehension(&mut self, comprehension: &'e ComprehensionExpr) -> (u64, Node<'d>) {
        let (range_cost, range) = self.cost(&comprehension.iter_range);
        let (start_cost, start) = self.cost(&comprehension.accu_init);
        let item = match range.declared {
            Some(declared) if declared.map => Node::sized(0, declared.key),
            Some(declared) => Node {
                declared: declared.item.as_deref(),
                ..Node::default()
            },
            None if range.texts => Node::default(),
            None => Node::scalar(),
        };
        let known = self.scope.len();
        let collects = matches!(comprehension.accu_init.expr, Expr::List(_) | Expr::Map(_));
        self.scope.push((&comprehension.accu_var, start));
        match &comprehension.iter_var2 {
            None => self.scope.push((&comprehension.iter_var, item)),
            Some(second) => {
                let is_map = range.declared.is_some_and(|declared| declared.map);
                let first = if is_map { item } else { Node::scalar() };
                let value = range.declared.and_then(|declared| declared.item.as_deref());
                let value = Node {
                    declared: value,
                    ..Node::default()
                };
                self.scope.push((&comprehension.iter_var, first));
                self.scope.push((second, value));
            }
        }
        let loop_cost = self.cost(&comprehension.loop_cond).0;
        let step_cost = self.cost(&comprehension.loop_step).0;
        self.scope.truncate(known + 1);
        let result_cost = self.cost(&comprehension.result).0;
        self.scope.truncate(known);
        let each = loop_cost.saturating_add(step_cost);
        let cost = range_cost
            .saturating_add(start_cost)
            .saturating_add(result_cost)
            .saturating_add(range.most().saturating_mul(each));
        let node = if collects {
            Node {
                size: Some(range.range()),
                ..Node::default()
            }
        } else {
            Node::scalar()
        };
        (cost, node)
    }

    fn call(&mut self, call: &'e CallExpr) -> (u64, Node<'d>) {
        let mut costs = Vec::with_capacity(call.args.len());
        let mut nodes = Vec::with_capacity(call.args.len());
        for argument in &call.args {
            let (cost, node) = self.cost(argument);
            costs.push(cost);
            nodes.push(node);
        }
        let all = costs
            .iter()
            .fold(0_u64, |sum, cost| sum.saturating_add(*cost));
        let name = call.func_name.as_str();
        let size = |index: usize| nodes.get(index).map_or(0, Node::most);
        if let Some(target) = &call.target {
            let whole = super::check::qualified(target, name);
            if whole.as_deref().is_some_and(function::is_qualified) {
                return (all.saturating_add(1), Node::default());
            }
            let (target_cost, target) = self.cost(target);
            let (cost, node) = self.member(name, target, &nodes, &call.args);
            let cost = target_cost.saturating_add(all).saturating_add(cost);
            return (cost, node);
        }
        let (own, node) = match (name, &nodes[..]) {
            (operators::CONDITIONAL, [_, yes, no]) => {
                let [condition, yes_cost, no_cost] =
                    [0, 1, 2].map(|at| costs.get(at).copied().unwrap_or(0));
                let cost = condition.saturating_add(yes_cost.max(no_cost));
                let (yes, no) = (yes.range(), no.range());
                return (cost, Node::sized(yes.0.min(no.0), yes.1.max(no.1)));
            }
            (operators::LOGICAL_AND | operators::LOGICAL_OR, _) => (0, Node::scalar()),
            (operators::OPT_SELECT, [operand, _]) => {
                let field = match call.args.get(1).map(|field| &field.expr) {
                    Some(Expr::Literal(LiteralValue::String(field))) => field.inner().to_owned(),
                    _ => String::new(),
                };
                (1, self.field(*operand, &field))
            }
            (operators::INDEX | operators::OPT_INDEX, [operand, _]) => {
                let item = operand
                    .declared
                    .and_then(|declared| declared.item.as_deref());
                (
                    1,
                    Node {
                        declared: item,
                        ..Node::default()
                    },
                )
            }
            (operators::IN, [_, list]) => match list.declared {
                Some(declared) if declared.map => (1, Node::scalar()),
                _ => (list.most(), Node::scalar()),
            },
            (operators::ADD, [left, right]) => {
                let (left_range, right_range) = (left.range(), right.range());
                let most = left_range.1.saturating_add(right_range.1);
                let sized = Node::sized(left_range.0.saturating_add(right_range.0), most);
                if left.scalar && right.scalar {
                    (1, Node::scalar())
                } else if is_text(left) || is_text(right) {
                    (by(most, TRAVERSAL), sized)
                } else {
                    (1, sized)
                }
            }
            (_, [left, right]) if compares(name) => {
                (by(left.most().min(right.most()), TRAVERSAL), Node::scalar())
            }
            (
                "url" | "cidr" | "ip" | "isIP" | "isCIDR" | "isURL" | "quantity" | "isQuantity"
                | "semver" | "isSemver",
                _,
            ) => (
                by(size(0), TRAVERSAL),
                Node {
                    size: nodes.first().map(Node::range),
                    ..Node::default()
                },
            ),
            ("bytes", _) => (
                by(size(0), TRAVERSAL),
                Node::sized(0, size(0).saturating_mul(4)),
            ),
            ("string", _) => (1, Node::sized(0, size(0))),
            _ => (1, result(name)),
        };
        (all.saturating_add(own), node)
    }

    #[expect(clippy::unused_self, reason = "one of the questions about the whole")]
    fn member(
        &self,
        name: &str,
        target: Node<'d>,
        arguments: &[Node<'d>],
        trees: &[Expression],
    ) -> (u64, Node<'d>) {
        let (least, most) = target.range();
        let size = |index: usize| arguments.get(index).map_or((0, 0), Node::range);
        let same = Node::sized(least, most);
        match name {
            "startsWith" | "endsWith" => (by(size(0).1, TRAVERSAL), Node::scalar()),
            "matches" => {
                let text = by(most.saturating_add(1), TRAVERSAL);
                (text.saturating_mul(by(size(0).1, REGEX)), Node::scalar())
            }
            "find" | "findAll" => {
                let text = by(most.saturating_add(1), TRAVERSAL);
                (text.saturating_mul(by(size(0).1, REGEX)), same)
            }
            "contains" => {
                let part = by(size(0).1, TRAVERSAL);
                (by(most, TRAVERSAL).saturating_mul(part), Node::scalar())
            }
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
                let item = target
                    .declared
                    .and_then(|declared| declared.item.as_deref());
                let cost = match item {
                    Some(item) => {
                        let each = if item.text {
                            by(item.most, TRAVERSAL)
                        } else {
                            0
                        };
                        most.saturating_mul(each.saturating_add(1))
                    }
                    None if is_text(&target) => by(most, TRAVERSAL),
                    None => most,
                };
                (cost, Node::scalar())
            }
            "lowerAscii" | "upperAscii" | "substring" | "trim" => (by(most, TRAVERSAL), same),
            "replace" => {
                let (old, new) = (size(0), size(1));
                let times = if old.0 == 0 {
                    most.saturating_add(1)
                } else if new.1 <= old.0 {
                    0
                } else {
                    most.div_ceil(old.0)
                };
                let made = times.saturating_mul(new.1).saturating_add(most);
                (by(most, 2.0 * TRAVERSAL), Node::sized(0, made))
            }
            "split" => {
                let limit = match trees.get(1).map(|tree| &tree.expr) {
                    Some(Expr::Literal(LiteralValue::Int(limit))) => {
                        u64::try_from(*limit.inner()).unwrap_or(most)
                    }
                    _ => most,
                };
                (by(most, 2.0 * TRAVERSAL), Node::sized(0, limit))
            }
            "join" => {
                let item = target
                    .declared
                    .and_then(|declared| declared.item.as_deref());
                let item = item.map_or(u64::MAX, |item| item.most);
                let made = most
                    .saturating_mul(item)
                    .saturating_add(most.saturating_mul(size(0).1));
                (by(made, TRAVERSAL), Node::sized(0, made))
            }
            "check" => (350_000, Node::default()),
            "validate" => (by(size(0).1, TRAVERSAL), Node::default()),
            "orValue" | "value" | "or" => (1, target),
            _ => (1, result(name)),
        }
    }
}

/// Whether a value is known to be a text.
fn is_text(node: &Node<'_>) -> bool {
    match node.declared {
        Some(declared) => declared.text,
        None => node.size.is_some() && !node.texts && !node.scalar,
    }
}

/// What the outcome of a function is known to be.
fn result(name: &str) -> Node<'static> {
    match function::result_of(name) {
        Some(
            Type::Bool
            | Type::Int
            | Type::Uint
            | Type::Double
            | Type::Timestamp
            | Type::Duration
            | Type::Type,
        ) => Node::scalar(),
        _ if matches!(
            name,
            operators::LOGICAL_NOT | operators::NEGATE | operators::NOT_STRICTLY_FALSE
        ) || matches!(
            name,
            operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO
        ) =>
        {
            Node::scalar()
        }
        _ => Node::default(),
    }
}
