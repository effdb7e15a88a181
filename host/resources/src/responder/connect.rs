//! connect: a stream that belongs to an object, over HTTP or over messages.
//!
//! The guest says status and content type with `start`, or leaves them (200, bytes); its answer leaves as it is written, through a queue that is full
//! when nobody reads. It runs inside of the answer, so it ends with its client.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll as Ready;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use outrigger_api::manifest::{Subresource, Verb};
use outrigger_api::status::Status;
use outrigger_sandbox::{Answered, Ask, CallError, ContractError, HostError, Input, Request, Sink};
use tokio::sync::mpsc;

use super::Responder;
use crate::{Answer, BrokenOff, Conversation};

/// Pieces between the guest and the connection.
const QUEUE: usize = 4;
/// What a stream may be reached with whose manifest does not say.
const METHODS: [&str; 2] = ["GET", "POST"];
const BYTES: &str = "application/octet-stream";

/// What a guest says on a stream.
enum Said {
    Start(u16, String),
    Bytes(Bytes),
}

struct Stream {
    to: mpsc::Sender<Said>,
    begun: bool,
}

/// A stream under way.
struct Streaming {
    guest: Option<BoxFuture<'static, Result<Answered, CallError>>>,
    from: mpsc::Receiver<Said>,
    outcome: Option<Result<Answered, CallError>>,
    audit_id: String,
}

// === impl Responder ===

impl Responder<'_> {
    /// The stream that is asked for, with this method.
    fn stream_of(&self) -> Result<&Subresource, Status> {
        let part = self.part.filter(|part| part.verbs.contains(&Verb::Connect));
        let part = part.ok_or_else(Status::generic_not_found)?;
        let offered = if part.methods.is_empty() {
            METHODS.contains(&self.asked.method)
        } else {
            part.methods.iter().any(|m| m == self.asked.method)
        };
        if offered {
            Ok(part)
        } else {
            Err(Status::method_not_allowed())
        }
    }

    fn connecting(&self, protocol: &str) -> Request {
        let behind = self.asked.info.parts.get(3..).unwrap_or_default();
        let media = self.asked.content_type.unwrap_or_default();
        Request {
            method: self.asked.method.to_owned(),
            path: behind.iter().fold(String::new(), |path, part| format!("{path}/{part}")),
            content_type: media.split(';').next().unwrap_or_default().trim().to_owned(),
            protocol: protocol.to_owned(),
            ..self.facts("connect", &self.asked.info.name, false)
        }
    }

    pub(crate) async fn connect(&self, from: Box<dyn Input>) -> Result<Answer, Status> {
        self.stream_of()?;
        let (to, queue) = mpsc::channel(QUEUE);
        let (guest, facts) = (Arc::clone(self.guest), Arc::new(self.connecting("")));
        let deadline = self.asked.deadline;
        let sink: Box<dyn Sink> = Box::new(Stream { to, begun: false });
        let mut streaming = Streaming {
            guest: Some(Box::pin(async move {
                guest.respond(facts, Ask::Connect(from, sink), deadline).await
            })),
            from: queue,
            outcome: None,
            audit_id: self.asked.audit_id.to_owned(),
        };
        let first = streaming.next().await;
        if first.is_none()
            && let Some(Err(error)) = &streaming.outcome
        {
            return Err(self.failure().status(error, &self.asked.info.name, false));
        }
        if let Some(Ok(answered)) = &streaming.outcome {
            answered.warnings.iter().for_each(|warning| (self.asked.warn)(warning));
        }
        let (code, content_type, first) = match first {
            Some(Said::Start(code, content_type)) => (code, content_type, None),
            Some(Said::Bytes(bytes)) => (200, BYTES.to_owned(), Some(bytes)),
            None => (200, BYTES.to_owned(), None),
        };
        let first = futures::stream::iter(first.map(Ok));
        Ok(Answer::Stream {
            code,
            content_type,
            body: first.chain(streaming.into_stream()).boxed(),
        })
    }

    pub(crate) fn converse(&self, protocol: &str, from: Box<dyn Input>, to: Box<dyn Sink>) -> Result<Conversation, Status> {
        self.stream_of()?;
        let (guest, facts) = (Arc::clone(self.guest), Arc::new(self.connecting(protocol)));
        let deadline = self.asked.deadline;
        Ok(Box::pin(async move {
            let outcome = guest.respond(facts, Ask::Connect(from, to), deadline).await;
            outcome.map(|_| ()).map_err(|error| error.to_string())
        }))
    }
}

// === impl Streaming ===

impl Streaming {
    /// The next thing that is said; `None` when the guest has ended.
    async fn next(&mut self) -> Option<Said> {
        poll_fn(|cx| {
            if let Ready::Ready(Some(said)) = self.from.poll_recv(cx) {
                return Ready::Ready(Some(said));
            }
            let Some(guest) = &mut self.guest else {
                return Ready::Ready(None);
            };
            match guest.poll_unpin(cx) {
                Ready::Ready(outcome) => {
                    self.outcome = Some(outcome);
                    self.guest = None;
                    Ready::Ready(self.from.try_recv().ok())
                }
                Ready::Pending => match self.from.poll_recv(cx) {
                    Ready::Ready(Some(said)) => Ready::Ready(Some(said)),
                    _ => Ready::Pending,
                },
            }
        })
        .await
    }

    fn into_stream(self) -> BoxStream<'static, Result<Bytes, BrokenOff>> {
        futures::stream::unfold(Some(self), |state| async move {
            let mut this = state?;
            loop {
                match this.next().await {
                    Some(Said::Bytes(bytes)) => return Some((Ok(bytes), Some(this))),
                    Some(Said::Start(..)) => {}
                    None => break,
                }
            }
            match this.outcome.take() {
                Some(Err(error)) => {
                    tracing::error!(audit_id = this.audit_id, "a stream is cut off: {error}");
                    Some((Err(BrokenOff), None))
                }
                _ => None,
            }
        })
        .boxed()
    }
}

// === impl Stream ===

impl Stream {
    async fn say(&mut self, said: Said) -> Result<(), HostError> {
        self.begun = true;
        let sent = self.to.send(said).await;
        sent.map_err(|_| ContractError::Unavailable("nobody reads any more".into()))
    }
}

#[async_trait]
impl Sink for Stream {
    async fn start(&mut self, status: u16, content_type: &str) -> Result<(), HostError> {
        if self.begun {
            return Err(ContractError::Invalid("the answer has begun already".into()));
        }
        let printable = content_type.bytes().all(|b| (b' '..=b'~').contains(&b));
        let content_type = if content_type.is_empty() { BYTES } else { content_type };
        if !printable {
            return Err(ContractError::Invalid("that is no content type".into()));
        }
        self.say(Said::Start(status, content_type.to_owned())).await
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), HostError> {
        if bytes.is_empty() && self.begun {
            return Ok(());
        }
        self.say(Said::Bytes(bytes)).await
    }
}
