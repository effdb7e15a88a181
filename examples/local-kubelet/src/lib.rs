//! A kubelet's stats endpoint for the machine that it runs on.
//!
//! Outrigger's metrics plugin reads `/stats/summary` of kubelets. On a laptop there is none, so this serves one that is true:
//! CPU and memory of the node from /proc, and of "pods", which are the machine's cgroups (a slice is a pod, what it holds are its
//! containers) or, where there are none, its processes by session and program. Nothing is made up: what cannot be
//! measured is absent.
//!
//! It behaves as a kubelet where a reader can tell: it samples on a clock of its own (10 s), makes `usageNanoCores` from the
//! exact times of its last two samples, writes times in whole seconds, starts at zero, and never lets a counter go
//! backwards. It must never answer without a token or a client certificate, and never do work on a request.

pub mod cgroups;
pub mod identity;
pub mod names;
pub mod pods;
pub mod proc;
pub mod processes;
pub mod sample;
pub mod server;
pub mod summary;
