//! Sends a busy stream in gulps: what comes within a millisecond of a packet leaves together in the next one.
//!
//! A watch sends a line for each change. Among hundreds of watchers and thousands of changes a second, a chunk, a TLS record
//! and two system calls for each line are most of what fan-out costs. The first line after a rest is not held back.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// Between two gulps.
const REST: Duration = Duration::from_millis(1);

/// A stream of unknown length that rests after each gulp; a body of known length passes as it is.
#[derive(Debug)]
pub(super) struct Paced<B> {
    body: B,
    state: State,
    rest: Option<Pin<Box<Sleep>>>,
}

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
        let Self { body, state, rest } = &mut *self;
        let Some(rest) = rest else {
            return Pin::new(body).poll_frame(context);
        };
        if *state == State::Rest {
            ready!(rest.as_mut().poll(context));
            *state = State::Idle;
        }
        let polled = Pin::new(body).poll_frame(context);
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
        let mut body = Paced::new(StreamBody::new(Box::pin(frames)));
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
            assert!((REST..2 * REST).contains(&start.elapsed()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_of_known_length_is_not_held_back() {
        let body = Paced::new(Full::new(Bytes::from_static(b"all")));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "all");
    }
}
