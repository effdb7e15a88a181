//! An answer that is still being written: it holds its seat, obeys its deadline, and ends when the server drains.
//!
//! Answers that are whole in memory never come here; they are over when they are handed to the connection.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::call::Body;

/// A body with everything that lasts as long as it does.
pub struct Held {
    inner: Body,
    deadline: Option<Pin<Box<Sleep>>>,
    draining: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _held: Box<dyn Any + Send>,
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
    pub fn wrap(inner: Body, deadline: Option<Instant>, draining: Option<CancellationToken>, held: impl Send + 'static) -> Body {
        Body::new(Self {
            inner,
            deadline: deadline.map(|at| Box::pin(tokio::time::sleep_until(at))),
            draining: draining.map(|token| Box::pin(token.cancelled_owned())),
            _held: Box::new(held),
        })
    }
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.inner).poll_frame(cx)));
        match polled {
            Ok(Poll::Ready(frame)) => return Poll::Ready(frame),
            Ok(Poll::Pending) => {}
            Err(_panic) => {
                tracing::error!("a response body panicked");
                this.inner = Body::empty();
                return Poll::Ready(Some(Err(axum::Error::new(Broken::Panic))));
            }
        }
        if this.draining.as_mut().is_some_and(|d| d.as_mut().poll(cx).is_ready()) {
            this.draining = None;
            this.inner = Body::empty();
            return Poll::Ready(None);
        }
        if this.deadline.as_mut().is_some_and(|d| d.as_mut().poll(cx).is_ready()) {
            this.deadline = None;
            this.inner = Body::empty();
            return Poll::Ready(Some(Err(axum::Error::new(Broken::Deadline))));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
