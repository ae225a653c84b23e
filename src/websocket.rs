//! WebSocket (RFC 6455), a server's side: the handshake, and frames. What clients send is masked, and a message may come in several
//! frames.
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Response, StatusCode};
use ring::digest;
use tokio::io::{AsyncRead, AsyncReadExt as _};

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;
/// The largest frame of a client, in bytes.
const LARGEST: u64 = 32 << 20;
/// What is longer is read in parts of this length, in bytes.
const PIECE: usize = 64 << 10;

/// Whether a client asks to speak WebSocket.
pub(crate) fn is_asked(headers: &HeaderMap) -> bool {
    let words = |name: HeaderName| list(headers, &name);
    let has = |name: HeaderName, word: &str| {
        let mut words = words(name).into_iter();
        words.any(|one| one.eq_ignore_ascii_case(word))
    };
    has(CONNECTION, "upgrade") && has(UPGRADE, "websocket")
}

/// The parts of a header that is a list, wherever it is spread over several lines.
pub(crate) fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let values = headers.get_all(name).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|one| !one.is_empty())
        .collect()
}

/// What a client that asks for WebSocket brings along.
#[derive(Debug)]
pub(crate) struct Handshake<'a> {
    key: &'a str,
    /// The protocols that it would speak, its own order.
    pub protocols: Vec<&'a str>,
}

impl<'a> Handshake<'a> {
    /// # Errors
    /// Why it is none.
    pub(crate) fn of(headers: &'a HeaderMap) -> Result<Self, &'static str> {
        let key = headers.get(SEC_WEBSOCKET_KEY);
        let key = key.and_then(|key| key.to_str().ok());
        let key = key.filter(|key| !key.is_empty());
        let key = key.ok_or("missing Sec-WebSocket-Key")?;
        if headers
            .get(SEC_WEBSOCKET_VERSION)
            .is_none_or(|version| version != "13")
        {
            return Err("missing or bad WebSocket Version");
        }
        let protocols = list(headers, &SEC_WEBSOCKET_PROTOCOL);
        Ok(Self { key, protocols })
    }

    /// The answer that switches to this protocol, if one is to be named.
    pub(crate) fn accept<B>(&self, protocol: Option<&str>, body: B) -> Response<B> {
        let mut answer = Response::new(body);
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        let accept = HeaderValue::from_str(&accept_key(self.key));
        headers.extend(accept.ok().map(|accept| (SEC_WEBSOCKET_ACCEPT, accept)));
        let protocol = protocol.and_then(|protocol| HeaderValue::from_str(protocol).ok());
        headers.extend(protocol.map(|protocol| (SEC_WEBSOCKET_PROTOCOL, protocol)));
        answer
    }
}

/// What proves to a client that its key was read.
fn accept_key(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        text.as_bytes(),
    ))
}

/// What a client sends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// Part of a message.
    Part {
        /// Whether it is the first of its message.
        first: bool,
        bytes: Bytes,
    },
    /// Wants the same back.
    Ping(Bytes),
    /// Nothing follows. With the bytes that say why.
    Close(Bytes),
}

/// Reads frames.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    io: R,
    /// Of the frame under way: what is left, its mask, and where in the mask its next byte is.
    left: u64,
    mask: [u8; 4],
    turn: usize,
    /// Whether the next part begins a message.
    first: bool,
    /// Whether a message is under way that has further frames.
    open: bool,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(io: R) -> Self {
        Self {
            io,
            left: 0,
            mask: [0; 4],
            turn: 0,
            first: true,
            open: false,
        }
    }

    /// The next part or control frame. `None` when the client is gone without a word.
    ///
    /// # Errors
    /// When the connection fails or the client does not keep to the protocol.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Incoming>> {
        loop {
            if self.left > 0 {
                return self.part().await.map(Some);
            }
            let mut head = [0; 2];
            if self.io.read(&mut head[..1]).await? == 0 {
                return Ok(None);
            }
            self.io.read_exact(&mut head[1..]).await?;
            let (last, opcode) = (head[0] & 0x80 != 0, head[0] & 0x0f);
            if head[0] & 0x70 != 0 || head[1] & 0x80 == 0 {
                return Err(invalid("a frame with unknown bits, or without a mask"));
            }
            let length = match head[1] & 0x7f {
                126 => u64::from(self.io.read_u16().await?),
                127 => self.io.read_u64().await?,
                short => u64::from(short),
            };
            self.io.read_exact(&mut self.mask).await?;
            self.turn = 0;
            match opcode {
                CLOSE | PING | PONG => {
                    if length > 125 || !last {
                        return Err(invalid("a control frame that is too large"));
                    }
                    let bytes = self
                        .take(usize::try_from(length).unwrap_or_default())
                        .await?;
                    match opcode {
                        CLOSE => return Ok(Some(Incoming::Close(bytes))),
                        PING => return Ok(Some(Incoming::Ping(bytes))),
                        _ => {}
                    }
                }
                CONTINUATION | TEXT | BINARY => {
                    if (opcode == CONTINUATION) != self.open {
                        return Err(invalid("a message within a message"));
                    }
                    if length > LARGEST {
                        return Err(invalid("a frame that is too large"));
                    }
                    self.first |= opcode != CONTINUATION;
                    self.open = !last;
                    self.left = length;
                    if length == 0 && self.first {
                        self.first = false;
                        let bytes = Bytes::new();
                        return Ok(Some(Incoming::Part { first: true, bytes }));
                    }
                }
                _ => return Err(invalid("a frame of an unknown kind")),
            }
        }
    }

    async fn part(&mut self) -> io::Result<Incoming> {
        let length = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
        let bytes = self.take(length).await?;
        self.left -= length as u64;
        let first = std::mem::take(&mut self.first);
        Ok(Incoming::Part { first, bytes })
    }

    /// Reads and unmasks.
    async fn take(&mut self, length: usize) -> io::Result<Bytes> {
        let mut bytes = BytesMut::zeroed(length);
        self.io.read_exact(&mut bytes).await?;
        let mut mask = self.mask;
        mask.rotate_left(self.turn % 4);
        for (byte, mask) in bytes.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        self.turn = (self.turn + length) % 4;
        Ok(bytes.freeze())
    }

    /// What it reads from, for what is not a frame.
    pub(crate) fn into_inner(self) -> R {
        self.io
    }
}

/// A message that is text.
pub(crate) fn text(bytes: &[u8]) -> Vec<u8> {
    frame(TEXT, &[bytes])
}

/// A binary message of these parts.
pub(crate) fn message(parts: &[&[u8]]) -> Vec<u8> {
    frame(BINARY, parts)
}

/// The answer to a ping.
pub(crate) fn pong(bytes: &[u8]) -> Vec<u8> {
    frame(PONG, &[bytes])
}

/// The end, with a code.
pub(crate) fn close(code: u16) -> Vec<u8> {
    frame(CLOSE, &[&code.to_be_bytes()])
}

fn frame(opcode: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = Vec::with_capacity(length + 10);
    bytes.push(0x80 | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length), _) if length < 126 => bytes.push(length),
        (_, Ok(length)) => {
            bytes.push(126);
            bytes.extend(length.to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
pub(crate) mod testing {
    //! A client, for tests.
    use super::*;

    /// A masked frame.
    pub(crate) fn masked(head: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = frame(0, &[payload]);
        bytes[0] = head;
        bytes[1] |= 0x80;
        let at = bytes.len() - payload.len();
        let mask = [1, 2, 3, 4];
        for (byte, mask) in bytes[at..].iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        bytes.splice(at..at, mask);
        bytes
    }

    /// A binary message of a client.
    pub(crate) fn sent(payload: &[u8]) -> Vec<u8> {
        masked(0x80 | BINARY, payload)
    }

    /// The next frame of the server: its opcode and payload.
    pub(crate) async fn next(io: &mut (impl AsyncRead + Unpin)) -> Option<(u8, Vec<u8>)> {
        let opcode = io.read_u8().await.ok()? & 0x0f;
        let length = match io.read_u8().await.ok()? {
            126 => u64::from(io.read_u16().await.ok()?),
            127 => io.read_u64().await.ok()?,
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        io.read_exact(&mut payload).await.ok()?;
        Some((opcode, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn the_key_is_that_of_the_rfc() {
        assert_eq!(
            accept_key("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn handshakes_are_read() {
        let headers = |lines: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            headers
        };
        for (connection, upgrade, expected) in [
            ("Upgrade", "websocket", true),
            ("keep-alive, upgrade", "WebSocket", true),
            ("keep-alive", "websocket", false),
            ("upgrades", "websocket", false),
            ("Upgrade", "SPDY/3.1", false),
        ] {
            let asked = headers(&[("connection", connection), ("upgrade", upgrade)]);
            assert_eq!(is_asked(&asked), expected, "{connection}, {upgrade}");
        }
        let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let version = ("sec-websocket-version", "13");
        let asked = headers(&[
            key,
            version,
            ("sec-websocket-protocol", "a, b"),
            ("sec-websocket-protocol", "c"),
        ]);
        let handshake = Handshake::of(&asked).unwrap();
        assert_eq!(handshake.protocols, ["a", "b", "c"]);
        let answer = handshake.accept(Some("b"), ());
        assert_eq!(answer.status(), 101);
        assert_eq!(answer.headers()[SEC_WEBSOCKET_PROTOCOL], "b");
        for broken in [
            headers(&[version]),
            headers(&[key]),
            headers(&[key, ("sec-websocket-version", "8")]),
        ] {
            assert!(Handshake::of(&broken).is_err(), "{broken:?}");
        }
    }

    #[tokio::test]
    async fn messages_come_in_parts() {
        let mut bytes = masked(BINARY, b"ab");
        bytes.extend(masked(0x80 | PING, b"p"));
        bytes.extend(masked(0x80, b"cde"));
        bytes.extend(sent(&vec![9; PIECE + 1]));
        bytes.extend(sent(b""));
        bytes.extend(masked(0x80 | CLOSE, &[3, 232]));
        let mut reader = Reader::new(&bytes[..]);
        let part = |first, bytes: &[u8]| Incoming::Part {
            first,
            bytes: Bytes::copy_from_slice(bytes),
        };
        for expected in [
            part(true, b"ab"),
            Incoming::Ping(Bytes::from_static(b"p")),
            part(false, b"cde"),
            part(true, &vec![9; PIECE]),
            part(false, &[9]),
            part(true, b""),
            Incoming::Close(Bytes::from_static(&[3, 232])),
        ] {
            assert_eq!(reader.next().await.unwrap().unwrap(), expected);
        }
        assert_eq!(reader.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn nonsense_is_refused() {
        for bytes in [
            &message(&[b"unmasked"])[..],
            &masked(0xf2, b"reserved bits"),
            &masked(0x83, b"unknown kind"),
            &masked(0x80, b"continues nothing"),
            &masked(0x80 | PING, &[0; 126]),
            b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff0000",
        ] {
            assert!(Reader::new(bytes).next().await.is_err(), "{bytes:?}");
        }
    }
}
