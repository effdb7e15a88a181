//! Setting aside: a call that keeps failing is not made for a while.
//!
//! A guest that fails costs its caller a wait and the host a slot, and will most often fail again. So after [`FAILURES`] failures in a
//! row its calls are answered at once, with when to ask again. One call is let through after a back-off (1 s, doubling to 5 min, with
//! jitter); if it fails the next wait is longer, if it succeeds everything is as before. Tables' rows, discovery and documents need no
//! call and stay.
//!
//! **What** is set aside is as narrow as what fails. A plugin with ten resources of which one fails keeps nine; an object that makes
//! the guest trap takes itself away, not its neighbours: otherwise whoever may read one such object could switch a whole resource off
//! for everybody. So a failure counts for the call with its target (`get ships harbor/vega`), and for all calls like it (`get ships`) only
//! if the failure before it was another target's, or if it has no target (`list ships`, `create ships`).
//!
//! **Which** calls: those that somebody waits for (responder, strategy). Collectors' ticks and controllers' reconciles have schedules
//! and back-off of their own, one for each target; a second one here would only hide their targets from each other. Their failures are
//! kept and shown all the same.
//!
//! **What** is a failure: a trap, a limit, a bad result. Not a refusal (that is an answer), and not `Busy` (nothing ran).

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A call as it is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    /// All calls like it, such as `get ships`.
    pub(crate) like: String,
    /// Its target, such as `harbor/vega`; empty if it has none.
    pub(crate) target: String,
}

/// What of one plugin is set aside. One that never fails costs its calls one load.
#[derive(Default)]
pub(crate) struct Asides {
    /// Subjects that have failed.
    failing: AtomicUsize,
    book: Mutex<Book>,
}

/// What is not made now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) what: String,
    pub(crate) failures: u32,
    pub(crate) retry_after: Duration,
}

/// What a failure changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turned {
    /// This is set aside from now on.
    Aside(String),
    /// This is back.
    Back(String),
}

#[derive(Default)]
struct Book {
    /// By what they are called: `get ships`, or `get ships harbor/vega`.
    subjects: HashMap<String, Record>,
}

#[derive(Debug, Default)]
struct Record {
    failures: u32,
    /// The target of the last failure.
    last: String,
    /// Set while it is aside: when one call may go.
    aside: Option<Instant>,
    /// Times that it was set aside without a success since.
    times: u32,
}

/// Failures in a row.
const FAILURES: u32 = 5;
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// How long one call that was let through keeps others waiting, at most; it may be dropped without an outcome.
const PROBE: Duration = Duration::from_secs(15);
/// Subjects that are remembered; a client can make up names, and a plugin fail for each.
const MOST: usize = 256;

// === impl Subject ===

impl Subject {
    fn whole(&self) -> String {
        format!("{} {}", self.like, self.target)
    }
}

// === impl Asides ===

impl Asides {
    /// Whether this call may be made now.
    pub(crate) fn admit(&self, subject: &Subject, now: Instant) -> Result<(), Refused> {
        if self.failing.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        self.with(|book| book.admit(subject, now))
    }

    /// It failed.
    pub(crate) fn failed(&self, subject: &Subject, now: Instant, jitter: f64) -> Vec<Turned> {
        self.with(|book| book.failed(subject, now, jitter))
    }

    /// It brought a result, or a refusal.
    pub(crate) fn answered(&self, subject: &Subject) -> Vec<Turned> {
        if self.failing.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        self.with(|book| book.answered(subject))
    }

    /// What is set aside now, and for how long.
    pub(crate) fn now(&self, now: Instant) -> Vec<Refused> {
        if self.failing.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let mut all = self.with(|book| book.asides(now));
        all.sort_by(|a, b| a.what.cmp(&b.what));
        all
    }

    fn with<T>(&self, work: impl FnOnce(&mut Book) -> T) -> T {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut book);
        self.failing.store(book.subjects.len(), Ordering::Relaxed);
        result
    }
}

// === impl Book ===

impl Book {
    fn admit(&mut self, subject: &Subject, now: Instant) -> Result<(), Refused> {
        let names = [subject.like.clone(), subject.whole()];
        for name in &names {
            if let Some(record) = self.subjects.get(name)
                && let Some(until) = record.aside
                && now < until
            {
                return Err(record.refused(name, until, now));
            }
        }
        for name in &names {
            if let Some(record) = self.subjects.get_mut(name)
                && record.aside.is_some()
            {
                // This is the one that goes; the others wait for what comes of it.
                record.aside = Some(now + PROBE);
            }
        }
        Ok(())
    }

    fn failed(&mut self, subject: &Subject, now: Instant, jitter: f64) -> Vec<Turned> {
        let mut turned = Vec::new();
        let like = self.record(&subject.like);
        if let Some(like) = like {
            // Being the call that was let through, it counts whatever its target is.
            let counts = subject.target.is_empty() || like.last != subject.target || like.aside.is_some();
            like.last.clone_from(&subject.target);
            if counts && like.failed(now, jitter) {
                turned.push(Turned::Aside(subject.like.clone()));
            }
        }
        if !subject.target.is_empty()
            && let Some(record) = self.record(&subject.whole())
            && record.failed(now, jitter)
        {
            turned.push(Turned::Aside(subject.whole()));
        }
        turned
    }

    fn answered(&mut self, subject: &Subject) -> Vec<Turned> {
        let mut turned = Vec::new();
        for name in [subject.like.clone(), subject.whole()] {
            let record = self.subjects.remove(&name);
            if record.is_some_and(|r| r.aside.is_some()) {
                turned.push(Turned::Back(name));
            }
        }
        turned
    }

    fn asides(&self, now: Instant) -> Vec<Refused> {
        let aside = |(name, record): (&String, &Record)| record.aside.map(|until| record.refused(name, until, now));
        self.subjects.iter().filter_map(aside).collect()
    }

    /// The record of this name. There is none if there are too many: what is not aside is forgotten first.
    fn record(&mut self, name: &str) -> Option<&mut Record> {
        if self.subjects.len() >= MOST && !self.subjects.contains_key(name) {
            let forgotten = self.subjects.iter().find(|(_, r)| r.aside.is_none()).map(|(n, _)| n.clone());
            self.subjects.remove(&forgotten?);
        }
        Some(self.subjects.entry(name.to_owned()).or_default())
    }
}

// === impl Record ===

impl Record {
    /// One failure more. Whether it is set aside now and was not before.
    fn failed(&mut self, now: Instant, jitter: f64) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES {
            return false;
        }
        let wait = FIRST
            .saturating_mul(1_u32.checked_shl(self.times).unwrap_or(u32::MAX))
            .min(LONGEST);
        // Up to a fifth more, so that what failed together does not come back together.
        self.aside = Some(now + wait.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 5.0));
        self.times = (self.times + 1).min(16);
        self.times == 1
    }

    fn refused(&self, name: &str, until: Instant, now: Instant) -> Refused {
        Refused {
            what: name.to_owned(),
            failures: self.failures,
            retry_after: until.saturating_duration_since(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(like: &str, target: &str) -> Subject {
        Subject {
            like: like.into(),
            target: target.into(),
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn five_in_a_row_set_it_aside_and_one_success_takes_it_back() {
        let (asides, mut now) = (Asides::default(), Instant::now());
        let list = subject("list ships", "");
        for n in 1..=5 {
            assert!(asides.admit(&list, now).is_ok(), "{n}");
            let turned = asides.failed(&list, now, 0.0);
            assert_eq!(turned.is_empty(), n < 5, "{n}: {turned:?}");
        }
        let refused = asides.admit(&list, now).unwrap_err();
        assert_eq!((refused.failures, refused.retry_after), (5, SECOND));
        assert!(asides.admit(&subject("list boats", ""), now).is_ok(), "others go on");
        // One goes, and only one.
        now += SECOND;
        assert!(asides.admit(&list, now).is_ok());
        assert!(asides.admit(&list, now).is_err());
        // It is said once, and the waits double up to five minutes.
        for wait in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            assert_eq!(asides.failed(&list, now, 0.0), []);
            assert_eq!(asides.now(now)[0].retry_after, SECOND * wait);
            now += SECOND * wait;
            assert!(asides.admit(&list, now).is_ok());
        }
        assert_eq!(asides.answered(&list), [Turned::Back("list ships".into())]);
        assert!(asides.admit(&list, now).is_ok() && asides.now(now).is_empty());
        assert_eq!(asides.failing.load(Ordering::Relaxed), 0, "and costs nothing again");
    }

    #[test]
    fn an_object_that_fails_takes_itself_away_and_not_its_neighbours() {
        let (asides, now) = (Asides::default(), Instant::now());
        let (bad, good) = (subject("get ships", "harbor/bad"), subject("get ships", "harbor/good"));
        for _ in 0..20 {
            asides.failed(&bad, now, 0.5);
        }
        assert_eq!(asides.admit(&bad, now).unwrap_err().what, "get ships harbor/bad");
        assert!(asides.admit(&good, now).is_ok());
        // But a plugin that fails for whatever is asked is set aside as a whole.
        let turned: Vec<_> = (0..5)
            .flat_map(|n| asides.failed(&subject("get ships", &format!("harbor/{n}")), now, 0.5))
            .collect();
        assert_eq!(turned, [Turned::Aside("get ships".into())]);
        assert_eq!(asides.admit(&good, now).unwrap_err().what, "get ships");
    }

    #[test]
    fn a_success_between_failures_begins_the_count_anew() {
        let (asides, now) = (Asides::default(), Instant::now());
        let list = subject("list ships", "");
        for n in 0..40 {
            if n % 5 == 4 {
                asides.answered(&list);
            } else {
                assert_eq!(asides.failed(&list, now, 0.0), []);
            }
        }
        assert!(asides.admit(&list, now).is_ok());
    }

    #[test]
    fn one_that_went_and_never_came_back_does_not_close_the_door() {
        let (asides, mut now) = (Asides::default(), Instant::now());
        let list = subject("list ships", "");
        (0..5).for_each(|_| _ = asides.failed(&list, now, 0.0));
        now += SECOND;
        assert!(asides.admit(&list, now).is_ok() && asides.admit(&list, now).is_err());
        now += PROBE;
        assert!(asides.admit(&list, now).is_ok());
    }

    #[test]
    fn names_that_clients_make_up_are_bounded() {
        let (asides, now) = (Asides::default(), Instant::now());
        for n in 0..10_000 {
            asides.failed(&subject("get ships", &n.to_string()), now, 0.0);
        }
        assert!(asides.with(|book| book.subjects.len()) <= MOST);
        assert!(asides.admit(&subject("get ships", "1"), now).is_err());
    }
}
