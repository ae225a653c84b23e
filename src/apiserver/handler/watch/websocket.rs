//! A watch over a WebSocket: each event is a message (`WatchServer.HandleWS` in `k8s.io/apiserver/pkg/endpoints/handlers`).
use super::PROTOBUF;
use crate::apiserver::connect::{self, Verbatim};
use crate::apiserver::protobuf;
use crate::apiserver::response::{self, Body, Response};
use crate::object::{Reason, Status};
use crate::websocket::{self, Handshake, Incoming, Reader};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ORIGIN};
use http::request::Parts;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

/// The client's side ended as it should.
const NORMAL: u16 = 1000;
/// The client does not keep to the protocol.
const BROKEN: u16 = 1002;
/// How long a client may take to end the connection once it was told the end.
const LINGER: Duration = Duration::from_secs(2);
/// How many pings may wait for their answers.
const PINGS: usize = 4;

/// The answer to a client that asked for a WebSocket, on which `watch` then goes on.
///
/// # Errors
/// 400 for a handshake that is none or names several protocols, 403 for one that does not say where it comes from.
pub(crate) fn switch(parts: &Parts, watch: Response) -> Result<Response, Status> {
    let handshake = Handshake::of(&parts.headers).map_err(Status::bad_request)?;
    let origin = parts.headers.get(ORIGIN);
    let origin = origin.and_then(|origin| origin.to_str().ok());
    if origin.is_none_or(|origin| !origin.contains("://")) {
        let why = "a WebSocket needs the header Origin with a URL";
        return Err(Status::new(403, Reason::Forbidden, why));
    }
    let protocol = match handshake.protocols[..] {
        [] => None,
        [one] => Some(one),
        _ => {
            let why = "a watch over a WebSocket takes one protocol at most";
            return Err(Status::bad_request(why));
        }
    };
    let upgrade = connect::upgrade(parts)?;
    let message: fn(&[u8]) -> Vec<u8> = if watch.headers().get(CONTENT_TYPE) == Some(&PROTOBUF) {
        |event: &[u8]| websocket::message(&[protobuf::without_length(event)])
    } else {
        websocket::text
    };
    let events = watch.into_body();
    tokio::spawn(async move {
        let carried = match upgrade.await {
            Ok(io) => carry(TokioIo::new(io), events, message).await,
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = carried {
            tracing::debug!(%error, "a watch over a WebSocket ended");
        }
    });
    let mut answer = handshake.accept(protocol, response::full(Bytes::new()));
    answer.extensions_mut().insert(Verbatim);
    Ok(answer)
}

/// Sends the events until they end or the client does. Nothing waits here but the event that is being sent: who does not read
/// falls behind in the history that all watches share, and is cut off.
async fn carry(
    io: impl AsyncRead + AsyncWrite + Send,
    mut events: Body,
    message: fn(&[u8]) -> Vec<u8>,
) -> io::Result<()> {
    let (reader, mut writer) = tokio::io::split(io);
    let (pings, mut due) = mpsc::channel::<Result<Bytes, u16>>(PINGS);
    let writing = async {
        let code = loop {
            let frame = tokio::select! {
                biased;
                ping = due.recv() => match ping {
                    Some(Ok(ping)) => websocket::pong(&ping),
                    Some(Err(code)) => break code,
                    None => break NORMAL,
                },
                event = events.frame() => match event {
                    Some(Ok(event)) => message(event.data_ref().map_or(&[], AsRef::as_ref)),
                    None => break NORMAL,
                },
            };
            writer.write_all(&frame).await?;
            writer.flush().await?;
        };
        writer.write_all(&websocket::close(code)).await?;
        writer.shutdown().await
    };
    let mut listening = pin!(listen(Reader::new(reader), pings));
    let mut writing = pin!(writing);
    tokio::select! {
        biased;
        written = &mut writing => {
            // What a client says meanwhile has to be read, or its connection is reset and the last events are lost.
            let _ = tokio::time::timeout(LINGER, listening).await;
            written
        }
        () = &mut listening => writing.await,
    }
}

/// Listens for the end of the client, who has nothing else to say.
async fn listen<R: AsyncRead + Unpin>(
    mut reader: Reader<R>,
    pings: mpsc::Sender<Result<Bytes, u16>>,
) {
    loop {
        match reader.next().await {
            Ok(Some(Incoming::Part { .. })) => {}
            // With too many pings at once some are not answered.
            Ok(Some(Incoming::Ping(bytes))) => drop(pings.try_send(Ok(bytes))),
            Ok(Some(Incoming::Close(_)) | None) => return,
            Err(error) => {
                let broken = error.kind() == io::ErrorKind::InvalidData;
                // A writer that is gone needs no reason.
                let _ = pings.send(Err(if broken { BROKEN } else { NORMAL })).await;
                return;
            }
        }
    }
}
