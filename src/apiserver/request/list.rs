//! `ListOptions`: parsed from the query and checked (`k8s.io/apimachinery/pkg/apis/meta/internalversion/validation`).
use super::options::integer;
use super::{ListOptions, Query, ResourceRequest, Verb};
use crate::apiserver::registry::Resource;
use crate::object::field::{Errors, Path};
use crate::object::selector::FieldTerm;
use crate::object::{FieldSelector, GroupKind, LabelSelector, Status};
use std::time::Duration;

impl ListOptions {
    /// The options of a list, a watch or a deletion of a collection.
    ///
    /// # Errors
    /// 400 for what cannot be parsed and for unknown field labels, 422 for options that do not go together.
    pub(crate) fn parse(request: &ResourceRequest) -> Result<Self, Status> {
        let query = &request.query;
        let mut options = Self::from_query(query)?;
        check_fields(&request.resource, &options.fields)?;
        options.check(request.verb == Verb::Watch)?;
        if !request.name.is_empty() {
            // `/watch/…/name`: a watch of one object.
            options.fields.terms.push(FieldTerm {
                field: "metadata.name".into(),
                equal: true,
                value: request.name.clone(),
            });
        }
        Ok(options)
    }

    fn from_query(query: &Query) -> Result<Self, Status> {
        let number = |name: &str| {
            let text = query.get(name).filter(|text| !text.is_empty());
            text.map(integer).transpose()
        };
        let text = |name: &str| {
            query
                .get(name)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        Ok(Self {
            labels: LabelSelector::parse(query.text("labelSelector"))
                .map_err(Status::bad_request)?,
            fields: FieldSelector::parse(query.text("fieldSelector"))
                .map_err(Status::bad_request)?,
            // Zero and negative limits mean none.
            limit: number("limit")?
                .and_then(|limit| usize::try_from(limit).ok())
                .filter(|limit| *limit > 0),
            continue_: text("continue"),
            resource_version: text("resourceVersion"),
            resource_version_match: text("resourceVersionMatch"),
            timeout: number("timeoutSeconds")?.and_then(timeout),
            allow_watch_bookmarks: query.flag("allowWatchBookmarks").unwrap_or(false),
            send_initial_events: query.flag("sendInitialEvents"),
        })
    }

    fn check(&self, watch: bool) -> Result<(), Status> {
        const EXACT: &str = "Exact";
        const NOT_OLDER: &str = "NotOlderThan";
        let mut errors = Errors::new();
        let path = || Path::new("resourceVersionMatch");
        let wanted = self.resource_version_match.as_deref();
        let continued = "resourceVersionMatch is forbidden when continue is provided";
        if watch {
            if self.send_initial_events.is_some() && wanted != Some(NOT_OLDER) {
                errors.forbidden(
                    path(),
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                );
            }
            if let Some(wanted) = wanted {
                if self.send_initial_events.is_none() {
                    errors.forbidden(path(), "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
                }
                if wanted != NOT_OLDER {
                    errors.not_supported(path(), wanted, &[NOT_OLDER]);
                }
            }
            if self.continue_.is_some() {
                errors.forbidden(path(), continued);
            }
        } else {
            if let Some(wanted) = wanted {
                if self.resource_version.is_none() {
                    errors.forbidden(
                        path(),
                        "resourceVersionMatch is forbidden unless resourceVersion is provided",
                    );
                }
                if self.continue_.is_some() {
                    errors.forbidden(path(), continued);
                }
                if wanted != EXACT && wanted != NOT_OLDER {
                    errors.not_supported(path(), wanted, &[EXACT, NOT_OLDER, ""]);
                }
                if wanted == EXACT && self.resource_version.as_deref() == Some("0") {
                    errors.forbidden(
                        path(),
                        "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                    );
                }
            }
            if self.send_initial_events.is_some() {
                errors.forbidden(
                    Path::new("sendInitialEvents"),
                    "sendInitialEvents is forbidden for list",
                );
            }
        }
        if errors.is_empty() {
            return Ok(());
        }
        Err(Status::invalid(
            &GroupKind::new("meta.k8s.io", "ListOptions"),
            "",
            &errors,
        ))
    }
}

/// Whether objects of `resource` have to be in its version before it is known whether they are selected: when a webhook may change
/// what they are selected by.
pub(crate) fn select_as_shown(
    resource: &Resource,
    labels: &LabelSelector,
    fields: &FieldSelector,
) -> bool {
    let mut fields = fields.terms.iter().map(|term| term.field.as_str());
    resource.is_converted_by_webhook()
        && (!labels.is_empty() || fields.any(|field| !field.starts_with("metadata.")))
}

/// When a watch of so many seconds ends; `None` for 0. Upstream counts nanoseconds in 64 bits: what is too much for that wraps
/// around, and what is negative is over at once.
fn timeout(seconds: i64) -> Option<Duration> {
    let nanoseconds = seconds.wrapping_mul(1_000_000_000);
    let timeout = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0));
    (nanoseconds != 0).then_some(timeout)
}

/// Refuses field labels that the kind cannot be selected by.
///
/// # Errors
/// 400 in the words of the real server, which differ for kinds with fields of their own.
fn check_fields(resource: &Resource, fields: &FieldSelector) -> Result<(), Status> {
    let own: Vec<&str> = resource.selectable_fields().collect();
    let special = !own.is_empty() || resource.strategy.custom();
    for term in &fields.terms {
        let known = match term.field.as_str() {
            "metadata.name" => true,
            "metadata.namespace" => {
                resource.namespaced || !special || resource.plural == "persistentvolumes"
            }
            field => own.contains(&field),
        };
        if !known && special {
            return Err(Status::bad_request(format!(
                "field label not supported: {}",
                term.field
            )));
        }
        if !known {
            let field = &term.field;
            return Err(Status::bad_request(format!(
                "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::Strategy;
    use crate::apiserver::registry::cacher::fake;
    use std::sync::Arc;

    fn checked(query: &str, watch: bool) -> Result<ListOptions, String> {
        let options =
            ListOptions::from_query(&Query::parse(query)).map_err(|status| status.message)?;
        options.check(watch).map_err(|status| status.message)?;
        Ok(options)
    }

    #[test]
    fn options_are_parsed() {
        let options = checked(
            "limit=2&continue=c&timeoutSeconds=5&allowWatchBookmarks=foo",
            false,
        )
        .unwrap();
        assert_eq!(
            (options.limit, options.timeout),
            (Some(2), Some(Duration::from_secs(5)))
        );
        assert!(options.allow_watch_bookmarks);
        assert_eq!(checked("limit=-1", false).unwrap().limit, None);
        let over = Some(Duration::ZERO);
        for (seconds, timeout) in [
            (0, None),
            (-1, over),
            (i64::MAX, over),
            (i64::MIN, None),
            (9_223_372_036, Some(Duration::from_secs(9_223_372_036))),
        ] {
            let query = format!("timeoutSeconds={seconds}");
            assert_eq!(checked(&query, true).unwrap().timeout, timeout, "{seconds}");
        }
        assert_eq!(
            checked("limit=abc", false).unwrap_err(),
            "strconv.ParseInt: parsing \"abc\": invalid syntax"
        );
    }

    #[test]
    fn options_that_do_not_go_together() {
        let list = "ListOptions.meta.k8s.io \"\" is invalid: ";
        let cases = [
            (
                "sendInitialEvents=true",
                true,
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ),
            (
                "resourceVersionMatch=NotOlderThan&resourceVersion=0",
                true,
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ),
            (
                "continue=x",
                true,
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided",
            ),
            (
                "sendInitialEvents=true",
                false,
                "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
            ),
            (
                "resourceVersionMatch=Exact",
                false,
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
            (
                "resourceVersionMatch=Exact&resourceVersion=0",
                false,
                "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ),
            (
                "resourceVersionMatch=x&resourceVersion=1",
                false,
                "resourceVersionMatch: Unsupported value: \"x\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
            ),
        ];
        for (query, watch, expected) in cases {
            assert_eq!(
                checked(query, watch).unwrap_err(),
                format!("{list}{expected}")
            );
        }
    }

    #[derive(Debug)]
    struct Custom;
    impl Strategy for Custom {
        fn custom(&self) -> bool {
            true
        }
    }

    #[derive(Debug)]
    struct Plain;
    impl Strategy for Plain {}

    #[derive(Debug)]
    struct Own;
    impl Strategy for Own {
        fn selectable_fields(&self) -> &[&str] {
            &["status.phase"]
        }
    }

    #[test]
    fn field_labels() {
        let resource = |namespaced, strategy: Arc<dyn Strategy>| {
            fake::resource("Thing", "things", namespaced, strategy)
        };
        for (resource, fields, error) in [
            (
                resource(false, Arc::new(Plain)),
                "metadata.name=a,metadata.namespace=b",
                "",
            ),
            (
                resource(true, Arc::new(Plain)),
                "x=y",
                "\"x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            ),
            (
                resource(true, Arc::new(Own)),
                "status.phase=a,metadata.namespace=b",
                "",
            ),
            (
                resource(false, Arc::new(Own)),
                "metadata.namespace=b",
                "field label not supported: metadata.namespace",
            ),
            (
                resource(true, Arc::new(Custom)),
                "x=y",
                "field label not supported: x",
            ),
        ] {
            let found = check_fields(&resource, &FieldSelector::parse(fields).unwrap());
            assert_eq!(
                found.err().map(|status| status.message).unwrap_or_default(),
                error
            );
        }
    }
}
