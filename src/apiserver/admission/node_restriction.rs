//! `NodeRestriction`: a kubelet changes its own node and the pods on it, and of those only what is its business.
use super::{Admission, AdmissionRequest, Operation};
use crate::apiserver::auth::node;
use crate::object::{Document, Status};
use async_trait::async_trait;
use serde_json::Value;
use std::collections::BTreeSet;

const MIRROR: &str = "kubernetes.io/config.mirror";
const LEASES: &str = "kube-node-lease";
/// Labels of Kubernetes' own that a kubelet may set.
const LABELS: [&str; 12] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "node.kubernetes.io/windows-build",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

#[derive(Debug)]
pub(super) struct NodeRestriction;

#[async_trait]
impl Admission for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    // Upstream refuses before it validates the object, as everything that may also change it.
    async fn mutate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &mut Value,
    ) -> Result<(), Status> {
        if request.operation == Operation::Connect {
            return Ok(());
        }
        restrict(request, Some(object)).await
    }

    async fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        if request.operation == Operation::Delete {
            return restrict(request, object).await;
        }
        Ok(())
    }
}

async fn restrict(request: &AdmissionRequest<'_>, object: Option<&Value>) -> Result<(), Status> {
    let Some(node) = node::identity(&request.user.name, &request.user.groups) else {
        return Ok(());
    };
    let refused = |why: String| Err(request.forbidden(object, &why));
    if node.is_empty() {
        return refused(format!(
            "could not determine node from user {:?}",
            request.user.name
        ));
    }
    let resource = (&*request.resource.group, &*request.resource.resource);
    let why = match (resource, request.subresource) {
        (("", "pods"), "") => pod(request, node, object).await?,
        (("", "pods"), "status") => pod_status(request, node, object),
        (("", "pods"), "eviction") => {
            let pod = existing(request, request.name).await?;
            let own = pod.str_at(&["spec", "nodeName"]) == node;
            (!own).then(|| {
                format!("node {node} can only evict pods with spec.nodeName set to itself")
            })
        }
        (("", "pods"), other) => Some(format!(
            "unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"
        )),
        (("", "nodes"), _) => own_node(request, node, object),
        (("", "persistentvolumeclaims"), "status") => claim_status(request, node, object),
        (("", "persistentvolumeclaims"), _) => Some("may only update PVC status".to_owned()),
        (("", "serviceaccounts"), "token") => token(request, node, object).await?,
        (("coordination.k8s.io", "leases"), _) => lease(request, node, object),
        (("storage.k8s.io", "csinodes"), _) => (named(request, object) != node).then(|| {
            "can only access CSINode with the same name as the requesting node".to_owned()
        }),
        _ => None,
    };
    why.map_or(Ok(()), refused)
}

/// The name of the object, which a creation has in its body only.
fn named<'a>(request: &AdmissionRequest<'a>, object: Option<&'a Value>) -> &'a str {
    match object {
        Some(object) if request.operation == Operation::Create => object.name(),
        _ => request.name,
    }
}

async fn existing(request: &AdmissionRequest<'_>, name: &str) -> Result<Value, Status> {
    let found = request
        .view
        .get("", "v1", "pods", request.namespace, name)
        .await?;
    let pods = crate::object::GroupResource::new("", "pods");
    found.ok_or_else(|| Status::not_found(&pods, name))
}

async fn pod(
    request: &AdmissionRequest<'_>,
    node: &str,
    object: Option<&Value>,
) -> Result<Option<String>, Status> {
    match (request.operation, object) {
        (Operation::Create, Some(pod)) => mirror_pod(request, node, pod).await,
        (Operation::Delete, _) => {
            let pod = existing(request, request.name).await?;
            let own = pod.str_at(&["spec", "nodeName"]) == node;
            Ok((!own).then(|| {
                format!("node {node:?} can only delete pods with spec.nodeName set to itself")
            }))
        }
        (operation, _) => {
            let operation = format!("{operation:?}").to_uppercase();
            Ok(Some(format!(
                "unexpected operation {operation:?}, node {node:?} can only create and delete mirror pods"
            )))
        }
    }
}

/// A kubelet makes pods only to show those that it runs by itself.
async fn mirror_pod(
    request: &AdmissionRequest<'_>,
    node: &str,
    pod: &Value,
) -> Result<Option<String>, Status> {
    let only = |what: &str| {
        Ok(Some(format!(
            "node {node:?} can only create pods with {what}"
        )))
    };
    if pod.annotation(MIRROR).is_none() {
        return Ok(Some(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        )));
    }
    if pod.str_at(&["spec", "nodeName"]) != node {
        return only("spec.nodeName set to itself");
    }
    let owner = match pod.owner_references() {
        [] => return only("an owner reference set to itself"),
        [owner] => owner,
        _ => return only("a single owner reference set to itself"),
    };
    if owner.api_version() != "v1" || owner.kind() != "Node" || owner.str_at(&["name"]) != node {
        return only("an owner reference set to itself");
    }
    if owner.bool_at(&["controller"]) != Some(true) {
        return only("a controller owner reference set to itself");
    }
    if owner.bool_at(&["blockOwnerDeletion"]) == Some(true) {
        return Ok(Some(format!(
            "node {node:?} must not set blockOwnerDeletion on an owner reference"
        )));
    }
    let nodes = crate::object::GroupResource::new("", "nodes");
    let known = request.view.get("", "v1", "nodes", "", node).await?;
    let known = known.ok_or_else(|| Status::not_found(&nodes, node))?;
    let (expected, got) = (owner.str_at(&["uid"]), known.uid());
    if expected != got {
        return Ok(Some(format!(
            "node {node} UID mismatch: expected {expected} got {got}"
        )));
    }
    let mut bare = pod.clone();
    bare.remove_at(&["metadata", "annotations", MIRROR]);
    let refs = node::Refs::of(&bare);
    let bundles = pod.list_at(&["spec", "volumes"]).iter().any(|volume| {
        let mut sources = volume.list_at(&["projected", "sources"]).iter();
        sources.any(|source| source.get("clusterTrustBundle").is_some())
    });
    let what = [
        (!refs.account.is_empty(), "a service account"),
        (!refs.secrets.is_empty(), "secrets"),
        (!refs.config_maps.is_empty(), "configmaps"),
        (bundles, "clustertrustbundles"),
        (!refs.claims.is_empty(), "persistentvolumeclaims"),
    ];
    let what = what.iter().find(|(has, _)| *has);
    Ok(what.map(|(_, what)| format!("node {node:?} can not create pods that reference {what}")))
}

fn pod_status(
    request: &AdmissionRequest<'_>,
    node: &str,
    object: Option<&Value>,
) -> Option<String> {
    let (new, old) = (object?, request.old?);
    if old.str_at(&["spec", "nodeName"]) != node {
        return Some(format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    if !changed(new, old, "labels").is_empty() {
        return Some(format!(
            "node {node:?} cannot update labels through pod status"
        ));
    }
    let claims = |pod: &Value| pod.list_at(&["status", "resourceClaimStatuses"]).to_vec();
    (claims(new) != claims(old))
        .then(|| format!("node {node:?} cannot update resource claim statues"))
}

fn claim_status(
    request: &AdmissionRequest<'_>,
    node: &str,
    object: Option<&Value>,
) -> Option<String> {
    let rest = |claim: &Value| {
        let mut claim = claim.clone();
        for path in [
            &["metadata", "resourceVersion"][..],
            &["metadata", "managedFields"],
            &["status", "capacity"],
            &["status", "conditions"],
            &["status", "allocatedResourceStatuses"],
            &["status", "allocatedResources"],
        ] {
            claim.remove_at(path);
        }
        claim
    };
    (rest(object?) != rest(request.old?)).then(|| {
        format!(
            "node {node:?} is not allowed to update fields other than status.capacity and status.conditions: "
        )
    })
}

/// The keys that differ between the maps at `metadata.<field>`.
fn changed(new: &Value, old: &Value, field: &str) -> BTreeSet<String> {
    let entries = |object: &Value| {
        let map = object.at(&["metadata", field]).and_then(Value::as_object);
        map.cloned().unwrap_or_default()
    };
    let (new, old) = (entries(new), entries(old));
    let keys = new.keys().chain(old.keys());
    let differ = keys.filter(|key| new.get(*key) != old.get(*key));
    differ.cloned().collect()
}

/// The labels among `keys` that are not a kubelet's to set.
fn forbidden_labels(keys: BTreeSet<String>) -> String {
    let within = |domain: &str, of: &str| {
        domain == of
            || domain
                .strip_suffix(of)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    let forbidden = |key: &String| {
        let domain = key.split_once('/').map_or("", |(domain, _)| domain);
        let own = within(domain, "kubelet.kubernetes.io")
            || within(domain, "node.kubernetes.io")
            || LABELS.contains(&key.as_str());
        let ours = within(domain, "kubernetes.io") || within(domain, "k8s.io");
        within(domain, "node-restriction.kubernetes.io") || (ours && !own)
    };
    let keys: Vec<String> = keys.into_iter().filter(forbidden).collect();
    keys.join(", ")
}

fn own_node(request: &AdmissionRequest<'_>, node: &str, object: Option<&Value>) -> Option<String> {
    let requested = named(request, object);
    if requested != node {
        return Some(format!(
            "node {node:?} is not allowed to modify node {requested:?}"
        ));
    }
    let object = object?;
    let source = |node: &Value| {
        node.at(&["spec", "configSource"])
            .filter(|source| !source.is_null())
            .cloned()
    };
    let Some(old) = request.old else {
        if source(object).is_some() {
            return Some(format!(
                "node {node:?} is not allowed to create pods with a non-nil configSource"
            ));
        }
        let labels = forbidden_labels(changed(object, &Value::Null, "labels"));
        return (!labels.is_empty()).then(|| {
            format!("node {node:?} is not allowed to set the following labels: {labels}")
        });
    };
    if source(object).is_some() && source(object) != source(old) {
        return Some(format!(
            "node {node:?} is not allowed to update configSource to a new non-nil configSource"
        ));
    }
    let taints = |node: &Value| node.list_at(&["spec", "taints"]).to_vec();
    if taints(object) != taints(old) {
        return Some(format!("node {node:?} is not allowed to modify taints"));
    }
    let labels = forbidden_labels(changed(object, old, "labels"));
    (!labels.is_empty()).then(|| format!("is not allowed to modify labels: {labels}"))
}

async fn token(
    request: &AdmissionRequest<'_>,
    node: &str,
    object: Option<&Value>,
) -> Result<Option<String>, Status> {
    let why = |why: &str| Ok(Some(why.to_owned()));
    let reference = object.and_then(|object| object.at(&["spec", "boundObjectRef"]));
    let Some(reference) = reference.filter(|reference| {
        reference.api_version() == "v1"
            && reference.kind() == "Pod"
            && !reference.str_at(&["name"]).is_empty()
    }) else {
        return why("node requested token not bound to a pod");
    };
    let uid = reference.str_at(&["uid"]);
    if uid.is_empty() {
        return why("node requested token with a pod binding without a uid");
    }
    let pod = existing(request, reference.str_at(&["name"])).await?;
    if pod.uid() != uid {
        return Ok(Some(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        )));
    }
    if pod.str_at(&["spec", "nodeName"]) != node {
        return why("node requested token bound to a pod scheduled on a different node");
    }
    Ok(None)
}

fn lease(request: &AdmissionRequest<'_>, node: &str, object: Option<&Value>) -> Option<String> {
    if request.namespace != LEASES {
        return Some(format!(
            "can only access leases in the {LEASES:?} system namespace"
        ));
    }
    (named(request, object) != node)
        .then(|| "can only access node lease with the same name as the requesting node".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_a_kubelets_or_not() {
        for (label, forbidden) in [
            ("app", false),
            ("example.com/x", false),
            ("kubernetes.io/hostname", false),
            ("topology.kubernetes.io/zone", false),
            ("kubelet.kubernetes.io/x", false),
            ("sub.node.kubernetes.io/x", false),
            ("node-role.kubernetes.io/master", true),
            ("kubernetes.io/x", true),
            ("foo.k8s.io/x", true),
            ("node-restriction.kubernetes.io/x", true),
            ("a.node-restriction.kubernetes.io/x", true),
            ("mykubernetes.io/x", false),
        ] {
            let found = forbidden_labels(BTreeSet::from([label.to_owned()]));
            assert_eq!(!found.is_empty(), forbidden, "{label}");
        }
    }
}
