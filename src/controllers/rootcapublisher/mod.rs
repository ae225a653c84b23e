//! Publishes in every namespace whom to trust when talking to the API server: the ConfigMap `kube-root-ca.crt`
//! (`root-ca-certificate-publisher-controller` of `kube-controller-manager`).

mod plan;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::Api;
use kube::api::PostParams;

use super::namespaceutil;
use crate::client;
use crate::reconcile::{Action, Cache, Controller, Error, Key, Manager, Reconciler, Source};

/// The name under which the controller runs and writes.
const NAME: &str = "root-ca-cert-publisher";

/// Adds the controller to `manager`; `bundle` holds the certificates in PEM, and is empty where there is no TLS.
pub fn install(manager: &Manager, bundle: impl Into<String>, workers: usize) {
    let (namespaces, maps) = (manager.cache::<Namespace>(), manager.cache::<ConfigMap>());
    let reconciler = Publisher {
        client: manager.client_for(NAME),
        bundle: bundle.into(),
        namespaces: namespaces.clone(),
        maps: maps.clone(),
    };
    let ours = |old: Option<&Arc<ConfigMap>>, new: Option<&Arc<ConfigMap>>| {
        // A new one is that of this controller, or makes it look when it tries to create its own.
        let changed = old.and_then(|old| plan::namespace_of(old));
        changed.filter(|_| new != old).into_iter().collect()
    };
    manager.add(
        Controller::new(NAME, reconciler)
            .source(Source::objects(&namespaces))
            .source(Source::mapped(&maps, ours))
            .workers(workers),
    );
}

struct Publisher {
    client: kube::Client,
    bundle: String,
    namespaces: Cache<Namespace>,
    maps: Cache<ConfigMap>,
}

impl Reconciler for Publisher {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let namespace = self.namespaces.get(&key);
        if !namespace.is_some_and(|namespace| namespaceutil::is_active(&namespace)) {
            return Ok(Action::Done);
        }
        let known = self.maps.get(&Key::new(key.name.clone(), plan::MAP));
        let Some(wanted) = plan::map(known.as_deref(), &key.name, &self.bundle) else {
            return Ok(Action::Done);
        };
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &key.name);
        let params = PostParams::default();
        let written = match known {
            Some(_) => maps.replace(plan::MAP, &params, &wanted).await,
            None => maps.create(&params, &wanted).await,
        };
        match written {
            Ok(written) => self.maps.caught_up(&written).await,
            Err(error)
                if client::is_already_exists(&error)
                    || client::is_namespace_terminating(&error)
                    || client::is_not_found(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Action::Done)
    }
}
