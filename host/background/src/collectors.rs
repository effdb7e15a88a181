//! Collectors on their schedule.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use outrigger_api::manifest::{Collector, Each, Resource};
use outrigger_catalog::{Catalog, Guest, Snapshot};
use outrigger_sandbox::{CallError, Collected, GuestRow};
use outrigger_storage::{Key, Row};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::{Of, Outcome};
use crate::troubles::{self, Heard, Troubles};
use crate::{Metrics, Targets, schedule};

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
    metrics: Metrics,
    started: Instant,
    /// One more than the milliseconds from `started` to the start of the newest tick; 0 before the first.
    newest: AtomicU64,
    /// The longest interval of those that run; `None` while nothing runs.
    longest: Mutex<Option<Duration>>,
}

/// One collector for one target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Job {
    plugin: Arc<str>,
    collector: Arc<str>,
    target: Arc<str>,
}

/// A job's state cell: what the last good tick returned, and under which schema.
#[derive(Default)]
struct Cell {
    schema: u32,
    bytes: Vec<u8>,
}

/// How often expired rows are taken away.
const SWEEP: Duration = Duration::from_secs(30);
/// How long watchers may take to hear that a row's object is gone, or has other labels, before the row itself changes.
const LOOK: Duration = Duration::from_secs(1);

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
            options,
            metrics,
            started: Instant::now(),
            newest: AtomicU64::new(0),
            longest: Mutex::new(None),
        }
    }

    /// Whether ticks start when they should: the newest began less than one and a half intervals ago, as metrics-server's
    /// `metric-collection-timely`. Right before the first tick, and while there is nothing to collect.
    ///
    /// # Errors
    /// One sentence.
    pub fn timely(&self) -> Result<(), String> {
        let longest = *self.longest.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.newest.load(Ordering::Relaxed);
        let Some(interval) = longest.filter(|_| newest != 0) else {
            return Ok(());
        };
        let ago = self.started.elapsed().saturating_sub(Duration::from_millis(newest));
        if ago > interval.mul_f64(1.5) + Duration::from_secs(4) {
            return Err(format!(
                "the newest tick started {} s ago, the interval is {} s",
                ago.as_secs(),
                interval.as_secs()
            ));
        }
        Ok(())
    }

    /// Runs until `stop`, then waits for the ticks under way to be dropped. Rows stay: they are served to the end.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut changes = self.catalog.changes();
        let mut nodes = self.targets.nodes();
        let mut jobs: HashMap<Job, CancellationToken> = HashMap::new();
        let tasks = TaskTracker::new();
        let mut sweep = tokio::time::interval(SWEEP);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.assign(&mut jobs, &mut nodes, &tasks, &stop);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = changes.changed() => {}
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
                    continue;
                }
            }
            self.assign(&mut jobs, &mut nodes, &tasks, &stop);
        }
        tasks.close();
        tasks.wait().await;
    }

    /// Starts what is missing, ends what is no longer wanted.
    fn assign(
        self: &Arc<Self>,
        jobs: &mut HashMap<Job, CancellationToken>,
        nodes: &mut watch::Receiver<Arc<BTreeSet<Arc<str>>>>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) {
        let snapshot = self.catalog.snapshot();
        let nodes = nodes.borrow_and_update().clone();
        let once: BTreeSet<Arc<str>> = BTreeSet::from(["".into()]);
        let nobody = BTreeSet::new();
        let mut wanted = HashMap::new();
        let mut longest = None;
        let mut sources: HashMap<(&str, &str, &str), BTreeSet<Arc<str>>> = HashMap::new();
        for (plugin, installed) in snapshot.plugins() {
            for spec in &installed.guest.manifest().collectors {
                let targets = match spec.each {
                    Each::Once => &once,
                    Each::Node => &*nodes,
                    Each::Object => &nobody,
                };
                let interval = self.interval(spec);
                let collector: Arc<str> = spec.name.as_str().into();
                let names: BTreeSet<Arc<str>> = targets.iter().map(|target| source(&collector, target)).collect();
                for resource in filled(&*installed.guest, spec) {
                    let of = (&**plugin, resource.group.as_str(), resource.plural.as_str());
                    sources.entry(of).or_default().extend(names.iter().cloned());
                }
                for target in targets {
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
        jobs.retain(|job, token| {
            let keep = wanted.contains_key(job);
            if !keep {
                token.cancel();
            }
            keep
        });
        for (job, phase) in wanted {
            jobs.entry(job.clone()).or_insert_with(|| {
                let gone = CancellationToken::new();
                tasks.spawn(self.clone().follow(job, phase, gone.clone(), stop.clone()));
                gone
            });
        }
    }

    /// One job from its first tick to its end.
    async fn follow(self: Arc<Self>, job: Job, phase: Duration, gone: CancellationToken, stop: CancellationToken) {
        let source = source(&job.collector, &job.target);
        let mut cell = Cell::default();
        let mut due = self.started.elapsed().saturating_add(phase);
        loop {
            tokio::select! {
                // Shutting down: rows are served to the end.
                () = stop.cancelled() => return,
                () = gone.cancelled() => break,
                () = tokio::time::sleep_until(self.started + due) => {}
            }
            let snapshot = self.catalog.snapshot();
            let Some((guest, spec)) = find(&snapshot, &job) else { break };
            let interval = self.interval(&spec);
            tokio::select! {
                () = stop.cancelled() => return,
                () = gone.cancelled() => break,
                () = self.tick(&job, &source, &*guest, &spec, interval, &mut cell) => {}
            }
            let now = self.started.elapsed();
            let skipped = now.saturating_sub(due).as_nanos() / interval.as_nanos().max(1);
            if skipped > 0 {
                self.metrics
                    .skipped
                    .get_or_create(&job.of())
                    .inc_by(u64::try_from(skipped).unwrap_or(u64::MAX));
            }
            due = schedule::next(due, now, interval);
        }
        self.recovered(&job);
        // The target, or the collector, is gone: what it knew is no longer true.
        for (plugin, _, table) in self.catalog.snapshot().tables() {
            if *plugin == *job.plugin {
                table.withdraw(&source);
            }
        }
    }

    async fn tick(&self, job: &Job, source: &Arc<str>, guest: &dyn Guest, spec: &Collector, interval: Duration, cell: &mut Cell) {
        let begun = Instant::now();
        let permits = self
            .permits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(job.plugin.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(self.options.concurrency)))
            .clone();
        let Ok(_place) = permits.acquire().await else { return };
        let since = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.newest.fetch_max(since.saturating_add(1), Ordering::Relaxed);
        // The cell changes only when the tick succeeds: a version that fails leaves the one before it its state.
        let carried = match cell.schema == spec.state_schema || cell.bytes.is_empty() {
            true => None,
            false => {
                let migrated = guest.migrate(&job.collector, cell.schema, &cell.bytes).await;
                Some(migrated.unwrap_or_default())
            }
        };
        let state = carried.as_deref().unwrap_or(&cell.bytes);
        let deadline = self.options.deadline.min(interval);
        let result = guest.collect(&job.collector, &job.target, state, deadline).await;
        self.metrics
            .duration
            .get_or_create(&job.of())
            .observe(begun.elapsed().as_secs_f64());
        let outcome = match &result {
            Ok(collected) if is_rubbish(collected) => "failed",
            Ok(_) => "success",
            Err(CallError::Refused { .. }) => "refused",
            Err(_) => "failed",
        };
        self.metrics.ticks.get_or_create(&job.outcome(outcome)).inc();
        match result {
            Ok(collected) if is_rubbish(&collected) => {
                let why = format!("not one of its {} rows can be used", collected.complaints.count);
                self.failed(job, why.clone(), &why);
            }
            Ok(collected) => {
                cell.bytes = self.publish(job, source, guest, spec, interval, collected);
                cell.schema = spec.state_schema;
                self.recovered(job);
            }
            Err(error) => self.failed(job, troubles::reason(&error, &job.target), &error),
        }
    }

    fn failed(&self, job: &Job, reason: String, error: &dyn std::fmt::Display) {
        let Job {
            plugin,
            collector,
            target,
        } = job;
        match self.troubles.begins(plugin, collector, target, reason) {
            Heard::New => {
                tracing::warn!(%plugin, %collector, %target, "tick failed, last good rows stay: {error} (said once for all targets)");
            }
            Heard::Known => tracing::debug!(%plugin, %collector, %target, "tick failed again: {error}"),
        }
    }

    fn recovered(&self, job: &Job) {
        let Job {
            plugin,
            collector,
            target,
        } = job;
        if let Some((reason, lasted)) = self.troubles.ends(plugin, collector, target) {
            tracing::info!(%plugin, %collector, "no tick fails any more, after {lasted:.1?}, because of: {reason}");
        }
    }

    /// Puts rows into the tables; returns the state to keep.
    fn publish(
        &self,
        job: &Job,
        source: &Arc<str>,
        guest: &dyn Guest,
        spec: &Collector,
        interval: Duration,
        collected: Collected,
    ) -> Vec<u8> {
        let snapshot = self.catalog.snapshot();
        // The plugin was replaced during the tick: a version that is no longer served publishes nothing.
        if find(&snapshot, job).is_none_or(|(now, _)| now.digest() != guest.digest()) {
            return collected.state;
        }
        // The sandbox has logged what is wrong with them, under the plugin's name.
        let bad = u64::try_from(collected.complaints.count).unwrap_or(u64::MAX);
        self.metrics.complaints.get_or_create(&job.of()).inc_by(bad);
        let keep = match spec.keep_seconds {
            0 => interval.saturating_mul(4),
            seconds => Duration::from_secs(seconds.into()).max(interval.saturating_mul(2)),
        };
        let at = SystemTime::now();
        let mut rows: HashMap<Arc<str>, Vec<Row>> = HashMap::new();
        for row in collected.rows {
            rows.entry(row.resource.clone()).or_default().push(kept(row));
        }
        for resource in filled(guest, spec) {
            if let Some(table) = snapshot.table(&job.plugin, &resource.group, &resource.plural) {
                table.publish(source, rows.remove(&*resource.plural).unwrap_or_default(), at, keep);
            }
            if let Some(standing) = snapshot.standing(&job.plugin, &resource.group, &resource.plural) {
                standing.succeeded(source, at, keep);
            }
        }
        collected.state
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

/// There were rows, and not one of them is good: that says nothing of the target, least of all that it has none.
fn is_rubbish(collected: &Collected) -> bool {
    collected.rows.is_empty() && collected.complaints.count > 0
}

/// The version of a job's plugin that is served now, if it still has that collector.
fn find(snapshot: &Snapshot, job: &Job) -> Option<(Arc<dyn Guest>, Collector)> {
    let guest = &snapshot.plugins().get(&job.plugin)?.guest;
    let spec = guest.manifest().collectors.iter().find(|c| *c.name == *job.collector)?;
    Some((guest.clone(), spec.clone()))
}

/// A row as the table keeps it. The sandbox has checked that fields are an object and cells an array.
fn kept(row: GuestRow) -> Row {
    Row {
        key: Key::new(&row.namespace, &row.name),
        created: None,
        fields: inside(&row.fields).into(),
        protobuf: row.protobuf.into_boxed_slice(),
        cells: inside(&row.cells).into(),
        meta: None,
    }
}

/// What stands between the outer brackets of a JSON object or array.
fn inside(json: &[u8]) -> &[u8] {
    let trimmed = json.trim_ascii();
    trimmed
        .get(1..trimmed.len().saturating_sub(1))
        .unwrap_or_default()
        .trim_ascii()
}

// === impl Job ===

impl Job {
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

#[cfg(test)]
mod tests {
    use super::*;
    use outrigger_catalog::testing::Native;
    use outrigger_catalog::{Installed, Unknown};
    use outrigger_sandbox::ContractError;
    use prometheus_client::registry::Registry;

    struct Nodes(watch::Sender<Arc<BTreeSet<Arc<str>>>>);

    impl Targets for Nodes {
        fn nodes(&self) -> watch::Receiver<Arc<BTreeSet<Arc<str>>>> {
            self.0.subscribe()
        }
    }

    /// A catalog with one plugin and its collectors under way; ends when it is dropped.
    struct Bench {
        catalog: Arc<Catalog>,
        collectors: Arc<Collectors>,
        nodes: Arc<Nodes>,
        registry: Registry,
        stop: CancellationToken,
    }

    const GROUP: &str = "t.example.com";

    impl Bench {
        fn start(plugin: Installed, nodes: &[&str]) -> Self {
            let catalog = Arc::new(Catalog::new(Vec::new(), Arc::new(outrigger_storage::Nothing)));
            catalog.replace(vec![plugin]);
            let nodes = Arc::new(Nodes(watch::Sender::new(set(nodes))));
            let mut registry = Registry::default();
            let metrics = Metrics::register(&mut registry);
            let collectors = Arc::new(Collectors::new(catalog.clone(), nodes.clone(), Options::default(), metrics));
            let stop = CancellationToken::new();
            tokio::spawn(collectors.clone().run(stop.clone()));
            Self {
                catalog,
                collectors,
                nodes,
                registry,
                stop,
            }
        }

        fn rows(&self) -> Vec<String> {
            let table = self.catalog.snapshot().table("p", GROUP, "things").unwrap().clone();
            let text = |e: &outrigger_storage::Entry| format!("{} {}", e.row.key, String::from_utf8_lossy(&e.row.fields));
            table.snapshot().iter(SystemTime::now()).map(|e| text(e)).collect()
        }

        fn metrics(&self) -> String {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
            text
        }
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            self.stop.cancel();
        }
    }

    fn set(names: &[&str]) -> Arc<BTreeSet<Arc<str>>> {
        Arc::new(names.iter().map(|&n| n.into()).collect())
    }

    fn one(name: &str, fields: &str, state: &[u8]) -> Collected {
        let row = GuestRow {
            resource: "things".into(),
            namespace: String::new(),
            name: name.into(),
            fields: fields.into(),
            protobuf: Vec::new(),
            cells: b"[]".into(),
        };
        Collected {
            rows: vec![row],
            state: state.into(),
            ..Collected::default()
        }
    }

    /// Counts its ticks in its state and says the count.
    fn counting(digest: &str) -> Native {
        Native::collecting("p", digest, GROUP, |target, state| {
            let ticks = state.len() + 1;
            Ok(one(target, &format!("{{\"ticks\":{ticks}}}"), &vec![1; ticks]))
        })
    }

    /// Time is paused and moves only when everybody waits, so this is exact.
    async fn seconds(n: u64) {
        tokio::time::sleep(Duration::from_secs(n)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn each_target_has_its_ticks_and_its_state() {
        let b = Bench::start(counting("1").installed("p.wasm"), &["a", "b"]);
        seconds(1).await;
        assert_eq!(b.rows(), [r#"a "ticks":1"#, r#"b "ticks":1"#]);
        seconds(20).await;
        assert_eq!(b.rows(), [r#"a "ticks":3"#, r#"b "ticks":3"#]);
        assert!(b.collectors.timely().is_ok());
        b.nodes.0.send_replace(set(&["b", "c"]));
        seconds(1).await;
        assert_eq!(
            b.rows(),
            [r#"b "ticks":3"#, r#"c "ticks":1"#],
            "what a node knew goes with it"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_tick_keeps_state_and_rows() {
        let tries = std::sync::atomic::AtomicU32::new(0);
        let plugin = Native::collecting("p", "1", GROUP, move |target, state| {
            if tries.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
                let error = ContractError::Unavailable("the kubelet is away".into());
                return Err(CallError::Refused {
                    plugin: "p".into(),
                    call: "collect".into(),
                    error,
                    fields: Vec::new(),
                });
            }
            let good = state.len() + 1;
            Ok(one(target, &format!("{{\"good\":{good}}}"), &vec![1; good]))
        });
        let b = Bench::start(plugin.installed("p.wasm"), &["a"]);
        for (after, expected) in [(1, r#"a "good":1"#), (10, r#"a "good":1"#), (10, r#"a "good":2"#)] {
            seconds(after).await;
            assert_eq!(b.rows(), [expected]);
        }
        let metrics = b.metrics();
        for line in [
            r#"outrigger_collector_ticks_total{plugin="p",collector="things",result="success"} 2"#,
            r#"outrigger_collector_ticks_total{plugin="p",collector="things",result="refused"} 1"#,
        ] {
            assert!(metrics.contains(line), "{line} is not in\n{metrics}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_version_takes_over_state_and_schedule() {
        let b = Bench::start(counting("1").installed("p.wasm"), &["a"]);
        seconds(11).await;
        b.catalog.replace(vec![counting("2").installed("p.wasm")]);
        seconds(10).await;
        assert_eq!(b.rows(), [r#"a "ticks":3"#]);
        b.catalog
            .replace(vec![counting("3").migrating(1, 0, &[1, 1, 1, 1, 1, 1]).installed("p.wasm")]);
        seconds(10).await;
        assert_eq!(b.rows(), [r#"a "ticks":7"#], "another schema: migrate was offered the state");
        b.catalog
            .replace(vec![counting("4").migrating(2, 7, &[]).installed("p.wasm")]);
        seconds(10).await;
        assert_eq!(b.rows(), [r#"a "ticks":1"#], "a schema it cannot come from: empty");
        b.catalog.replace(vec![counting("2").installed("p.wasm")]);
        seconds(10).await;
        assert_eq!(
            b.rows(),
            [r#"a "ticks":1"#],
            "nor is it given to the version before as its own"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_of_another_schema_that_fails_leaves_the_state_as_it_was() {
        let b = Bench::start(counting("1").installed("p.wasm"), &["a"]);
        seconds(11).await;
        let broken = Native::collecting("p", "2", GROUP, |_, state| {
            assert_eq!(state, [7; 7], "what its migrator made of the old state, at every try");
            let why = outrigger_sandbox::BadResult::Batch { found: 0, wanted: 1 };
            let (plugin, call) = ("p".into(), "collect".into());
            Err(CallError::BadResult { plugin, call, why })
        });
        b.catalog.replace(vec![broken.migrating(1, 0, &[7; 7]).installed("p.wasm")]);
        seconds(20).await;
        assert_eq!(b.rows(), [r#"a "ticks":2"#]);
        b.catalog.replace(vec![counting("1").installed("p.wasm")]);
        seconds(10).await;
        assert_eq!(b.rows(), [r#"a "ticks":3"#], "the version before goes on from where it was");
    }

    #[tokio::test(start_paused = true)]
    async fn a_plugin_that_goes_takes_its_jobs_along() {
        let b = Bench::start(counting("1").installed("p.wasm"), &["a"]);
        seconds(1).await;
        b.catalog.replace(Vec::new());
        seconds(30).await;
        assert!(b.collectors.timely().is_ok(), "nothing to collect is in time");
        b.catalog.replace(vec![counting("1").installed("p.wasm")]);
        seconds(1).await;
        assert_eq!(b.rows(), [r#"a "ticks":1"#], "it starts anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_is_known_from_its_first_good_tick_to_its_age_bound() {
        let ill = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let told = ill.clone();
        let plugin = Native::collecting("p", "1", GROUP, move |target, _| {
            if told.load(Ordering::Relaxed) {
                // Rows, but no good one.
                let mut rubbish = one(target, "{}", b"");
                rubbish.rows.clear();
                rubbish.complaints.count = 1;
                return Ok(rubbish);
            }
            Ok(one(target, "{}", b""))
        });
        let b = Bench::start(plugin.installed("p.wasm"), &["a"]);
        let standing = b.catalog.snapshot().standing("p", GROUP, "things").unwrap().clone();
        seconds(21).await;
        assert_eq!(standing.check(SystemTime::now()), Err(Unknown::Never), "rubbish is no tick");
        ill.store(false, Ordering::Relaxed);
        seconds(10).await;
        assert_eq!(standing.check(SystemTime::now()), Ok(()));
        ill.store(true, Ordering::Relaxed);
        seconds(10).await;
        assert_eq!(b.rows().len(), 1, "the last good rows stay");
        // The schedule's time is paused, the rows' is the wall's.
        let later = SystemTime::now() + Duration::from_secs(40);
        assert!(matches!(standing.check(later), Err(Unknown::Since(_))));
        assert!(
            b.metrics().contains(r#"collector="things",result="failed"} 4"#),
            "{}",
            b.metrics()
        );
        b.nodes.0.send_replace(set(&[]));
        seconds(1).await;
        assert_eq!(standing.check(later), Ok(()), "without a node there is nothing to know");
    }

    #[tokio::test(start_paused = true)]
    async fn a_plugin_that_hangs_everywhere_holds_up_no_other() {
        let nodes: Vec<String> = (0..Options::default().concurrency * 2).map(|n| format!("n{n}")).collect();
        let names: Vec<&str> = nodes.iter().map(String::as_str).collect();
        let b = Bench::start(counting("1").installed("p.wasm"), &names);
        let hangs = Native::collecting("hangs", "1", "hangs.example.com", |_, _| Ok(Collected::default())).hanging();
        b.catalog
            .replace(vec![hangs.installed("h.wasm"), counting("1").installed("p.wasm")]);
        seconds(31).await;
        assert!(
            b.rows()
                .iter()
                .all(|row| row.ends_with(r#""ticks":4"#) || row.ends_with(r#""ticks":3"#)),
            "{:?}",
            b.rows()
        );
    }

    #[test]
    fn brackets_come_off() {
        for (json, expected) in [
            (r#" {"a":1} "#, r#""a":1"#),
            ("{}", ""),
            ("[ 1, 2 ]", "1, 2"),
            ("", ""),
            ("x", ""),
        ] {
            assert_eq!(inside(json.as_bytes()), expected.as_bytes(), "{json:?}");
        }
    }
}
