//! `docs/api-coverage.md`, made from the table of kinds: `HOMEOSTAT_BLESS=1 cargo test kinds::coverage`.

use std::fmt::Write as _;

use crate::apiserver::registry::{Resource, Subresource};

const HEAD: &str = "# What the API server serves, and what it enforces

Made by the test `kinds::coverage` from the table of kinds; do not edit.

Every kind below is decoded by its schema (types, unknown and duplicate fields, field validation), has its metadata checked,
keeps track of field managers, and is served by all the verbs named. **Rules** says whether the kind has a strategy of its own
in `src/apiserver/kinds`: defaults, validation with the real server's messages, immutability, status rules. A kind that is
only *stored* takes any document that fits its schema. Subresources can be read, updated and patched, where no other verbs are named.

| group/version | kind | scope | verbs | subresources | rules |
|---|---|---|---|---|---|
";

fn document() -> String {
    let mut resources = super::builtin();
    resources.sort_by(|a, b| {
        let key = |resource: &Resource| {
            (
                resource.gvk.group.clone(),
                resource.gvk.version.clone(),
                resource.plural.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    let mut text = HEAD.to_owned();
    for resource in &resources {
        let verbs = if resource.verbs.len() == 8 {
            "all".to_owned()
        } else {
            resource.verbs.join(", ")
        };
        let subresources: Vec<String> = resource.subresources.iter().map(subresource).collect();
        let is_generic = format!("{:?}", resource.strategy).starts_with("Generic");
        let rules = match (resource.verbs.as_slice(), is_generic) {
            ([only], _) if only == "create" => "answered, not stored",
            (verbs, true) if !verbs.iter().any(|verb| verb == "create") => "answered, not stored",
            (_, true) => "stored",
            (_, false) => "own",
        };
        let scope = if resource.namespaced {
            "namespace"
        } else {
            "cluster"
        };
        let _infallible = writeln!(
            text,
            "| {} | {} | {scope} | {verbs} | {} | {rules} |",
            resource.gvk.api_version(),
            resource.gvk.kind,
            subresources.join(", "),
        );
    }
    text
}

/// A subresource, with its verbs where they are not those of a part of the object.
fn subresource(subresource: &Subresource) -> String {
    if subresource.verbs == ["get", "patch", "update"] {
        return subresource.name.clone();
    }
    format!("{} ({})", subresource.name, subresource.verbs.join(", "))
}

#[test]
fn the_page_is_true() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api-coverage.md");
    let document = document();
    if std::env::var_os("HOMEOSTAT_BLESS").is_some() {
        std::fs::write(path, &document).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        page == document,
        "docs/api-coverage.md is out of date: HOMEOSTAT_BLESS=1 cargo test kinds::coverage"
    );
}
