//! Rows: how objects and their past stand in the database, and what must be true of them.
//!
//! Three tables. `objects` has each object's frame under its key. `history` has one row for each revision that is remembered, without a
//! gap: what was there before. `store` has one row, the [`Mark`]: revision, oldest, and the sum over all objects. One transaction changes
//! all three.
//!
//! What is read is checked row by row, and then as a whole: the sum, the gapless past, and that each object is what its past says.

use std::collections::HashMap;
use std::path::Path;

use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};

use super::super::frame::{self, Mark, Past};
use super::super::sequence::{Draft, Happened, Moment};
use super::super::{Changed, ObjectKey, StoreError, Stored};
use super::disk::Disk;
use super::disk_error;

/// The database.
#[derive(Debug)]
pub(super) struct Rows {
    db: Database,
    mark: Mark,
}

const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
const HISTORY: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("history");
const STORE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("store");
/// The one row of [`STORE`].
const MARK: &str = "mark";
/// What the database may keep of the file, in bytes. Nobody reads it after the start; this is for the branches that writes go through.
const CACHE: usize = 4 << 20;
/// A file smaller than this is not worth being made smaller.
const SMALL: u64 = 4 << 20;

// === impl Rows ===

impl Rows {
    /// Makes the tables in an empty file, with objects of elsewhere.
    pub(super) fn create(disk: Disk, revision: u64, objects: &[Stored]) -> Result<(), redb::Error> {
        let db = Database::builder().set_cache_size(CACHE).create_with_backend(disk)?;
        let mut mark = Mark {
            revision,
            oldest: revision,
            objects: 0,
            sum: 0,
        };
        let write = db.begin_write()?;
        {
            let mut table = write.open_table(OBJECTS)?;
            for object in objects {
                let (row, hash) = frame::object(object);
                if table.insert(object.key.as_str(), &*row)?.is_none() {
                    mark.objects += 1;
                    mark.sum = mark.sum.wrapping_add(hash);
                }
            }
        }
        write.open_table(HISTORY)?;
        write.open_table(STORE)?.insert(MARK, &*frame::mark(&mark))?;
        write.commit()?;
        Ok(())
    }

    /// Opens the database, with every page checked, and reads all of it.
    pub(super) fn open(disk: Disk, path: &Path) -> Result<(Self, Moment), StoreError> {
        let rows = Self::reopen(disk, path)?;
        let moment = rows.load().map_err(|why| match why {
            Unreadable::Is(why) => damaged(path, why),
            Unreadable::Database(error) => failed(path, error),
        })?;
        Ok((rows, moment))
    }

    /// Opens the database, with every page checked, and reads its mark.
    pub(super) fn reopen(disk: Disk, path: &Path) -> Result<Self, StoreError> {
        let opened = Database::builder()
            .set_cache_size(CACHE)
            .set_check_integrity_on_open(true)
            .create_with_backend(disk);
        let db = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: path.to_owned() },
            error => failed(path, error.into()),
        })?;
        let mark = read_mark(&db).map_err(|why| match why {
            Unreadable::Is(why) => damaged(path, why),
            Unreadable::Database(error) => failed(path, error),
        })?;
        Ok(Self { db, mark })
    }

    /// What the file says of itself.
    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    /// Writes a draft and what it has forgotten, and waits for the disk.
    pub(super) fn commit(&self, before: &Mark, draft: &Draft) -> Result<Mark, redb::Error> {
        let moment = draft.moment();
        let mut mark = Mark {
            revision: moment.revision,
            oldest: moment.oldest,
            ..*before
        };
        let write = self.db.begin_write()?;
        {
            let mut objects = write.open_table(OBJECTS)?;
            let mut history = write.open_table(HISTORY)?;
            for happened in &draft.changes {
                let changed = &happened.changed;
                if let Some(before) = &changed.before {
                    mark.sum = mark.sum.wrapping_sub(frame::object_hash(before));
                    mark.objects = mark.objects.wrapping_sub(1);
                }
                match &changed.after {
                    Some(after) => {
                        let (row, hash) = frame::object(after);
                        objects.insert(changed.key.as_str(), &*row)?;
                        mark.sum = mark.sum.wrapping_add(hash);
                        mark.objects = mark.objects.wrapping_add(1);
                    }
                    None => {
                        objects.remove(changed.key.as_str())?;
                    }
                }
                if changed.revision > mark.oldest {
                    history.insert(changed.revision, &*frame::past(&Past::of(happened)))?;
                }
            }
            if mark.oldest > before.oldest {
                history.retain_in(..=mark.oldest, |_, _| false)?;
            }
        }
        write.open_table(STORE)?.insert(MARK, &*frame::mark(&mark))?;
        write.commit()?;
        Ok(mark)
    }

    /// Makes the file smaller if more than half of it is free. What updates free is used again by later ones, so a file is as large as
    /// its largest time; this gives back what a large time has left. If it fails, the file is as good as before.
    pub(super) fn compact_if_worth(&mut self, disk: &Disk) {
        use redb::StorageBackend as _;
        let used = self.db.begin_write().ok().and_then(|write| used(&write));
        let (Some(used), Ok(length)) = (used, disk.len()) else {
            return;
        };
        if length >= SMALL && used < length / 2 {
            match self.db.compact() {
                Ok(_) => tracing::info!(before = length, after = disk.len().ok(), "the store's file was made smaller"),
                Err(error) => tracing::warn!(%error, "the store's file could not be made smaller"),
            }
        }
    }

    /// Everything, checked.
    fn load(&self) -> Result<Moment, Unreadable> {
        let mark = self.mark;
        let read = self.db.begin_read()?;
        let (mut objects, mut sum) = (Vec::new(), 0_u128);
        for row in read.open_table(OBJECTS)?.iter()? {
            let (key, row) = row?;
            let (object, hash) = frame::read_object(key.value(), row.value())?;
            if object.revision > mark.revision {
                return Err("an object is newer than the store".into());
            }
            sum = sum.wrapping_add(hash);
            objects.push(object);
        }
        if (objects.len() as u64, sum) != (mark.objects, mark.sum) {
            return Err(format!("its {} objects are not the {} that were written", objects.len(), mark.objects).into());
        }
        if mark.oldest > mark.revision {
            return Err("its past is longer than its time".into());
        }
        let mut past = Vec::new();
        let mut next = mark.oldest;
        for row in read.open_table(HISTORY)?.iter()? {
            let (revision, row) = row?;
            next += 1;
            if revision.value() != next {
                return Err(format!("the change of revision {next} is missing").into());
            }
            past.push(frame::read_past(next, row.value())?);
        }
        if next != mark.revision {
            return Err(format!("the changes behind revision {next} are missing").into());
        }
        let past = chain(&objects, past, mark.oldest)?;
        Ok(Moment::load(mark.revision, mark.oldest, objects, past))
    }
}

/// Gives each change of the past what was there after it, from the present backwards; checks that each object is what its past says.
fn chain(objects: &[Stored], past: Vec<Past>, oldest: u64) -> Result<Vec<Happened>, Unreadable> {
    let mut states: HashMap<ObjectKey, Option<Stored>> = HashMap::with_capacity(past.len().min(objects.len()));
    for object in objects.iter().filter(|object| object.revision > oldest) {
        let at = usize::try_from(object.revision - oldest - 1).unwrap_or(usize::MAX);
        if past.get(at).is_none_or(|change| change.key != object.key) {
            return Err(format!("{} has no change of its revision {}", object.key, object.revision).into());
        }
        states.insert(object.key.clone(), Some(object.clone()));
    }
    let mut all = Vec::with_capacity(past.len());
    for change in past.into_iter().rev() {
        let state = states.entry(change.key.clone()).or_default();
        let after = std::mem::replace(state, change.before.clone());
        let follows = after.as_ref().is_none_or(|after| after.revision == change.revision)
            && change.before.as_ref().is_none_or(|before| before.revision < change.revision)
            && (after.is_some() || change.before.is_some());
        if !follows {
            return Err(format!("{} is not what its past says at revision {}", change.key, change.revision).into());
        }
        all.push(Happened {
            changed: Changed {
                revision: change.revision,
                key: change.key,
                before: change.before,
                after,
            },
            at: change.at,
        });
    }
    // What was there before all that is remembered is there still, if nothing was said of it.
    all.reverse();
    Ok(all)
}

fn read_mark(db: &Database) -> Result<Mark, Unreadable> {
    let read = db.begin_read()?;
    let row = read.open_table(STORE)?.get(MARK)?.ok_or("it says nothing of itself")?;
    Ok(frame::read_mark(row.value())?)
}

/// Bytes in use.
fn used(write: &WriteTransaction) -> Option<u64> {
    let stats = write.stats().ok()?;
    Some(stats.allocated_pages() * stats.page_size() as u64)
}

impl Past {
    fn of(happened: &Happened) -> Self {
        let changed = &happened.changed;
        Self {
            revision: changed.revision,
            at: happened.at,
            key: changed.key.clone(),
            before: changed.before.clone(),
        }
    }
}

/// Why rows cannot be read.
enum Unreadable {
    Is(String),
    Database(redb::Error),
}

impl From<&str> for Unreadable {
    fn from(why: &str) -> Self {
        Self::Is(why.to_owned())
    }
}

impl From<String> for Unreadable {
    fn from(why: String) -> Self {
        Self::Is(why)
    }
}

impl From<frame::FrameError> for Unreadable {
    fn from(why: frame::FrameError) -> Self {
        Self::Is(why.to_string())
    }
}

impl From<redb::TransactionError> for Unreadable {
    fn from(error: redb::TransactionError) -> Self {
        Self::Database(error.into())
    }
}

impl From<redb::TableError> for Unreadable {
    fn from(error: redb::TableError) -> Self {
        Self::Database(error.into())
    }
}

impl From<redb::StorageError> for Unreadable {
    fn from(error: redb::StorageError) -> Self {
        Self::Database(error.into())
    }
}

fn damaged(path: &Path, why: String) -> StoreError {
    StoreError::Damaged {
        path: path.to_owned(),
        why,
    }
}

/// What the database says when a file is opened: what it cannot read is damaged, but for the disk's own words.
fn failed(path: &Path, error: redb::Error) -> StoreError {
    match error {
        redb::Error::Io(e) if !matches!(e.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof) => {
            disk_error(path, &e)
        }
        error => damaged(path, error.to_string()),
    }
}
