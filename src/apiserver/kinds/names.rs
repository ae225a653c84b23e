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
pub(crate) fn path_segment(name: &str, _prefix: bool) -> Vec<String> {
    let mut problems = Vec::new();
    match name {
        "." => problems.push("may not be '.'".to_owned()),
        ".." => problems.push("may not be '..'".to_owned()),
        _ => {
            for forbidden in ['/', '%'] {
                if name.contains(forbidden) {
                    problems.push(format!("may not contain '{forbidden}'"));
                }
            }
        }
    }
    problems
}

/// A prefix may end in a dash, since something will follow it.
fn whole(name: &str, prefix: bool) -> Cow<'_, str> {
    match name.strip_suffix('-') {
        Some(start) if prefix && !start.is_empty() => format!("{start}a").into(),
        _ => name.into(),
    }
}
