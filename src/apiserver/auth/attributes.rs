//! What is asked, as authorization sees it (`k8s.io/apiserver/pkg/endpoints/request.RequestInfo`): from the method, the path
//! and the query alone, whether or not anything is served there.
use crate::apiserver::request::Query;
use crate::object::{FieldSelector, GroupResource, Reason, Status, status::Details};
use http::Method;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// `get`, `list`, …; for paths the method in lower case.
    pub verb: String,
    /// Whether it is about a resource. Otherwise it is about a path.
    pub resource_request: bool,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub path: String,
    /// What a list or watch is restricted to by equality of fields.
    pub fields: Vec<(String, String)>,
}

impl Attributes {
    /// Reads a request.
    pub(crate) fn of(method: &Method, path: &str, query: &Query) -> Self {
        let plain = || Self {
            verb: method.as_str().to_ascii_lowercase(),
            path: path.to_owned(),
            ..Self::default()
        };
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match &parts[..] {
            ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
            _ => return plain(),
        };
        let (special, rest) = match rest {
            [verb @ ("watch" | "proxy")] => {
                // The path names nothing: a request for the verb's own name.
                (None, &[*verb][..])
            }
            [verb @ ("watch" | "proxy"), rest @ ..] => (Some(*verb), rest),
            rest => (None, rest),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, "status" | "finalize", ..] => (*namespace, rest),
            ["namespaces", namespace, further @ ..] if !further.is_empty() => (*namespace, further),
            ["namespaces", namespace] => (*namespace, rest),
            rest => ("", rest),
        };
        let at = |index: usize| rest.get(index).copied().unwrap_or_default().to_owned();
        let verb = match (special, method.as_str()) {
            (Some(verb), _) => verb,
            (_, "POST") => "create",
            (_, "GET" | "HEAD") => "get",
            (_, "PUT") => "update",
            (_, "PATCH") => "patch",
            (_, "DELETE") => "delete",
            _ => "",
        };
        let mut attributes = Self {
            verb: verb.to_owned(),
            resource_request: true,
            group: group.to_owned(),
            version: version.to_owned(),
            resource: at(0),
            subresource: if verb == "proxy" {
                String::new()
            } else {
                at(2)
            },
            namespace: namespace.to_owned(),
            name: at(1),
            path: path.to_owned(),
            fields: Vec::new(),
        };
        if attributes.name.is_empty() {
            attributes.collection(query);
        }
        attributes
    }

    /// What the query says about a request for a collection.
    fn collection(&mut self, query: &Query) {
        match self.verb.as_str() {
            "get" if query.flag("watch") == Some(true) => "watch".clone_into(&mut self.verb),
            "get" => "list".clone_into(&mut self.verb),
            "delete" => {
                "deletecollection".clone_into(&mut self.verb);
                return;
            }
            "watch" => {}
            _ => return,
        }
        let Ok(fields) = FieldSelector::parse(query.text("fieldSelector")) else {
            return;
        };
        if let Some(name) = fields.requires("metadata.name")
            && is_segment(name)
        {
            name.clone_into(&mut self.name);
        }
        self.restrict(&fields);
    }

    /// It is only about objects that `fields` selects.
    pub(crate) fn restrict(&mut self, fields: &FieldSelector) {
        for field in ["spec.nodeName", "nodeName"] {
            if let Some(value) = fields.requires(field) {
                self.fields.push((field.to_owned(), value.to_owned()));
            }
        }
    }

    /// 403 for `user`; `reason` is what the authorizer says besides.
    pub(crate) fn forbidden(&self, user: &str, reason: &str) -> Status {
        let mut why = self.denial(user);
        if !reason.is_empty() {
            why.push_str(": ");
            why.push_str(reason);
        }
        if self.resource.is_empty() {
            let mut status = Status::new(403, Reason::Forbidden, format!("forbidden: {why}"));
            status = status.with_details(Details {
                name: self.name.clone(),
                group: self.group.clone(),
                ..Details::default()
            });
            return status;
        }
        let resource = GroupResource::new(&*self.group, &*self.resource);
        Status::forbidden(&resource, &self.name, &why)
    }

    fn denial(&self, user: &str) -> String {
        let verb = &self.verb;
        if !self.resource_request {
            return format!("User {user:?} cannot {verb} path {:?}", self.path);
        }
        let resource = if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        };
        let scope = if self.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {:?}", self.namespace)
        };
        let group = &self.group;
        format!("User {user:?} cannot {verb} resource {resource:?} in API group {group:?} {scope}")
    }
}

fn is_segment(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '%'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        for (line, expected) in [
            ("GET /api/v1/namespaces/a/pods", "list pods a - -"),
            ("HEAD /api/v1/namespaces/a/pods/x", "get pods a x -"),
            ("GET /api/v1/namespaces/a/pods?watch=1", "watch pods a - -"),
            (
                "GET /api/v1/namespaces/a/pods?watch=false",
                "list pods a - -",
            ),
            ("GET /api/v1/watch/namespaces/a/pods", "watch pods a - -"),
            ("GET /api/v1/watch/namespaces/a/pods/x", "watch pods a x -"),
            (
                "GET /api/v1/pods?fieldSelector=metadata.name=x",
                "list pods - x -",
            ),
            (
                "GET /api/v1/pods?fieldSelector=metadata.name=a/b",
                "list pods - - -",
            ),
            (
                "GET /api/v1/pods?watch=1&fieldSelector=metadata.name=x",
                "watch pods - x -",
            ),
            (
                "POST /api/v1/namespaces/a/pods/x/eviction",
                "create pods a x eviction",
            ),
            ("PUT /api/v1/namespaces/a", "update namespaces a a -"),
            (
                "PUT /api/v1/namespaces/a/finalize",
                "update namespaces a a finalize",
            ),
            ("GET /api/v1/namespaces", "list namespaces - - -"),
            (
                "DELETE /apis/apps/v1/namespaces/a/deployments",
                "deletecollection deployments a - -",
            ),
            (
                "DELETE /apis/apps/v1/namespaces/a/deployments/x/",
                "delete deployments a x -",
            ),
            (
                "PATCH /apis/apps/v1/namespaces/a/deployments/x/scale",
                "patch deployments a x scale",
            ),
            ("GET /apis/nope/v7/things/x/y/z", "get things - x y"),
            ("OPTIONS /api/v1/pods", " pods - - -"),
            ("GET /api/v1", "get path /api/v1"),
            ("GET /apis/apps/v1", "get path /apis/apps/v1"),
            ("POST /healthz/x", "post path /healthz/x"),
            ("GET /", "get path /"),
        ] {
            let (method, target) = line.split_once(' ').unwrap();
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let found = Attributes::of(&method, path, &Query::parse(query));
            let or = |text: &str| {
                if text.is_empty() {
                    "-".to_owned()
                } else {
                    text.to_owned()
                }
            };
            let shown = if found.resource_request {
                let (resource, namespace) = (&found.resource, or(&found.namespace));
                let (name, sub) = (or(&found.name), or(&found.subresource));
                format!("{} {resource} {namespace} {name} {sub}", found.verb)
            } else {
                format!("{} path {}", found.verb, found.path)
            };
            assert_eq!(shown, expected, "{line}");
        }
    }

    #[test]
    fn denials_are_worded() {
        let of = |method: Method, path: &str| Attributes::of(&method, path, &Query::default());
        for (attributes, reason, expected) in [
            (
                of(Method::GET, "/api/v1/pods"),
                "",
                "pods is forbidden: User \"u\" cannot list resource \"pods\" in API group \"\" at the cluster scope",
            ),
            (
                of(
                    Method::PUT,
                    "/apis/apps/v1/namespaces/n/deployments/d/scale",
                ),
                "RBAC: x",
                "deployments.apps \"d\" is forbidden: User \"u\" cannot update resource \"deployments/scale\" in API group \"apps\" in the namespace \"n\": RBAC: x",
            ),
            (
                of(Method::GET, "/metrics"),
                "",
                "forbidden: User \"u\" cannot get path \"/metrics\"",
            ),
        ] {
            let status = attributes.forbidden("u", reason);
            assert_eq!((status.code, &*status.message), (403, expected));
        }
    }
}
