//! An answer that is still being written: it holds its seat, obeys its deadline, and ends when the server drains.
//!
//! Small answers that are whole in memory never come here; they are over when they are handed to the connection. Large ones are
//! handed over in pieces: what a slow client has not taken yet stays ours to give up, with the seat that it holds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::call::Body;

/// An answer up to this is handed over at once; a larger one in pieces of this size.
pub const PIECE: usize = 64 * 1024;
/// What lasts as long as a body, and hears how that ended.
pub trait Ending: Send {
    /// So many bytes were written; `broken` if the server itself broke off.
    fn ended(&mut self, bytes: u64, broken: bool);
}

/// A body with everything that lasts as long as it does.
pub struct Held {
    inner: Body,
    rest: Bytes,
    deadline: Option<Pin<Box<Sleep>>>,
    draining: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    held: Box<dyn Ending>,
    bytes: u64,
    broken: bool,
}

/// Why a body broke off; the client sees a reset stream.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the answer was not written in time")]
    Deadline,
    #[error("writing the answer panicked")]
    Panic,
}

// === impl Held ===

impl Held {
    /// Holds `held` until the body has ended or was dropped. With a deadline the body breaks off then, and with `draining` it
    /// ends, properly, when that is cancelled.
    pub fn wrap(
        inner: Body,
        deadline: Option<Instant>,
        draining: Option<CancellationToken>,
        held: impl Ending + 'static,
    ) -> Body {
        Body::new(Self {
            inner,
            rest: Bytes::new(),
            deadline: deadline.map(|at| Box::pin(tokio::time::sleep_until(at))),
            draining: draining.map(|token| Box::pin(token.cancelled_owned())),
            held: Box::new(held),
            bytes: 0,
            broken: false,
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.held.ended(self.bytes, self.broken);
    }
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if this.deadline.as_mut().is_some_and(|d| d.as_mut().poll(cx).is_ready()) {
            this.deadline = None;
            this.inner = Body::empty();
            this.rest = Bytes::new();
            this.broken = true;
            return Poll::Ready(Some(Err(axum::Error::new(Broken::Deadline))));
        }
        if !this.rest.is_empty() {
            let piece = this.rest.split_to(PIECE.min(this.rest.len()));
            this.bytes += piece.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.inner).poll_frame(cx)));
        match polled {
            Ok(Poll::Ready(Some(Ok(frame)))) => {
                let frame = match frame.into_data() {
                    Ok(mut data) => {
                        this.rest = data.split_off(PIECE.min(data.len()));
                        this.bytes += data.len() as u64;
                        Frame::data(data)
                    }
                    Err(trailers) => trailers,
                };
                return Poll::Ready(Some(Ok(frame)));
            }
            Ok(Poll::Ready(ended)) => return Poll::Ready(ended),
            Ok(Poll::Pending) => {}
            Err(_panic) => {
                tracing::error!("a response body panicked");
                this.inner = Body::empty();
                this.broken = true;
                return Poll::Ready(Some(Err(axum::Error::new(Broken::Panic))));
            }
        }
        if this.draining.as_mut().is_some_and(|d| d.as_mut().poll(cx).is_ready()) {
            this.draining = None;
            this.inner = Body::empty();
            return Poll::Ready(None);
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, mut hint) = (self.rest.len() as u64, self.inner.size_hint());
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use http_body_util::BodyExt;

    use super::*;

    /// Hears how a body ended: bytes, and whether the server broke off.
    struct Listener(Option<tokio::sync::oneshot::Sender<(u64, bool)>>);

    impl Ending for Listener {
        fn ended(&mut self, bytes: u64, broken: bool) {
            if let Some(hears) = self.0.take() {
                hears.send((bytes, broken)).unwrap();
            }
        }
    }

    fn listener() -> (Listener, tokio::sync::oneshot::Receiver<(u64, bool)>) {
        let (tells, hears) = tokio::sync::oneshot::channel();
        (Listener(Some(tells)), hears)
    }

    #[tokio::test]
    async fn large_answers_go_out_in_pieces_and_say_how_long_they_are() {
        for (size, pieces) in [(0, 0), (1, 1), (PIECE, 1), (PIECE + 1, 2), (3 * PIECE, 3)] {
            let (listener, heard) = listener();
            let mut held = Held::wrap(Body::from(vec![b'x'; size]), None, None, listener);
            assert_eq!(held.size_hint().exact(), Some(size as u64), "{size}");
            let (mut seen, mut count) = (0, 0);
            while let Some(frame) = held.frame().await {
                let data = frame.unwrap().into_data().unwrap();
                seen += data.len();
                count += 1;
                assert!(data.len() <= PIECE);
                assert_eq!(held.size_hint().exact(), Some((size - seen) as u64), "{size}");
            }
            assert_eq!((seen, count), (size, pieces), "{size}");
            assert!(held.is_end_stream());
            drop(held);
            assert_eq!(heard.await, Ok((size as u64, false)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_taken_in_time_is_given_up() {
        let (listener, heard) = listener();
        let deadline = Instant::now() + std::time::Duration::from_secs(1);
        let mut held = Held::wrap(Body::from(vec![b'x'; 3 * PIECE]), Some(deadline), None, listener);
        assert!(held.frame().await.unwrap().is_ok());
        tokio::time::advance(std::time::Duration::from_secs(2)).await;
        assert!(held.frame().await.unwrap().is_err());
        drop(held);
        assert_eq!(heard.await, Ok((PIECE as u64, true)));
    }
}
