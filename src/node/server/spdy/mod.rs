//! SPDY/3.1 as far as Kubernetes uses it: a server's side of one connection, on which the client opens streams.
//!
//! There is no flow control, as clients' library (spdystream) has none: a stream that nobody reads holds up the connection.
//! The client of a runtime's server is in `cri/containerd/spdy`, which also says why it shares nothing with this.
mod headers;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use self::headers::{Decoder, Encoder, Headers};
use super::channels::{Inlet, Outlet, PIECE, Piece, WAITING};

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
/// Nothing follows on the stream.
const FIN: u8 = 1;
/// Control frames are small.
const LARGEST_CONTROL: usize = 64 << 10;
/// More streams at a time are refused.
const MOST_STREAMS: usize = 1000;
/// How long a client may take to notice that all is over.
const LINGER: Duration = Duration::from_secs(5);
/// The reason for a stream that is refused.
const REFUSED: u32 = 3;

/// A stream that the client has opened.
#[derive(Debug)]
pub(super) struct Stream {
    headers: Headers,
    pub inlet: Inlet,
    pub outlet: Outlet,
}

impl Stream {
    /// A header, whatever the case of its name.
    pub(super) fn header(&self, name: &str) -> &str {
        let mut named = self
            .headers
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name));
        named.next().map_or("", |(_, value)| value)
    }
}

/// What is written besides pieces of streams.
#[derive(Debug)]
enum Control {
    Reply(u32),
    Reset(u32, u32),
    Pong([u8; 4]),
}

/// Speaks until the client is gone, or until whoever takes the streams has dropped the receiver of `accept` and all that the
/// streams still had to say is sent. Gives the streams to `accept` as they are opened.
///
/// # Errors
/// When the connection fails or the client does not keep to the protocol.
pub(super) async fn serve<S>(io: S, accept: mpsc::Sender<Stream>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (reader, writer) = tokio::io::split(io);
    let (pieces, outgoing) = mpsc::channel(WAITING);
    let (control, controls) = mpsc::channel(WAITING);
    let mut reader = reader;
    let reading = Reading {
        reader: &mut reader,
        decoder: Decoder::default(),
        streams: BTreeMap::new(),
        pieces,
        control,
        accept,
    };
    let mut writing = std::pin::pin!(write(writer, outgoing, controls));
    let ended = tokio::select! {
        biased;
        written = &mut writing => return written,
        read = reading.run() => read?,
    };
    // The streams are told that the client sends no more. What they still have to say is written.
    writing.await?;
    if ended == Ended::Here {
        linger(&mut reader).await;
    }
    Ok(())
}

/// Why nothing more is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The client ended it.
    There,
    /// Nobody takes further streams.
    Here,
}

/// Reads what a client sends that does not know yet that all is over. A connection that is closed with something unread is
/// reset, and the client would lose the last that was sent to it.
pub(super) async fn linger(reader: &mut (impl AsyncRead + Unpin)) {
    let drain = async {
        let mut sink = [0; 4 << 10];
        while reader.read(&mut sink).await.is_ok_and(|read| read > 0) {}
    };
    // A client that does not end it has had its time.
    let _ = tokio::time::timeout(LINGER, drain).await;
}

struct Reading<'a, R> {
    reader: &'a mut R,
    decoder: Decoder,
    /// Those on which the client may still send.
    streams: BTreeMap<u32, mpsc::Sender<Bytes>>,
    pieces: mpsc::Sender<Piece>,
    control: mpsc::Sender<Control>,
    accept: mpsc::Sender<Stream>,
}

impl<R: AsyncRead + Unpin> Reading<'_, R> {
    async fn run(mut self) -> io::Result<Ended> {
        loop {
            let mut head = [0; 8];
            let first = tokio::select! {
                biased;
                // Nobody takes further streams, so the connection has served its purpose.
                () = self.accept.closed() => return Ok(Ended::Here),
                first = self.reader.read(&mut head) => first?,
            };
            if first == 0 {
                return Ok(Ended::There);
            }
            if let Some(rest) = head.get_mut(first..) {
                self.reader.read_exact(rest).await?;
            }
            let [word @ .., flags, high, middle, low] = head;
            let word = u32::from_be_bytes(word);
            let length = u32::from_be_bytes([0, high, middle, low]);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if word >> 31 == 0 {
                self.data(word, flags, length).await?;
                continue;
            }
            if length > LARGEST_CONTROL {
                return Err(invalid("a control frame is too large"));
            }
            let mut body = vec![0; length];
            self.reader.read_exact(&mut body).await?;
            let kind = u16::try_from(word & 0xffff).unwrap_or_default();
            if kind == GOAWAY {
                return Ok(Ended::There);
            }
            self.control(kind, flags, &body).await?;
        }
    }

    async fn data(&mut self, stream: u32, flags: u8, mut length: usize) -> io::Result<()> {
        while length > 0 {
            let mut piece = BytesMut::zeroed(length.min(PIECE));
            self.reader.read_exact(&mut piece).await?;
            length -= piece.len();
            if let Some(open) = self.streams.get(&stream)
                && open.send(piece.freeze()).await.is_err()
            {
                // Nobody reads it any more; what else comes is read and forgotten.
                self.streams.remove(&stream);
            }
        }
        if flags & FIN != 0 {
            self.streams.remove(&stream);
        }
        Ok(())
    }

    async fn control(&mut self, kind: u16, flags: u8, body: &[u8]) -> io::Result<()> {
        match kind {
            SYN_STREAM => {
                let block = body.get(10..).ok_or_else(|| invalid("no SYN_STREAM"))?;
                let stream = stream_id(body)?;
                let headers = self.decoder.decode(block)?;
                self.open(stream, flags, headers).await?;
            }
            HEADERS | SYN_REPLY => {
                // All blocks are one compressed stream, so every one is read.
                let block = body.get(4..).ok_or_else(|| invalid("no HEADERS"))?;
                self.decoder.decode(block)?;
                if flags & FIN != 0 {
                    self.streams.remove(&stream_id(body)?);
                }
            }
            RST_STREAM => {
                self.streams.remove(&stream_id(body)?);
            }
            PING => {
                let id = *body.first_chunk::<4>().ok_or_else(|| invalid("no PING"))?;
                // A client's own pings are odd; what is even answers one of ours, of which there are none.
                if id[3] & 1 == 1 {
                    self.tell(Control::Pong(id)).await?;
                }
            }
            // Settings and windows are about flow control.
            _ => {}
        }
        Ok(())
    }

    async fn open(&mut self, id: u32, flags: u8, headers: Headers) -> io::Result<()> {
        if self.streams.contains_key(&id) {
            return Err(invalid("a stream is opened twice"));
        }
        if self.streams.len() >= MOST_STREAMS {
            return self.tell(Control::Reset(id, REFUSED)).await;
        }
        let (sender, inlet) = mpsc::channel(WAITING);
        if flags & FIN == 0 {
            self.streams.insert(id, sender);
        }
        let outlet = Outlet::new(id, self.pieces.clone());
        self.tell(Control::Reply(id)).await?;
        let stream = Stream {
            headers,
            inlet,
            outlet,
        };
        // Without anybody who takes it the loop ends anyway.
        let _ = self.accept.send(stream).await;
        Ok(())
    }

    async fn tell(&mut self, control: Control) -> io::Result<()> {
        let sent = self.control.send(control).await;
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

async fn write<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut pieces: mpsc::Receiver<Piece>,
    mut controls: mpsc::Receiver<Control>,
) -> io::Result<()> {
    let mut encoder = Encoder::new()?;
    loop {
        tokio::select! {
            biased;
            Some(control) = controls.recv() => {
                let frame = match control {
                    Control::Reply(id) => {
                        let block = encoder.encode(&[])?;
                        frame(SYN_REPLY, 0, &[&id.to_be_bytes(), &block])
                    }
                    Control::Reset(id, why) => frame(RST_STREAM, 0, &[&id.to_be_bytes(), &why.to_be_bytes()]),
                    Control::Pong(id) => frame(PING, 0, &[&id]),
                };
                writer.write_all(&frame).await?;
            }
            Some(piece) = pieces.recv() => {
                let length = u32::try_from(piece.bytes.len()).unwrap_or_default().to_be_bytes();
                let mut head = [0; 8];
                head[..4].copy_from_slice(&piece.channel.to_be_bytes());
                head[4..].copy_from_slice(&length);
                head[4] = if piece.last { FIN } else { 0 };
                let mut whole = Vec::with_capacity(8 + piece.bytes.len());
                whole.extend(head);
                whole.extend_from_slice(&piece.bytes);
                writer.write_all(&whole).await?;
            }
            else => {
                writer.write_all(&frame(GOAWAY, 0, &[&[0; 8]])).await?;
                return writer.shutdown().await;
            }
        }
        if controls.is_empty() && pieces.is_empty() {
            writer.flush().await?;
        }
    }
}

/// A control frame of version 3.
fn frame(kind: u16, flags: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut bytes = Vec::with_capacity(8 + body.len());
    bytes.extend([0x80, 3]);
    bytes.extend(kind.to_be_bytes());
    let mut length = u32::try_from(body.len()).unwrap_or_default().to_be_bytes();
    length[0] = flags;
    bytes.extend(length);
    bytes.extend(body);
    bytes
}

fn stream_id(body: &[u8]) -> io::Result<u32> {
    let id = body
        .first_chunk::<4>()
        .ok_or_else(|| invalid("a frame is cut off"))?;
    Ok(u32::from_be_bytes(*id) & 0x7fff_ffff)
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
pub(super) mod testing {
    //! A client, for tests.
    use super::*;

    pub(in super::super) fn syn(
        encoder: &mut Encoder,
        id: u32,
        headers: &[(&str, &str)],
    ) -> Vec<u8> {
        let block = encoder.encode(headers).unwrap();
        frame(SYN_STREAM, 0, &[&id.to_be_bytes(), &[0; 6], &block])
    }

    pub(in super::super) fn encoder() -> Encoder {
        Encoder::new().unwrap()
    }

    pub(in super::super) fn data(id: u32, bytes: &[u8], fin: bool) -> Vec<u8> {
        let mut out = id.to_be_bytes().to_vec();
        let mut length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        length[0] = u8::from(fin);
        out.extend(length);
        out.extend(bytes);
        out
    }

    /// The next data frame: stream, bytes, whether it is the last. Others are skipped.
    pub(in super::super) async fn next(
        io: &mut (impl AsyncRead + Unpin),
    ) -> Option<(u32, Vec<u8>, bool)> {
        loop {
            let mut head = [0; 8];
            io.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
            let mut body = vec![0; length];
            io.read_exact(&mut body).await.ok()?;
            if head[0] & 0x80 == 0 {
                let id = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
                return Some((id, body, head[4] & FIN != 0));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[tokio::test]
    async fn streams_are_echoed() {
        let (mut client, server) = tokio::io::duplex(1 << 10);
        let (accept, mut streams) = mpsc::channel(1);
        let echo = async move {
            let mut stream: Stream = streams.recv().await.unwrap();
            assert_eq!(stream.header("streamType"), "data");
            while let Some(bytes) = stream.inlet.recv().await {
                stream.outlet.send(bytes).await.unwrap();
            }
            stream.outlet.close().await;
            drop(streams);
        };
        let speak = async {
            let mut encoder = encoder();
            let big = vec![7; 200_000];
            client
                .write_all(&syn(&mut encoder, 1, &[("StreamType", "data")]))
                .await
                .unwrap();
            let sent = async {
                let (mut r, mut w) = tokio::io::split(client);
                let writes = async {
                    w.write_all(&data(1, b"hello", false)).await.unwrap();
                    w.write_all(&data(1, &big, true)).await.unwrap();
                };
                let reads = async {
                    let mut all = Vec::new();
                    while let Some((id, bytes, last)) = next(&mut r).await {
                        assert_eq!(id, 1);
                        all.extend(bytes);
                        if last {
                            break;
                        }
                    }
                    all
                };
                futures::join!(writes, reads).1
            };
            let all = sent.await;
            assert_eq!(all.len(), 200_005);
            assert!(all.starts_with(b"hello\x07"));
        };
        let (served, (), ()) = futures::join!(serve(server, accept), echo, speak);
        served.ok();
    }

    #[tokio::test]
    async fn nonsense_ends_the_connection() {
        for bytes in [
            &b"\x80\x03\x00\x01\x00\x00\x00\x02xx"[..],
            b"\x80\x03\x00\x01\x00\xff\xff\xff",
            b"\x80\x03\x00\x06\x00\x00\x00\x00",
        ] {
            let (mut client, server) = tokio::io::duplex(1 << 10);
            client.write_all(bytes).await.unwrap();
            let (accept, _streams) = mpsc::channel(1);
            assert!(serve(server, accept).await.is_err(), "{bytes:?}");
        }
    }
}
