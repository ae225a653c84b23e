//! Backups of a state in a directory, while it is served.

use std::future::{Future, pending};

use anyhow::Result;

use super::store::Opened;

/// Writes a backup to this file at each SIGUSR1, for ever. The signals count from the call on.
#[cfg(feature = "durable")]
pub(crate) fn on_signal(
    opened: &Opened,
    to: Option<&str>,
) -> Result<impl Future<Output = ()> + use<>> {
    use tokio::signal::unix::{SignalKind, signal};
    let task = match (to, opened.durable.clone()) {
        (None, _) => None,
        (Some(_), None) => anyhow::bail!("only a state in a directory is backed up"),
        (Some(to), Some(store)) => {
            let wanted = signal(SignalKind::user_defined1())?;
            Some((wanted, store, std::path::PathBuf::from(to)))
        }
    };
    Ok(async move {
        if let Some((mut wanted, store, to)) = task {
            while wanted.recv().await.is_some() {
                match store.backup(&to).await {
                    Ok(()) => println!("backed up to {}", to.display()),
                    Err(error) => eprintln!("no backup was made: {error}"),
                }
            }
        }
        pending::<()>().await;
    })
}

#[cfg(not(feature = "durable"))]
pub(crate) fn on_signal(_: &Opened, to: Option<&str>) -> Result<impl Future<Output = ()> + use<>> {
    if to.is_some() {
        anyhow::bail!("backups need a build with --features durable");
    }
    Ok(pending())
}
