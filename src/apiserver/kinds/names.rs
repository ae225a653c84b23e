//! Names: which are valid (`k8s.io/apimachinery/pkg/util/validation`).
/// The problems of `name` as a DNS subdomain (RFC 1123).
pub(crate) fn dns_subdomain(_name: &str, _prefix: bool) -> Vec<String> {
    Vec::new()
}
