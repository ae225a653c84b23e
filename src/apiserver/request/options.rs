//! The options of writes: parsed from the query (deletions: also from the body) and checked as the real server does
//! (`k8s.io/apimachinery/pkg/apis/meta/v1/validation`).
use super::negotiate::{self, Format};
use super::{Query, ResourceRequest};
use crate::apiserver::patch::managed::manager_of_user_agent;
use crate::apiserver::schema;
use crate::apiserver::schema::decode::{self, ContentType};
use crate::apiserver::{DeleteOptions, Propagation};
use crate::object::field::{Errors, Path};
use crate::object::quote::is_print;
use crate::object::{Document as _, GroupKind, GroupVersion, GroupVersionKind, Status};
use serde::Deserialize;
use serde_json::Value;

/// The kind of the options of a deletion.
const OPTIONS: &str = "DeleteOptions";

/// What becomes of unknown and duplicate fields in a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    /// They are dropped silently.
    Ignore,
    /// They are dropped, and the client is warned.
    #[default]
    Warn,
    /// The request fails.
    Strict,
}

/// `metav1.CreateOptions`, `UpdateOptions` and `PatchOptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WriteOptions {
    pub dry_run: bool,
    pub field_validation: FieldValidation,
    /// `""` when not given: then the user agent is the manager.
    pub field_manager: String,
    /// Of an apply patch: take over fields of others.
    pub force: Option<bool>,
}

impl WriteOptions {
    /// Parses and checks options of `kind` (`CreateOptions`, …). `apply`: it is for a server-side apply, which needs a manager.
    ///
    /// # Errors
    /// 422.
    pub(crate) fn parse(query: &Query, kind: &str, apply: bool) -> Result<Self, Status> {
        let mut errors = Errors::new();
        let force = (kind == "PatchOptions")
            .then(|| query.flag("force"))
            .flatten();
        if kind == "PatchOptions" {
            if apply && query.text("fieldManager").is_empty() {
                errors.required(Path::new("fieldManager"), "is required for apply patch");
            }
            if !apply && force.is_some() {
                errors.forbidden(
                    Path::new("force"),
                    "may not be specified for non-apply patch",
                );
            }
        }
        let manager = query.text("fieldManager");
        check_manager(manager, &mut errors);
        let dry_run: Vec<&str> = query.all("dryRun").collect();
        check_dry_run(&dry_run, &mut errors);
        let field_validation = match query.text("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let known = ["", "Ignore", "Strict", "Warn"];
                errors.not_supported(Path::new("fieldValidation"), other, &known);
                FieldValidation::Warn
            }
        };
        finish(kind, &errors)?;
        Ok(Self {
            dry_run: !dry_run.is_empty(),
            field_validation,
            field_manager: manager.to_owned(),
            force,
        })
    }

    /// Who manages the fields that are written: the option, or the user agent up to the first slash.
    pub(crate) fn manager<'a>(&'a self, user_agent: &'a str) -> &'a str {
        if self.field_manager.is_empty() {
            manager_of_user_agent(user_agent)
        } else {
            &self.field_manager
        }
    }
}

fn check_manager(manager: &str, errors: &mut Errors) {
    let path = || Path::new("fieldManager");
    if manager.len() > 128 {
        errors.too_long(path(), 128);
    }
    for (at, character) in manager.char_indices() {
        if !is_print(character) {
            let detail = format!(
                "invalid character U+{:04X} (at position {at})",
                u32::from(character)
            );
            errors.invalid(path(), manager, &detail);
        }
    }
}

fn check_dry_run(values: &[&str], errors: &mut Errors) {
    if values.iter().any(|value| *value != "All") {
        errors.not_supported(Path::new("dryRun"), Value::from(values.to_vec()), &["All"]);
    }
}

fn finish(kind: &str, errors: &Errors) -> Result<(), Status> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Status::invalid(
            &GroupKind::new("meta.k8s.io", kind),
            "",
            errors,
        ))
    }
}

/// A number of the query.
///
/// # Errors
/// 400 in Go's words.
pub(crate) fn integer(text: &str) -> Result<i64, Status> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    text.parse().map_err(|_| {
        let why = if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            "value out of range"
        } else {
            "invalid syntax"
        };
        Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: {why}"))
    })
}

/// `metav1.DeleteOptions` as a client sends it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DeleteBody {
    grace_period_seconds: Option<i64>,
    preconditions: Option<Preconditions>,
    orphan_dependents: Option<bool>,
    propagation_policy: Option<String>,
    dry_run: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

/// The options of a deletion.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deletion {
    pub options: DeleteOptions,
    /// The deprecated `orphanDependents: false` was given: a deletion that takes time is answered with 202.
    pub cascade: bool,
}

impl Deletion {
    /// From the body of the request, or without one from its query.
    ///
    /// # Errors
    /// 400, 415 or 422.
    pub(crate) fn parse(request: &ResourceRequest) -> Result<Self, Status> {
        let body = if request.body.is_empty() {
            from_query(&request.query)?
        } else {
            from_body(request)?
        };
        Self::check(body)
    }

    /// Checks options from wherever they came.
    ///
    /// # Errors
    /// 422.
    pub(crate) fn check(body: DeleteBody) -> Result<Self, Status> {
        let mut errors = Errors::new();
        let path = || Path::new("propagationPolicy");
        if let (Some(_), Some(policy)) = (body.orphan_dependents, &body.propagation_policy) {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            errors.invalid(path(), policy.as_str(), detail);
        }
        let propagation = match (body.propagation_policy.as_deref(), body.orphan_dependents) {
            (None, None) => None,
            (None, Some(true)) | (Some("Orphan"), _) => Some(Propagation::Orphan),
            (None, Some(false)) | (Some("Background"), _) => Some(Propagation::Background),
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (Some(other), _) => {
                let known = ["Foreground", "Background", "Orphan", "nil"];
                errors.not_supported(path(), other, &known);
                None
            }
        };
        let dry_run = body.dry_run.unwrap_or_default();
        check_dry_run(
            &dry_run.iter().map(String::as_str).collect::<Vec<_>>(),
            &mut errors,
        );
        finish(OPTIONS, &errors)?;
        let preconditions = body.preconditions.unwrap_or_default();
        Ok(Self {
            options: DeleteOptions {
                grace_period_seconds: body.grace_period_seconds,
                propagation,
                uid: preconditions.uid,
                resource_version: preconditions.resource_version,
                dry_run: !dry_run.is_empty(),
            },
            cascade: body.orphan_dependents == Some(false),
        })
    }
}

fn from_query(query: &Query) -> Result<DeleteBody, Status> {
    let grace = query
        .get("gracePeriodSeconds")
        .filter(|text| !text.is_empty());
    let dry_run: Vec<String> = query.all("dryRun").map(str::to_owned).collect();
    Ok(DeleteBody {
        grace_period_seconds: grace.map(integer).transpose()?,
        orphan_dependents: query.flag("orphanDependents"),
        propagation_policy: query
            .get("propagationPolicy")
            .filter(|text| !text.is_empty())
            .map(str::to_owned),
        dry_run: (!dry_run.is_empty()).then_some(dry_run),
        ..DeleteBody::default()
    })
}

fn from_body(request: &ResourceRequest) -> Result<DeleteBody, Status> {
    let content_type = match negotiate::input(&request.content_type)? {
        Format::Json | Format::Protobuf => ContentType::Json,
        Format::Yaml => ContentType::Yaml,
    };
    // Every group has such options.
    let own = decode::value(&request.body, content_type).unwrap_or_default();
    let kind = match own.kind() {
        "" => OPTIONS,
        kind => kind,
    };
    if kind != OPTIONS {
        let version = own.api_version();
        return Err(Status::bad_request(format!(
            "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/runtime/scheme.go:110\""
        )));
    }
    let version = GroupVersion::parse(own.api_version()).unwrap_or_default();
    let expected = GroupVersionKind::new(version.group, version.version, OPTIONS);
    let schema = schema::builtin(&GroupVersionKind::new("", "v1", OPTIONS));
    let decoded = decode::decode_text(&request.body, content_type, schema.as_deref(), &expected);
    let options = decoded.map_err(Status::bad_request)?.object;
    DeleteBody::deserialize(options).map_err(|error| Status::bad_request(error.to_string()))
}

impl DeleteBody {
    /// From the `deleteOptions` of an `Eviction`.
    ///
    /// # Errors
    /// 400 when it has fields of wrong types.
    pub(crate) fn from_value(value: &Value) -> Result<Self, Status> {
        if value.is_null() {
            return Ok(Self::default());
        }
        Self::deserialize(value).map_err(|error| Status::bad_request(error.to_string()))
    }
    /// Makes it a dry run as well when `dry_run`.
    #[must_use]
    pub(crate) fn or_dry_run(mut self, dry_run: bool) -> Self {
        if dry_run && self.dry_run.as_ref().is_none_or(Vec::is_empty) {
            self.dry_run = Some(vec!["All".to_owned()]);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str, kind: &str, apply: bool) -> Result<WriteOptions, String> {
        WriteOptions::parse(&Query::parse(query), kind, apply).map_err(|status| status.message)
    }

    #[test]
    fn write_options_are_checked() {
        let options = parse(
            "dryRun=All&fieldValidation=Strict&fieldManager=me",
            "CreateOptions",
            false,
        )
        .unwrap();
        assert!(options.dry_run && options.field_validation == FieldValidation::Strict);
        assert_eq!(options.manager("agent/1.0"), "me");
        assert_eq!(WriteOptions::default().manager("agent/1.0 (x)"), "agent");
        let long = format!("fieldManager={}", "m".repeat(129));
        let cases = [
            (
                "dryRun=x",
                "CreateOptions",
                false,
                "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"x\"]: supported values: \"All\"",
            ),
            (
                long.as_str(),
                "CreateOptions",
                false,
                "CreateOptions.meta.k8s.io \"\" is invalid: fieldManager: Too long: may not be more than 128 bytes",
            ),
            (
                "",
                "PatchOptions",
                true,
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
            ),
            (
                "force=true",
                "PatchOptions",
                false,
                "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch",
            ),
            (
                "fieldValidation=x",
                "UpdateOptions",
                false,
                "UpdateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"x\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
            ),
        ];
        for (query, kind, apply, expected) in cases {
            assert_eq!(parse(query, kind, apply).unwrap_err(), expected);
        }
    }

    #[test]
    fn numbers_fail_in_gos_words() {
        assert_eq!(integer("-3"), Ok(-3));
        assert_eq!(
            integer("abc").unwrap_err().message,
            "strconv.ParseInt: parsing \"abc\": invalid syntax"
        );
        assert_eq!(
            integer("99999999999999999999").unwrap_err().message,
            "strconv.ParseInt: parsing \"99999999999999999999\": value out of range"
        );
    }

    #[test]
    fn deletions_are_checked() {
        let check = |text: &str| Deletion::check(serde_json::from_str(text).unwrap());
        let deletion = check(
            r#"{"orphanDependents":false,"gracePeriodSeconds":3,"preconditions":{"uid":"u"}}"#,
        )
        .unwrap();
        assert!(deletion.cascade);
        assert_eq!(deletion.options.propagation, Some(Propagation::Background));
        assert_eq!(deletion.options.uid.as_deref(), Some("u"));
        assert_eq!(check(r#"{"propagationPolicy":"x"}"#).unwrap_err().code, 422);
        assert_eq!(
            check(r#"{"propagationPolicy":"Orphan","orphanDependents":true}"#)
                .unwrap_err()
                .code,
            422
        );
    }
}
