//! Labels, and what each check says.
use super::*;
use crate::apiserver::admission::testing::merge;
use serde_json::json;

/// What is wrong with a pod that would be right but for this change of its container and of itself.
fn found(level: Level, minor: u32, container: Value, pod: Value) -> String {
    let mut right = json!({"name": "c", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}});
    merge(&mut right, &container);
    let mut spec = json!({ "containers": [right] });
    merge(&mut spec, &pod);
    let standard = Standard {
        level,
        version: level::Version::Minor(minor),
    };
    details(&checks::run(&standard, &spec["metadata"], &spec))
}

#[test]
fn checks_say_what_is_wrong() {
    use Level::{Baseline, Restricted};
    for (level, minor, container, pod, expected) in [
        (Restricted, 36, json!({}), json!({}), ""),
        (
            Baseline,
            36,
            json!({"securityContext": null}),
            json!({}),
            "",
        ),
        (
            Restricted,
            36,
            json!({"securityContext": null}),
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            "allowPrivilegeEscalation != false (containers \"a\", \"b\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (containers \"a\", \"b\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or containers \"a\", \"b\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or containers \"a\", \"b\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
        ),
        (
            Baseline,
            36,
            json!({"securityContext": {"privileged": true}}),
            json!({"hostIPC": true, "hostNetwork": true}),
            "host namespaces (hostNetwork=true, hostIPC=true), privileged (container \"c\" must not set securityContext.privileged=true)",
        ),
        (
            Baseline,
            36,
            json!({"securityContext": {"capabilities": {"add": ["CHOWN", "B", "A"]}}}),
            json!({}),
            "non-default capabilities (container \"c\" must not include \"A\", \"B\" in securityContext.capabilities.add)",
        ),
        (
            Restricted,
            36,
            json!({"securityContext": {"capabilities": {"add": ["CHOWN"]}}}),
            json!({}),
            "unrestricted capabilities (container \"c\" must not include \"CHOWN\" in securityContext.capabilities.add)",
        ),
        (
            Baseline,
            36,
            json!({}),
            json!({"volumes": [{"name": "v", "hostPath": {}}]}),
            "hostPath volumes (volume \"v\")",
        ),
        (
            Restricted,
            36,
            json!({}),
            json!({"volumes": [{"name": "v", "hostPath": {}}, {"name": "w", "nfs": {}}, {"name": "x", "secret": {}}]}),
            "restricted volume types (volumes \"v\", \"w\" use restricted volume types \"hostPath\", \"nfs\")",
        ),
        (
            Baseline,
            36,
            json!({"ports": [{"hostPort": 80}, {"hostPort": 443}]}),
            json!({}),
            "hostPort (container \"c\" uses hostPorts 443, 80)",
        ),
        (
            Baseline,
            36,
            json!({"livenessProbe": {"httpGet": {"host": "h"}}}),
            json!({}),
            "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"h\")",
        ),
        (
            Baseline,
            33,
            json!({"livenessProbe": {"httpGet": {"host": "h"}}}),
            json!({}),
            "",
        ),
        (
            Baseline,
            36,
            json!({"securityContext": {"procMount": "Unmasked"}}),
            json!({}),
            "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            Baseline,
            36,
            json!({"securityContext": {"procMount": "Unmasked"}}),
            json!({"hostUsers": false}),
            "",
        ),
        (
            Baseline,
            36,
            json!({"securityContext": {"seLinuxOptions": {"type": "x", "user": "u"}}}),
            json!({"securityContext": {"seLinuxOptions": {"role": "r"}}}),
            "seLinuxOptions (pod and container \"c\" set forbidden securityContext.seLinuxOptions: type \"x\"; user may not be set; role may not be set)",
        ),
        (
            Baseline,
            36,
            json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}),
            json!({}),
            "seccompProfile (container \"c\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            Baseline,
            36,
            json!({}),
            json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}, {"name": "k"}]}}),
            "forbidden sysctls (k)",
        ),
        (
            Baseline,
            31,
            json!({}),
            json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}}),
            "forbidden sysctls (net.ipv4.tcp_rmem)",
        ),
        (
            Baseline,
            36,
            json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
            json!({"securityContext": {"windowsOptions": {"hostProcess": true}}}),
            "hostProcess (pod and container \"c\" must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            Restricted,
            36,
            json!({"securityContext": {"runAsNonRoot": false}}),
            json!({}),
            "runAsNonRoot != true (container \"c\" must not set securityContext.runAsNonRoot=false)",
        ),
        (
            Restricted,
            36,
            json!({"securityContext": {"runAsUser": 0}}),
            json!({"securityContext": {"runAsUser": 0}}),
            "runAsUser=0 (pod and container \"c\" must not set runAsUser=0)",
        ),
        (
            Restricted,
            22,
            json!({"securityContext": {"runAsUser": 0}}),
            json!({}),
            "",
        ),
        (
            Restricted,
            36,
            json!({"securityContext": null}),
            json!({"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": true}}),
            "",
        ),
        (
            Baseline,
            36,
            json!({}),
            json!({"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}}}),
            "forbidden AppArmor profile (annotation must not set AppArmor profile type to container.apparmor.security.beta.kubernetes.io/c=\"unconfined\")",
        ),
        (
            Baseline,
            18,
            json!({}),
            json!({"metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}}}),
            "seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod=\"unconfined\")",
        ),
    ] {
        assert_eq!(
            found(level, minor, container.clone(), pod.clone()),
            expected,
            "{container} {pod}"
        );
    }
}

#[test]
fn labels() {
    let shown = |labels: Value| {
        let labels: serde_json::Map<String, Value> = labels
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (format!("pod-security.kubernetes.io/{key}"), value.clone()))
            .collect();
        let namespace = json!({"metadata": {"labels": labels}});
        let (policy, errors) = Policy::of(|label| namespace.label(label));
        let problems: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        (
            format!("{} {} {}", policy.enforce, policy.audit, policy.warn),
            problems.join("; "),
        )
    };
    let fine = |text: &str| (text.to_owned(), String::new());
    assert_eq!(
        shown(json!({})),
        fine("privileged:latest privileged:latest privileged:latest")
    );
    assert_eq!(
        shown(json!({"enforce": "restricted", "enforce-version": "v1.30"})),
        fine("restricted:v1.30 privileged:latest restricted:v1.30")
    );
    assert_eq!(
        shown(json!({"enforce": "restricted", "warn": "baseline", "audit": "restricted"})),
        fine("restricted:latest restricted:latest baseline:latest")
    );
    let (policy, problems) = shown(json!({"enforce": "x", "warn-version": "v1.01"}));
    assert!(policy.starts_with("restricted:latest"));
    assert_eq!(
        problems,
        "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"x\": must be one of privileged, baseline, restricted; metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"v1.01\": must be \"latest\" or \"v1.x\""
    );
}

#[test]
fn which_updates_matter() {
    let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "a", "image": "i"}], "initContainers": []}});
    for (change, expected) in [
        (json!({"metadata": {"labels": {"a": "b"}}}), false),
        (
            json!({"spec": {"containers": [{"name": "a", "image": "j"}]}}),
            true,
        ),
        (
            json!({"spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]}}),
            true,
        ),
        (
            json!({"metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "x"}}}),
            true,
        ),
    ] {
        let mut new = pod.clone();
        merge(&mut new, &change);
        assert_eq!(is_significant(&new, &pod), expected, "{change}");
    }
}
