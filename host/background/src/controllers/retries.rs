//! How long a key that failed waits: client-go's `DefaultControllerRateLimiter`.
//!
//! Each key for itself: 5 ms, doubled with every failure, up to 1000 s. All keys together: ten a second, with a burst of a hundred
//! (`util/workqueue/default_rate_limiters.go`). The longer of both counts.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::queue::Key;

const FIRST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(1_000);
const PER_SECOND: f64 = 10.0;
const BURST: f64 = 100.0;

/// The failures of one controller's keys.
pub(crate) struct Retries {
    failures: HashMap<Key, u32>,
    bucket: Bucket,
}

/// Places that come back with time (golang.org/x/time/rate's `Reserve`): who finds none takes one of the future.
struct Bucket {
    places: f64,
    at: Instant,
}

// === impl Retries ===

impl Retries {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            failures: HashMap::new(),
            bucket: Bucket { places: BURST, at: now },
        }
    }

    /// It failed once more: how long it waits.
    pub(crate) fn when(&mut self, key: &Key, now: Instant) -> Duration {
        let failures = self.failures.entry(key.clone()).or_default();
        let own = FIRST.saturating_mul(2u32.saturating_pow(*failures)).min(LONGEST);
        *failures = failures.saturating_add(1);
        own.max(self.bucket.reserve(now))
    }

    /// A place among all retries, for a key that did not fail.
    pub(crate) fn place(&mut self, now: Instant) -> Duration {
        self.bucket.reserve(now)
    }

    /// It is well, or gone.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.failures.remove(key);
    }

    /// Nobody has failed yet.
    pub(crate) fn forget_all(&mut self) {
        self.failures.clear();
    }

    /// Keys that failed last time.
    pub(crate) fn failing(&self) -> usize {
        self.failures.len()
    }
}

// === impl Bucket ===

impl Bucket {
    fn reserve(&mut self, now: Instant) -> Duration {
        let more = now.saturating_duration_since(self.at).as_secs_f64() * PER_SECOND;
        self.places = (self.places + more).min(BURST) - 1.0;
        self.at = now;
        Duration::from_secs_f64((-self.places / PER_SECOND).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_twice_as_long_each_time_until_it_is_well() {
        let mut retries = Retries::new(Instant::now());
        let (a, b): (Key, Key) = ("a".into(), "b".into());
        for n in 0..30u32 {
            let expected = Duration::from_millis(5 * 2u64.pow(n)).min(LONGEST);
            assert_eq!(retries.when(&a, Instant::now()), expected, "failure {n}");
            // A neighbour's failures are its own.
            if n == 3 {
                assert_eq!(retries.when(&b, Instant::now()), FIRST);
            }
        }
        assert_eq!(retries.failing(), 2);
        retries.forget(&a);
        assert_eq!(retries.when(&a, Instant::now()), FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn all_together_ten_a_second_after_a_burst_of_a_hundred() {
        let mut retries = Retries::new(Instant::now());
        let mut key = (0..).map(|n: u32| Key::from(format!("k{n}")));
        let mut fail = |retries: &mut Retries| retries.when(&key.next().unwrap(), Instant::now());
        for n in 0..100 {
            assert_eq!(fail(&mut retries), FIRST, "{n}");
        }
        for n in 1..=20u32 {
            let delay = fail(&mut retries);
            assert!(
                delay.abs_diff(Duration::from_millis(100) * n) < Duration::from_millis(1),
                "{n}: {delay:?}"
            );
        }
        tokio::time::advance(Duration::from_secs(12)).await;
        assert!(fail(&mut retries) <= FIRST, "places come back");
    }
}
