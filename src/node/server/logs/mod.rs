//! Logs of containers, as the runtime has written them.
mod format;
mod read;

use std::convert::Infallible;

use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use jiff::{SignedDuration, Timestamp};

use self::format::Filter;
use self::read::{Follower, Source};
use super::query::Query;
use super::{Answer, Inner, pods, text};
use std::sync::Arc;

/// Which streams are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wanted {
    #[default]
    All,
    Stdout,
    Stderr,
}

/// What is asked of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogOptions {
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    /// Only the last lines.
    pub tail: Option<u64>,
    /// Only what was written then or later.
    pub since: Option<Timestamp>,
    /// At most so many bytes.
    pub limit: Option<u64>,
    pub stream: Wanted,
}

impl LogOptions {
    /// Reads the query; `None` when it makes no sense.
    pub(super) fn parse(query: &Query, now: Timestamp) -> Option<Self> {
        let number = |name: &str| match query.get(name) {
            "" => Some(None),
            text => text.parse::<u64>().ok().map(Some),
        };
        let tail = match query.get("tail") {
            "" => number("tailLines")?,
            "all" => None,
            tail => Some(tail.parse().ok()?),
        };
        let seconds = number("sinceSeconds")?;
        let since = match (seconds, query.get("sinceTime")) {
            (None, "") => None,
            (Some(seconds @ 1..), "") => {
                let seconds = i64::try_from(seconds).ok()?;
                now.checked_sub(SignedDuration::from_secs(seconds)).ok()
            }
            (None, time) => Some(time.parse().ok()?),
            _ => return None,
        };
        let limit = number("limitBytes")?;
        if limit == Some(0) {
            return None;
        }
        Some(Self {
            follow: query.flag("follow"),
            previous: query.flag("previous"),
            timestamps: query.flag("timestamps"),
            tail,
            since,
            limit,
            stream: match query.get("stream") {
                "" | "All" => Wanted::All,
                "Stdout" => Wanted::Stdout,
                "Stderr" => Wanted::Stderr,
                _ => return None,
            },
        })
    }
}

impl Inner {
    /// Answers `containerLogs`.
    pub(super) async fn logs(
        self: &Arc<Self>,
        namespace: &str,
        name: &str,
        container: &str,
        query: &Query,
    ) -> Answer {
        let Some(options) = LogOptions::parse(query, self.clock.now()) else {
            let why = "{\"message\": \"Invalid request.\"}";
            return text(StatusCode::UNPROCESSABLE_ENTITY, why);
        };
        let Some(pod) = self.pod(namespace, name) else {
            return text(
                StatusCode::NOT_FOUND,
                format!("pod {name:?} does not exist"),
            );
        };
        if !pods::has_container(&pod, container) {
            let why = format!("container {container:?} not found in pod {name:?}");
            return text(StatusCode::NOT_FOUND, why);
        }
        let id = match self.log_id(&pod, container, options.previous).await {
            Ok(id) => id,
            Err(why) => return text(StatusCode::BAD_REQUEST, why),
        };
        let Ok(found) = self.runtime.container_status(&id).await else {
            let why = format!("unable to retrieve container logs for {id}");
            return text(StatusCode::BAD_REQUEST, why);
        };
        let source = match self.runtime.log(&id).await {
            Ok(Some(_)) => Source::Runtime(id.clone()),
            _ if found.log_path.is_empty() => {
                let why = format!("container {container:?} in pod {name:?} writes no log");
                return text(StatusCode::BAD_REQUEST, why);
            }
            _ => Source::File(found.log_path.into()),
        };
        let opened = Follower::open(self.clone(), id, source, &options).await;
        let follower = match opened {
            Ok(follower) => follower,
            Err(error) => {
                let why = format!("failed to open log file: {error}");
                return text(StatusCode::INTERNAL_SERVER_ERROR, why);
            }
        };
        let filter = Filter::new(&options);
        let pieces =
            futures::stream::unfold((follower, filter), |(mut follower, mut filter)| async {
                loop {
                    if filter.is_full() {
                        return None;
                    }
                    let raw = follower.next().await?;
                    let piece = filter.pass(&raw);
                    if !piece.is_empty() {
                        let frame = Frame::data(Bytes::from(piece));
                        return Some((Ok::<_, Infallible>(frame), (follower, filter)));
                    }
                }
            });
        let mut answer = text(StatusCode::OK, "");
        *answer.body_mut() = StreamBody::new(pieces).boxed_unsync();
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let now: Timestamp = "2024-01-01T00:01:00Z".parse().unwrap();
        let read = |text: &str| LogOptions::parse(&Query::parse(text), now);
        let options =
            read("follow=true&tailLines=3&sinceSeconds=60&limitBytes=9&stream=Stderr").unwrap();
        assert_eq!(options.since, "2024-01-01T00:00:00Z".parse().ok());
        assert_eq!((options.tail, options.limit), (Some(3), Some(9)));
        assert_eq!(options.stream, Wanted::Stderr);
        assert_eq!(read("tail=all").unwrap().tail, None);
        for bad in [
            "tailLines=-1",
            "limitBytes=0",
            "sinceSeconds=0",
            "stream=x",
            "sinceTime=x",
            "sinceSeconds=1&sinceTime=2024-01-01T00:00:00Z",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
