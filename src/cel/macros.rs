//! Comprehensions of two variables (cel-go's `ext.TwoVarComprehensions`), which the parser does not know: `all(i, v, …)`,
//! `transformList(i, v, …)` and so on. The first variable is an index or a key, the second the value there.
use kube::core::cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, ListExpr, LiteralValue, MapExpr, StructExpr,
    operators,
};
use kube::core::cel::cel::parser::Expression;

/// Puts an entry, or the only entry of a map, into a map.
pub(super) const INSERT: &str = "cel.@mapInsert";

/// What a comprehension has gathered so far.
const RESULT: &str = "@result";

/// Turns the calls that are such macros into comprehensions.
pub(super) fn expand(tree: &mut Expression) {
    match &mut tree.expr {
        Expr::Call(call) => {
            call.target.iter_mut().for_each(|target| expand(target));
            call.args.iter_mut().for_each(expand);
        }
        Expr::Comprehension(comprehension) => {
            let ComprehensionExpr {
                iter_range,
                accu_init,
                loop_cond,
                loop_step,
                result,
                ..
            } = &mut **comprehension;
            for part in [iter_range, accu_init, loop_cond, loop_step, result] {
                expand(part);
            }
        }
        Expr::List(list) => list.elements.iter_mut().for_each(expand),
        Expr::Map(MapExpr { entries }) | Expr::Struct(StructExpr { entries, .. }) => {
            for entry in entries {
                expand_entry(&mut entry.expr);
            }
        }
        Expr::Select(select) => expand(&mut select.operand),
        _ => {}
    }
    if let Some(comprehension) = comprehension(&tree.expr) {
        tree.expr = Expr::Comprehension(Box::new(comprehension));
    }
}

fn expand_entry(entry: &mut EntryExpr) {
    match entry {
        EntryExpr::StructField(field) => expand(&mut field.value),
        EntryExpr::MapEntry(entry) => {
            expand(&mut entry.key);
            expand(&mut entry.value);
        }
    }
}

/// What a call stands for; `None`: for itself.
fn comprehension(tree: &Expr) -> Option<ComprehensionExpr> {
    let Expr::Call(CallExpr {
        func_name,
        target: Some(range),
        args,
    }) = tree
    else {
        return None;
    };
    let [first, second, rest @ ..] = &args[..] else {
        return None;
    };
    let (Expr::Ident(first), Expr::Ident(second)) = (&first.expr, &second.expr) else {
        return None;
    };
    let (start, condition, step, result) = parts(func_name, first, rest)?;
    Some(ComprehensionExpr {
        iter_range: (**range).clone(),
        iter_var: first.clone(),
        iter_var2: Some(second.clone()),
        accu_var: RESULT.to_owned(),
        accu_init: start,
        loop_cond: condition,
        loop_step: step,
        result,
    })
}

type Parts = (Expression, Expression, Expression, Expression);

/// Of the macro: the start, until when it goes on, a step, and the outcome.
fn parts(name: &str, key: &str, arguments: &[Expression]) -> Option<Parts> {
    let key = of(Expr::Ident(key.to_owned()));
    let always = || flag(true);
    let list = |item: &Expression| of(Expr::List(ListExpr::new(vec![item.clone()])));
    let empty = || of(Expr::List(ListExpr::new(Vec::new())));
    let map = || of(Expr::Map(MapExpr::default()));
    let insert = |entry: &[&Expression]| {
        let entry = entry.iter().map(|part| (*part).clone());
        call(INSERT, std::iter::once(gathered()).chain(entry).collect())
    };
    let only_if = |condition: &Expression, step: Expression| {
        let arguments = vec![condition.clone(), step, gathered()];
        call(operators::CONDITIONAL, arguments)
    };
    let add = |what: Expression| call(operators::ADD, vec![gathered(), what]);
    let one = || of(Expr::Literal(LiteralValue::Int(1.into())));
    Some(match (name, arguments) {
        (operators::ALL, [holds]) => {
            let goes_on = call(operators::NOT_STRICTLY_FALSE, vec![gathered()]);
            let step = call(operators::LOGICAL_AND, vec![gathered(), holds.clone()]);
            (flag(true), goes_on, step, gathered())
        }
        (operators::EXISTS, [holds]) => {
            let not = call(operators::LOGICAL_NOT, vec![gathered()]);
            let goes_on = call(operators::NOT_STRICTLY_FALSE, vec![not]);
            let step = call(operators::LOGICAL_OR, vec![gathered(), holds.clone()]);
            (flag(false), goes_on, step, gathered())
        }
        (operators::EXISTS_ONE | "existsOne", [holds]) => {
            let none = of(Expr::Literal(LiteralValue::Int(0.into())));
            let outcome = call(operators::EQUALS, vec![gathered(), one()]);
            (none, always(), only_if(holds, add(one())), outcome)
        }
        ("transformList", [item]) => (empty(), always(), add(list(item)), gathered()),
        ("transformList", [condition, item]) => {
            let step = only_if(condition, add(list(item)));
            (empty(), always(), step, gathered())
        }
        ("transformMap", [value]) => (map(), always(), insert(&[&key, value]), gathered()),
        ("transformMap", [condition, value]) => {
            let step = only_if(condition, insert(&[&key, value]));
            (map(), always(), step, gathered())
        }
        ("transformMapEntry", [entry]) => (map(), always(), insert(&[entry]), gathered()),
        ("transformMapEntry", [condition, entry]) => {
            let step = only_if(condition, insert(&[entry]));
            (map(), always(), step, gathered())
        }
        _ => return None,
    })
}

fn of(expr: Expr) -> Expression {
    Expression { id: 0, expr }
}

fn flag(value: bool) -> Expression {
    of(Expr::Literal(LiteralValue::Boolean(value.into())))
}

fn gathered() -> Expression {
    of(Expr::Ident(RESULT.to_owned()))
}

fn call(name: &str, args: Vec<Expression>) -> Expression {
    of(Expr::Call(CallExpr {
        func_name: name.to_owned(),
        target: None,
        args,
    }))
}
