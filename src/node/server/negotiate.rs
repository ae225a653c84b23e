//! Which streaming protocol a client gets, and the answer that switches to it.
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::{Response, StatusCode};

use super::{Answer, Refusal, full, refuse};
use crate::websocket::{self, Handshake};

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

/// What a client wants to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    WebSocket,
    Spdy,
}

/// What a client wants to speak.
///
/// # Errors
/// 400 when it wants no upgrade, or one to something else.
pub(super) fn transport(headers: &HeaderMap) -> Result<Transport, Refusal> {
    let has = |name: HeaderName, word: &str| {
        headers.get_all(name).iter().any(|value| {
            let value = value.to_str().unwrap_or_default();
            value.to_ascii_lowercase().contains(word)
        })
    };
    if !has(CONNECTION, "upgrade") {
        return Err(refuse(StatusCode::BAD_REQUEST, "Upgrade request required"));
    }
    if has(UPGRADE, "websocket") {
        return Ok(Transport::WebSocket);
    }
    if has(UPGRADE, "spdy/3.1") {
        return Ok(Transport::Spdy);
    }
    let why = "unable to upgrade: missing upgrade headers in request";
    Err(refuse(StatusCode::BAD_REQUEST, why))
}

/// Switches to WebSocket with one of the protocols `known`, the client's first.
///
/// # Errors
/// 400 when there is none, or the request is not as it should be.
pub(super) fn web_socket(
    headers: &HeaderMap,
    known: &[&'static str],
) -> Result<(&'static str, Answer), Refusal> {
    let bad = |why: &'static str| refuse(StatusCode::BAD_REQUEST, why);
    let handshake = Handshake::of(headers).map_err(bad)?;
    let offered = &handshake.protocols;
    let protocol = if offered.is_empty() {
        // Old clients name none and speak the first.
        known
            .contains(&"channel.k8s.io")
            .then_some("channel.k8s.io")
    } else {
        let find = |one: &&str| known.iter().find(|known| *known == one).copied();
        offered.iter().find_map(find)
    };
    let protocol =
        protocol.ok_or_else(|| bad("none of the requested WebSocket protocols is supported"))?;
    let named = (!offered.is_empty()).then_some(protocol);
    Ok((protocol, handshake.accept(named, full(""))))
}

/// Switches to SPDY with one of the protocols `known`, the client's first.
///
/// # Errors
/// 403 when there is none.
pub(super) fn spdy(
    headers: &HeaderMap,
    known: &[&'static str],
) -> Result<(&'static str, Answer), Refusal> {
    let offered = websocket::list(headers, &STREAM_PROTOCOL);
    let protocol = if offered.is_empty() {
        known.last().copied()
    } else {
        let find = |one: &&str| known.iter().find(|known| *known == one).copied();
        offered.iter().find_map(find)
    };
    let Some(protocol) = protocol else {
        let why = format!(
            "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {known:?}"
        );
        let mut refused = refuse(StatusCode::FORBIDDEN, why);
        for known in known {
            refused
                .0
                .headers_mut()
                .append(ACCEPTED, HeaderValue::from_static(known));
        }
        return Err(refused);
    };
    let mut answer = Response::new(full(""));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    if !offered.is_empty() {
        let protocol = HeaderValue::from_static(protocol);
        headers.insert(STREAM_PROTOCOL, protocol);
    }
    Ok((protocol, answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let lines = lines.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(name, value);
        }
        map
    }

    #[test]
    fn clients_get_what_they_ask_first() {
        let asked = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v5.channel.k8s.io"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
        ]);
        assert_eq!(transport(&asked).ok(), Some(Transport::Spdy));
        let (protocol, answer) = spdy(&asked, &["v4.channel.k8s.io", "channel.k8s.io"])
            .ok()
            .unwrap();
        assert_eq!(protocol, "v4.channel.k8s.io");
        assert_eq!(answer.headers()[STREAM_PROTOCOL], "v4.channel.k8s.io");
        assert_eq!(spdy(&asked, &["x"]).err().unwrap().0.status(), 403);

        let asked = headers(&[
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            (
                "sec-websocket-protocol",
                "v5.channel.k8s.io, v4.channel.k8s.io",
            ),
        ]);
        assert_eq!(transport(&asked).ok(), Some(Transport::WebSocket));
        let (protocol, _) = web_socket(&asked, &["v4.channel.k8s.io"]).ok().unwrap();
        assert_eq!(protocol, "v4.channel.k8s.io");
        assert_eq!(web_socket(&asked, &["x"]).err().unwrap().0.status(), 400);
        assert!(transport(&headers(&[])).is_err());
    }
}
