//! Paths and the operations on them, from the verbs that discovery shows.
use super::parameters::{self, DELETE, DELETE_COLLECTION, LIST, LOG, PATCH, PRETTY, WRITE};
use super::schemas::{self, Definitions};
use crate::apiserver::registry::{Resource, Subresource};
use crate::object::GroupVersionKind;
use serde_json::{Map, Value, json};

const JSON: &str = "application/json";
/// What objects are written as.
const MEDIA: &[&str] = &[
    "application/cbor",
    JSON,
    "application/vnd.kubernetes.protobuf",
    "application/yaml",
];
const STREAMS: &[&str] = &[
    "application/cbor-seq",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
const PATCHES: &[&str] = &[
    "application/apply-patch+cbor",
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const SCOPE: &str = "object name and auth scope, such as for teams and projects";

/// The paths of one group and version, and the definitions they need.
#[derive(Default)]
pub(super) struct Paths {
    paths: Map<String, Value>,
    pub definitions: Definitions,
}

/// What the operations of one resource have in common.
struct Of<'a> {
    resource: &'a Resource,
    /// `/api/v1`, `/apis/apps/v1`
    root: String,
    /// `CoreV1`, `AppsV1`
    id: String,
    /// `core_v1`, `apps_v1`
    tag: String,
    /// The definition of the object.
    object: String,
    list: String,
}

/// One operation.
#[derive(Default)]
struct Operation<'a> {
    id: String,
    description: String,
    action: &'a str,
    parameters: &'a [&'a str],
    /// Media types and definition of the body.
    body: Option<(&'a [&'a str], String, bool)>,
    /// Media types and definition of the answer; without a definition it is text.
    answer: (Vec<&'a str>, Option<String>),
    /// Codes of success.
    codes: &'a [&'a str],
}

impl Paths {
    pub(super) fn into_value(mut self) -> Value {
        self.paths.values_mut().for_each(share_parameters);
        self.paths.into()
    }

    /// The path that lists what is served below it.
    pub(super) fn index(&mut self, path: &str, id: &str, tag: &str, about: &str, kind: &str) {
        let name = schemas::meta(kind);
        let media: Vec<&str> = match kind {
            "APIResourceList" => MEDIA.to_vec(),
            _ => MEDIA.iter().copied().skip(1).collect(),
        };
        self.plain(path, id, tag, about, &media, Some(&name));
    }

    /// A path that answers with one document, or with text.
    pub(super) fn plain(
        &mut self,
        path: &str,
        id: &str,
        tag: &str,
        about: &str,
        media: &[&str],
        name: Option<&str>,
    ) {
        if let Some(name) = name {
            self.definitions.add(name);
        }
        let operation = json!({ "get": {
            "description": about, "operationId": id, "tags": [tag],
            "responses": {
                "200": { "description": "OK", "content": content(media, name) },
                "401": { "description": "Unauthorized" },
            },
        }});
        self.paths.insert(path.to_owned(), operation);
    }

    /// All paths of a resource.
    pub(super) fn resource(&mut self, resource: &Resource) {
        let gvk = &resource.gvk;
        let (object, list) = self.definitions.add_resource(resource);
        let root = if gvk.group.is_empty() {
            format!("/api/{}", gvk.version)
        } else {
            format!("/apis/{}/{}", gvk.group, gvk.version)
        };
        let of = Of {
            resource,
            root,
            id: operation_group(gvk),
            tag: tag(&gvk.group, &gvk.version),
            object,
            list,
        };
        let namespaced = if resource.namespaced {
            "Namespaced"
        } else {
            ""
        };
        let scope = if resource.namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        let all = format!("{}{scope}/{}", of.root, resource.plural);
        let one = format!("{all}/{{name}}");
        let verbs: Vec<&str> = resource.verbs.iter().map(String::as_str).collect();
        for verb in &verbs {
            self.verb(&of, verb, namespaced, &all, &one);
        }
        if resource.namespaced && verbs.contains(&"list") {
            let path = format!("{}/{}", of.root, resource.plural);
            let id = format!("list{}{}ForAllNamespaces", of.id, gvk.kind);
            self.add(&of, &path, "get", gvk, of.list(id));
        }
        // Custom resources do not have the old way to watch.
        if verbs.contains(&"watch") && !resource.strategy.custom() {
            self.watches(&of, namespaced, scope);
        }
        for sub in &resource.subresources {
            self.subresource(&of, sub, namespaced, &one);
        }
    }

    fn verb(&mut self, of: &Of<'_>, verb: &str, namespaced: &str, all: &str, one: &str) {
        let gvk = &of.resource.gvk;
        let kind = &gvk.kind;
        let id = |verb: &str| format!("{verb}{}{namespaced}{kind}", of.id);
        let an = article(kind);
        let (path, method, operation) = match verb {
            "list" => (all, "get", of.list(id("list"))),
            "create" => {
                let about = format!("create{an}{kind}");
                let operation = of.write(
                    id("create"),
                    about,
                    "post",
                    &of.object,
                    &["200", "201", "202"],
                );
                (all, "post", operation)
            }
            "deletecollection" => {
                let id = format!("delete{}Collection{namespaced}{kind}", of.id);
                let about = format!("delete collection of {kind}");
                let mut operation = of.delete(id, about, DELETE_COLLECTION, false);
                operation.action = "deletecollection";
                operation.codes = &["200"];
                (all, "delete", operation)
            }
            "get" => {
                let about = format!("read the specified {kind}");
                (one, "get", of.read(id("read"), about, &of.object))
            }
            "update" => {
                let about = format!("replace the specified {kind}");
                let operation = of.write(id("replace"), about, "put", &of.object, &["200", "201"]);
                (one, "put", operation)
            }
            "patch" => {
                let about = format!("partially update the specified {kind}");
                (one, "patch", of.patch(id("patch"), about, &of.object))
            }
            "delete" => {
                let about = format!("delete{an}{kind}");
                let returns = of.resource.strategy.returns_deleted_object();
                (
                    one,
                    "delete",
                    of.delete(id("delete"), about, DELETE, returns),
                )
            }
            _ => return,
        };
        self.add(of, path, method, gvk, operation);
    }

    /// The paths that only watch, which are deprecated.
    fn watches(&mut self, of: &Of<'_>, namespaced: &str, scope: &str) {
        let gvk = &of.resource.gvk;
        let (kind, plural, root) = (&gvk.kind, &of.resource.plural, &of.root);
        let one = format!(
            "watch changes to an object of kind {kind}. deprecated: use the 'watch' parameter with a list operation instead, filtered to a single item with the 'fieldSelector' parameter."
        );
        let all = format!(
            "watch individual changes to a list of {kind}. deprecated: use the 'watch' parameter with a list operation instead."
        );
        let watch = |id: String, description: &str, action| Operation {
            id,
            description: description.to_owned(),
            action,
            parameters: LIST,
            answer: (with_streams(), Some(schemas::meta("WatchEvent"))),
            codes: &["200"],
            ..Operation::default()
        };
        let mut add = |path: String, operation| self.add(of, &path, "get", gvk, operation);
        let id = format!("watch{}{namespaced}{kind}", of.id);
        add(
            format!("{root}/watch{scope}/{plural}/{{name}}"),
            watch(id.clone(), &one, "watch"),
        );
        add(
            format!("{root}/watch{scope}/{plural}"),
            watch(format!("{id}List"), &all, "watchlist"),
        );
        if of.resource.namespaced {
            let id = format!("watch{}{kind}ListForAllNamespaces", of.id);
            add(
                format!("{root}/watch/{plural}"),
                watch(id, &all, "watchlist"),
            );
        }
    }

    fn subresource(&mut self, of: &Of<'_>, sub: &Subresource, namespaced: &str, one: &str) {
        let kind = &of.resource.gvk.kind;
        let path = format!("{one}/{}", sub.name);
        let suffix = title(&sub.name);
        if sub.gvk.kind.ends_with("Options") {
            return self.connect(of, sub, namespaced, &path);
        }
        let id = |verb: &str| format!("{verb}{}{namespaced}{kind}{suffix}", of.id);
        let object = schemas::name_of(&sub.gvk).unwrap_or_else(|| of.object.clone());
        for verb in &sub.verbs {
            let (method, operation) = match verb.as_str() {
                "get" => {
                    let about = format!("read {} of the specified {kind}", sub.name);
                    let mut operation = of.read(id("read"), about, &object);
                    if sub.name == "log" {
                        operation.parameters = LOG;
                        operation.answer.0.push("text/plain");
                        operation.answer.1 = None;
                    }
                    ("get", operation)
                }
                "update" => {
                    let about = format!("replace {} of the specified {kind}", sub.name);
                    let operation = of.write(id("replace"), about, "put", &object, &["200", "201"]);
                    ("put", operation)
                }
                "patch" => {
                    let about = format!("partially update {} of the specified {kind}", sub.name);
                    ("patch", of.patch(id("patch"), about, &object))
                }
                "create" => {
                    let about = format!("create {} of{}{kind}", sub.name, article(kind));
                    let codes = &["200", "201", "202"];
                    (
                        "post",
                        of.write(id("create"), about, "post", &object, codes),
                    )
                }
                _ => continue,
            };
            self.add(of, &path, method, &sub.gvk, operation);
        }
    }

    /// A subresource that connects to something: every method goes through.
    fn connect(&mut self, of: &Of<'_>, sub: &Subresource, namespaced: &str, path: &str) {
        let kind = &of.resource.gvk.kind;
        let methods: &[&str] = if sub.name == "proxy" {
            &["delete", "get", "head", "options", "patch", "post", "put"]
        } else {
            &["get", "post"]
        };
        let below = format!("{path}/{{path}}");
        let paths: &[(&str, &str)] = if sub.name == "proxy" {
            &[(path, ""), (&below, "WithPath")]
        } else {
            &[(path, "")]
        };
        for (path, with) in paths {
            for method in methods {
                let operation = Operation {
                    id: format!(
                        "connect{}{}{namespaced}{kind}{}{with}",
                        of.id,
                        title(method),
                        title(&sub.name)
                    ),
                    description: format!(
                        "connect {} requests to {} of {kind}",
                        method.to_ascii_uppercase(),
                        sub.name
                    ),
                    action: "connect",
                    parameters: parameters::of_options(&sub.gvk.kind),
                    answer: (vec!["*/*"], None),
                    codes: &["200"],
                    ..Operation::default()
                };
                self.add(of, path, method, &sub.gvk, operation);
            }
        }
    }

    fn add(
        &mut self,
        of: &Of<'_>,
        path: &str,
        method: &str,
        gvk: &GroupVersionKind,
        operation: Operation<'_>,
    ) {
        let kind = &of.resource.gvk.kind;
        let entry = self
            .paths
            .entry(path)
            .or_insert_with(|| json!({ "parameters": [] }));
        if entry["parameters"] == json!([]) {
            let mut shared = Vec::new();
            if path.contains("{name}") {
                shared.push(parameters::path("name", &format!("name of the {kind}")));
            }
            if path.contains("{namespace}") {
                shared.push(parameters::path("namespace", SCOPE));
            }
            if path.contains("{path}") {
                shared.push(parameters::path("path", "path to the resource"));
            }
            if operation.action != "connect" {
                shared.extend(PRETTY.iter().map(|name| parameters::query(name)));
            }
            entry["parameters"] = shared.into();
        }
        for name in operation
            .body
            .iter()
            .map(|(_, name, _)| name)
            .chain(&operation.answer.1)
        {
            if *name != of.object && *name != of.list {
                self.definitions.add(name);
            }
        }
        entry[method] = operation.document(&of.tag, gvk);
    }
}

impl Of<'_> {
    fn list(&self, id: String) -> Operation<'static> {
        Operation {
            id,
            description: format!("list or watch objects of kind {}", self.resource.gvk.kind),
            action: "list",
            parameters: LIST,
            answer: (with_streams(), Some(self.list.clone())),
            codes: &["200"],
            ..Operation::default()
        }
    }
    fn read(&self, id: String, description: String, object: &str) -> Operation<'static> {
        Operation {
            id,
            description,
            action: "get",
            answer: (self.media(), Some(object.to_owned())),
            codes: &["200"],
            ..Operation::default()
        }
    }
    fn write(
        &self,
        id: String,
        description: String,
        action: &'static str,
        object: &str,
        codes: &'static [&'static str],
    ) -> Operation<'static> {
        Operation {
            id,
            description,
            action,
            parameters: WRITE,
            body: Some((&["*/*"], object.to_owned(), true)),
            answer: (self.media(), Some(object.to_owned())),
            codes,
        }
    }
    fn patch(&self, id: String, description: String, object: &str) -> Operation<'static> {
        Operation {
            body: Some((PATCHES, schemas::meta("Patch"), true)),
            parameters: PATCH,
            ..self.write(id, description, "patch", object, &["200", "201"])
        }
    }
    fn delete(
        &self,
        id: String,
        description: String,
        parameters: &'static [&'static str],
        returns_object: bool,
    ) -> Operation<'static> {
        let answer = if returns_object {
            self.object.clone()
        } else {
            schemas::meta("Status")
        };
        Operation {
            id,
            description,
            action: "delete",
            parameters,
            body: Some((&["*/*"], schemas::meta("DeleteOptions"), false)),
            answer: (self.media(), Some(answer)),
            codes: &["200", "202"],
        }
    }
    /// Custom resources have no protobuf form.
    fn media(&self) -> Vec<&'static str> {
        let custom = self.resource.strategy.custom();
        let media = MEDIA.iter().copied();
        media
            .filter(|media| !custom || !media.ends_with("protobuf"))
            .collect()
    }
}

impl Operation<'_> {
    fn document(&self, tag: &str, gvk: &GroupVersionKind) -> Value {
        let mut responses = Map::new();
        for code in self.codes {
            let about = match *code {
                "201" => "Created",
                "202" => "Accepted",
                _ => "OK",
            };
            let (media, name) = &self.answer;
            let answer =
                json!({ "description": about, "content": content(media, name.as_deref()) });
            responses.insert((*code).to_owned(), answer);
        }
        responses.insert("401".into(), json!({ "description": "Unauthorized" }));
        let mut document = json!({
            "description": self.description, "operationId": self.id, "tags": [tag], "responses": responses,
            "x-kubernetes-action": self.action,
            "x-kubernetes-group-version-kind": schemas::group_version_kind(&gvk.group, &gvk.version, &gvk.kind),
        });
        if !self.parameters.is_empty() {
            document["parameters"] = self
                .parameters
                .iter()
                .map(|name| parameters::query(name))
                .collect();
        }
        if let Some((media, name, required)) = &self.body {
            document["requestBody"] = json!({ "content": content(media, Some(name)) });
            if *required {
                document["requestBody"]["required"] = true.into();
            }
        }
        document
    }
}

fn content(media: &[&str], name: Option<&str>) -> Value {
    let schema = name.map_or_else(|| json!({ "type": "string" }), schemas::reference);
    let entries = media
        .iter()
        .map(|media| ((*media).to_owned(), json!({ "schema": schema })));
    entries.collect::<Map<_, _>>().into()
}

fn with_streams() -> Vec<&'static str> {
    MEDIA.iter().chain(STREAMS).copied().collect()
}

/// Parameters that every operation of a path takes are the path's.
fn share_parameters(path: &mut Value) {
    let Some(path) = path.as_object_mut() else {
        return;
    };
    let Some(Value::Array(mut shared)) = path.remove("parameters") else {
        return;
    };
    let lists: Vec<&Vec<Value>> = path
        .values()
        .filter_map(|operation| operation.get("parameters").and_then(Value::as_array))
        .collect();
    if lists.len() == path.len()
        && let Some((first, others)) = lists.split_first()
    {
        let common = first
            .iter()
            .filter(|one| others.iter().all(|list| list.contains(one)));
        shared.extend(common.cloned());
    }
    for operation in path.values_mut() {
        let Some(list) = operation
            .get_mut("parameters")
            .and_then(Value::as_array_mut)
        else {
            continue;
        };
        list.retain(|one| !shared.contains(one));
        if list.is_empty()
            && let Some(operation) = operation.as_object_mut()
        {
            operation.remove("parameters");
        }
    }
    shared.sort_by_key(|one| one["name"].as_str().map(str::to_owned));
    path.insert("parameters".into(), shared.into());
}

/// ` a ` or ` an `, as the noun wants it.
fn article(noun: &str) -> &'static str {
    let vowel = noun.starts_with(['A', 'E', 'I', 'O', 'U', 'a', 'e', 'i', 'o', 'u']);
    if vowel { " an " } else { " a " }
}

fn title(word: &str) -> String {
    let mut characters = word.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

/// The group's words: `rbacAuthorization` of `rbac.authorization.k8s.io`, `core`.
fn group_words(group: &str) -> String {
    if group.is_empty() {
        return "core".into();
    }
    let group = group.strip_suffix(".k8s.io").unwrap_or(group);
    let mut words = group.split(['.', '-']);
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |all, word| all + &title(word))
}

/// `AppsV1`
fn operation_group(gvk: &GroupVersionKind) -> String {
    format!("{}{}", title(&group_words(&gvk.group)), title(&gvk.version))
}

/// `apps_v1`; without a version `apps`.
pub(super) fn tag(group: &str, version: &str) -> String {
    let words = group_words(group);
    if version.is_empty() {
        words
    } else {
        format!("{words}_{version}")
    }
}

/// `Apps`, `AppsV1`: how operations of a group are called.
pub(super) fn id_of(group: &str, version: &str) -> String {
    title(&group_words(group)) + &title(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_named_after_group_and_version() {
        for (group, version, id, tag_) in [
            ("", "v1", "CoreV1", "core_v1"),
            ("apps", "v1", "AppsV1", "apps_v1"),
            (
                "rbac.authorization.k8s.io",
                "v1",
                "RbacAuthorizationV1",
                "rbacAuthorization_v1",
            ),
            (
                "stable.example.com",
                "v1beta1",
                "StableExampleComV1beta1",
                "stableExampleCom_v1beta1",
            ),
        ] {
            assert_eq!(id_of(group, version), id);
            assert_eq!(tag(group, version), tag_);
        }
    }

    #[test]
    fn what_all_operations_take_is_of_the_path() {
        let one = |name: &str| json!({ "name": name });
        let mut path = json!({
            "parameters": [one("pretty")],
            "get": { "parameters": [one("a"), one("b")] },
            "put": { "parameters": [one("b")] },
        });
        share_parameters(&mut path);
        let expected = json!({
            "parameters": [one("b"), one("pretty")],
            "get": { "parameters": [one("a")] },
            "put": {},
        });
        assert_eq!(path, expected);
    }
}
