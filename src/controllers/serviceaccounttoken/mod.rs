//! Fills secrets that ask for the token of a service account, and removes those whose account is gone
//! (`tokens-controller` of `kube-controller-manager`). Such tokens do not expire; pods get others, which do.

mod plan;

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Api;
use kube::api::PostParams;

use self::plan::Step;
use crate::client;
use crate::reconcile::{Action, Cache, Controller, Error, Key, Manager, Reconciler, Source};

/// The name under which the controller runs and writes.
const NAME: &str = "tokens-controller";

/// Makes the token of an account, good for as long as the secret exists.
pub type Sign = Arc<dyn Fn(&ServiceAccount, &Secret) -> Result<String, String> + Send + Sync>;

/// Adds the controller to `manager`. `bundle` holds the certificates in PEM by which the API server is known, and is empty
/// where there is no TLS.
pub fn install(manager: &Manager, sign: Sign, bundle: impl Into<String>, workers: usize) {
    let (accounts, secrets) = (manager.cache::<ServiceAccount>(), manager.cache::<Secret>());
    let by_account =
        secrets.index(|secret: &Secret| plan::account_of(secret).into_iter().collect());
    let reconciler = Tokens {
        client: manager.client_for(NAME),
        sign,
        bundle: bundle.into(),
        accounts: accounts.clone(),
        secrets: secrets.clone(),
    };
    let of_account = move |old: Option<&Arc<ServiceAccount>>, new: Option<&Arc<ServiceAccount>>| {
        let account = new.or(old).map(|account| plan::path(&account.metadata));
        let secrets = by_account.get(&account.unwrap_or_default());
        secrets.iter().map(|secret| Key::of(&**secret)).collect()
    };
    let tokens = |old: Option<&Arc<Secret>>, new: Option<&Arc<Secret>>| {
        let tokens = new.or(old).filter(|secret| plan::is_token(secret));
        tokens
            .map(|secret| Key::of(&**secret))
            .into_iter()
            .collect()
    };
    manager.add(
        Controller::new(NAME, reconciler)
            .source(Source::mapped(&secrets, tokens))
            .source(Source::mapped(&accounts, of_account))
            .workers(workers),
    );
}

struct Tokens {
    client: kube::Client,
    sign: Sign,
    bundle: String,
    accounts: Cache<ServiceAccount>,
    secrets: Cache<Secret>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Reconciler for Tokens {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(secret) = self.secrets.get(&key) else {
            self.forget(&key).await?;
            return Ok(Action::Done);
        };
        if !plan::is_token(&secret) {
            return Ok(Action::Done);
        }
        let name = plan::account_name(&secret).unwrap_or_default();
        let mut account = self.accounts.get(&Key::new(key.namespace.clone(), name));
        if plan::step(&secret, account.as_deref(), &self.bundle) == Step::Remove && !name.is_empty()
        {
            // Whether it is gone is found out for certain.
            let accounts: Api<ServiceAccount> =
                Api::namespaced(self.client.clone(), &key.namespace);
            account = accounts.get_opt(name).await?.map(Arc::new);
        }
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        match (
            plan::step(&secret, account.as_deref(), &self.bundle),
            account,
        ) {
            (Step::Nothing, _) => {}
            (Step::Fill, Some(account)) => {
                let token = if plan::has_token(&secret) {
                    None
                } else {
                    Some((self.sign)(&account, &secret)?)
                };
                let filled = plan::filled(&secret, &account, token, &self.bundle);
                let written = secrets
                    .replace(&key.name, &PostParams::default(), &filled)
                    .await;
                match written {
                    Ok(written) => self.secrets.caught_up(&written).await,
                    Err(error) if client::is_not_found(&error) || client::is_conflict(&error) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            (Step::Fill | Step::Remove, _) => {
                let params = client::only(&secret.metadata);
                match secrets.delete(&key.name, &params).await {
                    Err(error) if !client::is_not_found(&error) && !client::is_conflict(&error) => {
                        return Err(error.into());
                    }
                    _ => {}
                }
            }
        }
        Ok(Action::Done)
    }
}

impl Tokens {
    /// Takes a secret that is gone out of the accounts that name it.
    async fn forget(&self, key: &Key) -> Result<(), Error> {
        let accounts = self.accounts.list();
        let naming = accounts
            .iter()
            .filter(|account| account.metadata.namespace.as_deref() == Some(&*key.namespace))
            .filter_map(|account| plan::without(account, &key.name));
        for account in naming {
            let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &key.namespace);
            let name = account.metadata.name.clone().unwrap_or_default();
            match api.replace(&name, &PostParams::default(), &account).await {
                Err(error) if !client::is_not_found(&error) => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}
