//! Who may do what, as the documentation has it and as plainly as can be: no index, no cache, and of an aggregating role only its
//! selectors, never the rules that a controller wrote into it.

use serde_json::{Value, json};

/// Somebody.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub name: &'static str,
    pub groups: Vec<&'static str>,
}

/// What is asked: a verb on a resource, or on a path.
#[derive(Clone, Debug, Default)]
pub(super) struct Question {
    pub verb: String,
    pub group: String,
    /// With the subresource, if any. Empty: it is about a path.
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub path: String,
}

/// How the rules of aggregating roles are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gathering {
    /// As documented.
    Selected,
    /// They have none.
    Nothing,
}

/// Roles and bindings of both kinds, as the API shows them.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub roles: Vec<Value>,
    pub bindings: Vec<Value>,
}

fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    let field = path.iter().fold(value, |value, field| &value[field]);
    field.as_str().unwrap_or("")
}

fn texts(value: &Value) -> Vec<&str> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether a role says from which others it takes its rules.
pub(super) fn gathers(role: &Value) -> bool {
    !list(&role["aggregationRule"]["clusterRoleSelectors"]).is_empty()
}

fn selects(selector: &Value, labels: &Value) -> bool {
    let same = |(key, value): (&String, &Value)| labels.get(key) == Some(value);
    let expected = selector["matchLabels"].as_object();
    let meets = |expression: &Value| {
        let label = labels.get(text(expression, &["key"]));
        let listed = label.is_some_and(|label| list(&expression["values"]).contains(label));
        match text(expression, &["operator"]) {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => label.is_some(),
            "DoesNotExist" => label.is_none(),
            other => panic!("{other}"),
        }
    };
    expected.is_none_or(|expected| expected.iter().all(same))
        && list(&selector["matchExpressions"]).iter().all(meets)
}

impl World {
    pub(super) fn role(&self, namespace: &str, name: &str) -> Option<&Value> {
        self.roles.iter().find(|role| {
            text(role, &["metadata", "namespace"]) == namespace
                && text(role, &["metadata", "name"]) == name
        })
    }

    /// The rules of a role, those of an aggregating one found anew.
    pub(super) fn rules(&self, role: &Value, how: Gathering) -> Vec<Value> {
        if !gathers(role) {
            return list(&role["rules"]).to_vec();
        }
        if how == Gathering::Nothing {
            return Vec::new();
        }
        let selected = self.roles.iter().filter(|other| {
            let selectors = list(&role["aggregationRule"]["clusterRoleSelectors"]);
            text(other, &["metadata", "namespace"]).is_empty()
                && text(other, &["metadata", "name"]) != text(role, &["metadata", "name"])
                && selectors
                    .iter()
                    .any(|selector| selects(selector, &other["metadata"]["labels"]))
        });
        selected.flat_map(|other| self.rules(other, how)).collect()
    }

    /// All rules that hold for somebody in a namespace (`""`: everywhere).
    pub(super) fn granted(&self, user: &User, namespace: &str, how: Gathering) -> Vec<Value> {
        let mut rules = Vec::new();
        for binding in &self.bindings {
            let home = text(binding, &["metadata", "namespace"]);
            if !home.is_empty() && home != namespace {
                continue;
            }
            let is_meant = list(&binding["subjects"]).iter().any(|subject| {
                let name = text(subject, &["name"]);
                match text(subject, &["kind"]) {
                    "User" => user.name == name,
                    "Group" => user.groups.contains(&name) || name == "system:authenticated",
                    _ => {
                        let account = text(subject, &["namespace"]);
                        user.name == format!("system:serviceaccount:{account}:{name}")
                    }
                }
            });
            let of = match text(binding, &["roleRef", "kind"]) {
                "Role" => home,
                _ => "",
            };
            if is_meant && let Some(role) = self.role(of, text(binding, &["roleRef", "name"])) {
                rules.extend(self.rules(role, how));
            }
        }
        rules
    }

    pub(super) fn allows(&self, user: &User, asked: &Question, how: Gathering) -> bool {
        let rules = self.granted(user, &asked.namespace, how);
        rules.iter().any(|rule| permits(rule, asked))
    }

    /// Whether somebody would give away what he does not have.
    pub(super) fn exceeds(
        &self,
        user: &User,
        namespace: &str,
        wanted: &[Value],
        how: Gathering,
    ) -> bool {
        let owned = self.granted(user, namespace, how);
        let mut examples = wanted.iter().flat_map(examples);
        examples.any(|asked| !owned.iter().any(|rule| permits(rule, &asked)))
    }
}

/// Everything and every path.
pub(super) fn everything() -> Vec<Value> {
    vec![
        json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
        json!({"verbs": ["*"], "nonResourceURLs": ["*"]}),
    ]
}

fn permits(rule: &Value, asked: &Question) -> bool {
    let has = |field: &str, wanted: &str| {
        let texts = texts(&rule[field]);
        texts.contains(&"*") || texts.contains(&wanted)
    };
    if !has("verbs", &asked.verb) {
        return false;
    }
    if asked.resource.is_empty() {
        return texts(&rule["nonResourceURLs"]).iter().any(|url| {
            let start = url.strip_suffix('*');
            start.map_or(*url == asked.path, |start| asked.path.starts_with(start))
        });
    }
    let everywhere = asked.resource.split_once('/');
    let everywhere = everywhere.map(|(_, subresource)| format!("*/{subresource}"));
    let names = texts(&rule["resourceNames"]);
    has("apiGroups", &asked.group)
        && (has("resources", &asked.resource)
            || everywhere.is_some_and(|of_all| has("resources", &of_all)))
        && (names.is_empty() || names.contains(&&*asked.name))
}

/// What a rule permits: a question for each of its texts, and of texts that stand for many one that no other rule names.
fn examples(rule: &Value) -> Vec<Question> {
    let each = |field: &str| {
        let texts = texts(&rule[field]).into_iter();
        texts.map(|text| text.replace('*', "other"))
    };
    let mut names: Vec<String> = each("resourceNames").collect();
    if names.is_empty() {
        names = vec![String::new(), "other".to_owned()];
    }
    let mut examples = Vec::new();
    for verb in each("verbs") {
        for group in each("apiGroups") {
            for resource in each("resources") {
                examples.extend(names.iter().map(|name| Question {
                    verb: verb.clone(),
                    group: group.clone(),
                    resource: resource.clone(),
                    name: name.clone(),
                    ..Question::default()
                }));
            }
        }
        examples.extend(each("nonResourceURLs").map(|path| Question {
            verb: verb.clone(),
            path,
            ..Question::default()
        }));
    }
    examples
}
