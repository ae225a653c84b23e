//! Creation and update of one object, whatever its kind and whichever verb asks for it (`registry/generic/registry/store.go`).
//!
//! An update reads, changes, checks and writes on condition that nothing was written meanwhile; otherwise it starts again.
use super::call::{Call, Current, Written, store_failure};
use super::{admit, metadata, ownership};
use crate::apiserver::alloc::{
    self,
    claims::{self, Claim},
};
use crate::apiserver::auth::{devices, params, rbac};
use crate::apiserver::kinds::{meta, names};
use crate::apiserver::patch::managed;
use crate::apiserver::registry::encoding;
use crate::apiserver::registry::strategy::MetadataCheck;
use crate::object::field::{Errors, Path};
use crate::object::{Document, GroupKind, Reason, Status};
use crate::store::{Error, Expect};
use serde_json::Value;

/// So often a generated name is drawn anew when it is taken.
const NAME_ATTEMPTS: usize = 8;
const STALE: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// What an update of an object that does not exist does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It fails.
    NotFound,
    /// It creates the object if the kind allows that.
    AsKind,
    /// It creates the object (server-side apply).
    Create,
}

/// Makes the new object from the present one (`None`: there is none yet); both in the storage version.
pub(crate) type Change<'c> =
    dyn FnMut(&mut Call<'_>, Option<&Current>) -> Result<Value, Status> + Send + 'c;

/// Creates an object that is in the storage version, with its defaults.
///
/// # Errors
/// Whatever is wrong with it, or 409 when it exists.
pub(crate) async fn create(call: &mut Call<'_>, mut object: Value) -> Result<Written, Status> {
    metadata::place(call.resource, call.namespace, &mut object)?;
    metadata::wipe(&mut object);
    metadata::dedupe_owners(&mut object, &call.warnings);
    ownership::track(call, None, &mut object);
    let name = object.name().to_owned();
    admit::mutate(call, &name, &mut object, None).await?;
    rbac::check(call, &object, None).await?;
    metadata::dedupe_owners(&mut object, &call.warnings);
    let base = object.str_at(&["metadata", "generateName"]).to_owned();
    if !object.name().is_empty() || base.is_empty() {
        return create_named(call, object).await;
    }
    let mut attempt = 1;
    loop {
        let mut named = object.clone();
        let name = metadata::generate_name(&base, &call.shared.clock);
        metadata::of(&mut named).insert("name".into(), name.into());
        match create_named(call, named).await {
            Err(status) if status.reason == Reason::AlreadyExists && attempt < NAME_ATTEMPTS => {
                attempt += 1;
            }
            other => return other,
        }
    }
}

async fn create_named(call: &mut Call<'_>, object: Value) -> Result<Written, Status> {
    if !alloc::is_service(call.resource) {
        return create_once(call, object).await?.ok_or_else(address_taken);
    }
    // Again with another address when another server was quicker to give this one; the allocators know it then.
    loop {
        if let Some(written) = create_once(call, object.clone()).await? {
            return Ok(written);
        }
    }
}

fn address_taken() -> Status {
    Status::internal("the address is taken")
}

/// `None`: an address that the object was given is somebody else's.
async fn create_once(call: &mut Call<'_>, mut object: Value) -> Result<Option<Written>, Status> {
    if call.resource.is_terminating() {
        return Err(Status::forbidden(
            &call.resource.group_resource(),
            object.name(),
            "create not allowed while custom resource definition is terminating",
        ));
    }
    metadata::fill(&mut object, &call.shared.clock, &call.now);
    let (shared, resource) = (call.shared, call.resource);
    let allocation = shared.allocators.create(resource, &mut object)?;
    let strategy = &resource.strategy;
    strategy.set_requester(&mut object, &call.request.user.as_ref().into());
    strategy.prepare_create(&call.context(), &mut object);
    fill_status(call, &mut object);
    if strategy.has_generation() {
        metadata::of(&mut object).insert("generation".into(), 1.into());
    }
    let mut errors = devices::check(call, &object, None).await?;
    let validate_name = |name: &str, prefix: bool| strategy.validate_name(name, prefix);
    let rules = meta::Rules {
        namespaced: resource.namespaced,
        name: &validate_name,
        known_finalizers: strategy.has_known_finalizers(),
    };
    let meta = object.get("metadata").unwrap_or(&Value::Null);
    meta::validate(meta, rules, &Path::new("metadata"), &mut errors);
    strategy.validate(&call.context(), &object, &mut errors);
    refuse(call, &object, &errors)?;
    refuse(call, &object, &params::check(call, &object, None).await?)?;
    call.warnings.extend(strategy.warnings(&object, None));
    admit::validate(call, object.name(), Some(&object), None).await?;
    let name = object.name().to_owned();
    let key = call.resource.key(call.namespace, &name);
    if call.options.dry_run {
        if let Some(existing) = call.read(&name).await? {
            return Err(taken(call, &object, Some(&existing.object)));
        }
        return Ok(Some(Written::of(encoding::encode(&object), None, true)));
    }
    if !matches!(object.resource_version(), "" | "0") {
        let message = "resourceVersion should not be set on objects to be created";
        return Err(Status::new(500, Reason::Unknown, message));
    }
    let bytes = call.encode(&object).await?;
    let given = allocation.addresses();
    if let Claim::Taken(address) = claims::claim(shared, &object, &given).await? {
        drop(allocation);
        shared.allocators.learn(address);
        return Ok(None);
    }
    let put = shared
        .store
        .put(&key, bytes.clone(), Expect::Absent, strategy.ttl());
    let put = put.await;
    if matches!(put, Err(Error::AlreadyExists { .. })) {
        claims::release(shared, &object, &given).await;
    }
    match put {
        Ok(revision) => {
            allocation.keep();
            Ok(Some(call.stored(&name, &object, bytes, revision, true)))
        }
        Err(Error::AlreadyExists { .. }) => {
            let existing = call.read(&name).await?;
            Err(taken(
                call,
                &object,
                existing.as_ref().map(|existing| &existing.object),
            ))
        }
        Err(error) => Err(store_failure(&error)),
    }
}

/// 409 for a name that is taken.
fn taken(call: &Call<'_>, object: &Value, existing: Option<&Value>) -> Status {
    let name = object.name();
    let resource = call.resource.group_resource();
    let mut status = Status::already_exists(&resource, name);
    if !object.str_at(&["metadata", "generateName"]).is_empty() {
        status.message = format!(
            "{resource} {name:?} already exists, the server was not able to generate a unique name for the object"
        );
        if let Some(details) = &mut status.details {
            details.retry_after_seconds = 1;
        }
    }
    if existing.is_some_and(|existing| existing.deletion_timestamp().is_some()) {
        status.message = format!("object is being deleted: {}", status.message);
    }
    status
}

/// Updates an object: `change` makes the new one from the present one, again whenever another write came between.
///
/// # Errors
/// Whatever is wrong with the new object, 404 when there is none, 409 when the client's resource version is not the present one.
pub(crate) async fn update(
    call: &mut Call<'_>,
    name: &str,
    missing: Missing,
    change: &mut Change<'_>,
) -> Result<Written, Status> {
    loop {
        let Some(current) = call.read(name).await? else {
            let allowed = match missing {
                Missing::NotFound => false,
                Missing::AsKind => call.resource.strategy.allow_create_on_update(),
                Missing::Create => true,
            };
            if !allowed {
                return Err(call.not_found(name));
            }
            let mut object = change(call, None)?;
            // A resource version says nothing about an object that is not there.
            metadata::of(&mut object).remove("resourceVersion");
            match create(call, object).await {
                Err(status) if status.reason == Reason::AlreadyExists && !call.options.dry_run => {
                    continue;
                }
                other => return other,
            }
        };
        let mut object = change(call, Some(&current))?;
        metadata::place(call.resource, call.namespace, &mut object)?;
        metadata::check_name(&object, name)?;
        metadata::dedupe_owners(&mut object, &call.warnings);
        ownership::track(call, Some(&current.object), &mut object);
        admit::mutate(call, name, &mut object, Some(&current.object)).await?;
        rbac::check(call, &object, Some(&current.object)).await?;
        check_version(call, name, &object, &current)?;
        let shared = call.shared;
        let allocation = if call.subresource.is_none() {
            shared
                .allocators
                .update(call.resource, &mut object, &current.object)?
        } else {
            shared.allocators.nothing()
        };
        prepare(call, &mut object, &current.object);
        let errors = devices::check(call, &object, Some(&current.object)).await?;
        check(call, &object, &current.object, errors)?;
        let errors = params::check(call, &object, Some(&current.object)).await?;
        refuse(call, &object, &errors)?;
        admit::validate(call, name, Some(&object), Some(&current.object)).await?;
        if is_finished(call, &object, &current.object) {
            match remove_finished(call, name, &object, &current).await? {
                Some(written) => return Ok(written),
                None => continue,
            }
        }
        metadata::set_version(&mut object, &current.object);
        managed::keep_times(&current.object, &mut object);
        let bytes = call.encode(&object).await?;
        if bytes == current.bytes {
            return Ok(current.unchanged(call));
        }
        if call.options.dry_run {
            let bytes = call.shown(&object, bytes);
            return Ok(Written::of(bytes, Some(current.revision), false));
        }
        let key = call.resource.key(call.namespace, name);
        let expect = Expect::Modified(current.revision);
        let (given, freed) = (allocation.addresses(), allocation.freed());
        if let Claim::Taken(address) = claims::claim(shared, &object, &given).await? {
            drop(allocation);
            shared.allocators.learn(address);
            continue;
        }
        let ttl = call.resource.strategy.ttl();
        match shared.store.put(&key, bytes.clone(), expect, ttl).await {
            Ok(revision) => {
                allocation.keep();
                claims::release(shared, &object, &freed).await;
                return Ok(call.stored(name, &object, bytes, revision, false));
            }
            Err(Error::Conflict { .. } | Error::NotFound { .. }) => {
                claims::release(shared, &object, &given).await;
            }
            Err(error) => return Err(store_failure(&error)),
        }
    }
}

/// Makes the new object from the present one, in the storage version.
pub(crate) type DirectChange<'c> =
    dyn FnMut(&mut Call<'_>, &Current) -> Result<Value, Status> + Send + 'c;

/// Updates an object as the server itself does for a subresource that is an action: `change` alone decides, there is no
/// validation and no admission.
///
/// # Errors
/// What `change` says, and 404.
pub(crate) async fn direct(
    call: &mut Call<'_>,
    name: &str,
    change: &mut DirectChange<'_>,
) -> Result<Written, Status> {
    loop {
        let Some(current) = call.read(name).await? else {
            return Err(call.not_found(name));
        };
        let object = change(call, &current)?;
        let bytes = call.encode(&object).await?;
        if bytes == current.bytes {
            return Ok(current.unchanged(call));
        }
        if call.options.dry_run {
            let bytes = call.shown(&object, bytes);
            return Ok(Written::of(bytes, Some(current.revision), false));
        }
        let key = call.resource.key(call.namespace, name);
        match call
            .shared
            .store
            .put(
                &key,
                bytes.clone(),
                Expect::Modified(current.revision),
                call.resource.strategy.ttl(),
            )
            .await
        {
            Ok(revision) => return Ok(call.stored(name, &object, bytes, revision, false)),
            Err(Error::Conflict { .. } | Error::NotFound { .. }) => {}
            Err(error) => return Err(store_failure(&error)),
        }
    }
}

/// Whether the client's resource version, if it has one, is the present one.
fn check_version(
    call: &Call<'_>,
    name: &str,
    object: &Value,
    current: &Current,
) -> Result<(), Status> {
    let text = object.resource_version();
    let given = if text.is_empty() {
        0
    } else {
        revision_of(call, name, text)?
    };
    if given == current.revision
        || (given == 0 && call.resource.strategy.allow_unconditional_update())
    {
        return Ok(());
    }
    if given != 0 {
        return Err(call.conflict(name, STALE));
    }
    let mut errors = Errors::new();
    let path = Path::new("metadata").child("resourceVersion");
    errors.invalid(path, 0, "must be specified for an update");
    // The real server names the resource where the kind belongs.
    let kind = GroupKind::new(&*call.resource.gvk.group, &*call.resource.plural);
    Err(Status::invalid(&kind, name, &errors))
}

fn revision_of(call: &Call<'_>, name: &str, text: &str) -> Result<u64, Status> {
    text.parse().map_err(|_| {
        let mut errors = Errors::new();
        let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
        errors.invalid(Path::new("resourceVersion"), text, &why);
        let kind = GroupKind::new(&*call.resource.gvk.group, &*call.resource.plural);
        Status::invalid(&kind, name, &errors)
    })
}

/// Carries over what the update may not change.
fn prepare(call: &Call<'_>, object: &mut Value, old: &Value) {
    let strategy = &call.resource.strategy;
    match call.subresource {
        Some(subresource) if strategy.writes_status(subresource) => {
            keep_all_but_status(object, old);
            strategy
                .status_keeps()
                .iter()
                .for_each(|path| metadata::keep_at(object, old, path));
        }
        Some(_) => keep_status(object, old),
        None => {}
    }
    metadata::keep_generation(object, old);
    strategy.prepare_update(&call.context(), object, old);
    fill_status(call, object);
    if strategy.has_generation() && call.subresource != Some("status") {
        metadata::count_generation(object, old);
    }
    metadata::keep(object, old);
}

/// Gives the status, which the strategy may have reset, what is always written of it.
fn fill_status(call: &Call<'_>, object: &mut Value) {
    if let Some(schema) = call.stored_schema() {
        schema.fill_status(object);
    }
}

/// Replaces everything but the status and the metadata by what is stored.
fn keep_all_but_status(object: &mut Value, old: &Value) {
    let (Some(new), Some(old)) = (object.as_object_mut(), old.as_object()) else {
        return;
    };
    let desired = |key: &str| !matches!(key, "apiVersion" | "kind" | "metadata" | "status");
    new.retain(|key, _| !desired(key));
    for (key, value) in old.iter().filter(|(key, _)| desired(key)) {
        new.insert(key.clone(), value.clone());
    }
}

/// The other subresources do not touch the status.
fn keep_status(object: &mut Value, old: &Value) {
    let Some(new) = object.as_object_mut() else {
        return;
    };
    match old.get("status") {
        Some(status) => new.insert("status".into(), status.clone()),
        None => new.remove("status"),
    };
}

fn check(
    call: &mut Call<'_>,
    object: &Value,
    old: &Value,
    mut errors: Errors,
) -> Result<(), Status> {
    let resource = call.resource;
    let strategy = &resource.strategy;
    let path = Path::new("metadata");
    let (new_meta, old_meta) = (
        object.get("metadata").unwrap_or(&Value::Null),
        old.get("metadata").unwrap_or(&Value::Null),
    );
    // Of a name that exists it only matters that it fits into a path; the kind judges it when it checks the whole.
    let mut rules = meta::Rules {
        namespaced: resource.namespaced,
        name: &names::path_segment,
        known_finalizers: false,
    };
    meta::validate(new_meta, rules, &path, &mut errors);
    meta::validate_update(new_meta, old_meta, rules, &path, &mut errors);
    let validate_name = |name: &str, prefix: bool| strategy.validate_name(name, prefix);
    rules.name = &validate_name;
    rules.known_finalizers = strategy.has_known_finalizers();
    let again = strategy.metadata_check(&call.context());
    if again != MetadataCheck::None {
        meta::validate_update(new_meta, old_meta, rules, &path, &mut errors);
    }
    if again == MetadataCheck::Whole {
        meta::validate(new_meta, rules, &path, &mut errors);
    }
    strategy.validate_update(&call.context(), object, old, &mut errors);
    refuse(call, object, &errors)?;
    call.warnings.extend(match call.subresource {
        Some("status") => strategy.status_warnings(object),
        _ => strategy.warnings(object, Some(old)),
    });
    Ok(())
}

fn refuse(call: &Call<'_>, object: &Value, errors: &Errors) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    let kind = GroupKind::new(&*call.resource.storage_group, &*call.resource.gvk.kind);
    Err(Status::invalid(&kind, object.name(), errors))
}

/// Whether the update took away the last finalizer of an object that is being deleted without any more grace.
fn is_finished(call: &Call<'_>, object: &Value, old: &Value) -> bool {
    object.finalizers().is_empty()
        && old.deletion_timestamp().is_some()
        && old
            .i64_at(&["metadata", "deletionGracePeriodSeconds"])
            .unwrap_or(0)
            == 0
        && call.resource.strategy.is_finalized(object)
}

/// Deletes the object instead of writing it; `None` when another write came between.
async fn remove_finished(
    call: &Call<'_>,
    name: &str,
    object: &Value,
    current: &Current,
) -> Result<Option<Written>, Status> {
    let written = Written::of(encoding::encode(object), Some(current.revision), false);
    if call.options.dry_run {
        return Ok(Some(written));
    }
    let key = call.resource.key(call.namespace, name);
    match call.shared.store.delete(&key, Some(current.revision)).await {
        Ok((_, revision)) => {
            release(call, &current.object).await;
            call.committed(name, revision);
            Ok(Some(written))
        }
        Err(Error::Conflict { .. }) => Ok(None),
        Err(Error::NotFound { .. }) => Ok(Some(written)),
        Err(error) => Err(store_failure(&error)),
    }
}

/// Gives back what a service held that is gone.
pub(crate) async fn release(call: &Call<'_>, object: &Value) {
    if alloc::is_service(call.resource) {
        call.shared.allocators.release(call.resource, object);
        claims::release(call.shared, object, &claims::held(object)).await;
    }
}

/// The uid that a client sends along must be the object's.
///
/// # Errors
/// 409.
pub(crate) fn check_uid(
    call: &Call<'_>,
    name: &str,
    wanted: &str,
    current: &Current,
) -> Result<(), Status> {
    let actual = current.object.uid();
    if wanted.is_empty() || wanted == actual {
        return Ok(());
    }
    Err(call.conflict(name, &precondition(call, name, "UID", wanted, actual)))
}

/// The words of the real server's storage for a precondition that does not hold.
pub(crate) fn precondition(
    call: &Call<'_>,
    name: &str,
    what: &str,
    wanted: &str,
    actual: &str,
) -> String {
    let key = call.resource.key(call.namespace, name);
    format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {actual}"
    )
}
