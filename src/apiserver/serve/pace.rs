//! Sends a busy stream in gulps: what comes within a millisecond of a packet leaves together in the next one.
//!
//! A watch sends a line for each change. Among hundreds of watchers and thousands of changes a second, a chunk, a TLS record
//! and two system calls for each line are most of what fan-out costs, and a chunk for each line most of what it costs the client.
//! So lines that are there together are one chunk. The first line after a rest is not held back.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// Between two gulps.
const REST: Duration = Duration::from_millis(1);
/// A chunk that is longer is not lengthened: it is about what a TLS record holds.
const CHUNK: usize = 15 << 10;

/// A stream of unknown length that rests after each gulp; a body of known length passes as it is.
#[derive(Debug)]
pub(super) struct Paced<B: Body> {
    body: B,
    state: State,
    rest: Option<Pin<Box<Sleep>>>,
    /// What the stream gave after the chunk that was sent last, if it is known.
    after: Poll<Option<Result<Frame<Bytes>, B::Error>>>,
}

type Polled<B> = Poll<Option<Result<Frame<Bytes>, <B as Body>::Error>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was sent since the last rest.
    Idle,
    /// Frames are being taken as long as there are some.
    Gulp,
    /// The timer runs; the stream is not asked.
    Rest,
}

impl<B: Body> Paced<B> {
    pub(super) fn new(body: B) -> Self {
        let is_stream = body.size_hint().exact().is_none();
        Self {
            rest: is_stream.then(|| Box::pin(tokio::time::sleep(Duration::ZERO))),
            state: State::Idle,
            after: Poll::Pending,
            body,
        }
    }
}

/// What is there of a stream, in one chunk. `after`: what it gave after the chunk that was made last, if that is known.
fn chunk<B: Body<Data = Bytes> + Unpin>(
    body: &mut B,
    after: &mut Polled<B>,
    context: &mut Context<'_>,
) -> Polled<B> {
    let known = std::mem::replace(after, Poll::Pending);
    if known.is_ready() {
        return known;
    }
    let first = match ready!(Pin::new(&mut *body).poll_frame(context)) {
        Some(Ok(frame)) => match frame.into_data() {
            Ok(data) => data,
            Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
        },
        end => return Poll::Ready(end),
    };
    let mut joined = BytesMut::new();
    while first.len().max(joined.len()) < CHUNK {
        match Pin::new(&mut *body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                let data = frame.into_data().unwrap_or_default();
                if joined.is_empty() {
                    joined.reserve(CHUNK);
                    joined.extend_from_slice(&first);
                }
                joined.extend_from_slice(&data);
            }
            other => {
                *after = other;
                break;
            }
        }
    }
    let chunk = if joined.is_empty() {
        first
    } else {
        joined.freeze()
    };
    Poll::Ready(Some(Ok(Frame::data(chunk))))
}

impl<B: Body<Data = Bytes, Error: Unpin> + Unpin> Body for Paced<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Self {
            body,
            state,
            rest,
            after,
        } = &mut *self;
        let Some(rest) = rest else {
            return Pin::new(body).poll_frame(context);
        };
        if *state == State::Rest {
            ready!(rest.as_mut().poll(context));
            *state = State::Idle;
        }
        let polled = chunk(body, after, context);
        match (&polled, *state) {
            (Poll::Ready(_), _) => *state = State::Gulp,
            (Poll::Pending, State::Gulp) => {
                *state = State::Rest;
                rest.as_mut().reset(Instant::now() + REST);
                // Registers the timer; what the stream was registered for is looked at when it is over.
                if rest.as_mut().poll(context).is_ready() {
                    *state = State::Idle;
                    context.waker().wake_by_ref();
                }
            }
            (Poll::Pending, _) => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.after.is_pending() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use http_body_util::{BodyExt, Full, StreamBody};
    use tokio::sync::mpsc;

    use super::*;

    type Line = Result<Frame<Bytes>, std::io::Error>;

    /// A paced stream of what is sent to it.
    fn paced() -> (
        mpsc::Sender<Line>,
        Paced<impl Body<Data = Bytes, Error = std::io::Error> + Unpin>,
    ) {
        let (sender, receiver) = mpsc::channel::<Line>(8);
        let lines = futures::stream::unfold(receiver, |mut receiver| async {
            Some((receiver.recv().await?, receiver))
        });
        (sender, Paced::new(StreamBody::new(Box::pin(lines))))
    }

    fn line(text: &'static str) -> Frame<Bytes> {
        Frame::data(text.into())
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_during_a_rest_leaves_together() {
        let (sender, mut body) = paced();
        let start = Instant::now();
        sender.send(Ok(line("first"))).await.unwrap();
        let first = body.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "first");
        // As a connection does: it takes what is ready, and asks once more.
        assert!(body.frame().now_or_never().is_none());
        sender.send(Ok(line("second,"))).await.unwrap();
        sender.send(Ok(line("third"))).await.unwrap();
        assert!(body.frame().now_or_never().is_none());
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "second,third");
        assert!((REST..2 * REST).contains(&start.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_chunk_ends_where_it_is_long_enough_and_before_what_is_no_data() {
        const LONG: &str = match std::str::from_utf8(&[b'x'; CHUNK]) {
            Ok(text) => text,
            Err(_) => "",
        };
        let (sender, mut body) = paced();
        for text in ["a", LONG, "b", LONG] {
            sender.send(Ok(line(text))).await.unwrap();
        }
        let failed = std::io::Error::other("broken");
        sender.send(Err(failed)).await.unwrap();
        drop(sender);
        for expected in [["a", LONG].concat(), ["b", LONG].concat()] {
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), expected);
        }
        assert_eq!(
            body.frame().await.unwrap().unwrap_err().to_string(),
            "broken"
        );
        assert!(body.frame().await.is_none());

        let (sender, mut body) = paced();
        sender.send(Ok(line("a"))).await.unwrap();
        sender
            .send(Ok(Frame::trailers(http::HeaderMap::new())))
            .await
            .unwrap();
        drop(sender);
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "a");
        assert!(body.frame().await.unwrap().unwrap().is_trailers());
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_of_known_length_is_not_held_back() {
        let body = Paced::new(Full::new(Bytes::from_static(b"all")));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "all");
    }
}
