//! A watch of one resource on etcd, over as many connections as it takes, one after the other.
//!
//! Each watch has a connection of its own, as each resource of an upstream server has: a reader that stops takes no other watch's window
//! and no request's, and nobody has to keep for it what it does not read. There is one watch for a resource, since a watch cache
//! feeds all its readers, so they are few.
//!
//! When the connection is lost, the next begins one revision behind the last that was told, and what was told is not told
//! again. If that was compacted meanwhile, the watch ends and says so. It also ends so if etcd can no longer say what a value was before.
//!
//! How far it has come etcd tells when nothing happens for a while, and when it is asked ([`Wanted`]): at once, then, if that was not
//! answered, ten times in a second. Upstream asks ten times in a second only (`cacher/progress`), which every consistent read waits for.
//!
//! Nothing runs by itself here: the stream does all of it while it is polled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tonic::Streaming;

use super::line::Line;
use super::servers::Backoff;
use super::shared::{Shared, plain, positive, revision, stored};
use super::trouble::Trouble;
use super::wire;
use crate::store::{Changed, Changes, Prefix, StoreError, Told};

/// Who waits for a watch to come somewhere.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    at: AtomicU64,
    come: AtomicU64,
    woken: Notify,
}

/// A watch.
struct Following {
    shared: Arc<Shared>,
    of: Prefix,
    /// All up to here was told.
    come: u64,
    wanted: Arc<Wanted>,
    open: Option<Open>,
    backoff: Backoff,
    /// Changes of a revision of which more may follow: the response that they came in goes on.
    half: Vec<Changed>,
    over: bool,
}

/// A connection on which it stands.
struct Open {
    // Dropped last: it is the connection of the others.
    asks: mpsc::Sender<wire::WatchRequest>,
    tells: Streaming<wire::WatchResponse>,
    /// When to ask again how far it has come, if that was asked.
    again: Option<Instant>,
    line: Line,
}

/// What a response means.
#[derive(Debug)]
enum Step {
    Nothing,
    Tell(Told),
    /// It was lost; the next connection goes on.
    Lost(String),
    End(StoreError),
}

/// A question that is not answered is asked again (`progressRequestPeriod`).
const AGAIN: Duration = Duration::from_millis(100);
/// Questions that wait for the connection.
const ASKS: usize = 4;
/// Before another connection.
const SOON: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_secs(5);

/// Opens a watch. It has begun when this returns: what is written afterwards is told.
pub(super) async fn follow(shared: Arc<Shared>, of: &Prefix, after: u64) -> Result<Changes, StoreError> {
    let wanted = Arc::new(Wanted::default());
    wanted.come.store(after, Ordering::Release);
    let mut this = Following {
        of: of.clone(),
        come: after,
        open: None,
        backoff: Backoff::new(SOON, LATE),
        half: Vec::new(),
        over: false,
        wanted,
        shared,
    };
    let deadline = Instant::now() + this.shared.timeouts.call;
    let mut last = None;
    loop {
        match timeout_at(deadline, this.connect()).await {
            Ok(Ok(open)) => {
                this.open = Some(open);
                break;
            }
            Ok(Err(Step::End(error))) => return Err(error),
            Ok(Err(Step::Lost(why))) => last = Some(why),
            Ok(Err(_)) => {}
            Err(_) => break,
        }
        if timeout_at(deadline, this.backoff.wait()).await.is_err() {
            break;
        }
    }
    if this.open.is_none() {
        let why = last.unwrap_or_else(|| format!("no watch within {:?}", this.shared.timeouts.call));
        return Err(StoreError::Unavailable(why));
    }
    this.shared.add(of, &this.wanted);
    Ok(stream::unfold(this, |mut this| async move { this.next().await.map(|told| (told, this)) }).boxed())
}

// === impl Wanted ===

impl Wanted {
    /// Somebody waits until it has come there.
    pub(super) fn want(&self, at: u64) {
        if self.come.load(Ordering::Acquire) < at {
            self.at.fetch_max(at, Ordering::AcqRel);
            self.woken.notify_one();
        }
    }
}

// === impl Following ===

impl Following {
    async fn next(&mut self) -> Option<Result<Told, StoreError>> {
        if self.over {
            return None;
        }
        let closed = self.shared.closed.clone();
        let told = tokio::select! {
            biased;
            () = closed.cancelled() => Err(StoreError::Closed),
            told = self.told() => told,
        };
        self.over = told.is_err();
        if self.over {
            self.open = None;
        }
        Some(told)
    }

    /// Waits for the next that there is to tell.
    async fn told(&mut self) -> Result<Told, StoreError> {
        loop {
            let step = match &mut self.open {
                None => {
                    self.backoff.wait().await;
                    match self.connect().await {
                        Ok(open) => {
                            tracing::info!(
                                resource = self.of.as_str(),
                                server = open.line.name(),
                                "the watch of etcd goes on"
                            );
                            self.open = Some(open);
                            Step::Nothing
                        }
                        Err(step) => step,
                    }
                }
                Some(open) => {
                    if open.again.is_none() && self.wanted.at.load(Ordering::Acquire) > self.come {
                        open.ask();
                    }
                    let again = open.again;
                    tokio::select! {
                        response = open.tells.message() => match response {
                            Ok(Some(response)) => self.heard(response),
                            Ok(None) => Step::Lost(format!("{}: the watch was ended", open.line.name())),
                            Err(status) => lost(self.shared.servers.judged(&open.line, &status)),
                        },
                        () = self.wanted.woken.notified() => Step::Nothing,
                        () = at(again) => {
                            open.again = None;
                            Step::Nothing
                        }
                    }
                }
            };
            match step {
                Step::Nothing => {}
                Step::Tell(told) => return Ok(told),
                Step::End(error) => return Err(error),
                Step::Lost(why) => {
                    if self.open.take().is_some() {
                        tracing::warn!(resource = self.of.as_str(), why, "the watch of etcd was lost");
                    }
                    // It comes again with the rest of its revision.
                    self.half.clear();
                }
            }
        }
    }

    /// Begins behind what was told, on a connection of its own.
    async fn connect(&self) -> Result<Open, Step> {
        let line = self.shared.servers.dial().await.map_err(Step::Lost)?;
        let opened = timeout(self.shared.timeouts.connect, self.begin(&line)).await;
        let (asks, tells) = opened.unwrap_or_else(|_| {
            let why = format!("{}: no watch within {:?}", line.name(), self.shared.timeouts.connect);
            Err(Step::Lost(why))
        })?;
        // Only now: what is compacted from here on, etcd says on the watch.
        match self.shared.keeps(self.come).await {
            Ok(()) => {}
            Err(StoreError::Unavailable(why)) => return Err(Step::Lost(why)),
            Err(error) => return Err(Step::End(error)),
        }
        Ok(Open {
            asks,
            tells,
            again: None,
            line,
        })
    }

    async fn begin(&self, line: &Line) -> Result<(mpsc::Sender<wire::WatchRequest>, Streaming<wire::WatchResponse>), Step> {
        let (key, range_end) = self.shared.keys.range(&self.of);
        // Behind the end of all revisions nothing will ever be told.
        let start_revision = i64::try_from(self.come).unwrap_or(i64::MAX).saturating_add(1);
        let create = wire::WatchRequest {
            create: Some(wire::WatchCreateRequest {
                key,
                range_end,
                start_revision,
                progress_notify: true,
                prev_kv: true,
                fragment: true,
            }),
            ..Default::default()
        };
        let (asks, asked) = mpsc::channel(ASKS);
        let first = stream::once(async { create });
        let rest = stream::unfold(asked, |mut asked: mpsc::Receiver<_>| async move {
            asked.recv().await.map(|ask| (ask, asked))
        });
        let judged = |status: tonic::Status| lost(self.shared.servers.judged(line, &status));
        let mut tells = line.watch(first.chain(rest)).await.map_err(judged)?;
        let response = tells.message().await.map_err(judged)?;
        let name = line.name();
        match response {
            Some(response) if response.created && !response.canceled => Ok((asks, tells)),
            Some(response) => Err(refused(&name, &response.cancel_reason)),
            None => Err(Step::Lost(format!("{name}: the watch was ended"))),
        }
    }

    /// Takes a response in.
    fn heard(&mut self, response: wire::WatchResponse) -> Step {
        let at = revision(response.header);
        if response.canceled {
            if response.compact_revision > 0 {
                let oldest = positive(response.compact_revision);
                self.shared.forgotten.fetch_max(oldest, Ordering::AcqRel);
                return Step::End(StoreError::Compacted {
                    asked: self.come,
                    oldest,
                });
            }
            return refused("etcd", &response.cancel_reason);
        }
        if response.created {
            return Step::Nothing;
        }
        if response.events.is_empty() {
            if let Some(open) = &mut self.open {
                open.again = None;
            }
            // A member that is behind the one before it has nothing new to say.
            if at <= self.come || !self.half.is_empty() {
                return Step::Nothing;
            }
            self.come_to(at);
            return Step::Tell(Told::Progress(at));
        }
        let mut last = 0;
        for event in response.events {
            let Some(kv) = &event.kv else { continue };
            let at = positive(kv.mod_revision);
            last = at;
            if at <= self.come {
                continue;
            }
            match self.changed(event) {
                Ok(Some(change)) => self.half.push(change),
                Ok(None) => {}
                Err(error) => return Step::End(error),
            }
        }
        let mut changes = std::mem::take(&mut self.half);
        let whole = if response.fragment {
            // Of the last revision there may be more in what follows.
            let whole = changes.partition_point(|change| change.revision < last);
            self.half = changes.split_off(whole);
            last.saturating_sub(1)
        } else {
            last
        };
        if whole <= self.come {
            return Step::Nothing;
        }
        self.come_to(whole);
        if changes.is_empty() {
            // All of them were somebody else's keys.
            return Step::Tell(Told::Progress(whole));
        }
        Step::Tell(Told::Changes(changes))
    }

    fn come_to(&mut self, at: u64) {
        self.come = at;
        self.wanted.come.store(at, Ordering::Release);
        self.shared.newest.fetch_max(at, Ordering::AcqRel);
        // It works.
        self.backoff = Backoff::new(SOON, LATE);
    }

    /// A change, unless the key is nobody's.
    fn changed(&self, event: wire::Event) -> Result<Option<Changed>, StoreError> {
        let gone = event.is_deletion();
        let Some(kv) = event.kv else { return Ok(None) };
        let Some(key) = self.shared.keys.parse(&self.of, &kv.key) else {
            return Ok(None);
        };
        let at = positive(kv.mod_revision);
        let new = !gone && kv.create_revision == kv.mod_revision;
        if !new && event.prev_kv.is_none() {
            // What it was before is compacted. Without that, nobody can say who has to hear of it.
            return Err(StoreError::Compacted {
                asked: self.come,
                oldest: at,
            });
        }
        Ok(Some(Changed {
            revision: at,
            before: event.prev_kv.map(|before| stored(key.clone(), before)),
            after: (!gone).then(|| stored(key.clone(), kv)),
            key,
        }))
    }
}

// === impl Open ===

impl Open {
    /// Asks how far it has come. If questions wait already, those will do.
    fn ask(&mut self) {
        let _ = self.asks.try_send(wire::WatchRequest {
            progress: Some(wire::WatchProgressRequest {}),
            ..Default::default()
        });
        self.again = Some(Instant::now() + AGAIN);
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// What trouble on a watch's connection means.
fn lost(trouble: Trouble) -> Step {
    match trouble {
        Trouble::NotHere(why) | Trouble::Perhaps(why) => Step::Lost(why),
        other => Step::End(plain(other)),
    }
}

/// etcd does not open a watch, or ends it, and says why.
fn refused(server: &str, reason: &str) -> Step {
    let status = tonic::Status::unknown(reason);
    match Trouble::of(&status) {
        Trouble::Refused(why) => Step::End(StoreError::Unavailable(format!("{server}: {why}"))),
        _ => Step::Lost(format!("{server}: {reason}")),
    }
}
