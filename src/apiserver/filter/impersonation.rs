//! Acting as somebody else: `Impersonate-*` headers, for whoever may do so.
//!
//! There are two ways to be allowed to. By the older one whoever may `impersonate` a user (and each group, uid and extra)
//! may do whatever that user may. By the newer one (constrained impersonation, KEP-5284) the same is said for
//! `impersonate:<mode>`, and besides `impersonate-on:<mode>:<verb>` for what is asked. The newer ones are tried first; what is
//! said in a refusal is said by the first that could apply.
use super::identity::{ANONYMOUS, AUTHENTICATED, MASTERS, UNAUTHENTICATED};
use crate::apiserver::auth::rbac::SERVICE_ACCOUNT;
use crate::apiserver::auth::token::groups as account_groups;
use crate::apiserver::auth::{Attributes, Decision};
use crate::apiserver::request::{User, query};
use crate::apiserver::server::Shared;
use crate::object::{Status, name};
use http::HeaderMap;
use std::collections::BTreeMap;
use std::sync::Arc;

const EXTRA: &str = "impersonate-extra-";
const NODE: &str = "system:node:";
const AUTHENTICATION: &str = "authentication.k8s.io";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// As which user the request acts: `user` when it does not ask to act as another.
///
/// # Errors
/// 403 when `user` may not, 400 when a group, uid or extra is asked for without a user.
pub(crate) async fn impersonate(
    shared: &Arc<Shared>,
    user: Arc<User>,
    headers: &HeaderMap,
    asked: &(dyn Fn() -> Attributes + Sync),
) -> Result<Arc<User>, Status> {
    let Some(wanted) = wanted(headers)? else {
        return Ok(user);
    };
    let mut first = None;
    let asked = asked();
    for mode in Mode::ALL {
        if !mode.applies(&user, &wanted) {
            continue;
        }
        let check = Check {
            shared,
            user: &user,
            mode,
        };
        match check.become_user(&wanted, &asked).await {
            Ok(actual) => return Ok(Arc::new(actual)),
            Err(refusal) => first = first.or(Some(refusal)),
        }
    }
    Err(first.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
}

/// Whom the headers name.
fn wanted(headers: &HeaderMap) -> Result<Option<User>, Status> {
    let all = |name: &str| {
        let values = headers.get_all(name).iter();
        let texts = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        texts.collect::<Vec<String>>()
    };
    let first = |name: &str| all(name).into_iter().next().unwrap_or_default();
    let mut wanted = User {
        name: first("impersonate-user"),
        uid: first("impersonate-uid"),
        groups: all("impersonate-group"),
        extra: BTreeMap::new(),
    };
    for header in headers.keys() {
        if let Some(key) = header.as_str().strip_prefix(EXTRA) {
            let key = query::decode(key, false).unwrap_or_else(|| key.to_owned());
            wanted.extra.insert(key, all(header.as_str()));
        }
    }
    if !wanted.name.is_empty() {
        return Ok(Some(wanted));
    }
    if wanted == User::default() {
        return Ok(None);
    }
    let list = |texts: &[String]| {
        let texts: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
        format!("{{{}}}", texts.join(", "))
    };
    let groups = if wanted.groups.is_empty() {
        "(nil)".to_owned()
    } else {
        list(&wanted.groups)
    };
    let extra = wanted
        .extra
        .iter()
        .map(|(key, values)| format!("{key:?}:[]string{}", list(values)));
    let extra = if wanted.extra.is_empty() {
        "(nil)".to_owned()
    } else {
        format!("{{{}}}", extra.collect::<Vec<_>>().join(", "))
    };
    Err(Status::bad_request(format!(
        "requested &user.DefaultInfo{{Name:\"\", UID:{:?}, Groups:[]string{groups}, Extra:map[string][]string{extra}}} without impersonating a user name",
        wanted.uid
    )))
}

/// A way to be allowed to act as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// As the node that the service account who asks runs on.
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    /// As anybody else.
    UserInfo,
    /// The older way.
    Legacy,
}

impl Mode {
    const ALL: [Self; 5] = [
        Self::AssociatedNode,
        Self::ArbitraryNode,
        Self::ServiceAccount,
        Self::UserInfo,
        Self::Legacy,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::AssociatedNode => "associated-node",
            Self::ArbitraryNode => "arbitrary-node",
            Self::ServiceAccount => "serviceaccount",
            Self::UserInfo => "user-info",
            Self::Legacy => "",
        }
    }

    fn applies(self, user: &User, wanted: &User) -> bool {
        let bare = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let node = node(&wanted.name);
        let account = account(&wanted.name).is_some();
        match self {
            Self::AssociatedNode => {
                let own = user.extra.get(NODE_NAME).map(Vec::as_slice);
                let own = match own {
                    Some([name]) => Some(name.as_str()),
                    _ => None,
                };
                bare && node.is_some() && node == own && self::account(&user.name).is_some()
            }
            Self::ArbitraryNode => bare && node.is_some(),
            Self::ServiceAccount => bare && account,
            Self::UserInfo => node.is_none() && !account,
            Self::Legacy => true,
        }
    }
}

/// The node that a user is.
fn node(user: &str) -> Option<&str> {
    let node = user.strip_prefix(NODE)?;
    name::dns_subdomain(node).is_empty().then_some(node)
}

/// The namespace and name of the service account that a user is.
fn account(user: &str) -> Option<(&str, &str)> {
    let (namespace, account) = user.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    let valid = name::dns_label(namespace).is_empty() && name::dns_subdomain(account).is_empty();
    valid.then_some((namespace, account))
}

struct Check<'a> {
    shared: &'a Arc<Shared>,
    user: &'a User,
    mode: Mode,
}

impl Check<'_> {
    fn is_constrained(&self) -> bool {
        self.mode != Mode::Legacy
    }

    async fn may(&self, asked: &Attributes) -> Result<(), Status> {
        let authorizer = &self.shared.authorizer;
        match authorizer.authorize(self.shared, self.user, asked).await? {
            Decision::Allow(_) => Ok(()),
            Decision::NoOpinion(reason) => Err(asked.forbidden(&self.user.name, &reason)),
        }
    }

    /// What is asked to act as a thing of this kind.
    fn of(&self, group: &str, resource: &str, name: &str) -> Attributes {
        let verb = if self.is_constrained() {
            format!("impersonate:{}", self.mode.name())
        } else {
            "impersonate".to_owned()
        };
        Attributes {
            verb,
            resource_request: true,
            group: group.to_owned(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            ..Attributes::default()
        }
    }

    /// The user that the request acts as.
    async fn become_user(&self, wanted: &User, asked: &Attributes) -> Result<User, Status> {
        if self.is_constrained() {
            let mut on = asked.clone();
            on.verb = format!("impersonate-on:{}:{}", self.mode.name(), asked.verb);
            self.may(&on).await?;
        }
        let users = if self.is_constrained() {
            AUTHENTICATION
        } else {
            ""
        };
        let mut actual = wanted.clone();
        let mut named = self.of(users, "users", &wanted.name);
        if let (true, Some(node)) = (self.is_constrained(), node(&wanted.name)) {
            // An account on each node may be allowed to act as its own, whichever that is.
            let any = self.mode == Mode::AssociatedNode;
            named = self.of(users, "nodes", if any { "*" } else { node });
            actual.groups = vec!["system:nodes".to_owned()];
        }
        if let Some((namespace, account)) = account(&wanted.name) {
            named = self.of(users, "serviceaccounts", account);
            named.namespace = namespace.to_owned();
            if wanted.groups.is_empty() {
                actual.groups = account_groups(namespace);
            }
        }
        self.may(&named).await?;
        if !wanted.uid.is_empty() {
            self.may(&self.of(AUTHENTICATION, "uids", &wanted.uid))
                .await?;
        }
        for group in &wanted.groups {
            let asked = self.of(users, "groups", group);
            if self.is_constrained() && (group.is_empty() || group == MASTERS) {
                let which = if group.is_empty() {
                    "empty string"
                } else {
                    MASTERS
                };
                let why = format!("impersonating the {which} group is not allowed");
                return Err(asked.forbidden(&self.user.name, &why));
            }
            self.may(&asked).await?;
        }
        for (key, values) in &wanted.extra {
            for value in values {
                let mut asked = self.of(AUTHENTICATION, "userextras", value);
                asked.subresource.clone_from(key);
                self.may(&asked).await?;
            }
        }
        let has = |group: &str| actual.groups.iter().any(|have| have == group);
        let group = if actual.name == ANONYMOUS {
            UNAUTHENTICATED
        } else {
            AUTHENTICATED
        };
        if !has(group) && !has(UNAUTHENTICATED) {
            actual.groups.push(group.to_owned());
        }
        Ok(actual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn headers_name_a_user() {
        assert_eq!(wanted(&headers(&[("accept", "x")])), Ok(None));
        let found = wanted(&headers(&[
            ("Impersonate-User", "u"),
            ("Impersonate-Group", "a"),
            ("Impersonate-Group", "b"),
            ("Impersonate-Uid", "1"),
            ("Impersonate-Extra-Acme%2Fx", "v"),
        ]));
        let found = found.unwrap().unwrap();
        assert_eq!(
            (&*found.name, &*found.uid, found.groups),
            ("u", "1", vec!["a".to_owned(), "b".to_owned()])
        );
        assert_eq!(
            found.extra,
            BTreeMap::from([("acme/x".to_owned(), vec!["v".to_owned()])])
        );
        for (given, expected) in [
            (
                &[("impersonate-group", "g")][..],
                "UID:\"\", Groups:[]string{\"g\"}, Extra:map[string][]string(nil)}",
            ),
            (
                &[("impersonate-uid", "1")],
                "UID:\"1\", Groups:[]string(nil), Extra:map[string][]string(nil)}",
            ),
            (
                &[("impersonate-extra-a", "b")],
                "UID:\"\", Groups:[]string(nil), Extra:map[string][]string{\"a\":[]string{\"b\"}}}",
            ),
        ] {
            let status = wanted(&headers(given)).unwrap_err();
            let message = format!(
                "requested &user.DefaultInfo{{Name:\"\", {expected} without impersonating a user name"
            );
            assert_eq!((status.code, status.message), (400, message));
        }
    }

    #[test]
    fn ways_apply_to_whom_they_are_for() {
        let user = |name: &str| User {
            name: name.into(),
            ..User::default()
        };
        let mut agent = user("system:serviceaccount:ns:agent");
        agent.extra.insert(NODE_NAME.into(), vec!["n1".into()]);
        let mut grouped = user("system:node:n1");
        grouped.groups.push("g".into());
        for (asks, wanted, expected) in [
            (user("u"), user("v"), vec![Mode::UserInfo, Mode::Legacy]),
            (
                user("u"),
                user("system:node:n1"),
                vec![Mode::ArbitraryNode, Mode::Legacy],
            ),
            (
                agent.clone(),
                user("system:node:n1"),
                vec![Mode::AssociatedNode, Mode::ArbitraryNode, Mode::Legacy],
            ),
            (
                agent,
                user("system:node:n2"),
                vec![Mode::ArbitraryNode, Mode::Legacy],
            ),
            (user("u"), grouped, vec![Mode::Legacy]),
            (
                user("u"),
                user("system:serviceaccount:ns:sa"),
                vec![Mode::ServiceAccount, Mode::Legacy],
            ),
            (
                user("u"),
                user("system:serviceaccount:bad"),
                vec![Mode::UserInfo, Mode::Legacy],
            ),
        ] {
            let found: Vec<Mode> = Mode::ALL
                .into_iter()
                .filter(|mode| mode.applies(&asks, &wanted))
                .collect();
            assert_eq!(found, expected, "{wanted:?}");
        }
    }
}
