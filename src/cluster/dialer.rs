//! The way from the API server to the nodes of the same process: no sockets, so it works on virtual time.
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use crate::apiserver::{Connection, Dialer, Target};
use crate::cri::{ContainerRuntime as _, FakeRuntime, SandboxFilter, StreamService as _};
use crate::node::NodeServer;

/// How much is under way on a connection at most, in bytes.
const BUFFER: usize = 64 << 10;

/// Where the components of a real control plane are, beside its API server.
const LOCAL: &str = "127.0.0.1";
/// The ports of the health of the controllers and of the scheduler, which run in this process.
const COMPONENTS: [u16; 2] = [10_257, 10_259];

/// Leads to the nodes of this cluster, and past them to whoever else was given.
#[derive(Debug, Default)]
pub(super) struct InProcess {
    nodes: Mutex<BTreeMap<String, Place>>,
    others: Option<Arc<dyn Dialer>>,
    /// The ports of the components that run in this process.
    components: &'static [u16],
}

#[derive(Clone, Debug)]
struct Place {
    server: NodeServer,
    runtime: FakeRuntime,
    /// Whether the node's agent runs.
    up: bool,
}

impl InProcess {
    pub(super) fn new(others: Option<Arc<dyn Dialer>>) -> Self {
        Self {
            nodes: Mutex::default(),
            others,
            components: &[],
        }
    }

    /// One that answers for the health of the controllers and the scheduler too.
    pub(super) fn with_components(mut self) -> Self {
        self.components = &COMPONENTS;
        self
    }

    pub(super) fn add(&self, node: String, server: NodeServer, runtime: FakeRuntime) {
        let place = Place {
            server,
            runtime,
            up: true,
        };
        self.nodes.lock().insert(node, place);
    }

    /// Says whether a node's agent runs.
    pub(super) fn set_up(&self, node: &str, up: bool) {
        if let Some(place) = self.nodes.lock().get_mut(node) {
            place.up = up;
        }
    }

    /// A connection to a port of the pod that has this address.
    async fn pod(&self, address: &str, port: u16) -> io::Result<Option<Box<dyn Connection>>> {
        let runtimes: Vec<FakeRuntime> = {
            let nodes = self.nodes.lock();
            nodes.values().map(|place| place.runtime.clone()).collect()
        };
        let ready = SandboxFilter {
            ready: Some(true),
            ..SandboxFilter::default()
        };
        for runtime in runtimes {
            let sandboxes = runtime.list_sandboxes(&ready).await;
            for sandbox in sandboxes.unwrap_or_default() {
                let status = runtime.sandbox_status(&sandbox.id).await;
                if status.is_ok_and(|status| status.ip == address) {
                    let opened = runtime.port_forward(&sandbox.id, port).await;
                    return Ok(Some(Box::new(opened.map_err(io::Error::other)?)));
                }
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl Dialer for InProcess {
    async fn dial(&self, target: &Target) -> io::Result<Box<dyn Connection>> {
        let (host, port) = match target {
            Target::Node { name, host, port } => {
                let place = self.nodes.lock().get(name).cloned();
                if let Some(place) = place {
                    if !place.up {
                        return Err(refused(host, *port));
                    }
                    let (near, far) = tokio::io::duplex(BUFFER);
                    // It ends with the connection.
                    tokio::spawn(async move { place.server.serve(far).await });
                    return Ok(Box::new(near));
                }
                (host, *port)
            }
            Target::Address { host, port, .. } => {
                if host == LOCAL && self.components.contains(port) {
                    let (near, far) = tokio::io::duplex(BUFFER);
                    // It ends with the connection.
                    tokio::spawn(well(far));
                    return Ok(Box::new(near));
                }
                if let Some(opened) = self.pod(host, *port).await? {
                    return Ok(opened);
                }
                (host, *port)
            }
        };
        match &self.others {
            Some(others) => others.dial(target).await,
            None => Err(refused(host, port)),
        }
    }
}

/// What the scheduler and the controllers say of their health, which are well as long as this process is.
async fn well(mut connection: DuplexStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < BUFFER {
        head.push(connection.read_u8().await?);
    }
    let answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 2\r\n\r\nok";
    connection.write_all(answer).await
}

fn refused(host: &str, port: u16) -> io::Error {
    let why = format!("dial tcp {host}:{port}: connect: connection refused");
    io::Error::new(io::ErrorKind::ConnectionRefused, why)
}
