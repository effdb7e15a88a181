//! Whom kube-apiserver believes an Outrigger by: one authority in a Secret for all replicas, the `caBundle` of their APIServices, and
//! what happens when leaf and authority are renewed while everybody asks. Each test has a control plane of its own.

#![allow(clippy::indexing_slicing, reason = "a test may panic")]

mod house;
#[path = "../faults/load.rs"]
mod load;
mod renewal;
mod secret;
