//! A call's time at the CPU: measured, bounded, and taken in slices.
//!
//! [`run`] stands around everything that a call does. Before each poll it asks for a turn if one is needed ([`Turns`]), around the
//! poll it measures, and what the poll leaves is given back: who waits for a kubelet holds no turn. The clock's tick asks [`Meter::tick`]
//! whether the guest may go on.
//!
//! Reading a thread's CPU clock is a system call, a fifth of what a whole call into a guest costs. So a call begins on the wall clock,
//! which is never less, and changes to the CPU clock as soon as it has seen a tick or spent [`CHEAP`]: by then it is no longer short.
//!
//! The limit `cpu_time` is a sum for a call that ends with its deadline. A stream may live for hours, so for it the limit is a rate:
//! as much again in each window as long as a call's deadline. Nothing is saved up from one window to the next.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::clock::{Clock, Engaged, thread_cpu};
use crate::counters::Counters;
use crate::turns::{Account, Turns};

/// Nanoseconds that a call may spend by the wall clock before it is measured exactly.
const CHEAP: u64 = 5_000_000;

/// What one call has spent. Shared by whoever polls the call and the tick inside of it; both are on one thread at a time.
pub(crate) struct Meter {
    opened: Instant,
    /// Nanoseconds of CPU for each window.
    limit: u64,
    /// Nanoseconds of one window.
    window: u64,
    /// A slice that is not this long when the tick comes may see the next one.
    young: u64,
    spent: AtomicU64,
    /// What was spent when the window began, and when that was.
    before: AtomicU64,
    since: AtomicU64,
    /// The clock at the beginning of this poll.
    began: AtomicU64,
    exact: AtomicBool,
    hungry: AtomicBool,
    over: AtomicBool,
    ran: AtomicBool,
}

/// What a tick means for the guest that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tick {
    /// It has just begun.
    GoOn,
    /// Others first.
    MakeWay,
    /// It has had all that it may.
    Stop,
}

/// Who polls a call.
pub(crate) struct Seat<'a> {
    pub(crate) clock: &'a Clock,
    pub(crate) turns: &'a Turns,
    pub(crate) account: &'a Account,
    pub(crate) counters: &'a Counters,
    pub(crate) meter: &'a Meter,
    number: u64,
    standing: Standing,
    /// The clock takes turns back that nobody takes up, so whoever waits needs it.
    waiting: Option<Engaged<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Nothing asked for.
    Free,
    /// The next poll needs a turn.
    Hungry,
    Waiting,
    Holding,
}

// === impl Meter ===

impl Meter {
    pub(crate) fn new(limit: Duration, window: Duration, tick: Duration) -> Self {
        let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        Self {
            opened: Instant::now(),
            limit: nanos(limit),
            window: nanos(window),
            young: nanos(tick) / 2,
            spent: AtomicU64::new(0),
            before: AtomicU64::new(0),
            since: AtomicU64::new(0),
            began: AtomicU64::new(0),
            exact: AtomicBool::new(false),
            hungry: AtomicBool::new(false),
            over: AtomicBool::new(false),
            ran: AtomicBool::new(false),
        }
    }

    /// Whether the call was stopped for what it has spent.
    pub(crate) fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Whether the call ever had the CPU.
    pub(crate) fn ran(&self) -> bool {
        self.ran.load(Ordering::Relaxed)
    }

    fn wall(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn now(&self) -> u64 {
        if self.exact.load(Ordering::Relaxed) {
            thread_cpu()
        } else {
            self.wall()
        }
    }

    fn begin(&self) {
        self.ran.store(true, Ordering::Relaxed);
        self.began.store(self.now(), Ordering::Relaxed);
    }

    /// What this poll has spent.
    fn end(&self) -> u64 {
        let slice = self.now().saturating_sub(self.began.load(Ordering::Relaxed));
        let spent = self.spent.fetch_add(slice, Ordering::Relaxed).saturating_add(slice);
        if spent > CHEAP {
            self.exact.store(true, Ordering::Relaxed);
        }
        slice
    }

    /// The clock has ticked while the guest runs.
    pub(crate) fn tick(&self) -> Tick {
        let slice = self.now().saturating_sub(self.began.load(Ordering::Relaxed));
        let spent = self.spent.load(Ordering::Relaxed).saturating_add(slice);
        let wall = self.wall();
        if wall.saturating_sub(self.since.load(Ordering::Relaxed)) > self.window {
            self.since.store(wall, Ordering::Relaxed);
            self.before.store(spent, Ordering::Relaxed);
        }
        if spent.saturating_sub(self.before.load(Ordering::Relaxed)) > self.limit {
            self.over.store(true, Ordering::Relaxed);
            return Tick::Stop;
        }
        if slice < self.young {
            return Tick::GoOn;
        }
        self.hungry.store(true, Ordering::Relaxed);
        Tick::MakeWay
    }
}

// === impl Seat ===

impl<'a> Seat<'a> {
    pub(crate) fn new(
        clock: &'a Clock,
        turns: &'a Turns,
        account: &'a Account,
        counters: &'a Counters,
        meter: &'a Meter,
    ) -> Self {
        Self {
            clock,
            turns,
            account,
            counters,
            meter,
            number: 0,
            standing: Standing::Free,
            waiting: None,
        }
    }

    fn poll<F: Future>(&mut self, work: Pin<&mut F>, task: &mut Context<'_>) -> Poll<F::Output> {
        if !self.may_run(task) {
            return Poll::Pending;
        }
        let engaged = self.clock.engage();
        self.meter.begin();
        let polled = work.poll(task);
        let nanos = self.meter.end();
        drop(engaged);
        self.account.spent(nanos);
        self.counters.cpu.fetch_add(nanos, Ordering::Relaxed);
        let held = self.standing == Standing::Holding;
        self.standing = Standing::Free;
        if held {
            self.turns.give_back();
        }
        if polled.is_pending() && self.meter.hungry.swap(false, Ordering::Relaxed) {
            // From here on it is no longer short.
            self.meter.exact.store(true, Ordering::Relaxed);
            self.standing = Standing::Hungry;
            self.account.hungry();
        }
        polled
    }

    fn may_run(&mut self, task: &Context<'_>) -> bool {
        let has = match self.standing {
            Standing::Free if !self.account.gated() => return true,
            Standing::Holding => true,
            Standing::Waiting => self.turns.taken(self.account, self.number, task),
            Standing::Free | Standing::Hungry => {
                if self.number == 0 {
                    self.number = self.turns.seat();
                }
                self.turns.ask(self.account, self.number, task)
            }
        };
        if has {
            self.standing = Standing::Holding;
            self.waiting = None;
        } else if self.standing != Standing::Waiting {
            self.standing = Standing::Waiting;
            self.waiting = Some(self.clock.engage());
        }
        has
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        match self.standing {
            Standing::Waiting => self.turns.leave(self.account, self.number),
            Standing::Holding => self.turns.give_back(),
            Standing::Free | Standing::Hungry => {}
        }
    }
}

/// Does a call's work in slices.
pub(crate) async fn run<F: Future>(seat: Seat<'_>, work: F) -> F::Output {
    let mut work = pin!(work);
    let mut seat = seat;
    poll_fn(|task| seat.poll(work.as_mut(), task)).await
}

/// A meter that a call and its store share.
pub(crate) type Shared = Arc<Meter>;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn burn(time: Duration) {
        let until = thread_cpu() + u64::try_from(time.as_nanos()).unwrap();
        while thread_cpu() < until {
            std::hint::black_box(());
        }
    }

    /// A meter that counts the thread's own time from the first slice on: on a busy machine the wall goes faster.
    fn exact(limit: Duration, window: Duration, tick: Duration) -> Meter {
        let meter = Meter::new(limit, window, tick);
        meter.exact.store(true, Ordering::Relaxed);
        meter
    }

    #[test]
    fn what_has_spent_more_than_a_little_is_counted_exactly() {
        let meter = Meter::new(Duration::from_secs(3600), Duration::from_secs(3600), 2 * MS);
        meter.begin();
        burn(6 * MS);
        assert!(meter.end() >= 6_000_000);
        assert!(meter.exact.load(Ordering::Relaxed));
    }

    #[test]
    fn what_is_spent_adds_up_and_is_bounded() {
        let meter = exact(20 * MS, Duration::from_secs(3600), 2 * MS);
        let mut spent = 0;
        for _ in 0..4 {
            meter.begin();
            burn(4 * MS);
            assert_eq!(meter.tick(), Tick::MakeWay);
            spent += meter.end();
            std::thread::sleep(MS);
        }
        assert!(spent >= 16_000_000 && meter.spent.load(Ordering::Relaxed) == spent);
        meter.begin();
        burn(5 * MS);
        assert_eq!((meter.tick(), meter.over()), (Tick::Stop, true));
    }

    #[test]
    fn a_stream_has_as_much_again_in_each_window() {
        let meter = exact(10 * MS, 30 * MS, MS);
        for _ in 0..3 {
            meter.begin();
            burn(8 * MS);
            assert_ne!(meter.tick(), Tick::Stop);
            meter.end();
            std::thread::sleep(31 * MS);
            // A window begins with the first tick after the last one's end, and what was before does not count.
            meter.begin();
            meter.tick();
            meter.end();
        }
    }

    #[test]
    fn a_slice_that_has_just_begun_goes_on() {
        let meter = Meter::new(Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(7200));
        meter.begin();
        assert_eq!(meter.tick(), Tick::GoOn);
    }

    fn woken() -> (Arc<Woken>, std::task::Waker) {
        let woken = Arc::new(Woken::default());
        (woken.clone(), woken.into())
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    /// Work that computes for ever, as the tick sees it.
    async fn spinning(meter: &Meter) {
        loop {
            meter.hungry.store(true, Ordering::Relaxed);
            futures::pending!();
        }
    }

    #[test]
    fn a_dropped_call_gives_its_turn_on() {
        let (clock, turns, counters) = (Clock::default(), Turns::new(1), Counters::default());
        let account = turns.account(&Arc::from("a"));
        let meters = [(); 2].map(|()| Meter::new(Duration::from_secs(1), Duration::from_secs(1), MS));
        let call = |meter| Box::pin(run(Seat::new(&clock, &turns, &account, &counters, meter), spinning(meter)));
        let mut calls = meters.iter().map(call).collect::<Vec<_>>();
        let wakers = [woken(), woken()];
        let is_woken = |n: usize| wakers[n].0.0.swap(false, Ordering::SeqCst);
        // Somebody has the only turn; both calls have their first slice, and then wait.
        let (_, nobody) = woken();
        assert!(turns.ask(&account, 1_000, &Context::from_waker(&nobody)));
        for _ in 0..2 {
            for (call, (_, waker)) in calls.iter_mut().zip(&wakers) {
                assert!(call.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
            }
        }
        assert!(account.gated() && !is_woken(0) && !is_woken(1));
        turns.give_back();
        // Who came first depends on whether the other was let in at all while the first was hungry.
        let (zero, one) = (is_woken(0), is_woken(1));
        assert!(zero != one, "one turn, one of them");
        let (first, second) = (usize::from(one), usize::from(zero));
        drop(calls.remove(first));
        assert!(is_woken(second), "the turn that the first did not take up");
        let polled = calls[0].as_mut().poll(&mut Context::from_waker(&wakers[second].1));
        assert!(polled.is_pending());
        drop(calls);
        assert!(
            turns.ask(&account, 1_001, &Context::from_waker(&nobody)),
            "all turns came back"
        );
    }
}
