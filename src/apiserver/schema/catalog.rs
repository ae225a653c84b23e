//! The list of the types of k8s-openapi that the server knows: roots from which all others are reached.
use k8s_openapi::Resource;
use k8s_openapi::schemars::{JsonSchema, SchemaGenerator};

/// Takes the types one by one.
pub(crate) trait Visitor {
    /// The generator that types are shown to.
    fn generator(&mut self) -> &mut SchemaGenerator;
    /// The type of this name is the kind `<group>/<version>/<kind>`.
    fn is_kind(&mut self, name: String, kind: String);
}

fn kind<T: Resource + JsonSchema>(visitor: &mut impl Visitor) {
    visitor.generator().subschema_for::<T>();
    let kind = format!("{}/{}/{}", T::GROUP, T::VERSION, T::KIND);
    visitor.is_kind(T::schema_name().into_owned(), kind);
}

/// A type that k8s-openapi does not call a resource.
fn plain<T: JsonSchema>(visitor: &mut impl Visitor, kind: Option<&str>) {
    visitor.generator().subschema_for::<T>();
    if let Some(kind) = kind {
        visitor.is_kind(T::schema_name().into_owned(), kind.to_owned());
    }
}

/// Shows all types to `visitor`.
pub(crate) fn visit(visitor: &mut impl Visitor) {
    use k8s_openapi::apimachinery::pkg::{apis::meta::v1 as meta, runtime, version};
    macro_rules! kinds {
        ($($($module:ident)::+ {$($name:ident)*})*) => {$({
            use k8s_openapi::$($module)::+::*;
            $(kind::<$name>(visitor);)*
        })*};
    }
    kinds! {
        api::admissionregistration::v1 {MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingWebhookConfiguration
            ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration}
        api::apps::v1 {ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet}
        api::authentication::v1 {SelfSubjectReview TokenRequest TokenReview}
        api::authorization::v1 {LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview}
        api::autoscaling::v1 {HorizontalPodAutoscaler Scale}
        api::autoscaling::v2 {HorizontalPodAutoscaler}
        api::batch::v1 {CronJob Job}
        api::certificates::v1 {CertificateSigningRequest}
        api::coordination::v1 {Lease}
        api::core::v1 {Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume
            PersistentVolumeClaim Pod PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount}
        api::discovery::v1 {EndpointSlice}
        api::events::v1 {Event}
        api::flowcontrol::v1 {FlowSchema PriorityLevelConfiguration}
        api::networking::v1 {IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR}
        api::node::v1 {RuntimeClass}
        api::policy::v1 {Eviction PodDisruptionBudget}
        api::rbac::v1 {ClusterRole ClusterRoleBinding Role RoleBinding}
        api::resource::v1 {DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice}
        api::scheduling::v1 {PriorityClass}
        api::storage::v1 {CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass}
        apiextensions_apiserver::pkg::apis::apiextensions::v1 {CustomResourceDefinition}
        apimachinery::pkg::apis::meta::v1 {APIGroup APIGroupList APIResourceList APIVersions Status}
        kube_aggregator::pkg::apis::apiregistration::v1 {APIService}
    }
    plain::<meta::DeleteOptions>(visitor, Some("/v1/DeleteOptions"));
    plain::<meta::WatchEvent<runtime::RawExtension>>(visitor, Some("/v1/WatchEvent"));
    plain::<meta::ListMeta>(visitor, None);
    plain::<meta::Patch>(visitor, None);
    plain::<version::Info>(visitor, None);
}
