//! DefaultBinder: binds through the API.

use async_trait::async_trait;
use serde_json::json;

use crate::reconcile::Error;
use crate::scheduler::framework::{Bind, Plugin, PodInfo};

/// Posts a `Binding`.
#[derive(Clone, Copy, Debug)]
pub struct DefaultBinder;

impl Plugin for DefaultBinder {
    fn name(&self) -> &'static str {
        "DefaultBinder"
    }
}

#[async_trait]
impl Bind for DefaultBinder {
    async fn bind(&self, client: &kube::Client, pod: &PodInfo, node: &str) -> Result<bool, Error> {
        let (namespace, name) = (&*pod.key.namespace, &*pod.key.name);
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": pod.pod.metadata.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let request = http::Request::post(format!(
            "/api/v1/namespaces/{namespace}/pods/{name}/binding"
        ))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(&binding)?)?;
        client.request_text(request).await?;
        Ok(true)
    }
}
