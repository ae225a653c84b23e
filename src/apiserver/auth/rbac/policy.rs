//! Who may do what, from roles and bindings: a pure index, built from the stored objects.
use super::rule::{Rule, nullable};
use crate::apiserver::auth::Attributes;
use crate::apiserver::request::User;
use crate::object::{GroupResource, Status};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// What users of service accounts are named by, before the namespace.
pub(crate) const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// A role of either kind, as it is stored.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Role {
    #[serde(deserialize_with = "nullable")]
    pub rules: Vec<Rule>,
}

/// A binding of either kind, as it is stored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Binding {
    pub metadata: Metadata,
    pub role_ref: RoleRef,
    #[serde(deserialize_with = "nullable")]
    pub subjects: Vec<Subject>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Metadata {
    pub name: String,
    pub namespace: String,
}

/// The role that a binding grants.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RoleRef {
    pub api_group: String,
    pub kind: String,
    pub name: String,
}

/// Whom a binding grants a role.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Subject {
    pub kind: String,
    pub name: String,
    pub namespace: String,
}

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    User(String),
    Group(String),
}

/// The bindings of one scope, found by whom they grant something. Lookups only, hence the hash map.
#[derive(Debug, Default)]
struct Grants {
    bindings: Vec<Arc<Binding>>,
    /// Indexes of the binding and of its subject.
    by_who: HashMap<Who, Vec<(usize, usize)>>,
}

/// Roles and bindings.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    cluster: Grants,
    namespaces: BTreeMap<String, Grants>,
    /// By `namespace/name`, and cluster roles by `/name`.
    roles: BTreeMap<String, Arc<Role>>,
}

/// Why a role's rules are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// There is no such role: its resource and its name.
    Missing(&'static str, String),
    /// The reference is of no known kind.
    Kind(String),
}

impl Unresolved {
    /// As the authorizer says it.
    pub(crate) fn in_decision(&self) -> String {
        match self {
            Self::Missing(resource, name) => format!(
                "{}.rbac.authorization.k8s.io {name:?} not found",
                resource.trim_end_matches('s')
            ),
            Self::Kind(kind) => format!("unsupported role reference kind: {kind:?}"),
        }
    }

    /// As whoever writes a binding is told.
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Missing(resource, name) => {
                Status::not_found(&GroupResource::new(super::GROUP, *resource), name)
            }
            Self::Kind(_) => Status::internal(&self.in_decision()),
        }
    }
}

/// A binding that grants a user something, and as which subject.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant<'a> {
    binding: &'a Binding,
    subject: usize,
}

impl fmt::Display for Grant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Metadata { name, namespace } = &self.binding.metadata;
        if namespace.is_empty() {
            write!(f, "ClusterRoleBinding {name:?}")?;
        } else {
            write!(f, "RoleBinding {:?}", format!("{name}/{namespace}"))?;
        }
        let role = &self.binding.role_ref;
        write!(f, " of {} {:?} to ", role.kind, role.name)?;
        let Some(subject) = self.binding.subjects.get(self.subject) else {
            return Ok(());
        };
        if subject.kind == "ServiceAccount" {
            let account = format!("{}/{}", subject.name, or(&subject.namespace, namespace));
            write!(f, "ServiceAccount {account:?}")
        } else {
            write!(f, "{} {:?}", subject.kind, subject.name)
        }
    }
}

fn or<'a>(text: &'a str, other: &'a str) -> &'a str {
    if text.is_empty() { other } else { text }
}

impl Policy {
    /// Adds a role; one without a namespace is a cluster role.
    pub(crate) fn add_role(&mut self, namespace: &str, name: &str, role: Arc<Role>) {
        self.roles.insert(format!("{namespace}/{name}"), role);
    }

    /// Adds a binding; in the order in which they are to be looked at.
    pub(crate) fn add_binding(&mut self, binding: Arc<Binding>) {
        let namespace = binding.metadata.namespace.clone();
        if namespace.is_empty() {
            self.cluster.add(binding);
        } else {
            self.namespaces.entry(namespace).or_default().add(binding);
        }
    }

    /// The rules of the role that a binding in `namespace` (`""`: a cluster role binding) refers to.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn rules(
        &self,
        reference: &RoleRef,
        namespace: &str,
    ) -> Result<&[Rule], Unresolved> {
        let (key, resource) = match &*reference.kind {
            "Role" => (format!("{namespace}/{}", reference.name), "roles"),
            "ClusterRole" => (format!("/{}", reference.name), "clusterroles"),
            other => return Err(Unresolved::Kind(other.to_owned())),
        };
        let role = self.roles.get(&key);
        let role = role.ok_or_else(|| Unresolved::Missing(resource, reference.name.clone()))?;
        Ok(&role.rules)
    }

    /// What `user` is granted in `namespace` (`""`: in all): each grant with its rules.
    pub(crate) fn grants<'a>(
        &'a self,
        user: &User,
        namespace: &str,
    ) -> impl Iterator<Item = (Grant<'a>, Result<&'a [Rule], Unresolved>)> {
        let local = self
            .namespaces
            .get(namespace)
            .filter(|_| !namespace.is_empty());
        let grants = [Some(&self.cluster), local].into_iter().flatten();
        let grants: Vec<Grant<'a>> = grants.flat_map(|grants| grants.to(user)).collect();
        grants.into_iter().map(|grant| {
            let Binding {
                metadata, role_ref, ..
            } = grant.binding;
            (grant, self.rules(role_ref, &metadata.namespace))
        })
    }

    /// All rules that apply to `user` in `namespace`, and what could not be found out.
    pub(crate) fn rules_for(&self, user: &User, namespace: &str) -> (Vec<Rule>, Vec<Unresolved>) {
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        for (_, granted) in self.grants(user, namespace) {
            match granted {
                Ok(granted) => rules.extend_from_slice(granted),
                Err(error) => errors.push(error),
            }
        }
        (rules, errors)
    }

    /// Whether `user` may do what is asked. `Ok`: by which grant. `Err`: what the answer may say besides no.
    pub(crate) fn authorize(&self, user: &User, asked: &Attributes) -> Result<String, String> {
        let mut errors: Vec<String> = Vec::new();
        for (grant, rules) in self.grants(user, &asked.namespace) {
            match rules {
                Ok(rules) if rules.iter().any(|rule| rule.allows(asked)) => {
                    return Ok(format!("RBAC: allowed by {grant}"));
                }
                Ok(_) => {}
                Err(error) => {
                    let text = error.in_decision();
                    if !errors.contains(&text) {
                        errors.push(text);
                    }
                }
            }
        }
        Err(match &errors[..] {
            [] => String::new(),
            [one] => format!("RBAC: {one}"),
            many => format!("RBAC: [{}]", many.join(", ")),
        })
    }
}

/// What could not be found out, as whoever is refused a grant is told.
pub(crate) fn resolution_errors(errors: &[Unresolved]) -> String {
    let texts: Vec<String> = errors.iter().map(|error| error.status().message).collect();
    match &texts[..] {
        [one] => format!("[{one}]"),
        many => format!("[[{}]]", many.join(", ")),
    }
}

impl Grants {
    fn add(&mut self, binding: Arc<Binding>) {
        let index = self.bindings.len();
        for (number, subject) in binding.subjects.iter().enumerate() {
            let who = match &*subject.kind {
                "User" => Who::User(subject.name.clone()),
                "Group" => Who::Group(subject.name.clone()),
                "ServiceAccount" => {
                    let namespace = or(&subject.namespace, &binding.metadata.namespace);
                    if namespace.is_empty() {
                        continue;
                    }
                    Who::User(format!("{SERVICE_ACCOUNT}{namespace}:{}", subject.name))
                }
                _ => continue,
            };
            self.by_who.entry(who).or_default().push((index, number));
        }
        self.bindings.push(binding);
    }

    /// The bindings to `user`, in order, each with the first subject that it is.
    fn to(&self, user: &User) -> impl Iterator<Item = Grant<'_>> {
        let who = user.groups.iter().cloned().map(Who::Group);
        let who = who.chain([Who::User(user.name.clone())]);
        let found = who.filter_map(|who| self.by_who.get(&who)).flatten();
        let mut found: Vec<(usize, usize)> = found.copied().collect();
        found.sort_unstable();
        found.dedup_by_key(|(binding, _)| *binding);
        found.into_iter().filter_map(|(binding, subject)| {
            let binding = self.bindings.get(binding)?;
            Some(Grant { binding, subject })
        })
    }
}

#[cfg(test)]
mod tests;
