//! How many requests may be under way at once (apiserver `server/filters/maxinflight.go`).
//!
//! Reads and writes have seats of their own. Nobody queues: who finds no seat is told to come back in a second. Long-running
//! requests, `system:masters` and the open paths (probes) take none; a kubelet must never restart a server for being busy.

use prometheus_client::metrics::gauge::Gauge;

/// The seats of one kind; the gauge that dashboards see is the count itself.
#[derive(Debug)]
pub struct Seats {
    taken: Gauge,
    limit: i64,
}

/// A seat, given back when dropped.
#[derive(Debug)]
pub struct Seat(Gauge);

// === impl Seats ===

impl Seats {
    /// `limit` seats counted by `taken`; no limit if it is 0.
    #[must_use]
    pub fn new(taken: Gauge, limit: u32) -> Self {
        Self {
            taken,
            limit: if limit == 0 { i64::MAX } else { i64::from(limit) },
        }
    }

    /// A seat, if one is free.
    #[must_use]
    pub fn take(&self) -> Option<Seat> {
        let before = self.taken.inc();
        let seat = Seat(self.taken.clone());
        (before < self.limit).then_some(seat)
    }
}

// === impl Seat ===

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Whether a verb only reads (`nonMutatingRequestVerbs`).
#[must_use]
pub fn is_read_only(verb: &str) -> bool {
    matches!(verb, "get" | "list" | "watch")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_counted_and_given_back() {
        let gauge = Gauge::default();
        let seats = Seats::new(gauge.clone(), 2);
        let (first, second) = (seats.take(), seats.take());
        assert!(first.is_some() && second.is_some());
        assert!(seats.take().is_none());
        assert_eq!(gauge.get(), 2, "a refused request leaves no trace");
        drop(first);
        assert!(seats.take().is_some());
        drop(second);
        assert_eq!(gauge.get(), 0);
        assert!(Seats::new(gauge, 0).take().is_some(), "0 is no limit");
    }
}
