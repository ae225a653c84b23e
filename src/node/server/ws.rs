//! WebSocket frames (RFC 6455), a server's side: what clients send is masked, and a message may come in several frames.
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use ring::digest;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::channels::PIECE;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The largest frame of a client, in bytes.
const LARGEST: u64 = 32 << 20;

/// What proves to a client that its key was read.
pub(super) fn accept_key(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        text.as_bytes(),
    ))
}

/// What a client sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
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
pub(super) struct Reader<R> {
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
    pub(super) fn new(io: R) -> Self {
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
    pub(super) async fn next(&mut self) -> io::Result<Option<Incoming>> {
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

    /// What it reads from.
    pub(super) fn into_inner(self) -> R {
        self.io
    }
}

/// A binary message of these parts.
pub(super) fn message(parts: &[&[u8]]) -> Vec<u8> {
    frame(BINARY, parts)
}

/// The answer to a ping.
pub(super) fn pong(bytes: &[u8]) -> Vec<u8> {
    frame(PONG, &[bytes])
}

/// The end, with a code.
pub(super) fn close(code: u16) -> Vec<u8> {
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

/// A byte stream within binary messages, for protocols that are tunnelled. Ends when either side does.
///
/// # Errors
/// When the connection fails or the client does not keep to the protocol.
pub(super) async fn tunnel<S, T>(io: S, inner: T) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send,
    T: AsyncRead + AsyncWrite + Send,
{
    let (reader, mut writer) = tokio::io::split(io);
    let (mut from_inner, mut to_inner) = tokio::io::split(inner);
    let (pongs, mut due) = tokio::sync::mpsc::channel(4);
    let mut reader = Reader::new(reader);
    let read = async {
        loop {
            match reader.next().await? {
                Some(Incoming::Part { bytes, .. }) => to_inner.write_all(&bytes).await?,
                // With too many pings at once some are not answered.
                Some(Incoming::Ping(bytes)) => drop(pongs.try_send(bytes)),
                Some(Incoming::Close(_)) | None => return to_inner.shutdown().await,
            }
        }
    };
    let write = async {
        let mut buffer = vec![0; PIECE];
        loop {
            let frame = tokio::select! {
                biased;
                Some(bytes) = due.recv() => pong(&bytes),
                read = from_inner.read(&mut buffer) => match read? {
                    0 => break,
                    read => message(&[buffer.get(..read).unwrap_or_default()]),
                },
            };
            writer.write_all(&frame).await?;
            writer.flush().await?;
        }
        writer.write_all(&close(1000)).await?;
        writer.shutdown().await
    };
    let mut write = std::pin::pin!(write);
    let result: io::Result<()> = tokio::select! {
        biased;
        written = &mut write => {
            written?;
            super::spdy::linger(&mut reader.into_inner()).await;
            return Ok(());
        }
        read = read => read,
    };
    result?;
    write.await
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
pub(super) mod testing {
    //! A client, for tests.
    use super::*;

    /// A masked frame.
    pub(in super::super) fn masked(head: u8, payload: &[u8]) -> Vec<u8> {
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
    pub(in super::super) fn sent(payload: &[u8]) -> Vec<u8> {
        masked(0x80 | BINARY, payload)
    }

    /// The next frame of the server: its opcode and payload.
    pub(in super::super) async fn next(io: &mut (impl AsyncRead + Unpin)) -> Option<(u8, Vec<u8>)> {
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

    #[tokio::test]
    async fn a_tunnel_carries_bytes() {
        let (mut client, outer) = tokio::io::duplex(1 << 10);
        let (inner, mut server) = tokio::io::duplex(1 << 10);
        let talk = async {
            client.write_all(&sent(b"hel")).await.unwrap();
            client.write_all(&sent(b"lo")).await.unwrap();
            let mut heard = [0; 5];
            server.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"hello");
            server.write_all(b"bye").await.unwrap();
            assert_eq!(next(&mut client).await.unwrap(), (BINARY, b"bye".to_vec()));
            client.write_all(&masked(0x80 | PING, b"x")).await.unwrap();
            assert_eq!(next(&mut client).await.unwrap(), (PONG, b"x".to_vec()));
            drop(server);
            assert_eq!(next(&mut client).await.unwrap().0, CLOSE);
            drop(client);
        };
        let (done, ()) = futures::join!(tunnel(outer, inner), talk);
        done.unwrap();
    }
}
