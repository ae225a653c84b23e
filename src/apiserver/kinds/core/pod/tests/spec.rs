//! What else of a pod and of a template is refused, and of what is warned.
use super::*;

#[test]
fn security() {
    spec(
        &json!({"hostNetwork": true, "shareProcessNamespace": true, "hostPID": true, "hostUsers": false, "securityContext": {
            "runAsUser": -1, "supplementalGroups": [5_000_000_000_i64], "fsGroupChangePolicy": "X",
            "sysctls": [{"name": "net.ipv4.x", "value": "1"}, {"name": "A"}],
            "seccompProfile": {"type": "Localhost"}, "appArmorProfile": {"type": "RuntimeDefault", "localhostProfile": "x"},
        }}),
        &[
            "spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 4294967295, inclusive",
            "spec.securityContext.supplementalGroups[0]: Invalid value: 5000000000: must be between 0",
            "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
            "spec.securityContext.sysctls[0].name: Invalid value: \"net.ipv4.x\": may not be specified when 'hostNetwork' is true",
            "spec.securityContext.sysctls[1].name: Invalid value: \"A\": must have at most 253 characters and match regex ^([a-z0-9]",
            "spec.securityContext.fsGroupChangePolicy: Unsupported value: \"X\": supported values: \"Always\", \"OnRootMismatch\"",
            "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
            "spec.securityContext.appArmorProfile.localhostProfile: Invalid value: \"x\": can only be set when AppArmor type is Localhost",
            "spec.hostNetwork: Forbidden: when `hostUsers` is false",
            "spec.HostPID: Forbidden: when `hostUsers` is false",
        ],
    );
    container(
        &json!({"securityContext": {"procMount": "Unmasked", "seccompProfile": {"type": "Unconfined", "localhostProfile": "x"}, "windowsOptions": {"runAsUserName": "a\\"}}}),
        &[
            ".securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
            ".securityContext.seccompProfile.localhostProfile: Invalid value: {\"Type\":\"Unconfined\",\"LocalhostProfile\":\"x\"}: can only be set when seccomp type is Localhost",
            ".securityContext.windowsOptions.runAsUserName: Invalid value: \"a\\\\\": runAsUserName's User cannot be empty",
        ],
    );
    spec(
        &json!({"os": {"name": "windows"}, "hostPID": true, "securityContext": {"fsGroup": 1},
                "containers": [{"name": "c", "image": "i:1", "securityContext": {"privileged": false}}]}),
        &[
            "spec.hostPID: Forbidden: cannot be set for a windows pod",
            "spec.securityContext.fsGroup: Forbidden: cannot be set for a windows pod",
            "spec.containers[0].securityContext.privileged: Forbidden: cannot be set for a windows pod",
        ],
    );
    spec(
        &json!({"os": {"name": "linux"}, "securityContext": {"windowsOptions": {"hostProcess": true}}}),
        &[
            "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
            "spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
        ],
    );
    spec(
        &json!({"os": {"name": "x"}}),
        &["spec.os: Unsupported value: \"x\": supported values: \"linux\", \"windows\""],
    );
}

#[test]
fn placement() {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    spec(
        &json!({"affinity": {"nodeAffinity": {
            required: {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In"}, {"key": "b", "operator": "Gt", "values": ["x y"]}], "matchFields": [{"key": "x", "operator": "Exists"}]}]},
            preferred: [{"weight": 0, "preference": {}}],
        }}}),
        &[
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[1].values[0]: Invalid value: \"x y\"",
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].operator: Invalid value: \"Exists\": not a valid selector operator",
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].key: Invalid value: \"x\": not a valid field selector key",
            "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100",
        ],
    );
    spec(
        &json!({"affinity": {"podAntiAffinity": {required: [{"namespaces": ["A"], "matchLabelKeys": ["a"]}]}}}),
        &[
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].namespace: Invalid value: \"A\": a lowercase RFC 1123 label",
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty",
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Invalid value: \"\": name part must be non-empty",
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Invalid value: \"\": name part must consist",
        ],
    );
    let twice = json!({"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway"});
    spec(
        &json!({"topologySpreadConstraints": [twice, twice, {"maxSkew": 0, "whenUnsatisfiable": "X", "minDomains": 0, "nodeTaintsPolicy": "Y"}]}),
        &[
            "spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{z, ScheduleAnyway}\"",
            "spec.topologySpreadConstraints[2].maxSkew: Invalid value: 0: must be greater than zero",
            "spec.topologySpreadConstraints[2].topologyKey: Required value: can not be empty",
            "spec.topologySpreadConstraints[2].whenUnsatisfiable: Unsupported value: \"X\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
            "spec.topologySpreadConstraints[2].minDomains: Invalid value: 0: must be greater than zero",
            "spec.topologySpreadConstraints[2].minDomains: Invalid value: 0: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not X",
            "spec.topologySpreadConstraints[2].nodeTaintsPolicy: Unsupported value: \"Y\": supported values: \"Honor\", \"Ignore\"",
        ],
    );
    spec(
        &json!({"tolerations": [{"operator": "Equal", "effect": "X"}, {"key": "a", "operator": "Exists", "value": "b"}, {"key": "a", "operator": "Foo", "tolerationSeconds": 1}]}),
        &[
            "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty",
            "spec.tolerations[0].effect: Unsupported value: \"X\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            "spec.tolerations[1].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'",
            "spec.tolerations[2].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set",
            "spec.tolerations[2].operator: Unsupported value: \"Foo\": supported values: \"Equal\", \"Exists\"",
        ],
    );
}

#[test]
fn other_fields() {
    for (patch, expected) in [
        (
            json!({"restartPolicy": "X"}),
            vec![
                "spec.restartPolicy: Unsupported value: \"X\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            ],
        ),
        (
            json!({"dnsPolicy": "X"}),
            vec![
                "spec.dnsPolicy: Unsupported value: \"X\": supported values: \"ClusterFirstWithHostNet\", \"ClusterFirst\", \"Default\", \"None\"",
            ],
        ),
        (
            json!({"dnsPolicy": "None"}),
            vec![
                "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
            ],
        ),
        (
            json!({"dnsConfig": {"nameservers": ["1.2.3", "01.2.3.4"], "searches": ["_a.b.", ".", "A"], "options": [{}]}}),
            vec![
                "spec.dnsConfig.nameservers[0]: Invalid value: \"1.2.3\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                "spec.dnsConfig.nameservers[1]: Invalid value: \"01.2.3.4\": must not have leading 0s",
                "spec.dnsConfig.searches[2]: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_'",
                "spec.dnsConfig.options[0]: Required value: must not be empty",
            ],
        ),
        (
            json!({"hostname": "a.b", "subdomain": "_"}),
            vec![
                "spec.hostname: Invalid value: \"a.b\": must not contain dots",
                "spec.subdomain: Invalid value: \"_\"",
            ],
        ),
        (
            json!({"hostnameOverride": "a", "hostNetwork": true, "setHostnameAsFQDN": true}),
            vec![
                "spec.hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true",
                "spec.hostnameOverride: Forbidden: may not be specified when hostNetwork is true",
            ],
        ),
        (
            json!({"activeDeadlineSeconds": 0}),
            vec![
                "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
            ],
        ),
        (
            json!({"hostAliases": [{"ip": "x", "hostnames": ["A"]}]}),
            vec![
                "spec.hostAliases[0].ip: Invalid value",
                "spec.hostAliases[0].hostnames[0]: Invalid value",
            ],
        ),
        (
            json!({"preemptionPolicy": "X"}),
            vec![
                "spec.preemptionPolicy: Unsupported value: \"X\": supported values: \"PreemptLowerPriority\", \"Never\"",
            ],
        ),
        (
            json!({"runtimeClassName": "", "priorityClassName": "A", "nodeName": "A"}),
            vec![
                "spec.nodeName: Invalid value",
                "spec.priorityClassName: Invalid value",
                "spec.runtimeClassName: Invalid value",
            ],
        ),
        (
            json!({"overhead": {"cpu": "-1"}}),
            vec![
                "spec.overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            ],
        ),
        (
            json!({"schedulingGates": [{"name": "a"}, {"name": "a"}], "nodeName": "n"}),
            vec![
                "spec.schedulingGates[1]: Duplicate value: \"a\"",
                "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
            ],
        ),
        (
            json!({"readinessGates": [{"conditionType": "a b"}]}),
            vec!["spec.readinessGates[0].conditionType: Invalid value"],
        ),
        (
            json!({"resourceClaims": [{"name": "a"}]}),
            vec![
                "spec.resourceClaims[0]: Invalid value: {\"Name\":\"a\",\"ResourceClaimName\":null,\"ResourceClaimTemplateName\":null}: must specify one of",
            ],
        ),
        (
            json!({"nodeSelector": {"a b": "c"}}),
            vec!["spec.nodeSelector: Invalid value: \"a b\""],
        ),
    ] {
        spec(&patch, &expected);
    }
}

#[test]
fn annotations() {
    let mut errors = Errors::new();
    let pod = pod(&json!({"metadata": {"annotations": {
        "kubernetes.io/config.mirror": "x", "controller.kubernetes.io/pod-deletion-cost": "+1",
        "container.apparmor.security.beta.kubernetes.io/z": "bad", "seccomp.security.alpha.kubernetes.io/pod": "localhost/../x",
    }}}));
    Pod::PLAIN.validate(&context(None), &pod, &mut errors);
    check_errors(
        &errors,
        &[
            "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod annotation is set",
            "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"+1\": must be a 32bit integer",
            "metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: \"../x\": must not contain '..'",
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/z]: Invalid value: \"z\": container not found",
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/z]: Invalid value: \"bad\": invalid AppArmor profile name: \"bad\"",
        ],
    );
}

#[test]
fn warnings() {
    let object = pod(
        &json!({"metadata": {"name": "a.b", "annotations": {"scheduler.alpha.kubernetes.io/critical-pod": ""}}, "spec": {
            "nodeSelector": {"beta.kubernetes.io/os": "linux"},
            "imagePullSecrets": [{"name": "s"}, {"name": "s"}, {}], "hostAliases": [{"ip": "FD00::1"}],
            "volumes": [{"name": "v", "rbd": {"image": "i", "monitors": ["m"]}}],
            "containers": [{
                "name": "c", "image": "i:1", "resources": {"limits": {"memory": "1500m"}},
                "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A", "value": "3"}],
                "ports": [{"containerPort": 1}, {"containerPort": 1, "hostPort": 2}],
            }],
        }}),
    );
    let expected = [
        "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
        "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
        "metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the \"priorityClassName\" field instead",
        "spec.volumes[0].rbd: deprecated in v1.28, non-functional in v1.31+",
        "spec.imagePullSecrets[1].name: duplicate name \"s\"",
        "spec.imagePullSecrets[2].name: invalid empty name \"\"",
        "spec.containers[0].resources.limits[memory]: fractional byte value \"1500m\" is invalid, must be an integer",
        "spec.containers[0].resources.requests[memory]: fractional byte value \"1500m\" is invalid, must be an integer",
        "spec.containers[0].env[2]: hides previous definition of \"A\", which may be dropped when using apply",
        "spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]",
        "spec.hostAliases[0].ip: IPv6 address \"FD00::1\" should be in RFC 5952 canonical format (\"fd00::1\")",
    ];
    assert_eq!(Pod::PLAIN.warnings(&object, None), expected);
    assert!(Pod::PLAIN.warnings(&object, Some(&object)).is_empty());
}

#[test]
fn templates() {
    let template = json!({"metadata": {"labels": {"a b": "c"}}, "spec": {"ephemeralContainers": [{}], "terminationGracePeriodSeconds": -1}});
    let mut template = template;
    default_template(&mut template);
    let mut errors = Errors::new();
    validate_template(&template, &Path::new("spec").child("template"), &mut errors);
    let texts = texts(&errors);
    assert!(
        texts[0].starts_with("spec.template.labels: Invalid value: \"a b\""),
        "{texts:?}"
    );
    assert!(texts.contains(&"spec.template.spec.containers: Required value".to_owned()));
    assert_eq!(
        texts.last().unwrap(),
        "spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template"
    );
    assert_eq!(
        template_warnings(&template, &Path::new("spec").child("template")),
        [
            "spec.template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ]
    );
}
