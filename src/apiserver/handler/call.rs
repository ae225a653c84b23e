//! What the write handlers of one request share.
use super::metadata::timestamp;
use crate::apiserver::Context;
use crate::apiserver::audit::Write;
use crate::apiserver::crd::convert::Caller;
use crate::apiserver::registry::{Resource, encoding};
use crate::apiserver::request::ResourceRequest;
use crate::apiserver::request::options::WriteOptions;
use crate::apiserver::response::Warnings;
use crate::apiserver::schema::{self, Emptied, Schema};
use crate::apiserver::server::Shared;
use crate::object::{GroupVersion, GroupVersionKind, Reason, Status};
use crate::store::{self, Entry, Revision};
use bytes::Bytes;
use serde_json::Value;
use std::sync::Arc;

/// A write in progress.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub shared: &'a Arc<Shared>,
    pub request: &'a ResourceRequest,
    /// What is written: the resource of the request, or another one on its behalf (a binding writes a pod).
    pub resource: &'a Arc<Resource>,
    pub namespace: &'a str,
    pub subresource: Option<&'a str>,
    pub options: WriteOptions,
    /// Whether it is a server-side apply, which keeps the managed fields itself.
    pub applies: bool,
    /// The time of the request.
    pub now: String,
    pub warnings: Warnings,
    /// What the body gave empty and is null in its object; who gave it owns it.
    pub emptied: Vec<Emptied>,
}

/// An object as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    /// In the storage version, with its resource version.
    pub object: Value,
    /// The bytes in the store.
    pub bytes: Bytes,
    pub revision: Revision,
}

/// The outcome of a write.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// As it is stored: in the storage version, without a resource version. Custom resources: in the version of the request.
    pub bytes: Bytes,
    /// `None` for a new object of a dry run, which has no resource version.
    pub revision: Option<Revision>,
    pub created: bool,
    /// The bytes with the resource version, when they were made already.
    pub answer: Option<Bytes>,
}

impl<'a> Call<'a> {
    /// A write of the resource that the request names.
    pub(crate) fn new(
        shared: &'a Arc<Shared>,
        request: &'a ResourceRequest,
        options: WriteOptions,
    ) -> Self {
        Self::on(
            shared,
            request,
            &request.resource,
            request.subresource.as_deref(),
            options,
        )
    }

    /// A write of another resource on behalf of the request.
    pub(crate) fn on(
        shared: &'a Arc<Shared>,
        request: &'a ResourceRequest,
        resource: &'a Arc<Resource>,
        subresource: Option<&'a str>,
        options: WriteOptions,
    ) -> Self {
        Self {
            shared,
            request,
            resource,
            namespace: &request.namespace,
            subresource,
            options,
            applies: false,
            now: timestamp(shared.clock.now()),
            warnings: request.warnings.clone(),
            emptied: Vec::new(),
        }
    }

    /// What strategies may know.
    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            now: &self.now,
            subresource: self.subresource,
            user: &self.request.user.name,
        }
    }

    /// The schema of stored documents.
    pub(crate) fn stored_schema(&self) -> Option<Arc<Schema>> {
        let resource = self.resource;
        if is_converted(resource) {
            let (group, version) = (&*resource.storage_group, &*resource.storage_version);
            return schema::builtin(&GroupVersionKind::new(group, version, &*resource.gvk.kind));
        }
        resource.schema.clone()
    }

    /// Brings a document of the request's version into the storage version and fills in the defaults.
    pub(crate) fn to_storage(&self, object: &mut Value) {
        to_storage(self.resource, object);
    }

    /// Brings a stored document into the request's version.
    pub(crate) fn to_request(&self, object: &mut Value) {
        to_request(self.resource, object);
    }

    /// The object as of now.
    ///
    /// # Errors
    /// When the store fails or holds something that is no document.
    pub(crate) async fn read(&self, name: &str) -> Result<Option<Current>, Status> {
        let key = self.resource.key(self.namespace, name);
        let entry = self
            .shared
            .store
            .get(&key)
            .await
            .map_err(|error| store_failure(&error))?;
        let mut current = entry.map(Current::decode).transpose()?;
        if let (Some(current), Some(custom)) = (&mut current, &self.resource.custom) {
            custom.read(&mut current.object);
            if custom.is_foreign(&current.object) {
                let caller = Caller::of(self.shared);
                caller.read(self.resource, &mut current.object).await?;
            }
        }
        Ok(current)
    }

    /// An object as it is stored.
    ///
    /// # Errors
    /// When the webhook that converts it fails.
    pub(crate) async fn encode(&self, object: &Value) -> Result<Bytes, Status> {
        match &self.resource.custom {
            Some(custom) if !custom.is_stored_as_shown() => {
                let stored = Caller::of(self.shared).store(custom, object).await?;
                Ok(encoding::encode(&stored))
            }
            _ => Ok(encoding::encode(object)),
        }
    }

    /// The bytes that answers start from: those that are stored, unless a custom resource shows them in another way.
    pub(crate) fn shown(&self, object: &Value, stored: Bytes) -> Bytes {
        if self.resource.custom.is_some() {
            encoding::encode(object)
        } else {
            stored
        }
    }

    /// 404 for an object of this resource.
    pub(crate) fn not_found(&self, name: &str) -> Status {
        Status::not_found(&self.resource.group_resource(), name)
    }

    /// 409 for an object of this resource.
    pub(crate) fn conflict(&self, name: &str, why: &str) -> Status {
        Status::conflict(&self.resource.group_resource(), name, why)
    }

    /// Tells the observer and the cache of an object that was written at `revision`.
    pub(crate) fn stored(
        &self,
        name: &str,
        object: &Value,
        bytes: Bytes,
        revision: Revision,
        created: bool,
    ) -> Written {
        self.committed(name, revision);
        let bytes = self.shown(object, bytes);
        // Shown and stored in one version, the cache need not decode what was just encoded.
        let answer = (!is_converted(self.resource)).then(|| {
            let answer = encoding::with_revision(&bytes, revision);
            let key = self.resource.key(self.namespace, name);
            self.shared
                .cacher
                .hint(self.resource, &key, revision, object, answer.clone());
            answer
        });
        Written {
            bytes,
            revision: Some(revision),
            created,
            answer,
        }
    }

    /// Tells the observer and those who wait for it of a committed write.
    pub(crate) fn committed(&self, name: &str, revision: Revision) {
        self.shared.cacher.wrote(self.resource, revision);
        if let Some(observer) = &self.shared.observer {
            observer.wrote(&Write::of(self, name, revision));
        }
    }
}

impl Written {
    /// An outcome that was not written just now.
    pub(crate) fn of(bytes: Bytes, revision: Option<Revision>, created: bool) -> Self {
        Self {
            bytes,
            revision,
            created,
            answer: None,
        }
    }
}

impl Current {
    /// Decodes what the store gave.
    ///
    /// # Errors
    /// 500 when it is no document.
    pub(crate) fn decode(entry: Entry) -> Result<Self, Status> {
        let object = encoding::decode(&entry.value, entry.modified).map_err(|error| {
            Status::internal(&format!(
                "object {} in the store is broken: {error}",
                entry.key
            ))
        })?;
        Ok(Self {
            object,
            bytes: entry.value,
            revision: entry.modified,
        })
    }

    /// As the outcome of a write that changed nothing.
    pub(crate) fn unchanged(&self, call: &Call<'_>) -> Written {
        let bytes = call.shown(&self.object, self.bytes.clone());
        Written::of(bytes, Some(self.revision), false)
    }
}

/// The `apiVersion` that objects of `resource` are stored with.
pub(crate) fn storage_version(resource: &Resource) -> String {
    GroupVersion::new(&*resource.storage_group, &*resource.storage_version).to_string()
}

/// Whether the resource is stored as another version or group than the one it shows.
pub(crate) fn is_converted(resource: &Resource) -> bool {
    // Custom resources pass between versions at the store's door.
    resource.custom.is_none()
        && (resource.gvk.version != resource.storage_version
            || resource.gvk.group != resource.storage_group)
}

/// Brings a document of the shown version into the storage version and fills in the defaults.
pub(crate) fn to_storage(resource: &Resource, object: &mut Value) {
    if is_converted(resource) {
        let (from, to) = (resource.gvk.api_version(), storage_version(resource));
        resource.strategy.convert(object, &from, &to);
        set_version(object, to);
    }
    resource.strategy.default(object);
}

/// Brings a stored document into the shown version.
pub(crate) fn to_request(resource: &Resource, object: &mut Value) {
    if is_converted(resource) {
        let (from, to) = (storage_version(resource), resource.gvk.api_version());
        resource.strategy.convert(object, &from, &to);
        set_version(object, to);
    }
}

fn set_version(object: &mut Value, version: String) {
    if let Some(map) = object.as_object_mut() {
        map.insert("apiVersion".into(), version.into());
    }
}

/// A failure of the store that is nobody's conflict.
pub(crate) fn store_failure(error: &store::Error) -> Status {
    match error {
        store::Error::TooLarge { limit, .. } => Status::new(
            413,
            Reason::RequestEntityTooLarge,
            format!("Request entity too large: limit is {limit}"),
        ),
        store::Error::Unavailable(_) => Status::unavailable(error.to_string()),
        _ => Status::internal(&error.to_string()),
    }
}
