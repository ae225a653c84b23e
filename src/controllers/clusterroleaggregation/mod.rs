//! Gathers the rules of cluster roles into those that aggregate them (`clusterrole-aggregation-controller` of
//! `kube-controller-manager`).

mod plan;

use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::reconcile::{Action, Cache, Controller, Error, Key, Manager, Reconciler, Source};

/// The name under which the controller runs and writes.
const NAME: &str = "clusterrole-aggregation-controller";

/// Adds the controller to `manager`.
pub fn install(manager: &Manager, workers: usize) {
    let roles = manager.cache::<ClusterRole>();
    let reconciler = Aggregator {
        client: manager.client_for(NAME),
        roles: roles.clone(),
    };
    // Which roles a change concerns is known only after looking at all; there are few that gather.
    let gathering = {
        let roles = roles.clone();
        move |_: Option<&_>, _: Option<&_>| {
            let gathering = roles.list().into_iter();
            gathering
                .filter(|role| role.aggregation_rule.is_some())
                .map(|role| Key::of(&*role))
                .collect()
        }
    };
    manager.add(
        Controller::new(NAME, reconciler)
            .source(Source::mapped(&roles, gathering))
            .workers(workers),
    );
}

struct Aggregator {
    client: kube::Client,
    roles: Cache<ClusterRole>,
}

impl Reconciler for Aggregator {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(role) = self.roles.get(&key) else {
            return Ok(Action::Done);
        };
        let roles = self.roles.list();
        let Some(rules) = plan::rules(&role, roles.iter().map(|role| &**role))? else {
            return Ok(Action::Done);
        };
        let configuration = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": &*key.name },
            "rules": rules,
        });
        let parameters = PatchParams::apply(NAME).force();
        Api::<ClusterRole>::all(self.client.clone())
            .patch(&key.name, &parameters, &Patch::Apply(configuration))
            .await?;
        Ok(Action::Done)
    }
}
