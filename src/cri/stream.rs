//! Streams into containers: commands, attaching, ports.

use std::fmt::{self, Debug, Formatter};

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::Result;

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// A command to run in a container with streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the request, as in CRI"
)]
pub struct ExecRequest {
    /// The container.
    pub container: String,
    /// The command.
    pub command: Vec<String>,
    /// Whether it has a standard input.
    pub stdin: bool,
    /// Whether its output is wanted.
    pub stdout: bool,
    /// Whether its error output is wanted; with a terminal there is none.
    pub stderr: bool,
    /// Whether it has a terminal.
    pub tty: bool,
}

/// The streams of a container to be joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the request, as in CRI"
)]
pub struct AttachRequest {
    /// The container.
    pub container: String,
    /// Whether to write to its standard input.
    pub stdin: bool,
    /// Whether its output is wanted.
    pub stdout: bool,
    /// Whether its error output is wanted; with a terminal there is none.
    pub stderr: bool,
    /// Whether it has a terminal: must be as the container was made.
    pub tty: bool,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionEnd {
    /// The exit code of the command; 0 for an attachment.
    pub code: i32,
}

/// A command that runs with streams, or an attachment. Dropping all of it ends the session; whether the command then ends
/// is the runtime's affair.
pub struct Session {
    /// Its standard input, if it was asked for. Shutting it down is the end of the input; so is dropping it.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Its output, if it was asked for. Must be read, or the command stands still.
    pub stdout: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Its error output, if it was asked for and there is no terminal. Must be read, or the command stands still.
    pub stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Where new sizes of the terminal are told, if there is one.
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// How it ends. An error when the command could not be run or the streams broke. Its output may be read after that.
    pub end: BoxFuture<'static, Result<SessionEnd>>,
}

impl Debug for Session {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("stdin", &self.stdin.is_some())
            .field("stdout", &self.stdout.is_some())
            .field("stderr", &self.stderr.is_some())
            .field("resize", &self.resize.is_some())
            .finish_non_exhaustive()
    }
}

/// Streams into containers.
#[async_trait]
pub trait StreamService: Debug + Send + Sync + 'static {
    /// Runs a command in a container, with streams.
    ///
    /// # Errors
    /// [`Error::NotFound`](super::Error::NotFound) when there is no such container, others when it does not run. That the
    /// command cannot be run may be told only by [`Session::end`].
    async fn exec(&self, request: ExecRequest) -> Result<Session>;

    /// Joins the streams of a container's first process.
    async fn attach(&self, request: AttachRequest) -> Result<Session>;

    /// Connects to a port of a sandbox. That nobody listens may be told only by an error of the first read.
    async fn port_forward(&self, sandbox: &str, port: u16) -> Result<Box<dyn Duplex>>;
}
