//! Gives every namespace the service account `default` (`service-account-controller` of `kube-controller-manager`).

mod plan;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Api;
use kube::api::PostParams;

use super::namespaceutil;
use crate::client;
use crate::reconcile::{Action, Cache, Controller, Error, Key, Manager, Reconciler, Source};

/// The name under which the controller runs and writes.
const NAME: &str = "service-account-controller";

/// Adds the controller to `manager`.
pub fn install(manager: &Manager, workers: usize) {
    let (namespaces, accounts) = (
        manager.cache::<Namespace>(),
        manager.cache::<ServiceAccount>(),
    );
    let reconciler = Accounts {
        client: manager.client_for(NAME),
        namespaces: namespaces.clone(),
        accounts: accounts.clone(),
    };
    // Only the loss of an account is of interest.
    let lost = |old: Option<&_>, new: Option<&_>| match (old, new) {
        (Some(old), None) => plan::namespace_of(old).into_iter().collect(),
        _ => Vec::new(),
    };
    manager.add(
        Controller::new(NAME, reconciler)
            .source(Source::objects(&namespaces))
            .source(Source::mapped(&accounts, move |old, new| {
                lost(old.map(|old| &**old), new.map(|new| &**new))
            }))
            .workers(workers),
    );
}

struct Accounts {
    client: kube::Client,
    namespaces: Cache<Namespace>,
    accounts: Cache<ServiceAccount>,
}

impl Reconciler for Accounts {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let namespace = self.namespaces.get(&key);
        let account = self
            .accounts
            .get(&Key::new(key.name.clone(), plan::DEFAULT));
        let due = namespace.is_some_and(|namespace| namespaceutil::is_active(&namespace));
        if !due || account.is_some() {
            return Ok(Action::Done);
        }
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &key.name);
        match accounts
            .create(&PostParams::default(), &plan::account(&key.name))
            .await
        {
            // The cache is to show it before the next look at the namespace.
            Ok(created) => self.accounts.caught_up(&created).await,
            Err(error)
                if client::is_already_exists(&error)
                    || client::is_namespace_terminating(&error)
                    || client::is_not_found(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Action::Done)
    }
}
