//! Under whose name and with which rights a pod and its containers run: the pod's wishes, overridden by the container's.
//! Pure.

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container as Spec, Pod, PodSecurityContext, SELinuxOptions, SeccompProfile,
    SecurityContext,
};

use super::full_name;
use crate::cri::{
    ContainerSecurity, Image, NamespaceMode, NamespaceOptions, SandboxSecurity, SecurityProfile,
    SelinuxOptions, SupplementalGroupsPolicy, User,
};

/// Paths of `/proc` and `/sys` that containers do not see, …
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// … and that they cannot write.
const READONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Which namespaces the pod's containers share.
pub(super) fn namespaces(pod: &Pod) -> NamespaceOptions {
    let spec = pod.spec.as_ref();
    let is = |field: Option<bool>| field == Some(true);
    let node_or = |of_node: bool, other| {
        if of_node { NamespaceMode::Node } else { other }
    };
    let shared = is(spec.and_then(|spec| spec.share_process_namespace));
    let own = if shared {
        NamespaceMode::Pod
    } else {
        NamespaceMode::Container
    };
    NamespaceOptions {
        network: node_or(
            is(spec.and_then(|spec| spec.host_network)),
            NamespaceMode::Pod,
        ),
        pid: node_or(is(spec.and_then(|spec| spec.host_pid)), own),
        ipc: node_or(is(spec.and_then(|spec| spec.host_ipc)), NamespaceMode::Pod),
        users: None,
    }
}

/// Rights of a pod's sandbox.
pub(super) fn of_sandbox(pod: &Pod) -> SandboxSecurity {
    let spec = pod.spec.as_ref();
    let context = spec.and_then(|spec| spec.security_context.as_ref());
    let containers = spec.into_iter().flat_map(super::plan::all);
    let privileged = containers
        .filter_map(|container| container.security_context.as_ref())
        .any(|context| context.privileged == Some(true));
    SandboxSecurity {
        namespaces: namespaces(pod),
        selinux: context
            .and_then(|context| context.se_linux_options.as_ref())
            .map(selinux),
        user: User {
            uid: context.and_then(|context| context.run_as_user),
            gid: context.and_then(|context| context.run_as_group),
            supplemental_groups: groups(pod),
            ..User::default()
        },
        privileged,
        // What holds the namespaces runs no code of the user.
        seccomp: Some(SecurityProfile::RuntimeDefault),
        ..SandboxSecurity::default()
    }
}

/// Rights of a container that is made from `image`, on a node whose agent keeps its files below `root`.
///
/// # Errors
/// When it must not run as root and would, or may: the message of the real kubelet.
pub(super) fn of_container(
    pod: &Pod,
    container: &Spec,
    image: Option<&Image>,
    root: &str,
) -> Result<ContainerSecurity, String> {
    let of_pod = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.security_context.as_ref());
    let own = container.security_context.as_ref();
    let uid = own
        .and_then(|own| own.run_as_user)
        .or_else(|| of_pod.and_then(|pod| pod.run_as_user));
    let gid = own
        .and_then(|own| own.run_as_group)
        .or_else(|| of_pod.and_then(|pod| pod.run_as_group));
    let non_root = own
        .and_then(|own| own.run_as_non_root)
        .or_else(|| of_pod.and_then(|pod| pod.run_as_non_root));
    if non_root == Some(true) {
        not_root(pod, container, uid, image)?;
    }
    let seccomp = own
        .and_then(|own| own.seccomp_profile.as_ref())
        .or_else(|| of_pod.and_then(|pod| pod.seccomp_profile.as_ref()));
    let selinux_options = own
        .and_then(|own| own.se_linux_options.as_ref())
        .or_else(|| of_pod.and_then(|pod| pod.se_linux_options.as_ref()));
    let privileged = own.and_then(|own| own.privileged) == Some(true);
    let bare = privileged || own.and_then(|own| own.proc_mount.as_deref()) == Some("Unmasked");
    let paths = |paths: &[&str]| -> Vec<String> {
        let shown = paths.iter().filter(|_| !bare);
        shown.map(|path| (*path).to_owned()).collect()
    };
    let capabilities = own.and_then(|own| own.capabilities.as_ref());
    let strict = of_pod.and_then(|pod| pod.supplemental_groups_policy.as_deref()) == Some("Strict");
    // Without a user the image's counts, as a number or a name; a group needs one of them.
    let image_uid = image.and_then(|image| image.uid);
    let image_name = image.map_or_else(String::new, |image| image.username.clone());
    let user = User {
        uid: uid.or(image_uid),
        name: if uid.is_some() || image_uid.is_some() {
            String::new()
        } else {
            image_name
        },
        gid,
        supplemental_groups: groups(pod),
        policy: if strict {
            SupplementalGroupsPolicy::Strict
        } else {
            SupplementalGroupsPolicy::Merge
        },
    };
    let user = User {
        uid: user
            .uid
            .or_else(|| (gid.is_some() && user.name.is_empty()).then_some(0)),
        ..user
    };
    Ok(ContainerSecurity {
        add_capabilities: capabilities
            .and_then(|capabilities| capabilities.add.clone())
            .unwrap_or_default(),
        drop_capabilities: capabilities
            .and_then(|capabilities| capabilities.drop.clone())
            .unwrap_or_default(),
        privileged,
        namespaces: namespaces(pod),
        selinux: selinux_options.map(selinux),
        user,
        readonly_rootfs: own.and_then(|own| own.read_only_root_filesystem) == Some(true),
        no_new_privileges: no_new_privileges(own),
        masked_paths: paths(MASKED),
        readonly_paths: paths(READONLY),
        seccomp: Some(if privileged {
            SecurityProfile::Unconfined
        } else {
            seccomp.map_or(SecurityProfile::Unconfined, |own| profile(own, root))
        }),
        apparmor: apparmor(of_pod, own).map(apparmor_profile),
    })
}

/// The AppArmor profile of a container, its own or that of its pod.
fn apparmor<'a>(
    of_pod: Option<&'a PodSecurityContext>,
    own: Option<&'a SecurityContext>,
) -> Option<&'a AppArmorProfile> {
    own.and_then(|own| own.app_armor_profile.as_ref())
        .or_else(|| of_pod?.app_armor_profile.as_ref())
}

/// Whether a container of the pod is to be confined by AppArmor.
pub(super) fn needs_apparmor(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let of_pod = spec.security_context.as_ref();
    let mut profiles = super::plan::all(spec)
        .filter_map(|container| apparmor(of_pod, container.security_context.as_ref()));
    profiles.any(|profile| profile.type_ != "Unconfined")
}

fn apparmor_profile(profile: &AppArmorProfile) -> SecurityProfile {
    match profile.type_.as_str() {
        "RuntimeDefault" => SecurityProfile::RuntimeDefault,
        "Localhost" => {
            SecurityProfile::Localhost(profile.localhost_profile.clone().unwrap_or_default())
        }
        _ => SecurityProfile::Unconfined,
    }
}

fn no_new_privileges(own: Option<&SecurityContext>) -> bool {
    own.and_then(|own| own.allow_privilege_escalation) == Some(false)
}

/// Groups of all processes of a pod, that of its volumes among them.
fn groups(pod: &Pod) -> Vec<i64> {
    let context = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.security_context.as_ref());
    let Some(context) = context else {
        return Vec::new();
    };
    let given = context.supplemental_groups.iter().flatten().copied();
    given.chain(context.fs_group).collect()
}

fn selinux(options: &SELinuxOptions) -> SelinuxOptions {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    SelinuxOptions {
        user: text(&options.user),
        role: text(&options.role),
        type_: text(&options.type_),
        level: text(&options.level),
    }
}

/// A seccomp profile; those of the machine are below the kubelet's own directory, `root`.
fn profile(profile: &SeccompProfile, root: &str) -> SecurityProfile {
    match profile.type_.as_str() {
        "RuntimeDefault" => SecurityProfile::RuntimeDefault,
        "Localhost" => {
            let name = profile.localhost_profile.as_deref().unwrap_or_default();
            SecurityProfile::Localhost(format!("{root}/seccomp/{name}"))
        }
        _ => SecurityProfile::Unconfined,
    }
}

fn not_root(
    pod: &Pod,
    container: &Spec,
    uid: Option<i64>,
    image: Option<&Image>,
) -> Result<(), String> {
    let of = format!("(pod: {:?}, container: {})", full_name(pod), container.name);
    match (uid, image) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {of}")),
        (None, Some(image)) if !image.username.is_empty() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root {of}",
            image.username
        )),
        (None, Some(image)) if image.uid.unwrap_or(0) == 0 => Err(format!(
            "container has runAsNonRoot and image will run as root {of}"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(context: Value, container: Value) -> Pod {
        let spec = json!({
            "securityContext": context,
            "containers": [{"name": "c", "securityContext": container}],
        });
        let meta = json!({"name": "p", "namespace": "n", "uid": "u"});
        serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
    }

    fn of(pod: &Pod, image: &Image) -> Result<ContainerSecurity, String> {
        let container = &pod.spec.as_ref().unwrap().containers[0];
        of_container(pod, container, Some(image), "/root")
    }

    #[test]
    fn profiles_confine() {
        let localhost = |name: &str| json!({"type": "Localhost", "localhostProfile": name});
        let default = json!({"type": "RuntimeDefault"});
        let at = |path: &str| Some(SecurityProfile::Localhost(path.to_owned()));
        let (open, own) = (
            Some(SecurityProfile::Unconfined),
            Some(SecurityProfile::RuntimeDefault),
        );
        for (of_pod, container, seccomp, apparmor, needs) in [
            (json!({}), json!({}), &open, &None, false),
            (
                json!({"seccompProfile": default, "appArmorProfile": default}),
                json!({}),
                &own,
                &own,
                true,
            ),
            (
                json!({"seccompProfile": default, "appArmorProfile": default}),
                json!({"seccompProfile": localhost("p/a.json"), "appArmorProfile": {"type": "Unconfined"}}),
                &at("/root/seccomp/p/a.json"),
                &open,
                false,
            ),
            (
                json!({}),
                json!({"privileged": true, "seccompProfile": default, "appArmorProfile": localhost("a")}),
                &open,
                &at("a"),
                true,
            ),
        ] {
            let pod = pod(of_pod, container);
            let security = of(&pod, &Image::default()).unwrap();
            assert_eq!((&security.seccomp, &security.apparmor), (seccomp, apparmor));
            assert_eq!(needs_apparmor(&pod), needs);
        }
    }

    #[test]
    fn the_container_overrides_the_pod() {
        let pod = pod(
            json!({"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4]}),
            json!({"runAsUser": 5, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}),
        );
        let security = of(&pod, &Image::default()).unwrap();
        let user = &security.user;
        assert_eq!((user.uid, user.gid), (Some(5), Some(2)));
        assert_eq!(user.supplemental_groups, [4, 3]);
        assert!(security.no_new_privileges);
        assert_eq!(security.drop_capabilities, ["ALL"]);
        assert!(!security.masked_paths.is_empty());
    }

    #[test]
    fn who_must_not_be_root() {
        let image = |uid: Option<i64>, name: &str| Image {
            uid,
            username: name.to_owned(),
            ..Image::default()
        };
        for (user, image, expected) in [
            (
                json!(0),
                image(Some(7), ""),
                "runAsUser breaks non-root policy",
            ),
            (json!(7), image(None, "app"), ""),
            (json!(null), image(Some(0), ""), "image will run as root"),
            (json!(null), image(None, ""), "image will run as root"),
            (
                json!(null),
                image(None, "app"),
                "non-numeric user (app), cannot verify",
            ),
            (json!(null), image(Some(7), ""), ""),
        ] {
            let pod = pod(json!({"runAsNonRoot": true}), json!({"runAsUser": user}));
            match of(&pod, &image) {
                Ok(_) => assert_eq!(expected, "", "{user} {image:?}"),
                Err(why) => assert!(
                    !expected.is_empty()
                        && why.contains(expected)
                        && why.ends_with("(pod: \"p_n(u)\", container: c)"),
                    "{why}"
                ),
            }
        }
    }

    #[test]
    fn a_group_alone_is_of_root() {
        let pod = pod(json!({"runAsGroup": 9}), json!({}));
        let security = of(&pod, &Image::default()).unwrap();
        assert_eq!((security.user.uid, security.user.gid), (Some(0), Some(9)));
    }
}
