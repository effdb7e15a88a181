//! What the requests and the watches of a store have in common: its servers, how far they have come, and who waits for that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as Plain, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::follow::Wanted;
use super::keys::Keys;
use super::options::EtcdTimeouts;
use super::servers::{Does, Servers};
use super::trouble::Trouble;
use super::wire;
use crate::store::{ObjectKey, Prefix, StoreError, Stored};

/// What requests and watches have in common.
pub(super) struct Shared {
    pub(super) servers: Servers,
    pub(super) keys: Keys,
    pub(super) timeouts: EtcdTimeouts,
    pub(super) closed: CancellationToken,
    /// The most that is known to be compacted.
    pub(super) forgotten: AtomicU64,
    /// The newest revision that was seen.
    pub(super) newest: AtomicU64,
    /// How many have asked for the newest revision so far.
    asked: AtomicU64,
    turn: Mutex<Turn>,
    watches: Plain<Vec<(Prefix, Weak<Wanted>)>>,
    pub(super) health: Mutex<Option<Checked>>,
    pub(super) ready: Mutex<Option<Checked>>,
}

/// The last question after the newest revision.
struct Turn {
    /// It was asked after so many had come, and answers them all.
    covers: u64,
    answer: Result<u64, String>,
}

/// When health was looked at, and what was wrong.
type Checked = (Instant, Option<String>);

// === impl Shared ===

impl Shared {
    pub(super) fn new(servers: Servers, keys: Keys, timeouts: EtcdTimeouts) -> Self {
        Self {
            servers,
            keys,
            timeouts,
            closed: CancellationToken::new(),
            forgotten: AtomicU64::new(0),
            newest: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            turn: Mutex::new(Turn {
                covers: 0,
                answer: Ok(0),
            }),
            watches: Plain::default(),
            health: Mutex::new(None),
            ready: Mutex::new(None),
        }
    }

    /// Whether anything can be asked.
    pub(super) fn open(&self) -> Result<(), StoreError> {
        if self.closed.is_cancelled() {
            Err(StoreError::Closed)
        } else {
            Ok(())
        }
    }

    /// Reads, at a revision or now. Either is linearizable: a member that is behind does not answer for the others.
    pub(super) async fn range(
        &self,
        mut question: wire::RangeRequest,
        at: Option<u64>,
    ) -> Result<wire::RangeResponse, StoreError> {
        self.open()?;
        if let Some(asked) = at {
            // 0 is now for etcd, and nothing is as old as that.
            match i64::try_from(asked) {
                Ok(0) => return Err(self.compacted(0)),
                Ok(at) => question.revision = at,
                Err(_) => return Err(self.future(asked).await),
            }
        }
        let newest = self.newest.load(Ordering::Acquire);
        let asked = self.servers.call(Does::Read, wire::RANGE, question).await;
        let answer: wire::RangeResponse = match (asked, at) {
            (Ok(answer), _) => answer,
            (Err(Trouble::Compacted), Some(asked)) => return Err(self.compacted(asked)),
            (Err(Trouble::Future), Some(asked)) => return Err(self.future(asked).await),
            (Err(trouble), _) => return Err(plain(trouble)),
        };
        self.seen(answer.header, newest)?;
        Ok(answer)
    }

    /// The revision of an answer that was asked for when `newest` was known.
    fn seen(&self, header: Option<wire::Header>, newest: u64) -> Result<u64, StoreError> {
        let at = revision(header);
        if at < newest {
            return Err(StoreError::Unavailable(put_back(at, newest)));
        }
        self.newest.fetch_max(at, Ordering::AcqRel);
        Ok(at)
    }

    /// What etcd has come to by now. Whoever asks while a question is under way waits for the next, which then answers all who
    /// have come by its beginning: so any number of readers costs etcd one question at a time.
    pub(super) async fn newest_revision(&self) -> Result<u64, StoreError> {
        self.open()?;
        let number = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut turn = self.turn.lock().await;
        if turn.covers < number {
            let covers = self.asked.load(Ordering::Acquire);
            let answer = self.ask_revision(self.timeouts.call).await.map_err(why);
            *turn = Turn { covers, answer };
        }
        turn.answer.clone().map_err(StoreError::Unavailable)
    }

    async fn ask_revision(&self, within: Duration) -> Result<u64, StoreError> {
        let newest = self.newest.load(Ordering::Acquire);
        let question = wire::RangeRequest {
            key: self.keys.own("health"),
            ..Default::default()
        };
        let asked = self.servers.call_within(Does::Read, wire::RANGE, question, within).await;
        let answer: wire::RangeResponse = asked.map_err(plain)?;
        self.seen(answer.header, newest)
    }

    /// Whether everything behind a revision can still be told.
    pub(super) async fn keeps(&self, after: u64) -> Result<(), StoreError> {
        let question = wire::RangeRequest {
            key: self.keys.own("health"),
            ..Default::default()
        };
        // An empty etcd begins with 1; there is no change up to that.
        match self.range(question, Some(after.max(1))).await {
            Err(StoreError::Compacted { oldest, .. }) => Err(StoreError::Compacted { asked: after, oldest }),
            Ok(_) | Err(StoreError::Future { .. }) => Ok(()),
            Err(other) => Err(other),
        }
    }

    pub(super) async fn compact(&self, at: u64) -> Result<(), StoreError> {
        let Ok(revision) = i64::try_from(at) else {
            return Err(self.future(at).await);
        };
        let question = wire::CompactionRequest { revision };
        // To compact twice is to compact once.
        let asked = self.servers.call(Does::Read, wire::COMPACT, question).await;
        match asked.map(|_: wire::CompactionResponse| ()) {
            // Somebody has been there before.
            Ok(()) | Err(Trouble::Compacted) => {
                self.forgotten.fetch_max(at, Ordering::AcqRel);
                Ok(())
            }
            Err(Trouble::Future) => Err(self.future(at).await),
            Err(trouble) => Err(plain(trouble)),
        }
    }

    /// How far it is compacted etcd does not say to a read; it is further than what was asked for.
    fn compacted(&self, asked: u64) -> StoreError {
        let oldest = self.forgotten.load(Ordering::Acquire).max(asked.saturating_add(1));
        StoreError::Compacted { asked, oldest }
    }

    async fn future(&self, asked: u64) -> StoreError {
        match self.newest_revision().await {
            Ok(current) => StoreError::Future { asked, current },
            Err(error) => error,
        }
    }

    /// Has the watches of a resource come to a revision as soon as they can.
    pub(super) fn want(&self, of: &Prefix, at: u64) {
        let watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        for (prefix, wanted) in &*watches {
            if prefix == of
                && let Some(wanted) = wanted.upgrade()
            {
                wanted.want(at);
            }
        }
    }

    /// A new watch; those that are gone are forgotten.
    pub(super) fn add(&self, of: &Prefix, wanted: &Arc<Wanted>) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.retain(|(_, wanted)| wanted.strong_count() > 0);
        watches.push((of.clone(), Arc::downgrade(wanted)));
    }

    pub(super) async fn check(&self, last: &Mutex<Option<Checked>>, within: Duration) -> Result<(), StoreError> {
        self.open()?;
        let mut last = last.lock().await;
        let found = match &*last {
            Some((at, found)) if at.elapsed() < within / 2 => found.clone(),
            _ => {
                let found = self.ask_revision(within).await.err().map(why);
                *last = Some((Instant::now(), found.clone()));
                found
            }
        };
        found.map_or(Ok(()), |why| Err(StoreError::Unavailable(why)))
    }
}

/// Trouble that is of no particular kind.
pub(super) fn plain(trouble: Trouble) -> StoreError {
    match trouble {
        Trouble::Full(why) => StoreError::Full(why),
        Trouble::NotHere(why) | Trouble::Refused(why) | Trouble::Perhaps(why) => StoreError::Unavailable(why),
        Trouble::Compacted => StoreError::Unavailable("what was asked for is compacted".to_owned()),
        Trouble::Future => StoreError::Unavailable("what was asked for is yet to come".to_owned()),
        Trouble::TooLarge => StoreError::Unavailable("the request is too large".to_owned()),
    }
}

/// Why a store cannot be asked, to be told to several.
fn why(error: StoreError) -> String {
    match error {
        StoreError::Unavailable(why) => why,
        other => other.to_string(),
    }
}

pub(super) fn put_back(at: u64, newest: u64) -> String {
    format!("etcd is at revision {at} and was at {newest} before: it was put back to an older state; restart to begin with that")
}

pub(super) fn revision(header: Option<wire::Header>) -> u64 {
    header.map_or(0, |header| positive(header.revision))
}

/// Revisions are signed on the wire and never negative.
pub(super) fn positive(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

pub(super) fn stored(key: ObjectKey, kv: wire::KeyValue) -> Stored {
    Stored {
        key,
        revision: positive(kv.mod_revision),
        value: kv.value.into(),
    }
}
