//! Who may do what: what is asked, and the authorizers that are asked in turn.
mod attributes;
pub(crate) mod devices;
pub(crate) mod node;
pub(crate) mod params;
pub(crate) mod rbac;
pub(crate) mod review;
pub(crate) mod secret;
pub(crate) mod token;

pub(crate) use self::attributes::Attributes;
use super::request::User;
use super::server::Shared;
use crate::object::Status;
use std::str::FromStr;
use std::sync::Arc;

/// How it is decided who may do what; the modes are asked in turn until one allows. Whoever is of the group
/// `system:masters` may do everything in all modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthorizationMode {
    /// Everybody may do everything.
    AlwaysAllow,
    /// Nobody may do anything.
    AlwaysDeny,
    /// Kubelets may use what the pods of their nodes need. Best together with the admission plugin `NodeRestriction`.
    Node,
    /// By roles and bindings. The roles and bindings that every cluster has are made at start.
    Rbac,
}

impl FromStr for AuthorizationMode {
    type Err = String;

    /// As `--authorization-mode` names them.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "AlwaysAllow" => Ok(Self::AlwaysAllow),
            "AlwaysDeny" => Ok(Self::AlwaysDeny),
            "Node" => Ok(Self::Node),
            "RBAC" => Ok(Self::Rbac),
            other => Err(format!("{other:?} is no authorization mode")),
        }
    }
}

/// What an authorizer says, with its reason in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Allow(String),
    NoOpinion(String),
}

impl Decision {
    pub(crate) fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

/// All that is known of what somebody may do.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub rules: Vec<rbac::Rule>,
    /// Whether there may be more.
    pub incomplete: bool,
    /// What could not be found out.
    pub error: String,
}

/// Decides who may do what.
#[derive(Debug, Default)]
pub(crate) struct Authorizer {
    modes: Vec<AuthorizationMode>,
    rbac: rbac::Cache,
    node: node::NodeAuthorizer,
}

impl Authorizer {
    /// One that asks the modes in turn.
    pub(crate) fn new(modes: Vec<AuthorizationMode>) -> Self {
        Self {
            modes,
            rbac: rbac::Cache::default(),
            node: node::NodeAuthorizer::default(),
        }
    }

    /// Whether it decides by this mode among others.
    pub(crate) fn has(&self, mode: AuthorizationMode) -> bool {
        self.modes.contains(&mode)
    }

    /// Whether `user` may do what is asked.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn authorize(
        &self,
        shared: &Arc<Shared>,
        user: &User,
        asked: &Attributes,
    ) -> Result<Decision, Status> {
        if user.is_master() {
            return Ok(Decision::Allow(String::new()));
        }
        let mut reasons: Vec<String> = Vec::new();
        for mode in &self.modes {
            let decision = match mode {
                AuthorizationMode::AlwaysAllow => Decision::Allow(String::new()),
                AuthorizationMode::AlwaysDeny => {
                    Decision::NoOpinion("Everything is forbidden.".to_owned())
                }
                AuthorizationMode::Node => self.node.authorize(shared, user, asked).await?,
                AuthorizationMode::Rbac => self.by_roles(shared, user, asked).await?,
            };
            match decision {
                Decision::NoOpinion(reason) if reason.is_empty() => {}
                Decision::NoOpinion(reason) => reasons.push(reason),
                allowed @ Decision::Allow(_) => return Ok(allowed),
            }
        }
        Ok(Decision::NoOpinion(reasons.join("\n")))
    }

    /// Asks roles and bindings. What they do not allow is looked at again once the cache shows everything written so far, so
    /// that whoever has been granted something may use it at once.
    async fn by_roles(
        &self,
        shared: &Arc<Shared>,
        user: &User,
        asked: &Attributes,
    ) -> Result<Decision, Status> {
        let policy = self.rbac.policy(shared).await?;
        let first = match policy.authorize(user, asked) {
            Ok(reason) => return Ok(Decision::Allow(reason)),
            Err(reason) => reason,
        };
        shared.cacher.fresh().await?;
        let newest = self.rbac.policy(shared).await?;
        if Arc::ptr_eq(&policy, &newest) {
            return Ok(Decision::NoOpinion(first));
        }
        Ok(match newest.authorize(user, asked) {
            Ok(reason) => Decision::Allow(reason),
            Err(reason) => Decision::NoOpinion(reason),
        })
    }

    /// All that is known of what `user` may do in `namespace`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn rules_for(
        &self,
        shared: &Arc<Shared>,
        user: &User,
        namespace: &str,
    ) -> Result<Rules, Status> {
        let mut found = Rules::default();
        let mut errors: Vec<String> = Vec::new();
        for mode in &self.modes {
            match mode {
                AuthorizationMode::AlwaysAllow => found.rules.extend(rbac::Rule::everything()),
                AuthorizationMode::AlwaysDeny => {}
                AuthorizationMode::Node => {
                    if node::identity(&user.name, &user.groups).is_some() {
                        found.incomplete = true;
                        let why = "node authorizer does not support user rule resolution";
                        errors.push(why.to_owned());
                    }
                }
                AuthorizationMode::Rbac => {
                    let policy = self.policy(shared).await?;
                    let (rules, unresolved) = policy.rules_for(user, namespace);
                    found.rules.extend(rules);
                    errors.extend(unresolved.iter().map(rbac::Unresolved::in_decision));
                }
            }
        }
        found.error = match &errors[..] {
            [one] => one.clone(),
            [] => String::new(),
            many => format!("[{}]", many.join(", ")),
        };
        Ok(found)
    }

    /// Roles and bindings as everything written so far makes them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn policy(&self, shared: &Arc<Shared>) -> Result<Arc<rbac::Policy>, Status> {
        shared.cacher.fresh().await?;
        self.rbac.policy(shared).await
    }
}
