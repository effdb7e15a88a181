//! Several replicas share the collectors' work: each target has one replica that asks it, and all replicas have its rows.
//!
//! **Who asks.** Rendezvous hashing: of the live replicas the one whose hash with the job's name is highest stands first, the others
//! behind it in the order of theirs. When a replica comes or goes, only the jobs change hands that it has won or held.
//!
//! **What the others hear.** Every tick goes to all others as a [`Brought`]: its rows, and the guest's state after it. So each
//! of them answers for all targets, and whoever takes a job over goes on from the state that the last one left: rates have no gap.
//!
//! **What if nobody asks.** Who leads is a matter of opinion for a moment (a replica died, hangs, cannot be heard, does not know of a
//! node yet), so being second is a time and not a ban: the second in line ticks when a quarter of an interval has gone by without the
//! first one's news, the third when a half has, and so on. No value gets older than two intervals, whoever fails; the price of doubt is
//! that a target is asked twice. Where the first one says that the target itself does not answer, the others leave it alone for two
//! more intervals and then try for themselves, for it may be the first one's network.
//!
//! Rows of another version of a plugin are not taken: while a plugin is being replaced in one replica after the other, each asks for
//! itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use outrigger_sandbox::GuestRow;
use outrigger_storage::{Key, Row};
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

/// Who else collects.
pub trait Replicas: Send + Sync {
    /// How many live replicas stand before this one for the job of this name.
    fn before(&self, job: &str) -> usize;

    /// Changes when the replicas do.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// What a tick brought, as replicas tell each other: protobuf, so that versions of the host can talk to each other.
#[derive(Clone, PartialEq, Message)]
pub struct Brought {
    /// The plugin's name.
    #[prost(string, tag = "1")]
    pub plugin: String,
    /// Names its bytes.
    #[prost(string, tag = "2")]
    pub digest: String,
    /// The collector's name.
    #[prost(string, tag = "3")]
    pub collector: String,
    /// The node, or the object's key; empty for a collector that runs once for all.
    #[prost(string, tag = "4")]
    pub target: String,
    /// Milliseconds since the tick ended, when this was sent. Clocks of replicas need not agree.
    #[prost(uint64, tag = "5")]
    pub age_ms: u64,
    /// What there is since; nothing if the tick failed, and the last good rows stay.
    #[prost(message, optional, tag = "6")]
    pub good: Option<Good>,
}

/// What a good tick brought.
#[derive(Clone, PartialEq, Message)]
pub struct Good {
    /// Under which schema the state is.
    #[prost(uint32, tag = "1")]
    pub schema: u32,
    /// The guest's state.
    #[prost(bytes = "bytes", tag = "2")]
    pub state: Bytes,
    /// All rows of the target.
    #[prost(message, repeated, tag = "3")]
    pub rows: Vec<SharedRow>,
}

/// A row, as the table keeps it.
#[derive(Clone, PartialEq, Message)]
pub struct SharedRow {
    /// The plural of its resource.
    #[prost(string, tag = "1")]
    pub resource: String,
    /// Its namespace; empty if cluster-scoped.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// Its name.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Members of its JSON object without the outer braces.
    #[prost(bytes = "bytes", tag = "4")]
    pub fields: Bytes,
    /// The same in protobuf.
    #[prost(bytes = "bytes", tag = "5")]
    pub protobuf: Bytes,
    /// Its cells without the outer brackets.
    #[prost(bytes = "bytes", tag = "6")]
    pub cells: Bytes,
}

/// News that came in and were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It is no [`Brought`].
    #[error("it cannot be read")]
    Unreadable,
    /// The plugin is not served here, or in another version, or has no such target.
    #[error("it is of a plugin, a version or a target that is not served here")]
    Unknown,
    /// What is here is newer.
    #[error("what is here is newer")]
    Old,
}

/// How replicas hear of each other's ticks.
pub(crate) struct Sharing {
    pub(crate) replicas: Arc<dyn Replicas>,
    told: broadcast::Sender<Told>,
}

/// Bytes of a message at most, but for its age.
pub const MOST: usize = 63 << 20;
/// News that may wait for one listener; who falls behind further begins again with everything.
const WAITING: usize = 1024;
/// The second in line waits this part of an interval longer than the first, the third twice that.
const STEP: f64 = 0.25;
/// How many intervals longer the others wait where the target does not answer the first one.
const DOUBT: f64 = 2.0;

/// Who comes first for a job: the highest of these.
#[must_use]
pub fn weight(replica: &str, job: &str) -> u64 {
    let digest = Sha256::new()
        .chain_update(replica)
        .chain_update([0])
        .chain_update(job)
        .finalize();
    digest.iter().take(8).fold(0, |weight, byte| weight << 8 | u64::from(*byte))
}

/// How long after a tick the next one is due for who has so many before them. Who is first keeps to the interval.
pub(crate) fn patience(before: usize, good: bool, interval: Duration) -> Duration {
    let before = f64::from(u32::try_from(before).unwrap_or(u32::MAX).min(3));
    let doubt = if good || before == 0.0 { 0.0 } else { DOUBT };
    interval.mul_f64(1.0 + before * STEP + doubt)
}

/// What is told, ready to be sent: all but its age.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    message: Bytes,
    since: Instant,
}

/// The one field of a message that changes while it waits.
#[derive(Clone, PartialEq, Message)]
struct Age {
    #[prost(uint64, tag = "5")]
    age_ms: u64,
}

// === impl Told ===

impl Told {
    /// Of a tick that ended at `since`. `None` if it is too long.
    pub(crate) fn new(brought: &Brought, since: Instant) -> Option<Self> {
        let length = brought.encoded_len();
        if length > MOST {
            let Brought { plugin, target, .. } = brought;
            tracing::warn!(%plugin, %target, "what a tick brought is too long to share, {length} bytes; other replicas ask for themselves");
            return None;
        }
        let message = brought.encode_to_vec().into();
        Some(Self { message, since })
    }

    /// As it goes over the wire: its length in four bytes, big end first, then the message. The age goes behind the rest, which protobuf
    /// reads as if it stood in it.
    pub(crate) fn frame(&self) -> Bytes {
        let age_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let age = Age { age_ms }.encode_to_vec();
        let length = self.message.len() + age.len();
        let mut frame = BytesMut::with_capacity(4 + length);
        frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        frame.extend_from_slice(&self.message);
        frame.extend_from_slice(&age);
        frame.freeze()
    }
}

// === impl Sharing ===

impl Sharing {
    pub(crate) fn new(replicas: Arc<dyn Replicas>) -> Self {
        Self {
            replicas,
            told: broadcast::Sender::new(WAITING),
        }
    }

    /// Whether anybody hears what is told.
    pub(crate) fn is_heard(&self) -> bool {
        self.told.receiver_count() > 0
    }

    pub(crate) fn tell(&self, brought: &Brought, since: Instant) {
        if let Some(told) = Told::new(brought, since) {
            // Nobody listens: nobody has missed anything.
            let _ = self.told.send(told);
        }
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Told> {
        self.told.subscribe()
    }
}

// === impl SharedRow ===

impl SharedRow {
    /// As the guest returned it; the sandbox has checked that fields are an object and cells an array.
    pub(crate) fn returned(row: &GuestRow) -> Self {
        let kept = crate::collectors::inside;
        Self {
            resource: row.resource.to_string(),
            namespace: row.namespace.clone(),
            name: row.name.clone(),
            fields: Bytes::copy_from_slice(kept(&row.fields)),
            protobuf: Bytes::copy_from_slice(&row.protobuf),
            cells: Bytes::copy_from_slice(kept(&row.cells)),
        }
    }

    /// As a table keeps it.
    pub(crate) fn kept(resource: &str, row: &Row) -> Self {
        Self {
            resource: resource.to_owned(),
            namespace: row.key.namespace.to_string(),
            name: row.key.name.to_string(),
            fields: row.fields.clone(),
            protobuf: Bytes::copy_from_slice(&row.protobuf),
            cells: Bytes::copy_from_slice(&row.cells),
        }
    }

    /// For a table to keep.
    pub(crate) fn into_row(self) -> Row {
        Row {
            key: Key::new(&self.namespace, &self.name),
            created: None,
            // Of its own: a piece of what came in would keep all of it alive.
            fields: Bytes::copy_from_slice(&self.fields),
            protobuf: self.protobuf.to_vec().into_boxed_slice(),
            cells: self.cells.to_vec().into_boxed_slice(),
            meta: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first<'a>(replicas: &[&'a str], job: &str) -> &'a str {
        replicas.iter().max_by_key(|replica| weight(replica, job)).unwrap()
    }

    #[test]
    fn jobs_are_divided_evenly_and_stay_where_they_are() {
        let jobs: Vec<String> = (0..3_000).map(|n| format!("metrics/nodes/node-{n}")).collect();
        let (two, three) = (
            ["10.0.0.1:443", "10.0.0.2:443"],
            ["10.0.0.1:443", "10.0.0.2:443", "10.0.0.3:443"],
        );
        let mut moved = 0;
        let mut shares = std::collections::BTreeMap::new();
        for job in &jobs {
            let (before, after) = (first(&two, job), first(&three, job));
            *shares.entry(after).or_insert(0_usize) += 1;
            if before != after {
                moved += 1;
                assert_eq!(after, three[2], "{job} moves to the new one or not at all");
            }
        }
        assert!((900..1_100).contains(&moved), "{moved}");
        assert!(shares.values().all(|share| (900..1_100).contains(share)), "{shares:?}");
    }

    #[test]
    fn those_behind_wait_longer_and_never_two_intervals_for_a_good_one() {
        const I: Duration = Duration::from_secs(60);
        let seconds = |before, good| patience(before, good, I).as_secs();
        assert_eq!([0, 1, 2, 3, 9].map(|before| seconds(before, true)), [60, 75, 90, 105, 105]);
        assert_eq!([0, 1, 2].map(|before| seconds(before, false)), [60, 195, 210]);
    }

    #[test]
    fn news_survive_the_way() {
        let row = SharedRow {
            resource: "pods".into(),
            namespace: "a".into(),
            name: "b".into(),
            fields: Bytes::from_static(b"\"x\":1"),
            protobuf: Bytes::from_static(&[1, 2]),
            cells: Bytes::from_static(b"1,2"),
        };
        let brought = Brought {
            plugin: "metrics".into(),
            digest: "d".into(),
            collector: "nodes".into(),
            target: "n".into(),
            age_ms: 3,
            good: Some(Good {
                schema: 2,
                state: Bytes::from_static(b"state"),
                rows: vec![row],
            }),
        };
        let read = Brought::decode(Bytes::from(brought.encode_to_vec())).unwrap();
        assert_eq!(read, brought);
        let since = Instant::now() - Duration::from_millis(70);
        let frame = Told::new(&brought, since).unwrap().frame();
        assert_eq!(
            frame.len() - 4,
            usize::try_from(u32::from_be_bytes(frame[..4].try_into().unwrap())).unwrap()
        );
        let sent = Brought::decode(frame.slice(4..)).unwrap();
        assert!((70..60_000).contains(&sent.age_ms), "{}", sent.age_ms);
        assert_eq!(Brought { age_ms: 3, ..sent }, brought);
        let kept = read.good.unwrap().rows.remove(0).into_row();
        assert_eq!(
            (kept.key.to_string(), &*kept.fields, &*kept.cells),
            ("a/b".into(), &b"\"x\":1"[..], &b"1,2"[..])
        );
    }
}
