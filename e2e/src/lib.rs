//! What the end-to-end tests stand on: a real control plane, fake kubelets whose truth is known, and the binary itself.
//!
//! `e2e/control-plane/build` makes the programs of the control plane; [`ControlPlane`] starts them on loopback with the
//! complete aggregation layer. A [`Fleet`] is its nodes: it plays scheduler and kubelet for every pod, and each node answers
//! `/stats/summary` with a load that the test chose ([`load`]) or with what a real kubelet once said ([`recording`]).
//! [`Outrigger`] runs the binary with exactly the rights of `deploy/metrics`; a [`Peer`] is the same API by upstream's own
//! library, and a [`Sample`] upstream's own API server, to compare with ([`differential`]).
//!
//! Promises: nothing outside one scratch folder is written, no privilege is needed, everything listens on 127/8, and
//! whatever was started ends with the test process, however that ends ([`scratch`]). Waits are polls with generous deadlines;
//! nothing here measures time.

pub mod control_plane;
pub mod differential;
pub mod etcd;
pub mod exposition;
pub mod fleet;
pub mod http;
pub mod informers;
pub mod kubectl;
pub mod kubelet;
pub mod load;
pub mod metrics_server;
pub mod node;
pub mod outrigger;
pub mod peer;
pub mod pki;
pub mod program;
pub mod quantity;
pub mod recording;
pub mod sample;
pub mod scratch;
pub mod steady;
pub mod wait;
pub mod way;

pub use control_plane::ControlPlane;
pub use fleet::Fleet;
pub use kubelet::FakeKubelet;
pub use metrics_server::MetricsServer;
pub use outrigger::Outrigger;
pub use peer::Peer;
pub use sample::Sample;
pub use wait::{promise, until};
