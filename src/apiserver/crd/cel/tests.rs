//! Rules as they are written, and as they are evaluated.
use super::*;
use serde_json::json;

fn written(schema: Value) -> Vec<String> {
    let mut errors = Errors::new();
    check_schema(&schema, false, &Path::new("s"), &mut errors);
    errors.0.iter().map(ToString::to_string).collect()
}

fn evaluated(schema: &Value, object: Value, old: Option<Value>) -> (Vec<String>, usize) {
    let props = Props::parse(schema);
    let mut errors = Errors::new();
    let rules = Rules::compile(&props).unwrap();
    let warnings = rules.validate(&props, &object, old.as_ref(), &mut errors);
    let errors = errors.0.iter().map(ToString::to_string).collect();
    (errors, warnings.len())
}

fn property(schema: Value) -> Value {
    json!({"type": "object", "properties": {"a": schema}})
}

#[test]
fn rules_are_checked_when_they_are_written() {
    let rule = |rule: &str| json!({"type": "string", "maxLength": 10, "x-kubernetes-validations": [{"rule": rule}]});
    let at = "s.properties[a].x-kubernetes-validations[0].rule: ";
    for (rule_text, expected) in [
        ("self == 'x'", ""),
        ("self.size() < 3 && self.startsWith('a')", ""),
        (
            "self.x",
            "Invalid value: {\"Rule\":\"self.x\",\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}: compilation failed: ERROR: <input>:1:5: type 'string' does not support field selection",
        ),
        (
            "foo",
            "Invalid value: {\"Rule\":\"foo\",\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}: compilation failed: ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')",
        ),
        (
            "size(self)",
            "Invalid value: {\"Rule\":\"size(self)\",\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}: cel expression must evaluate to a bool",
        ),
    ] {
        let found = written(property(rule(rule_text)));
        if expected.is_empty() {
            assert!(found.is_empty(), "{rule_text}: {found:?}");
        } else {
            assert!(
                found[0].starts_with(&format!("{at}{expected}")),
                "{rule_text}: {found:?}"
            );
        }
    }
    let list = json!({"type": "array", "items": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}});
    let found = written(property(list));
    assert!(found.iter().any(|error| error.ends_with("oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[a]")), "{found:?}");
    let idle = json!({"type": "string", "x-kubernetes-validations": [{"rule": "self == 'a'", "optionalOldSelf": true}]});
    assert!(written(property(idle))[0].ends_with("may not be set if oldSelf is not used in rule"));
    let message = json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self > 1", "messageExpression": "self"}]});
    assert!(written(property(message))[0].ends_with("messageExpression must evaluate to a string"));
}

#[test]
fn rules_may_not_cost_too_much() {
    let nested = json!({"type": "array", "items": {"type": "array", "items": {"type": "string"}},
        "x-kubernetes-validations": [{"rule": "self.all(x, x.all(y, self.all(z, z.all(w, w == y))))"}]});
    let found = written(property(nested));
    assert!(
        found.iter().any(|error| error
            .contains("estimated rule cost exceeds budget by factor of more than 100x")),
        "{found:?}"
    );
    assert!(found.iter().any(|error| error.starts_with("s: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema")), "{found:?}");
    let bounded = json!({"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 10},
        "x-kubernetes-validations": [{"rule": "self.all(x, self.exists_one(y, x == y))"}]});
    assert!(written(property(bounded)).is_empty());
}

#[test]
fn rules_are_evaluated() {
    let rule = |rule: Value| {
        let mut schema = json!({"type": "object", "properties": {"n": {"type": "integer"}, "s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}}});
        schema["x-kubernetes-validations"] = json!([rule]);
        property(schema)
    };
    let a = |a: Value| json!({"a": a});
    for (given, object, old, expected) in [
        (json!({"rule": "self.n > 1"}), json!({"n": 2}), None, vec![]),
        (
            json!({"rule": "self.n > 1"}),
            json!({"n": 1}),
            None,
            vec!["a: Invalid value: failed rule: self.n > 1"],
        ),
        (
            json!({"rule": "self.n > 1", "message": "more"}),
            json!({"n": 1}),
            None,
            vec!["a: Invalid value: more"],
        ),
        (
            json!({"rule": "self.n > 1", "messageExpression": "'n is ' + string(self.n)"}),
            json!({"n": 1}),
            None,
            vec!["a: Invalid value: n is 1"],
        ),
        (
            json!({"rule": "self.n > 1", "messageExpression": "''", "message": "m"}),
            json!({"n": 1}),
            None,
            vec!["a: Invalid value: m"],
        ),
        (
            json!({"rule": "self.n > 1", "reason": "FieldValueForbidden"}),
            json!({"n": 1}),
            None,
            vec!["a: Forbidden: failed rule: self.n > 1"],
        ),
        (
            json!({"rule": "self.n > 1", "reason": "FieldValueRequired", "fieldPath": ".n"}),
            json!({"n": 1}),
            None,
            vec!["a.n: Required value: failed rule: self.n > 1"],
        ),
        (
            json!({"rule": "self.n > 1", "reason": "FieldValueDuplicate"}),
            json!({"n": 1}),
            None,
            vec!["a: Duplicate value"],
        ),
        (
            json!({"rule": "self.n > 1"}),
            json!({}),
            None,
            vec!["a: Invalid value: \"object\": no such key: n evaluating rule: self.n > 1"],
        ),
        (
            json!({"rule": "self.s == ['a', 'b']"}),
            json!({"s": ["b", "a"]}),
            None,
            vec![],
        ),
        (
            json!({"rule": "self.n >= oldSelf.n"}),
            json!({"n": 1}),
            None,
            vec![],
        ),
        (
            json!({"rule": "self.n >= oldSelf.n"}),
            json!({"n": 1}),
            Some(json!({"n": 2})),
            vec!["a: Invalid value: failed rule: self.n >= oldSelf.n"],
        ),
        (
            json!({"rule": "oldSelf.hasValue() || self.n == 0", "optionalOldSelf": true}),
            json!({"n": 1}),
            None,
            vec!["a: Invalid value: failed rule: oldSelf.hasValue() || self.n == 0"],
        ),
        (
            json!({"rule": "oldSelf.hasValue() || self.n == 0", "optionalOldSelf": true}),
            json!({"n": 1}),
            Some(json!({"n": 2})),
            vec![],
        ),
    ] {
        let (found, _) = evaluated(&rule(given.clone()), a(object), old.map(a));
        assert_eq!(found, expected, "{given}");
    }
    // What is as it was is warned of only.
    let schema = rule(json!({"rule": "self.n > 1"}));
    let same = json!({"a": {"n": 1}, "b": 1});
    assert_eq!(
        evaluated(&schema, same.clone(), Some(json!({"a": {"n": 1}}))),
        (vec![], 1)
    );
    assert_eq!(
        evaluated(&schema, same, Some(json!({"a": {"n": 0}})))
            .0
            .len(),
        1
    );
}

#[test]
fn items_and_entries_have_rules() {
    let item = json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self > 1"}]});
    let schema = json!({"type": "object", "properties": {
        "l": {"type": "array", "items": item}, "m": {"type": "object", "additionalProperties": item},
        "if": {"type": "integer"}, "a-b": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "!has(self.__if__) || self.__if__ == self.a__dash__b"}]});
    let (found, _) = evaluated(
        &schema,
        json!({"l": [2, 1], "m": {"x": 0}, "if": 1, "a-b": 2}),
        None,
    );
    assert_eq!(
        found,
        [
            "<nil>: Invalid value: failed rule: !has(self.__if__) || self.__if__ == self.a__dash__b",
            "l[1]: Invalid value: 1: failed rule: self > 1",
            "m[x]: Invalid value: 0: failed rule: self > 1",
        ]
    );
}

#[test]
fn a_hostile_rule_ends() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"},
        "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, self.all(c, self.all(d, a + b + c + d >= 0))))"}]}}});
    let numbers: Vec<i64> = (0..200).collect();
    let (found, _) = evaluated(&schema, json!({"a": numbers}), None);
    assert!(found[0].contains("cost"), "{found:?}");
}
