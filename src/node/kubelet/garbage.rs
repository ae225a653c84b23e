//! Removes what nobody needs any more: images when the disk fills, containers that have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::Inner;
use super::vitals::{Monitor, Room};
use crate::cri::{
    ContainerEntry, ContainerFilter, ContainerPhase, Image, ImageSpec, SandboxFilter,
};
use crate::reconcile::Error;
use crate::reconcile::events::EventType;

/// How often images are looked at.
const IMAGES: Duration = Duration::from_secs(300);
/// How often containers are.
const CONTAINERS: Duration = Duration::from_secs(60);

/// When images that nobody uses are removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageCollection {
    pub(super) high: u64,
    pub(super) low: u64,
    pub(super) minimum_age: Duration,
    pub(super) maximum_age: Option<Duration>,
}

impl Default for ImageCollection {
    fn default() -> Self {
        Self {
            high: 85,
            low: 80,
            minimum_age: Duration::from_secs(120),
            maximum_age: None,
        }
    }
}

impl ImageCollection {
    /// When this much of the file system of images is used, in percent, unused images are removed … Default = 85; 100: never.
    #[must_use]
    pub fn high_percent(mut self, percent: u8) -> Self {
        self.high = u64::from(percent.min(100));
        self
    }

    /// … until so much is. Default = 80.
    #[must_use]
    pub fn low_percent(mut self, percent: u8) -> Self {
        self.low = u64::from(percent.min(100));
        self
    }

    /// Images that are here for less long stay. Default = 2 minutes.
    #[must_use]
    pub fn minimum_age(mut self, age: Duration) -> Self {
        self.minimum_age = age;
        self
    }

    /// Images that were not used for longer are removed, however much room there is. Default = they stay.
    #[must_use]
    pub fn maximum_age(mut self, age: Duration) -> Self {
        self.maximum_age = Some(age);
        self
    }
}

/// What is known of images.
#[derive(Debug, Default)]
pub(super) struct Images(Mutex<BTreeMap<String, Record>>);

#[derive(Clone, Copy, Debug)]
struct Record {
    found: Instant,
    used: Option<Instant>,
    size: u64,
    pinned: bool,
}

impl Images {
    /// Notes which images there are and which are in use now.
    fn note(&self, images: &[Image], in_use: &BTreeSet<String>, now: Instant) {
        let mut records = self.0.lock();
        records.retain(|id, _| images.iter().any(|image| image.id == *id));
        for image in images {
            let record = records.entry(image.id.clone()).or_insert(Record {
                found: now,
                used: None,
                size: 0,
                pinned: false,
            });
            let mut names = image.repo_tags.iter().chain(&image.repo_digests);
            if in_use.contains(&image.id) || names.any(|name| in_use.contains(name)) {
                record.used = Some(now);
            }
            record.size = image.size;
            record.pinned = image.pinned;
        }
    }

    /// Images that may be removed, the one that was not used for longest first.
    fn unused(&self, now: Instant) -> Vec<(String, Record)> {
        let records = self.0.lock();
        let unused = records
            .iter()
            .filter(|(_, record)| !record.pinned && record.used != Some(now));
        let mut unused: Vec<(String, Record)> =
            unused.map(|(id, record)| (id.clone(), *record)).collect();
        unused.sort_by_key(|(_, record)| (record.used, record.found));
        unused
    }

    fn forget(&self, id: &str) {
        self.0.lock().remove(id);
    }
}

/// How much must be freed of so much room.
fn to_free(config: &ImageCollection, room: Room) -> u64 {
    if room.capacity == 0 || config.high >= 100 {
        return 0;
    }
    let part = |percent: u64| {
        let part = u128::from(room.capacity) * u128::from(percent) / 100;
        u64::try_from(part).unwrap_or(u64::MAX)
    };
    let available = u128::from(room.available) * 100 / u128::from(room.capacity);
    let used = 100 - u64::try_from(available.min(100)).unwrap_or(100);
    if used < config.high {
        return 0;
    }
    part(100 - config.low).saturating_sub(room.available)
}

/// Removes unused images from time to time.
pub(super) async fn collect_images(
    inner: Arc<Inner>,
    monitor: Arc<dyn Monitor>,
    images: Arc<Images>,
) -> Result<(), Error> {
    loop {
        if let Err(error) = inner.collect_images(&*monitor, &images).await {
            tracing::warn!(%error, node = %inner.spec.name, "images could not be collected");
        }
        sleep(IMAGES).await;
    }
}

/// Removes dead containers from time to time.
pub(super) async fn collect_containers(inner: Arc<Inner>) -> Result<(), Error> {
    loop {
        sleep(CONTAINERS).await;
        inner.remove_dead(false).await;
    }
}

/// The dead containers that nobody needs: of each container of a pod that is live, the newest dead one is kept. `uids` are those
/// of the pods by sandbox.
fn superfluous(
    containers: &[ContainerEntry],
    uids: &BTreeMap<String, String>,
    is_live: impl Fn(&str) -> bool,
) -> Vec<String> {
    let uid = |one: &ContainerEntry| uids.get(&one.sandbox).map_or("", String::as_str);
    let mut newest: BTreeMap<(&str, &str), &ContainerEntry> = BTreeMap::new();
    let dead = containers
        .iter()
        .filter(|one| one.phase == ContainerPhase::Exited);
    let dead: Vec<&ContainerEntry> = dead.collect();
    for one in &dead {
        let uid = uids.get(&one.sandbox).map_or("", String::as_str);
        let kept = newest.entry((uid, &one.name)).or_insert(one);
        if one.attempt > kept.attempt {
            *kept = one;
        }
    }
    let is_needed = |one: &ContainerEntry| {
        let kept = newest.get(&(uid(one), one.name.as_str()));
        is_live(uid(one)) && kept.is_some_and(|kept| kept.id == one.id)
    };
    let rest = dead.iter().filter(|one| !is_needed(one));
    rest.map(|one| one.id.clone()).collect()
}

impl Inner {
    /// Removes dead containers that nobody needs; of pods that have finished all of them, when room is `scarce`.
    pub(super) async fn remove_dead(&self, scarce: bool) {
        if let Err(error) = self.try_remove_dead(scarce).await {
            tracing::warn!(%error, node = %self.spec.name, "dead containers could not be removed");
        }
    }

    async fn try_remove_dead(&self, scarce: bool) -> Result<(), Error> {
        let containers = self
            .runtime
            .list_containers(&ContainerFilter::default())
            .await?;
        let sandboxes = self
            .runtime
            .list_sandboxes(&SandboxFilter::default())
            .await?;
        let uids: BTreeMap<String, String> = sandboxes
            .into_iter()
            .map(|sandbox| (sandbox.id, sandbox.metadata.uid))
            .collect();
        let (known, live): (BTreeSet<String>, BTreeSet<String>) = {
            let states = self.state.lock();
            let known = states.values().map(|state| state.uid.clone());
            let live = states.values().filter(|state| !(scarce && state.finished));
            (
                known.collect(),
                live.map(|state| state.uid.clone()).collect(),
            )
        };
        // What belongs to nobody here is left to the look at its pod, which ends it as a whole.
        let own = containers.into_iter().filter(|one| {
            let uid = uids.get(&one.sandbox);
            uid.is_some_and(|uid| known.contains(uid))
        });
        let own: Vec<ContainerEntry> = own.collect();
        for id in superfluous(&own, &uids, |uid| live.contains(uid)) {
            self.runtime.remove_container(&id).await?;
        }
        Ok(())
    }

    /// The images there are; notes which of them containers were made from.
    async fn look_at_images(&self, images: &Images, now: Instant) -> Result<(), Error> {
        let found = self.runtime.list_images().await?;
        let containers = self
            .runtime
            .list_containers(&ContainerFilter::default())
            .await?;
        let in_use = containers
            .into_iter()
            .flat_map(|container| [container.image, container.image_id]);
        images.note(&found, &in_use.collect(), now);
        Ok(())
    }

    async fn collect_images(&self, monitor: &dyn Monitor, images: &Images) -> Result<(), Error> {
        let config = &self.config.images;
        let now = Instant::now();
        self.look_at_images(images, now).await?;
        if let Some(most) = config.maximum_age {
            for (id, record) in images.unused(now) {
                if now.duration_since(record.used.unwrap_or(record.found)) > most {
                    self.remove_image(images, &id).await?;
                }
            }
        }
        let Some(room) = self.vitals(monitor).await.image_fs else {
            return Ok(());
        };
        if room.capacity == 0 {
            let message = "invalid capacity 0 on image filesystem".to_owned();
            self.node_event(EventType::Warning, "InvalidDiskCapacity", message);
            return Ok(());
        }
        let wanted = to_free(config, room);
        if wanted == 0 {
            return Ok(());
        }
        let freed = self.free(images, wanted, now).await?;
        if freed < wanted {
            let message = format!(
                "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only found {freed} bytes eligible to free."
            );
            self.node_event(EventType::Warning, "FreeDiskSpaceFailed", message);
        }
        Ok(())
    }

    /// Removes images until `wanted` bytes are freed; gives how many were.
    async fn free(&self, images: &Images, wanted: u64, now: Instant) -> Result<u64, Error> {
        let mut freed = 0_u64;
        for (id, record) in images.unused(now) {
            if freed >= wanted {
                break;
            }
            // One that has just come may be for a container that is about to be made.
            if now.duration_since(record.found) < self.config.images.minimum_age {
                continue;
            }
            self.remove_image(images, &id).await?;
            freed = freed.saturating_add(record.size);
        }
        Ok(freed)
    }

    /// Removes every image that nobody uses.
    pub(super) async fn remove_unused_images(&self, images: &Images) {
        let now = Instant::now();
        let removed = async {
            self.look_at_images(images, now).await?;
            self.free(images, u64::MAX, now).await
        };
        if let Err(error) = removed.await {
            tracing::warn!(%error, node = %self.spec.name, "unused images could not be removed");
        }
    }

    async fn remove_image(&self, images: &Images, id: &str) -> Result<(), Error> {
        self.runtime.remove_image(&ImageSpec::from(id)).await?;
        images.forget(id);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_much_is_freed() {
        let config = ImageCollection::default();
        for (available, capacity, expected) in [
            (1000, 1000, 0),
            (151, 1000, 49),
            (160, 1000, 0),
            (150, 1000, 50),
            (0, 1000, 200),
            (0, 0, 0),
        ] {
            let room = Room {
                available,
                capacity,
            };
            assert_eq!(to_free(&config, room), expected, "{available}/{capacity}");
        }
        let never = config.high_percent(100);
        let room = Room {
            available: 0,
            capacity: 1000,
        };
        assert_eq!(to_free(&never, room), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn unused_longest_first() {
        let image = |id: &str, pinned| Image {
            id: id.to_owned(),
            repo_tags: vec![format!("{id}:tag")],
            size: 1,
            pinned,
            ..Image::default()
        };
        let all = [
            image("a", false),
            image("b", false),
            image("c", false),
            image("pause", true),
        ];
        let images = Images::default();
        let used = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        images.note(&all, &used(&["a:tag", "b"]), at(0));
        images.note(&all, &used(&["b:tag"]), at(10));
        let ids = |now| {
            images
                .unused(now)
                .into_iter()
                .map(|(id, _)| id)
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(at(10)), ["c", "a"]);
        images.note(&all, &used(&[]), at(20));
        assert_eq!(ids(at(20)), ["c", "a", "b"]);
        images.note(&all[1..2], &used(&[]), at(30));
        assert_eq!(ids(at(30)), ["b"]);
    }

    #[test]
    fn one_dead_container_is_kept() {
        let entry = |sandbox: &str, name: &str, attempt, dead| ContainerEntry {
            id: format!("{sandbox}-{name}-{attempt}"),
            sandbox: sandbox.to_owned(),
            name: name.to_owned(),
            attempt,
            image: String::new(),
            image_id: String::new(),
            phase: if dead {
                ContainerPhase::Exited
            } else {
                ContainerPhase::Running
            },
            created: jiff::Timestamp::UNIX_EPOCH,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        };
        let all = [
            entry("s", "a", 0, true),
            entry("s", "a", 1, true),
            entry("s", "a", 2, false),
            entry("s", "b", 0, true),
            entry("gone", "a", 0, true),
        ];
        let uids = ["s", "gone"].map(|id| (id.to_owned(), format!("uid-{id}")));
        let found = superfluous(&all, &uids.into(), |uid| uid == "uid-s");
        assert_eq!(found, ["s-a-0", "gone-a-0"]);
    }
}
