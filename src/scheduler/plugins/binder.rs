//! DefaultBinder: binds through the API.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::Resource as _;
use kube::api::PostParams;
use serde_json::json;

use crate::client;
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
        let pods = kube::core::Request::new(Pod::url_path(&(), Some(namespace)));
        let body = serde_json::to_vec(&binding)?;
        let bound = pods.create_subresource("binding", name, &PostParams::default(), body);
        client::send(client, bound).await?;
        Ok(true)
    }
}
