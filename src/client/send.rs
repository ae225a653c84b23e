//! Writes whose answers nobody reads.

use http::Request;
use kube::api::PostParams;
use kube::core::request::Error;
use kube::{Client, Resource};
use serde::Serialize;

/// Sends a request, as [`kube::core::Request`] builds it, without decoding the answer: most of a client's work on a write.
///
/// ```
/// # async fn example(client: kube::Client) -> Result<(), kube::Error> {
/// use homeostat::client::send;
/// use k8s_openapi::api::core::v1::Pod;
/// use kube::Resource;
///
/// let pods = kube::core::Request::new(Pod::url_path(&(), Some("default")));
/// send(&client, pods.delete("web", &kube::api::DeleteParams::default())).await
/// # }
/// ```
///
/// # Errors
/// When the request cannot be built or sent, or the server refuses it.
pub async fn send(
    client: &Client,
    request: Result<Request<Vec<u8>>, Error>,
) -> Result<(), kube::Error> {
    let request = request.map_err(kube::Error::BuildRequest)?;
    client.request_text(request).await.map(drop)
}

/// Creates an object in its namespace, as [`send`] sends it.
///
/// # Errors
/// When it cannot be sent, or the server refuses it.
pub async fn create<K>(client: &Client, object: &K) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let all = K::url_path(&(), object.meta().namespace.as_deref());
    let all = kube::core::Request::new(all);
    send(client, all.create(&PostParams::default(), body)).await
}
