//! The image of a store is what the store holds, at every revision.

use std::time::SystemTime;

use super::*;
use crate::Next;
use crate::store::memory::Memory;

const PATIENCE: Duration = Duration::from_secs(5);

fn ship(name: &str, label: &str, spec: u32) -> Object {
    let json = format!(
        r#"{{"apiVersion":"g/v1","kind":"Ship","metadata":{{"name":"{name}","namespace":"sea","labels":{{"a":"{label}"}}}},"spec":{spec}}}"#
    );
    Object::read(json.as_bytes()).unwrap()
}

fn key(name: &str) -> Key {
    Key::new("sea", name)
}

fn served(store: &Memory) -> (Arc<Kept>, CancellationToken) {
    let kept = Arc::new(Kept::new(Arc::new(store.clone()), Prefix::of("g", "ships"), Keep::default()));
    let stop = CancellationToken::new();
    let (following, end) = (kept.clone(), stop.clone());
    tokio::spawn(async move { following.follow(end).await });
    (kept, stop)
}

fn names(snapshot: &Snapshot) -> Vec<String> {
    let fields = |e: &Entry| String::from_utf8_lossy(&e.row.fields).into_owned();
    let entries = snapshot.iter(SystemTime::now());
    entries.map(|e| format!("{} {}", e.row.key.name, fields(e))).collect()
}

#[tokio::test]
async fn reads_see_what_was_written_and_the_past() {
    let store = Memory::new(Keep::default());
    let (kept, _stop) = served(&store);
    assert!(matches!(kept.check(), Err(Why::Starting(None))));
    kept.filled().await;
    let a = kept.put(&key("a"), Expected::Absent, &ship("a", "x", 1)).await.unwrap();
    assert_eq!(kept.get(&key("a"), PATIENCE).await.unwrap().unwrap().revision, a.revision);
    assert_eq!(a.labels.as_ref().unwrap()["a"], "x");
    let b = kept.put(&key("b"), Expected::Absent, &ship("b", "x", 2)).await.unwrap();
    let refused = kept.put(&key("a"), Expected::Absent, &ship("a", "x", 1)).await.unwrap_err();
    assert!(matches!(refused, Why::Store(StoreError::Conflict { current: Some(_), .. })));
    let again = kept
        .put(&key("a"), Expected::At(a.revision), &ship("a", "y", 3))
        .await
        .unwrap();
    kept.remove(&key("b"), b.revision).await.unwrap();
    let now = kept.fresh(PATIENCE).await.unwrap();
    assert_eq!(names(&now), ["a \"spec\":3"]);
    let then = kept.table().page(b.revision).unwrap();
    assert_eq!(names(&then), ["a \"spec\":1", "b \"spec\":2"]);
    assert_eq!(
        names(&kept.table().page(again.revision).unwrap()),
        ["a \"spec\":3", "b \"spec\":2"]
    );
    assert!(kept.table().page(now.revision() + 1).is_none(), "yet to come");
}

#[tokio::test]
async fn watchers_of_before_a_restart_go_on() {
    let store = Memory::new(Keep::default());
    let (kept, stop) = served(&store);
    kept.filled().await;
    let a = kept.put(&key("a"), Expected::Absent, &ship("a", "x", 1)).await.unwrap();
    let b = kept.put(&key("b"), Expected::Absent, &ship("b", "x", 2)).await.unwrap();
    kept.remove(&key("a"), a.revision).await.unwrap();
    stop.cancel();
    let (kept, _stop) = served(&store);
    kept.filled().await;
    kept.fresh(PATIENCE).await.unwrap();
    let watching = kept.table().watch();
    let mut since = a.revision;
    let mut told = Vec::new();
    while let Next::Changes(batch) = watching.next(since).unwrap() {
        told.extend(
            batch
                .changes()
                .iter()
                .filter(|c| c.revision > since)
                .map(|c| (c.revision, c.after.is_some())),
        );
        since = batch.revision();
    }
    assert_eq!(told, [(b.revision, true), (b.revision + 1, false)]);
}

#[tokio::test]
async fn what_is_no_object_is_complained_of_until_it_is_gone() {
    let store = Memory::new(Keep::default());
    let (kept, _stop) = served(&store);
    kept.filled().await;
    let write = |expected, value: Option<&'static [u8]>| Write {
        key: kept.prefix().object(&key("a")),
        expected,
        value: value.map(Bytes::from_static),
    };
    let bad = store.write(write(Expected::Absent, Some(b"[]"))).await.unwrap();
    let why = kept.get(&key("a"), PATIENCE).await.unwrap_err();
    assert!(matches!(why, Why::Unreadable { .. }), "{why}");
    assert!(matches!(kept.fresh(PATIENCE).await, Err(Why::Unreadable { .. })));
    assert!(kept.get(&key("b"), PATIENCE).await.unwrap().is_none());
    store.write(write(Expected::At(bad), None)).await.unwrap();
    assert!(kept.get(&key("a"), PATIENCE).await.unwrap().is_none());
    assert!(kept.fresh(PATIENCE).await.is_ok());
}
