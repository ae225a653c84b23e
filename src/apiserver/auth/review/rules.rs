//! `SelfSubjectRulesReview`: all that whoever asks may do in a namespace.
use crate::apiserver::handler::admit;
use crate::apiserver::handler::call::Call;
use crate::object::{Document, Status};
use serde_json::{Value, json};

/// Answers.
pub(super) async fn own(call: &Call<'_>, review: &Value) -> Result<Value, Status> {
    let namespace = review.str_at(&["spec", "namespace"]);
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    admit::validate(call, "", Some(review), None).await?;
    let authorizer = &call.shared.authorizer;
    let found = authorizer
        .rules_for(call.shared, &call.request.user, namespace)
        .await?;
    let list = |field: &str, texts: &[String], rule: &mut Value| {
        if !texts.is_empty() {
            rule[field] = json!(texts);
        }
    };
    let (mut resources, mut others) = (Vec::new(), Vec::new());
    for rule in &found.rules {
        if !rule.resources.is_empty() {
            let mut shown = json!({ "verbs": rule.verbs });
            list("apiGroups", &rule.api_groups, &mut shown);
            list("resources", &rule.resources, &mut shown);
            list("resourceNames", &rule.resource_names, &mut shown);
            resources.push(shown);
        }
        if !rule.urls.is_empty() {
            let mut shown = json!({ "verbs": rule.verbs });
            list("nonResourceURLs", &rule.urls, &mut shown);
            others.push(shown);
        }
    }
    let mut status = json!({
        "resourceRules": resources, "nonResourceRules": others, "incomplete": found.incomplete,
    });
    if !found.error.is_empty() {
        status["evaluationError"] = found.error.into();
    }
    Ok(json!({
        "apiVersion": review.api_version(), "kind": review.kind(), "metadata": {}, "spec": {}, "status": status,
    }))
}
