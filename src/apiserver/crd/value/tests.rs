//! The rules of values, and their words.
use super::*;
use serde_json::json;

fn check(schema: &Value, value: Value, old: Option<Value>) -> Vec<String> {
    let mut errors = Errors::new();
    validate(
        &Props::parse(schema),
        &value,
        old.as_ref(),
        None,
        &mut errors,
    );
    errors.0.iter().map(ToString::to_string).collect()
}

#[test]
fn values_are_checked_with_the_words_of_the_real_server() {
    let schema = json!({"type": "object", "required": ["r"], "properties": {
        "r": {}, "s": {"type": "string", "minLength": 2, "maxLength": 3, "pattern": "^[a-z]+$"},
        "i": {"type": "integer", "minimum": 1, "maximum": 10, "multipleOf": 2},
        "i32": {"type": "integer", "format": "int32"},
        "f": {"type": "number", "minimum": 0, "exclusiveMinimum": true, "maximum": 1.5, "exclusiveMaximum": true},
        "b": {"type": "boolean"}, "n": {"type": "string", "nullable": true},
        "e": {"type": "string", "enum": ["a", "b"]}, "en": {"type": "integer", "enum": [1, 2]},
        "ios": {"x-kubernetes-int-or-string": true},
        "l": {"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "string"}},
        "m": {"type": "object", "minProperties": 1, "maxProperties": 2, "additionalProperties": {"type": "integer"}},
        "dt": {"type": "string", "format": "date-time"}, "ip": {"type": "string", "format": "ipv4"},
        "all": {"type": "object", "allOf": [{"required": ["x"]}, {"required": ["y"]}]},
        "any": {"type": "object", "anyOf": [{"required": ["x"]}, {"required": ["y"]}]},
        "one": {"type": "object", "oneOf": [{"required": ["x"]}, {"required": ["y"]}]},
        "no": {"type": "object", "not": {"required": ["x"]}},
    }});
    for (value, expected) in [
        (
            json!({"s": "ab", "i": 2, "i32": -1, "f": 0.5, "b": true, "n": null, "e": "a", "en": 2.0, "ios": "5%", "l": ["x"], "m": {"a": 1},
            "dt": "2026-01-01T00:00:00.5+02:00", "ip": "10.0.0.1", "all": {"x": 1, "y": 1}, "any": {"y": 1}, "one": {"x": 1}, "no": {}}),
            vec![],
        ),
        (
            json!({"s": "a"}),
            vec!["s: Invalid value: \"a\": s in body should be at least 2 chars long"],
        ),
        (
            json!({"s": "abcd"}),
            vec!["s: Too long: may not be more than 3 bytes"],
        ),
        (
            json!({"s": "AB"}),
            vec!["s: Invalid value: \"AB\": s in body should match '^[a-z]+$'"],
        ),
        (
            json!({"s": 1}),
            vec!["s: Invalid value: \"integer\": s in body must be of type string: \"integer\""],
        ),
        (
            json!({"s": null}),
            vec!["s: Invalid value: \"null\": s in body must be of type string: \"null\""],
        ),
        (
            json!({"i": 0}),
            vec!["i: Invalid value: 0: i in body should be greater than or equal to 1"],
        ),
        (
            json!({"i": 12}),
            vec!["i: Invalid value: 12: i in body should be less than or equal to 10"],
        ),
        (
            json!({"i": 2.5}),
            vec![
                "i: Invalid value: \"number\": i in body must be of type integer: \"number\"",
                "<nil>: Invalid value: \"\": Checked value must be of type integer (default format) in i",
                "i: Invalid value: 2.5: i in body should be a multiple of 2",
            ],
        ),
        (
            json!({"i32": 3_000_000_000_i64}),
            vec![
                "<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in i32",
            ],
        ),
        (
            json!({"f": 0}),
            vec!["f: Invalid value: 0: f in body should be greater than 0"],
        ),
        (
            json!({"f": 1.5}),
            vec!["f: Invalid value: 1.5: f in body should be less than 1.5"],
        ),
        (
            json!({"b": "x"}),
            vec!["b: Invalid value: \"string\": b in body must be of type boolean: \"string\""],
        ),
        (
            json!({"e": "c"}),
            vec!["e: Unsupported value: \"c\": supported values: \"a\", \"b\""],
        ),
        (
            json!({"en": 3}),
            vec!["en: Unsupported value: 3: supported values: \"1\", \"2\""],
        ),
        (
            json!({"ios": true}),
            vec![
                "ios: Invalid value: \"boolean\": ios in body must be of type integer,string: \"boolean\"",
            ],
        ),
        (
            json!({"ios": 5.5}),
            vec![
                "ios: Invalid value: \"number\": ios in body must be of type integer,string: \"number\"",
            ],
        ),
        (
            json!({"l": []}),
            vec!["l: Invalid value: 0: l in body should have at least 1 items"],
        ),
        (
            json!({"l": ["a", 1]}),
            vec![
                "l[1]: Invalid value: \"integer\": l[1] in body must be of type string: \"integer\"",
                "l: Too many: 2: must have at most 1 item",
            ],
        ),
        (
            json!({"m": {}}),
            vec!["m: Invalid value: 0: m in body should have at least 1 properties"],
        ),
        (
            json!({"m": {"a": 1, "b": 2, "c": "x"}}),
            vec!["m: Too many: 3: must have at most 2 items"],
        ),
        (
            json!({"m": {"a": "x"}}),
            vec!["m.a: Invalid value: \"string\": m.a in body must be of type integer: \"string\""],
        ),
        (
            json!({"dt": "nope"}),
            vec!["dt: Invalid value: \"nope\": dt in body must be of type date-time: \"nope\""],
        ),
        (
            json!({"ip": "1.2.3"}),
            vec!["ip: Invalid value: \"1.2.3\": ip in body must be of type ipv4: \"1.2.3\""],
        ),
        (
            json!({"all": {"x": 1}}),
            vec![
                "all.y: Required value",
                "<nil>: Invalid value: \"\": \"all\" must validate all the schemas (allOf)",
            ],
        ),
        (
            json!({"any": {}}),
            vec![
                "<nil>: Invalid value: \"\": \"any\" must validate at least one schema (anyOf)",
                "any.x: Required value",
            ],
        ),
        (
            json!({"one": {"x": 1, "y": 1}}),
            vec![
                "<nil>: Invalid value: \"\": \"one\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
            ],
        ),
        (
            json!({"no": {"x": 1}}),
            vec!["<nil>: Invalid value: \"\": \"no\" must not validate the schema (not)"],
        ),
    ] {
        let mut value = value;
        value["r"] = 1.into();
        assert_eq!(check(&schema, value.clone(), None), expected, "{value}");
    }
    assert_eq!(check(&schema, json!({}), None), ["r: Required value"]);
    assert_eq!(check(&json!({"type": "object"}), json!([]), None).len(), 1);
}

#[test]
fn what_stays_as_it_was_is_not_judged_anew() {
    let schema = json!({"type": "object", "properties": {
        "a": {"type": "string", "maxLength": 1}, "b": {"type": "string", "maxLength": 1},
        "l": {"type": "array", "items": {"type": "string", "maxLength": 1}},
        "m": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "string", "maxLength": 1}}}},
        "s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string", "maxLength": 1}},
    }});
    let old = json!({"a": "long", "b": "x", "l": ["long", "y"], "m": [{"k": "1", "v": "long"}], "s": ["long"]});
    for (value, wrong) in [
        (json!({"a": "long", "b": "y"}), vec![]),
        (json!({"a": "longer"}), vec!["a"]),
        (json!({"l": ["long", "z"]}), vec![]),
        (json!({"l": ["z", "long"]}), vec!["l[1]"]),
        (
            json!({"m": [{"k": "2", "v": "x"}, {"k": "1", "v": "long"}]}),
            vec![],
        ),
        (json!({"m": [{"k": "2", "v": "long"}]}), vec!["m[0].v"]),
        (json!({"s": ["long"]}), vec![]),
        (json!({"s": ["long", "x"]}), vec!["s[0]"]),
    ] {
        let mut errors = Errors::new();
        validate(
            &Props::parse(&schema),
            &value,
            Some(&old),
            None,
            &mut errors,
        );
        let found: Vec<&str> = errors.0.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(found, wrong, "{value}");
    }
}

#[test]
fn formats() {
    for (format, good, bad) in [
        ("byte", "YQ==", "!!"),
        ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
        ("date", "2026-02-28", "2026-02-30"),
        ("date-time", "2026-01-01T00:00:00Z", "2026-01-01"),
        ("duration", "1h30m", "soon"),
        ("email", "a.b@c.d", "a.b"),
        ("hexcolor", "#aabbcc", "#aabbc"),
        ("rgbcolor", "rgb(1, 2, 255)", "rgb(1,2,256)"),
        ("hostname", "a-b.c", "-a"),
        ("ipv6", "::1", "1.2.3.4"),
        ("isbn10", "0-306-40615-2", "0-306-40615-1"),
        ("isbn13", "978-0-306-40615-7", "978-0-306-40615-1"),
        ("creditcard", "4242 4242 4242 4242", "4242 4242 4242 4241"),
        ("mac", "01:02:03:04:05:06", "01:02:03"),
        ("ssn", "111-11-1111", "111-11-11"),
        ("uri", "https://a/b", "a b"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
        (
            "uuid4",
            "123e4567-e89b-42d3-a456-426614174000",
            "123e4567-e89b-12d3-a456-426614174000",
        ),
        ("bsonobjectid", "507f1f77bcf86cd799439011", "507f"),
        ("k8s-short-name", "a-b", "a.b"),
        ("k8s-long-name", "a.b", "a_b"),
    ] {
        let schema = json!({"type": "string", "format": format});
        assert!(
            check(&schema, good.into(), None).is_empty(),
            "{format} {good}"
        );
        assert_eq!(check(&schema, bad.into(), None).len(), 1, "{format} {bad}");
    }
    assert!(
        check(
            &json!({"type": "string", "format": "made-up"}),
            "x".into(),
            None
        )
        .is_empty()
    );
}
