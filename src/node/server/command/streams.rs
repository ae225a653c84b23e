//! The streams of a client: five channels of a WebSocket, or as many streams of SPDY.
use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Wanted;
use crate::node::server::channels::{Inlet, Outlet, Piece, WAITING};
use crate::node::server::spdy;
use crate::websocket::{self, Incoming, Reader};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Says that a channel, which is named by the next byte, has ended (v5).
const CLOSE: u8 = 255;

/// How long a client may take to open its streams.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long after its connection a client with a terminal is waited for to say the terminal's size. kubectl complains
/// when the other side has closed before it could, as a command can that ends at once.
const SIZED: Duration = Duration::from_secs(1);

/// A client's ends.
#[derive(Debug)]
pub(super) struct Streams {
    pub stdin: Option<Inlet>,
    pub stdout: Option<Outlet>,
    pub stderr: Option<Outlet>,
    pub resize: Option<Inlet>,
    pub error: Outlet,
    /// Whether the error stream is text, not a `Status`.
    pub plain: bool,
}

/// Speaks WebSocket until `run` has ended or the client is gone.
///
/// # Errors
/// When the connection fails or the client does not keep to the protocol.
pub(super) async fn web_socket<S, F>(
    io: S,
    protocol: &str,
    wanted: &Wanted,
    run: impl FnOnce(Streams) -> F,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
    F: Future<Output = ()>,
{
    let closes = protocol == "v5.channel.k8s.io";
    let (pieces, outgoing) = mpsc::channel(WAITING);
    let inlet = |wanted: bool| {
        let (sender, inlet) = mpsc::channel(WAITING);
        (wanted.then_some(sender), wanted.then_some(inlet))
    };
    let (stdin_to, stdin) = inlet(wanted.stdin);
    let (resize_to, resize) = inlet(wanted.tty);
    let outlet =
        |wanted: bool, channel: u8| wanted.then(|| Outlet::new(u32::from(channel), pieces.clone()));
    let streams = Streams {
        stdin,
        stdout: outlet(wanted.stdout, STDOUT),
        stderr: outlet(wanted.stderr, STDERR),
        resize,
        error: Outlet::new(u32::from(ERROR), pieces.clone()),
        plain: protocol == "channel.k8s.io",
    };
    if !closes {
        // Older clients wait for a first message.
        let first = if wanted.stdout { STDOUT } else { STDERR };
        let first = if wanted.stdout || wanted.stderr {
            first
        } else {
            ERROR
        };
        // There is room for it.
        let _ = Outlet::new(u32::from(first), pieces.clone())
            .send(Bytes::new())
            .await;
    }
    drop(pieces);
    let (reader, writer) = tokio::io::split(io);
    let mut reader = Reader::new(reader);
    let (pongs, due) = mpsc::channel(4);
    let (sized, size) = oneshot::channel();
    let sized = wanted.tty.then_some(sized);
    let mut running = pin!(run(streams));
    let mut writing = pin!(write(writer, outgoing, due, timeout(SIZED, size)));
    {
        let to = Channels {
            stdin: stdin_to,
            resize: resize_to,
            sized,
        };
        let mut reading = pin!(read(&mut reader, to, pongs, closes));
        let mut running_still = true;
        loop {
            tokio::select! {
                biased;
                written = &mut writing => {
                    written?;
                    break;
                }
                () = &mut running, if running_still => running_still = false,
                // The client is gone, and with it whoever would want the rest.
                read = &mut reading => return read,
            }
        }
    }
    spdy::linger(&mut reader.into_inner()).await;
    Ok(())
}

/// Where what a client sends goes.
struct Channels {
    stdin: Option<mpsc::Sender<Bytes>>,
    resize: Option<mpsc::Sender<Bytes>>,
    /// Told of the first size.
    sized: Option<oneshot::Sender<()>>,
}

async fn read<R: AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    mut to: Channels,
    pongs: mpsc::Sender<Bytes>,
    closes: bool,
) -> io::Result<()> {
    let mut channel = None;
    loop {
        match reader.next().await? {
            Some(Incoming::Part { first, mut bytes }) => {
                if first {
                    if bytes.is_empty() {
                        channel = None;
                        continue;
                    }
                    channel = Some(bytes.get_u8());
                }
                match channel {
                    Some(STDIN) => pass(&mut to.stdin, bytes).await,
                    Some(RESIZE) => {
                        // Nobody waits any more once all is written.
                        let _ = to.sized.take().map(|sized| sized.send(()));
                        pass(&mut to.resize, bytes).await;
                    }
                    Some(CLOSE) if closes => match bytes.first() {
                        Some(&STDIN) => to.stdin = None,
                        Some(&RESIZE) => to.resize = None,
                        _ => {}
                    },
                    _ => {}
                }
            }
            // With too many pings at once some are not answered.
            Some(Incoming::Ping(bytes)) => drop(pongs.try_send(bytes)),
            Some(Incoming::Close(_)) | None => return Ok(()),
        }
    }
}

/// Passes bytes on; nowhere once nobody reads them.
async fn pass(to: &mut Option<mpsc::Sender<Bytes>>, bytes: Bytes) {
    if bytes.is_empty() {
        return;
    }
    if let Some(open) = to
        && open.send(bytes).await.is_err()
    {
        *to = None;
    }
}

/// Writes until all channels have ended, and then, once the client is `ready`, the end of all.
async fn write<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut pieces: mpsc::Receiver<Piece>,
    mut pongs: mpsc::Receiver<Bytes>,
    ready: impl Future,
) -> io::Result<()> {
    loop {
        let frame = tokio::select! {
            biased;
            Some(bytes) = pongs.recv() => websocket::pong(&bytes),
            piece = pieces.recv() => match piece {
                // Clients know the end of a single channel only as something they say themselves.
                Some(Piece { last: true, .. }) => continue,
                Some(Piece { channel, bytes, .. }) => {
                    let channel = u8::try_from(channel).unwrap_or_default();
                    websocket::message(&[&[channel], &bytes])
                }
                None => break,
            },
        };
        writer.write_all(&frame).await?;
        writer.flush().await?;
    }
    ready.await;
    writer.write_all(&websocket::close(1000)).await?;
    writer.shutdown().await
}

/// Speaks SPDY until `run` has ended or the client is gone.
///
/// # Errors
/// When the connection fails, or the client does not keep to the protocol or does not open its streams.
pub(super) async fn spdy<S, F>(
    io: S,
    protocol: &str,
    wanted: &Wanted,
    run: impl FnOnce(Streams) -> F,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send,
    F: Future<Output = ()>,
{
    let (accept, mut opened) = mpsc::channel(WAITING);
    let plain = !matches!(protocol, "v4.channel.k8s.io");
    let resizes = wanted.tty && matches!(protocol, "v4.channel.k8s.io" | "v3.channel.k8s.io");
    let running = async {
        let gathered = timeout(PATIENCE, gather(&mut opened, wanted, resizes, plain)).await;
        if let Ok(Some(streams)) = gathered {
            run(streams).await;
        }
        // Held until now: without it the connection would end.
        drop(opened);
    };
    let mut serving = pin!(spdy::serve(io, accept));
    tokio::select! {
        biased;
        served = &mut serving => return served,
        () = running => {}
    }
    serving.await
}

/// Waits for the streams that a client opens. `None` when it opens others, or none.
async fn gather(
    opened: &mut mpsc::Receiver<spdy::Stream>,
    wanted: &Wanted,
    resizes: bool,
    plain: bool,
) -> Option<Streams> {
    let (mut stdin, mut stdout, mut stderr, mut resize, mut error) = (None, None, None, None, None);
    // Inputs of outputs, and the other way round, are kept: their ends would be taken for the stream's.
    loop {
        let complete = error.is_some()
            && stdin.is_some() >= wanted.stdin
            && stdout.is_some() >= wanted.stdout
            && stderr.is_some() >= wanted.stderr
            && resize.is_some() >= resizes;
        if complete {
            break;
        }
        let stream = opened.recv().await?;
        match stream.header("streamtype") {
            "stdin" => stdin = Some(stream.inlet),
            "stdout" => stdout = Some(stream.outlet),
            "stderr" => stderr = Some(stream.outlet),
            "resize" => resize = Some(stream.inlet),
            "error" => error = Some(stream.outlet),
            _ => return None,
        }
    }
    Some(Streams {
        stdin,
        stdout,
        stderr,
        resize,
        error: error?,
        plain,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::testing::{next, sent};

    /// What clients read is closed only when one with a terminal has said its size, or took too long.
    #[tokio::test(start_paused = true)]
    async fn a_terminal_has_a_size_before_the_end() {
        for (tty, size, waits) in [
            (false, None, Duration::ZERO),
            (true, None, SIZED),
            (true, Some(SIZED / 2), SIZED / 2),
            (true, Some(SIZED * 2), SIZED),
        ] {
            let wanted = Wanted {
                container: String::new(),
                command: None,
                stdin: true,
                stdout: true,
                stderr: false,
                tty,
            };
            let (mut client, server) = tokio::io::duplex(1 << 10);
            let run = async |streams: Streams| {
                let _ = streams.error.send(Bytes::from_static(b"over")).await;
            };
            let talk = async {
                let begun = tokio::time::Instant::now();
                let over = next(&mut client).await.unwrap();
                assert_eq!((over.0, &over.1[1..]), (2, &b"over"[..]));
                assert_eq!(begun.elapsed(), Duration::ZERO);
                let mut closed = pin!(async {
                    let (mut reader, mut writer) = tokio::io::split(client);
                    let says = async {
                        if let Some(after) = size {
                            tokio::time::sleep(after).await;
                            let _ = writer.write_all(&sent(b"\x04{}")).await;
                        }
                    };
                    let hears = async { (next(&mut reader).await, begun.elapsed()) };
                    futures::join!(hears, says).0
                });
                let (last, after) = (&mut closed).await;
                assert_eq!(last.unwrap().0, 8);
                assert!(
                    after.abs_diff(waits) < Duration::from_millis(5),
                    "{after:?}"
                );
            };
            let serves = web_socket(server, "v5.channel.k8s.io", &wanted, run);
            let (served, ()) = futures::join!(serves, talk);
            served.unwrap();
        }
    }
}
