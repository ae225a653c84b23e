//! Kinds of the core group.

mod config_map;
mod namespace;
mod node;
pub(super) mod pod;
mod pod_template;
mod replication_controller;
mod secret;
mod service;

pub(super) use self::config_map::ConfigMap;
pub(super) use self::namespace::Namespace;
pub(super) use self::node::Node;
pub(super) use self::pod::Pod;
pub(super) use self::pod_template::PodTemplate;
pub(super) use self::replication_controller::ReplicationController;
pub(super) use self::secret::Secret;
pub(super) use self::service::Service;
