//! Which replicas of this host are alive, and where they are reached: a row of Leases, one for each.
//!
//! Each replica holds one of the Leases `NAME-replica-1`, `-2`, … and renews it; its holder is the address at which the others
//! reach it. Numbered places instead of names of their own, so that RBAC can name them all: nobody has to grant this account every
//! Lease in kube-system. Who comes takes the first place that is empty or has run out; who ends empties his.
//!
//! A place counts as long as it changes, by the clock of who looks ([`crate::election`] has the rule). Nobody must agree with
//! anybody about who is alive: whoever is wrong for a moment asks a kubelet twice, or is covered by the others' patience. While
//! kube-apiserver is away nothing changes and so everybody would run out; those whom we are connected with stay.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::backoff::random_fraction;
use crate::election::{Lock, Record};
use crate::lease::LeaseLock;

/// How replicas find each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicasOptions {
    /// Where the others reach this one.
    pub address: SocketAddr,
    /// How long a place counts without a renewal.
    pub lease_duration: Duration,
    /// From one renewal to the next.
    pub renew_period: Duration,
}

/// The places, and who is known to hold them.
pub struct Replicas {
    places: Vec<Arc<dyn Lock>>,
    options: ReplicasOptions,
    live: watch::Sender<Live>,
    connected: Mutex<BTreeSet<SocketAddr>>,
    /// From whom there is nothing to wait for any more before this one joins.
    met: watch::Sender<BTreeSet<SocketAddr>>,
    nudge: Notify,
}

/// Who is alive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// Where they are reached, this one always among them.
    pub replicas: Arc<BTreeSet<SocketAddr>>,
    /// Whether this one is known to the others, or soon will be. Before, it listens and asks nobody.
    pub joined: bool,
}

/// What one round saw.
struct Round {
    seen: BTreeMap<usize, (Record, Instant)>,
    trouble: Option<String>,
    mine: Option<usize>,
}

/// Places there are: more replicas than anybody needs for this, and RBAC has to name them.
pub const PLACES: usize = 8;
/// After so many places that were never taken nobody is looked for any more.
const EMPTY: usize = 2;
/// How long who comes waits for what the others know.
const WELCOME: Duration = Duration::from_secs(3);
/// Of one request.
const PATIENCE: Duration = Duration::from_secs(5);
/// Who is nudged often looks all the same no more often than this.
const SOONEST: Duration = Duration::from_millis(500);

// === impl ReplicasOptions ===

impl ReplicasOptions {
    /// As often as a node renews its Lease does for this too.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            lease_duration: Duration::from_secs(15),
            renew_period: Duration::from_secs(5),
        }
    }
}

// === impl Replicas ===

impl Replicas {
    /// The Leases NAMESPACE/NAME-replica-1, and so on. Nothing is asked before [`Replicas::keep`].
    #[must_use]
    pub fn new(client: &Client, namespace: &str, name: &str, options: ReplicasOptions) -> Self {
        let place =
            |n: usize| -> Arc<dyn Lock> { Arc::new(LeaseLock::new(client.clone(), namespace, &format!("{name}-replica-{n}"))) };
        Self::on((1..=PLACES).map(place).collect(), options)
    }

    fn on(places: Vec<Arc<dyn Lock>>, options: ReplicasOptions) -> Self {
        let live = watch::Sender::new(Live {
            replicas: Arc::new(BTreeSet::from([options.address])),
            joined: false,
        });
        Self {
            places,
            options,
            live,
            connected: Mutex::default(),
            met: watch::Sender::default(),
            nudge: Notify::new(),
        }
    }

    /// Where this one is reached.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.options.address
    }

    /// Who is alive.
    #[must_use]
    pub fn live(&self) -> watch::Receiver<Live> {
        self.live.subscribe()
    }

    /// Somebody came or went: look now.
    pub fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// That replica has told all that it knows, or cannot be reached.
    pub fn met(&self, replica: SocketAddr) {
        self.met.send_if_modified(|met| met.insert(replica));
    }

    /// Whether there is a connection to that replica, which is as good as a renewal while Leases cannot be read.
    pub fn connected(&self, replica: SocketAddr, is: bool) {
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        if is {
            connected.insert(replica);
        } else {
            connected.remove(&replica);
        }
    }

    /// How many of them there are connections to.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Hears what the others know, then holds a place and looks for theirs, until the end; then the place is emptied.
    pub async fn keep(self: Arc<Self>, end: CancellationToken) {
        let mut round = Round {
            seen: BTreeMap::new(),
            trouble: None,
            mine: None,
        };
        let welcome = async {
            round.trouble = self.read(&mut round.seen).await.err();
            self.say(&round);
            let others = self.live.borrow().replicas.clone();
            let mut met = self.met.subscribe();
            let all = met.wait_for(|met| {
                others
                    .iter()
                    .all(|other| *other == self.options.address || met.contains(other))
            });
            // Who does not say anything is not waited for.
            let _ = tokio::time::timeout(WELCOME, all).await;
        };
        if end.run_until_cancelled(welcome).await.is_none() {
            return;
        }
        self.live.send_modify(|live| live.joined = true);
        loop {
            if end.run_until_cancelled(self.look(&mut round)).await.is_none() {
                break;
            }
            // Out of step with the others.
            let pause = self.options.renew_period.mul_f64(0.9 + 0.2 * random_fraction());
            let nudged = async {
                tokio::time::sleep(SOONEST.min(pause)).await;
                tokio::select! {
                    () = self.nudge.notified() => {}
                    () = tokio::time::sleep(pause.saturating_sub(SOONEST)) => {}
                }
            };
            if end.run_until_cancelled(nudged).await.is_none() {
                break;
            }
        }
        self.leave(&round).await;
    }

    /// One round: read all places, renew or take one, say who is alive.
    async fn look(&self, round: &mut Round) {
        let trouble = match self.read(&mut round.seen).await {
            Ok(()) => self.hold(round).await.err(),
            Err(sentence) => Some(sentence),
        };
        match &trouble {
            Some(sentence) if round.trouble.as_ref() != Some(sentence) => warn!(
                "the Leases in which replicas find each other cannot be read or written: {sentence}; until they can, this replica \
                 counts those that it is connected with"
            ),
            Some(sentence) => debug!("still: {sentence}"),
            None if round.trouble.is_some() => {
                info!("the Leases in which replicas find each other can be read and written again")
            }
            None => {}
        }
        round.trouble = trouble;
        self.say(round);
    }

    /// What the places say now.
    async fn read(&self, seen: &mut BTreeMap<usize, (Record, Instant)>) -> Result<(), String> {
        let mut empty = 0;
        for (n, place) in self.places.iter().enumerate() {
            if let Some(record) = bounded(place.get()).await? {
                empty = 0;
                if seen.get(&n).is_none_or(|(known, _)| *known != record) {
                    seen.insert(n, (record, Instant::now()));
                }
                continue;
            }
            seen.remove(&n);
            empty += 1;
            if empty == EMPTY {
                seen.retain(|place, _| *place < n);
                break;
            }
        }
        Ok(())
    }

    /// Renews this replica's place, or takes one.
    async fn hold(&self, round: &mut Round) -> Result<(), String> {
        let me = self.options.address.to_string();
        let now = Instant::now();
        let mine = |(n, (record, _)): (&usize, &(Record, Instant))| (record.holder == me).then_some(*n);
        let free = |n: &usize| match round.seen.get(n) {
            None => true,
            Some((record, since)) => record.holder.is_empty() || now.duration_since(*since) >= self.options.lease_duration,
        };
        let place = match round.seen.iter().find_map(mine) {
            Some(place) => place,
            None => (0..self.places.len()).find(free).ok_or_else(|| {
                format!(
                    "all {} places are taken; the others do not hear of this replica, and ask for its part too; run fewer of them",
                    self.places.len()
                )
            })?,
        };
        let found = round.seen.get(&place).map(|(record, _)| record.clone());
        let (wall, ours) = (Timestamp::now(), found.as_ref().is_some_and(|found| found.holder == me));
        let record = Record {
            holder: me,
            seconds: i32::try_from(self.options.lease_duration.as_secs()).unwrap_or(i32::MAX),
            acquired: found.as_ref().filter(|_| ours).map_or(Some(wall), |found| found.acquired),
            renewed: Some(wall),
            transitions: found.as_ref().map_or(0, |found| found.transitions + i32::from(!ours)),
        };
        let Some(lock) = self.places.get(place) else { return Ok(()) };
        // Who comes in between is not overwritten: the place carries the version that was read. The next round looks again.
        match &found {
            Some(_) => bounded(lock.update(&record)).await?,
            None => bounded(lock.create(&record)).await?,
        }
        round.seen.insert(place, (record, now));
        round.mine = Some(place);
        Ok(())
    }

    fn say(&self, round: &Round) {
        let now = Instant::now();
        let connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut live = BTreeSet::from([self.options.address]);
        for (record, since) in round.seen.values() {
            let Ok(address) = record.holder.parse::<SocketAddr>() else {
                continue;
            };
            let fresh = now.duration_since(*since) < self.options.lease_duration;
            if fresh || (round.trouble.is_some() && connected.contains(&address)) {
                live.insert(address);
            }
        }
        self.live.send_if_modified(|known| {
            let changed = *known.replicas != live;
            if changed {
                let names: Vec<String> = live.iter().map(ToString::to_string).collect();
                info!("the work of collectors is shared by {}: {}", names.len(), names.join(", "));
                known.replicas = Arc::new(live);
            }
            changed
        });
    }

    async fn leave(&self, round: &Round) {
        let Some(place) = round.mine.and_then(|place| self.places.get(place)) else {
            return;
        };
        let me = self.options.address.to_string();
        let left = bounded(async {
            let Some(found) = place.get().await?.filter(|found| found.holder == me) else {
                return Ok(());
            };
            let now = Some(Timestamp::now());
            place
                .update(&Record {
                    holder: String::new(),
                    seconds: 1,
                    acquired: now,
                    renewed: now,
                    transitions: found.transitions,
                })
                .await
        });
        if let Err(sentence) = left.await {
            warn!("this replica's place could not be emptied, it runs out: {sentence}");
        }
    }
}

async fn bounded<T>(asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

impl std::fmt::Debug for Replicas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replicas")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;

    use super::*;

    /// A Lease with optimistic concurrency, and a kube-apiserver that may be away.
    #[derive(Default)]
    struct Shelf {
        records: Mutex<BTreeMap<usize, (u64, Record)>>,
        away: AtomicBool,
    }

    struct Place {
        shelf: Arc<Shelf>,
        n: usize,
        read: Mutex<Option<u64>>,
    }

    impl Place {
        fn write(&self, record: &Record, may: impl FnOnce(Option<u64>) -> bool) -> Result<(), String> {
            if self.shelf.away.load(Ordering::Relaxed) {
                return Err("away".into());
            }
            let mut records = self.shelf.records.lock().unwrap();
            let version = records.get(&self.n).map(|(version, _)| *version);
            if !may(version) {
                return Err("conflict".into());
            }
            let next = version.unwrap_or_default() + 1;
            records.insert(self.n, (next, record.clone()));
            *self.read.lock().unwrap() = Some(next);
            Ok(())
        }
    }

    #[async_trait]
    impl Lock for Place {
        async fn get(&self) -> Result<Option<Record>, String> {
            if self.shelf.away.load(Ordering::Relaxed) {
                return Err("away".into());
            }
            let found = self.shelf.records.lock().unwrap().get(&self.n).cloned();
            *self.read.lock().unwrap() = found.as_ref().map(|(version, _)| *version);
            Ok(found.map(|(_, record)| record))
        }

        async fn create(&self, record: &Record) -> Result<(), String> {
            self.write(record, |version| version.is_none())
        }

        async fn update(&self, record: &Record) -> Result<(), String> {
            let read = *self.read.lock().unwrap();
            self.write(record, |version| version == read)
        }
    }

    struct One {
        replicas: Arc<Replicas>,
        end: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    fn start(shelf: &Arc<Shelf>, port: u16) -> One {
        let place = |n| -> Arc<dyn Lock> {
            Arc::new(Place {
                shelf: shelf.clone(),
                n,
                read: Mutex::default(),
            })
        };
        let options = ReplicasOptions::at(([10, 0, 0, 1], port).into());
        let replicas = Arc::new(Replicas::on((0..3).map(place).collect(), options));
        let end = CancellationToken::new();
        let task = tokio::spawn(replicas.clone().keep(end.clone()));
        One { replicas, end, task }
    }

    fn live(one: &One) -> Vec<u16> {
        one.replicas.live().borrow().replicas.iter().map(SocketAddr::port).collect()
    }

    fn held(shelf: &Shelf) -> Vec<String> {
        let records = shelf.records.lock().unwrap();
        records
            .values()
            .map(|(_, record)| record.holder.replace("10.0.0.1:", ""))
            .collect()
    }

    async fn seconds(n: u64) {
        tokio::time::sleep(Duration::from_secs(n)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn replicas_find_each_other_and_miss_who_dies() {
        let shelf = Arc::new(Shelf::default());
        let (one, two, three) = (start(&shelf, 1), start(&shelf, 2), start(&shelf, 3));
        seconds(20).await;
        for replica in [&one, &two, &three] {
            assert_eq!(live(replica), [1, 2, 3]);
        }
        let mut all = held(&shelf);
        all.sort();
        assert_eq!(all, ["1", "2", "3"], "whoever lost the race for a place took another");
        // One ends in order, one is killed.
        two.end.cancel();
        two.task.await.unwrap();
        three.task.abort();
        one.replicas.nudge();
        seconds(2).await;
        assert_eq!(live(&one), [1, 3]);
        seconds(20).await;
        assert_eq!(live(&one), [1], "it has run out");
        let four = start(&shelf, 4);
        seconds(1).await;
        assert!(!four.replicas.live().borrow().joined, "it listens first");
        seconds(9).await;
        assert!(four.replicas.live().borrow().joined);
        assert_eq!(
            (live(&one), live(&four)),
            (vec![1, 4], vec![1, 3, 4]),
            "who comes has not seen for how long"
        );
        seconds(15).await;
        assert_eq!(live(&four), [1, 4]);
        assert_eq!(shelf.records.lock().unwrap().len(), 3, "places are taken again");
    }

    #[tokio::test(start_paused = true)]
    async fn while_leases_cannot_be_read_connections_count() {
        let shelf = Arc::new(Shelf::default());
        let (one, two, three) = (start(&shelf, 1), start(&shelf, 2), start(&shelf, 3));
        seconds(20).await;
        one.replicas.connected(two.replicas.address(), true);
        shelf.away.store(true, Ordering::Relaxed);
        seconds(60).await;
        assert_eq!((live(&one), live(&three)), (vec![1, 2], vec![3]));
        shelf.away.store(false, Ordering::Relaxed);
        seconds(12).await;
        assert_eq!(
            (live(&one), live(&two), live(&three)),
            (vec![1, 2, 3], vec![1, 2, 3], vec![1, 2, 3])
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_is_not_known_to_the_others() {
        let shelf = Arc::new(Shelf::default());
        let all: Vec<One> = (1..=3).map(|port| start(&shelf, port)).collect();
        seconds(20).await;
        let fourth = start(&shelf, 4);
        seconds(10).await;
        assert_eq!(live(&fourth), [1, 2, 3, 4], "it knows the others");
        assert_eq!(live(&all[0]), [1, 2, 3], "they do not know it, and ask for its part too");
    }
}
