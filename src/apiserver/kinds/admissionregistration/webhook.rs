//! MutatingWebhookConfiguration and ValidatingWebhookConfiguration.

use serde_json::{Value, json};

use super::{
    FAILURE_POLICIES, MATCH_POLICIES, REINVOCATION_POLICIES, conditions, expression, is_set,
    items_mut, one_of, rules, texts,
};
use crate::apiserver::kinds::check;
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, name};

const SIDE_EFFECTS: [&str; 4] = ["None", "NoneOnDryRun", "Some", "Unknown"];
const NO_SIDE_EFFECTS: [&str; 2] = ["None", "NoneOnDryRun"];
/// The versions of `AdmissionReview` that we speak.
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];

/// A list of webhooks.
#[derive(Debug)]
pub(in crate::apiserver::kinds) struct WebhookConfiguration {
    /// Whether they may change objects.
    pub(in crate::apiserver::kinds) mutating: bool,
}

/// What an update need not mend because it was so before.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one exception each")]
struct Strictness {
    conditions: bool,
    no_side_effects: bool,
    known_review: bool,
    unique_names: bool,
    selectors: bool,
}

impl Strictness {
    const NEW: Self = Self {
        conditions: true,
        no_side_effects: true,
        known_review: true,
        unique_names: true,
        selectors: true,
    };

    /// What must be right now since it was right before.
    fn since(old: &[Value], new: &[Value]) -> Self {
        let conditions = |hooks: &[Value]| -> Vec<Vec<Value>> {
            let of = |hook: &Value| hook.list_at(&["matchConditions"]).to_vec();
            hooks.iter().map(of).collect()
        };
        let mut names: Vec<&str> = old.iter().map(|hook| hook.str_at(&["name"])).collect();
        let total = names.len();
        names.sort_unstable();
        names.dedup();
        Self {
            conditions: conditions(old) != conditions(new),
            no_side_effects: old
                .iter()
                .all(|hook| NO_SIDE_EFFECTS.contains(&hook.str_at(&["sideEffects"]))),
            known_review: old.iter().all(|hook| {
                let versions = texts(hook, "admissionReviewVersions");
                versions.is_empty() || versions.iter().any(|version| REVIEWS.contains(version))
            }),
            unique_names: names.len() == total,
            selectors: !old.iter().any(|hook| {
                let mut errors = Errors::new();
                selectors(hook, &Path::default(), &mut errors);
                !errors.is_empty()
            }),
        }
    }
}

impl Strategy for WebhookConfiguration {
    fn default(&self, object: &mut Value) {
        for hook in items_mut(object, &["webhooks"]) {
            hook.default_at(&["failurePolicy"], "Fail");
            hook.default_at(&["matchPolicy"], "Equivalent");
            hook.default_at(&["namespaceSelector"], json!({}));
            hook.default_at(&["objectSelector"], json!({}));
            hook.default_at(&["timeoutSeconds"], 10);
            if self.mutating {
                hook.default_at(&["reinvocationPolicy"], "Never");
            }
            if hook
                .at(&["clientConfig", "service"])
                .is_some_and(|service| !service.is_null())
            {
                hook.default_at(&["clientConfig", "service", "port"], 443);
            }
            rules::default(hook, &["rules"]);
        }
    }

    fn validate(&self, _: &Context<'_>, object: &Value, errors: &mut Errors) {
        self.check(object, Strictness::NEW, errors);
    }

    fn validate_update(&self, _: &Context<'_>, object: &Value, old: &Value, errors: &mut Errors) {
        let strictness =
            Strictness::since(old.list_at(&["webhooks"]), object.list_at(&["webhooks"]));
        self.check(object, strictness, errors);
    }

    fn warnings(&self, object: &Value, _: Option<&Value>) -> Vec<String> {
        let hooks = object.list_at(&["webhooks"]);
        let conditional = |hook: &Value| !hook.list_at(&["matchConditions"]).is_empty();
        expression::warning(hooks.iter().any(conditional))
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

impl WebhookConfiguration {
    fn check(&self, object: &Value, strictness: Strictness, errors: &mut Errors) {
        let mut seen = Vec::new();
        for (index, hook) in object.list_at(&["webhooks"]).iter().enumerate() {
            let path = Path::new("webhooks").index(index);
            self.hook(hook, strictness, &path, errors);
            reviews(
                hook,
                strictness,
                &path.child("admissionReviewVersions"),
                errors,
            );
            let name = hook.str_at(&["name"]);
            if strictness.unique_names && !name.is_empty() {
                if seen.contains(&name) {
                    errors.duplicate(path.child("name"), name);
                }
                seen.push(name);
            }
        }
    }

    fn hook(&self, hook: &Value, strictness: Strictness, path: &Path, errors: &mut Errors) {
        full_name(hook.str_at(&["name"]), path.child("name"), errors);
        for (index, rule) in hook.list_at(&["rules"]).iter().enumerate() {
            rules::validate(rule, &path.child("rules").index(index), errors);
        }
        one_of(hook, "failurePolicy", &FAILURE_POLICIES, path, errors);
        one_of(hook, "matchPolicy", &MATCH_POLICIES, path, errors);
        let allowed = if strictness.no_side_effects {
            &NO_SIDE_EFFECTS[..]
        } else {
            &SIDE_EFFECTS
        };
        if is_set(hook, "sideEffects") {
            one_of(hook, "sideEffects", allowed, path, errors);
        } else {
            let why = format!("must specify one of {}", allowed.join(", "));
            errors.required(path.child("sideEffects"), &why);
        }
        if let Some(seconds) = hook
            .i64_at(&["timeoutSeconds"])
            .filter(|seconds| !(1..=30).contains(seconds))
        {
            let why = "the timeout value must be between 1 and 30 seconds";
            errors.invalid(path.child("timeoutSeconds"), seconds, why);
        }
        if strictness.selectors {
            selectors(hook, path, errors);
        }
        if self.mutating {
            one_of(
                hook,
                "reinvocationPolicy",
                &REINVOCATION_POLICIES,
                path,
                errors,
            );
        }
        client(&hook["clientConfig"], &path.child("clientConfig"), errors);
        if strictness.conditions {
            let path = path.child("matchConditions");
            conditions::validate(hook.list_at(&["matchConditions"]), false, &path, errors);
        }
    }
}

fn selectors(hook: &Value, path: &Path, errors: &mut Errors) {
    for field in ["namespaceSelector", "objectSelector"] {
        if is_set(hook, field) {
            check::label_selector(&hook[field], &path.child(field), errors);
        }
    }
}

fn full_name(full: &str, path: Path, errors: &mut Errors) {
    let problems = name::dns_subdomain(full);
    if full.is_empty() {
        errors.required(path, "");
    } else if !problems.is_empty() {
        errors.invalid(path, full, &problems.join(","));
    } else if full.split('.').count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        errors.invalid(path, full, why);
    }
}

fn reviews(hook: &Value, strictness: Strictness, path: &Path, errors: &mut Errors) {
    let versions = texts(hook, "admissionReviewVersions");
    if versions.is_empty() {
        let why = format!("must specify one of {}", REVIEWS.join(", "));
        errors.required(path.clone(), &why);
        return;
    }
    for (index, version) in versions.iter().enumerate() {
        if versions
            .iter()
            .take(index)
            .any(|earlier| earlier == version)
        {
            errors.invalid(path.index(index), *version, "duplicate version");
            continue;
        }
        check::problems(
            version,
            name::dns_1035_label(version),
            &path.index(index),
            errors,
        );
    }
    let known = versions.iter().any(|version| REVIEWS.contains(version));
    if strictness.known_review && !known {
        let why = format!("must include at least one of {}", REVIEWS.join(", "));
        errors.invalid(path.clone(), versions, &why);
    }
}

/// Where a webhook is.
fn client(config: &Value, path: &Path, errors: &mut Errors) {
    match (is_set(config, "url"), is_set(config, "service")) {
        (true, false) => url(config.str_at(&["url"]), &path.child("url"), errors),
        (false, true) => service(&config["service"], &path.child("service"), errors),
        _ => errors.required(path.clone(), "exactly one of url or service is required"),
    }
}

fn url(text: &str, path: &Path, errors: &mut Errors) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = rest.split_once("://").unwrap_or(("", rest));
    if rest.contains(char::is_control) {
        let why = format!(
            "url must be a valid URL: parse {text:?}: net/url: invalid control character in URL{FORM}"
        );
        errors.required(path.clone(), &why);
        return;
    }
    let authority = if scheme.is_empty() {
        ""
    } else {
        rest.split('/').next().unwrap_or_default()
    };
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme{FORM}");
        errors.invalid(path.clone(), scheme, &why);
    }
    if host.is_empty() {
        errors.invalid(path.clone(), host, &format!("host must be specified{FORM}"));
    }
    if let Some(user) = user {
        let why = "user information is not permitted in the URL";
        errors.invalid(path.clone(), user, why);
    }
    if !fragment.is_empty() {
        let why = "fragments are not permitted in the URL";
        errors.invalid(path.clone(), fragment, why);
    }
    if !query.is_empty() {
        let why = "query parameters are not permitted in the URL";
        errors.invalid(path.clone(), query, why);
    }
}

fn service(service: &Value, path: &Path, errors: &mut Errors) {
    for field in ["name", "namespace"] {
        if service.str_at(&[field]).is_empty() {
            errors.required(path.child(field), "");
        }
    }
    let port = service.i64_at(&["port"]).unwrap_or(0);
    if !(1..=65535).contains(&port) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        errors.invalid(path.child("port"), port, why);
    }
    let whole = service.str_at(&["path"]);
    let path = path.child("path");
    match whole {
        "" | "/" => return,
        "//" => {
            errors.invalid(path, whole, "segment[0] may not be empty");
            return;
        }
        _ => {}
    }
    if !whole.starts_with('/') {
        errors.invalid(path.clone(), whole, "must start with a '/'");
    }
    // The first character is taken for the slash, as upstream does.
    let mut rest = whole.chars();
    rest.next();
    let rest = rest.as_str();
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    for (index, step) in rest.split('/').enumerate() {
        if step.is_empty() {
            let why = format!("segment[{index}] may not be empty");
            errors.invalid(path.clone(), whole, &why);
            continue;
        }
        for problem in name::dns_subdomain(step) {
            let why = format!("segment[{index}]: {problem}");
            errors.invalid(path.clone(), whole, &why);
        }
    }
}
