//! Static pods: those that the node runs by itself, because a manifest on its disk says so, whether or not there is an API
//! server. When there is one, each of them is shown there by a mirror.

mod manifest;
mod own;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

pub(super) use self::own::OwnPods;
use super::{Inner, name};
use crate::client;
use crate::node::mirror::{HASH, MIRROR, SEEN, SOURCE, is_mirror, mirror_of};
use crate::reconcile::{Error, Key};

/// A manifest that cannot be read any more counts for this long: somebody may be writing it.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer manifests are not read, in bytes.
const LONGEST: u64 = 10 << 20;

/// The manifests on the disk: a directory of them, or one.
#[derive(Debug)]
pub(super) struct Manifests {
    path: PathBuf,
    node: String,
    files: BTreeMap<PathBuf, Manifest>,
}

#[derive(Debug, Default)]
struct Manifest {
    text: Vec<u8>,
    pod: Option<Arc<Pod>>,
    /// Since when it cannot be read.
    broken: Option<Instant>,
}

impl Manifests {
    pub(super) fn new(path: &Path, node: &str) -> Self {
        Self {
            path: path.to_owned(),
            node: node.to_owned(),
            files: BTreeMap::new(),
        }
    }

    /// The pods that they name now. Files that are no pods are told of in the log, and are passed over.
    ///
    /// # Errors
    /// When the directory cannot be read; there being none is no error.
    fn read(&mut self, now: &str) -> io::Result<BTreeMap<Key, Arc<Pod>>> {
        let found = files(&self.path)?;
        self.files.retain(|path, _| found.contains(path));
        let mut pods = BTreeMap::new();
        for path in found {
            let manifest = self.files.entry(path.clone()).or_default();
            manifest.look(&path, &self.node, now);
            if let Some(pod) = &manifest.pod {
                pods.insert(Key::of(&**pod), pod.clone());
            }
        }
        Ok(pods)
    }
}

impl Manifest {
    fn look(&mut self, path: &Path, node: &str, now: &str) {
        let read = text(path).map_err(|error| error.to_string());
        if read.as_ref().is_ok_and(|text| *text == self.text) && self.broken.is_none() {
            return;
        }
        let is_new = read.as_ref().is_ok_and(|text| *text != self.text);
        let pod = read.and_then(|text| {
            self.text = text;
            manifest::read(&self.text, path, node)
        });
        match pod {
            Ok(mut pod) => {
                let annotations = pod.metadata.annotations.get_or_insert_default();
                annotations.insert(SEEN.to_owned(), now.to_owned());
                (self.pod, self.broken) = (Some(Arc::new(pod)), None);
            }
            Err(error) => {
                if is_new || self.broken.is_none() {
                    tracing::error!(path = %path.display(), %error, "Could not process manifest file");
                }
                let since = *self.broken.get_or_insert_with(Instant::now);
                if since.elapsed() >= PATIENCE {
                    self.pod = None;
                }
            }
        }
    }
}

/// The files that are manifests, in order.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let directory = match std::fs::metadata(path) {
        Ok(found) if found.is_file() => return Ok(vec![path.to_owned()]),
        Ok(_) => std::fs::read_dir(path)?,
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in directory {
        let entry = entry?;
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        let path = entry.path();
        // What a link leads to counts.
        if !is_hidden && std::fs::metadata(&path).is_ok_and(|found| found.is_file()) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn text(path: &Path) -> io::Result<Vec<u8>> {
    if std::fs::metadata(path)?.len() > LONGEST {
        return Err(io::Error::other("the manifest is too long"));
    }
    std::fs::read(path)
}

/// Follows the manifests, for ever.
pub(super) async fn follow(inner: Arc<Inner>, path: PathBuf) -> Result<(), Error> {
    let mut manifests = Manifests::new(&path, &inner.spec.name);
    loop {
        manifests = inner.take_manifests(manifests).await?;
        sleep(inner.config.static_pods_period).await;
    }
}

/// Shows static pods in the API as soon as it can be reached.
pub(super) async fn show(inner: Arc<Inner>) -> Result<(), Error> {
    inner.pods.api().synced().await;
    for key in inner.pods.statics() {
        inner.nudge(key);
    }
    Ok(())
}

impl Inner {
    /// Takes what manifests say now.
    pub(super) async fn take_manifests(&self, manifests: Manifests) -> Result<Manifests, Error> {
        let now = self.clock.now();
        let mut manifests = manifests;
        // The disk may be slow; nothing else is to wait for it.
        let (manifests, wanted) = spawn_blocking(move || {
            let wanted = manifests.read(&now.to_string());
            (manifests, wanted)
        })
        .await?;
        match wanted {
            Ok(wanted) => {
                for key in self.pods.set(&wanted, now) {
                    if let Some(state) = self.state.lock().get(&key) {
                        state.ending.notify_one();
                    }
                    self.nudge(key);
                }
            }
            Err(error) => {
                tracing::error!(path = %manifests.path.display(), %error, "Unable to read config path");
            }
        }
        Ok(manifests)
    }

    /// Shows a static pod in the API, where it is not shown rightly; whether that has to be tried again.
    pub(super) async fn show_mirror(&self, key: &Key, pod: &Pod) -> bool {
        // Whether there is an API server is not known yet; all are shown when it is.
        if !self.pods.api().is_synced() {
            return false;
        }
        match self.pods.mirror(key) {
            Some(mirror)
                if mirror.metadata.deletion_timestamp.is_some()
                    || mirror_of(&mirror) != pod.metadata.uid.as_deref() =>
            {
                // Its end is seen, and a new one made then.
                self.remove_mirror(&mirror).await.is_err()
            }
            Some(_) => false,
            None => self.make_mirror(key, pod).await,
        }
    }

    async fn make_mirror(&self, key: &Key, pod: &Pod) -> bool {
        let node = self.nodes.get(&Key::cluster(self.spec.name.as_str()));
        let Some(node) = node else {
            return true;
        };
        if node.metadata.deletion_timestamp.is_some() {
            return false;
        }
        let mirror = mirror(pod, &node);
        match self.api(pod).create(&PostParams::default(), &mirror).await {
            Ok(_) => false,
            // The cache does not show it yet, or another pod has its name.
            Err(error) if client::is_already_exists(&error) => true,
            Err(error) => {
                tracing::error!(pod = %key, %error, "Failed creating a mirror pod");
                true
            }
        }
    }

    /// Takes a mirror out of the API.
    pub(super) async fn remove_mirror(&self, mirror: &Pod) -> Result<(), Error> {
        let params = client::only(&mirror.metadata).grace_period(0);
        let deleted = self.api(mirror).delete(name(mirror), &params).await;
        super::report::gone_is_fine(deleted.map(drop))
    }

    /// Notes the status of a static pod, and writes it to what shows the pod in the API.
    pub(super) async fn report_static(
        &self,
        key: &Key,
        pod: &Pod,
        status: Value,
    ) -> Result<(), Error> {
        if let Ok(noted) = serde_json::from_value::<PodStatus>(plain(status.clone())) {
            self.pods.note(key, noted);
        }
        let mirror = self.pods.mirror(key);
        let uid = pod.metadata.uid.as_deref();
        let Some(mirror) = mirror.filter(|mirror| mirror_of(mirror) == uid) else {
            return Ok(());
        };
        let patch = json!({"metadata": {"uid": mirror.metadata.uid}, "status": status});
        let patched = self
            .api(pod)
            .patch_status(name(pod), &PatchParams::default(), &Patch::Strategic(patch))
            .await;
        super::report::gone_is_fine(patched.map(drop))
    }
}

/// A status without what only a patch means.
fn plain(mut status: Value) -> Value {
    for field in ["conditions", "podIPs"] {
        if let Some(list) = status[field].as_array_mut() {
            list.retain(|one| one.get("$patch").is_none());
        }
    }
    status
}

/// What shows a static pod in the API.
fn mirror(pod: &Pod, node: &Node) -> Pod {
    let mut annotations = pod.metadata.annotations.clone().unwrap_or_default();
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    annotations.insert(MIRROR.to_owned(), uid);
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.metadata.name.clone().unwrap_or_default(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        ..OwnerReference::default()
    };
    Pod {
        metadata: ObjectMeta {
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            labels: pod.metadata.labels.clone(),
            annotations: Some(annotations),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: pod.spec.clone(),
        status: None,
    }
}

#[cfg(test)]
mod tests;
