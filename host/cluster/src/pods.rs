//! The running pods of the cluster: that they exist, and their labels.
//!
//! kube-apiserver is asked for metadata only, and for pods in phase Running only: a pod that has ended has no usage. Of the
//! metadata namespace, name and labels are kept; everything else, managedFields first of all, is skipped while the bytes
//! are parsed. Label sets are shared between the pods that wear the same. Measured (see the test at the end): 100 bytes for
//! a pod of a Deployment whatever its labels weigh, 1,190 for one whose five labels nobody shares.
//!
//! While kube-apiserver is away the last known pods stay. A pod that stops running leaves the field selector, which arrives
//! as a deletion.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, RwLock};

use k8s_openapi::NamespaceResourceScope;
use kube::api::ObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::informer::{self, Keep, Subject, read, slim_metadata, write};
use crate::labels::{Labels, Shelf};

/// The running pods as they are now.
pub struct PodIndex {
    pods: RwLock<Pods>,
    synced: watch::Sender<bool>,
}

/// Names under their namespace, so that the namespace's name is kept once.
#[derive(Default)]
struct Pods {
    namespaces: HashMap<Box<str>, HashMap<Box<str>, Arc<Labels>>>,
    count: usize,
}

// === impl PodIndex ===

impl PodIndex {
    /// The labels of a running pod; none if there is no such pod or it does not run.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Labels>> {
        read(&self.pods).namespaces.get(namespace)?.get(name).cloned()
    }

    /// How many pods run.
    #[must_use]
    pub fn len(&self) -> usize {
        read(&self.pods).count
    }

    /// Whether no pod runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the first list is in.
    #[must_use]
    pub fn synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Turns true when the first list is in.
    #[must_use]
    pub fn when_synced(&self) -> watch::Receiver<bool> {
        self.synced.subscribe()
    }

    fn empty() -> Arc<Self> {
        Arc::new(Self {
            pods: RwLock::default(),
            synced: watch::Sender::new(false),
        })
    }
}

impl fmt::Debug for PodIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PodIndex")
            .field("pods", &self.len())
            .field("synced", &self.synced())
            .finish()
    }
}

/// Follows the cluster's running pods until cancelled.
///
/// The index is empty until the first list is in; the caller owns the task.
#[must_use]
pub fn follow(client: Client, cancel: CancellationToken) -> (Arc<PodIndex>, JoinHandle<()>) {
    let index = PodIndex::empty();
    let config = informer::config().fields("status.phase=Running");
    let keeper = Keeper {
        index: Arc::clone(&index),
        shelf: Shelf::default(),
        next: Pods::default(),
    };
    let open = move || watcher(Api::<SlimPod>::all(client.clone()), config.clone());
    let task = tokio::spawn(informer::follow(subject(), open, keeper, cancel));
    (index, task)
}

fn subject() -> Subject {
    Subject::own("pods", |account| account.may_not_read("get,list,watch", "pods"))
}

/// A pod's metadata as it is read from the wire.
#[derive(Debug, Clone, Deserialize)]
struct SlimPod {
    #[serde(deserialize_with = "slim_metadata")]
    metadata: ObjectMeta,
}

/// Keeps the index and what it shares.
struct Keeper {
    index: Arc<PodIndex>,
    shelf: Shelf,
    /// What a list in progress has brought so far.
    next: Pods,
}

// === impl Keeper ===

impl Keeper {
    fn slim(&mut self, pod: SlimPod) -> Option<(String, String, Arc<Labels>)> {
        let labels = self.shelf.share(pod.metadata.labels.unwrap_or_default());
        Some((pod.metadata.namespace?, pod.metadata.name?, labels))
    }
}

impl Keep<SlimPod> for Keeper {
    fn begin(&mut self) {
        self.next = Pods::default();
    }

    fn list(&mut self, object: SlimPod) {
        if let Some((namespace, name, labels)) = self.slim(object) {
            self.next.insert(namespace, name, labels);
        }
    }

    fn commit(&mut self) {
        let mut next = std::mem::take(&mut self.next);
        next.shrink();
        // The old pods are freed after the lock is released.
        let old = std::mem::replace(&mut *write(&self.index.pods), next);
        drop(old);
        self.index.synced.send_replace(true);
    }

    fn apply(&mut self, object: SlimPod) {
        if let Some((namespace, name, labels)) = self.slim(object) {
            write(&self.index.pods).insert(namespace, name, labels);
        }
    }

    fn delete(&mut self, object: SlimPod) {
        if let (Some(namespace), Some(name)) = (object.metadata.namespace, object.metadata.name) {
            write(&self.index.pods).remove(&namespace, &name);
        }
    }
}

// === impl Pods ===

impl Pods {
    fn insert(&mut self, namespace: String, name: String, labels: Arc<Labels>) {
        let new = match self.namespaces.get_mut(namespace.as_str()) {
            Some(names) => names.insert(name.into(), labels).is_none(),
            None => self
                .namespaces
                .entry(namespace.into())
                .or_default()
                .insert(name.into(), labels)
                .is_none(),
        };
        self.count += usize::from(new);
    }

    fn remove(&mut self, namespace: &str, name: &str) {
        let Some(names) = self.namespaces.get_mut(namespace) else {
            return;
        };
        let gone = names.remove(name).is_some();
        if names.is_empty() {
            self.namespaces.remove(namespace);
        }
        self.count -= usize::from(gone);
    }

    fn shrink(&mut self) {
        for names in self.namespaces.values_mut() {
            names.shrink_to_fit();
        }
    }
}

impl Resource for SlimPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        "Pod".into()
    }
    fn group((): &()) -> std::borrow::Cow<'_, str> {
        "".into()
    }
    fn version((): &()) -> std::borrow::Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        "pods".into()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{Server, event, list, until, watch};

    fn pod(namespace: &str, name: &str, version: u32, app: &str) -> String {
        format!(
            r#"{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{{"namespace":"{namespace}","name":"{name}","resourceVersion":"{version}","uid":"u","labels":{{"app":"{app}"}},"annotations":{{"a":"b"}},"managedFields":[{{"manager":"m","fieldsV1":{{"f:x":{{}}}}}}]}}}}"#
        )
    }

    fn app(index: &PodIndex, namespace: &str, name: &str) -> Option<String> {
        index.get(namespace, name).and_then(|labels| labels.get("app").cloned())
    }

    #[tokio::test]
    async fn running_pods_are_followed_by_metadata_alone() {
        let (events, first) = watch();
        let server = Server::start(vec![
            list("3", "", &[pod("x", "p", 1, "one"), pod("y", "p", 2, "one")]),
            first,
        ])
        .await;
        let cancel = CancellationToken::new();
        let (index, task) = follow(server.client.clone(), cancel.clone());
        until("first list", || index.synced()).await;
        assert_eq!(index.len(), 2);
        assert!(
            Arc::ptr_eq(&index.get("x", "p").unwrap(), &index.get("y", "p").unwrap()),
            "equal labels are shared"
        );

        events.send(event("MODIFIED", &pod("x", "p", 4, "two"))).unwrap();
        until("new label", || app(&index, "x", "p").as_deref() == Some("two")).await;
        assert_eq!(app(&index, "y", "p").as_deref(), Some("one"));
        events.send(event("DELETED", &pod("y", "p", 5, "one"))).unwrap();
        until("deleted", || index.get("y", "p").is_none()).await;
        assert_eq!(index.len(), 1);
        assert!(index.get("nowhere", "p").is_none());

        let asked = server.asked();
        assert!(asked[0].uri.starts_with("/api/v1/pods?"), "{}", asked[0].uri);
        for a in &asked {
            assert!(a.uri.contains("fieldSelector=status.phase%3DRunning"), "{}", a.uri);
            assert!(a.accept.contains("as=PartialObjectMetadata"), "{}", a.accept);
        }
        cancel.cancel();
        task.await.unwrap();
    }

    #[test]
    fn counting_survives_repeats_and_strangers() {
        let mut pods = Pods::default();
        let labels = Arc::new(Labels::new());
        for _ in 0..3 {
            pods.insert("a".into(), "p".into(), Arc::clone(&labels));
        }
        pods.insert("b".into(), "p".into(), labels);
        assert_eq!(pods.count, 2);
        for (namespace, name, left) in [("a", "q", 2), ("c", "p", 2), ("a", "p", 1), ("a", "p", 1), ("b", "p", 0)] {
            pods.remove(namespace, name);
            assert_eq!(pods.count, left, "{namespace}/{name}");
        }
        assert!(pods.namespaces.is_empty(), "an empty namespace keeps no place");
    }

    /// Prints what a pod costs; fails if it costs much more than it did.
    #[test]
    fn bytes_per_pod() {
        for (name, per_set, limit) in [("Deployments of 70", 70, 150), ("every pod its own labels", 1, 1500)] {
            const PODS: usize = 70_000;
            let before = crate::weight::held();
            let index = PodIndex::empty();
            let mut keeper = Keeper {
                index: Arc::clone(&index),
                shelf: Shelf::default(),
                next: Pods::default(),
            };
            keeper.begin();
            for n in 0..PODS {
                let set = n / per_set;
                let labels = (0..5)
                    .map(|k| (format!("app.kubernetes.io/key-{k}"), format!("value-{set}")))
                    .collect();
                keeper.list(SlimPod {
                    metadata: ObjectMeta {
                        namespace: Some(format!("namespace-{}", n % 100)),
                        name: Some(format!("deployment-{set}-5d4f8c7b9-{n:05}")),
                        labels: Some(labels),
                        ..ObjectMeta::default()
                    },
                });
            }
            keeper.commit();
            let each = usize::try_from(crate::weight::held() - before).unwrap() / PODS;
            println!("{name}: {each} bytes per pod");
            assert_eq!(index.len(), PODS);
            assert!(each < limit, "{name}: {each} bytes per pod");
        }
    }
}
