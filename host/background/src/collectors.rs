//! Collectors on their schedule.
//!
//! This file says who runs: one job for each collector and target, as plugins, nodes and objects come and go. What a job does is in
//! [`tick`], when its next tick is due in [`turn`], when it waits longer than its interval in [`patience`], what is left of it for the
//! next one in [`memory`], how the last tick of each went in [`board`]. What other replicas hear of it, and what is heard of them, is in
//! [`feed`].

pub(crate) mod board;
mod feed;
mod memory;
mod objects;
mod patience;
mod rows;
#[cfg(test)]
mod tests;
mod tick;
mod turn;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use outrigger_api::manifest::{Collector, Each, Resource};
use outrigger_catalog::{Catalog, Guest, Snapshot};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::{Of, Outcome};
use crate::sharing::{Replicas, Sharing};
use crate::troubles::Troubles;
use crate::{Metrics, Targets, Watches, schedule};
pub use board::{CollectorStatus, TargetStatus};
pub use feed::{EMPTY, Feed};
use memory::Memory;
use objects::Objects;
use patience::Wards;
pub(crate) use rows::inside;

/// How collectors run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The operator's interval; the manifest's if absent.
    pub interval: Option<Duration>,
    /// Ticks under way at once, of each plugin: one that hangs on all of its targets holds up nobody else. A tick mostly waits
    /// for a kubelet.
    pub concurrency: usize,
    /// The longest that one tick may take; never longer than its interval.
    pub deadline: Duration,
}

/// Runs every collector of the catalog for every target it has.
pub struct Collectors {
    catalog: Arc<Catalog>,
    targets: Arc<dyn Targets>,
    options: Options,
    permits: Mutex<HashMap<Arc<str>, Arc<Semaphore>>>,
    troubles: Troubles,
    wards: Wards,
    /// What is remembered of each job that runs.
    memories: Mutex<HashMap<Job, Arc<Memory>>>,
    sharing: Option<Sharing>,
    metrics: Metrics,
    started: Instant,
    /// One more than the milliseconds from `started` to the start of the newest tick; 0 before the first.
    newest: AtomicU64,
    /// The longest interval of those that run; `None` while nothing runs.
    longest: Mutex<Option<Duration>>,
}

/// One collector for one target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Job {
    pub(crate) plugin: Arc<str>,
    pub(crate) collector: Arc<str>,
    pub(crate) target: Arc<str>,
}

/// What is under way.
struct Running {
    jobs: HashMap<Job, CancellationToken>,
    /// The versions for which it was started.
    digests: HashMap<Arc<str>, String>,
    objects: Objects,
}

/// How often expired rows are taken away.
const SWEEP: Duration = Duration::from_secs(30);
/// How long watchers may take to hear that a row's object is gone, or has other labels, before the row itself changes.
const LOOK: Duration = Duration::from_secs(1);
/// How late a tick may start before that is worth a restart of the process.
const LATE: Duration = Duration::from_secs(4);

// === impl Options ===

impl Default for Options {
    fn default() -> Self {
        Self {
            interval: None,
            concurrency: 64,
            deadline: Duration::from_secs(30),
        }
    }
}

// === impl Collectors ===

impl Collectors {
    /// Nothing runs before [`Collectors::run`].
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, targets: Arc<dyn Targets>, options: Options, metrics: Metrics) -> Self {
        Self {
            catalog,
            targets,
            permits: Mutex::default(),
            troubles: Troubles::default(),
            wards: Wards::default(),
            memories: Mutex::default(),
            sharing: None,
            options,
            metrics,
            started: Instant::now(),
            newest: AtomicU64::new(0),
            longest: Mutex::new(None),
        }
    }

    /// Shares the work with other replicas, which hear of every tick; see [`crate::sharing`].
    #[must_use]
    pub fn sharing(self, replicas: Arc<dyn Replicas>) -> Self {
        Self {
            sharing: Some(Sharing::new(replicas)),
            ..self
        }
    }

    /// Whether ticks start when they should: the newest began less than one and a half intervals ago, as metrics-server's
    /// `metric-collection-timely`, or none was due since, because all of them wait after failures. Right before the first tick, and
    /// while there is nothing to collect.
    ///
    /// # Errors
    /// One sentence.
    pub fn timely(&self) -> Result<(), String> {
        let longest = *self.longest.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.newest.load(Ordering::Relaxed);
        let Some(interval) = longest.filter(|_| newest != 0) else {
            return Ok(());
        };
        let now = self.started.elapsed();
        let ago = now.saturating_sub(Duration::from_millis(newest));
        let overdue = || {
            self.metrics
                .board
                .earliest()
                .is_some_and(|due| now.saturating_sub(due) > interval.mul_f64(0.5) + LATE)
        };
        if ago > interval.mul_f64(1.5) + LATE && overdue() {
            return Err(format!(
                "the newest tick started {} s ago, the interval is {} s",
                ago.as_secs(),
                interval.as_secs()
            ));
        }
        Ok(())
    }

    /// How the last tick of every collector and target went, and when the next is due.
    #[must_use]
    pub fn status(&self) -> Vec<CollectorStatus> {
        self.metrics.board.status(self.started.elapsed())
    }

    /// Runs until `stop`, then waits for the ticks under way to be dropped. Rows stay: they are served to the end.
    pub async fn run(self: Arc<Self>, watches: Arc<dyn Watches>, stop: CancellationToken) {
        let mut changes = self.catalog.changes();
        let mut nodes = self.targets.nodes();
        let mut running = Running {
            jobs: HashMap::new(),
            digests: HashMap::new(),
            objects: Objects::new(watches),
        };
        let stirred = running.objects.stirred();
        let tasks = TaskTracker::new();
        let mut sweep = tokio::time::interval(SWEEP);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut settled = None;
        self.assign(&mut running, &mut nodes, &tasks, &stop);
        loop {
            let settling = settled.unwrap_or_else(Instant::now);
            tokio::select! {
                () = stop.cancelled() => break,
                _ = changes.changed() => {}
                () = stirred.notified(), if settled.is_none() => {
                    settled = Some(Instant::now() + objects::SETTLING);
                    continue;
                }
                () = tokio::time::sleep_until(settling), if settled.is_some() => settled = None,
                gone = nodes.changed() => if gone.is_err() {
                    // Nobody will ever change the set again; the one there is stays.
                    stop.cancelled().await;
                    break;
                },
                _ = look.tick() => {
                    for (_, _, table) in self.catalog.snapshot().tables() {
                        if table.is_watched() {
                            table.look_around();
                        }
                    }
                    continue;
                }
                _ = sweep.tick() => {
                    let (snapshot, now) = (self.catalog.snapshot(), SystemTime::now());
                    for (plugin, resource, table) in snapshot.tables() {
                        let (group, plural) = resource.split_once('/').unwrap_or_default();
                        // While nobody knows, nothing is known to be gone: who watches would be told of deletions.
                        if snapshot.standing(plugin, group, plural).is_none_or(|s| s.check(now).is_ok()) {
                            table.sweep(now);
                        }
                    }
                    // On to the assignment: grants may have changed under a plugin, and nobody tells.
                }
            }
            self.assign(&mut running, &mut nodes, &tasks, &stop);
        }
        tasks.close();
        tasks.wait().await;
    }

    /// Starts what is missing, ends what is no longer wanted.
    fn assign(
        self: &Arc<Self>,
        running: &mut Running,
        nodes: &mut watch::Receiver<Arc<BTreeSet<Arc<str>>>>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) {
        let snapshot = self.catalog.snapshot();
        let nodes = nodes.borrow_and_update().clone();
        let once: Arc<BTreeSet<Arc<str>>> = Arc::new(BTreeSet::from(["".into()]));
        let mut wanted = HashMap::new();
        let mut longest = None;
        let mut sources: HashMap<(&str, &str, &str), BTreeSet<Arc<str>>> = HashMap::new();
        running.objects.keep(&snapshot);
        for (plugin, installed) in snapshot.plugins() {
            for spec in &installed.guest.manifest().collectors {
                let collector: Arc<str> = spec.name.as_str().into();
                let targets = match spec.each {
                    Each::Once => once.clone(),
                    Each::Node => nodes.clone(),
                    // Before they are known there is nothing to say, not even that there are none.
                    Each::Object => match running.objects.of(plugin, &*installed.guest, spec) {
                        Some(keys) => keys,
                        None => continue,
                    },
                };
                let interval = self.interval(spec);
                let names: BTreeSet<Arc<str>> = targets.iter().map(|target| source(&collector, target)).collect();
                for resource in filled(&*installed.guest, spec) {
                    let of = (&**plugin, resource.group.as_str(), resource.plural.as_str());
                    sources.entry(of).or_default().extend(names.iter().cloned());
                }
                self.wards.of(plugin, &collector).expect(targets.len());
                for target in &*targets {
                    let job = Job {
                        plugin: plugin.clone(),
                        collector: collector.clone(),
                        target: target.clone(),
                    };
                    wanted.insert(job, schedule::phase(target, targets.len(), interval));
                    longest = longest.max(Some(interval));
                }
            }
        }
        *self.longest.lock().unwrap_or_else(PoisonError::into_inner) = longest;
        for ((plugin, group, plural), sources) in sources {
            if let Some(standing) = snapshot.standing(plugin, group, plural) {
                standing.expect(&sources);
            }
        }
        self.permits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|plugin, _| snapshot.plugins().contains_key(plugin));
        self.wards.retain(&snapshot);
        running.jobs.retain(|job, token| {
            // One that has ended by itself is started anew.
            let keep = wanted.contains_key(job) && !token.is_cancelled();
            if !keep {
                token.cancel();
            }
            keep
        });
        for (plugin, installed) in snapshot.plugins() {
            let digest = installed.guest.digest();
            let before = running.digests.insert(plugin.clone(), digest.to_owned());
            // What the old version failed at, the new one may be able to do.
            if before.is_some_and(|before| before != digest) {
                self.wards.wake(plugin);
            }
        }
        running.digests.retain(|plugin, _| snapshot.plugins().contains_key(plugin));
        for (job, phase) in wanted {
            running.jobs.entry(job.clone()).or_insert_with(|| {
                let gone = CancellationToken::new();
                let memory = Arc::new(Memory::default());
                self.memories().insert(job.clone(), memory.clone());
                tasks.spawn(self.clone().follow(job, memory, phase, gone.clone(), stop.clone()));
                gone
            });
        }
    }

    fn memories(&self) -> MutexGuard<'_, HashMap<Job, Arc<Memory>>> {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn interval(&self, spec: &Collector) -> Duration {
        self.options
            .interval
            .unwrap_or(Duration::from_secs(spec.interval_seconds.max(1).into()))
    }
}

/// Names the rows of one collector for one target.
fn source(collector: &str, target: &str) -> Arc<str> {
    format!("{collector}/{target}").into()
}

/// The resources that a collector fills.
fn filled<'a>(guest: &'a dyn Guest, spec: &'a Collector) -> impl Iterator<Item = &'a Resource> {
    guest.manifest().resources.iter().filter(|r| spec.fills.contains(&r.plural))
}

/// The version of a job's plugin that is served now, if it still has that collector.
fn find(snapshot: &Snapshot, job: &Job) -> Option<(Arc<dyn Guest>, Collector)> {
    let guest = &snapshot.plugins().get(&job.plugin)?.guest;
    let spec = guest.manifest().collectors.iter().find(|c| *c.name == *job.collector)?;
    Some((guest.clone(), spec.clone()))
}

// === impl Job ===

impl Job {
    /// As replicas agree on who comes first.
    fn name(&self) -> String {
        format!("{}/{}/{}", self.plugin, self.collector, self.target)
    }

    fn of(&self) -> Of {
        Of {
            plugin: self.plugin.to_string(),
            collector: self.collector.to_string(),
        }
    }

    fn outcome(&self, result: &'static str) -> Outcome {
        Outcome {
            plugin: self.plugin.to_string(),
            collector: self.collector.to_string(),
            result,
        }
    }
}
