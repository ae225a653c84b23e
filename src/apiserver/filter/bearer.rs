//! Bearer tokens in requests, and whom they stand for.
use super::identity::authenticated;
use crate::apiserver::auth::secret::Shown;
use crate::apiserver::auth::token;
use crate::apiserver::request::User;
use crate::apiserver::server::Shared;
use crate::websocket;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use std::sync::Arc;

/// What is said of a token that nobody knows.
const UNKNOWN: &str = "invalid bearer token";

/// The bearer token of a request. Other schemes, and a scheme without a token, are as good as nothing.
fn of(headers: &HeaderMap) -> Option<Shown<'_>> {
    let header = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let mut parts = header.splitn(3, ' ');
    let (scheme, token) = (parts.next()?, parts.next()?);
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| Shown::new(token))
}

/// Begins the protocol by which a WebSocket's client shows its token, since browsers let it set no headers.
const PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// What a client showed as a protocol: a token, or why it is none.
#[derive(Clone)]
struct OfProtocol(Result<String, &'static str>);

/// Takes the token out of the protocols that a WebSocket's client would speak: it is for this server alone.
pub(crate) fn take_from_protocols(parts: &mut Parts) {
    if !websocket::is_asked(&parts.headers) {
        return;
    }
    let protocols = websocket::list(&parts.headers, &SEC_WEBSOCKET_PROTOCOL);
    let (tokens, others): (Vec<&str>, Vec<&str>) = protocols
        .into_iter()
        .partition(|protocol| protocol.starts_with(PROTOCOL));
    let token = match tokens[..] {
        [] => return,
        [token] => decode(token.trim_start_matches(PROTOCOL)),
        _ => Err("multiple base64.bearer.authorization tokens specified"),
    };
    let token = match token {
        // One has to be left that the answer can name.
        Ok(_) if others.is_empty() => Err("missing additional subprotocol"),
        token => token,
    };
    let others = HeaderValue::from_str(&others.join(",")).ok();
    parts.headers.remove(SEC_WEBSOCKET_PROTOCOL);
    let others = others.filter(|others| !others.is_empty());
    parts
        .headers
        .extend(others.map(|others| (SEC_WEBSOCKET_PROTOCOL, others)));
    parts.extensions.insert(OfProtocol(token));
}

fn decode(token: &str) -> Result<String, &'static str> {
    let bytes = URL_SAFE_NO_PAD.decode(token);
    let bytes = bytes.map_err(|_| "invalid base64.bearer.authorization token encoding")?;
    String::from_utf8(bytes).map_err(|_| "invalid base64.bearer.authorization token")
}

/// The tokens that a request shows: one is enough that is believed. With why one is none.
pub(crate) fn shown(parts: &Parts) -> impl Iterator<Item = Result<Shown<'_>, &str>> {
    let of_protocol = parts.extensions.get::<OfProtocol>();
    let of_protocol =
        of_protocol.map(|token| token.0.as_deref().map(Shown::new).map_err(|why| *why));
    of(&parts.headers).map(Ok).into_iter().chain(of_protocol)
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

    #[test]
    fn tokens_come_as_protocols() {
        let token = format!("{PROTOCOL}{}", URL_SAFE_NO_PAD.encode("abc"));
        for (protocols, expected, left) in [
            (format!("{token}, a"), Some(Ok("abc")), "a"),
            (format!("a,{token},b"), Some(Ok("abc")), "a,b"),
            ("a, b".to_owned(), None, "a, b"),
            (
                token.clone(),
                Some(Err("missing additional subprotocol")),
                "",
            ),
            (
                format!("{token},{token},a"),
                Some(Err("multiple base64.bearer.authorization tokens specified")),
                "a",
            ),
            (
                format!("{PROTOCOL}a=,a"),
                Some(Err("invalid base64.bearer.authorization token encoding")),
                "a",
            ),
            (
                format!("{PROTOCOL}_w,a"),
                Some(Err("invalid base64.bearer.authorization token")),
                "a",
            ),
        ] {
            let request = http::Request::new(());
            let mut parts = request.into_parts().0;
            let headers = &mut parts.headers;
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocols.parse().unwrap());
            let before = parts.clone();
            take_from_protocols(&mut parts);
            assert_eq!(parts.headers, before.headers, "no WebSocket was asked for");
            parts
                .headers
                .insert("connection", "Upgrade".parse().unwrap());
            parts
                .headers
                .insert("upgrade", "websocket".parse().unwrap());
            take_from_protocols(&mut parts);
            let found = shown(&parts).next().map(|token| token.map(Shown::reveal));
            assert_eq!(found, expected, "{protocols}");
            let rest = parts.headers.get(SEC_WEBSOCKET_PROTOCOL);
            let rest = rest.map_or("", |rest| rest.to_str().unwrap());
            assert_eq!(rest, left, "{protocols}");
        }
    }
}
