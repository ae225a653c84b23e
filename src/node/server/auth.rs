//! Who calls, and whether they may: the API server is asked, and its answers are kept for a while.
use std::collections::BTreeMap;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap};
use http::{Method, Request, StatusCode};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;
use ring::digest;
use tokio::time::Instant;

use super::{Refusal, refuse};

/// How long answers hold: who a token is, that somebody may, that somebody may not.
const KNOWN: Duration = Duration::from_secs(120);
const ALLOWED: Duration = Duration::from_secs(300);
const DENIED: Duration = Duration::from_secs(30);
/// More are not kept.
const MOST: usize = 1000;

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
}

/// Who made a connection.
#[derive(Clone, Debug)]
pub(in super::super) enum Caller {
    /// Somebody in this process.
    InProcess,
    /// Somebody from outside; who, if a certificate says so.
    #[cfg_attr(
        not(feature = "serve"),
        expect(dead_code, reason = "without listening nobody is")
    )]
    Outside(Option<User>),
}

/// Asks the API server.
#[derive(Debug)]
pub(super) struct Authority {
    client: ClientOf,
    node: String,
    tokens: Kept<Vec<u8>, Option<User>>,
    decisions: Kept<(User, String, String), bool>,
}

struct ClientOf(kube::Client);

impl std::fmt::Debug for ClientOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Authority {
    pub(super) fn new(client: kube::Client, node: String) -> Self {
        Self {
            client: ClientOf(client),
            node,
            tokens: Mutex::default(),
            decisions: Mutex::default(),
        }
    }

    /// Lets a request pass.
    ///
    /// # Errors
    /// The answer to one that may not: 401 or 403, or 500 when the API server cannot be asked.
    pub(super) async fn admit<B>(
        &self,
        request: &Request<B>,
        caller: &Caller,
        path: &str,
    ) -> Result<(), Refusal> {
        let Caller::Outside(known) = caller else {
            return Ok(());
        };
        let failed = |error: kube::Error| {
            tracing::warn!(%error, "the API server could not be asked who may look into the node");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "Authorization error")
        };
        let user = match known {
            Some(user) => Some(user.clone()),
            None => self.of_token(request.headers()).await.map_err(failed)?,
        };
        let Some(user) = user else {
            return Err(refuse(StatusCode::UNAUTHORIZED, "Unauthorized"));
        };
        let verb = verb(request.method());
        for subresource in subresources(path) {
            let may = self.may(&user, verb, subresource).await;
            if may.map_err(failed)? {
                return Ok(());
            }
        }
        Err(refuse(
            StatusCode::FORBIDDEN,
            format!(
                "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)={:?})\n",
                user.name,
                subresources(path)
            ),
        ))
    }

    /// Whose the bearer token is.
    async fn of_token(&self, headers: &HeaderMap) -> Result<Option<User>, kube::Error> {
        let header = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let token = header.and_then(|header| {
            let (scheme, token) = header.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then_some(token.trim())
        });
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return Ok(None);
        };
        // The tokens themselves are kept nowhere.
        let key = digest::digest(&digest::SHA256, token.as_bytes())
            .as_ref()
            .to_vec();
        if let Some(user) = fresh(&self.tokens, &key) {
            return Ok(user);
        }
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned().into(),
                ..TokenReviewSpec::default()
            },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.0.clone());
        let review = reviews.create(&PostParams::default(), &review).await?;
        let status = review.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true));
        let user = user.map(|user| User {
            name: user.username.unwrap_or_default(),
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
        });
        keep(&self.tokens, key, KNOWN, user.clone());
        Ok(user)
    }

    async fn may(&self, user: &User, verb: &str, subresource: &str) -> Result<bool, kube::Error> {
        let key = (user.clone(), verb.to_owned(), subresource.to_owned());
        if let Some(may) = fresh(&self.decisions, &key) {
            return Ok(may);
        }
        let attributes = ResourceAttributes {
            verb: Some(verb.to_owned()),
            version: Some("v1".to_owned()),
            resource: Some("nodes".to_owned()),
            subresource: Some(subresource.to_owned()),
            name: Some(self.node.clone()),
            ..ResourceAttributes::default()
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: Some(user.uid.clone()).filter(|uid| !uid.is_empty()),
                groups: Some(user.groups.clone()),
                resource_attributes: Some(attributes),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.0.clone());
        let review = reviews.create(&PostParams::default(), &review).await?;
        let may = review.status.is_some_and(|status| status.allowed);
        let holds = if may { ALLOWED } else { DENIED };
        keep(&self.decisions, key, holds, may);
        Ok(may)
    }
}

type Kept<K, V> = Mutex<BTreeMap<K, (Instant, V)>>;

fn fresh<K: Ord, V: Clone>(kept: &Kept<K, V>, key: &K) -> Option<V> {
    let kept = kept.lock();
    let (until, value) = kept.get(key)?;
    (*until > Instant::now()).then(|| value.clone())
}

fn keep<K: Ord, V>(kept: &Kept<K, V>, key: K, holds: Duration, value: V) {
    let now = Instant::now();
    let mut kept = kept.lock();
    if kept.len() >= MOST {
        kept.retain(|_, (until, _)| *until > now);
    }
    if kept.len() >= MOST {
        kept.pop_first();
    }
    kept.insert(key, (now + holds, value));
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// What one must be allowed of the node: any of these.
fn subresources(path: &str) -> &'static [&'static str] {
    let first = path.trim_start_matches('/').split('/').next();
    match first.unwrap_or_default() {
        "stats" => &["stats"],
        "metrics" => &["metrics"],
        "logs" => &["log"],
        "healthz" => &["healthz", "proxy"],
        "configz" => &["configz", "proxy"],
        "pods" | "runningpods" => &["pods", "proxy"],
        _ => &["proxy"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_parts_of_the_node() {
        for (path, expected) in [
            ("/stats/summary", "stats"),
            ("/metrics", "metrics"),
            ("/pods", "pods"),
            ("/exec/a/b/c", "proxy"),
            ("/", "proxy"),
        ] {
            assert_eq!(subresources(path)[0], expected, "{path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_kept_for_a_while() {
        let kept = Mutex::default();
        keep(&kept, 1, DENIED, false);
        assert_eq!(fresh(&kept, &1), Some(false));
        tokio::time::sleep(DENIED).await;
        assert_eq!(fresh(&kept, &1), None);
        for key in 0..2 * MOST {
            keep(&kept, key, ALLOWED, true);
        }
        assert_eq!(kept.lock().len(), MOST);
    }
}
