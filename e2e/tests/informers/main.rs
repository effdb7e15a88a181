//! client-go's caches and kubectl's watches as judges of ours: typed, dynamic and metadata-only informers on pods.metrics.k8s.io,
//! through a real aggregator, while collectors publish, pods come and go, connections break and the host is killed.

#![allow(clippy::indexing_slicing, reason = "a test may panic")]

mod caches;
mod house;
mod kubectl;
