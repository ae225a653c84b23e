//! storage.k8s.io.

mod attributes_class;
mod capacity;
mod class;
mod csi_node;
mod driver;
mod volume_attachment;

pub(super) use self::attributes_class::VolumeAttributesClass;
pub(super) use self::capacity::CsiStorageCapacity;
pub(super) use self::class::StorageClass;
pub(super) use self::csi_node::CsiNode;
pub(super) use self::driver::CsiDriver;
pub(super) use self::volume_attachment::VolumeAttachment;

use serde_json::Value;

use super::check;
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

/// The most parameters a class may have, and the most bytes of them.
const MOST_PARAMETERS: usize = 512;
const MOST_BYTES: usize = 256 << 10;

/// Who makes the volumes.
fn provisioner(object: &Value, field: &str, errors: &mut Errors) {
    let text = object.str_at(&[field]);
    if text.is_empty() {
        errors.required(Path::new(field), "");
    } else {
        let lower = text.to_lowercase();
        check::problems(&lower, name::qualified(&lower), &Path::new(field), errors);
    }
}

/// What the provisioner is told.
fn parameters(object: &Value, required: bool, errors: &mut Errors) {
    let path = Path::new("parameters");
    let empty = serde_json::Map::new();
    let parameters = check::map_at(object, &["parameters"]).unwrap_or(&empty);
    if parameters.len() > MOST_PARAMETERS {
        errors.too_long(path, MOST_PARAMETERS);
        return;
    }
    if parameters.contains_key("") {
        errors.invalid(path.clone(), "", "field can not be empty.");
    }
    if check::bytes_of(parameters) > MOST_BYTES {
        errors.too_long(path.clone(), MOST_BYTES);
    }
    if required && parameters.is_empty() {
        errors.required(path, "must contain at least one key/value pair");
    }
}

/// The name of a CSI driver where another object refers to it.
pub(super) fn driver_name(text: &str, path: &Path, errors: &mut Errors) {
    const MOST: usize = 63;
    if text.is_empty() {
        errors.required(path.clone(), "");
    }
    if text.len() > MOST {
        errors.too_long(path.clone(), MOST);
    }
    let problems = name::dns_subdomain(&text.to_lowercase());
    check::problems(text, problems, path, errors);
}
