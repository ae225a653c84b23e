//! Audit events as lines of JSON.
use super::AuditSink;
use serde_json::Value;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Writes one event a line, in a task of its own. When the writer does not keep up events are dropped, and counted.
#[derive(Debug)]
pub struct AuditLog {
    lines: mpsc::Sender<String>,
    dropped: AtomicU64,
}

impl AuditLog {
    /// A log that holds up to `waiting` events for the writer, and the task that writes them: it ends when the log is dropped
    /// and all is written. Must be called within a tokio runtime.
    pub fn new(
        writer: impl AsyncWrite + Send + Unpin + 'static,
        waiting: usize,
    ) -> (Self, JoinHandle<()>) {
        let (lines, waiting) = mpsc::channel(waiting.max(1));
        let task = tokio::spawn(write(waiting, writer));
        let log = Self {
            lines,
            dropped: AtomicU64::new(0),
        };
        (log, task)
    }

    /// How many events were dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl AuditSink for AuditLog {
    fn record(&self, event: &Value) {
        if self.lines.try_send(Line(event).to_string()).is_err() {
            let before = self.dropped.fetch_add(1, Ordering::Relaxed);
            if before == 0 {
                tracing::warn!("audit events are dropped: their writer does not keep up");
            }
        }
    }
}

struct Line<'a>(&'a Value);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.0)
    }
}

async fn write(mut lines: mpsc::Receiver<String>, mut writer: impl AsyncWrite + Unpin) {
    while let Some(line) = lines.recv().await {
        let written = async {
            writer.write_all(line.as_bytes()).await?;
            if lines.is_empty() {
                writer.flush().await?;
            }
            Ok::<(), std::io::Error>(())
        };
        if let Err(error) = written.await {
            tracing::warn!(%error, "audit events cannot be written any more");
            return;
        }
    }
    // What fails here has failed before.
    let _ = writer.flush().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn events_are_lines_and_too_many_are_dropped() {
        let (writer, mut reader) = tokio::io::duplex(1024);
        let (log, task) = AuditLog::new(writer, 2);
        for number in 0..5 {
            log.record(&json!({ "n": number }));
        }
        assert_eq!(log.dropped(), 3);
        drop(log);
        task.await.unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "{\"n\":0}\n{\"n\":1}\n");
    }
}
