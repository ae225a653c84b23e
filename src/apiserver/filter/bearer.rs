//! Bearer tokens in requests, and whom they stand for.
use super::identity::authenticated;
use crate::apiserver::auth::secret::Shown;
use crate::apiserver::auth::token;
use crate::apiserver::request::User;
use crate::apiserver::server::Shared;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use std::sync::Arc;

/// What is said of a token that nobody knows.
const UNKNOWN: &str = "invalid bearer token";

/// The bearer token of a request. Other schemes, and a scheme without a token, are as good as nothing.
pub(crate) fn of(headers: &HeaderMap) -> Option<Shown<'_>> {
    let header = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let mut parts = header.splitn(3, ' ');
    let (scheme, token) = (parts.next()?, parts.next()?);
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| Shown::new(token))
}

/// Whom a token stands for, and for which of the wanted audiences it is good: those of this server unless others are wanted.
///
/// # Errors
/// Why it is not believed.
pub(crate) async fn authenticate(
    shared: &Arc<Shared>,
    token: Shown<'_>,
    wanted: &[String],
) -> Result<(User, Vec<String>), String> {
    let own = shared.service_account_tokens.own_audiences();
    let wanted = if wanted.is_empty() { &own } else { wanted };
    // Static tokens say nothing of audiences: they are for this server.
    let audiences: Vec<String> = own
        .iter()
        .filter(|audience| wanted.contains(audience))
        .cloned()
        .collect();
    if !audiences.is_empty()
        && let Some(user) = shared.tokens.user(token)
    {
        return Ok((authenticated(user), audiences));
    }
    match token::authenticate(shared, token, wanted).await {
        Ok(Some((user, audiences))) => Ok((authenticated(user), audiences)),
        Ok(None) => Err(UNKNOWN.to_owned()),
        Err(why) => Err(format!("[{UNKNOWN}, {why}]")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read() {
        for (header, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc ", Some("abc")),
            ("BEARER abc def", Some("abc")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearer  abc", None),
            ("Basic YTpi", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, header.parse().unwrap());
            assert_eq!(of(&headers).map(Shown::reveal), expected, "{header:?}");
        }
        assert!(of(&HeaderMap::new()).is_none());
    }
}
