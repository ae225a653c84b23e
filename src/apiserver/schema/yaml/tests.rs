//! YAML as Go reads it.
use super::parse;
use serde_json::json;
use std::fmt::Write as _;

#[test]
fn scalars_are_what_go_takes_them_for() {
    for (text, value) in [
        ("yes", json!(true)),
        ("y", json!(true)),
        ("Off", json!(false)),
        ("N", json!(false)),
        ("tRUE", json!("tRUE")),
        ("'yes'", json!("yes")),
        ("~", json!(null)),
        ("", json!(null)),
        ("Null", json!(null)),
        ("012", json!(10)),
        ("08", json!(8)),
        ("0o17", json!(15)),
        ("0x1F", json!(31)),
        ("-0b11", json!(-3)),
        ("1_000", json!(1000)),
        ("+5", json!(5)),
        ("1.0", json!(1)),
        ("1e3", json!(1000)),
        ("1.5", json!(1.5)),
        (".5", json!(0.5)),
        ("-.5", json!(-0.5)),
        ("1.2.3", json!("1.2.3")),
        (".", json!(".")),
        ("-", json!([null])),
        (
            "18446744073709551615",
            json!(18_446_744_073_709_551_615_u64),
        ),
        ("18446744073709551616", json!(18_446_744_073_709_551_616.0)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("1:30", json!("1:30")),
        ("2020-01-01", json!("2020-01-01")),
        ("!!str 5", json!("5")),
        ("!!int '5'", json!(5)),
        ("!!float 5", json!(5)),
        ("!!binary aGk=", json!("hi")),
        ("!own x", json!("x")),
        ("|\n  a\n  b\n", json!("a\nb\n")),
        (">-\n  a\n  b\n", json!("a b")),
        (
            "{1: a, true: b, 1.5: c, y: d, 0x10: e}",
            json!({"1": "a", "true": "d", "1.5": "c", "16": "e"}),
        ),
    ] {
        let parsed = parse(text.as_bytes()).map(|parsed| parsed.value);
        assert_eq!(parsed, Ok(value), "{text}");
    }
}

#[test]
fn documents() {
    for (text, value, complaints) in [
        ("", json!(null), vec![]),
        ("# nothing\n", json!(null), vec![]),
        ("a: 1\n---\nb: {", json!({"a": 1}), vec![]),
        ("---\na: 1\n...\n---\nb: 2\n", json!({"a": 1}), vec![]),
        (
            "a: &x {b: 1}\nc: *x\n",
            json!({"a": {"b": 1}, "c": {"b": 1}}),
            vec![],
        ),
        (
            "<<: {a: 1, b: 2}\nc: 3\n",
            json!({"a": 1, "b": 2, "c": 3}),
            vec![],
        ),
        (
            "<<: [{a: 1}, {a: 2, b: 2}]\n",
            json!({"a": 1, "b": 2}),
            vec!["line 1: key \"a\" already set in map"],
        ),
        (
            "a: 1\nb:\n  c: 1\n  c: 2\na:\n  - 3\n1: x\n1: z\n",
            json!({"a": [3], "b": {"c": 2}, "1": "z"}),
            vec![
                "line 4: key \"c\" already set in map",
                "line 6: key \"a\" already set in map",
                "line 8: key 1 already set in map",
            ],
        ),
    ] {
        let parsed = parse(text.as_bytes())
            .map_err(|why| format!("{text}: {why}"))
            .unwrap();
        assert_eq!(parsed.value, value, "{text}");
        assert_eq!(parsed.complaints, complaints, "{text}");
    }
}

#[test]
fn errors_are_gos() {
    for (text, why) in [
        (
            "a: b: c",
            "yaml: mapping values are not allowed in this context",
        ),
        (
            "a: b\nc: d: e",
            "yaml: line 2: mapping values are not allowed in this context",
        ),
        (
            "a\nb: c\n",
            "yaml: line 2: mapping values are not allowed in this context",
        ),
        (
            "a:\n\tb: c",
            "yaml: line 2: found character that cannot start any token",
        ),
        ("a: @x", "yaml: found character that cannot start any token"),
        ("a: 'x", "yaml: found unexpected end of stream"),
        ("a: \"x\n", "yaml: line 2: found unexpected end of stream"),
        (
            "- a\nb: c\n",
            "yaml: line 1: did not find expected '-' indicator",
        ),
        ("a: b\n- c", "yaml: line 1: did not find expected key"),
        ("{", "yaml: line 1: did not find expected node content"),
        ("[", "yaml: line 1: did not find expected node content"),
        ("[a", "yaml: line 1: did not find expected ',' or ']'"),
        ("{a: b\n", "yaml: line 1: did not find expected ',' or '}'"),
        ("a: *x", "yaml: unknown anchor 'x' referenced"),
        ("a: &x [*x]", "yaml: anchor 'x' value contains itself"),
        ("a: \u{1}", "yaml: control characters are not allowed"),
        ("a: !!int x", "yaml: cannot decode !!str `x` as a !!int"),
        ("a: .inf", "json: unsupported value: +Inf"),
        (
            "<<: 5",
            "yaml: map merge requires map or sequence of maps as the value",
        ),
        ("? [a]\n: b\n", "yaml: invalid map key"),
    ] {
        let found = parse(text.as_bytes()).map(|parsed| parsed.value);
        assert_eq!(
            found,
            Err(format!("error converting YAML to JSON: {why}")),
            "{text}"
        );
    }
    assert!(parse(b"a: \xff").is_err());
}

#[test]
fn small_documents_do_not_become_large_ones() {
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        let items = vec![before; 9].join(",");
        writeln!(bomb, "a{level}: &a{level} [{items}]").unwrap();
    }
    let why = parse(bomb.as_bytes()).map(|_| ()).unwrap_err();
    assert!(
        why.ends_with("document contains excessive aliasing"),
        "{why}"
    );
    let deep = "[".repeat(300);
    assert!(parse(deep.as_bytes()).is_err());
    let deep = (0..200).map(|level| format!("{}a:\n", " ".repeat(level)));
    assert!(parse(deep.collect::<String>().as_bytes()).is_err());
}
