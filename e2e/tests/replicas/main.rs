//! Several replicas. Whom kube-apiserver believes them by: one authority in a Secret for all, the `caBundle` of their APIServices, and
//! what happens when leaf and authority are renewed while everybody asks. How they share the nodes, and what is seen when one of them
//! dies. Each test has a control plane of its own.

#![allow(clippy::indexing_slicing, reason = "a test may panic")]

mod house;
#[path = "../faults/load.rs"]
mod load;
mod renewal;
mod secret;
mod shared;
