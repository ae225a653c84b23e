//! Lists, decoded in one pass.

use http::Request;
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A collection of objects: where it is, and which of its objects are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// The path of the collection: `/api/v1/pods`, `/apis/apps/v1/namespaces/default/deployments`.
    pub path: String,
    /// A label selector; empty: all.
    pub labels: String,
    /// A field selector; empty: all.
    pub fields: String,
    /// Whether only the metadata of the objects is asked for.
    pub metadata_only: bool,
}

impl Path {
    /// All objects of a typed kind, in all namespaces.
    #[must_use]
    pub fn of<K: kube::Resource<DynamicType = ()>>() -> Self {
        Self {
            path: K::url_path(&(), None),
            ..Self::default()
        }
    }

    /// A request for this collection with further query parameters.
    pub(super) fn request(
        &self,
        query: &[(&str, &str)],
        accept: &str,
    ) -> Result<Request<Body>, kube::Error> {
        let mut uri = self.path.clone();
        let selectors = [
            ("labelSelector", self.labels.as_str()),
            ("fieldSelector", self.fields.as_str()),
        ];
        let pairs = selectors
            .iter()
            .chain(query)
            .filter(|(_, value)| !value.is_empty());
        for (index, (name, value)) in pairs.enumerate() {
            uri.push(if index == 0 { '?' } else { '&' });
            uri.push_str(name);
            uri.push('=');
            encode(&mut uri, value);
        }
        let builder = Request::get(uri).header(http::header::ACCEPT, accept);
        builder.body(Body::empty()).map_err(kube::Error::HttpError)
    }
}

/// Percent-encodes a query value.
fn encode(uri: &mut String, value: &str) {
    use std::fmt::Write;
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(uri, "%{byte:02X}");
        }
    }
}

/// The objects of a collection as of one revision.
#[derive(Clone, Debug)]
pub struct Listed<K> {
    /// The objects, as the server orders them.
    pub items: Vec<K>,
    /// The revision they show; a watch goes on from it.
    pub resource_version: String,
}

#[derive(Deserialize)]
struct Page<K> {
    #[serde(default)]
    metadata: PageMeta,
    // A Go server may write an empty list as null.
    #[serde(default = "Option::default")]
    items: Option<Vec<K>>,
}

#[derive(Default, Deserialize)]
struct PageMeta {
    #[serde(default, rename = "resourceVersion")]
    resource_version: String,
    #[serde(default, rename = "continue")]
    continue_: Option<String>,
}

/// Lists a collection, in pages of `page` objects (0: in one).
///
/// # Errors
/// When the server refuses or cannot be reached, or an object does not decode. A continuation that expired (410) starts over
/// once without pages, as client-go's pager does.
pub async fn list<K: DeserializeOwned>(
    client: &Client,
    path: &Path,
    page: usize,
) -> Result<Listed<K>, kube::Error> {
    let mut items = Vec::new();
    let mut limit = if page == 0 {
        String::new()
    } else {
        page.to_string()
    };
    let mut next = String::new();
    loop {
        let got = match fetch::<K>(client, path, &limit, &next).await {
            Err(error) if super::is_expired(&error) && !next.is_empty() => {
                (limit, next) = (String::new(), String::new());
                items.clear();
                continue;
            }
            other => other?,
        };
        items.extend(got.items.unwrap_or_default());
        match got.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => next = token,
            None => {
                return Ok(Listed {
                    items,
                    resource_version: got.metadata.resource_version,
                });
            }
        }
    }
}

async fn fetch<K: DeserializeOwned>(
    client: &Client,
    path: &Path,
    limit: &str,
    next: &str,
) -> Result<Page<K>, kube::Error> {
    let accept = if path.metadata_only {
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    } else {
        "application/json"
    };
    let request = path.request(&[("limit", limit), ("continue", next)], accept)?;
    let response = client.send(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if !status.is_success() {
        return Err(failure(status.as_u16(), &body));
    }
    serde_json::from_slice(&body).map_err(kube::Error::SerdeError)
}

/// The error in the body of an answer.
pub(super) fn failure(code: u16, body: &[u8]) -> kube::Error {
    let status = serde_json::from_slice::<kube::core::Status>(body).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(body);
        kube::core::Status::failure(text.trim(), "Failed to parse error data").with_code(code)
    });
    kube::Error::Api(Box::new(status))
}
