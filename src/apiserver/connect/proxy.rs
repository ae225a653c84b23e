//! `proxy` of pods, services and nodes: where requests for them go.
use std::net::IpAddr;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue, LOCATION};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use super::Reading;
use super::dial::Target;
use super::options::escape;
use crate::apiserver::request::{ResourceRequest, query};
use crate::apiserver::response::{self, Response};
use crate::apiserver::server::Shared;
use crate::object::{Document, Status};

/// `scheme:name:port` taken apart.
struct Named<'a> {
    scheme: &'a str,
    name: &'a str,
    port: &'a str,
}

impl<'a> Named<'a> {
    /// `name`, `name:port` or `scheme:name:port`.
    fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts[..] {
            [name] => ("", name, ""),
            [name, port] => ("", name, port),
            [scheme, name, port] => (scheme, name, port),
            _ => return None,
        };
        let known = matches!(scheme, "" | "http" | "https");
        (known && !name.is_empty()).then_some(Self { scheme, name, port })
    }

    fn tls(&self) -> bool {
        self.scheme == "https"
    }

    fn address(&self, host: &str, port: u16) -> Target {
        Target::Address {
            host: host.to_owned(),
            port,
            tls: self.tls(),
        }
    }

    fn usual_port(&self) -> u16 {
        if self.tls() { 443 } else { 80 }
    }
}

/// Where a request goes.
///
/// # Errors
/// 400 and 404 for what is not there, 503 for a service without endpoints.
pub(super) async fn target(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
) -> Result<Target, Status> {
    let plural = request.resource.plural.as_str();
    let id = request.name.as_str();
    let named = Named::parse(id).ok_or_else(|| {
        Status::bad_request(format!("invalid {} request {id:?}", singular(plural)))
    })?;
    let read = Reading(shared);
    match plural {
        "pods" => {
            let pod = read.get("pods", &request.namespace, named.name).await?;
            pod_target(&pod, &named)
        }
        "services" => service(&read, &request.namespace, id, &named).await,
        _ => {
            let node = read.get("nodes", "", named.name).await?;
            let (host, port) = super::node_address(&node)?;
            if named.port.is_empty() || named.port == port.to_string() {
                return Ok(Target::Node {
                    name: named.name.to_owned(),
                    host,
                    port,
                });
            }
            let port = number(named.port)?;
            Ok(named.address(&host, port))
        }
    }
}

fn singular(plural: &str) -> &str {
    plural.strip_suffix('s').unwrap_or(plural)
}

fn pod_target(pod: &Value, named: &Named<'_>) -> Result<Target, Status> {
    let ip = pod.list_at(&["status", "podIPs"]);
    let ip = ip.first().map_or("", |first| first.str_at(&["ip"]));
    allowed(ip)?;
    let port = if named.port.is_empty() {
        let containers = pod.list_at(&["spec", "containers"]);
        let mut ports = containers
            .iter()
            .filter_map(|container| container.list_at(&["ports"]).first());
        let first = ports
            .next()
            .and_then(|port| port.i64_at(&["containerPort"]));
        first
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or_else(|| named.usual_port())
    } else {
        number(named.port)?
    };
    Ok(named.address(ip, port))
}

fn number(port: &str) -> Result<u16, Status> {
    port.parse()
        .map_err(|_| Status::bad_request(format!("invalid port {port:?}")))
}

/// Addresses of this machine and of no machine lead to what nobody meant to show.
fn allowed(ip: &str) -> Result<(), Status> {
    let is_allowed = ip.parse::<IpAddr>().is_ok_and(|ip| {
        let link_local = match ip {
            IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || link_local)
    });
    if is_allowed {
        return Ok(());
    }
    Err(Status::bad_request("address not allowed"))
}

/// An endpoint of a service that is ready.
async fn service(
    read: &Reading<'_>,
    namespace: &str,
    id: &str,
    named: &Named<'_>,
) -> Result<Target, Status> {
    let name = named.name;
    let service = read.get("services", namespace, name).await?;
    let mut port = named.port.to_owned();
    if let Ok(wanted) = named.port.parse::<i64>() {
        let ports = service.list_at(&["spec", "ports"]);
        let found = ports
            .iter()
            .find(|port| port.i64_at(&["port"]) == Some(wanted));
        let found = found.ok_or_else(|| {
            Status::unavailable(format!(
                "no service port {wanted} found for service {name:?}"
            ))
        })?;
        found.str_at(&["name"]).clone_into(&mut port);
    }
    let none = || Status::unavailable(format!("no endpoints available for service {id:?}"));
    let slices = read
        .list("discovery.k8s.io", "endpointslices", namespace)
        .await?;
    let own = slices.iter().filter(|slice| {
        slice.str_at(&["metadata", "labels", "kubernetes.io/service-name"]) == name
    });
    let mut found = Vec::new();
    for slice in own {
        let ports = slice.list_at(&["ports"]);
        let Some(number) = ports
            .iter()
            .find(|one| one.str_at(&["name"]) == port)
            .and_then(|one| u16::try_from(one.i64_at(&["port"])?).ok())
        else {
            continue;
        };
        let ready = slice.list_at(&["endpoints"]).iter().filter(|endpoint| {
            endpoint
                .at(&["conditions", "ready"])
                .and_then(Value::as_bool)
                != Some(false)
        });
        let addresses =
            ready.filter_map(|endpoint| endpoint.list_at(&["addresses"]).first()?.as_str());
        found.extend(addresses.map(|address| (address.to_owned(), number)));
    }
    if found.is_empty()
        && let Some(endpoints) = read.find("endpoints", namespace, name).await?
    {
        for subset in endpoints.list_at(&["subsets"]) {
            let ports = subset.list_at(&["ports"]);
            let number = ports
                .iter()
                .find(|one| one.str_at(&["name"]) == port)
                .and_then(|one| u16::try_from(one.i64_at(&["port"])?).ok());
            let addresses = subset.list_at(&["addresses"]).iter();
            found.extend(
                addresses.filter_map(|address| Some((address.str_at(&["ip"]).to_owned(), number?))),
            );
        }
    }
    if found.is_empty() {
        return Err(none());
    }
    let turn = read.0.clock.below(found.len() as u64);
    let (address, port) = usize::try_from(turn)
        .ok()
        .and_then(|turn| found.get(turn))
        .ok_or_else(none)?;
    allowed(address)?;
    Ok(named.address(address, *port))
}

/// The path that the one behind sees: what follows `/proxy`, as the client wrote it, unless admission wants another one.
pub(super) fn path(parts: &Parts, admitted: &str) -> String {
    let written = written(parts);
    let rest = if admitted == asked_path(parts) {
        written.to_owned()
    } else {
        escape(admitted, b"/")
    };
    let slash = if rest.starts_with('/') { "" } else { "/" };
    match parts.uri.query() {
        Some(query) => format!("{slash}{rest}?{query}"),
        None => format!("{slash}{rest}"),
    }
}

/// What follows `/proxy`, as the client wrote it.
fn written(parts: &Parts) -> &str {
    let path = parts.uri.path();
    let rest = path.match_indices('/').nth(above(path));
    rest.map_or("", |(at, _)| path.get(at..).unwrap_or_default())
}

/// The path in the options of a proxied request: with a slash in front of it, and one after it where the client wrote any.
pub(super) fn asked_path(parts: &Parts) -> String {
    let written = query::decode(written(parts), false).unwrap_or_default();
    let bare = written.strip_prefix('/').unwrap_or_default();
    let bare = bare.trim_end_matches('/');
    let front = if bare.is_empty() || bare.starts_with('/') {
        ""
    } else {
        "/"
    };
    let end = if written.ends_with('/') { "/" } else { "" };
    format!("{front}{bare}{end}")
}

/// How many segments a path has up to `proxy` and with it.
fn above(path: &str) -> usize {
    if path.split('/').nth(3) == Some("namespaces") {
        7
    } else {
        5
    }
}

/// A browser at `…/proxy` is sent to `…/proxy/`, so that relative links lead where they should.
pub(super) fn redirect(parts: &Parts) -> Option<Response> {
    let path = parts.uri.path();
    let looks = matches!(parts.method, Method::GET | Method::HEAD);
    if !looks
        || path.matches('/').count() != above(path)
        || super::forward::wants_upgrade(&parts.headers)
    {
        return None;
    }
    let query = parts
        .uri
        .query()
        .map_or_else(String::new, |query| format!("?{query}"));
    let mut answer = response::text(StatusCode::MOVED_PERMANENTLY, "");
    let location = HeaderValue::from_str(&format!("{path}/{query}")).ok()?;
    answer.headers_mut().insert(LOCATION, location);
    answer.extensions_mut().insert(super::forward::Verbatim);
    Some(answer)
}

/// Tells the one behind where the client is and what it asked.
pub(super) fn forwarded(headers: &mut HeaderMap, parts: &Parts) {
    let rest = Some(written(parts)).filter(|rest| !rest.is_empty());
    let rest = rest.unwrap_or("/");
    let prefix = parts
        .uri
        .path()
        .strip_suffix(rest)
        .unwrap_or_else(|| parts.uri.path());
    let host = parts.headers.get(http::header::HOST).cloned();
    let uri = HeaderValue::from_str(&format!("{}{rest}", prefix.trim_end_matches('/'))).ok();
    for (name, value) in [("x-forwarded-host", host), ("x-forwarded-uri", uri)] {
        if let Some(value) = value {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn names_are_taken_apart() {
        for (text, expected) in [
            ("web", Some(("", "web", ""))),
            ("web:80", Some(("", "web", "80"))),
            ("https:web:", Some(("https", "web", ""))),
            ("https:web:x", Some(("https", "web", "x"))),
            ("ftp:web:1", None),
            ("", None),
            ("a:b:c:d", None),
        ] {
            let found = Named::parse(text);
            let found = found.as_ref().map(|n| (n.scheme, n.name, n.port));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn paths_are_kept_as_they_are() {
        for (uri, shown, expected) in [
            ("/api/v1/namespaces/a/pods/b/proxy", "", "/"),
            ("/api/v1/namespaces/a/pods/b/proxy/", "/", "/"),
            ("/api/v1/namespaces/a/pods/b/proxy/x/?y", "/x/", "/x/?y"),
            ("/api/v1/namespaces/a/pods/b/proxy//x//", "/x/", "//x//"),
            (
                "/api/v1/namespaces/a/pods/b/proxy/x/%2Fy?a=b%20c",
                "/x//y",
                "/x/%2Fy?a=b%20c",
            ),
            ("/api/v1/nodes/n/proxy/proxy/x", "/proxy/x", "/proxy/x"),
            ("/api/v1/namespaces/proxy/pods/proxy-1/proxy/x", "/x", "/x"),
        ] {
            let (parts, ()) = Request::get(uri).body(()).unwrap().into_parts();
            let asked = asked_path(&parts);
            assert_eq!(
                (asked.as_str(), path(&parts, &asked)),
                (shown, expected.to_owned())
            );
        }
        let (parts, ()) = Request::get("/api/v1/nodes/n/proxy/x?y")
            .body(())
            .unwrap()
            .into_parts();
        assert_eq!(path(&parts, "/other one"), "/other%20one?y");
    }

    #[test]
    fn only_addresses_of_others_are_reached() {
        for (ip, expected) in [
            ("10.0.0.1", true),
            ("fd00::1", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("::1", false),
            ("", false),
        ] {
            assert_eq!(allowed(ip).is_ok(), expected, "{ip}");
        }
    }
}
