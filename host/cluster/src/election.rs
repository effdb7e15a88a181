//! Who of several replicas leads: client-go's leader election, rule for rule.
//!
//! A Lease names its holder. The holder renews it every `retry_period`; who has not managed to for `renew_deadline` leads no more. The
//! others look every `retry_period` (and up to 1.2 times that longer, at random) and take a Lease that has not changed for as long as it
//! says. That time is measured by each one's own clock from when *it* saw the change, so clocks need not agree
//! (`tools/leaderelection/leaderelection.go`). Who ends in order empties the Lease, and the next one takes it at its next look.
//!
//! Two more differences from client-go: who loses the lead stands again instead of ending its process, and nobody stands while there is
//! nothing to lead. It must never say that it leads for longer than one retry and the renew deadline after the last renewal *began*:
//! when kube-apiserver's answer comes late, the others' clocks run already (client-go counts from the answer).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::backoff::random_fraction;

/// How long everything takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElectionOptions {
    /// How long the others wait without seeing a renewal: `--leader-elect-lease-duration`.
    pub lease_duration: Duration,
    /// How long the leader tries to renew before it gives up: `--leader-elect-renew-deadline`.
    pub renew_deadline: Duration,
    /// From one try to the next: `--leader-elect-retry-period`.
    pub retry_period: Duration,
}

/// What a Lease says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Who leads; empty if nobody does.
    pub holder: String,
    /// For how many seconds after a change.
    pub seconds: i32,
    /// Since when; of the holder's clock.
    pub acquired: Option<Timestamp>,
    /// When it was renewed; of the holder's clock.
    pub renewed: Option<Timestamp>,
    /// How often it changed hands.
    pub transitions: i32,
}

/// Where a [`Record`] is kept. An update of one that somebody has changed since it was read must fail.
#[async_trait]
pub trait Lock: Send + Sync {
    /// What is there now.
    ///
    /// # Errors
    /// One sentence.
    async fn get(&self) -> Result<Option<Record>, String>;

    /// Makes it; fails if it is there.
    ///
    /// # Errors
    /// One sentence.
    async fn create(&self, record: &Record) -> Result<(), String>;

    /// Replaces what was read, made or replaced last.
    ///
    /// # Errors
    /// One sentence.
    async fn update(&self, record: &Record) -> Result<(), String>;
}

/// One candidate.
pub struct Election {
    lock: Arc<dyn Lock>,
    options: ElectionOptions,
    identity: String,
    /// For the log.
    name: String,
    /// What was seen last, and when.
    seen: Option<(Record, Instant)>,
    /// Whom the log heard of last.
    told: String,
    trouble: Option<String>,
}

/// client-go's `JitterFactor`.
const JITTER: f64 = 1.2;

// === impl ElectionOptions ===

impl Default for ElectionOptions {
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

impl ElectionOptions {
    /// What cannot be, in client-go's words; empty if it can.
    #[must_use]
    pub fn validate(&self) -> Vec<&'static str> {
        let mut wrong = Vec::new();
        if self.lease_duration <= self.renew_deadline {
            wrong.push("leaseDuration must be greater than renewDeadline");
        }
        if self.renew_deadline <= self.retry_period.mul_f64(JITTER) {
            wrong.push("renewDeadline must be greater than retryPeriod*JitterFactor");
        }
        if self.lease_duration < Duration::from_secs(1) {
            wrong.push("leaseDuration must be at least one second");
        }
        if self.retry_period.is_zero() {
            wrong.push("retryPeriod must be greater than zero");
        }
        wrong
    }
}

// === impl Election ===

impl Election {
    /// A candidate called `identity`, which no other may be called, for the lease called `name`.
    #[must_use]
    pub fn new(lock: Arc<dyn Lock>, options: ElectionOptions, identity: String, name: String) -> Self {
        Self {
            lock,
            options,
            identity,
            name,
            seen: None,
            told: String::new(),
            trouble: None,
        }
    }

    /// Stands while there is something to lead, until cancelled, and says in `leading` whether it leads. Whoever turns `wanted` off, or
    /// cancels, has ended all that needs the lead: the lease is given up then.
    pub async fn stand(mut self, mut wanted: watch::Receiver<bool>, leading: watch::Sender<bool>, cancel: CancellationToken) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                called = called(&mut wanted, true) => if !called { return },
            }
            // Whether it is for good.
            let off = async {
                tokio::select! {
                    () = cancel.cancelled() => true,
                    called = called(&mut wanted, false) => !called,
                }
            };
            tokio::pin!(off);
            tokio::select! {
                for_good = &mut off => {
                    if for_good { return }
                    continue;
                }
                () = self.acquire() => {}
            }
            info!(lease = self.name, identity = self.identity, "this replica leads");
            leading.send_replace(true);
            let lost = tokio::select! {
                for_good = &mut off => Err(for_good),
                why = self.renew() => Ok(why),
            };
            leading.send_replace(false);
            match lost {
                Ok(why) => warn!(lease = self.name, "this replica leads no more: {why}"),
                Err(for_good) => {
                    self.release().await;
                    if for_good {
                        return;
                    }
                }
            }
        }
    }

    /// Until it leads.
    async fn acquire(&mut self) {
        loop {
            if self.attempt().await {
                return;
            }
            let jitter = self.options.retry_period.mul_f64(JITTER * random_fraction());
            tokio::time::sleep(self.options.retry_period + jitter).await;
        }
    }

    /// While it leads; why not any longer.
    async fn renew(&mut self) -> String {
        loop {
            let retry = self.options.retry_period;
            let last = self.seen.as_ref().map_or_else(Instant::now, |(_, at)| *at);
            let until = last + retry + self.options.renew_deadline;
            tokio::time::sleep(retry).await;
            let renewed = tokio::time::timeout_at(until, async {
                while !self.attempt().await {
                    tokio::time::sleep(retry).await;
                }
            });
            if renewed.await.is_err() {
                let why = self.trouble.clone().unwrap_or_else(|| "somebody else holds it".to_owned());
                return format!("not renewed within {:?}: {why}", self.options.renew_deadline);
            }
        }
    }

    /// Takes or renews the lease, if that may be.
    async fn attempt(&mut self) -> bool {
        // client-go's clients give up a request after half of the deadline (resourcelock.NewFromKubeconfig).
        let patience = self.options.renew_deadline / 2;
        let lock = self.lock.clone();
        let (mut trouble, identity) = (None, self.identity.clone());
        let outcome = tokio::time::timeout(patience, self.try_once(&*lock)).await;
        let leads = match outcome {
            Ok(Ok(leads)) => leads,
            Ok(Err(sentence)) => {
                trouble = Some(sentence);
                false
            }
            Err(_) => {
                trouble = Some(format!("no answer within {patience:?}"));
                false
            }
        };
        match &trouble {
            Some(sentence) if self.trouble.as_ref() != Some(sentence) => {
                warn!(
                    lease = self.name,
                    "the lease cannot be read or written: {sentence}; it is tried again"
                );
            }
            Some(sentence) => debug!(lease = self.name, "still: {sentence}"),
            None => {}
        }
        self.trouble = trouble;
        let holder = self
            .seen
            .as_ref()
            .map(|(record, _)| record.holder.as_str())
            .unwrap_or_default();
        if holder != self.told {
            self.told = holder.to_owned();
            if !self.told.is_empty() && self.told != identity {
                info!(lease = self.name, leader = self.told, "another replica leads");
            }
        }
        leads
    }

    /// `tryAcquireOrRenew`.
    async fn try_once(&mut self, lock: &dyn Lock) -> Result<bool, String> {
        let (begun, now) = (Instant::now(), Timestamp::now());
        let mut next = Record {
            holder: self.identity.clone(),
            seconds: i32::try_from(self.options.lease_duration.as_secs()).unwrap_or(i32::MAX),
            acquired: Some(now),
            renewed: Some(now),
            transitions: 0,
        };
        // The leader need not read what only the leader writes.
        if let Some((seen, at)) = self.seen.as_ref().filter(|(seen, _)| seen.holder == self.identity)
            && valid(seen, *at, begun)
        {
            next.acquired = seen.acquired;
            next.transitions = seen.transitions;
            match lock.update(&next).await {
                Ok(()) => {
                    self.seen = Some((next, begun));
                    return Ok(true);
                }
                Err(error) => debug!(lease = self.name, "not renewed at once, looking who holds it: {error}"),
            }
        }
        let Some(found) = lock.get().await? else {
            next.acquired = Some(now);
            next.transitions = 0;
            lock.create(&next).await?;
            self.seen = Some((next, begun));
            return Ok(true);
        };
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != found) {
            self.seen = Some((found.clone(), Instant::now()));
        }
        let ours = found.holder == self.identity;
        let since = self.seen.as_ref().map_or(begun, |(_, at)| *at);
        if !found.holder.is_empty() && !ours && valid(&found, since, Instant::now()) {
            return Ok(false);
        }
        if ours {
            next.acquired = found.acquired;
            next.transitions = found.transitions;
        } else {
            next.acquired = Some(now);
            next.transitions = found.transitions.saturating_add(1);
        }
        lock.update(&next).await?;
        self.seen = Some((next, begun));
        Ok(true)
    }

    /// Gives the lease up, if it is still ours.
    async fn release(&mut self) {
        let lock = self.lock.clone();
        let released = tokio::time::timeout(self.options.renew_deadline, async {
            let Some(found) = lock.get().await?.filter(|found| found.holder == self.identity) else {
                return Ok(());
            };
            let now = Some(Timestamp::now());
            let empty = Record {
                holder: String::new(),
                seconds: 1,
                acquired: now,
                renewed: now,
                transitions: found.transitions,
            };
            lock.update(&empty).await
        });
        match released.await {
            Ok(Ok(())) => info!(lease = self.name, "the lease is given up"),
            Ok(Err(error)) => warn!(lease = self.name, "the lease could not be given up, it runs out: {error}"),
            Err(_) => warn!(lease = self.name, "the lease could not be given up in time, it runs out"),
        }
        self.seen = None;
    }
}

/// Whether a record that was seen at `at` still counts.
fn valid(record: &Record, at: Instant, now: Instant) -> bool {
    let seconds = u64::try_from(record.seconds).unwrap_or(0);
    at + Duration::from_secs(seconds) > now
}

/// Waits until it is so; whether anybody can still say.
async fn called(wanted: &mut watch::Receiver<bool>, so: bool) -> bool {
    wanted.wait_for(|wanted| *wanted == so).await.is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    /// One Lease, and a way to it that may be cut.
    #[derive(Default)]
    struct Shelf {
        lease: Mutex<Option<(Record, u64)>>,
        asked: AtomicU32,
    }

    #[derive(Default)]
    struct Way {
        shelf: Arc<Shelf>,
        cut: AtomicBool,
        read: Mutex<u64>,
    }

    impl Way {
        fn to(shelf: &Arc<Shelf>) -> Arc<Self> {
            Arc::new(Self {
                shelf: shelf.clone(),
                ..Self::default()
            })
        }

        fn pass(&self) -> Result<(), String> {
            self.shelf.asked.fetch_add(1, Ordering::Relaxed);
            if self.cut.load(Ordering::Relaxed) {
                return Err("cut".into());
            }
            Ok(())
        }
    }

    #[async_trait]
    impl Lock for Way {
        async fn get(&self) -> Result<Option<Record>, String> {
            self.pass()?;
            let lease = self.shelf.lease.lock().unwrap();
            *self.read.lock().unwrap() = lease.as_ref().map_or(0, |(_, version)| *version);
            Ok(lease.as_ref().map(|(record, _)| record.clone()))
        }

        async fn create(&self, record: &Record) -> Result<(), String> {
            self.pass()?;
            let mut lease = self.shelf.lease.lock().unwrap();
            if lease.is_some() {
                return Err("exists".into());
            }
            *lease = Some((record.clone(), 1));
            *self.read.lock().unwrap() = 1;
            Ok(())
        }

        async fn update(&self, record: &Record) -> Result<(), String> {
            self.pass()?;
            let mut lease = self.shelf.lease.lock().unwrap();
            let mut read = self.read.lock().unwrap();
            match &mut *lease {
                Some((kept, version)) if *version == *read => {
                    *kept = record.clone();
                    *version += 1;
                    *read = *version;
                    Ok(())
                }
                _ => Err("conflict".into()),
            }
        }
    }

    struct Replica {
        way: Arc<Way>,
        wanted: watch::Sender<bool>,
        leading: watch::Receiver<bool>,
        cancel: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    impl Replica {
        fn start(shelf: &Arc<Shelf>, name: &str) -> Self {
            let (way, cancel) = (Way::to(shelf), CancellationToken::new());
            let (wanted, wants) = watch::channel(true);
            let (led, leading) = watch::channel(false);
            let election = Election::new(way.clone(), ElectionOptions::default(), name.into(), "lease".into());
            let task = tokio::spawn(election.stand(wants, led, cancel.clone()));
            Self {
                way,
                wanted,
                leading,
                cancel,
                task,
            }
        }

        fn leads(&self) -> bool {
            *self.leading.borrow()
        }

        /// Waits until it leads; how long that took.
        async fn when_leading(&mut self) -> Duration {
            let begun = Instant::now();
            let _ = tokio::time::timeout(Duration::from_secs(120), self.leading.wait_for(|l| *l))
                .await
                .expect("it never leads")
                .unwrap();
            begun.elapsed()
        }
    }

    async fn seconds(n: u64) {
        tokio::time::sleep(Duration::from_secs(n)).await;
    }

    fn holder(shelf: &Shelf) -> String {
        shelf
            .lease
            .lock()
            .unwrap()
            .as_ref()
            .map(|(record, _)| record.holder.clone())
            .unwrap_or_default()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_leads_and_who_kills_it_leads_when_the_lease_has_run_out() {
        let shelf = Arc::default();
        let mut a = Replica::start(&shelf, "a");
        assert_eq!(a.when_leading().await, Duration::ZERO);
        let mut b = Replica::start(&shelf, "b");
        for _ in 0..100 {
            seconds(1).await;
            assert!(a.leads() && !b.leads());
        }
        a.task.abort();
        let took = b.when_leading().await.as_secs_f64();
        // From the last renewal it saw, which may be a renewal and a look ago, to the look after the lease has run out.
        assert!((15.0 - 4.4 - 2.0..=15.0 + 4.4).contains(&took), "{took}");
        let (record, _) = shelf.lease.lock().unwrap().clone().unwrap();
        assert_eq!((record.holder.as_str(), record.seconds, record.transitions), ("b", 15, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_ends_in_order_leaves_the_lease_to_the_next() {
        for by_cancel in [true, false] {
            let shelf = Arc::default();
            let mut a = Replica::start(&shelf, "a");
            a.when_leading().await;
            let mut b = Replica::start(&shelf, "b");
            seconds(10).await;
            if by_cancel {
                a.cancel.cancel();
                (&mut a.task).await.unwrap();
            } else {
                a.wanted.send_replace(false);
            }
            let took = b.when_leading().await;
            assert!(took <= Duration::from_millis(4_400), "{took:?}");
            assert!(!a.leads());
            seconds(60).await;
            assert!(b.leads() && !a.leads() && holder(&shelf) == "b");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_renew_stops_before_another_may_lead() {
        let shelf = Arc::default();
        let mut a = Replica::start(&shelf, "a");
        a.when_leading().await;
        let mut b = Replica::start(&shelf, "b");
        seconds(30).await;
        a.way.cut.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        let _ = a.leading.wait_for(|leads| !*leads).await.unwrap();
        let after = begun.elapsed();
        assert!(
            after <= Duration::from_secs(12),
            "{after:?}: one retry and the renew deadline"
        );
        assert!(!b.leads(), "nobody leads for a moment, never two");
        b.when_leading().await;
        a.way.cut.store(false, Ordering::Relaxed);
        seconds(30).await;
        assert!(!a.leads() && b.leads(), "it stands again behind the other");
        b.task.abort();
        a.when_leading().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_trouble_is_no_change_of_leader() {
        let shelf = Arc::default();
        let mut a = Replica::start(&shelf, "a");
        a.when_leading().await;
        for _ in 0..10 {
            a.way.cut.store(true, Ordering::Relaxed);
            seconds(7).await;
            a.way.cut.store(false, Ordering::Relaxed);
            seconds(5).await;
            assert!(a.leads());
        }
        // Somebody edits the lease (an annotation, say): the optimistic update fails, the next look shows that it is still ours.
        shelf.lease.lock().unwrap().as_mut().unwrap().1 += 7;
        seconds(5).await;
        assert!(a.leads());
        assert_eq!(shelf.lease.lock().unwrap().as_ref().unwrap().0.transitions, 0);
    }

    /// Clocks need not agree: what counts is when a change was seen.
    #[tokio::test(start_paused = true)]
    async fn a_holder_with_a_wrong_clock_is_given_its_time() {
        for renewed in ["1970-01-01T00:00:00Z", "2500-01-01T00:00:00Z"] {
            let shelf: Arc<Shelf> = Arc::default();
            let strange = Record {
                holder: "stranger".into(),
                seconds: 40,
                acquired: None,
                renewed: Some(renewed.parse().unwrap()),
                transitions: 7,
            };
            *shelf.lease.lock().unwrap() = Some((strange, 3));
            let mut a = Replica::start(&shelf, "a");
            let took = a.when_leading().await.as_secs_f64();
            assert!((40.0..=44.4).contains(&took), "{took}");
            assert_eq!(shelf.lease.lock().unwrap().as_ref().unwrap().0.transitions, 8);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_stands_while_there_is_nothing_to_lead() {
        let shelf: Arc<Shelf> = Arc::default();
        let a = Replica::start(&shelf, "a");
        a.wanted.send_replace(false);
        seconds(600).await;
        let before = shelf.asked.load(Ordering::Relaxed);
        assert!(before <= 3, "{before}");
        a.wanted.send_replace(true);
        seconds(60).await;
        assert!(a.leads());
    }

    #[test]
    fn what_cannot_be_is_said() {
        let options = |lease, renew, retry| ElectionOptions {
            lease_duration: Duration::from_secs(lease),
            renew_deadline: Duration::from_secs(renew),
            retry_period: Duration::from_secs(retry),
        };
        for (options, expected) in [
            (ElectionOptions::default(), None),
            (options(10, 10, 2), Some("leaseDuration must be greater than renewDeadline")),
            (
                options(15, 2, 2),
                Some("renewDeadline must be greater than retryPeriod*JitterFactor"),
            ),
            (options(15, 10, 0), Some("retryPeriod must be greater than zero")),
        ] {
            assert_eq!(options.validate().first().copied(), expected, "{options:?}");
        }
    }
}
