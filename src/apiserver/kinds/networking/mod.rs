//! networking.k8s.io.

mod ingress;
mod ingress_class;
mod ip_address;
mod network_policy;
mod service_cidr;

pub(super) use self::ingress::{Ingress, balancer_point, balancer_warnings};
pub(super) use self::ingress_class::IngressClass;
pub(super) use self::ip_address::IpAddress;
pub(super) use self::network_policy::NetworkPolicy;
pub(super) use self::service_cidr::ServiceCidr;
