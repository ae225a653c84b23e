//! THE list of built-in plugins, and how plugins are run.
use super::webhook::{MutatingAdmissionWebhook, Transports, ValidatingAdmissionWebhook};
use super::{Admission, AdmissionRequest};
use super::{
    certificates, default_storage_class, in_use, ingress_class, limit_ranger, namespace,
    node_restriction, nodes, owner_references, pod_resize, pod_security, priority, quota, resize,
    runtime_class, service_account, tolerations, topology_labels,
};
use crate::object::Status;
use serde_json::Value;
use std::sync::Arc;

/// Every plugin of Kubernetes by name, whether it is built in here or not.
const NAMES: [&str; 41] = [
    "AlwaysAdmit",
    "NamespaceAutoProvision",
    "NamespaceLifecycle",
    "NamespaceExists",
    "LimitPodHardAntiAffinityTopology",
    "LimitRanger",
    "ServiceAccount",
    "NodeRestriction",
    "TaintNodesByCondition",
    "AlwaysPullImages",
    "ImagePolicyWebhook",
    "PodSecurity",
    "PodNodeSelector",
    "Priority",
    "DefaultTolerationSeconds",
    "PodTolerationRestriction",
    "EventRateLimit",
    "ExtendedResourceToleration",
    "DefaultStorageClass",
    "StorageObjectInUseProtection",
    "PodGroupProtection",
    "OwnerReferencesPermissionEnforcement",
    "PersistentVolumeClaimResize",
    "RuntimeClass",
    "CertificateApproval",
    "CertificateSigning",
    "ClusterTrustBundleAttest",
    "CertificateSubjectRestriction",
    "DefaultIngressClass",
    "DenyServiceExternalIPs",
    "PodTopologyLabels",
    "PodGroupWorkloadExists",
    "NodeDeclaredFeatureValidator",
    "JobValidation",
    "PodResizeValidator",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionWebhook",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionWebhook",
    "ResourceQuota",
    "AlwaysDeny",
];

/// Those built in that run only when they are asked for. Without a controller that makes the account `default` in each
/// namespace `ServiceAccount` would refuse every pod, so it is whole clusters that ask for it.
const OFF: [&str; 3] = [
    "ServiceAccount",
    "NodeRestriction",
    "OwnerReferencesPermissionEnforcement",
];

/// Those built in, in the order of kube-apiserver.
fn builtin(transports: &Transports) -> Vec<Arc<dyn Admission>> {
    vec![
        Arc::new(namespace::NamespaceLifecycle),
        Arc::new(limit_ranger::LimitRanger),
        Arc::new(service_account::ServiceAccount),
        Arc::new(node_restriction::NodeRestriction),
        Arc::new(nodes::TaintNodesByCondition),
        Arc::new(pod_security::PodSecurity),
        Arc::<priority::Priority>::default(),
        Arc::new(tolerations::DefaultTolerationSeconds),
        Arc::new(default_storage_class::DefaultStorageClass),
        Arc::new(in_use::StorageObjectInUseProtection),
        Arc::new(owner_references::OwnerReferencesPermissionEnforcement),
        Arc::new(resize::PersistentVolumeClaimResize),
        Arc::new(runtime_class::RuntimeClass),
        Arc::new(certificates::Approval),
        Arc::new(certificates::Signing),
        Arc::new(certificates::SubjectRestriction),
        Arc::new(ingress_class::DefaultIngressClass),
        Arc::new(topology_labels::PodTopologyLabels),
        Arc::new(pod_resize::PodResizeValidator),
        #[cfg(feature = "cel")]
        Arc::new(super::policy::MutatingAdmissionPolicy::default()),
        Arc::new(MutatingAdmissionWebhook::new(transports.clone())),
        #[cfg(feature = "cel")]
        Arc::new(super::policy::ValidatingAdmissionPolicy::default()),
        Arc::new(ValidatingAdmissionWebhook::new(transports.clone())),
        Arc::new(quota::ResourceQuota),
    ]
}

/// A plugin, and whether it runs.
#[derive(Clone, Debug)]
struct Entry {
    plugin: Arc<dyn Admission>,
    on: bool,
    /// Whether somebody said so.
    fixed: bool,
}

/// Plugins in the order in which they run.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    entries: Vec<Entry>,
    /// The ways to webhooks.
    transports: Transports,
    /// Names that cannot be: of no plugin, or of one that is not built in.
    unknown: Vec<String>,
}

/// The built-in plugins, those on that are so by default.
impl Default for Chain {
    fn default() -> Self {
        let entry = |plugin: Arc<dyn Admission>| Entry {
            on: !OFF.contains(&plugin.name()),
            plugin,
            fixed: false,
        };
        let transports = Transports::default();
        Self {
            entries: builtin(&transports).into_iter().map(entry).collect(),
            transports,
            unknown: Vec::new(),
        }
    }
}

impl Chain {
    /// With `plugin` after those there are.
    #[must_use]
    pub(crate) fn with(mut self, plugin: Arc<dyn Admission>) -> Self {
        self.entries.push(Entry {
            plugin,
            on: true,
            fixed: true,
        });
        self
    }

    /// Without the plugin of this name.
    #[must_use]
    pub(crate) fn without(mut self, name: &str) -> Self {
        if !self.turn(name, false) && !NAMES.contains(&name) {
            self.unknown.push(name.to_owned());
        }
        self
    }

    /// With the built-in plugin of this name, which does not run by default.
    #[must_use]
    pub(crate) fn enable(mut self, name: &str) -> Self {
        if !self.turn(name, true) {
            self.unknown.push(name.to_owned());
        }
        self
    }

    /// With the built-in plugin of this name, unless somebody left it out.
    #[must_use]
    pub(crate) fn suggest(mut self, name: &str) -> Self {
        let mut entries = self.entries.iter_mut();
        if let Some(entry) = entries.find(|entry| entry.plugin.name() == name && !entry.fixed) {
            entry.on = true;
        }
        self
    }

    /// The ways to webhooks.
    pub(crate) fn transports(&self) -> &Transports {
        &self.transports
    }

    /// These plugins only.
    #[cfg(test)]
    pub(crate) fn only(plugins: &[Arc<dyn Admission>]) -> Self {
        let none = Self {
            entries: Vec::new(),
            ..Self::default()
        };
        plugins.iter().cloned().fold(none, Self::with)
    }

    fn turn(&mut self, name: &str, on: bool) -> bool {
        let mut found = false;
        for entry in &mut self.entries {
            if entry.plugin.name() == name {
                entry.on = on;
                entry.fixed = true;
                found = true;
            }
        }
        found
    }

    /// The first name that was given for no plugin.
    pub(crate) fn unknown(&self) -> Option<&str> {
        self.unknown.first().map(String::as_str)
    }

    fn running(&self) -> impl Iterator<Item = &Arc<dyn Admission>> {
        self.entries
            .iter()
            .filter(|entry| entry.on)
            .map(|entry| &entry.plugin)
    }

    /// Runs the mutating hooks, and once more when a webhook or a policy changed the object.
    ///
    /// # Errors
    /// What the first plugin that refuses says.
    pub(crate) async fn mutate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &mut Value,
    ) -> Result<(), Status> {
        for plugin in self.running() {
            plugin.mutate(request, object).await?;
        }
        if request.session.begin_again() {
            for plugin in self.running() {
                plugin.mutate(request, object).await?;
            }
        }
        Ok(())
    }

    /// Runs the validating hooks.
    ///
    /// # Errors
    /// What the first plugin that refuses says.
    pub(crate) async fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        for plugin in self.running() {
            plugin.validate(request, object).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_those_of_kubernetes_in_its_order() {
        let places: Vec<usize> = builtin(&Transports::default())
            .iter()
            .map(|plugin| {
                NAMES
                    .iter()
                    .position(|name| *name == plugin.name())
                    .unwrap()
            })
            .collect();
        assert!(places.is_sorted());
        assert!(OFF.iter().all(|name| NAMES.contains(name)));
    }

    #[test]
    fn unknown_names_are_remembered() {
        let running = |chain: &Chain| {
            chain
                .running()
                .map(|plugin| plugin.name().to_owned())
                .collect::<Vec<_>>()
        };
        let chain = Chain::default()
            .without("Priority")
            .without("AlwaysDeny")
            .enable("ServiceAccount");
        assert_eq!(chain.unknown(), None);
        assert!(!running(&chain).contains(&"Priority".to_owned()));
        assert!(running(&chain).contains(&"ServiceAccount".to_owned()));
        assert_eq!(
            Chain::default().without("Prioritee").unknown(),
            Some("Prioritee")
        );
        assert_eq!(
            Chain::default().enable("AlwaysDeny").unknown(),
            Some("AlwaysDeny")
        );
    }
}
