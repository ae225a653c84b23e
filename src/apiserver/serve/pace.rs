//! Sends busy streams in gulps: what comes during a rest after a packet leaves together in the next one.
//!
//! A watch sends a line for each change. Among hundreds of watchers and thousands of changes a second, a chunk, a TLS record
//! and two system calls for each line are most of what fan-out costs. The first line after a quiet time is not held back.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// A stream rests so long for each that is busy, so that all together send 25,000 gulps a second …
const SHARE: Duration = Duration::from_micros(40);
/// … but so long at least …
const SHORTEST: Duration = Duration::from_millis(1);
/// … and at most.
const LONGEST: Duration = Duration::from_millis(8);

/// The pace of all streams of a server. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    busy: Arc<AtomicU32>,
}

/// A stream that rests between two gulps.
#[derive(Debug)]
struct Busy(Arc<AtomicU32>);

impl Pace {
    /// One more stream is busy; how long it is to rest.
    fn rest(&self) -> (Busy, Duration) {
        let busy = self.busy.fetch_add(1, Ordering::Relaxed);
        let rest = (SHARE * busy.saturating_add(1)).clamp(SHORTEST, LONGEST);
        (Busy(self.busy.clone()), rest)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream of unknown length that rests after each gulp; a body of known length passes as it is.
#[derive(Debug)]
pub(super) struct Paced<B> {
    body: B,
    state: State,
    pace: Pace,
    rest: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum State {
    /// Nothing was sent since the last rest.
    Idle,
    /// Frames are being taken as long as there are some.
    Gulp,
    /// The timer runs; the stream is not asked.
    Rest(#[expect(dead_code, reason = "counts while it is there")] Busy),
}

impl<B: Body> Paced<B> {
    pub(super) fn new(body: B, pace: Pace) -> Self {
        let is_stream = body.size_hint().exact().is_none();
        Self {
            rest: is_stream.then(|| Box::pin(tokio::time::sleep(Duration::ZERO))),
            state: State::Idle,
            pace,
            body,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Paced<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Self {
            body,
            state,
            pace,
            rest,
        } = &mut *self;
        let Some(rest) = rest else {
            return Pin::new(body).poll_frame(context);
        };
        if let State::Rest(_) = state {
            ready!(rest.as_mut().poll(context));
            *state = State::Idle;
        }
        let polled = Pin::new(body).poll_frame(context);
        match (&polled, &*state) {
            (Poll::Ready(_), _) => *state = State::Gulp,
            (Poll::Pending, State::Gulp) => {
                let (busy, length) = pace.rest();
                *state = State::Rest(busy);
                rest.as_mut().reset(Instant::now() + length);
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
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{FutureExt, StreamExt};
    use http_body_util::{BodyExt, Full, StreamBody};
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_during_a_rest_leaves_together() {
        let (sender, receiver) = mpsc::channel::<Bytes>(8);
        let lines = futures::stream::unfold(receiver, |mut receiver| async {
            Some((receiver.recv().await?, receiver))
        });
        let frames = lines.map(|line| Ok::<_, Infallible>(Frame::data(line)));
        let pace = Pace::default();
        let mut body = Paced::new(StreamBody::new(Box::pin(frames)), pace.clone());
        let start = Instant::now();
        sender.send("first".into()).await.unwrap();
        let first = body.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "first");
        // As a connection does: it takes what is ready, and asks once more.
        assert!(body.frame().now_or_never().is_none());
        sender.send("second".into()).await.unwrap();
        sender.send("third".into()).await.unwrap();
        assert!(body.frame().now_or_never().is_none());
        for expected in ["second", "third"] {
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), expected);
            assert!((SHORTEST..2 * SHORTEST).contains(&start.elapsed()));
        }
        drop(body);
        assert_eq!(pace.busy.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_more_streams_are_busy_the_longer_they_rest() {
        let pace = Pace::default();
        let mut all = Vec::new();
        for (busy, expected) in [(1, 1000), (25, 1000), (26, 1040), (100, 4000), (500, 8000)] {
            let mut rest = Duration::ZERO;
            while all.len() < busy {
                let (one, length) = pace.rest();
                all.push(one);
                rest = length;
            }
            assert_eq!(rest, Duration::from_micros(expected), "{busy}");
        }
        all.truncate(49);
        assert_eq!(pace.rest().1, Duration::from_millis(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_of_known_length_is_not_held_back() {
        let body = Paced::new(Full::new(Bytes::from_static(b"all")), Pace::default());
        assert_eq!(body.collect().await.unwrap().to_bytes(), "all");
    }
}
