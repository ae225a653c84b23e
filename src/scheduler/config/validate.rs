//! The rules of a `KubeSchedulerConfiguration`, with the messages of `k8s.io/kubernetes/pkg/scheduler/apis/config/validation`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::document::{Extender, KubeSchedulerConfiguration, KubeSchedulerProfile, LeaderElection};
use crate::object::field::{Errors, Path};
use crate::object::name;
use crate::scheduler::framework::Point;

/// Plugins that were taken out of Kubernetes.
const REMOVED: [&str; 4] = [
    "AzureDiskLimits",
    "CinderLimits",
    "EBSLimits",
    "GCEPDLimits",
];

/// Everything but the arguments of plugins.
pub(super) fn configuration(config: &KubeSchedulerConfiguration, errors: &mut Errors) {
    if config.client_connection.burst < 0 {
        let path = Path::new("clientConnection").child("burst");
        errors.invalid(path, config.client_connection.burst, "must be non-negative");
    }
    leader_election(&config.leader_election, errors);
    if config.parallelism <= 0 {
        errors.invalid(
            Path::new("parallelism"),
            config.parallelism,
            "should be an integer value greater than zero",
        );
    }
    profiles(&config.profiles, errors);
    percentage(
        Path::new("percentageOfNodesToScore"),
        Some(config.percentage_of_nodes_to_score),
        errors,
    );
    if config.pod_initial_backoff_seconds <= 0 {
        let path = Path::new("podInitialBackoffSeconds");
        errors.invalid(
            path,
            config.pod_initial_backoff_seconds,
            "must be greater than 0",
        );
    }
    if config.pod_max_backoff_seconds < config.pod_initial_backoff_seconds {
        errors.invalid(
            Path::new("podMaxBackoffSeconds"),
            config.pod_max_backoff_seconds,
            "must be greater than or equal to PodInitialBackoffSeconds",
        );
    }
    extenders(&config.extenders, errors);
}

fn leader_election(election: &LeaderElection, errors: &mut Errors) {
    if !election.leader_elect {
        return;
    }
    let path = Path::new("leaderElection");
    let shown = |duration: Duration| format!("{}s", duration.as_secs_f64());
    if election.lease_duration <= election.renew_deadline {
        errors.invalid(
            path.child("leaseDuration"),
            shown(election.renew_deadline),
            "must be greater than `RenewDeadline`",
        );
    }
    if election.resource_lock != "leases" {
        errors.invalid(
            path.child("resourceLock"),
            election.resource_lock.as_str(),
            "resourceLock value must be \"leases\"",
        );
    }
}

fn percentage(path: Path, percent: Option<i32>, errors: &mut Errors) {
    if let Some(percent) = percent.filter(|percent| !(0..=100).contains(percent)) {
        errors.invalid(path, percent, "not in valid range [0-100]");
    }
}

fn profiles(profiles: &[KubeSchedulerProfile], errors: &mut Errors) {
    let of_all = Path::new("profiles");
    let mut names = BTreeMap::new();
    for (index, profile) in profiles.iter().enumerate() {
        let path = of_all.index(index);
        if profile.scheduler_name.is_empty() {
            errors.required(path.child("schedulerName"), "");
        }
        percentage(
            path.child("percentageOfNodesToScore"),
            profile.percentage_of_nodes_to_score,
            errors,
        );
        plugins(profile, &path, errors);
        if let Some(first) = names.insert(profile.scheduler_name.as_str(), index) {
            let first = of_all.index(first).child("schedulerName");
            errors.duplicate(path.child("schedulerName"), first.as_str());
        }
    }
    let Some((first, rest)) = profiles.split_first() else {
        return;
    };
    let sort = &first.plugins.queue_sort;
    if sort.enabled.len() > 1 {
        let path = of_all.index(0).child("plugins").child("queueSort");
        let detail = "only one queue sort plugin can be enabled";
        errors.invalid(path.child("enabled"), sort.enabled.len(), detail);
    }
    let sort_name = sort.enabled.first().map(|plugin| plugin.name.as_str());
    let args = |profile: &KubeSchedulerProfile| {
        let mut configs = profile.plugin_config.iter();
        let config = configs.find(|config| Some(config.name.as_str()) == sort_name);
        config.map(|config| config.args.clone())
    };
    for (index, profile) in rest.iter().enumerate() {
        let path = of_all.index(index + 1);
        if profile.plugins.queue_sort != *sort {
            let enabled = profile.plugins.queue_sort.enabled.iter();
            let names: Vec<&str> = enabled.map(|plugin| plugin.name.as_str()).collect();
            let path = path.child("plugins").child("queueSort");
            errors.invalid(path, names, "must be the same for all profiles");
        }
        if let Some(own) = args(profile).filter(|own| args(first).as_ref() != Some(own)) {
            let path = path.child("pluginConfig").child("args");
            errors.invalid(path, own, "queueSort must be the same for all profiles");
        }
    }
}

fn plugins(profile: &KubeSchedulerProfile, path: &Path, errors: &mut Errors) {
    let removed = |name: &str, path: Path, errors: &mut Errors| {
        let is_removed = REMOVED.contains(&name);
        if is_removed {
            errors.invalid(
                path,
                name,
                "was invalid in version \"v1\" (KubeSchedulerConfiguration is version \"kubescheduler.config.k8s.io/v1\")",
            );
        }
        is_removed
    };
    for point in Point::ALL {
        let path = path.child("plugins").child(point.name()).child("enabled");
        let enabled = profile.plugins.at(point).enabled.iter().enumerate();
        for (index, plugin) in enabled {
            removed(&plugin.name, path.index(index), errors);
        }
    }
    let sets = Point::ALL.map(|point| (point.name(), profile.plugins.at(point)));
    for (name, set) in sets
        .into_iter()
        .chain([("multiPoint", &profile.plugins.multi_point)])
    {
        let path = path.child("plugins").child(name).child("enabled");
        let mut seen = BTreeSet::new();
        for (index, plugin) in set.enabled.iter().enumerate() {
            if !seen.insert(plugin.name.as_str()) {
                let name = plugin.name.as_str();
                let detail = format!("plugin {name:?} already registered");
                errors.invalid(path.index(index), name, &detail);
            }
        }
    }
    let mut seen = BTreeSet::new();
    for (index, config) in profile.plugin_config.iter().enumerate() {
        let path = path.child("pluginConfig").index(index);
        if !seen.insert(config.name.as_str()) {
            errors.duplicate(path.clone(), config.name.as_str());
        }
        removed(&config.name, path, errors);
    }
}

/// The rules of `extenders`.
pub(super) fn extenders(extenders: &[Extender], errors: &mut Errors) {
    let of_all = Path::new("extenders");
    let mut resources = BTreeSet::new();
    for (index, extender) in extenders.iter().enumerate() {
        let path = of_all.index(index);
        if !extender.prioritize_verb.is_empty() && extender.weight <= 0 {
            let detail = "must have a positive weight applied to it";
            errors.invalid(path.child("weight"), extender.weight, detail);
        }
        for (index, resource) in extender.managed_resources.iter().enumerate() {
            let path = path.child("managedResources").index(index).child("name");
            let name = resource.name.as_str();
            let complaints = name::qualified(name);
            for complaint in &complaints {
                errors.invalid(path.clone(), name, complaint);
            }
            if complaints.is_empty() && !is_extended(name) {
                errors.invalid(path.clone(), name, "is an invalid extended resource name");
            }
            if !resources.insert(name) {
                errors.invalid(path, name, "duplicate extender managed resource name");
            }
        }
    }
    let binders = extenders
        .iter()
        .filter(|extender| !extender.bind_verb.is_empty())
        .count();
    if binders > 1 {
        errors.invalid(
            of_all,
            format!("found {binders} extenders implementing bind"),
            "only one extender can implement bind",
        );
    }
}

/// Whether a resource is none of Kubernetes' own: it has a domain, not that of Kubernetes, and is no quota's name.
fn is_extended(resource: &str) -> bool {
    let Some((domain, _)) = resource.split_once('/') else {
        return false;
    };
    let is_native = domain == "kubernetes.io" || domain.ends_with(".kubernetes.io");
    !is_native
        && !resource.starts_with("requests.")
        && name::qualified(&format!("requests.{resource}")).is_empty()
}
