//! A server and short ways to ask it.
use homeostat::apiserver::{
    ApiServer, ApiServerBuilder, CertificateError, ClientCertificate, Remote,
};
use homeostat::clock::Clock;
use homeostat::store::{MemoryConfig, MemoryStore};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tower::{Service, ServiceExt};

/// A server of its own with a seeded clock.
pub async fn api() -> Api {
    Api::start(builder()).await
}

/// A server to be built, over a memory store.
pub fn builder() -> ApiServerBuilder {
    let store = Arc::new(MemoryStore::new(MemoryConfig::default()));
    ApiServer::builder(store).clock(Clock::seeded(1))
}

pub struct Api {
    pub server: ApiServer,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    /// Null when it is no JSON.
    pub body: Value,
    pub text: String,
}

impl Answer {
    #[track_caller]
    pub fn expect(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.text);
        self.body
    }
    /// A failure: its message.
    #[track_caller]
    pub fn fails(self, code: u16, reason: &str) -> String {
        assert_eq!(self.code, code, "{}", self.text);
        assert_eq!(self.body["kind"], "Status", "{}", self.text);
        assert_eq!(
            self.body["reason"].as_str().unwrap_or_default(),
            reason,
            "{}",
            self.text
        );
        self.body["message"].as_str().unwrap_or_default().to_owned()
    }
    pub fn warnings(&self) -> Vec<&str> {
        self.headers
            .get_all("warning")
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect()
    }
}

impl Api {
    pub async fn start(builder: ApiServerBuilder) -> Self {
        Self {
            server: builder.start().await.unwrap(),
        }
    }
    /// Any request: `line` is method and target, then headers as `Name: value`, one a line.
    pub async fn raw(&self, line: &str, body: impl Into<Vec<u8>>) -> Answer {
        let mut lines = line.lines().map(str::trim);
        let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(target);
        for header in lines {
            let (name, value) = header
                .split_once(": ")
                .unwrap_or_else(|| (header.trim_end_matches(':'), ""));
            request = request.header(name, value);
        }
        self.send(request.body(Full::from(body.into())).unwrap())
            .await
    }
    pub async fn send(&self, request: Request<Full<bytes::Bytes>>) -> Answer {
        let mut server = self.server.clone();
        let service = ServiceExt::<Request<Full<bytes::Bytes>>>::ready(&mut server)
            .await
            .unwrap();
        let (parts, body) = service.call(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }
    pub async fn get(&self, path: &str) -> Answer {
        self.raw(&format!("GET {path}"), "").await
    }
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.raw(&format!("POST {path}"), body.to_string()).await
    }
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.raw(&format!("PUT {path}"), body.to_string()).await
    }
    /// `kind`: `json`, `merge` or `strategic`.
    pub async fn patch(&self, path: &str, kind: &str, body: &Value) -> Answer {
        let media_type = match kind {
            "json" => "json-patch+json",
            "merge" => "merge-patch+json",
            _ => "strategic-merge-patch+json",
        };
        self.raw(
            &format!("PATCH {path}\nContent-Type: application/{media_type}"),
            body.to_string(),
        )
        .await
    }
    pub async fn delete(&self, path: &str) -> Answer {
        self.raw(&format!("DELETE {path}"), "").await
    }
    pub async fn delete_with(&self, path: &str, options: &Value) -> Answer {
        self.raw(&format!("DELETE {path}"), options.to_string())
            .await
    }
}

/// A request from outside: `line` is method and target, then headers, one a line.
pub async fn remote(api: &Api, token: &str, line: &str, body: &Value) -> Answer {
    with_certificate(api, None, token, line, body).await
}

/// What a connection says of its client certificate.
pub type Certificate = Option<Result<ClientCertificate, CertificateError>>;

/// As [`remote`], from somebody who showed a certificate.
pub async fn with_certificate(
    api: &Api,
    certificate: Certificate,
    token: &str,
    line: &str,
    body: &Value,
) -> Answer {
    let mut lines = line.lines().map(str::trim);
    let (method, target) = lines.next().unwrap().split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(target);
    for header in lines {
        let (name, value) = header.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let mut request = request.body(Full::<bytes::Bytes>::from(body)).unwrap();
    request.extensions_mut().insert(Remote {
        address: ([192, 0, 2, 1], 1).into(),
        certificate,
    });
    let mut server = api.server.clone();
    let response = server.call(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = tokio::time::timeout(Duration::from_secs(20), body.collect()).await;
    let bytes = bytes
        .map(|body| body.unwrap().to_bytes())
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Answer {
        code: parts.status.as_u16(),
        headers: parts.headers,
        body: serde_json::from_str(&text).unwrap_or(Value::Null),
        text,
    }
}

pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const PODS: &str = "/api/v1/namespaces/default/pods";
pub const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
pub const SERVICES: &str = "/api/v1/namespaces/default/services";

pub fn map(name: &str) -> Value {
    serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

pub fn pod(name: &str) -> Value {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "img:1"}]},
    })
}

pub fn deployment(name: &str) -> Value {
    serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "img:1"}]}},
        },
    })
}
