//! PATCH of an object, or of its status.
use super::call::{Call, Current};
use super::write::{self, Missing};
use super::{answer, metadata, ownership};
use crate::apiserver::patch::{self, Made};
use crate::apiserver::registry::Resource;
use crate::apiserver::request::ResourceRequest;
use crate::apiserver::request::negotiate;
use crate::apiserver::request::options::{FieldValidation, WriteOptions};
use crate::apiserver::response::Response;
use crate::apiserver::schema::Schema;
use crate::apiserver::server::Shared;
use crate::object::{Document as _, GroupVersionKind, Status};
use serde_json::Value;
use std::sync::Arc;

/// How a patch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// RFC 6902.
    Json,
    /// RFC 7396.
    Merge,
    /// By the schema: lists are merged by key.
    Strategic,
    /// Server-side apply.
    Apply,
}

impl Kind {
    /// The kind that a `Content-Type` names.
    ///
    /// # Errors
    /// 415 that lists those the resource takes.
    pub(crate) fn of(content_type: &str, resource: &Resource) -> Result<Self, Status> {
        let custom = resource.strategy.custom();
        // As it is written: neither case nor spaces are forgiven here.
        match content_type.split(';').next().unwrap_or_default() {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" if !custom => Ok(Self::Strategic),
            "application/apply-patch+yaml" => Ok(Self::Apply),
            _ => Err(negotiate::unsupported(if custom {
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
            } else {
                "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml"
            })),
        }
    }
}

/// Patches the object.
pub(crate) async fn patch(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
) -> Result<Response, Status> {
    answer::negotiate(request)?;
    let kind = Kind::of(&request.content_type, &request.resource)?;
    let options = WriteOptions::parse(&request.query, "PatchOptions", kind == Kind::Apply)?;
    let mut call = Call::new(shared, request, options);
    let creates = kind == Kind::Apply && request.subresource.is_none();
    let missing = if creates {
        Missing::Create
    } else {
        Missing::NotFound
    };
    let mut change = |call: &mut Call<'_>, current: Option<&Current>| {
        let resource = call.resource;
        let base = current.map(|current| {
            let mut base = current.object.clone();
            call.to_request(&mut base);
            base
        });
        let mut object = match (kind, base) {
            (Kind::Apply, base) => ownership::applied(call, base.as_ref())?,
            (kind, Some(base)) => {
                patched(call, kind, base, resource.schema.as_deref(), &resource.gvk)?
            }
            (_, None) => return Err(call.not_found(&call.request.name)),
        };
        if current.is_none() && !object.uid().is_empty() {
            let why = format!(
                "uid mismatch: the provided object specified uid {}, and no existing object was found",
                object.uid()
            );
            let resource = resource.group_resource();
            return Err(Status::conflict(&resource, &call.request.name, &why));
        }
        metadata::check_name(&object, &call.request.name)?;
        call.to_storage(&mut object);
        Ok(object)
    };
    let written = write::update(&mut call, &request.name, missing, &mut change).await?;
    answer::written(&call, &written)
}

/// The patch of the request applied to `base`, checked to be of kind `expected`.
///
/// # Errors
/// What the kind of patch says of a broken patch; 422 on the field `patch` when the outcome is no such object.
pub(crate) fn patched(
    call: &mut Call<'_>,
    kind: Kind,
    base: Value,
    schema: Option<&Schema>,
    expected: &GroupVersionKind,
) -> Result<Value, Status> {
    let bytes = &call.request.body;
    let strict = call.options.field_validation == FieldValidation::Strict;
    let decoded = match kind {
        Kind::Json => {
            let patch = patch::json::Patch::parse(bytes)?;
            let (object, touched) = (patch.apply(base)?, patch.touched());
            patch::decode(
                object,
                Made::Json(&touched),
                schema,
                expected,
                patch.strict_errors,
                strict,
            )?
        }
        Kind::Merge => {
            let (patch, complaints) = patch::merge::parse(bytes)?;
            let object = patch::merge::apply(base, &patch);
            patch::decode(
                object,
                Made::Merge(&patch),
                schema,
                expected,
                complaints,
                strict,
            )?
        }
        Kind::Strategic => {
            let (patch, complaints) = patch::merge::parse(bytes)?;
            let object = match schema {
                Some(schema) => patch::strategic::apply(base, &patch, schema)?,
                None => patch::merge::apply(base, &patch),
            };
            patch::decode(
                object,
                Made::Strategic(&patch),
                schema,
                expected,
                complaints,
                strict,
            )?
        }
        // An apply is no change of a document by itself: see `ownership`.
        Kind::Apply => return Err(Status::method_not_allowed()),
    };
    if call.options.field_validation == FieldValidation::Warn {
        call.warnings.extend(decoded.strict_errors);
    }
    call.emptied = decoded.emptied;
    Ok(decoded.object)
}
