//! The host's side of the cluster: everything that is said to kube-apiserver and to kubelets is said here.
//!
//! | module | one idea |
//! |---|---|
//! | [`client`] | one connection to kube-apiserver, from a kubeconfig or the pod's service account |
//! | [`nodes`], [`pods`] | slim indexes that follow the cluster; reads come from memory |
//! | [`followed`] | what plugins follow, with their own identity: who is told, and a store to read from |
//! | [`election`], [`lease`] | which of several replicas leads |
//! | [`replicas`], [`peers`] | which of them are alive and share the collectors' work, and what the others bring |
//! | [`kubelet`] | one question to one kubelet, with every bound that a hostile kubelet calls for |
//! | [`ca_secret`] | the Secret in which replicas keep their authority |
//! | [`registration`] | the APIServices that lead here, and their `caBundle` |
//! | [`trust`] | whom kube-apiserver says to believe: the front-proxy CA and its headers |
//! | [`reviews`] | "may they?" and "who is this?", asked of kube-apiserver |
//! | [`persona`], [`objects`] | objects for plugins, each under an identity of its own, asked for one by one |
//! | [`events`], [`secrets`] | what plugins tell of objects, and the keys of Secrets that they are given |
//! | [`advice`] | what can be wrong between here and there, and what mends it: the words of the log and of `outrigger doctor` |
//!
//! Promises: what was known stays known while kube-apiserver is away; every wait has a deadline; every task has an owner
//! who gave it a [`CancellationToken`](tokio_util::sync::CancellationToken) and holds its handle. Credentials leave this room
//! only towards the host that they are meant for.

pub mod advice;
mod anybody;
pub mod backoff;
pub mod ca_secret;
mod causes;
pub mod client;
mod dial;
pub mod election;
pub mod events;
pub mod followed;
mod informer;
pub mod kubelet;
pub mod labels;
pub mod lease;
#[cfg(test)]
mod live;
mod material;
pub mod namespaces;
pub mod nodes;
pub mod objects;
pub mod peers;
pub mod persona;
pub mod pods;
pub mod registration;
pub mod replicas;
pub mod reviews;
#[cfg(test)]
mod scripted;
pub mod secrets;
pub mod trust;
#[cfg(test)]
mod weight;

pub use advice::{Account, Advice};
pub use anybody::Anybody;
pub use ca_secret::CaSecret;
pub use causes::causes;
pub use client::{ClientError, Cluster, ClusterOptions, connect, connect_as};
pub use election::{Election, ElectionOptions};
pub use events::{EventRecorder, Happening, NotTaken};
pub use followed::{Personas, Watched, WatchedOptions};
pub use kubelet::{KubeletAccess, KubeletClient, KubeletError, KubeletObserver, KubeletOptions};
pub use labels::Labels;
pub use lease::LeaseLock;
pub use namespaces::{Namespace, Namespaces};
pub use nodes::{Address, Node, NodeIndex, NodeLookup};
pub use objects::{ObjectError, ObjectPath, Page, PluginObjects};
pub use peers::Peers;
pub use persona::Persona;
pub use pods::PodIndex;
pub use registration::{Register, Registration, RegistrationOptions};
pub use replicas::{Replicas, ReplicasOptions};
pub use reviews::{AccessAnswer, AccessQuestion, ResourceQuestion, ReviewError, ReviewObserver, Reviews, Subject};
pub use trust::{RequestHeaderTrust, TrustError};
