//! What is left of a job's last good tick for the next one, whoever made it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

/// The guest's state, and under which schema it is.
#[derive(Debug, Default)]
pub(super) struct Cell {
    pub(super) schema: u32,
    pub(super) bytes: Bytes,
}

/// News of another replica.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    /// When they came, since the start of all.
    pub(super) at: Duration,
    /// How old they were then.
    pub(super) age: Duration,
    pub(super) good: bool,
}

/// Of one job.
#[derive(Debug)]
pub(super) struct Memory {
    kept: Mutex<Kept>,
    heard: watch::Sender<Option<Heard>>,
}

#[derive(Debug, Default)]
struct Kept {
    cell: Arc<Cell>,
    /// When the tick that left it ended.
    since: Option<Instant>,
}

// === impl Memory ===

impl Memory {
    pub(super) fn cell(&self) -> Arc<Cell> {
        self.kept().cell.clone()
    }

    /// What there is, if a tick has left something.
    pub(super) fn last(&self) -> Option<(Arc<Cell>, Instant)> {
        let kept = self.kept();
        Some((kept.cell.clone(), kept.since?))
    }

    pub(super) fn keep(&self, cell: Cell, since: Instant) {
        *self.kept() = Kept {
            cell: Arc::new(cell),
            since: Some(since),
        };
    }

    /// Whether what there is is older.
    pub(super) fn is_before(&self, since: Instant) -> bool {
        self.kept().since.is_none_or(|kept| kept < since)
    }

    pub(super) fn hear(&self, heard: Heard) {
        self.heard.send_replace(Some(heard));
    }

    pub(super) fn news(&self) -> watch::Receiver<Option<Heard>> {
        self.heard.subscribe()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            heard: watch::Sender::new(None),
        }
    }
}
