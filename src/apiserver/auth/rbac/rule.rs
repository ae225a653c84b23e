//! A rule of a role: what it allows, and which rules it covers.
use crate::apiserver::auth::Attributes;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;

/// `rbac/v1.PolicyRule`: verbs on resources, or on paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rule {
    #[serde(deserialize_with = "nullable")]
    pub verbs: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub api_groups: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub resources: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs", deserialize_with = "nullable")]
    pub urls: Vec<String>,
}

/// A list that may be null.
pub(super) fn nullable<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Rule {
    /// Whether it allows what is asked.
    pub(crate) fn allows(&self, asked: &Attributes) -> bool {
        if !has(&self.verbs, &asked.verb) {
            return false;
        }
        if !asked.resource_request {
            return self.urls.iter().any(|url| url_covers(url, &asked.path));
        }
        has(&self.api_groups, &asked.group)
            && self
                .resources
                .iter()
                .any(|resource| is_resource(resource, &asked.resource, &asked.subresource))
            && (self.resource_names.is_empty() || self.resource_names.contains(&asked.name))
    }

    /// Everything and every path.
    pub(crate) fn everything() -> [Self; 2] {
        let all = || vec!["*".to_owned()];
        [
            Self {
                verbs: all(),
                api_groups: all(),
                resources: all(),
                ..Self::default()
            },
            Self {
                verbs: all(),
                urls: all(),
                ..Self::default()
            },
        ]
    }

    /// The rule in pieces of one verb, group, resource and name, or verb and path, each.
    fn pieces(&self) -> Vec<Self> {
        let one = |text: &String| vec![text.clone()];
        let mut pieces = Vec::new();
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let piece = |names| Self {
                        verbs: one(verb),
                        api_groups: one(group),
                        resources: one(resource),
                        resource_names: names,
                        urls: Vec::new(),
                    };
                    if self.resource_names.is_empty() {
                        pieces.push(piece(Vec::new()));
                    }
                    pieces.extend(self.resource_names.iter().map(|name| piece(one(name))));
                }
            }
        }
        for url in &self.urls {
            pieces.extend(self.verbs.iter().map(|verb| Self {
                verbs: one(verb),
                urls: one(url),
                ..Self::default()
            }));
        }
        pieces
    }

    /// Whether whoever may do this may do `piece`.
    fn covers(&self, piece: &Self) -> bool {
        let all = |have: &[String], wanted: &[String]| wanted.iter().all(|text| has(have, text));
        let resource = |wanted: &String| {
            has(&self.resources, wanted)
                || wanted
                    .split_once('/')
                    .is_some_and(|(_, sub)| self.resources.contains(&format!("*/{sub}")))
        };
        let url = |wanted: &String| self.urls.iter().any(|have| url_covers(have, wanted));
        let names = self.resource_names.is_empty()
            || (!piece.resource_names.is_empty()
                && piece
                    .resource_names
                    .iter()
                    .all(|name| self.resource_names.contains(name)));
        all(&self.verbs, &piece.verbs)
            && all(&self.api_groups, &piece.api_groups)
            && piece.resources.iter().all(resource)
            && names
            && piece.urls.iter().all(url)
    }
}

/// What of `wanted` is not covered by `owned`, in pieces.
pub(crate) fn uncovered(owned: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let pieces = wanted.iter().flat_map(Rule::pieces);
    pieces
        .filter(|piece| !owned.iter().any(|rule| rule.covers(piece)))
        .collect()
}

/// Joins the verbs of rules that name one resource only.
pub(crate) fn compact(rules: Vec<Rule>) -> Vec<Rule> {
    let mut simple: BTreeMap<(String, String), Rule> = BTreeMap::new();
    let mut compacted = Vec::new();
    for rule in rules {
        let key = match (&rule.api_groups[..], &rule.resources[..]) {
            ([group], [resource]) if rule.resource_names.is_empty() && rule.urls.is_empty() => {
                (group.clone(), resource.clone())
            }
            _ => {
                compacted.push(rule);
                continue;
            }
        };
        match simple.get_mut(&key) {
            Some(known) => known.verbs.extend(rule.verbs),
            None => {
                simple.insert(key, rule);
            }
        }
    }
    compacted.extend(simple.into_values());
    compacted
}

/// As upstream shows a rule in messages.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let parts = parts.iter().filter(|(_, texts)| !texts.is_empty());
        let shown: Vec<String> = parts
            .map(|(name, texts)| format!("{name}:{}", quoted(texts)))
            .collect();
        write!(f, "{{{}}}", shown.join(", "))
    }
}

/// A list of texts as Go's `%q` shows it.
pub(crate) fn quoted(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", texts.join(" "))
}

fn has(texts: &[String], wanted: &str) -> bool {
    texts.iter().any(|text| text == "*" || text == wanted)
}

fn is_resource(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    if subresource.is_empty() {
        return rule == resource;
    }
    rule.split_once('/')
        .is_some_and(|(name, sub)| sub == subresource && (name == "*" || name == resource))
}

fn url_covers(rule: &str, path: &str) -> bool {
    rule == path || (rule.ends_with('*') && path.starts_with(rule.trim_end_matches('*')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rule(value: Value) -> Rule {
        serde_json::from_value(value).unwrap()
    }

    /// `verb group resource[/sub] [name]` or `verb /path`.
    fn asked(text: &str) -> Attributes {
        let words: Vec<&str> = text.split(' ').collect();
        if let [verb, path] = words[..] {
            return Attributes {
                verb: verb.into(),
                path: path.into(),
                ..Attributes::default()
            };
        }
        let (resource, sub) = words[2].split_once('/').unwrap_or((words[2], ""));
        Attributes {
            verb: words[0].into(),
            resource_request: true,
            group: words[1].trim_start_matches('-').into(),
            resource: resource.into(),
            subresource: sub.into(),
            name: words.get(3).copied().unwrap_or_default().into(),
            ..Attributes::default()
        }
    }

    #[test]
    fn rules_allow() {
        let pods = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
        let scale = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*/scale"]});
        let log = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"]});
        let all = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
        let named = json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"]});
        let paths = json!({"verbs": ["get"], "nonResourceURLs": ["/api", "/apis/*"]});
        let nothing = json!({"verbs": null, "apiGroups": null});
        for (rule_of, text, allowed) in [
            (&pods, "get - pods x", true),
            (&pods, "list - pods", false),
            (&pods, "get apps pods x", false),
            (&pods, "get - pods/log x", false),
            (&log, "get - pods/log x", true),
            (&log, "get - pods x", false),
            (&scale, "update apps deployments/scale x", true),
            (&scale, "update apps deployments x", false),
            (&scale, "update apps deployments/status x", false),
            (&all, "update apps deployments/status x", true),
            (&all, "get /healthz", false),
            (&named, "get - secrets a", true),
            (&named, "get - secrets b", false),
            (&named, "list - secrets", false),
            (&named, "list - secrets a", true),
            (&paths, "get /api", true),
            (&paths, "get /api/v1", false),
            (&paths, "get /apis/apps/v1", true),
            (&paths, "get /apis", false),
            (&paths, "post /api", false),
            (&paths, "get - pods", false),
            (&nothing, "get - pods", false),
        ] {
            assert_eq!(
                rule(rule_of.clone()).allows(&asked(text)),
                allowed,
                "{rule_of} {text}"
            );
        }
        assert!(Rule::everything()[1].allows(&asked("get /healthz")));
    }

    #[test]
    fn rules_cover() {
        let wanted = json!({"verbs": ["get", "list"], "apiGroups": ["", "apps"], "resources": ["pods", "pods/log"]});
        for (owned, left) in [
            (
                json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
                "",
            ),
            (
                json!({"verbs": ["get"], "apiGroups": ["*"], "resources": ["*"]}),
                "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\"]} {APIGroups:[\"\"], Resources:[\"pods/log\"], Verbs:[\"list\"]} \
                 {APIGroups:[\"apps\"], Resources:[\"pods\"], Verbs:[\"list\"]} {APIGroups:[\"apps\"], Resources:[\"pods/log\"], Verbs:[\"list\"]}",
            ),
            (
                json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*/log"]}),
                "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\" \"list\"]} {APIGroups:[\"apps\"], Resources:[\"pods\"], Verbs:[\"get\" \"list\"]}",
            ),
        ] {
            let left_of = compact(uncovered(&[rule(owned.clone())], &[rule(wanted.clone())]));
            let shown: Vec<String> = left_of.iter().map(ToString::to_string).collect();
            assert_eq!(shown.join(" "), left, "{owned}");
        }
        let named = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["a"], "resourceNames": ["x"]});
        let unnamed = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["a"]});
        assert!(uncovered(&[rule(unnamed.clone())], &[rule(named.clone())]).is_empty());
        assert_eq!(uncovered(&[rule(named.clone())], &[rule(unnamed)]).len(), 1);
        assert!(uncovered(&[rule(named.clone())], &[rule(named)]).is_empty());
        let path = |path: &str| rule(json!({"verbs": ["get"], "nonResourceURLs": [path]}));
        assert!(uncovered(&[path("/a/*")], &[path("/a/b")]).is_empty());
        assert!(uncovered(&[path("/a/*")], &[path("/a/*")]).is_empty());
        assert_eq!(
            uncovered(&[path("/a")], &[path("/a/*")])[0].to_string(),
            "{NonResourceURLs:[\"/a/*\"], Verbs:[\"get\"]}"
        );
    }
}
