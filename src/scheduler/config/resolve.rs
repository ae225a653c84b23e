//! From a document to what a scheduler is made of.

use std::time::Duration;

use serde_json::{Value, json};

use super::document::{KubeSchedulerConfiguration, KubeSchedulerProfile, LeaderElection};
use super::{ConfigError, args, validate};
use crate::object::field::{Errors, Path};
use crate::reconcile::leader::LeaderConfig;
use crate::scheduler::extender::HttpExtender;
use crate::scheduler::framework::{Point, Profile, ProfileError, Registry};
use crate::scheduler::{Error, SchedulerConfig};

impl KubeSchedulerConfiguration {
    /// The scheduler that this document describes, with plugins from `registry`. Extenders are reached over HTTP.
    ///
    /// ```
    /// use homeostat::scheduler::config::KubeSchedulerConfiguration;
    /// use homeostat::scheduler::framework::Registry;
    ///
    /// let text = "
    /// apiVersion: kubescheduler.config.k8s.io/v1
    /// kind: KubeSchedulerConfiguration
    /// profiles:
    /// - plugins: {filter: {enabled: [{name: Nobody}]}}
    /// ";
    /// let config = KubeSchedulerConfiguration::parse(text)?;
    /// let error = config.resolve(&Registry::in_tree()).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "profiles[0].plugins.filter.enabled[0]: Invalid value: \"Nobody\": FilterPlugin \"Nobody\" does not exist"
    /// );
    /// # Ok::<(), homeostat::scheduler::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// When it names plugins that are not in `registry`, or extenders contradict one another.
    pub fn resolve(&self, registry: &Registry) -> Result<SchedulerConfig, ConfigError> {
        let mut config = self.resolve_without_extenders(registry)?;
        for extender in &self.extenders {
            let made = HttpExtender::connect(extender.clone());
            config = config.extender(made.map_err(|error| ConfigError::Kind(error.to_string()))?);
        }
        Ok(config)
    }

    /// As [`KubeSchedulerConfiguration::resolve`], for whoever adds the extenders with a transport of their own.
    ///
    /// # Errors
    /// When it names plugins that are not in `registry`, or extenders contradict one another.
    pub fn resolve_without_extenders(
        &self,
        registry: &Registry,
    ) -> Result<SchedulerConfig, ConfigError> {
        let mut errors = Errors::new();
        validate::extenders(&self.extenders, &mut errors);
        let mut config = SchedulerConfig::default().registry(registry.clone());
        for (index, profile) in self.profiles.iter().enumerate() {
            let path = Path::new("profiles").index(index);
            unknown(profile, &path, registry, &mut errors);
            config = config.profile(self.profile(profile));
        }
        if !errors.is_empty() {
            return Err(ConfigError::Invalid(errors));
        }
        let percent = u32::try_from(self.percentage_of_nodes_to_score).unwrap_or(0);
        let seconds = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        Ok(config.percentage_of_nodes_to_score(percent).backoff(
            seconds(self.pod_initial_backoff_seconds),
            seconds(self.pod_max_backoff_seconds),
        ))
    }

    fn profile(&self, profile: &KubeSchedulerProfile) -> Profile {
        let mut made = Profile::bare(&profile.scheduler_name);
        if let Some(percent) = profile.percentage_of_nodes_to_score {
            made = made.percentage_of_nodes_to_score(u32::try_from(percent).unwrap_or(0));
        }
        let weight = |weight: Option<i32>| i64::from(weight.unwrap_or(0));
        for plugin in &profile.plugins.multi_point.enabled {
            made = made.enable(&plugin.name, weight(plugin.weight));
        }
        for point in Point::ALL {
            let set = profile.plugins.at(point);
            for plugin in &set.disabled {
                made = made.disable_at(point, &plugin.name);
            }
            for plugin in &set.enabled {
                made = made.enable_at(point, &plugin.name, weight(plugin.weight));
            }
        }
        for config in &profile.plugin_config {
            let mut args = config.args.clone();
            if config.name == "NodeResourcesFit" {
                self.ignore_managed(&mut args);
            }
            // Whoever is given nothing but defaults has them already.
            if !args.is_null() && args::default(&config.name).as_ref() != Some(&args) {
                made = made.args(&config.name, args);
            }
        }
        made
    }

    /// What extenders manage and want ignored is not counted on nodes.
    fn ignore_managed(&self, args: &mut Value) {
        let managed = self
            .extenders
            .iter()
            .flat_map(|extender| &extender.managed_resources);
        let ignored = managed.filter(|resource| resource.ignored_by_scheduler);
        let names = ignored.map(|resource| json!(resource.name));
        if let Some(Value::Array(resources)) = args.get_mut("ignoredResources") {
            resources.extend(names);
        }
    }

    /// Says where in the document it is what [`install`](crate::scheduler::install) complains of.
    #[must_use]
    pub fn locate(&self, error: &Error) -> ConfigError {
        let mut errors = Errors::new();
        match error {
            Error::DuplicateProfile { index, name } => {
                let path = Path::new("profiles").index(*index);
                errors.duplicate(path.child("schedulerName"), name.as_str());
            }
            Error::Profile { index, error } => {
                let path = Path::new("profiles").index(*index);
                match self.profiles.get(*index) {
                    Some(profile) => locate(profile, &path, error, &mut errors),
                    None => errors.invalid_text(path, "", &error.to_string()),
                }
            }
        }
        ConfigError::Invalid(errors)
    }
}

/// Plugins that nobody can make.
fn unknown(profile: &KubeSchedulerProfile, path: &Path, registry: &Registry, errors: &mut Errors) {
    let of_plugins = path.child("plugins");
    for point in Point::ALL {
        let path = of_plugins.child(point.name()).child("enabled");
        let enabled = profile.plugins.at(point).enabled.iter().enumerate();
        for (index, plugin) in enabled.filter(|(_, plugin)| !registry.contains(&plugin.name)) {
            let (name, kind) = (plugin.name.as_str(), title(point));
            let detail = format!("{kind}Plugin {name:?} does not exist");
            errors.invalid(path.index(index), name, &detail);
        }
    }
    let path = of_plugins.child("multiPoint").child("enabled");
    let enabled = profile.plugins.multi_point.enabled.iter().enumerate();
    for (index, plugin) in enabled.filter(|(_, plugin)| !registry.contains(&plugin.name)) {
        let name = plugin.name.as_str();
        errors.invalid(
            path.index(index),
            name,
            &format!("plugin {name:?} does not exist"),
        );
    }
}

/// `Filter` for `filter`.
fn title(point: Point) -> String {
    let name = point.name();
    let first = name.chars().next().into_iter().flat_map(char::to_uppercase);
    first.chain(name.chars().skip(1)).collect()
}

fn locate(profile: &KubeSchedulerProfile, path: &Path, error: &ProfileError, errors: &mut Errors) {
    let enabled = |name: &str, point: Option<Point>| {
        let (field, set) = match point {
            Some(point) => (point.name(), profile.plugins.at(point)),
            None => ("multiPoint", &profile.plugins.multi_point),
        };
        let index = set.enabled.iter().rposition(|plugin| plugin.name == name);
        let path = path.child("plugins").child(field).child("enabled");
        path.index(index.unwrap_or(0))
    };
    match error {
        ProfileError::UnknownPlugin { name, point } => {
            let detail = format!("plugin {name:?} does not exist");
            errors.invalid(enabled(name, *point), name.as_str(), &detail);
        }
        ProfileError::NotExtended { name, point } => {
            let detail = format!(
                "plugin {name:?} does not extend {}Plugin plugin",
                title(*point)
            );
            errors.invalid(enabled(name, Some(*point)), name.as_str(), &detail);
        }
        ProfileError::Duplicate { name, point } => {
            let detail = format!(
                "plugin {name:?} already registered as \"{}Plugin\"",
                title(*point)
            );
            errors.invalid(enabled(name, Some(*point)), name.as_str(), &detail);
        }
        ProfileError::Args { name, error } => {
            let index = profile
                .plugin_config
                .iter()
                .position(|config| config.name == *name);
            let mut path = path
                .child("pluginConfig")
                .index(index.unwrap_or(0))
                .child("args");
            if !error.path.is_empty() {
                path = path.child(&error.path);
            }
            errors.push(
                crate::object::field::ErrorKind::Invalid,
                path,
                format!("initializing plugin {name:?}: {}", error.message),
            );
        }
        other => errors.push(
            crate::object::field::ErrorKind::Invalid,
            path.child("plugins"),
            other.to_string(),
        ),
    }
}

impl LeaderElection {
    /// The election of this document for the candidate `identity`; `None`: there is none.
    #[must_use]
    pub fn candidate(&self, identity: impl Into<String>) -> Option<LeaderConfig> {
        self.leader_elect.then(|| {
            LeaderConfig::new(&self.resource_namespace, &self.resource_name, identity)
                .lease_duration(self.lease_duration)
                .renew_deadline(self.renew_deadline)
                .retry_period(self.retry_period)
        })
    }
}
