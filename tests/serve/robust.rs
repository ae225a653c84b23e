//! Clients that are slow, greedy, broken or hostile: an answer or an end, and the server serves on.

#[path = "../../fuzz/body.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "a file of the fuzz target, which asks in process"
)]
mod body;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use homeostat::apiserver::ApiServer;
use homeostat::apiserver::serve::{ServeConfig, Serving};
use homeostat::clock::Clock;
use homeostat::store::MemoryStore;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// A server in plain text whose limits are short.
async fn serve() -> (Serving, ApiServer) {
    let server = ApiServer::builder(Arc::new(MemoryStore::default()))
        .body_limit(64 << 10)
        .with_anonymous()
        .start()
        .await
        .unwrap();
    let serving = ServeConfig::new(([127, 0, 0, 1], 0).into())
        .header_timeout(Duration::from_millis(500))
        .idle_timeout(Duration::from_millis(800))
        .stall_timeout(Duration::from_millis(700))
        .max_connections(50)
        .grace(Duration::from_secs(5))
        .start(server.clone())
        .await
        .unwrap();
    (serving, server)
}

/// Everything that a server says to these bytes until it closes or is silent.
async fn say(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may close while it is still being told.
    let _ = stream.write_all(bytes).await;
    hear(&mut stream).await
}

async fn hear(stream: &mut TcpStream) -> String {
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(Ok(count)) = timeout(Duration::from_secs(3), stream.read(&mut buffer)).await {
        if count == 0 {
            break;
        }
        heard.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&heard).into_owned()
}

async fn is_well(address: SocketAddr) {
    let answer = say(
        address,
        b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_answered() {
    let (serving, _) = serve().await;
    let address = serving.address();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    for (request, expected) in [
        (get("/api/v1/../../etc/passwd"), &["404"][..]),
        (get("/api/v1/namespaces/%2e%2e/pods/%2e%2e"), &["404"]),
        (get("/api/v1/namespaces/a%2Fb/pods"), &["404", "200"]),
        (get("/api/v1/namespaces/%zz/pods"), &["400"]),
        (get("/api/v1/namespaces/%00/pods"), &["404", "200", "400"]),
        (get("//api//v1"), &["404", "301"]),
        (get("/api/v1/pods?limit=-1"), &["400", "422", "200"]),
        (get("/api/v1/pods?labelSelector=%28%28"), &["400"]),
        (
            get(&format!("/api/v1/pods?x={}", "y".repeat(50_000))),
            &["200", "414", "431"],
        ),
        ("GARBAGE\r\n\r\n".to_owned(), &["400"]),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), &["400", "505"]),
    ] {
        let answer = say(address, request.as_bytes()).await;
        assert!(
            expected.contains(&status(&answer)),
            "{request:.80}: {answer}"
        );
    }
    is_well(address).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_and_heads_are_refused() {
    let (serving, _) = serve().await;
    let address = serving.address();
    let body = "x".repeat(70 << 10);
    let large = format!(
        "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = say(address, large.as_bytes()).await;
    assert_eq!(status(&answer), "413", "{answer}");
    assert!(answer.contains("RequestEntityTooLarge"), "{answer}");

    let mut head = "GET /livez HTTP/1.1\r\nHost: x\r\n".to_owned();
    let headers = (0..3000).map(|number| format!("X-Header-{number}: {}\r\n", "y".repeat(60)));
    head.extend(headers);
    head.push_str("\r\n");
    let answer = say(address, head.as_bytes()).await;
    assert!(answer.is_empty() || status(&answer) == "431", "{answer}");
    is_well(address).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_cut_off() {
    let (serving, _) = serve().await;
    let address = serving.address();
    // Half open, half a head, half a body, and nothing at all.
    for bytes in [
        &b""[..],
        b"GET /api",
        b"GET /api HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let ended = timeout(PATIENCE, async {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await
        });
        assert!(ended.await.is_ok(), "{bytes:?} is kept");
    }
    is_well(address).await;
    serving.stop().await;
}

/// A client that stops reading its watch is cut off; others hear everything, and the writer is not held up.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_not_read_ends() {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::{Api, ObjectMeta, PostParams};
    let (serving, server) = serve().await;
    let mut stuck = TcpStream::connect(serving.address()).await.unwrap();
    stuck
        .write_all(b"GET /api/v1/namespaces/default/configmaps?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let maps = Api::<ConfigMap>::default_namespaced(server.client());
    let text = "x".repeat(50_000);
    let writes = async {
        for number in 0..400 {
            let map = ConfigMap {
                metadata: ObjectMeta {
                    name: Some(format!("m{number}")),
                    ..ObjectMeta::default()
                },
                data: Some([("text".to_owned(), text.clone())].into()),
                ..ConfigMap::default()
            };
            maps.create(&PostParams::default(), &map).await.unwrap();
        }
    };
    timeout(PATIENCE, writes).await.unwrap();
    // 20 MB are more than any socket holds. What was sent is there; the rest never comes, for the connection is closed.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut heard = 0;
    let mut buffer = vec![0; 1 << 16];
    let end = timeout(PATIENCE, async {
        loop {
            match stuck.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => heard += count,
            }
        }
    });
    end.await.expect("the connection is kept");
    assert!(heard < 400 * text.len(), "{heard} bytes were kept for it");
    is_well(serving.address()).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections_are_closed() {
    let (serving, _) = serve().await;
    let mut streams = Vec::new();
    for _ in 0..80 {
        streams.push(TcpStream::connect(serving.address()).await.unwrap());
    }
    drop(streams);
    tokio::time::sleep(Duration::from_millis(200)).await;
    is_well(serving.address()).await;
    serving.stop().await;
}

/// What is in flight is answered, watches end, and the port is free.
#[tokio::test(flavor = "multi_thread")]
async fn stopping_is_graceful() {
    let (serving, _) = serve().await;
    let address = serving.address();
    let mut watch = TcpStream::connect(address).await.unwrap();
    watch
        .write_all(b"GET /api/v1/configmaps?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 12];
    watch.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let started = std::time::Instant::now();
    serving.stop().await;
    assert!(started.elapsed() < Duration::from_secs(5), "it was cut off");
    let rest = hear(&mut watch).await;
    // The last chunk: the answer is whole.
    assert!(rest.ends_with("0\r\n\r\n"), "{rest:?}");
    assert!(TcpStream::connect(address).await.is_err());
}

/// Seeded requests over connections that are kept, as long as the server keeps them: each has an answer, a failure is a `Status`, and
/// the server is well afterwards. `FUZZ_REQUESTS` asks for more than 2,000.
#[tokio::test(flavor = "multi_thread")]
async fn fuzzed_requests_are_answered() {
    let wanted = std::env::var("FUZZ_REQUESTS").ok();
    let wanted: u64 = wanted.map_or(2_000, |number| number.parse().unwrap());
    let chance = Clock::seeded(11);
    let mut asked = 0;
    while asked < wanted {
        let (serving, _) = serve().await;
        let address = serving.address();
        let until = wanted.min(asked + 20_000);
        let mut sender = None;
        while asked < until {
            let bytes: Vec<u8> = (0..48)
                .flat_map(|_| chance.random().to_le_bytes())
                .collect();
            for input in body::inputs(&bytes) {
                let Some(request) = input.request() else {
                    continue;
                };
                asked += 1;
                sender = exchange(address, sender, request, &input).await;
            }
        }
        is_well(address).await;
        serving.stop().await;
    }
}

type Sender = hyper::client::conn::http1::SendRequest<http_body_util::Full<bytes::Bytes>>;

/// One request and its answer; the connection, when it goes on. Of a stream without end only the head is looked at.
async fn exchange(
    address: SocketAddr,
    sender: Option<Sender>,
    mut request: http::Request<http_body_util::Full<bytes::Bytes>>,
    input: &body::Input,
) -> Option<Sender> {
    let host = http::HeaderValue::from_static("x");
    request.headers_mut().insert("host", host);
    let mut sender = if let Some(sender) = sender.filter(|sender| !sender.is_closed()) {
        sender
    } else {
        let stream = TcpStream::connect(address).await.unwrap();
        let connected = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = connected.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender
    };
    let answer = timeout(PATIENCE, sender.send_request(request)).await;
    let answer = answer.unwrap_or_else(|_| panic!("{}: no answer", input.shown()));
    // None when the client refused to say it, or the server closed on it, which a line of HTTP that is none deserves.
    let answer = answer.ok()?;
    if answer.status() == http::StatusCode::SWITCHING_PROTOCOLS {
        let end = timeout(PATIENCE, speak(answer, &input.body)).await;
        end.unwrap_or_else(|_| panic!("{}: a WebSocket without an end", input.shown()));
        return None;
    }
    let (parts, body) = answer.into_parts();
    body.size_hint().exact()?;
    let read = timeout(PATIENCE, body.collect()).await;
    let body = read
        .unwrap_or_else(|_| panic!("{}: no end", input.shown()))
        .unwrap()
        .to_bytes();
    let type_ = parts.headers.get("content-type");
    let type_ = type_
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if let Err(wrong) = body::judge(parts.status.as_u16(), type_, &body) {
        let body = String::from_utf8_lossy(&body);
        panic!("{}: {wrong}: {} {body}", input.shown(), parts.status);
    }
    Some(sender)
}

/// Says `bytes` and no more on the connection that was switched, which the server has to end then.
async fn speak(answer: http::Response<hyper::body::Incoming>, bytes: &[u8]) {
    let upgraded = hyper::upgrade::on(answer).await.unwrap();
    let mut stream = TokioIo::new(upgraded);
    // The server may have ended it already.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut sink = vec![0; 16 << 10];
    while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
}
