//! The IPAddress objects of cluster IPs: one for each address that a service holds, written before the service. Of two servers
//! that give the same address only one can write its object, so the other learns of it and takes another address.
use super::addresses;
use crate::apiserver::DeleteOptions;
use crate::apiserver::handler::call::{Call, Current, store_failure};
use crate::apiserver::handler::{delete, write};
use crate::apiserver::registry::cacher::prefix;
use crate::apiserver::request::options::WriteOptions;
use crate::apiserver::request::{ResourceRequest, Verb};
use crate::apiserver::server::Shared;
use crate::object::{Document, Reason, Status};
use crate::store::Range;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

const GROUP: &str = "networking.k8s.io";
const PLURAL: &str = "ipaddresses";
const MANAGED: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";
/// So old an object must be before it counts as left over: its service may still be on its way.
const GRACE: SignedDuration = SignedDuration::from_secs(60);

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The addresses are the service's.
    Made,
    /// Somebody else has this one; none are claimed.
    Taken(IpAddr),
}

/// Claims addresses that the allocators gave to a service.
///
/// # Errors
/// When the store fails.
pub(crate) async fn claim(
    shared: &Arc<Shared>,
    service: &Value,
    addresses: &[IpAddr],
) -> Result<Claim, Status> {
    let mut claimed = Vec::new();
    for address in addresses {
        let outcome = claim_one(shared, service, *address).await;
        if let Ok(Claim::Made) = outcome {
            claimed.push(*address);
            continue;
        }
        release(shared, service, &claimed).await;
        return outcome;
    }
    Ok(Claim::Made)
}

async fn claim_one(
    shared: &Arc<Shared>,
    service: &Value,
    address: IpAddr,
) -> Result<Claim, Status> {
    let Some(resource) = shared.registry.get(GROUP, "v1", PLURAL) else {
        return Ok(Claim::Made);
    };
    let object = object(service, address);
    let request = ResourceRequest::own(resource, Verb::Create, "", "");
    let mut call = Call::new(shared, &request, WriteOptions::default());
    match Box::pin(write::create(&mut call, object.clone())).await {
        Ok(_) => Ok(Claim::Made),
        Err(status) if status.reason == Reason::AlreadyExists => {
            let present = call.read(object.name()).await?;
            let ours = present.is_some_and(|present| {
                let parent = ["spec", "parentRef"];
                present.object.at(&parent) == object.at(&parent)
            });
            Ok(if ours {
                Claim::Made
            } else {
                Claim::Taken(address)
            })
        }
        Err(status) => Err(status),
    }
}

/// Gives up claims. What cannot be removed now is removed when a server starts.
pub(crate) async fn release(shared: &Arc<Shared>, service: &Value, addresses: &[IpAddr]) {
    for address in addresses {
        if let Err(status) = release_one(shared, &object(service, *address)).await {
            tracing::warn!(%address, %status, "a cluster IP is not given back");
        }
    }
}

async fn release_one(shared: &Arc<Shared>, object: &Value) -> Result<(), Status> {
    let Some(resource) = shared.registry.get(GROUP, "v1", PLURAL) else {
        return Ok(());
    };
    let request = ResourceRequest::own(resource, Verb::Delete, "", "");
    let mut call = Call::new(shared, &request, WriteOptions::default());
    let parent = ["spec", "parentRef"];
    let present = call.read(object.name()).await?;
    if present.is_none_or(|present| present.object.at(&parent) != object.at(&parent)) {
        return Ok(());
    }
    let options = DeleteOptions::default();
    match Box::pin(delete::remove(&mut call, object.name(), &options)).await {
        Err(status) if status.reason == Reason::NotFound => Ok(()),
        other => other.map(drop),
    }
}

/// The addresses of a service that is gone.
pub(crate) fn held(service: &Value) -> Vec<IpAddr> {
    let addresses = addresses(service).into_iter();
    addresses
        .filter_map(|address| address.parse().ok())
        .collect()
}

/// Brings the objects in line with the services in the store, and tells the allocators what others hold.
///
/// # Errors
/// When the store fails.
pub(crate) async fn repair(shared: &Arc<Shared>, services: &[Value]) -> Result<(), Status> {
    let Some(resource) = shared.registry.get(GROUP, "v1", PLURAL) else {
        return Ok(());
    };
    let page = shared.store.range(Range::prefix(prefix(&resource))).await;
    let entries = page.map_err(|error| store_failure(&error))?.entries;
    let mut present = BTreeSet::new();
    for entry in entries {
        let object = Current::decode(entry)?.object;
        let Ok(address) = object.name().parse::<IpAddr>() else {
            continue;
        };
        let parent = |field: &str| object.str_at(&["spec", "parentRef", field]).to_owned();
        let is_held = services.iter().any(|service| {
            service.namespace() == parent("namespace")
                && service.name() == parent("name")
                && held(service).contains(&address)
        });
        let created = object.str_at(&["metadata", "creationTimestamp"]);
        let old = created
            .parse::<Timestamp>()
            .is_ok_and(|created| shared.clock.now().duration_since(created) > GRACE);
        let ours = object.label(MANAGED) == Some(MANAGER);
        if ours && old && !is_held {
            release_one(shared, &object).await?;
            continue;
        }
        shared.allocators.learn(address);
        present.insert(address);
    }
    for service in services {
        for address in held(service) {
            if !present.contains(&address) {
                claim_one(shared, service, address).await?;
            }
        }
    }
    Ok(())
}

fn object(service: &Value, address: IpAddr) -> Value {
    let family = if address.is_ipv6() { "IPv6" } else { "IPv4" };
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {
            "name": address.to_string(),
            "labels": { "ipaddress.kubernetes.io/ip-family": family, MANAGED: MANAGER },
        },
        "spec": { "parentRef": {
            "group": "", "resource": "services", "namespace": service.namespace(), "name": service.name(),
        } },
    })
}
