//! Compaction: once in an interval, by whichever replica comes first.
//!
//! The way of upstream's `etcd3/compact.go`. One key counts the rounds: whoever raises its count compacts, the others see that it was raised and
//! wait. What is compacted is what was there one round before, so nothing is forgotten before an interval has passed, whether there is one
//! replica or many; if the one that compacts goes away, another takes over within two intervals.
//!
//! The key is under the prefix and not upstream's own, because a host may be allowed no other keys. Another party on the same etcd that compacts,
//! such as kube-apiserver, does the same for itself: etcd is then compacted twice in an interval, each time to what is older than one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::servers::Does;
use super::shared::{Shared, plain, revision};
use super::wire;
use crate::store::StoreError;

/// What a replica knows of the rounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Round {
    /// How many there were.
    number: i64,
    /// What was there then.
    revision: u64,
}

/// The key that counts.
const KEY: &str = "compact_rev_key";

/// Compacts until it is aborted.
pub(super) async fn run(shared: Arc<Shared>, every: Duration) {
    let mut last = Round::default();
    loop {
        tokio::time::sleep(every).await;
        match next(&shared, last).await {
            Ok(round) => last = round,
            Err(error) => tracing::warn!(%error, "etcd is not compacted in this interval"),
        }
    }
}

async fn next(shared: &Shared, last: Round) -> Result<Round, StoreError> {
    let key = shared.keys.own(KEY);
    let question = wire::TxnRequest {
        compare: vec![wire::Compare::written(key.clone(), last.number)],
        success: vec![wire::RequestOp::put(key.clone(), Bytes::from(last.revision.to_string()))],
        failure: vec![wire::RequestOp::get(key)],
    };
    // If it is not known whether it was raised, the next round finds that out.
    let asked = shared.servers.call(Does::Write, wire::TXN, question).await;
    let answer: wire::TxnResponse = asked.map_err(plain)?;
    let now = revision(answer.header);
    if !answer.succeeded {
        let found = answer.found().unwrap_or_default();
        let compacted = std::str::from_utf8(&found.value).ok().and_then(|text| text.parse().ok());
        shared.forgotten.fetch_max(compacted.unwrap_or(0), Ordering::AcqRel);
        return Ok(Round {
            number: found.version,
            revision: now,
        });
    }
    // In the first round nothing is an interval old.
    if last.revision > 0 {
        shared.compact(last.revision).await?;
        tracing::debug!(revision = last.revision, "etcd is compacted");
    }
    Ok(Round {
        number: last.number + 1,
        revision: now,
    })
}
