//! The sampler: what the machine did between two looks at it.
//!
//! A counter is read together with the instant at which it was read, and a rate is the difference of two such pairs in
//! nanoseconds, so it is as exact as the kernel's counter. A [`Meter`] holds that, and promises that its total never goes
//! backwards. One owner samples; readers get whole [`Sample`]s.

use std::time::Instant;

use jiff::Timestamp;

use crate::cgroups::Cgroups;
use crate::proc::{self, Faults, Interface, Proc};
use crate::processes::Processes;

/// The time twice: for people, and for differences.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// What a clock on the wall says.
    pub wall: Timestamp,
    /// What no one sets back.
    pub steady: Instant,
}

/// A counter of CPU time, and its rate between the last two readings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Meter {
    total: u64,
    rate: u64,
    read: Option<Instant>,
}

/// What something used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// When this was read.
    pub at: Timestamp,
    /// CPU nanoseconds since it started.
    pub cpu: u64,
    /// Nanocores between the last two readings; 0 at the first.
    pub rate: u64,
    /// Memory, at this moment.
    pub memory: Memory,
}

/// What something holds of memory, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub usage: u64,
    /// Without the page cache that was not used lately (cAdvisor: usage − `inactive_file`).
    pub working_set: u64,
    /// What has no file behind it.
    pub rss: u64,
    /// What it may use in all; absent if nothing limits it.
    pub limit: Option<u64>,
    /// Page faults.
    pub faults: Faults,
    /// In swap; absent if it cannot be known.
    pub swap: Option<u64>,
    /// What may be used of swap in all.
    pub swap_limit: Option<u64>,
}

/// A part of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its name, a DNS label, unique in the pod.
    pub name: String,
    /// When it started.
    pub started: Timestamp,
    /// What it used.
    pub usage: Usage,
}

/// A slice, or a session: what is shown as a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace: `cgroups` or `processes`.
    pub namespace: &'static str,
    /// Its name, a DNS subdomain, unique in the namespace.
    pub name: String,
    /// When it started.
    pub started: Timestamp,
    /// What it used, by a counter of its own.
    pub usage: Usage,
    /// Its parts, by name.
    pub containers: Vec<Container>,
}

/// The machine at one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When it booted.
    pub booted: Timestamp,
    /// What all of it used.
    pub usage: Usage,
    /// Its pods, by name.
    pub pods: Vec<Pod>,
    /// Its interfaces, and which one leads out.
    pub network: (Vec<Interface>, Option<String>),
    /// The file system at `/`; absent if it cannot be read.
    pub disk: Option<Disk>,
}

/// A file system, in bytes and inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// All of it.
    pub capacity: u64,
    /// What an ordinary user may still take.
    pub available: u64,
    /// What is taken.
    pub used: u64,
    /// All inodes.
    pub inodes: u64,
    /// Free inodes.
    pub inodes_free: u64,
}

/// Where pods come from.
#[derive(Debug)]
pub enum Source {
    /// The machine's slices.
    Cgroups(Cgroups),
    /// Its sessions and programs.
    Processes(Processes),
}

/// Looks at one machine, again and again.
#[derive(Debug)]
pub struct Sampler {
    proc: Proc,
    source: Source,
    booted: Timestamp,
    node: Meter,
}

// === impl Moment ===

impl Moment {
    /// This one.
    #[must_use]
    pub fn now() -> Self {
        Self {
            wall: Timestamp::now(),
            steady: Instant::now(),
        }
    }
}

// === impl Meter ===

impl Meter {
    /// A new reading, in nanoseconds of CPU. Less than before counts as no progress.
    pub fn read(&mut self, total: u64, at: Instant) {
        let total = total.max(self.total);
        if let Some(before) = self.read {
            let passed = at.saturating_duration_since(before).as_nanos();
            // Two readings at one instant say nothing about a rate.
            if let Some(rate) = (u128::from(total - self.total) * 1_000_000_000).checked_div(passed) {
                self.rate = u64::try_from(rate).unwrap_or(u64::MAX);
            }
        }
        (self.total, self.read) = (total, Some(at));
    }

    /// The total, which never goes backwards.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Nanocores between the last two readings; 0 before there are two.
    #[must_use]
    pub fn rate(&self) -> u64 {
        self.rate
    }
}

// === impl Sampler ===

impl Sampler {
    /// A sampler of the machine behind this proc file system.
    ///
    /// # Errors
    /// /proc/stat cannot be read.
    pub fn new(proc: Proc, source: Source) -> anyhow::Result<Self> {
        // Once: the kernel computes it anew at each reading, and it may then differ by a second.
        let booted = Timestamp::from_second(proc.read("stat", proc::stat)?.booted)?;
        Ok(Self {
            proc,
            source,
            booted,
            node: Meter::default(),
        })
    }

    /// Looks once.
    ///
    /// # Errors
    /// The node, or the list of pods, cannot be read. A pod that ends meanwhile is left out.
    pub fn sample(&mut self) -> anyhow::Result<Sample> {
        let stat = self.proc.read("stat", proc::stat)?;
        let now = Moment::now();
        self.node.read(self.proc.nanoseconds(stat.busy), now.steady);
        let m = self.proc.read("meminfo", proc::meminfo)?;
        // As runc computes it for a root cgroup, which has no memory.current.
        let usage = m.total.saturating_sub(m.free);
        let memory = Memory {
            usage,
            working_set: usage.saturating_sub(m.inactive_file),
            rss: m.anonymous,
            limit: Some(m.total),
            faults: self.proc.read("vmstat", proc::vmstat).unwrap_or_default(),
            swap: Some(m.swap_total.saturating_sub(m.swap_free)),
            swap_limit: Some(m.swap_total),
        };
        let pods = match &mut self.source {
            Source::Cgroups(cgroups) => cgroups.pods()?,
            Source::Processes(processes) => processes.pods(&self.proc.processes()?, &self.proc, self.booted, Moment::now()),
        };
        let interfaces = self.proc.read("net/dev", proc::net_dev).unwrap_or_default();
        let leads_out = self
            .proc
            .read("net/route", |text| Some(proc::default_interface(text)))
            .unwrap_or_default();
        Ok(Sample {
            booted: self.booted,
            usage: Usage {
                at: now.wall,
                cpu: self.node.total(),
                rate: self.node.rate(),
                memory,
            },
            pods,
            network: (interfaces, leads_out),
            disk: disk(),
        })
    }
}

fn disk() -> Option<Disk> {
    let s = rustix::fs::statvfs("/").ok()?;
    Some(Disk {
        capacity: s.f_blocks.saturating_mul(s.f_frsize),
        available: s.f_bavail.saturating_mul(s.f_frsize),
        used: s.f_blocks.saturating_sub(s.f_bfree).saturating_mul(s.f_frsize),
        inodes: s.f_files,
        inodes_free: s.f_ffree,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rate_is_exact_and_a_total_never_falls() {
        let start = Instant::now();
        let mut meter = Meter::default();
        for (name, after, reading, total, rate) in [
            ("the first has no rate", 0, 5_000, 5_000, 0),
            (
                "half a core for 10.05 s",
                10_050_000_000,
                5_025_005_000,
                5_025_005_000,
                500_000_000,
            ),
            ("idle", 20_000_000_000, 5_025_005_000, 5_025_005_000, 0),
            ("back: no progress", 21_000_000_000, 1, 5_025_005_000, 0),
            ("and on from there", 22_000_000_000, 5_025_005_100, 5_025_005_100, 100),
            (
                "at the same instant: the rate stays",
                22_000_000_000,
                5_025_005_200,
                5_025_005_200,
                100,
            ),
        ] {
            meter.read(reading, start + Duration::from_nanos(after));
            assert_eq!((meter.total(), meter.rate()), (total, rate), "{name}");
        }
    }

    #[test]
    fn this_machine_works_and_remembers() {
        let proc = Proc::at("/proc");
        let mut sampler = Sampler::new(proc, Source::Processes(Processes::new(50))).unwrap();
        let first = sampler.sample().unwrap();
        let busy = Instant::now();
        while busy.elapsed() < Duration::from_millis(300) {
            std::hint::black_box(busy);
        }
        let second = sampler.sample().unwrap();
        assert_eq!(first.usage.rate, 0);
        assert!(second.usage.cpu > first.usage.cpu && second.usage.rate > 0);
        assert!(second.usage.memory.working_set > 0 && second.usage.memory.working_set <= second.usage.memory.usage);
        for pod in &first.pods {
            if let Some(later) = second.pods.iter().find(|later| later.name == pod.name) {
                assert!(
                    later.usage.cpu >= pod.usage.cpu && later.started == pod.started,
                    "{pod:?} {later:?}"
                );
            }
        }
    }
}
