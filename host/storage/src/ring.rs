//! Every change of a table in its order, for a time and a size.
//!
//! The memory of a table whose rows are kept in a store. There every state counts: a watcher that resumes at a revision gets each
//! change behind it once, as upstream's watch cache gives it, or learns that the revision is too old. The past can be read as well:
//! a state of before is the present with the newest changes undone.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::history::{Batch, Before, Change, RECENT, TooOld};
use crate::store::Keep;
use crate::{Entry, Snapshot};

/// The past of a table.
#[derive(Debug)]
pub(crate) struct Ring {
    /// Changes up to here are forgotten.
    floor: u64,
    batches: VecDeque<(Arc<Batch>, usize)>,
    bytes: usize,
    keep: Keep,
}

/// What a change costs beside the rows' own bytes, about.
const CHANGE: usize = 256;

// === impl Ring ===

impl Ring {
    /// Nothing is known from before `floor`.
    pub(crate) fn new(floor: u64, keep: Keep) -> Self {
        Self {
            floor,
            batches: VecDeque::new(),
            bytes: 0,
            keep,
        }
    }

    /// Remembers changes, and returns them as watchers get them; `after` is the table's revision before them, `revision` the one with them.
    pub(crate) fn record(&mut self, changes: Vec<Change>, after: u64, revision: u64) -> Option<Arc<Batch>> {
        if changes.is_empty() {
            return None;
        }
        // What is new is in the table anyway; what it has replaced is alive because of us.
        let bytes = changes
            .iter()
            .map(|change| CHANGE + before(change).map_or(0, |e| size(e)))
            .sum();
        self.bytes += bytes;
        let batch = Arc::new(Batch::new(changes, after, revision));
        self.batches.push_back((Arc::clone(&batch), bytes));
        // Events as bytes are for watchers that keep up; the past is kept as it is, and counted.
        if let Some((past, _)) = self.batches.len().checked_sub(RECENT + 1).and_then(|at| self.batches.get(at)) {
            past.pass();
        }
        self.trim();
        Some(batch)
    }

    /// Forgets what is too old or too much.
    pub(crate) fn trim(&mut self) {
        while let Some((oldest, bytes)) = self.batches.front() {
            if self.bytes <= self.keep.bytes && oldest.made().elapsed() <= self.keep.time {
                break;
            }
            self.floor = oldest.revision();
            self.bytes -= bytes;
            self.batches.pop_front();
        }
    }

    /// Forgets everything up to a revision: what has happened before it is not known any more.
    pub(crate) fn forget(&mut self, revision: u64) {
        self.batches.clear();
        self.bytes = 0;
        self.floor = revision;
    }

    /// The first changes behind `revision`; they may begin with some up to it, which the watcher has seen. `None` if there are none.
    pub(crate) fn next(&self, revision: u64) -> Result<Option<Arc<Batch>>, TooOld> {
        self.check(revision)?;
        let at = self.batches.partition_point(|(batch, _)| batch.revision() <= revision);
        Ok(self.batches.get(at).map(|(batch, _)| Arc::clone(batch)))
    }

    /// All changes behind `revision`.
    pub(crate) fn since(&self, revision: u64) -> Result<Vec<Arc<Batch>>, TooOld> {
        self.check(revision)?;
        let at = self.batches.partition_point(|(batch, _)| batch.revision() <= revision);
        Ok(self.batches.iter().skip(at).map(|(batch, _)| Arc::clone(batch)).collect())
    }

    fn check(&self, revision: u64) -> Result<(), TooOld> {
        if revision < self.floor {
            return Err(TooOld {
                revision,
                oldest: self.floor,
            });
        }
        Ok(())
    }
}

/// The rows as they were at `revision`, of those that are there now and all changes since.
pub(crate) fn undone(now: &Snapshot, newer: &[Arc<Batch>], revision: u64) -> Snapshot {
    let mut rows = now.rows.clone();
    for batch in newer.iter().rev() {
        for change in batch.changes().iter().rev().take_while(|change| change.revision > revision) {
            match (before(change), &change.after) {
                (Some(was), _) => drop(rows.insert(was.row.key.clone(), Arc::clone(was))),
                (None, Some(new)) => drop(rows.remove(&new.row.key)),
                (None, None) => {}
            }
        }
    }
    Snapshot {
        rows,
        revision,
        changed: revision,
    }
}

fn before(change: &Change) -> Option<&Arc<Entry>> {
    match &change.before {
        Before::Was(entry) | Before::Relabelled(entry) => Some(entry),
        Before::Absent => None,
    }
}

fn size(entry: &Entry) -> usize {
    let meta = entry.row.meta.as_ref().map_or(0, |meta| meta.json.len());
    entry.row.fields.len() + meta + 256
}
