//! Between the database and the file: a page of our own, and hands that can be tied.
//!
//! The file begins with one page of ours: what it is, its format, and the newest revision that was acknowledged. The last is written
//! after each commit and before its acknowledgement, without a wait of its own (the next commit's covers it). It is there because the
//! database repairs itself by going back one commit if the newest cannot be read: right if that one was cut short by a crash, silent
//! loss if it was acknowledged and its pages went bad. With this number the two can be told apart.
//!
//! While a file is opened, everything the database writes is held back in memory and is written through only when all was read and found
//! to be right ([`Disk::hold`], [`Disk::release`]): a file that is refused stays as it was.
//!
//! A failed operation is remembered with its cause, since the database names only the first.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::super::StoreError;
use super::super::frame::{self, ACKNOWLEDGED, FORMAT};
use super::disk_error;

/// A file as the database sees it. A clone is the same.
#[derive(Clone)]
pub(super) struct Disk(Arc<Inner>);

struct Inner {
    medium: Arc<dyn StorageBackend>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is held back, in order.
    held: Option<Vec<Held>>,
    /// What failed first since it was last asked.
    trouble: Option<Trouble>,
    /// Whether the database's own head was written since the last wait for the disk: from then on a commit may be there.
    committing: bool,
    /// Which slot is next.
    turn: bool,
}

/// An operation that failed.
#[derive(Debug)]
pub(super) struct Trouble {
    /// What the system said.
    pub(super) error: io::Error,
    /// Whether it was the wait for the disk: then it is not known what is on it.
    pub(super) in_sync: bool,
    /// Whether a commit may have come to be.
    pub(super) committing: bool,
}

#[derive(Debug)]
enum Held {
    Write(u64, Vec<u8>),
    Length(u64),
    Sync,
}

/// A plain file.
#[derive(Debug)]
pub(super) struct PlainFile(File);

/// Our page.
const HEAD: u64 = 4096;
/// What it begins with.
const MAGIC: &[u8; 16] = b"outrigger store\n";
/// Where the newest acknowledged revision stands, by turns: if one is being written when the power goes, the other is whole.
const SLOTS: [u64; 2] = [1024, 2048];
/// How much is written again at once.
const CHUNK: usize = 1 << 20;

// === impl Disk ===

impl Disk {
    pub(super) fn new(medium: Arc<dyn StorageBackend>) -> Self {
        let state = Mutex::default();
        Self(Arc::new(Inner { medium, state }))
    }

    /// Makes an empty file ready for a database.
    pub(super) fn create(&self, revision: u64) -> io::Result<()> {
        let medium = &self.0.medium;
        medium.set_len(HEAD)?;
        let mut head = MAGIC.to_vec();
        head.extend(FORMAT.to_le_bytes());
        medium.write(0, &head)?;
        for slot in SLOTS {
            medium.write(slot, &frame::acknowledged(revision))?;
        }
        medium.sync_data()
    }

    /// What our page says: the newest revision that was acknowledged.
    pub(super) fn read_head(&self, path: &Path) -> Result<u64, StoreError> {
        let damaged = |why: &str| StoreError::Damaged {
            path: path.to_owned(),
            why: why.to_owned(),
        };
        let medium = &self.0.medium;
        let length = medium.len().map_err(|e| disk_error(path, &e))?;
        if length <= HEAD {
            return Err(damaged(&format!("it is cut to {length} bytes")));
        }
        let read = |at: u64, bytes: &mut [u8]| medium.read(at, bytes).map_err(|e| disk_error(path, &e));
        let (mut magic, mut format) = ([0; MAGIC.len()], [0; 4]);
        read(0, &mut magic)?;
        read(MAGIC.len() as u64, &mut format)?;
        if magic != *MAGIC {
            return Err(damaged("it does not begin as a store does"));
        }
        match u32::from_le_bytes(format) {
            FORMAT => {}
            0 => return Err(damaged("it has no format")),
            found => {
                return Err(StoreError::Newer {
                    path: path.to_owned(),
                    found,
                    known: FORMAT,
                });
            }
        }
        let mut newest = None;
        for slot in SLOTS {
            let mut bytes = [0; ACKNOWLEDGED];
            read(slot, &mut bytes)?;
            newest = newest.max(frame::read_acknowledged(&bytes).ok());
        }
        newest.ok_or_else(|| damaged("what was acknowledged cannot be read"))
    }

    /// Notes a revision that is on the disk and will be acknowledged now.
    pub(super) fn acknowledge(&self, revision: u64) -> io::Result<()> {
        let [even, odd] = SLOTS;
        let turn = std::mem::take(&mut self.state().turn);
        self.0
            .medium
            .write(if turn { odd } else { even }, &frame::acknowledged(revision))?;
        self.state().turn = !turn;
        Ok(())
    }

    /// From now on nothing is written.
    pub(super) fn hold(&self) {
        self.state().held = Some(Vec::new());
    }

    /// Writes what was held back, in its order, and holds back nothing more.
    pub(super) fn release(&self) -> io::Result<()> {
        let mut state = self.state();
        for held in state.held.take().unwrap_or_default() {
            match held {
                Held::Write(at, bytes) => self.0.medium.write(at, &bytes)?,
                Held::Length(length) => self.0.medium.set_len(length)?,
                Held::Sync => self.0.medium.sync_data()?,
            }
        }
        state.committing = false;
        Ok(())
    }

    /// What failed since this was last asked.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let mut state = self.state();
        let committing = state.committing;
        state.trouble.take().map(|trouble| Trouble {
            committing: trouble.committing || committing,
            ..trouble
        })
    }

    /// Writes everything again that can be read and waits for it. After a wait that failed, the system may take pages for written that
    /// are not: whoever wants to know what is there must say it all once more.
    pub(super) fn write_again(&self) -> io::Result<()> {
        let medium = &self.0.medium;
        let length = medium.len()?;
        let mut bytes = vec![0; CHUNK];
        let mut at = 0;
        while at < length {
            let some = usize::try_from(length - at).unwrap_or(CHUNK).min(CHUNK);
            let bytes = bytes.get_mut(..some).unwrap_or_default();
            medium.read(at, bytes)?;
            medium.write(at, bytes)?;
            at += some as u64;
        }
        medium.sync_data()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checked<T>(&self, in_sync: bool, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            let mut state = self.state();
            let committing = state.committing;
            let again = || match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(error.kind(), error.to_string()),
            };
            // The first names the cause; whether a commit may be there, any of them may say.
            let trouble = state.trouble.get_or_insert_with(|| Trouble {
                error: again(),
                in_sync,
                committing,
            });
            trouble.in_sync |= in_sync;
            trouble.committing |= committing;
        })
    }
}

/// Without a word about locks: the folder is locked.
impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let state = self.state();
        let held = state.held.iter().flatten().rev().find_map(|held| match held {
            Held::Length(length) => Some(*length),
            _ => None,
        });
        if let Some(length) = held {
            return Ok(length - HEAD);
        }
        drop(state);
        let length = self.checked(false, self.0.medium.len())?;
        Ok(length.saturating_sub(HEAD))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = offset + HEAD;
        let state = self.state();
        let Some(held) = state.held.as_ref().filter(|held| !held.is_empty()) else {
            drop(state);
            return self.checked(false, self.0.medium.read(offset, out));
        };
        let end = self.0.medium.len()?;
        let there = usize::try_from(end.saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(out.len());
        if let Some((there, beyond)) = out.split_at_mut_checked(there) {
            self.0.medium.read(offset, there)?;
            beyond.fill(0);
        }
        for held in held {
            match held {
                Held::Sync => {}
                Held::Length(length) => {
                    let kept = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
                    out.iter_mut().skip(kept).for_each(|byte| *byte = 0);
                }
                Held::Write(at, bytes) => {
                    let skipped = usize::try_from(offset.saturating_sub(*at)).unwrap_or(usize::MAX);
                    let begin = usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX);
                    let pairs = out.iter_mut().skip(begin).zip(bytes.iter().skip(skipped));
                    pairs.for_each(|(to, from)| *to = *from);
                }
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let length = length + HEAD;
        if let Some(held) = &mut self.state().held {
            held.push(Held::Length(length));
            return Ok(());
        }
        self.checked(false, self.0.medium.set_len(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        if let Some(held) = &mut self.state().held {
            held.push(Held::Sync);
            return Ok(());
        }
        self.checked(true, self.0.medium.sync_data())?;
        self.state().committing = false;
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        if let Some(held) = &mut state.held {
            held.push(Held::Write(offset + HEAD, bytes.to_vec()));
            return Ok(());
        }
        // Even a write that fails may have been made in part.
        state.committing |= offset == 0;
        drop(state);
        self.checked(false, self.0.medium.write(offset + HEAD, bytes))
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("medium", &self.0.medium).finish_non_exhaustive()
    }
}

// === impl PlainFile ===

impl PlainFile {
    pub(super) fn new(file: File) -> Self {
        Self(file)
    }
}

impl StorageBackend for PlainFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    /// Room is taken at once: a full disk is found here, before anything is written, and not in the middle of a commit.
    fn set_len(&self, length: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        let now = self.0.metadata()?.len();
        if length > now {
            match fallocate(&self.0, FallocateFlags::empty(), now, length - now) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
                Err(error) => {
                    // It may have grown by a part.
                    self.0.set_len(now)?;
                    return Err(error.into());
                }
            }
        }
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }
}
