//! Expressions: their types, their values, what is wrong with them, what they may cost.
use super::*;
use serde_json::json;

fn environment() -> Environment {
    Environment {
        object: None,
        params: Some(Type::Dyn),
        authorizer: true,
        patches: true,
        variables: Some(vec![
            ("text".into(), Type::String),
            ("anything".into(), Type::Dyn),
        ]),
        only: None,
    }
}

#[test]
fn types_are_inferred() {
    for (source, expected) in [
        ("1", "int"),
        ("1u + 2u", "uint"),
        ("'a' + 'b'", "string"),
        ("object.spec.replicas", "dyn"),
        ("object.spec.replicas > 1", "bool"),
        ("object.a + 'b'", "string"),
        ("has(object.a) && object.b", "bool"),
        ("request.userInfo.groups", "list(string)"),
        ("request.userInfo.groups.exists(g, g == 'a')", "bool"),
        ("request.userInfo.groups.all(g, g == 'a')", "bool"),
        ("request.userInfo.groups.exists_one(g, g == 'a')", "bool"),
        ("request.userInfo.groups.map(g, size(g))", "list(int)"),
        ("request.userInfo.groups.filter(g, g != '')", "list(string)"),
        ("namespaceObject.metadata.labels['a']", "string"),
        ("variables.text", "string"),
        ("variables.anything", "dyn"),
        ("{'a': 1}", "map(string, int)"),
        ("[]", "list(dyn)"),
        (
            "[JSONPatch{op: 'add', path: '/a', value: 1}]",
            "list(JSONPatch)",
        ),
        ("Object{spec: Object.spec{replicas: 1}}", "Object"),
        ("null", "null_type"),
        ("type(1) == int", "bool"),
        ("duration('1s') < duration('2s')", "bool"),
        (
            "timestamp('2020-01-01T00:00:00Z') + duration('1s')",
            "timestamp",
        ),
        (
            "authorizer.group('').resource('pods').check('get').allowed()",
            "bool",
        ),
    ] {
        let found = environment()
            .compile(source, &[])
            .map(|(_, found)| found.to_string());
        assert_eq!(found.as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn what_is_wrong_is_said_as_cel_go_does() {
    for (source, expected) in [
        (
            "bad(",
            "compilation failed: ERROR: <input>:1:5: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', ')', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | bad(\n | ....^",
        ),
        (
            "foo == 1",
            "compilation failed: ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo == 1\n | ^",
        ),
        (
            "object.a && foo(1)",
            "compilation failed: ERROR: <input>:1:16: undeclared reference to 'foo' (in container '')\n | object.a && foo(1)\n | ...............^",
        ),
        (
            "request.foo == ''",
            "compilation failed: ERROR: <input>:1:8: undefined field 'foo'\n | request.foo == ''\n | .......^",
        ),
        (
            "1 == 'a'",
            "compilation failed: ERROR: <input>:1:3: found no matching overload for '_==_' applied to '(int, string)'\n | 1 == 'a'\n | ..^",
        ),
        ("1", "must evaluate to bool but got int"),
        ("object.a", "must evaluate to bool but got dyn"),
        (
            "variables.nope",
            "compilation failed: ERROR: <input>:1:10: undefined field 'nope'\n | variables.nope\n | .........^",
        ),
    ] {
        let found = environment().compile(source, &[Type::Bool]).map(drop);
        assert_eq!(found, Err(expected.to_owned()), "{source}");
    }
    let none = Environment::default();
    assert!(none.compile("params.a == 1", &[Type::Bool]).is_err());
    assert!(none.compile("variables.text == ''", &[Type::Bool]).is_err());
    assert_eq!(
        environment()
            .compile("1", &[Type::list(Type::named("JSONPatch"))])
            .map(drop),
        Err("must evaluate to list(JSONPatch) but got int".to_owned())
    );
    assert_eq!(
        environment()
            .compile("1", &[Type::String, Type::Null])
            .map(drop),
        Err("must evaluate to one of [string null_type] but got int".to_owned())
    );
}

fn run(source: &str) -> Result<serde_json::Value, String> {
    let object = json!({
        "metadata": {"name": "x", "labels": {"a": "1", "b": "2"}},
        "spec": {"replicas": 3, "list": ["p", "q", "r"], "nothing": null, "ratio": 0.5},
    });
    let double = Program::parse("object.spec.replicas * 2")?;
    let broken = Program::parse("object.nope")?;
    let activation = Activation::new(PER_POLICY)
        .with("object", from_json(&object))
        .with("oldObject", Value::Null)
        .with_variables(vec![("double", &double), ("broken", &broken)]);
    let program = Program::parse(source)?;
    let value = activation
        .evaluate(&program)
        .map_err(|failure| failure.to_string())?;
    to_json(&value)
}

#[test]
fn values() {
    for (source, expected) in [
        ("object.spec.replicas + 1", json!(4)),
        ("object.spec.replicas > 2 && oldObject == null", json!(true)),
        ("object.spec.list[1] + 'x'", json!("qx")),
        ("object.spec.list.size()", json!(3)),
        ("size(object.spec.list)", json!(3)),
        ("'q' in object.spec.list", json!(true)),
        ("'a' in object.metadata.labels", json!(true)),
        (
            "object.metadata.labels.map(k, object.metadata.labels[k])",
            json!(["1", "2"]),
        ),
        (
            "object.spec.list.map(x, x != 'q', x + x)",
            json!(["pp", "rr"]),
        ),
        ("object.spec.list.filter(x, x > 'p')", json!(["q", "r"])),
        ("object.spec.list.all(x, x.size() == 1)", json!(true)),
        ("object.spec.list.exists(x, x == 'r')", json!(true)),
        ("object.spec.list.exists_one(x, x == 'r')", json!(true)),
        (
            "object.spec.list.exists(x, x == 'p' || object.nope)",
            json!(true),
        ),
        ("[1, 2].all(x, x == 1 || [3][5] == 1) || true", json!(true)),
        ("has(object.spec.replicas)", json!(true)),
        ("has(object.spec.nope)", json!(false)),
        (
            "has(object.spec.nope) && object.spec.nope > 1",
            json!(false),
        ),
        ("object.nope.x == 1 || true", json!(true)),
        ("false && object.nope.x == 1", json!(false)),
        ("object.spec.nope == 1 ? 'a' : 'b'", json!(null)),
        ("object.?spec.?nope.orValue(7)", json!(7)),
        ("object.?spec.?replicas.orValue(7)", json!(3)),
        ("object.?spec.?replicas.hasValue()", json!(true)),
        ("object.spec[?'replicas'].value()", json!(3)),
        (
            "{'a': [1, 2.5], ?'b': object.?nope}",
            json!({"a": [1, 2.5]}),
        ),
        (
            "Object{metadata: Object.metadata{labels: {'a': 'b'}}}",
            json!({"metadata": {"labels": {"a": "b"}}}),
        ),
        (
            "[JSONPatch{op: 'add', path: '/a', value: {'b': 1}}]",
            json!([{"op": "add", "path": "/a", "value": {"b": 1}}]),
        ),
        ("variables.double", json!(6)),
        ("string(1) + string(true) + string(1.5)", json!("1true1.5")),
        ("int('12') + int(3.7)", json!(15)),
        ("double(1) / 2.0", json!(0.5)),
        ("type(1) == int && type('a') == string", json!(true)),
        (
            "'abc'.startsWith('ab') && 'abc'.matches('^a.c$')",
            json!(true),
        ),
        ("'a,b'.split(',')", json!(["a", "b"])),
        (
            "quantity('1Gi').isGreaterThan(quantity('1Mi'))",
            json!(true),
        ),
        ("duration('90s') == duration('1m30s')", json!(true)),
        ("jsonpatch.escapeKey('a/b~c')", json!("a~1b~0c")),
        ("sets.contains([1, 2], [1])", json!(true)),
        ("-object.spec.replicas", json!(-3)),
        ("7 % 4 * 2 - 1", json!(5)),
        ("object.spec.ratio < 1.0", json!(true)),
        ("1 == 1.0", json!(true)),
        ("1 < 1.5", json!(true)),
        ("[1, 2].all(i, v, v == i + 1)", json!(true)),
        ("[1, 2].exists(i, v, i == 1 && v == 1)", json!(false)),
        ("[1, 1].existsOne(i, v, i == 1 && v == 1)", json!(true)),
        ("{'a': 1}.all(k, v, k == 'a' && v == 1)", json!(true)),
        ("[1, 2, 3].transformList(i, v, v * i)", json!([0, 2, 6])),
        ("[1, 2, 3].transformList(i, v, i > 0, [v])[1][0]", json!(3)),
        ("{'b': 2, 'a': 1}.transformList(k, v, k)", json!(["a", "b"])),
        (
            "{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v * 2)",
            json!({"b": 4}),
        ),
        ("['x'].transformMap(i, v, v)", json!({"0": "x"})),
        (
            "{'a': 'x'}.transformMapEntry(k, v, {v: k})",
            json!({"x": "a"}),
        ),
        ("format.named('dns1123Label').hasValue()", json!(true)),
        ("format.named('nope').hasValue()", json!(false)),
        (
            "timestamp('2020-01-02T03:04:05Z').getHours('-05:00')",
            json!(22),
        ),
        (
            "timestamp('2020-01-02T23:04:05Z').getDate('01:30')",
            json!(3),
        ),
        (
            "timestamp('2009-02-13T23:31:30Z').getHours('America/Phoenix')",
            json!(16),
        ),
        // Summer and winter.
        (
            "['2020-07-02', '2020-01-02'].map(day, timestamp(day + 'T03:04:05Z').getHours('America/New_York'))",
            json!([23, 22]),
        ),
        (
            "timestamp('2009-02-13T23:31:30Z').getMinutes('Asia/Kathmandu')",
            json!(16),
        ),
        (
            "timestamp('2009-02-13T23:31:30Z').getDayOfYear('-09:30')",
            json!(43),
        ),
    ] {
        if source.ends_with("'a' : 'b'") {
            assert_eq!(run(source), Err("no such key: nope".into()));
            continue;
        }
        assert_eq!(run(source), Ok(expected), "{source}");
    }
}

#[test]
fn errors() {
    for (source, expected) in [
        ("object.spec.nope", "no such key: nope"),
        ("object.spec.list[9]", "index out of bounds: 9"),
        ("object.metadata.labels['z']", "no such key: z"),
        (
            "int('boom') > 0",
            "type conversion error from 'string' to 'int'",
        ),
        ("object.spec.replicas / 0", "division by zero"),
        ("object.spec.replicas % 0", "modulus by zero"),
        (
            "[1, 2].transformMapEntry(i, v, {'k': v})",
            "insert failed: key k already exists",
        ),
        (
            "timestamp('2020-01-02T03:04:05Z').getHours('Nowhere')",
            "unknown time zone Nowhere",
        ),
        (
            "timestamp('2020-01-02T03:04:05Z').getHours('america/new_york')",
            "unknown time zone america/new_york",
        ),
        (
            "timestamp('2020-01-02T03:04:05Z').getHours('x:00')",
            "strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        ("9223372036854775807 + 1", "integer overflow"),
        (
            "object.spec.replicas + 'a'",
            "no such overload: _+_(int, string)",
        ),
        (
            "variables.broken",
            "composited variable \"broken\" fails to evaluate: no such key: nope",
        ),
        (
            "timestamp('x')",
            "type conversion error from 'string' to 'google.protobuf.Timestamp'",
        ),
    ] {
        assert_eq!(run(source), Err(expected.into()), "{source}");
    }
}

#[test]
fn hostile_rules_end() {
    let list: Vec<i64> = (0..3000).collect();
    let nested = "object.all(a, object.all(b, object.all(c, a + b + c >= 0)))";
    let activation = || Activation::new(PER_POLICY).with("object", from_json(&json!(list)));
    let program = Program::parse(nested).unwrap();
    assert_eq!(activation().evaluate(&program), Err(Failure::TooCostly));
    // A budget for all of them together.
    let shared = activation();
    let outcomes: Vec<_> = (0..12).map(|_| shared.evaluate(&program)).collect();
    assert_eq!(outcomes.last(), Some(&Err(Failure::OutOfBudget)));
    // Texts that double.
    let first = Program::parse("'0123456789'").unwrap();
    let mut sources = vec![("v0".to_owned(), first)];
    for index in 1..40 {
        let before = format!("variables.v{}", index - 1);
        let program = Program::parse(&format!("{before} + {before}")).unwrap();
        sources.push((format!("v{index}"), program));
    }
    let activation = Activation::new(PER_POLICY).with_variables(
        sources
            .iter()
            .map(|(name, program)| (name.as_str(), program))
            .collect(),
    );
    let last = Program::parse("variables.v39 == ''").unwrap();
    assert!(matches!(
        activation.evaluate(&last),
        Err(Failure::TooCostly)
    ));
    // One that needs itself.
    let own = Program::parse("variables.a + 1").unwrap();
    let activation = Activation::new(PER_POLICY).with_variables(vec![("a", &own)]);
    assert!(activation.evaluate(&own).is_err());
    assert!(Program::parse(&"(".repeat(10_000)).is_err());
    assert!(Program::parse(&"1+".repeat(10_000)).is_err());
    assert!(Program::parse(&"a.".repeat(10_000)).is_err());
    assert!(Program::parse(&format!("'{}'", "x".repeat(70_000))).is_err());
}

#[test]
fn broken_sources_do_not_panic() {
    for source in [
        "",
        " ",
        "'",
        "\"\"\"",
        "a.",
        ".a",
        "{",
        "[?",
        "a ? b",
        "ä",
        "\u{0}",
        "1.e",
        "b'\\xff'",
        "r'\\'",
        "has(a)",
        "has(1)",
        "x.map(1, 2)",
        "Object{",
        "{?a: 1}",
        "optional",
        "a.b{c: 1}",
    ] {
        let _ = environment().compile(source, &[Type::Bool]);
        let _ = run(source);
    }
}

#[derive(Debug)]
struct OnlyPods;
impl Authorize for OnlyPods {
    fn check(&self, permission: &Permission) -> Option<Verdict> {
        let (namespace, account) = &permission.service_account;
        Some(Verdict {
            allowed: permission.resource == "pods" && permission.verb == "get",
            reason: format!("{}/{}", permission.namespace, permission.name),
            error: if account.is_empty() {
                String::new()
            } else {
                format!(
                    "{namespace}:{account} {} {}",
                    permission.field_selector, permission.label_selector
                )
            },
        })
    }
}

#[test]
fn the_authorizer_is_asked() {
    let of = Permission {
        resource: "pods".into(),
        namespace: "n".into(),
        name: "x".into(),
        ..Permission::default()
    };
    let activation = Activation::new(PER_POLICY).with_authorizer(&OnlyPods, &of);
    for (source, expected) in [
        (
            "authorizer.group('').resource('pods').check('get').allowed()",
            json!(true),
        ),
        (
            "authorizer.group('').resource('pods').check('delete').allowed()",
            json!(false),
        ),
        (
            "authorizer.group('').resource('pods').namespace('a').name('b').check('get').reason()",
            json!("a/b"),
        ),
        (
            "authorizer.requestResource.check('get').allowed()",
            json!(true),
        ),
        (
            "authorizer.requestResource.check('get').reason()",
            json!("n/x"),
        ),
        (
            "authorizer.path('/healthz').check('get').allowed()",
            json!(false),
        ),
        (
            "authorizer.group('').resource('pods').check('get').errored()",
            json!(false),
        ),
        (
            "authorizer.group('').resource('pods').check('get').error()",
            json!(""),
        ),
        (
            "authorizer.serviceAccount('n', 'a').requestResource.check('get').allowed()",
            json!("no such key: requestResource"),
        ),
        (
            "authorizer.serviceAccount('n', 'a').group('').resource('pods').check('get').errored()",
            json!(true),
        ),
        (
            "authorizer.serviceAccount('n', 'a').group('').resource('pods').fieldSelector('f=1').labelSelector('l').check('list').error()",
            json!("n:a f=1 l"),
        ),
        (
            "authorizer.serviceAccount('n', 'A').path('/x').check('get').allowed()",
            json!("Invalid service account name"),
        ),
        (
            "authorizer.serviceAccount('a.b', 'a').path('/x').check('get').allowed()",
            json!("Invalid service account namespace"),
        ),
        (
            "authorizer.path(' ').check('get').allowed()",
            json!("path must not be empty"),
        ),
        (
            "authorizer.group('').resource('').check('get').allowed()",
            json!("resource must not be empty"),
        ),
    ] {
        let value = activation.evaluate(&Program::parse(source).unwrap());
        let found = match value {
            Ok(value) => to_json(&value).unwrap(),
            Err(failure) => failure.to_string().into(),
        };
        assert_eq!(found, expected, "{source}");
    }
}

#[test]
fn questions_to_the_authorizer_have_types() {
    for (source, expected) in [
        (
            "authorizer.group('').resource('pods').subresource('x').namespace('a').name('b').fieldSelector('').labelSelector('').check('get').allowed()",
            "",
        ),
        (
            "authorizer.serviceAccount('a', 'b').path('/x').check('get').errored()",
            "",
        ),
        (
            "authorizer.requestResource.check('get').reason() == authorizer.path(object.x).check('get').error()",
            "",
        ),
        (
            "authorizer.group('apps').check('get').allowed()",
            "found no matching overload for 'check' applied to 'kubernetes.authorization.GroupCheck.(string)'",
        ),
        (
            "authorizer.group(1).resource('x').check('get').allowed()",
            "found no matching overload for 'group' applied to 'kubernetes.authorization.Authorizer.(int)'",
        ),
        (
            "authorizer.path('/x').check('get').allowed(true)",
            "found no matching overload for 'allowed' applied to 'kubernetes.authorization.Decision.(bool)'",
        ),
        (
            "authorizer.path('/x').may('get')",
            "undeclared reference to 'may' (in container '')",
        ),
        (
            "authorizer.path('/x').check('get')",
            "must evaluate to bool but got kubernetes.authorization.Decision",
        ),
        (
            "authorizer.nothing",
            "unexpected failed resolution of 'kubernetes.authorization.Authorizer'",
        ),
    ] {
        let found = environment().compile(source, &[Type::Bool]);
        match found {
            Ok(_) => assert_eq!(expected, "", "{source}"),
            Err(why) => assert!(
                !expected.is_empty() && why.contains(expected),
                "{source}: {why}"
            ),
        }
    }
}

#[test]
fn what_is_evaluated_costs_what_cel_go_counts() {
    let object = json!({"text": "a".repeat(100), "list": ["p", "q", "r"], "flags": [true, true]});
    for (source, expected) in [
        ("1", 0),
        ("object", 1),
        ("object.text", 2),
        ("has(object.text)", 1),
        ("[1, 2, 3]", 10),
        ("{'a': 1}", 30),
        ("1 + 2", 1),
        ("object.text == 'abc'", 3),
        ("object.text.startsWith('0123456789')", 3),
        ("object.text.contains('aaaaaaaaaaa')", 2 + 10 * 2),
        ("object.text.matches('^a+$')", 2 + 11),
        ("object.text + object.text", 4 + 20),
        ("'q' in object.list", 2 + 3),
        ("object.text.upperAscii()", 2 + 10),
        ("object.text.replace('a', 'b')", 2 + 20),
        ("object.list.join(',')", 2 + 1),
        ("object.list[1]", 3),
        ("size(object.list)", 3),
        ("true || object.nope", 0),
        ("true ? object.text : object.list", 2),
        // The list, and for each item: the state and its test, the state and the item; the outcome.
        ("object.flags.all(x, x)", 2 + 2 * (2 + 2) + 1),
        ("object.list.map(x, x)", 2 + 10 + 3 * (1 + 10 + 1 + 1) + 1),
    ] {
        let activation = Activation::new(PER_POLICY).with("object", from_json(&object));
        let program = Program::parse(source).unwrap();
        activation.evaluate(&program).unwrap();
        assert_eq!(PER_POLICY - activation.left(), expected, "{source}");
    }
}

#[test]
fn two_questions_to_the_authorizer_are_what_one_expression_can_pay() {
    let check = "authorizer.group('').resource('pods').check('get').allowed()";
    for (count, expected) in [(1, true), (2, true), (3, false)] {
        let source = vec![check; count].join(" && ");
        let activation =
            Activation::new(PER_POLICY).with_authorizer(&OnlyPods, &Permission::default());
        let found = activation.evaluate(&Program::parse(&source).unwrap());
        let costly = Err(Failure::TooCostly);
        assert_eq!(
            found,
            if expected {
                Ok(Value::Bool(true))
            } else {
                costly
            }
        );
    }
}

#[test]
fn what_costs_little_and_takes_long_ends_too() {
    let deep = json!({ "a": vec![vec![0; 1_000]; 1_000] });
    let activation = Activation::new(PER_POLICY).with("object", from_json(&deep));
    let program = Program::parse(
        "[0,1,2,3,4,5,6,7,8,9].all(x, [0,1,2,3,4,5,6,7,8,9].all(y, object == object))",
    )
    .unwrap();
    assert_eq!(activation.evaluate(&program), Err(Failure::TooCostly));
}
