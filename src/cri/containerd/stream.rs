//! Streams over the runtime's streaming server.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use k8s_cri::v1;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::mpsc;

use super::Containerd;
use super::spdy::{self, Stream, Wanted};
use crate::cri::{
    AttachRequest, Duplex, Error, ExecRequest, Result, Session, SessionEnd, StreamService,
    TerminalSize, bare_id,
};

/// The protocol of commands: the error stream ends with a `Status`.
const COMMAND: &str = "v4.channel.k8s.io";
const PORT_FORWARD: &str = "portforward.k8s.io";
/// The longest `Status` that is read.
const LONGEST_STATUS: u64 = 64 << 10;
/// As much of an error's text is kept.
const LONGEST_ERROR: usize = 4 << 10;

fn wanted(type_: &str, sends: bool) -> Wanted {
    Wanted {
        headers: vec![("streamtype", type_.to_owned())],
        sends,
    }
}

fn broken(error: io::Error) -> Error {
    Error::Unavailable(format!("streaming: {error}"))
}

/// Opens the streams of a command or an attachment.
async fn session(
    url: &str,
    (stdin, stdout, stderr, tty): (bool, bool, bool, bool),
) -> Result<Session> {
    let connection = spdy::upgrade(url, COMMAND).await?;
    // Always one for the outcome; a terminal has no error output of its own.
    let asked = [
        (true, "error", false),
        (stdin, "stdin", true),
        (stdout, "stdout", false),
        (stderr && !tty, "stderr", false),
        (tty, "resize", true),
    ];
    let names: Vec<Wanted> = asked
        .iter()
        .filter(|(asked, ..)| *asked)
        .map(|(_, name, sends)| wanted(name, *sends))
        .collect();
    let mut streams = spdy::open(connection, &names)
        .await
        .map_err(broken)?
        .into_iter();
    let mut next = |asked: bool| asked.then(|| streams.next()).flatten();
    let outcome = next(true).ok_or_else(|| Error::Stream("no error stream".to_owned()))?;
    Ok(Session {
        stdin: next(stdin).map(|stream| Box::new(stream) as _),
        stdout: next(stdout).map(|stream| Box::new(stream) as _),
        stderr: next(stderr && !tty).map(|stream| Box::new(stream) as _),
        resize: next(tty).map(resizer),
        end: Box::pin(end(outcome)),
    })
}

/// Tells the sizes of a terminal.
fn resizer(mut stream: Stream) -> mpsc::Sender<TerminalSize> {
    let (sizes, mut told) = mpsc::channel::<TerminalSize>(4);
    tokio::spawn(async move {
        while let Some(TerminalSize { width, height }) = told.recv().await {
            let size = format!("{{\"Width\":{width},\"Height\":{height}}}\n");
            if stream.write_all(size.as_bytes()).await.is_err() {
                break;
            }
        }
    });
    sizes
}

/// Reads how a command ended.
async fn end(outcome: Stream) -> Result<SessionEnd> {
    let mut text = Vec::new();
    let mut limited = outcome.take(LONGEST_STATUS);
    limited.read_to_end(&mut text).await.map_err(broken)?;
    outcome_of(&text)
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    status: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    reason: String,
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    causes: Vec<Cause>,
}

#[derive(Deserialize)]
struct Cause {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

fn outcome_of(text: &[u8]) -> Result<SessionEnd> {
    let Ok(status) = serde_json::from_slice::<Status>(text) else {
        let text = String::from_utf8_lossy(text);
        let why = if text.is_empty() {
            "the connection was lost before the command ended".to_owned()
        } else {
            text.into_owned()
        };
        return Err(Error::Stream(why));
    };
    if status.status == "Success" {
        return Ok(SessionEnd::default());
    }
    let causes = status
        .details
        .into_iter()
        .flat_map(|details| details.causes);
    let mut codes = causes.filter(|cause| cause.reason == "ExitCode");
    let code = codes.next().and_then(|cause| cause.message.parse().ok());
    match code {
        Some(code) if status.reason == "NonZeroExitCode" => Ok(SessionEnd { code }),
        _ => Err(Error::Stream(status.message)),
    }
}

/// A connection to a port. What the runtime says has gone wrong is the error of the read that would be the last.
struct Forwarded {
    data: Stream,
    error: Stream,
    /// What was read of the error so far.
    text: Vec<u8>,
}

impl AsyncRead for Forwarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.data).poll_read(context, buffer))?;
        if buffer.filled().len() > before || buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        // The error stream ends before the data does.
        loop {
            let mut bytes = [0; 1024];
            let mut part = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.error).poll_read(context, &mut part))?;
            if part.filled().is_empty() {
                break;
            }
            if self.text.len() < LONGEST_ERROR {
                self.text.extend_from_slice(part.filled());
            }
        }
        if self.text.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let text = std::mem::take(&mut self.text);
        let why = String::from_utf8_lossy(&text).trim().to_owned();
        Poll::Ready(Err(io::Error::other(why)))
    }
}

impl AsyncWrite for Forwarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.data).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.data).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.data).poll_shutdown(context)
    }
}

#[async_trait]
impl StreamService for Containerd {
    async fn exec(&self, request: ExecRequest) -> Result<Session> {
        let ExecRequest {
            container,
            command,
            stdin,
            stdout,
            stderr,
            tty,
        } = request;
        let asked = v1::ExecRequest {
            container_id: bare_id(&container).to_owned(),
            cmd: command,
            tty,
            stdin,
            stdout,
            stderr: stderr && !tty,
        };
        let mut client = self.runtime();
        let answer = self.ask(("Exec", &container), client.exec(asked)).await?;
        session(&answer.url, (stdin, stdout, stderr, tty)).await
    }

    async fn attach(&self, request: AttachRequest) -> Result<Session> {
        let AttachRequest {
            container,
            stdin,
            stdout,
            stderr,
            tty,
        } = request;
        let asked = v1::AttachRequest {
            container_id: bare_id(&container).to_owned(),
            stdin,
            tty,
            stdout,
            stderr: stderr && !tty,
        };
        let mut client = self.runtime();
        let answer = self
            .ask(("Attach", &container), client.attach(asked))
            .await?;
        session(&answer.url, (stdin, stdout, stderr, tty)).await
    }

    async fn port_forward(&self, sandbox: &str, port: u16) -> Result<Box<dyn Duplex>> {
        let asked = v1::PortForwardRequest {
            pod_sandbox_id: sandbox.to_owned(),
            port: vec![port.into()],
        };
        let mut client = self.runtime();
        let answer = self.ask(("PortForward", sandbox), client.port_forward(asked));
        let url = answer.await?.url;
        let connection = spdy::upgrade(&url, PORT_FORWARD).await?;
        let stream = |type_: &str, sends| Wanted {
            headers: vec![
                ("streamtype", type_.to_owned()),
                ("port", port.to_string()),
                ("requestid", "0".to_owned()),
            ],
            sends,
        };
        let wanted = [stream("error", false), stream("data", true)];
        let mut streams = spdy::open(connection, &wanted)
            .await
            .map_err(broken)?
            .into_iter();
        match (streams.next(), streams.next()) {
            (Some(error), Some(data)) => Ok(Box::new(Forwarded {
                data,
                error,
                text: Vec::new(),
            })),
            _ => Err(Error::Stream("no streams".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes() {
        let failure = r#"{"status":"Failure","message":"command terminated","reason":"NonZeroExitCode",
            "details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
        let internal = r#"{"status":"Failure","message":"no such container","reason":"InternalError","code":500}"#;
        let lost = "the connection was lost before the command ended";
        for (text, outcome) in [
            (r#"{"metadata":{},"status":"Success"}"#, Ok(0)),
            (failure, Ok(7)),
            (internal, Err("no such container")),
            ("plain words", Err("plain words")),
            ("", Err(lost)),
        ] {
            let found = outcome_of(text.as_bytes()).map(|end| end.code);
            let expected = outcome.map_err(|why: &str| Error::Stream(why.to_owned()));
            assert_eq!(found, expected, "{text}");
        }
    }
}
