//! Security contexts: of the pod, of its containers, and what an operating system rules out.

use std::sync::OnceLock;

use regex::Regex;
use serde_json::Value;

use super::each_container;
use crate::apiserver::kinds::check;
use crate::apiserver::schema::internal;
use crate::object::Document;
use crate::object::field::{Errors, Path};
use crate::object::name;

const PROFILE_TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
const SYSCTL_FORMAT: &str =
    "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

fn is_true(object: &Value, path: &[&str]) -> bool {
    object.bool_at(path) == Some(true)
}

/// The security context of a pod.
pub(super) fn of_pod(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(context) = check::given(spec, "securityContext") else {
        return;
    };
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        check::unix_id(context.i64_at(&[field]), &path.child(field), errors);
    }
    let groups = context.list_at(&["supplementalGroups"]);
    for (index, group) in groups.iter().enumerate() {
        let at = path.child("supplementalGroups").index(index);
        check::unix_id(group.as_i64(), &at, errors);
    }
    if is_true(spec, &["shareProcessNamespace"]) && is_true(spec, &["hostPID"]) {
        errors.invalid(
            path.child("shareProcessNamespace"),
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        );
    }
    sysctls(spec, context, &path.child("sysctls"), errors);
    one_of(
        context,
        "fsGroupChangePolicy",
        &["Always", "OnRootMismatch"],
        path,
        errors,
    );
    profiles(context, path, errors);
    one_of(
        context,
        "supplementalGroupsPolicy",
        &["Merge", "Strict"],
        path,
        errors,
    );
    one_of(
        context,
        "seLinuxChangePolicy",
        &["MountOption", "Recursive"],
        path,
        errors,
    );
}

/// As [`check::one_of`], but an empty text that is there is no exception.
fn one_of(object: &Value, field: &str, allowed: &[&str], path: &Path, errors: &mut Errors) {
    if let Some(value) = check::given(object, field)
        && !allowed.iter().any(|allowed| value == allowed)
    {
        errors.not_supported(path.child(field), value.clone(), allowed);
    }
}

fn sysctls(spec: &Value, context: &Value, path: &Path, errors: &mut Errors) {
    static FORMAT: OnceLock<Option<Regex>> = OnceLock::new();
    let format = FORMAT.get_or_init(|| Regex::new(SYSCTL_FORMAT).ok());
    let mut seen: Vec<&str> = Vec::new();
    for (index, sysctl) in context.list_at(&["sysctls"]).iter().enumerate() {
        let at = || path.index(index).child("name");
        let name = sysctl.str_at(&["name"]);
        let is_name = format.as_ref().is_some_and(|format| format.is_match(name));
        if name.is_empty() {
            errors.required(at(), "");
        } else if name.len() > 253 || !is_name {
            let why = format!("must have at most 253 characters and match regex {SYSCTL_FORMAT}");
            errors.invalid(at(), name, &why);
        } else if seen.contains(&name) {
            errors.duplicate(at(), name);
        }
        let shared = match namespace(name) {
            "net" if is_true(spec, &["hostNetwork"]) => Some("hostNetwork"),
            "ipc" if is_true(spec, &["hostIPC"]) => Some("hostIPC"),
            _ => None,
        };
        if let Some(field) = shared {
            let why = format!("may not be specified when '{field}' is true");
            errors.invalid(at(), name, &why);
        }
        seen.push(name);
    }
}

/// The namespace of the kernel that a sysctl belongs to.
fn namespace(sysctl: &str) -> &'static str {
    let dotted = match sysctl.find(['.', '/']) {
        // Where the first separator is a slash, slashes separate.
        Some(at) if sysctl.as_bytes().get(at) == Some(&b'/') => sysctl
            .chars()
            .map(|character| match character {
                '/' => '.',
                '.' => '/',
                other => other,
            })
            .collect(),
        _ => sysctl.to_owned(),
    };
    if dotted.starts_with("net.") {
        return "net";
    }
    let ipc = matches!(dotted.as_str(), "kernel.sem" | "kernel.shm_rmid_forced")
        || ["kernel.shm", "kernel.msg", "fs.mqueue."]
            .iter()
            .any(|start| dotted.starts_with(start));
    if ipc { "ipc" } else { "" }
}

/// The profiles and the Windows options, which pods and containers have alike.
fn profiles(context: &Value, path: &Path, errors: &mut Errors) {
    if let Some(profile) = check::given(context, "seccompProfile") {
        seccomp(profile, &path.child("seccompProfile"), errors);
    }
    if let Some(options) = check::given(context, "windowsOptions") {
        windows_options(options, &path.child("windowsOptions"), errors);
    }
    if let Some(profile) = check::given(context, "appArmorProfile") {
        app_armor(profile, &path.child("appArmorProfile"), errors);
    }
}

fn seccomp(profile: &Value, path: &Path, errors: &mut Errors) {
    let kind = profile.str_at(&["type"]);
    if kind.is_empty() {
        let why = "type is required when seccompProfile is set";
        errors.required(path.child("type"), why);
    } else if !PROFILE_TYPES.contains(&kind) {
        errors.not_supported(path.child("type"), kind, &PROFILE_TYPES);
    }
    let at = || path.child("localhostProfile");
    match (kind, check::given(profile, "localhostProfile")) {
        ("Localhost", None) => {
            errors.required(at(), "must be set when seccomp type is Localhost");
        }
        ("Localhost", Some(_)) => {
            let file = profile.str_at(&["localhostProfile"]);
            check::descending_path(file, &at(), errors);
        }
        (_, Some(_)) => errors.invalid_text(
            at(),
            &internal::text("api.core.v1.SeccompProfile", profile),
            "can only be set when seccomp type is Localhost",
        ),
        (_, None) => {}
    }
}

fn app_armor(profile: &Value, path: &Path, errors: &mut Errors) {
    let at = || path.child("localhostProfile");
    let file = check::given(profile, "localhostProfile").and_then(Value::as_str);
    match profile.str_at(&["type"]) {
        "Localhost" => {
            let why = "must be set when AppArmor type is Localhost";
            match file {
                None | Some("") => errors.required(at(), why),
                Some(file) if file.trim() != file => {
                    errors.invalid(at(), file, "must not be padded with whitespace");
                }
                Some(_) => {}
            }
            // The longest path of Linux.
            if file.is_some_and(|file| file.len() > 4095) {
                errors.too_long(at(), 4095);
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if let Some(file) = file {
                let why = "can only be set when AppArmor type is Localhost";
                errors.invalid(at(), file, why);
            }
        }
        "" => errors.required(
            path.child("type"),
            "type is required when appArmorProfile is set",
        ),
        other => errors.not_supported(path.child("type"), other, &PROFILE_TYPES),
    }
}

/// The security context of a container.
pub(super) fn of_container(context: &Value, host_users: bool, path: &Path, errors: &mut Errors) {
    for field in ["runAsUser", "runAsGroup"] {
        check::unix_id(context.i64_at(&[field]), &path.child(field), errors);
    }
    if let Some(mount) = check::given(context, "procMount") {
        one_of(context, "procMount", &["Default", "Unmasked"], path, errors);
        if host_users && mount == "Unmasked" {
            let why = "`hostUsers` must be false to use `Unmasked`";
            errors.invalid(path.child("procMount"), mount.clone(), why);
        }
    }
    let privileged = is_true(context, &["privileged"]);
    if context.bool_at(&["allowPrivilegeEscalation"]) == Some(false) {
        let shown = || internal::text("api.core.v1.SecurityContext", context);
        if privileged {
            let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.invalid_text(path.clone(), &shown(), why);
        }
        let admin = context
            .list_at(&["capabilities", "add"])
            .iter()
            .filter(|capability| *capability == "CAP_SYS_ADMIN");
        for _ in admin {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.invalid_text(path.clone(), &shown(), why);
        }
    }
    profiles(context, path, errors);
}

fn windows_options(options: &Value, path: &Path, errors: &mut Errors) {
    if check::given(options, "gmsaCredentialSpecName").is_some() {
        let name = options.str_at(&["gmsaCredentialSpecName"]);
        check::dns_subdomain(name, &path.child("gmsaCredentialSpecName"), errors);
    }
    if check::given(options, "gmsaCredentialSpec").is_some() {
        let spec = options.str_at(&["gmsaCredentialSpec"]);
        let why = match spec.len() {
            0 => "gmsaCredentialSpec cannot be an empty string",
            length if length > 64 << 10 => "gmsaCredentialSpec size must be under 64 KiB",
            _ => "",
        };
        if !why.is_empty() {
            errors.invalid(path.child("gmsaCredentialSpec"), spec, why);
        }
    }
    if check::given(options, "runAsUserName").is_some() {
        let user = options.str_at(&["runAsUserName"]);
        for why in user_problems(user) {
            errors.invalid(path.child("runAsUserName"), user, why);
        }
    }
}

/// What is wrong with `[DOMAIN\]USER` of Windows.
fn user_problems(text: &str) -> Vec<&'static str> {
    let parts: Vec<&str> = text.split('\\').collect();
    let (domain, user) = match parts[..] {
        _ if text.is_empty() => return vec!["runAsUserName cannot be an empty string"],
        _ if text.chars().any(|character| character.is_ascii_control()) => {
            return vec!["runAsUserName cannot contain control characters"];
        }
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return vec!["runAsUserName cannot contain more than one backslash"],
    };
    let mut problems = Vec::new();
    if let Some(domain) = domain {
        if domain.len() >= 256 {
            problems.push("runAsUserName's Domain length must be under 256 characters");
        }
        if !is_net_bios(domain) && !is_windows_dns(domain) {
            problems.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format");
        }
    }
    if user.is_empty() {
        problems.push("runAsUserName's User cannot be empty");
    } else if user.len() > 104 {
        problems.push("runAsUserName's User length must not be longer than 104 characters");
    } else if user.chars().all(|character| matches!(character, '.' | ' ')) {
        problems.push("runAsUserName's User cannot contain only periods or spaces");
    }
    if user.contains([
        '"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']',
    ]) {
        problems.push(
            "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]",
        );
    }
    problems
}

fn is_net_bios(domain: &str) -> bool {
    !domain.is_empty()
        && domain.chars().count() <= 15
        && !domain.starts_with('.')
        && !domain.contains(['\\', '/', ':', '*', '?', '"', '<', '>', '|'])
}

fn is_windows_dns(domain: &str) -> bool {
    domain
        .split('.')
        .all(|label| label.len() <= 63 && name::dns_label(&label.to_ascii_lowercase()).is_empty())
}

/// Containers of Windows that run as processes of the host: all of a pod or none.
pub(super) fn host_processes(spec: &Value, path: &Path, errors: &mut Errors) {
    let of = |holder: &Value| holder.bool_at(&["securityContext", "windowsOptions", "hostProcess"]);
    let pod = of(spec);
    let (mut containers, mut on_host) = (0, 0);
    each_container(spec, path, &mut |container, at| {
        containers += 1;
        let own = of(container);
        if let (Some(pod), Some(own)) = (pod, own)
            && pod != own
        {
            let why =
                format!("pod hostProcess value must be identical if both are specified, was {pod}");
            let at = at.child("securityContext").child("windowsOptions");
            errors.invalid(at.child("hostProcess"), own, &why);
        }
        on_host += usize::from(own.or(pod) == Some(true));
    });
    if on_host == 0 {
        return;
    }
    if on_host != containers {
        let why = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.invalid(path.clone(), "", why);
    }
    if !is_true(spec, &["hostNetwork"]) {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.invalid(path.child("hostNetwork"), false, why);
    }
}

/// A pod with users of its own shares no other namespace with the host.
pub(super) fn host_users(spec: &Value, path: &Path, errors: &mut Errors) {
    if spec.bool_at(&["hostUsers"]) != Some(false) {
        return;
    }
    let why = "when `hostUsers` is false";
    for (field, shown) in [
        ("hostNetwork", "hostNetwork"),
        ("hostPID", "HostPID"),
        ("hostIPC", "HostIPC"),
    ] {
        if is_true(spec, &[field]) {
            errors.forbidden(path.child(shown), why);
        }
    }
    // Raw devices cannot be given to other users.
    each_container(spec, path, &mut |container, at| {
        if !container.list_at(&["volumeDevices"]).is_empty() {
            errors.forbidden(at.child("volumeDevices"), why);
        }
    });
}

/// What the pod's operating system does not have.
pub(super) fn operating_system(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(os) = check::given(spec, "os") else {
        return;
    };
    match os.str_at(&["name"]) {
        "" => errors.required(path.child("os").child("name"), "cannot be empty"),
        "linux" => linux(spec, path, errors),
        "windows" => windows(spec, path, errors),
        other => errors.not_supported(path.child("os"), other, &["linux", "windows"]),
    }
}

fn linux(spec: &Value, path: &Path, errors: &mut Errors) {
    let mut refuse = |holder: &Value, path: &Path| {
        if holder
            .at(&["securityContext", "windowsOptions"])
            .is_some_and(|options| !options.is_null())
        {
            let at = path.child("securityContext").child("windowsOptions");
            errors.forbidden(at, "windows options cannot be set for a linux pod");
        }
    };
    refuse(spec, path);
    each_container(spec, path, &mut refuse);
}

fn windows(spec: &Value, path: &Path, errors: &mut Errors) {
    const NOT_OF_PODS: [(&str, &str); 15] = [
        ("securityContext", "appArmorProfile"),
        ("securityContext", "seLinuxOptions"),
        ("", "hostUsers"),
        ("", "hostPID"),
        ("", "hostIPC"),
        ("securityContext", "seccompProfile"),
        ("securityContext", "fsGroup"),
        ("securityContext", "fsGroupChangePolicy"),
        ("securityContext", "sysctls"),
        ("", "shareProcessNamespace"),
        ("securityContext", "runAsUser"),
        ("securityContext", "runAsGroup"),
        ("securityContext", "supplementalGroups"),
        ("securityContext", "supplementalGroupsPolicy"),
        ("securityContext", "seLinuxChangePolicy"),
    ];
    const NOT_OF_CONTAINERS: [&str; 10] = [
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "capabilities",
        "readOnlyRootFilesystem",
        "privileged",
        "allowPrivilegeEscalation",
        "procMount",
        "runAsUser",
        "runAsGroup",
    ];
    let why = "cannot be set for a windows pod";
    for (holder, field) in NOT_OF_PODS {
        let (owner, at) = if holder.is_empty() {
            (spec, path.clone())
        } else {
            (&spec[holder], path.child(holder))
        };
        let set = match owner.get(field) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(value)) => {
                *value || matches!(field, "hostUsers" | "shareProcessNamespace")
            }
            Some(Value::Array(items)) => !items.is_empty(),
            Some(_) => true,
        };
        if set {
            errors.forbidden(at.child(field), why);
        }
    }
    each_container(spec, path, &mut |container, at| {
        let Some(context) = check::given(container, "securityContext") else {
            return;
        };
        for field in NOT_OF_CONTAINERS {
            if check::given(context, field).is_some() {
                errors.forbidden(at.child("securityContext").child(field), why);
            }
        }
    });
}
