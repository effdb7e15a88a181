//! What breaks stays where it breaks, and mends by itself: hostile plugins, dying kubelets, a server that is replaced, certificates
//! and rights that change, a kube-apiserver that goes away. Real controllers, kubectl and the aggregator are the judges.

#![allow(clippy::indexing_slicing, reason = "a test may panic")]

mod attempts;
mod certificates;
mod drain;
mod hostile;
mod house;
mod kubelets;
mod load;
mod rights;
mod storm;
