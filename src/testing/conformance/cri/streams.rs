//! Streams into containers.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{Bench, PATIENCE, check, equal, fails};
use crate::cri::{AttachRequest, Error, ExecRequest, Session, TerminalSize};

/// More than any buffer on the way holds.
const LONG: usize = 3 << 20;

pub(super) async fn run(bench: &Bench<'_>) {
    commands_have_streams_of_their_own(bench).await;
    input_ends(bench).await;
    terminals_have_a_size(bench).await;
    what_is_not_there_is_told(bench).await;
    attachments_join(bench).await;
    ports_are_reached(bench).await;
}

async fn within<T>(case: &str, what: &str, done: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, done).await;
    done.unwrap_or_else(|_| panic!("{case}: {what} took longer than {PATIENCE:?}"))
}

/// All that comes on a stream.
async fn all(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut bytes).await.unwrap();
    }
    bytes
}

/// Bytes that show when some are lost or changed places.
fn pattern() -> Vec<u8> {
    (0_u32..).flat_map(u32::to_le_bytes).take(LONG).collect()
}

async fn commands_have_streams_of_their_own(bench: &Bench<'_>) {
    let case = "commands have streams of their own";
    let pod = bench.pod(case).await;
    let id = bench.start(case, &pod, &bench.subject.runs).await;
    let (command, expected) = &bench.subject.command;
    let request = ExecRequest {
        container: id.clone(),
        command: command.clone(),
        stdout: true,
        stderr: true,
        ..ExecRequest::default()
    };
    let session = bench.runtime.exec(request).await.unwrap();
    let Session {
        stdin,
        stdout,
        stderr,
        resize,
        end,
    } = session;
    check(
        case,
        stdin.is_none() && resize.is_none(),
        "there is more than was asked for",
    );
    let (stdout, stderr, end) = within(case, "the command", async {
        tokio::join!(all(stdout), all(stderr), end)
    })
    .await;
    equal(case, "the output", &stdout, &expected.stdout);
    equal(case, "the error output", &stderr, &expected.stderr);
    equal(case, "the code", end.map(|end| end.code), Ok(expected.code));
    bench.clean(case, pod).await;
}

async fn input_ends(bench: &Bench<'_>) {
    let case = "input ends, and nothing of it is lost";
    let pod = bench.pod(case).await;
    let id = bench.start(case, &pod, &bench.subject.runs).await;
    let request = ExecRequest {
        container: id.clone(),
        command: bench.subject.cat.clone(),
        stdin: true,
        stdout: true,
        ..ExecRequest::default()
    };
    let Session {
        stdin, stdout, end, ..
    } = bench.runtime.exec(request).await.unwrap();
    let sent = pattern();
    let write = async {
        let mut stdin = stdin.unwrap();
        stdin.write_all(&sent).await.unwrap();
        stdin.shutdown().await.unwrap();
    };
    let ((), received, end) = within(case, "the echo", async {
        tokio::join!(write, all(stdout), end)
    })
    .await;
    equal(case, "the length of the echo", received.len(), sent.len());
    check(case, received == sent, "the echo differs");
    equal(case, "the code", end.map(|end| end.code), Ok(0));
    bench.clean(case, pod).await;
}

async fn terminals_have_a_size(bench: &Bench<'_>) {
    let case = "terminals have a size";
    let pod = bench.pod(case).await;
    let id = bench.start(case, &pod, &bench.subject.runs).await;
    let request = ExecRequest {
        container: id.clone(),
        command: bench.subject.cat.clone(),
        stdin: true,
        stdout: true,
        tty: true,
        ..ExecRequest::default()
    };
    let session = bench.runtime.exec(request).await.unwrap();
    check(
        case,
        session.stderr.is_none(),
        "a terminal has an error output",
    );
    let Some(resize) = session.resize else {
        panic!("{case}: it cannot be resized")
    };
    let ended = tokio::spawn(session.end);
    for width in [80, 100, 120] {
        let told = resize.send(TerminalSize { width, height: 25 });
        within(case, "a new size", told).await.unwrap();
    }
    let mut stdin = session.stdin.unwrap();
    let mut stdout = session.stdout.unwrap();
    stdin.write_all(b"hello\n").await.unwrap();
    stdin.flush().await.unwrap();
    let mut seen = Vec::new();
    within(case, "the echo", async {
        while !String::from_utf8_lossy(&seen).contains("hello") {
            let mut part = [0; 256];
            let read = stdout.read(&mut part).await.unwrap();
            check(case, read > 0, "the output ended");
            seen.extend_from_slice(&part[..read]);
        }
    })
    .await;
    // The key that ends the input of a terminal; then the input itself.
    let _ = stdin.write_all(b"\x04").await;
    stdin.shutdown().await.unwrap();
    let end = within(case, "the end", ended).await.unwrap();
    check(case, end.is_ok(), &format!("it ended with {end:?}"));
    bench.clean(case, pod).await;
}

async fn what_is_not_there_is_told(bench: &Bench<'_>) {
    let case = "what is not there is told";
    let request = ExecRequest {
        container: "0123456789abcdef".to_owned(),
        command: bench.subject.cat.clone(),
        stdout: true,
        ..ExecRequest::default()
    };
    let error = fails(case, "a command nowhere", bench.runtime.exec(request).await);
    check(
        case,
        matches!(error, Error::NotFound(_)),
        &format!("{error:?} is no Error::NotFound"),
    );
    let request = AttachRequest {
        container: "0123456789abcdef".to_owned(),
        stdout: true,
        ..AttachRequest::default()
    };
    let error = fails(
        case,
        "an attachment nowhere",
        bench.runtime.attach(request).await,
    );
    check(
        case,
        matches!(error, Error::NotFound(_)),
        &format!("{error:?} is no Error::NotFound"),
    );
    let forwarded = bench.runtime.port_forward("0123456789abcdef", 7).await;
    let Err(error) = forwarded else {
        panic!("{case}: a port nowhere is reached")
    };
    check(
        case,
        matches!(error, Error::NotFound(_)),
        &format!("{error:?} is no Error::NotFound"),
    );
}

async fn attachments_join(bench: &Bench<'_>) {
    let case = "attachments join the first process";
    let pod = bench.pod(case).await;
    let id = bench.start(case, &pod, &bench.subject.echoes).await;
    let request = AttachRequest {
        container: id.clone(),
        stdin: true,
        stdout: true,
        stderr: true,
        ..AttachRequest::default()
    };
    let session = bench.runtime.attach(request).await.unwrap();
    let (mut stdin, mut stdout) = (session.stdin.unwrap(), session.stdout.unwrap());
    within(case, "the echo", async {
        stdin.write_all(b"to and fro\n").await.unwrap();
        stdin.flush().await.unwrap();
        let mut line = [0; 11];
        stdout.read_exact(&mut line).await.unwrap();
        equal(case, "the echo", &line, b"to and fro\n");
    })
    .await;
    bench.clean(case, pod).await;
}

async fn ports_are_reached(bench: &Bench<'_>) {
    let case = "ports are reached";
    let pod = bench.pod(case).await;
    let _id = bench.start(case, &pod, &bench.subject.runs).await;
    // Who listens may need a moment.
    let received = super::wait(case, "somebody to listen", async || {
        let connection = bench
            .runtime
            .port_forward(&pod.id, bench.subject.port)
            .await;
        let (mut from, mut to) = tokio::io::split(connection.unwrap());
        to.write_all(b"ping").await.ok()?;
        let mut answer = [0; 4];
        from.read_exact(&mut answer).await.ok()?;
        Some(answer)
    })
    .await;
    equal(case, "the answer", &received, b"ping");
    let connection = bench
        .runtime
        .port_forward(&pod.id, bench.subject.port)
        .await
        .unwrap();
    let (mut from, mut to) = tokio::io::split(connection);
    let sent = pattern();
    let mut echo = vec![0; sent.len()];
    within(case, "the echo", async {
        // Not shut down before all has come back: some runtimes end both ways then.
        let (written, read) = tokio::join!(to.write_all(&sent), from.read_exact(&mut echo));
        written.unwrap();
        read.unwrap();
    })
    .await;
    check(case, echo == sent, "the echo differs");
    let closed = bench.runtime.port_forward(&pod.id, 1).await.unwrap();
    let (mut from, _to) = tokio::io::split(closed);
    let read = within(case, "the refusal", from.read(&mut [0; 16])).await;
    check(
        case,
        read.is_err(),
        &format!("a port where nobody listens gave {read:?}"),
    );
    bench.clean(case, pod).await;
}
