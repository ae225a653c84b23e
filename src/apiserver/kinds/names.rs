//! Names of objects: which are valid (`k8s.io/apimachinery/pkg/api/validation`). Each function gives the problems, in
//! upstream's words; with `prefix`, `name` is a `generateName`, to which more characters will be added.

use std::borrow::Cow;

use crate::object::name;

/// The problems of a DNS subdomain (RFC 1123).
pub(crate) fn dns_subdomain(name: &str, prefix: bool) -> Vec<String> {
    name::dns_subdomain(&whole(name, prefix))
}

/// The problems of a DNS label (RFC 1123).
pub(crate) fn dns_label(name: &str, prefix: bool) -> Vec<String> {
    name::dns_label(&whole(name, prefix))
}

/// The problems of a name that only has to fit into a path (RBAC).
pub(crate) fn path_segment(name: &str, prefix: bool) -> Vec<String> {
    match name {
        "." | ".." if !prefix => vec![format!("may not be '{name}'")],
        _ => ['/', '%']
            .into_iter()
            .filter(|forbidden| name.contains(*forbidden))
            .map(|forbidden| format!("may not contain '{forbidden}'"))
            .collect(),
    }
}

/// A prefix may end in a dash, since something will follow it. Upstream looks past the character before the dash as well.
fn whole(name: &str, prefix: bool) -> Cow<'_, str> {
    if !prefix || name.len() < 2 || !name.ends_with('-') {
        return name.into();
    }
    match name.get(..name.len() - 2) {
        Some(start) => format!("{start}a").into(),
        None => name.into(),
    }
}
