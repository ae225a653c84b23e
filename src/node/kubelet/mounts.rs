//! How containers see the volumes of their pod: as mounts, parts of them among these, and as devices.

use std::path::Path;

use k8s_openapi::api::core::v1::{Container as Spec, Pod};

use super::volumes::{Images, Places, stays_inside};
use super::{Inner, environment};
use crate::cri::{Device, Mount, Propagation};

/// What a container sees of a volume.
#[derive(Debug)]
pub(super) struct Seen {
    /// The mount, of the whole volume.
    pub mount: Mount,
    /// The part of it that is seen; `None`: all.
    pub below: Option<String>,
    volume: String,
}

/// What a container sees of its pod's volumes.
///
/// # Errors
/// A mount of a volume that there is not, or of what is not below it.
pub(super) fn of(
    pod: &Pod,
    container: &Spec,
    (places, images): (&Places, &Images),
    env: &[(String, String)],
) -> Result<Vec<Seen>, String> {
    let fixed = fixed(pod);
    let mounts = container.volume_mounts.iter().flatten().map(|mount| {
        let (place, image) = (places.get(&mount.name), images.get(&mount.name));
        if place.is_none() && image.is_none() {
            let (name, of) = (&container.name, &mount.name);
            return Err(format!("cannot find volume {of:?} to mount into container {name:?}"));
        }
        let expanded = mount
            .sub_path_expr
            .as_deref()
            .filter(|text| !text.is_empty());
        let below = expanded.map(|text| environment::expand(text, env));
        let below = below
            .or_else(|| mount.sub_path.clone())
            .filter(|below| !below.is_empty());
        if let Some(below) = &below {
            if below.starts_with('/') {
                return Err(format!(
                    "error SubPath `{below}` must not be an absolute path"
                ));
            }
            if !stays_inside(below) {
                return Err(format!(
                    "unable to provision SubPath `{below}`: must not contain '..'"
                ));
            }
        }
        if image.is_some() && below.is_some() {
            return Err(format!(
                "subPath of volume {:?}: the interface to the container runtime has no parts of images",
                mount.name
            ));
        }
        let readonly = mount.read_only == Some(true) || fixed.contains(&mount.name.as_str());
        let deep = mount.recursive_read_only.as_deref() == Some("Enabled");
        Ok(Seen {
            mount: Mount {
                container_path: mount.mount_path.clone(),
                host_path: place.map_or_else(String::new, |place| place.to_string_lossy().into_owned()),
                image: image.cloned(),
                readonly,
                recursive_readonly: readonly && deep,
                propagation: match mount.mount_propagation.as_deref() {
                    Some("HostToContainer") => Propagation::HostToContainer,
                    Some("Bidirectional") => Propagation::Bidirectional,
                    _ => Propagation::Private,
                },
                ..Mount::default()
            },
            below,
            volume: mount.name.clone(),
        })
    });
    mounts.collect()
}

/// The devices of a container: volumes that it sees as such.
///
/// # Errors
/// A device of a volume that there is not.
pub(super) fn devices(pod: &Pod, container: &Spec, places: &Places) -> Result<Vec<Device>, String> {
    let fixed = fixed(pod);
    let devices = container.volume_devices.iter().flatten().map(|device| {
        let place = places.get(&device.name).ok_or_else(|| {
            format!(
                "cannot find volume {:?} to pass into container {:?}",
                device.name, container.name
            )
        })?;
        let is_fixed = fixed.contains(&device.name.as_str());
        Ok(Device {
            container_path: device.device_path.clone(),
            host_path: place.to_string_lossy().into_owned(),
            permissions: if is_fixed { "r" } else { "mrw" }.to_owned(),
        })
    });
    devices.collect()
}

/// The volumes of a pod that nobody in it may write to: what they show is not the pod's.
fn fixed(pod: &Pod) -> Vec<&str> {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    let fixed = volumes.filter(|volume| {
        let claim = volume.persistent_volume_claim.as_ref();
        volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.projected.is_some()
            || volume.downward_api.is_some()
            || volume.image.is_some()
            || claim.is_some_and(|claim| claim.read_only == Some(true))
    });
    fixed.map(|volume| volume.name.as_str()).collect()
}

impl Inner {
    /// The mounts of a container, those of parts of volumes among them.
    ///
    /// # Errors
    /// When a part cannot be shown; why is told to the node alone, whose files it is about.
    pub(super) async fn shown(
        &self,
        pod: &Pod,
        container: &Spec,
        seen: Vec<Seen>,
    ) -> Result<Vec<Mount>, String> {
        let mut mounts = Vec::with_capacity(seen.len());
        for (index, seen) in seen.into_iter().enumerate() {
            let mut mount = seen.mount;
            if let Some(below) = seen.below {
                let place = self.pod_directory(pod).join("volume-subpaths");
                let place = place.join(&seen.volume).join(&container.name);
                let place = place.join(index.to_string());
                let volume = Path::new(&mount.host_path);
                let shown = self.config.host.part(volume, Path::new(&below), &place);
                if let Err(error) = shown.await {
                    tracing::warn!(%error, pod = %super::full_name(pod), volume = %seen.volume, "a part of a volume cannot be shown");
                    return Err(format!(
                        "failed to prepare subPath for volumeMount {:?} of container {:?}",
                        seen.volume, container.name
                    ));
                }
                mount.host_path = place.to_string_lossy().into_owned();
            }
            mounts.push(mount);
        }
        Ok(mounts)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;

    use super::*;

    #[test]
    fn devices_of_a_container() {
        let places = Places::from(
            [("v", "/dev/a"), ("w", "/dev/b")].map(|(name, place)| (name.to_owned(), place.into())),
        );
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [], "volumes": [
            {"name": "v", "persistentVolumeClaim": {"claimName": "v"}},
            {"name": "w", "persistentVolumeClaim": {"claimName": "w", "readOnly": true}},
        ]}}))
        .unwrap();
        let shown = |names: &[&str]| {
            let devices: Vec<_> = names
                .iter()
                .map(|name| json!({"name": name, "devicePath": format!("/dev/x{name}")}))
                .collect();
            let container = json!({"name": "c", "volumeDevices": devices});
            let container: Spec = serde_json::from_value(container).unwrap();
            let found = super::devices(&pod, &container, &places);
            found.map(|found| {
                let shown = found.iter().map(|one| {
                    format!(
                        "{} {} {}",
                        one.container_path, one.host_path, one.permissions
                    )
                });
                shown.collect::<Vec<_>>().join(", ")
            })
        };
        assert_eq!(
            shown(&["v", "w"]).unwrap(),
            "/dev/xv /dev/a mrw, /dev/xw /dev/b r"
        );
        assert_eq!(
            shown(&["u"]).unwrap_err(),
            "cannot find volume \"u\" to pass into container \"c\""
        );
    }

    #[test]
    fn mounts_of_a_container() {
        let place = |name: &str| (name.to_owned(), PathBuf::from(format!("/p/{name}")));
        let places = Places::from([place("v"), place("config"), place("claim")]);
        let images = Images::from([("image".to_owned(), "registry.example/files:v1".into())]);
        let env = [("N".to_owned(), "x".to_owned())];
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [], "volumes": [
            {"name": "v", "emptyDir": {}}, {"name": "config", "configMap": {"name": "c"}},
            {"name": "claim", "persistentVolumeClaim": {"claimName": "c", "readOnly": true}},
            {"name": "image", "image": {"reference": "registry.example/files:v1"}},
        ]}}))
        .unwrap();
        for (mount, expected) in [
            (
                json!({"name": "v", "readOnly": true}),
                Ok(("/p/v", true, None)),
            ),
            (json!({"name": "v"}), Ok(("/p/v", false, None))),
            (json!({"name": "config"}), Ok(("/p/config", true, None))),
            (json!({"name": "claim"}), Ok(("/p/claim", true, None))),
            (json!({"name": "image"}), Ok(("", true, None))),
            (
                json!({"name": "image", "subPath": "d"}),
                Err(
                    "subPath of volume \"image\": the interface to the container runtime has no parts of images",
                ),
            ),
            (
                json!({"name": "v", "subPathExpr": "d/$(N)"}),
                Ok(("/p/v", false, Some("d/x"))),
            ),
            (
                json!({"name": "w"}),
                Err("cannot find volume \"w\" to mount into container \"c\""),
            ),
            (
                json!({"name": "v", "subPath": "../x"}),
                Err("unable to provision SubPath `../x`: must not contain '..'"),
            ),
            (
                json!({"name": "v", "subPathExpr": "/$(N)"}),
                Err("error SubPath `/x` must not be an absolute path"),
            ),
        ] {
            let mut given = mount.clone();
            given["mountPath"] = "/m".into();
            let container: Spec =
                serde_json::from_value(json!({"name": "c", "volumeMounts": [given]})).unwrap();
            let seen =
                of(&pod, &container, (&places, &images), &env).map(|mut seen| seen.remove(0));
            let seen = seen.as_ref().map_err(String::as_str).map(|seen| {
                let mount = &seen.mount;
                (
                    mount.host_path.as_str(),
                    mount.readonly,
                    seen.below.as_deref(),
                )
            });
            assert_eq!(seen, expected, "{mount}");
        }
    }
}
