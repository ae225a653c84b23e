//! Empties namespaces that are being deleted, then lets them go (`kube-controller-manager`'s `namespace` controller).

mod plan;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;
use kube::core::PartialObjectMeta;
use serde::Deserialize;

use self::plan::{FINALIZER, Left, Progress};
use crate::client::{self, ServedResource, served_resources};
use crate::clock::Clock;
use crate::reconcile::{Action, Cache, Controller, Error, Key, Manager, Reconciler, Source};

/// The name under which the controller runs and writes.
const NAME: &str = "namespace-controller";

/// How soon to look again at a namespace that is not empty yet. Its content goes at its own pace: pods have their grace.
const AGAIN: Duration = Duration::from_secs(5);

/// Adds the controller to `manager`; `workers` namespaces are handled at once (upstream's default is 10).
pub fn install(manager: &Manager, workers: usize) {
    let namespaces = manager.cache::<Namespace>();
    let reconciler = Namespaces {
        client: manager.client_for(NAME),
        clock: manager.clock().clone(),
        namespaces: namespaces.clone(),
    };
    manager.add(
        Controller::new(NAME, reconciler)
            .source(Source::objects(&namespaces))
            .workers(workers),
    );
}

struct Namespaces {
    client: kube::Client,
    clock: Clock,
    namespaces: Cache<Namespace>,
}

impl Reconciler for Namespaces {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let cached = self.namespaces.get(&key);
        if !cached.is_some_and(|namespace| {
            namespace.metadata.deletion_timestamp.is_some() && is_held(&namespace)
        }) {
            return Ok(Action::Done);
        }
        let Some(namespace) = api.get_opt(&key.name).await? else {
            return Ok(Action::Done);
        };
        let progress = self.empty(&key.name).await;
        if progress.is_empty() {
            self.finalize(namespace).await?;
            return Ok(Action::Done);
        }
        self.report(&api, namespace, &progress).await?;
        Ok(Action::After(AGAIN))
    }
}

/// Whether the namespace still waits for this controller.
fn is_held(namespace: &Namespace) -> bool {
    let mut finalizers = namespace
        .spec
        .iter()
        .flat_map(|spec| spec.finalizers.iter().flatten());
    finalizers.any(|finalizer| finalizer == FINALIZER)
}

impl Namespaces {
    /// Deletes everything in the namespace, and says what is still there.
    async fn empty(&self, namespace: &str) -> Progress {
        let mut progress = Progress::default();
        let resources = match served_resources(&self.client).await {
            Ok(resources) => resources,
            Err(error) => {
                progress.discovery_failure = Some(client::message(&error));
                return progress;
            }
        };
        for resource in resources
            .iter()
            .filter(|resource| resource.namespaced && resource.supports(&["list", "delete"]))
        {
            match self.empty_of(namespace, resource).await {
                Ok(left) => progress.left.extend(left),
                Err(error) => progress.failures.push(client::message(&error)),
            }
        }
        progress
    }

    /// Deletes the namespace's objects of one resource; `Some`: what is still there.
    async fn empty_of(
        &self,
        namespace: &str,
        resource: &ServedResource,
    ) -> Result<Option<Left>, kube::Error> {
        let path = resource.path(namespace);
        let items = self.list(&path).await?;
        if items.is_empty() {
            return Ok(None);
        }
        if resource.supports(&["deletecollection"]) {
            self.delete(&path).await?;
        } else {
            for item in &items {
                self.delete(&format!(
                    "{path}/{}",
                    item.metadata.name.as_deref().unwrap_or_default()
                ))
                .await?;
            }
        }
        let items = self.list(&path).await?;
        let mut finalizers: BTreeMap<String, usize> = BTreeMap::new();
        for finalizer in items
            .iter()
            .flat_map(|item| item.metadata.finalizers.iter().flatten())
        {
            *finalizers.entry(finalizer.clone()).or_default() += 1;
        }
        let resource = format!("{}.{}", resource.plural, resource.group);
        let left = Left {
            resource,
            objects: items.len(),
            finalizers: finalizers.into_iter().collect(),
        };
        Ok((!items.is_empty()).then_some(left))
    }

    async fn list(&self, path: &str) -> Result<Vec<PartialObjectMeta>, kube::Error> {
        #[derive(Deserialize)]
        struct List {
            items: Vec<PartialObjectMeta>,
        }
        let request = http::Request::get(path)
            .header(
                http::header::ACCEPT,
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            )
            .body(Vec::new());
        let list: List = self
            .client
            .request(request.map_err(kube::Error::HttpError)?)
            .await?;
        Ok(list.items)
    }

    async fn delete(&self, path: &str) -> Result<(), kube::Error> {
        let options =
            br#"{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background"}"#
                .to_vec();
        let request = http::Request::delete(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(options);
        match self
            .client
            .request_text(request.map_err(kube::Error::HttpError)?)
            .await
        {
            Err(error) if !client::is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes this controller's finalizer away; the namespace goes with the last one.
    async fn finalize(&self, mut namespace: Namespace) -> Result<(), Error> {
        if let Some(finalizers) = namespace
            .spec
            .as_mut()
            .and_then(|spec| spec.finalizers.as_mut())
        {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        let name = namespace.metadata.name.clone().unwrap_or_default();
        let body = serde_json::to_vec(&namespace)?;
        let request = http::Request::put(format!("/api/v1/namespaces/{name}/finalize"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)?;
        match self.client.request_text(request).await {
            Err(error) if !client::is_not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn report(
        &self,
        api: &Api<Namespace>,
        namespace: Namespace,
        progress: &Progress,
    ) -> Result<(), Error> {
        let conditions = progress.conditions(&namespace, self.clock.now());
        let status = namespace.status.clone().unwrap_or_default();
        if status.conditions.as_ref() == Some(&conditions) {
            return Ok(());
        }
        let status = k8s_openapi::api::core::v1::NamespaceStatus {
            conditions: Some(conditions),
            ..status
        };
        let updated = Namespace {
            status: Some(status),
            ..namespace
        };
        let name = updated.metadata.name.clone().unwrap_or_default();
        match api
            .replace_status(&name, &PostParams::default(), &updated)
            .await
        {
            Err(error) if !client::is_not_found(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }
}
