//! Bodies that are looked at while they pass: copies are reference counts, and what is too large is not kept.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use outrigger_audit::object::MAX_OBJECT;

use crate::call::Body;

type Done = Box<dyn FnOnce(Vec<Bytes>) + Send>;

struct Copying {
    inner: Body,
    pieces: Vec<Bytes>,
    size: usize,
    done: Option<Done>,
}

struct Holding<T> {
    inner: Body,
    _held: T,
}

/// Hands over all pieces when the body has ended; of a body that is too large, as many as it takes to see that it is.
pub(crate) fn copying(inner: Body, done: impl FnOnce(Vec<Bytes>) + Send + 'static) -> Body {
    Body::new(Copying {
        inner,
        pieces: Vec::new(),
        size: 0,
        done: Some(Box::new(done)),
    })
}

/// Lets go of `held` when the body has ended or was dropped.
pub(crate) fn holding(inner: Body, held: impl Send + Unpin + 'static) -> Body {
    Body::new(Holding { inner, _held: held })
}

/// Passes a body that is in memory through what looks at it.
pub(crate) async fn whole(body: Body) -> Body {
    match body.collect().await {
        Ok(whole) => Body::from(whole.to_bytes()),
        // It is in memory; there is nothing that could fail.
        Err(error) => Body::from_stream(futures::stream::iter([Err::<Bytes, _>(error)])),
    }
}

impl Copying {
    fn see(&mut self, piece: &Bytes) {
        if self.size <= MAX_OBJECT {
            self.size += piece.len();
            self.pieces.push(piece.clone());
        }
        if self.inner.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(done) = self.done.take() {
            done(std::mem::take(&mut self.pieces));
        }
    }
}

impl http_body::Body for Copying {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(piece) = frame.data_ref() {
                    self.see(piece);
                }
            }
            Poll::Ready(None) => self.end(),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<T: Send + Unpin + 'static> http_body::Body for Holding<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
