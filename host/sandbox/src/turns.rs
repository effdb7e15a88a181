//! Who runs next: turns at the CPU, shared fairly between plugins.
//!
//! Guests run on the threads that serve, so a guest that computes takes time from everybody. What is short is left alone: a call's
//! first slice, until the clock's next tick, runs where it was called and asks nobody. A call that needs more must hold a turn for
//! each further slice, and there are fewer turns than cores, so guests can never hold them all. The next turn goes to the plugin
//! that has had the least CPU lately, whoever has waited longest among equals; within a plugin, first come, first served.
//!
//! Many calls with one slice each would go round that. So a plugin is *gated*, and needs a turn for first slices as well, while calls
//! of its own want turns; while it has had more than half of all turns' worth of CPU lately; and while another waits that has
//! had less. Slices so short that a whole queue of them is no longer than one full slice are never gated: there is nothing to gain.
//!
//! What it promises, and what the properties below test: never more turns than there are; none idle while somebody waits; a turn comes
//! back when its call ends, is dropped, or does not take it up; whoever waits is served after a bounded number of others' slices.
//! It must never wake anybody while it holds its lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

/// What half of the CPU that a plugin has had is forgotten after.
const HALF_LIFE: Duration = Duration::from_millis(200);
/// What a turn costs at least, so that slices of no length also go round.
const LEAST: f64 = 20e-6;
/// How long a turn that was given may lie there: a caller that does not poll its call must not keep it from others.
const STALE: Duration = Duration::from_millis(50);
/// Slices of this many nanoseconds and fewer are never gated: 64 of them are as long as one full slice.
const SHORT: u64 = 32_000;

/// One plugin's share of the CPU; its versions have it together.
#[derive(Default)]
pub(crate) struct Account {
    id: u64,
    /// Nanoseconds of CPU so far.
    cpu: AtomicU64,
    /// The usual length of a slice in nanoseconds.
    slice: AtomicU64,
    gated: AtomicBool,
}

/// The turns of one engine.
pub(crate) struct Turns {
    book: Mutex<Book<Waker>>,
    names: Mutex<BTreeMap<Arc<str>, Weak<Account>>>,
    seats: AtomicU64,
}

/// Who has a turn and who waits. Knows no clock and wakes nobody: `W` is how its owner calls somebody.
struct Book<W> {
    /// Turns that there are.
    most: usize,
    /// Turns that are given, taken up or not.
    given: usize,
    waiting: usize,
    plugins: BTreeMap<u64, Standing<W>>,
    /// Turns that were given and are not taken up.
    lying: BTreeMap<u64, Lying<W>>,
    /// Counts what was given.
    served: u64,
    ticked: Option<Instant>,
}

/// Where a plugin stands.
struct Standing<W> {
    account: Weak<Account>,
    queue: VecDeque<(u64, W)>,
    /// Seconds of CPU, older ones for less.
    recent: f64,
    /// What of the account's CPU is in there already.
    seen: u64,
    /// When it was served last.
    last: u64,
}

struct Lying<W> {
    plugin: u64,
    wake: W,
    since: Instant,
}

// === impl Account ===

impl Account {
    /// Whether its calls need a turn for their first slice, too.
    pub(crate) fn gated(&self) -> bool {
        self.gated.load(Ordering::Relaxed)
    }

    /// One of its calls has used a whole slice and needs more.
    pub(crate) fn hungry(&self) {
        self.gated.store(true, Ordering::Relaxed);
    }

    /// One slice of so many nanoseconds is over.
    pub(crate) fn spent(&self, nanos: u64) {
        self.cpu.fetch_add(nanos, Ordering::Relaxed);
        // An average; that two threads may overwrite each other costs nothing but exactness.
        let usual = self.slice.load(Ordering::Relaxed);
        self.slice
            .store(usual.saturating_sub(usual / 8).saturating_add(nanos / 8), Ordering::Relaxed);
    }
}

// === impl Turns ===

impl Turns {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            book: Mutex::new(Book::new(most)),
            names: Mutex::default(),
            seats: AtomicU64::new(1),
        }
    }

    /// The account of this plugin. One that nobody holds any more is forgotten.
    pub(crate) fn account(&self, name: &Arc<str>) -> Arc<Account> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = names.get(name).and_then(Weak::upgrade) {
            return account;
        }
        names.retain(|_, account| account.strong_count() > 0);
        let id = self.seats.fetch_add(1, Ordering::Relaxed);
        let account = Arc::new(Account {
            id,
            ..Account::default()
        });
        names.insert(name.clone(), Arc::downgrade(&account));
        self.book().open(&account);
        account
    }

    /// A number for somebody who will wait.
    pub(crate) fn seat(&self) -> u64 {
        self.seats.fetch_add(1, Ordering::Relaxed)
    }

    /// A turn now, or a place in the queue; the task is woken when it is worth asking [`Turns::taken`].
    pub(crate) fn ask(&self, account: &Account, seat: u64, task: &Context<'_>) -> bool {
        self.book().ask(account.id, seat, || task.waker().clone())
    }

    /// Whether the turn that was asked for is here; from then on it must be given back.
    pub(crate) fn taken(&self, account: &Account, seat: u64, task: &Context<'_>) -> bool {
        self.book().take(account.id, seat, |wake| wake.clone_from(task.waker()))
    }

    /// A slice is over.
    pub(crate) fn give_back(&self) {
        let woken = self.book().give_back(Instant::now());
        woken.into_iter().for_each(Waker::wake);
    }

    /// Somebody who waits goes away.
    pub(crate) fn leave(&self, account: &Account, seat: u64) {
        let woken = self.book().leave(account.id, seat, Instant::now());
        woken.into_iter().for_each(Waker::wake);
    }

    /// Called by the clock: forgets a little, decides who is gated, takes back what lies there.
    pub(crate) fn tick(&self, now: Instant) {
        let woken = self.book().tick(now);
        woken.into_iter().for_each(Waker::wake);
    }

    fn book(&self) -> MutexGuard<'_, Book<Waker>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Book ===

impl<W: Clone> Book<W> {
    fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            given: 0,
            waiting: 0,
            plugins: BTreeMap::new(),
            lying: BTreeMap::new(),
            served: 0,
            ticked: None,
        }
    }

    fn open(&mut self, account: &Arc<Account>) {
        self.plugins
            .retain(|_, p| !p.queue.is_empty() || p.account.strong_count() > 0);
        let standing = Standing {
            account: Arc::downgrade(account),
            queue: VecDeque::new(),
            recent: 0.0,
            seen: account.cpu.load(Ordering::Relaxed),
            last: 0,
        };
        self.plugins.insert(account.id, standing);
    }

    fn ask(&mut self, plugin: u64, seat: u64, wake: impl FnOnce() -> W) -> bool {
        // Whenever a turn is free, nobody waits: so whoever asks may have it.
        if self.given < self.most {
            self.given += 1;
            return true;
        }
        let Some(standing) = self.plugins.get_mut(&plugin) else {
            return false;
        };
        standing.queue.push_back((seat, wake()));
        standing.gate(true);
        self.waiting += 1;
        false
    }

    /// Whether `seat` has a turn now; if not, `wake` may change how it is called.
    fn take(&mut self, plugin: u64, seat: u64, wake: impl FnOnce(&mut W)) -> bool {
        if self.lying.remove(&seat).is_some() {
            return true;
        }
        let standing = self.plugins.get_mut(&plugin);
        if let Some((_, own)) = standing.and_then(|s| s.queue.iter_mut().find(|(s, _)| *s == seat)) {
            wake(own);
        }
        false
    }

    fn give_back(&mut self, now: Instant) -> Vec<W> {
        self.given = self.given.saturating_sub(1);
        self.serve(now)
    }

    fn leave(&mut self, plugin: u64, seat: u64, now: Instant) -> Vec<W> {
        if self.lying.remove(&seat).is_some() {
            return self.give_back(now);
        }
        if let Some(standing) = self.plugins.get_mut(&plugin) {
            let before = standing.queue.len();
            standing.queue.retain(|(s, _)| *s != seat);
            self.waiting -= before - standing.queue.len();
        }
        Vec::new()
    }

    /// Gives free turns to those who wait.
    fn serve(&mut self, now: Instant) -> Vec<W> {
        let mut woken = Vec::new();
        while self.given < self.most && self.waiting > 0 {
            self.plugins.values_mut().for_each(Standing::fold);
            let waiting = self.plugins.iter_mut().filter(|(_, s)| !s.queue.is_empty());
            let next = waiting.min_by(|(_, a), (_, b)| a.recent.total_cmp(&b.recent).then(a.last.cmp(&b.last)));
            let Some((id, standing)) = next else { break };
            let Some((seat, wake)) = standing.queue.pop_front() else {
                break;
            };
            self.waiting -= 1;
            self.given += 1;
            self.served += 1;
            standing.last = self.served;
            standing.recent += LEAST;
            let lying = Lying {
                plugin: *id,
                wake: wake.clone(),
                since: now,
            };
            self.lying.insert(seat, lying);
            woken.push(wake);
        }
        woken
    }

    fn tick(&mut self, now: Instant) -> Vec<W> {
        let since = self
            .ticked
            .replace(now)
            .map_or(Duration::ZERO, |t| now.saturating_duration_since(t));
        let left = (-since.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2();
        for standing in self.plugins.values_mut() {
            standing.fold();
            standing.recent *= left;
        }
        // Seconds of `recent` that half of all turns bring when they are used without a pause.
        let share = self.most as f64 / 2.0 * HALF_LIFE.as_secs_f64() / std::f64::consts::LN_2;
        let waits = self.plugins.values().filter(|s| !s.queue.is_empty()).map(|s| s.recent);
        let least = waits.min_by(f64::total_cmp).unwrap_or(f64::INFINITY);
        for standing in self.plugins.values() {
            standing.gate(!standing.queue.is_empty() || standing.recent > share.min(least));
        }
        let stale: Vec<u64> = self
            .lying
            .iter()
            .filter(|(_, l)| now.saturating_duration_since(l.since) > STALE)
            .map(|(seat, _)| *seat)
            .collect();
        if self.waiting == 0 {
            return Vec::new();
        }
        for seat in stale {
            let Some(Lying { plugin, wake, .. }) = self.lying.remove(&seat) else {
                continue;
            };
            self.given -= 1;
            if let Some(standing) = self.plugins.get_mut(&plugin) {
                standing.queue.push_back((seat, wake));
                self.waiting += 1;
            }
        }
        self.serve(now)
    }
}

// === impl Standing ===

impl<W> Standing<W> {
    /// Takes in what the plugin has used since.
    fn fold(&mut self) {
        let Some(account) = self.account.upgrade() else { return };
        let cpu = account.cpu.load(Ordering::Relaxed);
        self.recent += cpu.saturating_sub(self.seen) as f64 / 1e9;
        self.seen = cpu;
    }

    fn gate(&self, gated: bool) {
        let Some(account) = self.account.upgrade() else { return };
        let gated = gated && (!self.queue.is_empty() || account.slice.load(Ordering::Relaxed) > SHORT);
        account.gated.store(gated, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SLICE: u64 = 2_000_000;

    fn open(book: &mut Book<u64>, ids: std::ops::RangeInclusive<u64>) -> Vec<Arc<Account>> {
        let accounts: Vec<Arc<Account>> = ids
            .map(|id| {
                Arc::new(Account {
                    id,
                    ..Account::default()
                })
            })
            .collect();
        accounts.iter().for_each(|a| book.open(a));
        accounts
    }

    /// Runs the one that has a turn for a slice and lets it ask again; returns who is called next.
    fn slice(book: &mut Book<u64>, accounts: &[Arc<Account>], (plugin, seat): (u64, u64), now: Instant) -> Vec<u64> {
        let account = accounts.iter().find(|a| a.id == plugin).unwrap();
        account.spent(SLICE);
        let mut woken = book.give_back(now);
        if book.ask(plugin, seat, || seat) {
            woken.push(seat);
        }
        woken
    }

    #[test]
    fn one_that_floods_does_not_push_its_neighbour_aside() {
        let now = Instant::now();
        let mut book = Book::new(1);
        let accounts = open(&mut book, 1..=2);
        assert!(book.ask(1, 100, || 100));
        for seat in 101..200 {
            assert!(!book.ask(1, seat, || seat));
        }
        let mut running = 100;
        for turn in 0..50 {
            // The neighbour comes, needs two slices, and waits for one of the other's each time.
            assert!(!book.ask(2, 7, || 7), "{turn}");
            for _ in 0..2 {
                let next = slice(&mut book, &accounts, (1, running), now);
                assert_eq!(next, [7], "{turn}: the turn after this one is the neighbour's");
                assert!(book.take(2, 7, |_| ()));
                accounts[1].spent(SLICE);
                let next = book.give_back(now);
                running = next[0];
                assert!(running >= 100 && book.take(1, running, |_| ()));
                assert!(!book.ask(2, 7, || 7));
            }
            book.leave(2, 7, now);
        }
    }

    #[test]
    fn who_takes_much_is_gated_and_who_takes_little_is_not() {
        let mut now = Instant::now();
        let mut book = Book::<u64>::new(1);
        let accounts = open(&mut book, 1..=3);
        book.tick(now);
        for _ in 0..500 {
            // One core's worth in long slices, one in very short ones, and a thousandth.
            now += Duration::from_millis(2);
            accounts[0].spent(SLICE);
            for _ in 0..200 {
                accounts[1].spent(10_000);
            }
            accounts[2].spent(2_000);
            book.tick(now);
        }
        assert_eq!(accounts.iter().map(|a| a.gated()).collect::<Vec<_>>(), [true, false, false]);
        for _ in 0..500 {
            now += Duration::from_millis(2);
            book.tick(now);
        }
        assert!(!accounts[0].gated(), "it is forgotten");
        // While calls of its own wait, no other call of it goes past them.
        assert!(book.ask(1, 50, || 50) && !book.ask(3, 51, || 51));
        assert!(accounts[2].gated());
    }

    #[test]
    fn a_turn_that_nobody_takes_up_goes_on() {
        let now = Instant::now();
        let mut book = Book::new(1);
        let _accounts = open(&mut book, 1..=2);
        assert!(book.ask(1, 10, || 10) && !book.ask(1, 11, || 11) && !book.ask(2, 20, || 20));
        let first = book.give_back(now);
        let later = now + STALE + Duration::from_millis(1);
        let second = book.tick(later);
        assert_eq!((first.as_slice(), second.as_slice()), (&[11][..], &[20][..]));
        assert!(!book.take(1, 11, |_| ()), "it waits again");
        assert!(book.take(2, 20, |_| ()));
        assert_eq!(book.give_back(later), [11], "and is not forgotten");
        assert!(book.take(1, 11, |_| ()));
        assert!(book.give_back(later).is_empty());
        assert_eq!((book.given, book.waiting, book.lying.len()), (0, 0, 0));
    }

    /// What a call may do next, as chance has it.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Ask(u64),
        TakeUp,
        Spend(u64),
        Drop(usize),
        Tick(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1..=4_u64).prop_map(Step::Ask),
            4 => Just(Step::TakeUp),
            4 => (0..3 * SLICE).prop_map(Step::Spend),
            1 => (0..32_usize).prop_map(Step::Drop),
            1 => (0..120_u64).prop_map(Step::Tick),
        ]
    }

    proptest! {
        /// Never more turns than there are, none free while somebody waits, and all of them come back.
        #[test]
        fn turns_are_never_lost(most in 1..4_usize, steps in prop::collection::vec(step(), 1..400)) {
            let mut now = Instant::now();
            let mut book = Book::new(most);
            let accounts = open(&mut book, 1..=4);
            // Seat to plugin, and whether it holds a turn.
            let mut calls: BTreeMap<u64, (u64, bool)> = BTreeMap::new();
            let mut called: Vec<u64> = Vec::new();
            let mut next = 100;
            for step in steps {
                match step {
                    Step::Ask(plugin) => {
                        next += 1;
                        let has = book.ask(plugin, next, || next);
                        calls.insert(next, (plugin, has));
                    }
                    Step::TakeUp => {
                        for seat in std::mem::take(&mut called) {
                            if let Some((plugin, has)) = calls.get_mut(&seat) && !*has {
                                *has = book.take(*plugin, seat, |_| ());
                            }
                        }
                    }
                    Step::Spend(nanos) => {
                        let running = calls.iter().find(|(_, (_, has))| *has).map(|(s, (p, _))| (*s, *p));
                        if let Some((seat, plugin)) = running {
                            accounts[usize::try_from(plugin).unwrap() - 1].spent(nanos);
                            calls.remove(&seat);
                            called.extend(book.give_back(now));
                        }
                    }
                    Step::Drop(n) => {
                        if let Some((seat, (plugin, has))) = calls.iter().nth(n).map(|(s, c)| (*s, *c)) {
                            calls.remove(&seat);
                            called.extend(if has { book.give_back(now) } else { book.leave(plugin, seat, now) });
                        }
                    }
                    Step::Tick(ms) => {
                        now += Duration::from_millis(ms);
                        called.extend(book.tick(now));
                    }
                }
                let held = calls.values().filter(|(_, has)| *has).count();
                prop_assert!(book.given <= most);
                prop_assert_eq!(book.given, held + book.lying.len());
                prop_assert_eq!(book.waiting, calls.len() - held - book.lying.len());
                prop_assert!(book.waiting == 0 || book.given == most, "a turn is free while somebody waits");
                // Whoever has a turn lying there was called.
                prop_assert!(book.lying.keys().all(|seat| called.contains(seat)));
            }
            // Whoever goes on to poll is served, without any further tick.
            let mut rounds = 0;
            while !calls.is_empty() {
                rounds += 1;
                prop_assert!(rounds < 2000, "somebody starves");
                for seat in std::mem::take(&mut called) {
                    if let Some((plugin, has)) = calls.get_mut(&seat) && !*has {
                        *has = book.take(*plugin, seat, |_| ());
                    }
                }
                let running = calls.iter().find(|(_, (_, has))| *has).map(|(s, _)| *s);
                if let Some(seat) = running {
                    calls.remove(&seat);
                    called.extend(book.give_back(now));
                }
            }
            prop_assert_eq!((book.given, book.waiting), (0, 0));
        }

        /// However much another plugin has had, it is served again before the others have had as much and a slice more.
        #[test]
        fn nobody_starves(others in 1..5_u64, head in 0..400_u64) {
            let now = Instant::now();
            let mut book = Book::new(1);
            let accounts = open(&mut book, 0..=others);
            accounts[0].spent(head * SLICE);
            prop_assert!(book.ask(1, 1001, || 1001));
            prop_assert!(!book.ask(0, 1000, || 1000));
            for plugin in 2..=others {
                let _ = book.ask(plugin, 1000 + plugin, || 1000 + plugin);
            }
            let (mut running, mut slices) = (1001, 0);
            while running != 1000 {
                slices += 1;
                prop_assert!(slices <= others * (head + 1), "{} slices", slices);
                let next = slice(&mut book, &accounts, (running - 1000, running), now);
                running = next[0];
                prop_assert!(book.take(running - 1000, running, |_| ()));
            }
        }
    }
}
