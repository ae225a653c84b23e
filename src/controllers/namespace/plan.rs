//! How far the emptying of a namespace has come.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The finalizer of the namespace controller itself.
pub(super) const FINALIZER: &str = "kubernetes";

/// What is left of one resource in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// `pods.` or `deployments.apps`: the resource and its group.
    pub resource: String,
    /// How many objects there are.
    pub objects: usize,
    /// The finalizers that hold them, and how many objects each holds.
    pub finalizers: Vec<(String, usize)>,
}

/// What is known after one attempt to empty a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub left: Vec<Left>,
    /// Resources that could not be asked about or deleted.
    pub failures: Vec<String>,
    /// The server would not say what it serves.
    pub discovery_failure: Option<String>,
}

impl Progress {
    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty() && self.failures.is_empty() && self.discovery_failure.is_none()
    }

    /// The conditions that tell a person what the namespace waits for; those that hold are told first when they appear.
    pub(super) fn conditions(
        &self,
        namespace: &Namespace,
        now: Timestamp,
    ) -> Vec<NamespaceCondition> {
        let before = namespace
            .status
            .as_ref()
            .and_then(|status| status.conditions.clone())
            .unwrap_or_default();
        let remaining: Vec<String> = (self.left.iter())
            .map(|left| format!("{} has {} resource instances", left.resource, left.objects))
            .collect();
        let mut held: Vec<(String, usize)> = Vec::new();
        for (finalizer, count) in self.left.iter().flat_map(|left| &left.finalizers) {
            match held.iter_mut().find(|(name, _)| name == finalizer) {
                Some((_, sum)) => *sum += count,
                None => held.push((finalizer.clone(), *count)),
            }
        }
        held.sort();
        let held: Vec<String> = held
            .iter()
            .map(|(name, count)| format!("{name} in {count} resource instances"))
            .collect();
        let checks = [
            (
                "NamespaceDeletionDiscoveryFailure",
                self.discovery_failure.as_ref().map(|why| {
                    (
                        "DiscoveryFailed",
                        format!("Discovery failed for some groups, {why}"),
                    )
                }),
                (
                    "ResourcesDiscovered",
                    "All resources successfully discovered",
                ),
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                None,
                (
                    "ParsedGroupVersions",
                    "All legacy kube types successfully parsed",
                ),
            ),
            (
                "NamespaceDeletionContentFailure",
                (!self.failures.is_empty()).then(|| {
                    let why = self.failures.join(", ");
                    (
                        "ContentDeletionFailed",
                        format!(
                            "Failed to delete all resource types, {} remaining: {why}",
                            self.failures.len()
                        ),
                    )
                }),
                (
                    "ContentDeleted",
                    "All content successfully deleted, may be waiting on finalization",
                ),
            ),
            (
                "NamespaceContentRemaining",
                (!remaining.is_empty()).then(|| {
                    (
                        "SomeResourcesRemain",
                        format!("Some resources are remaining: {}", remaining.join(", ")),
                    )
                }),
                ("ContentRemoved", "All content successfully removed"),
            ),
            (
                "NamespaceFinalizersRemaining",
                (!held.is_empty()).then(|| {
                    (
                        "SomeFinalizersRemain",
                        format!(
                            "Some content in the namespace has finalizers remaining: {}",
                            held.join(", ")
                        ),
                    )
                }),
                (
                    "ContentHasNoFinalizers",
                    "All content-preserving finalizers finished",
                ),
            ),
        ];
        let known = checks.map(|(type_, problem, (fine_reason, fine_message))| {
            let (status, reason, message) = match problem {
                Some((reason, message)) => ("True", reason, message),
                None => ("False", fine_reason, fine_message.to_owned()),
            };
            let old = before.iter().find(|condition| condition.type_ == type_);
            let since = old
                .filter(|old| old.status == status)
                .and_then(|old| old.last_transition_time.clone());
            NamespaceCondition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message),
                last_transition_time: Some(since.unwrap_or(Time(now))),
                ..NamespaceCondition::default()
            }
        });
        let foreign = before
            .iter()
            .filter(|old| !known.iter().any(|condition| condition.type_ == old.type_))
            .cloned();
        foreign.chain(known.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_name_what_is_left() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let left = Left {
            resource: "pods.".into(),
            objects: 2,
            finalizers: vec![("example.com/hold".into(), 1)],
        };
        let progress = Progress {
            left: vec![left],
            ..Progress::default()
        };
        let conditions = progress.conditions(&Namespace::default(), now);
        let shown: Vec<_> = conditions
            .iter()
            .map(|condition| format!("{}={}", condition.type_, condition.status))
            .collect();
        assert_eq!(
            shown,
            [
                "NamespaceDeletionDiscoveryFailure=False",
                "NamespaceDeletionGroupVersionParsingFailure=False",
                "NamespaceDeletionContentFailure=False",
                "NamespaceContentRemaining=True",
                "NamespaceFinalizersRemaining=True",
            ]
        );
        assert_eq!(
            conditions[3].message.as_deref(),
            Some("Some resources are remaining: pods. has 2 resource instances")
        );
        assert!(!progress.is_empty());
        assert!(Progress::default().is_empty());
    }
}
