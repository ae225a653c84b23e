//! A value as the real server's own types print it in field errors: every field of the struct in its order, under its Go name,
//! unset ones with their zero value; only the types of `meta/v1` keep their JSON form.
//!
//! The server's own structs are those of the API but for their names and, in a few places, their order: [`LAYOUTS`].
use super::types::{Field, Node, Presence, Scalar, Struct, Type};
use super::{gojson, table};
use serde_json::Value;

/// The fields of a container; the last is only of an ephemeral one.
const CONTAINER: &[&str] = &[
    "name",
    "image",
    "command",
    "args",
    "workingDir",
    "ports",
    "envFrom",
    "env",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "volumeMounts",
    "volumeDevices",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "imagePullPolicy",
    "securityContext",
    "stdin",
    "stdinOnce",
    "tty",
    "targetContainerName",
];

/// The last is only of a persistent volume.
const GLUSTERFS: &[&str] = &[
    "endpoints=EndpointsName",
    "path",
    "readOnly",
    "endpointsNamespace",
];
const RBD: &[&str] = &[
    "monitors=CephMonitors",
    "image=RBDImage",
    "fsType",
    "pool=RBDPool",
    "user=RadosUser",
    "keyring",
    "secretRef",
    "readOnly",
];
const ISCSI: &[&str] = &[
    "targetPortal",
    "iqn",
    "lun",
    "iscsiInterface",
    "fsType",
    "readOnly",
    "portals",
    "chapAuthDiscovery=DiscoveryCHAPAuth",
    "chapAuthSession=SessionCHAPAuth",
    "secretRef",
    "initiatorName",
];

/// Structs whose fields the real server keeps in another order, under other names (`json=Go`), elsewhere (`^` marks a field of
/// the struct around it) or in a struct that is embedded (`+` marks its layout), or of which it does not have all.
const LAYOUTS: &[(&str, &[&str])] = &[
    (
        "v1.PodSpec",
        &[
            "volumes",
            "initContainers",
            "containers",
            "ephemeralContainers",
            "restartPolicy",
            "terminationGracePeriodSeconds",
            "activeDeadlineSeconds",
            "dnsPolicy",
            "nodeSelector",
            "serviceAccountName",
            "automountServiceAccountToken",
            "nodeName",
            "securityContext",
            "imagePullSecrets",
            "hostname",
            "subdomain",
            "setHostnameAsFQDN",
            "affinity",
            "schedulerName",
            "tolerations",
            "hostAliases",
            "priorityClassName",
            "priority",
            "preemptionPolicy",
            "dnsConfig",
            "readinessGates",
            "runtimeClassName",
            "overhead",
            "enableServiceLinks",
            "topologySpreadConstraints",
            "os",
            "schedulingGates",
            "resourceClaims",
            "resources",
            "hostnameOverride",
            "schedulingGroup",
        ],
    ),
    (
        "v1.PodSecurityContext",
        &[
            "^hostNetwork",
            "^hostPID",
            "^hostIPC",
            "^shareProcessNamespace",
            "^hostUsers",
            "seLinuxOptions",
            "windowsOptions",
            "runAsUser",
            "runAsGroup",
            "runAsNonRoot",
            "supplementalGroups",
            "supplementalGroupsPolicy",
            "fsGroup",
            "fsGroupChangePolicy",
            "sysctls",
            "seccompProfile",
            "appArmorProfile",
            "seLinuxChangePolicy",
        ],
    ),
    ("v1.Container", CONTAINER),
    ("v1.EphemeralContainer", CONTAINER),
    (
        "v1.DeviceAttribute",
        &[
            "int=IntValue",
            "bool=BoolValue",
            "string=StringValue",
            "version=VersionValue",
        ],
    ),
    (
        "v1.DeviceSubRequest",
        &[
            "name",
            "deviceClassName",
            "selectors",
            "allocationMode",
            "count",
            "tolerations",
            "capacity",
        ],
    ),
    (
        "v1.ExactDeviceRequest",
        &[
            "deviceClassName",
            "selectors",
            "allocationMode",
            "count",
            "adminAccess",
            "tolerations",
            "capacity",
        ],
    ),
    (
        "v1.Volume",
        &[
            "name",
            "hostPath",
            "emptyDir",
            "gcePersistentDisk",
            "awsElasticBlockStore",
            "gitRepo",
            "secret",
            "nfs",
            "iscsi",
            "glusterfs",
            "persistentVolumeClaim",
            "rbd",
            "quobyte",
            "flexVolume",
            "cinder",
            "cephfs",
            "flocker",
            "downwardAPI",
            "fc",
            "azureFile",
            "configMap",
            "vsphereVolume",
            "azureDisk",
            "photonPersistentDisk",
            "projected",
            "portworxVolume",
            "scaleIO",
            "storageos",
            "csi",
            "ephemeral",
            "image",
        ],
    ),
    (
        "v1.PersistentVolumeSpec",
        &[
            "capacity",
            "+v1.PersistentVolumeSource",
            "accessModes",
            "claimRef",
            "persistentVolumeReclaimPolicy",
            "storageClassName",
            "mountOptions",
            "volumeMode",
            "nodeAffinity",
            "volumeAttributesClassName",
        ],
    ),
    (
        "v1.PersistentVolumeSource",
        &[
            "gcePersistentDisk",
            "awsElasticBlockStore",
            "hostPath",
            "glusterfs",
            "nfs",
            "rbd",
            "quobyte",
            "iscsi",
            "flexVolume",
            "cinder",
            "cephfs",
            "fc",
            "flocker",
            "azureFile",
            "vsphereVolume",
            "azureDisk",
            "photonPersistentDisk",
            "portworxVolume",
            "scaleIO",
            "local",
            "storageos",
            "csi",
        ],
    ),
    ("v1.GlusterfsVolumeSource", GLUSTERFS),
    ("v1.GlusterfsPersistentVolumeSource", GLUSTERFS),
    ("v1.RBDVolumeSource", RBD),
    ("v1.RBDPersistentVolumeSource", RBD),
    ("v1.ISCSIVolumeSource", ISCSI),
    ("v1.ISCSIPersistentVolumeSource", ISCSI),
    (
        "v1.AzureDiskVolumeSource",
        &[
            "diskName",
            "diskURI=DataDiskURI",
            "cachingMode",
            "fsType",
            "readOnly",
            "kind",
        ],
    ),
    (
        "v1.PodDisruptionBudgetSpec",
        &[
            "minAvailable",
            "selector",
            "maxUnavailable",
            "unhealthyPodEvictionPolicy",
        ],
    ),
];

/// Words that Go writes in capitals at the start of a name.
const INITIALISMS: &[(&str, &str)] = &[
    ("api", "API"),
    ("aws", "AWS"),
    ("cel", "CEL"),
    ("ceph", "Ceph"),
    ("csi", "CSI"),
    ("dns", "DNS"),
    ("fc", "FC"),
    ("fs", "FS"),
    ("gce", "GCE"),
    ("gmsa", "GMSA"),
    ("grpc", "GRPC"),
    ("http", "HTTP"),
    ("id", "ID"),
    ("ip", "IP"),
    ("iqn", "IQN"),
    ("iscsi", "ISCSI"),
    ("nfs", "NFS"),
    ("os", "OS"),
    ("rbd", "RBD"),
    ("se", "SE"),
    ("ssl", "SSL"),
    ("tcp", "TCP"),
    ("ttl", "TTL"),
    ("tty", "TTY"),
    ("uid", "UID"),
    ("wwids", "WWIDs"),
];

/// Names that follow no rule.
const NAMES: &[(&str, &str)] = &[
    ("cephfs", "CephFS"),
    ("downwardAPI", "DownwardAPI"),
    ("externalID", "ExternalID"),
    ("secret", "Secret"),
    ("storageos", "StorageOS"),
    ("nonResourceURLs", "NonResourceURLs"),
    ("pdName", "PDName"),
];

/// The text of `value`, which is of the definition of this name (without the leading `io.k8s.`). After a `#` stands the layout of a
/// part of it, which is shown alone: `api.core.v1.PersistentVolumeSpec#v1.PersistentVolumeSource`.
pub(crate) fn text(definition: &str, value: &Value) -> String {
    let (name, part) = match definition.split_once('#') {
        Some((name, part)) => (name, layout(part)),
        None => (definition, None),
    };
    let Some(slot) = table::definition(name) else {
        return value.to_string();
    };
    let mut text = String::new();
    if part.is_some() {
        object(&mut text, slot.get(), part, value, None);
    } else {
        let node = Node::new(Type::Struct(super::types::StructRef::Builtin(slot)));
        write(&mut text, &node, value, None);
    }
    text
}

fn layout(go: &str) -> Option<&'static [&'static str]> {
    let found = LAYOUTS.iter().find(|(name, _)| *name == go);
    found.map(|(_, fields)| *fields)
}

/// A struct and the value it holds: where the fields marked `^` come from.
type Around<'a> = Option<(&'a Struct, &'a Value)>;

fn write(text: &mut String, node: &Node, value: &Value, around: Around<'_>) {
    match (&node.ty, value) {
        (Type::Scalar(Scalar::Any), Value::Null) => text.push_str("null"),
        (Type::Struct(def), value) => {
            let def = def.get();
            if is_meta(node, def) {
                text.push_str(&gojson::of_node(value, node));
            } else {
                object(text, def, layout(&def.go), value, around);
            }
        }
        (Type::Map(item), Value::Object(map)) => {
            text.push('{');
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                gojson::string(text, key);
                text.push(':');
                write(text, item, value, None);
            }
            text.push('}');
        }
        (Type::List(list), Value::Array(items)) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(text, &list.item, item, None);
            }
            text.push(']');
        }
        (_, value) => text.push_str(&gojson::of_node(value, node)),
    }
}

/// Whether the real server uses the API's type itself.
fn is_meta(node: &Node, def: &Struct) -> bool {
    let go = node.go.as_deref().unwrap_or(&def.go);
    matches!(
        go,
        "v1.LabelSelector" | "v1.LabelSelectorRequirement" | "v1.ObjectMeta" | "v1.Condition"
    )
}

fn object(
    text: &mut String,
    def: &Struct,
    layout: Option<&'static [&'static str]>,
    value: &Value,
    around: Around<'_>,
) {
    text.push('{');
    let mut first = true;
    for Part {
        name,
        field,
        value,
        around,
    } in parts(def, layout, value, around)
    {
        if field.name.as_ref() == "metadata" {
            // Go embeds it: its fields stand among the others.
            let meta = gojson::of_node(value.unwrap_or(&Value::Null), &field.node);
            let inner = meta
                .strip_prefix('{')
                .and_then(|meta| meta.strip_suffix('}'))
                .unwrap_or_default();
            if value.is_some() && !inner.is_empty() {
                separate(text, &mut first);
                text.push_str(inner);
            }
            continue;
        }
        separate(text, &mut first);
        gojson::string(text, &name);
        text.push(':');
        match value {
            Some(value) => write(text, &field.node, value, around),
            None => zero(text, field, around),
        }
    }
    text.push('}');
}

fn separate(text: &mut String, first: &mut bool) {
    if !std::mem::take(first) {
        text.push(',');
    }
}

/// A field of a struct, under its Go name.
struct Part<'a> {
    name: String,
    field: &'a Field,
    value: Option<&'a Value>,
    around: Around<'a>,
}

/// The fields in the real server's order.
fn parts<'a>(
    def: &'a Struct,
    layout: Option<&'static [&'static str]>,
    value: &'a Value,
    around: Around<'a>,
) -> Vec<Part<'a>> {
    let here = Some((def, value));
    let of = |def: &'a Struct, holder: &'a Value, name: &str, go: String| {
        Some(Part {
            name: go,
            field: def.field(name)?,
            value: holder.get(name).filter(|value| !value.is_null()),
            around: here,
        })
    };
    if let Some(names) = layout {
        let part = |entry: &&str| {
            if let Some(name) = entry.strip_prefix('^') {
                let (outer, holder) = around?;
                return of(outer, holder, name, go_name(name));
            }
            match entry.split_once('=') {
                Some((name, go)) => of(def, value, name, go.to_owned()),
                None => of(def, value, entry, go_name(entry)),
            }
        };
        let embedded = |entry: &&'static str| match entry.strip_prefix('+') {
            Some(go) => self::layout(go).unwrap_or_default().to_vec(),
            None => vec![*entry],
        };
        return names
            .iter()
            .flat_map(embedded)
            .filter_map(|entry| part(&entry))
            .collect();
    }
    let mut fields: Vec<_> = def.fields.iter().collect();
    fields.sort_by_key(|field| field.order);
    fields
        .into_iter()
        .filter_map(|field| of(def, value, &field.name, go_name(&field.name)))
        .collect()
}

/// What Go writes for a field that is not set.
fn zero(text: &mut String, field: &Field, around: Around<'_>) {
    match (&field.node.ty, field.presence) {
        (_, Presence::Set | Presence::Nullable) => text.push_str("null"),
        (Type::Struct(def), _) => {
            let def = def.get();
            object(text, def, layout(&def.go), &Value::Null, around);
        }
        (ty, _) => text.push_str(&super::types::zero(ty).to_string()),
    }
}

/// Go's name of a field.
fn go_name(name: &str) -> String {
    if let Some((_, go)) = NAMES.iter().find(|(json, _)| *json == name) {
        return (*go).to_owned();
    }
    let end = name
        .find(|character: char| character.is_ascii_uppercase())
        .unwrap_or(name.len());
    let (word, rest) = name.split_at(end);
    if let Some((_, capitals)) = INITIALISMS.iter().find(|(json, _)| *json == word) {
        return format!("{capitals}{rest}");
    }
    let mut letters = word.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first
        .into_iter()
        .chain(letters)
        .chain(rest.chars())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_as_the_server_prints_them() {
        for (definition, value, expected) in [
            (
                "api.apps.v1.DeploymentStrategy",
                json!({"type": "Foo"}),
                r#"{"Type":"Foo","RollingUpdate":null}"#,
            ),
            (
                "api.policy.v1.PodDisruptionBudgetSpec",
                json!({"minAvailable": 1, "maxUnavailable": "5%", "selector": {"matchLabels": {"a": "b"}}}),
                r#"{"MinAvailable":1,"Selector":{"matchLabels":{"a":"b"}},"MaxUnavailable":"5%","UnhealthyPodEvictionPolicy":null}"#,
            ),
            (
                "apimachinery.pkg.apis.meta.v1.LabelSelector",
                json!({"matchExpressions": [{"operator": "Exists", "key": "a"}], "matchLabels": {"a": "b"}}),
                r#"{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"a","operator":"Exists"}]}"#,
            ),
            (
                "api.core.v1.PersistentVolumeSpec",
                json!({"capacity": {"storage": "1"}, "volumeMode": "Block"}),
                r#"{"Capacity":{"storage":"1"},"GCEPersistentDisk":null,"AWSElasticBlockStore":null,"HostPath":null,"Glusterfs":null,"NFS":null,"RBD":null,"Quobyte":null,"ISCSI":null,"FlexVolume":null,"Cinder":null,"CephFS":null,"FC":null,"Flocker":null,"AzureFile":null,"VsphereVolume":null,"AzureDisk":null,"PhotonPersistentDisk":null,"PortworxVolume":null,"ScaleIO":null,"Local":null,"StorageOS":null,"CSI":null,"AccessModes":null,"ClaimRef":null,"PersistentVolumeReclaimPolicy":"","StorageClassName":"","MountOptions":null,"VolumeMode":"Block","NodeAffinity":null,"VolumeAttributesClassName":null}"#,
            ),
            (
                "api.core.v1.RBDPersistentVolumeSource",
                json!({"monitors": ["m"], "image": "i", "user": "u", "secretRef": {"name": "s"}}),
                r#"{"CephMonitors":["m"],"RBDImage":"i","FSType":"","RBDPool":"","RadosUser":"u","Keyring":"","SecretRef":{"Name":"s","Namespace":""},"ReadOnly":false}"#,
            ),
            (
                "api.core.v1.ISCSIVolumeSource",
                json!({"iqn": "q", "lun": 1, "chapAuthSession": true}),
                r#"{"TargetPortal":"","IQN":"q","Lun":1,"ISCSIInterface":"","FSType":"","ReadOnly":false,"Portals":null,"DiscoveryCHAPAuth":false,"SessionCHAPAuth":true,"SecretRef":null,"InitiatorName":null}"#,
            ),
            (
                "api.core.v1.PodTemplateSpec",
                json!({"metadata": {"labels": {"a": "b"}}, "spec": {"hostNetwork": true, "securityContext": {"fsGroup": 1}, "containers": []}}),
                r#"{"labels":{"a":"b"},"Spec":{"Volumes":null,"InitContainers":null,"Containers":[],"EphemeralContainers":null,"RestartPolicy":"","TerminationGracePeriodSeconds":null,"ActiveDeadlineSeconds":null,"DNSPolicy":"","NodeSelector":null,"ServiceAccountName":"","AutomountServiceAccountToken":null,"NodeName":"","SecurityContext":{"HostNetwork":true,"HostPID":false,"HostIPC":false,"ShareProcessNamespace":null,"HostUsers":null,"SELinuxOptions":null,"WindowsOptions":null,"RunAsUser":null,"RunAsGroup":null,"RunAsNonRoot":null,"SupplementalGroups":null,"SupplementalGroupsPolicy":null,"FSGroup":1,"FSGroupChangePolicy":null,"Sysctls":null,"SeccompProfile":null,"AppArmorProfile":null,"SELinuxChangePolicy":null},"ImagePullSecrets":null,"Hostname":"","Subdomain":"","SetHostnameAsFQDN":null,"Affinity":null,"SchedulerName":"","Tolerations":null,"HostAliases":null,"PriorityClassName":"","Priority":null,"PreemptionPolicy":null,"DNSConfig":null,"ReadinessGates":null,"RuntimeClassName":null,"Overhead":null,"EnableServiceLinks":null,"TopologySpreadConstraints":null,"OS":null,"SchedulingGates":null,"ResourceClaims":null,"Resources":null,"HostnameOverride":null,"SchedulingGroup":null}}"#,
            ),
        ] {
            assert_eq!(text(definition, &value), expected);
        }
    }

    #[test]
    fn names() {
        for (json, go) in [
            ("tty", "TTY"),
            ("hostPID", "HostPID"),
            ("seLinuxOptions", "SELinuxOptions"),
            ("fsGroup", "FSGroup"),
            ("httpGet", "HTTPGet"),
            ("apiVersion", "APIVersion"),
            ("image", "Image"),
            ("ttlSecondsAfterFinished", "TTLSecondsAfterFinished"),
        ] {
            assert_eq!(go_name(json), go);
        }
    }
}
