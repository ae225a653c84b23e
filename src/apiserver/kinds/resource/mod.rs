//! Kinds of the group `resource.k8s.io` (dynamic resource allocation).

mod allocation;
mod claim;
mod claim_template;
mod device;
mod device_class;
#[cfg(feature = "cel")]
mod expression;
mod request;
mod slice;
mod words;

pub(super) use self::claim::ResourceClaim;
pub(super) use self::claim_template::ResourceClaimTemplate;
pub(super) use self::device_class::DeviceClass;
pub(super) use self::slice::ResourceSlice;

#[cfg(test)]
mod tests;
