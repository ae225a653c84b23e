//! Who is compared: the stores of the crate, and etcd as its client alone reaches it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{Client, Compare, CompareOp, GetOptions, KvClient, Txn, TxnOp, WatchOptions};
use homeostat::store::{
    DurableConfig, DurableStore, EtcdStore, Expect, Range, Revision, Store, WatchEvent,
};

use crate::process::Etcd;

/// One of those that are compared.
#[derive(Clone)]
pub(crate) enum Contender {
    /// A store of the crate.
    Store(&'static str, Arc<dyn Store>),
    /// The client that [`EtcdStore`] stands on, doing by hand the same transactions.
    Client(Box<Client>),
}

impl Contender {
    pub(crate) async fn durable(directory: &std::path::Path) -> (Self, DurableStore) {
        let store = DurableStore::open(directory, DurableConfig::default()).await;
        let store = store.unwrap();
        (Self::Store("DurableStore", Arc::new(store.clone())), store)
    }

    pub(crate) async fn etcd_store(etcd: &Etcd) -> Self {
        let config = etcd.config().timeout(Duration::from_secs(60));
        let store: EtcdStore = etcd.store_with(config.compaction(None)).await;
        Self::Store("EtcdStore", Arc::new(store))
    }

    pub(crate) async fn client(etcd: &Etcd) -> Self {
        Self::Client(Box::new(
            Client::connect(etcd.endpoints(), None).await.unwrap(),
        ))
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Store(name, _) => name,
            Self::Client(_) => "etcd-client",
        }
    }

    fn kv(client: &Client) -> KvClient {
        client
            .kv_client()
            .max_decoding_message_size(usize::MAX >> 1)
    }

    /// Writes a new key.
    pub(crate) async fn create(&self, key: &str, value: Bytes) {
        match self {
            Self::Store(_, store) => {
                store.put(key, value, Expect::Absent, None).await.unwrap();
            }
            Self::Client(client) => {
                let txn = Txn::new()
                    .when([Compare::create_revision(key, CompareOp::Equal, 0)])
                    .and_then([TxnOp::put(key, value, None)])
                    .or_else([TxnOp::get(key, None)]);
                assert!(Self::kv(client).txn(txn).await.unwrap().succeeded());
            }
        }
    }

    pub(crate) async fn get(&self, key: &str) {
        match self {
            Self::Store(_, store) => assert!(store.get(key).await.unwrap().is_some()),
            Self::Client(client) => {
                assert_eq!(Self::kv(client).get(key, None).await.unwrap().count(), 1);
            }
        }
    }

    /// Reads up to `limit` entries under a prefix; how many came. The client asks for pages of 500 and keeps what comes, as the store
    /// does.
    pub(crate) async fn range(&self, prefix: &str, limit: usize) -> usize {
        match self {
            Self::Store(_, store) => {
                let page = store.range(Range::prefix(prefix).limit(limit)).await;
                page.unwrap().entries.len()
            }
            Self::Client(client) => {
                let (mut kept, mut from, mut revision) = (Vec::new(), prefix.to_owned(), 0);
                let end = format!("{}0", prefix.trim_end_matches('/'));
                loop {
                    let options = GetOptions::new()
                        .with_range(end.as_str())
                        .with_limit(500)
                        .with_revision(revision);
                    let mut page = Self::kv(client).get(from, Some(options)).await.unwrap();
                    revision = page.header().unwrap().revision();
                    kept.extend(page.take_kvs());
                    if kept.len() >= limit || !page.more() {
                        return std::hint::black_box(kept).len();
                    }
                    from = format!("{}\0", kept.last().unwrap().key_str().unwrap());
                }
            }
        }
    }

    /// Waits for so many changes under a prefix; `begun` is told once the watch is there.
    pub(crate) async fn watch(
        &self,
        prefix: &str,
        changes: usize,
        begun: tokio::sync::oneshot::Sender<()>,
    ) {
        let mut seen = 0;
        match self {
            Self::Store(_, store) => {
                let now: Revision = store.revision().await.unwrap();
                let mut watch = store.watch(prefix, now).await.unwrap();
                begun.send(()).unwrap();
                while seen < changes {
                    use futures::StreamExt;
                    if let WatchEvent::Changes(more) = watch.next().await.unwrap().unwrap() {
                        seen += more.len();
                    }
                }
            }
            Self::Client(client) => {
                let options = WatchOptions::new().with_prefix().with_prev_key();
                let mut client = client.watch_client();
                let mut watch = client.watch(prefix, Some(options)).await.unwrap();
                begun.send(()).unwrap();
                while seen < changes {
                    let answer = watch.message().await.unwrap().unwrap();
                    seen += answer.events().len();
                }
            }
        }
    }
}
