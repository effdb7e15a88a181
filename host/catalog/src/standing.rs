//! Whether a table is worth an answer.
//!
//! An empty list says "there is none", and clients act on it: an autoscaler on "no metrics", a controller on "all gone". So a
//! table whose collectors have brought nothing that still counts must not answer with one. The rule, for get, list and watch:
//!
//! * A table that no collector fills is always known, and so is one whose collectors have no target (a cluster without nodes
//!   has no node metrics): empty is the truth there.
//! * Else it is known while **at least one** of its sources (a collector and its target) has had a good tick within the age bound
//!   that its rows have. A tick that succeeded without rows counts: the plugin looked, and there was nothing.
//! * Else the answer is 503 with a sentence: after start until the first good tick of any source, when no tick ever succeeds, and
//!   when the last source's last good tick is older than the bound, which is the moment at which its last row expires.
//!
//! One sick node among many is not this room's business: its rows expire, its neighbours' stay, and getting one of its objects is a
//! 404 as upstream has it (metrics-server lists what it has). Reading costs one atomic load and never waits for a writer.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outrigger_api::time::Timestamp;

/// What a table's collectors have brought so far.
#[derive(Debug)]
pub struct Standing {
    /// Milliseconds since 1970 at which the table stops being known; [`ALWAYS`] for never.
    until: AtomicU64,
    /// The last good tick of each source that there is, and until when it counts.
    sources: Mutex<HashMap<Arc<str>, Option<Good>>>,
}

/// Why a table has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No tick has succeeded yet.
    #[error("nothing has been collected yet")]
    Never,
    /// None has succeeded for too long.
    #[error("nothing has been collected since {0}, and what was known then is too old")]
    Since(Timestamp),
}

#[derive(Debug, Clone, Copy)]
struct Good {
    at: SystemTime,
    until: u64,
}

const ALWAYS: u64 = u64::MAX;

// === impl Standing ===

impl Standing {
    /// Of a table that no collector fills: always known.
    #[must_use]
    pub fn given() -> Self {
        Self {
            until: AtomicU64::new(ALWAYS),
            sources: Mutex::default(),
        }
    }

    /// Of a table that collectors fill: unknown until [`Standing::expect`] says that nobody will, or somebody has.
    #[must_use]
    pub fn collected() -> Self {
        Self {
            until: AtomicU64::new(0),
            sources: Mutex::default(),
        }
    }

    /// From now on exactly these sources fill the table. What the others brought is withdrawn and no longer counts.
    pub fn expect(&self, sources: &BTreeSet<Arc<str>>) {
        let mut known = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|source, _| sources.contains(source));
        for source in sources {
            known.entry(source.clone()).or_default();
        }
        self.conclude(&known);
    }

    /// A tick of `source` succeeded at `at`; what it brought counts for `keep`. Of a source that is not expected (any more) this
    /// says nothing.
    pub fn succeeded(&self, source: &str, at: SystemTime, keep: Duration) {
        let mut known = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(good) = known.get_mut(source) {
            let until = at.checked_add(keep).map_or(ALWAYS, millis);
            *good = Some(Good { at, until });
            self.conclude(&known);
        }
    }

    /// Whether the table may be answered from at `now`.
    ///
    /// # Errors
    /// [`Unknown`]: answer 503; asking again is right.
    pub fn check(&self, now: SystemTime) -> Result<(), Unknown> {
        let until = self.until.load(Ordering::Acquire);
        if until == ALWAYS || millis(now) < until {
            return Ok(());
        }
        let known = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let last = known.values().flatten().map(|good| good.at).max();
        Err(last.map_or(Unknown::Never, |at| Unknown::Since(at.into())))
    }

    fn conclude(&self, known: &HashMap<Arc<str>, Option<Good>>) {
        let until = if known.is_empty() {
            ALWAYS
        } else {
            known.values().flatten().map(|good| good.until).max().unwrap_or(0)
        };
        self.until.store(until, Ordering::Release);
    }
}

impl Default for Standing {
    /// As [`Standing::given`].
    fn default() -> Self {
        Self::given()
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(ALWAYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn sources(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|&name| name.into()).collect()
    }

    fn since(seconds: i64) -> Result<(), Unknown> {
        Err(Unknown::Since(Timestamp::from_seconds(seconds)))
    }

    #[test]
    fn a_table_is_known_while_one_source_is() {
        type Step = fn(&Standing);
        let steps: [(&str, Step, u64, Result<(), Unknown>); 12] = [
            ("before anybody is assigned", |_| {}, 0, Err(Unknown::Never)),
            ("nobody to ask", |s| s.expect(&sources(&[])), 0, Ok(())),
            (
                "two, who have not answered",
                |s| s.expect(&sources(&["a", "b"])),
                0,
                Err(Unknown::Never),
            ),
            ("one has", |s| s.succeeded("a", at(10), KEEP), 10, Ok(())),
            ("a stranger has", |s| s.succeeded("z", at(999), KEEP), 69, Ok(())),
            ("at the age bound", |_| {}, 70, since(10)),
            ("the other has", |s| s.succeeded("b", at(80), KEEP), 80, Ok(())),
            (
                "the first again, with a shorter bound",
                |s| s.succeeded("a", at(90), Duration::from_secs(1)),
                139,
                Ok(()),
            ),
            ("both too old", |_| {}, 140, since(90)),
            (
                "the same, told again who there is",
                |s| s.expect(&sources(&["a", "b", "c"])),
                100,
                Ok(()),
            ),
            (
                "only one who has never answered is left",
                |s| s.expect(&sources(&["c"])),
                100,
                Err(Unknown::Never),
            ),
            ("nobody is left", |s| s.expect(&sources(&[])), 100, Ok(())),
        ];
        let standing = Standing::collected();
        for (name, step, now, expected) in steps {
            step(&standing);
            assert_eq!(standing.check(at(now)), expected, "{name}");
        }
    }

    #[test]
    fn what_nobody_collects_is_always_known() {
        assert_eq!(Standing::given().check(at(u64::from(u32::MAX))), Ok(()));
    }
}
