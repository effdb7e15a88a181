//! The plugin from outside: from a kubelet's bytes to rows, against recordings, a simulated kubelet, and damage.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests stand outside of test functions, where clippy.toml does not reach"
)]

mod clocks;
mod collect;
mod configured;
mod fresh;
mod golden;
mod hostile;
mod series;
mod simulated;
mod speed;
mod support;
