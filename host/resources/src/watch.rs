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
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use outrigger_api::list_options::{ListOptions, ResourceVersion};
use outrigger_api::media::Form;
use outrigger_api::meta::{NONE, ObjectMeta};
use outrigger_api::status::Status;
use outrigger_api::watch::{EventType, INITIAL_EVENTS_END, write_event};
use outrigger_catalog::Served;
use outrigger_storage::{
    Batch, Before, Change, Encoded, Entry, Key, Next, Opening, Piece, Representation, Snapshot, TooOld, Watching,
};
use tokio::time::{Instant, Sleep};

use crate::list::PATIENCE;
use crate::metrics::Series;
use crate::read::{CONVERSION, Kind, Read, not_yet};
use crate::selection::{Forgotten, Selection, natural};
use crate::shape::{Object, Shape};
use crate::stored::convert::{in_version, is_in_version};
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
    /// What is there.
    Initial(Initial),
    /// All of it, at this revision, is said.
    Listed(u64),
    /// What changes; a batch may be half written.
    Following(Option<(Arc<Batch>, usize)>),
    /// This is left to say.
    Failing(Box<Status>),
    Over,
}

/// What is there, said piece by piece.
struct Initial {
    snapshot: Arc<Snapshot>,
    /// With whom, if with anybody.
    shared: Option<Arc<Opening>>,
    /// The number of the next piece, and the key that it begins with.
    at: usize,
    from: Key,
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
        let now = match options.resource_version {
            // The initial state is at least as new as the store at the request (KEP-3157).
            ResourceVersion::Unset => self.newest().await?,
            _ => watching.table().snapshot(),
        };
        let how = Representation {
            media,
            include: self.include(media)?,
            version: Arc::clone(&self.served.api_version),
        };
        let (since, phase) = match (options.send_initial_events, options.resource_version) {
            (Some(true), ResourceVersion::At(version)) => match watching.table().reached(version, PATIENCE).await {
                Ok(snapshot) => (snapshot.revision(), self.initial(snapshot, &options, &how)),
                Err(late) => (0, Phase::Failing(Box::new(not_yet(late)))),
            },
            (Some(true), _) => (now.revision(), self.initial(now, &options, &how)),
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
            how,
            bookmarks: options.allow_watch_bookmarks,
            selection: Selection::new(self.info, options),
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

    fn initial(&self, snapshot: Arc<Snapshot>, options: &ListOptions, how: &Representation) -> Phase {
        let is_whole = self.info.name.is_empty() && options.field_selector.is_empty() && options.label_selector.is_empty();
        let shares = is_whole && self.served.kept.is_some();
        let table = &self.served.table;
        Phase::Initial(Initial {
            shared: shares.then(|| table.opening(&snapshot, how, &self.info.namespace)),
            snapshot,
            at: 0,
            from: Key::new(&self.info.namespace, ""),
        })
    }
}

// === impl Watch ===

impl Watch {
    /// The next bytes; `None` when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            // Who never comes to wait, since there is always something new, has had enough as well.
            if matches!(self.phase, Phase::Following(_)) && Instant::now() >= self.deadline {
                return None;
            }
            let bytes = match std::mem::replace(&mut self.phase, Phase::Over) {
                Phase::Initial(initial) => self.initial(initial).await,
                Phase::Listed(revision) => self.listed(revision),
                Phase::Following(Some((batch, at))) => self.told_of(batch, at).await,
                Phase::Following(None) => match self.watching.next(self.since) {
                    Ok(Next::Changes(batch)) => self.told_of(batch, 0).await,
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
    async fn initial(&mut self, initial: Initial) -> Bytes {
        let Initial {
            snapshot,
            shared,
            at,
            from,
        } = initial;
        let (served, how, selection, headers) = (&self.served, &self.how, &self.selection, self.headers);
        let state = shared.as_ref().map_or(&snapshot, |shared| shared.snapshot());
        let make = || piece(served, how, selection, state, from, headers);
        let made = match &shared {
            Some(shared) => shared.piece(at, make).await,
            None => make().await,
        };
        let piece = match made {
            Ok(piece) => piece,
            Err(status) => {
                self.phase = Phase::Failing(Box::new(status));
                return Bytes::new();
            }
        };
        self.count(&piece.ends);
        self.headers &= piece.ends.is_empty();
        self.phase = match piece.next {
            Some(from) => Phase::Initial(Initial {
                snapshot,
                shared,
                at: at + 1,
                from,
            }),
            None => Phase::Listed(snapshot.revision()),
        };
        piece.bytes
    }

    /// All that is there at this revision is said.
    fn listed(&mut self, revision: u64) -> Bytes {
        let mut out = Vec::new();
        if self.bookmarks {
            self.bookmark(&mut out, revision, &AT_THE_END);
            self.series.listed(self.opened.elapsed());
        }
        self.told = revision;
        self.follow();
        out.into()
    }

    /// The events of a batch, from one of its changes on.
    async fn told_of(&mut self, batch: Arc<Batch>, at: usize) -> Bytes {
        let spoken = match self.spoken(&batch).await {
            Ok(spoken) => spoken,
            Err(status) => {
                self.phase = Phase::Failing(Box::new(status));
                return Bytes::new();
            }
        };
        let spoken = spoken.as_deref().unwrap_or_else(|| batch.changes());
        if at == 0
            && !self.headers
            && self.selection.is_everything()
            && batch.changes().first().is_none_or(|c| c.revision > self.since)
        {
            let shared = self.shared(&batch, spoken);
            self.count(&shared.ends);
            self.since = batch.revision();
            if !shared.all.is_empty() {
                self.told = self.since;
            }
            self.follow();
            return shared.all.clone();
        }
        let mut out = Vec::new();
        let mut shared: Option<Arc<Encoded>> = None;
        // A run of shared events that has not been copied yet; if there is nothing else it never is.
        let mut run: Range<usize> = 0..0;
        let mut left_at = None;
        for (n, (change, said)) in batch.changes().iter().zip(spoken).enumerate().skip(at) {
            if change.revision <= self.since {
                continue;
            }
            if out.len() + run.len() >= CHUNK {
                left_at = Some(n);
                break;
            }
            let kind = match self.selection.event(change) {
                Ok(Some(kind)) => kind,
                Ok(None) => continue,
                Err(Forgotten) => {
                    self.fail(TooOld {
                        revision: self.since,
                        oldest: batch.revision(),
                    });
                    return self.joined(out, run, shared.as_deref());
                }
            };
            self.told = change.revision;
            if Some(kind) == natural(change) && !self.headers {
                let shared = shared.get_or_insert_with(|| self.shared(&batch, spoken));
                let end = |n: usize| shared.ends.get(n).copied().unwrap_or_default();
                let (begin, end) = (n.checked_sub(1).map_or(0, end), end(n));
                self.series.event(end - begin);
                if run.is_empty() {
                    run = begin..end;
                } else if run.end == begin {
                    run.end = end;
                } else {
                    out.extend_from_slice(shared.all.get(std::mem::replace(&mut run, begin..end)).unwrap_or_default());
                }
            } else if let Some(object) = object(kind, said) {
                if let Some(shared) = &shared {
                    out.extend_from_slice(shared.all.get(std::mem::take(&mut run)).unwrap_or_default());
                }
                self.write(&mut out, kind, &object);
            }
        }
        match left_at {
            Some(n) => self.phase = Phase::Following(Some((batch, n))),
            None => {
                self.since = batch.revision();
                self.follow();
            }
        }
        self.joined(out, run, shared.as_deref())
    }

    /// What was written, and then a run of shared events; without a copy if the run is all.
    fn joined(&self, mut out: Vec<u8>, run: Range<usize>, shared: Option<&Encoded>) -> Bytes {
        let Some(shared) = shared.filter(|shared| run.end <= shared.all.len()) else {
            return out.into();
        };
        if out.is_empty() {
            return shared.all.slice(run);
        }
        out.extend_from_slice(shared.all.get(run).unwrap_or_default());
        out.into()
    }

    /// The changes of a batch in the version that is watched; `None` if they are in it.
    async fn spoken(&self, batch: &Batch) -> Result<Option<Arc<[Change]>>, Status> {
        let served = &self.served;
        let mut said = batch.changes().iter().flat_map(said);
        if !self.how.media.form.shows_fields() || said.all(|entry| is_in_version(served, entry)) {
            return Ok(None);
        }
        let spoken = batch.converted(&self.how.version, || converted(served, batch.changes()));
        Ok(Some(spoken.await?))
    }

    /// A batch's events for whoever selects everything, encoded once for all of them.
    fn shared(&self, batch: &Batch, spoken: &[Change]) -> Arc<Encoded> {
        batch.encoded(&self.how, |_| {
            let shape = self.shape();
            let mut all = Vec::new();
            let ends = spoken.iter().map(|change| {
                if let Some(kind) = natural(change)
                    && let Some(object) = object(kind, change)
                {
                    write_event(&mut all, shape.media.encoding, kind, |out| {
                        shape.write_one(out, &object, false);
                    });
                }
                all.len()
            });
            let ends = ends.collect();
            Encoded { all: all.into(), ends }
        })
    }

    fn count(&self, ends: &[usize]) {
        let mut begin = 0;
        for end in ends {
            if *end > begin {
                self.series.event(end - begin);
            }
            begin = *end;
        }
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
        shape(&self.served, &self.how)
    }
}

fn shape<'a>(served: &'a Served, how: &'a Representation) -> Shape<'a> {
    Shape {
        api_version: &how.version,
        ..Shape::of(served, how.media, how.include)
    }
}

/// The object of an event. What goes carries its last state and the version at which it went.
fn object(kind: EventType, change: &Change) -> Option<Object<'_>> {
    let entry = match (kind, &change.before, &change.after) {
        (EventType::Deleted, Before::Was(last) | Before::Relabelled(last), _) => last,
        (EventType::Deleted, Before::Absent, _) => return None,
        (_, _, after) => after.as_ref()?,
    };
    Some(Object::at(entry, entry.labels.as_deref().unwrap_or(&NONE), change.revision))
}

/// Some of what is there as ADDED events; with `headers` the first has those of a Table.
async fn piece(
    served: &Served,
    how: &Representation,
    selection: &Selection,
    snapshot: &Snapshot,
    from: Key,
    mut headers: bool,
) -> Result<Piece, Status> {
    let shape = shape(served, how);
    let gathered = selection.gather(snapshot, from, CHUNK, |entry| shape.room(entry));
    let mut entries = gathered.entries;
    if how.media.form.shows_fields() && !entries.iter().all(|entry| is_in_version(served, entry)) {
        entries = in_version(served, &entries, CONVERSION).await?;
    }
    let (mut out, mut ends) = (Vec::with_capacity(CHUNK), Vec::with_capacity(entries.len()));
    for entry in &entries {
        let object = Object::of(entry, entry.labels.as_deref().unwrap_or(&NONE));
        write_event(&mut out, shape.media.encoding, EventType::Added, |out| {
            shape.write_one(out, &object, headers);
        });
        headers = false;
        ends.push(out.len());
    }
    Ok(Piece {
        bytes: out.into_boxed_slice().into(),
        ends: ends.into(),
        next: gathered.next,
    })
}

/// The states of an object that events of a change may show: the newer one, and the older where the object goes, or may leave a selector.
fn said(change: &Change) -> impl Iterator<Item = &Arc<Entry>> {
    let (before, after) = (older(change), change.after.as_ref());
    before.into_iter().chain(after)
}

fn older(change: &Change) -> Option<&Arc<Entry>> {
    let (Before::Was(last) | Before::Relabelled(last)) = &change.before else {
        return None;
    };
    let stays = change.after.as_ref().is_some_and(|after| after.labels == last.labels);
    (!stays).then_some(last)
}

/// The same changes with what they may show in the version of `served`.
async fn converted(served: &Served, changes: &[Change]) -> Result<Vec<Change>, Status> {
    let entries: Vec<Arc<Entry>> = changes.iter().flat_map(said).cloned().collect();
    let mut entries = in_version(served, &entries, CONVERSION).await?.into_iter();
    let mut out = changes.to_vec();
    for change in &mut out {
        if older(change).is_some()
            && let Some(entry) = entries.next()
        {
            change.before = Before::Was(entry);
        }
        if change.after.is_some() {
            change.after = entries.next();
        }
    }
    Ok(out)
}

/// Between 0 and 1, so that watches opened together do not end together.
#[expect(clippy::cast_precision_loss, reason = "a chance needs no more than 53 bits")]
fn chance() -> f64 {
    (RandomState::new().build_hasher().finish() >> 11) as f64 / (1_u64 << 53) as f64
}
