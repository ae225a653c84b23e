//! Streams into the fake's containers: scripted commands answer, others and attachments send back what they are sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::FakeRuntime;
use crate::cri::{
    AttachRequest, Duplex, Error, ExecOutput, ExecRequest, Result, Session, SessionEnd,
    StreamService,
};

/// How much an echo holds.
const BUFFER: usize = 64 << 10;

/// An input; whoever holds the other half learns that it was closed.
struct Input {
    to: DuplexStream,
    open: Option<oneshot::Sender<()>>,
}

impl AsyncWrite for Input {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.to).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.to).poll_shutdown(context))?;
        self.open = None;
        Poll::Ready(Ok(()))
    }
}

/// A connection to a port where nobody listens.
struct Refused(u16);

impl Refused {
    fn error(&self) -> io::Error {
        let why = format!("connection refused: nobody listens on port {}", self.0);
        io::Error::new(io::ErrorKind::ConnectionRefused, why)
    }
}

impl AsyncRead for Refused {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Err(self.error()))
    }
}

impl AsyncWrite for Refused {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(self.error()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A session that says `output` and ends `takes` later; without an output it sends its input back until that ends.
fn session(
    (stdin, stdout, stderr, tty): (bool, bool, bool, bool),
    takes: Duration,
    output: Option<ExecOutput>,
) -> Session {
    let (to, echo) = duplex(BUFFER);
    let (open, closed) = oneshot::channel::<()>();
    let input = stdin.then(|| {
        let open = Some(open);
        Box::new(Input { to, open }) as Box<dyn AsyncWrite + Send + Unpin>
    });
    let echoes = output.is_none();
    let ExecOutput {
        code,
        stdout: out,
        stderr: err,
    } = output.unwrap_or_default();
    let from =
        |bytes: Vec<u8>| -> Box<dyn AsyncRead + Send + Unpin> { Box::new(io::Cursor::new(bytes)) };
    let out: Box<dyn AsyncRead + Send + Unpin> = if echoes { Box::new(echo) } else { from(out) };
    let (resize, mut sizes) = mpsc::channel(1);
    let end = async move {
        let over = async {
            if echoes {
                let _ = closed.await;
            }
            sleep(takes).await;
        };
        tokio::pin!(over);
        loop {
            tokio::select! {
                biased;
                () = &mut over => return Ok(SessionEnd { code }),
                Some(_) = sizes.recv() => {}
            }
        }
    };
    Session {
        stdin: input,
        stdout: stdout.then_some(out),
        stderr: (stderr && !tty).then(|| from(err)),
        resize: tty.then_some(resize),
        end: Box::pin(end),
    }
}

#[async_trait]
impl StreamService for FakeRuntime {
    async fn exec(&self, request: ExecRequest) -> Result<Session> {
        let mut state = self.inner.up()?;
        let (sandbox, container) = state.find(&request.container)?;
        if !container.is_running() {
            return Err(Error::Refused {
                call: "exec",
                why: format!("container {:?} is not running", request.container),
            });
        }
        let (of, config) = (sandbox.config.clone(), container.config.clone());
        state.note("exec", &of, &config.name);
        let script = state.script(&config.image);
        let program = request.command.first().map(String::as_str);
        let scripted = program.and_then(|program| script.commands.get(program).cloned());
        let (takes, output) = scripted.unzip();
        let asked = (request.stdin, request.stdout, request.stderr, request.tty);
        Ok(session(asked, takes.unwrap_or_default(), output))
    }

    async fn attach(&self, request: AttachRequest) -> Result<Session> {
        let mut state = self.inner.up()?;
        let (sandbox, container) = state.find(&request.container)?;
        if !container.is_running() {
            return Err(Error::Refused {
                call: "attach",
                why: format!("container {:?} is not running", request.container),
            });
        }
        let (of, name) = (sandbox.config.clone(), container.config.name.clone());
        state.note("attach", &of, &name);
        let asked = (request.stdin, request.stdout, request.stderr, request.tty);
        Ok(session(asked, Duration::ZERO, None))
    }

    async fn port_forward(&self, sandbox: &str, port: u16) -> Result<Box<dyn Duplex>> {
        let state = self.inner.up()?;
        let sandbox = state.sandbox(sandbox)?;
        let mut running = sandbox.containers.iter().filter(|found| found.is_running());
        let listens = running.any(|container| {
            let script = state.scripts.get(&container.config.image);
            script.is_some_and(|script| script.ports.contains(&port))
        });
        if !listens {
            return Ok(Box::new(Refused(port)));
        }
        let (to, from) = duplex(BUFFER);
        Ok(Box::new(tokio::io::join(from, Input { to, open: None })))
    }
}
