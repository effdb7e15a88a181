//! The task of one HTTP/2 stream, and its end when a client does not take its answer.
//!
//! A stream whose window is full is not polled for more, so an answer cannot see its own deadline while nobody reads it; seat and
//! memory would be the reader's for ever. So the task that writes a stream has an end of its own: an answer that is written over
//! time announces it ([`written_by`]), and when it has passed the task is dropped, which resets this stream and no other.
//!
//! Answers that are over when they are handed to the connection announce nothing and pay for nothing.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::{Instant, Sleep};
use tokio_util::task::TaskTracker;

/// What an answer that sees its own deadline needs to say so, before its stream is cut.
const GRACE: Duration = Duration::from_millis(500);

thread_local! {
    /// Of the stream that this thread polls now.
    static WRITTEN_BY: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Spawns streams into a tracker that waits for them.
#[derive(Clone)]
pub(crate) struct Streams(pub(crate) TaskTracker);

/// Announces when the answer of the stream that is polled now must be written. Outside of a stream's task it does nothing.
pub(crate) fn written_by(deadline: Instant) {
    WRITTEN_BY.set(Some(deadline));
}

// === impl Streams ===

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, future: F) {
        self.0.spawn(until_overdue(future));
    }
}

/// Runs a stream until it ends or the end that it has announced is past.
async fn until_overdue(stream: impl Future<Output = ()>) {
    let mut stream = pin!(stream);
    let mut end: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        WRITTEN_BY.set(None);
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if let Some(deadline) = WRITTEN_BY.take() {
            end = Some(Box::pin(tokio::time::sleep_until(deadline + GRACE)));
        }
        end.as_mut().map_or(Poll::Pending, |end| end.as_mut().poll(cx))
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_lives_as_long_as_it_says() {
        let forever = || std::future::pending::<()>();
        let announced = async {
            tokio::task::yield_now().await;
            written_by(Instant::now() + Duration::from_secs(5));
            forever().await;
        };
        until_overdue(announced).await;
        let longer = tokio::time::timeout(Duration::from_secs(3600), until_overdue(forever()));
        assert!(longer.await.is_err(), "who announces nothing has no end");
        written_by(Instant::now());
        let longer = tokio::time::timeout(Duration::from_secs(3600), until_overdue(forever()));
        assert!(longer.await.is_err(), "another's announcement is not its own");
    }
}
