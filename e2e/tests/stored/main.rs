//! Stored objects behind a real aggregator: kubectl, client-go's informers and the controllers of a cluster as judges, while connections
//! break and the host is killed. The API is upstream's example, flunders and fischers, as `examples/wardle` has it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests stop at the first surprise")]

mod apply;
mod caches;
mod controllers;
mod house;
mod kubectl;
mod patch;
mod removal;
mod replicas;
mod restart;
mod waiting;
mod writers;
