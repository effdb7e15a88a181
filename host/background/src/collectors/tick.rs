//! One job: a collector for one target, from its first tick to its end.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use outrigger_api::manifest::{Collector, Each};
use outrigger_catalog::Guest;
use outrigger_sandbox::{CallError, Collected};
use outrigger_storage::Row;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::patience::Ended;
use super::rows::{is_rubbish, kept};
use super::{Collectors, Job, filled, find, source};
use crate::schedule;
use crate::troubles::{self, Heard};

/// A job's state cell: what the last good tick returned, and under which schema.
#[derive(Default)]
struct Cell {
    schema: u32,
    bytes: Vec<u8>,
}

// === impl Collectors ===

impl Collectors {
    /// One job from its first tick to its end.
    pub(super) async fn follow(self: Arc<Self>, job: Job, phase: Duration, gone: CancellationToken, stop: CancellationToken) {
        let source = source(&job.collector, &job.target);
        let ward = self.wards.of(&job.plugin, &job.collector);
        let board = &self.metrics.board;
        let mut woken = ward.woken();
        let mut cell = Cell::default();
        let mut due = self.started.elapsed().saturating_add(phase);
        let mut patient = false;
        loop {
            board.due(&job, due);
            tokio::select! {
                // Shutting down: rows are served to the end.
                () = stop.cancelled() => return,
                () = gone.cancelled() => break,
                () = tokio::time::sleep_until(self.started + due) => {}
                Ok(()) = woken.changed() => {
                    board.forgive(&job);
                    if patient && let Some((_, spec)) = find(&self.catalog.snapshot(), &job) {
                        due = schedule::soonest(due, self.started.elapsed(), self.interval(&spec));
                    }
                    continue;
                }
            }
            let snapshot = self.catalog.snapshot();
            let Some((guest, spec)) = find(&snapshot, &job) else { break };
            let interval = self.interval(&spec);
            let failures = tokio::select! {
                () = stop.cancelled() => return,
                () = gone.cancelled() => break,
                failures = self.tick(&job, &source, &*guest, &spec, interval, &mut cell) => failures,
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
            due = schedule::next(due, now, interval).saturating_add(interval.saturating_mul(intervals.saturating_sub(1)));
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
        cell: &mut Cell,
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
                cell.bytes = self.publish(job, source, guest, spec, interval, collected);
                cell.schema = spec.state_schema;
                self.recovered(job);
                self.metrics.board.ended(job, took, None)
            }
            Err(error) => self.failed(job, took, troubles::reason(&error, &job.target), &error),
        };
        Some((ended, failures))
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
}
