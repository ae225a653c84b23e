//! The flags of the audit log, as both serving examples take them.

use anyhow::{Context, Result};
use homeostat::apiserver::{ApiServerBuilder, AuditLog, AuditPolicy};
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::OpenOptions;
use tokio::task::JoinHandle;

use super::flags::Flags;

/// So many events may wait to be written.
const WAITING: usize = 10_000;

/// What writes the audit log.
pub(crate) struct Writer(Option<JoinHandle<()>>);

impl Writer {
    /// Waits until everything is written; the server must have been dropped.
    pub(crate) async fn finish(self) {
        if let Some(task) = self.0 {
            // What is not written by then is lost.
            let _ = tokio::time::timeout(Duration::from_secs(2), task).await;
        }
    }
}

/// Sends audit events to the file that the flags name (`-`: to standard output), as their policy says; without a policy who did
/// what, without any object.
pub(crate) async fn set_up(
    server: ApiServerBuilder,
    flags: &Flags,
) -> Result<(ApiServerBuilder, Writer)> {
    let policy = match flags.get("audit-policy-file") {
        None => AuditPolicy::metadata(),
        Some(path) => {
            let text = tokio::fs::read_to_string(path).await;
            let text = text.with_context(|| format!("cannot read {path}"))?;
            AuditPolicy::parse(&text).with_context(|| path.to_owned())?
        }
    };
    let Some(path) = flags.get("audit-log-path") else {
        return Ok((server, Writer(None)));
    };
    let (log, task) = if path == "-" {
        AuditLog::new(tokio::io::stdout(), WAITING)
    } else {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(path).await;
        let file = file.with_context(|| format!("cannot open {path}"))?;
        AuditLog::new(file, WAITING)
    };
    Ok((server.audit(Arc::new(log), policy), Writer(Some(task))))
}
