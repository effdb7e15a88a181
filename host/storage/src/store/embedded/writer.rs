//! The thread that writes: one transaction for everybody who is waiting.
//!
//! After each batch the outcome is certain, or it is said that it is not. A commit that fails leaves the database unusable; it is opened
//! again, with every page checked, and its mark says which of the two it is: as before, then all of the batch is refused, or as after,
//! then it was a success. If it cannot be opened now (the disk is still full, or does not answer), writes are refused until it can,
//! and a batch whose outcome nobody knows is answered so. Reads go on from memory all the while.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::super::frame::Mark;
use super::super::sequence::{Draft, Sequence};
use super::super::{StoreError, Write};
use super::disk::Disk;
use super::rows::Rows;
use super::{is_full, said};

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    /// One write.
    Write {
        /// Which.
        write: Write,
        /// Its revision.
        reply: oneshot::Sender<Result<u64, StoreError>>,
    },
    /// Forget the past.
    Compact {
        /// Up to and including this one.
        revision: u64,
        /// Done.
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
}

/// An answer that waits until it is true.
enum Answer {
    Written(oneshot::Sender<Result<u64, StoreError>>, Result<u64, StoreError>),
    Compacted(oneshot::Sender<Result<(), StoreError>>, Result<(), StoreError>),
}

/// Owns the database.
#[derive(Debug)]
pub(super) struct Writer {
    sequence: Arc<Sequence>,
    /// None after a failure, until it can be opened again.
    rows: Option<Rows>,
    mark: Mark,
    disk: Disk,
    path: PathBuf,
    failure: Option<Failure>,
    /// After a full disk: until when, and what is said.
    rest: Option<(Instant, String)>,
}

/// Why nothing can be written now.
#[derive(Debug)]
struct Failure {
    full: bool,
    why: String,
    /// The disk must be told everything once more before it can be believed.
    in_sync: bool,
    /// What may have been committed.
    unsure: Option<Draft>,
    tried: Instant,
}

/// The most writes of one transaction, and the most bytes: what it writes must be had in memory.
const BATCH: usize = 1024;
const BATCH_BYTES: usize = 16 << 20;
/// How often a database that failed is opened again while writes come, at most.
const AGAIN: Duration = Duration::from_millis(500);
/// How long a full disk is left alone, as a multiple of the time that it took to find out what had become of the write.
const REST: u32 = 10;

// === impl Writer ===

impl Writer {
    pub(super) fn new(sequence: Arc<Sequence>, rows: Rows, mark: Mark, disk: Disk, path: PathBuf) -> Self {
        Self {
            sequence,
            rows: Some(rows),
            mark,
            disk,
            path,
            failure: None,
            rest: None,
        }
    }

    /// Until the queue is closed and empty.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = queue.blocking_recv() {
            let mut bytes = first.bytes();
            let mut jobs = vec![first];
            while jobs.len() < BATCH
                && bytes < BATCH_BYTES
                && let Ok(next) = queue.try_recv()
            {
                bytes += next.bytes();
                jobs.push(next);
            }
            self.batch(jobs);
        }
        // Closing writes down what makes the next start fast. What it cannot write, the next start finds out.
        let rows = self.rows.take();
        if catch_unwind(AssertUnwindSafe(|| drop(rows))).is_err() {
            tracing::warn!(path = %self.path.display(), "the store was not closed cleanly; its next start checks everything");
        }
    }

    fn batch(&mut self, jobs: Vec<Job>) {
        if self.rows.is_none() && !self.try_again() {
            let failure = self.failure.as_ref();
            for job in jobs {
                job.refuse(failure.map_or(StoreError::Closed, Failure::refusal));
            }
            return;
        }
        if let Some((until, why)) = &self.rest {
            if Instant::now() < *until {
                for job in jobs {
                    job.refuse(StoreError::Full(why.clone()));
                }
                return;
            }
            self.rest = None;
        }
        let mut draft = self.sequence.draft();
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            answers.push(match job {
                Job::Write { write, reply } => Answer::Written(reply, draft.apply(&write)),
                Job::Compact { revision, reply } => Answer::Compacted(reply, draft.compact(revision)),
            });
        }
        if !draft.changes.is_empty() {
            self.sequence.trim(&mut draft);
        }
        let moment = draft.moment();
        if (moment.revision, moment.oldest) == (self.mark.revision, self.mark.oldest) {
            answers.into_iter().for_each(Answer::give);
            return;
        }
        match self.commit(&draft) {
            Ok(mark) => {
                self.committed(draft, mark);
                answers.into_iter().for_each(Answer::give);
            }
            Err(why) => self.failed(draft, why, answers),
        }
    }

    fn commit(&mut self, draft: &Draft) -> Result<Mark, String> {
        let rows = self.rows.as_ref().ok_or("it is not open")?;
        // What failed before and did no harm is no cause of what fails now.
        self.disk.trouble();
        // A panic in the database is an error like others: it is opened again.
        match catch_unwind(AssertUnwindSafe(|| rows.commit(&self.mark, draft))) {
            Ok(done) => done.map_err(|error| error.to_string()),
            Err(panic) => Err(said(panic.as_ref()).to_owned()),
        }
    }

    fn committed(&mut self, draft: Draft, mark: Mark) {
        // Noted before anybody is told.
        if let Err(error) = self.disk.acknowledge(mark.revision) {
            tracing::warn!(path = %self.path.display(), %error, "what was acknowledged could not be noted");
        }
        self.mark = mark;
        self.sequence.publish(draft);
    }

    /// Finds out what has become of a batch, as far as that can be known now.
    fn failed(&mut self, draft: Draft, why: String, answers: Vec<Answer>) {
        let trouble = self.disk.trouble();
        let full = trouble.as_ref().is_some_and(|trouble| is_full(&trouble.error));
        let why = trouble.as_ref().map_or(why, |trouble| trouble.error.to_string());
        let why = format!("{}: {why}", self.path.display());
        tracing::error!(%why, "a write to the store has failed");
        // Nothing of a commit is there before the database's head is written.
        let sure_not = trouble.as_ref().is_some_and(|trouble| !trouble.committing);
        self.failure = Some(Failure {
            full,
            why,
            in_sync: trouble.is_some_and(|trouble| trouble.in_sync),
            unsure: Some(draft),
            tried: Instant::now(),
        });
        let revision = self.sequence.now().revision;
        let refusal = self.failure.as_ref().map(|failure| (failure.refusal(), failure.unknown()));
        let began = Instant::now();
        let opened = self.reopen();
        if let (Some((StoreError::Full(why), _)), true) = (&refusal, opened) {
            // To look costs a reading of the whole file; not each of many writes shall cost that.
            self.rest = Some((Instant::now() + began.elapsed() * REST, why.clone()));
        }
        let happened = opened && self.sequence.now().revision > revision;
        for answer in answers {
            match (&refusal, happened) {
                (Some((refused, unknown)), false) => answer.refuse(if opened || sure_not { refused } else { unknown }),
                _ => answer.give(),
            }
        }
    }

    /// Opens the database again, if that was not tried just now.
    fn try_again(&mut self) -> bool {
        let due = self.failure.as_ref().is_none_or(|failure| failure.tried.elapsed() >= AGAIN);
        due && self.reopen()
    }

    /// Opens the database again and compares it with what was published last and with what was not acknowledged. `false` if it cannot
    /// be opened, or is neither.
    fn reopen(&mut self) -> bool {
        let rows = self.rows.take();
        let (disk, path) = (&self.disk, &self.path);
        let in_sync = self.failure.as_ref().is_some_and(|failure| failure.in_sync);
        let opened = catch_unwind(AssertUnwindSafe(|| {
            drop(rows);
            disk.trouble();
            if in_sync {
                disk.write_again().map_err(|e| StoreError::Unavailable(e.to_string()))?;
            }
            Rows::reopen(disk.clone(), path)
        }));
        let opened = opened.unwrap_or_else(|panic| Err(StoreError::Unavailable(said(panic.as_ref()).to_owned())));
        let Some(failure) = &mut self.failure else { return false };
        failure.tried = Instant::now();
        if let Some(trouble) = self.disk.trouble() {
            failure.full = is_full(&trouble.error);
            failure.in_sync |= trouble.in_sync;
        }
        let rows = match opened {
            Ok(rows) => rows,
            Err(error) => {
                failure.why = error.to_string();
                return false;
            }
        };
        let mark = rows.mark();
        let unsure = failure.unsure.take();
        if mark == self.mark {
            tracing::info!(path = %self.path.display(), "the store can be written again");
        } else if let Some(draft) = unsure.filter(|draft| is_after(&mark, draft)) {
            self.committed(draft, mark);
        } else {
            failure.why = format!(
                "{} is at revision {}, which nobody has written",
                self.path.display(),
                mark.revision
            );
            failure.full = false;
            // No further try finds it otherwise.
            failure.tried = Instant::now() + Duration::from_secs(u64::from(u32::MAX));
            return false;
        }
        self.rows = Some(rows);
        self.failure = None;
        true
    }
}

/// Whether a file is as it must be behind a draft.
fn is_after(mark: &Mark, draft: &Draft) -> bool {
    let moment = draft.moment();
    (mark.revision, mark.oldest) == (moment.revision, moment.oldest)
}

// === impl Failure ===

impl Failure {
    /// For a write that has certainly not happened.
    fn refusal(&self) -> StoreError {
        if self.full {
            StoreError::Full(self.why.clone())
        } else {
            StoreError::Unavailable(self.why.clone())
        }
    }

    /// For one that may have.
    fn unknown(&self) -> StoreError {
        StoreError::Unknown(self.why.clone())
    }
}

// === impl Job ===

impl Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Write { write, .. } => write.value.as_ref().map_or(0, bytes::Bytes::len),
            Self::Compact { .. } => 0,
        }
    }

    fn refuse(self, error: StoreError) {
        // Who has gone away asks no more.
        match self {
            Self::Write { reply, .. } => drop(reply.send(Err(error))),
            Self::Compact { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

// === impl Answer ===

impl Answer {
    fn give(self) {
        match self {
            Self::Written(reply, answer) => drop(reply.send(answer)),
            Self::Compacted(reply, answer) => drop(reply.send(answer)),
        }
    }

    fn refuse(self, error: &StoreError) {
        let error = match error {
            StoreError::Full(why) => StoreError::Full(why.clone()),
            StoreError::Unknown(why) => StoreError::Unknown(why.clone()),
            other => StoreError::Unavailable(other.to_string()),
        };
        match self {
            Self::Written(reply, _) => drop(reply.send(Err(error))),
            Self::Compacted(reply, _) => drop(reply.send(Err(error))),
        }
    }
}
