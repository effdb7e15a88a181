//! How the cluster's namespaces stand: whoever makes an object looks first whether its namespace takes it.
//!
//! Followed by metadata alone, from the first question on: a host that keeps no objects asks nobody. A namespace that has a deletionTimestamp is
//! going. One that is not known here may just have been made: it is waited for a moment, then kube-apiserver itself is asked, as upstream's
//! admission plugin does (apiserver `admission/plugin/namespace/lifecycle`).

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once, RwLock};
use std::time::Duration;

use k8s_openapi::ClusterResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::{Deserialize, Deserializer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::causes::causes;
use crate::informer::{self, Keep, Subject, read, write};

/// The namespaces.
pub struct Namespaces {
    client: Client,
    known: Arc<Known>,
    started: Once,
    tasks: TaskTracker,
    end: CancellationToken,
}

/// How a namespace stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// It takes new objects.
    Active,
    /// It is being deleted.
    Terminating,
    /// There is none of this name.
    Absent,
}

/// How long a namespace may take to become known before kube-apiserver is asked (`missingNamespaceWait`).
const WAIT: Duration = Duration::from_millis(50);
/// How long kube-apiserver may take to answer.
const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Known {
    all: RwLock<HashMap<Box<str>, Namespace>>,
    synced: AtomicBool,
}

// === impl Namespaces ===

impl Namespaces {
    /// Knows nothing yet. What follows the namespaces runs among `tasks` until `end`.
    #[must_use]
    pub fn new(client: Client, tasks: TaskTracker, end: CancellationToken) -> Self {
        Self {
            client,
            known: Arc::default(),
            started: Once::new(),
            tasks,
            end,
        }
    }

    /// How a namespace stands.
    ///
    /// # Errors
    /// Nobody knows it here, and kube-apiserver does not say: one sentence.
    pub async fn standing(&self, name: &str) -> Result<Namespace, String> {
        self.started.call_once(|| self.follow());
        if let Some(known) = self.known.get(name) {
            return Ok(known);
        }
        if self.known.synced.load(Ordering::Acquire) {
            tokio::time::sleep(WAIT).await;
            if let Some(known) = self.known.get(name) {
                return Ok(known);
            }
        }
        let asked = Api::<SlimNamespace>::all(self.client.clone());
        match tokio::time::timeout(DEADLINE, asked.get_opt(name)).await {
            Ok(Ok(Some(found))) => Ok(found.standing()),
            Ok(Ok(None)) => Ok(Namespace::Absent),
            Ok(Err(error)) => Err(format!("namespace {name} cannot be looked up: {}", causes(&error))),
            Err(_) => Err(format!("namespace {name} cannot be looked up: no answer within {DEADLINE:?}")),
        }
    }

    fn follow(&self) {
        let client = self.client.clone();
        let open = move || watcher(Api::<SlimNamespace>::all(client.clone()), informer::config());
        let keeper = Keeper {
            known: Arc::clone(&self.known),
            next: HashMap::new(),
        };
        self.tasks.spawn(informer::follow(subject(), open, keeper, self.end.clone()));
    }
}

impl fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespaces")
            .field("known", &read(&self.known.all).len())
            .finish_non_exhaustive()
    }
}

fn subject() -> Subject {
    Subject::own("namespaces", |account| account.may_not_read("get,list,watch", "namespaces"))
}

// === impl Known ===

impl Known {
    fn get(&self, name: &str) -> Option<Namespace> {
        read(&self.all).get(name).copied()
    }
}

/// A namespace's metadata as it is read from the wire.
#[derive(Debug, Clone, Deserialize)]
struct SlimNamespace {
    #[serde(deserialize_with = "slim")]
    metadata: ObjectMeta,
}

/// Reads name, deletionTimestamp and resourceVersion; everything else is skipped without being built.
fn slim<'de, D: Deserializer<'de>>(from: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Slim {
        name: Option<String>,
        deletion_timestamp: Option<Time>,
        resource_version: Option<String>,
    }
    let Slim {
        name,
        deletion_timestamp,
        resource_version,
    } = Slim::deserialize(from)?;
    Ok(ObjectMeta {
        name,
        deletion_timestamp,
        resource_version,
        ..ObjectMeta::default()
    })
}

// === impl SlimNamespace ===

impl SlimNamespace {
    fn standing(&self) -> Namespace {
        match self.metadata.deletion_timestamp {
            Some(_) => Namespace::Terminating,
            None => Namespace::Active,
        }
    }
}

impl Resource for SlimNamespace {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        "Namespace".into()
    }
    fn group((): &()) -> std::borrow::Cow<'_, str> {
        "".into()
    }
    fn version((): &()) -> std::borrow::Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        "namespaces".into()
    }
    /// Asks for `PartialObjectMetadata`: kube-apiserver sends neither spec nor status.
    fn metadata_api() -> bool {
        true
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

struct Keeper {
    known: Arc<Known>,
    /// What a list in progress has brought so far.
    next: HashMap<Box<str>, Namespace>,
}

// === impl Keeper ===

impl Keep<SlimNamespace> for Keeper {
    fn begin(&mut self) {
        self.next = HashMap::new();
    }

    fn list(&mut self, object: SlimNamespace) {
        let standing = object.standing();
        self.next
            .extend(object.metadata.name.map(|name| (name.into_boxed_str(), standing)));
    }

    fn commit(&mut self) {
        *write(&self.known.all) = std::mem::take(&mut self.next);
        self.known.synced.store(true, Ordering::Release);
    }

    fn apply(&mut self, object: SlimNamespace) {
        let standing = object.standing();
        if let Some(name) = object.metadata.name {
            write(&self.known.all).insert(name.into_boxed_str(), standing);
        }
    }

    fn delete(&mut self, object: SlimNamespace) {
        if let Some(name) = object.metadata.name {
            write(&self.known.all).remove(name.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{Server, event, list, status, until, watch};

    fn namespace(name: &str, version: u64, going: bool) -> String {
        let going = if going {
            r#","deletionTimestamp":"2026-01-01T00:00:00Z""#
        } else {
            ""
        };
        format!(
            r#"{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{{"name":"{name}","resourceVersion":"{version}"{going}}}}}"#
        )
    }

    #[tokio::test]
    async fn what_is_not_known_is_asked_for() {
        let (events, first) = watch();
        let all = [namespace("sea", 1, false), namespace("wreck", 2, true)];
        let server = Server::start(vec![
            list("3", "", &all),
            first,
            status(404, "NotFound"),
            status(500, "InternalError"),
        ])
        .await;
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        let namespaces = Namespaces::new(server.client.clone(), tasks.clone(), end.clone());
        assert!(server.asked().is_empty(), "nobody has asked");
        namespaces.started.call_once(|| namespaces.follow());
        until("first list", || namespaces.known.synced.load(Ordering::Acquire)).await;
        until("watch", || server.asked().len() == 2).await;
        for (name, want) in [
            ("sea", Ok(Namespace::Active)),
            ("wreck", Ok(Namespace::Terminating)),
            ("nowhere", Ok(Namespace::Absent)),
            ("dark", Err("namespace dark cannot be looked up: ")),
        ] {
            let got = namespaces.standing(name).await;
            match (&got, want) {
                (Ok(got), Ok(want)) => assert_eq!(*got, want, "{name}"),
                (Err(got), Err(want)) => assert!(got.starts_with(want), "{name}: {got}"),
                _ => panic!("{name}: {got:?}"),
            }
        }
        events.send(event("MODIFIED", &namespace("sea", 4, true))).unwrap();
        until("going", || namespaces.known.get("sea") == Some(Namespace::Terminating)).await;
        events.send(event("DELETED", &namespace("wreck", 5, true))).unwrap();
        until("gone", || namespaces.known.get("wreck").is_none()).await;
        let asked = server.asked();
        assert!(asked[0].uri.starts_with("/api/v1/namespaces?"), "{}", asked[0].uri);
        assert!(asked[0].accept.contains("as=PartialObjectMetadata"), "{}", asked[0].accept);
        assert_eq!(asked[2].uri.split('?').next(), Some("/api/v1/namespaces/nowhere"));
        end.cancel();
        tasks.close();
        tasks.wait().await;
    }

    /// Before the first list kube-apiserver is asked at once.
    #[tokio::test]
    async fn nobody_waits_for_the_first_list() {
        let server = Server::start(Vec::new()).await;
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        let namespaces = Namespaces::new(server.client.clone(), tasks.clone(), end.clone());
        // The list is not asked for while this holds the place of the task that would.
        namespaces.started.call_once(|| {});
        server.then(crate::scripted::Step::Say(200, namespace("sea", 1, false)));
        assert_eq!(namespaces.standing("sea").await, Ok(Namespace::Active));
        server.then(crate::scripted::Step::Say(200, namespace("sea", 2, true)));
        assert_eq!(namespaces.standing("sea").await, Ok(Namespace::Terminating));
    }
}
