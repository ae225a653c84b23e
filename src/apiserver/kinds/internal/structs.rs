//! The structs whose internal form some message shows.

use super::{Field, Form};

/// `core.TypedLocalObjectReference`
const LOCAL_REFERENCE: &[Field] = &[
    Field("APIGroup", "apiGroup", Form::Plain),
    Field("Kind", "kind", Form::Text),
    Field("Name", "name", Form::Text),
];

/// `core.PersistentVolumeClaimSpec`
pub(in crate::apiserver::kinds) const CLAIM_SPEC: &[Field] = &[
    Field("AccessModes", "accessModes", Form::Plain),
    Field("Selector", "selector", Form::Plain),
    Field(
        "Resources",
        "resources",
        Form::Struct(&[
            Field("Limits", "limits", Form::Plain),
            Field("Requests", "requests", Form::Plain),
        ]),
    ),
    Field("VolumeName", "volumeName", Form::Text),
    Field("StorageClassName", "storageClassName", Form::Plain),
    Field("VolumeMode", "volumeMode", Form::Plain),
    Field("DataSource", "dataSource", Form::Pointer(LOCAL_REFERENCE)),
    Field(
        "DataSourceRef",
        "dataSourceRef",
        Form::Pointer(&[
            Field("APIGroup", "apiGroup", Form::Plain),
            Field("Kind", "kind", Form::Text),
            Field("Name", "name", Form::Text),
            Field("Namespace", "namespace", Form::Plain),
        ]),
    ),
    Field(
        "VolumeAttributesClassName",
        "volumeAttributesClassName",
        Form::Plain,
    ),
];

const SECRET: Form = Form::Pointer(&[
    Field("Name", "name", Form::Text),
    Field("Namespace", "namespace", Form::Text),
]);

/// A disk of a cloud.
const fn disk(id: Field) -> [Field; 4] {
    [
        id,
        Field("FSType", "fsType", Form::Text),
        Field("Partition", "partition", Form::Number),
        Field("ReadOnly", "readOnly", Form::Flag),
    ]
}

const GCE: [Field; 4] = disk(Field("PDName", "pdName", Form::Text));
const AWS: [Field; 4] = disk(Field("VolumeID", "volumeID", Form::Text));

/// `core.PersistentVolumeSource`; each field is a pointer.
pub(in crate::apiserver::kinds) const VOLUME_SOURCE: &[Field] = &[
    Field(
        "GCEPersistentDisk",
        "gcePersistentDisk",
        Form::Pointer(&GCE),
    ),
    Field(
        "AWSElasticBlockStore",
        "awsElasticBlockStore",
        Form::Pointer(&AWS),
    ),
    Field(
        "HostPath",
        "hostPath",
        Form::Pointer(&[
            Field("Path", "path", Form::Text),
            Field("Type", "type", Form::Plain),
        ]),
    ),
    Field(
        "Glusterfs",
        "glusterfs",
        Form::Pointer(&[
            Field("EndpointsName", "endpoints", Form::Text),
            Field("Path", "path", Form::Text),
            Field("ReadOnly", "readOnly", Form::Flag),
            Field("EndpointsNamespace", "endpointsNamespace", Form::Plain),
        ]),
    ),
    Field(
        "NFS",
        "nfs",
        Form::Pointer(&[
            Field("Server", "server", Form::Text),
            Field("Path", "path", Form::Text),
            Field("ReadOnly", "readOnly", Form::Flag),
        ]),
    ),
    Field(
        "RBD",
        "rbd",
        Form::Pointer(&[
            Field("CephMonitors", "monitors", Form::Plain),
            Field("RBDImage", "image", Form::Text),
            Field("FSType", "fsType", Form::Text),
            Field("RBDPool", "pool", Form::Text),
            Field("RadosUser", "user", Form::Text),
            Field("Keyring", "keyring", Form::Text),
            Field("SecretRef", "secretRef", SECRET),
            Field("ReadOnly", "readOnly", Form::Flag),
        ]),
    ),
    Field(
        "Quobyte",
        "quobyte",
        Form::Pointer(&[
            Field("Registry", "registry", Form::Text),
            Field("Volume", "volume", Form::Text),
            Field("ReadOnly", "readOnly", Form::Flag),
            Field("User", "user", Form::Text),
            Field("Group", "group", Form::Text),
            Field("Tenant", "tenant", Form::Text),
        ]),
    ),
    Field(
        "ISCSI",
        "iscsi",
        Form::Pointer(&[
            Field("TargetPortal", "targetPortal", Form::Text),
            Field("IQN", "iqn", Form::Text),
            Field("Lun", "lun", Form::Number),
            Field("ISCSIInterface", "iscsiInterface", Form::Text),
            Field("FSType", "fsType", Form::Text),
            Field("ReadOnly", "readOnly", Form::Flag),
            Field("Portals", "portals", Form::Plain),
            Field("DiscoveryCHAPAuth", "chapAuthDiscovery", Form::Flag),
            Field("SessionCHAPAuth", "chapAuthSession", Form::Flag),
            Field("SecretRef", "secretRef", SECRET),
            Field("InitiatorName", "initiatorName", Form::Plain),
        ]),
    ),
    Field(
        "FlexVolume",
        "flexVolume",
        Form::Pointer(&[
            Field("Driver", "driver", Form::Text),
            Field("FSType", "fsType", Form::Text),
            Field("SecretRef", "secretRef", SECRET),
            Field("ReadOnly", "readOnly", Form::Flag),
            Field("Options", "options", Form::Plain),
        ]),
    ),
    Field(
        "Cinder",
        "cinder",
        Form::Pointer(&[
            Field("VolumeID", "volumeID", Form::Text),
            Field("FSType", "fsType", Form::Text),
            Field("ReadOnly", "readOnly", Form::Flag),
            Field("SecretRef", "secretRef", SECRET),
        ]),
    ),
    Field(
        "CephFS",
        "cephfs",
        Form::Pointer(&[
            Field("Monitors", "monitors", Form::Plain),
            Field("Path", "path", Form::Text),
            Field("User", "user", Form::Text),
            Field("SecretFile", "secretFile", Form::Text),
            Field("SecretRef", "secretRef", SECRET),
            Field("ReadOnly", "readOnly", Form::Flag),
        ]),
    ),
    Field(
        "FC",
        "fc",
        Form::Pointer(&[
            Field("TargetWWNs", "targetWWNs", Form::Plain),
            Field("Lun", "lun", Form::Plain),
            Field("FSType", "fsType", Form::Text),
            Field("ReadOnly", "readOnly", Form::Flag),
            Field("WWIDs", "wwids", Form::Plain),
        ]),
    ),
    Field(
        "Flocker",
        "flocker",
        Form::Pointer(&[
            Field("DatasetName", "datasetName", Form::Text),
            Field("DatasetUUID", "datasetUUID", Form::Text),
        ]),
    ),
    Field(
        "AzureFile",
        "azureFile",
        Form::Pointer(&[
            Field("SecretName", "secretName", Form::Text),
            Field("ShareName", "shareName", Form::Text),
            Field("ReadOnly", "readOnly", Form::Flag),
            Field("SecretNamespace", "secretNamespace", Form::Plain),
        ]),
    ),
    Field(
        "VsphereVolume",
        "vsphereVolume",
        Form::Pointer(&[
            Field("VolumePath", "volumePath", Form::Text),
            Field("FSType", "fsType", Form::Text),
            Field("StoragePolicyName", "storagePolicyName", Form::Text),
            Field("StoragePolicyID", "storagePolicyID", Form::Text),
        ]),
    ),
    Field(
        "AzureDisk",
        "azureDisk",
        Form::Pointer(&[
            Field("DiskName", "diskName", Form::Text),
            Field("DataDiskURI", "diskURI", Form::Text),
            Field("CachingMode", "cachingMode", Form::Plain),
            Field("FSType", "fsType", Form::Plain),
            Field("ReadOnly", "readOnly", Form::Plain),
            Field("Kind", "kind", Form::Plain),
        ]),
    ),
    Field(
        "PhotonPersistentDisk",
        "photonPersistentDisk",
        Form::Pointer(&[
            Field("PdID", "pdID", Form::Text),
            Field("FSType", "fsType", Form::Text),
        ]),
    ),
    Field(
        "PortworxVolume",
        "portworxVolume",
        Form::Pointer(&[
            Field("VolumeID", "volumeID", Form::Text),
            Field("FSType", "fsType", Form::Text),
            Field("ReadOnly", "readOnly", Form::Flag),
        ]),
    ),
    Field(
        "ScaleIO",
        "scaleIO",
        Form::Pointer(&[
            Field("Gateway", "gateway", Form::Text),
            Field("System", "system", Form::Text),
            Field("SecretRef", "secretRef", SECRET),
            Field("SSLEnabled", "sslEnabled", Form::Flag),
            Field("ProtectionDomain", "protectionDomain", Form::Text),
            Field("StoragePool", "storagePool", Form::Text),
            Field("StorageMode", "storageMode", Form::Text),
            Field("VolumeName", "volumeName", Form::Text),
            Field("FSType", "fsType", Form::Text),
            Field("ReadOnly", "readOnly", Form::Flag),
        ]),
    ),
    Field(
        "Local",
        "local",
        Form::Pointer(&[
            Field("Path", "path", Form::Text),
            Field("FSType", "fsType", Form::Plain),
        ]),
    ),
    Field(
        "StorageOS",
        "storageos",
        Form::Pointer(&[
            Field("VolumeName", "volumeName", Form::Text),
            Field("VolumeNamespace", "volumeNamespace", Form::Text),
            Field("FSType", "fsType", Form::Text),
            Field("ReadOnly", "readOnly", Form::Flag),
            Field("SecretRef", "secretRef", Form::Plain),
        ]),
    ),
    Field(
        "CSI",
        "csi",
        Form::Pointer(&[
            Field("Driver", "driver", Form::Text),
            Field("VolumeHandle", "volumeHandle", Form::Text),
            Field("ReadOnly", "readOnly", Form::Flag),
            Field("FSType", "fsType", Form::Text),
            Field("VolumeAttributes", "volumeAttributes", Form::Plain),
            Field(
                "ControllerPublishSecretRef",
                "controllerPublishSecretRef",
                SECRET,
            ),
            Field("NodeStageSecretRef", "nodeStageSecretRef", SECRET),
            Field("NodePublishSecretRef", "nodePublishSecretRef", SECRET),
            Field(
                "ControllerExpandSecretRef",
                "controllerExpandSecretRef",
                SECRET,
            ),
            Field("NodeExpandSecretRef", "nodeExpandSecretRef", SECRET),
        ]),
    ),
];
