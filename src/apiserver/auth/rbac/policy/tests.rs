//! The documented rules as a table, and random policies against an evaluator that is as plain as can be.
use super::*;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

fn policy(roles: &[Value], bindings: &[Value]) -> Policy {
    let text = |value: &Value, field: &str| {
        value["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let mut policy = Policy::default();
    for role in roles {
        let decoded: Role = serde_json::from_value(role.clone()).unwrap();
        policy.add_role(
            &text(role, "namespace"),
            &text(role, "name"),
            Arc::new(decoded),
        );
    }
    for binding in bindings {
        policy.add_binding(Arc::new(serde_json::from_value(binding.clone()).unwrap()));
    }
    policy
}

fn user(name: &str, groups: &[&str]) -> User {
    User {
        name: name.into(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..User::default()
    }
}

fn asks(verb: &str, resource: &str, namespace: &str, name: &str) -> Attributes {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Attributes {
        verb: verb.into(),
        resource_request: true,
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Attributes::default()
    }
}

fn rule(verbs: &[&str], resources: &[&str], names: &[&str]) -> Value {
    json!({ "verbs": verbs, "apiGroups": [""], "resources": resources, "resourceNames": names })
}

#[test]
fn bindings_grant() {
    let roles = [
        json!({"metadata": {"name": "pods", "namespace": "a"}, "rules": [rule(&["get", "list"], &["pods"], &[])]}),
        json!({"metadata": {"name": "secrets"}, "rules": [rule(&["get"], &["secrets"], &["one"])]}),
        json!({"metadata": {"name": "empty"}, "rules": null}),
    ];
    let bind = |name: &str, namespace: &str, kind: &str, role: &str, subjects: Value| {
        json!({
            "metadata": {"name": name, "namespace": namespace}, "subjects": subjects,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        })
    };
    let bindings = [
        bind(
            "b1",
            "a",
            "Role",
            "pods",
            json!([{"kind": "User", "name": "u"}, {"kind": "Group", "name": "g"}]),
        ),
        bind(
            "b2",
            "a",
            "Role",
            "pods",
            json!([{"kind": "ServiceAccount", "name": "sa"}]),
        ),
        bind(
            "b3",
            "b",
            "ClusterRole",
            "secrets",
            json!([{"kind": "Group", "name": "g"}]),
        ),
        bind(
            "c1",
            "",
            "ClusterRole",
            "secrets",
            json!([{"kind": "User", "name": "all"}, {"kind": "ServiceAccount", "name": "sa"}]),
        ),
        bind(
            "c2",
            "",
            "ClusterRole",
            "gone",
            json!([{"kind": "User", "name": "lost"}]),
        ),
        bind(
            "b4",
            "a",
            "Role",
            "gone",
            json!([{"kind": "User", "name": "lost"}]),
        ),
        bind(
            "b5",
            "a",
            "Thing",
            "x",
            json!([{"kind": "User", "name": "odd"}, {"kind": "Robot", "name": "r"}]),
        ),
        bind("b6", "a", "ClusterRole", "empty", json!(null)),
    ];
    let policy = policy(&roles, &bindings);
    let by_user = "RBAC: allowed by RoleBinding \"b1/a\" of Role \"pods\" to User \"u\"";
    let by_group = "RBAC: allowed by RoleBinding \"b1/a\" of Role \"pods\" to Group \"g\"";
    let by_account =
        "RBAC: allowed by RoleBinding \"b2/a\" of Role \"pods\" to ServiceAccount \"sa/a\"";
    let by_b3 = "RBAC: allowed by RoleBinding \"b3/b\" of ClusterRole \"secrets\" to Group \"g\"";
    let by_c1 =
        "RBAC: allowed by ClusterRoleBinding \"c1\" of ClusterRole \"secrets\" to User \"all\"";
    let lost = "RBAC: [clusterrole.rbac.authorization.k8s.io \"gone\" not found, role.rbac.authorization.k8s.io \"gone\" not found]";
    for (user, asked, expected) in [
        (user("u", &[]), asks("get", "pods", "a", "x"), Ok(by_user)),
        (
            user("u", &["g"]),
            asks("list", "pods", "a", ""),
            Ok(by_user),
        ),
        (
            user("v", &["g"]),
            asks("list", "pods", "a", ""),
            Ok(by_group),
        ),
        (user("u", &[]), asks("get", "pods", "b", "x"), Err("")),
        (user("u", &[]), asks("list", "pods", "", ""), Err("")),
        (user("u", &[]), asks("get", "pods/log", "a", "x"), Err("")),
        (user("g", &[]), asks("get", "pods", "a", "x"), Err("")),
        (
            user("system:serviceaccount:a:sa", &[]),
            asks("get", "pods", "a", "x"),
            Ok(by_account),
        ),
        (
            user("system:serviceaccount:b:sa", &[]),
            asks("get", "pods", "a", "x"),
            Err(""),
        ),
        (
            user("v", &["g"]),
            asks("get", "secrets", "b", "one"),
            Ok(by_b3),
        ),
        (
            user("v", &["g"]),
            asks("get", "secrets", "b", "two"),
            Err(""),
        ),
        (
            user("v", &["g"]),
            asks("get", "secrets", "a", "one"),
            Err(""),
        ),
        (
            user("all", &[]),
            asks("get", "secrets", "any", "one"),
            Ok(by_c1),
        ),
        (
            user("all", &[]),
            asks("get", "secrets", "", "one"),
            Ok(by_c1),
        ),
        (
            user("system:serviceaccount::sa", &[]),
            asks("get", "secrets", "", "one"),
            Err(""),
        ),
        (user("lost", &[]), asks("get", "pods", "a", "x"), Err(lost)),
        (
            user("odd", &[]),
            asks("get", "pods", "a", "x"),
            Err("RBAC: unsupported role reference kind: \"Thing\""),
        ),
        (user("r", &[]), asks("get", "pods", "a", "x"), Err("")),
    ] {
        let found = policy.authorize(&user, &asked);
        let found = found.as_deref().map_err(String::as_str);
        assert_eq!(found, expected, "{user:?} {asked:?}");
    }
}

const VERBS: [&str; 5] = ["get", "list", "escalate", "bind", "*"];
const RESOURCES: [&str; 7] = ["pods", "pods/log", "*/log", "*", "roles", "*/*", "pods/*"];
const NAMES: [&str; 2] = ["x", "y"];
const WHO: [&str; 4] = ["u", "g", "sa", "system:serviceaccount:a:sa"];

fn some(of: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::collection::vec(select(of), 0..=most)
}

fn any_rule() -> impl Strategy<Value = Value> {
    let groups = some(&["", "apps", "*"], 2);
    let urls = some(&["/a", "/a/*", "*", "/b"], 1);
    (some(&VERBS, 2), groups, some(&RESOURCES, 2), some(&NAMES, 1), urls).prop_map(
        |(verbs, groups, resources, names, urls)| {
            json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names, "nonResourceURLs": urls})
        },
    )
}

fn any_place() -> impl Strategy<Value = &'static str> {
    select(&["", "a", "b"][..])
}

fn any_role() -> impl Strategy<Value = Value> {
    let rules = proptest::collection::vec(any_rule(), 0..3);
    (any_place(), select(&["r", "s"][..]), rules)
        .prop_map(|(namespace, name, rules)| json!({"metadata": {"namespace": namespace, "name": name}, "rules": rules}))
}

fn any_binding() -> impl Strategy<Value = Value> {
    let subject = (
        select(&["User", "Group", "ServiceAccount", "Robot"][..]),
        select(&WHO[..]),
        any_place(),
    )
        .prop_map(
            |(kind, name, namespace)| json!({"kind": kind, "name": name, "namespace": namespace}),
        );
    let subjects = proptest::collection::vec(subject, 0..3);
    let role = (
        select(&["Role", "ClusterRole"][..]),
        select(&["r", "s", "t"][..]),
    );
    (any_place(), role, subjects).prop_map(|(namespace, (kind, name), subjects)| {
        json!({"metadata": {"namespace": namespace, "name": "n"}, "roleRef": {"kind": kind, "name": name}, "subjects": subjects})
    })
}

fn any_question() -> impl Strategy<Value = Attributes> {
    let resource = (
        select(&VERBS[..4]),
        select(&["pods", "pods/log", "roles", "nodes/log"][..]),
        select(&["", "a", "b", "c"][..]),
        select(&["", "x", "y"][..]),
        select(&["", "apps"][..]),
    )
        .prop_map(|(verb, resource, namespace, name, group)| Attributes {
            group: group.into(),
            ..asks(verb, resource, namespace, name)
        });
    let path =
        (select(&VERBS[..2]), select(&["/a", "/a/x", "/b", "/"][..])).prop_map(|(verb, path)| {
            Attributes {
                verb: verb.into(),
                path: path.into(),
                ..Attributes::default()
            }
        });
    prop_oneof![4 => resource, 1 => path]
}

/// As plain as can be: every binding, every subject, every rule is looked at, as the documentation says.
fn plainly(roles: &[Value], bindings: &[Value], user: &User, asked: &Attributes) -> bool {
    bindings.iter().any(|binding| {
        let home = binding["metadata"]["namespace"].as_str().unwrap();
        let reaches = home.is_empty() || (asked.resource_request && home == asked.namespace);
        let subject = binding["subjects"]
            .as_array()
            .unwrap()
            .iter()
            .any(|subject| {
                let (name, own) = (
                    subject["name"].as_str().unwrap(),
                    subject["namespace"].as_str().unwrap(),
                );
                match subject["kind"].as_str().unwrap() {
                    "User" => user.name == name,
                    "Group" => user.groups.iter().any(|group| group == name),
                    "ServiceAccount" => {
                        let place = if own.is_empty() { home } else { own };
                        !place.is_empty()
                            && user.name == format!("system:serviceaccount:{place}:{name}")
                    }
                    _ => false,
                }
            });
        let of = if binding["roleRef"]["kind"] == "Role" {
            home
        } else {
            ""
        };
        // Of two roles of one name the later is stored; a role of no namespace is a cluster role.
        let role = roles.iter().rev().find(|role| {
            role["metadata"]["name"] == binding["roleRef"]["name"]
                && role["metadata"]["namespace"] == of
        });
        reaches
            && subject
            && role.is_some_and(|role| {
                role["rules"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|rule| permits(rule, asked))
            })
    })
}

fn permits(rule: &Value, asked: &Attributes) -> bool {
    let list = |field: &str| -> Vec<String> {
        let items = rule[field].as_array().unwrap().iter();
        items
            .map(|item| item.as_str().unwrap().to_owned())
            .collect()
    };
    let verb = list("verbs")
        .iter()
        .any(|verb| verb == "*" || *verb == asked.verb);
    if !asked.resource_request {
        return verb
            && list("nonResourceURLs")
                .iter()
                .any(|url| match url.strip_suffix('*') {
                    Some(start) => asked.path.starts_with(start),
                    None => *url == asked.path,
                });
    }
    let mut spellings = vec!["*".to_owned()];
    if asked.subresource.is_empty() {
        spellings.push(asked.resource.clone());
    } else {
        spellings.push(format!("{}/{}", asked.resource, asked.subresource));
        spellings.push(format!("*/{}", asked.subresource));
    }
    let names = list("resourceNames");
    verb && list("apiGroups")
        .iter()
        .any(|group| group == "*" || *group == asked.group)
        && list("resources")
            .iter()
            .any(|resource| spellings.contains(resource))
        && (names.is_empty() || names.contains(&asked.name))
}

/// Whether every question that `wanted` answers with yes is answered so by `owned`, tried with all questions there are.
fn exceeds(owned: &[Value], wanted: &[Value]) -> bool {
    let verbs = ["get", "list", "escalate", "bind", "other"];
    let resources = [
        "pods",
        "pods/log",
        "nodes",
        "nodes/log",
        "roles",
        "roles/log",
        "nodes/other",
        "pods/other",
    ];
    let mut questions = Vec::new();
    for verb in verbs {
        for resource in resources {
            for name in ["", "x", "y", "other"] {
                for group in ["", "apps", "other"] {
                    questions.push(Attributes {
                        group: group.into(),
                        ..asks(verb, resource, "", name)
                    });
                }
            }
        }
        for path in ["/a", "/a/x", "/b", "/other"] {
            questions.push(Attributes {
                verb: verb.into(),
                path: path.into(),
                ..Attributes::default()
            });
        }
    }
    questions.iter().any(|asked| {
        wanted.iter().any(|rule| permits(rule, asked))
            && !owned.iter().any(|rule| permits(rule, asked))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn random_policies_decide_as_the_plain_evaluator(
        roles in proptest::collection::vec(any_role(), 0..5),
        bindings in proptest::collection::vec(any_binding(), 0..6),
        name in select(&WHO[..]),
        groups in some(&["g", "u"], 2),
        asked in any_question(),
    ) {
        // A role binding to a role without a namespace would be no role binding; the index keeps them apart by key.
        let bindings: Vec<Value> = bindings
            .into_iter()
            .filter(|binding| binding["metadata"]["namespace"] != "" || binding["roleRef"]["kind"] == "ClusterRole")
            .collect();
        let user = user(name, &groups);
        let found = policy(&roles, &bindings).authorize(&user, &asked).is_ok();
        prop_assert_eq!(found, plainly(&roles, &bindings, &user, &asked));
    }

    /// Whoever passes the escalation check grants nothing that he does not have.
    #[test]
    fn nothing_is_granted_that_is_not_owned(
        owned in proptest::collection::vec(any_rule(), 0..4),
        wanted in proptest::collection::vec(any_rule(), 0..3),
    ) {
        let rules = |values: &[Value]| -> Vec<Rule> {
            values.iter().map(|value| serde_json::from_value(value.clone()).unwrap()).collect()
        };
        let covered = super::super::rule::uncovered(&rules(&owned), &rules(&wanted)).is_empty();
        prop_assert!(!covered || !exceeds(&owned, &wanted));
    }
}
