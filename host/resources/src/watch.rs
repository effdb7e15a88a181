//! Watches: what a table's publications change, as events, until the client has had enough.
//!
//! A watch is a position in the table's history and a selector. It makes bytes when the connection asks for more, from
//! what has changed since its position; it has no queue, so a client that reads slowly costs nothing and simply skips
//! states that are over. Watchers that keep up share each publication's events, encoded once per representation.
//!
//! The rules are upstream's (apiserver `handlers/watch.go`, `storage/cacher`, KEP-956, KEP-3157): a watch without a version,
//! or from `0`, starts with what is there; with `sendInitialEvents` and bookmarks a bookmark with the annotation
//! `k8s.io/initial-events-end` follows that. Further bookmarks come once a minute and shortly before the end, if there is
//! anything new to say. When the resource is no longer served the watch ends. A version that is forgotten is an ERROR event with a 410 Status in an answer that is 200.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::StreamExt;
use outrigger_api::list_options::{ListOptions, ResourceVersion};
use outrigger_api::media::Form;
use outrigger_api::meta::{NONE, ObjectMeta};
use outrigger_api::selector::{FieldSelector, LabelSelector};
use outrigger_api::status::Status;
use outrigger_api::watch::{EventType, INITIAL_EVENTS_END, write_event};
use outrigger_catalog::Served;
use outrigger_storage::{Batch, Before, Change, Encoded, Entry, Key, Labels, Next, Representation, Snapshot, TooOld, Watching};
use tokio::time::{Instant, Sleep};

use crate::list::PATIENCE;
use crate::metrics::Series;
use crate::read::{Kind, Read, not_yet};
use crate::shape::{Object, Shape};
use crate::{Answer, Tables};

/// One watch.
struct Watch {
    served: Arc<Served>,
    watching: Watching,
    selection: Selection,
    how: Representation,
    bookmarks: bool,
    /// Whether the headers of a Table have yet to come.
    headers: bool,
    /// Everything up to here has been said.
    since: u64,
    /// The newest version that the client has been told.
    told: u64,
    phase: Phase,
    opened: Instant,
    deadline: Instant,
    /// Rings for the next bookmark or for the end; one timer for both.
    bell: Pin<Box<Sleep>>,
    series: Series,
}

enum Phase {
    /// What is there, from this key on.
    Initial(Arc<Snapshot>, Key),
    /// What changes; a batch may be half written.
    Following(Option<(Arc<Batch>, usize)>),
    /// This is left to say.
    Failing(Box<Status>),
    Over,
}

/// What the client wants to know of.
struct Selection {
    namespace: Box<str>,
    /// Of a watch on one name: `/watch/` paths have it.
    name: Box<str>,
    fields: FieldSelector,
    labels: LabelSelector,
}

/// Bytes made at once, about; a whole publication may be more, but is shared.
const CHUNK: usize = 64 << 10;
/// `cacher.defaultBookmarkFrequency`.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long before the end the last bookmark comes.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

static AT_THE_END: LazyLock<BTreeMap<String, String>> =
    LazyLock::new(|| BTreeMap::from([(INITIAL_EVENTS_END.to_owned(), "true".to_owned())]));

// === impl Read ===

impl Read<'_> {
    /// # Errors
    /// 400, 406, 422. What goes wrong later is an event.
    pub(crate) async fn watch(&self, tables: &Tables) -> Result<Answer, Status> {
        let media = self.media(Kind::Watch)?;
        // The deprecated prefix says by itself that this is a watch.
        let options = ListOptions::read_watch(self.query)?;
        if !self.info.name.is_empty()
            && !options.field_selector.is_empty()
            && options.field_selector.exact_name() != Some(&self.info.name)
        {
            return Err(Status::bad_request(
                "fieldSelector metadata.name doesn't match requested name",
            ));
        }
        let watching = self.served.table.watch();
        let now = watching.table().snapshot();
        let (since, phase) = match (options.send_initial_events, options.resource_version) {
            (Some(true), ResourceVersion::At(version)) => match watching.table().reached(version, PATIENCE).await {
                Ok(snapshot) => (snapshot.revision(), self.initial(snapshot)),
                Err(late) => (0, Phase::Failing(Box::new(not_yet(late)))),
            },
            (Some(true), _) => (now.revision(), self.initial(now)),
            (_, ResourceVersion::At(version)) => (version, Phase::Following(None)),
            (_, _) => (now.revision(), Phase::Following(None)),
        };
        let opened = Instant::now();
        let lasts = match options.timeout_seconds {
            Some(seconds) if seconds > 0 => Duration::from_secs(seconds),
            _ => tables.options.min_request_timeout.mul_f64(1.0 + chance()),
        };
        let deadline = opened.checked_add(lasts).unwrap_or(opened + Duration::from_secs(86_400));
        let watch = Watch {
            served: Arc::clone(self.served),
            watching,
            selection: Selection {
                namespace: self.info.namespace.as_str().into(),
                name: self.info.name.as_str().into(),
                fields: options.field_selector,
                labels: options.label_selector,
            },
            how: Representation {
                media,
                include: self.include(media)?,
                version: Arc::clone(&self.served.api_version),
            },
            bookmarks: options.allow_watch_bookmarks,
            headers: matches!(media.form, Form::Table(_)),
            since,
            told: since,
            phase,
            opened,
            deadline,
            bell: Box::pin(tokio::time::sleep_until(deadline)),
            series: tables.metrics.series(self.info),
        };
        let events = futures::stream::unfold(watch, |mut watch| async move {
            let bytes = watch.next().await?;
            Some((bytes, watch))
        });
        Ok(Answer::Events {
            content_type: media.stream_type(),
            events: events.boxed(),
        })
    }

    fn initial(&self, snapshot: Arc<Snapshot>) -> Phase {
        Phase::Initial(snapshot, Key::new(&self.info.namespace, ""))
    }
}

// === impl Watch ===

impl Watch {
    /// The next bytes; `None` when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let bytes = match std::mem::replace(&mut self.phase, Phase::Over) {
                Phase::Initial(snapshot, from) => self.initial(snapshot, from),
                Phase::Following(Some((batch, at))) => self.told_of(batch, at),
                Phase::Following(None) => match self.watching.next(self.since) {
                    Ok(Next::Changes(batch)) => self.told_of(batch, 0),
                    Ok(Next::Nothing(up_to)) => {
                        self.since = up_to;
                        self.wait().await
                    }
                    Err(too_old) => {
                        self.fail(too_old);
                        Bytes::new()
                    }
                },
                Phase::Failing(status) => self.last_words(&status),
                Phase::Over => return None,
            };
            if !bytes.is_empty() {
                return Some(bytes);
            }
        }
    }

    /// A piece of what is there.
    fn initial(&mut self, snapshot: Arc<Snapshot>, from: Key) -> Bytes {
        let mut out = Vec::new();
        let now = SystemTime::now();
        let mut left_at = None;
        for entry in snapshot.iter_from(from, now) {
            let key = &entry.row.key;
            if !self.selection.namespace.is_empty() && *key.namespace != *self.selection.namespace {
                break;
            }
            if out.len() >= CHUNK {
                left_at = Some(key.clone());
                break;
            }
            if let Some(labels) = entry.labels.as_ref().filter(|l| self.selection.takes(key, l)) {
                self.write(&mut out, EventType::Added, &Object::of(entry, labels));
            }
        }
        if let Some(next) = left_at {
            self.phase = Phase::Initial(snapshot, next);
            return out.into();
        }
        if self.bookmarks {
            self.bookmark(&mut out, snapshot.revision(), &AT_THE_END);
            self.series.listed(self.opened.elapsed());
        }
        self.told = snapshot.revision();
        self.follow();
        out.into()
    }

    /// The events of a batch, from one of its changes on.
    fn told_of(&mut self, batch: Arc<Batch>, at: usize) -> Bytes {
        if at == 0
            && !self.headers
            && self.selection.is_everything()
            && batch.changes().first().is_none_or(|c| c.revision > self.since)
        {
            let shared = self.shared(&batch);
            let mut begin = 0;
            for end in &shared.ends {
                self.series.event(end - begin);
                begin = *end;
            }
            self.since = batch.revision();
            if !shared.all.is_empty() {
                self.told = self.since;
            }
            self.follow();
            return shared.all.clone();
        }
        let mut out = Vec::new();
        let mut shared = None;
        for (n, change) in batch.changes().iter().enumerate().skip(at) {
            if change.revision <= self.since {
                continue;
            }
            if out.len() >= CHUNK {
                self.phase = Phase::Following(Some((batch, n)));
                return out.into();
            }
            let event = match self.selection.event(change) {
                Ok(Some(event)) => event,
                Ok(None) => continue,
                Err(Forgotten) => {
                    self.fail(TooOld {
                        revision: self.since,
                        oldest: batch.revision(),
                    });
                    return out.into();
                }
            };
            if Some(event.kind) == natural(change) && !self.headers {
                let shared = shared.get_or_insert_with(|| self.shared(&batch));
                let begin = n
                    .checked_sub(1)
                    .and_then(|before| shared.ends.get(before))
                    .copied()
                    .unwrap_or(0);
                let bytes = shared
                    .ends
                    .get(n)
                    .and_then(|end| shared.all.get(begin..*end))
                    .unwrap_or_default();
                out.extend_from_slice(bytes);
                self.series.event(bytes.len());
            } else {
                self.write(&mut out, event.kind, &event.object(change.revision));
            }
            self.told = change.revision;
        }
        self.since = batch.revision();
        self.follow();
        out.into()
    }

    /// A batch's events for whoever selects everything, encoded once for all of them.
    fn shared(&self, batch: &Batch) -> Arc<Encoded> {
        batch.encoded(&self.how, |changes| {
            let shape = self.shape();
            let mut all = Vec::new();
            let ends = changes.iter().map(|change| {
                if let Some(event) = known(change) {
                    let object = event.object(change.revision);
                    write_event(&mut all, shape.media.encoding, event.kind, |out| {
                        shape.write_one(out, &object, false);
                    });
                }
                all.len()
            });
            let ends = ends.collect();
            Encoded { all: all.into(), ends }
        })
    }

    /// Until something changes, a bookmark is due, or the watch is over.
    async fn wait(&mut self) -> Bytes {
        if self.watching.table().is_retired() {
            return Bytes::new();
        }
        self.phase = Phase::Following(None);
        let now = Instant::now();
        let last_bookmark = self.deadline.checked_sub(BOOKMARK_BEFORE_END).filter(|at| *at > now);
        let ring = if self.bookmarks {
            let next = now + BOOKMARK_EVERY;
            last_bookmark.map_or(self.deadline, |last| last.min(next))
        } else {
            self.deadline
        };
        if self.bell.is_elapsed() || self.bell.deadline() > ring {
            self.bell.as_mut().reset(ring);
        }
        tokio::select! {
            () = self.watching.changed() => return Bytes::new(),
            () = &mut self.bell => {}
        }
        if Instant::now() >= self.deadline {
            self.phase = Phase::Over;
            return Bytes::new();
        }
        let mut out = Vec::new();
        if self.bookmarks && self.since > self.told {
            self.bookmark(&mut out, self.since, &NONE);
            self.told = self.since;
        }
        out.into()
    }

    fn follow(&mut self) {
        self.phase = Phase::Following(None);
    }

    fn fail(&mut self, why: TooOld) {
        self.phase = Phase::Failing(Box::new(Status::expired(why.to_string())));
    }

    fn last_words(&mut self, status: &Status) -> Bytes {
        let mut out = Vec::new();
        let encoding = self.how.media.encoding;
        write_event(&mut out, encoding, EventType::Error, |out| {
            out.extend_from_slice(&status.to_bytes(encoding));
        });
        self.series.event(out.len());
        out.into()
    }

    fn bookmark(&mut self, out: &mut Vec<u8>, version: u64, annotations: &BTreeMap<String, String>) {
        let meta = ObjectMeta {
            resource_version: version,
            annotations,
            ..ObjectMeta::default()
        };
        let (begin, shape, headers) = (out.len(), self.shape(), self.headers);
        write_event(out, shape.media.encoding, EventType::Bookmark, |out| {
            shape.write_bookmark(out, meta, headers);
        });
        self.headers = false;
        self.series.event(out.len() - begin);
    }

    fn write(&mut self, out: &mut Vec<u8>, kind: EventType, object: &Object<'_>) {
        let (begin, shape, headers) = (out.len(), self.shape(), self.headers);
        write_event(out, shape.media.encoding, kind, |out| shape.write_one(out, object, headers));
        self.headers = false;
        self.series.event(out.len() - begin);
    }

    fn shape(&self) -> Shape<'_> {
        Shape {
            resource: &self.served.resource,
            kind: &self.served.resource.kind,
            cells: self.served.cells.as_ref(),
            api_version: &self.how.version,
            media: self.how.media,
            include: self.how.include,
        }
    }
}

/// The labels that a row had are no longer known, so nobody can say whether a selector took it.
struct Forgotten;

/// What a change is to a watcher.
struct Event<'a> {
    kind: EventType,
    entry: &'a Entry,
    labels: &'a Labels,
}

// === impl Event ===

impl<'a> Event<'a> {
    fn new(kind: EventType, entry: &'a Entry) -> Self {
        let labels = entry.labels.as_deref().unwrap_or(&NONE);
        Self { kind, entry, labels }
    }

    /// What goes carries its last state and the version at which it went.
    fn object(&self, revision: u64) -> Object<'a> {
        Object::at(self.entry, self.labels, revision)
    }
}

/// What a change is to whoever selects everything.
fn known(change: &Change) -> Option<Event<'_>> {
    match (&change.before, &change.after) {
        (Before::Absent, Some(after)) => Some(Event::new(EventType::Added, after)),
        (Before::Was(_) | Before::Relabelled(_), Some(after)) => Some(Event::new(EventType::Modified, after)),
        (Before::Was(last) | Before::Relabelled(last), None) => Some(Event::new(EventType::Deleted, last)),
        (Before::Absent, None) => None,
    }
}

fn natural(change: &Change) -> Option<EventType> {
    known(change).map(|event| event.kind)
}

// === impl Selection ===

impl Selection {
    fn is_everything(&self) -> bool {
        self.namespace.is_empty() && self.name.is_empty() && self.fields.is_empty() && self.labels.is_empty()
    }

    fn names(&self, key: &Key) -> bool {
        (self.namespace.is_empty() || *self.namespace == *key.namespace)
            && (self.name.is_empty() || *self.name == *key.name)
            && self.fields.matches(&key.namespace, &key.name)
    }

    fn takes(&self, key: &Key, labels: &Labels) -> bool {
        self.names(key) && self.labels.matches(labels)
    }

    /// An object that moves into the selector is ADDED, and one that moves out of it DELETED, with its state from before.
    fn event<'c>(&self, change: &'c Change) -> Result<Option<Event<'c>>, Forgotten> {
        let takes = |entry: &Entry| entry.labels.as_ref().is_some_and(|l| self.takes(&entry.row.key, l));
        let before = match &change.before {
            Before::Absent => None,
            Before::Was(entry) => takes(entry).then_some(entry),
            Before::Relabelled(entry) if !self.names(&entry.row.key) => None,
            Before::Relabelled(_) if !self.labels.is_empty() => return Err(Forgotten),
            Before::Relabelled(entry) => Some(entry),
        };
        let after = change.after.as_ref().filter(|entry| takes(entry));
        Ok(match (before, after) {
            (None, Some(after)) => Some(Event::new(EventType::Added, after)),
            (Some(_), Some(after)) => Some(Event::new(EventType::Modified, after)),
            (Some(before), None) => Some(Event::new(EventType::Deleted, before)),
            (None, None) => None,
        })
    }
}

/// Between 0 and 1, so that watches opened together do not end together.
#[expect(clippy::cast_precision_loss, reason = "a chance needs no more than 53 bits")]
fn chance() -> f64 {
    (RandomState::new().build_hasher().finish() >> 11) as f64 / (1_u64 << 53) as f64
}
