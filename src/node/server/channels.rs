//! What streaming protocols have in common: channels of bytes, several on one connection, each with its own end.
use bytes::Bytes;
use tokio::sync::mpsc;

/// How many pieces wait in a channel before the one who sends them waits, too.
pub(super) const WAITING: usize = 16;
/// The largest piece: what is longer is passed on in parts, so that memory stays bounded.
pub(super) const PIECE: usize = 64 << 10;

/// Bytes from the client. Ends when the client ends the channel or is gone.
pub(super) type Inlet = mpsc::Receiver<Bytes>;

/// A piece on its way to the client.
#[derive(Debug)]
pub(super) struct Piece {
    /// Where it goes.
    pub channel: u32,
    pub bytes: Bytes,
    /// Whether nothing follows.
    pub last: bool,
}

/// The client is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// Bytes to the client, on one channel.
#[derive(Clone, Debug)]
pub(super) struct Outlet {
    channel: u32,
    pieces: mpsc::Sender<Piece>,
}

impl Outlet {
    pub(super) fn new(channel: u32, pieces: mpsc::Sender<Piece>) -> Self {
        Self { channel, pieces }
    }

    /// Sends a piece; waits while the client does not read.
    ///
    /// # Errors
    /// When the client is gone.
    pub(super) async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        self.put(bytes, false).await
    }

    /// Ends the channel.
    pub(super) async fn close(self) {
        // Who is gone needs no end.
        let _ = self.put(Bytes::new(), true).await;
    }

    async fn put(&self, bytes: Bytes, last: bool) -> Result<(), Gone> {
        let piece = Piece {
            channel: self.channel,
            bytes,
            last,
        };
        self.pieces.send(piece).await.map_err(|_| Gone)
    }
}
