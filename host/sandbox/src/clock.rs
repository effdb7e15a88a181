//! The engine's clock: a plain thread that ticks while guests run, and sleeps while none does.
//!
//! A tick stops whoever has run long enough, so it must also come when every worker is busy in a guest: it is a thread, not a task.
//! A host on which nothing runs has no wake-ups of it. Who enters a guest says so first ([`Clock::engage`]): that costs one atomic, and
//! a wake-up only after the clock has been asleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::turns::Turns;

/// Ticks in a row at which nobody was engaged, before the clock sleeps.
const PATIENCE: u32 = 25;

/// Who needs ticks, and whether they come.
#[derive(Default)]
pub(crate) struct Clock {
    engaged: AtomicUsize,
    asleep: AtomicBool,
    ended: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

/// Ticks come for as long as this lives.
pub(crate) struct Engaged<'a>(&'a Clock);

// === impl Clock ===

impl Clock {
    /// Starts the thread. It ends with the engine, at the latest with [`Clock::end`].
    pub(crate) fn start(self: &Arc<Self>, engine: &wasmtime::Engine, turns: Arc<Turns>, every: Duration) -> std::io::Result<()> {
        let (clock, engine) = (self.clone(), engine.weak());
        let every = every.max(Duration::from_millis(1));
        let work = move || {
            let mut idle = 0;
            while !clock.ended.load(Ordering::SeqCst) {
                std::thread::sleep(every);
                let Some(engine) = engine.upgrade() else { return };
                engine.increment_epoch();
                drop(engine);
                turns.tick(Instant::now());
                idle = if clock.engaged.load(Ordering::Relaxed) == 0 {
                    idle + 1
                } else {
                    0
                };
                if idle >= PATIENCE {
                    clock.sleep();
                    idle = 0;
                }
            }
        };
        let thread = std::thread::Builder::new().name("outrigger-epoch".into()).spawn(work)?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread.thread().clone());
        Ok(())
    }

    /// Asks for ticks.
    pub(crate) fn engage(&self) -> Engaged<'_> {
        // With `sleep`: one of the two sees what the other wrote.
        self.engaged.fetch_add(1, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
        Engaged(self)
    }

    /// Ends the thread, soon.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn sleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        while self.asleep.load(Ordering::SeqCst) && self.engaged.load(Ordering::SeqCst) == 0 && !self.ended.load(Ordering::SeqCst)
        {
            std::thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }

    #[cold]
    fn wake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
        if let Some(thread) = &*self.thread.lock().unwrap_or_else(PoisonError::into_inner) {
            thread.unpark();
        }
    }
}

impl Drop for Engaged<'_> {
    fn drop(&mut self) {
        self.0.engaged.fetch_sub(1, Ordering::Release);
    }
}

/// Nanoseconds of CPU that this thread has used. A system call: half a microsecond.
pub(crate) fn thread_cpu() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    seconds
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(nanos.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, EngineOptions};

    fn eventually(what: &str, is: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !is() {
            assert!(Instant::now() < until, "{what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn it_sleeps_while_nobody_runs_and_wakes_for_the_next() {
        let engine = Engine::new(&EngineOptions {
            pooling: false,
            tick: Duration::from_millis(1),
            ..EngineOptions::default()
        })
        .unwrap();
        let clock = engine.clock();
        let asleep = || clock.asleep.load(Ordering::SeqCst);
        for _ in 0..3 {
            eventually("it sleeps", asleep);
            let engaged = clock.engage();
            assert!(!asleep());
            drop(engaged);
        }
    }

    #[test]
    fn a_threads_cpu_time_grows_with_its_work() {
        let before = thread_cpu();
        let mut n = 0_u64;
        while thread_cpu() == before {
            n = std::hint::black_box(n + 1);
        }
        assert!(thread_cpu() > before);
    }
}
