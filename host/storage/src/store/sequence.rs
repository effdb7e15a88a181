//! The order of things: what the local stores have in memory, and the one place where a write gets its revision.
//!
//! A [`Moment`] is all that is known at one revision: the objects of each resource, and every change that is still remembered, with the
//! value before it. Moments are persistent maps and are swapped whole, so a reader takes one pointer, never waits for a writer or a disk,
//! and sees one revision however long it reads.
//!
//! A write is made in two steps. A [`Draft`] takes writes one after the other on a copy that nobody sees, gives each its revision, and
//! forgets what is too old; whoever keeps the objects somewhere else does that now. Then [`Sequence::publish`] swaps the draft in and wakes
//! the watches. A draft that is dropped has never been.
//!
//! A watch has no queue: it is a position in the past. One that reads too slowly falls out of it and is told so.
//!
//! How old a change is says the wall clock, since the past outlives the process: a clock that is set forward forgets earlier, one that is
//! set back forgets later, and neither makes a gap.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use futures::stream;
use imbl::{OrdMap, Vector};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Changed, Changes, Expected, Keep, ObjectKey, Page, PageOf, Prefix, StoreError, Stored, Told, Write};

/// The largest value that the local stores take, in bytes. Requests are bounded long before; this keeps a mistake from becoming a file.
pub(super) const LARGEST: usize = 8 << 20;
/// The revision of a store in which nothing was ever written, as etcd's.
pub(super) const FIRST: u64 = 1;
/// The most changes that a watch tells at once.
const AT_ONCE: usize = 512;
/// How long a watch may be behind the store's revision, without a change of its own, before it is told of its progress.
const PROGRESS: Duration = Duration::from_secs(1);
/// What a remembered change counts beside its values, in bytes, about.
const CHANGE: usize = 256;
/// The most changes that a draft forgets only because of their age, beside two for each that it makes: no write pays for an hour of others.
const AGED: usize = 256;

/// The present and the past of one store, as readers see it.
#[derive(Debug)]
pub(super) struct Sequence {
    now: ArcSwap<Moment>,
    moved: watch::Sender<()>,
    closed: AtomicBool,
    keep: Keep,
}

/// All that is known at one revision.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    /// The store's revision.
    pub(super) revision: u64,
    /// The oldest revision that can be listed: changes up to and including it are forgotten.
    pub(super) oldest: u64,
    /// The revision at which the store was opened: no resource's own is less.
    floor: u64,
    resources: OrdMap<Prefix, Arc<Resource>>,
    /// Every remembered change, in order.
    past: Vector<Arc<Happened>>,
    /// What they count.
    bytes: usize,
}

/// One resource at one revision.
#[derive(Debug, Clone, Default)]
struct Resource {
    objects: OrdMap<ObjectKey, Stored>,
    /// Its remembered changes, in order.
    past: Vector<Arc<Happened>>,
    /// The revision of its last change.
    last: u64,
}

/// A change and when it was made.
#[derive(Debug)]
pub(super) struct Happened {
    /// The change.
    pub(super) changed: Changed,
    /// Milliseconds since 1970.
    pub(super) at: u64,
}

/// Writes that nobody sees yet.
#[derive(Debug)]
pub(super) struct Draft {
    moment: Moment,
    at: u64,
    /// What it changes, in order.
    pub(super) changes: Vec<Arc<Happened>>,
}

/// An open watch.
struct Position {
    sequence: Arc<Sequence>,
    moved: watch::Receiver<()>,
    of: Prefix,
    /// Told or passed over.
    after: u64,
    /// Told.
    told: u64,
    told_at: Instant,
    over: bool,
}

// === impl Sequence ===

impl Sequence {
    pub(super) fn new(moment: Moment, keep: Keep) -> Arc<Self> {
        Arc::new(Self {
            now: ArcSwap::from_pointee(moment),
            moved: watch::channel(()).0,
            closed: AtomicBool::new(false),
            keep,
        })
    }

    /// A copy to write on. Whoever makes drafts makes one at a time.
    pub(super) fn draft(&self) -> Draft {
        self.draft_at(now_ms())
    }

    fn draft_at(&self, at: u64) -> Draft {
        Draft {
            moment: Moment::clone(&self.now.load()),
            at,
            changes: Vec::new(),
        }
    }

    /// Swaps a draft in. Every read that begins afterwards sees it.
    pub(super) fn publish(&self, draft: Draft) {
        self.now.store(Arc::new(draft.moment));
        self.moved.send_replace(());
    }

    /// Forgets by age and size what this store keeps no longer.
    pub(super) fn trim(&self, draft: &mut Draft) {
        draft.trim(self.keep);
    }

    /// Ends all watches when they have told what there is. Reads go on.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.moved.send_replace(());
    }

    pub(super) fn now(&self) -> Arc<Moment> {
        self.now.load_full()
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<Stored> {
        let now = self.now.load();
        now.resources.get(key.prefix_str())?.objects.get(key).cloned()
    }

    pub(super) fn list(&self, of: &Prefix, page: &PageOf) -> Result<Page, StoreError> {
        self.now.load().list(of, page)
    }

    pub(super) fn revision(&self, of: &Prefix) -> u64 {
        let now = self.now.load();
        now.resources.get(of).map_or(now.floor, |of| of.last.max(now.floor))
    }

    pub(super) fn oldest(&self) -> u64 {
        self.now.load().oldest
    }

    pub(super) fn watch(self: &Arc<Self>, of: &Prefix, after: u64) -> Result<Changes, StoreError> {
        // Marked as seen before the moment is read: what is published in between wakes the watch once too often, never too seldom.
        let moved = self.moved.subscribe();
        let now = self.now.load();
        if after < now.oldest {
            return Err(StoreError::Compacted {
                asked: after,
                oldest: now.oldest,
            });
        }
        let position = Position {
            sequence: self.clone(),
            moved,
            of: of.clone(),
            after,
            told: after,
            // The first progress is told at once.
            told_at: Instant::now().checked_sub(PROGRESS).unwrap_or_else(Instant::now),
            over: false,
        };
        Ok(Box::pin(stream::unfold(position, Position::next)))
    }
}

// === impl Moment ===

impl Moment {
    /// Nothing was ever written.
    pub(super) fn empty() -> Self {
        Self {
            revision: FIRST,
            oldest: FIRST,
            floor: FIRST,
            resources: OrdMap::new(),
            past: Vector::new(),
            bytes: 0,
        }
    }

    /// What was kept elsewhere: objects in any order, changes in their order, one for each revision behind `oldest`.
    pub(super) fn load(revision: u64, oldest: u64, objects: Vec<Stored>, past: Vec<Happened>) -> Self {
        let mut moment = Self {
            revision,
            oldest,
            floor: revision,
            ..Self::empty()
        };
        for object in objects {
            let of = moment.resource(&object.key);
            of.last = of.last.max(object.revision);
            of.objects.insert(object.key.clone(), object);
        }
        for happened in past {
            moment.remember(Arc::new(happened));
        }
        moment
    }

    /// All objects, by their keys.
    #[cfg(test)]
    pub(super) fn objects(&self) -> impl Iterator<Item = &Stored> {
        self.resources.values().flat_map(|of| of.objects.values())
    }

    /// The resources that have objects, or had some since `oldest`: one that was emptied behind a moment is still listed at it.
    pub(super) fn prefixes(&self) -> Vec<Prefix> {
        let with = self
            .resources
            .iter()
            .filter(|(_, of)| !(of.objects.is_empty() && of.past.is_empty()));
        with.map(|(prefix, _)| prefix.clone()).collect()
    }

    fn list(&self, of: &Prefix, page: &PageOf) -> Result<Page, StoreError> {
        let at = page.at.unwrap_or(self.revision);
        if at > self.revision {
            return Err(StoreError::Future {
                asked: at,
                current: self.revision,
            });
        }
        if at < self.oldest {
            return Err(StoreError::Compacted {
                asked: at,
                oldest: self.oldest,
            });
        }
        let mut answer = Page {
            revision: at,
            ..Page::default()
        };
        let Some(of) = self.resources.get(of) else {
            return Ok(answer);
        };
        let objects = of.at(at);
        let from = page.behind.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let to = Bound::<&ObjectKey>::Unbounded;
        let mut rest = objects.range::<_, ObjectKey>((from, to)).map(|(_, object)| object);
        if page.limit == 0 {
            answer.items.extend(rest.cloned());
        } else {
            answer.items.extend(rest.by_ref().take(page.limit).cloned());
            answer.more = rest.next().is_some();
        }
        Ok(answer)
    }

    fn resource(&mut self, key: &ObjectKey) -> &mut Resource {
        let of = self.resources.entry(key.prefix()).or_default();
        Arc::make_mut(of)
    }

    fn remember(&mut self, happened: Arc<Happened>) {
        self.bytes += happened.bytes();
        self.past.push_back(happened.clone());
        let of = self.resource(&happened.changed.key);
        of.last = of.last.max(happened.changed.revision);
        of.past.push_back(happened);
    }

    /// Forgets the oldest change.
    fn forget(&mut self) {
        let Some(happened) = self.past.pop_front() else { return };
        self.bytes -= happened.bytes();
        self.oldest = happened.changed.revision;
        let of = self.resource(&happened.changed.key);
        of.past.pop_front();
    }
}

// === impl Resource ===

impl Resource {
    /// Its objects at a revision that is remembered: the present, with what came later taken back.
    fn at(&self, revision: u64) -> OrdMap<ObjectKey, Stored> {
        let mut objects = self.objects.clone();
        for happened in self.past.iter().rev() {
            let changed = &happened.changed;
            if changed.revision <= revision {
                break;
            }
            match &changed.before {
                Some(before) => objects.insert(changed.key.clone(), before.clone()),
                None => objects.remove(&changed.key),
            };
        }
        objects
    }

    /// Its changes behind a revision, so many at most.
    fn behind(&self, revision: u64) -> Vec<Changed> {
        if self.last <= revision {
            return Vec::new();
        }
        // Most watches are at the end: what they miss is found from there.
        let (mut low, mut high) = (0, self.past.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.past.get(middle) {
                Some(happened) if happened.changed.revision <= revision => low = middle + 1,
                _ => high = middle,
            }
        }
        let missed = self.past.iter().skip(low).take(AT_ONCE);
        missed.map(|happened| happened.changed.clone()).collect()
    }
}

// === impl Happened ===

impl Happened {
    fn bytes(&self) -> usize {
        let before = self.changed.before.as_ref().map_or(0, |before| before.value.len());
        CHANGE + self.changed.key.as_str().len() + before
    }
}

// === impl Draft ===

impl Draft {
    /// Takes one write, or says why not and is unchanged. What it answers is seen by nobody before it is published.
    pub(super) fn apply(&mut self, write: &Write) -> Result<u64, StoreError> {
        if let Some(value) = &write.value
            && value.len() > LARGEST
        {
            return Err(StoreError::TooLarge {
                size: value.len(),
                limit: LARGEST,
            });
        }
        let of = self.moment.resources.get(write.key.prefix_str());
        let current = of.and_then(|of| of.objects.get(&write.key));
        let as_expected = match write.expected {
            Expected::Absent => current.is_none(),
            Expected::At(revision) => current.is_some_and(|current| current.revision == revision),
        };
        if !as_expected {
            return Err(StoreError::Conflict {
                key: write.key.clone(),
                current: current.cloned(),
            });
        }
        if current.is_none() && write.value.is_none() {
            return Ok(self.moment.revision);
        }
        let revision = self.moment.revision + 1;
        // The key of an object that is there is used again: one allocation for all its versions.
        let key = current.map_or_else(|| write.key.clone(), |current| current.key.clone());
        let after = write.value.clone().map(|value| Stored {
            key: key.clone(),
            value,
            revision,
        });
        let of = self.moment.resource(&key);
        let before = match &after {
            Some(after) => of.objects.insert(key.clone(), after.clone()),
            None => of.objects.remove(&key),
        };
        self.moment.revision = revision;
        let happened = Arc::new(Happened {
            changed: Changed {
                revision,
                key,
                before,
                after,
            },
            at: self.at,
        });
        self.moment.remember(happened.clone());
        self.changes.push(happened);
        Ok(revision)
    }

    /// Forgets the past up to and including a revision.
    pub(super) fn compact(&mut self, revision: u64) -> Result<(), StoreError> {
        if revision > self.moment.revision {
            return Err(StoreError::Future {
                asked: revision,
                current: self.moment.revision,
            });
        }
        while self
            .moment
            .past
            .front()
            .is_some_and(|first| first.changed.revision <= revision)
        {
            self.moment.forget();
        }
        self.moment.oldest = self.moment.oldest.max(revision);
        Ok(())
    }

    fn trim(&mut self, keep: Keep) {
        let since = self
            .at
            .saturating_sub(u64::try_from(keep.time.as_millis()).unwrap_or(u64::MAX));
        let mut aged = AGED + 2 * self.changes.len();
        while let Some(first) = self.moment.past.front() {
            let too_many = self.moment.bytes > keep.bytes;
            if !too_many && (first.at >= since || aged == 0) {
                break;
            }
            aged = aged.saturating_sub(1);
            self.moment.forget();
        }
    }

    /// What it will be.
    pub(super) fn moment(&self) -> &Moment {
        &self.moment
    }
}

// === impl Position ===

impl Position {
    async fn next(mut self) -> Option<(Result<Told, StoreError>, Self)> {
        if self.over {
            return None;
        }
        loop {
            let closed = self.sequence.closed.load(Ordering::Acquire);
            self.moved.borrow_and_update();
            let now = self.sequence.now();
            if self.after < now.oldest {
                let error = StoreError::Compacted {
                    asked: self.after,
                    oldest: now.oldest,
                };
                self.over = true;
                return Some((Err(error), self));
            }
            let changes = now
                .resources
                .get(&self.of)
                .map(|of| of.behind(self.after))
                .unwrap_or_default();
            if let Some(last) = changes.last() {
                self.after = last.revision;
                self.told = last.revision;
                self.told_at = Instant::now();
                return Some((Ok(Told::Changes(changes)), self));
            }
            // Nothing of its own has happened: it has come to now without a word.
            self.after = self.after.max(now.revision);
            if self.told < now.revision && self.told_at.elapsed() >= PROGRESS {
                self.told = now.revision;
                self.told_at = Instant::now();
                return Some((Ok(Told::Progress(now.revision)), self));
            }
            if closed {
                return None;
            }
            let behind = self.told < now.revision;
            drop(now);
            let due = self.told_at + PROGRESS;
            tokio::select! {
                moved = self.moved.changed() => if moved.is_err() { return None },
                () = tokio::time::sleep_until(due), if behind => {}
            }
        }
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::parse(&format!("g/ships/n/{name}")).unwrap()
    }

    fn put(draft: &mut Draft, name: &str, expected: Expected, value: &str) -> u64 {
        let write = Write {
            key: key(name),
            expected,
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
        };
        draft.apply(&write).unwrap()
    }

    /// What is older than its time goes, a bounded number of changes with each write; what is too much goes at once.
    #[test]
    fn the_past_is_kept_for_a_time_and_a_size() {
        let keep = Keep {
            time: Duration::from_secs(10),
            bytes: 400_000,
        };
        let sequence = Sequence::new(Moment::empty(), keep);
        let mut draft = sequence.draft_at(1_000);
        let mut last = put(&mut draft, "a", Expected::Absent, "0");
        for _ in 0..600 {
            last = put(&mut draft, "a", Expected::At(last), "x");
        }
        draft.trim(keep);
        assert_eq!(draft.moment().oldest, FIRST, "young and small enough");
        sequence.publish(draft);

        let mut draft = sequence.draft_at(11_001);
        last = put(&mut draft, "a", Expected::At(last), "y");
        draft.trim(keep);
        assert_eq!(draft.moment().oldest, FIRST + 258, "256, and two for the one write");
        sequence.publish(draft);

        let mut draft = sequence.draft_at(11_002);
        last = put(&mut draft, "a", Expected::At(last), &"z".repeat(399_000));
        last = put(&mut draft, "a", Expected::At(last), "small");
        draft.trim(keep);
        let moment = draft.moment();
        assert!(moment.bytes <= 400_000, "{}", moment.bytes);
        assert_eq!(moment.revision, last);
        assert_eq!(moment.past.len() as u64, moment.revision - moment.oldest);
        assert_eq!(moment.past.iter().map(|h| h.bytes()).sum::<usize>(), moment.bytes);
    }

    /// A draft that is dropped has never been: neither its objects nor its revisions.
    #[test]
    fn a_dropped_draft_leaves_nothing() {
        let sequence = Sequence::new(Moment::empty(), Keep::default());
        let mut draft = sequence.draft();
        assert_eq!(put(&mut draft, "a", Expected::Absent, "1"), 2);
        drop(draft);
        assert_eq!(sequence.get(&key("a")), None);
        let mut draft = sequence.draft();
        assert_eq!(put(&mut draft, "a", Expected::Absent, "2"), 2);
        sequence.publish(draft);
        assert_eq!(sequence.get(&key("a")).map(|s| s.revision), Some(2));
    }
}
