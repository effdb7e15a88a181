//! The store on etcd against a real one: the conformance suite of all stores, and what only etcd can do to us. It is killed, stopped,
//! frozen, put behind a network that breaks, compacted, filled up; members come and go; replicas write at the same time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod breaking;
mod compaction;
mod figures;
mod gate;
mod house;
mod images;
mod members;
mod promises;
mod strangers;
