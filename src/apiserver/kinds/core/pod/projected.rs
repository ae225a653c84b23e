//! Volumes that are put together: projected ones, and those of the downward API.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{env, volume};
use crate::apiserver::kinds::check;
use crate::object::Document;
use crate::object::field::{Errors, Path};

/// A token lives at least ten minutes, at most 2^32 seconds.
const SHORTEST_TOKEN: i64 = 600;
const LONGEST_TOKEN: i64 = 1 << 32;

/// A volume of the downward API.
pub(super) fn downward_api(source: &Value, path: &Path, errors: &mut Errors) {
    volume::mode(source, "defaultMode", path, errors);
    for file in source.list_at(&["items"]) {
        downward_file(file, path, errors);
    }
}

fn downward_file(file: &Value, path: &Path, errors: &mut Errors) {
    check::required(file, "path", path, errors);
    check::local_path(file.str_at(&["path"]), &path.child("path"), errors);
    match (
        check::given(file, "fieldRef"),
        check::given(file, "resourceFieldRef"),
    ) {
        (Some(field), resource) => {
            env::field_of_file(field, &path.child("fieldRef"), errors);
            if resource.is_some() {
                errors.invalid(
                    path.clone(),
                    "resource",
                    "fieldRef and resourceFieldRef can not be specified simultaneously",
                );
            }
        }
        (None, Some(resource)) => {
            env::container_resource(resource, true, &path.child("resourceFieldRef"), errors);
        }
        (None, None) => errors.required(
            path.clone(),
            "one of fieldRef and resourceFieldRef is required",
        ),
    }
    volume::mode(file, "mode", path, errors);
}

/// The sources of a projected volume; no two put a file in the same place.
pub(super) fn sources(projected: &Value, path: &Path, errors: &mut Errors) {
    volume::mode(projected, "defaultMode", path, errors);
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for (index, source) in projected.list_at(&["sources"]).iter().enumerate() {
        let at = path.child("sources").index(index);
        let mut count = 0;
        for kind in ["secret", "configMap"] {
            let Some(source) = check::given(source, kind) else {
                continue;
            };
            count += 1;
            check::required(source, "name", &at.child(kind), errors);
            volume::items(source, &at.child(kind), errors);
            for item in source.list_at(&["items"]) {
                let file = item.str_at(&["path"]);
                if !file.is_empty() && !taken.insert(file) {
                    conflict(source.str_at(&["name"]), path, errors);
                }
            }
        }
        if let Some(source) = check::given(source, "downwardAPI") {
            count += 1;
            for item in source.list_at(&["items"]) {
                downward_file(item, &at.child("downwardAPI"), errors);
                let file = item.str_at(&["path"]);
                if !file.is_empty() && !taken.insert(file) {
                    conflict(file, path, errors);
                }
            }
        }
        if let Some(token) = check::given(source, "serviceAccountToken") {
            count += 1;
            service_account_token(token, &at.child("serviceAccountToken"), path, errors);
        }
        if count > 1 {
            errors.forbidden(at, "may not specify more than 1 volume type per source");
        }
    }
}

fn conflict(shown: &str, path: &Path, errors: &mut Errors) {
    errors.invalid(path.clone(), shown, "conflicting duplicate paths");
}

/// The errors of its path are put at the volume.
fn service_account_token(token: &Value, path: &Path, volume: &Path, errors: &mut Errors) {
    let seconds = token.i64_at(&["expirationSeconds"]).unwrap_or(0);
    let why = if seconds < SHORTEST_TOKEN {
        Some("may not specify a duration less than 10 minutes")
    } else if seconds > LONGEST_TOKEN {
        Some("may not specify a duration larger than 2^32 seconds")
    } else {
        None
    };
    if let Some(why) = why {
        errors.invalid(path.child("expirationSeconds"), seconds, why);
    }
    if check::required(token, "path", volume, errors) {
        check::local_path(token.str_at(&["path"]), &volume.child("path"), errors);
    }
}
