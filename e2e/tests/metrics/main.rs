//! metrics.k8s.io as its users see it: through kube-apiserver and its aggregator, with kubectl, an HPA, and nothing mocked but
//! the machines. One test for each promise; all share one cluster.

#![allow(clippy::indexing_slicing, reason = "a test may panic")]

mod audit;
mod autoscaling;
mod house;
mod kubectl;
mod lifecycle;
mod permission;
mod settings;
mod trouble;
mod usage;
mod values;
