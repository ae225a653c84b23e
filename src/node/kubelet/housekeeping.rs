//! Cleaning up after pods that are gone, whoever ended them: directories, logs and control groups.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::Inner;
use crate::cri::SandboxFilter;
use crate::node::log_directory;
use crate::reconcile::Error;

/// How often is looked.
const PERIOD: Duration = Duration::from_secs(10);
/// The control groups of the classes of pods.
const CLASSES: [&str; 3] = ["", "/burstable", "/besteffort"];

/// Looks for ever.
pub(super) async fn run(inner: Arc<Inner>) -> Result<(), Error> {
    inner.pods.api().synced().await;
    loop {
        sleep(PERIOD).await;
        if let Err(error) = inner.clean().await {
            tracing::warn!(%error, node = %inner.spec.name, "what gone pods left could not be cleaned away");
        }
    }
}

impl Inner {
    /// Removes what belongs to no pod of this node and is in nobody's use.
    async fn clean(&self) -> Result<(), Error> {
        let host = &self.config.host;
        // What there is comes first: a pod that appears meanwhile is known below.
        let pods = Path::new(&self.config.root).join("pods");
        let directories = host.entries(&pods).await?;
        let logs = self.config.logs.as_deref().map(Path::new);
        let logged = match logs {
            Some(logs) => host.entries(logs).await?,
            None => Vec::new(),
        };
        let mut groups = Vec::new();
        for class in self
            .config
            .cgroup_root
            .iter()
            .flat_map(|root| CLASSES.map(|class| format!("{root}/kubepods{class}")))
        {
            let found = host.groups(&class).await?;
            groups.extend(found.into_iter().filter_map(|name| {
                let uid = name.strip_prefix("pod")?.to_owned();
                Some((uid, format!("{class}/{name}")))
            }));
        }
        let everything = SandboxFilter::default();
        let sandboxes = self.runtime.list_sandboxes(&everything).await?;
        let running: BTreeSet<String> = sandboxes
            .into_iter()
            .map(|sandbox| sandbox.metadata.uid)
            .collect();
        let mut known = self.known_uids();
        // A call that was dropped may have taken effect after all looked for it.
        for uid in running.difference(&known) {
            self.end_orphan(uid).await?;
        }
        known.extend(running);
        let gone = |uid: &str| !uid.is_empty() && !known.contains(uid);
        for uid in directories.iter().filter(|uid| gone(uid)) {
            host.remove(&pods.join(uid)).await?;
        }
        for name in &logged {
            let uid = log_directory::uid(name).filter(|uid| gone(uid));
            if let Some((_, logs)) = uid.zip(logs) {
                host.remove(&logs.join(name)).await?;
            }
        }
        for (_, group) in groups.iter().filter(|(uid, _)| gone(uid)) {
            host.remove_group(group).await?;
        }
        Ok(())
    }

    /// The uids of pods that are here, in the API or in this agent.
    fn known_uids(&self) -> BTreeSet<String> {
        let own = self.pods.list().into_iter();
        let mut known: BTreeSet<String> = own.filter_map(|pod| pod.metadata.uid.clone()).collect();
        known.extend(self.state.lock().values().map(|state| state.uid.clone()));
        known
    }
}
