//! What has changed since a revision: the memory of a table's watchers.
//!
//! Upstream keeps a ring of past events for each resource, and each event keeps an object alive. Here the table itself is
//! the memory: every entry knows the revision of its last change, so what has changed since revision R is what now has a
//! greater one, and only what is gone must be remembered apart. A watcher that comes late or reads slowly gets the newest
//! state of each row that has changed, never a backlog, and nothing is buffered for it.
//!
//! Beside that, while anybody watches, the last few publications are kept as they came ([`Batch`]): watchers that keep up
//! share them, and each is encoded once per representation for all of them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger_api::media::Media;
use outrigger_api::table::IncludeObject;
use tokio::sync::OnceCell;

use crate::{Entry, Snapshot};

/// One row that has changed.
#[derive(Debug, Clone)]
pub struct Change {
    /// The change's revision.
    pub revision: u64,
    /// What watchers knew of it.
    pub before: Before,
    /// What they know of it now; `None` if it is gone.
    pub after: Option<Arc<Entry>>,
}

/// What watchers knew of a row before a change.
#[derive(Debug, Clone)]
pub enum Before {
    /// Nothing.
    Absent,
    /// This entry, or one with the same labels.
    Was(Arc<Entry>),
    /// It was there, with labels that are forgotten; this is its last known state.
    Relabelled(Arc<Entry>),
}

/// Changes in the order of their revisions.
#[derive(Debug)]
pub struct Batch {
    changes: Vec<Change>,
    /// The table's revision before the first of them.
    after: u64,
    /// The table's revision with the last of them; changes that no watcher sees may have brought it further.
    revision: u64,
    made: Instant,
    encoded: Mutex<Vec<(Representation, Arc<Encoded>)>>,
    converted: Mutex<Vec<(Arc<str>, Converted)>>,
    /// Nobody waits for it any more but those who are late: what they need is made for them and not kept.
    is_past: AtomicBool,
}

/// The changes of a batch as another version says them, as soon as somebody has asked for them.
type Converted = Arc<OnceCell<Arc<[Change]>>>;

/// How a batch is written. Watchers with equal ones share the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Representation {
    /// Form and encoding.
    pub media: Media,
    /// What rows of a Table carry.
    pub include: IncludeObject,
    /// The API version that the objects name.
    pub version: Arc<str>,
}

/// A batch as events for a watcher that selects everything.
#[derive(Debug, Default)]
pub struct Encoded {
    /// All events, one behind the other.
    pub all: Bytes,
    /// Where the event of each change ends in `all`.
    pub ends: Vec<usize>,
}

/// The revision is older than what is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {revision} ({oldest})")]
pub struct TooOld {
    /// What was asked for.
    pub revision: u64,
    /// The oldest that can be asked for.
    pub oldest: u64,
}

/// What a table's writers keep for its watchers.
#[derive(Debug)]
pub(crate) struct History {
    /// Changes up to here are forgotten.
    floor: u64,
    gone: VecDeque<Gone>,
    recent: VecDeque<Arc<Batch>>,
}

/// A row that watchers no longer know of, in its last state.
#[derive(Debug)]
struct Gone {
    revision: u64,
    last: Arc<Entry>,
    when: Instant,
}

/// Batches kept for watchers that keep up: enough for one that is busy writing the one before.
pub(crate) const RECENT: usize = 64;
const RECENT_FOR: Duration = Duration::from_secs(10);
/// How much of what is gone is remembered. Who asks from before lists again.
const GONE: usize = 1_000;
const GONE_FOR: Duration = Duration::from_secs(300);

// === impl Before ===

impl Before {
    /// What watchers knew at `revision` of what is now `entry`.
    fn of(entry: &Arc<Entry>, revision: u64) -> Self {
        if entry.appeared > revision {
            Self::Absent
        } else if entry.relabelled > revision {
            Self::Relabelled(Arc::clone(entry))
        } else {
            Self::Was(Arc::clone(entry))
        }
    }
}

// === impl Batch ===

impl Batch {
    pub(crate) fn new(changes: Vec<Change>, after: u64, revision: u64) -> Self {
        Self {
            changes,
            after,
            revision,
            made: Instant::now(),
            encoded: Mutex::default(),
            converted: Mutex::default(),
            is_past: AtomicBool::new(false),
        }
    }

    /// Forgets what was made for watchers that keep up, and keeps nothing of the kind any more.
    pub(crate) fn pass(&self) {
        if self.is_past.swap(true, Ordering::AcqRel) {
            return;
        }
        *self.encoded.lock().unwrap_or_else(PoisonError::into_inner) = Vec::new();
        *self.converted.lock().unwrap_or_else(PoisonError::into_inner) = Vec::new();
    }

    /// The table's revision before the first of them.
    pub(crate) fn after(&self) -> u64 {
        self.after
    }

    /// The changes with their objects in another version: made by the first watcher that asks, who passes how, and shared with the others,
    /// who wait for it. If it fails the next one tries.
    ///
    /// # Errors
    /// Those of `convert`.
    pub async fn converted<E, F>(&self, version: &Arc<str>, convert: impl FnOnce() -> F) -> Result<Arc<[Change]>, E>
    where
        F: Future<Output = Result<Vec<Change>, E>>,
    {
        if self.is_past.load(Ordering::Acquire) {
            return Ok(convert().await?.into());
        }
        let cell = {
            let mut known = self.converted.lock().unwrap_or_else(PoisonError::into_inner);
            match known.iter().find(|(v, _)| v == version) {
                Some((_, cell)) => Arc::clone(cell),
                None => {
                    let cell = Converted::default();
                    known.push((Arc::clone(version), Arc::clone(&cell)));
                    cell
                }
            }
        };
        let changes = cell.get_or_try_init(|| async { Ok(convert().await?.into()) });
        Ok(Arc::clone(changes.await?))
    }

    /// The changes.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// When it was made.
    pub(crate) fn made(&self) -> Instant {
        self.made
    }

    /// The table's revision with these changes: who has read them has seen everything up to here.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The events of all changes, encoded when the first watcher asks and shared with the others. Watchers that ask at the
    /// same moment wait for each other; encoding a batch takes less than a millisecond.
    pub fn encoded(&self, how: &Representation, encode: impl FnOnce(&[Change]) -> Encoded) -> Arc<Encoded> {
        if self.is_past.load(Ordering::Acquire) {
            return Arc::new(encode(&self.changes));
        }
        let mut known = self.encoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, encoded)) = known.iter().find(|(k, _)| k == how) {
            return Arc::clone(encoded);
        }
        let encoded = Arc::new(encode(&self.changes));
        known.push((how.clone(), Arc::clone(&encoded)));
        encoded
    }
}

// === impl History ===

impl History {
    /// Nothing has changed since `floor`, and nothing is known from before.
    pub(crate) fn new(floor: u64) -> Self {
        Self {
            floor,
            gone: VecDeque::new(),
            recent: VecDeque::new(),
        }
    }

    /// Remembers a row that watchers no longer know of.
    pub(crate) fn lost(&mut self, revision: u64, last: Arc<Entry>) {
        self.gone.push_back(Gone {
            revision,
            last,
            when: Instant::now(),
        });
    }

    /// Takes in a publication's changes; `after` is the revision before them, `revision` the one with them. Without watchers
    /// nobody will ask for them as they came.
    pub(crate) fn record(&mut self, changes: Vec<Change>, after: u64, revision: u64, watched: bool) {
        if watched {
            self.recent.push_back(Arc::new(Batch::new(changes, after, revision)));
        } else {
            self.recent.clear();
        }
        while self.recent.len() > RECENT || self.recent.front().is_some_and(|b| b.made.elapsed() > RECENT_FOR) {
            self.recent.pop_front();
        }
        while self.gone.len() > GONE || self.gone.front().is_some_and(|g| g.when.elapsed() > GONE_FOR) {
            if let Some(forgotten) = self.gone.pop_front() {
                self.floor = forgotten.revision;
            }
        }
    }

    /// What has changed in `now` since `revision`. Batches may begin with changes up to `revision`, which the watcher has
    /// seen.
    pub(crate) fn since(&self, revision: u64, now: &Snapshot) -> Result<Vec<Arc<Batch>>, TooOld> {
        if revision >= now.revision {
            return Ok(Vec::new());
        }
        if revision < self.floor {
            return Err(TooOld {
                revision,
                oldest: self.floor,
            });
        }
        if self.recent.front().is_some_and(|first| first.after <= revision) {
            let unseen = self.recent.iter().filter(|b| b.revision() > revision);
            return Ok(unseen.cloned().collect());
        }
        Ok(vec![Arc::new(self.gathered(revision, now))])
    }

    /// The changes since a revision, from the rows themselves.
    fn gathered(&self, revision: u64, now: &Snapshot) -> Batch {
        let changed = now.rows.values().filter(|e| e.revision > revision && e.is_shown());
        let changed = changed.map(|entry| Change {
            revision: entry.revision,
            before: Before::of(entry, revision),
            after: Some(Arc::clone(entry)),
        });
        // What came and went in between was never seen.
        let gone = self
            .gone
            .iter()
            .filter(|g| g.revision > revision && g.last.appeared <= revision);
        let gone = gone.map(|g| Change {
            revision: g.revision,
            before: Before::of(&g.last, revision),
            after: None,
        });
        let mut changes: Vec<Change> = changed.chain(gone).collect();
        changes.sort_unstable_by_key(|c| c.revision);
        Batch::new(changes, revision, now.revision)
    }
}
