//! Writers that know what they were told, and watches that are held against it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use outrigger_storage::Key;
use outrigger_storage::store::etcd::{Etcd as Store, EtcdOptions, EtcdTimeouts};
use outrigger_storage::store::{
    Changed, Changes, Expected, Keep, ObjectKey, PageOf, Prefix, Store as _, StoreError, Stored, Told, Write,
};
use tokio::task::JoinHandle;

/// For whatever a test waits for.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// Options for these servers that do not compact.
pub(crate) fn options(servers: &[String]) -> EtcdOptions {
    EtcdOptions {
        servers: servers.to_vec(),
        keep: Keep {
            time: Duration::ZERO,
            ..Keep::default()
        },
        ..EtcdOptions::default()
    }
}

/// A patience that a test has.
pub(crate) fn hurried() -> EtcdTimeouts {
    EtcdTimeouts {
        connect: Duration::from_millis(700),
        call: Duration::from_millis(1500),
        ..EtcdTimeouts::default()
    }
}

pub(crate) async fn open(options: EtcdOptions) -> Arc<Store> {
    Arc::new(Store::open(options).await.unwrap())
}

pub(crate) fn ships() -> Prefix {
    Prefix::of("sea.example.com", "ships")
}

pub(crate) fn ship(name: &str) -> ObjectKey {
    ships().object(&Key::new("sea", name))
}

pub(crate) async fn put(store: &Store, key: &ObjectKey, expected: Expected, value: &str) -> Result<u64, StoreError> {
    let write = Write {
        key: key.clone(),
        expected,
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    };
    store.write(write).await
}

/// Creates what nobody else writes, through whatever is in the way. How often it was not known whether that was done.
pub(crate) async fn create_surely(store: &Store, key: &ObjectKey) -> (u64, usize) {
    let mut unknown = 0;
    loop {
        match put(store, key, Expected::Absent, "1").await {
            Ok(revision) => return (revision, unknown),
            Err(StoreError::Conflict { current, .. }) if unknown > 0 => return (current.unwrap().revision, unknown),
            Err(StoreError::Unknown(_)) => unknown += 1,
            Err(StoreError::Unavailable(why)) => println!("{why}"),
            Err(other) => panic!("{other}"),
        }
    }
}

pub(crate) async fn list(store: &Store) -> Vec<Stored> {
    store.list(&ships(), &PageOf::default()).await.unwrap().items
}

/// What a watch tells next that is no progress.
pub(crate) async fn changes(watch: &mut Changes) -> Result<Vec<Changed>, StoreError> {
    loop {
        let told = tokio::time::timeout(DEADLINE, watch.next()).await;
        match told.expect("something within the deadline").expect("a watch that goes on")? {
            Told::Changes(changes) => return Ok(changes),
            Told::Progress(_) => {}
        }
    }
}

/// All that a watch tells up to a revision, in one line of revisions and of values.
pub(crate) async fn told(watch: &mut Changes, from: u64, until: u64) -> Result<Vec<Changed>, StoreError> {
    let mut all: Vec<Changed> = Vec::new();
    let mut state: BTreeMap<ObjectKey, Stored> = BTreeMap::new();
    let mut last = from;
    while last < until {
        let told = tokio::time::timeout(DEADLINE, watch.next()).await;
        match told.expect("something within the deadline").expect("a watch that goes on")? {
            Told::Progress(at) => {
                assert!(at > last, "progress grows");
                last = at;
            }
            Told::Changes(some) => {
                for change in some {
                    assert!(change.revision > last, "{} after {last}", change.revision);
                    last = change.revision;
                    assert_eq!(change.before.as_ref(), state.get(&change.key), "before {last}");
                    match &change.after {
                        Some(after) => state.insert(change.key.clone(), after.clone()),
                        None => state.remove(&change.key),
                    };
                    all.push(change);
                }
            }
        }
    }
    Ok(all)
}

/// Writes until it is told to stop.
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Written>,
}

/// What a writer was told.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Revisions and values of what was acknowledged; none for a removal.
    pub(crate) done: BTreeMap<u64, Option<String>>,
    /// How often nobody knew.
    pub(crate) unknown: usize,
    /// How often it was refused.
    pub(crate) refused: usize,
}

impl Writer {
    /// One object, written, changed and removed in turn.
    pub(crate) fn start(store: Arc<Store>, name: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let key = ship(&name);
            let mut written = Written::default();
            let mut known: Option<u64> = None;
            let mut n = 0_u64;
            while !stopped.load(Ordering::Acquire) {
                n += 1;
                let value = (!n.is_multiple_of(5) || known.is_none()).then(|| format!("{name}-{n}"));
                let write = Write {
                    key: key.clone(),
                    expected: known.map_or(Expected::Absent, Expected::At),
                    value: value.clone().map(Bytes::from),
                };
                match store.write(write).await {
                    Ok(revision) => {
                        known = value.is_some().then_some(revision);
                        assert!(written.done.insert(revision, value).is_none(), "a revision twice");
                    }
                    // Only after an unknown one: nobody else writes it.
                    Err(StoreError::Conflict { current, .. }) => {
                        assert!(written.unknown > 0, "a conflict with nobody");
                        known = current.map(|c| c.revision);
                    }
                    Err(StoreError::Unknown(_)) => written.unknown += 1,
                    Err(StoreError::Unavailable(_)) => written.refused += 1,
                    Err(other) => panic!("{other}"),
                }
            }
            written
        });
        Self { stop, task }
    }

    pub(crate) async fn stop(self) -> Written {
        self.stop.store(true, Ordering::Release);
        tokio::time::timeout(DEADLINE, self.task)
            .await
            .expect("a writer that ends")
            .unwrap()
    }
}

/// Writes of the test itself, beside its writers.
pub(crate) fn asides(most: usize) -> Written {
    Written {
        unknown: most,
        ..Written::default()
    }
}

/// Holds a watch from `from` on against what writers were told, and a list: nothing acknowledged is missing, nothing comes twice.
/// How many changes there were, and what the writers were not told.
pub(crate) async fn complete(store: &Store, watch: &mut Changes, from: u64, written: &[Written]) -> (usize, usize, usize) {
    let until = store.revision(&ships()).await.unwrap();
    let all = told(watch, from, until).await.unwrap();
    let mut state = BTreeMap::new();
    let seen: BTreeMap<u64, Option<String>> = all
        .iter()
        .map(|change| {
            let value = change.after.as_ref().map(|a| String::from_utf8(a.value.to_vec()).unwrap());
            (change.revision, value)
        })
        .collect();
    for (revision, value) in written.iter().flat_map(|w| &w.done) {
        assert_eq!(seen.get(revision), Some(value), "acknowledged at {revision}");
    }
    for change in &all {
        match &change.after {
            Some(after) => state.insert(change.key.clone(), after.clone()),
            None => state.remove(&change.key),
        };
    }
    assert_eq!(list(store).await, state.into_values().collect::<Vec<_>>());
    let unknown = written.iter().map(|w| w.unknown).sum();
    let done: usize = written.iter().map(|w| w.done.len()).sum();
    assert!(all.len() <= done + unknown, "more changes than were asked for");
    assert!(!all.is_empty());
    (all.len(), unknown, written.iter().map(|w| w.refused).sum())
}
