//! What the fuzz target and `tests/api/fuzz.rs` share: bytes become requests, and answers are judged.

use std::time::Duration;

use bytes::Bytes;
use homeostat::apiserver::ApiServer;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use tower::Service;

/// An hour of virtual time is enough for any watch.
const PATIENCE: Duration = Duration::from_secs(3 * 3600);

const METHODS: [&str; 8] = [
    "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT",
];
const PATHS: [&str; 30] = [
    "/",
    "/api",
    "/apis",
    "/api/v1",
    "/apis/apps/v1",
    "/api/v1/namespaces",
    "/api/v1/namespaces/default",
    "/api/v1/namespaces/default/finalize",
    "/api/v1/namespaces/default/configmaps",
    "/api/v1/namespaces/default/configmaps/x",
    "/api/v1/namespaces/default/pods",
    "/api/v1/namespaces/default/pods/x",
    "/api/v1/namespaces/default/pods/x/status",
    "/api/v1/namespaces/default/pods/x/binding",
    "/api/v1/namespaces/default/pods/x/eviction",
    "/api/v1/namespaces/default/pods/x/ephemeralcontainers",
    "/api/v1/namespaces/default/services/x",
    "/api/v1/namespaces/default/secrets",
    "/api/v1/watch/namespaces/default/pods",
    "/api/v1/nodes/x/status",
    "/apis/apps/v1/namespaces/default/deployments",
    "/apis/apps/v1/namespaces/default/deployments/x",
    "/apis/apps/v1/namespaces/default/deployments/x/scale",
    "/apis/coordination.k8s.io/v1/namespaces/default/leases/x",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles/x",
    "/openapi/v3",
    "/healthz",
    "/flagz",
    "/statusz",
];
const PARAMETERS: [&str; 16] = [
    "labelSelector=a%3Db",
    "labelSelector=a in (b",
    "fieldSelector=metadata.name%3Dx",
    "limit=1",
    "continue=eyJ2IjoibWV0YSJ9",
    "resourceVersion=0",
    "resourceVersionMatch=Exact",
    "watch=1",
    "allowWatchBookmarks=true",
    "sendInitialEvents=true",
    "dryRun=All",
    "fieldManager=m",
    "fieldValidation=Strict",
    "force=true",
    "gracePeriodSeconds=0",
    "propagationPolicy=Foreground",
];
const HEADERS: [&str; 6] = [
    "content-type",
    "accept",
    "authorization",
    "impersonate-user",
    "user-agent",
    "content-encoding",
];
const VALUES: [&str; 14] = [
    "application/json",
    "application/yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "application/json;stream=watch",
    "application/json;v=v1beta1;g=config.k8s.io;as=Flagz",
    "application/vnd.kubernetes.protobuf;stream=watch",
    "gzip",
    "*/*",
];
/// What asks for a WebSocket.
const HANDSHAKE: [(&str, &str); 6] = [
    ("connection", "keep-alive, Upgrade"),
    ("upgrade", "websocket"),
    ("origin", "http://x"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
    (
        "sec-websocket-protocol",
        "base64url.bearer.authorization.k8s.io.eA, x",
    ),
];
const BODIES: [&str; 14] = [
    r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x","labels":{"a":"b"}},"data":{"k":"v"}}"#,
    r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"containers":[{"name":"c","image":"i:v1","ports":[{"containerPort":80}],"resources":{"requests":{"cpu":"100m"}}}]}}"#,
    r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"x"},"spec":{"type":"NodePort","ports":[{"port":80,"targetPort":"web"}],"selector":{"a":"b"}}}"#,
    r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x"},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#,
    r#"{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"x"},"spec":{"replicas":3}}"#,
    r#"{"apiVersion":"v1","kind":"Binding","metadata":{"name":"x"},"target":{"kind":"Node","name":"n"}}"#,
    r#"{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"x"},"deleteOptions":{"gracePeriodSeconds":1}}"#,
    r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"ws.example.com"},"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"ws","kind":"W"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}"#,
    r#"[{"op":"add","path":"/metadata/labels/a","value":"b"},{"op":"remove","path":"/data/k"},{"op":"move","from":"/data","path":"/metadata/annotations"}]"#,
    r#"{"metadata":{"labels":{"a":null},"$patch":"replace"},"spec":{"containers":[{"name":"c","$patch":"delete"}],"$setElementOrder/containers":[{"name":"c"}]}}"#,
    r#"{"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"uid":"u"},"propagationPolicy":"Orphan"}"#,
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: &a {k: *a}\n",
    "k8s\0\n\x04\n\x02v1\x12\x03Pod",
    "",
];

/// One request, spelled out.
#[derive(Debug)]
pub struct Input {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// Bytes that decide. When they end, they are zeros.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// Up to `most` bytes.
    fn some(&mut self, most: u8) -> Vec<u8> {
        let wanted = usize::from(self.byte() % most.max(1)).min(self.0.len());
        let (taken, rest) = self.0.split_at(wanted);
        self.0 = rest;
        taken.to_vec()
    }

    /// One of a list, most of the time changed in no place, else cut open and filled with arbitrary bytes.
    fn near(&mut self, list: &[&str]) -> Vec<u8> {
        let chosen = list[usize::from(self.byte()) % list.len()].as_bytes();
        if self.byte() < 160 || chosen.is_empty() {
            return chosen.to_vec();
        }
        let from = usize::from(u16::from_le_bytes([self.byte(), self.byte()])) % chosen.len();
        let until = (from + usize::from(self.byte() % 8)).min(chosen.len());
        [&chosen[..from], &self.some(12), &chosen[until..]].concat()
    }

    fn text(&mut self, list: &[&str]) -> String {
        String::from_utf8_lossy(&self.near(list)).into_owned()
    }
}

/// The requests that bytes spell, at most 64: enough of them to one server that most time goes into answering.
pub fn inputs(data: &[u8]) -> Vec<Input> {
    let mut source = Source(data);
    let mut inputs = Vec::new();
    while !source.0.is_empty() && inputs.len() < 64 {
        let method = source.text(&METHODS);
        let mut target = source.text(&PATHS);
        for index in 0..source.byte() % 4 {
            target.push(if index == 0 { '?' } else { '&' });
            target += &source.text(&PARAMETERS);
        }
        let headers = (0..source.byte() % 4).map(|_| {
            let name = source.text(&HEADERS);
            (name, source.near(&VALUES))
        });
        let mut headers: Vec<(String, Vec<u8>)> = headers.collect();
        if source.byte() < 32 {
            // One of them is near what it should be, or left out.
            let other = usize::from(source.byte()) % (HANDSHAKE.len() + 1);
            for (index, (name, value)) in HANDSHAKE.into_iter().enumerate() {
                if index != other {
                    headers.push((name.to_owned(), value.into()));
                } else if source.byte() < 128 {
                    headers.push((name.to_owned(), source.near(&[value])));
                }
            }
        }
        let body = if source.byte() < 230 {
            source.near(&BODIES)
        } else {
            source.some(200)
        };
        inputs.push(Input {
            method,
            target,
            headers,
            body,
        });
    }
    inputs
}

impl Input {
    /// The request that is spelled, if it is one at all.
    pub fn request(&self) -> Option<Request<Full<Bytes>>> {
        let mut request = Request::new(Full::new(Bytes::from(self.body.clone())));
        *request.method_mut() = Method::from_bytes(self.method.as_bytes()).ok()?;
        *request.uri_mut() = self.target.parse::<Uri>().ok()?;
        for (name, value) in &self.headers {
            let parsed = (
                HeaderName::from_bytes(name.as_bytes()),
                HeaderValue::from_bytes(value),
            );
            if let (Ok(name), Ok(value)) = parsed {
                request.headers_mut().append(name, value);
            }
        }
        Some(request)
    }

    /// For whoever has to find the mistake.
    pub fn shown(&self) -> String {
        format!(
            "{} {} {:?} {}",
            self.method,
            self.target,
            self.headers,
            String::from_utf8_lossy(&self.body)
        )
    }
}

/// Sends a request; whether it was one at all.
///
/// # Errors
/// What is wrong with the answer.
pub async fn ask(server: &mut ApiServer, input: Input) -> Result<bool, String> {
    let (shown, Some(request)) = (input.shown(), input.request()) else {
        return Ok(false);
    };
    let answer = async {
        let (parts, body) = server
            .call(request)
            .await
            .map_err(|_| "no answer")?
            .into_parts();
        let body = body.collect().await.map_err(|_| "a broken body")?;
        Ok::<_, &str>((parts, body.to_bytes()))
    };
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    let (parts, body) = answer
        .map_err(|_| format!("{shown}: no end"))?
        .map_err(|error| format!("{shown}: {error}"))?;
    let type_ = parts
        .headers
        .get("content-type")
        .and_then(|value| value.to_str().ok());
    judge(parts.status.as_u16(), type_.unwrap_or_default(), &body).map_err(|error| {
        let body = String::from_utf8_lossy(&body);
        format!("{shown}: {error}: {} {body}", parts.status)
    })?;
    Ok(true)
}

/// A failure is a `Status` that says so, in JSON, YAML or protobuf; unknown paths are plain text, as in the real server.
///
/// # Errors
/// What is wrong with it.
pub fn judge(code: u16, type_: &str, body: &[u8]) -> Result<(), &'static str> {
    let text = String::from_utf8_lossy(body);
    if text.contains("caused apiserver to panic") {
        return Err("a panic");
    }
    if code < 400 || body.is_empty() {
        return Ok(());
    }
    match type_.split(';').next().unwrap_or_default() {
        "text/plain" => Ok(()),
        "application/yaml" if text.contains("kind: Status") => Ok(()),
        "application/vnd.kubernetes.protobuf" if body.starts_with(b"k8s\0") => Ok(()),
        "application/json" => {
            let status: serde_json::Value = serde_json::from_slice(body).map_err(|_| "no JSON")?;
            let told = status["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty());
            if status["kind"] != "Status" || status["status"] != "Failure" {
                Err("no Status")
            } else if status["code"] != code {
                Err("another code")
            } else if !told {
                Err("no message")
            } else {
                Ok(())
            }
        }
        _ => Err("of no known type"),
    }
}
