//! The functions of Kubernetes' libraries (`k8s.io/apiserver/pkg/cel/library`, cel-go's `ext`) and what they are documented to give.
//! The table was not made from upstream's tests.
use crate::cel::{Activation, PER_POLICY, Program};
use serde_json::Value;

/// What an expression gives: `true`, or else what it gives instead.
fn outcome(source: &str) -> String {
    let program = match Program::parse(source) {
        Ok(program) => program,
        Err(error) => return error,
    };
    match Activation::new(PER_POLICY).evaluate(&program) {
        Ok(value) => super::super::to_json(&value)
            .as_ref()
            .map_or_else(Clone::clone, Value::to_string),
        Err(failure) => failure.to_string(),
    }
}

#[test]
fn libraries_do_as_upstreams() {
    let mut wrong = Vec::new();
    for source in include_str!("libraries.txt").lines() {
        let source = source.trim();
        if source.is_empty() || source.starts_with('#') {
            continue;
        }
        let (source, expected) = match source.split_once(" !! ") {
            Some((source, error)) => (source, error.trim()),
            None => (source, "true"),
        };
        let found = outcome(source);
        if !(found == expected || (expected != "true" && found.contains(expected))) {
            wrong.push(format!("{source}: {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
