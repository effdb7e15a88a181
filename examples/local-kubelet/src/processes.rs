//! Pods made of processes, where a machine has no cgroups to show.
//!
//! A session is a pod, named after the program that leads it (all sessions led by `bash` are one); its containers are the
//! programs in it. Threads of the kernel are one pod. A container's counter is the sum of what its processes did *while
//! they were in it*: what a process did stays when it ends, and an `exec` continues under the new program. What a
//! process did between the last look and its end reaches its parent's counter of reaped time, and so the
//! parent's container; without that, a build of many short compilers would look idle.
//!
//! Memory is the resident set; pages that two processes share count in both, as /proc has no cheaper truth.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use crate::names;
use crate::proc::{Faults, Proc, Process};
use crate::sample::{Container, Memory, Meter, Moment, Pod, Usage};

/// Groups processes, and remembers what those that ended did.
#[derive(Debug)]
pub struct Processes {
    /// How many pods are shown: those that used most CPU since they started.
    top: usize,
    sessions: BTreeMap<String, Session>,
    seen: HashMap<Id, Seen>,
    /// What sessions are called whose leader may have ended.
    leaders: HashMap<i32, String>,
}

/// What names a process for good: its pid and its start.
type Id = (i32, u64);

/// All sessions led by one program.
#[derive(Debug)]
struct Session {
    whole: Account,
    programs: BTreeMap<String, Account>,
}

/// What a pod or a container did so far.
#[derive(Debug)]
struct Account {
    ticks: u64,
    meter: Meter,
    faults: Faults,
    /// Ticks after boot. It moves only in the look that made the account.
    started: u64,
    fresh: bool,
    pages: u64,
    alive: bool,
}

/// A process at the last look.
#[derive(Debug, Clone)]
struct Seen {
    parent: i32,
    own: u64,
    reaped: u64,
    faults: Faults,
}

/// Containers without a living process that are remembered, so that they go on where they stopped.
const REMEMBERED: usize = 1024;

/// How far up a chain of parents that all ended is followed.
const GENERATIONS: usize = 64;

// === impl Processes ===

impl Processes {
    /// Shows at most `top` pods.
    #[must_use]
    pub fn new(top: usize) -> Self {
        Self {
            top,
            sessions: BTreeMap::new(),
            seen: HashMap::new(),
            leaders: HashMap::new(),
        }
    }

    /// The pods that these processes are, by name.
    pub fn pods(&mut self, processes: &[Process], proc: &Proc, booted: Timestamp, now: Moment) -> Vec<Pod> {
        self.account(processes);
        self.forget();
        let instant = |ticks| {
            let after = SignedDuration::from_nanos(i64::try_from(proc.nanoseconds(ticks)).unwrap_or(i64::MAX));
            booted.checked_add(after).unwrap_or(booted)
        };
        let mut pods = Vec::new();
        for (name, session) in &mut self.sessions {
            let usage = session.whole.usage(proc, now);
            let started = instant(session.whole.started);
            let mut containers = Vec::new();
            for (program, account) in &mut session.programs {
                // Read even if nothing of it lives, so that its rate falls to zero with time.
                let usage = account.usage(proc, now);
                if account.alive {
                    containers.push(Container {
                        name: names::label(program),
                        started: instant(account.started),
                        usage,
                    });
                }
            }
            if !containers.is_empty() {
                pods.push(Pod {
                    namespace: "processes",
                    name: names::label(name),
                    started,
                    usage,
                    containers,
                });
            }
        }
        // By what was used since the start, not lately: so the same pods are shown from one look to the next.
        pods.sort_by(|a, b| b.usage.cpu.cmp(&a.usage.cpu).then_with(|| a.name.cmp(&b.name)));
        pods.truncate(self.top);
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        pods
    }

    /// Adds what every process did since the last look to where it now is.
    fn account(&mut self, processes: &[Process]) {
        for session in self.sessions.values_mut() {
            session.whole.rest();
            session.programs.values_mut().for_each(Account::rest);
        }
        for leader in processes.iter().filter(|p| p.session != 0 && p.pid == p.session) {
            self.leaders.insert(leader.session, program(leader).to_owned());
        }
        let mut counted = self.counted(processes);
        let mut seen = HashMap::with_capacity(processes.len());
        for process in processes {
            let id = (process.pid, process.started);
            let before = self.seen.remove(&id).unwrap_or(Seen {
                parent: 0,
                own: 0,
                reaped: 0,
                faults: Faults::default(),
            });
            let unseen = process
                .reaped
                .saturating_sub(before.reaped)
                .saturating_sub(counted.remove(&process.pid).unwrap_or(0));
            let worked = process.own.saturating_sub(before.own) + unseen;
            let all = process.faults.all.saturating_sub(before.faults.all);
            let faults = Faults {
                all,
                major: process.faults.major.saturating_sub(before.faults.major),
            };

            let new = || Account::new(process.started);
            let session = self.sessions.entry(pod(process, &self.leaders));
            let session = session.or_insert_with(|| Session {
                whole: new(),
                programs: BTreeMap::new(),
            });
            session.whole.add(process, worked, faults);
            session
                .programs
                .entry(program(process).to_owned())
                .or_insert_with(new)
                .add(process, worked, faults);

            // A counter that fell (old kernels, a child's time) goes on from where it was.
            let (own, reaped) = (process.own.max(before.own), process.reaped.max(before.reaped));
            seen.insert(
                id,
                Seen {
                    parent: process.parent,
                    own,
                    reaped,
                    faults: process.faults,
                },
            );
        }
        self.seen = seen;
        let sessions: HashSet<i32> = processes.iter().map(|p| p.session).collect();
        self.leaders.retain(|session, _| sessions.contains(session));
    }

    /// By process: what was counted of its descendants that ended since the last look. It stands in their own counters
    /// until then, and in the process's reaped time from now on.
    fn counted(&self, processes: &[Process]) -> HashMap<i32, u64> {
        let alive: HashSet<Id> = processes.iter().map(|p| (p.pid, p.started)).collect();
        let gone: HashMap<i32, &Seen> = self
            .seen
            .iter()
            .filter(|(id, _)| !alive.contains(*id))
            .map(|(&(pid, _), seen)| (pid, seen))
            .collect();
        let mut counted: HashMap<i32, u64> = HashMap::new();
        for seen in gone.values() {
            // A parent that ended as well has handed it on.
            let heir = (0..GENERATIONS).try_fold(seen.parent, |parent, _| match gone.get(&parent) {
                Some(also_gone) => Ok(also_gone.parent),
                None => Err(parent),
            });
            let (Ok(heir) | Err(heir)) = heir;
            *counted.entry(heir).or_default() += seen.own + seen.reaped;
        }
        counted
    }

    /// Keeps the memory of what ended bounded; the least used go first.
    fn forget(&mut self) {
        let mut resting: Vec<(u64, String, String)> = Vec::new();
        for (name, session) in &self.sessions {
            let programs = session.programs.iter().filter(|(_, account)| !account.alive);
            resting.extend(programs.map(|(program, account)| (account.ticks, name.clone(), program.clone())));
        }
        if resting.len() <= REMEMBERED {
            return;
        }
        resting.sort();
        for (_, name, program) in resting.drain(..resting.len() - REMEMBERED) {
            if let Some(session) = self.sessions.get_mut(&name) {
                session.programs.remove(&program);
            }
        }
        self.sessions.retain(|_, session| !session.programs.is_empty());
    }
}

// === impl Account ===

impl Account {
    fn new(started: u64) -> Self {
        Self {
            ticks: 0,
            meter: Meter::default(),
            faults: Faults::default(),
            started,
            fresh: true,
            pages: 0,
            alive: false,
        }
    }

    /// Nothing of it lives, until it is seen.
    fn rest(&mut self) {
        (self.alive, self.pages, self.fresh) = (false, 0, false);
    }

    fn add(&mut self, process: &Process, worked: u64, faults: Faults) {
        self.ticks += worked;
        self.faults.all += faults.all;
        self.faults.major += faults.major;
        self.pages += process.pages;
        self.alive = true;
        if self.fresh {
            self.started = self.started.min(process.started);
        }
    }

    fn usage(&mut self, proc: &Proc, now: Moment) -> Usage {
        self.meter.read(proc.nanoseconds(self.ticks), now.steady);
        let resident = proc.bytes(self.pages);
        let memory = Memory {
            usage: resident,
            working_set: resident,
            rss: resident,
            faults: self.faults,
            ..Memory::default()
        };
        Usage {
            at: now.wall,
            cpu: self.meter.total(),
            rate: self.meter.rate(),
            memory,
        }
    }
}

/// Which pod a process belongs to.
fn pod(process: &Process, leaders: &HashMap<i32, String>) -> String {
    if process.kernel {
        return "kernel".to_owned();
    }
    leaders
        .get(&process.session)
        .map_or_else(|| program(process), String::as_str)
        .to_owned()
}

/// The program's name; of a kernel thread (`kworker/0:1-events`) what comes before its place.
fn program(process: &Process) -> &str {
    let name = if process.kernel {
        process.name.split(['/', ':']).next().unwrap_or_default()
    } else {
        &process.name
    };
    if name.is_empty() { "unnamed" } else { name }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn process(pid: i32, parent: i32, session: i32, name: &str, own: u64, reaped: u64) -> Process {
        let faults = Faults { all: own, major: 0 };
        Process {
            pid,
            name: name.to_owned(),
            parent,
            session,
            kernel: false,
            faults,
            own,
            reaped,
            started: 100,
            pages: 2,
        }
    }

    /// Looks every 10 s; returns (pod/container, ticks) of what is shown.
    struct Look {
        processes: Processes,
        proc: Proc,
        now: Moment,
    }

    impl Look {
        fn new(top: usize) -> Self {
            Self {
                processes: Processes::new(top),
                proc: Proc::at("/proc"),
                now: Moment::now(),
            }
        }

        fn pods(&mut self, processes: &[Process]) -> Vec<Pod> {
            self.now.steady += Duration::from_secs(10);
            self.processes.pods(processes, &self.proc, Timestamp::UNIX_EPOCH, self.now)
        }

        fn at(&mut self, processes: &[Process]) -> Vec<(String, u64)> {
            let tick = self.proc.nanoseconds(1);
            let mut shown = Vec::new();
            for pod in self.pods(processes) {
                shown.push((pod.name.clone(), pod.usage.cpu / tick));
                shown.extend(
                    pod.containers
                        .iter()
                        .map(|c| (format!("{}/{}", pod.name, c.name), c.usage.cpu / tick)),
                );
            }
            shown
        }
    }

    fn shown(of: &[(&str, u64)]) -> Vec<(String, u64)> {
        of.iter().map(|(name, ticks)| ((*name).to_owned(), *ticks)).collect()
    }

    #[test]
    fn what_ended_stays_counted_and_goes_on_where_it_stopped() {
        let mut look = Look::new(9);
        let shell = |reaped| process(10, 1, 10, "bash", 5, reaped);
        let one = look.at(&[shell(0), process(11, 10, 10, "cc", 100, 0), process(12, 10, 10, "cc", 50, 0)]);
        assert_eq!(one, shown(&[("bash", 155), ("bash/bash", 5), ("bash/cc", 150)]));
        // 12 worked 7 more ticks before its end: they show in the shell's reaped time, and what was counted is not again.
        let two = look.at(&[shell(57), process(11, 10, 10, "cc", 110, 0)]);
        assert_eq!(two, shown(&[("bash", 172), ("bash/bash", 12), ("bash/cc", 160)]));
        let three = look.at(&[shell(167)]);
        assert_eq!(three, shown(&[("bash", 172), ("bash/bash", 12)]), "cc rests");
        let four = look.at(&[shell(167), process(13, 10, 10, "cc", 1, 0)]);
        assert_eq!(four, shown(&[("bash", 173), ("bash/bash", 12), ("bash/cc", 161)]));
    }

    #[test]
    fn what_lived_between_two_looks_counts_in_who_waited_for_it() {
        let mut look = Look::new(9);
        look.at(&[process(10, 1, 10, "make", 1, 0)]);
        assert_eq!(
            look.at(&[process(10, 1, 10, "make", 1, 500)]),
            shown(&[("make", 501), ("make/make", 501)])
        );
    }

    #[test]
    fn a_chain_that_ended_is_counted_once() {
        let mut look = Look::new(9);
        let make = |reaped| process(10, 1, 10, "make", 0, reaped);
        look.at(&[make(0), process(11, 10, 10, "sh", 1, 0), process(12, 11, 10, "cc", 100, 0)]);
        // cc ended, sh waited for it, sh ended, make waited for that: 101 ticks known, 9 new.
        let after = look.at(&[make(110)]);
        assert_eq!(after, shown(&[("make", 110), ("make/make", 9)]));
    }

    #[test]
    fn sessions_are_named_after_their_leader_even_when_it_ended() {
        let mut look = Look::new(9);
        let mut kernel = process(2, 0, 0, "kworker/0:1-events", 3, 0);
        kernel.kernel = true;
        let names = |shown: Vec<(String, u64)>| shown.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let rest = [process(20, 1, 10, "Worker", 1, 0), kernel, process(1, 0, 0, "init", 1, 0)];
        let mut all = vec![process(10, 1, 10, "daemon", 1, 0)];
        all.extend(rest.clone());
        let worker = format!("daemon/{}", names::label("Worker"));
        let expected = [
            "daemon",
            &worker,
            "daemon/daemon",
            "init",
            "init/init",
            "kernel",
            "kernel/kworker",
        ];
        assert_eq!(names(look.at(&all)), expected);
        assert_eq!(
            names(look.at(&rest)),
            ["daemon", &worker, "init", "init/init", "kernel", "kernel/kworker"]
        );
    }

    #[test]
    fn a_pid_that_is_used_again_is_another_process() {
        let mut look = Look::new(9);
        look.at(&[process(10, 1, 10, "a", 1000, 0)]);
        let mut again = process(10, 1, 10, "a", 3, 0);
        again.started = 200;
        assert_eq!(look.at(&[again]), shown(&[("a", 1003), ("a/a", 1003)]));
    }

    #[test]
    fn a_program_that_becomes_another_continues_there() {
        let mut look = Look::new(9);
        look.at(&[process(10, 1, 10, "bash", 4, 0)]);
        assert_eq!(
            look.at(&[process(10, 1, 10, "cargo", 10, 0)]),
            shown(&[("cargo", 6), ("cargo/cargo", 6)])
        );
    }

    #[test]
    fn the_top_is_by_use_and_rates_memory_and_start_are_of_the_living() {
        let mut look = Look::new(2);
        let three = |ticks: u64| {
            [
                process(1, 0, 1, "a", 10, 0),
                process(2, 0, 2, "b", 30 + ticks, 0),
                process(3, 0, 3, "c", 20, 0),
            ]
        };
        let first = look.pods(&three(0));
        assert_eq!(first.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(first[0].usage.rate, 0);
        // 500 ticks of 10 ms in 10 s: half a core.
        let second = look.pods(&three(500));
        assert_eq!(second[0].usage.rate, look.proc.nanoseconds(500) / 10);
        assert_eq!(second[0].usage.memory.working_set, look.proc.bytes(2));
        assert_eq!(
            second[0].started,
            Timestamp::UNIX_EPOCH + SignedDuration::from_nanos(look.proc.nanoseconds(100) as i64)
        );
    }

    #[test]
    fn the_memory_of_what_ended_is_bounded() {
        let mut look = Look::new(9);
        for pid in 0..3000 {
            look.pods(&[process(pid, 0, pid, &format!("p{pid}"), 1, 0)]);
        }
        assert!(look.processes.sessions.len() <= REMEMBERED + 1);
        assert!(look.processes.leaders.len() <= 1 && look.processes.seen.len() == 1);
    }
}
