//! One authority for all replicas, kept in a safe that they share (a Secret): made by whoever comes first, followed by all.
//!
//! Each replica makes its own leaf under it, in memory, and renews it with a third of its time left. When the authority itself has a
//! third of its time left, whoever notices first puts a new one into the safe, by compare-and-swap, with the old one beside it among
//! those who are to be believed. Then, in every replica:
//!
//! 1. both are published at once ([`Publication`]);
//! 2. the old one goes on signing until every `caBundle` that leads here vouches for a leaf of the new one, and `switch_delay` longer,
//!    so that each kube-apiserver has heard of it; or, if the bundles cannot be seen or belong to somebody else, until
//!    [`LONGEST_SWITCH`] has passed;
//! 3. the new one signs. The old one stays believed until it is over.
//!
//! The same steps are walked when somebody else changes what the safe holds. What was not made here ([`Held::ours`]) is never written
//! to, nor is anything that cannot be understood: both are somebody's work. Whatever goes wrong, what is served is served on, and it is
//! tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::authority::CA_LIFETIME;
use crate::bundle::Bundle;
use crate::ca::{Ca, Leaf, NotACa, Pems};
use crate::certificates::{CertificateError, Certificates};
use crate::publication::{Clock, Publication};

/// Where the authority is kept. A change of what somebody has changed since it was read must not happen.
#[async_trait]
pub trait Safe: Send + Sync {
    /// What is there now.
    ///
    /// # Errors
    /// One sentence, with what to do about it.
    async fn read(&self) -> Result<Option<Held>, String>;

    /// Puts it in, if nothing is there.
    ///
    /// # Errors
    /// One sentence.
    async fn create(&self, pems: &Pems) -> Result<Written, String>;

    /// Puts it in the place of what has this version.
    ///
    /// # Errors
    /// One sentence.
    async fn replace(&self, pems: &Pems, version: &str) -> Result<Written, String>;
}

/// What a safe holds.
#[derive(Debug, Clone)]
pub struct Held {
    /// The keys of the Secret.
    pub pems: Pems,
    /// Changes with every change.
    pub version: String,
    /// Whether a host of this kind has made it and may change it.
    pub ours: bool,
}

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is as it should be.
    Done,
    /// Somebody else was faster: look again.
    Overtaken,
}

/// The `caBundle`s that lead here, as they are now.
pub trait Published: Send + Sync {
    /// None while they are not known.
    fn bundles(&self) -> Option<Vec<Vec<u8>>>;
}

/// How long things take.
#[derive(Debug, Clone)]
pub struct SharedCaOptions {
    /// In a sentence: `Secret kube-system/metrics-server-ca`.
    pub what: String,
    /// Names for leaves.
    pub names: Vec<String>,
    /// How long an authority lasts.
    pub ca_lifetime: Duration,
    /// How long a leaf lasts.
    pub leaf_lifetime: Duration,
    /// From when everybody is told to believe a new authority to when it signs.
    pub switch_delay: Duration,
}

/// The authority of the moment, and what is served under it.
pub struct SharedCa {
    safe: Arc<dyn Safe>,
    published: Arc<dyn Published>,
    publication: Arc<Publication>,
    certificates: Arc<Certificates>,
    options: SharedCaOptions,
    clock: Clock,
    ready: AtomicBool,
    /// What is in the way.
    trouble: ArcSwap<String>,
}

/// How long leaves last, if nobody says otherwise. Nothing keeps them, so they may be short.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long authorities last, if nobody says otherwise.
pub const LIFETIME: Duration = CA_LIFETIME;
/// After this a new authority signs even if it is not seen in every `caBundle`.
pub const LONGEST_SWITCH: Duration = Duration::from_secs(600);

/// How often the safe is looked into.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often, while something is about to change, or might.
const TICK: Duration = Duration::from_secs(1);
/// How long one answer of the safe may take.
const DEADLINE: Duration = Duration::from_secs(15);
/// The longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long a replica that starts waits, not ready, for the authority to be published.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one run knows.
#[derive(Default)]
struct State {
    /// As it was read last.
    latest: Option<(String, Arc<Ca>)>,
    /// The last one was made by somebody else.
    foreign: bool,
    active: Option<Active>,
    pending: Option<Pending>,
    wait: Duration,
}

struct Active {
    ca: Arc<Ca>,
    leaf: Leaf,
    since: Instant,
}

/// What ought to be in the safe.
enum Judged {
    Fine,
    /// Anything: there is nothing that could be used.
    Missing,
    Due(Pems),
}

struct Pending {
    ca: Arc<Ca>,
    leaf: Leaf,
    since: Instant,
    believed: Option<Instant>,
}

// === impl SharedCa ===

impl SharedCa {
    /// Shows under `certificates` (which are [`Lent`](crate::Source::Lent)) what is made under the authority in `safe`, and has
    /// `publication` say who is to be believed.
    #[must_use]
    pub fn new(
        safe: Arc<dyn Safe>,
        published: Arc<dyn Published>,
        publication: Arc<Publication>,
        certificates: Arc<Certificates>,
        options: SharedCaOptions,
        clock: Clock,
    ) -> Self {
        let trouble = ArcSwap::from_pointee(format!("{} has not been read yet", options.what));
        Self {
            safe,
            published,
            publication,
            certificates,
            options,
            clock,
            ready: AtomicBool::new(false),
            trouble,
        }
    }

    /// For `/readyz`: whether there is a certificate that those who come through kube-apiserver believe. Once passed it stays so.
    ///
    /// # Errors
    /// One sentence.
    pub fn check(&self) -> Result<(), String> {
        if self.ready.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(self.trouble.load().to_string())
    }

    /// Follows the safe until `stop`; the caller owns the future.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut state = State::default();
        let mut next = Instant::now();
        loop {
            if Instant::now() >= next {
                let Some(looked) = stop.run_until_cancelled(self.look(&mut state)).await else {
                    return;
                };
                next = Instant::now() + self.told(&mut state, looked);
            }
            if let Err(error) = self.step(&mut state) {
                error!("{}: {error}; the last certificate stays", self.options.what);
            }
            let wake = next.min(Instant::now() + TICK);
            if stop.run_until_cancelled(tokio::time::sleep_until(wake)).await.is_none() {
                return;
            }
        }
    }

    /// Says what is wrong, once, and when to look again.
    fn told(&self, state: &mut State, looked: Result<(), String>) -> Duration {
        let known = self.trouble.load_full();
        match looked {
            Ok(()) => {
                if state.wait > Duration::ZERO {
                    info!("{} is followed again", self.options.what);
                }
                state.wait = Duration::ZERO;
                self.trouble
                    .store(Arc::new(format!("{} is not published yet", self.options.what)));
                // Short lives, as tests have them, are looked after more often.
                (self.options.ca_lifetime / 30).clamp(TICK, LOOK_EVERY)
            }
            Err(sentence) => {
                let stays = if state.active.is_some() {
                    "what is served stays"
                } else {
                    "this replica is not ready"
                };
                if state.wait > Duration::ZERO && *known == sentence {
                    debug!("still: {sentence}");
                } else {
                    warn!("{sentence}; {stays}, and it is tried again");
                }
                self.trouble.store(Arc::new(sentence));
                state.wait = (state.wait * 2).clamp(TICK, LONGEST_WAIT);
                state.wait.mul_f64(1.0 + fastrand::f64())
            }
        }
    }

    /// Looks into the safe, and puts in what is missing there.
    async fn look(&self, state: &mut State) -> Result<(), String> {
        // Whoever was overtaken reads what the other one has made; twice is an accident.
        for _ in 0..3 {
            let now = (self.clock)();
            let new = || Ca::create(self.options.ca_lifetime, now).map_err(|e| e.to_string());
            let (pems, version) = match self.patient(self.safe.read()).await? {
                None if state.foreign => {
                    return Err(format!("{} is gone; whoever made it has to make it again", self.options.what));
                }
                None => {
                    if self.patient(self.safe.create(new()?.pems())).await? == Written::Done {
                        info!("made a certificate authority in {}", self.options.what);
                    }
                    continue;
                }
                Some(held) => {
                    state.foreign = !held.ours;
                    match self.judge(state, &held, now)? {
                        Judged::Fine => return Ok(()),
                        Judged::Missing => (new()?.pems().clone(), held.version),
                        Judged::Due(next) => (next, held.version),
                    }
                }
            };
            if self.patient(self.safe.replace(&pems, &version)).await? == Written::Done {
                info!("renewed the certificate authority in {}", self.options.what);
            }
        }
        Err(format!("{} changes faster than it can be read", self.options.what))
    }

    async fn patient<T>(&self, answer: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        match tokio::time::timeout(DEADLINE, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("{} was not answered within {DEADLINE:?}", self.options.what)),
        }
    }

    /// Takes over what the safe holds, if it can be used, and says what ought to be there instead.
    fn judge(&self, state: &mut State, held: &Held, now: SystemTime) -> Result<Judged, String> {
        if held.ours && held.pems.is_empty() {
            return Ok(Judged::Missing);
        }
        let known = state
            .latest
            .as_ref()
            .filter(|(version, ca)| *version == held.version && !ca.is_over(now));
        let read = match known {
            Some((_, ca)) => Ok(ca.clone()),
            None => Ca::read(&held.pems, &self.options.names, now).map(Arc::new),
        };
        let ca = match read {
            Ok(ca) => ca,
            // Nobody can have a use for it any more.
            Err(NotACa::Over) if held.ours => return Ok(Judged::Missing),
            Err(refused) => {
                let what = &self.options.what;
                let cure = if held.ours {
                    "it is left as it is: delete it, and a new authority is made"
                } else {
                    "it is somebody else's and left as it is: have it put right, or name another one with --ca-secret"
                };
                return Err(format!("{what} cannot be used as a certificate authority: {refused}; {cure}"));
            }
        };
        let due = if held.ours {
            ca.successor(self.options.ca_lifetime, now)
        } else {
            Ok(None)
        };
        state.latest = Some((held.version.clone(), ca.clone()));
        self.take(state, ca, now).map_err(|e| e.to_string())?;
        Ok(due.map_err(|e| e.to_string())?.map_or(Judged::Fine, Judged::Due))
    }

    /// From now on this is the authority: at once if there was none, else in the steps above.
    fn take(&self, state: &mut State, ca: Arc<Ca>, now: SystemTime) -> Result<(), CertificateError> {
        let issue = || ca.issue(&self.options.names, self.options.leaf_lifetime, now);
        match (&mut state.active, &mut state.pending) {
            (None, _) => {
                let leaf = issue()?;
                self.show(state, ca, leaf)?;
            }
            (Some(active), _) if active.ca.signs_as(&ca) => {
                active.ca = ca;
                state.pending = None;
            }
            (_, Some(pending)) if pending.ca.signs_as(&ca) => pending.ca = ca,
            _ => {
                info!(
                    "another authority is in {}: it signs as soon as every caBundle has it",
                    self.options.what
                );
                state.pending = Some(Pending {
                    leaf: issue()?,
                    ca,
                    since: Instant::now(),
                    believed: None,
                });
            }
        }
        self.publish(state, now);
        Ok(())
    }

    fn publish(&self, state: &State, now: SystemTime) {
        let Some(active) = &state.active else { return };
        let present = active.ca.bundle();
        self.publication.set(match &state.pending {
            Some(pending) => pending.ca.bundle().and(&present.without_over(now)),
            None => present.clone(),
        });
    }

    /// What time alone brings: a new authority begins to sign, a leaf is renewed, this replica is ready.
    fn step(&self, state: &mut State) -> Result<(), CertificateError> {
        let now = (self.clock)();
        if let Some(pending) = &mut state.pending {
            if pending.leaf.is_aging(now) {
                pending.leaf = pending.ca.issue(&self.options.names, self.options.leaf_lifetime, now)?;
            }
            let believed = self.is_believed(&pending.leaf, now);
            pending.believed = believed.then(|| pending.believed.unwrap_or_else(Instant::now));
            let switch = pending
                .believed
                .is_some_and(|since| since.elapsed() >= self.options.switch_delay)
                || pending.since.elapsed() >= LONGEST_SWITCH
                || state.active.as_ref().is_none_or(|active| active.ca.is_over(now));
            if switch {
                let (ca, leaf) = (pending.ca.clone(), pending.leaf.clone());
                self.show(state, ca, leaf)?;
                state.pending = None;
                self.publish(state, now);
                info!("the other authority in {} signs from now on", self.options.what);
            }
        }
        if let Some(active) = &state.active
            && active.leaf.is_aging(now)
            // Under an authority that is about to end there is no better leaf than this.
            && !active.ca.is_over(now)
        {
            let ca = active.ca.clone();
            let leaf = ca.issue(&self.options.names, self.options.leaf_lifetime, now)?;
            self.show(state, ca, leaf)?;
            debug!("the serving certificate was renewed");
        }
        if let Some(active) = &state.active
            && !self.ready.load(Ordering::Relaxed)
            && (self.is_believed(&active.leaf, now) || active.since.elapsed() >= PATIENCE)
        {
            self.ready.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn show(&self, state: &mut State, ca: Arc<Ca>, leaf: Leaf) -> Result<(), CertificateError> {
        self.certificates.adopt(leaf.pair().clone())?;
        let since = state.active.as_ref().map_or_else(Instant::now, |active| active.since);
        state.active = Some(Active { ca, leaf, since });
        Ok(())
    }

    /// Whether everybody who comes through kube-apiserver would believe this leaf.
    fn is_believed(&self, leaf: &Leaf, now: SystemTime) -> bool {
        let Some(name) = self.options.names.first() else { return true };
        let vouches = |pem: &Vec<u8>| Bundle::read(pem).is_some_and(|bundle| bundle.vouches_for(leaf, name, now));
        self.published.bundles().is_some_and(|all| all.iter().all(vouches))
    }
}

impl std::fmt::Debug for SharedCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedCa")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;

    use super::*;
    use crate::Source;

    const HOUR: Duration = Duration::from_secs(3600);
    const NAME: &str = "metrics-server.kube-system.svc";

    /// A Secret, and what goes wrong with it.
    #[derive(Default)]
    struct Shelf {
        held: Mutex<Option<Held>>,
        denied: AtomicBool,
        /// Somebody else is this often faster.
        rivals: Mutex<Vec<Pems>>,
        writes: Mutex<u32>,
    }

    impl Shelf {
        fn put(&self, pems: Pems, ours: bool) {
            let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
            *writes += 1;
            let version = writes.to_string();
            *self.held.lock().unwrap() = Some(Held { pems, version, ours });
        }

        fn pems(&self) -> Pems {
            self.held.lock().unwrap().as_ref().unwrap().pems.clone()
        }

        fn rival(&self) -> bool {
            let rival = self.rivals.lock().unwrap().pop();
            rival.is_some_and(|pems| {
                self.put(pems, true);
                true
            })
        }
    }

    #[async_trait]
    impl Safe for Shelf {
        async fn read(&self) -> Result<Option<Held>, String> {
            if self.denied.load(Ordering::SeqCst) {
                return Err("this account may not get it".into());
            }
            Ok(self.held.lock().unwrap().clone())
        }

        async fn create(&self, pems: &Pems) -> Result<Written, String> {
            if self.rival() || self.held.lock().unwrap().is_some() {
                return Ok(Written::Overtaken);
            }
            self.put(pems.clone(), true);
            Ok(Written::Done)
        }

        async fn replace(&self, pems: &Pems, version: &str) -> Result<Written, String> {
            if self.rival() || self.held.lock().unwrap().as_ref().is_none_or(|held| held.version != version) {
                return Ok(Written::Overtaken);
            }
            self.put(pems.clone(), true);
            Ok(Written::Done)
        }
    }

    /// One APIService, which whoever looks keeps in step.
    #[derive(Default)]
    struct Board {
        bundle: Mutex<Vec<u8>>,
        unknown: AtomicBool,
    }

    impl Published for Board {
        fn bundles(&self) -> Option<Vec<Vec<u8>>> {
            (!self.unknown.load(Ordering::SeqCst)).then(|| vec![self.bundle.lock().unwrap().clone()])
        }
    }

    struct Replica {
        certificates: Arc<Certificates>,
        publication: Arc<Publication>,
        ca: Arc<SharedCa>,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    /// The time of the test: it goes as tokio's does.
    fn clock() -> Clock {
        let (start, begun) = (SystemTime::now(), Instant::now());
        Arc::new(move || start + begun.elapsed())
    }

    async fn replica(shelf: &Arc<Shelf>, board: &Arc<Board>, clock: &Clock) -> Replica {
        let names = vec![NAME.to_owned(), "127.0.0.1".to_owned()];
        let certificates = Certificates::open(Source::Lent { names: names.clone() }).await.unwrap();
        let publication = Arc::new(Publication::new(HOUR, clock.clone()));
        let options = SharedCaOptions {
            what: "Secret ns/ca".into(),
            names,
            ca_lifetime: HOUR * 3,
            leaf_lifetime: HOUR / 2,
            switch_delay: Duration::from_secs(30),
        };
        let ca = Arc::new(SharedCa::new(
            shelf.clone(),
            board.clone(),
            publication.clone(),
            certificates.clone(),
            options,
            clock.clone(),
        ));
        let stop = CancellationToken::new();
        let task = tokio::spawn(ca.clone().run(stop.clone()));
        Replica {
            certificates,
            publication,
            ca,
            stop,
            task,
        }
    }

    impl Replica {
        fn leaf(&self) -> Vec<u8> {
            let pem = self.certificates.certificate_pem();
            CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
        }

        fn issuer(&self) -> String {
            let der = self.leaf();
            x509_parser::parse_x509_certificate(&der).unwrap().1.issuer().to_string()
        }

        /// What the keeper of the APIService does.
        fn keep(&self, board: &Board) {
            let mut bundle = board.bundle.lock().unwrap();
            if let Some(next) = self.publication.next("v1.x", &bundle) {
                *bundle = next.into_bytes();
            }
        }

        fn is_believed(&self, board: &Board, clock: &Clock) -> bool {
            let der = CertificateDer::from(self.leaf());
            let bundle = Bundle::read(&board.bundle.lock().unwrap()).unwrap();
            let anchors: Vec<_> = bundle
                .iter()
                .map(|der| webpki::anchor_from_trusted_cert(der).unwrap())
                .collect();
            let time = rustls_pki_types::UnixTime::since_unix_epoch(clock().duration_since(SystemTime::UNIX_EPOCH).unwrap());
            webpki::EndEntityCert::try_from(&der)
                .unwrap()
                .verify_for_usage(
                    webpki::ALL_VERIFICATION_ALGS,
                    &anchors,
                    &[],
                    time,
                    webpki::KeyUsage::server_auth(),
                    None,
                    None,
                )
                .is_ok()
        }

        async fn end(self) {
            self.stop.cancel();
            self.task.await.unwrap();
        }
    }

    async fn pass(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// Two replicas through the lives of several authorities: at every moment each shows a leaf that the APIService vouches for.
    #[tokio::test(start_paused = true)]
    async fn replicas_agree_and_no_moment_is_without_trust() {
        let (shelf, board, clock) = (Arc::new(Shelf::default()), Arc::new(Board::default()), clock());
        let replicas = [replica(&shelf, &board, &clock).await, replica(&shelf, &board, &clock).await];
        pass(2).await;
        assert_eq!(replicas[0].issuer(), replicas[1].issuer(), "one authority");
        assert!(replicas[0].ca.check().is_err(), "it is not published yet");
        replicas[0].keep(&board);
        pass(2).await;
        assert_eq!(replicas[0].ca.check(), Ok(()));
        let (mut leaves, mut issuers) = ([0, 0], std::collections::BTreeSet::new());
        let mut last = [Vec::new(), Vec::new()];
        for _ in 0..(HOUR * 7).as_secs() / 5 {
            pass(5).await;
            for (n, replica) in replicas.iter().enumerate() {
                replica.keep(&board);
                assert!(replica.is_believed(&board, &clock), "replica {n}");
                issuers.insert(replica.issuer());
                if replica.leaf() != last[n] {
                    last[n] = replica.leaf();
                    leaves[n] += 1;
                }
            }
            let believed = Bundle::read(&board.bundle.lock().unwrap()).unwrap();
            assert!(believed.iter().count() <= 3, "who is over leaves");
        }
        assert!((4..=5).contains(&issuers.len()), "{issuers:?}");
        assert!(leaves.iter().all(|leaves| *leaves >= 7 * 3), "{leaves:?}");
        for replica in replicas {
            replica.end().await;
        }
    }

    /// Step two: while a caBundle does not have it, the new authority does not sign.
    #[tokio::test(start_paused = true)]
    async fn a_new_authority_waits_until_it_is_believed() {
        let (shelf, board, clock) = (Arc::new(Shelf::default()), Arc::new(Board::default()), clock());
        let replica = replica(&shelf, &board, &clock).await;
        pass(2).await;
        replica.keep(&board);
        let first = replica.issuer();
        let foreign = Ca::create(HOUR * 9, clock() + HOUR / 60).unwrap();
        pass(120).await;
        shelf.put(foreign.pems().clone(), false);
        pass(300).await;
        assert_eq!(replica.issuer(), first, "nobody has published it");
        replica.keep(&board);
        pass(25).await;
        assert_eq!(replica.issuer(), first, "kube-apiservers may not have heard of it yet");
        pass(10).await;
        assert_ne!(replica.issuer(), first);
        replica.keep(&board);
        let both = Bundle::read(&board.bundle.lock().unwrap()).unwrap();
        assert_eq!(both.iter().count(), 2, "the other replicas may still show the old one");

        // It is deleted: its maker makes it again, not we. Then one whose publication cannot be seen signs in the end.
        let second = replica.issuer();
        *shelf.held.lock().unwrap() = None;
        pass(120).await;
        assert!(shelf.held.lock().unwrap().is_none());
        board.unknown.store(true, Ordering::SeqCst);
        shelf.put(Ca::create(HOUR * 9, clock()).unwrap().pems().clone(), false);
        pass(500).await;
        assert_eq!(replica.issuer(), second);
        pass(300).await;
        assert_ne!(replica.issuer(), second);
        replica.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_used_is_left_alone() {
        let (clock, text) = (clock(), |text: &str| text.to_owned());
        let nonsense = Pems {
            certificate: text("x"),
            key: text("y"),
            bundle: text("z"),
        };
        for (name, ours, sentence) in [
            ("ours", true, "it is left as it is: delete it"),
            ("a stranger's", false, "it is somebody else's and left as it is"),
        ] {
            let (shelf, board) = (Arc::new(Shelf::default()), Arc::new(Board::default()));
            shelf.put(nonsense.clone(), ours);
            let replica = replica(&shelf, &board, &clock).await;
            pass(600).await;
            assert_eq!(shelf.pems(), nonsense, "{name}");
            let why = replica.ca.check().unwrap_err();
            assert!(
                why.contains("its tls.crt holds no readable certificate") && why.contains(sentence),
                "{name}: {why}"
            );
            assert_eq!(replica.publication.first(), None, "{name}");
            let good = Ca::create(HOUR * 3, clock()).unwrap();
            shelf.put(good.pems().clone(), ours);
            pass(130).await;
            assert_eq!(
                replica.publication.first().as_deref(),
                Some(good.pems().bundle.as_str()),
                "{name}: it is tried again"
            );
            let (leaf, issuer) = (replica.leaf(), replica.issuer());
            shelf.put(nonsense.clone(), ours);
            pass(60).await;
            assert_eq!(
                (replica.leaf(), replica.issuer()),
                (leaf, issuer),
                "{name}: what is served stays"
            );
            replica.end().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_second_takes_what_is_there() {
        let clock = clock();
        let rival = Ca::create(HOUR * 3, clock()).unwrap().pems().clone();
        let over = Ca::create(HOUR, clock() - HOUR * 2).unwrap().pems().clone();
        /// A name, what the Secret holds and whether that is ours, and whether it is refused.
        type Case = (&'static str, Option<(Pems, bool)>, bool);
        let cases: [Case; 5] = [
            ("nothing", None, false),
            ("an empty one that is ours", Some((Pems::default(), true)), false),
            ("an empty one that is not", Some((Pems::default(), false)), true),
            ("one of ours that is over", Some((over.clone(), true)), false),
            ("somebody else's that is over", Some((over, false)), true),
        ];
        for (name, held, refused) in cases {
            for rivals in [Vec::new(), vec![rival.clone()]] {
                let (shelf, board) = (Arc::new(Shelf::default()), Arc::new(Board::default()));
                if let Some((pems, ours)) = held.clone() {
                    shelf.put(pems, ours);
                }
                let beaten = !rivals.is_empty();
                *shelf.rivals.lock().unwrap() = rivals;
                let replica = replica(&shelf, &board, &clock).await;
                pass(5).await;
                assert_eq!(replica.publication.first().is_none(), refused, "{name}");
                if !refused {
                    assert_eq!(shelf.pems().certificate == rival.certificate, beaten, "{name}");
                    assert_eq!(
                        replica.publication.first().as_deref(),
                        Some(shelf.pems().bundle.as_str()),
                        "{name}"
                    );
                }
                replica.end().await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_no_end() {
        let (shelf, board, clock) = (Arc::new(Shelf::default()), Arc::new(Board::default()), clock());
        shelf.denied.store(true, Ordering::SeqCst);
        let replica = replica(&shelf, &board, &clock).await;
        pass(60).await;
        assert_eq!(replica.ca.check(), Err("this account may not get it".into()));
        let provisional = replica.leaf();
        shelf.denied.store(false, Ordering::SeqCst);
        for _ in 0..130 {
            if replica.leaf() == provisional {
                pass(1).await;
            }
        }
        assert_ne!(replica.leaf(), provisional);
        assert!(replica.ca.check().is_err(), "nobody has published it");
        pass(PATIENCE.as_secs() + 2).await;
        assert_eq!(replica.ca.check(), Ok(()), "but others shall not wait for ever");
        replica.end().await;
    }

    /// Whoever wants to be rid of an authority deletes the Secret: nobody is refused for it.
    #[tokio::test(start_paused = true)]
    async fn a_secret_of_ours_that_is_deleted_is_made_anew() {
        let (shelf, board, clock) = (Arc::new(Shelf::default()), Arc::new(Board::default()), clock());
        let replica = replica(&shelf, &board, &clock).await;
        pass(2).await;
        replica.keep(&board);
        let first = replica.issuer();
        *shelf.held.lock().unwrap() = None;
        for _ in 0..60 {
            pass(1).await;
            replica.keep(&board);
            assert!(replica.is_believed(&board, &clock));
        }
        assert_ne!(replica.issuer(), first);
        for _ in 0..HOUR.as_secs() / 10 {
            pass(10).await;
            replica.keep(&board);
        }
        let left = Bundle::read(&board.bundle.lock().unwrap()).unwrap();
        assert_eq!(left.iter().count(), 1, "and after a while nobody believes the old one");
        replica.end().await;
    }
}
