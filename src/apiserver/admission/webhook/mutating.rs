//! `MutatingAdmissionWebhook`: webhooks that may change objects, one after the other.
use super::call::{self, Failure};
use super::hook::{Configuration, Hook, Refusal};
use super::transport::Transports;
use crate::apiserver::admission::cached::{Compiled, GROUP};
use crate::apiserver::admission::matching::{self, Match};
use crate::apiserver::admission::{Admission, AdmissionRequest, Operation};
use crate::apiserver::patch::json::Patch;
use crate::apiserver::schema::decode::{self, ContentType};
use crate::object::{Document, Status};
use async_trait::async_trait;
use serde_json::Value;

const NAME: &str = "MutatingAdmissionWebhook";

/// The webhooks there are.
#[derive(Debug)]
pub(in crate::apiserver::admission) struct MutatingAdmissionWebhook {
    configurations: Compiled<Configuration>,
    transports: Transports,
}

impl MutatingAdmissionWebhook {
    pub(in crate::apiserver::admission) fn new(transports: Transports) -> Self {
        Self {
            configurations: Compiled::new(
                GROUP,
                "mutatingwebhookconfigurations",
                Configuration::of,
            ),
            transports,
        }
    }

    /// Asks all webhooks; `object` is null for a deletion.
    async fn run(&self, request: &AdmissionRequest<'_>, object: &mut Value) -> Result<(), Status> {
        if matching::is_exempt(request) {
            return Ok(());
        }
        let configurations = self.configurations.all(&request.view).await?;
        if configurations.is_empty() {
            return Ok(());
        }
        request.session.enter(NAME, object);
        for configuration in &configurations {
            for hook in &configuration.hooks {
                self.one(request, hook, object).await?;
            }
        }
        request.session.leave(NAME, object);
        Ok(())
    }

    async fn one(
        &self,
        request: &AdmissionRequest<'_>,
        hook: &Hook,
        object: &mut Value,
    ) -> Result<(), Status> {
        let given = (!object.is_null()).then_some(&*object);
        let found = match hook.wants(request, given).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(()),
            Err(Refusal::Status(status)) => return Err(status),
            Err(Refusal::Call(why)) => return call::failed(request, hook, &why),
        };
        if !request.session.is_due(NAME, &hook.key) {
            return Ok(());
        }
        let outcome = call::ask(request, &self.transports, hook, &found, given, true).await;
        let changed = match outcome {
            Ok(response) if response.patch.is_empty() => false,
            Ok(response) => match patched(hook, &found, object, &response.patch) {
                Ok(Some(new)) => {
                    let changed = new != *object;
                    *object = new;
                    changed
                }
                Ok(None) => false,
                Err(Failure::Refused(status)) => return Err(status),
                Err(Failure::Call(why)) => {
                    call::failed(request, hook, &why)?;
                    false
                }
            },
            Err(Failure::Refused(status)) => return Err(status),
            Err(Failure::Call(why)) => {
                call::failed(request, hook, &why)?;
                false
            }
        };
        let note = serde_json::json!({"configuration": hook.configuration, "webhook": hook.name, "mutated": changed});
        request.session.annotate(
            format!("mutation.webhook.admission.k8s.io/{}", hook.key),
            note.to_string(),
        );
        if changed {
            request.session.changed(NAME);
        }
        if hook.spec.str_at(&["reinvocationPolicy"]) == "IfNeeded" {
            request.session.asked(NAME, &hook.key);
        }
        Ok(())
    }
}

/// The object with the patch of a webhook, in the storage version with its defaults; `None`: the patch says nothing.
fn patched(
    hook: &Hook,
    found: &Match,
    object: &Value,
    patch: &[u8],
) -> Result<Option<Value>, Failure> {
    let undecodable = |why: &str| {
        Failure::Call(format!(
            "received undecodable patch in webhook response: {why}"
        ))
    };
    let operations: Value =
        serde_json::from_slice(patch).map_err(|error| undecodable(&error.to_string()))?;
    if operations.as_array().is_some_and(Vec::is_empty) {
        return Ok(None);
    }
    let parsed = Patch::parse(patch).map_err(|status| undecodable(&status.message))?;
    if object.is_null() {
        return Err(Failure::Refused(Status::internal(&format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            hook.name
        ))));
    }
    let internal = |status: Status| Failure::Refused(Status::internal(&status.message));
    let mut new = parsed.apply(found.convert(object)).map_err(internal)?;
    let decoded = decode::decode(
        new.to_string().as_bytes(),
        ContentType::Json,
        found.schema().as_deref(),
        &found.kind,
    );
    new = decoded.map_err(internal)?.object;
    found.restore(&mut new);
    Ok(Some(new))
}

#[async_trait]
impl Admission for MutatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn mutate(
        &self,
        request: &AdmissionRequest<'_>,
        object: &mut Value,
    ) -> Result<(), Status> {
        self.run(request, object).await
    }

    async fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        _: Option<&Value>,
    ) -> Result<(), Status> {
        // There is nothing to change, but these webhooks are asked about deletions too.
        if request.operation == Operation::Delete {
            return self.run(request, &mut Value::Null).await;
        }
        Ok(())
    }
}
