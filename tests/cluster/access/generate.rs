//! Random stories: roles of three tiers, of which each gathers from lower ones only so that what comes out is certain, bindings
//! of them, and steps.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

use super::reference::{Question, User, World};
use super::{GROUP, RBAC};

pub(super) const NAMESPACES: [&str; 2] = ["a", "b"];
const VERBS: [&str; 11] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "escalate",
    "bind",
    "*",
];
const RESOURCES: [&str; 11] = [
    "configmaps",
    "secrets",
    "serviceaccounts/token",
    "deployments",
    "deployments/scale",
    "*/scale",
    "roles",
    "rolebindings",
    "clusterroles",
    "clusterrolebindings",
    "*",
];
const NAMES: [&str; 2] = ["x", "y"];
const PATHS: [&str; 3] = ["/metrics", "/version", "/openid/v1/jwks"];
/// Cluster roles by tier.
const TIERS: [&[&str]; 3] = [&["p0", "p1", "p2", "p3"], &["q0", "q1"], &["s0", "s1"]];
const TO_VIEW: &str = "rbac.authorization.k8s.io/aggregate-to-view";

/// What is in the objects of a namespace and is not to be seen by who may not.
pub(super) fn secret(namespace: &str) -> String {
    format!("hidden-in-{namespace}")
}

#[derive(Debug)]
pub(super) struct Story {
    pub users: Vec<User>,
    cluster_roles: Vec<Value>,
    roles: Vec<Value>,
    bindings: Vec<Value>,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// One of the users asks.
    Ask(usize, Ask),
    /// Someone who may changes a cluster role.
    Change(Change),
}

#[derive(Clone, Debug)]
pub(super) struct Change {
    name: &'static str,
    patch: Value,
}

impl Change {
    pub(super) fn patch(&self) -> (&str, Value) {
        (self.name, self.patch.clone())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Post,
    Put,
    Patch,
}

#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// Anything but a write of roles and bindings.
    Plain(Question),
    /// The write of a role.
    Role {
        method: Method,
        /// `""`: a cluster role.
        namespace: String,
        /// Of a role that is there; `""`: a new one.
        name: String,
        /// As a merge patch.
        change: Value,
    },
    /// The making of a binding.
    Binding {
        /// `""`: a cluster role binding.
        namespace: String,
        kind: String,
        role: String,
    },
}

/// `roles` of a namespace and `clusterroles` of none; so of `rolebinding`.
pub(super) fn plural(kind: &str, namespace: &str) -> String {
    let prefix = if namespace.is_empty() { "cluster" } else { "" };
    format!("{prefix}{kind}s")
}

fn collection(base: &str, namespace: &str, plural: &str) -> String {
    if namespace.is_empty() {
        format!("{base}/{plural}")
    } else {
        format!("{base}/namespaces/{namespace}/{plural}")
    }
}

impl Story {
    /// What is there before anybody asks, each with the path at which it is made.
    pub(super) fn objects(&self) -> Vec<(String, Value)> {
        let mut objects = Vec::new();
        for namespace in NAMESPACES {
            let named = |name: &str| json!({"metadata": {"name": name}});
            objects.push(("/api/v1/namespaces".to_owned(), named(namespace)));
            for name in NAMES {
                let mut map = named(name);
                map["data"] = json!({"k": secret(namespace)});
                objects.push((collection("/api/v1", namespace, "configmaps"), map));
                let mut hidden = named(name);
                hidden["stringData"] = json!({"k": secret(namespace)});
                objects.push((collection("/api/v1", namespace, "secrets"), hidden));
                objects.push((
                    collection("/api/v1", namespace, "serviceaccounts"),
                    named(name),
                ));
            }
        }
        let at = |object: &Value, kind: &str| {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or("");
            (
                collection(RBAC, namespace, &plural(kind, namespace)),
                object.clone(),
            )
        };
        let roles = self.cluster_roles.iter().chain(&self.roles);
        objects.extend(roles.map(|role| at(role, "role")));
        let number = self.bindings.iter().enumerate();
        objects.extend(number.map(|(number, binding)| {
            let mut binding = binding.clone();
            binding["metadata"]["name"] = format!("b{number}").into();
            at(&binding, "rolebinding")
        }));
        objects
    }
}

impl Ask {
    /// The request and its body; none where there is no such request.
    pub(super) fn request(&self, number: usize) -> Option<(&'static str, String, Value)> {
        let new = format!("n{number}");
        match self {
            Self::Plain(question) => plain_request(question, &new),
            Self::Role {
                method,
                namespace,
                name,
                change,
            } => {
                let name = if name.is_empty() { &new } else { name };
                let path = collection(RBAC, namespace, &plural("role", namespace));
                let mut object = change.clone();
                // Each write changes something.
                object["metadata"]["annotations"] = json!({"step": new});
                if *method != Method::Patch {
                    object["metadata"]["name"] = name.clone().into();
                    if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
                        labels.retain(|_, value| !value.is_null());
                    }
                }
                Some(match method {
                    Method::Post => ("POST", path, object),
                    Method::Put => ("PUT", format!("{path}/{name}"), object),
                    Method::Patch => ("PATCH", format!("{path}/{name}"), object),
                })
            }
            Self::Binding {
                namespace,
                kind,
                role,
            } => {
                let path = collection(RBAC, namespace, &plural("rolebinding", namespace));
                // Nobody becomes a boss on the way, who could do everything from then on.
                let to = if role == "cluster-admin" {
                    "nobody"
                } else {
                    "w"
                };
                let body = json!({
                    "metadata": {"name": new}, "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role},
                    "subjects": [{"kind": "User", "name": to}],
                });
                Some(("POST", path, body))
            }
        }
    }

    /// What all must be allowed for the request to pass.
    pub(super) fn questions(&self, world: &World) -> Vec<Question> {
        let (namespace, resource) = match self {
            Self::Plain(question) => return vec![question.clone()],
            Self::Role { namespace, .. } => (namespace, plural("role", namespace)),
            Self::Binding { namespace, .. } => (namespace, plural("rolebinding", namespace)),
        };
        let ask = |verb: &str, name: &str| Question {
            verb: verb.to_owned(),
            group: GROUP.to_owned(),
            resource: resource.clone(),
            namespace: namespace.clone(),
            name: name.to_owned(),
            ..Question::default()
        };
        match self {
            Self::Role {
                method: Method::Put,
                name,
                ..
            } => {
                let mut questions = vec![ask("update", name)];
                // What is not there yet is created.
                if world.role(namespace, name).is_none() {
                    questions.push(ask("create", name));
                }
                questions
            }
            Self::Role {
                method: Method::Patch,
                name,
                ..
            } => vec![ask("patch", name)],
            _ => vec![ask("create", "")],
        }
    }

    pub(super) fn without_aggregation(&self) -> Self {
        let mut ask = self.clone();
        if let Self::Role { change, .. } = &mut ask
            && let Some(change) = change.as_object_mut()
        {
            change.remove("aggregationRule");
        }
        ask
    }
}

fn plain_request(asked: &Question, new: &str) -> Option<(&'static str, String, Value)> {
    let (verb, name) = (&*asked.verb, &*asked.name);
    if asked.resource.is_empty() {
        return (verb == "get").then(|| ("GET", asked.path.clone(), Value::Null));
    }
    let (resource, subresource) = asked
        .resource
        .split_once('/')
        .unwrap_or((&asked.resource, ""));
    let (group, base) = match resource {
        "configmaps" | "secrets" | "serviceaccounts" => ("", "/api/v1"),
        "deployments" => ("apps", "/apis/apps/v1"),
        _ => (GROUP, RBAC),
    };
    if group != asked.group {
        return None;
    }
    let of_cluster = resource.starts_with("cluster");
    if of_cluster && !asked.namespace.is_empty() {
        return None;
    }
    let collection = collection(base, &asked.namespace, resource);
    let is_named = !name.is_empty() && (of_cluster || !asked.namespace.is_empty());
    let selected = if name.is_empty() {
        String::new()
    } else {
        format!("&fieldSelector=metadata.name={name}")
    };
    let named = || {
        let below = if subresource.is_empty() {
            String::new()
        } else {
            format!("/{subresource}")
        };
        format!("{collection}/{name}{below}")
    };
    let change = json!({"metadata": {"name": name, "labels": {"step": new}}});
    Some(match verb {
        "list" if subresource.is_empty() => (
            "GET",
            format!("{collection}?limit=500{selected}"),
            Value::Null,
        ),
        "watch" if subresource.is_empty() => (
            "GET",
            format!("{collection}?watch=1&timeoutSeconds=1{selected}"),
            Value::Null,
        ),
        "get" if is_named => ("GET", named(), Value::Null),
        "delete" if is_named && subresource.is_empty() => ("DELETE", named(), Value::Null),
        "create" if is_named && !subresource.is_empty() => ("POST", named(), json!({})),
        "patch" if is_named && base != RBAC => ("PATCH", named(), change),
        "update" if is_named && base != RBAC => ("PUT", named(), change),
        "create"
            if name.is_empty()
                && subresource.is_empty()
                && base != RBAC
                && !asked.namespace.is_empty() =>
        {
            ("POST", collection, json!({"metadata": {"name": new}}))
        }
        "deletecollection"
            if name.is_empty()
                && subresource.is_empty()
                && base != RBAC
                && !asked.namespace.is_empty() =>
        {
            ("DELETE", collection, Value::Null)
        }
        _ => return None,
    })
}

/// Who asks how often.
const ASKING: [usize; 13] = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4];

fn users() -> Vec<User> {
    let user = |name, groups: &[&'static str]| User {
        name,
        groups: groups.to_vec(),
    };
    vec![
        user("u", &["writers"]),
        user("v", &["g", "writers"]),
        user("w", &[]),
        user(
            "system:serviceaccount:a:x",
            &["system:serviceaccounts", "g"],
        ),
        user("boss", &["bosses"]),
    ]
}

fn of(texts: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(texts, 1..=most)
}

/// A rule about resources.
fn rule() -> impl Strategy<Value = Value> {
    let names = || prop_oneof![3 => Just(Vec::new()), 1 => of(&NAMES, 1)];
    let made = |verbs, groups, resources, names: Vec<&str>| json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names});
    let about = move |groups: &'static [&'static str],
                      resources: &'static [&'static str],
                      verbs: &'static [&'static str]| {
        (
            of(verbs, verbs.len()),
            of(resources, resources.len()),
            names(),
        )
            .prop_map(move |(verbs, resources, names)| {
                made(verbs, groups.to_vec(), resources, names)
            })
    };
    let any = (
        of(&VERBS, 3),
        of(&["", "apps", GROUP, "*"], 2),
        of(&RESOURCES, 3),
        names(),
    )
        .prop_map(move |(verbs, groups, resources, names)| made(verbs, groups, resources, names));
    prop_oneof![
        4 => about(&[""], &RESOURCES[..3], &VERBS[..3]),
        4 => about(&["", "apps"], &RESOURCES[..6], &VERBS[..8]),
        2 => about(&[GROUP], &RESOURCES[6..10], &VERBS[..7]),
        1 => about(&[GROUP], &["roles", "clusterroles"], &["escalate", "bind"]),
        3 => any,
    ]
}

/// Rules of a cluster role, which may be about paths.
fn rules() -> impl Strategy<Value = Vec<Value>> {
    let paths = (of(&VERBS[..1], 1), of(&["/metrics", "/openid/*", "*"], 1))
        .prop_map(|(verbs, paths)| json!({"verbs": verbs, "nonResourceURLs": paths}));
    vec(prop_oneof![4 => rule(), 1 => paths], 0..3)
}

/// Labels by which a role is selected; null: not there.
fn labels(tier: &'static str) -> impl Strategy<Value = Value> {
    let team = option::of(select(&["red", "blue"][..]));
    let flags = (option::of(Just("")), option::weighted(0.2, Just("true")));
    (team, flags).prop_map(move |(team, (flag, view))| {
        json!({"tier": tier, "team": team, "flag": flag, TO_VIEW: view})
    })
}

/// One or two selectors of roles of these tiers.
fn aggregation(lower: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let expression = prop_oneof![
        select(&["In", "NotIn"][..]).prop_flat_map(|operator| {
            of(&["red", "blue"], 2).prop_map(
                move |values| json!({"key": "team", "operator": operator, "values": values}),
            )
        }),
        (
            select(&["team", "flag"][..]),
            select(&["Exists", "DoesNotExist"][..])
        )
            .prop_map(|(key, operator)| json!({"key": key, "operator": operator})),
    ];
    let team = option::weighted(0.7, select(&["red", "blue"][..]));
    let selector = (of(lower, lower.len()), team, vec(expression, 0..2)).prop_map(
        |(tiers, team, mut expressions)| {
            let mut selector = json!({});
            if let ([tier], Some(team)) = (&tiers[..], team) {
                selector["matchLabels"] = json!({"tier": tier, "team": team});
            } else {
                expressions.push(json!({"key": "tier", "operator": "In", "values": tiers}));
            }
            if !expressions.is_empty() {
                selector["matchExpressions"] = expressions.into();
            }
            selector
        },
    );
    vec(selector, 1..3).prop_map(|selectors| json!({"clusterRoleSelectors": selectors}))
}

/// From which tiers a role of a tier may gather.
fn lower(tier: usize) -> &'static [&'static str] {
    [&["none"][..], &["0"], &["0", "1"]][tier]
}

fn tier() -> impl Strategy<Value = (usize, &'static str)> {
    (0..TIERS.len()).prop_flat_map(|tier| (Just(tier), select(TIERS[tier])))
}

/// What a merge patch makes of a role of a tier.
fn change(tier: usize, aggregates: f64) -> impl Strategy<Value = Value> {
    let labels = option::weighted(0.8, labels(["0", "1", "2"][tier]));
    let aggregation = option::weighted(aggregates, aggregation(lower(tier)));
    (labels, option::of(rules()), aggregation).prop_map(|(labels, rules, aggregation)| {
        let mut change = Map::new();
        change.insert(
            "metadata".to_owned(),
            labels.map_or_else(|| json!({}), |labels| json!({"labels": labels})),
        );
        if let Some(rules) = rules {
            change.insert("rules".to_owned(), rules.into());
        }
        if let Some(aggregation) = aggregation {
            change.insert("aggregationRule".to_owned(), aggregation);
        }
        Value::Object(change)
    })
}

fn cluster_role(tier: usize, name: &'static str) -> impl Strategy<Value = Value> {
    let label = labels(["0", "1", "2"][tier]);
    (label, rules(), aggregation(lower(tier))).prop_map(move |(labels, rules, aggregation)| {
        let mut labels = labels;
        if let Some(labels) = labels.as_object_mut() {
            labels.retain(|_, value| !value.is_null());
        }
        let mut role = json!({"metadata": {"name": name, "labels": labels}, "rules": rules});
        if tier > 0 {
            role["aggregationRule"] = aggregation;
        }
        role
    })
}

fn any_cluster_role() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => tier().prop_map(|(_, name)| name.to_owned()),
        3 => select(&["q0", "q1", "s0", "s1", "view", "cluster-admin", "gone"][..]).prop_map(str::to_owned),
    ]
}

/// Kind and name of what is bound in a namespace.
fn role_ref(namespace: &'static str) -> impl Strategy<Value = (String, String)> {
    let cluster = any_cluster_role().prop_map(|name| ("ClusterRole".to_owned(), name));
    let weight = u32::from(!namespace.is_empty());
    let local = Just(("Role".to_owned(), "r".to_owned()));
    prop_oneof![3 => cluster, weight => local]
}

fn binding() -> impl Strategy<Value = Value> {
    let subject = prop_oneof![
        select(&["u", "v", "w"][..]).prop_map(|name| json!({"kind": "User", "name": name})),
        Just(json!({"kind": "Group", "name": "g"})),
        Just(json!({"kind": "ServiceAccount", "name": "x", "namespace": "a"})),
    ];
    select(&["", "a", "b"][..])
        .prop_flat_map(move |namespace| (Just(namespace), role_ref(namespace), subject.clone()))
        .prop_filter("all but one are no bosses", |(_, (_, name), _)| {
            name != "cluster-admin"
        })
        .prop_map(|(namespace, (kind, name), subject)| {
            json!({
                "metadata": {"namespace": namespace}, "subjects": [subject],
                "roleRef": {"apiGroup": GROUP, "kind": kind, "name": name},
            })
        })
}

fn question() -> impl Strategy<Value = Question> {
    let resource = (
        select(&VERBS[..10]),
        prop_oneof![3 => select(&RESOURCES[..5]), 1 => select(&RESOURCES[6..10])],
        select(&["", "a", "b"][..]),
        select(&["", "x", "y"][..]),
    );
    let resource = resource.prop_map(|(verb, resource, namespace, name)| {
        let group = match resource {
            "deployments" | "deployments/scale" => "apps",
            _ if resource.contains("role") => GROUP,
            _ => "",
        };
        Question {
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Question::default()
        }
    });
    let path = select(&PATHS[..]).prop_map(|path| Question {
        verb: "get".to_owned(),
        path: path.to_owned(),
        ..Question::default()
    });
    prop_oneof![8 => resource, 1 => path]
}

fn ask() -> impl Strategy<Value = Ask> {
    let change_of_cluster = tier().prop_flat_map(|(tier, name)| {
        let method = select(&[Method::Put, Method::Patch][..]);
        (method, change(tier, 0.3)).prop_map(move |(method, change)| Ask::Role {
            method,
            namespace: String::new(),
            name: name.to_owned(),
            change,
        })
    });
    let new_of_cluster = (0..TIERS.len())
        .prop_flat_map(|tier| change(tier, 0.5))
        .prop_map(|change| Ask::Role {
            method: Method::Post,
            namespace: String::new(),
            name: String::new(),
            change,
        });
    let local = (
        select(&NAMESPACES[..]),
        vec(rule(), 0..3),
        select(&[Method::Put, Method::Patch, Method::Post][..]),
    )
        .prop_map(|(namespace, rules, method)| Ask::Role {
            method,
            namespace: namespace.to_owned(),
            name: if method == Method::Post {
                String::new()
            } else {
                "r".to_owned()
            },
            change: json!({"metadata": {}, "rules": rules}),
        });
    let binding = select(&["", "a", "b"][..])
        .prop_flat_map(|namespace| (Just(namespace), role_ref(namespace)))
        .prop_map(|(namespace, (kind, role))| Ask::Binding {
            namespace: namespace.to_owned(),
            kind,
            role,
        });
    prop_oneof![
        8 => question().prop_map(Ask::Plain),
        2 => change_of_cluster,
        1 => new_of_cluster,
        1 => local,
        4 => binding,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let change = tier().prop_flat_map(|(tier, name)| {
        let aggregates = if tier == 0 { 0.05 } else { 0.5 };
        change(tier, aggregates).prop_map(move |patch| Step::Change(Change { name, patch }))
    });
    prop_oneof![
        6 => (select(&ASKING[..]), ask()).prop_map(|(who, ask)| Step::Ask(who, ask)),
        3 => change,
    ]
}

pub(super) fn story() -> impl Strategy<Value = Story> {
    let mut cluster_roles: Vec<BoxedStrategy<Value>> = Vec::new();
    for (tier, names) in TIERS.iter().enumerate() {
        cluster_roles.extend(names.iter().map(|name| cluster_role(tier, name).boxed()));
    }
    let local = || vec(rule(), 0..3);
    let steps = vec(step(), 40..80);
    (cluster_roles, [local(), local()], vec(binding(), 4..10), steps).prop_map(
        |(mut cluster_roles, locals, mut bindings, steps)| {
            let roles = NAMESPACES.iter().zip(locals);
            let roles = roles.map(|(namespace, rules)| json!({"metadata": {"namespace": namespace, "name": "r"}, "rules": rules}));
            // Some may write roles and bindings, whatever else they may, and one may do everything.
            let verbs = ["get", "create", "update", "patch"];
            cluster_roles.push(json!({"metadata": {"name": "writer"}, "rules": [{"verbs": verbs, "apiGroups": [GROUP], "resources": ["*"]}]}));
            for (role, group) in [("writer", "writers"), ("cluster-admin", "bosses")] {
                bindings.push(json!({
                    "metadata": {}, "subjects": [{"kind": "Group", "name": group}],
                    "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
                }));
            }
            Story { users: users(), cluster_roles, roles: roles.collect(), bindings, steps }
        },
    )
}
