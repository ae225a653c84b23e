//! Clients that tell the server who is asking.

use http::header::{HeaderValue, USER_AGENT};
use http::{Request, Response};
use kube::Client;
use kube::client::Body;

/// A client like `client` whose requests carry `name` as their user agent, which is also the default field manager of its
/// writes. Both use the same connection.
#[must_use]
pub fn with_user_agent(client: &Client, name: &str) -> Client {
    let namespace = client.default_namespace().to_owned();
    let agent =
        HeaderValue::from_str(name).unwrap_or_else(|_| HeaderValue::from_static("homeostat"));
    let inner = client.clone();
    let service = tower::service_fn(move |mut request: Request<Body>| {
        let inner = inner.clone();
        request.headers_mut().insert(USER_AGENT, agent.clone());
        async move {
            inner
                .send(request)
                .await
                .map_err(Into::<tower::BoxError>::into)
        }
    });
    Client::new(tower::ServiceBuilder::new().service(service), namespace)
}

const _: fn() = || {
    fn is_body<B: http_body::Body<Data = bytes::Bytes> + Send + 'static>() {}
    is_body::<Body>();
    let _: fn(Response<Body>) -> Body = Response::into_body;
};
