//! Ports of pods: pairs of streams for each connection (SPDY, also tunnelled in a WebSocket), or pairs of channels for each
//! port (WebSocket).
use std::collections::BTreeMap;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::{Request, StatusCode};
use hyper::body::Incoming as Body;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::channels::{Inlet, Outlet, PIECE, Piece, WAITING};
use super::negotiate::{self, Transport};
use super::query::Query;
use super::{Answer, Inner, Refusal, refuse, spdy, tunnel};
use crate::cri::ContainerRuntime;
use crate::websocket::{self, Incoming, Reader};

const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const WEB_SOCKET: [&str; 3] = [TUNNEL, "v4.channel.k8s.io", "channel.k8s.io"];
const SPDY: [&str; 1] = ["portforward.k8s.io"];

/// How long one stream of a pair waits for the other.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many ports a WebSocket may be for.
const MOST_PORTS: usize = 100;

/// Where the ports are.
#[derive(Clone, Debug)]
struct Place {
    runtime: Arc<dyn ContainerRuntime>,
    sandbox: String,
    /// As messages name it.
    pod: String,
}

impl Inner {
    pub(super) async fn port_forward(
        self: &Arc<Self>,
        request: &mut Request<Body>,
        namespace: &str,
        name: &str,
        query: &Query,
    ) -> Answer {
        match self.switch_ports(request, namespace, name, query).await {
            Ok(answer) => answer,
            Err(refusal) => *refusal.0,
        }
    }

    async fn switch_ports(
        self: &Arc<Self>,
        request: &mut Request<Body>,
        namespace: &str,
        name: &str,
        query: &Query,
    ) -> Result<Answer, Refusal> {
        let pod = self.pod(namespace, name);
        let pod = pod.ok_or_else(|| refuse(StatusCode::NOT_FOUND, "pod does not exist"))?;
        let sandbox = self.sandbox_id(&pod).await;
        let sandbox = sandbox.ok_or_else(|| {
            let why = format!("failed to find sandbox for pod \"{name}_{namespace}\"");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, why)
        })?;
        let place = Place {
            runtime: self.runtime.clone(),
            pod: format!(
                "{sandbox}, uid {}",
                pod.metadata.uid.as_deref().unwrap_or_default()
            ),
            sandbox,
        };
        let headers = request.headers();
        let (transport, (protocol, answer)) = match negotiate::transport(headers)? {
            Transport::WebSocket => (
                Transport::WebSocket,
                negotiate::web_socket(headers, &WEB_SOCKET)?,
            ),
            Transport::Spdy => (Transport::Spdy, negotiate::spdy(headers, &SPDY)?),
        };
        let ports = if transport == Transport::WebSocket && protocol != TUNNEL {
            ports(query)?
        } else {
            Vec::new()
        };
        let upgrade = hyper::upgrade::on(request);
        self.spawn(async move {
            let io = match upgrade.await {
                Ok(io) => TokioIo::new(io),
                Err(error) => return tracing::debug!(%error, "an upgrade failed"),
            };
            let served = match (transport, protocol) {
                (Transport::Spdy, _) => pairs(io, place).await,
                (_, TUNNEL) => {
                    let (outer, inner) = tokio::io::duplex(PIECE);
                    let (tunnelled, forwarded) =
                        futures::join!(tunnel::tunnel(io, outer), pairs(inner, place));
                    tunnelled.and(forwarded)
                }
                _ => channels(io, &place, &ports).await,
            };
            if let Err(error) = served {
                tracing::debug!(%error, "the forwarding of ports ended");
            }
        });
        Ok(answer)
    }
}

/// The ports that a WebSocket is for.
fn ports(query: &Query) -> Result<Vec<u16>, Refusal> {
    let bad = |why: String| refuse(StatusCode::BAD_REQUEST, why);
    let named = query.all("port").chain(query.all("ports"));
    let parsed = named.flat_map(|list| list.split(',')).map(|port| {
        let number = port.trim().parse().ok().filter(|port| *port > 0);
        number.ok_or_else(|| bad(format!("unable to parse {port:?} as a port")))
    });
    let ports: Vec<u16> = parsed.collect::<Result<_, _>>()?;
    if ports.is_empty() || ports.len() > MOST_PORTS {
        return Err(bad("query parameter \"port\" is required".to_owned()));
    }
    Ok(ports)
}

/// Serves pairs of SPDY streams until the client is gone.
async fn pairs<S: AsyncRead + AsyncWrite + Send>(io: S, place: Place) -> io::Result<()> {
    let (accept, mut opened) = mpsc::channel(WAITING);
    let forwarding = async {
        // Error streams that wait for their data streams, by the id of their request.
        let mut waiting: BTreeMap<String, (Outlet, tokio::time::Instant)> = BTreeMap::new();
        let mut early: BTreeMap<String, (Inlet, Outlet, String)> = BTreeMap::new();
        let mut running = FuturesUnordered::new();
        loop {
            let stream: spdy::Stream = tokio::select! {
                biased;
                Some(()) = running.next() => continue,
                opened = opened.recv() => match opened {
                    Some(stream) => stream,
                    None => break,
                },
            };
            let now = tokio::time::Instant::now();
            waiting.retain(|_, (_, since)| now.duration_since(*since) < PATIENCE);
            let port = stream.header("port").to_owned();
            // Old clients name no request: their streams come in turn.
            let id = match stream.header("requestid") {
                "" => port.clone(),
                id => id.to_owned(),
            };
            let (error, data) = match stream.header("streamtype") {
                "error" => {
                    let Some(data) = early.remove(&id) else {
                        waiting.insert(id, (stream.outlet, now));
                        continue;
                    };
                    (stream.outlet, data)
                }
                "data" => {
                    let data = (stream.inlet, stream.outlet, port);
                    let Some((error, _)) = waiting.remove(&id) else {
                        early.insert(id, data);
                        continue;
                    };
                    (error, data)
                }
                _ => continue,
            };
            let (inlet, outlet, port) = data;
            running.push(connection(&place, port, inlet, outlet, error));
        }
        while running.next().await.is_some() {}
    };
    let mut serving = pin!(spdy::serve(io, accept));
    tokio::select! {
        biased;
        served = &mut serving => served,
        () = forwarding => serving.await,
    }
}

/// Carries one connection; says on `error` what went wrong.
async fn connection(place: &Place, port: String, inlet: Inlet, outlet: Outlet, error: Outlet) {
    let number = port.parse::<u16>().ok().filter(|port| *port > 0);
    let carried = match number {
        Some(number) => carry(place, number, inlet, &outlet).await,
        None => Err(format!("unable to parse {port:?} as a port")),
    };
    if let Err(why) = carried {
        let says = format!("error forwarding port {port} to pod {}: {why}", place.pod);
        // Who is gone needs no reason.
        let _ = error.send(says.into()).await;
    }
    error.close().await;
    outlet.close().await;
}

/// Carries bytes both ways until the pod has ended its side.
async fn carry(place: &Place, port: u16, mut inlet: Inlet, outlet: &Outlet) -> Result<(), String> {
    let opened = place.runtime.port_forward(&place.sandbox, port).await;
    let opened = opened.map_err(|error| error.to_string())?;
    let (mut reader, mut writer) = tokio::io::split(opened);
    let forth = async {
        while let Some(bytes) = inlet.recv().await {
            if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
        // A pod that has ended its side minds no end of ours.
        let _ = writer.shutdown().await;
    };
    let back = async {
        let mut buffer = vec![0; PIECE];
        loop {
            let read = reader
                .read(&mut buffer)
                .await
                .map_err(|error| error.to_string())?;
            let bytes = buffer.get(..read).unwrap_or_default();
            if bytes.is_empty() || outlet.send(Bytes::copy_from_slice(bytes)).await.is_err() {
                return Ok(());
            }
        }
    };
    let mut forth = pin!(forth);
    let mut back = pin!(back);
    let mut forth_still = true;
    loop {
        tokio::select! {
            biased;
            ended = &mut back => return ended,
            () = &mut forth, if forth_still => forth_still = false,
        }
    }
}

/// Serves a WebSocket with two channels for each port: data and errors.
async fn channels<S>(io: S, place: &Place, ports: &[u16]) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (pieces, mut outgoing) = mpsc::channel::<Piece>(WAITING);
    let (reader, mut writer) = tokio::io::split(io);
    let mut reader = Reader::new(reader);
    let mut inlets = Vec::new();
    let forwarding = FuturesUnordered::new();
    for (index, port) in (0_u32..).zip(ports) {
        let (sender, inlet) = mpsc::channel(WAITING);
        inlets.push(Some(sender));
        let data = Outlet::new(2 * index, pieces.clone());
        let error = Outlet::new(2 * index + 1, pieces.clone());
        forwarding.push(async move {
            // Each channel begins with its port.
            let head = Bytes::copy_from_slice(&port.to_le_bytes());
            let begun = data.send(head.clone()).await.is_ok() && error.send(head).await.is_ok();
            if begun {
                connection(place, port.to_string(), inlet, data, error).await;
            }
        });
    }
    drop(pieces);
    let (pongs, mut due) = mpsc::channel::<Bytes>(4);
    let writing = async {
        loop {
            let frame = tokio::select! {
                biased;
                Some(bytes) = due.recv() => websocket::pong(&bytes),
                piece = outgoing.recv() => match piece {
                    None => break,
                    // Single channels have no end.
                    Some(Piece { last: true, .. }) => continue,
                    Some(Piece { channel, bytes, .. }) => {
                        let channel = u8::try_from(channel).unwrap_or_default();
                        websocket::message(&[&[channel], &bytes])
                    }
                },
            };
            writer.write_all(&frame).await?;
            writer.flush().await?;
        }
        writer.write_all(&websocket::close(1000)).await?;
        writer.shutdown().await
    };
    let reading = async {
        let mut channel = None;
        loop {
            match reader.next().await? {
                Some(Incoming::Part { first, mut bytes }) => {
                    if first {
                        channel = (!bytes.is_empty()).then(|| usize::from(bytes.get_u8()));
                    }
                    // Nobody writes to the channels of errors.
                    let port = channel
                        .filter(|channel| channel % 2 == 0)
                        .map(|channel| channel / 2);
                    let Some(to) = port.and_then(|port| inlets.get_mut(port)) else {
                        continue;
                    };
                    if let Some(open) = to
                        && !bytes.is_empty()
                        && open.send(bytes).await.is_err()
                    {
                        *to = None;
                    }
                }
                // With too many pings at once some are not answered.
                Some(Incoming::Ping(bytes)) => drop(pongs.try_send(bytes)),
                Some(Incoming::Close(_)) | None => return Ok::<(), io::Error>(()),
            }
        }
    };
    let all = async { forwarding.collect::<Vec<()>>().await };
    let mut writing = pin!(writing);
    let mut all = pin!(all);
    let mut all_still = true;
    {
        let mut reading = pin!(reading);
        loop {
            tokio::select! {
                biased;
                written = &mut writing => {
                    written?;
                    break;
                }
                _ = &mut all, if all_still => all_still = false,
                read = &mut reading => return read,
            }
        }
    }
    spdy::linger(&mut reader.into_inner()).await;
    Ok(())
}
