//! A panic while a request is handled is that request's failure and nobody else's.
use crate::apiserver::response::{self, Response};
use crate::object::Status;
use futures::FutureExt;
use std::future::Future;
use std::panic::AssertUnwindSafe;

/// Marks the answer of a handler that panicked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panicked;

/// Answers 500 when `next` panics.
pub(crate) async fn catch(next: impl Future<Output = Response>) -> Response {
    // What a handler shares with others is behind locks that do not poison and is changed in one step each.
    match AssertUnwindSafe(next).catch_unwind().await {
        Ok(answer) => answer,
        Err(cause) => {
            let text = cause.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text
                .or_else(|| cause.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            tracing::error!(panic = text, "a request handler panicked");
            let mut answer = response::failure(&Status::internal(
                "This request caused apiserver to panic. Look in the logs for details.",
            ));
            answer.extensions_mut().insert(Panicked);
            answer
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panics_become_failures() {
        let answer = catch(async { panic!("no") }).await;
        assert_eq!(answer.status(), 500);
    }
}
