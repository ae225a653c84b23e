//! What every cluster has from the start: its namespaces, the service `kubernetes`, the system priority classes, flow control,
//! APIServices, roles. What is there already stays as it is, so a restart changes nothing.
pub(crate) mod api_services;
mod endpoints;
mod flow_control;

pub(crate) use self::endpoints::advertise;
use super::alloc::claims;
use super::auth::{AuthorizationMode, rbac};
use super::filter::identity::in_process;
use super::handler::body;
use super::handler::call::{Call, Current, store_failure};
use super::handler::metadata::timestamp;
use super::handler::write::{self, Missing};
use super::registry::Resource;
use super::request::options::WriteOptions;
use super::request::{Query, ResourceRequest, Verb};
use super::response::Warnings;
use super::server::Shared;
use crate::object::{Document, Reason, Status, condition};
use crate::store::Range;
use futures::future::try_join_all;
use serde_json::{Value, json};
use std::sync::Arc;

/// Learns what the store holds and creates what is missing.
///
/// # Errors
/// When the store fails.
pub(crate) async fn run(shared: &Arc<Shared>) -> Result<(), Status> {
    load_allocations(shared).await?;
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        let namespace =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        ensure(shared, "", "namespaces", &namespace).await?;
    }
    for (name, value, description) in [
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
    ] {
        let class = json!({
            "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": { "name": name },
            "value": value, "description": description,
        });
        ensure(shared, "scheduling.k8s.io", "priorityclasses", &class).await?;
    }
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": { "component": "apiserver", "provider": "kubernetes" },
        },
        "spec": {
            "type": "ClusterIP", "clusterIP": first_address(shared), "sessionAffinity": "None",
            "ports": [{ "name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443 }],
        },
    });
    ensure(shared, "", "services", &service).await?;
    ensure_service_range(shared).await?;
    ensure_flow_control(shared).await?;
    let services = api_services::builtin(&shared.registry.all());
    ensure_all(shared, "apiregistration.k8s.io", "apiservices", &services).await?;
    ensure_maps(shared).await?;
    if shared.authorizer.has(AuthorizationMode::Rbac) {
        rbac::ensure(shared).await?;
    }
    Ok(())
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
    ensure(shared, GROUP, PLURAL, &range).await?;
    let Some(mut stored) = get(shared, GROUP, PLURAL, &range).await? else {
        return Ok(());
    };
    // One of another range or with a condition already is somebody else's matter.
    let conditions = stored.list_at(&["status", "conditions"]);
    if stored.at(&["spec", "cidrs"]) != Some(&cidrs)
        || condition::find(conditions, "Ready").is_some()
    {
        return Ok(());
    }
    let ready = json!([{
        "type": "Ready", "status": "True", "reason": "", "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": timestamp(shared.clock.now()),
    }]);
    stored.set_at(&["status", "conditions"], ready);
    replace(shared, GROUP, PLURAL, Some("status"), stored).await
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
    let maps = [
        authentication.clone(),
        map(
            "kube-apiserver-legacy-service-account-token-tracking",
            json!({ "since": since }),
        ),
    ];
    ensure_all(shared, "", "configmaps", &maps).await?;
    let stored = get(shared, "", "configmaps", &authentication).await?;
    let (Some(mut stored), Some(_)) = (stored, &shared.client_ca) else {
        return Ok(());
    };
    // Another authority than that of the server before.
    let wanted = authentication.str_at(&["data", "client-ca-file"]);
    if stored.str_at(&["data", "client-ca-file"]) == wanted {
        return Ok(());
    }
    stored.set_at(&["data", "client-ca-file"], wanted);
    unless_changed(replace(shared, "", "configmaps", None, stored).await)
}

/// Priority levels, and the flow schemas that lead to them.
async fn ensure_flow_control(shared: &Arc<Shared>) -> Result<(), Status> {
    const GROUP: &str = "flowcontrol.apiserver.k8s.io";
    const PLURAL: &str = "flowschemas";
    ensure_all(
        shared,
        GROUP,
        "prioritylevelconfigurations",
        &flow_control::levels(),
    )
    .await?;
    let schemas = flow_control::schemas(&timestamp(shared.clock.now()));
    ensure_all(shared, GROUP, PLURAL, &schemas).await?;
    try_join_all(schemas.iter().map(|wanted| async move {
        let Some(mut stored) = get(shared, GROUP, PLURAL, wanted).await? else {
            return Ok(());
        };
        if !stored.list_at(&["status", "conditions"]).is_empty() {
            return Ok(());
        }
        stored["status"] = wanted["status"].clone();
        unless_changed(replace(shared, GROUP, PLURAL, Some("status"), stored).await)
    }))
    .await
    .map(drop)
}

/// Another server over the same store may have been quicker.
fn unless_changed(outcome: Result<(), Status>) -> Result<(), Status> {
    match outcome {
        Err(status) if matches!(status.reason, Reason::Conflict | Reason::NotFound) => Ok(()),
        other => other,
    }
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

/// Creates the object unless one of its name is there.
pub(crate) async fn ensure(
    shared: &Arc<Shared>,
    group: &str,
    plural: &str,
    object: &Value,
) -> Result<(), Status> {
    let Some(resource) = shared.registry.get(group, "v1", plural) else {
        return Ok(());
    };
    if get(shared, group, plural, object).await?.is_some() {
        return Ok(());
    }
    let request = request(resource, Verb::Create, object);
    let mut call = Call::new(shared, &request, WriteOptions::default());
    let object = body::object(&mut call)?;
    match write::create(&mut call, object).await {
        // Another server over the same store was quicker.
        Err(status) if status.reason == Reason::AlreadyExists => Ok(()),
        other => other.map(drop),
    }
}

/// The stored object of the same name.
///
/// # Errors
/// When the store fails.
pub(crate) async fn get(
    shared: &Arc<Shared>,
    group: &str,
    plural: &str,
    object: &Value,
) -> Result<Option<Value>, Status> {
    let Some(resource) = shared.registry.get(group, "v1", plural) else {
        return Ok(None);
    };
    let key = resource.key(object.namespace(), object.name());
    let entry = shared.store.get(&key).await;
    let entry = entry.map_err(|error| store_failure(&error))?;
    let current = entry.map(Current::decode).transpose()?;
    Ok(current.map(|current| current.object))
}

/// Replaces the object or a subresource of it, on condition of its resource version.
///
/// # Errors
/// 409 when it has changed; when the store fails.
pub(crate) async fn replace(
    shared: &Arc<Shared>,
    group: &str,
    plural: &str,
    subresource: Option<&str>,
    object: Value,
) -> Result<(), Status> {
    let Some(resource) = shared.registry.get(group, "v1", plural) else {
        return Ok(());
    };
    let mut request = request(resource, Verb::Update, &object);
    request.subresource = subresource.map(str::to_owned);
    let mut call = Call::new(shared, &request, WriteOptions::default());
    let mut change = |_: &mut Call<'_>, _: Option<&Current>| Ok(object.clone());
    write::update(&mut call, object.name(), Missing::NotFound, &mut change)
        .await
        .map(drop)
}

/// A request of the server itself.
pub(crate) fn request(resource: Arc<Resource>, verb: Verb, object: &Value) -> ResourceRequest {
    ResourceRequest {
        warnings: Warnings::default(),
        verb,
        namespace: object.namespace().to_owned(),
        name: String::new(),
        subresource: None,
        query: Query::default(),
        user: in_process("system:apiserver"),
        user_agent: "kube-apiserver".into(),
        accept: String::new(),
        content_type: String::new(),
        body: object.to_string().into(),
        resource,
    }
}
