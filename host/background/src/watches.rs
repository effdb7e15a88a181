//! What plugins follow in the cluster, and who tells of it.
//!
//! Whoever follows a resource first hears of every object that there is, then [`Standing::Synced`], then of every change. It is told
//! keys and owners, never objects: those the plugin reads itself, with its own rights. Telling must be quick and must not wait;
//! what is heard is a set of keys that somebody looks at later, so nothing here needs a queue with a bound.

use std::sync::Arc;

use outrigger_api::manifest::ResourceName;
use outrigger_catalog::Namespaces;

/// Which objects, with whose rights.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Follow {
    /// The plugin's name: everything is asked with its identity.
    pub plugin: Arc<str>,
    /// The resource.
    pub resource: ResourceName,
    /// Where.
    pub namespaces: Namespaces,
}

/// What kube-apiserver says of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// Its kind, as owner references name it.
    pub kind: Arc<str>,
    /// Whether its objects have a namespace.
    pub namespaced: bool,
}

/// The controlling owner of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its group; empty for core.
    pub group: Box<str>,
    /// Its kind.
    pub kind: Box<str>,
    /// Its name; it lives in the namespace of what it owns, or has none.
    pub name: Box<str>,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It is there, and was not known before.
    Made,
    /// It is another than before.
    Changed,
    /// It is not there any more.
    Gone,
}

/// News of one object.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// `NAMESPACE/NAME`, or `NAME`.
    pub key: &'a Arc<str>,
    /// What happened.
    pub what: What,
    /// Who controls it; for one that is gone, who did.
    pub owner: Option<&'a Owner>,
    /// Who controlled it before the change.
    pub before: Option<&'a Owner>,
}

/// How it stands with following.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Every object that there is has been told.
    Synced(Kind),
    /// It does not work at the moment, in one sentence; what is known stays, and it is tried again.
    Troubled(String),
}

/// Who wants to be told.
pub trait Hears: Send + Sync {
    /// News of one object.
    fn seen(&self, seen: &Seen<'_>);
    /// How it stands, whenever that changes.
    fn stands(&self, standing: Standing);
}

/// A resource that is followed; dropped, nobody is told any more.
pub trait Following: Send + Sync {
    /// The keys of all objects that are known now.
    fn keys(&self) -> Vec<Arc<str>>;
}

/// The cluster, as far as it can be followed.
pub trait Watches: Send + Sync {
    /// Follows until the answer is dropped. Who follows what somebody follows already shares with him, and is told of what is known
    /// before this returns.
    fn follow(&self, what: &Follow, hears: Arc<dyn Hears>) -> Box<dyn Following>;
}

/// A world in which nothing can be followed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Blind;

impl Watches for Blind {
    fn follow(&self, _: &Follow, hears: Arc<dyn Hears>) -> Box<dyn Following> {
        hears.stands(Standing::Troubled("this host has no cluster to follow".to_owned()));
        Box::new(Blind)
    }
}

impl Following for Blind {
    fn keys(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
}
