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
mod keys;
mod line;
mod options;
mod servers;
mod shared;
mod trouble;
mod wire;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::AbortHandle;

use self::keys::{Keys, after};
use self::line::Files;
pub use self::options::{EtcdError, EtcdOptions, EtcdTimeouts};
use self::servers::{Does, Servers};
use self::shared::{Shared, plain, put_back, revision, stored};
use self::trouble::Trouble;
use super::{Changes, Expected, ObjectKey, Page, PageOf, Prefix, Store, StoreError, Stored, Write};

/// Objects in etcd. Dropped, it is closed: its watches end.
pub struct Etcd {
    shared: Arc<Shared>,
    compaction: Option<AbortHandle>,
}

/// Values of the first part of a list. Those behind it are cut by the size of what came, and grow by no more than [`GROWTH`] each.
const FIRST_PART: i64 = 100;
const GROWTH: i64 = 4;
/// About so many bytes are asked for at once, so that no answer is huge on either side.
const PART_BYTES: usize = 2 << 20;
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
        let servers = Servers::new(servers, files, options.timeouts);
        let shared = Arc::new(Shared::new(servers, Keys::new(&options.prefix), options.timeouts));
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
        let mut part = FIRST_PART;
        loop {
            let missing = if page.limit == 0 {
                usize::MAX
            } else {
                page.limit - list.items.len()
            };
            let question = wire::RangeRequest {
                key,
                range_end: end.clone(),
                limit: part.min(i64::try_from(missing).unwrap_or(i64::MAX)),
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
            let fits = i64::try_from(PART_BYTES / each).unwrap_or(MOST_VALUES);
            part = fits.clamp(1, MOST_VALUES.min(part * GROWTH));
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
