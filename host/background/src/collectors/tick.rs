//! One job: a collector for one target, from its first tick to its end.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use outrigger_api::manifest::{Collector, Each};
use outrigger_catalog::{Guest, Snapshot};
use outrigger_sandbox::{CallError, Collected};
use outrigger_storage::Row;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::memory::{Cell, Memory};
use super::patience::Ended;
use super::rows::{is_rubbish, kept};
use super::turn::Turn;
use super::{Collectors, Job, filled, find, source};
use crate::schedule;
use crate::sharing::{Brought, Good, SharedRow, Sharing};
use crate::troubles::{self, Heard};

// === impl Collectors ===

impl Collectors {
    /// One job from its first tick to its end.
    pub(super) async fn follow(
        self: Arc<Self>,
        job: Job,
        memory: Arc<Memory>,
        phase: Duration,
        gone: CancellationToken,
        stop: CancellationToken,
    ) {
        let source = source(&job.collector, &job.target);
        let ward = self.wards.of(&job.plugin, &job.collector);
        let board = &self.metrics.board;
        let (mut woken, mut news) = (ward.woken(), memory.news());
        let mut replicas = self.sharing.as_ref().map(|sharing| sharing.replicas.changes());
        let name = job.name();
        let mut turn = Turn::starting(self.started.elapsed(), phase);
        let mut patient = false;
        loop {
            let Some((_, spec)) = find(&self.catalog.snapshot(), &job) else {
                break;
            };
            let interval = self.interval(&spec);
            let before = self.sharing.as_ref().map_or(0, |sharing| sharing.replicas.before(&name));
            let due = turn.due(before, interval);
            board.due(&job, due);
            tokio::select! {
                // Shutting down: rows are served to the end.
                () = stop.cancelled() => return,
                () = gone.cancelled() => break,
                () = tokio::time::sleep_until(self.started + due) => {}
                Ok(()) = woken.changed() => {
                    board.forgive(&job);
                    if patient {
                        turn.sooner(schedule::soonest(turn.first(), self.started.elapsed(), interval));
                    }
                    continue;
                }
                Ok(()) = news.changed() => {
                    if let Some(heard) = *news.borrow_and_update() {
                        turn.heard(heard.at, heard.age, heard.good, interval);
                    }
                    continue;
                }
                () = changed(&mut replicas) => continue,
            }
            let snapshot = self.catalog.snapshot();
            let Some((guest, spec)) = find(&snapshot, &job) else { break };
            let interval = self.interval(&spec);
            let failures = tokio::select! {
                () = stop.cancelled() => return,
                () = gone.cancelled() => break,
                failures = self.tick(&job, &source, &*guest, &spec, interval, &memory) => failures,
            };
            let Some((ended, failures)) = failures else { continue };
            let now = self.started.elapsed();
            let skipped = now.saturating_sub(due).as_nanos() / interval.as_nanos().max(1);
            if skipped > 0 {
                self.metrics
                    .skipped
                    .get_or_create(&job.of())
                    .inc_by(u64::try_from(skipped).unwrap_or(u64::MAX));
            }
            let intervals = ward.intervals(&job.target, ended, failures);
            patient = intervals > 1;
            let next = schedule::next(due, now, interval).saturating_add(interval.saturating_mul(intervals.saturating_sub(1)));
            turn.ticked(now, ended == Ended::Well, next);
        }
        // Whoever assigns may not have seen that the plugin was gone, if it is back by now: this job is over all the same.
        gone.cancel();
        {
            let mut memories = self.memories();
            if memories.get(&job).is_some_and(|known| Arc::ptr_eq(known, &memory)) {
                memories.remove(&job);
            }
        }
        ward.forget(&job.target);
        board.forget(&job);
        self.recovered(&job);
        // The target, or the collector, is gone: what it knew is no longer true.
        for (plugin, _, table) in self.catalog.snapshot().tables() {
            if *plugin == *job.plugin {
                table.withdraw(&source);
            }
        }
    }

    /// How it ended, and how many have failed in a row by now; `None` if nothing runs any more.
    async fn tick(
        &self,
        job: &Job,
        source: &Arc<str>,
        guest: &dyn Guest,
        spec: &Collector,
        interval: Duration,
        memory: &Memory,
    ) -> Option<(Ended, u32)> {
        let begun = Instant::now();
        let permits = self
            .permits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(job.plugin.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(self.options.concurrency)))
            .clone();
        let _place = permits.acquire().await.ok()?;
        let since = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.newest.fetch_max(since.saturating_add(1), Ordering::Relaxed);
        // The cell changes only when the tick succeeds: a version that fails leaves the one before it its state.
        let cell = memory.cell();
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
        let took = begun.elapsed();
        self.metrics.duration.get_or_create(&job.of()).observe(took.as_secs_f64());
        if spec.each == Each::Node {
            self.metrics.of_node.observe(took.as_secs_f64());
        }
        let ended = match &result {
            Ok(collected) if is_rubbish(collected) => Ended::Failed,
            Ok(_) => Ended::Well,
            Err(CallError::Refused { .. }) => Ended::Refused,
            Err(_) => Ended::Failed,
        };
        let outcome = match ended {
            Ended::Well => "success",
            Ended::Refused => "refused",
            Ended::Failed => "failed",
        };
        self.metrics.ticks.get_or_create(&job.outcome(outcome)).inc();
        let failures = match result {
            Ok(collected) if is_rubbish(&collected) => {
                let why = format!("not one of its {} rows can be used", collected.complaints.count);
                self.failed(job, took, why.clone(), &why)
            }
            Ok(collected) => {
                let bytes = self.publish(job, source, guest, spec, collected).into();
                let schema = spec.state_schema;
                memory.keep(Cell { schema, bytes }, Instant::now());
                self.recovered(job);
                self.metrics.board.ended(job, took, None)
            }
            Err(error) => self.failed(job, took, troubles::reason(&error, &job.target), &error),
        };
        if ended != Ended::Well
            && let Some(sharing) = self.heard_by_others()
        {
            sharing.tell(&told(job, guest, None), Instant::now());
        }
        Some((ended, failures))
    }

    /// How to tell the other replicas, if there are any who listen.
    fn heard_by_others(&self) -> Option<&Sharing> {
        self.sharing.as_ref().filter(|sharing| sharing.is_heard())
    }

    fn failed(&self, job: &Job, took: Duration, reason: String, error: &dyn Display) -> u32 {
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
        self.metrics.board.ended(job, took, Some(error))
    }

    pub(super) fn recovered(&self, job: &Job) {
        let Job {
            plugin,
            collector,
            target,
        } = job;
        if let Some((reason, lasted)) = self.troubles.ends(plugin, collector, target) {
            tracing::info!(%plugin, %collector, "no tick fails any more, after {lasted:.1?}, because of: {reason}");
        }
    }

    /// Puts rows into the tables and tells the other replicas; returns the state to keep.
    fn publish(&self, job: &Job, source: &Arc<str>, guest: &dyn Guest, spec: &Collector, collected: Collected) -> Vec<u8> {
        let snapshot = self.catalog.snapshot();
        // The plugin was replaced during the tick: a version that is no longer served publishes nothing.
        if find(&snapshot, job).is_none_or(|(now, _)| now.digest() != guest.digest()) {
            return collected.state;
        }
        // The sandbox has logged what is wrong with them, under the plugin's name.
        let bad = u64::try_from(collected.complaints.count).unwrap_or(u64::MAX);
        self.metrics.complaints.get_or_create(&job.of()).inc_by(bad);
        if let Some(sharing) = self.heard_by_others() {
            let good = Good {
                schema: spec.state_schema,
                state: collected.state.clone().into(),
                rows: collected.rows.iter().map(SharedRow::returned).collect(),
            };
            sharing.tell(&told(job, guest, Some(good)), Instant::now());
        }
        let mut rows: HashMap<Arc<str>, Vec<Row>> = HashMap::new();
        for row in collected.rows {
            rows.entry(row.resource.clone()).or_default().push(kept(row));
        }
        self.put(&snapshot, job, source, guest, spec, rows, SystemTime::now());
        collected.state
    }

    /// Puts the rows that a tick brought at `at` into the tables that its collector fills.
    #[expect(clippy::too_many_arguments, reason = "all of one job; both callers have them at hand")]
    pub(super) fn put(
        &self,
        snapshot: &Snapshot,
        job: &Job,
        source: &Arc<str>,
        guest: &dyn Guest,
        spec: &Collector,
        mut rows: HashMap<Arc<str>, Vec<Row>>,
        at: SystemTime,
    ) {
        let interval = self.interval(spec);
        let keep = match spec.keep_seconds {
            0 => interval.saturating_mul(4),
            seconds => Duration::from_secs(seconds.into()).max(interval.saturating_mul(2)),
        };
        for resource in filled(guest, spec) {
            if let Some(table) = snapshot.table(&job.plugin, &resource.group, &resource.plural) {
                table.publish(source, rows.remove(&*resource.plural).unwrap_or_default(), at, keep);
            }
            if let Some(standing) = snapshot.standing(&job.plugin, &resource.group, &resource.plural) {
                standing.succeeded(source, at, keep);
            }
        }
    }
}

/// What a tick that has just ended is to the others.
fn told(job: &Job, guest: &dyn Guest, good: Option<Good>) -> Brought {
    Brought {
        plugin: job.plugin.to_string(),
        digest: guest.digest().to_owned(),
        collector: job.collector.to_string(),
        target: job.target.to_string(),
        age_ms: 0,
        good,
    }
}

/// There are other replicas than before; never, where the work is not shared.
async fn changed(replicas: &mut Option<watch::Receiver<u64>>) {
    if let Some(replicas) = replicas
        && replicas.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
