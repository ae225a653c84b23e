//! A client of a runtime's streaming server: SPDY/3.1 over plain HTTP on this machine. (Its WebSocket variant cannot end an
//! input before version 5 of the protocol, which older runtimes do not speak.)
//!
//! One connection carries the streams of one session; a task of its own moves their bytes until the session is over or
//! dropped.
//!
//! The other side of the protocol, for kubectl, is in `node/server/spdy`. All that they have in common is the eight bytes before
//! each frame: this side opens streams whose number it knows, stores its few headers unsqueezed, skips those of answers, and
//! gives out pipes; that one accepts streams, must read squeezed headers, and gives out channels like those of its WebSockets.
//! A third module for the eight bytes, below both, would save less than it costs.

mod frame;
#[cfg(test)]
mod tests;
mod upgrade;

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream, ReadBuf, duplex,
};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use self::frame::{HEAD, Head, Kind, Opener};
pub(super) use self::upgrade::upgrade;

/// How much of a stream is under way on this side.
const BUFFER: usize = 64 << 10;
/// How much goes in one frame.
const CHUNK: usize = 16 << 10;
/// How many frames wait to be sent.
const QUEUE: usize = 16;
/// Control frames are short; a longer one is an error.
const LONGEST_CONTROL: usize = 64 << 10;
/// How long opening streams may take, and sending the rest of an input whose session was dropped.
const PATIENCE: Duration = Duration::from_secs(30);

/// A stream to open.
pub(super) struct Wanted {
    pub headers: Vec<(&'static str, String)>,
    /// Whether something will be sent on it.
    pub sends: bool,
}

/// A stream that is open: what is written is sent, what comes is read.
pub(super) struct Stream {
    pipe: DuplexStream,
    _session: Arc<Held>,
}

/// While somebody holds it, the session goes on.
struct Held {
    _open: oneshot::Sender<()>,
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(context)
    }
}

/// Opens streams on a connection that was upgraded, in this order, and waits until the other side has taken them.
///
/// # Errors
/// When the connection breaks, or the other side takes none of them in time.
pub(super) async fn open(
    connection: BufReader<TcpStream>,
    wanted: &[Wanted],
) -> io::Result<Vec<Stream>> {
    let early = Bytes::copy_from_slice(connection.buffer());
    let (from, mut to) = connection.into_inner().into_split();
    let mut from = BufReader::with_capacity(BUFFER, io_chain(early, from));
    let mut opener = Opener::default();
    let ids: Vec<u32> = (0_u32..).map(|n| 2 * n + 1).take(wanted.len()).collect();
    for (id, stream) in ids.iter().zip(wanted) {
        let headers = stream.headers.iter();
        let headers: Vec<(&str, &str)> = headers.map(|(name, value)| (*name, &**value)).collect();
        // The protocol of exec has no end of what is never sent.
        to.write_all(&opener.open(*id, false, &headers)).await?;
    }
    let early = timeout(PATIENCE, taken(&mut from, &mut to, &ids))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "streams were not taken"))??;
    let (open, dropped) = oneshot::channel();
    let session = Arc::new(Held { _open: open });
    let (mut streams, mut inputs, mut outputs) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (id, stream) in ids.into_iter().zip(wanted) {
        let (pipe, own) = duplex(BUFFER);
        let (input, output) = tokio::io::split(own);
        if stream.sends {
            inputs.push((id, input));
        }
        let mut output = Some(output);
        if let Some(Early { bytes, fin }) = early.get(&id) {
            // Fits: no more than that was taken.
            if let Some(open) = &mut output {
                open.write_all(bytes).await?;
            }
            if *fin {
                finish(&mut output).await;
            }
        }
        outputs.insert(id, output);
        streams.push(Stream {
            pipe,
            _session: session.clone(),
        });
    }
    tokio::spawn(carry(from, to, inputs, outputs, dropped));
    Ok(streams)
}

type From = BufReader<tokio::io::Chain<io::Cursor<Bytes>, OwnedReadHalf>>;

fn io_chain(
    early: Bytes,
    from: OwnedReadHalf,
) -> tokio::io::Chain<io::Cursor<Bytes>, OwnedReadHalf> {
    io::Cursor::new(early).chain(from)
}

/// What came on a stream before all were taken.
#[derive(Default)]
struct Early {
    bytes: Vec<u8>,
    fin: bool,
}

/// Waits until all opened streams are taken: answered, or used.
async fn taken(
    from: &mut From,
    to: &mut OwnedWriteHalf,
    ids: &[u32],
) -> io::Result<BTreeMap<u32, Early>> {
    let mut open: Vec<u32> = ids.to_vec();
    let mut early = BTreeMap::<u32, Early>::new();
    while !open.is_empty() {
        let head = head(from).await?;
        let body = body(from, head.length).await?;
        let about = frame::stream(&body);
        match head.kind {
            Kind::Reply => open.retain(|id| Some(*id) != about),
            // A server may begin before it has answered.
            Kind::Data(id) => {
                open.retain(|open| *open != id);
                let early = early.entry(id).or_default();
                early.fin |= head.fin;
                early.bytes.extend(body);
                if early.bytes.len() > BUFFER {
                    return Err(io::Error::other(
                        "too much came before the streams were taken",
                    ));
                }
            }
            Kind::Ping => to.write_all(&frame::ping(&body)).await?,
            Kind::Reset if about.is_some_and(|id| ids.contains(&id)) => {
                return Err(io::Error::other("the runtime refused a stream"));
            }
            Kind::GoAway => return Err(io::Error::other("the runtime ended the connection")),
            _ => {}
        }
    }
    Ok(early)
}

async fn head(from: &mut From) -> io::Result<Head> {
    let mut bytes = [0; HEAD];
    from.read_exact(&mut bytes).await?;
    Ok(Head::parse(bytes))
}

async fn body(from: &mut From, length: usize) -> io::Result<Vec<u8>> {
    if length > LONGEST_CONTROL {
        return Err(io::Error::other("a frame is too long"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    Ok(body)
}

type Input = (u32, tokio::io::ReadHalf<DuplexStream>);
type Outputs = BTreeMap<u32, Option<tokio::io::WriteHalf<DuplexStream>>>;

/// Moves bytes until the connection ends, or nobody holds the session any more and all that was to be sent is sent.
async fn carry(
    mut from: From,
    to: OwnedWriteHalf,
    inputs: Vec<Input>,
    mut outputs: Outputs,
    dropped: oneshot::Receiver<()>,
) {
    let (queue, waiting) = mpsc::channel(QUEUE);
    let pumps = inputs.into_iter().map(|input| pump(input, queue.clone()));
    let pumps = join_all(pumps);
    let sent = async {
        tokio::pin!(pumps, dropped);
        tokio::select! {
            biased;
            _ = &mut dropped => {
                // What was written before is sent, unless nobody takes it.
                let _ = timeout(PATIENCE, pumps).await;
            }
            _ = &mut pumps => {
                let _ = dropped.await;
            }
        }
    };
    let sending = send(to, waiting);
    tokio::pin!(sending);
    let is_over = tokio::select! {
        biased;
        () = receive(&mut from, &mut outputs, queue) => false,
        () = &mut sending => false,
        () = sent => true,
    };
    if is_over {
        // Nobody fills the queue any more.
        let _ = timeout(PATIENCE, sending).await;
    }
    // Dropping the halves is the end for whoever reads.
}

/// Sends what is written to a stream, and its end.
async fn pump((id, mut input): Input, queue: mpsc::Sender<Bytes>) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = input.read(&mut buffer).await.unwrap_or(0);
        let bytes = buffer.get(..read).unwrap_or_default();
        if queue.send(frame::data(id, read == 0, bytes)).await.is_err() || read == 0 {
            return;
        }
    }
}

/// Sends frames until there will be none. A server that is done may take no more before what it has said is read; frames
/// it does not take are dropped, for the end of the connection is found by the one who reads.
async fn send(mut to: impl AsyncWrite + Unpin, mut waiting: mpsc::Receiver<Bytes>) {
    let mut is_taken = true;
    while let Some(frame) = waiting.recv().await {
        is_taken = is_taken && to.write_all(&frame).await.is_ok();
    }
}

/// Gives out what comes, until the connection ends.
async fn receive(from: &mut From, outputs: &mut Outputs, queue: mpsc::Sender<Bytes>) {
    let ended = async {
        loop {
            let head = head(from).await?;
            match head.kind {
                Kind::Data(id) => {
                    let output = outputs.get_mut(&id);
                    give(from, output, head.length).await?;
                    if head.fin {
                        end(outputs, id).await;
                    }
                }
                Kind::Reset => {
                    let body = body(from, head.length).await?;
                    if let Some(id) = frame::stream(&body) {
                        end(outputs, id).await;
                    }
                }
                Kind::Ping => {
                    let body = body(from, head.length).await?;
                    if queue.send(frame::ping(&body)).await.is_err() {
                        return Ok(());
                    }
                }
                Kind::Reply | Kind::GoAway | Kind::Other => {
                    body(from, head.length).await?;
                }
            }
        }
    };
    let ended: io::Result<()> = ended.await;
    if let Err(error) = ended {
        tracing::trace!(%error, "a streaming connection has ended");
    }
}

/// Passes the bytes of a frame on; nobody may want them any more.
async fn give(
    from: &mut From,
    output: Option<&mut Option<tokio::io::WriteHalf<DuplexStream>>>,
    length: usize,
) -> io::Result<()> {
    let mut left = length;
    let mut none = None;
    let output = output.unwrap_or(&mut none);
    let mut buffer = vec![0; left.min(CHUNK)];
    while left > 0 {
        let size = left.min(buffer.len());
        let Some(part) = buffer.get_mut(..size) else {
            break;
        };
        let read = from.read(part).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= read;
        let bytes = part.get(..read).unwrap_or_default();
        if let Some(open) = output
            && open.write_all(bytes).await.is_err()
        {
            *output = None;
        }
    }
    Ok(())
}

/// Nothing more comes on a stream.
async fn end(outputs: &mut Outputs, id: u32) {
    if let Some(output) = outputs.get_mut(&id) {
        finish(output).await;
    }
}

async fn finish(output: &mut Option<tokio::io::WriteHalf<DuplexStream>>) {
    if let Some(mut open) = output.take() {
        let _ = open.shutdown().await;
    }
}
