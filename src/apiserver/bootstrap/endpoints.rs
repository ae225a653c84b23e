//! Where the service `kubernetes` leads: to the address at which this server says it can be reached.
use super::{amend, ensure};
use crate::apiserver::server::Shared;
use crate::object::Status;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

/// Writes the Endpoints and the EndpointSlice of the service.
///
/// # Errors
/// When the address can be none of a service, as that of a loopback device; when the store fails.
pub(crate) async fn advertise(shared: &Arc<Shared>, address: SocketAddr) -> Result<(), Status> {
    let [endpoints, slice] = objects(address);
    write(shared, "", "endpoints", &endpoints, "subsets").await?;
    write(
        shared,
        "discovery.k8s.io",
        "endpointslices",
        &slice,
        "endpoints",
    )
    .await
}

/// Brings `field` and the ports of the object to what is wanted.
async fn write(
    shared: &Arc<Shared>,
    group: &str,
    plural: &str,
    wanted: &Value,
    field: &str,
) -> Result<(), Status> {
    if ensure(shared, group, plural, wanted).await?.is_none() {
        return Ok(());
    }
    let change = |stored: &Value| {
        let mut stored = stored.clone();
        for field in [field, "ports"] {
            if let Some(value) = wanted.get(field) {
                stored[field] = value.clone();
            }
        }
        Some(stored)
    };
    amend(shared, group, plural, None, wanted, &change).await
}

fn objects(address: SocketAddr) -> [Value; 2] {
    let (ip, family) = (
        address.ip().to_string(),
        if address.is_ipv6() { "IPv6" } else { "IPv4" },
    );
    let ports = json!([{ "name": "https", "port": address.port(), "protocol": "TCP" }]);
    let metadata = |label: &str, value: &str| json!({ "name": "kubernetes", "namespace": "default", "labels": { label: value } });
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": metadata("endpointslice.kubernetes.io/skip-mirror", "true"),
        "subsets": [{ "addresses": [{ "ip": ip }], "ports": ports }],
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": metadata("kubernetes.io/service-name", "kubernetes"),
        "addressType": family, "ports": ports,
        "endpoints": [{ "addresses": [ip], "conditions": { "ready": true } }],
    });
    [endpoints, slice]
}
