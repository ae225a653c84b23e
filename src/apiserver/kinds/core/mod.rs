//! Kinds of the core group.

mod config_map;
mod endpoints;
mod limit_range;
mod namespace;
mod node;
mod persistent_volume;
mod persistent_volume_claim;
pub(super) mod pod;
mod pod_template;
mod replication_controller;
mod resource_quota;
mod secret;
mod service;
mod service_account;

pub(super) use self::config_map::ConfigMap;
pub(super) use self::endpoints::Endpoints;
pub(super) use self::limit_range::LimitRange;
pub(super) use self::namespace::Namespace;
pub(super) use self::node::Node;
pub(super) use self::persistent_volume::{
    PersistentVolume, validate_inline as validate_inline_volume,
};
pub(super) use self::persistent_volume_claim::PersistentVolumeClaim;
pub(super) use self::pod::Pod;
pub(super) use self::pod_template::PodTemplate;
pub(super) use self::replication_controller::ReplicationController;
pub(super) use self::resource_quota::ResourceQuota;
pub(super) use self::secret::Secret;
pub(super) use self::service::Service;
pub(crate) use self::service::validate_addresses as validate_service_addresses;
pub(super) use self::service_account::ServiceAccount;
