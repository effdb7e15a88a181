//! Controllers: keys of objects that changed, one reconcile at a time for each, and only in the replica that leads.
//!
//! Each controller of each plugin has a task that owns it ([`term`]): it follows the controller's resources with the plugin's own
//! rights, feeds a queue in which each key stands once ([`queue`]), and calls the guest. The queue belongs to the controller and not to
//! a version: a hot swap takes it over, calls under way end on the old version, and the new one sees every object once.
//!
//! Promises: no reconcile before everything that the controller follows is known; two calls of one key never run together; a change
//! that comes while its key is worked on is seen afterwards; what fails comes back ([`retries`]). It must never reconcile while another
//! replica may lead: when the lead is lost, calls under way are dropped, and what was queued is forgotten, since the next term begins with
//! every object anyway.

mod queue;
mod retries;
pub(crate) mod series;
mod standing;
mod term;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outrigger_catalog::Catalog;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Watches;
use crate::troubles::Troubles;
use series::Series;
pub use standing::{ControllerStatus, Failure, State};
use term::Controlled;

/// How controllers run.
#[derive(Debug, Clone)]
pub struct ControllerOptions {
    /// Keys of one controller that are reconciled at once, whatever its manifest says.
    pub concurrency: usize,
    /// The longest that one reconcile may take.
    pub deadline: Duration,
}

/// Runs every controller of the catalog.
pub struct Controllers {
    catalog: Arc<Catalog>,
    options: ControllerOptions,
    series: Series,
    troubles: Troubles,
    wanted: watch::Sender<bool>,
    running: Mutex<BTreeMap<Job, Arc<Controlled>>>,
}

/// One controller.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Job {
    plugin: Arc<str>,
    controller: Arc<str>,
}

// === impl ControllerOptions ===

impl Default for ControllerOptions {
    fn default() -> Self {
        Self {
            concurrency: 16,
            deadline: Duration::from_secs(30),
        }
    }
}

// === impl Controllers ===

impl Controllers {
    /// Nothing runs before [`Controllers::run`].
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, options: ControllerOptions, registry: &mut Registry) -> Self {
        Self {
            catalog,
            options,
            series: Series::register(registry),
            troubles: Troubles::default(),
            wanted: watch::Sender::new(false),
            running: Mutex::default(),
        }
    }

    /// Whether there is a controller that wants to run: without one nobody need stand for election. False again once all have ended.
    #[must_use]
    pub fn wanted(&self) -> watch::Receiver<bool> {
        self.wanted.subscribe()
    }

    /// How every controller stands.
    #[must_use]
    pub fn status(&self) -> Vec<ControllerStatus> {
        let running: Vec<Arc<Controlled>> = self.running().values().cloned().collect();
        running.iter().map(|controlled| controlled.status()).collect()
    }

    /// Runs until `stop`, reconciling while `leading`; then waits until the last call has been dropped.
    pub async fn run(self: Arc<Self>, watches: Arc<dyn Watches>, leading: watch::Receiver<bool>, stop: CancellationToken) {
        let mut changes = self.catalog.changes();
        let mut jobs: BTreeMap<Job, CancellationToken> = BTreeMap::new();
        let tasks = TaskTracker::new();
        loop {
            changes.mark_unchanged();
            self.assign(&mut jobs, &tasks, &watches, &leading, &stop);
            tokio::select! {
                () = stop.cancelled() => break,
                _ = changes.changed() => {}
            }
        }
        tasks.close();
        tasks.wait().await;
        self.wanted.send_replace(false);
    }

    /// Starts what is missing, ends what is no longer served.
    fn assign(
        self: &Arc<Self>,
        jobs: &mut BTreeMap<Job, CancellationToken>,
        tasks: &TaskTracker,
        watches: &Arc<dyn Watches>,
        leading: &watch::Receiver<bool>,
        stop: &CancellationToken,
    ) {
        let snapshot = self.catalog.snapshot();
        let mut served = BTreeSet::new();
        for (plugin, installed) in snapshot.plugins() {
            served.extend(installed.guest.manifest().controllers.iter().map(|controller| Job {
                plugin: plugin.clone(),
                controller: controller.name.as_str().into(),
            }));
        }
        jobs.retain(|job, gone| {
            let keep = served.contains(job);
            if !keep {
                gone.cancel();
                self.running().remove(job);
                self.series.forget(&job.plugin, &job.controller);
            }
            keep
        });
        self.wanted
            .send_if_modified(|wanted| std::mem::replace(wanted, !served.is_empty()) == served.is_empty());
        for job in served {
            jobs.entry(job).or_insert_with_key(|job| {
                let gone = stop.child_token();
                let controlled = Arc::new(Controlled::new(job.clone(), &self.series));
                self.running().insert(job.clone(), controlled.clone());
                tasks.spawn(self.clone().live(controlled, watches.clone(), leading.clone(), gone.clone()));
                gone
            });
        }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<Job, Arc<Controlled>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
