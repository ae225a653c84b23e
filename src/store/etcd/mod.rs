//! A store in etcd, of one member or several. Feature `etcd`; the only place that sees the etcd client.
//!
//! Keys and values are as they come, revisions are etcd's. The etcd is the store's own: one watch of all its keys feeds all
//! watches of this store, which so learn of every revision as it is made, without asking for progress. API servers
//! that share an etcd each have such a feed.

mod error;
mod feed;
mod limits;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, DeleteOptions, GetOptions, Identity,
    KeyValue, KvClient, PutOptions, ResponseHeader, TlsOptions, Txn, TxnOp, TxnOpResponse,
};
use tokio::time::{Instant, sleep, timeout};

use self::feed::Feed;
use self::limits::Limits;
use super::{
    Entry, Error, Expect, MemoryConfig, MemoryStore, Page, Range, Result, Revision, Store,
    WatchStream,
};

/// Entries that are asked for at once. What a request may take is bounded so.
const PAGE: usize = 500;
/// Answers may be of any size that gRPC can say.
const LARGEST: usize = i32::MAX as usize;
/// Etcd gives no longer lease than this, in seconds: some 285 years.
const LONGEST_LEASE: u128 = 9_000_000_000;
/// Between two tries of a read.
const PAUSE: Duration = Duration::from_millis(100);

/// How an [`EtcdStore`] reaches its etcd.
#[derive(Clone, Debug)]
#[must_use]
pub struct EtcdConfig {
    endpoints: Vec<String>,
    user: Option<(String, String)>,
    tls: Option<TlsOptions>,
    timeout: Duration,
    history: MemoryConfig,
    compaction: Option<Duration>,
}

impl EtcdConfig {
    /// Reaches etcd at these URLs, e.g. `http://127.0.0.1:2379`; all of one cluster. A member that does not answer is not asked.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            user: None,
            tls: None,
            timeout: Duration::from_secs(5),
            history: MemoryConfig::default(),
            compaction: Some(Duration::from_secs(300)),
        }
    }

    /// Authenticates by name and password. Default = not at all.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some((name.into(), password.into()));
        self
    }

    /// Trusts this authority (PEM) for `https` endpoints, and shows a client certificate and its key (PEM). Default = neither.
    pub fn tls(mut self, authority: &[u8], client: Option<(&[u8], &[u8])>) -> Self {
        let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(authority));
        if let Some((certificate, key)) = client {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        self.tls = Some(tls);
        self
    }

    /// How long a request may take, tries together. Default = 5 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How much history watches are served from. Default = that of [`MemoryConfig`].
    pub fn history(mut self, history: MemoryConfig) -> Self {
        self.history = history;
        self
    }

    /// How often history is compacted, to what it was one interval before; servers that share an etcd agree on who does it.
    /// `None`: never. Default = 5 min, as kube-apiserver's `--etcd-compaction-interval`.
    pub fn compaction(mut self, interval: Option<Duration>) -> Self {
        self.compaction = interval;
        self
    }

    fn options(&self) -> ConnectOptions {
        const PING: Duration = Duration::from_secs(2);
        // A member that is stopped answers no ping: its connection is given up, and another member asked. One that knows no
        // leader, for it is cut off from the others, refuses requests and ends watches, which would be silent otherwise.
        let mut options = ConnectOptions::new()
            .with_require_leader(true)
            .with_connect_timeout(Duration::from_secs(2))
            .with_keep_alive(PING, PING)
            .with_keep_alive_while_idle(true)
            .with_auto_token_refresh(true);
        if let Some((name, password)) = &self.user {
            options = options.with_user(name, password);
        }
        if let Some(tls) = &self.tls {
            options = options.with_tls(tls.clone());
        }
        options
    }
}

/// A store in etcd; see [`Store`] for what it promises. Cheap to clone; clones are the same store.
///
/// Where a write's outcome is unknown (the connection broke, time ran out) it fails with [`Error::Unavailable`] and is not
/// repeated: the caller reads what became of it. Reads are repeated until they succeed or time runs out.
///
/// Watches begin at the earliest where this store was opened, or where its bounded history begins; before that they are
/// told [`Error::Compacted`], even if etcd still knows.
#[derive(Clone, Debug)]
pub struct EtcdStore {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    kv: KvClient,
    timeout: Duration,
    limits: Limits,
    feed: Feed,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdStore").finish_non_exhaustive()
    }
}

impl EtcdStore {
    /// Connects.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when no member answers in time, or none accepts the credentials.
    pub async fn connect(config: EtcdConfig) -> Result<Self> {
        let connect = Client::connect(&config.endpoints, Some(config.options()));
        let client = timeout(config.timeout, connect)
            .await
            .map_err(|_| error::timed_out())?
            .map_err(|error| error::unavailable(&error))?;
        let kv = client.kv_client().max_decoding_message_size(LARGEST);
        let limits = Limits::start();
        let start = read(&limits, config.timeout, || newest(kv.clone())).await?;
        let feed = Feed::start(
            client.clone(),
            MemoryStore::mirror(config.history, start),
            config.compaction,
        );
        Ok(Self {
            shared: Arc::new(Shared {
                client,
                kv,
                timeout: config.timeout,
                limits,
                feed,
            }),
        })
    }

    /// What a request answers, if it does in time.
    async fn within<T>(&self, request: impl Future<Output = T>) -> Result<T> {
        let answer = self.shared.limits.within(self.shared.timeout, request);
        answer.await.map_err(|_| error::timed_out())
    }

    async fn read<T, F>(&self, ask: impl Fn(KvClient) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let Shared {
            kv,
            limits,
            timeout,
            ..
        } = &*self.shared;
        let read = read(limits, *timeout, || ask(kv.clone())).await;
        match read {
            Err(Error::Compacted { .. }) => Err(Error::Compacted {
                oldest: self.oldest().await,
            }),
            other => other,
        }
    }

    /// Makes a change if `compare` holds; otherwise tells what is there instead.
    async fn write(&self, key: &str, compare: Compare, change: TxnOp) -> Result<Outcome> {
        let deadline = Instant::now() + self.shared.timeout;
        loop {
            let txn = Txn::new()
                .when([compare.clone()])
                .and_then([change.clone()])
                .or_else([TxnOp::get(key, None)]);
            let mut kv = self.shared.kv.clone();
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match self.shared.limits.within(left, kv.txn(txn)).await {
                Err(_) => return Err(error::timed_out()),
                Ok(Ok(done)) => {
                    return Ok(Outcome {
                        revision: header(done.header()),
                        succeeded: done.succeeded(),
                        responses: done.op_responses(),
                    });
                }
                Ok(Err(error)) => error,
            };
            if !error::never_ran(&error) || left <= PAUSE {
                return Err(error::of(&error));
            }
            sleep(PAUSE).await;
        }
    }

    /// A lease for one key, so that keys which expire together do not share a revision.
    async fn grant(&self, ttl: Duration) -> Result<i64> {
        let seconds = ttl.as_millis().div_ceil(1000).clamp(1, LONGEST_LEASE);
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        let mut leases = self.shared.client.lease_client();
        let granted = self.within(leases.grant(seconds, None)).await?;
        granted
            .map(|lease| lease.id())
            .map_err(|error| error::of(&error))
    }

    /// What etcd still knows: from this revision on.
    async fn oldest(&self) -> Revision {
        let oldest = feed::compacted(self.shared.client.watch_client());
        self.within(oldest).await.ok().flatten().unwrap_or(0)
    }
}

/// What became of a write.
struct Outcome {
    revision: Revision,
    succeeded: bool,
    responses: Vec<TxnOpResponse>,
}

impl Outcome {
    /// Why the comparison did not hold.
    fn failure(mut self, key: &str, expect: Expect) -> Error {
        let found = match self.responses.pop() {
            Some(TxnOpResponse::Get(mut found)) => found.take_kvs().pop(),
            _ => None,
        };
        let found = found.and_then(entry);
        match expect.check(key, found.as_ref()) {
            Err(error) => error,
            Ok(()) => Error::Unavailable("etcd refused a write for no reason".into()),
        }
    }
}

/// The newest revision, as the cluster's majority knows it.
async fn newest(mut kv: KvClient) -> Result<Revision, etcd_client::Error> {
    let options = GetOptions::new().with_count_only();
    let found = kv.get("\0", Some(options)).await?;
    Ok(header(found.header()))
}

fn header(header: Option<&ResponseHeader>) -> Revision {
    header.map_or(0, |header| revision(header.revision()))
}

/// Etcd's numbers are signed and never negative.
fn revision(number: i64) -> Revision {
    Revision::try_from(number).unwrap_or(0)
}

fn number(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

/// `None` for keys that are not text, which are not the store's.
fn entry(kv: KeyValue) -> Option<Entry> {
    let (created, modified) = (kv.create_revision(), kv.mod_revision());
    let (key, value) = kv.into_key_value();
    Some(Entry {
        key: String::from_utf8(key).ok()?.into(),
        value: value.into(),
        created: revision(created),
        modified: revision(modified),
    })
}

/// Asks until there is an answer, or time runs out.
async fn read<T, F>(limits: &Limits, limit: Duration, ask: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T, etcd_client::Error>>,
{
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // One member that does not answer leaves time to ask another.
        let each = left.min(limit / 2).max(PAUSE);
        let error = match limits.within(each, ask()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error::of(&error),
            Err(_) => error::timed_out(),
        };
        if !matches!(error, Error::Unavailable(_)) || left <= each + PAUSE {
            return Err(error);
        }
        sleep(PAUSE).await;
    }
}

/// The first key after all that begin with `prefix`; `\0` stands for the end of all keys.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

#[async_trait]
impl Store for EtcdStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        let mut found = self
            .read(|mut kv| async move { kv.get(key, None).await })
            .await?;
        Ok(found.take_kvs().pop().and_then(entry))
    }

    async fn range(&self, range: Range) -> Result<Page> {
        let end = end_of(&range.prefix);
        let mut from = match &range.after {
            Some(after) if after.as_str() >= range.prefix.as_str() => format!("{after}\0"),
            _ if range.prefix.is_empty() => "\0".to_owned(),
            _ => range.prefix.clone(),
        };
        let mut entries = Vec::new();
        let mut at = range.revision;
        loop {
            let left = range
                .limit
                .map_or(PAGE, |limit| limit - entries.len())
                .min(PAGE);
            let mut options = GetOptions::new()
                .with_range(end.clone())
                .with_revision(number(at.unwrap_or(0)));
            // For etcd a limit of 0 is none.
            options = match left {
                0 => options.with_count_only(),
                left => options.with_limit(i64::try_from(left).unwrap_or(i64::MAX)),
            };
            let (from_now, options) = (&from, &options);
            let mut found = self
                .read(
                    |mut kv| async move { kv.get(from_now.as_str(), Some(options.clone())).await },
                )
                .await?;
            let revision = *at.get_or_insert_with(|| header(found.header()));
            let matching = usize::try_from(found.count()).unwrap_or(usize::MAX);
            let page = found.take_kvs();
            let remaining = matching.saturating_sub(page.len());
            if let Some(last) = page.last() {
                from = format!("{}\0", String::from_utf8_lossy(last.key()));
            }
            let is_last = page.is_empty();
            entries.extend(page.into_iter().filter_map(entry));
            let full = range.limit.is_some_and(|limit| entries.len() >= limit);
            if remaining == 0 || full || is_last {
                return Ok(Page {
                    entries,
                    revision,
                    remaining,
                });
            }
        }
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        ttl: Option<Duration>,
    ) -> Result<Revision> {
        let compare = match expect {
            Expect::Absent => Compare::create_revision(key, CompareOp::Equal, 0),
            Expect::Modified(revision) => {
                Compare::mod_revision(key, CompareOp::Equal, number(revision))
            }
        };
        let size = value.len();
        let mut options = PutOptions::new();
        let lease = match ttl {
            Some(ttl) => Some(self.grant(ttl).await?),
            None => None,
        };
        if let Some(lease) = lease {
            options = options.with_lease(lease);
        }
        let put = TxnOp::put(key, value, Some(options));
        let outcome = self.write(key, compare, put).await;
        let outcome = outcome.map_err(|error| error::sized(error, size))?;
        if outcome.succeeded {
            return Ok(outcome.revision);
        }
        if let Some(lease) = lease {
            // No key has it. If this fails, it lasts as long as the key would have.
            let mut leases = self.shared.client.lease_client();
            let _revoked = self.within(leases.revoke(lease)).await;
        }
        Err(outcome.failure(key, expect))
    }

    async fn delete(&self, key: &str, expect: Option<Revision>) -> Result<(Entry, Revision)> {
        let compare = match expect {
            None => Compare::create_revision(key, CompareOp::Greater, 0),
            Some(revision) => Compare::mod_revision(key, CompareOp::Equal, number(revision)),
        };
        let delete = TxnOp::delete(key, Some(DeleteOptions::new().with_prev_key()));
        let mut outcome = self.write(key, compare, delete).await?;
        if !outcome.succeeded {
            return Err(outcome.failure(key, Expect::Modified(expect.unwrap_or(0))));
        }
        let deleted = match outcome.responses.pop() {
            Some(TxnOpResponse::Delete(mut deleted)) => deleted.take_prev_kvs().pop(),
            _ => None,
        };
        deleted
            .and_then(entry)
            .map(|deleted| (deleted, outcome.revision))
            .ok_or_else(|| Error::Unavailable("etcd did not tell what it deleted".into()))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<WatchStream> {
        let feed = &self.shared.feed;
        if after > feed.revision() {
            let current = self.revision().await?;
            if after > current {
                return Err(Error::FutureRevision {
                    asked: after,
                    current,
                });
            }
            feed.reach(after, self.shared.timeout).await?;
        }
        feed.watch(prefix, after).await
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        let mut kv = self.shared.kv.clone();
        let compact = kv.compact(number(revision), None);
        match self
            .within(compact)
            .await?
            .map_err(|error| error::of(&error))
        {
            Ok(_) => {}
            Err(Error::Compacted { .. }) => {
                return Err(Error::Compacted {
                    oldest: self.oldest().await,
                });
            }
            Err(error) => return Err(error),
        }
        self.shared
            .feed
            .reach(revision, self.shared.timeout)
            .await?;
        self.shared.feed.forget(revision);
        Ok(())
    }

    async fn revision(&self) -> Result<Revision> {
        self.read(newest).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_begins() {
        for (prefix, end) in [
            ("/registry/", &b"/registry0"[..]),
            ("", &[0]),
            ("a\u{7f}", &[b'a', 0x80]),
        ] {
            assert_eq!(end_of(prefix), end, "{prefix:?}");
        }
    }
}
