//! `log`, `clock`, `random`: what every plugin has.

use std::time::{Instant, SystemTime};

use crate::bindings::outrigger::plugin::{clock, log, random};
use crate::call::Call;
use crate::capabilities::{Capability, SENTENCE};
use crate::failure::Panic;
use crate::log::{Level, Source, visible};

impl log::Host for Call {
    fn write(&mut self, level: log::Level, message: String) {
        self.counters.called(Capability::Log);
        let level = match level {
            log::Level::Error => Level::Error,
            log::Level::Warn => Level::Warn,
            log::Level::Info => Level::Info,
            log::Level::Debug => Level::Debug,
        };
        Call::write(self, level, Source::Log, &message);
    }

    fn panic(&mut self, message: String, location: String) {
        self.counters.called(Capability::Log);
        self.panic = Some(Panic {
            message: visible(&message, SENTENCE),
            location: visible(&location, 256),
        });
    }
}

impl clock::Host for Call {
    fn now(&mut self) -> u64 {
        self.counters.called(Capability::Clock);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn monotonic(&mut self) -> u64 {
        // The first call of the process is the fixed point: no guest learns how long the machine is up.
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        self.counters.called(Capability::Clock);
        u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl random::Host for Call {
    fn bytes(&mut self, count: u32) -> Vec<u8> {
        self.counters.called(Capability::Random);
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(usize::MAX).min(4096)];
        wasmtime_wasi::thread_rng().fill_bytes(&mut bytes);
        bytes
    }
}
