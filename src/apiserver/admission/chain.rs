//! THE list of built-in plugins, and how plugins are run.
use super::{Admission, AdmissionRequest, namespace, nodes, priority, tolerations};
use crate::object::Status;
use serde_json::Value;
use std::sync::Arc;

/// Plugins in the order in which they run.
#[derive(Clone, Debug)]
pub(crate) struct Chain(Vec<Arc<dyn Admission>>);

/// The built-in plugins that are on by default, in the order of kube-apiserver.
impl Default for Chain {
    fn default() -> Self {
        Self(vec![
            Arc::new(namespace::NamespaceLifecycle),
            Arc::new(nodes::TaintNodesByCondition),
            Arc::new(priority::Priority),
            Arc::new(tolerations::DefaultTolerationSeconds),
        ])
    }
}

impl Chain {
    /// With `plugin` after those there are.
    #[must_use]
    pub(crate) fn with(mut self, plugin: Arc<dyn Admission>) -> Self {
        self.0.push(plugin);
        self
    }

    /// Without the plugin of this name.
    #[must_use]
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.retain(|plugin| plugin.name() != name);
        self
    }

    /// Runs the mutating hooks.
    ///
    /// # Errors
    /// What the first plugin that refuses says.
    pub(crate) async fn mutate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &mut Value,
    ) -> Result<(), Status> {
        for plugin in &self.0 {
            plugin.mutate(request, object).await?;
        }
        Ok(())
    }

    /// Runs the validating hooks.
    ///
    /// # Errors
    /// What the first plugin that refuses says.
    pub(crate) async fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        for plugin in &self.0 {
            plugin.validate(request, object).await?;
        }
        Ok(())
    }
}
