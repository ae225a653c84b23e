//! A byte stream within the binary messages of a WebSocket, for protocols that are tunnelled.
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::channels::PIECE;
use super::spdy;
use crate::websocket::{self, Incoming, Reader};

/// Carries bytes both ways. Ends when either side does.
///
/// # Errors
/// When the connection fails or the client does not keep to the protocol.
pub(super) async fn tunnel<S, T>(io: S, inner: T) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send,
    T: AsyncRead + AsyncWrite + Send,
{
    let (reader, mut writer) = tokio::io::split(io);
    let (mut from_inner, mut to_inner) = tokio::io::split(inner);
    let (pongs, mut due) = tokio::sync::mpsc::channel(4);
    let mut reader = Reader::new(reader);
    let read = async {
        loop {
            match reader.next().await? {
                Some(Incoming::Part { bytes, .. }) => to_inner.write_all(&bytes).await?,
                // With too many pings at once some are not answered.
                Some(Incoming::Ping(bytes)) => drop(pongs.try_send(bytes)),
                Some(Incoming::Close(_)) | None => return to_inner.shutdown().await,
            }
        }
    };
    let write = async {
        let mut buffer = vec![0; PIECE];
        loop {
            let frame = tokio::select! {
                biased;
                Some(bytes) = due.recv() => websocket::pong(&bytes),
                read = from_inner.read(&mut buffer) => match read? {
                    0 => break,
                    read => websocket::message(&[buffer.get(..read).unwrap_or_default()]),
                },
            };
            writer.write_all(&frame).await?;
            writer.flush().await?;
        }
        writer.write_all(&websocket::close(1000)).await?;
        writer.shutdown().await
    };
    let mut write = std::pin::pin!(write);
    let result: io::Result<()> = tokio::select! {
        biased;
        written = &mut write => {
            written?;
            spdy::linger(&mut reader.into_inner()).await;
            return Ok(());
        }
        read = read => read,
    };
    result?;
    write.await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::testing::{masked, next, sent};
    use crate::websocket::{BINARY, CLOSE, PING, PONG};

    #[tokio::test]
    async fn a_tunnel_carries_bytes() {
        let (mut client, outer) = tokio::io::duplex(1 << 10);
        let (inner, mut server) = tokio::io::duplex(1 << 10);
        let talk = async {
            client.write_all(&sent(b"hel")).await.unwrap();
            client.write_all(&sent(b"lo")).await.unwrap();
            let mut heard = [0; 5];
            server.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"hello");
            server.write_all(b"bye").await.unwrap();
            assert_eq!(next(&mut client).await.unwrap(), (BINARY, b"bye".to_vec()));
            client.write_all(&masked(0x80 | PING, b"x")).await.unwrap();
            assert_eq!(next(&mut client).await.unwrap(), (PONG, b"x".to_vec()));
            drop(server);
            assert_eq!(next(&mut client).await.unwrap().0, CLOSE);
            drop(client);
        };
        let (done, ()) = futures::join!(tunnel(outer, inner), talk);
        done.unwrap();
    }
}
