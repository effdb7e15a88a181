//! What is remembered of a node between two ticks, as bytes.
//!
//! The host keeps the bytes and hands them back; it neither reads nor trusts them, and nor does this plugin: whatever is
//! not exactly what [`State::write`] makes (another version, cut off, a number outside of what a sample can
//! be) is an empty state, and costs one tick without rates. About 90 bytes a container: numbers are LEB128, an
//! older sample is told by its distance from the newer. The size is bounded by the summary's, since every entity in it is
//! written once.

use crate::history::{History, LONGEST_WINDOW, ONE_STEP, Rate, SHORTEST_STEP, STEADY_RUN, Sample, Step};
use crate::rates::Usage;
use crate::time::SECOND;

/// The number of this layout, for the manifest. Old state is not carried over: it is worth one tick.
pub const SCHEMA: u32 = 2;

/// The last second of the year 9999, after which no time is valid.
const LAST_SECOND: u64 = 253_402_300_799;

/// What is remembered of one node.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct State<'a> {
    /// When it was read, in seconds of the host's monotonic clock.
    pub(crate) host: u64,
    pub(crate) node: Entity,
    /// By namespace and name.
    pub(crate) pods: Vec<PodState<'a>>,
}

/// What is remembered of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodState<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// By name.
    pub(crate) containers: Vec<(&'a str, Entity)>,
}

/// What is remembered of a node or a container.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Entity {
    pub(crate) history: History,
    /// What was served last.
    pub(crate) good: Option<Usage>,
    /// When the newest sample was first seen, as [`State::host`].
    pub(crate) seen: u64,
}

// === impl State ===

impl<'a> State<'a> {
    /// Reads what [`State::write`] wrote; anything else is empty.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Self {
        Reader(bytes).state().unwrap_or_default()
    }

    /// As bytes.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut to = Writer(Vec::with_capacity(128 * (self.pods.len() + 1)));
        to.number(u64::from(SCHEMA));
        to.number(self.host);
        to.entity(self.host, &self.node);
        to.count(self.pods.len());
        for pod in &self.pods {
            to.text(pod.namespace);
            to.text(pod.name);
            to.count(pod.containers.len());
            for (name, entity) in &pod.containers {
                to.text(name);
                to.entity(self.host, entity);
            }
        }
        to.0
    }

    /// How many containers are remembered.
    #[must_use]
    pub fn containers(&self) -> usize {
        self.pods.iter().map(|p| p.containers.len()).sum()
    }
}

impl PodState<'_> {
    pub(crate) fn key(&self) -> (&str, &str) {
        (self.namespace, self.name)
    }
}

// === the bytes ===

/// Which parts of an entity follow.
const LAST: u64 = 1;
const ANCHOR: u64 = 2;
const STEP: u64 = 4;
const GOOD: u64 = 8;
const UNDATED: u64 = 16;
/// Above these bits.
const DOUBT: u32 = 5;

struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n.to_le_bytes()[0] | 0x80);
            n >>= 7;
        }
        self.0.push(n.to_le_bytes()[0]);
    }

    /// A number that is never negative.
    fn natural(&mut self, n: i64) {
        self.number(n.max(0).unsigned_abs());
    }

    fn count(&mut self, n: usize) {
        self.number(n as u64);
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn entity(&mut self, host: u64, entity: &Entity) {
        let History {
            last,
            anchor,
            reported,
            steady,
            step,
            doubt,
            start,
            undated,
        } = &entity.history;
        let anchor = anchor.filter(|_| last.is_some());
        let has = |present: bool, bit: u64| if present { bit } else { 0 };
        self.number(
            has(last.is_some(), LAST)
                | has(anchor.is_some(), ANCHOR)
                | has(step.seen > 0, STEP)
                | has(entity.good.is_some(), GOOD)
                | has(*undated, UNDATED)
                | u64::from(*doubt) << DOUBT,
        );
        self.natural(*start);
        self.number(host.saturating_sub(entity.seen));
        if let Some(last) = last {
            self.natural(last.time);
            self.number(last.counter);
            self.bounds(last);
            self.number(*reported);
            self.number(u64::from(*steady));
            if let Some(anchor) = anchor {
                self.natural(last.time - anchor.time);
                self.number(last.counter.saturating_sub(anchor.counter));
                self.bounds(&anchor);
            }
        }
        if step.seen > 0 {
            self.natural(step.shortest);
            self.natural(step.longest);
            self.number(u64::from(step.seen));
        }
        if let Some(Usage { time, rate, memory, .. }) = &entity.good {
            self.natural(*time);
            self.number(rate.nanocores);
            self.number(rate.window);
            self.number(*memory);
        }
    }

    fn bounds(&mut self, sample: &Sample) {
        self.natural(sample.earliest);
        self.natural(sample.latest - sample.earliest);
    }
}

/// Every method is none at the end of the bytes, and for a number outside of its range.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn state(mut self) -> Option<State<'a>> {
        if self.number()? != u64::from(SCHEMA) {
            return None;
        }
        let host = self.number()?;
        let node = self.entity(host)?;
        let pods = self.many(|from| {
            let (namespace, name) = (from.text()?, from.text()?);
            let containers = from.many(|from| Some((from.text()?, from.entity(host)?)))?;
            Some(PodState {
                namespace,
                name,
                containers,
            })
        })?;
        self.0.is_empty().then_some(State { host, node, pods })
    }

    /// A list. A count is not believed further than the bytes that are there.
    fn many<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = usize::try_from(self.number()?).ok()?;
        let mut all = Vec::with_capacity(count.min(self.0.len() / 8));
        for _ in 0..count {
            all.push(one(self)?);
        }
        Some(all)
    }

    fn number(&mut self) -> Option<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None;
            }
            n |= bits << shift;
            if byte < 0x80 {
                return Some(n);
            }
        }
        None
    }

    /// A number of at most `most`, which fits an i64.
    fn natural(&mut self, most: u64) -> Option<i64> {
        self.number().filter(|n| *n <= most).and_then(|n| i64::try_from(n).ok())
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn entity(&mut self, host: u64) -> Option<Entity> {
        let parts = self.number()?;
        let has = |bit| parts & bit != 0;
        let mut history = History {
            doubt: u8::try_from(parts >> DOUBT).ok()?,
            undated: has(UNDATED),
            start: self.natural(LAST_SECOND)?,
            ..History::default()
        };
        let seen = host.checked_sub(self.number()?)?;
        if has(LAST) {
            let (time, counter) = (self.natural(LAST_SECOND)?, self.number()?);
            let (earliest, latest) = self.bounds()?;
            history.reported = self.number()?;
            history.steady = u8::try_from(self.number()?).ok().filter(|run| *run <= STEADY_RUN)?;
            history.last = Some(Sample {
                time,
                counter,
                earliest,
                latest,
            });
            if has(ANCHOR) {
                let time = time - self.natural(2 * LONGEST_WINDOW.unsigned_abs())?;
                let counter = counter.checked_sub(self.number()?)?;
                let (earliest, latest) = self.bounds()?;
                history.anchor = Some(Sample {
                    time,
                    counter,
                    earliest,
                    latest,
                });
            }
        }
        if has(STEP) {
            let longest_step = (ONE_STEP + 1).unsigned_abs() * SECOND.unsigned_abs();
            let (shortest, longest) = (self.natural(longest_step)?, self.natural(longest_step)?);
            if shortest < SHORTEST_STEP || longest < shortest {
                return None;
            }
            history.step = Step {
                shortest,
                longest,
                seen: u8::try_from(self.number()?).ok()?,
            };
        }
        let mut good = None;
        if has(GOOD) {
            let time = self.natural(LAST_SECOND)?;
            let rate = Rate {
                nanocores: self.number()?,
                window: self.number()?,
            };
            good = Some(Usage {
                time,
                rate,
                memory: self.number()?,
                swap: None,
                storage: None,
            });
        }
        Some(Entity { history, good, seen })
    }

    fn bounds(&mut self) -> Option<(i64, i64)> {
        let earliest = self.natural(SECOND.unsigned_abs())?;
        let latest = earliest + self.natural(SECOND.unsigned_abs())?;
        (latest <= SECOND).then_some((earliest, latest))
    }
}
