//! Objects in an etcd v3, which replicas of the host share.
//!
//! A key is the prefix and the [`ObjectKey`]'s text, a value what it was given, a revision etcd's own. Writes are transactions that compare the
//! key's last revision and read what is there if it is another. Reads are linearizable: whatever any replica was told is written, they see.
//!
//! What it promises beyond [`Store`]: an etcd that restarts, changes its leader or is away for a while costs time, not changes: watches
//! go on where they were ([`follow`]), requests are tried again as far as that is safe ([`servers`]), and a write is called
//! unknown only if it is. Replicas compact once for all of them ([`compaction`]). An etcd that was put back to an older state is
//! refused when it is noticed: revisions that are given out twice would make watches leave changes out.

mod compaction;
mod follow;
mod line;
mod options;
mod servers;
mod trouble;
mod wire;

use std::sync::Arc;
use std::sync::Mutex as Plain;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::follow::Wanted;
use self::line::Files;
pub use self::options::{EtcdError, EtcdOptions, EtcdTimeouts};
use self::servers::{Does, Servers};
use self::trouble::Trouble;
use super::{Changes, Expected, ObjectKey, Page, PageOf, Prefix, Store, StoreError, Stored, Write};

/// Objects in etcd. Dropped, it is closed: its watches end.
pub struct Etcd {
    shared: Arc<Shared>,
    compaction: Option<AbortHandle>,
}

/// What requests and watches have in common.
pub(super) struct Shared {
    servers: Servers,
    keys: Keys,
    timeouts: EtcdTimeouts,
    closed: CancellationToken,
    /// The most that is known to be compacted.
    forgotten: AtomicU64,
    /// The newest revision that was seen.
    newest: AtomicU64,
    /// How many have asked for the newest revision so far.
    asked: AtomicU64,
    turn: Mutex<Turn>,
    watches: Plain<Vec<(Prefix, Weak<Wanted>)>>,
    health: Mutex<Option<Checked>>,
    ready: Mutex<Option<Checked>>,
}

/// The last question after the newest revision.
struct Turn {
    /// It was asked after so many had come, and answers them all.
    covers: u64,
    answer: Result<u64, String>,
}

/// When health was looked at, and what was wrong.
type Checked = (Instant, Option<String>);

/// Names on etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Keys {
    /// The prefix: a slash at both ends.
    root: String,
}

/// Values of the first page of a list. Those behind it are cut by the size of what came.
const FIRST_PAGE: i64 = 500;
/// About so many bytes are asked for at once, so that no answer is huge on either side.
const PAGE_BYTES: usize = 2 << 20;
/// At most so many values, as upstream's `maxLimit`.
const MOST_VALUES: i64 = 10_000;
/// What etcd takes unless its operator says otherwise (`--max-request-bytes`).
const REQUEST_BYTES: usize = 3 << 19;

// === impl Etcd ===

impl Etcd {
    /// Comes to an etcd. Within the deadline of a call it has answered, or there is an error that says what is wrong with each of its servers.
    ///
    /// # Errors
    /// See [`EtcdError`].
    pub async fn open(options: EtcdOptions) -> Result<Self, EtcdError> {
        let servers = options.check()?;
        let files = Files {
            ca: options.ca,
            identity: options.cert.zip(options.key),
        };
        if servers.iter().any(|server| server.tls) {
            files.config().await.map_err(EtcdError::File)?;
        }
        let shared = Arc::new(Shared {
            servers: Servers::new(servers, files, options.timeouts),
            keys: Keys::new(&options.prefix),
            timeouts: options.timeouts,
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
        });
        shared.newest_revision().await?;
        let every = options.keep.time;
        let compaction = (!every.is_zero()).then(|| tokio::spawn(compaction::run(Arc::clone(&shared), every)).abort_handle());
        Ok(Self { shared, compaction })
    }

    /// Whether etcd answers within `--etcd-healthcheck-timeout`. Asked more often than twice in that time, it says what it has found last.
    ///
    /// # Errors
    /// It does not.
    pub async fn health(&self) -> Result<(), StoreError> {
        self.shared.check(&self.shared.health, self.shared.timeouts.health).await
    }

    /// [`Etcd::health`] within `--etcd-readycheck-timeout`.
    ///
    /// # Errors
    /// It does not.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.shared.check(&self.shared.ready, self.shared.timeouts.ready).await
    }

    /// Ends all watches and refuses all that is asked from now on.
    pub fn close(&self) {
        self.shared.closed.cancel();
        if let Some(compaction) = &self.compaction {
            compaction.abort();
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Etcd")
            .field("keys", &self.shared.keys)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for Etcd {
    async fn get(&self, key: &ObjectKey) -> Result<Option<Stored>, StoreError> {
        let question = wire::RangeRequest {
            key: self.shared.keys.object(key),
            ..Default::default()
        };
        let answer = self.shared.range(question, None).await?;
        Ok(answer.kvs.into_iter().next().map(|kv| stored(key.clone(), kv)))
    }

    async fn list(&self, of: &Prefix, page: &PageOf) -> Result<Page, StoreError> {
        let (first, end) = self.shared.keys.range(of);
        let mut key = match &page.behind {
            // The next key in the order of bytes is the same with a zero behind it.
            Some(behind) => after(self.shared.keys.object(behind)).max(first),
            None => first,
        };
        let mut list = Page {
            revision: page.at.unwrap_or_default(),
            ..Page::default()
        };
        let mut at = page.at;
        let mut chunk = FIRST_PAGE;
        loop {
            let missing = if page.limit == 0 {
                usize::MAX
            } else {
                page.limit - list.items.len()
            };
            let question = wire::RangeRequest {
                key,
                range_end: end.clone(),
                limit: chunk.min(i64::try_from(missing).unwrap_or(i64::MAX)),
                revision: 0,
                keys_only: false,
            };
            let answer = self.shared.range(question, at).await?;
            if at.is_none() {
                list.revision = revision(answer.header);
                at = Some(list.revision);
            }
            let bytes: usize = answer.kvs.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
            let each = bytes / answer.kvs.len().max(1) + 1;
            chunk = i64::try_from(PAGE_BYTES / each).unwrap_or(MOST_VALUES).clamp(1, MOST_VALUES);
            let last = answer.kvs.last().map(|kv| kv.key.clone());
            list.items.extend(answer.kvs.into_iter().filter_map(|kv| {
                let key = self.shared.keys.parse(of, &kv.key)?;
                Some(stored(key, kv))
            }));
            let Some(last) = last.filter(|_| answer.more) else {
                return Ok(list);
            };
            if page.limit > 0 && list.items.len() >= page.limit {
                list.more = true;
                return Ok(list);
            }
            key = after(last);
        }
    }

    async fn write(&self, write: Write) -> Result<u64, StoreError> {
        self.shared.open()?;
        let key = self.shared.keys.object(&write.key);
        let expected = match write.expected {
            Expected::Absent => 0,
            // No value has a revision that etcd cannot say.
            Expected::At(revision) => i64::try_from(revision).unwrap_or(i64::MAX),
        };
        let size = write.value.as_ref().map_or(0, Bytes::len);
        let change = match write.value {
            Some(value) => wire::RequestOp::put(key.clone(), value),
            None => wire::RequestOp::delete(key.clone()),
        };
        let question = wire::TxnRequest {
            compare: vec![wire::Compare::last_write(key.clone(), expected)],
            success: vec![change],
            failure: vec![wire::RequestOp::get(key)],
        };
        let newest = self.shared.newest.load(Ordering::Acquire);
        let asked = self.shared.servers.call(Does::Write, wire::TXN, question).await;
        let answer: wire::TxnResponse = asked.map_err(|trouble| match trouble {
            Trouble::TooLarge => StoreError::TooLarge {
                size,
                // How much it takes it does not say; at its usual limit, or below what it has just refused.
                limit: REQUEST_BYTES.min(size.saturating_sub(1)),
            },
            Trouble::Perhaps(why) => StoreError::Unknown(why),
            other => plain(other),
        })?;
        let at = revision(answer.header);
        if at < newest {
            return Err(StoreError::Unknown(put_back(at, newest)));
        }
        self.shared.newest.fetch_max(at, Ordering::AcqRel);
        if answer.succeeded {
            return Ok(at);
        }
        Err(StoreError::Conflict {
            current: answer.found().map(|kv| stored(write.key.clone(), kv)),
            key: write.key,
        })
    }

    async fn watch(&self, of: &Prefix, after: u64) -> Result<Changes, StoreError> {
        self.shared.open()?;
        follow::follow(Arc::clone(&self.shared), of, after).await
    }

    async fn revision(&self, of: &Prefix) -> Result<u64, StoreError> {
        let newest = self.shared.newest_revision().await?;
        self.shared.want(of, newest);
        Ok(newest)
    }

    fn is_local(&self) -> bool {
        false
    }

    fn oldest(&self) -> Option<u64> {
        None
    }

    async fn compact(&self, at: u64) -> Result<(), StoreError> {
        self.shared.open()?;
        self.shared.compact(at).await
    }

    /// One question for each resource: behind the first of its keys, the next begins behind all of them.
    async fn prefixes(&self) -> Result<Vec<Prefix>, StoreError> {
        let mut prefixes = Vec::new();
        let (mut key, end) = self.shared.keys.all();
        let mut at = None;
        loop {
            let question = wire::RangeRequest {
                key,
                range_end: end.clone(),
                limit: 1,
                revision: 0,
                keys_only: true,
            };
            let answer = self.shared.range(question, at).await?;
            at = at.or(Some(revision(answer.header)));
            let Some(found) = answer.kvs.into_iter().next() else {
                return Ok(prefixes);
            };
            key = match self.shared.keys.resource(&found.key) {
                Some(of) => {
                    let behind = self.shared.keys.range(&of).1;
                    prefixes.push(of);
                    behind
                }
                None => after(found.key),
            };
        }
    }
}

// === impl Shared ===

impl Shared {
    fn open(&self) -> Result<(), StoreError> {
        if self.closed.is_cancelled() {
            Err(StoreError::Closed)
        } else {
            Ok(())
        }
    }

    /// Reads, at a revision or now. Either is linearizable: a member that is behind does not answer for the others.
    async fn range(&self, mut question: wire::RangeRequest, at: Option<u64>) -> Result<wire::RangeResponse, StoreError> {
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
    async fn newest_revision(&self) -> Result<u64, StoreError> {
        self.open()?;
        let number = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut turn = self.turn.lock().await;
        if turn.covers < number {
            let covers = self.asked.load(Ordering::Acquire);
            let answer = self.ask_revision(self.timeouts.call).await.map_err(|e| match e {
                StoreError::Unavailable(why) => why,
                other => other.to_string(),
            });
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
    async fn keeps(&self, after: u64) -> Result<(), StoreError> {
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

    async fn compact(&self, at: u64) -> Result<(), StoreError> {
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
    fn want(&self, of: &Prefix, at: u64) {
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
    fn add(&self, of: &Prefix, wanted: &Arc<Wanted>) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.retain(|(_, wanted)| wanted.strong_count() > 0);
        watches.push((of.clone(), Arc::downgrade(wanted)));
    }

    async fn check(&self, last: &Mutex<Option<Checked>>, within: Duration) -> Result<(), StoreError> {
        self.open()?;
        let mut last = last.lock().await;
        let found = match &*last {
            Some((at, found)) if at.elapsed() < within / 2 => found.clone(),
            _ => {
                let asked = self.ask_revision(within).await;
                let found = asked.err().map(|e| e.to_string());
                *last = Some((Instant::now(), found.clone()));
                found
            }
        };
        found.map_or(Ok(()), |why| Err(StoreError::Unavailable(why)))
    }
}

/// Trouble that is of no particular kind.
fn plain(trouble: Trouble) -> StoreError {
    match trouble {
        Trouble::Full(why) => StoreError::Full(why),
        Trouble::NotHere(why) | Trouble::Refused(why) | Trouble::Perhaps(why) => StoreError::Unavailable(why),
        Trouble::Compacted => StoreError::Unavailable("what was asked for is compacted".to_owned()),
        Trouble::Future => StoreError::Unavailable("what was asked for is yet to come".to_owned()),
        Trouble::TooLarge => StoreError::Unavailable("the request is too large".to_owned()),
    }
}

fn put_back(at: u64, newest: u64) -> String {
    format!("etcd is at revision {at} and was at {newest} before: it was put back to an older state; restart to begin with that")
}

fn revision(header: Option<wire::Header>) -> u64 {
    header.map_or(0, |header| positive(header.revision))
}

/// Revisions are signed on the wire and never negative.
fn positive(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn stored(key: ObjectKey, kv: wire::KeyValue) -> Stored {
    Stored {
        key,
        revision: positive(kv.mod_revision),
        value: kv.value.into(),
    }
}

/// All that begin with what ends in a slash: the first that may, and the first that does not.
fn under(first: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let mut end = first.clone();
    if let Some(slash) = end.last_mut() {
        *slash = slash.saturating_add(1);
    }
    (first, end)
}

/// The next key in the order of bytes.
fn after(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

// === impl Keys ===

impl Keys {
    fn new(prefix: &str) -> Self {
        Self {
            root: format!("/{}/", prefix.trim_matches('/')),
        }
    }

    /// A key that is no object's: those have slashes.
    fn own(&self, name: &str) -> Vec<u8> {
        format!("{}{name}", self.root).into_bytes()
    }

    fn object(&self, key: &ObjectKey) -> Vec<u8> {
        self.own(key.as_str())
    }

    /// All keys of a resource: the first, and what is behind the last.
    fn range(&self, of: &Prefix) -> (Vec<u8>, Vec<u8>) {
        under(self.own(of.as_str()))
    }

    /// All keys.
    fn all(&self) -> (Vec<u8>, Vec<u8>) {
        under(self.own(""))
    }

    /// Which resource an object's key belongs to.
    fn resource(&self, key: &[u8]) -> Option<Prefix> {
        let text = std::str::from_utf8(key).ok()?.strip_prefix(&self.root)?;
        Some(ObjectKey::parse(text)?.prefix())
    }

    /// Which object of a resource it is. What somebody else has put there is none.
    fn parse(&self, of: &Prefix, key: &[u8]) -> Option<ObjectKey> {
        let text = std::str::from_utf8(key).ok()?.strip_prefix(&self.root)?;
        let key = ObjectKey::parse(text)?;
        of.key(&key).map(|_| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    #[test]
    fn keys_lie_under_the_prefix() {
        for prefix in ["/registry/outrigger", "registry/outrigger/", "registry/outrigger"] {
            assert_eq!(Keys::new(prefix).root, "/registry/outrigger/", "{prefix}");
        }
        let keys = Keys::new("/r");
        for (group, plural, namespace, text) in [
            ("g.io", "ships", "sea", "/r/g.io/ships/sea/vega"),
            ("g.io", "ports", "", "/r/g.io/ports//vega"),
            ("", "things", "n", "/r//things/n/vega"),
        ] {
            let of = Prefix::of(group, plural);
            let object = of.object(&Key::new(namespace, "vega"));
            assert_eq!(keys.object(&object), text.as_bytes());
            let (first, end) = keys.range(&of);
            assert!(first.as_slice() <= text.as_bytes() && text.as_bytes() < end.as_slice());
            assert_eq!(keys.parse(&of, text.as_bytes()), Some(object));
        }
        let ships = Prefix::of("g.io", "ships");
        for text in [
            "/r/g.io/ships",
            "/r/g.io/ships/",
            "/r/g.io/ships/a",
            "/r/g.io/shipsandmore/n/a",
            "/x/g.io/ships/n/a",
            "/r/compact_rev_key",
        ] {
            assert_eq!(keys.parse(&ships, text.as_bytes()), None, "{text}");
            let (first, end) = keys.range(&ships);
            let inside = first.as_slice() <= text.as_bytes() && text.as_bytes() < end.as_slice();
            assert_eq!(inside, text.starts_with("/r/g.io/ships/"), "{text}");
        }
    }
}
