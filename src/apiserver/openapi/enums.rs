//! The values of those string types of the API that are enumerations, by Go's name of the type (`+enum` in its source).

/// The values of a Go type, sorted; empty: it is no enumeration.
pub(super) fn values(go: &str) -> &'static [&'static str] {
    let found = ENUMS.binary_search_by(|(name, _)| (*name).cmp(go));
    found
        .ok()
        .and_then(|index| ENUMS.get(index))
        .map_or(&[], |(_, values)| values)
}

/// Sorted by name.
#[rustfmt::skip]
const ENUMS: &[(&str, &[&str])] = &[
    ("v1.AddressType", &["FQDN", "IPv4", "IPv6"]),
    ("v1.AppArmorProfileType", &["Localhost", "RuntimeDefault", "Unconfined"]),
    ("v1.AzureDataDiskCachingMode", &["None", "ReadOnly", "ReadWrite"]),
    ("v1.AzureDataDiskKind", &["Dedicated", "Managed", "Shared"]),
    ("v1.ClaimResourceStatus", &["ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible",
        "NodeResizePending"]),
    ("v1.CompletionMode", &["Indexed", "NonIndexed"]),
    ("v1.ConcurrencyPolicy", &["Allow", "Forbid", "Replace"]),
    ("v1.DNSPolicy", &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]),
    ("v1.DaemonSetUpdateStrategyType", &["OnDelete", "RollingUpdate"]),
    ("v1.DeploymentStrategyType", &["Recreate", "RollingUpdate"]),
    ("v1.DeviceAllocationMode", &["All", "ExactCount"]),
    ("v1.DeviceTaintEffect", &["NoExecute", "NoSchedule", "None"]),
    ("v1.DeviceTolerationOperator", &["Equal", "Exists"]),
    ("v1.FailurePolicyType", &["Fail", "Ignore"]),
    ("v1.HostPathType", &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"]),
    ("v1.IPFamily", &["", "IPv4", "IPv6"]),
    ("v1.IPFamilyPolicy", &["PreferDualStack", "RequireDualStack", "SingleStack"]),
    ("v1.LabelSelectorOperator", &["DoesNotExist", "Exists", "In", "NotIn"]),
    ("v1.MatchPolicyType", &["Equivalent", "Exact"]),
    ("v1.MountPropagationMode", &["Bidirectional", "HostToContainer", "None"]),
    ("v1.NamespacePhase", &["Active", "Terminating"]),
    ("v1.NodeInclusionPolicy", &["Honor", "Ignore"]),
    ("v1.NodePhase", &["Pending", "Running", "Terminated"]),
    ("v1.NodeSelectorOperator", &["DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn"]),
    ("v1.OperationType", &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"]),
    ("v1.ParameterNotFoundActionType", &["Allow", "Deny"]),
    ("v1.PathType", &["Exact", "ImplementationSpecific", "Prefix"]),
    ("v1.PersistentVolumeAccessMode", &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]),
    ("v1.PersistentVolumeClaimModifyVolumeStatus", &["InProgress", "Infeasible", "Pending"]),
    ("v1.PersistentVolumeClaimPhase", &["Bound", "Lost", "Pending"]),
    ("v1.PersistentVolumeMode", &["Block", "Filesystem"]),
    ("v1.PersistentVolumePhase", &["Available", "Bound", "Failed", "Pending", "Released"]),
    ("v1.PersistentVolumeReclaimPolicy", &["Delete", "Recycle", "Retain"]),
    ("v1.PodFSGroupChangePolicy", &["Always", "OnRootMismatch"]),
    ("v1.PodFailurePolicyAction", &["Count", "FailIndex", "FailJob", "Ignore"]),
    ("v1.PodFailurePolicyOnExitCodesOperator", &["In", "NotIn"]),
    ("v1.PodManagementPolicyType", &["OrderedReady", "Parallel"]),
    ("v1.PodPhase", &["Failed", "Pending", "Running", "Succeeded", "Unknown"]),
    ("v1.PodQOSClass", &["BestEffort", "Burstable", "Guaranteed"]),
    ("v1.PodReplacementPolicy", &["Failed", "TerminatingOrFailed"]),
    ("v1.PolicyType", &["Egress", "Ingress"]),
    ("v1.PreemptionPolicy", &["Never", "PreemptLowerPriority"]),
    ("v1.ProcMountType", &["Default", "Unmasked"]),
    ("v1.Protocol", &["SCTP", "TCP", "UDP"]),
    ("v1.PullPolicy", &["Always", "IfNotPresent", "Never"]),
    ("v1.ReinvocationPolicyType", &["IfNeeded", "Never"]),
    ("v1.ResourceQuotaScope", &["BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating",
        "VolumeAttributesClass"]),
    ("v1.RestartPolicy", &["Always", "Never", "OnFailure"]),
    ("v1.ScopeSelectorOperator", &["DoesNotExist", "Exists", "In", "NotIn"]),
    ("v1.ScopeType", &["*", "Cluster", "Namespaced"]),
    ("v1.SeccompProfileType", &["Localhost", "RuntimeDefault", "Unconfined"]),
    ("v1.ServiceAffinity", &["ClientIP", "None"]),
    ("v1.ServiceExternalTrafficPolicy", &["Cluster", "Local"]),
    ("v1.ServiceInternalTrafficPolicy", &["Cluster", "Local"]),
    ("v1.ServiceType", &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]),
    ("v1.SideEffectClass", &["None", "NoneOnDryRun", "Some", "Unknown"]),
    ("v1.StatefulSetUpdateStrategyType", &["OnDelete", "RollingUpdate"]),
    ("v1.SupplementalGroupsPolicy", &["Merge", "Strict"]),
    ("v1.TaintEffect", &["NoExecute", "NoSchedule", "PreferNoSchedule"]),
    ("v1.TerminationMessagePolicy", &["FallbackToLogsOnError", "File"]),
    ("v1.TolerationOperator", &["Equal", "Exists", "Gt", "Lt"]),
    ("v1.URIScheme", &["HTTP", "HTTPS"]),
    ("v1.UnsatisfiableConstraintAction", &["DoNotSchedule", "ScheduleAnyway"]),
    ("v1.ValidationAction", &["Audit", "Deny", "Warn"]),
    ("v1.VolumeBindingMode", &["Immediate", "WaitForFirstConsumer"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(ENUMS.is_sorted_by(|(one, _), (other, _)| one < other));
        assert!(ENUMS.iter().all(|(_, values)| values.is_sorted()));
        assert_eq!(values("v1.Protocol"), ["SCTP", "TCP", "UDP"]);
        assert!(values("types.UID").is_empty());
    }
}
