//! A queue in which each key stands once: client-go's workqueue, with its delays.
//!
//! A key that is added while it waits is not added again. One that is added while it is worked on is put back when that work
//! is done, so no two calls of one key ever run together and no change is lost. A key may be added for later; of two such times
//! the earlier one counts (`util/workqueue/queue.go`, `delaying_queue.go`). It never has more entries than there are keys.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::series::OfQueue;

/// The key of an object: `NAMESPACE/NAME`, or `NAME`.
pub(crate) type Key = Arc<str>;

/// Keys that want work.
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Something was added, or falls due earlier than before.
    stirred: Notify,
    series: OfQueue,
}

#[derive(Default)]
struct State {
    line: VecDeque<Key>,
    /// What wants work, since when. All of `line` is in it, and what was added while it is worked on.
    dirty: HashMap<Key, Instant>,
    /// What is worked on, since when.
    working: HashMap<Key, Instant>,
    later: BTreeSet<(Instant, Key)>,
    due: HashMap<Key, Instant>,
}

/// A key that is worked on, until this is dropped.
pub(crate) struct Taken {
    queue: Arc<Queue>,
    key: Key,
}

// === impl Queue ===

impl Queue {
    pub(crate) fn new(series: OfQueue) -> Self {
        Self {
            state: Mutex::default(),
            stirred: Notify::new(),
            series,
        }
    }

    /// This key wants work.
    pub(crate) fn add(&self, key: &Key) {
        if self.state().add(key, Instant::now()) {
            self.series.added();
        }
        self.stirred.notify_one();
    }

    /// This key wants work after so long, if not earlier for another reason.
    pub(crate) fn add_after(&self, key: &Key, delay: Duration) {
        self.series.again();
        if delay.is_zero() {
            return self.add(key);
        }
        // What lies beyond the clock's end is never due.
        let Some(at) = Instant::now().checked_add(delay) else { return };
        let mut state = self.state();
        match state.due.get(key) {
            Some(known) if *known <= at => return,
            Some(known) => {
                let known = (*known, key.clone());
                state.later.remove(&known);
            }
            None => {}
        }
        state.due.insert(key.clone(), at);
        state.later.insert((at, key.clone()));
        drop(state);
        self.stirred.notify_one();
    }

    /// The next key, once there is one. For one caller at a time; dropping the future loses nothing.
    pub(crate) async fn next(self: &Arc<Self>) -> Taken {
        loop {
            let until = {
                let mut state = self.state();
                let now = Instant::now();
                for _ in 0..state.ripen(now) {
                    self.series.added();
                }
                if let Some((key, waited)) = state.take(now) {
                    drop(state);
                    self.series.taken(waited);
                    return Taken {
                        queue: self.clone(),
                        key,
                    };
                }
                state.later.first().map(|(at, _)| *at)
            };
            match until {
                Some(at) => {
                    tokio::select! {
                        () = self.stirred.notified() => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => self.stirred.notified().await,
            }
        }
    }

    /// Forgets everything, but what is worked on now.
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        let working = std::mem::take(&mut state.working);
        *state = State {
            working,
            ..State::default()
        };
    }

    /// Keys that wait and are due.
    pub(crate) fn depth(&self) -> usize {
        self.state().line.len()
    }

    /// For how long each key that is worked on has been.
    pub(crate) fn working(&self) -> Vec<Duration> {
        let now = Instant::now();
        self.state()
            .working
            .values()
            .map(|since| now.duration_since(*since))
            .collect()
    }

    fn done(&self, key: &Key) {
        let mut state = self.state();
        let since = state.working.remove(key);
        if state.dirty.contains_key(key) {
            state.line.push_back(key.clone());
        }
        drop(state);
        if let Some(since) = since {
            self.series.worked(since.elapsed());
        }
        self.stirred.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// Whether it was not there before.
    fn add(&mut self, key: &Key, now: Instant) -> bool {
        if self.dirty.contains_key(key) {
            return false;
        }
        self.dirty.insert(key.clone(), now);
        if !self.working.contains_key(key) {
            self.line.push_back(key.clone());
        }
        true
    }

    /// Adds what has fallen due; how many were not there before.
    fn ripen(&mut self, now: Instant) -> usize {
        let mut added = 0;
        while let Some((at, key)) = self.later.pop_first() {
            if at > now {
                self.later.insert((at, key));
                break;
            }
            self.due.remove(&key);
            added += usize::from(self.add(&key, now));
        }
        added
    }

    fn take(&mut self, now: Instant) -> Option<(Key, Duration)> {
        let key = self.line.pop_front()?;
        let since = self.dirty.remove(&key).unwrap_or(now);
        self.working.insert(key.clone(), now);
        Some((key, now.duration_since(since)))
    }
}

// === impl Taken ===

impl Taken {
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.queue.done(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Arc<Queue> {
        Arc::new(Queue::new(OfQueue::unseen()))
    }

    fn key(name: &str) -> Key {
        name.into()
    }

    /// What is there without waiting.
    async fn at_once(queue: &Arc<Queue>) -> Option<Taken> {
        tokio::time::timeout(Duration::from_nanos(1), queue.next()).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn each_key_stands_once_and_in_order() {
        let queue = queue();
        for name in ["a", "b", "a", "c", "b"] {
            queue.add(&key(name));
        }
        assert_eq!(queue.depth(), 3);
        let mut order = Vec::new();
        while let Some(taken) = at_once(&queue).await {
            order.push(taken.key().to_string());
        }
        assert_eq!(order, ["a", "b", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_added_while_it_is_worked_on_comes_again_afterwards() {
        let queue = queue();
        queue.add(&key("a"));
        let taken = at_once(&queue).await.unwrap();
        queue.add(&key("a"));
        queue.add(&key("a"));
        assert_eq!(queue.depth(), 0, "not while it is worked on");
        assert!(at_once(&queue).await.is_none());
        drop(taken);
        assert_eq!(at_once(&queue).await.unwrap().key().as_ref(), "a");
        assert!(at_once(&queue).await.is_none(), "once");
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_later_times_the_earlier_counts() {
        let queue = queue();
        let begun = Instant::now();
        for (name, seconds) in [("a", 10), ("a", 3), ("a", 7), ("b", 5), ("never", u64::MAX)] {
            queue.add_after(&key(name), Duration::from_secs(seconds));
        }
        for (name, seconds) in [("a", 3), ("b", 5)] {
            let taken = queue.next().await;
            assert_eq!((taken.key().as_ref(), begun.elapsed().as_secs()), (name, seconds));
        }
        let more = tokio::time::timeout(Duration::from_secs(60), queue.next()).await;
        assert!(more.is_err(), "the later times were dropped");
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_time_wakes_who_waits_for_a_later_one() {
        let queue = queue();
        queue.add_after(&key("late"), Duration::from_secs(1_000));
        let (waiting, begun) = (queue.clone(), Instant::now());
        let next = tokio::spawn(async move { waiting.next().await.key().to_string() });
        tokio::time::sleep(Duration::from_secs(1)).await;
        queue.add_after(&key("early"), Duration::from_secs(1));
        assert_eq!(next.await.unwrap(), "early");
        assert_eq!(begun.elapsed().as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn cleared_it_is_empty_and_work_under_way_leaves_nothing() {
        let queue = queue();
        queue.add(&key("a"));
        let taken = at_once(&queue).await.unwrap();
        queue.add(&key("a"));
        queue.add(&key("b"));
        queue.add_after(&key("c"), Duration::from_secs(1));
        queue.clear();
        drop(taken);
        assert!(tokio::time::timeout(Duration::from_secs(5), queue.next()).await.is_err());
        assert!(queue.working().is_empty());
    }
}
