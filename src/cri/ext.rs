//! What is made from a runtime's own calls, the same for all.

use async_trait::async_trait;
use futures::future::join_all;

use super::{
    Container, ContainerEntry, ContainerFilter, ContainerRuntime, Error, Result, Sandbox,
    SandboxEntry, SandboxFilter,
};

/// An id without the runtime's scheme.
#[must_use]
pub fn bare_id(id: &str) -> &str {
    id.split_once("://").map_or(id, |(_, bare)| bare)
}

/// Calls that need several of the runtime's own.
#[async_trait]
pub trait ContainerRuntimeExt: ContainerRuntime {
    /// The sandboxes of one pod with their containers and all that is known of them, oldest first.
    async fn pod(&self, uid: &str) -> Result<Vec<Sandbox>> {
        let sandboxes = SandboxFilter {
            uid: Some(uid.to_owned()),
            ..SandboxFilter::default()
        };
        let containers = ContainerFilter {
            uid: Some(uid.to_owned()),
            ..ContainerFilter::default()
        };
        gather(self, &sandboxes, &containers).await
    }

    /// All sandboxes with their containers and all that is known of them, oldest first. Asks for each by itself: for
    /// many pods [`ContainerRuntime::list_sandboxes`] and [`ContainerRuntime::list_containers`] are far cheaper.
    async fn pods(&self) -> Result<Vec<Sandbox>> {
        gather(self, &SandboxFilter::default(), &ContainerFilter::default()).await
    }
}

impl<T: ContainerRuntime + ?Sized> ContainerRuntimeExt for T {}

async fn gather<T: ContainerRuntime + ?Sized>(
    runtime: &T,
    sandboxes: &SandboxFilter,
    containers: &ContainerFilter,
) -> Result<Vec<Sandbox>> {
    // Containers first: a sandbox is made before them, so that none is without its sandbox.
    let containers = runtime.list_containers(containers).await?;
    let sandboxes = runtime.list_sandboxes(sandboxes).await?;
    let of = |sandbox: &SandboxEntry| {
        let own: Vec<ContainerEntry> = containers
            .iter()
            .filter(|container| container.sandbox == sandbox.id)
            .cloned()
            .collect();
        own
    };
    let each = sandboxes.iter().map(|sandbox| {
        let own = of(sandbox);
        async move {
            let Some(mut found) = present(runtime.sandbox_status(&sandbox.id).await)? else {
                return Ok(None);
            };
            let each = own.iter().map(|entry| runtime.container_status(&entry.id));
            for container in join_all(each).await {
                // One that was removed meanwhile is not there any more.
                found.containers.extend(present(container)?);
            }
            found.containers.sort_by_key(order);
            Ok::<_, Error>(Some(found))
        }
    });
    let mut all = Vec::new();
    for sandbox in join_all(each).await {
        all.extend(sandbox?);
    }
    Ok(all)
}

/// Oldest first; of the same moment, the first attempt first.
fn order(container: &Container) -> (jiff::Timestamp, u32) {
    (container.created, container.attempt)
}

fn present<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
