//! The default store: one file on one machine, with nothing beside it to run.
//!
//! Promised: what is acknowledged is on the disk, and is there after any crash; a file that cannot be trusted is refused with a sentence and
//! is not touched; two processes never have it at once; reads never wait for the disk; a disk that is full ends writing, not reading, and
//! writing goes on when there is room.
//!
//! What readers see is in memory ([`super::sequence`]). One thread owns the file. It takes all writes that are waiting, gives them their
//! revisions on a draft, puts them into one transaction, waits for the disk once, and then publishes the draft and answers: so many
//! writers share one wait, and nobody sees what might still be lost.
//!
//! The remembered past is in the file as well, so that watches resume after a restart where they were.

mod disk;
mod rows;
mod writer;

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use redb::StorageBackend;
use tokio::sync::{mpsc, oneshot};

use self::disk::{Disk, PlainFile};
use self::rows::Rows;
use self::writer::{Job, Writer};
use super::sequence::{Moment, Sequence};
use super::{Changes, Keep, ObjectKey, Page, PageOf, Prefix, Store, StoreError, Stored, Write};

/// Objects in one file.
#[derive(Debug)]
pub struct Embedded {
    sequence: Arc<Sequence>,
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The file in its folder: a page of our own, and behind it a redb database.
pub const FILE: &str = "objects.redb";
/// Where it is made, until it is whole.
const NEW: &str = "objects.redb.new";
/// Who has this one locked has the folder.
const LOCK: &str = "objects.lock";
/// The most writes that wait; who comes then waits to wait.
const WAITING: usize = 1024;

// === impl Embedded ===

impl Embedded {
    /// Opens the store in a folder. Folder and store are made if there are none, and are their owner's alone. Reads the whole file, and
    /// blocks meanwhile.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Damaged`], [`StoreError::Newer`], and [`StoreError::Unavailable`] or [`StoreError::Full`] if
    /// the disk refuses.
    pub fn open(folder: &Path, keep: Keep) -> Result<Self, StoreError> {
        let lock = lock(folder)?;
        let path = folder.join(FILE);
        if !path.try_exists().map_err(|e| disk_error(&path, &e))? {
            create(folder, Moment::empty().revision, &[])?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| disk_error(&path, &e))?;
        Self::over(Arc::new(PlainFile::new(file)), path, keep, Some(lock))
    }

    /// Makes a store of objects of another one, in a folder that has none, and blocks meanwhile. The objects keep their revisions; the store
    /// goes on at `revision`, with no past: whoever watched the other one lists again.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if there is a store already, [`StoreError::Future`] if an object is newer than `revision`, and what the
    /// disk says.
    pub fn restore(folder: &Path, revision: u64, objects: &[Stored]) -> Result<(), StoreError> {
        let _lock = lock(folder)?;
        let path = folder.join(FILE);
        if path.try_exists().map_err(|e| disk_error(&path, &e))? {
            return Err(StoreError::InUse { path });
        }
        if let Some(newer) = objects.iter().find(|object| object.revision > revision) {
            return Err(StoreError::Future {
                asked: newer.revision,
                current: revision,
            });
        }
        create(folder, revision, objects)
    }

    /// Opens a store on anything that can be read and written at an offset.
    fn over(medium: Arc<dyn StorageBackend>, path: PathBuf, keep: Keep, lock: Option<File>) -> Result<Self, StoreError> {
        let (opened, opening) = std::sync::mpsc::channel();
        let (send, queue) = mpsc::channel(WAITING);
        let at = path.clone();
        // The thread that will write opens as well: whatever a damaged file does to it stays there.
        let thread = std::thread::Builder::new()
            .name("objects".to_owned())
            .spawn(move || {
                let _lock = lock;
                let disk = Disk::new(medium);
                match open_rows(&disk, &at) {
                    Ok((mut rows, moment)) => {
                        let sequence = Sequence::new(moment, keep);
                        let mark = rows.mark();
                        rows.compact_if_worth(&disk);
                        if opened.send(Ok(sequence.clone())).is_ok() {
                            Writer::new(sequence, rows, mark, disk, at).run(queue);
                        }
                    }
                    Err(error) => {
                        let _ = opened.send(Err(error));
                    }
                }
            })
            .map_err(|e| StoreError::Unavailable(format!("no thread for it: {e}")))?;
        let sequence = match opening.recv() {
            Ok(Ok(sequence)) => sequence,
            Ok(Err(error)) => {
                // It gives up the lock when it ends.
                let _ = thread.join();
                return Err(error);
            }
            Err(_) => {
                let panic = thread.join().err();
                let why = panic.as_ref().map_or("no reason", |panic| said(panic.as_ref()));
                return Err(StoreError::Damaged {
                    path,
                    why: format!("reading it failed: {why}"),
                });
            }
        };
        Ok(Self {
            sequence,
            queue: Mutex::new(Some(send)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Writes what is waiting, closes the file and gives it up; blocks meanwhile. Reads go on, watches end, writes are refused. Dropping
    /// the store does the same.
    pub fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
        self.sequence.close();
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Job) -> Result<T, StoreError> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (reply, answer) = oneshot::channel();
        queue
            .ok_or(StoreError::Closed)?
            .send(job(reply))
            .await
            .map_err(|_| StoreError::Closed)?;
        let lost = |_| StoreError::Unknown("the thread that writes has ended".to_owned());
        answer.await.map_err(lost)?
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, key: &ObjectKey) -> Result<Option<Stored>, StoreError> {
        Ok(self.sequence.get(key))
    }

    async fn list(&self, of: &Prefix, page: &PageOf) -> Result<Page, StoreError> {
        self.sequence.list(of, page)
    }

    async fn write(&self, write: Write) -> Result<u64, StoreError> {
        self.ask(|reply| Job::Write { write, reply }).await
    }

    async fn watch(&self, of: &Prefix, after: u64) -> Result<Changes, StoreError> {
        self.sequence.watch(of, after)
    }

    async fn revision(&self, of: &Prefix) -> Result<u64, StoreError> {
        Ok(self.sequence.revision(of))
    }

    fn is_local(&self) -> bool {
        true
    }

    fn oldest(&self) -> Option<u64> {
        Some(self.sequence.oldest())
    }

    async fn compact(&self, revision: u64) -> Result<(), StoreError> {
        self.ask(|reply| Job::Compact { revision, reply }).await
    }

    async fn prefixes(&self) -> Result<Vec<Prefix>, StoreError> {
        Ok(self.sequence.now().prefixes())
    }
}

/// The folder for this process alone, as long as the file is open. A crash gives it up, too.
fn lock(folder: &Path) -> Result<File, StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|e| disk_error(folder, &e))?;
    let path = folder.join(LOCK);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| disk_error(&path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: folder.join(FILE) }),
        Err(TryLockError::Error(e)) => Err(disk_error(&path, &e)),
    }
}

/// Makes the file under another name and gives it its own when it is whole: a crash in between leaves no store that looks damaged.
fn create(folder: &Path, revision: u64, objects: &[Stored]) -> Result<(), StoreError> {
    let (new, path) = (folder.join(NEW), folder.join(FILE));
    let made = (|| {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        let disk = Disk::new(Arc::new(PlainFile::new(file)));
        disk.create(revision)?;
        Rows::create(disk, revision, objects).map_err(|error| match error {
            redb::Error::Io(error) => error,
            error => io::Error::other(error.to_string()),
        })?;
        std::fs::rename(&new, &path)?;
        File::open(folder)?.sync_all()
    })();
    made.map_err(|e| disk_error(&path, &e))
}

/// Opens and reads everything. Nothing is written to the file before all of it was found to be right.
fn open_rows(disk: &Disk, path: &Path) -> Result<(Rows, Moment), StoreError> {
    let acknowledged = disk.read_head(path)?;
    disk.hold();
    let (rows, moment) = Rows::open(disk.clone(), path)?;
    // A database that ends before what was promised was set back by itself: its newest pages are bad. It must not go on from there.
    if moment.revision < acknowledged {
        return Err(StoreError::Damaged {
            path: path.to_owned(),
            why: format!(
                "revision {acknowledged} was acknowledged, and only {} can be read",
                moment.revision
            ),
        });
    }
    disk.release().map_err(|e| disk_error(path, &e))?;
    Ok((rows, moment))
}

/// What the disk says, as an error of the store.
fn disk_error(path: &Path, error: &io::Error) -> StoreError {
    let text = format!("{}: {error}", path.display());
    if is_full(error) {
        StoreError::Full(text)
    } else {
        StoreError::Unavailable(text)
    }
}

/// Whether there is no room, by whatever limit.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// The words of a panic.
fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic")
}

#[cfg(test)]
mod tests;
