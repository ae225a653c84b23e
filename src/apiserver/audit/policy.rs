//! Which requests are audited, and how closely: a `Policy` of `audit.k8s.io/v1` (`k8s.io/apiserver/pkg/audit/policy`).
use crate::apiserver::auth::Attributes;
use crate::apiserver::request::User;
use crate::apiserver::schema::yaml;
use crate::object::Document;
use serde_json::Value;

/// Why a policy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditPolicyError {
    /// The text is no document.
    #[error("the audit policy cannot be read: {0}")]
    Syntax(String),
    /// The document is no policy of `audit.k8s.io/v1`, or has no rules.
    #[error("the document is no audit.k8s.io/v1 Policy with rules")]
    Kind,
    /// A rule is wrong.
    #[error("rules[{index}].{what}")]
    Rule {
        /// Which one, from 0.
        index: usize,
        /// What is wrong.
        what: String,
    },
}

/// How closely a request is audited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

/// When an event is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

const LEVELS: [(&str, Level); 4] = [
    ("None", Level::None),
    ("Metadata", Level::Metadata),
    ("Request", Level::Request),
    ("RequestResponse", Level::RequestResponse),
];
const STAGES: [&str; 4] = [
    "RequestReceived",
    "ResponseStarted",
    "ResponseComplete",
    "Panic",
];

/// Which requests are audited, and how closely. The first rule that matches a request says it; a request that none matches is
/// not audited.
///
/// ```
/// use homeostat::apiserver::AuditPolicy;
///
/// let policy = "
/// apiVersion: audit.k8s.io/v1
/// kind: Policy
/// omitStages: [RequestReceived]
/// rules:
/// - level: None
///   nonResourceURLs: ['/healthz*']
/// - level: Metadata
///   resources: [{ group: '', resources: [secrets, configmaps] }]
/// - level: RequestResponse
/// ";
/// assert!(AuditPolicy::parse(policy).is_ok());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct AuditPolicy {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq)]
struct Rule {
    level: Level,
    document: Value,
    omitted: Omitted,
}

/// What is left out of a request's events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Omitted {
    stages: Vec<String>,
    pub(super) managed_fields: bool,
}

impl Omitted {
    pub(super) fn has(&self, stage: Stage) -> bool {
        self.stages.iter().any(|omitted| omitted == stage.name())
    }
}

impl AuditPolicy {
    /// Everything at the level `Metadata`: who did what, without any object.
    #[must_use]
    pub fn metadata() -> Self {
        Self {
            rules: vec![Rule {
                level: Level::Metadata,
                document: Value::Null,
                omitted: Omitted::default(),
            }],
        }
    }

    /// Reads a policy, YAML or JSON.
    ///
    /// # Errors
    /// See [`AuditPolicyError`].
    pub fn parse(text: &str) -> Result<Self, AuditPolicyError> {
        let parsed = yaml::parse(text.as_bytes()).map_err(AuditPolicyError::Syntax)?;
        let policy = parsed.value;
        let rules = policy.list_at(&["rules"]);
        let is_policy = policy.kind() == "Policy" && policy.api_version() == "audit.k8s.io/v1";
        if !is_policy || rules.is_empty() {
            return Err(AuditPolicyError::Kind);
        }
        let stages = stages(&policy, None)?;
        let omits = policy.bool_at(&["omitManagedFields"]).unwrap_or(false);
        let rules = rules.iter().enumerate().map(|(index, rule)| {
            let level = level(rule).map_err(|what| AuditPolicyError::Rule { index, what })?;
            let own = self::stages(rule, Some(index))?;
            Ok(Rule {
                level,
                document: rule.clone(),
                omitted: Omitted {
                    stages: [stages.clone(), own].concat(),
                    managed_fields: rule.bool_at(&["omitManagedFields"]).unwrap_or(omits),
                },
            })
        });
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
        })
    }

    /// How closely a request is audited.
    pub(super) fn level(&self, user: &User, asked: &Attributes) -> (Level, Omitted) {
        let found = self.rules.iter().find(|rule| rule.matches(user, asked));
        found.map_or_else(
            || (Level::None, Omitted::default()),
            |rule| (rule.level, rule.omitted.clone()),
        )
    }
}

fn level(rule: &Value) -> Result<Level, String> {
    let name = rule.str_at(&["level"]);
    let level = LEVELS.iter().find(|(known, _)| *known == name);
    let level = level.map(|(_, level)| *level);
    let level = level.ok_or_else(|| format!("level: {name:?} is no level"))?;
    let of_paths = !rule.list_at(&["nonResourceURLs"]).is_empty();
    let of_resources =
        !rule.list_at(&["resources"]).is_empty() || !rule.list_at(&["namespaces"]).is_empty();
    if of_paths && of_resources {
        return Err(
            "nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs"
                .to_owned(),
        );
    }
    for path in texts(rule, "nonResourceURLs") {
        let stars = path.matches('*').count();
        let fine = path == "*"
            || path.starts_with('/') && (stars == 0 || stars == 1 && path.ends_with('*'));
        if !fine {
            return Err(format!(
                "nonResourceURLs: {path:?} is no path, or has a * that is not at its end"
            ));
        }
    }
    Ok(level)
}

fn stages(document: &Value, index: Option<usize>) -> Result<Vec<String>, AuditPolicyError> {
    let found: Vec<String> = texts(document, "omitStages").map(str::to_owned).collect();
    match found.iter().find(|stage| !STAGES.contains(&stage.as_str())) {
        None => Ok(found),
        Some(stage) => Err(AuditPolicyError::Rule {
            index: index.unwrap_or_default(),
            what: format!("omitStages: {stage:?} is no stage"),
        }),
    }
}

fn texts<'a>(document: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    document.list_at(&[field]).iter().filter_map(Value::as_str)
}

impl Rule {
    fn matches(&self, user: &User, asked: &Attributes) -> bool {
        let rule = &self.document;
        let any = |field: &str| !rule.list_at(&[field]).is_empty();
        let has = |field: &str, text: &str| texts(rule, field).any(|known| known == text);
        if any("users") && !has("users", &user.name)
            || any("userGroups") && !user.groups.iter().any(|group| has("userGroups", group))
            || any("verbs") && !has("verbs", &asked.verb)
        {
            return false;
        }
        if any("namespaces") || any("resources") {
            return asked.resource_request
                && (!any("namespaces") || has("namespaces", &asked.namespace))
                && (!any("resources") || self.has_resource(asked));
        }
        if any("nonResourceURLs") {
            return !asked.resource_request
                && texts(rule, "nonResourceURLs").any(|pattern| match pattern.strip_suffix('*') {
                    Some(prefix) => asked.path.starts_with(prefix),
                    None => asked.path == pattern,
                });
        }
        true
    }

    fn has_resource(&self, asked: &Attributes) -> bool {
        let combined = match asked.subresource.as_str() {
            "" => asked.resource.clone(),
            subresource => format!("{}/{subresource}", asked.resource),
        };
        let is = |pattern: &str| {
            let part = |part: Option<&str>, text: &str| part.is_some_and(|part| part == text);
            pattern == "*"
                || pattern == combined
                || part(pattern.strip_prefix("*/"), &asked.subresource)
                || part(pattern.strip_suffix("/*"), &asked.resource)
        };
        let groups = self.document.list_at(&["resources"]).iter();
        groups
            .filter(|group| group.str_at(&["group"]) == asked.group)
            .any(|group| {
                let names = group.list_at(&["resourceNames"]);
                let named = names.is_empty() || names.iter().any(|name| *name == *asked.name);
                named
                    && (group.list_at(&["resources"]).is_empty()
                        || texts(group, "resources").any(is))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::request::Query;
    use http::Method;

    fn asked(line: &str) -> Attributes {
        let (method, path) = line.split_once(' ').unwrap();
        Attributes::of(
            &Method::from_bytes(method.as_bytes()).unwrap(),
            path,
            &Query::default(),
        )
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let policy = AuditPolicy::parse(
            "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: None, users: [system:kube-proxy], verbs: [watch]}
- {level: None, userGroups: [system:nodes]}
- {level: None, nonResourceURLs: ['/healthz*', /version]}
- {level: Metadata, resources: [{group: '', resources: [secrets, pods/exec]}], omitStages: [ResponseStarted]}
- {level: Request, namespaces: [kube-system], omitManagedFields: false}
- {level: Request, resources: [{group: apps}, {group: '', resources: ['*/scale', 'services/*'], resourceNames: [s]}]}
- {level: RequestResponse, resources: [{group: '', resources: [pods]}]}
",
        )
        .unwrap();
        let low = User::default();
        let node = User {
            groups: vec!["system:nodes".into()],
            ..User::default()
        };
        for (user, line, expected) in [
            (&node, "GET /api/v1/pods", Level::None),
            (&low, "GET /healthz/etcd", Level::None),
            (&low, "GET /version", Level::None),
            (&low, "GET /versions", Level::None),
            (&low, "GET /api/v1/namespaces/a/secrets/s", Level::Metadata),
            (
                &low,
                "POST /api/v1/namespaces/a/pods/p/exec",
                Level::Metadata,
            ),
            (
                &low,
                "GET /api/v1/namespaces/kube-system/configmaps/m",
                Level::Request,
            ),
            (&low, "GET /api/v1/namespaces/a/configmaps/m", Level::None),
            (
                &low,
                "PUT /apis/apps/v1/namespaces/a/deployments/d/status",
                Level::Request,
            ),
            (
                &low,
                "GET /api/v1/namespaces/a/services/s/proxy",
                Level::Request,
            ),
            (
                &low,
                "GET /api/v1/namespaces/a/services/t/proxy",
                Level::None,
            ),
            (
                &low,
                "GET /api/v1/namespaces/a/pods/p",
                Level::RequestResponse,
            ),
            (&low, "GET /api/v1/namespaces/a/pods/p/log", Level::None),
        ] {
            assert_eq!(policy.level(user, &asked(line)).0, expected, "{line}");
        }
        let (_, omitted) = policy.level(&low, &asked("GET /api/v1/secrets"));
        assert!(omitted.has(Stage::RequestReceived) && omitted.has(Stage::ResponseStarted));
        assert!(omitted.managed_fields && !omitted.has(Stage::ResponseComplete));
        let (_, omitted) = policy.level(&low, &asked("GET /api/v1/namespaces/kube-system/pods/p"));
        assert!(!omitted.managed_fields);
    }

    #[test]
    fn wrong_policies_are_refused() {
        let rules = |rules: &str| {
            format!("{{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{rules}]}}")
        };
        for (text, why) in [
            ("{".to_owned(), "the audit policy cannot be read"),
            (
                rules(""),
                "the document is no audit.k8s.io/v1 Policy with rules",
            ),
            (
                rules("{level: Some}"),
                "rules[0].level: \"Some\" is no level",
            ),
            (
                rules("{level: None}, {level: None, omitStages: [Never]}"),
                "rules[1].omitStages: \"Never\" is no stage",
            ),
            (
                rules("{level: None, nonResourceURLs: ['/a*b']}"),
                "rules[0].nonResourceURLs: \"/a*b\" is no path",
            ),
            (
                rules("{level: None, nonResourceURLs: [/a], namespaces: [b]}"),
                "rules[0].nonResourceURLs: rules cannot apply to both",
            ),
        ] {
            let error = AuditPolicy::parse(&text).unwrap_err().to_string();
            assert!(error.starts_with(why), "{text}: {error}");
        }
    }
}
