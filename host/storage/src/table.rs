//! Tables: rows that collectors fetch and requests read.
//!
//! A publication replaces all rows of one source (a collector and its target) and leaves the other sources' rows alone. A
//! reader takes a [`Snapshot`] and keeps it as long as it likes: the map is persistent, so a snapshot costs one pointer
//! and a publication only the rows that it changes. Reads never wait for writers.
//!
//! Rows grow old: each source says until when its rows may be served if nothing newer comes. Nobody removes them at that
//! moment; readers skip what has expired, and the next publication or [`Table::sweep`] takes it away.
//!
//! A table may also be the image of what is kept in a store ([`Table::kept`]): then rows, changes and revisions are the store's, every
//! change is remembered in its order for a while, and the past can be read.
//!
//! Every change of rows that collectors bring has a revision, and so has the table: that of its newest change. Revisions are microseconds since 1970, or
//! one more than the last if the clock has not moved on: so they grow across restarts too, and a client that comes back
//! with one from before learns what it has missed, or that it must list again, and never waits for a number to be reached.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};
use imbl::OrdMap;
use outrigger_api::manifest::Shadow;
use tokio::sync::watch;

use crate::history::{Before, Change, History};
use crate::live::unlabelled;
use crate::opening::{Opening, Openings};
use crate::ring::{Ring, undone};
use crate::store::Keep;
use crate::{Batch, Entry, Key, Labels, LiveIndex, Representation, Row, Snapshot, TooOld};

/// One resource's rows.
pub struct Table {
    now: ArcSwap<Snapshot>,
    writers: Mutex<Writers>,
    moved: watch::Sender<u64>,
    watchers: AtomicUsize,
    retired: AtomicBool,
    pages: Mutex<VecDeque<Page>>,
    /// The last changes of an image, for watchers that keep up: they need no lock.
    newest: ArcSwapOption<Batch>,
    openings: Openings,
    speaks_of: Option<(Shadow, Arc<dyn LiveIndex>)>,
}

/// Told of a table's changes as long as it lives.
#[derive(Debug)]
pub struct Watching {
    table: Arc<Table>,
    moved: watch::Receiver<u64>,
}

/// What a watcher has to tell next.
#[derive(Debug, Clone)]
pub enum Next {
    /// These changes.
    Changes(Arc<Batch>),
    /// Nothing has changed up to this revision.
    Nothing(u64),
}

/// The table has not come as far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too large resource version: {wanted}, current: {current}")]
pub struct NotYet {
    /// The revision that was waited for.
    pub wanted: u64,
    /// The table's.
    pub current: u64,
}

/// What only writers touch.
#[derive(Debug)]
struct Writers {
    /// Which keys each source holds, so that a publication finds what it replaces.
    sources: HashMap<Arc<str>, Vec<Key>>,
    history: History,
    /// Of a table that is the image of a store: its past.
    ring: Option<Ring>,
}

/// A snapshot that somebody reads page by page.
#[derive(Debug)]
struct Page {
    snapshot: Arc<Snapshot>,
    kept: Instant,
}

/// The next state of a table, while it is made.
struct Draft<'a> {
    rows: OrdMap<Key, Arc<Entry>>,
    history: &'a mut History,
    watched: bool,
    changes: Vec<Change>,
    clock: u64,
    revision: u64,
}

/// Snapshots kept for lists that are read page by page; each keeps the rows alive that have changed since.
const PAGES: usize = 8;
const PAGES_FOR: Duration = Duration::from_secs(60);

// === impl Table ===

impl Table {
    /// An empty table whose rows speak for themselves.
    #[must_use]
    pub fn new() -> Self {
        Self::speaking_of(None)
    }

    /// An empty table whose rows speak of live objects, if of any: a row is shown to watchers while its object lives, and with
    /// that object's labels.
    #[must_use]
    pub fn speaking_of(objects: Option<(Shadow, Arc<dyn LiveIndex>)>) -> Self {
        let revision = micros(SystemTime::now());
        let first = Snapshot {
            rows: OrdMap::new(),
            revision,
            changed: revision,
        };
        Self::beginning(first, objects, None)
    }

    /// An empty table that will be the image of what is kept in a store; [`Table::refill`] brings the first rows.
    #[must_use]
    pub fn kept(keep: Keep) -> Self {
        Self::beginning(Snapshot::default(), None, Some(Ring::new(0, keep)))
    }

    fn beginning(first: Snapshot, speaks_of: Option<(Shadow, Arc<dyn LiveIndex>)>, ring: Option<Ring>) -> Self {
        let revision = first.revision;
        Self {
            now: ArcSwap::from_pointee(first),
            writers: Mutex::new(Writers {
                sources: HashMap::new(),
                history: History::new(revision),
                ring,
            }),
            moved: watch::Sender::new(revision),
            watchers: AtomicUsize::new(0),
            retired: AtomicBool::new(false),
            pages: Mutex::default(),
            newest: ArcSwapOption::empty(),
            openings: Openings::default(),
            speaks_of,
        }
    }

    /// Takes in changes of a store, in the order of their revisions; `None` for a row is its end. `revision` is the store's with them.
    /// Returns at once what readers see from now on.
    pub fn apply(&self, changes: impl IntoIterator<Item = (u64, Key, Option<Row>)>, revision: u64) -> Arc<Snapshot> {
        self.follow(|rows, _| {
            let mut told = Vec::new();
            for (at, key, row) in changes {
                let after = row.map(|row| Arc::new(Entry::kept(row, at)));
                let before = match &after {
                    Some(entry) => rows.insert(key, Arc::clone(entry)),
                    None => rows.remove(&key),
                };
                if before.is_some() || after.is_some() {
                    told.push(Change {
                        revision: at,
                        before: before.map_or(Before::Absent, Before::Was),
                        after,
                    });
                }
            }
            (told, revision)
        })
    }

    /// Takes in everything that a store holds at `revision`, when what has happened since is not known change by change. Watchers are told
    /// what is different; states in between are lost to them, and the past before `revision` cannot be read any more.
    pub fn refill(&self, all: impl IntoIterator<Item = (u64, Row)>, revision: u64) -> Arc<Snapshot> {
        self.follow(|rows, ring| {
            let mut next = OrdMap::new();
            let mut told = Vec::new();
            for (at, row) in all {
                let known = rows.remove(&row.key);
                let entry = match known {
                    Some(known) if known.revision == at => known,
                    before => {
                        let entry = Arc::new(Entry::kept(row, at));
                        told.push(Change {
                            revision: at,
                            before: before.map_or(Before::Absent, Before::Was),
                            after: Some(Arc::clone(&entry)),
                        });
                        entry
                    }
                };
                next.insert(entry.row.key.clone(), entry);
            }
            let gone = rows.values().map(|entry| Change {
                revision,
                before: Before::Was(Arc::clone(entry)),
                after: None,
            });
            told.extend(gone);
            told.sort_by_key(|change| change.revision);
            *rows = next;
            match self.now.load().revision {
                // The beginning: nobody has seen anything before.
                0 => {
                    ring.forget(revision);
                    told.clear();
                }
                // Who has seen the state before may go on from it; nobody can begin in between.
                before => ring.forget(before),
            }
            (told, revision)
        })
    }

    /// Nothing has changed in the store up to `revision`.
    pub fn progress(&self, revision: u64) {
        if self.now.load().revision < revision {
            self.follow(|_, _| (Vec::new(), revision));
        }
    }

    fn follow(&self, make: impl FnOnce(&mut OrdMap<Key, Arc<Entry>>, &mut Ring) -> (Vec<Change>, u64)) -> Arc<Snapshot> {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.now.load_full();
        let Some(ring) = &mut writers.ring else {
            return before;
        };
        let mut rows = before.rows.clone();
        let (changes, revision) = make(&mut rows, ring);
        let revision = revision.max(before.revision);
        let changed = if changes.is_empty() { before.changed } else { revision };
        let now = Arc::new(Snapshot { rows, revision, changed });
        // The past first: a watcher that sees the new revision finds what has led to it.
        if let Some(newest) = ring.record(changes, before.revision, revision) {
            self.newest.store(Some(newest));
        }
        self.now.store(Arc::clone(&now));
        drop(writers);
        if revision > before.revision {
            self.moved.send_replace(revision);
        }
        now
    }

    /// What the rows speak of, if not for themselves.
    #[must_use]
    pub fn shadow(&self) -> Option<Shadow> {
        self.speaks_of.as_ref().map(|(of, _)| *of)
    }

    /// The labels that a row has now; `None` if its object does not exist.
    #[must_use]
    pub fn labels(&self, namespace: &str, name: &str) -> Option<Arc<Labels>> {
        match &self.speaks_of {
            Some((of, live)) => live.labels(*of, namespace, name),
            None => Some(unlabelled()),
        }
    }

    /// The labels that a row has now: those that its author wrote, or those of the object that it speaks of; `None` if that does not
    /// exist.
    #[must_use]
    pub fn labels_of(&self, row: &Row) -> Option<Arc<Labels>> {
        match &row.meta {
            Some(meta) => Some(Arc::clone(&meta.labels)),
            None => self.labels(&row.key.namespace, &row.key.name),
        }
    }

    /// The rows as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.now.load_full()
    }

    /// The rows as soon as the table has come to `revision`.
    ///
    /// # Errors
    /// [`NotYet`] if it has not after `patience`.
    pub async fn reached(&self, revision: u64, patience: Duration) -> Result<Arc<Snapshot>, NotYet> {
        let now = self.snapshot();
        if now.revision >= revision {
            return Ok(now);
        }
        let mut moved = self.moved.subscribe();
        // The sender lives in self; the wait ends with the revision or with our patience.
        let _ = tokio::time::timeout(patience, moved.wait_for(|at| *at >= revision)).await;
        let now = self.snapshot();
        if now.revision >= revision {
            return Ok(now);
        }
        Err(NotYet {
            wanted: revision,
            current: now.revision,
        })
    }

    /// Keeps a snapshot for a while, so that a list of it can be continued; see [`Table::page`].
    pub fn keep(&self, snapshot: &Arc<Snapshot>) {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = Instant::now();
        if let Some(known) = pages.iter_mut().find(|p| p.snapshot.revision == snapshot.revision) {
            known.kept = kept;
            return;
        }
        if pages.len() >= PAGES {
            pages.pop_front();
        }
        pages.push_back(Page {
            snapshot: Arc::clone(snapshot),
            kept,
        });
    }

    /// The rows as they were at a revision: now, or kept, or still known change by change. `None` if that is forgotten, or yet to come.
    #[must_use]
    pub fn page(&self, revision: u64) -> Option<Arc<Snapshot>> {
        let now = self.snapshot();
        if now.revision == revision {
            return Some(now);
        }
        {
            let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(page) = pages.iter().find(|p| p.snapshot.revision == revision) {
                return Some(Arc::clone(&page.snapshot));
            }
        }
        let (now, newer) = {
            let writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
            (self.snapshot(), writers.ring.as_ref()?.since(revision).ok()?)
        };
        if now.revision < revision {
            return None;
        }
        // Much may have happened since: writers do not wait for this, and the next page finds it.
        let then = Arc::new(undone(&now, &newer, revision));
        self.keep(&then);
        Some(then)
    }

    /// Forgets of the past what is too old, and pages that nobody has asked for lately. Call now and then: without changes nobody else does.
    pub fn trim(&self) {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ring) = &mut writers.ring {
            ring.trim();
        }
        drop(writers);
        self.pages
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|p| p.kept.elapsed() < PAGES_FOR);
    }

    /// The first events of watches that begin with what is in `snapshot`, shared by all that want them in this form.
    #[must_use]
    pub fn opening(&self, snapshot: &Arc<Snapshot>, how: &Representation, namespace: &str) -> Arc<Opening> {
        self.openings.of(snapshot, how, namespace)
    }

    /// Begins to watch.
    #[must_use]
    pub fn watch(self: &Arc<Self>) -> Watching {
        if self.watchers.fetch_add(1, Ordering::Relaxed) == 0 {
            self.look_around();
        }
        Watching {
            table: Arc::clone(self),
            moved: self.moved.subscribe(),
        }
    }

    /// Replaces all rows of `source`. They may be served for `keep` from `at` on.
    ///
    /// A key that another source holds as well (a pod's name that moved from node to node) goes to whoever published it
    /// last, unless it is this same source's own; when its holder withdraws it, the other's next publication brings it
    /// back. Of several rows with one key in `rows`, the last is kept.
    pub fn publish(&self, source: &Arc<str>, rows: Vec<Row>, at: SystemTime, keep: Duration) {
        let expires = at.checked_add(keep).unwrap_or(at);
        self.change(at, |draft, sources| {
            let keys: Vec<Key> = rows.iter().map(|r| r.key.clone()).collect();
            let held = if keys.is_empty() {
                sources.remove(source)
            } else {
                sources.insert(Arc::clone(source), keys)
            };
            let mut held = held.unwrap_or_default();
            if !rows.is_empty() {
                // In the order of rows, usually: what comes again is not taken away first, for that would be a change.
                let coming: std::collections::HashSet<&Key> = rows.iter().map(|r| &r.key).collect();
                held.retain(|key| !coming.contains(key));
            }
            for key in held {
                if draft.rows.get(&key).is_some_and(|e| e.source == *source) {
                    draft.remove(&key);
                }
            }
            for row in rows {
                let labels = self.labels_of(&row);
                draft.put(row, source, at, expires, labels);
            }
        });
    }

    /// Adds or replaces one row of `source`, and leaves its others alone. Returns the row as it is now.
    pub fn put(&self, source: &Arc<str>, row: Row, at: SystemTime, keep: Duration) -> Option<Arc<Entry>> {
        let expires = at.checked_add(keep).unwrap_or(at);
        let key = row.key.clone();
        self.change(at, |draft, sources| {
            let labels = self.labels_of(&row);
            if draft.rows.get(&key).is_none_or(|e| e.source != *source) {
                sources.entry(Arc::clone(source)).or_default().push(key.clone());
            }
            draft.put(row, source, at, expires, labels);
        });
        self.snapshot().rows.get(&key).cloned()
    }

    /// Takes away one row of `source`, if it is there.
    pub fn remove(&self, source: &Arc<str>, key: &Key) {
        self.change(SystemTime::now(), |draft, sources| {
            if draft.rows.get(key).is_some_and(|e| e.source == *source) {
                draft.remove(key);
                if let Some(keys) = sources.get_mut(source) {
                    keys.retain(|k| k != key);
                }
            }
        });
    }

    /// Takes away all rows of `source`: its target is gone for good.
    pub fn withdraw(&self, source: &Arc<str>) {
        self.publish(source, Vec::new(), SystemTime::UNIX_EPOCH, Duration::ZERO);
    }

    /// Takes away rows that have expired at `now`. Call now and then; readers skip them anyway.
    pub fn sweep(&self, now: SystemTime) {
        self.trim();
        if self.snapshot().rows.values().all(|e| e.expires > now) {
            return;
        }
        self.change(now, |draft, sources| {
            let expired: Vec<Arc<Entry>> = draft.rows.values().filter(|e| e.expires <= now).cloned().collect();
            for entry in expired {
                draft.remove(&entry.row.key);
                if let Some(keys) = sources.get_mut(&entry.source) {
                    keys.retain(|k| *k != entry.row.key);
                    if keys.is_empty() {
                        sources.remove(&entry.source);
                    }
                }
            }
        });
    }

    /// How many watch.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.watchers.load(Ordering::Relaxed)
    }

    /// Whether anybody watches.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) > 0
    }

    /// The resource is no longer served: whoever watches it is done.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.moved.send_modify(|_| {});
    }

    /// Whether the resource is no longer served.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Looks again at the objects that the rows speak of: some may have come, gone, or changed their labels since. Costs a
    /// look-up for each row; call it now and then while somebody watches, readers look for themselves.
    pub fn look_around(&self) {
        let Some((of, live)) = &self.speaks_of else { return };
        let labels = |key: &Key| live.labels(*of, &key.namespace, &key.name);
        let snapshot = self.snapshot();
        let differs = |entry: &&Arc<Entry>| match (&entry.labels, labels(&entry.row.key)) {
            (Some(then), Some(now)) => !Arc::ptr_eq(then, &now) && *then != now,
            (None, None) => false,
            _ => true,
        };
        let changed: Vec<Key> = snapshot.rows.values().filter(differs).map(|e| e.row.key.clone()).collect();
        if changed.is_empty() {
            return;
        }
        self.change(UNIX_EPOCH, |draft, _| {
            for key in &changed {
                if let Some(entry) = draft.rows.get(key).cloned() {
                    draft.put(entry.row.clone(), &entry.source, entry.published, entry.expires, labels(key));
                }
            }
        });
    }

    /// Makes the next state, shows it, and tells whoever watches.
    fn change(&self, at: SystemTime, make: impl FnOnce(&mut Draft<'_>, &mut HashMap<Arc<str>, Vec<Key>>)) {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let Writers { sources, history, .. } = &mut *writers;
        let before = self.now.load_full();
        let watched = self.watchers.load(Ordering::Relaxed) > 0;
        let mut draft = Draft {
            rows: before.rows.clone(),
            history,
            watched,
            changes: Vec::new(),
            clock: micros(at),
            revision: before.revision,
        };
        make(&mut draft, sources);
        let Draft {
            rows, changes, revision, ..
        } = draft;
        self.now.store(Arc::new(Snapshot {
            rows,
            revision,
            changed: revision,
        }));
        if revision > before.revision {
            history.record(changes, before.revision, revision, watched);
            self.moved.send_replace(revision);
        }
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let now = self.snapshot();
        f.debug_struct("Table")
            .field("rows", &now.len())
            .field("revision", &now.revision)
            .field("shadow", &self.shadow())
            .finish_non_exhaustive()
    }
}

// === impl Watching ===

impl Watching {
    /// The table.
    #[must_use]
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// What has changed since `revision`; nothing if that is the table's, or is yet to come. Batches may begin with changes
    /// up to `revision`.
    ///
    /// # Errors
    /// [`TooOld`] if that is forgotten: list again.
    pub fn since(&self, revision: u64) -> Result<Vec<Arc<Batch>>, TooOld> {
        if self.table.now.load().revision <= revision {
            return Ok(Vec::new());
        }
        let writers = self.table.writers.lock().unwrap_or_else(PoisonError::into_inner);
        match &writers.ring {
            Some(ring) => ring.since(revision),
            None => writers.history.since(revision, &self.table.snapshot()),
        }
    }

    /// The first batch of them, or, if there is none, the revision up to which nothing has changed.
    ///
    /// # Errors
    /// [`TooOld`] if that is forgotten: list again.
    pub fn next(&self, revision: u64) -> Result<Next, TooOld> {
        let now = self.table.now.load().revision;
        if now <= revision {
            return Ok(Next::Nothing(revision));
        }
        let newest = self.table.newest.load();
        if let Some(newest) = &*newest
            && (newest.after()..newest.revision()).contains(&revision)
        {
            return Ok(Next::Changes(Arc::clone(newest)));
        }
        let writers = self.table.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = match &writers.ring {
            Some(ring) => ring.next(revision)?,
            None => {
                let batches = writers.history.since(revision, &self.table.snapshot())?;
                batches.into_iter().next()
            }
        };
        Ok(batch.map_or(Next::Nothing(now), Next::Changes))
    }

    /// Ends when the table has changed or was retired since this was called last, or since the watch began. Safe to drop.
    pub async fn changed(&mut self) {
        // The sender lives in the table, which we hold.
        let _ = self.moved.changed().await;
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.table.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Draft ===

impl Draft<'_> {
    fn put(&mut self, row: Row, source: &Arc<str>, at: SystemTime, expires: SystemTime, labels: Option<Arc<Labels>>) {
        let old = self.rows.get(&row.key).cloned();
        let mut entry = Entry {
            row,
            source: Arc::clone(source),
            published: at,
            expires,
            revision: 0,
            labels,
            appeared: 0,
            relabelled: 0,
            found: ArcSwapOption::empty(),
        };
        match &old {
            Some(old) if old.row == entry.row && old.labels == entry.labels => {
                entry.published = old.published;
                entry.revision = old.revision;
                entry.appeared = old.appeared;
                entry.relabelled = old.relabelled;
            }
            old => {
                let revision = self.step();
                let known = old.as_ref().filter(|o| o.is_shown());
                entry.revision = revision;
                entry.appeared = known.map_or(revision, |o| o.appeared);
                entry.relabelled = match old {
                    Some(old) if old.labels == entry.labels => old.relabelled,
                    _ => revision,
                };
            }
        }
        let entry = Arc::new(entry);
        self.rows.insert(entry.row.key.clone(), Arc::clone(&entry));
        if old.as_ref().is_none_or(|old| old.revision != entry.revision) {
            let revision = entry.revision;
            self.note(revision, old, Some(entry));
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(old) = self.rows.remove(key) {
            let revision = self.step();
            self.note(revision, Some(old), None);
        }
    }

    fn note(&mut self, revision: u64, old: Option<Arc<Entry>>, new: Option<Arc<Entry>>) {
        let shown = |entry: Option<Arc<Entry>>| entry.filter(|e| e.is_shown());
        let (before, after) = (shown(old), shown(new));
        if let (Some(last), None) = (&before, &after) {
            self.history.lost(revision, Arc::clone(last));
        }
        if self.watched && (before.is_some() || after.is_some()) {
            self.changes.push(Change {
                revision,
                before: before.map_or(Before::Absent, Before::Was),
                after,
            });
        }
    }

    fn step(&mut self) -> u64 {
        self.revision = self.clock.max(self.revision.saturating_add(1));
        self.revision
    }
}

/// Microseconds since 1970; 0 for anything before.
fn micros(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
