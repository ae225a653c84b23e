//! `KubeSchedulerConfiguration` v1 (`kubescheduler.config.k8s.io/v1`): the document by which kube-scheduler is configured.
//!
//! ```
//! use homeostat::scheduler::config::KubeSchedulerConfiguration;
//!
//! let config = KubeSchedulerConfiguration::parse(
//!     "
//! apiVersion: kubescheduler.config.k8s.io/v1
//! kind: KubeSchedulerConfiguration
//! profiles:
//! - schedulerName: packing
//!   pluginConfig:
//!   - name: NodeResourcesFit
//!     args: {scoringStrategy: {type: MostAllocated}}
//! ",
//! )?;
//! assert_eq!(config.profiles[0].scheduler_name, "packing");
//!
//! let unknown = "{apiVersion: kubescheduler.config.k8s.io/v1, kind: KubeSchedulerConfiguration, parallel: 3}";
//! let error = KubeSchedulerConfiguration::parse(unknown).unwrap_err();
//! assert_eq!(error.to_string(), "strict decoding error: unknown field \"parallel\"");
//! # Ok::<(), homeostat::scheduler::config::ConfigError>(())
//! ```

mod args;
mod document;
mod plugins;
mod read;
mod resolve;
mod validate;

use serde_json::Value;

use self::document::Written;
pub use self::document::{
    ClientConnection, Extender, ExtenderTlsConfig, KubeSchedulerConfiguration,
    KubeSchedulerProfile, LeaderElection, ManagedResource, Plugin, PluginConfig, PluginSet,
    Plugins,
};
use self::read::{Problems, Read};
use crate::object::Document;
use crate::object::field::{Errors, Path};

const GROUP: &str = "kubescheduler.config.k8s.io";
const VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";

/// Why a document is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It is neither YAML nor JSON.
    #[error("error converting YAML to JSON: {0}")]
    Syntax(#[source] Box<serde_saphyr::Error>),
    /// It is of another kind or version, or does not say so.
    #[error("{0}")]
    Kind(String),
    /// It has fields that nobody knows.
    #[error("strict decoding error: {}", .0.join(", "))]
    Unknown(Vec<String>),
    /// Fields have values that they may not have, or name plugins that do not exist.
    #[error("{}", aggregate(.0))]
    Invalid(Errors),
}

/// Several errors as one text, as Kubernetes joins them.
fn aggregate(errors: &Errors) -> String {
    let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [only] => only.clone(),
        all => format!("[{}]", all.join(", ")),
    }
}

impl Default for KubeSchedulerConfiguration {
    /// What an empty document means.
    fn default() -> Self {
        let mut config = Written::default().complete();
        // Defaults are valid: nothing is found.
        finish(&mut config, &mut Vec::new(), &mut Errors::new());
        config
    }
}

impl KubeSchedulerConfiguration {
    /// Reads a document in YAML or JSON, fills in the defaults, and checks it.
    ///
    /// # Errors
    /// When it does not parse, is of another kind, has unknown fields, or values that are not allowed; all fields that are
    /// wrong are named with their paths.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let options = serde_saphyr::options! {
            strict_booleans: true,
            with_snippet: false,
        };
        let value: Value = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| ConfigError::Syntax(Box::new(error)))?;
        Self::from_value(&value)
    }

    /// Reads a document that is parsed already.
    ///
    /// # Errors
    /// As [`KubeSchedulerConfiguration::parse`].
    pub fn from_value(value: &Value) -> Result<Self, ConfigError> {
        let (version, kind) = (value.api_version(), value.kind());
        for (found, field) in [(kind, "Kind"), (version, "apiVersion")] {
            if found.is_empty() {
                let text = format!("Object '{field}' is missing in '{value}'");
                return Err(ConfigError::Kind(text));
            }
        }
        if version != VERSION || kind != KIND {
            let text = format!("no kind {kind:?} is registered for version {version:?}");
            return Err(ConfigError::Kind(text));
        }
        let mut problems = Problems::default();
        let written = Written::read(value, &Path::default(), &mut problems);
        if !problems.errors.is_empty() {
            return Err(ConfigError::Invalid(problems.errors));
        }
        let quoted = |path: &String| format!("unknown field {path:?}");
        let mut unknown: Vec<String> = problems.unknown.iter().map(quoted).collect();
        let (mut config, mut errors) = (written.complete(), Errors::new());
        finish(&mut config, &mut unknown, &mut errors);
        if !unknown.is_empty() {
            return Err(ConfigError::Unknown(unknown));
        }
        if !errors.is_empty() {
            return Err(ConfigError::Invalid(errors));
        }
        Ok(config)
    }
}

/// Merges plugins with the defaults, reads arguments, and checks everything.
fn finish(config: &mut KubeSchedulerConfiguration, unknown: &mut Vec<String>, errors: &mut Errors) {
    for (index, profile) in config.profiles.iter_mut().enumerate() {
        profile.plugins = std::mem::take(&mut profile.plugins).over_defaults();
        let path = Path::new("profiles").index(index).child("pluginConfig");
        for (index, plugin) in profile.plugin_config.iter_mut().enumerate() {
            let path = path.index(index);
            arguments(plugin, &path, unknown, errors);
        }
        // Plugins that the document gives no arguments have the default ones.
        for name in profile.plugins.names() {
            let has = profile
                .plugin_config
                .iter()
                .any(|config| config.name == name);
            if let Some(args) = args::default(&name).filter(|_| !has) {
                profile.plugin_config.push(PluginConfig { name, args });
            }
        }
    }
    validate::configuration(config, errors);
}

/// Reads and completes the arguments of a plugin of this crate; those of others stay as they are.
fn arguments(
    plugin: &mut PluginConfig,
    path: &Path,
    unknown: &mut Vec<String>,
    errors: &mut Errors,
) {
    let name = &plugin.name;
    let Some(reader) = args::reader(name) else {
        return;
    };
    let group = plugin.args.api_version();
    let group = group.split_once('/').map_or("", |(group, _)| group);
    let group = if group.is_empty() { GROUP } else { group };
    let (wanted, kind) = (format!("{name}Args"), plugin.args.kind());
    if group != GROUP || !(kind.is_empty() || kind == wanted) {
        let kind = if kind.is_empty() { &wanted } else { kind };
        let detail =
            format!("args for plugin {name} were not of type {wanted}.{GROUP}, got {kind}.{group}");
        errors.invalid(path.child("args"), plugin.args.clone(), &detail);
        return;
    }
    let mut problems = Problems::default();
    let mut args = reader(&plugin.args, &mut problems);
    if !problems.unknown.is_empty() {
        let quoted = |path: &String| format!("unknown field {path:?}");
        let fields: Vec<String> = problems.unknown.iter().map(quoted).collect();
        unknown.push(format!(
            "decoding .{path}: strict decoding error: decoding args for plugin {name}: strict decoding error: {}",
            fields.join(", ")
        ));
    }
    if !problems.errors.is_empty() {
        let args = path.child("args");
        errors
            .0
            .extend(problems.errors.0.into_iter().map(|mut error| {
                error.path = Path::new(format!("{args}.{}", error.path));
                error
            }));
        return;
    }
    args.set_defaults();
    args.validate(&path.child("args"), errors);
    plugin.args = args.to_value();
}

#[cfg(test)]
mod tests;
