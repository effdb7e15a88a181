//! Why an API served by this host does not work, seen with the eyes of somebody who holds a kubeconfig.
//!
//! | module | one idea |
//! |---|---|
//! | [`condition`] | everything that can be found, as one sentence each |
//! | [`report`] | rows: a check and its finding; as text, as JSON, as an exit code |
//! | `world` | questions to kube-apiserver, each with a deadline |
//! | `apiserver`, `trust`, `rights` | kube-apiserver itself, the ConfigMap of its front proxy, what our service account may do |
//! | `apiservice`, `aggregated` | an APIService and what stands behind it; what its API looks like from outside |
//! | `words` | what Go's errors mean, as the aggregator repeats them |
//! | `dial`, `certificate` | the host and kubelets seen directly; certificates and bundles |
//! | `kubelets`, `namespaces` | the sources of metrics; what cannot be deleted because an API does not answer |
//!
//! Each room fetches first and judges then; the judgements are plain functions, tested as tables. Promises: nothing in the
//! cluster is changed (reviews are questions); no credential goes anywhere but to kube-apiserver; every wait has a
//! deadline; a finding is blamed once, on its cause, and what follows from it says so.

mod aggregated;
mod apiserver;
mod apiservice;
mod certificate;
pub mod condition;
mod dial;
mod examination;
mod kubelets;
mod namespaces;
pub mod report;
mod rights;
mod trust;
mod words;
mod world;

pub use condition::Condition;
pub use examination::{Options, examine};
pub use report::{Finding, Report, Row};
