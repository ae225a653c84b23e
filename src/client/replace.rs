//! A client whose connection is replaced while it is in use, as when a certificate is renewed.

use std::fmt;
use std::sync::Arc;

use http::Request;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;

/// Clients whose requests go through the newest of several.
#[derive(Clone)]
pub struct Replaceable {
    current: Arc<Mutex<Client>>,
}

impl fmt::Debug for Replaceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replaceable").finish_non_exhaustive()
    }
}

impl Replaceable {
    /// Begins with `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            current: Arc::new(Mutex::new(client)),
        }
    }

    /// Sends all requests from now on through `client`. Those that are under way, watches among them, are left alone.
    pub fn replace(&self, client: Client) {
        *self.current.lock() = client;
    }

    /// A client whose requests go through the newest one. Must be called within a tokio runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        let current = self.current.clone();
        let namespace = current.lock().default_namespace().to_owned();
        let service = tower::service_fn(move |request: Request<Body>| {
            let client = current.lock().clone();
            async move {
                let sent = client.send(request).await;
                sent.map_err(Into::<tower::BoxError>::into)
            }
        });
        Client::new(tower::ServiceBuilder::new().service(service), namespace)
    }
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn says(text: &'static str) -> Client {
        let service = tower::service_fn(move |_: Request<Body>| async move {
            Ok::<_, tower::BoxError>(Response::new(Body::from(text.as_bytes().to_vec())))
        });
        Client::new(service, "default")
    }

    #[tokio::test]
    async fn requests_go_through_the_newest() {
        let replaceable = Replaceable::new(says("old"));
        let client = replaceable.client();
        let ask = async || {
            let request = Request::get("/").body(Vec::new()).unwrap();
            client.request_text(request).await.unwrap()
        };
        assert_eq!(ask().await, "old");
        replaceable.replace(says("new"));
        assert_eq!(ask().await, "new");
    }
}
