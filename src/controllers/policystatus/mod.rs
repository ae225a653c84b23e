//! Writes into the status of each ValidatingAdmissionPolicy what is wrong with its expressions when the types of what it
//! matches are known (`validatingadmissionpolicy-status-controller` of `kube-controller-manager`).

mod plan;
mod schema;

use std::collections::BTreeMap;

use http::Request;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::cel::Type;
use crate::client::{self, ServedResource};
use crate::object::GroupVersionKind;
use crate::reconcile::{Action, Cache, Controller, Error, Key, Manager, Reconciler, Source};

/// The name under which the controller runs and writes.
const NAME: &str = "validatingadmissionpolicy-status-controller";

/// Adds the controller to `manager`.
pub fn install(manager: &Manager, workers: usize) {
    let policies = manager.cache::<ValidatingAdmissionPolicy>();
    let reconciler = Status {
        client: manager.client_for(NAME),
        policies: policies.clone(),
    };
    manager.add(
        Controller::new(NAME, reconciler)
            .source(Source::objects(&policies))
            .workers(workers),
    );
}

struct Status {
    client: kube::Client,
    policies: Cache<ValidatingAdmissionPolicy>,
}

impl Reconciler for Status {
    async fn reconcile(&self, key: Key) -> Result<Action, Error> {
        let Some(policy) = self.policies.get(&key) else {
            return Ok(Action::Done);
        };
        let Some(generation) = plan::unobserved(&policy) else {
            return Ok(Action::Done);
        };
        let mut served = client::served_versions(&self.client).await?;
        served.retain(|resource| !resource.plural.contains('/'));
        let types = self.types(&policy, &served).await?;
        let warnings = plan::warnings(&policy, &types);
        let mut checking = json!({});
        if !warnings.is_empty() {
            checking["expressionWarnings"] = json!(warnings);
        }
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": &*key.name },
            "status": { "observedGeneration": generation, "typeChecking": checking },
        });
        let parameters = PatchParams::apply(NAME).force();
        let written = Api::<ValidatingAdmissionPolicy>::all(self.client.clone())
            .patch_status(&key.name, &parameters, &Patch::Apply(configuration))
            .await;
        match written {
            Ok(written) => self.policies.caught_up(&written).await,
            Err(error) if client::is_not_found(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Action::Done)
    }
}

impl Status {
    /// The types of what a policy is about, of the kinds whose schema the server tells.
    async fn types(
        &self,
        policy: &ValidatingAdmissionPolicy,
        served: &[ServedResource],
    ) -> Result<plan::Types, Error> {
        let mut documents = BTreeMap::new();
        let mut objects = Vec::new();
        for kind in plan::kinds(policy, served) {
            if let Some(found) = self.declared(&kind, &mut documents).await? {
                objects.push((kind, found));
            }
        }
        let params = match plan::param_kind(policy) {
            Some(kind) => self.declared(&kind, &mut documents).await?,
            None => None,
        };
        Ok(plan::Types { objects, params })
    }

    /// The type of the objects of a kind; `None`: nobody knows.
    async fn declared(
        &self,
        kind: &GroupVersionKind,
        documents: &mut BTreeMap<String, Value>,
    ) -> Result<Option<Type>, Error> {
        let path = if kind.group.is_empty() {
            format!("/openapi/v3/api/{}", kind.version)
        } else {
            format!("/openapi/v3/apis/{}/{}", kind.group, kind.version)
        };
        if !documents.contains_key(&path) {
            let request = Request::get(&path).body(Vec::new());
            let request = request.map_err(kube::Error::HttpError)?;
            let document = match self.client.request::<Value>(request).await {
                Ok(document) => document,
                Err(error) if client::is_not_found(&error) => Value::Null,
                Err(error) => return Err(error.into()),
            };
            documents.insert(path.clone(), document);
        }
        Ok(documents
            .get(&path)
            .and_then(|document| schema::declare(document, kind)))
    }
}
