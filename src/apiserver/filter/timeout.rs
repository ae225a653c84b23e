//! How long a request may take. Watches set their own end.
use crate::apiserver::request::Query;
use crate::object::status::{Cause, Details};
use crate::object::{Reason, Status};
use std::future::Future;
use std::time::Duration;

/// No request that is no watch takes longer.
const LONGEST: Duration = Duration::from_secs(60);

/// Ends `next` after the request's `timeout`, at most a minute.
///
/// # Errors
/// 504 when time is up, 400 for a `timeout` that is no duration.
pub(crate) async fn limit<T>(
    query: &Query,
    next: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let asked = match query.get("timeout").filter(|text| !text.is_empty()) {
        None => LONGEST,
        Some(text) => duration(text).ok_or_else(|| {
            Status::bad_request(format!(
                "invalid timeout specified in the request URL: time: invalid duration {text:?}"
            ))
        })?,
    };
    let limit = if asked.is_zero() {
        LONGEST
    } else {
        asked.min(LONGEST)
    };
    tokio::time::timeout(limit, next).await.unwrap_or_else(|_| {
        let why = "request did not complete within the allotted timeout";
        let details = Details {
            causes: vec![Cause {
                message: why.into(),
                ..Cause::default()
            }],
            ..Details::default()
        };
        Err(Status::new(504, Reason::Timeout, format!("Timeout: {why}")).with_details(details))
    })
}

/// Go's notation: `1m30s`, `500ms`, `1.5h`.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = number.parse::<f64>().ok()? * seconds;
        total = total.checked_add(Duration::try_from_secs_f64(part).ok()?)?;
        rest = after;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, expected) in [
            ("10s", Some(10_000)),
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("500ms", Some(500)),
            ("0", Some(0)),
            ("10", None),
            ("-1s", None),
            ("x", None),
            ("", None),
            ("é", None),
        ] {
            assert_eq!(
                duration(text),
                expected.map(Duration::from_millis),
                "{text}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_is_up() {
        let endless = || std::future::pending::<Result<(), Status>>();
        assert_eq!(
            limit(&Query::default(), endless()).await.unwrap_err().code,
            504
        );
        let asked = Query(vec![("timeout".into(), "x".into())]);
        assert_eq!(limit(&asked, endless()).await.unwrap_err().code, 400);
    }
}
