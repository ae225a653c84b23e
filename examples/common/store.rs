//! Where the serving examples keep their state.

use std::sync::Arc;

use anyhow::Result;
use homeostat::store::{MemoryStore, Store};

/// What the flags ask for.
pub(crate) struct Place<'a> {
    /// A directory for the durable store.
    pub(crate) directory: Option<&'a str>,
    /// A backup that the directory is made of first.
    pub(crate) backup: Option<&'a str>,
    /// URLs of etcd.
    pub(crate) etcd: Vec<&'a str>,
    /// Files that TLS to etcd needs: authority, client certificate, its key.
    #[cfg_attr(
        not(feature = "etcd"),
        expect(dead_code, reason = "read where the feature is on; taken everywhere")
    )]
    pub(crate) etcd_tls: [Option<&'a str>; 3],
}

/// A store that is closed when the program ends.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    #[cfg(feature = "durable")]
    pub(crate) durable: Option<homeostat::store::DurableStore>,
}

impl Opened {
    fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            #[cfg(feature = "durable")]
            durable: None,
        }
    }

    /// Lets go of what it holds.
    #[cfg_attr(
        not(feature = "durable"),
        expect(
            clippy::unused_async,
            reason = "the durable store is closed asynchronously"
        )
    )]
    pub(crate) async fn close(self) {
        #[cfg(feature = "durable")]
        if let Some(store) = self.durable {
            store.close().await;
        }
    }
}

/// Opens it; in memory when nothing else is asked for.
pub(crate) async fn open(place: &Place<'_>) -> Result<Opened> {
    if place.backup.is_some() && place.directory.is_none() {
        anyhow::bail!("a backup is restored into a directory");
    }
    match (place.directory, place.etcd.is_empty()) {
        (Some(_), false) => anyhow::bail!("state is kept in a directory or in etcd, not in both"),
        (Some(directory), true) => durable(directory, place.backup).await,
        (None, false) => etcd(place).await,
        (None, true) => Ok(Opened::new(Arc::new(MemoryStore::default()))),
    }
}

#[cfg(feature = "durable")]
async fn durable(directory: &str, backup: Option<&str>) -> Result<Opened> {
    use homeostat::store::{DurableConfig, DurableStore};
    if let Some(backup) = backup {
        DurableStore::restore(backup, directory).await?;
    }
    let store = DurableStore::open(directory, DurableConfig::default()).await?;
    Ok(Opened {
        store: Arc::new(store.clone()),
        durable: Some(store),
    })
}

#[cfg(not(feature = "durable"))]
#[expect(clippy::unused_async, reason = "as with the feature")]
async fn durable(_: &str, _: Option<&str>) -> Result<Opened> {
    anyhow::bail!("a directory for the state needs a build with --features durable")
}

#[cfg(feature = "etcd")]
async fn etcd(place: &Place<'_>) -> Result<Opened> {
    use anyhow::Context as _;
    use homeostat::store::{EtcdConfig, EtcdStore};
    let read = |path: &str| std::fs::read(path).with_context(|| format!("cannot read {path}"));
    let mut config = EtcdConfig::new(place.etcd.iter().copied());
    let [authority, certificate, key] = place.etcd_tls.map(|path| path.map(read).transpose());
    if let Some(authority) = authority? {
        let (certificate, key) = (certificate?, key?);
        config = config.tls(&authority, certificate.as_deref().zip(key.as_deref()));
    }
    let store = EtcdStore::connect(config).await;
    let store = store.with_context(|| format!("etcd at {}", place.etcd.join(", ")))?;
    Ok(Opened::new(Arc::new(store)))
}

#[cfg(not(feature = "etcd"))]
#[expect(clippy::unused_async, reason = "as with the feature")]
async fn etcd(_: &Place<'_>) -> Result<Opened> {
    anyhow::bail!("etcd needs a build with --features etcd")
}
