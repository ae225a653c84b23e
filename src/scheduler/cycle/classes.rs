//! Classes of pods that are alike: what plugins said of each node for one of them holds for the others until the node changes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use k8s_openapi::api::core::v1::PodSpec;

use crate::scheduler::framework::{ClassId, Framework, PodInfo, Status};

/// All classes together remember so many nodes at most.
const REMEMBERED: usize = 4_000_000;
/// One class remembers so many different rejections.
const WORDS: usize = 1024;
/// But so many classes at least …
const LEAST: usize = 4;
/// … and at most.
const MOST: usize = 512;
/// Admission gives the volume of a pod's token a name that begins so, and ends by chance.
const TOKEN_VOLUME: &str = "kube-api-access-";

/// What is remembered of one class, by the nodes' positions.
#[derive(Debug)]
pub(super) struct Class {
    pub id: ClassId,
    framework: Arc<str>,
    exemplar: Arc<PodInfo>,
    /// What the specs of its pods share.
    spec: PodSpec,
    hash: u64,
    used: u64,
    /// The generations of the nodes when they were judged; 0: never.
    judged: Vec<u64>,
    /// 0: fits; else one more than the position in `statuses`.
    verdicts: Vec<u32>,
    pub statuses: Vec<Status>,
    /// The generations of the nodes when they were scored.
    scored: Vec<u64>,
    /// The scores before they are normalized, `stride` for each node.
    scores: Vec<i64>,
    stride: usize,
    /// Which plugins' scores these are.
    mask: u64,
}

impl Class {
    fn new(
        id: ClassId,
        hash: u64,
        framework: &Framework,
        pod: &Arc<PodInfo>,
        spec: PodSpec,
    ) -> Self {
        Self {
            id,
            framework: framework.name().into(),
            exemplar: pod.clone(),
            spec,
            hash,
            used: 0,
            judged: Vec::new(),
            verdicts: Vec::new(),
            statuses: Vec::new(),
            scored: Vec::new(),
            scores: Vec::new(),
            stride: 0,
            mask: 0,
        }
    }

    /// Makes room for so many nodes.
    pub(super) fn fit(&mut self, nodes: usize) {
        self.judged.resize(nodes, 0);
        self.verdicts.resize(nodes, 0);
    }

    /// The verdict on a node of this generation: `None` when it is not known, else one more than the position of its status,
    /// or 0.
    pub(super) fn verdict(&self, position: usize, generation: u64) -> Option<u32> {
        let known = self.judged.get(position) == Some(&generation);
        known
            .then(|| self.verdicts.get(position).copied())
            .flatten()
    }

    /// Remembers a verdict; the number under which it is known.
    pub(super) fn judge(&mut self, position: usize, generation: u64, status: Status) -> u32 {
        let number = if status.is_success() {
            0
        } else {
            let known = self.statuses.iter().position(|known| *known == status);
            let index = known.unwrap_or_else(|| {
                self.statuses.push(status);
                self.statuses.len() - 1
            });
            u32::try_from(index + 1).unwrap_or(u32::MAX)
        };
        if let (Some(judged), Some(verdict)) = (
            self.judged.get_mut(position),
            self.verdicts.get_mut(position),
        ) {
            (*judged, *verdict) = (generation, number);
        }
        number
    }

    /// Makes room for the scores of these plugins.
    pub(super) fn fit_scores(&mut self, nodes: usize, mask: u64, stride: usize) {
        if self.mask != mask || self.stride != stride {
            (self.mask, self.stride) = (mask, stride);
            self.scored.clear();
            self.scores.clear();
        }
        self.scored.resize(nodes, 0);
        self.scores.resize(nodes * stride, 0);
    }

    /// The scores of a node; `None` when those of this generation are not known.
    pub(super) fn scores(&self, position: usize, generation: u64) -> Option<&[i64]> {
        let known = self.scored.get(position) == Some(&generation);
        let from = position * self.stride;
        known
            .then(|| self.scores.get(from..from + self.stride))
            .flatten()
    }

    /// The place for the scores of a node of this generation.
    pub(super) fn score(&mut self, position: usize, generation: u64) -> Option<&mut [i64]> {
        *self.scored.get_mut(position)? = generation;
        let from = position * self.stride;
        self.scores.get_mut(from..from + self.stride)
    }

    fn is_of(&self, framework: &Framework, pod: &PodInfo, spec: &PodSpec) -> bool {
        let known = &self.exemplar;
        known.key.namespace == pod.key.namespace
            && *self.framework == *framework.name()
            && known.labels() == pod.labels()
            && known.priority == pod.priority
            && known.pod.metadata.owner_references == pod.pod.metadata.owner_references
            && self.spec == *spec
    }
}

/// The classes seen lately.
#[derive(Debug, Default)]
pub(super) struct Classes {
    by_hash: BTreeMap<u64, Vec<Class>>,
    count: usize,
    next: u64,
    clock: u64,
    /// Hashes of pods that were seen once: a class is worth its memory when there are others like it.
    once: [u64; 32],
}

impl Classes {
    /// Takes out the class of a pod; `None` the first time.
    pub(super) fn take(
        &mut self,
        framework: &Framework,
        pod: &Arc<PodInfo>,
        nodes: usize,
    ) -> Option<Class> {
        let hash = hash(framework, pod);
        let spec = shared(pod);
        self.clock += 1;
        let clock = self.clock;
        let known = self.by_hash.get_mut(&hash);
        let known = known.and_then(|all| {
            let index = all
                .iter()
                .position(|class| class.is_of(framework, pod, &spec))?;
            Some(all.swap_remove(index))
        });
        let mut class = if let Some(class) = known {
            class
        } else {
            let slot = usize::try_from(hash % 32).unwrap_or(0);
            let before = self.once.get_mut(slot)?;
            if *before != hash {
                *before = hash;
                return None;
            }
            self.forget(nodes);
            self.next += 1;
            self.count += 1;
            Class::new(ClassId(self.next), hash, framework, pod, spec.into_owned())
        };
        class.used = clock;
        class.fit(nodes);
        if class.statuses.len() > WORDS {
            // Words that never come twice; begin anew.
            class.statuses.clear();
            class.judged.fill(0);
        }
        Some(class)
    }

    /// Puts a class back. One that a panic kept from it is forgotten.
    pub(super) fn put(&mut self, class: Class) {
        self.by_hash.entry(class.hash).or_default().push(class);
    }

    /// Makes room for one more: those that were used longest ago go.
    fn forget(&mut self, nodes: usize) {
        let most = (REMEMBERED / nodes.max(1)).clamp(LEAST, MOST);
        while self.count >= most {
            let all = self.by_hash.iter();
            let uses = all.flat_map(|(hash, all)| all.iter().map(|class| (class.used, *hash)));
            let Some((used, hash)) = uses.min() else {
                return;
            };
            if let Some(all) = self.by_hash.get_mut(&hash) {
                all.retain(|class| class.used != used);
            }
            self.by_hash.retain(|_, all| !all.is_empty());
            self.count -= 1;
        }
    }
}

/// The spec without what tells pods apart that are alike: the names of claims, and the name of the volume of the token, with
/// whatever mounts it.
fn shared(pod: &PodInfo) -> Cow<'_, PodSpec> {
    let Some(spec) = pod.spec() else {
        return Cow::Owned(PodSpec::default());
    };
    let is_token = |name: &str| name.starts_with(TOKEN_VOLUME);
    let mut volumes = spec.volumes.iter().flatten();
    if !volumes.any(|volume| {
        let is_token = volume.projected.is_some() && is_token(&volume.name);
        is_token || volume.persistent_volume_claim.is_some()
    }) {
        return Cow::Borrowed(spec);
    }
    let mut spec = spec.clone();
    for volume in spec.volumes.iter_mut().flatten() {
        if let Some(claim) = &mut volume.persistent_volume_claim {
            claim.claim_name.clear();
        }
    }
    let volumes = spec.volumes.iter_mut().flatten();
    let init = spec.init_containers.iter_mut().flatten();
    let mounts = init
        .chain(&mut spec.containers)
        .flat_map(|container| container.volume_mounts.iter_mut().flatten())
        .map(|mount| &mut mount.name);
    for name in volumes.map(|volume| &mut volume.name).chain(mounts) {
        if is_token(name) {
            name.truncate(TOKEN_VOLUME.len());
        }
    }
    Cow::Owned(spec)
}

/// Tells most pods apart that are not alike.
fn hash(framework: &Framework, pod: &PodInfo) -> u64 {
    let mut hasher = DefaultHasher::new();
    framework.name().hash(&mut hasher);
    pod.key.namespace.hash(&mut hasher);
    pod.priority.hash(&mut hasher);
    pod.labels().hash(&mut hasher);
    (pod.requests.milli_cpu, pod.requests.memory).hash(&mut hasher);
    let owners = pod.pod.metadata.owner_references.iter().flatten();
    owners.for_each(|owner| owner.uid.hash(&mut hasher));
    if let Some(spec) = pod.spec() {
        spec.node_selector.hash(&mut hasher);
        spec.hostname.hash(&mut hasher);
        for container in &spec.containers {
            container.image.hash(&mut hasher);
        }
    }
    let affinity = pod.spec().and_then(|spec| spec.affinity.as_ref());
    let required = affinity
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|node| {
            node.required_during_scheduling_ignored_during_execution
                .as_ref()
        });
    for term in required
        .into_iter()
        .flat_map(|all| &all.node_selector_terms)
    {
        let fields = term.match_fields.iter().flatten();
        for requirement in fields.chain(term.match_expressions.iter().flatten()) {
            requirement.values.hash(&mut hasher);
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
