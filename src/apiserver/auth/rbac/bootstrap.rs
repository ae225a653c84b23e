//! The roles and bindings that every cluster has. They are made when they are missing, and what is missing in them is added,
//! unless somebody has annotated them as his own (`rbac.authorization.kubernetes.io/autoupdate: "false"`).
use super::GROUP;
use crate::apiserver::bootstrap;
use crate::apiserver::server::Shared;
use crate::object::{Document, Status};
use futures::future::try_join_all;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const TABLE: &str = include_str!("bootstrap.txt");
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];

/// Makes or completes all of them.
///
/// # Errors
/// When the store fails.
pub(crate) async fn ensure(shared: &Arc<Shared>) -> Result<(), Status> {
    let objects = objects();
    let each = objects.iter().map(|(plural, wanted)| async move {
        let present = bootstrap::ensure(shared, GROUP, plural, wanted).await?;
        let change = |present: &Value| completed(present, wanted);
        if present.is_none_or(|present| change(&present).is_none()) {
            return Ok(());
        }
        bootstrap::amend(shared, GROUP, plural, None, wanted, &change).await
    });
    try_join_all(each).await.map(drop)
}

/// The rules that the cluster role `name` of the table has.
pub(crate) fn default_rules(name: &str) -> Vec<super::Rule> {
    let found = objects()
        .into_iter()
        .find(|(plural, object)| *plural == "clusterroles" && object.name() == name);
    found.map(|(_, role)| rules(&role)).unwrap_or_default()
}

/// `present` with what `wanted` has and it lacks; `None` when that is nothing, or nobody's business.
fn completed(present: &Value, wanted: &Value) -> Option<Value> {
    if present.annotation(AUTOUPDATE) == Some("false") {
        return None;
    }
    let mut object = present.clone();
    for field in ["labels", "annotations"] {
        for (key, value) in entries(wanted, field) {
            object.default_at(&["metadata", field, key], value.clone());
        }
    }
    add_missing(
        &mut object,
        wanted,
        &["aggregationRule", "clusterRoleSelectors"],
    );
    if object.at(&["aggregationRule"]).is_none() {
        let have: Vec<super::Rule> = rules(present);
        let missing = rules(wanted);
        if !super::rule::uncovered(&have, &missing).is_empty() {
            add_missing(&mut object, wanted, &["rules"]);
        }
    }
    add_missing(&mut object, wanted, &["subjects"]);
    (object != *present).then_some(object)
}

fn rules(role: &Value) -> Vec<super::Rule> {
    let rules = role.list_at(&["rules"]).iter();
    rules
        .filter_map(|rule| serde_json::from_value(rule.clone()).ok())
        .collect()
}

fn entries<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let map = object.at(&["metadata", field]).and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value))
}

fn add_missing(object: &mut Value, wanted: &Value, path: &[&str]) {
    let present = object.list_at(path).to_vec();
    let missing = wanted.list_at(path).iter();
    let missing: Vec<Value> = missing
        .filter(|item| !present.contains(item))
        .cloned()
        .collect();
    if !missing.is_empty() {
        object.set_at(path, [present, missing].concat());
    }
}

/// All objects of the table, with the plural of their kinds.
fn objects() -> Vec<(&'static str, Value)> {
    let mut roles: Vec<(&str, Value)> = Vec::new();
    let mut bindings = Vec::new();
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        let mut words = line.split(' ');
        match (words.next(), words.next()) {
            (Some("role"), Some(name)) => roles.push(role(name, words)),
            (Some("controller"), Some(account)) => {
                let name = format!("system:controller:{account}");
                roles.push(role(&name, words));
                bindings.push(binding(
                    &name,
                    [format!("sa:{account}").as_str()].into_iter(),
                ));
            }
            (Some("bind"), Some(name)) => bindings.push(binding(name, words)),
            _ => {
                if let Some((_, role)) = roles.last_mut()
                    && let Some(Value::Array(rules)) = role.get_mut("rules")
                {
                    rules.push(rule(line));
                }
            }
        }
    }
    roles.extend(bindings);
    roles
}

/// Splits `namespace/name` and makes the metadata.
fn metadata(path: &str) -> (bool, &str, Value) {
    let (namespace, name) = path.split_once('/').unwrap_or(("", path));
    let mut metadata = json!({
        "name": name,
        "labels": { "kubernetes.io/bootstrapping": "rbac-defaults" },
        "annotations": { AUTOUPDATE: "true" },
    });
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    (!namespace.is_empty(), name, metadata)
}

fn role<'a>(path: &str, options: impl Iterator<Item = &'a str>) -> (&'static str, Value) {
    const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";
    let (namespaced, _, metadata) = metadata(path);
    let (plural, kind) = if namespaced {
        ("roles", "Role")
    } else {
        ("clusterroles", "ClusterRole")
    };
    let mut role = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": metadata, "rules": [],
    });
    for option in options {
        match option.split_once('=') {
            Some(("aggregate", to)) => {
                let selector = json!({ "matchLabels": { format!("{AGGREGATE}{to}"): "true" } });
                role["aggregationRule"] = json!({ "clusterRoleSelectors": [selector] });
                role["rules"] = Value::Null;
            }
            Some(("to", to)) => {
                role.set_at(&["metadata", "labels", &format!("{AGGREGATE}{to}")], "true");
            }
            _ => {}
        }
    }
    (plural, role)
}

fn binding<'a>(path: &str, mut subjects: impl Iterator<Item = &'a str>) -> (&'static str, Value) {
    let (namespaced, name, metadata) = metadata(path);
    let (plural, kind, role_kind) = if namespaced {
        ("rolebindings", "RoleBinding", "Role")
    } else {
        ("clusterrolebindings", "ClusterRoleBinding", "ClusterRole")
    };
    let mut role = name;
    let subjects: Vec<Value> = subjects
        .by_ref()
        .filter_map(|subject| {
            if let Some(other) = subject.strip_prefix('=') {
                role = other;
                return None;
            }
            let (kind, name) = subject.split_once(':')?;
            Some(match kind {
                "sa" => {
                    json!({ "kind": "ServiceAccount", "name": name, "namespace": "kube-system" })
                }
                "group" => json!({ "kind": "Group", "name": name, "apiGroup": GROUP }),
                _ => json!({ "kind": "User", "name": name, "apiGroup": GROUP }),
            })
        })
        .collect();
    let mut binding = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": metadata,
        "roleRef": { "apiGroup": GROUP, "kind": role_kind, "name": role },
    });
    if !subjects.is_empty() {
        binding["subjects"] = subjects.into();
    }
    (plural, binding)
}

fn rule(line: &str) -> Value {
    if line == "events" {
        return rule("create patch update | - events.k8s.io | events");
    }
    let columns: Vec<Vec<&str>> = line
        .split(" | ")
        .map(|column| column.split(' ').collect())
        .collect();
    let mut verbs: Vec<&str> = Vec::new();
    for verb in columns.first().into_iter().flatten() {
        match *verb {
            "read" => verbs.extend(READ),
            "write" => verbs.extend(WRITE),
            other => verbs.push(other),
        }
    }
    verbs.sort_unstable();
    let mut rule = Map::new();
    rule.insert("verbs".into(), verbs.into());
    let column = |index: usize| columns.get(index).cloned().unwrap_or_default();
    if columns.len() == 2 {
        rule.insert("nonResourceURLs".into(), column(1).into());
    } else {
        let groups: Vec<&str> = column(1)
            .into_iter()
            .map(|group| if group == "-" { "" } else { group })
            .collect();
        rule.insert("apiGroups".into(), groups.into());
        rule.insert("resources".into(), column(2).into());
        if columns.len() > 3 {
            rule.insert("resourceNames".into(), column(3).into());
        }
    }
    rule.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(plural: &str, name: &str) -> Value {
        let mut objects = objects().into_iter();
        let found = objects.find(|(kind, object)| *kind == plural && object.name() == name);
        found.unwrap().1
    }

    #[test]
    fn the_table_is_whole() {
        let objects = objects();
        for (plural, count) in [
            ("clusterroles", 68),
            ("clusterrolebindings", 49),
            ("roles", 7),
            ("rolebindings", 7),
        ] {
            let found = objects.iter().filter(|(kind, _)| *kind == plural).count();
            assert_eq!(found, count, "{plural}");
        }
        for (plural, object) in &objects {
            let rules = rules(object);
            assert_eq!(rules.len(), object.list_at(&["rules"]).len());
            let aggregated = object.get("aggregationRule").is_some();
            assert!(
                plural.ends_with("bindings") || aggregated || !rules.is_empty(),
                "{object}"
            );
        }
        assert_eq!(
            find("clusterroles", "system:aggregate-to-admin")["rules"],
            json!([
                { "verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": ["localsubjectaccessreviews"] },
                {
                    "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
                    "apiGroups": [GROUP], "resources": ["rolebindings", "roles"],
                },
            ])
        );
        let edit = find("clusterroles", "edit");
        assert_eq!(
            edit.label("rbac.authorization.k8s.io/aggregate-to-admin"),
            Some("true")
        );
        let discovery = find(
            "rolebindings",
            "system::extension-apiserver-authentication-reader",
        );
        assert_eq!(
            discovery["roleRef"]["name"],
            "extension-apiserver-authentication-reader"
        );
        assert_eq!(
            find("clusterrolebindings", "system:controller:job-controller")["subjects"],
            json!([{ "kind": "ServiceAccount", "name": "job-controller", "namespace": "kube-system" }])
        );
        assert!(
            find("clusterrolebindings", "system:node")
                .get("subjects")
                .is_none()
        );
    }

    #[test]
    fn what_is_missing_is_added() {
        let wanted = find("clusterroles", "system:basic-user");
        assert_eq!(completed(&wanted, &wanted), None);
        let mut present = wanted.clone();
        present["rules"] = json!([{ "verbs": ["get"], "apiGroups": ["x"], "resources": ["y"] }]);
        present["metadata"]["labels"] = json!({ "own": "1" });
        let completed_of = completed(&present, &wanted).unwrap();
        assert_eq!(completed_of.list_at(&["rules"]).len(), 3);
        assert_eq!(completed_of.label("own"), Some("1"));
        assert_eq!(
            completed_of.label("kubernetes.io/bootstrapping"),
            Some("rbac-defaults")
        );
        present["rules"] = json!([{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }]);
        present["metadata"]["labels"] = wanted["metadata"]["labels"].clone();
        assert_eq!(completed(&present, &wanted), None, "more is enough");
        present["rules"] = json!([]);
        present["metadata"]["annotations"] = json!({ AUTOUPDATE: "false" });
        assert_eq!(completed(&present, &wanted), None, "it is somebody's own");
        let mut binding = find("clusterrolebindings", "system:discovery");
        let wanted = binding.clone();
        binding["subjects"] = json!([{ "kind": "User", "name": "u", "apiGroup": GROUP }]);
        assert_eq!(
            completed(&binding, &wanted)
                .unwrap()
                .list_at(&["subjects"])
                .len(),
            2
        );
    }
}
