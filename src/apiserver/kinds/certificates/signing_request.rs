//! CertificateSigningRequest: asked for by whoever makes it, approved and signed through subresources.

use serde_json::{Value, json};

use super::signer;
use crate::apiserver::admission::UserInfo;
use crate::apiserver::kinds::names;
use crate::apiserver::registry::strategy::{Context, Strategy};
use crate::object::field::{Errors, Path};
use crate::object::{Document, base64};
use crate::pki::der::{BIT_STRING, Reader, SEQUENCE};
use crate::pki::{pem, request};

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
const APPROVED: &str = "Approved";
const DENIED: &str = "Denied";
const FAILED: &str = "Failed";

#[derive(Debug)]
pub(crate) struct SigningRequest;

impl Strategy for SigningRequest {
    fn set_requester(&self, object: &mut Value, user: &UserInfo) {
        for (field, value) in [
            ("username", json!(user.name)),
            ("uid", json!(user.uid)),
            ("groups", json!(user.groups)),
            ("extra", json!(user.extra)),
        ] {
            let empty = value.as_str() == Some("")
                || value.as_array().is_some_and(Vec::is_empty)
                || value.as_object().is_some_and(serde_json::Map::is_empty);
            if empty {
                object.remove_at(&["spec", field]);
            } else {
                object.set_at(&["spec", field], value);
            }
        }
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Value) {
        object["status"] = json!({});
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Value, old: &Value) {
        let kept: &[&[&str]] = match context.subresource {
            None => &[&["spec"], &["status"]],
            Some("approval") => &[&["spec"], &["status", "certificate"]],
            Some(_) => &[&["spec"]],
        };
        for path in kept {
            match old.at(path) {
                Some(value) => object.set_at(path, value.clone()),
                None => drop(object.remove_at(path)),
            }
        }
        if context.subresource.is_some() {
            date_conditions(object, old, context.now);
        }
    }

    fn validate(&self, _context: &Context<'_>, object: &Value, errors: &mut Errors) {
        check(object, None, errors);
    }

    fn validate_update(
        &self,
        context: &Context<'_>,
        object: &Value,
        old: &Value,
        errors: &mut Errors,
    ) {
        check(object, Some(old), errors);
        check_change(context.subresource, object, old, errors);
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }

    fn selectable_fields(&self) -> &[&str] {
        &["spec.signerName"]
    }

    fn field(&self, object: &Value, _field: &str) -> String {
        object.str_at(&["spec", "signerName"]).to_owned()
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn writes_status(&self, subresource: &str) -> bool {
        matches!(subresource, "status" | "approval")
    }

    fn resets(&self, subresource: Option<&str>) -> &[&[&str]] {
        match subresource {
            None => &[&["spec"]],
            Some("approval") => &[&["spec"], &["status", "certificate"]],
            Some(_) => &[&["spec"], &["status", "conditions"]],
        }
    }
}

fn conditions(object: &Value) -> &[Value] {
    object.list_at(&["status", "conditions"])
}

/// Gives new conditions their times.
fn date_conditions(object: &mut Value, old: &Value, now: &str) {
    let Some(Value::Array(new)) = object.at_mut(&["status", "conditions"]) else {
        return;
    };
    for condition in new {
        if condition.str_at(&["lastUpdateTime"]).is_empty() {
            condition.set_at(&["lastUpdateTime"], now);
        }
        if condition.str_at(&["lastTransitionTime"]).is_empty() {
            let same = |known: &&Value| {
                known.get("type") == condition.get("type")
                    && known.get("status") == condition.get("status")
            };
            let known = conditions(old).iter().find(same);
            let since = known.map_or("", |known| known.str_at(&["lastTransitionTime"]));
            let since = if since.is_empty() { now } else { since }.to_owned();
            condition.set_at(&["lastTransitionTime"], since);
        }
    }
}

/// Checks a request as a whole. What was wrong with `old` already may stay so.
fn check(object: &Value, old: Option<&Value>, errors: &mut Errors) {
    let had = |wrong: &dyn Fn(&Value) -> bool| old.is_some_and(wrong);
    let path = Path::new("spec");
    let text = object.str_at(&["spec", "request"]);
    let decoded = base64::decode(text).unwrap_or_default();
    if let Err(why) = request::check(&String::from_utf8_lossy(&decoded)) {
        let shown = object.at(&["spec", "request"]).cloned();
        errors.invalid(path.child("request"), shown.unwrap_or(Value::Null), why);
    }
    check_usages(object, old, errors);
    let name = object.str_at(&["spec", "signerName"]);
    let at = path.child("signerName");
    if name != LEGACY_SIGNER {
        signer::check(name, &at, errors);
    } else if !had(&|old| old.str_at(&["spec", "signerName"]) == LEGACY_SIGNER) {
        let why = "the legacy signerName is not allowed via this API version";
        errors.invalid(at, name, why);
    }
    if let Some(seconds) = object
        .i64_at(&["spec", "expirationSeconds"])
        .filter(|seconds| *seconds < 600)
    {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid(path.child("expirationSeconds"), seconds, why);
    }
    check_conditions(object, old, errors);
    if !had(&|old| check_certificate(old).is_err())
        && let Err(why) = check_certificate(object)
    {
        let path = Path::new("status").child("certificate");
        errors.invalid(path, "<certificate data>", &why);
    }
}

fn usages(object: &Value) -> impl Iterator<Item = &str> {
    let usages = object.list_at(&["spec", "usages"]).iter();
    usages.map(|usage| usage.as_str().unwrap_or_default())
}

fn check_usages(object: &Value, old: Option<&Value>, errors: &mut Errors) {
    let had = |wrong: &dyn Fn(&Value) -> bool| old.is_some_and(wrong);
    let path = Path::new("spec").child("usages");
    if usages(object).next().is_none() {
        errors.required(path.clone(), "");
    }
    let is_known = |usage: &str| USAGES.contains(&usage);
    if !had(&|old| !usages(old).all(is_known)) {
        for (index, usage) in usages(object).enumerate() {
            if !is_known(usage) {
                errors.not_supported(path.index(index), usage, &USAGES);
            }
        }
    }
    let repeated = |object: &Value| -> Vec<usize> {
        let all: Vec<&str> = usages(object).collect();
        let again = |index: &usize| all[..*index].contains(&all[*index]);
        (0..all.len()).filter(again).collect()
    };
    if !had(&|old| !repeated(old).is_empty()) {
        for index in repeated(object) {
            let usage = usages(object).nth(index).unwrap_or_default();
            errors.duplicate(path.index(index), usage);
        }
    }
}

fn check_conditions(object: &Value, old: Option<&Value>, errors: &mut Errors) {
    const TRUE: [&str; 1] = ["True"];
    const ALL: [&str; 3] = ["False", "True", "Unknown"];
    let type_of = |condition: &Value| condition.str_at(&["type"]).to_owned();
    let has = |object: &Value, type_: &str| !find(object, type_).is_empty();
    let both = |object: &Value| has(object, APPROVED) && has(object, DENIED);
    let types =
        |object: &Value| -> Vec<String> { conditions(object).iter().map(type_of).collect() };
    let repeats = |types: &[String]| (1..types.len()).any(|at| types[..at].contains(&types[at]));
    let may_be_both = old.is_some_and(both);
    let may_repeat = old.is_some_and(|old| repeats(&types(old)));
    let may_be_untyped = old.is_some_and(|old| types(old).iter().any(String::is_empty));
    let mut seen: Vec<String> = Vec::new();
    for (index, condition) in conditions(object).iter().enumerate() {
        let path = Path::new("status").child("conditions").index(index);
        let type_ = type_of(condition);
        if type_.is_empty() && !may_be_untyped {
            errors.required(path.child("type"), "");
        }
        let allowed: &[&str] = match &*type_ {
            APPROVED | DENIED | FAILED => &TRUE,
            _ => &ALL,
        };
        let status = condition.str_at(&["status"]);
        if status.is_empty() {
            errors.required(path.child("status"), "");
        } else if !allowed.contains(&status) {
            errors.not_supported(path.child("status"), status, allowed);
        }
        let opposite = match &*type_ {
            APPROVED => DENIED,
            DENIED => APPROVED,
            _ => "",
        };
        if !may_be_both && !opposite.is_empty() && seen.iter().any(|seen| seen == opposite) {
            let why = "Approved and Denied conditions are mutually exclusive";
            errors.invalid(path.child("type"), type_.as_str(), why);
        }
        if !may_repeat && seen.contains(&type_) {
            errors.duplicate(path.child("type"), type_.as_str());
        }
        seen.push(type_);
    }
}

/// Checks the certificate that was issued.
fn check_certificate(object: &Value) -> Result<(), String> {
    let decoded = base64::decode(object.str_at(&["status", "certificate"])).unwrap_or_default();
    if decoded.is_empty() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&decoded);
    let (mut rest, mut blocks) = (&*text, 0);
    while let Some((block, after)) = pem::first(rest) {
        if block.label != "CERTIFICATE" {
            return Err(format!(
                "only CERTIFICATE PEM blocks are allowed, found {:?}",
                block.label
            ));
        }
        if block.has_headers {
            return Err("no PEM block headers are permitted".to_owned());
        }
        if block.content.is_empty() {
            return Err("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        if !is_certificate(&block.content) {
            return Err("x509: malformed certificate".to_owned());
        }
        blocks += 1;
        rest = after;
    }
    if blocks == 0 {
        return Err("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    Ok(())
}

/// Whether the bytes are certificates: sequences of what is signed, an algorithm and a signature.
fn is_certificate(content: &[u8]) -> bool {
    let mut reader = Reader::new(content);
    while !reader.is_empty() {
        let whole = reader.take(SEQUENCE).and_then(|certificate| {
            let mut parts = certificate.reader();
            parts.take(SEQUENCE)?;
            parts.take(SEQUENCE)?;
            parts.take(BIT_STRING)?.bits()?;
            parts.is_empty().then_some(())
        });
        if whole.is_none() {
            return false;
        }
    }
    true
}

fn find<'a>(object: &'a Value, type_: &str) -> Vec<&'a Value> {
    let conditions = conditions(object).iter();
    conditions
        .filter(|condition| condition.str_at(&["type"]) == type_)
        .collect()
}

/// Checks what an update changes of the status.
fn check_change(subresource: Option<&str>, object: &Value, old: &Value, errors: &mut Errors) {
    let path = || Path::new("status").child("conditions");
    for type_ in [APPROVED, DENIED, FAILED] {
        if find(object, type_).len() < find(old, type_).len() {
            let why = format!("updates may not remove a condition of type {type_:?}");
            errors.forbidden(path(), &why);
        }
    }
    if subresource != Some("approval") {
        for type_ in [APPROVED, DENIED] {
            let (new, old) = (find(object, type_), find(old, type_));
            if new.len() > old.len() {
                let why = format!("updates may not add a condition of type {type_:?}");
                errors.forbidden(path(), &why);
            } else if new.len() == old.len() && new != old {
                let why = format!("updates may not modify a condition of type {type_:?}\n");
                errors.forbidden(path(), &why);
            }
        }
    }
    let certificate = |object: &Value| object.str_at(&["status", "certificate"]).to_owned();
    if certificate(object) != certificate(old) {
        let path = Path::new("status").child("certificate");
        if subresource != Some("status") {
            errors.forbidden(path, "updates may not set certificate content");
        } else if !certificate(old).is_empty() {
            errors.forbidden(path, "updates may not modify existing certificate content");
        }
    }
}

#[cfg(test)]
mod tests;
