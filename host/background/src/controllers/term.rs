//! One controller, from the first time that it may follow its resources until its plugin is gone.
//!
//! A term is what lies between two changes of the plan: which version runs, what it follows, where. It ends when the plan follows
//! something else, when the lead is lost, or with the plugin. Calls belong to the controller, not to the term.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outrigger_api::manifest::{Controller, ResourceName};
use outrigger_api::time::Timestamp;
use outrigger_catalog::{Guest, Snapshot};
use outrigger_sandbox::{CallError, Outcome};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::queue::{Key, Queue, Taken};
use super::retries::Retries;
use super::series::{self, Ended, Series};
use super::standing::{ControllerStatus, Failure, State};
use super::{Controllers, Job};
use crate::troubles::{self, Heard};
use crate::watches::{Follow, Following, Hears, Kind, Owner, Seen, Standing, Watches};

/// A controller, whichever version runs.
pub(super) struct Controlled {
    job: Job,
    queue: Arc<Queue>,
    retries: Mutex<Retries>,
    about: Mutex<About>,
}

#[derive(Default)]
struct About {
    state: State,
    succeeded: u64,
    failed: u64,
    last_success: Option<Timestamp>,
    last_failure: Option<Failure>,
}

/// What a version wants.
struct Plan {
    guest: Arc<dyn Guest>,
    spec: Controller,
    primary: Follow,
    owned: Vec<Follow>,
}

/// Turns what is seen of the `for` resource into keys.
struct OfPrimary {
    queue: Arc<Queue>,
    standing: watch::Sender<Option<Standing>>,
}

/// Turns what is seen of an owned resource into keys of its owners.
struct OfOwned {
    queue: Arc<Queue>,
    standing: watch::Sender<Option<Standing>>,
    group: Box<str>,
    kind: Kind,
}

/// Why a term is over.
enum Over {
    /// Something else is to be followed.
    Changed,
    /// Somebody else may lead.
    Lost,
}

/// The shortest time that `again after` can name: a guest that wants to come back at once is not let to spin.
const SHORTEST_AGAIN: Duration = Duration::from_millis(100);
/// What comes back sooner than this shares the places of all retries.
const SOON: Duration = Duration::from_secs(1);
/// How often a version is asked what it may follow: grants may change under it, and nobody tells.
const RECHECK: Duration = Duration::from_secs(5);
/// Characters of an error that are kept.
const ERROR_CHARS: usize = 500;

// === impl Controlled ===

impl Controlled {
    pub(super) fn new(job: Job, series: &Series) -> Self {
        let name = series::name(&job.plugin, &job.controller);
        let queue = Arc::new(Queue::new(series.of(&name)));
        series.watch(&name, &queue);
        Self {
            job,
            queue,
            retries: Mutex::new(Retries::new(Instant::now())),
            about: Mutex::default(),
        }
    }

    pub(super) fn status(&self) -> ControllerStatus {
        let (waiting, working) = (self.queue.depth(), self.queue.working().len());
        let failing = self.retries().failing();
        let about = self.about();
        ControllerStatus {
            plugin: self.job.plugin.to_string(),
            controller: self.job.controller.to_string(),
            state: about.state.clone(),
            waiting,
            working,
            failing,
            succeeded: about.succeeded,
            failed: about.failed,
            last_success: about.last_success,
            last_failure: about.last_failure.clone(),
        }
    }

    /// Whether that is news.
    fn is(&self, state: State) -> bool {
        let mut about = self.about();
        std::mem::replace(&mut about.state, state.clone()) != state
    }

    fn retries(&self) -> MutexGuard<'_, Retries> {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn about(&self) -> MutexGuard<'_, About> {
        self.about.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Plan ===

impl Plan {
    /// What the version that is served now wants; a sentence if it may not have it.
    fn of(snapshot: &Snapshot, job: &Job) -> Option<Result<Self, String>> {
        let guest = &snapshot.plugins().get(&job.plugin)?.guest;
        let spec = guest.manifest().controllers.iter().find(|c| *c.name == *job.controller)?;
        let follow = |resource: &ResourceName| match guest.may_follow(resource) {
            Some(namespaces) => Ok(Follow {
                plugin: job.plugin.clone(),
                resource: resource.clone(),
                namespaces,
            }),
            None => {
                let group = if resource.group.is_empty() { "core" } else { &resource.group };
                Err(format!(
                    "it is not granted list and watch of {} in {group}; grant it the capability objects with both",
                    resource.resource
                ))
            }
        };
        let owned: Result<Vec<Follow>, String> = spec.owns.iter().map(follow).collect();
        Some(follow(&spec.primary).and_then(|primary| {
            Ok(Self {
                guest: guest.clone(),
                spec: spec.clone(),
                primary,
                owned: owned?,
            })
        }))
    }

    fn follows_as(&self, other: &Self) -> bool {
        self.primary == other.primary && self.owned == other.owned
    }
}

// === impl OfPrimary ===

impl Hears for OfPrimary {
    fn seen(&self, seen: &Seen<'_>) {
        self.queue.add(seen.key);
    }

    fn stands(&self, standing: Standing) {
        self.standing.send_replace(Some(standing));
    }
}

// === impl OfOwned ===

impl OfOwned {
    /// The key of the `for` object that this owner is, if it is one.
    fn key(&self, owner: &Owner, owned: &str) -> Option<Key> {
        let is_ours = owner.group == self.group && *owner.kind == *self.kind.kind;
        let namespace = owned.split_once('/').map(|(namespace, _)| namespace);
        match (is_ours, self.kind.namespaced, namespace) {
            (false, ..) | (true, true, None) => None,
            (true, false, _) => Some(owner.name.as_ref().into()),
            (true, true, Some(namespace)) => Some(format!("{namespace}/{}", owner.name).into()),
        }
    }
}

impl Hears for OfOwned {
    fn seen(&self, seen: &Seen<'_>) {
        let before = seen.before.filter(|before| Some(*before) != seen.owner);
        for owner in seen.owner.into_iter().chain(before) {
            if let Some(key) = self.key(owner, seen.key) {
                self.queue.add(&key);
            }
        }
    }

    fn stands(&self, standing: Standing) {
        self.standing.send_replace(Some(standing));
    }
}

// === impl Controllers ===

impl Controllers {
    /// One controller until `gone`.
    pub(super) async fn live(
        self: Arc<Self>,
        controlled: Arc<Controlled>,
        watches: Arc<dyn Watches>,
        leading: watch::Receiver<bool>,
        gone: CancellationToken,
    ) {
        let mut calls = JoinSet::new();
        loop {
            let over = tokio::select! {
                biased;
                () = gone.cancelled() => break,
                over = self.term(&controlled, &*watches, leading.clone(), &mut calls) => over,
            };
            if matches!(over, Over::Lost) {
                calls.shutdown().await;
                controlled.queue.clear();
                controlled.retries().forget_all();
            }
        }
        calls.shutdown().await;
        controlled.queue.clear();
    }

    /// From one change of the plan to the next.
    async fn term(
        self: &Arc<Self>,
        controlled: &Arc<Controlled>,
        watches: &dyn Watches,
        mut leading: watch::Receiver<bool>,
        calls: &mut JoinSet<()>,
    ) -> Over {
        let Job { plugin, controller } = &controlled.job;
        let mut changes = self.catalog.changes();
        changes.mark_unchanged();
        let mut plan = match Plan::of(&self.catalog.snapshot(), &controlled.job) {
            Some(Ok(plan)) => plan,
            Some(Err(sentence)) => {
                if controlled.is(State::NotGranted(sentence.clone())) {
                    tracing::warn!(%plugin, %controller, "the controller does not start: {sentence}");
                }
                tokio::select! {
                    _ = changes.changed() => {}
                    () = tokio::time::sleep(RECHECK) => {}
                }
                return Over::Changed;
            }
            // It is no longer served: whoever owns this task is about to say so.
            None => {
                let _ = changes.changed().await;
                return Over::Changed;
            }
        };
        if !*leading.borrow_and_update() {
            controlled.is(State::Standby);
            tokio::select! {
                _ = changes.changed() => return Over::Changed,
                () = led(&mut leading) => {}
            }
        }
        let synced = async {
            let mut followed: Vec<Box<dyn Following>> = Vec::new();
            controlled.is(State::Syncing(String::new()));
            let (sender, standing) = watch::channel(None);
            let hears = OfPrimary {
                queue: controlled.queue.clone(),
                standing: sender,
            };
            followed.push(watches.follow(&plan.primary, Arc::new(hears)));
            let kind = when_synced(controlled, standing).await;
            for owned in &plan.owned {
                let (sender, standing) = watch::channel(None);
                let hears = OfOwned {
                    queue: controlled.queue.clone(),
                    standing: sender,
                    group: plan.primary.resource.group.as_str().into(),
                    kind: kind.clone(),
                };
                followed.push(watches.follow(owned, Arc::new(hears)));
                when_synced(controlled, standing).await;
            }
            followed
        };
        let followed = tokio::select! {
            biased;
            () = lost(&mut leading) => return Over::Lost,
            _ = changes.changed() => return Over::Changed,
            followed = synced => followed,
        };
        controlled.is(State::Running);
        tracing::info!(%plugin, %controller, "the controller runs");
        let mut resync = resync(&plan.spec);
        let mut recheck = tokio::time::interval_at(Instant::now() + RECHECK, RECHECK);
        recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let most = |plan: &Plan| (plan.spec.concurrency.max(1) as usize).min(self.options.concurrency.max(1));
        loop {
            tokio::select! {
                biased;
                () = lost(&mut leading) => return Over::Lost,
                _ = recheck.tick() => match Plan::of(&self.catalog.snapshot(), &controlled.job) {
                    Some(Ok(next)) if next.follows_as(&plan) => {}
                    _ => return Over::Changed,
                },
                _ = changes.changed() => match Plan::of(&self.catalog.snapshot(), &controlled.job) {
                    Some(Ok(next)) if next.follows_as(&plan) => {
                        if next.guest.digest() != plan.guest.digest() {
                            add_all(&controlled.queue, &followed);
                        }
                        if next.spec.resync_seconds != plan.spec.resync_seconds {
                            resync = self::resync(&next.spec);
                        }
                        plan = next;
                    }
                    _ => return Over::Changed,
                },
                Some(ended) = calls.join_next() => if let Err(error) = ended && error.is_panic() {
                    tracing::error!(%plugin, %controller, "a reconcile panicked: {error}");
                },
                () = tick(&mut resync) => add_all(&controlled.queue, &followed),
                taken = controlled.queue.next(), if calls.len() < most(&plan) => {
                    calls.spawn(self.clone().reconcile(controlled.clone(), plan.guest.clone(), taken));
                }
            }
        }
    }

    /// One key, once.
    async fn reconcile(self: Arc<Self>, controlled: Arc<Controlled>, guest: Arc<dyn Guest>, taken: Taken) {
        let (Job { plugin, controller }, key) = (&controlled.job, taken.key());
        let result = guest.reconcile(controller, key, self.options.deadline).await;
        let how = match &result {
            Ok(Outcome::Done) => Ended::Success,
            Ok(Outcome::AgainAfter(_)) => Ended::Again,
            Err(CallError::Refused { .. }) => Ended::Refused,
            Err(_) => Ended::Failed,
        };
        self.series.ended(plugin, controller, how);
        let again = {
            let (mut retries, now) = (controlled.retries(), Instant::now());
            match &result {
                Ok(outcome) => {
                    retries.forget(key);
                    match outcome {
                        Outcome::Done => None,
                        Outcome::AgainAfter(after) if *after < SOON => Some((*after).max(SHORTEST_AGAIN).max(retries.place(now))),
                        Outcome::AgainAfter(after) => Some(*after),
                    }
                }
                Err(_) => Some(retries.when(key, now)),
            }
        };
        if let Some(delay) = again {
            controlled.queue.add_after(key, delay);
        }
        self.tell(&controlled, key, result.err());
    }

    fn tell(&self, controlled: &Controlled, key: &Key, error: Option<CallError>) {
        let Job { plugin, controller } = &controlled.job;
        let mut about = controlled.about();
        let Some(error) = error else {
            about.succeeded = about.succeeded.saturating_add(1);
            about.last_success = Some(Timestamp::now());
            drop(about);
            if let Some((reason, lasted)) = self.troubles.ends(plugin, controller, key) {
                tracing::info!(%plugin, %controller, "no reconcile fails any more, after {lasted:.1?}, because of: {reason}");
            }
            return;
        };
        about.failed = about.failed.saturating_add(1);
        about.last_failure = Some(Failure {
            key: key.to_string(),
            at: Timestamp::now(),
            error: error.to_string().chars().take(ERROR_CHARS).collect(),
        });
        drop(about);
        match self.troubles.begins(plugin, controller, key, troubles::reason(&error, key)) {
            Heard::New => {
                tracing::warn!(%plugin, %controller, %key, "reconcile failed, it is tried again: {error} (said once for all objects)");
            }
            Heard::Known => tracing::debug!(%plugin, %controller, %key, "reconcile failed again: {error}"),
        }
    }
}

/// Waits for the first sync; shows what is in its way.
async fn when_synced(controlled: &Controlled, mut standing: watch::Receiver<Option<Standing>>) -> Kind {
    let Job { plugin, controller } = &controlled.job;
    loop {
        match standing.borrow_and_update().clone() {
            Some(Standing::Synced(kind)) => return kind,
            Some(Standing::Troubled(sentence)) if controlled.is(State::Syncing(sentence.clone())) => {
                tracing::warn!(%plugin, %controller, "the controller waits: {sentence}");
            }
            Some(Standing::Troubled(_)) | None => {}
        }
        if standing.changed().await.is_err() {
            // Nobody will ever tell.
            std::future::pending::<()>().await;
        }
    }
}

/// Until this replica leads; for ever, if there is no election any more.
async fn led(leading: &mut watch::Receiver<bool>) {
    let never = leading.wait_for(|leading| *leading).await.is_err();
    if never {
        std::future::pending::<()>().await;
    }
}

/// Until the lead is lost.
async fn lost(leading: &mut watch::Receiver<bool>) {
    // An election that has ended leads no more.
    let _ = leading.wait_for(|leading| !*leading).await;
}

/// Every key of the `for` resource, which is the first.
fn add_all(queue: &Queue, followed: &[Box<dyn Following>]) {
    for key in followed.first().map(|primary| primary.keys()).unwrap_or_default() {
        queue.add(&key);
    }
}

fn resync(spec: &Controller) -> Option<tokio::time::Interval> {
    (spec.resync_seconds > 0).then(|| {
        let period = Duration::from_secs(spec.resync_seconds.into());
        let mut interval = tokio::time::interval_at(Instant::now() + period, period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    })
}

/// The next one; never, without an interval.
async fn tick(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}
