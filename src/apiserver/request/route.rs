//! From method and path to what is asked (`k8s.io/apiserver/pkg/endpoints/request.RequestInfo`, and which paths are routed at all).
use super::{Query, Verb};
use crate::apiserver::registry::{Registry, Resource};
use crate::object::Status;
use http::Method;
use std::sync::Arc;

/// Where a request goes.
#[derive(Clone, Debug)]
pub(crate) enum Route {
    /// To a resource.
    Resource(Routed),
    /// To a path that is no resource: health, version, discovery.
    Path,
    /// Nowhere: answered in plain text, as the real server's outermost router does.
    Unknown,
}

/// A request for a resource.
#[derive(Clone, Debug)]
pub(crate) struct Routed {
    pub verb: Verb,
    pub resource: Arc<Resource>,
    pub namespace: String,
    pub name: String,
    pub subresource: Option<String>,
}

/// Routes a request.
///
/// # Errors
/// 404 for a path below a served group that is no resource, 405 for a method the resource does not have.
pub(crate) fn route(
    registry: &Registry,
    method: &Method,
    path: &str,
    query: &Query,
) -> Result<Route, Status> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let segments: Vec<&str> = path.split('/').collect();
    let (group, version, rest) = match &segments[..] {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group] => {
            return Ok(if !group.is_empty() && registry.serves_group(group) {
                Route::Path
            } else {
                Route::Unknown
            });
        }
        ["apis", group, version, rest @ ..] => {
            if group.is_empty() || !registry.serves_group(group) {
                return Ok(Route::Unknown);
            }
            (*group, *version, rest)
        }
        _ => return Ok(Route::Path),
    };
    let custom = registry.is_custom(group, version) && !group.is_empty();
    if rest.is_empty() {
        return if registry.serves_version(group, version) {
            Ok(Route::Path)
        } else if custom {
            Ok(Route::Unknown)
        } else {
            Err(Status::no_such_path())
        };
    }
    if custom && !is_custom_resource(registry, method, group, version, rest) {
        return Ok(Route::Unknown);
    }
    resource(registry, method, group, version, rest, query).map(Route::Resource)
}

/// Whether a path below a version of custom resources only is one of theirs. What is not goes on to the outermost router.
fn is_custom_resource(
    registry: &Registry,
    method: &Method,
    group: &str,
    version: &str,
    rest: &[&str],
) -> bool {
    let rest = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
        _ => (None, rest),
    };
    let Some(resource) = rest
        .first()
        .and_then(|name| registry.get(group, version, name))
    else {
        return false;
    };
    match namespace {
        Some(namespace) => resource.namespaced && !namespace.is_empty(),
        // Across namespaces one can only look.
        None => !resource.namespaced || (rest.len() == 1 && method == Method::GET),
    }
}

fn resource(
    registry: &Registry,
    method: &Method,
    group: &str,
    version: &str,
    rest: &[&str],
    query: &Query,
) -> Result<Routed, Status> {
    let (legacy_watch, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        _ => (false, rest),
    };
    let (namespace, rest) = match rest {
        // `namespaces/x/status` and `/finalize` are subresources of the namespace itself.
        ["namespaces", namespace, rest @ ..]
            if !rest.is_empty() && !matches!(rest, ["status" | "finalize"]) =>
        {
            (Some(*namespace), rest)
        }
        _ => (None, rest),
    };
    let (plural, name, sub, beyond) = match rest {
        [plural] => (*plural, "", None, false),
        [plural, name] => (*plural, *name, None, false),
        [plural, name, sub] => (*plural, *name, Some(*sub), false),
        [plural, name, sub, ..] => (*plural, *name, Some(*sub), true),
        [] => return Err(Status::no_such_path()),
    };
    let resource = registry
        .get(group, version, plural)
        .ok_or_else(Status::no_such_path)?;
    let empty = namespace == Some("") || (rest.len() > 1 && name.is_empty());
    let misplaced = if resource.namespaced {
        namespace.is_none() && !name.is_empty()
    } else {
        namespace.is_some()
    };
    if empty || misplaced {
        return Err(Status::no_such_path());
    }
    let watch = legacy_watch
        || (method == Method::GET && name.is_empty() && query.flag("watch") == Some(true));
    let verb = if let Some(sub) = sub {
        let found = resource.subresource(sub).ok_or_else(|| {
            if resource.custom.is_some() {
                Status::not_found(&resource.group_resource(), name)
            } else {
                Status::no_such_path()
            }
        })?;
        if (beyond && sub != "proxy") || legacy_watch {
            return Err(Status::no_such_path());
        }
        let proxied = sub == "proxy" && matches!(*method, Method::HEAD | Method::OPTIONS);
        let verb = item_verb(method)
            .filter(|verb| found.verbs.iter().any(|known| known == verb.as_str()))
            .or_else(|| proxied.then_some(Verb::Connect));
        let verb = verb.ok_or_else(|| {
            let action = item_verb(method).map_or("", Verb::as_str);
            match resource.custom {
                Some(_) => Status::not_supported(&resource.group_resource(), action),
                None => Status::method_not_allowed(),
            }
        })?;
        if is_connect(sub) { Verb::Connect } else { verb }
    } else {
        let verb = match *method {
            Method::GET if watch => Some(Verb::Watch),
            Method::GET if name.is_empty() => Some(Verb::List),
            Method::POST if name.is_empty() => Some(Verb::Create),
            Method::DELETE if name.is_empty() => Some(Verb::DeleteCollection),
            _ if name.is_empty() => None,
            Method::POST => None,
            _ => item_verb(method),
        };
        let across = resource.namespaced && namespace.is_none();
        verb.filter(|verb| !legacy_watch || *verb == Verb::Watch)
            .filter(|verb| !across || matches!(verb, Verb::List | Verb::Watch))
            .filter(|verb| resource.verbs.iter().any(|known| known == verb.as_str()))
            .ok_or_else(Status::method_not_allowed)?
    };
    Ok(Routed {
        verb,
        resource,
        namespace: namespace.unwrap_or_default().to_owned(),
        name: name.to_owned(),
        subresource: sub.map(str::to_owned),
    })
}

/// What a method does to one object.
fn item_verb(method: &Method) -> Option<Verb> {
    Some(match *method {
        Method::GET => Verb::Get,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE => Verb::Delete,
        _ => return None,
    })
}

/// Subresources that are connections to something outside the store.
pub(crate) fn is_connect(subresource: &str) -> bool {
    matches!(
        subresource,
        "attach" | "exec" | "log" | "portforward" | "proxy"
    )
}

impl Verb {
    /// As discovery and audit name it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Connect => "connect",
        }
    }
    /// Whether it may change something.
    pub(crate) fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::registry::testing;

    fn check(registry: &Registry, line: &str, expected: &str) {
        let (method, target) = line.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let found = match route(registry, &method, path, &Query::parse(query)) {
            Ok(Route::Resource(routed)) => {
                let sub = routed
                    .subresource
                    .map_or(String::new(), |sub| format!("/{sub}"));
                format!(
                    "{} {}{sub} {} {}",
                    routed.verb.as_str(),
                    routed.resource.plural,
                    routed.namespace,
                    routed.name
                )
            }
            Ok(Route::Path) => "path".to_owned(),
            Ok(Route::Unknown) => "unknown".to_owned(),
            Err(status) => status.code.to_string(),
        };
        assert_eq!(found.trim(), expected, "{line}");
    }

    #[test]
    fn paths_are_routed() {
        let registry = testing::registry();
        for (line, expected) in [
            ("GET /api/v1/pods", "list pods"),
            ("GET /api/v1/namespaces/a/pods/", "list pods a"),
            ("GET /api/v1/namespaces/a/pods?watch=true", "watch pods a"),
            ("GET /api/v1/namespaces/a/pods?watch=0", "list pods a"),
            ("GET /api/v1/watch/namespaces/a/pods", "watch pods a"),
            ("GET /api/v1/watch/namespaces/a/pods/b", "watch pods a b"),
            ("POST /api/v1/watch/pods", "405"),
            ("GET /api/v1/namespaces/a/pods/b", "get pods a b"),
            (
                "PATCH /api/v1/namespaces/a/pods/b/status",
                "patch pods/status a b",
            ),
            ("POST /api/v1/namespaces/a/pods/b/status", "405"),
            ("POST /api/v1/namespaces/a/pods", "create pods a"),
            (
                "DELETE /api/v1/namespaces/a/pods",
                "deletecollection pods a",
            ),
            ("DELETE /api/v1/pods", "405"),
            ("POST /api/v1/namespaces/a/pods/b", "405"),
            ("HEAD /api/v1/namespaces/a/pods", "405"),
            ("GET /api/v1/namespaces/a/pods/b/nope", "404"),
            ("GET /api/v1/namespaces/a/pods/b/status/c", "404"),
            ("GET /api/v1/namespaces/a", "get namespaces  a"),
            (
                "PUT /api/v1/namespaces/a/finalize",
                "update namespaces/finalize  a",
            ),
            ("GET /api/v1/namespaces/a/namespaces", "404"),
            ("GET /api/v1/pods/b", "404"),
            ("GET /api/v1//pods", "404"),
            ("GET /api/v1/nope", "404"),
            ("GET /api/v9", "404"),
            ("GET /api/v1", "path"),
            ("GET /apis", "path"),
            ("GET /apis/nope", "unknown"),
            ("GET /apis//v1", "unknown"),
            ("GET /apis/nope/v1/x", "unknown"),
            ("GET /version", "path"),
        ] {
            check(&registry, line, expected);
        }
    }
}
