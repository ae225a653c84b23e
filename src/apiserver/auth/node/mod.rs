//! What a kubelet may do: what its node's pods need, its own node, and little else (`plugin/pkg/auth/authorizer/node`).
//!
//! What a pod refers to is read once for each revision of the pod; which pods run on the node the watch cache knows.
mod refs;

pub(crate) use self::refs::Refs;
use self::refs::volume_secrets;
use super::rbac::{self, Rule};
use super::{Attributes, Decision};
use crate::apiserver::registry::cacher::{Cached, Selection};
use crate::apiserver::request::User;
use crate::apiserver::server::Shared;
use crate::object::{Document, FieldSelector, Status};
use crate::store::Revision;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// The group of kubelets.
const NODES: &str = "system:nodes";
const PREFIX: &str = "system:node:";
const LEASES: &str = "kube-node-lease";
/// So many pods' references are kept; then all are forgotten.
const MOST: usize = 65_536;

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| rbac::default_rules("system:node"));

/// The node that a user is the kubelet of; `""` when it is one of no node in particular.
pub(crate) fn identity<'a>(name: &'a str, groups: &[String]) -> Option<&'a str> {
    let node = name.strip_prefix(PREFIX)?;
    groups.iter().any(|group| group == NODES).then_some(node)
}

/// Decides for kubelets.
#[derive(Debug, Default)]
pub(crate) struct NodeAuthorizer(Mutex<Known>);

/// What pods refer to, by their keys, as of a revision each.
type Known = BTreeMap<Arc<str>, (Revision, Arc<Refs>)>;

/// A kind of thing that pods refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Secret,
    ConfigMap,
    Claim,
    Volume,
    ResourceClaim,
    Attachment,
    Account,
    Pod,
    Slice,
}

fn no(reason: impl Into<String>) -> Decision {
    Decision::NoOpinion(reason.into())
}

fn yes() -> Decision {
    Decision::Allow(String::new())
}

impl NodeAuthorizer {
    /// Whether the kubelet may do what is asked.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn authorize(
        &self,
        shared: &Arc<Shared>,
        user: &User,
        asked: &Attributes,
    ) -> Result<Decision, Status> {
        let Some(node) = identity(&user.name, &user.groups) else {
            return Ok(no(""));
        };
        if node.is_empty() {
            return Ok(no(format!("unknown node for user {:?}", user.name)));
        }
        if asked.resource_request {
            let question = Question {
                authorizer: self,
                shared,
                node,
                asked,
            };
            if let Some(decision) = question.decide().await? {
                return Ok(decision);
            }
        }
        let allowed = RULES.iter().any(|rule| rule.allows(asked));
        Ok(if allowed { yes() } else { no("") })
    }

    /// What a pod refers to.
    fn refs(&self, pod: &Cached) -> Arc<Refs> {
        let known = self.0.lock().get(&pod.key).cloned();
        if let Some((revision, refs)) = known
            && revision == pod.revision
        {
            return refs;
        }
        let refs = Arc::new(pod.document().map(|pod| Refs::of(&pod)).unwrap_or_default());
        let mut all = self.0.lock();
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(pod.key.clone(), (pod.revision, refs.clone()));
        refs
    }
}

/// One question of one kubelet.
struct Question<'a> {
    authorizer: &'a NodeAuthorizer,
    shared: &'a Arc<Shared>,
    node: &'a str,
    asked: &'a Attributes,
}

impl Question<'_> {
    /// Decides on resources of which a kubelet may use some objects only; `None`: on others its rules decide.
    async fn decide(&self) -> Result<Option<Decision>, Status> {
        let Attributes {
            group,
            resource,
            subresource,
            ..
        } = self.asked;
        Ok(Some(match (&**group, &**resource) {
            ("", "secrets") => self.read(Kind::Secret).await?,
            ("", "configmaps") => self.read(Kind::ConfigMap).await?,
            ("", "persistentvolumeclaims") if subresource == "status" => {
                self.update_status(Kind::Claim).await?
            }
            ("", "persistentvolumeclaims") => self.get(Kind::Claim).await?,
            ("", "persistentvolumes") => self.get(Kind::Volume).await?,
            ("resource.k8s.io", "resourceclaims") => self.get(Kind::ResourceClaim).await?,
            ("storage.k8s.io", "volumeattachments") => self.get(Kind::Attachment).await?,
            ("", "serviceaccounts") => self.account().await?,
            ("coordination.k8s.io", "leases") => self.lease(),
            ("storage.k8s.io", "csinodes") => self.csi_node(),
            ("resource.k8s.io", "resourceslices") => self.slice().await?,
            ("", "nodes") => self.own_node(),
            ("", "pods") => self.pod().await?,
            _ => return Ok(None),
        }))
    }

    fn verb_is(&self, verbs: &[&str]) -> bool {
        verbs.contains(&&*self.asked.verb)
    }

    async fn read(&self, kind: Kind) -> Result<Decision, Status> {
        if !self.verb_is(&["get", "list", "watch"]) {
            return Ok(no("can only read resources of this type"));
        }
        if !self.asked.subresource.is_empty() {
            return Ok(no("cannot read subresource"));
        }
        if self.asked.namespace.is_empty() {
            return Ok(no("can only read namespaced object of this type"));
        }
        self.related(kind).await
    }

    async fn get(&self, kind: Kind) -> Result<Decision, Status> {
        if !self.verb_is(&["get"]) {
            return Ok(no("can only get individual resources of this type"));
        }
        if !self.asked.subresource.is_empty() {
            return Ok(no("cannot get subresource"));
        }
        self.related(kind).await
    }

    async fn update_status(&self, kind: Kind) -> Result<Decision, Status> {
        if !self.verb_is(&["update", "patch"]) {
            return Ok(no("can only get/update/patch this type"));
        }
        self.related(kind).await
    }

    /// Tokens for the accounts of its pods, and those accounts themselves.
    async fn account(&self) -> Result<Decision, Status> {
        if self.verb_is(&["get"]) && self.asked.subresource.is_empty() {
            return self.related(Kind::Account).await;
        }
        if !self.verb_is(&["create"]) || self.asked.name.is_empty() {
            return Ok(no("can only create tokens for individual service accounts"));
        }
        if self.asked.subresource != "token" {
            return Ok(no("can only create token subresource of serviceaccount"));
        }
        self.related(Kind::Account).await
    }

    fn lease(&self) -> Decision {
        if !self.verb_is(&["get", "create", "update", "patch", "delete"]) {
            return no("can only get, create, update, patch, or delete a node lease");
        }
        if self.asked.namespace != LEASES {
            return no(format!(
                "can only access leases in the {LEASES:?} system namespace"
            ));
        }
        if self.asked.verb != "create" && self.asked.name != self.node {
            return no("can only access node lease with the same name as the requesting node");
        }
        yes()
    }

    fn csi_node(&self) -> Decision {
        if !self.verb_is(&["get", "create", "update", "patch", "delete"]) {
            return no("can only get, create, update, patch, or delete a CSINode");
        }
        if !self.asked.subresource.is_empty() {
            return no("cannot authorize CSINode subresources");
        }
        if self.asked.verb != "create" && self.asked.name != self.node {
            return no("can only access CSINode with the same name as the requesting node");
        }
        yes()
    }

    async fn slice(&self) -> Result<Decision, Status> {
        if !self.asked.subresource.is_empty() {
            return Ok(no("cannot authorize ResourceSlice subresources"));
        }
        Ok(match &*self.asked.verb {
            "create" => yes(),
            "get" | "update" | "patch" | "delete" => self.related(Kind::Slice).await?,
            "watch" | "list" | "deletecollection" if self.selects_own() => yes(),
            "watch" | "list" | "deletecollection" => no(
                "can only list/watch/deletecollection resourceslices with nodeName field selector",
            ),
            _ => no(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection",
            ),
        })
    }

    fn own_node(&self) -> Decision {
        let (node, name) = (self.node, &self.asked.name);
        match (&*self.asked.subresource, &*self.asked.verb) {
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => yes(),
            ("", "get" | "list" | "watch") if name == node => yes(),
            ("", "get" | "list" | "watch") if name.is_empty() => no(format!(
                "node '{node}' cannot read all nodes, only its own Node object"
            )),
            ("", "get" | "list" | "watch") => no(format!(
                "node '{node}' cannot read '{name}', only its own Node object"
            )),
            _ => no(""),
        }
    }

    async fn pod(&self) -> Result<Decision, Status> {
        Ok(match (&*self.asked.subresource, &*self.asked.verb) {
            ("", "get") => self.get(Kind::Pod).await?,
            ("", "list" | "watch") if self.selects_own() => yes(),
            ("", "list" | "watch") if !self.asked.name.is_empty() => {
                self.related(Kind::Pod).await?
            }
            ("", "list" | "watch") => {
                no("can only list/watch pods with spec.nodeName field selector")
            }
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
                yes()
            }
            _ => no(""),
        })
    }

    /// Whether the fields asked for restrict the list to this node.
    fn selects_own(&self) -> bool {
        let own = |(field, value): &(String, String)| {
            matches!(field.as_str(), "spec.nodeName" | "nodeName") && value == self.node
        };
        self.asked.fields.iter().any(own)
    }

    /// Whether the object has to do with the node.
    async fn related(&self, kind: Kind) -> Result<Decision, Status> {
        let Attributes {
            namespace, name, ..
        } = self.asked;
        if name.is_empty() {
            return Ok(no("No Object name found"));
        }
        let related = match kind {
            Kind::Secret => {
                self.uses(namespace, |refs| refs.secrets.contains(name))
                    .await?
                    || self.volume_uses(namespace, name).await?
            }
            Kind::ConfigMap => {
                self.uses(namespace, |refs| refs.config_maps.contains(name))
                    .await?
            }
            Kind::Claim => {
                self.uses(namespace, |refs| refs.claims.contains(name))
                    .await?
            }
            Kind::ResourceClaim => {
                self.uses(namespace, |refs| refs.resource_claims.contains(name))
                    .await?
            }
            Kind::Account => self.uses(namespace, |refs| refs.account == *name).await?,
            Kind::Volume => match self.object("", "persistentvolumes", "", name).await? {
                Some(volume) => self.uses_volume(&volume).await?,
                None => false,
            },
            Kind::Attachment => {
                let group = "storage.k8s.io";
                self.is_on(self.object(group, "volumeattachments", "", name).await?)
            }
            Kind::Slice => {
                let group = "resource.k8s.io";
                self.is_on(self.object(group, "resourceslices", "", name).await?)
            }
            Kind::Pod => self.is_on(self.object("", "pods", namespace, name).await?),
        };
        if related {
            return Ok(yes());
        }
        let node = self.node;
        Ok(no(format!(
            "no relationship found between node '{node}' and this object"
        )))
    }

    fn is_on(&self, object: Option<Value>) -> bool {
        object.is_some_and(|object| object.str_at(&["spec", "nodeName"]) == self.node)
    }

    async fn object(
        &self,
        group: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Status> {
        let Some(resource) = self.shared.registry.get(group, "v1", plural) else {
            return Ok(None);
        };
        let object = self
            .shared
            .cacher
            .get(&resource, namespace, name, "")
            .await?;
        Ok(object.and_then(|object| object.document().ok()))
    }

    /// Whether a pod of the node in `namespace` refers to something.
    async fn uses(
        &self,
        namespace: &str,
        what: impl Fn(&Refs) -> bool + Send + Sync,
    ) -> Result<bool, Status> {
        let Some(pods) = self.shared.registry.get("", "v1", "pods") else {
            return Ok(false);
        };
        let kind = self.shared.cacher.kind(&pods).await?;
        // What a pod was bound for a moment ago counts.
        self.shared.cacher.fresh().await?;
        let within = pods.key(namespace, "");
        let fields = format!("spec.nodeName={}", self.node);
        let Ok(fields) = FieldSelector::parse(&fields) else {
            return Ok(false);
        };
        let selection = Selection {
            fields: Some(&fields),
            ..Selection::all(&within)
        };
        let selected = kind.select(&selection);
        let mut refs = selected.items.iter().map(|pod| self.authorizer.refs(pod));
        Ok(refs.any(|refs| what(&refs)))
    }

    /// Whether a pod of the node uses the claim that a volume is bound to.
    async fn uses_volume(&self, volume: &Value) -> Result<bool, Status> {
        let claim = |field: &str| volume.str_at(&["spec", "claimRef", field]);
        let name = claim("name");
        if name.is_empty() {
            return Ok(false);
        }
        self.uses(claim("namespace"), |refs| refs.claims.contains(name))
            .await
    }

    /// Whether a volume that a pod of the node uses refers to a secret.
    async fn volume_uses(&self, namespace: &str, secret: &str) -> Result<bool, Status> {
        let Some(volumes) = self.shared.registry.get("", "v1", "persistentvolumes") else {
            return Ok(false);
        };
        let kind = self.shared.cacher.kind(&volumes).await?;
        let within = volumes.key("", "");
        for volume in kind.select(&Selection::all(&within)).items {
            let Ok(volume) = volume.document() else {
                continue;
            };
            let mut secrets = volume_secrets(&volume).into_iter();
            let wanted = secrets.any(|(place, name)| place == namespace && name == secret);
            if wanted && self.uses_volume(&volume).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
