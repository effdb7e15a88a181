//! A new version in its first minutes, with the old one behind it.
//!
//! What can be proved without side effects is proved before a version serves (see [`prove`](crate::trial::prove)); the rest only its
//! first calls can show. So it is watched for [`Terms::calls`] calls, of which each collector has had one, or for [`Terms::time`].
//! What it promises:
//!
//! * **A read is not lost.** What the new version cannot answer (a trap, a deadline, memory, rubbish, no free place) is asked of the
//!   old one, if that one serves the same: get, list up to [`HELD`] bytes, a tick of a collector whose declaration has not changed.
//! * **A write is never done twice.** create, update, delete, connect, admit and reconcile go to one version, once.
//! * **It goes back by itself** after [`Terms::failures`] failures that the old version did not share. A read is compared on the spot:
//!   if the old version fails at the same question too, nobody is to blame. Other calls have no second opinion; they count unless the
//!   old version was no better, call for call. A refusal is an answer, and a full queue says nothing of the code behind it.
//!
//! Two failures, because one may be an accident of one input or of a machine under load, and because at two of twenty the new version
//! is plainly worse while at most two writes were lost. What a caller cut short itself ([`FAIR`]) counts for nothing, or else any
//! client could have a version thrown out by asking with a short timeout.
//!
//! The verdict takes effect in here at once; the owner is woken and puts the version that stays into the next snapshot, so this
//! wrapper is on nobody's way for long. What never happens: state of one schema handed to a version of another as if it were its own.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use outrigger_api::manifest::{Backing, Collector, Manifest, Resource, ResourceName, Verb};
use outrigger_sandbox::{
    Admitted, Answered, Ask, BadResult, CallError, Collected, Counts, HostError, Outcome, Plugin, Request, Sink,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::file::Version;
use crate::{Guest, Namespaces};

/// How long a new version is watched, and what it may do wrong meanwhile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Calls after which it has proven itself, if every collector had one of them.
    pub(crate) calls: u32,
    /// After so long it has proven itself, however little it was asked.
    pub(crate) time: Duration,
    /// So many failures end it.
    pub(crate) failures: u32,
}

/// What became of a new version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not known yet.
    Watched,
    /// It stays.
    Passed,
    /// The old one is back.
    Failed,
}

/// A version on probation: answers like the new one, and like the old one where that fails.
pub(crate) struct Probation {
    version: Version,
    /// Gone once the new version has passed.
    old: Mutex<Option<Arc<dyn Guest>>>,
    verdict: AtomicU8,
    record: Mutex<Record>,
    terms: Terms,
    ends: Instant,
    decided: Arc<Notify>,
}

/// What was seen so far.
struct Record {
    calls: u32,
    failures: u32,
    last: String,
    /// Collectors that have had no tick yet.
    unticked: BTreeSet<String>,
}

/// Holds a list back until it is known to be whole, or too long to be held.
#[derive(Clone)]
struct Holding(Arc<Mutex<Option<Held>>>);

struct Held {
    to: Box<dyn Sink>,
    objects: Vec<Bytes>,
    bytes: usize,
    rubbish: bool,
}

/// Bytes of a list that are held back; of a longer one the beginning cannot be taken back.
const HELD: usize = 1 << 20;
/// A caller who gives less time than this says nothing of the plugin by losing patience.
const FAIR: Duration = Duration::from_secs(1);
const WATCHED: u8 = 0;
const PASSED: u8 = 1;
const FAILED: u8 = 2;

// === impl Terms ===

impl Default for Terms {
    fn default() -> Self {
        Self {
            calls: 20,
            time: Duration::from_secs(300),
            failures: 2,
        }
    }
}

// === impl Probation ===

impl Probation {
    /// `new` in front of `old`; both are versions of one plugin. `decided` is told when there is a verdict.
    pub(crate) fn new(version: Version, old: Arc<dyn Guest>, terms: Terms, decided: Arc<Notify>) -> Self {
        let unticked = version.guest.manifest().collectors.iter().map(|c| c.name.clone()).collect();
        Self {
            version,
            old: Mutex::new(Some(old)),
            verdict: AtomicU8::new(WATCHED),
            record: Mutex::new(Record {
                calls: 0,
                failures: 0,
                last: String::new(),
                unticked,
            }),
            terms,
            ends: Instant::now() + terms.time,
            decided,
        }
    }

    /// What became of it so far. Whoever was asked too little has passed when its time is over.
    pub(crate) fn verdict(&self) -> Verdict {
        if self.verdict.load(Ordering::Acquire) == WATCHED && Instant::now() >= self.ends {
            self.decide(PASSED);
        }
        match self.verdict.load(Ordering::Acquire) {
            WATCHED => Verdict::Watched,
            PASSED => Verdict::Passed,
            _ => Verdict::Failed,
        }
    }

    /// When it has passed at the latest.
    pub(crate) fn ends(&self) -> Instant {
        self.ends
    }

    fn guest(&self) -> &dyn Guest {
        &*self.version.guest
    }

    /// The version under watch.
    pub(crate) fn version(&self) -> &Version {
        &self.version
    }

    /// Why it failed.
    pub(crate) fn why(&self) -> String {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        format!(
            "{} of its first {} calls failed where the version before did not, the last: {}",
            record.failures, record.calls, record.last
        )
    }

    /// The old version while there is something to watch.
    fn watched(&self) -> Option<Arc<dyn Guest>> {
        if self.verdict.load(Ordering::Acquire) != WATCHED {
            return None;
        }
        self.old()
    }

    fn old(&self) -> Option<Arc<dyn Guest>> {
        self.old.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who answers once there is a verdict: after a failure the old version, if it `can`.
    fn settled(&self, can: impl FnOnce(&Manifest) -> bool) -> Arc<dyn Guest> {
        match self.verdict.load(Ordering::Acquire) {
            FAILED => self.old().filter(|old| can(old.manifest())),
            _ => None,
        }
        .unwrap_or_else(|| self.version.guest.clone())
    }

    /// A call that says nothing against it. `ticked` is the collector that had it.
    fn well(&self, ticked: Option<&str>) {
        let over = {
            let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
            record.calls += 1;
            if let Some(collector) = ticked {
                record.unticked.remove(collector);
            }
            record.calls >= self.terms.calls && record.unticked.is_empty()
        };
        if over {
            self.decide(PASSED);
        }
    }

    /// A call that the old version would not have failed.
    fn badly(&self, error: &CallError) {
        let over = {
            let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
            record.calls += 1;
            record.failures += 1;
            record.last = error.to_string();
            record.failures >= self.terms.failures
        };
        if over {
            self.decide(FAILED);
        }
    }

    /// A call that nobody can be asked about again.
    fn alone<T>(&self, outcome: &Result<T, CallError>, old: &dyn Guest, given: Duration) {
        match outcome {
            // The engine may have failed here, not the plugin.
            Err(CallError::Start { .. }) => self.well(None),
            Err(error) if is_failure(error, given) && !self.is_no_better(old) => self.badly(error),
            // Nothing ran.
            Err(CallError::Busy { .. } | CallError::SetAside { .. }) => {}
            _ => self.well(None),
        }
    }

    /// Whether the old version failed as often, call for call, as the new one may.
    fn is_no_better(&self, old: &dyn Guest) -> bool {
        let Some(counts) = old.counts() else { return false };
        let reasons = ["trap", "deadline", "cpu", "memory", "table", "result"];
        let failed: u64 = counts
            .failed
            .iter()
            .filter(|(reason, _)| reasons.contains(reason))
            .map(|(_, n)| n)
            .sum();
        let calls = counts.succeeded + counts.failed.iter().map(|(_, n)| n).sum::<u64>();
        calls > 0 && failed.saturating_mul(self.terms.calls.into()) >= calls.saturating_mul(self.terms.failures.into())
    }

    /// What both versions said to one question, as one answer.
    fn compare<T>(&self, error: CallError, second: Result<T, CallError>, given: Duration) -> Result<T, CallError> {
        match second {
            Err(theirs) if !matches!(theirs, CallError::Refused { .. }) => {
                if !matches!(error, CallError::Busy { .. } | CallError::SetAside { .. }) {
                    self.well(None);
                }
                Err(error)
            }
            answer => {
                if is_failure(&error, given) {
                    self.badly(&error);
                }
                answer
            }
        }
    }

    /// The first verdict stands.
    fn decide(&self, verdict: u8) {
        let first = self
            .verdict
            .compare_exchange(WATCHED, verdict, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        if first {
            if verdict == PASSED {
                *self.old.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            self.decided.notify_one();
        }
    }

    /// A list whose objects wait until it is whole, so that another version can still answer it.
    async fn list(
        &self,
        old: &dyn Guest,
        request: Arc<Request>,
        to: Box<dyn Sink>,
        deadline: Duration,
    ) -> Result<Answered, CallError> {
        let begun = Instant::now();
        let holding = Holding::new(to);
        let given = share(deadline);
        let ask = Ask::List(Box::new(holding.clone()));
        let first = self.guest().respond(request.clone(), ask, given).await;
        let held = holding.take();
        let first = match (first, &held) {
            (Ok(_), Some(held)) if held.rubbish => Err(rubbish(self.guest(), &request, "an object that is none")),
            (first, _) => first,
        };
        match (first, held) {
            // Its beginning is on its way: there is no second try.
            (first, None) => {
                self.alone(&first, old, given);
                first
            }
            (Ok(answer), Some(held)) => {
                self.well(None);
                let left = deadline.saturating_sub(begun.elapsed());
                let handed = tokio::time::timeout(left, held.hand_over()).await;
                let handed = handed.unwrap_or_else(|_| Err(HostError::Timeout("the caller does not read".into())));
                handed.map_err(|error| CallError::Refused {
                    plugin: self.guest().manifest().name.clone(),
                    call: format!("list {}", request.resource),
                    error,
                    fields: Vec::new(),
                })?;
                Ok(answer)
            }
            (Err(error), Some(held)) if deserves_another(&error) && serves(old.manifest(), &request, Verb::List) => {
                let left = deadline.saturating_sub(begun.elapsed());
                let second = old.respond(request, Ask::List(held.to), left).await;
                self.compare(error, second, given)
            }
            // What it wrote before it refused is dropped, so that the refusal can be the whole answer.
            (first, Some(_)) => {
                self.alone(&first, old, given);
                first
            }
        }
    }

    async fn get(&self, old: &dyn Guest, request: Arc<Request>, deadline: Duration) -> Result<Answered, CallError> {
        let begun = Instant::now();
        let given = share(deadline);
        let first = self.guest().respond(request.clone(), Ask::Get, given).await;
        match judged(self.guest(), &request, first) {
            Err(error) if deserves_another(&error) && serves(old.manifest(), &request, Verb::Get) => {
                let left = deadline.saturating_sub(begun.elapsed());
                let second = old.respond(request.clone(), Ask::Get, left).await;
                self.compare(error, judged(old, &request, second), given)
            }
            first => {
                self.alone(&first, old, given);
                first
            }
        }
    }
}

#[async_trait]
impl Guest for Probation {
    fn manifest(&self) -> &Manifest {
        self.guest().manifest()
    }

    fn digest(&self) -> &str {
        self.guest().digest()
    }

    fn sandboxed(&self) -> Option<&Plugin> {
        self.guest().sandboxed()
    }

    fn counts(&self) -> Option<Counts> {
        self.guest().counts()
    }

    fn may_follow(&self, resource: &ResourceName) -> Option<Namespaces> {
        self.guest().may_follow(resource)
    }

    async fn collect(&self, collector: &str, target: &str, state: &[u8], deadline: Duration) -> Result<Collected, CallError> {
        // The state is of the new version's schema, so it is the old one's only if nothing about the collector has changed.
        let can = |old: &Manifest| alike(self.guest().manifest(), old, collector);
        let Some(old) = self.watched() else {
            return self.settled(can).collect(collector, target, state, deadline).await;
        };
        let begun = Instant::now();
        let given = share(deadline);
        let first = self.guest().collect(collector, target, state, given).await;
        let first = first.and_then(|found| match found.complaints.count {
            rows if found.rows.is_empty() && rows > 0 => Err(CallError::BadResult {
                plugin: self.guest().manifest().name.clone(),
                call: format!("collect {collector}"),
                why: BadResult::Unreadable(format!("not one of its {rows} rows can be used")),
            }),
            _ => Ok(found),
        });
        match first {
            Ok(found) => {
                self.well(Some(collector));
                Ok(found)
            }
            Err(error) if deserves_another(&error) && can(old.manifest()) => {
                let left = deadline.saturating_sub(begun.elapsed());
                let second = old.collect(collector, target, state, left).await;
                self.compare(error, second, given)
            }
            first => {
                self.alone(&first, &*old, given);
                first
            }
        }
    }

    async fn migrate(&self, collector: &str, old: u32, state: &[u8]) -> Option<Vec<u8>> {
        self.guest().migrate(collector, old, state).await
    }

    async fn respond(&self, request: Arc<Request>, ask: Ask, deadline: Duration) -> Result<Answered, CallError> {
        let Some(old) = self.watched() else {
            let guest = self.settled(|old| serves(old, &request, verb(&ask)));
            return guest.respond(request, ask, deadline).await;
        };
        match ask {
            Ask::Get => self.get(&*old, request, deadline).await,
            Ask::List(to) => self.list(&*old, request, to, deadline).await,
            ask => {
                let makes = matches!(ask, Ask::Create(_) | Ask::Update(_));
                let outcome = self.guest().respond(request.clone(), ask, deadline).await;
                let outcome = if makes {
                    judged(self.guest(), &request, outcome)
                } else {
                    outcome
                };
                self.alone(&outcome, &*old, deadline);
                outcome
            }
        }
    }

    async fn admit(&self, request: Arc<Request>, object: &[u8], old: &[u8], deadline: Duration) -> Result<Admitted, CallError> {
        let Some(before) = self.watched() else {
            let guest = self.settled(|old| resource(old, &request).is_some());
            return guest.admit(request, object, old, deadline).await;
        };
        let outcome = self.guest().admit(request, object, old, deadline).await;
        self.alone(&outcome, &*before, deadline);
        outcome
    }

    async fn convert(
        &self,
        plural: &str,
        version: &str,
        objects: &[Vec<u8>],
        deadline: Duration,
    ) -> Result<Vec<Vec<u8>>, CallError> {
        let Some(before) = self.watched() else {
            let guest = self.settled(|old| old.resources.iter().any(|r| r.plural == plural));
            return guest.convert(plural, version, objects, deadline).await;
        };
        let outcome = self.guest().convert(plural, version, objects, deadline).await;
        self.alone(&outcome, &*before, deadline);
        outcome
    }

    async fn reconcile(&self, controller: &str, key: &str, deadline: Duration) -> Result<Outcome, CallError> {
        let Some(old) = self.watched() else {
            let guest = self.settled(|old| old.controllers.iter().any(|c| c.name == controller));
            return guest.reconcile(controller, key, deadline).await;
        };
        let outcome = self.guest().reconcile(controller, key, deadline).await;
        self.alone(&outcome, &*old, deadline);
        outcome
    }

    async fn self_test(&self, deadline: Duration) -> Result<(), CallError> {
        self.guest().self_test(deadline).await
    }
}

// === impl Holding ===

impl Holding {
    fn new(to: Box<dyn Sink>) -> Self {
        Self(Arc::new(Mutex::new(Some(Held {
            to,
            objects: Vec::new(),
            bytes: 0,
            rubbish: false,
        }))))
    }

    /// What is held; none once the beginning is on its way.
    fn take(&self) -> Option<Held> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        held.filter(|held| held.bytes <= HELD)
    }
}

#[async_trait]
impl Sink for Holding {
    async fn start(&mut self, _: u16, _: &str) -> Result<(), HostError> {
        Err(HostError::Invalid("a list has neither status nor content type".into()))
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), HostError> {
        // Taken out and put back: no lock is held while the caller reads. A write that is given up takes it along.
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut held) = held else {
            return Err(HostError::Unavailable("nobody reads any more".into()));
        };
        let through = held.bytes > HELD;
        held.bytes = held.bytes.saturating_add(bytes.len());
        if through {
            held.to.write(bytes).await?;
        } else {
            held.rubbish |= !is_object(&bytes);
            held.objects.push(bytes);
            if held.bytes > HELD {
                held.flush().await?;
            }
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
        Ok(())
    }
}

// === impl Held ===

impl Held {
    async fn flush(&mut self) -> Result<(), HostError> {
        for object in std::mem::take(&mut self.objects) {
            self.to.write(object).await?;
        }
        Ok(())
    }

    async fn hand_over(mut self) -> Result<(), HostError> {
        self.flush().await
    }
}

/// What the new version may take of a read's time, so that the old one has a chance in the rest.
fn share(deadline: Duration) -> Duration {
    deadline / 4 * 3
}

/// Whether a failure speaks against the version that had the call for so long.
fn is_failure(error: &CallError, given: Duration) -> bool {
    match error {
        CallError::Deadline { .. } => given >= FAIR,
        error => error.is_failure(),
    }
}

/// Whether the old version may be asked the same.
fn deserves_another(error: &CallError) -> bool {
    !matches!(error, CallError::Refused { .. })
}

/// An object is an object: the rest is judged by whoever asked.
fn judged(guest: &dyn Guest, request: &Request, answer: Result<Answered, CallError>) -> Result<Answered, CallError> {
    let answer = answer?;
    if is_object(&answer.object) {
        Ok(answer)
    } else {
        Err(rubbish(guest, request, "what is no JSON object"))
    }
}

fn rubbish(guest: &dyn Guest, request: &Request, what: &str) -> CallError {
    CallError::BadResult {
        plugin: guest.manifest().name.clone(),
        call: format!("{} {}", request.verb, request.resource),
        why: BadResult::Unreadable(what.to_owned()),
    }
}

fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<serde::de::IgnoredAny>(json).is_ok()
}

fn verb(ask: &Ask) -> Verb {
    match ask {
        Ask::Get => Verb::Get,
        Ask::List(_) => Verb::List,
        Ask::Create(_) => Verb::Create,
        Ask::Update(_) => Verb::Update,
        Ask::Delete => Verb::Delete,
        Ask::Connect(..) => Verb::Connect,
    }
}

fn resource<'a>(manifest: &'a Manifest, request: &Request) -> Option<&'a Resource> {
    let is_it = |r: &&Resource| r.group == request.group && r.plural == request.resource && r.versions.contains(&request.version);
    manifest.resources.iter().find(is_it)
}

/// Whether a version serves what is asked for.
fn serves(manifest: &Manifest, request: &Request, verb: Verb) -> bool {
    let Some(resource) = resource(manifest, request) else {
        return false;
    };
    if !request.subresource.is_empty() {
        return resource.subresources.iter().any(|s| s.name == request.subresource);
    }
    matches!(&resource.backing, Backing::Virtual { verbs, .. } if verbs.contains(&verb))
}

/// Whether both versions mean the same by a collector: what it runs for, its state's schema, and the tables that it fills. How all that
/// is described, and how often it runs, is no matter of the rows.
fn alike(new: &Manifest, old: &Manifest, collector: &str) -> bool {
    let of = |manifest: &Manifest| -> Option<(Collector, Vec<Resource>)> {
        let spec = manifest.collectors.iter().find(|c| c.name == collector)?;
        let filled = manifest.resources.iter().filter(|r| spec.fills.contains(&r.plural));
        let bare = |resource: &Resource| {
            let mut bare = resource.clone();
            bare.description.clear();
            bare.singular.clear();
            bare.short_names.clear();
            bare.categories.clear();
            bare.deprecated.clear();
            bare
        };
        let timeless = Collector {
            interval_seconds: 0,
            keep_seconds: 0,
            ..spec.clone()
        };
        Some((timeless, filled.map(bare).collect()))
    };
    let new = of(new);
    new.is_some() && new == of(old)
}

#[cfg(test)]
mod tests;
