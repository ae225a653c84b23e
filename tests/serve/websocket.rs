//! Watches over WebSockets, as browsers and some client libraries have them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use homeostat::apiserver::serve::{ServeConfig, Serving};
use homeostat::apiserver::{ApiServer, AuthorizationMode, StaticTokens};
use homeostat::store::MemoryStore;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

async fn serve() -> (Serving, Api<ConfigMap>) {
    let tokens = StaticTokens::from_csv("secret,ann,1\n").unwrap();
    let server = ApiServer::builder(Arc::new(MemoryStore::default()))
        .tokens(tokens)
        .authorization([AuthorizationMode::AlwaysAllow])
        .watch_history(64)
        .start()
        .await
        .unwrap();
    let maps = Api::default_namespaced(server.client());
    let serving = ServeConfig::new(([127, 0, 0, 1], 0).into())
        .stall_timeout(Duration::from_millis(700))
        .grace(Duration::from_secs(5))
        .start(server)
        .await
        .unwrap();
    (serving, maps)
}

async fn create(maps: &Api<ConfigMap>, name: &str, text: &str) {
    let map = json!({"metadata": {"name": name}, "data": {"k": text}});
    let map = serde_json::from_value(map).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
}

struct Client(TcpStream);

impl Client {
    /// A handshake with these headers, one a line, and the head of its answer.
    async fn ask(address: SocketAddr, target: &str, headers: &str) -> (Self, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let headers: Vec<&str> = headers.lines().map(str::trim).collect();
        let headers = headers.join("\r\n");
        let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        (Self(stream), String::from_utf8(answer).unwrap())
    }

    async fn watch(address: SocketAddr, query: &str, headers: &str) -> Self {
        let target = format!("{MAPS}?watch=true&{query}");
        let (client, answer) = Self::ask(address, &target, &handshake(headers)).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        client
    }

    /// The next frame: what it is, and what is in it. `None`: the server has ended the connection.
    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let head = self.0.read_u8().await.ok()?;
            let length = match self.0.read_u8().await.ok()? {
                126 => u64::from(self.0.read_u16().await.ok()?),
                127 => self.0.read_u64().await.ok()?,
                short => u64::from(short),
            };
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut payload).await.ok()?;
            Some((head & 0x0f, payload))
        };
        timeout(Duration::from_secs(20), read).await.unwrap()
    }

    async fn event(&mut self) -> Value {
        let (kind, payload) = self.next().await.unwrap();
        assert_eq!((kind, payload.last()), (TEXT, Some(&b'\n')));
        serde_json::from_slice(&payload).unwrap()
    }

    /// A masked frame; the mask changes nothing.
    async fn say(&mut self, kind: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).unwrap();
        let head = [0x80 | kind, 0x80 | length, 0, 0, 0, 0];
        self.0.write_all(&[&head, payload].concat()).await.unwrap();
    }
}

/// The headers that every handshake needs, after those given.
fn handshake(headers: &str) -> String {
    let token = URL_SAFE_NO_PAD.encode("secret");
    let authorization = if headers.contains("Protocol") {
        headers.replace(
            "TOKEN",
            &format!("base64url.bearer.authorization.k8s.io.{token}"),
        )
    } else {
        format!("Authorization: Bearer secret\n{headers}")
    };
    format!(
        "{}\nConnection: keep-alive, Upgrade\nUpgrade: websocket\nOrigin: http://x\nSec-WebSocket-Version: 13\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        authorization.trim_end()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_messages() {
    let (serving, maps) = serve().await;
    let address = serving.address();
    create(&maps, "a", "x").await;
    let mut client = Client::watch(address, "", "").await;
    let event = client.event().await;
    assert_eq!(
        (&event["type"], &event["object"]["metadata"]["name"]),
        (&json!("ADDED"), &json!("a"))
    );
    client.say(PING, b"there?").await;
    assert_eq!(client.next().await.unwrap(), (PONG, b"there?".to_vec()));
    // What a client says is of no interest.
    client.say(TEXT, b"hello").await;
    create(&maps, "b", &"x".repeat(100_000)).await;
    assert_eq!(client.event().await["object"]["metadata"]["name"], "b");
    client.say(CLOSE, &1000_u16.to_be_bytes()).await;
    assert_eq!(client.next().await.unwrap(), (CLOSE, vec![3, 232]));
    assert_eq!(client.next().await, None);

    let protobuf = "Accept: application/vnd.kubernetes.protobuf;stream=watch";
    let mut client = Client::watch(address, "", protobuf).await;
    let (kind, payload) = client.next().await.unwrap();
    // The first field of a message without a length before it.
    assert_eq!((kind, &payload[..7]), (BINARY, &b"\x0a\x05ADDED"[..]));
    let table = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io";
    let mut client = Client::watch(address, "", table).await;
    for _ in ["a", "b"] {
        assert_eq!(client.event().await["object"]["kind"], "Table");
    }

    let mut ends = Client::watch(address, "resourceVersion=0&timeoutSeconds=1", "").await;
    for name in ["a", "b"] {
        assert_eq!(ends.event().await["object"]["metadata"]["name"], name);
    }
    assert_eq!(ends.next().await.unwrap(), (CLOSE, vec![3, 232]));
    let mut old = Client::watch(address, "resourceVersion=999999", "").await;
    // A client that breaks the protocol is told so.
    old.0.write_all(b"\x81\x01x").await.unwrap();
    assert_eq!(old.next().await.unwrap(), (CLOSE, vec![3, 234]));
    // The end of the server is told, too.
    let told = async {
        let told = client.next().await;
        // It waits a little for clients to end what it has ended.
        drop((client, ends, old));
        told
    };
    let ((), told) = tokio::join!(serving.stop(), told);
    assert_eq!(told.unwrap(), (CLOSE, vec![3, 232]));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_handshakes_are_refused() {
    let (serving, _) = serve().await;
    let address = serving.address();
    let good = handshake("");
    let target = format!("{MAPS}?watch=true&timeoutSeconds=1");
    for (headers, expected) in [
        (good.clone(), 101),
        (good.replace("13", "8"), 400),
        (good.replace("Sec-WebSocket-Key", "X-Key"), 400),
        (good.replace("Origin", "X-Origin"), 403),
        (good.replace("http://x", "null"), 403),
        // No WebSocket is asked for: the answer is a stream over HTTP.
        (good.replace("Upgrade: websocket", "Upgrade: h2c"), 200),
        (good.replace("keep-alive, Upgrade", "keep-alive"), 200),
        // A token as a protocol, which the answer must not name.
        (handshake("Sec-WebSocket-Protocol: TOKEN, x"), 101),
        (handshake("Sec-WebSocket-Protocol: x, TOKEN"), 101),
        (handshake("Sec-WebSocket-Protocol: TOKEN, x, y"), 400),
        (handshake("Sec-WebSocket-Protocol: TOKEN"), 401),
        (handshake("Sec-WebSocket-Protocol: TOKENa, x"), 401),
        (handshake("Sec-WebSocket-Protocol: TOKEN, TOKEN, x"), 401),
        (handshake("Sec-WebSocket-Protocol: x"), 401),
        // One of two tokens is enough.
        (
            handshake("Sec-WebSocket-Protocol: TOKEN, x\nAuthorization: Bearer other"),
            101,
        ),
    ] {
        let (_, answer) = Client::ask(address, &target, &headers).await;
        let start = format!("HTTP/1.1 {expected} ");
        assert!(answer.starts_with(&start), "{headers}: {answer}");
        let named = answer.contains("sec-websocket-protocol: x\r\n");
        assert_eq!(named, expected == 101 && headers.contains("Protocol"));
        assert!(!answer.contains("base64url"), "{answer}");
    }
    // What is wrong with the watch itself is told as ever.
    let target = format!("{MAPS}?watch=true&fieldSelector=spec.x%3Dy");
    let (_, answer) = Client::ask(address, &target, &good).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_cut_off() {
    let (serving, maps) = serve().await;
    let mut client = Client::watch(serving.address(), "", "").await;
    let large = "x".repeat(200_000);
    for number in 0..200 {
        create(&maps, &format!("m{number}"), &large).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut seen = 0;
    while let Some((TEXT, _)) = client.next().await {
        seen += 1;
    }
    assert!((1..200).contains(&seen), "{seen}");
    serving.stop().await;
}
