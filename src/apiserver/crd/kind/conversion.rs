//! Conversion between versions: the strategy and its webhook.
use super::label_problems;
use crate::apiserver::kinds::webhook_config;
use crate::object::Document;
use crate::object::field::{Errors, Path};
use serde_json::Value;

/// The versions of reviews that the server speaks.
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];

/// Checks `spec.conversion`. `recognized`: one of the review versions must be known. `any_bundle`: the CA bundle is not looked into.
pub(super) fn validate(
    conversion: &Value,
    recognized: bool,
    any_bundle: bool,
    path: &Path,
    errors: &mut Errors,
) {
    let strategy = conversion.str_at(&["strategy"]);
    match strategy {
        "" => errors.required(path.child("strategy"), ""),
        "None" | "Webhook" => {}
        other => errors.not_supported(path.child("strategy"), other, &["None", "Webhook"]),
    }
    let client = conversion
        .at(&["webhook", "clientConfig"])
        .filter(|client| client.is_object());
    let reviews = conversion.list_at(&["webhook", "conversionReviewVersions"]);
    let (at_client, at_reviews) = (
        path.child("webhookClientConfig"),
        path.child("conversionReviewVersions"),
    );
    if strategy != "Webhook" {
        let why = "should not be set when strategy is not set to Webhook";
        if client.is_some() {
            errors.forbidden(at_client, why);
        }
        if !reviews.is_empty() {
            errors.forbidden(at_reviews, why);
        }
        return;
    }
    match client {
        None => errors.required(at_client, "required when strategy is set to Webhook"),
        Some(client) => webhook_config::validate(client, any_bundle, &at_client, errors),
    }
    review_versions(reviews, recognized, &at_reviews, errors);
}

fn review_versions(versions: &[Value], recognized: bool, path: &Path, errors: &mut Errors) {
    if versions.is_empty() {
        errors.required(path.clone(), "");
        return;
    }
    let mut known = false;
    for (index, version) in versions.iter().enumerate() {
        let text = version.as_str().unwrap_or_default();
        if versions.iter().take(index).any(|before| before == version) {
            errors.invalid(path.index(index), text, "duplicate version");
            continue;
        }
        if let Some(problem) = label_problems(text) {
            errors.invalid(path.index(index), text, &problem);
        }
        known |= REVIEWS.contains(&text);
    }
    if recognized && !known {
        let why = format!("must include at least one of {}", REVIEWS.join(", "));
        errors.invalid(path.clone(), versions.to_vec(), &why);
    }
}

/// Whether one of the review versions is known, or there are none.
pub(super) fn recognizes(conversion: Option<&Value>) -> bool {
    let versions = conversion
        .map(|conversion| conversion.list_at(&["webhook", "conversionReviewVersions"]))
        .unwrap_or_default();
    let known = |version: &Value| version.as_str().is_some_and(|text| REVIEWS.contains(&text));
    versions.is_empty() || versions.iter().any(known)
}
