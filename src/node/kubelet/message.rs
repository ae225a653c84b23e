//! The last words of a container: what it left in its file, or, when it failed and left nothing, the end of its log.

use std::path::Path;

use k8s_openapi::api::core::v1::{Container as Spec, Pod};

use super::Inner;
use super::plan::all;
use super::report::debuggers;
use crate::cri::{Container, ContainerState, Sandbox};
use crate::reconcile::Error;

/// The longest message of a container, in bytes, …
const LONGEST: u64 = 4096;
/// … and of all containers of a pod together.
const LONGEST_OF_POD: u64 = 12 << 10;
/// What is taken of a log at most: bytes and lines.
const LOG_BYTES: usize = 2048;
const LOG_LINES: usize = 80;
/// So much of a log's file is read for that: each line has a head.
const LOG_FILE: u64 = 64 << 10;

impl Inner {
    /// Gives the containers of a sandbox that have ended their last words.
    pub(super) async fn add_last_words(
        &self,
        pod: &Pod,
        sandbox: &mut Sandbox,
    ) -> Result<(), Error> {
        let debuggers = debuggers(pod);
        let specs: Vec<&Spec> = pod.spec.iter().flat_map(all).chain(&debuggers).collect();
        let share = LONGEST_OF_POD / (specs.len() as u64).max(1);
        for container in &mut sandbox.containers {
            let spec = specs.iter().find(|spec| spec.name == container.name);
            let Some(words) = self.last_words_of(pod, spec.copied(), container).await? else {
                continue;
            };
            if let ContainerState::Exited { message, .. } = &mut container.state {
                *message = words;
                let most = usize::try_from(share).unwrap_or(usize::MAX);
                message.truncate(boundary(message, most));
            }
        }
        Ok(())
    }

    /// What a container said last; `None`: what the runtime knows.
    async fn last_words_of(
        &self,
        pod: &Pod,
        spec: Option<&Spec>,
        container: &Container,
    ) -> Result<Option<String>, Error> {
        let ContainerState::Exited { message, code, .. } = &container.state else {
            return Ok(None);
        };
        let host = &self.config.host;
        let file = self.pod_directory(pod).join("containers");
        let file = file
            .join(&container.name)
            .join(container.attempt.to_string());
        // What it left itself says more than what the runtime knows.
        if let Some(said) = host.tail(&file, LONGEST).await?
            && !said.is_empty()
        {
            return Ok(Some(String::from_utf8_lossy(&said).into_owned()));
        }
        let policy = spec.and_then(|spec| spec.termination_message_policy.as_deref());
        if *code == 0 || !message.is_empty() || policy != Some("FallbackToLogsOnError") {
            return Ok(None);
        }
        let log = match self.runtime.log(&container.id).await {
            Ok(Some(log)) => Some(log),
            Ok(None) if container.log_path.is_empty() => None,
            Ok(None) => host.tail(Path::new(&container.log_path), LOG_FILE).await?,
            // It is gone: nothing more can be known.
            Err(_) => None,
        };
        Ok(log
            .map(|log| end_of_log(&log))
            .filter(|end| !end.is_empty()))
    }
}

/// The end of a log in the format of log files: `TIME stdout F text`.
fn end_of_log(log: &[u8]) -> String {
    let mut text = String::new();
    for line in String::from_utf8_lossy(log).lines() {
        let mut parts = line.splitn(4, ' ');
        let (Some(_), Some(stream), Some(tag), Some(said)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if !matches!(stream, "stdout" | "stderr") {
            continue;
        }
        text.push_str(said);
        // A part goes on in the next line.
        if !tag.starts_with('P') {
            text.push('\n');
        }
    }
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let last = lines.iter().skip(lines.len().saturating_sub(LOG_LINES));
    let last: String = last.copied().collect();
    let mut from = last.len().saturating_sub(LOG_BYTES);
    while !last.is_char_boundary(from) {
        from += 1;
    }
    last.get(from..).unwrap_or_default().to_owned()
}

/// Where a text may be cut so that it has so many bytes at most.
fn boundary(text: &str, most: usize) -> usize {
    let mut at = most.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_logs() {
        let line = |tag: &str, text: &str| format!("2026-01-01T00:00:00Z stdout {tag} {text}\n");
        let many: String = (0..100)
            .map(|number| line("F", &number.to_string()))
            .collect();
        let tail: Vec<String> = (20..100).map(|number| number.to_string()).collect();
        let tail = tail.join("\n") + "\n";
        let long = line("F", &"é".repeat(3000));
        for (log, expected) in [
            (String::new(), String::new()),
            ("cut off\n".to_owned(), String::new()),
            (line("F", "one") + &line("F", ""), "one\n\n".to_owned()),
            (
                line("P", "one") + &line("F", " two"),
                "one two\n".to_owned(),
            ),
            (many, tail),
            (long, format!("{}\n", "é".repeat(1023))),
        ] {
            assert_eq!(end_of_log(log.as_bytes()), expected);
        }
    }
}
