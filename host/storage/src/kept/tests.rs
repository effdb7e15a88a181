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
    // The image begins in the past, and nobody is shown that as if it were now.
    let now = store.revision(kept.prefix()).await.unwrap();
    assert_eq!(
        (kept.table().snapshot().revision(), names(&kept.table().snapshot())),
        (now, vec!["b \"spec\":2".to_owned()])
    );
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

/// A store that can be cut off, and tells of it as etcd would.
struct Cut {
    store: Memory,
    cut: tokio::sync::watch::Sender<bool>,
    /// Nothing is listed, though it can be watched.
    mute: Arc<AtomicBool>,
}

impl Cut {
    fn check(&self) -> Result<(), StoreError> {
        match *self.cut.borrow() {
            true => Err(StoreError::Unavailable("it is gone".into())),
            false => Ok(()),
        }
    }
}

#[async_trait::async_trait]
impl Store for Cut {
    async fn get(&self, key: &crate::store::ObjectKey) -> Result<Option<Stored>, StoreError> {
        self.check()?;
        self.store.get(key).await
    }

    async fn list(&self, of: &Prefix, page: &PageOf) -> Result<crate::store::Page, StoreError> {
        self.check()?;
        if self.mute.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("it lists nothing".into()));
        }
        self.store.list(of, page).await
    }

    async fn write(&self, write: Write) -> Result<u64, StoreError> {
        self.store.write(write).await
    }

    async fn watch(&self, of: &Prefix, after: u64) -> Result<crate::store::Changes, StoreError> {
        self.check()?;
        let mut cut = self.cut.subscribe();
        let ends = async move {
            let _ = cut.wait_for(|cut| *cut).await;
        };
        let broken = futures::stream::once(async { Err(StoreError::Unavailable("it is gone".into())) });
        Ok(self.store.watch(of, after).await?.take_until(ends).chain(broken).boxed())
    }

    async fn revision(&self, of: &Prefix) -> Result<u64, StoreError> {
        self.check()?;
        self.store.revision(of).await
    }

    fn is_local(&self) -> bool {
        false
    }

    fn oldest(&self) -> Option<u64> {
        None
    }

    async fn compact(&self, revision: u64) -> Result<(), StoreError> {
        self.store.compact(revision).await
    }

    async fn prefixes(&self) -> Result<Vec<Prefix>, StoreError> {
        self.check()?;
        self.store.prefixes().await
    }
}

/// All that a watcher from this revision is told: revision, name, and what is there since.
fn told(kept: &Kept, from: u64) -> Vec<(u64, String, Option<String>)> {
    let watching = kept.table().watch();
    let (mut since, mut told) = (from, Vec::new());
    while let Next::Changes(batch) = watching.next(since).unwrap() {
        for change in batch.changes().iter().filter(|change| change.revision > since) {
            let (Some(entry), after) = (change.after.as_ref().or(before(change)), &change.after) else {
                panic!("a change of nothing");
            };
            let text = |e: &Arc<Entry>| String::from_utf8_lossy(&e.row.fields).into_owned();
            told.push((change.revision, entry.row.key.name.to_string(), after.as_ref().map(text)));
        }
        since = batch.revision();
    }
    told
}

fn before(change: &crate::Change) -> Option<&Arc<Entry>> {
    match &change.before {
        crate::Before::Was(entry) | crate::Before::Relabelled(entry) => Some(entry),
        crate::Before::Absent => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_goes_away_and_comes_back() {
    let store = Memory::new(Keep::default());
    let cut = tokio::sync::watch::Sender::new(true);
    let behind = Cut {
        store: store.clone(),
        cut: cut.clone(),
        mute: Arc::default(),
    };
    let kept = Arc::new(Kept::new(Arc::new(behind), Prefix::of("g", "ships"), Keep::default()));
    let (following, stop) = (kept.clone(), CancellationToken::new());
    let _stop = stop.clone().drop_guard();
    tokio::spawn(async move { following.follow(stop).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let starting = kept.check().unwrap_err().to_string();
    assert_eq!(
        starting,
        "storage is (re)initializing: the store cannot be reached: it is gone"
    );
    cut.send_replace(false);
    kept.filled().await;
    let a = kept.put(&key("a"), Expected::Absent, &ship("a", "x", 1)).await.unwrap();
    kept.fresh(PATIENCE).await.unwrap();
    let watching = kept.table().watch();
    cut.send_replace(true);
    tokio::task::yield_now().await;
    // What others write meanwhile.
    let write = |name: &str, expected, value: Option<Object>| Write {
        key: kept.prefix().object(&key(name)),
        expected,
        value: value.map(|object| outrigger_api::kept::write(&object).into()),
    };
    let b = store
        .write(write("b", Expected::Absent, Some(ship("b", "x", 2))))
        .await
        .unwrap();
    assert!(matches!(
        kept.fresh(PATIENCE).await,
        Err(Why::Store(StoreError::Unavailable(_)))
    ));
    assert!(kept.check().is_ok(), "what is at hand can be read");
    cut.send_replace(false);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(names(&kept.fresh(PATIENCE).await.unwrap()), ["a \"spec\":1", "b \"spec\":2"]);
    // And again, until the store has forgotten where we were.
    cut.send_replace(true);
    tokio::task::yield_now().await;
    store.write(write("a", Expected::At(a.revision), None)).await.unwrap();
    let c = store
        .write(write("c", Expected::Absent, Some(ship("c", "x", 3))))
        .await
        .unwrap();
    store.compact(c).await.unwrap();
    cut.send_replace(false);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(names(&kept.fresh(PATIENCE).await.unwrap()), ["b \"spec\":2", "c \"spec\":3"]);
    let Next::Changes(batch) = watching.next(b).unwrap() else {
        panic!("the watch goes on");
    };
    let changes: Vec<_> = batch.changes().iter().map(|c| c.after.is_some()).collect();
    assert_eq!(changes.len(), 2, "one came, one went");
    assert!(watching.next(a.revision).is_err(), "who stood before that begins again");
}

/// A list without it would be a lie, also while everything is listed again.
#[tokio::test(start_paused = true)]
async fn what_is_no_object_is_complained_of_while_it_is_looked_for() {
    let store = Memory::new(Keep::default());
    let (cut, mute) = (tokio::sync::watch::Sender::new(false), Arc::new(AtomicBool::new(false)));
    let behind = Cut {
        store: store.clone(),
        cut: cut.clone(),
        mute: Arc::clone(&mute),
    };
    let kept = Arc::new(Kept::new(Arc::new(behind), Prefix::of("g", "ships"), Keep::default()));
    let (following, stop) = (kept.clone(), CancellationToken::new());
    let _stop = stop.clone().drop_guard();
    let write = |name: &str, value: &'static [u8]| Write {
        key: kept.prefix().object(&key(name)),
        expected: Expected::Absent,
        value: Some(Bytes::from_static(value)),
    };
    store.write(write("a", b"[]")).await.unwrap();
    tokio::spawn(async move { following.follow(stop).await });
    kept.filled().await;
    let is_complained_of = || matches!(kept.check(), Err(Why::Unreadable { .. }));
    assert!(is_complained_of());
    // The place where we were is forgotten, and nothing can be listed for a while.
    cut.send_replace(true);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let last = store.write(write("b", b"{}")).await.unwrap();
    store.compact(last).await.unwrap();
    mute.store(true, Ordering::Relaxed);
    cut.send_replace(false);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(is_complained_of());
    mute.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(is_complained_of());
    let why = kept.get(&key("b"), PATIENCE).await.unwrap_err();
    assert!(matches!(why, Why::Unreadable { .. }), "{why}");
}

#[tokio::test]
async fn what_is_encoded_is_held_for_those_who_keep_up() {
    let store = Memory::new(Keep::default());
    let (kept, _stop) = served(&store);
    kept.filled().await;
    let how = crate::Representation {
        media: outrigger_api::media::Media {
            encoding: outrigger_api::media::Encoding::Json { pretty: false },
            form: outrigger_api::media::Form::Object,
        },
        include: Default::default(),
        version: "g/v1".into(),
    };
    let mut made = 0;
    let mut first = None;
    for n in 0..70 {
        let name = format!("s{n}");
        let entry = kept.put(&key(&name), Expected::Absent, &ship(&name, "x", n)).await.unwrap();
        kept.fresh(PATIENCE).await.unwrap();
        let Next::Changes(batch) = kept.table().watch().next(entry.revision - 1).unwrap() else {
            panic!("it has changed");
        };
        let first = first.get_or_insert(batch);
        first.encoded(&how, |_| {
            made += 1;
            crate::Encoded::default()
        });
    }
    assert_eq!(
        made,
        70 - crate::history::RECENT + 1,
        "once while it is recent, then for everybody who is late"
    );
}

/// One random write: which of a few names, and whether it goes.
type Step = (u8, bool, u8);

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// A watcher from every revision comes to what the list says, and the past is what a replay makes of it.
    #[test]
    fn every_watcher_comes_to_the_same(steps in proptest::collection::vec(proptest::prelude::any::<Step>(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let store = Memory::new(Keep::default());
            let (kept, _stop) = served(&store);
            kept.filled().await;
            let begin = kept.fresh(PATIENCE).await.unwrap().revision();
            let mut now: BTreeMap<String, (u64, String)> = BTreeMap::new();
            let mut states = vec![(begin, now.clone())];
            for (name, goes, pause) in steps {
                let name = format!("s{}", name % 6);
                let known = now.get(&name).map(|(at, _)| *at);
                let revision = match (known, goes) {
                    (Some(at), true) => {
                        now.remove(&name);
                        kept.remove(&key(&name), at).await.unwrap()
                    }
                    (known, _) => {
                        let expected = known.map_or(Expected::Absent, Expected::At);
                        let label = if pause % 2 == 0 { "even" } else { "odd" };
                        let made = kept.put(&key(&name), expected, &ship(&name, label, pause.into())).await.unwrap();
                        now.insert(name, (made.revision, format!("\"spec\":{pause}")));
                        made.revision
                    }
                };
                states.push((revision, now.clone()));
                if pause % 3 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            let last = kept.fresh(PATIENCE).await.unwrap();
            let all = told(&kept, begin);
            assert_eq!(all.iter().map(|(at, ..)| *at).collect::<Vec<_>>(), states[1..].iter().map(|(at, _)| *at).collect::<Vec<_>>());
            for (at, state) in &states {
                let page = kept.table().page(*at).unwrap();
                let listed: BTreeMap<String, (u64, String)> = page
                    .iter(SystemTime::now())
                    .map(|e| (e.row.key.name.to_string(), (e.revision, String::from_utf8_lossy(&e.row.fields).into_owned())))
                    .collect();
                assert_eq!(&listed, state, "the past at {at}");
                let mut replayed = state.clone();
                let rest = told(&kept, *at);
                assert_eq!(rest, all.iter().filter(|(r, ..)| r > at).cloned().collect::<Vec<_>>(), "from {at}");
                for (revision, name, after) in rest {
                    match after {
                        Some(fields) => drop(replayed.insert(name, (revision, fields))),
                        None => drop(replayed.remove(&name)),
                    }
                }
                assert_eq!(replayed, now, "from {at}");
            }
            assert_eq!(last.len(), now.len());
        });
    }
}
