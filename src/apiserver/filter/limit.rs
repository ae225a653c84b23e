//! How many requests may be in flight. Overload is answered, never queued: the service stays ready.
use crate::object::Status;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the requests in flight: those that read and those that write. Watches count for neither.
#[derive(Debug)]
pub(crate) struct InFlight {
    reading: Arc<AtomicUsize>,
    writing: Arc<AtomicUsize>,
    most_reading: usize,
    most_writing: usize,
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl InFlight {
    pub(crate) fn new(most_reading: usize, most_writing: usize) -> Self {
        Self {
            reading: Arc::default(),
            writing: Arc::default(),
            most_reading,
            most_writing,
        }
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// 429 when too many are in.
    pub(crate) fn enter(&self, writes: bool) -> Result<Permit, Status> {
        let (count, most) = if writes {
            (&self.writing, self.most_writing)
        } else {
            (&self.reading, self.most_reading)
        };
        if count.fetch_add(1, Ordering::AcqRel) >= most {
            count.fetch_sub(1, Ordering::AcqRel);
            return Err(Status::too_many_requests(
                "Too many requests, please try again later.",
                1,
            ));
        }
        Ok(Permit(count.clone()))
    }

    /// How many read and how many write.
    pub(crate) fn now(&self) -> (usize, usize) {
        (
            self.reading.load(Ordering::Acquire),
            self.writing.load(Ordering::Acquire),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_and_is_given_back() {
        let limit = InFlight::new(1, 1);
        let first = limit.enter(false).unwrap();
        assert_eq!(limit.enter(false).unwrap_err().code, 429);
        let _write = limit.enter(true).unwrap();
        drop(first);
        assert!(limit.enter(false).is_ok());
    }
}
