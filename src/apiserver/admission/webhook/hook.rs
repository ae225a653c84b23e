//! A configured webhook.
use super::transport::Target;
use crate::apiserver::admission::AdmissionRequest;
use crate::apiserver::admission::matching::{self, Match};
use crate::object::{Document, Status};
use serde_json::Value;
use std::time::Duration;

#[cfg(feature = "cel")]
use crate::apiserver::admission::{conditions::Conditions, expression::Facts};

/// The webhooks of one configuration.
#[derive(Debug)]
pub(super) struct Configuration {
    pub hooks: Vec<Hook>,
}

/// One webhook.
#[derive(Debug)]
pub(super) struct Hook {
    /// `<configuration>/<name>/<number>`: one webhook among all.
    pub key: String,
    pub configuration: String,
    pub name: String,
    /// Its configuration.
    pub spec: Value,
    pub target: Target,
    /// The version of `AdmissionReview` that is sent.
    pub review: Option<&'static str>,
    #[cfg(feature = "cel")]
    conditions: Conditions,
}

/// Why a webhook cannot be asked whether it wants to be called.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The request fails so.
    Status(Status),
    /// Calling it failed so, which it may want to be ignored.
    Call(String),
}

impl Configuration {
    pub(super) fn of(object: Value) -> Self {
        let configuration = object.name().to_owned();
        let hooks = object.list_at(&["webhooks"]).iter().enumerate();
        Self {
            hooks: hooks
                .map(|(number, hook)| Hook::of(&configuration, number, hook))
                .collect(),
        }
    }
}

impl Hook {
    fn of(configuration: &str, number: usize, spec: &Value) -> Self {
        let name = spec.str_at(&["name"]);
        let versions = spec.list_at(&["admissionReviewVersions"]).iter();
        let review = versions.filter_map(Value::as_str).find_map(|version| {
            ["v1", "v1beta1"]
                .into_iter()
                .find(|known| *known == version)
        });
        Self {
            key: format!("{configuration}/{name}/{number}"),
            configuration: configuration.to_owned(),
            name: name.to_owned(),
            target: target(spec),
            review,
            #[cfg(feature = "cel")]
            conditions: Conditions::of(spec),
            spec: spec.clone(),
        }
    }

    /// Whether a call that fails counts as allowed.
    pub(super) fn ignores_failures(&self) -> bool {
        self.spec.str_at(&["failurePolicy"]) == "Ignore"
    }

    /// As what it is asked about the request; `None`: it is not.
    pub(super) async fn wants(
        &self,
        request: &AdmissionRequest<'_>,
        object: Option<&Value>,
    ) -> Result<Option<Match>, Refusal> {
        let equivalent = self.spec.str_at(&["matchPolicy"]) != "Exact";
        let rules = self.spec.list_at(&["rules"]);
        let Some(found) = matching::by_rules(request, rules, equivalent) else {
            return Ok(None);
        };
        let selected = matching::by_namespace(request, &self.spec, object)
            .await
            .map_err(Refusal::Status)?
            && matching::by_object(request, &self.spec, object).map_err(Refusal::Status)?;
        if !selected || !self.holds(request, &found, object).await? {
            return Ok(None);
        }
        Ok(Some(found))
    }

    #[cfg(feature = "cel")]
    async fn holds(
        &self,
        request: &AdmissionRequest<'_>,
        found: &Match,
        object: Option<&Value>,
    ) -> Result<bool, Refusal> {
        if self.conditions.is_empty() {
            return Ok(true);
        }
        let facts = Facts::of(request, found, object)
            .await
            .map_err(Refusal::Status)?;
        let held = facts.settle(request, || {
            let context = facts.context(None, &[], crate::cel::PER_MATCH_CONDITIONS);
            self.conditions.hold(&context, self.ignores_failures())
        });
        held.await.map_err(Refusal::Call)
    }

    /// Without the language conditions cannot be evaluated.
    #[cfg(not(feature = "cel"))]
    #[expect(clippy::unused_async, reason = "as with the feature")]
    async fn holds(
        &self,
        _: &AdmissionRequest<'_>,
        _: &Match,
        _: Option<&Value>,
    ) -> Result<bool, Refusal> {
        if self.spec.list_at(&["matchConditions"]).is_empty() {
            return Ok(true);
        }
        Err(Refusal::Call(
            "matchConditions are not evaluated by this server".to_owned(),
        ))
    }
}

fn target(spec: &Value) -> Target {
    let config = spec.get("clientConfig").unwrap_or(&Value::Null);
    let seconds = spec.i64_at(&["timeoutSeconds"]).unwrap_or(10);
    let timeout = Duration::from_secs(u64::try_from(seconds).unwrap_or(10));
    Target::of(config, timeout)
}
