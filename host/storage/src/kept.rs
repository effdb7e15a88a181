//! One resource's objects in a store, and their image in memory: the watch cache.
//!
//! The image is a [`Table`] whose rows are the objects, as they stand in the store, sharing its bytes. [`Kept::follow`] lists the store once
//! and then follows it; every change is applied in its order, so readers see states that there have been and no others. Reads are answered
//! from the image: one that must see everything acknowledged before it ([`Kept::fresh`]) first learns how far the store is and
//! waits until the image is as far. A local store knows that without asking anybody; etcd is asked, as upstream's consistent reads
//! from cache ask it (KEP-2340).
//!
//! When following breaks off it is taken up where it ended; when the store has forgotten that place, everything is listed again and
//! watchers are told what is different.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use outrigger_api::kept::write;
use outrigger_api::object::Object;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::interned::Interned;
use crate::store::{Changed, Expected, Keep, PageOf, Prefix, Store, StoreError, Stored, Told, Write};
use crate::{Entry, Key, NotYet, Row, Snapshot, Table};

/// One resource's objects.
pub struct Kept {
    store: Arc<dyn Store>,
    prefix: Prefix,
    table: Arc<Table>,
    filled: watch::Sender<bool>,
    /// Why following does not go on just now, for people.
    trouble: Mutex<Option<String>>,
    /// Objects that are no objects.
    unreadable: Mutex<BTreeMap<Key, String>>,
    /// Whether there are none of them.
    is_whole: AtomicBool,
    interned: Interned,
}

/// Why objects cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// The first list is not there yet.
    #[error("storage is (re)initializing{}", .0.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    Starting(Option<String>),
    /// What is stored under a key is no object.
    #[error("unable to read what is stored as {key}: {why}")]
    Unreadable {
        /// Its key.
        key: Key,
        /// What is wrong with it.
        why: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The image is not as far as the store, or as far as was asked for.
    #[error(transparent)]
    Late(#[from] NotYet),
}

/// All that a store holds of a resource at one moment.
#[derive(Default)]
struct All {
    rows: Vec<(u64, Row)>,
    /// What is no object, and why.
    unreadable: BTreeMap<Key, String>,
    revision: u64,
}

/// How following goes on.
struct Course {
    /// With a list of everything.
    lists: bool,
    /// Until the image has come to this revision nobody reads it.
    from: u64,
}

/// Objects listed at once.
const PAGE: usize = 500;
/// Between two looks for what is too old.
const TRIM_EVERY: Duration = Duration::from_secs(30);
/// Between two attempts to follow a store that cannot be reached; it grows up to the second.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

// === impl Kept ===

impl Kept {
    /// The objects of a resource. Nothing is known of them before [`Kept::follow`] runs.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, prefix: Prefix, keep: Keep) -> Self {
        Self {
            store,
            prefix,
            table: Arc::new(Table::kept(keep)),
            filled: watch::Sender::new(false),
            trouble: Mutex::default(),
            unreadable: Mutex::default(),
            is_whole: AtomicBool::new(true),
            interned: Interned::default(),
        }
    }

    /// The image.
    #[must_use]
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Which resource it is.
    #[must_use]
    pub fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// Where they are kept.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Whether lists and watches can be answered.
    ///
    /// # Errors
    /// [`Why::Starting`], or [`Why::Unreadable`] of the first object that is none: a list without it would be a lie.
    pub fn check(&self) -> Result<(), Why> {
        self.check_filled()?;
        if self.is_whole.load(Ordering::Acquire) {
            return Ok(());
        }
        let unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        match unreadable.first_key_value() {
            Some((key, why)) => Err(Why::Unreadable {
                key: key.clone(),
                why: why.clone(),
            }),
            None => Ok(()),
        }
    }

    fn check_filled(&self) -> Result<(), Why> {
        if *self.filled.borrow() {
            return Ok(());
        }
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        Err(Why::Starting(trouble.clone()))
    }

    /// Ends when the first list is there, and what has happened since the moment that it shows.
    pub async fn filled(&self) {
        // The sender lives in self.
        let _ = self.filled.subscribe().wait_for(|filled| *filled).await;
    }

    /// The image, as soon as it holds everything that was acknowledged before this call.
    ///
    /// # Errors
    /// [`Why`]; [`Why::Late`] after `patience`.
    pub async fn fresh(&self, patience: Duration) -> Result<Arc<Snapshot>, Why> {
        self.check()?;
        let revision = self.store.revision(&self.prefix).await?;
        Ok(self.table.reached(revision, patience).await?)
    }

    /// One object as it is now: from the image of a local store, else from the store itself.
    ///
    /// # Errors
    /// [`Why`].
    pub async fn get(&self, key: &Key, patience: Duration) -> Result<Option<Arc<Entry>>, Why> {
        if !self.store.is_local() {
            let stored = self.store.get(&self.prefix.object(key)).await?;
            return stored.map(|stored| self.entry(key, &stored)).transpose();
        }
        self.check_filled()?;
        let revision = self.store.revision(&self.prefix).await?;
        self.get_since(key, revision, patience).await
    }

    /// One object as it was at this revision or later; at 0 whatever is at hand.
    ///
    /// # Errors
    /// [`Why`]; [`Why::Late`] after `patience`.
    pub async fn get_since(&self, key: &Key, revision: u64, patience: Duration) -> Result<Option<Arc<Entry>>, Why> {
        self.check_filled()?;
        let snapshot = self.table.reached(revision, patience).await?;
        if let Some(entry) = snapshot.rows.get(key) {
            return Ok(Some(Arc::clone(entry)));
        }
        if self.is_whole.load(Ordering::Acquire) {
            return Ok(None);
        }
        let unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        match unreadable.get(key) {
            Some(why) => Err(Why::Unreadable {
                key: key.clone(),
                why: why.clone(),
            }),
            None => Ok(None),
        }
    }

    /// Keeps an object, and returns it as it is kept. Reads that begin afterwards see it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if what is there is not what was expected, and whatever else keeps the store from it.
    pub async fn put(&self, key: &Key, expected: Expected, object: &Object) -> Result<Arc<Entry>, Why> {
        // Without the room that it was written in.
        let value = Bytes::from(write(object).into_boxed_slice());
        let of = self.prefix.object(key);
        let revision = self
            .store
            .write(Write {
                key: of.clone(),
                expected,
                value: Some(value.clone()),
            })
            .await?;
        self.entry(
            key,
            &Stored {
                key: of,
                value,
                revision,
            },
        )
    }

    /// Removes an object; returns the revision at which it went.
    ///
    /// # Errors
    /// As [`Kept::put`].
    pub async fn remove(&self, key: &Key, expected: u64) -> Result<u64, Why> {
        let key = self.prefix.object(key);
        let write = Write {
            key,
            expected: Expected::At(expected),
            value: None,
        };
        Ok(self.store.write(write).await?)
    }

    /// What a store's value is as an entry.
    ///
    /// # Errors
    /// [`Why::Unreadable`].
    pub fn entry(&self, key: &Key, stored: &Stored) -> Result<Arc<Entry>, Why> {
        match Row::of(key.clone(), &stored.value, &self.interned) {
            Ok(row) => Ok(Arc::new(Entry::kept(row, stored.revision))),
            Err(why) => Err(Why::Unreadable {
                key: key.clone(),
                why: why.to_string(),
            }),
        }
    }

    /// Follows the store until it is closed or `stop` is called. One task does this as long as the objects are served.
    pub async fn follow(&self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep_up() => {}
        }
    }

    async fn keep_up(&self) {
        let mut pause = BACK_OFF.0;
        let mut course = Course { lists: true, from: 0 };
        loop {
            let before = self.table.snapshot().revision();
            let error = match self.run(&mut course).await {
                Ok(()) | Err(StoreError::Closed) => return,
                Err(error) => error,
            };
            if self.table.snapshot().revision() > before {
                pause = BACK_OFF.0;
            }
            if matches!(error, StoreError::Compacted { .. }) {
                tracing::info!("{}: {error}; listing again", self.prefix.as_str());
                // Meanwhile readers have the image as it is; who must see more waits for it.
                if !std::mem::replace(&mut course.lists, true) {
                    continue;
                }
            } else {
                tracing::warn!("{}: {error}; trying again", self.prefix.as_str());
            }
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACK_OFF.1);
        }
    }

    /// Lists if need be, then follows until it breaks off.
    async fn run(&self, course: &mut Course) -> Result<(), StoreError> {
        if course.lists {
            course.from = self.fill().await?;
            course.lists = false;
        }
        self.begin(course.from);
        let mut changes = self.store.watch(&self.prefix, self.table.snapshot().revision()).await?;
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut trims = tokio::time::interval(TRIM_EVERY);
        loop {
            let told = tokio::select! {
                told = changes.next() => told,
                _ = trims.tick() => {
                    self.table.trim();
                    continue;
                }
            };
            match told.transpose()? {
                Some(Told::Changes(changes)) => self.apply(&changes),
                Some(Told::Progress(revision)) => self.table.progress(revision),
                None => return Ok(()),
            }
            self.begin(course.from);
        }
    }

    /// Readers may come as soon as the image is as far as the store was when it was listed.
    fn begin(&self, from: u64) {
        if !*self.filled.borrow() && self.table.snapshot().revision() >= from {
            self.filled.send_replace(true);
        }
    }

    /// Lists the store; returns the revision at which readers may come.
    async fn fill(&self) -> Result<u64, StoreError> {
        let first = self.table.snapshot().revision() == 0;
        let All {
            rows,
            unreadable,
            revision,
        } = match self.store.oldest().filter(|_| first) {
            // With the past that the store still has, watchers of before a restart go on.
            Some(oldest) => match self.list(Some(oldest)).await {
                Err(StoreError::Compacted { .. } | StoreError::Future { .. }) => self.list(None).await?,
                listed => listed?,
            },
            None => self.list(None).await?,
        };
        // Only a store that says what is its oldest is asked: it is a local one, and its own changes bring the image there.
        let from = match self.store.oldest() {
            Some(_) => self.store.revision(&self.prefix).await?,
            None => revision,
        };
        // At no moment is one of them missing and not complained of.
        self.unreadable(|all| all.extend(unreadable.clone()));
        self.table.refill(rows, revision);
        self.unreadable(|all| *all = unreadable);
        Ok(from)
    }

    /// All objects; each page is read before the next is asked for, so that other tasks have their turn in between.
    async fn list(&self, at: Option<u64>) -> Result<All, StoreError> {
        let mut all = All::default();
        let mut of = PageOf {
            limit: PAGE,
            at,
            behind: None,
        };
        loop {
            let page = self.store.list(&self.prefix, &of).await?;
            for stored in &page.items {
                match self.read(stored) {
                    Some((_, Ok(row))) => all.rows.push((stored.revision, row)),
                    Some((key, Err(why))) => drop(all.unreadable.insert(key, why)),
                    None => {}
                }
            }
            // All pages are of the moment of the first.
            of.at = Some(page.revision);
            of.behind = page.items.last().map(|stored| stored.key.clone());
            if !page.more {
                all.revision = page.revision;
                return Ok(all);
            }
            tokio::task::yield_now().await;
        }
    }

    fn apply(&self, changes: &[Changed]) {
        let Some(last) = changes.last() else { return };
        // Read before the table is locked.
        let rows: Vec<(u64, Key, Option<Row>)> = changes
            .iter()
            .filter_map(|change| {
                let key = self.prefix.key(&change.key)?;
                let row = match &change.after {
                    None => {
                        self.unreadable(|all| drop(all.remove(&key)));
                        None
                    }
                    // What cannot be read is not there for readers, and is complained of.
                    Some(stored) => self.readable(stored),
                };
                Some((change.revision, key, row))
            })
            .collect();
        self.table.apply(rows, last.revision);
    }

    fn readable(&self, stored: &Stored) -> Option<Row> {
        match self.read(stored)? {
            (key, Ok(row)) => {
                self.unreadable(|all| drop(all.remove(&key)));
                Some(row)
            }
            (key, Err(why)) => {
                self.unreadable(|all| drop(all.insert(key, why)));
                None
            }
        }
    }

    /// A value as a row, or why it is none; nothing if it is of no object of this resource.
    fn read(&self, stored: &Stored) -> Option<(Key, Result<Row, String>)> {
        let key = self.prefix.key(&stored.key)?;
        let row = Row::of(key.clone(), &stored.value, &self.interned);
        let row = row.map_err(|why| {
            tracing::error!("what is stored as {} is no object: {why}", stored.key);
            why.to_string()
        });
        Some((key, row))
    }

    /// Changes what is known of objects that are none; there are hardly ever any.
    fn unreadable(&self, change: impl FnOnce(&mut BTreeMap<Key, String>)) {
        let mut unreadable = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut unreadable);
        self.is_whole.store(unreadable.is_empty(), Ordering::Release);
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept")
            .field("of", &self.prefix.as_str())
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
