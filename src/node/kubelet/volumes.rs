//! The volumes of a pod: what they hold, and where they are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{
    ConfigMap, Container as Spec, DownwardAPIVolumeFile, EmptyDirVolumeSource,
    HostPathVolumeSource, KeyToPath, PersistentVolume, PersistentVolumeClaim, Pod, Secret, Volume,
};
use kube::Api;

use super::environment::{self, Origin};
use super::host::{File, Kind, Memory};
use super::{Inner, limits, plan};
use crate::cri::ImageSpec;
use crate::object::Quantity;

type Files = BTreeMap<String, File>;

/// Where the volumes of a pod are, by name; those that are images are nowhere.
pub(super) type Places = BTreeMap<String, PathBuf>;

/// The volumes that are images, by name.
pub(super) type Images = BTreeMap<String, ImageSpec>;

impl Inner {
    /// The directory of all that is kept for a pod.
    pub(super) fn pod_directory(&self, pod: &Pod) -> PathBuf {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        Path::new(&self.config.root).join("pods").join(uid)
    }

    /// Makes the volumes of a pod, or brings them up to date.
    ///
    /// # Errors
    /// What is missing, in the words of the real kubelet.
    pub(super) async fn volumes(&self, origin: &Origin<'_>) -> Result<Places, String> {
        let spec = origin.pod.spec.as_ref();
        let mut places = Places::new();
        let volumes = spec
            .into_iter()
            .flat_map(|spec| spec.volumes.iter().flatten());
        for volume in volumes.filter(|volume| volume.image.is_none()) {
            let place = self.volume(origin, volume).await;
            let place = place.map_err(|why| {
                format!(
                    "MountVolume.SetUp failed for volume {:?} : {why}",
                    volume.name
                )
            })?;
            places.insert(volume.name.clone(), place);
        }
        Ok(places)
    }

    async fn volume(&self, origin: &Origin<'_>, volume: &Volume) -> Result<PathBuf, String> {
        let host = &self.config.host;
        let text = |error: std::io::Error| error.to_string();
        let place = |plugin: &str| {
            let volumes = self.pod_directory(origin.pod).join("volumes");
            volumes
                .join(format!("kubernetes.io~{plugin}"))
                .join(&volume.name)
        };
        let group = fs_group(origin.pod);
        if let Some(source) = &volume.empty_dir {
            let place = place("empty-dir");
            let mut is_fresh = host.kind(&place).await.map_err(text)?.is_none();
            if is_fresh {
                host.make_dir(&place, 0o777).await.map_err(text)?;
            }
            match source.medium.as_deref().unwrap_or_default() {
                "" => {}
                // Also where the directory is there: a machine that was started anew has lost what was in memory.
                "Memory" => {
                    let memory = Memory::Plain(memory_size(origin, source));
                    is_fresh = host.memory(&place, memory).await.map_err(text)?;
                }
                medium if medium.starts_with("HugePages") => {
                    let memory = Memory::HugePages(page_size(origin.pod, medium)?);
                    is_fresh = host.memory(&place, memory).await.map_err(text)?;
                }
                other => return Err(format!("unknown storage medium {other:?}")),
            }
            if is_fresh {
                // Of the root of what was mounted, too.
                host.make_dir(&place, 0o777).await.map_err(text)?;
                if let Some(group) = group {
                    host.give(&place, group).await.map_err(text)?;
                }
            }
            return Ok(place);
        }
        if let Some(source) = &volume.host_path {
            return self.host_path(source).await;
        }
        let claim = volume.persistent_volume_claim.as_ref();
        if let Some(claim) = claim.map(|claim| claim.claim_name.clone()).or_else(|| {
            let pod = origin.pod.metadata.name.as_deref().unwrap_or_default();
            volume
                .ephemeral
                .as_ref()
                .map(|_| format!("{pod}-{}", volume.name))
        }) {
            return self.claimed(origin, &claim).await;
        }
        let (plugin, files) = if let Some(source) = &volume.config_map {
            let mode = source.default_mode;
            let items = source.items.as_deref();
            (
                "configmap",
                config_map(origin, &source.name, items, mode, source.optional).await?,
            )
        } else if let Some(source) = &volume.secret {
            let name = source.secret_name.as_deref().unwrap_or_default();
            let items = source.items.as_deref();
            let files = secret(origin, name, items, source.default_mode, source.optional).await?;
            ("secret", files)
        } else if let Some(source) = &volume.downward_api {
            let items = source.items.as_deref().unwrap_or_default();
            (
                "downward-api",
                downward(origin, items, source.default_mode)?,
            )
        } else if let Some(source) = &volume.projected {
            let (mut files, mode) = (Files::new(), source.default_mode);
            for part in source.sources.iter().flatten() {
                if let Some(source) = &part.config_map {
                    let items = source.items.as_deref();
                    files.extend(
                        config_map(origin, &source.name, items, mode, source.optional).await?,
                    );
                }
                if let Some(source) = &part.secret {
                    let items = source.items.as_deref();
                    files.extend(secret(origin, &source.name, items, mode, source.optional).await?);
                }
                if let Some(source) = &part.downward_api {
                    let items = source.items.as_deref().unwrap_or_default();
                    files.extend(downward(origin, items, mode)?);
                }
                if let Some(source) = &part.service_account_token {
                    let token = self.token(origin.pod, source).await?;
                    // What the group of the volumes may do is added with their ownership.
                    let mode = match fs_group(origin.pod) {
                        Some(_) => 0o600,
                        None => bits(mode),
                    };
                    let file = File {
                        data: token.into_bytes(),
                        mode,
                    };
                    files.insert(source.path.clone(), file);
                }
            }
            ("projected", files)
        } else {
            return Err("no volume plugin matched".to_owned());
        };
        if let Some(bad) = files.keys().find(|path| !stays_inside(path)) {
            return Err(format!("invalid path: {bad:?}"));
        }
        let place = place(plugin);
        let now = self.clock.now().strftime("%Y_%m_%d_%H_%M_%S");
        let version = format!("{now}.{}", self.clock.below(1 << 32));
        let published = host.publish(&place, &files, group, &version).await;
        published.map_err(text)?;
        Ok(place)
    }

    async fn host_path(&self, source: &HostPathVolumeSource) -> Result<PathBuf, String> {
        let (path, host) = (PathBuf::from(&source.path), &self.config.host);
        let text = |error: std::io::Error| error.to_string();
        let (wanted, what) = match source.type_.as_deref().unwrap_or_default() {
            "DirectoryOrCreate" | "Directory" => (Kind::Directory, "directory"),
            "FileOrCreate" | "File" => (Kind::File, "file"),
            "Socket" => (Kind::Socket, "socket file"),
            "CharDevice" => (Kind::CharDevice, "character device"),
            "BlockDevice" => (Kind::BlockDevice, "block device"),
            _ => return Ok(path),
        };
        match (
            host.kind(&path).await.map_err(text)?,
            source.type_.as_deref(),
        ) {
            (Some(found), _) if found == wanted => {}
            (None, Some("DirectoryOrCreate")) => host.make_dir(&path, 0o755).await.map_err(text)?,
            (None, Some("FileOrCreate")) => host.make_file(&path).await.map_err(text)?,
            (None, _) => return Err(format!("hostPath {} doesn't exist", source.path)),
            (Some(found), _) => {
                let is = match found {
                    Kind::CharDevice => "CharDevice".to_owned(),
                    Kind::BlockDevice => "BlockDevice".to_owned(),
                    other => format!("{other:?}"),
                };
                let path = &source.path;
                return Err(format!(
                    "hostPath type check failed: {path} is not a {what}, it's a {is}"
                ));
            }
        }
        Ok(path)
    }

    /// The directory of a claim that is bound to one of this node.
    async fn claimed(&self, origin: &Origin<'_>, name: &str) -> Result<PathBuf, String> {
        let namespace = namespace(origin.pod);
        let of = |why: String| format!("error processing PVC {namespace}/{name}: {why}");
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
        let claim = claims.get(name).await.map_err(|error| {
            of(format!(
                "failed to fetch PVC from API server: {}",
                said(&error)
            ))
        })?;
        let phase = claim
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        let bound = claim
            .spec
            .as_ref()
            .and_then(|spec| spec.volume_name.as_deref());
        let Some(volume) = bound.filter(|_| phase == Some("Bound")) else {
            return Err(of("PVC is not bound".to_owned()));
        };
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let found = volumes.get(volume).await.map_err(|error| {
            of(format!(
                "failed to fetch PV {volume} from API server: {}",
                said(&error)
            ))
        })?;
        let spec = found.spec.unwrap_or_default();
        if let Some(source) = &spec.host_path {
            return self.host_path(source).await;
        }
        let local = spec.local.ok_or("no volume plugin matched")?;
        let place = PathBuf::from(local.path);
        if spec.volume_mode.as_deref() != Some("Block") {
            self.own_local(origin.pod, volume, &place).await?;
        }
        Ok(place)
    }

    /// Gives a local volume to the pod's group, once for each pod.
    async fn own_local(&self, pod: &Pod, volume: &str, place: &Path) -> Result<(), String> {
        let Some(group) = fs_group(pod) else {
            return Ok(());
        };
        let host = &self.config.host;
        let text = |error: std::io::Error| error.to_string();
        let noted = self
            .pod_directory(pod)
            .join("volumes/kubernetes.io~local-volume");
        let noted = noted.join(volume);
        if host.kind(&noted).await.map_err(text)?.is_some() {
            return Ok(());
        }
        let context = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.security_context.as_ref());
        let policy = context.and_then(|context| context.fs_group_change_policy.as_deref());
        let given = host.give_all(place, group, policy == Some("OnRootMismatch"));
        given.await.map_err(text)?;
        host.make_dir(&noted, 0o750).await.map_err(text)
    }
}

pub(super) fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let context = pod.spec.as_ref()?.security_context.as_ref()?;
    u32::try_from(context.fs_group?).ok()
}

/// How much a volume in memory may hold: no more than its limit, the node, and the limits of all containers together.
fn memory_size(origin: &Origin<'_>, source: &EmptyDirVolumeSource) -> Option<u64> {
    let own = source.size_limit.as_ref();
    let own = own
        .and_then(|limit| Quantity::parse(&limit.0).ok())
        .map(|limit| limit.value());
    let node = Some(origin.allocatable.memory);
    let limit = |container: &Spec| {
        let limits = container.resources.as_ref()?.limits.as_ref()?;
        Some(Quantity::parse(&limits.get("memory")?.0).ok()?.value())
    };
    let spec = origin.pod.spec.as_ref();
    // A container without a limit may use all that there is.
    let pod = spec.and_then(|spec| spec.containers.iter().map(limit).sum::<Option<i64>>());
    let least = [own, node, pod]
        .into_iter()
        .flatten()
        .filter(|bytes| *bytes > 0);
    least.min().and_then(|bytes| u64::try_from(bytes).ok())
}

/// The size of the pages of a volume: that of its medium (`HugePages-2Mi`), or the only one that the pod asks for.
///
/// # Errors
/// When the pod asks for no such pages, or for several.
fn page_size(pod: &Pod, medium: &str) -> Result<u64, String> {
    let requests = pod.spec.iter().flat_map(plan::all).filter_map(|container| {
        let resources = container.resources.as_ref()?;
        resources.requests.as_ref()
    });
    let asked: BTreeSet<u64> = requests
        .flat_map(BTreeMap::keys)
        .filter_map(|name| limits::page_size(name.strip_prefix(limits::HUGE_PAGES)?))
        .collect();
    let own = medium.strip_prefix("HugePages-").map(limits::page_size);
    let mut fitting = asked
        .iter()
        .filter(|size| own.is_none_or(|own| own == Some(**size)));
    let none = || {
        format!(
            "medium {medium}: hugePages requested, but there is no resource request for huge pages"
        )
    };
    let size = fitting.next().ok_or_else(none)?;
    match fitting.next() {
        None => Ok(*size),
        Some(_) => Err(format!(
            "medium: {medium} can't be used if container requests multiple huge page sizes"
        )),
    }
}

fn bits(mode: Option<i32>) -> u32 {
    mode.and_then(|mode| u32::try_from(mode).ok())
        .unwrap_or(0o644)
}

/// What the API server said of a failure.
pub(super) fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Whether a path leads to something below where it begins.
pub(super) fn stays_inside(path: &str) -> bool {
    !path.is_empty()
        && Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// The files of a map of data: all, or the named ones.
fn pick(
    data: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    optional: bool,
    missing: &str,
) -> Result<Files, String> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let file = |(key, data)| {
            (
                key,
                File {
                    data,
                    mode: bits(mode),
                },
            )
        };
        return Ok(data.into_iter().map(file).collect());
    };
    let mut files = Files::new();
    for item in items {
        match data.get(&item.key) {
            Some(data) => {
                let mode = bits(item.mode.or(mode));
                files.insert(
                    item.path.clone(),
                    File {
                        data: data.clone(),
                        mode,
                    },
                );
            }
            None if optional => {}
            None => return Err(format!("{missing}: {}", item.key)),
        }
    }
    Ok(files)
}

async fn config_map(
    origin: &Origin<'_>,
    name: &str,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    optional: Option<bool>,
) -> Result<Files, String> {
    let optional = optional == Some(true);
    let maps: Api<ConfigMap> = Api::namespaced(origin.client.clone(), namespace(origin.pod));
    let map = match maps.get_opt(name).await {
        Ok(Some(map)) => map,
        Ok(None) if optional => ConfigMap::default(),
        Ok(None) => return Err(format!("configmap {name:?} not found")),
        Err(error) => return Err(said(&error)),
    };
    let plain = map.data.into_iter().flatten();
    let binary = map.binary_data.into_iter().flatten();
    let data = plain
        .map(|(key, text)| (key, text.into_bytes()))
        .chain(binary.map(|(key, bytes)| (key, bytes.0)));
    let missing = "configmap references non-existent config key";
    pick(data.collect(), items, mode, optional, missing)
}

async fn secret(
    origin: &Origin<'_>,
    name: &str,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    optional: Option<bool>,
) -> Result<Files, String> {
    let optional = optional == Some(true);
    let secrets: Api<Secret> = Api::namespaced(origin.client.clone(), namespace(origin.pod));
    let secret = match secrets.get_opt(name).await {
        Ok(Some(secret)) => secret,
        Ok(None) if optional => Secret::default(),
        Ok(None) => return Err(format!("secret {name:?} not found")),
        Err(error) => return Err(said(&error)),
    };
    let data = secret.data.into_iter().flatten();
    let data = data.map(|(key, bytes)| (key, bytes.0)).collect();
    pick(
        data,
        items,
        mode,
        optional,
        "references non-existent secret key",
    )
}

fn downward(
    origin: &Origin<'_>,
    items: &[DownwardAPIVolumeFile],
    mode: Option<i32>,
) -> Result<Files, String> {
    let mut files = Files::new();
    for item in items {
        let text = if let Some(field) = &item.field_ref {
            let meta = &origin.pod.metadata;
            match field.field_path.as_str() {
                "metadata.labels" => lines(meta.labels.as_ref()),
                "metadata.annotations" => lines(meta.annotations.as_ref()),
                path => environment::field_of(origin.pod, path, origin.node, origin.ip),
            }
        } else if let Some(wanted) = &item.resource_field_ref {
            let empty = Spec::default();
            environment::resource_of(origin.pod, &empty, wanted, &origin.allocatable)?
        } else {
            continue;
        };
        let mode = bits(item.mode.or(mode));
        files.insert(
            item.path.clone(),
            File {
                data: text.into_bytes(),
                mode,
            },
        );
    }
    Ok(files)
}

/// Labels as the downward API writes them.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map.into_iter().flatten();
    let lines: Vec<String> = lines
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_and_items() {
        let data = || {
            BTreeMap::from([
                ("a".to_owned(), b"1".to_vec()),
                ("b".to_owned(), b"2".to_vec()),
            ])
        };
        let items: Vec<KeyToPath> =
            serde_json::from_value(json!([{"key": "b", "path": "d/b", "mode": 256}])).unwrap();
        let all = pick(data(), None, Some(0o400), false, "m").unwrap();
        assert_eq!(all.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(all["a"].mode, 0o400);
        let some = pick(data(), Some(&items), None, false, "m").unwrap();
        assert_eq!((some.len(), some["d/b"].mode), (1, 0o400));
        let none = pick(BTreeMap::new(), Some(&items), None, false, "m");
        assert_eq!(none.unwrap_err(), "m: b");
        assert!(
            pick(BTreeMap::new(), Some(&items), None, true, "m")
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn sizes_of_huge_pages() {
        let missing = |medium: &str| {
            Err(format!(
                "medium {medium}: hugePages requested, but there is no resource request for huge pages"
            ))
        };
        let several =
            "medium: HugePages can't be used if container requests multiple huge page sizes";
        for (asked, medium, expected) in [
            (vec![], "HugePages", missing("HugePages")),
            (vec!["hugepages-2Mi"], "HugePages", Ok(2 << 20)),
            (vec!["cpu", "hugepages-2Mi"], "HugePages-2Mi", Ok(2 << 20)),
            (
                vec!["hugepages-2Mi"],
                "HugePages-1Gi",
                missing("HugePages-1Gi"),
            ),
            (
                vec!["hugepages-2Mi", "hugepages-1Gi"],
                "HugePages",
                Err(several.to_owned()),
            ),
            (
                vec!["hugepages-2Mi", "hugepages-1Gi"],
                "HugePages-1Gi",
                Ok(1 << 30),
            ),
            (
                vec!["hugepages-2Mi"],
                "HugePages-odd",
                missing("HugePages-odd"),
            ),
        ] {
            let requests: BTreeMap<_, _> = asked.iter().map(|name| (*name, "1Gi")).collect();
            let containers =
                json!([{"name": "a"}, {"name": "b", "resources": {"requests": requests}}]);
            let pod: Pod =
                serde_json::from_value(json!({"spec": {"containers": containers}})).unwrap();
            assert_eq!(page_size(&pod, medium), expected, "{asked:?} {medium}");
        }
    }
}
