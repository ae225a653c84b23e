//! What every cluster has from the start: its namespaces, the service `kubernetes`, the system priority classes, flow control,
//! APIServices, roles. What is there already stays as it is, so a restart changes nothing.
pub(crate) mod api_services;
mod endpoints;
mod flow_control;

pub(crate) use self::endpoints::advertise;
use super::alloc::claims;
use super::auth::{AuthorizationMode, rbac};
use super::handler::body;
use super::handler::call::{Call, Current, store_failure};
use super::handler::metadata::timestamp;
use super::handler::write::{self, Missing};
use super::request::options::WriteOptions;
use super::request::{ResourceRequest, Verb};
use super::server::Shared;
use crate::object::{Document, Reason, Status, condition};
use crate::store::Range;
use futures::future::try_join_all;
use futures::try_join;
use serde_json::{Value, json};
use std::sync::Arc;

/// Learns what the store holds and creates what is missing, at once where one thing does not need another.
///
/// # Errors
/// When the store fails.
pub(crate) async fn run(shared: &Arc<Shared>) -> Result<(), Status> {
    load_allocations(shared).await?;
    let namespaces = ["default", "kube-node-lease", "kube-public", "kube-system"].map(
        |name| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }),
    );
    ensure_all(shared, "", "namespaces", &namespaces).await?;
    let classes = priority_classes();
    let service = service(shared);
    let services = api_services::builtin(&shared.registry.all());
    let roles = async {
        if shared.authorizer.has(AuthorizationMode::Rbac) {
            rbac::ensure(shared).await?;
        }
        Ok(())
    };
    try_join!(
        ensure_all(shared, "scheduling.k8s.io", "priorityclasses", &classes),
        ensure(shared, "", "services", &service),
        ensure_service_range(shared),
        ensure_flow_control(shared),
        ensure_all(shared, "apiregistration.k8s.io", "apiservices", &services),
        ensure_maps(shared),
        roles,
    )
    .map(drop)
}

fn priority_classes() -> [Value; 2] {
    [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ]
    .map(|(name, value, description)| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": { "name": name },
            "value": value, "description": description,
        })
    })
}

/// The service by which pods reach this server.
fn service(shared: &Shared) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": { "component": "apiserver", "provider": "kubernetes" },
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": first_address(shared), "sessionAffinity": "None",
            "ports": [{ "name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443 }],
        },
    })
}

fn first_address(shared: &Shared) -> String {
    let first = shared.allocators.ranges().first();
    first
        .map(|range| range.first().to_string())
        .unwrap_or_default()
}

/// The object that says where cluster IPs come from.
async fn ensure_service_range(shared: &Arc<Shared>) -> Result<(), Status> {
    const GROUP: &str = "networking.k8s.io";
    const PLURAL: &str = "servicecidrs";
    let ranges = shared.allocators.ranges().iter();
    let cidrs: Value = ranges.map(ToString::to_string).collect::<Vec<_>>().into();
    let range = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": { "name": "kubernetes" },
        "spec": { "cidrs": cidrs },
    });
    let ready = json!([{
        "type": "Ready", "status": "True", "reason": "", "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": timestamp(shared.clock.now()),
    }]);
    // One of another range or with a condition already is somebody else's matter.
    let change = |stored: &Value| {
        let conditions = stored.list_at(&["status", "conditions"]);
        if stored.at(&["spec", "cidrs"]) != Some(&cidrs)
            || condition::find(conditions, "Ready").is_some()
        {
            return None;
        }
        let mut stored = stored.clone();
        stored.set_at(&["status", "conditions"], ready.clone());
        Some(stored)
    };
    let present = ensure(shared, GROUP, PLURAL, &range).await?;
    if present.is_none_or(|present| change(&present).is_some()) {
        amend(shared, GROUP, PLURAL, Some("status"), &range, &change).await?;
    }
    Ok(())
}

/// What extension servers need to know to tell clients apart as this server does, and since when the use of tokens in secrets
/// is followed.
async fn ensure_maps(shared: &Arc<Shared>) -> Result<(), Status> {
    let map = |name: &str, data: Value| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": { "name": name, "namespace": "kube-system" },
        })
    };
    let since = shared.clock.now().strftime("%Y-%m-%d").to_string();
    let mut authentication = map("extension-apiserver-authentication", Value::Null);
    if let Some(authority) = &shared.client_ca {
        authentication["data"] = json!({ "client-ca-file": authority });
    }
    let tracking = map(
        "kube-apiserver-legacy-service-account-token-tracking",
        json!({ "since": since }),
    );
    let (present, _) = try_join!(
        ensure(shared, "", "configmaps", &authentication),
        ensure(shared, "", "configmaps", &tracking),
    )?;
    let (Some(present), Some(authority)) = (present, &shared.client_ca) else {
        return Ok(());
    };
    // Another authority than that of the server before.
    let change = |stored: &Value| {
        let path = ["data", "client-ca-file"];
        let differs = stored.str_at(&path) != authority;
        differs.then(|| {
            let mut stored = stored.clone();
            stored.set_at(&path, authority.as_str());
            stored
        })
    };
    if change(&present).is_some() {
        amend(shared, "", "configmaps", None, &authentication, &change).await?;
    }
    Ok(())
}

/// Priority levels, and the flow schemas that lead to them.
async fn ensure_flow_control(shared: &Arc<Shared>) -> Result<(), Status> {
    const GROUP: &str = "flowcontrol.apiserver.k8s.io";
    let levels = flow_control::levels();
    ensure_all(shared, GROUP, "prioritylevelconfigurations", &levels).await?;
    let schemas = flow_control::schemas(&timestamp(shared.clock.now()));
    let each = schemas.iter().map(|wanted| async move {
        const PLURAL: &str = "flowschemas";
        let change = |stored: &Value| {
            let silent = stored.list_at(&["status", "conditions"]).is_empty();
            silent.then(|| {
                let mut stored = stored.clone();
                stored["status"] = wanted["status"].clone();
                stored
            })
        };
        let present = ensure(shared, GROUP, PLURAL, wanted).await?;
        if present.is_none_or(|present| change(&present).is_some()) {
            amend(shared, GROUP, PLURAL, Some("status"), wanted, &change).await?;
        }
        Ok(())
    });
    try_join_all(each).await.map(drop)
}

/// [`ensure`] for many of a kind, at once: a store on a disk commits them together.
async fn ensure_all(
    shared: &Arc<Shared>,
    group: &str,
    plural: &str,
    objects: &[Value],
) -> Result<(), Status> {
    let each = objects
        .iter()
        .map(|object| ensure(shared, group, plural, object));
    try_join_all(each).await.map(drop)
}

async fn load_allocations(shared: &Arc<Shared>) -> Result<(), Status> {
    let Some(services) = shared.registry.get("", "v1", "services") else {
        return Ok(());
    };
    let range = Range::prefix(services.key("", ""));
    let page = shared
        .store
        .range(range)
        .await
        .map_err(|error| store_failure(&error))?;
    let stored = page.entries.into_iter();
    let stored: Vec<Value> = stored
        .map(|entry| Ok(Current::decode(entry)?.object))
        .collect::<Result<_, Status>>()?;
    shared.allocators.load(&stored);
    claims::repair(shared, &stored).await
}

/// Creates the object unless one of its name is there, which is given then.
///
/// # Errors
/// When the store fails.
pub(crate) async fn ensure(
    shared: &Arc<Shared>,
    group: &str,
    plural: &str,
    object: &Value,
) -> Result<Option<Value>, Status> {
    let Some(resource) = shared.registry.get(group, "v1", plural) else {
        return Ok(None);
    };
    let request = ResourceRequest::own(resource, Verb::Create, object.namespace(), "");
    let mut call = Call::new(shared, &request, WriteOptions::default());
    if let Some(present) = call.read(object.name()).await? {
        return Ok(Some(present.object));
    }
    let made = body::own(&call, object.clone())?;
    match write::create(&mut call, made).await {
        // Another server over the same store was quicker.
        Err(status) if status.reason == Reason::AlreadyExists => {
            let present = call.read(object.name()).await?;
            Ok(present.map(|present| present.object))
        }
        other => other.map(|_| None),
    }
}

/// Changes the stored object of the same name, or a subresource of it. `change` makes the new one from the one that is there
/// when it is written; `None`: it stays. One that was removed meanwhile stays so.
///
/// # Errors
/// When the store fails.
pub(crate) async fn amend(
    shared: &Arc<Shared>,
    group: &str,
    plural: &str,
    subresource: Option<&str>,
    object: &Value,
    change: &(dyn Fn(&Value) -> Option<Value> + Sync),
) -> Result<(), Status> {
    let Some(resource) = shared.registry.get(group, "v1", plural) else {
        return Ok(());
    };
    let mut request = ResourceRequest::own(resource, Verb::Update, object.namespace(), "");
    request.subresource = subresource.map(str::to_owned);
    let mut call = Call::new(shared, &request, WriteOptions::default());
    let mut change = |_: &mut Call<'_>, current: Option<&Current>| {
        let stored = current.map_or(object, |current| &current.object);
        Ok(change(stored).unwrap_or_else(|| stored.clone()))
    };
    match write::update(&mut call, object.name(), Missing::NotFound, &mut change).await {
        Err(status) if status.reason == Reason::NotFound => Ok(()),
        other => other.map(drop),
    }
}
