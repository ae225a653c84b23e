//! Any runtime that speaks CRI v1 over a Unix socket: containerd, CRI-O. Written against containerd 1.6 and later.
//!
//! Every call has a time limit; a runtime that goes away and comes back is found again by the next call. Streams go to the
//! runtime's streaming server (`spdy`), as the interface has it.

mod error;
mod events;
mod exits;
mod from_proto;
mod images;
mod runtime;
mod spdy;
mod stats;
mod stream;
mod to_proto;

use std::fmt::{self, Debug, Formatter};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_cri::v1;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use super::{Error, Result, Version};
use crate::clock::Clock;

/// The annotation of a container that keeps the image as the pod names it: runtimes give their own name for it.
const IMAGE: &str = "io.homeostat.container.image";
/// Lists of many containers are long.
const LONGEST_ANSWER: usize = 16 << 20;

/// How a runtime is spoken to.
#[derive(Clone, Debug)]
pub struct ContainerdConfig {
    socket: PathBuf,
    timeout: Duration,
    pull_timeout: Duration,
    relist: Duration,
}

impl ContainerdConfig {
    /// The runtime that listens at `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            timeout: Duration::from_secs(120),
            pull_timeout: Duration::from_secs(1800),
            relist: Duration::from_secs(1),
        }
    }

    /// How long a call may take, besides what was asked to take time. Making a sandbox may take twice as long. Default =
    /// 2 minutes.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long a pull may take. The interface tells no progress; containerd itself gives up on a pull that stands still.
    /// Default = 30 minutes.
    #[must_use]
    pub fn pull_timeout(mut self, timeout: Duration) -> Self {
        self.pull_timeout = timeout;
        self
    }

    /// How often the state of all containers is compared with the last one, when the runtime has no events of its own
    /// (those of CRI, or containerd's). A runtime that has is asked a tenth as often, as a safety net. Default = every
    /// second.
    #[must_use]
    pub fn relist_every(mut self, pause: Duration) -> Self {
        self.relist = pause;
        self
    }
}

/// A runtime behind a socket. Clones speak to the same one.
///
/// ```no_run
/// # async fn f() -> homeostat::cri::Result<()> {
/// use homeostat::cri::ContainerRuntime;
/// use homeostat::cri::containerd::{Containerd, ContainerdConfig};
/// let runtime = Containerd::connect(ContainerdConfig::new("/run/containerd/containerd.sock")).await?;
/// println!("{:?}", runtime.status().await?);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Containerd {
    inner: Arc<Inner>,
}

struct Inner {
    config: ContainerdConfig,
    /// The machine's: the runtime's times are compared with it.
    clock: Clock,
    channel: Channel,
    /// The scheme of container ids: the runtime's name.
    scheme: String,
}

impl Debug for Containerd {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Containerd")
            .field("socket", &self.inner.config.socket)
            .field("runtime", &self.inner.scheme)
            .finish_non_exhaustive()
    }
}

impl Containerd {
    /// Connects, and asks the runtime who it is.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when there is no socket or nobody answers at it, [`Error::Incompatible`] when what answers
    /// does not speak CRI v1.
    pub async fn connect(config: ContainerdConfig) -> Result<Self> {
        let socket = config.socket.display().to_string();
        let opening = tokio::time::timeout(config.timeout, UnixStream::connect(&config.socket));
        match opening.await {
            Ok(Ok(_)) => {}
            Ok(Err(why)) => {
                let why = format!("cannot connect to {socket}: {why}");
                return Err(Error::Unavailable(why));
            }
            Err(_) => return Err(error::late("connect", config.timeout)),
        }
        let endpoint = Endpoint::from_shared(format!("unix://{socket}"));
        let endpoint = endpoint.map_err(|why| Error::Unavailable(format!("{socket}: {why}")))?;
        let channel = endpoint.connect_lazy();
        let version = probe(&channel, &socket, config.timeout).await?;
        if version.api_version != "v1" {
            let Version {
                runtime_name,
                runtime_version,
                api_version,
            } = version;
            return Err(Error::Incompatible(format!(
                "{runtime_name} {runtime_version} at {socket} speaks version {api_version:?}, not \"v1\""
            )));
        }
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                clock: Clock::system(),
                channel,
                scheme: version.runtime_name,
            }),
        })
    }

    fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.inner.channel.clone())
            .max_decoding_message_size(LONGEST_ANSWER)
    }

    fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.inner.channel.clone())
            .max_decoding_message_size(LONGEST_ANSWER)
    }

    /// Waits for the answer to `call` about `what`, for `limit` at most.
    async fn within<T>(
        &self,
        limit: Duration,
        (call, what): (&'static str, &str),
        asked: impl Future<Output = std::result::Result<Response<T>, Status>> + Send,
    ) -> Result<T> {
        match tokio::time::timeout(limit, asked).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(error::of(call, what, &status)),
            Err(_) => Err(error::late(call, limit)),
        }
    }

    /// The same within the usual limit.
    async fn ask<T>(
        &self,
        call: (&'static str, &str),
        asked: impl Future<Output = std::result::Result<Response<T>, Status>> + Send,
    ) -> Result<T> {
        self.within(self.inner.config.timeout, call, asked).await
    }
}

/// Asks the runtime who it is.
async fn probe(channel: &Channel, socket: &str, limit: Duration) -> Result<Version> {
    let mut client = RuntimeServiceClient::new(channel.clone());
    let asked = tokio::time::timeout(limit, client.version(v1::VersionRequest::default()));
    let status = match asked.await {
        Ok(Ok(answer)) => return Ok(version(answer.into_inner())),
        Ok(Err(status)) => status,
        Err(_) => return Err(error::late("Version", limit)),
    };
    let incompatible = |why: &str| {
        let why = format!("what listens at {socket} does not speak CRI v1: {why}");
        Err(Error::Incompatible(why))
    };
    if error::is_transport(&status) {
        // Somebody listens, but does not speak HTTP/2.
        return incompatible(&error::root(&status));
    }
    match status.code() {
        Code::Unimplemented => incompatible(status.message()),
        _ => Err(error::of("Version", socket, &status)),
    }
}

fn version(answer: v1::VersionResponse) -> Version {
    Version {
        runtime_name: answer.runtime_name,
        runtime_version: answer.runtime_version,
        api_version: answer.runtime_api_version,
    }
}

/// What a runtime does not know any more is stopped and removed already.
fn gone<T: Default>(result: Result<T>) -> Result<T> {
    match result {
        Err(Error::NotFound(_)) => Ok(T::default()),
        other => other,
    }
}
