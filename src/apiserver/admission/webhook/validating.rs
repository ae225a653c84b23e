//! `ValidatingAdmissionWebhook`: webhooks that let a request be or do not, all at the same time.
use super::call::{self, Failure};
use super::hook::{Configuration, Refusal};
use super::transport::Transports;
use crate::apiserver::admission::cached::{Compiled, GROUP};
use crate::apiserver::admission::{Admission, AdmissionRequest, matching};
use crate::object::Status;
use async_trait::async_trait;
use futures::future::join_all;
use serde_json::Value;

/// The webhooks there are.
#[derive(Debug)]
pub(in crate::apiserver::admission) struct ValidatingAdmissionWebhook {
    configurations: Compiled<Configuration>,
    transports: Transports,
}

impl ValidatingAdmissionWebhook {
    pub(in crate::apiserver::admission) fn new(transports: Transports) -> Self {
        Self {
            configurations: Compiled::new(
                GROUP,
                "validatingwebhookconfigurations",
                Configuration::of,
            ),
            transports,
        }
    }
}

#[async_trait]
impl Admission for ValidatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    async fn validate(
        &self,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        if matching::is_exempt(request) {
            return Ok(());
        }
        let configurations = self.configurations.all(&request.view).await?;
        let mut wanted = Vec::new();
        for hook in configurations.iter().flat_map(|found| &found.hooks) {
            match hook.wants(request, object).await {
                Ok(Some(found)) => wanted.push((hook, found)),
                Ok(None) => {}
                Err(Refusal::Status(status)) => return Err(status),
                Err(Refusal::Call(why)) => call::failed(request, hook, &why)?,
            }
        }
        let calls = wanted.iter().map(|(hook, found)| async move {
            let outcome = call::ask(request, &self.transports, hook, found, object, false).await;
            match outcome {
                Ok(_) => Ok(()),
                Err(Failure::Refused(status)) => Err(status),
                Err(Failure::Call(why)) => call::failed(request, hook, &why),
            }
        });
        // The first that refuses in the order of the webhooks speaks, so that the answer does not depend on who is faster.
        join_all(calls).await.into_iter().collect()
    }
}
