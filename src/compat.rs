//! Fields whose type differs between the supported k8s-openapi versions, read in one way.
//!
//! Write with `.into()`, which works for `T` and `Option<T>`; read with [`Opt::opt`].

/// Reads a field that is `T` in one k8s-openapi version and `Option<T>` in another.
pub(crate) trait Opt<T> {
    /// The value, if any.
    fn opt(&self) -> Option<&T>;
}
impl<T> Opt<T> for Option<T> {
    fn opt(&self) -> Option<&T> {
        self.as_ref()
    }
}
macro_rules! always {
    ($($type:path),* $(,)?) => { $(impl Opt<$type> for $type { fn opt(&self) -> Option<&$type> { Some(self) } })* };
}
always!(
    String,
    k8s_openapi::api::apps::v1::DaemonSetSpec,
    k8s_openapi::api::apps::v1::DeploymentSpec,
    k8s_openapi::api::apps::v1::ReplicaSetSpec,
    k8s_openapi::api::apps::v1::StatefulSetSpec,
);
