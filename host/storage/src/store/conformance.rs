//! What every store promises, as a list of behaviours: the one judge of `memory`, `embedded` and `etcd`.
//!
//! Upstream's list (`k8s.io/apiserver/pkg/storage/testing`, `RunTest*`) is the source: create and conflict, get, conditional update and delete,
//! list, pages at one revision, inconsistent continuation, compaction, watch from a revision, events of deletions, namespaces apart. What
//! speaks of objects there (selectors, TTLs, transformers, bookmarks to clients) belongs to the watch cache and the verbs. Added is what a
//! store of ours must stand beside that: many writers on one key, one order for all watches, every kept moment equal to a replay.
//!
//! A behaviour works under a group that no other has, so many of them can share one server. One that forgets the past disturbs all
//! who share it ([`Behaviour::alone`]).
//!
//! [`store_conforms!`](crate::store_conforms) makes a test of each; a store behind a shared server walks [`BEHAVIOURS`] itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "it is a suite of tests, which stores in other crates use as well"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::{BoxFuture, join_all};

use super::{Changed, Changes, Expected, ObjectKey, Page, PageOf, Prefix, Store, StoreError, Stored, Told, Write};
use crate::Key;

/// One thing that a store promises.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    /// What it is called.
    pub name: &'static str,
    /// Whether it forgets the past, so that nobody else may use the store meanwhile.
    pub alone: bool,
    /// Fails by a panic.
    pub run: fn(Subject) -> BoxFuture<'static, ()>,
}

/// A store under test, and a group of keys that only this behaviour uses.
#[derive(Clone)]
pub struct Subject {
    store: Arc<dyn Store>,
    group: String,
}

/// Makes one test of each behaviour: `store_conforms!(name, future of (Arc<dyn Store>, guard))`. The guard lives as long as the test.
#[macro_export]
macro_rules! store_conforms {
    ($store:ident, $open:expr) => {
        $crate::store_conforms!(@each $store, $open,
            a_new_object_is_there_with_its_revision what_exists_is_not_created_again nothing_is_read_where_nothing_is
            a_write_expects_a_version a_removal_expects_a_version what_was_removed_comes_back_with_a_greater_revision
            removing_nothing_changes_nothing the_same_bytes_are_a_write_too bytes_are_kept_as_they_are names_are_kept_as_they_are
            too_large_a_value_is_refused lists_are_sorted_and_apart an_empty_list_has_a_moment pages_are_parts_of_the_list
            pages_begin_behind_any_key pages_stay_at_their_revision every_kept_moment_equals_a_replay the_future_cannot_be_listed
            a_watch_tells_each_change_once a_watch_begins_at_any_revision a_watch_sees_its_resource_alone a_watch_of_the_future_is_silent
            a_removal_is_told_with_its_own_revision a_long_past_is_told_completely dropped_watches_do_no_harm an_open_watch_comes_to_the_revision revisions_cover_what_was_acknowledged
            no_update_is_lost one_creator_wins all_watches_see_one_order lists_under_writes_are_moments what_is_written_is_read
            an_abandoned_write_happens_wholly_or_not resources_with_objects_are_known compaction_forgets_the_past
            compaction_leaves_open_watches_alone compaction_of_the_future_is_refused a_slow_watch_misses_nothing_unsaid
        );
    };
    (@each $store:ident, $open:expr, $($name:ident)*) => {
        mod $store {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let (store, _guard) = $open.await;
                    $crate::store::conformance::run(stringify!($name), store).await;
                }
            )*

            /// The tests above are all that there are.
            #[test]
            fn every_behaviour_is_tested() {
                let tested = [$(stringify!($name)),*];
                let all: Vec<_> = $crate::store::conformance::BEHAVIOURS.iter().map(|b| b.name).collect();
                assert_eq!(all, tested);
            }
        }
    };
}

macro_rules! behaviours {
    ($($name:ident $(($alone:ident))?),* $(,)?) => {
        /// All of them.
        pub const BEHAVIOURS: &[Behaviour] = &[$(Behaviour {
            name: stringify!($name),
            alone: behaviours!(@alone $($alone)?),
            run: |subject| Box::pin($name(subject)),
        }),*];
    };
    (@alone) => { false };
    (@alone alone) => { true };
}

behaviours!(
    a_new_object_is_there_with_its_revision,
    what_exists_is_not_created_again,
    nothing_is_read_where_nothing_is,
    a_write_expects_a_version,
    a_removal_expects_a_version,
    what_was_removed_comes_back_with_a_greater_revision,
    removing_nothing_changes_nothing,
    the_same_bytes_are_a_write_too,
    bytes_are_kept_as_they_are,
    names_are_kept_as_they_are,
    too_large_a_value_is_refused,
    lists_are_sorted_and_apart,
    an_empty_list_has_a_moment,
    pages_are_parts_of_the_list,
    pages_begin_behind_any_key,
    pages_stay_at_their_revision,
    every_kept_moment_equals_a_replay,
    the_future_cannot_be_listed,
    a_watch_tells_each_change_once,
    a_watch_begins_at_any_revision,
    a_watch_sees_its_resource_alone,
    a_watch_of_the_future_is_silent,
    a_removal_is_told_with_its_own_revision,
    a_long_past_is_told_completely,
    dropped_watches_do_no_harm,
    an_open_watch_comes_to_the_revision,
    revisions_cover_what_was_acknowledged,
    no_update_is_lost,
    one_creator_wins,
    all_watches_see_one_order,
    lists_under_writes_are_moments,
    what_is_written_is_read,
    an_abandoned_write_happens_wholly_or_not,
    resources_with_objects_are_known,
    compaction_forgets_the_past(alone),
    compaction_leaves_open_watches_alone(alone),
    compaction_of_the_future_is_refused(alone),
    a_slow_watch_misses_nothing_unsaid(alone),
);

/// Runs one behaviour by its name.
///
/// # Panics
/// The store does not behave so, or there is no such behaviour.
pub async fn run(name: &str, store: Arc<dyn Store>) {
    let behaviour = BEHAVIOURS.iter().find(|b| b.name == name).expect("a behaviour of this name");
    (behaviour.run)(Subject::new(store)).await;
}

/// How long a store may take to tell something. Longer than any should ever need: a failure is a hang, not slowness.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long nothing must come where nothing may.
const SILENCE: Duration = Duration::from_millis(150);

// === impl Subject ===

impl Subject {
    /// A store, and keys of its own in it.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let group = format!(
            "g{}-{}-{at}.conformance.test",
            NEXT.fetch_add(1, Ordering::Relaxed),
            std::process::id()
        );
        Self { store, group }
    }

    fn of(&self, plural: &str) -> Prefix {
        Prefix::of(&self.group, plural)
    }

    fn ship(&self, name: &str) -> ObjectKey {
        self.of("ships").object(&Key::new("sea", name))
    }

    async fn put(&self, key: &ObjectKey, expected: Expected, value: &str) -> Result<u64, StoreError> {
        let value = Some(Bytes::copy_from_slice(value.as_bytes()));
        let key = key.clone();
        self.store.write(Write { key, expected, value }).await
    }

    async fn remove(&self, key: &ObjectKey, revision: u64) -> Result<u64, StoreError> {
        let key = key.clone();
        let expected = Expected::At(revision);
        self.store
            .write(Write {
                key,
                expected,
                value: None,
            })
            .await
    }

    async fn list(&self, of: &Prefix, limit: usize, at: Option<u64>) -> Result<Page, StoreError> {
        self.store.list(of, &PageOf { behind: None, limit, at }).await
    }

    /// Some changes of one resource: three objects created, changed, removed, made again. The revisions of all of them.
    async fn history(&self, plural: &str) -> Vec<u64> {
        let mut revisions = Vec::new();
        let of = self.of(plural);
        for round in 0..4 {
            for name in ["a", "b", "c"] {
                let key = of.object(&Key::new("sea", name));
                let there = self.store.get(&key).await.unwrap();
                let write = match there {
                    None => self.put(&key, Expected::Absent, &format!("{name}{round}")).await,
                    Some(old) if round == 2 && name != "c" => self.remove(&key, old.revision).await,
                    Some(old) => self.put(&key, Expected::At(old.revision), &format!("{name}{round}")).await,
                };
                revisions.push(write.unwrap());
            }
        }
        revisions
    }
}

/// What a watch tells up to a revision.
async fn told(changes: &mut Changes, until: u64) -> Vec<Changed> {
    let mut all: Vec<Changed> = Vec::new();
    loop {
        if all.last().is_some_and(|last| last.revision >= until) {
            return all;
        }
        match next(changes).await.expect("a watch that goes on").expect("no error") {
            Told::Changes(some) => {
                assert!(!some.is_empty(), "changes are never empty");
                all.extend(some);
            }
            Told::Progress(to) if to >= until => return all,
            Told::Progress(_) => {}
        }
    }
}

async fn next(changes: &mut Changes) -> Option<Result<Told, StoreError>> {
    tokio::time::timeout(DEADLINE, changes.next())
        .await
        .expect("something within the deadline")
}

/// That a watch tells no change for a while.
async fn silent(changes: &mut Changes) {
    let until = tokio::time::Instant::now() + SILENCE;
    while let Ok(told) = tokio::time::timeout_at(until, changes.next()).await {
        match told.expect("a watch that goes on").expect("no error") {
            Told::Progress(_) => {}
            Told::Changes(changes) => panic!("told of {changes:?}"),
        }
    }
}

/// Applies changes to a map and checks that each begins where the last of its key has ended, in the order of revisions.
fn replay(state: &mut BTreeMap<ObjectKey, Stored>, changes: &[Changed], mut last: u64) {
    for change in changes {
        assert!(change.revision > last, "{} follows {last}", change.revision);
        last = change.revision;
        assert_eq!(change.before.as_ref(), state.get(&change.key), "what was there before {last}");
        match &change.after {
            Some(after) => {
                assert_eq!((&after.key, after.revision), (&change.key, change.revision));
                state.insert(change.key.clone(), after.clone());
            }
            None => {
                assert!(change.before.is_some(), "what is removed was there");
                state.remove(&change.key);
            }
        }
    }
}

fn conflict(result: Result<u64, StoreError>) -> Option<Stored> {
    match result {
        Err(StoreError::Conflict { current, .. }) => current,
        other => panic!("{other:?} is no conflict"),
    }
}

fn text(stored: &Stored) -> &str {
    std::str::from_utf8(&stored.value).unwrap()
}

// --- writes and reads ---

async fn a_new_object_is_there_with_its_revision(s: Subject) {
    let key = s.ship("vega");
    let before = s.store.revision(&s.of("ships")).await.unwrap();
    let revision = s.put(&key, Expected::Absent, "1").await.unwrap();
    assert!(revision > before && revision > 0);
    let stored = s.store.get(&key).await.unwrap().unwrap();
    assert_eq!((stored.key, &stored.value[..], stored.revision), (key, &b"1"[..], revision));
}

async fn what_exists_is_not_created_again(s: Subject) {
    let key = s.ship("vega");
    let revision = s.put(&key, Expected::Absent, "1").await.unwrap();
    let current = conflict(s.put(&key, Expected::Absent, "2").await).unwrap();
    assert_eq!((text(&current), current.revision, &current.key), ("1", revision, &key));
    assert_eq!(s.store.get(&key).await.unwrap(), Some(current), "nothing has changed");
}

async fn nothing_is_read_where_nothing_is(s: Subject) {
    s.put(&s.ship("vega"), Expected::Absent, "1").await.unwrap();
    for name in ["veg", "vegas", "Vega"] {
        assert_eq!(s.store.get(&s.ship(name)).await.unwrap(), None, "{name}");
    }
}

async fn a_write_expects_a_version(s: Subject) {
    let key = s.ship("vega");
    assert_eq!(conflict(s.put(&key, Expected::At(1), "0").await), None, "nothing is there");
    let first = s.put(&key, Expected::Absent, "1").await.unwrap();
    let second = s.put(&key, Expected::At(first), "2").await.unwrap();
    assert!(second > first);
    for wrong in [first, first - 1, second + 1, 0] {
        let current = conflict(s.put(&key, Expected::At(wrong), "3").await).unwrap();
        assert_eq!((text(&current), current.revision), ("2", second), "expected {wrong}");
    }
    let stored = s.store.get(&key).await.unwrap().unwrap();
    assert_eq!((text(&stored), stored.revision), ("2", second));
}

async fn a_removal_expects_a_version(s: Subject) {
    let key = s.ship("vega");
    assert_eq!(conflict(s.remove(&key, 1).await), None, "nothing is there");
    let first = s.put(&key, Expected::Absent, "1").await.unwrap();
    let second = s.put(&key, Expected::At(first), "2").await.unwrap();
    let current = conflict(s.remove(&key, first).await).unwrap();
    assert_eq!((text(&current), current.revision), ("2", second));
    assert!(s.store.get(&key).await.unwrap().is_some());
    let gone = s.remove(&key, second).await.unwrap();
    assert!(gone > second, "a removal has a revision of its own");
    assert_eq!(s.store.get(&key).await.unwrap(), None);
    assert_eq!(conflict(s.remove(&key, second).await), None, "it is gone already");
}

async fn what_was_removed_comes_back_with_a_greater_revision(s: Subject) {
    let key = s.ship("vega");
    let first = s.put(&key, Expected::Absent, "1").await.unwrap();
    let gone = s.remove(&key, first).await.unwrap();
    assert_eq!(
        conflict(s.put(&key, Expected::At(first), "2").await),
        None,
        "of the one that was"
    );
    let again = s.put(&key, Expected::Absent, "1").await.unwrap();
    assert!(again > gone);
}

async fn removing_nothing_changes_nothing(s: Subject) {
    let of = s.of("ships");
    let from = s.put(&s.ship("other"), Expected::Absent, "1").await.unwrap();
    let mut changes = s.store.watch(&of, from).await.unwrap();
    let write = Write {
        key: s.ship("vega"),
        expected: Expected::Absent,
        value: None,
    };
    s.store.write(write).await.unwrap();
    silent(&mut changes).await;
    assert_eq!(s.store.get(&s.ship("vega")).await.unwrap(), None);
}

/// Whether an identical object is written again is for the verbs to say, who know what is identical.
async fn the_same_bytes_are_a_write_too(s: Subject) {
    let key = s.ship("vega");
    let first = s.put(&key, Expected::Absent, "1").await.unwrap();
    let second = s.put(&key, Expected::At(first), "1").await.unwrap();
    assert!(second > first);
}

async fn bytes_are_kept_as_they_are(s: Subject) {
    let all: Vec<u8> = (0..=255).collect();
    for (name, value) in [
        ("empty", Vec::new()),
        ("zeros", vec![0; 4096]),
        ("all", all.clone()),
        ("text", "Ærøskøbing\n".into()),
        ("large", all.repeat(4096)),
    ] {
        let key = s.ship(name);
        let value = Some(Bytes::from(value));
        let write = Write {
            key: key.clone(),
            expected: Expected::Absent,
            value: value.clone(),
        };
        s.store.write(write).await.unwrap();
        let stored = s.store.get(&key).await.unwrap().map(|stored| stored.value);
        assert!(stored == value, "{name}");
    }
    let page = s.list(&s.of("ships"), 0, None).await.unwrap();
    let sizes: Vec<_> = page.items.iter().map(|i| i.value.len()).collect();
    assert_eq!(sizes, [256, 0, 1 << 20, "Ærøskøbing\n".len(), 4096]);
}

/// Names as upstream's path segments allow them, groups and namespaces that are empty.
async fn names_are_kept_as_they_are(s: Subject) {
    let long = "n".repeat(253);
    let mut keys = BTreeSet::new();
    for (namespace, name) in [
        ("", "cluster"),
        ("n", "a.b"),
        ("n", "system:node:x"),
        ("n", "ø"),
        ("n", "a b%2f"),
        ("n.", "x"),
        ("n-1", "x"),
        ("n", long.as_str()),
    ] {
        let key = s.of("things").object(&Key::new(namespace, name));
        s.put(&key, Expected::Absent, key.as_str()).await.unwrap();
        keys.insert(key);
    }
    let page = s.list(&s.of("things"), 0, None).await.unwrap();
    assert!(
        page.items.iter().map(|i| &i.key).eq(&keys),
        "by their bytes: {:?}",
        page.items
    );
    assert!(page.items.iter().all(|i| text(i) == i.key.as_str()));
}

async fn too_large_a_value_is_refused(s: Subject) {
    let key = s.ship("tanker");
    let write = Write {
        key: key.clone(),
        expected: Expected::Absent,
        value: Some(Bytes::from(vec![b'x'; 16 << 20])),
    };
    let error = s.store.write(write).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    assert_eq!(s.store.get(&key).await.unwrap(), None);
    s.put(&key, Expected::Absent, "small").await.unwrap();
}

// --- lists ---

async fn lists_are_sorted_and_apart(s: Subject) {
    let mut want = Vec::new();
    for (plural, namespace, name) in [
        ("ships", "sea", "b"),
        ("shipsandmore", "sea", "x"),
        ("ship", "sea", "x"),
        ("ships", "sea", "a"),
        ("ships", "sea-2", "a"),
        ("ships", "lake", "z"),
        ("ships", "se", "a"),
    ] {
        let key = s.of(plural).object(&Key::new(namespace, name));
        let revision = s.put(&key, Expected::Absent, name).await.unwrap();
        if plural == "ships" {
            want.push((key, revision));
        }
    }
    want.sort();
    let page = s.list(&s.of("ships"), 0, None).await.unwrap();
    let found: Vec<_> = page.items.iter().map(|i| (i.key.clone(), i.revision)).collect();
    assert_eq!(found, want);
    assert!(!page.more);
    assert!(page.revision >= want.iter().map(|(_, r)| *r).max().unwrap());
}

async fn an_empty_list_has_a_moment(s: Subject) {
    let page = s.list(&s.of("none"), 0, None).await.unwrap();
    assert!(page.items.is_empty() && !page.more && page.revision > 0);
    // Who watches from there misses nothing.
    let key = s.of("none").object(&Key::new("", "a"));
    let mut changes = s.store.watch(&s.of("none"), page.revision).await.unwrap();
    let revision = s.put(&key, Expected::Absent, "1").await.unwrap();
    assert!(revision > page.revision);
    let told = told(&mut changes, revision).await;
    assert_eq!(told.iter().map(|c| c.revision).collect::<Vec<_>>(), [revision]);
}

async fn pages_are_parts_of_the_list(s: Subject) {
    for n in 0..7 {
        s.put(&s.ship(&format!("s{n}")), Expected::Absent, "1").await.unwrap();
    }
    let whole = s.list(&s.of("ships"), 0, None).await.unwrap();
    assert_eq!(whole.items.len(), 7);
    for limit in 1..=8 {
        let mut of = PageOf {
            limit,
            ..PageOf::default()
        };
        let mut items = Vec::new();
        loop {
            let page = s.store.list(&s.of("ships"), &of).await.unwrap();
            assert!(page.items.len() <= limit);
            assert_eq!(page.more, items.len() + page.items.len() < 7, "limit {limit}");
            items.extend(page.items);
            if !page.more {
                break;
            }
            of.behind = items.last().map(|i: &Stored| i.key.clone());
            of.at = Some(page.revision);
        }
        assert_eq!(items, whole.items, "limit {limit}");
    }
}

/// The key that a page ends with may be gone when the next is asked for.
async fn pages_begin_behind_any_key(s: Subject) {
    for name in ["b", "d"] {
        s.put(&s.ship(name), Expected::Absent, "1").await.unwrap();
    }
    for (behind, want) in [("a", "bd"), ("b", "d"), ("c", "d"), ("d", ""), ("e", "")] {
        let of = PageOf {
            behind: Some(s.ship(behind)),
            ..PageOf::default()
        };
        let page = s.store.list(&s.of("ships"), &of).await.unwrap();
        let names: String = page
            .items
            .iter()
            .map(|i| i.key.as_str().rsplit('/').next().unwrap())
            .collect();
        assert_eq!(names, want, "behind {behind}");
    }
}

async fn pages_stay_at_their_revision(s: Subject) {
    for n in 0..6 {
        s.put(&s.ship(&format!("s{n}")), Expected::Absent, "old").await.unwrap();
    }
    let first = s.list(&s.of("ships"), 2, None).await.unwrap();
    assert!(first.more);
    for stored in s.list(&s.of("ships"), 0, None).await.unwrap().items {
        if stored.key.as_str().ends_with("s3") {
            s.remove(&stored.key, stored.revision).await.unwrap();
        } else {
            s.put(&stored.key, Expected::At(stored.revision), "new").await.unwrap();
        }
    }
    s.put(&s.ship("s2a"), Expected::Absent, "new").await.unwrap();
    let rest = PageOf {
        behind: first.items.last().map(|i| i.key.clone()),
        limit: 0,
        at: Some(first.revision),
    };
    let rest = s.store.list(&s.of("ships"), &rest).await.unwrap();
    assert_eq!(rest.revision, first.revision);
    let names: Vec<_> = rest
        .items
        .iter()
        .map(|i| i.key.as_str().rsplit('/').next().unwrap())
        .collect();
    assert_eq!(names, ["s2", "s3", "s4", "s5"]);
    assert!(rest.items.iter().all(|i| text(i) == "old" && i.revision <= first.revision));
}

async fn every_kept_moment_equals_a_replay(s: Subject) {
    let of = s.of("ships");
    let from = s.list(&of, 0, None).await.unwrap().revision;
    let revisions = s.history("ships").await;
    s.history("others").await;
    let mut changes = s.store.watch(&of, from).await.unwrap();
    let all = told(&mut changes, *revisions.last().unwrap()).await;
    assert_eq!(all.iter().map(|c| c.revision).collect::<Vec<_>>(), revisions);
    let now = s.list(&of, 0, None).await.unwrap().revision;
    for at in from..=now {
        let mut state = BTreeMap::new();
        let until = all.iter().take_while(|c| c.revision <= at).count();
        replay(&mut state, &all[..until], from);
        let page = s.list(&of, 0, Some(at)).await.unwrap();
        assert_eq!(page.revision, at);
        assert_eq!(page.items, state.into_values().collect::<Vec<_>>(), "at {at}");
    }
}

async fn the_future_cannot_be_listed(s: Subject) {
    let revision = s.put(&s.ship("vega"), Expected::Absent, "1").await.unwrap();
    let asked = revision + 1_000_000;
    let error = s.list(&s.of("ships"), 0, Some(asked)).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Future { asked: a, current } if a == asked && current >= revision),
        "{error}"
    );
}

// --- watches ---

async fn a_watch_tells_each_change_once(s: Subject) {
    let of = s.of("ships");
    let from = s.list(&of, 0, None).await.unwrap().revision;
    let mut changes = s.store.watch(&of, from).await.unwrap();
    let revisions = s.history("ships").await;
    let all = told(&mut changes, *revisions.last().unwrap()).await;
    assert_eq!(all.iter().map(|c| c.revision).collect::<Vec<_>>(), revisions);
    let mut state = BTreeMap::new();
    replay(&mut state, &all, from);
    let page = s.list(&of, 0, None).await.unwrap();
    assert_eq!(page.items, state.into_values().collect::<Vec<_>>());
    silent(&mut changes).await;
}

async fn a_watch_begins_at_any_revision(s: Subject) {
    let of = s.of("ships");
    let from = s.list(&of, 0, None).await.unwrap().revision;
    let revisions = s.history("ships").await;
    let last = *revisions.last().unwrap();
    for after in from..last {
        let mut changes = s.store.watch(&of, after).await.unwrap();
        let found: Vec<_> = told(&mut changes, last).await.iter().map(|c| c.revision).collect();
        let want: Vec<_> = revisions.iter().copied().filter(|r| *r > after).collect();
        assert_eq!(found, want, "after {after}");
        // What is before the beginning is known too.
        let mut state: BTreeMap<_, _> = s
            .list(&of, 0, Some(after))
            .await
            .unwrap()
            .items
            .into_iter()
            .map(|i| (i.key.clone(), i))
            .collect();
        let mut changes = s.store.watch(&of, after).await.unwrap();
        replay(&mut state, &told(&mut changes, last).await, after);
    }
}

async fn a_watch_sees_its_resource_alone(s: Subject) {
    let from = s.list(&s.of("ships"), 0, None).await.unwrap().revision;
    let mut changes = s.store.watch(&s.of("ships"), from).await.unwrap();
    s.history("shipsandmore").await;
    s.history("ship").await;
    silent(&mut changes).await;
    let mine = s.history("ships").await;
    let all = told(&mut changes, *mine.last().unwrap()).await;
    assert_eq!(all.iter().map(|c| c.revision).collect::<Vec<_>>(), mine);
}

async fn a_watch_of_the_future_is_silent(s: Subject) {
    let key = s.ship("vega");
    let mut revision = s.put(&key, Expected::Absent, "0").await.unwrap();
    let after = revision + 3;
    let mut changes = s.store.watch(&s.of("ships"), after).await.unwrap();
    let mut behind = Vec::new();
    for n in 1..=6 {
        revision = s.put(&key, Expected::At(revision), &n.to_string()).await.unwrap();
        if revision > after {
            behind.push(revision);
        }
    }
    let all = told(&mut changes, revision).await;
    assert_eq!(all.iter().map(|c| c.revision).collect::<Vec<_>>(), behind);
}

async fn a_removal_is_told_with_its_own_revision(s: Subject) {
    let key = s.ship("vega");
    let made = s.put(&key, Expected::Absent, "1").await.unwrap();
    let mut changes = s.store.watch(&s.of("ships"), made).await.unwrap();
    let gone = s.remove(&key, made).await.unwrap();
    let all = told(&mut changes, gone).await;
    let before = Some(Stored {
        key: key.clone(),
        value: Bytes::from_static(b"1"),
        revision: made,
    });
    let want = Changed {
        revision: gone,
        key,
        before,
        after: None,
    };
    assert_eq!(all, [want]);
}

/// More than any store tells at once.
async fn a_long_past_is_told_completely(s: Subject) {
    let of = s.of("ships");
    let from = s.list(&of, 0, None).await.unwrap().revision;
    let writes = (0..1500).map(|n| {
        let s = s.clone();
        async move { s.put(&s.ship(&format!("s{n:04}")), Expected::Absent, "1").await.unwrap() }
    });
    let mut revisions: Vec<u64> = futures::stream::iter(writes).buffer_unordered(64).collect().await;
    revisions.sort_unstable();
    let mut changes = s.store.watch(&of, from).await.unwrap();
    let all = told(&mut changes, *revisions.last().unwrap()).await;
    assert!(all.iter().map(|c| c.revision).eq(revisions), "{} changes", all.len());
    replay(&mut BTreeMap::new(), &all, from);
}

async fn dropped_watches_do_no_harm(s: Subject) {
    let of = s.of("ships");
    let from = s.list(&of, 0, None).await.unwrap().revision;
    let mut watches = Vec::new();
    for _ in 0..100 {
        watches.push(s.store.watch(&of, from).await.unwrap());
    }
    let first = s.put(&s.ship("a"), Expected::Absent, "1").await.unwrap();
    for (n, mut watch) in watches.into_iter().enumerate() {
        if n % 2 == 0 {
            assert_eq!(told(&mut watch, first).await.len(), 1);
        }
    }
    let mut changes = s.store.watch(&of, first).await.unwrap();
    let second = s.put(&s.ship("b"), Expected::Absent, "1").await.unwrap();
    assert_eq!(told(&mut changes, second).await.len(), 1);
}

async fn an_open_watch_comes_to_the_revision(s: Subject) {
    let of = s.of("ships");
    let from = s.list(&of, 0, None).await.unwrap().revision;
    let mut changes = s.store.watch(&of, from).await.unwrap();
    s.history("ships").await;
    s.history("others").await;
    let until = s.store.revision(&of).await.unwrap();
    let all = told(&mut changes, until).await;
    let mut state = BTreeMap::new();
    replay(&mut state, &all, from);
    assert_eq!(
        s.list(&of, 0, None).await.unwrap().items,
        state.into_values().collect::<Vec<_>>()
    );
}

async fn revisions_cover_what_was_acknowledged(s: Subject) {
    let of = s.of("ships");
    let mut last = 0;
    for n in 0..5 {
        let written = s.put(&s.ship(&format!("s{n}")), Expected::Absent, "1").await.unwrap();
        assert!(written > last, "revisions grow");
        last = written;
        assert!(s.store.revision(&of).await.unwrap() >= written);
        s.history(&format!("others{n}")).await;
        let page = s.list(&of, 1, None).await.unwrap();
        assert!(page.revision >= s.store.revision(&of).await.unwrap().min(page.revision));
        assert!(page.revision >= written);
    }
    if let Some(oldest) = s.store.oldest() {
        assert!(oldest <= s.list(&of, 1, None).await.unwrap().revision);
    }
}

// --- many at once ---

async fn no_update_is_lost(s: Subject) {
    const WRITERS: usize = 8;
    const EACH: usize = 25;
    let key = s.ship("counter");
    let from = s.put(&key, Expected::Absent, "0").await.unwrap();
    let writers = (0..WRITERS).map(|_| {
        let (s, key) = (s.clone(), key.clone());
        tokio::spawn(async move {
            let mut done = Vec::new();
            let mut known = s.store.get(&key).await.unwrap().unwrap();
            while done.len() < EACH {
                let next = (text(&known).parse::<u64>().unwrap() + 1).to_string();
                match s.put(&key, Expected::At(known.revision), &next).await {
                    Ok(revision) => {
                        done.push(revision);
                        known = s.store.get(&key).await.unwrap().unwrap();
                    }
                    Err(StoreError::Conflict { current, .. }) => known = current.unwrap(),
                    Err(error) => panic!("{error}"),
                }
            }
            done
        })
    });
    let mut revisions: Vec<u64> = join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
    let end = s.store.get(&key).await.unwrap().unwrap();
    assert_eq!(text(&end), (WRITERS * EACH).to_string());
    revisions.sort_unstable();
    let mut changes = s.store.watch(&s.of("ships"), from).await.unwrap();
    let all = told(&mut changes, end.revision).await;
    assert_eq!(all.iter().map(|c| c.revision).collect::<Vec<_>>(), revisions, "each its own");
    for (n, change) in all.iter().enumerate() {
        assert_eq!(text(change.after.as_ref().unwrap()), (n + 1).to_string());
    }
}

async fn one_creator_wins(s: Subject) {
    for round in 0..10 {
        let key = s.ship(&format!("s{round}"));
        let creators = (0..8).map(|n| {
            let (s, key) = (s.clone(), key.clone());
            tokio::spawn(async move { (n, s.put(&key, Expected::Absent, &n.to_string()).await) })
        });
        let mut winner = None;
        let mut losers = Vec::new();
        for (n, result) in join_all(creators).await.into_iter().map(Result::unwrap) {
            match result {
                Ok(revision) => assert!(winner.replace((n, revision)).is_none(), "a second winner"),
                Err(error) => losers.push(conflict(Err(error)).expect("what has won")),
            }
        }
        let (n, revision) = winner.expect("a winner");
        assert_eq!(losers.len(), 7);
        for seen in losers {
            assert_eq!((text(&seen), seen.revision), (n.to_string().as_str(), revision));
        }
    }
}

/// Writers in two resources; two watches of the one are open from the start, a third comes later.
async fn all_watches_see_one_order(s: Subject) {
    const WRITERS: usize = 6;
    const EACH: usize = 40;
    let of = s.of("ships");
    let from = s.list(&of, 0, None).await.unwrap().revision;
    let mut open = [
        s.store.watch(&of, from).await.unwrap(),
        s.store.watch(&of, from).await.unwrap(),
    ];
    let writers = (0..WRITERS).map(|writer| {
        let s = s.clone();
        tokio::spawn(async move {
            let plural = if writer % 3 == 0 { "others" } else { "ships" };
            let key = s.of(plural).object(&Key::new("sea", &format!("w{writer}")));
            let mut there = None;
            let mut done = Vec::new();
            for n in 0..EACH {
                let value = n.to_string();
                let revision = match there {
                    None => s.put(&key, Expected::Absent, &value).await.unwrap(),
                    Some(last) if n % 7 == 0 => s.remove(&key, last).await.unwrap(),
                    Some(last) => s.put(&key, Expected::At(last), &value).await.unwrap(),
                };
                there = (there.is_none() || n % 7 != 0).then_some(revision);
                done.push(revision);
            }
            (plural, done)
        })
    });
    let mut revisions = Vec::new();
    let mut unique = BTreeSet::new();
    for done in join_all(writers).await {
        let (plural, done) = done.unwrap();
        unique.extend(done.iter().copied());
        if plural == "ships" {
            revisions.extend(done);
        }
    }
    assert_eq!(unique.len(), WRITERS * EACH, "no revision twice, whatever the resource");
    revisions.sort_unstable();
    let last = *revisions.last().unwrap();
    let first = told(&mut open[0], last).await;
    assert_eq!(first.iter().map(|c| c.revision).collect::<Vec<_>>(), revisions);
    replay(&mut BTreeMap::new(), &first, from);
    assert_eq!(told(&mut open[1], last).await, first);
    let mut late = s.store.watch(&of, from).await.unwrap();
    assert_eq!(told(&mut late, last).await, first);
}

async fn lists_under_writes_are_moments(s: Subject) {
    let of = s.of("ships");
    let from = s.list(&of, 0, None).await.unwrap().revision;
    let writers = (0..4).map(|writer| {
        let s = s.clone();
        tokio::spawn(async move {
            let mut last = 0;
            for n in 0..40 {
                last = s
                    .put(&s.ship(&format!("w{writer}-{n:02}")), Expected::Absent, "1")
                    .await
                    .unwrap();
            }
            last
        })
    });
    let writing = tokio::spawn(join_all(writers));
    let mut pages = Vec::new();
    while !writing.is_finished() {
        pages.push(s.list(&of, 0, None).await.unwrap());
        tokio::task::yield_now().await;
    }
    let last = writing.await.unwrap().into_iter().map(Result::unwrap).max().unwrap();
    pages.push(s.list(&of, 0, None).await.unwrap());
    let mut changes = s.store.watch(&of, from).await.unwrap();
    let all = told(&mut changes, last).await;
    let mut before = 0;
    for page in pages {
        assert!(page.revision >= before, "moments do not go back");
        before = page.revision;
        let mut state = BTreeMap::new();
        let until = all.iter().take_while(|c| c.revision <= page.revision).count();
        replay(&mut state, &all[..until], from);
        assert_eq!(page.items, state.into_values().collect::<Vec<_>>(), "at {}", page.revision);
    }
}

async fn what_is_written_is_read(s: Subject) {
    let writers = (0..8).map(|writer| {
        let s = s.clone();
        tokio::spawn(async move {
            let key = s.ship(&format!("w{writer}"));
            let mut expected = Expected::Absent;
            for n in 0..15 {
                let revision = s.put(&key, expected, &n.to_string()).await.unwrap();
                expected = Expected::At(revision);
                let stored = s.store.get(&key).await.unwrap().unwrap();
                assert_eq!((text(&stored), stored.revision), (n.to_string().as_str(), revision));
                let page = s.list(&s.of("ships"), 0, None).await.unwrap();
                assert!(page.revision >= revision && page.items.contains(&stored));
            }
        })
    });
    for done in join_all(writers).await {
        done.unwrap();
    }
}

/// A client that goes away in the middle leaves its write done or not done, and the store as it should be.
async fn an_abandoned_write_happens_wholly_or_not(s: Subject) {
    let of = s.of("ships");
    let from = s.list(&of, 0, None).await.unwrap().revision;
    for n in 0..50_u64 {
        let key = s.ship(&format!("s{n:02}"));
        let write = s.put(&key, Expected::Absent, "1");
        let _ = tokio::time::timeout(Duration::from_micros(n * 20), write).await;
    }
    let last = s.put(&s.ship("z"), Expected::Absent, "1").await.unwrap();
    // One that was abandoned may still come, but not for long.
    tokio::time::sleep(SILENCE).await;
    let page = s.list(&of, 0, None).await.unwrap();
    let mut changes = s.store.watch(&of, from).await.unwrap();
    let mut state = BTreeMap::new();
    replay(&mut state, &told(&mut changes, page.revision.max(last)).await, from);
    assert_eq!(page.items, state.into_values().collect::<Vec<_>>());
}

async fn resources_with_objects_are_known(s: Subject) {
    for (plural, namespace) in [("ships", "sea"), ("ports", ""), ("ships", "lake")] {
        let key = s.of(plural).object(&Key::new(namespace, "a"));
        s.put(&key, Expected::Absent, "1").await.unwrap();
    }
    let gone = s.of("wrecks").object(&Key::new("sea", "a"));
    let revision = s.put(&gone, Expected::Absent, "1").await.unwrap();
    s.remove(&gone, revision).await.unwrap();
    let all = s.store.prefixes().await.unwrap();
    assert!(all.is_sorted());
    // One that has none any more may be named.
    let mine = all
        .iter()
        .filter(|p| p.as_str().starts_with(&s.group) && **p != s.of("wrecks"));
    assert!(mine.eq(&[s.of("ports"), s.of("ships")]), "{all:?}");
}

// --- compaction ---

async fn compaction_forgets_the_past(s: Subject) {
    let of = s.of("ships");
    let revisions = s.history("ships").await;
    let (old, kept, last) = (revisions[3], revisions[6], *revisions.last().unwrap());
    let at_kept = s.list(&of, 0, Some(kept)).await.unwrap();
    let present = s.list(&of, 0, None).await.unwrap().items;
    s.store.compact(kept).await.unwrap();
    for _ in 0..2 {
        let error = s.list(&of, 0, Some(old)).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Compacted { asked, oldest } if asked == old && oldest >= kept),
            "{error}"
        );
        let error = match s.store.watch(&of, old).await {
            Err(error) => error,
            Ok(mut changes) => next(&mut changes).await.expect("a word").expect_err("a refusal"),
        };
        assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
        assert_eq!(
            s.list(&of, 0, Some(kept)).await.unwrap().items,
            at_kept.items,
            "what is kept stays"
        );
        let mut changes = s.store.watch(&of, kept).await.unwrap();
        let found: Vec<_> = told(&mut changes, last).await.iter().map(|c| c.revision).collect();
        assert_eq!(found, revisions[7..], "from the end of what is forgotten");
        assert_eq!(s.list(&of, 0, None).await.unwrap().items, present, "the present is no past");
        // Again, and to an older one: nothing more.
        let _ = s.store.compact(old).await;
    }
    if let Some(oldest) = s.store.oldest() {
        assert!(oldest >= kept);
    }
    // The next write is as any.
    let revision = s.put(&s.ship("z"), Expected::Absent, "1").await.unwrap();
    assert!(revision > last);
}

async fn compaction_leaves_open_watches_alone(s: Subject) {
    let of = s.of("ships");
    let from = s.list(&of, 0, None).await.unwrap().revision;
    let mut changes = s.store.watch(&of, from).await.unwrap();
    let revisions = s.history("ships").await;
    let last = *revisions.last().unwrap();
    assert_eq!(told(&mut changes, last).await.len(), revisions.len());
    s.store.compact(last).await.unwrap();
    silent(&mut changes).await;
    let more = s.put(&s.ship("z"), Expected::Absent, "1").await.unwrap();
    let all = told(&mut changes, more).await;
    assert_eq!(all.iter().map(|c| c.revision).collect::<Vec<_>>(), [more]);
    // An idle one, too, whose resource has had no change since before.
    let mut idle = s.store.watch(&s.of("idle"), more).await.unwrap();
    let others = s.history("ships").await;
    s.store.compact(*others.last().unwrap()).await.unwrap();
    let key = s.of("idle").object(&Key::new("", "a"));
    let mine = s.put(&key, Expected::Absent, "1").await.unwrap();
    loop {
        match next(&mut idle).await.expect("a watch that goes on") {
            Ok(Told::Progress(_)) => {}
            Ok(Told::Changes(changes)) => {
                assert_eq!(changes.iter().map(|c| c.revision).collect::<Vec<_>>(), [mine]);
                break;
            }
            // Allowed to a watch that was not read meanwhile; what is not allowed is to say nothing.
            Err(StoreError::Compacted { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn compaction_of_the_future_is_refused(s: Subject) {
    let revision = s.put(&s.ship("vega"), Expected::Absent, "1").await.unwrap();
    let error = s.store.compact(revision + 1_000_000).await.unwrap_err();
    assert!(matches!(error, StoreError::Future { .. }), "{error}");
    assert!(s.list(&s.of("ships"), 0, None).await.is_ok());
}

/// A watch that is not read while its past is forgotten tells a whole beginning and then says that it cannot go on, or tells all.
async fn a_slow_watch_misses_nothing_unsaid(s: Subject) {
    let of = s.of("ships");
    let from = s.list(&of, 0, None).await.unwrap().revision;
    let mut changes = s.store.watch(&of, from).await.unwrap();
    let mut revisions = s.history("ships").await;
    for n in 0..600 {
        let name = format!("m{n}");
        revisions.push(s.put(&s.ship(&name), Expected::Absent, "1").await.unwrap());
    }
    let last = *revisions.last().unwrap();
    s.store.compact(last).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&last) {
        match next(&mut changes).await {
            Some(Ok(Told::Changes(some))) => seen.extend(some.iter().map(|c| c.revision)),
            Some(Ok(Told::Progress(to))) => assert!(
                seen.len() == revisions.iter().filter(|r| **r <= to).count(),
                "progress to {to} says that nothing is left out"
            ),
            Some(Err(StoreError::Compacted { .. })) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, revisions[..seen.len()], "a beginning without a gap");
}
