//! What a plugin did, in numbers: for metrics and status. Counting costs one relaxed atomic.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::capabilities::Capability;
use crate::failure::CallError;

/// Numbers of one plugin version since it was loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that ran and brought a result.
    pub succeeded: u64,
    /// Calls that brought none, by reason: `trap`, `deadline`, `cpu`, `memory`, `table`, `busy`, `aside`,
    /// `refused`, `result`, `start`.
    pub failed: Vec<(&'static str, u64)>,
    /// CPU time of all its calls.
    pub cpu: Duration,
    /// Calls that run now.
    pub in_flight: u64,
    /// Calls that wait for a slot now.
    pub waiting: u64,
    /// Calls, or kinds of calls, that are set aside now.
    pub aside: u64,
    /// Rows that were left out.
    pub rows_refused: u64,
    /// Lines that were logged.
    pub lines: u64,
    /// Lines that were dropped, being over a limit.
    pub lines_dropped: u64,
    /// Host calls by capability.
    pub capabilities: Vec<CapabilityCounts>,
}

/// Host calls of one capability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapabilityCounts {
    /// Which.
    pub capability: Capability,
    /// How often it was called.
    pub calls: u64,
    /// How many of those calls were denied.
    pub denials: u64,
}

/// The live numbers.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) succeeded: AtomicU64,
    /// Nanoseconds.
    pub(crate) cpu: AtomicU64,
    failed: [AtomicU64; REASONS.len()],
    pub(crate) in_flight: AtomicU64,
    pub(crate) waiting: AtomicU64,
    pub(crate) rows_refused: AtomicU64,
    calls: [AtomicU64; Capability::ALL.len()],
    denials: [AtomicU64; Capability::ALL.len()],
}

/// One more for as long as it lives.
pub(crate) struct Gauge<'a>(&'a AtomicU64);

const REASONS: [&str; 10] = [
    "trap", "deadline", "cpu", "memory", "table", "busy", "aside", "refused", "result", "start",
];

// === impl Counters ===

impl Counters {
    pub(crate) fn failed(&self, error: &CallError) {
        let reason = error.reason();
        for (_, n) in REASONS.iter().zip(&self.failed).filter(|(r, _)| **r == reason) {
            n.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn called(&self, capability: Capability) {
        if let Some(n) = self.calls.get(capability as usize) {
            n.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn denied(&self, capability: Capability) {
        if let Some(n) = self.denials.get(capability as usize) {
            n.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The numbers now. Those of the log, and what is set aside, are filled in by whoever owns them.
    pub(crate) fn read(&self) -> Counts {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let capability = |((capability, calls), denials): ((Capability, &AtomicU64), &AtomicU64)| CapabilityCounts {
            capability,
            calls: get(calls),
            denials: get(denials),
        };
        Counts {
            succeeded: get(&self.succeeded),
            failed: REASONS.iter().zip(&self.failed).map(|(r, n)| (*r, get(n))).collect(),
            cpu: Duration::from_nanos(get(&self.cpu)),
            in_flight: get(&self.in_flight),
            waiting: get(&self.waiting),
            rows_refused: get(&self.rows_refused),
            aside: 0,
            lines: 0,
            lines_dropped: 0,
            capabilities: Capability::ALL
                .into_iter()
                .zip(&self.calls)
                .zip(&self.denials)
                .map(capability)
                .collect(),
        }
    }
}

// === impl Gauge ===

impl<'a> Gauge<'a> {
    pub(crate) fn up(n: &'a AtomicU64) -> Self {
        n.fetch_add(1, Ordering::Relaxed);
        Self(n)
    }

    /// The number now, this one included.
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
