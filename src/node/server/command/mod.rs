//! Commands and attachments: the streams of a client joined to those of the runtime.
mod streams;

use bytes::Bytes;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use self::streams::Streams;
use super::channels::{Inlet, Outlet, PIECE};
use super::negotiate::{self, Transport};
use super::query::Query;
use super::{Answer, Inner, Refusal, pods, refuse, text};
use crate::cri::{AttachRequest, ContainerRuntime, ExecRequest, Result, Session, TerminalSize};

/// Over WebSocket, newest first.
const WEB_SOCKET: [&str; 3] = ["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"];
/// Over SPDY, newest first.
const SPDY: [&str; 4] = [
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
];

/// Which container is meant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub namespace: &'a str,
    pub pod: &'a str,
    pub container: &'a str,
}

/// What a client wants.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the request"
)]
struct Wanted {
    container: String,
    /// `None`: the streams of the container's first process.
    command: Option<Vec<String>>,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Inner {
    /// Answers `exec` and `attach`.
    pub(super) async fn command(
        self: &Arc<Self>,
        request: &mut Request<Incoming>,
        exec: bool,
        place: Place<'_>,
        query: &Query,
    ) -> Answer {
        match self.switch(request, exec, place, query).await {
            Ok(answer) => answer,
            Err(refusal) => *refusal.0,
        }
    }

    async fn switch(
        self: &Arc<Self>,
        request: &mut Request<Incoming>,
        exec: bool,
        place: Place<'_>,
        query: &Query,
    ) -> Result<Answer, Refusal> {
        let tty = query.flag("tty");
        let mut wanted = Wanted {
            container: String::new(),
            command: exec.then(|| query.all("command").map(str::to_owned).collect()),
            stdin: query.flag("input"),
            stdout: query.flag("output"),
            // With a terminal all output is one.
            stderr: query.flag("error") && !tty,
            tty,
        };
        if !(wanted.stdin || wanted.stdout || wanted.stderr) {
            let why = "you must specify at least 1 of stdin, stdout, stderr";
            return Err(refuse(StatusCode::BAD_REQUEST, why));
        }
        wanted.container = self.runs(place).await?;
        let headers = request.headers();
        let (transport, (protocol, answer)) = match negotiate::transport(headers)? {
            Transport::WebSocket => (
                Transport::WebSocket,
                negotiate::web_socket(headers, &WEB_SOCKET)?,
            ),
            Transport::Spdy => (Transport::Spdy, negotiate::spdy(headers, &SPDY)?),
        };
        let upgrade = hyper::upgrade::on(request);
        let runtime = self.runtime.clone();
        self.spawn(async move {
            let io = match upgrade.await {
                Ok(io) => TokioIo::new(io),
                Err(error) => return tracing::debug!(%error, "an upgrade failed"),
            };
            let run = |streams: Streams| run(runtime, wanted.clone(), streams);
            let served = match transport {
                Transport::WebSocket => streams::web_socket(io, protocol, &wanted, run).await,
                Transport::Spdy => streams::spdy(io, protocol, &wanted, run).await,
            };
            if let Err(error) = served {
                tracing::debug!(%error, "the streams of a command ended");
            }
        });
        Ok(answer)
    }

    /// The id of the container, which must run.
    async fn runs(&self, place: Place<'_>) -> Result<String, Refusal> {
        let missing = |what: String| refuse(StatusCode::NOT_FOUND, what);
        let pod = self.pod(place.namespace, place.pod);
        let pod = pod.ok_or_else(|| missing("pod does not exist".to_owned()))?;
        let container = place.container;
        if !pods::has_container(&pod, container) {
            return Err(missing(format!("container not found ({container:?})")));
        }
        self.running_id(&pod, container).await.ok_or_else(|| {
            let why = format!(
                "container {container:?} in pod {:?} is not running",
                place.pod
            );
            refuse(StatusCode::INTERNAL_SERVER_ERROR, why)
        })
    }

    /// Answers `run`: a command without streams.
    pub(super) async fn run(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        command: &str,
    ) -> Answer {
        let place = Place {
            namespace,
            pod,
            container,
        };
        let id = match self.runs(place).await {
            Ok(id) => id,
            Err(refusal) => return *refusal.0,
        };
        let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        match self.runtime.exec_sync(&id, &words, Duration::ZERO).await {
            Ok(output) => text(StatusCode::OK, [output.stdout, output.stderr].concat()),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
}

/// Runs it, and says on the error stream how it ended.
async fn run(runtime: Arc<dyn ContainerRuntime>, wanted: Wanted, streams: Streams) {
    let Streams {
        stdin,
        stdout,
        stderr,
        resize,
        error,
        plain,
    } = streams;
    let attaches = wanted.command.is_none();
    let ended = match open(&*runtime, wanted).await {
        Ok(session) => join(session, stdin, stdout, stderr, resize).await,
        Err(error) => Err(error),
    };
    let verdict = match ended {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Err(why) => {
            let what = if attaches {
                "error attaching to container"
            } else {
                "error executing command in container"
            };
            json!({
                "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
                "message": format!("Internal error occurred: {what}: {why}"),
                "details": {"causes": [{"message": format!("{what}: {why}")}]},
            })
        }
    };
    let says = if plain {
        // Older clients read a text, and take none for success.
        let message = verdict.get("message").and_then(|message| message.as_str());
        message.unwrap_or_default().to_owned()
    } else {
        verdict.to_string()
    };
    if !says.is_empty() {
        // Who is gone needs no verdict.
        let _ = error.send(says.into()).await;
    }
    error.close().await;
}

async fn open(runtime: &dyn ContainerRuntime, wanted: Wanted) -> Result<Session> {
    let Wanted {
        container,
        command,
        stdin,
        stdout,
        stderr,
        tty,
    } = wanted;
    if let Some(command) = command {
        let request = ExecRequest {
            container,
            command,
            stdin,
            stdout,
            stderr,
            tty,
        };
        return runtime.exec(request).await;
    }
    let request = AttachRequest {
        container,
        stdin,
        stdout,
        stderr,
        tty,
    };
    runtime.attach(request).await
}

/// Carries bytes until the command has ended and its output is sent; gives its exit code.
async fn join(
    session: Session,
    stdin: Option<Inlet>,
    stdout: Option<Outlet>,
    stderr: Option<Outlet>,
    resize: Option<Inlet>,
) -> Result<i32> {
    let Session {
        stdin: input,
        stdout: output,
        stderr: complaints,
        resize: sizes,
        end,
    } = session;
    let forth = async {
        futures::join!(feed(stdin, input), tell_sizes(resize, sizes));
        // The end of the input is not the end of the command.
        std::future::pending::<()>().await;
    };
    let back = async {
        let ((), (), ended) = futures::join!(drain(output, stdout), drain(complaints, stderr), end);
        ended
    };
    tokio::select! {
        biased;
        ended = back => Ok(ended?.code),
        () = forth => Ok(0),
    }
}

async fn feed(inlet: Option<Inlet>, input: Option<Box<dyn AsyncWrite + Send + Unpin>>) {
    let (Some(mut inlet), Some(mut input)) = (inlet, input) else {
        return;
    };
    while let Some(bytes) = inlet.recv().await {
        let written = async {
            input.write_all(&bytes).await?;
            input.flush().await
        };
        if written.await.is_err() {
            // The command reads no more.
            return;
        }
    }
    // A command that has ended minds no end of its input.
    let _ = input.shutdown().await;
}

async fn drain(output: Option<Box<dyn AsyncRead + Send + Unpin>>, outlet: Option<Outlet>) {
    let Some(mut output) = output else {
        return;
    };
    let mut buffer = vec![0; PIECE];
    while let Ok(read @ 1..) = output.read(&mut buffer).await {
        let piece = Bytes::copy_from_slice(buffer.get(..read).unwrap_or_default());
        let Some(outlet) = &outlet else {
            continue;
        };
        if outlet.send(piece).await.is_err() {
            return;
        }
    }
    if let Some(outlet) = outlet {
        outlet.close().await;
    }
}

async fn tell_sizes(inlet: Option<Inlet>, sizes: Option<mpsc::Sender<TerminalSize>>) {
    let (Some(mut inlet), Some(sizes)) = (inlet, sizes) else {
        return;
    };
    // One document after the other, however they are cut.
    let mut waiting = Vec::new();
    while let Some(bytes) = inlet.recv().await {
        waiting.extend_from_slice(&bytes);
        let mut documents = serde_json::Deserializer::from_slice(&waiting).into_iter();
        let mut read = 0;
        while let Some(Ok(size)) = documents.next() {
            read = documents.byte_offset();
            if sizes.send(terminal_size(&size)).await.is_err() {
                return;
            }
        }
        waiting.drain(..read);
        if waiting.len() > 1 << 10 {
            return;
        }
    }
}

fn terminal_size(size: &serde_json::Value) -> TerminalSize {
    let of = |name: &str| {
        let number = size.get(name).and_then(serde_json::Value::as_u64);
        u16::try_from(number.unwrap_or_default()).unwrap_or(u16::MAX)
    };
    TerminalSize {
        width: of("Width"),
        height: of("Height"),
    }
}
