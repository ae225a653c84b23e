//! DELETE of an object: at once, with grace, or once its finalizers are gone (`registry/generic/registry/store.go`, `rest/delete.go`).
use super::call::{Call, Current, store_failure};
use super::{admit, answer, metadata, write};
use crate::apiserver::request::ResourceRequest;
use crate::apiserver::request::options::{Deletion, WriteOptions};
use crate::apiserver::response::{self, Response};
use crate::apiserver::server::Shared;
use crate::apiserver::{DeleteOptions, Propagation};
use crate::object::{Document, GroupResource, Status};
use crate::store::{Error, Expect, Revision};
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;
use std::sync::Arc;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What a deletion came to.
#[derive(Clone, Debug)]
pub(crate) struct Removed {
    /// The object as it was stored last.
    pub bytes: Bytes,
    pub revision: Revision,
    pub uid: String,
    /// Whether it is gone; otherwise it is on its way out.
    pub gone: bool,
}

/// Deletes the object.
pub(crate) async fn delete(
    shared: &Arc<Shared>,
    request: &ResourceRequest,
) -> Result<Response, Status> {
    answer::negotiate(request)?;
    let deletion = Deletion::parse(request)?;
    let mut call = Call::new(shared, request, options(&deletion));
    if let Some(why) = call.resource.strategy.keeps(&request.name) {
        let resource = call.resource.group_resource();
        return Err(Status::forbidden(&resource, &request.name, why));
    }
    let removed = remove(&mut call, &request.name, &deletion.options).await?;
    let code = if !removed.gone && deletion.cascade {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    if removed.gone && !call.resource.strategy.returns_deleted_object() {
        let status = answer::success(&call.resource.group_resource(), &request.name, &removed.uid);
        return Ok(response::document(code, &status));
    }
    answer::object(&call, code, &removed.bytes, Some(removed.revision))
}

/// The options of the call that a deletion is.
pub(crate) fn options(deletion: &Deletion) -> WriteOptions {
    WriteOptions {
        dry_run: deletion.options.dry_run,
        ..WriteOptions::default()
    }
}

/// How an object goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Nothing to do: it is on its way already.
    Pending,
    /// At once, or as soon as its finalizers are gone.
    Now,
    /// After so many seconds; with 0 the mark is written and then it goes.
    Grace(i64),
}

/// Deletes the object of this name, again whenever another write came between.
///
/// # Errors
/// 404, 409 for a precondition that does not hold, and what admission says.
pub(crate) async fn remove(
    call: &mut Call<'_>,
    name: &str,
    options: &DeleteOptions,
) -> Result<Removed, Status> {
    let strategy = &call.resource.strategy;
    let warning = options
        .propagation
        .is_none()
        .then(|| strategy.default_propagation_warning())
        .flatten();
    call.warnings.extend(warning.map(str::to_owned));
    // Only the object that was asked for: one that takes its place meanwhile is another.
    let mut first = true;
    loop {
        let Some(current) = call.read(name).await? else {
            return Err(call.not_found(name));
        };
        check_preconditions(call, options, &current)?;
        if std::mem::take(&mut first) {
            admit::validate(call, name, None, Some(&current.object)).await?;
        }
        if let Some(removed) = step(call, name, options, current).await? {
            return Ok(removed);
        }
    }
}

/// One attempt; `None` when another write came between.
async fn step(
    call: &mut Call<'_>,
    name: &str,
    options: &DeleteOptions,
    current: Current,
) -> Result<Option<Removed>, Status> {
    let strategy = &call.resource.strategy;
    let now = call.shared.clock.now();
    let mut object = current.object.clone();
    let phased =
        object.deletion_timestamp().is_none() && strategy.begin_deletion(&mut object, &call.now);
    if phased {
        // Such kinds have finalizers of their own, which decide when the object may go; there is no grace.
        metadata::of(&mut object).insert("deletionTimestamp".into(), call.now.as_str().into());
        set_propagation(call, options, &mut object);
        let marked = put(call, name, &current, &object).await?;
        return Ok(marked.map(|(bytes, revision)| Removed::of(&object, bytes, revision, false)));
    }
    if !strategy.is_finalized(&object) {
        let bytes = call.shown(&object, current.bytes);
        return Ok(Some(Removed::of(&object, bytes, current.revision, false)));
    }
    let pace = pace(call, options, &mut object, now);
    if pace == Pace::Pending {
        let bytes = call.shown(&object, current.bytes);
        return Ok(Some(Removed::of(&object, bytes, current.revision, false)));
    }
    let had_finalizers = !object.finalizers().is_empty();
    let repropagated = set_propagation(call, options, &mut object);
    let (mut bytes, mut revision) = (call.shown(&object, current.bytes.clone()), current.revision);
    if had_finalizers || repropagated || pace != Pace::Now {
        let finalizers = !object.finalizers().is_empty();
        if pace == Pace::Now && finalizers {
            metadata::mark_deleted(&mut object, now);
        }
        let Some(marked) = put(call, name, &current, &object).await? else {
            return Ok(None);
        };
        (bytes, revision) = marked;
        if finalizers || matches!(pace, Pace::Grace(seconds) if seconds > 0) {
            return Ok(Some(Removed::of(&object, bytes, revision, false)));
        }
    }
    if call.options.dry_run {
        return Ok(Some(Removed::of(&object, bytes, revision, true)));
    }
    match call
        .shared
        .store
        .delete(&call.resource.key(call.namespace, name), Some(revision))
        .await
    {
        Ok((entry, revision)) => {
            write::release(call, &object).await;
            call.committed(name, revision);
            let bytes = call.shown(&object, entry.value);
            Ok(Some(Removed::of(&object, bytes, revision, true)))
        }
        Err(Error::Conflict { .. }) => Ok(None),
        // Someone else was quicker after our mark: the mark is the best approximation of the last state.
        Err(Error::NotFound { .. }) if revision != current.revision => {
            Ok(Some(Removed::of(&object, bytes, revision, true)))
        }
        Err(Error::NotFound { .. }) => Err(call.not_found(name)),
        Err(error) => Err(store_failure(&error)),
    }
}

impl Removed {
    fn of(object: &Value, bytes: Bytes, revision: Revision, gone: bool) -> Self {
        Self {
            bytes,
            revision,
            uid: object.uid().to_owned(),
            gone,
        }
    }
}

/// Whether the object is the one that the client means.
///
/// # Errors
/// 409.
pub(crate) fn check_preconditions(
    call: &Call<'_>,
    options: &DeleteOptions,
    current: &Current,
) -> Result<(), Status> {
    // The real server puts the kind where the resource belongs.
    let conflict = |why: &str| {
        let kind = GroupResource::new(&*call.resource.gvk.group, &*call.resource.gvk.kind);
        Err(Status::conflict(&kind, current.object.name(), why))
    };
    let uid = current.object.uid();
    if let Some(wanted) = options.uid.as_deref().filter(|wanted| *wanted != uid) {
        return conflict(&format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
        ));
    }
    let version = current.object.resource_version();
    if let Some(wanted) = options
        .resource_version
        .as_deref()
        .filter(|wanted| *wanted != version)
    {
        return conflict(&format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). The object might have been modified"
        ));
    }
    Ok(())
}

/// Decides how the object goes and marks it.
fn pace(
    call: &Call<'_>,
    options: &DeleteOptions,
    object: &mut Value,
    now: jiff::Timestamp,
) -> Pace {
    // A negative grace counts as one second.
    let requested = options
        .grace_period_seconds
        .map(|seconds| if seconds < 0 { 1 } else { seconds });
    let options = DeleteOptions {
        grace_period_seconds: requested,
        ..options.clone()
    };
    let Some(grace) = call.resource.strategy.grace(object, &options) else {
        return Pace::Now;
    };
    if object.deletion_timestamp().is_some() {
        let left = match object.i64_at(&["metadata", "deletionGracePeriodSeconds"]) {
            None | Some(0) => return Pace::Now,
            Some(left) if left < 0 => 1,
            Some(left) => left,
        };
        // Grace can only be shortened.
        return match requested {
            Some(requested) if requested < left => {
                metadata::shorten(object, left, requested);
                Pace::Grace(requested)
            }
            _ => Pace::Pending,
        };
    }
    let grace = if grace < 0 { 1 } else { grace };
    metadata::mark_deleted_in(object, now, grace);
    Pace::Grace(grace)
}

/// Sets the finalizers of the garbage collector as the options, the object and the kind say; whether they changed.
fn set_propagation(call: &Call<'_>, options: &DeleteOptions, object: &mut Value) -> bool {
    let present = object.finalizers();
    let wanted = options.propagation.unwrap_or_else(|| {
        let first = present
            .iter()
            .find(|finalizer| matches!(**finalizer, ORPHAN | FOREGROUND));
        match first {
            Some(&ORPHAN) => Propagation::Orphan,
            Some(_) => Propagation::Foreground,
            None => call.resource.strategy.default_propagation(),
        }
    });
    let mut finalizers: Vec<&str> = present
        .iter()
        .copied()
        .filter(|finalizer| !matches!(*finalizer, ORPHAN | FOREGROUND))
        .collect();
    match wanted {
        Propagation::Orphan => finalizers.push(ORPHAN),
        Propagation::Foreground => finalizers.push(FOREGROUND),
        Propagation::Background => {}
    }
    let same = finalizers.len() == present.len()
        && finalizers
            .iter()
            .all(|finalizer| present.contains(finalizer));
    if same {
        return false;
    }
    let finalizers: Vec<Value> = finalizers.into_iter().map(Value::from).collect();
    let metadata = metadata::of(object);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), finalizers.into());
    }
    true
}

/// Writes the mark, unless nothing changed or it is a dry run; `None` when another write came between.
async fn put(
    call: &Call<'_>,
    name: &str,
    current: &Current,
    object: &Value,
) -> Result<Option<(Bytes, Revision)>, Status> {
    let bytes = call.encode(object).await?;
    if bytes == current.bytes || call.options.dry_run {
        return Ok(Some((call.shown(object, bytes), current.revision)));
    }
    let key = call.resource.key(call.namespace, name);
    let ttl = call.resource.strategy.ttl();
    match call
        .shared
        .store
        .put(&key, bytes.clone(), Expect::Modified(current.revision), ttl)
        .await
    {
        Ok(revision) => {
            let written = call.stored(name, object, bytes, revision, false);
            Ok(Some((written.bytes, revision)))
        }
        Err(Error::Conflict { .. } | Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(store_failure(&error)),
    }
}
