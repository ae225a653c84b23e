//! Several API servers on one etcd: `standalone` as two processes over three members. What is written through one is seen
//! through the other, whoever dies.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use homeostat::apiserver::serve::Certificates;
use homeostat::clock::Clock;
use homeostat::node::{Hollow, NodeAgent, NodeSpec};
use homeostat::reconcile::Manager;
use homeostat::store::{
    Change, Entry, Error, EtcdStore, Expect, Page, Range, Result, Revision, Store, WatchEvent,
    WatchStream,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Client;
use kube::api::{
    Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions,
    WatchParams,
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::Temporary;
use super::etcd::changes_since;
use super::history::{History, Recorder};
use super::process::{Cut, Etcd, Network, crash_safe, programs};
use super::program::{Running, client, free_port, until};

/// Where the API server keeps the objects that clients fight over.
const MAPS: &str = "/registry/configmaps/default/";
/// Keys that clients write.
const KEYS: u64 = 12;
/// No request of a test waits longer.
const LONGEST: Duration = Duration::from_secs(15);

/// `standalone` as a process over an etcd.
pub(super) struct Server {
    pub(super) running: Running,
    arguments: Vec<String>,
    kubeconfig: PathBuf,
    client: Arc<Mutex<Client>>,
}

impl Server {
    async fn start(etcd: &Etcd, place: &Temporary, more: &[&str]) -> Self {
        let port = free_port();
        let kubeconfig = place.0.join(format!("kubeconfig-{port}"));
        let key = place.0.join("accounts.key");
        if !key.exists() {
            // Both sign tokens of service accounts with one key.
            let certificates = Certificates::generate(&Clock::system(), &["localhost"]).unwrap();
            std::fs::write(&key, certificates.server_pem().1).unwrap();
        }
        let mut arguments = vec![
            format!("--listen=127.0.0.1:{port}"),
            format!("--etcd-servers={}", etcd.endpoints().join(",")),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--service-account-signing-key-file={}", key.display()),
        ];
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        let running = Self::run(&arguments);
        let client = until("the server does not start", || client(&kubeconfig)).await;
        Self {
            running,
            arguments,
            kubeconfig,
            client: Arc::new(Mutex::new(client)),
        }
    }

    fn run(arguments: &[String]) -> Running {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Running::start("standalone", &arguments)
    }

    pub(super) fn client(&self) -> Client {
        self.client.lock().clone()
    }

    fn maps(&self) -> Api<ConfigMap> {
        Api::default_namespaced(self.client())
    }

    fn store(&self, etcd: &EtcdStore) -> Arc<dyn Store> {
        Arc::new(Maps {
            client: self.client.clone(),
            etcd: etcd.clone(),
        })
    }

    pub(super) fn kill(&mut self) {
        self.running.kill();
        // The next process has other certificates, and writes another file.
        let _gone_with_the_process = std::fs::remove_file(&self.kubeconfig);
    }

    pub(super) async fn start_again(&mut self) {
        self.running = Self::run(&self.arguments);
        let client = until("the server does not start again", || {
            client(&self.kubeconfig)
        });
        *self.client.lock() = client.await;
    }
}

/// The config maps of an API server as a store, so that what clients see of them can be judged as a store's history. The
/// API does not tell at which revision something was deleted; etcd does.
struct Maps {
    client: Arc<Mutex<Client>>,
    etcd: EtcdStore,
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maps").finish_non_exhaustive()
    }
}

fn failed(error: kube::Error) -> Error {
    match &error {
        kube::Error::Api(status) if status.is_already_exists() => Error::AlreadyExists {
            key: status.message.clone(),
        },
        kube::Error::Api(status) if status.is_not_found() => Error::NotFound {
            key: status.message.clone(),
        },
        kube::Error::Api(status) if status.is_conflict() => Error::Conflict {
            key: status.message.clone(),
            expected: 0,
            actual: 0,
        },
        _ => Error::Unavailable(error.into()),
    }
}

fn revision(map: &ConfigMap) -> Revision {
    map.metadata
        .resource_version
        .as_deref()
        .unwrap()
        .parse()
        .unwrap()
}

/// The value of a map, as clients write it.
fn value(map: &ConfigMap) -> Bytes {
    map.data.as_ref().unwrap()["v"].clone().into()
}

async fn in_time<T>(asked: impl Future<Output = kube::Result<T>>) -> Result<T> {
    match timeout(LONGEST, asked).await {
        Ok(answer) => answer.map_err(failed),
        Err(late) => Err(Error::Unavailable(late.into())),
    }
}

impl Maps {
    fn api(&self) -> Api<ConfigMap> {
        Api::default_namespaced(self.client.lock().clone())
    }

    /// The revision that deleted what `key` was at `present`.
    async fn deleted(&self, key: &str, present: Revision) -> Result<Revision> {
        let name = format!("{MAPS}{}", name(key));
        let mut watch = self.etcd.watch(&name, present).await?;
        while let Some(Ok(event)) = watch.next().await {
            let WatchEvent::Changes(changes) = event else {
                continue;
            };
            for change in changes {
                if let Change::Delete { previous, revision } = change
                    && *previous.key == name
                {
                    assert_eq!(previous.modified, present, "{key} changed before it went");
                    return Ok(revision);
                }
            }
        }
        panic!("the watch of {key} ended")
    }
}

/// `/3` is the map `m3`.
fn name(key: &str) -> String {
    key.replace('/', "m")
}

#[async_trait]
impl Store for Maps {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        let (api, name) = (self.api(), name(key));
        // A list without a revision is as consistent as a get.
        let found = if self.etcd.revision().await? % 2 == 0 {
            in_time(api.get_opt(&name)).await?
        } else {
            let all = in_time(api.list(&ListParams::default())).await?;
            let is_it = |map: &ConfigMap| map.metadata.name.as_deref() == Some(&name);
            all.items.into_iter().find(is_it)
        };
        Ok(found.map(|map| Entry {
            key: key.into(),
            value: value(&map),
            created: 0,
            modified: revision(&map),
        }))
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        _: Option<Duration>,
    ) -> Result<Revision> {
        let value = String::from_utf8(value.to_vec()).unwrap();
        let version = match expect {
            Expect::Absent => None,
            Expect::Modified(revision) => Some(revision.to_string()),
        };
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(name(key)),
                resource_version: version.clone(),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([("v".to_owned(), value)])),
            ..ConfigMap::default()
        };
        let (api, name, params) = (self.api(), name(key), PostParams::default());
        let written = match version {
            None => in_time(api.create(&params, &map)).await,
            Some(_) => in_time(api.replace(&name, &params, &map)).await,
        };
        written.map(|map| revision(&map))
    }

    async fn delete(&self, key: &str, expect: Option<Revision>) -> Result<(Entry, Revision)> {
        let expected = expect.unwrap();
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                resource_version: Some(expected.to_string()),
                uid: None,
            }),
            ..DeleteParams::default()
        };
        let (api, name) = (self.api(), name(key));
        in_time(api.delete(&name, &params)).await?;
        let entry = Entry {
            key: key.into(),
            value: Bytes::new(),
            created: 0,
            modified: expected,
        };
        Ok((entry, self.deleted(key, expected).await?))
    }

    async fn range(&self, _: Range) -> Result<Page> {
        unimplemented!("clients do not ask for it")
    }

    async fn watch(&self, _: &str, _: Revision) -> Result<WatchStream> {
        unimplemented!("clients do not ask for it")
    }

    async fn compact(&self, _: Revision) -> Result<()> {
        unimplemented!("clients do not ask for it")
    }

    async fn revision(&self) -> Result<Revision> {
        self.etcd.revision().await
    }
}

/// What etcd knows of the maps, in the words of [`Maps`].
fn of_maps(changes: &[Change]) -> Vec<Change> {
    let entry = |entry: &Entry| {
        let map: ConfigMap = serde_json::from_slice(&entry.value).unwrap();
        Entry {
            key: entry.key.replace(&format!("{MAPS}m"), "/").into(),
            value: value(&map),
            ..entry.clone()
        }
    };
    let ours = changes.iter().filter(|change| {
        let name = change.key().strip_prefix(MAPS).unwrap_or_default();
        name.starts_with('m')
    });
    ours.map(|change| match change {
        Change::Put {
            entry: new,
            previous,
        } => Change::Put {
            entry: entry(new),
            previous: previous.as_ref().map(entry),
        },
        Change::Delete { previous, revision } => Change::Delete {
            previous: entry(previous),
            revision: *revision,
        },
    })
    .collect()
}

/// What a watch through a server told without a gap.
#[derive(Debug)]
struct Told {
    after: Revision,
    /// Revision and name of each change.
    changes: Vec<(Revision, String)>,
}

/// Watches the maps through a server; begins again when the watch breaks: from where it was while that is possible.
fn follow(client: Arc<Mutex<Client>>, told: Arc<Mutex<Vec<Told>>>) -> JoinHandle<()> {
    let again = Duration::from_millis(100);
    tokio::spawn(async move {
        let mut after: Option<Revision> = None;
        loop {
            sleep(again).await;
            let maps: Api<ConfigMap> = Api::default_namespaced(client.lock().clone());
            let from = if let Some(after) = after {
                after
            } else {
                let Ok(all) = in_time(maps.list(&ListParams::default())).await else {
                    continue;
                };
                let from = all.metadata.resource_version.unwrap().parse().unwrap();
                let changes = Vec::new();
                let begun = Told {
                    after: from,
                    changes,
                };
                told.lock().push(begun);
                from
            };
            after = Some(from);
            let params = WatchParams::default();
            let Ok(watch) = maps.watch(&params, &from.to_string()).await else {
                continue;
            };
            let mut watch = watch.boxed();
            while let Some(Ok(event)) = watch.next().await {
                use kube::api::WatchEvent::{Added, Bookmark, Deleted, Error, Modified};
                match event {
                    Added(map) | Modified(map) | Deleted(map) => {
                        let at = revision(&map);
                        after = Some(at);
                        let mut told = told.lock();
                        let changes = &mut told.last_mut().unwrap().changes;
                        changes.push((at, map.metadata.name.unwrap()));
                    }
                    Error(status) => {
                        // The server does not know that far back: it began later.
                        assert_eq!(status.code, 410, "{status:?}");
                        after = None;
                    }
                    Bookmark(_) => {}
                }
            }
        }
    })
}

/// Whether the watch told all changes that there were while it lasted.
fn check_told(told: &[Told], changes: &[Change]) {
    for told in told {
        let Some(last) = told.changes.last() else {
            continue;
        };
        let expected: Vec<(Revision, String)> = changes
            .iter()
            .filter(|change| change.revision() > told.after && change.revision() <= last.0)
            .filter_map(|change| {
                let name = change.key().strip_prefix(MAPS)?;
                Some((change.revision(), name.to_owned()))
            })
            .collect();
        assert_eq!(told.changes, expected, "a watch missed or mixed changes");
    }
}

/// Two servers, and clients that read and write through both.
pub(super) struct Pair {
    pub(super) servers: [Server; 2],
    pub(super) etcd: EtcdStore,
    start: Revision,
    recorder: Recorder,
    told: [Arc<Mutex<Vec<Told>>>; 2],
    stop: tokio::sync::watch::Sender<bool>,
    clients: Vec<JoinHandle<()>>,
    watches: Vec<JoinHandle<()>>,
}

impl Pair {
    pub(super) async fn start(etcd: &Etcd, place: &Temporary, more: &[&str]) -> Self {
        let store = etcd.store().await;
        let servers = [
            Server::start(etcd, place, more).await,
            Server::start(etcd, place, more).await,
        ];
        let start = store.revision().await.unwrap();
        let recorder = Recorder::default();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let clients = (0..6).map(|number| {
            let through = servers[number % 2].store(&store);
            let (recorder, stopped) = (recorder.clone(), stopped.clone());
            tokio::spawn(async move {
                let mut random = number as u64 + 1;
                while !*stopped.borrow() {
                    recorder.step(&*through, &mut random, KEYS).await;
                    // Etcd keeps the history that all is judged by.
                    sleep(Duration::from_millis(5)).await;
                }
            })
        });
        let clients = clients.collect();
        let told = [Arc::default(), Arc::default()];
        let watches = servers.iter().zip(&told);
        let watches = watches.map(|(server, told)| follow(server.client.clone(), Arc::clone(told)));
        Self {
            watches: watches.collect(),
            servers,
            etcd: store,
            start,
            recorder,
            told,
            stop,
            clients,
        }
    }

    /// Waits until so many more operations were answered: clients get on.
    pub(super) async fn get_on(&self, operations: usize) {
        let enough = self.recorder.operations().len() + operations;
        let got_on = async {
            while self.recorder.operations().len() < enough {
                sleep(Duration::from_millis(100)).await;
            }
        };
        let in_time = timeout(Duration::from_secs(60), got_on).await;
        assert!(in_time.is_ok(), "clients do not get on");
    }

    /// Ends the load, and judges all that was seen.
    pub(super) async fn judge(self) -> [Server; 2] {
        self.get_on(300).await;
        self.stop.send_replace(true);
        for client in self.clients {
            client.await.unwrap();
        }
        let changes = changes_since(&self.etcd, self.start).await;
        let operations = self.recorder.operations();
        println!("{} operations", operations.len());
        let history = History::new(of_maps(&changes));
        history.check(&operations).unwrap();
        // The watches arrive at the last change.
        let last = changes.iter().rfind(|change| {
            let name = change.key().strip_prefix(MAPS);
            name.is_some_and(|name| name.starts_with('m'))
        });
        let last = last.unwrap().revision();
        for told in &self.told {
            let arrives = || async {
                let told = told.lock();
                let newest = told.last()?;
                let newest = newest
                    .changes
                    .last()
                    .map_or(newest.after, |change| change.0);
                (newest >= last).then_some(())
            };
            until("a watch does not arrive at the last change", arrives).await;
            check_told(&told.lock(), &changes);
        }
        for watch in self.watches {
            watch.abort();
        }
        // Both serve the same state.
        let mut states = Vec::new();
        for server in &self.servers {
            let all = server.maps().list(&ListParams::default()).await.unwrap();
            states.push(all.items);
        }
        assert!(states[0] == states[1], "two servers serve two states");
        self.servers
    }
}

/// What is written through one server is seen through the other at once, and told in order.
#[tokio::test(flavor = "multi_thread")]
async fn share_an_etcd() {
    let [_, (_, program)] = programs();
    let etcd = Etcd::start(&program, 3);
    let place = Temporary::new("servers");
    etcd.store().await;
    let servers = [
        Server::start(&etcd, &place, &["--only-api"]).await,
        Server::start(&etcd, &place, &["--only-api"]).await,
    ];
    let maps = [servers[0].maps(), servers[1].maps()];
    let listed = maps[1].list(&ListParams::default()).await.unwrap();
    let from = listed.metadata.resource_version.unwrap();
    let params = WatchParams::default();
    let mut watch = maps[1].watch(&params, &from).await.unwrap().boxed();
    for number in 0..50 {
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(format!("m{number}")),
                ..ObjectMeta::default()
            },
            ..ConfigMap::default()
        };
        let writer = &maps[number % 2];
        writer.create(&PostParams::default(), &map).await.unwrap();
        // A consistent read through the other sees it.
        let reader = &maps[1 - number % 2];
        reader.get(&format!("m{number}")).await.unwrap();
        let all = reader.list(&ListParams::default()).await.unwrap();
        assert_eq!(all.items.len(), listed.items.len() + number + 1);
    }
    for number in 0..50 {
        let event = timeout(Duration::from_secs(10), watch.next()).await;
        let Some(Ok(kube::api::WatchEvent::Added(map))) = event.unwrap() else {
            panic!("not the addition of m{number}")
        };
        assert_eq!(map.metadata.name, Some(format!("m{number}")));
    }
    for server in servers {
        assert!(server.running.ends_well().await);
    }
}

/// Nodes that live in this process, reached through a server.
pub(super) async fn nodes(client: Client) -> (Manager, Hollow) {
    let manager = Manager::new(client, Clock::system());
    let specs = ["one", "two"].map(NodeSpec::new).to_vec();
    let hollow = Hollow::new(&manager, specs);
    manager.start().await.unwrap();
    hollow.start().await.unwrap();
    (manager, hollow)
}

/// Asks for so many pods, through whichever server answers; a write of unknown outcome is asked for again.
pub(super) async fn scale(servers: &[Server; 2], replicas: i32) {
    let patch = json!({"spec": {"replicas": replicas}});
    let asked = || async {
        for server in servers {
            let deployments = Api::<Deployment>::default_namespaced(server.client());
            let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
            let patched = in_time(deployments.patch("web", &params, &patch)).await;
            if patched.is_ok() {
                return Some(());
            }
        }
        None
    };
    until("the deployment cannot be written", asked).await;
}

/// Creates the Deployment that is scaled, with two pods.
pub(super) async fn deploy(server: &Server) {
    let deployments = Api::<Deployment>::default_namespaced(server.client());
    let deployment = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:v1"}]}},
        },
    });
    let deployment = serde_json::from_value(deployment).unwrap();
    let params = PostParams::default();
    deployments.create(&params, &deployment).await.unwrap();
}

/// Waits until both servers show that so many pods run, and no more.
pub(super) async fn converges(servers: &[Server; 2], replicas: i32) {
    for server in servers {
        let deployments = Api::<Deployment>::default_namespaced(server.client());
        let ready = |deployment: Option<&Deployment>| {
            let status = deployment.and_then(|deployment| deployment.status.as_ref());
            status.and_then(|status| status.ready_replicas) == Some(replicas)
        };
        let arrives = kube::runtime::wait::await_condition(deployments, "web", ready);
        let arrived = timeout(Duration::from_secs(90), arrives).await;
        arrived.expect("controllers do not converge").unwrap();
        let pods = Api::<Pod>::default_namespaced(server.client());
        let pods = pods.list(&ListParams::default()).await.unwrap().items;
        let names: Vec<_> = pods.iter().map(|pod| &pod.metadata.name).collect();
        assert_eq!(pods.len(), usize::try_from(replicas).unwrap(), "{names:?}");
    }
}

/// Servers, members and the leaders of both die under load: nothing is lost, no read is stale, and controllers converge.
#[tokio::test(flavor = "multi_thread")]
async fn servers_and_members_may_die() {
    let program = crash_safe();
    let mut etcd = Etcd::start(&program, 3);
    let place = Temporary::new("servers");
    let more = ["--nodes=0", "--leader-elect"];
    let mut pair = Pair::start(&etcd, &place, &more).await;
    let mut hollow = nodes(pair.servers[1].client()).await;
    deploy(&pair.servers[0]).await;
    for member in 0..3 {
        pair.get_on(100).await;
        etcd.kill(member);
        scale(&pair.servers, 3 + i32::try_from(member).unwrap()).await;
        pair.get_on(100).await;
        etcd.run(member);
        pair.get_on(100).await;
        etcd.signal(member, "STOP");
        sleep(Duration::from_secs(3)).await;
        etcd.signal(member, "CONT");
    }
    // The first server runs the controllers: the other takes over.
    for server in 0..2 {
        pair.get_on(100).await;
        pair.servers[server].kill();
        hollow.1.stop().await;
        hollow.0.stop().await;
        hollow = nodes(pair.servers[1 - server].client()).await;
        scale(&pair.servers, 6 + i32::try_from(server).unwrap()).await;
        pair.get_on(100).await;
        pair.servers[server].start_again().await;
    }
    let servers = pair.judge().await;
    converges(&servers, 7).await;
    hollow.1.stop().await;
    hollow.0.stop().await;
}

/// A member is cut off from all, or only from its peers.
#[tokio::test(flavor = "multi_thread")]
async fn networks_may_part() {
    let [_, (_, program)] = programs();
    let network = Network::new(3);
    let etcd = Etcd::start_on(&program, &network);
    let place = Temporary::new("servers");
    let pair = Pair::start(&etcd, &place, &["--only-api"]).await;
    for host in 0..3 {
        pair.get_on(100).await;
        network.cut(host, Cut::All);
        sleep(Duration::from_millis(2500)).await;
        network.mend(host);
        pair.get_on(100).await;
        network.cut(host, Cut::Peers);
        sleep(Duration::from_millis(2500)).await;
        network.mend(host);
    }
    pair.judge().await;
}
