//! One request in the audit log, from its arrival to its last byte.
//!
//! The trail ends exactly once: with the answer, with a panic, or by being dropped, which is what a client that goes away does to a
//! request (`Connection closed early`). An answer that is written over time ends when its last byte is taken.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Response};
use http_body::Body as _;
use jiff::Timestamp;
use outrigger_api::identity::Identity;
use outrigger_api::media::Encoding;
use outrigger_api::status::Status;
use outrigger_audit::{Answer, Event, Level, Media, Object, Received, Stage, Verdict};

use crate::audit::sink::Sink;
use crate::audit::tee;
use crate::call::Body;
use crate::refusal::Refusal;

/// The trail; whoever holds it ends it.
#[derive(Debug)]
pub struct Trail {
    shared: Arc<Shared>,
    over: bool,
}

/// A handler's way to the event of its request; does nothing for a request that is not audited.
#[derive(Debug, Clone, Default)]
pub struct Notebook(Option<Arc<Shared>>);

/// What the holders of a trail and its notebooks share.
#[derive(Debug)]
pub(crate) struct Shared {
    sink: Arc<Sink>,
    verdict: Verdict,
    received: Arc<Received>,
    long_running: bool,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    impersonated: Option<Arc<Identity>>,
    constraint: String,
    answer: Option<Answer>,
    request_object: Option<Object>,
    response_object: Option<Object>,
    annotations: BTreeMap<String, String>,
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(sink: Arc<Sink>, verdict: Verdict, received: Received, long_running: bool) -> Self {
        Self {
            sink,
            verdict,
            received: Arc::new(received),
            long_running,
            notes: Mutex::default(),
        }
    }

    fn note(&self, write: impl FnOnce(&mut Notes)) {
        write(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The event of a stage, if the policy wants it.
    fn event(&self, stage: Stage, at: Timestamp) -> Option<Event> {
        if self.verdict.omit.has(stage) {
            return None;
        }
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Event {
            level: self.verdict.level,
            stage,
            received: self.received.clone(),
            impersonated: notes.impersonated.clone(),
            constraint: notes.constraint.clone(),
            answer: notes.answer.clone(),
            request_object: notes.request_object.clone(),
            response_object: notes.response_object.clone(),
            at,
            annotations: notes.annotations.clone(),
            omit_managed_fields: self.verdict.omit_managed_fields,
        })
    }
}

// === impl Trail ===

impl Trail {
    pub(crate) fn new(shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
            over: false,
        }
    }

    /// For the handler.
    pub(crate) fn notebook(&self) -> Notebook {
        Notebook(Some(self.shared.clone()))
    }

    pub(crate) fn event(&self, stage: Stage, at: Timestamp) -> Option<Event> {
        self.shared.event(stage, at)
    }

    /// Ends it without an event.
    pub(crate) fn forget(mut self) {
        self.over = true;
    }

    /// A request's body, copied by reference as it is read, if it can be an object.
    pub(crate) fn request_body(&self, headers: &HeaderMap, body: Body) -> Body {
        if self.shared.received.object.is_none() || body.is_end_stream() {
            return body;
        }
        let Some(media) = media(headers) else { return body };
        let gzip = is_gzip(headers);
        let shared = self.shared.clone();
        tee::copying(body, move |pieces| {
            shared.note(|notes| {
                notes.request_object.get_or_insert(Object { pieces, media, gzip });
            });
        })
    }

    /// The panic's event.
    pub(crate) async fn panicked(mut self, with: &str) {
        self.over = true;
        self.shared.note(|notes| notes.answer = Some(Answer::panicked(with)));
        if let Some(event) = self.event(Stage::Panic, Timestamp::now()) {
            self.shared.sink.put(event).await;
        }
    }

    /// The answer is made. One that is whole ends the trail; one that is written over time takes it along.
    pub(crate) async fn answered(mut self, response: Response<Body>) -> Response<Body> {
        let (parts, body) = response.into_parts();
        let refusal = parts.extensions.get::<Refusal>();
        self.shared.note(|notes| {
            if notes.answer.is_none() {
                notes.answer = Some(refusal.map_or_else(|| Answer::of_code(parts.status.as_u16()), |r| Answer::from(&r.0)));
            }
        });
        if let Some(refusal) = refusal {
            self.notebook().response_status(&refusal.0);
        }
        if self.shared.long_running
            && let Some(event) = self.event(Stage::ResponseStarted, Timestamp::now())
        {
            self.shared.sink.put(event).await;
        }
        let body = self.response_body(&parts.headers, body);
        if body.size_hint().exact().is_some() {
            // Whole and in memory: what a copy needs of it is read here, and nothing is waited for.
            let body = tee::whole(body).await;
            self.over = true;
            if let Some(event) = self.event(Stage::ResponseComplete, Timestamp::now()) {
                self.shared.sink.put(event).await;
            }
            return Response::from_parts(parts, body);
        }
        Response::from_parts(parts, tee::holding(body, self))
    }

    fn response_body(&self, headers: &HeaderMap, body: Body) -> Body {
        let shared = &self.shared;
        let wanted = shared.verdict.level >= Level::RequestResponse && shared.received.object.is_some() && !shared.long_running;
        let known = || {
            let notes = shared.notes.lock().unwrap_or_else(PoisonError::into_inner);
            notes.response_object.is_some()
        };
        let Some(media) = media(headers).filter(|_| wanted && !known()) else {
            return body;
        };
        let gzip = is_gzip(headers);
        let shared = shared.clone();
        tee::copying(body, move |pieces| {
            shared.note(|notes| {
                notes.response_object.get_or_insert(Object { pieces, media, gzip });
            });
        })
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut unanswered = false;
        self.shared.note(|notes| {
            unanswered = notes.answer.is_none();
            notes.answer.get_or_insert_with(Answer::closed_early);
        });
        let now = Timestamp::now();
        let started = (unanswered && self.shared.long_running).then_some(Stage::ResponseStarted);
        for stage in started.into_iter().chain([Stage::ResponseComplete]) {
            if let Some(event) = self.event(stage, now) {
                self.shared.sink.put_late(event);
            }
        }
    }
}

// === impl Notebook ===

impl Notebook {
    /// Adds an annotation. The first value stays; another one for the same key is only logged.
    pub fn annotate(&self, key: &str, value: &str) {
        let Some(shared) = &self.0 else { return };
        shared.note(|notes| match notes.annotations.get(key) {
            Some(old) if old != value => {
                tracing::warn!(
                    key,
                    value,
                    old,
                    audit_id = shared.received.audit_id,
                    "an audit annotation is already set"
                );
            }
            Some(_) => {}
            None => {
                notes.annotations.insert(key.to_owned(), value.to_owned());
            }
        });
    }

    /// As whom the caller acts from now on, and the constraint that allowed it (empty for none).
    pub fn impersonated(&self, identity: Arc<Identity>, constraint: &str) {
        let Some(shared) = &self.0 else { return };
        shared.note(|notes| {
            notes.impersonated = Some(identity);
            constraint.clone_into(&mut notes.constraint);
        });
    }

    /// Whether the answered object is recorded. Who answers in protobuf should hand the same as JSON to
    /// [`Notebook::response_object`] then: what is on the wire cannot be recorded.
    #[must_use]
    pub fn wants_response_object(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|shared| shared.verdict.level >= Level::RequestResponse && shared.received.object.is_some())
    }

    /// The answered object as JSON, where the answer itself is not.
    pub fn response_object(&self, json: bytes::Bytes) {
        let Some(shared) = &self.0 else { return };
        if self.wants_response_object() {
            shared.note(|notes| {
                notes.response_object = Some(Object {
                    pieces: vec![json],
                    media: Media::Json,
                    gzip: false,
                });
            });
        }
    }

    /// How the request ended, where the chain cannot see it.
    pub fn answer(&self, answer: Answer) {
        if let Some(shared) = &self.0 {
            shared.note(|notes| notes.answer = Some(answer));
        }
    }

    fn response_status(&self, status: &Status) {
        if self.wants_response_object() {
            self.response_object(status.to_bytes(Encoding::Json { pretty: false }).into());
        }
    }
}

fn media(headers: &HeaderMap) -> Option<Media> {
    Media::of(headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default())
}

fn is_gzip(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_ENCODING).is_some_and(|v| v == "gzip")
}
