//! Which of etcd's servers is spoken to, and for how long: requests with deadlines, over a connection that all of them share.
//!
//! One server serves until it is lost, has no leader, or lets a deadline pass; then comes the next. What is known not to have happened is tried
//! again until the request's deadline, so that an etcd that restarts costs time and no errors. Of what may have happened, only reads are.
//! While nobody can be reached, one dials and all others get its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::uri::PathAndQuery;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::line::{Files, Line};
use super::options::{EtcdTimeouts, Server};
use super::trouble::Trouble;

/// The servers of one cluster.
pub(super) struct Servers {
    servers: Vec<Server>,
    files: Files,
    timeouts: EtcdTimeouts,
    current: ArcSwapOption<Line>,
    /// Which is dialled next, modulo their number.
    next: AtomicUsize,
    /// The last failure to reach any. Held while somebody dials.
    dialling: Mutex<Option<(Instant, String)>>,
    /// Which cluster answered first; 0 until one has.
    cluster: AtomicU64,
}

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Does {
    /// Nothing: it may be asked twice.
    Read,
    /// Something: it may not.
    Write,
}

/// Before something is tried again: the first time, and at most.
const SOON: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_secs(1);

/// Waits that grow, each by chance between a half and the whole, so that replicas do not come back in step.
#[derive(Debug)]
pub(super) struct Backoff(Duration, Duration);

// === impl Servers ===

impl Servers {
    pub(super) fn new(servers: Vec<Server>, files: Files, timeouts: EtcdTimeouts) -> Self {
        // Not every replica begins with the first.
        let next = AtomicUsize::new(fastrand::usize(..));
        Self {
            servers,
            files,
            timeouts,
            current: ArcSwapOption::empty(),
            next,
            dialling: Mutex::new(None),
            cluster: AtomicU64::new(0),
        }
    }

    /// Asks until there is an answer, a refusal, or the deadline for a call.
    pub(super) async fn call<Q, A>(&self, does: Does, path: PathAndQuery, question: Q) -> Result<A, Trouble>
    where
        Q: prost::Message + Clone + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.call_within(does, path, question, self.timeouts.call).await
    }

    /// [`Servers::call`] with a deadline of its own.
    pub(super) async fn call_within<Q, A>(
        &self,
        does: Does,
        path: PathAndQuery,
        question: Q,
        within: Duration,
    ) -> Result<A, Trouble>
    where
        Q: prost::Message + Clone + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let deadline = Instant::now() + within;
        let mut backoff = Backoff::new(SOON, LATE);
        let mut last = None;
        loop {
            let line = match timeout_at(deadline, self.line()).await {
                Ok(Ok(line)) => line,
                Ok(Err(why)) => {
                    last = Some(why);
                    backoff.wait_until(deadline).await;
                    if Instant::now() >= deadline {
                        return Err(Trouble::NotHere(last.unwrap_or_default()));
                    }
                    continue;
                }
                Err(_) => {
                    return Err(Trouble::NotHere(
                        last.unwrap_or_else(|| format!("{}: no connection within {within:?}", self.names())),
                    ));
                }
            };
            // A server that says nothing is found out only by that. Where there are others, a read is left the time to ask one of them.
            let asked = Instant::now();
            let patience = match does {
                Does::Read if self.servers.len() > 1 => deadline.min(asked + within / 2),
                _ => deadline,
            };
            let trouble = match timeout_at(patience, line.ask(path.clone(), question.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => self.judged(&line, &status),
                Err(_) => Trouble::Perhaps(format!("{}: no answer within {:?}", line.name(), patience - asked)),
            };
            match trouble {
                // Its connection may be one that nobody hears any more; and where etcd says "timed out" or "leader changed" over one that is
                // well, another member may know the leader.
                Trouble::NotHere(why) => {
                    self.drop_line(&line);
                    last = Some(why);
                }
                Trouble::Perhaps(why) if does == Does::Read => {
                    self.drop_line(&line);
                    last = Some(why);
                }
                Trouble::Perhaps(why) => {
                    self.drop_line(&line);
                    return Err(Trouble::Perhaps(why));
                }
                certain => return Err(certain),
            }
            backoff.wait_until(deadline).await;
            if Instant::now() >= deadline {
                return Err(Trouble::NotHere(last.unwrap_or_default()));
            }
        }
    }

    /// A connection of one's own, to any of them: each is tried once.
    pub(super) async fn dial(&self) -> Result<Line, String> {
        let mut failures = Vec::new();
        for _ in &self.servers {
            let turn = self.next.load(Ordering::Relaxed);
            let Some(server) = self.servers.get(turn % self.servers.len()) else {
                continue;
            };
            let dialled = timeout(self.timeouts.connect, Line::dial(server, &self.files)).await;
            match dialled.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.timeouts.connect))) {
                Ok(line) => match self.same_cluster(&line) {
                    Ok(()) => return Ok(line),
                    Err(why) => failures.push(format!("{}: {why}", server.name())),
                },
                Err(why) => failures.push(format!("{}: {why}", server.name())),
            }
            // Unless somebody else has found out already.
            let after = turn.wrapping_add(1);
            let _ = self.next.compare_exchange(turn, after, Ordering::Relaxed, Ordering::Relaxed);
        }
        Err(failures.join("; "))
    }

    /// What a refusal on a connection means, with the server's name in its words.
    pub(super) fn judged(&self, line: &Line, status: &tonic::Status) -> Trouble {
        let named = || format!("{}: {}", line.name(), line.why(status));
        match Trouble::of(status) {
            Trouble::NotHere(_) => Trouble::NotHere(named()),
            Trouble::Refused(_) => Trouble::Refused(named()),
            Trouble::Perhaps(_) => Trouble::Perhaps(named()),
            Trouble::Full(_) => Trouble::Full(named()),
            plain => plain,
        }
    }

    /// The connection that all share, made if need be.
    async fn line(&self) -> Result<Arc<Line>, String> {
        if let Some(line) = self.living() {
            return Ok(line);
        }
        let asked = Instant::now();
        let mut failed = self.dialling.lock().await;
        if let Some(line) = self.living() {
            return Ok(line);
        }
        if let Some((at, why)) = &*failed
            && *at >= asked
        {
            return Err(why.clone());
        }
        match self.dial().await {
            Ok(line) => {
                let line = Arc::new(line);
                self.current.store(Some(Arc::clone(&line)));
                *failed = None;
                Ok(line)
            }
            Err(why) => {
                *failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    fn living(&self) -> Option<Arc<Line>> {
        self.current.load_full().filter(|line| line.is_alive())
    }

    /// The next request goes elsewhere. Those that are under way on it stay there.
    fn drop_line(&self, line: &Arc<Line>) {
        let current = self.current.load();
        if current.as_ref().is_some_and(|now| Arc::ptr_eq(now, line)) {
            self.current.compare_and_swap(&current, None);
            self.next.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Revisions of two clusters say nothing about each other.
    fn same_cluster(&self, line: &Line) -> Result<(), String> {
        if line.cluster == 0 {
            return Ok(());
        }
        match self
            .cluster
            .compare_exchange(0, line.cluster, Ordering::Relaxed, Ordering::Relaxed)
        {
            Err(first) if first != line.cluster => Err(format!(
                "it belongs to another cluster ({:x}) than the one that answered first ({first:x}); restart to begin with that",
                line.cluster
            )),
            _ => Ok(()),
        }
    }

    fn names(&self) -> String {
        let names: Vec<String> = self.servers.iter().map(Server::name).collect();
        names.join(", ")
    }
}

// === impl Backoff ===

impl Backoff {
    pub(super) fn new(first: Duration, most: Duration) -> Self {
        Self(first, most)
    }

    /// Waits, and longer the next time.
    pub(super) async fn wait(&mut self) {
        let wait = self.next();
        tokio::time::sleep(wait).await;
    }

    async fn wait_until(&mut self, deadline: Instant) {
        sleep_until((Instant::now() + self.next()).min(deadline)).await;
    }

    fn next(&mut self) -> Duration {
        let wait = self.0.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.0 = (self.0 * 2).min(self.1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(50));
        for bound in [10, 20, 40, 50, 50] {
            let wait = backoff.next();
            assert!(
                wait <= Duration::from_millis(bound) && wait >= Duration::from_millis(bound) / 2,
                "{wait:?}"
            );
        }
    }
}
