//! Statistics over CRI.

use async_trait::async_trait;
use k8s_cri::v1;

use super::{Containerd, from_proto, to_proto};
use crate::cri::{
    ContainerStats, Error, Result, SandboxFilter, SandboxStats, StatsService, bare_id,
};

#[async_trait]
impl StatsService for Containerd {
    async fn container_stats(&self, id: &str) -> Result<ContainerStats> {
        let request = v1::ContainerStatsRequest {
            container_id: bare_id(id).to_owned(),
        };
        let mut client = self.runtime();
        let answer = self.ask(("ContainerStats", id), client.container_stats(request));
        let stats = answer.await?.stats;
        let stats = stats.ok_or_else(|| Error::NotFound(format!("statistics of {id:?}")))?;
        Ok(from_proto::container_stats(&self.inner.scheme, stats))
    }

    async fn list_container_stats(&self) -> Result<Vec<ContainerStats>> {
        let mut client = self.runtime();
        let asked = client.list_container_stats(v1::ListContainerStatsRequest::default());
        let answer = self.ask(("ListContainerStats", ""), asked).await?;
        let stats = answer.stats.into_iter();
        Ok(stats
            .map(|stats| from_proto::container_stats(&self.inner.scheme, stats))
            .collect())
    }

    async fn sandbox_stats(&self, id: &str) -> Result<SandboxStats> {
        let request = v1::PodSandboxStatsRequest {
            pod_sandbox_id: id.to_owned(),
        };
        let mut client = self.runtime();
        let answer = self.ask(("PodSandboxStats", id), client.pod_sandbox_stats(request));
        let stats = answer.await?.stats;
        let stats = stats.ok_or_else(|| Error::NotFound(format!("statistics of {id:?}")))?;
        Ok(from_proto::sandbox_stats(&self.inner.scheme, stats))
    }

    async fn list_sandbox_stats(&self, filter: &SandboxFilter) -> Result<Vec<SandboxStats>> {
        let request = v1::ListPodSandboxStatsRequest {
            filter: Some(to_proto::stats_filter(filter)),
        };
        let mut client = self.runtime();
        let asked = client.list_pod_sandbox_stats(request);
        let answer = self.ask(("ListPodSandboxStats", ""), asked).await?;
        let stats = answer.stats.into_iter();
        Ok(stats
            .map(|stats| from_proto::sandbox_stats(&self.inner.scheme, stats))
            .collect())
    }
}
