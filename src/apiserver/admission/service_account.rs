//! `ServiceAccount`: a pod runs as a service account that exists, and finds its token in each container.
use super::{Admission, AdmissionRequest, Operation};
use crate::object::{Document, Status};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const DEFAULT: &str = "default";
/// So often the account `default` is looked for, and this far apart at least.
const ATTEMPTS: usize = 10;
const INTERVAL: Duration = Duration::from_millis(100);
const MIRROR: &str = "kubernetes.io/config.mirror";
const LIMITS_SECRETS: &str = "kubernetes.io/enforce-mountable-secrets";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME: &str = "kube-api-access-";
const CONTAINERS: [(&str, &str); 2] = [
    ("initContainers", "init container"),
    ("containers", "container"),
];

#[derive(Debug)]
pub(super) struct ServiceAccount;

#[async_trait]
impl Admission for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    async fn mutate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &mut Value,
    ) -> Result<(), Status> {
        if request.operation != Operation::Create
            || !request.writes("", "pods")
            || object.annotation(MIRROR).is_some()
        {
            return Ok(());
        }
        if object.str_at(&["spec", "serviceAccountName"]).is_empty() {
            object.set_at(&["spec", "serviceAccountName"], DEFAULT);
            object.set_at(&["spec", "serviceAccount"], DEFAULT);
        }
        let account = account(request, object).await?;
        let mounts = object
            .bool_at(&["spec", "automountServiceAccountToken"])
            .or(account.automount_service_account_token);
        if mounts.unwrap_or(true) {
            mount(request, object);
        }
        let secrets = account.image_pull_secrets;
        if object.list_at(&["spec", "imagePullSecrets"]).is_empty() && !secrets.is_empty() {
            object.set_at(&["spec", "imagePullSecrets"], secrets);
        }
        Ok(())
    }

    async fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        let Some(pod) = object else { return Ok(()) };
        let adds = request.operation == Operation::Create && request.writes("", "pods");
        let debugs = request.operation == Operation::Update
            && request.is_for("", "pods")
            && request.subresource == "ephemeralcontainers";
        if !adds && !debugs {
            return Ok(());
        }
        if adds && pod.annotation(MIRROR).is_some() {
            return check_mirror(pod).map_err(|why| request.forbidden(object, why));
        }
        let account = account(request, pod).await?;
        if account.limits_secrets() {
            return check_secrets(&account, pod).map_err(|why| request.forbidden(object, &why));
        }
        Ok(())
    }
}

/// What matters of a service account: read from the cache's bytes without building the rest of the document, twice for each pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Account {
    metadata: Metadata,
    automount_service_account_token: Option<bool>,
    secrets: Vec<Value>,
    image_pull_secrets: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    annotations: BTreeMap<String, String>,
}

impl Account {
    /// Whether its pods may use only the secrets that it names.
    fn limits_secrets(&self) -> bool {
        let value = self.metadata.annotations.get(LIMITS_SECRETS);
        value.is_some_and(|value| matches!(&**value, "1" | "t" | "T" | "true" | "TRUE" | "True"))
    }
}

/// The account of a pod. The account `default` is made with its namespace by a controller, which is given a moment.
async fn account(request: &AdmissionRequest<'_>, pod: &Value) -> Result<Account, Status> {
    let name = pod.str_at(&["spec", "serviceAccountName"]);
    let attempts = if name == DEFAULT { ATTEMPTS } else { 1 };
    for attempt in 0..attempts {
        if attempt > 0 {
            let clock = request.view.shared().map(|shared| &shared.clock);
            let wait = clock.map_or(INTERVAL, |clock| clock.jitter(INTERVAL, 1.0));
            tokio::time::sleep(wait).await;
        }
        let (view, namespace) = (&request.view, request.namespace);
        let found = view.find("", "v1", "serviceaccounts", namespace, name);
        if let Some((_, found)) = found.await? {
            let account = serde_json::from_slice(&found.bytes);
            return account.map_err(|error| Status::internal(&error.to_string()));
        }
    }
    let why = format!(
        "error looking up service account {}/{name}: serviceaccount {name:?} not found",
        request.namespace
    );
    Err(request.forbidden(Some(pod), &why))
}

/// Gives each container that has nothing at that path the token of the account.
fn mount(request: &AdmissionRequest<'_>, pod: &mut Value) {
    let known = pod
        .list_at(&["spec", "volumes"])
        .iter()
        .map(|volume| volume.str_at(&["name"]))
        .find(|name| name.starts_with(VOLUME))
        .map(str::to_owned);
    let name = known.clone().unwrap_or_else(|| volume_name(request));
    let mut used = false;
    for (list, _) in CONTAINERS {
        let Some(Value::Array(containers)) = pod.at_mut(&["spec", list]) else {
            continue;
        };
        for container in containers {
            let mut mounts = container.list_at(&["volumeMounts"]).to_vec();
            if mounts
                .iter()
                .any(|mount| mount.str_at(&["mountPath"]) == MOUNT_PATH)
            {
                continue;
            }
            mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
            container.set_at(&["volumeMounts"], mounts);
            used = true;
        }
    }
    if used && known.is_none() {
        let mut volumes = pod.list_at(&["spec", "volumes"]).to_vec();
        volumes.push(json!({"name": name, "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ]}}));
        pod.set_at(&["spec", "volumes"], volumes);
    }
}

fn volume_name(request: &AdmissionRequest<'_>) -> String {
    let suffix = request
        .view
        .shared()
        .map_or_else(|| "token".to_owned(), |shared| shared.clock.suffix(5));
    format!("{VOLUME}{suffix}")
}

/// A pod that only mirrors one on its node uses nothing of the API.
fn check_mirror(pod: &Value) -> Result<(), &'static str> {
    if !pod.str_at(&["spec", "serviceAccountName"]).is_empty() {
        return Err("a mirror pod may not reference service accounts");
    }
    let volumes = pod.list_at(&["spec", "volumes"]);
    let environment = CONTAINERS
        .iter()
        .flat_map(|(list, _)| pod.list_at(&["spec", list]))
        .flat_map(|container| container.list_at(&["env"]));
    let secret = volumes.iter().any(|volume| volume.get("secret").is_some())
        || !pod.list_at(&["spec", "imagePullSecrets"]).is_empty()
        || environment
            .into_iter()
            .any(|variable| variable.at(&["valueFrom", "secretKeyRef"]).is_some());
    if secret {
        return Err("a mirror pod may not reference secrets");
    }
    let token = volumes
        .iter()
        .flat_map(|volume| volume.list_at(&["projected", "sources"]))
        .any(|source| source.get("serviceAccountToken").is_some());
    if token {
        return Err("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

/// Whether a pod uses only the secrets that its account names.
fn check_secrets(account: &Account, pod: &Value) -> Result<(), String> {
    fn names(references: &[Value]) -> Vec<&str> {
        let names = references.iter().map(|item| item.str_at(&["name"]));
        names.collect()
    }
    let (mountable, who) = (names(&account.secrets), &account.metadata.name);
    for volume in pod.list_at(&["spec", "volumes"]) {
        let secret = volume.str_at(&["secret", "secretName"]);
        if volume.get("secret").is_some() && !mountable.contains(&secret) {
            return Err(format!(
                "volume with secret.secretName={secret:?} is not allowed because service account {who} does not reference that secret"
            ));
        }
    }
    for (list, what) in CONTAINERS {
        for container in pod.list_at(&["spec", list]) {
            for variable in container.list_at(&["env"]) {
                let Some(reference) = variable.at(&["valueFrom", "secretKeyRef"]) else {
                    continue;
                };
                let secret = reference.str_at(&["name"]);
                if !mountable.contains(&secret) {
                    return Err(format!(
                        "{what} {} with envVar {} referencing secret.secretName={secret:?} is not allowed because service account {who} does not reference that secret",
                        container.str_at(&["name"]),
                        variable.str_at(&["name"])
                    ));
                }
            }
        }
    }
    let pullable = names(&account.image_pull_secrets);
    let secrets = pod.list_at(&["spec", "imagePullSecrets"]);
    for (index, secret) in secrets.iter().enumerate() {
        let secret = secret.str_at(&["name"]);
        if !pullable.contains(&secret) {
            return Err(format!(
                "imagePullSecrets[{index}].name={secret:?} is not allowed because service account {who} does not reference that imagePullSecret"
            ));
        }
    }
    Ok(())
}
