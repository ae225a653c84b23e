//! Who may have devices that are in use: claims with administrative access, in the namespaces that are labelled for it
//! (`k8s.io/kubernetes/pkg/registry/resource`).
use crate::apiserver::admission::View;
use crate::apiserver::handler::call::Call;
use crate::object::field::{Errors, Path};
use crate::object::{Document, Status};
use serde_json::Value;

const LABEL: &str = "resource.kubernetes.io/admin-access";

/// What is wrong when the claim, or the claims made by the template, may not have the access that is asked for. What was granted stays.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn check(
    call: &Call<'_>,
    object: &Value,
    old: Option<&Value>,
) -> Result<Errors, Status> {
    let mut errors = Errors::new();
    let resource = call.resource;
    if &*resource.gvk.group != "resource.k8s.io" {
        return Ok(errors);
    }
    let asked = match (&*resource.plural, old, call.subresource) {
        ("resourceclaims", None, None) => requested(object, &["spec", "devices", "requests"]),
        ("resourceclaimtemplates", None, None) => {
            requested(object, &["spec", "spec", "devices", "requests"])
        }
        ("resourceclaims", Some(old), Some("status")) if granted(old).is_none() => granted(object),
        _ => None,
    };
    let Some(path) = asked else {
        return Ok(errors);
    };
    let view = View::of(call.shared);
    let namespace = view.get("", "v1", "namespaces", "", call.namespace).await?;
    let label = namespace
        .as_ref()
        .map(|it| it.str_at(&["metadata", "labels", LABEL]));
    if label != Some("true") {
        let why = format!(
            "admin access to devices requires the `{LABEL}: true` label on the containing namespace"
        );
        errors.forbidden(path, &why);
    }
    Ok(errors)
}

/// The first request for such access.
fn requested(object: &Value, path: &[&str]) -> Option<Path> {
    let requests = object.list_at(path);
    let index = requests
        .iter()
        .position(|request| request.bool_at(&["exactly", "adminAccess"]) == Some(true))?;
    let path = Path::new("spec").child("devices").child("requests");
    Some(path.index(index).child("adminAccess"))
}

/// The first device that is given with such access.
fn granted(object: &Value) -> Option<Path> {
    let results = object.list_at(&["status", "allocation", "devices", "results"]);
    let index = results
        .iter()
        .position(|result| result.bool_at(&["adminAccess"]) == Some(true))?;
    let path = Path::new("status").child("allocation").child("devices");
    Some(path.child("results").index(index).child("adminAccess"))
}
