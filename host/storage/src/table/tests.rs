//! Publications, expiry, revisions and what watchers are told.

use super::*;

const KEEP: Duration = Duration::from_secs(60);

fn row(namespace: &str, name: &str, fields: &str) -> Row {
    Row {
        key: Key::new(namespace, name),
        created: None,
        fields: fields.to_owned().into(),
        protobuf: [].into(),
        cells: [].into(),
        meta: None,
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn listed(table: &Table, now: SystemTime) -> Vec<String> {
    table
        .snapshot()
        .iter(now)
        .map(|e| format!("{} {}", e.row.key, std::str::from_utf8(&e.row.fields).unwrap()))
        .collect()
}

#[test]
fn a_publication_replaces_its_own_source_only() {
    let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    let table = Table::new();
    table.publish(&a, vec![row("ns", "2", "a2"), row("ns", "1", "a1")], at(0), KEEP);
    table.publish(&b, vec![row("ns", "3", "b3"), row("mt", "9", "b9")], at(0), KEEP);
    assert_eq!(listed(&table, at(1)), ["mt/9 b9", "ns/1 a1", "ns/2 a2", "ns/3 b3"]);
    table.publish(&a, vec![row("ns", "2", "a2'")], at(1), KEEP);
    assert_eq!(listed(&table, at(1)), ["mt/9 b9", "ns/2 a2'", "ns/3 b3"]);
    table.withdraw(&b);
    assert_eq!(listed(&table, at(1)), ["ns/2 a2'"]);
}

#[test]
fn a_key_that_moves_between_sources_is_not_lost_and_not_doubled() {
    let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    let table = Table::new();
    table.publish(&a, vec![row("ns", "web-0", "on a")], at(0), KEEP);
    table.publish(&b, vec![row("ns", "web-0", "on b")], at(1), KEEP);
    assert_eq!(listed(&table, at(2)), ["ns/web-0 on b"]);
    table.publish(&a, vec![], at(2), KEEP);
    assert_eq!(
        listed(&table, at(2)),
        ["ns/web-0 on b"],
        "a gave up what was no longer its own"
    );
}

#[test]
fn rows_expire_and_are_swept() {
    let a: Arc<str> = "a".into();
    let table = Table::new();
    table.publish(&a, vec![row("", "n", "x")], at(0), KEEP);
    assert_eq!(listed(&table, at(59)), ["n x"]);
    assert!(listed(&table, at(60)).is_empty());
    assert_eq!(table.snapshot().len(), 1);
    table.sweep(at(60));
    assert!(table.snapshot().is_empty());
    assert!(table.writers.lock().unwrap().sources.is_empty());
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let a: Arc<str> = "a".into();
    let table = Table::new();
    table.publish(&a, vec![row("", "n", "old")], at(0), KEEP);
    let before = table.snapshot();
    table.publish(&a, vec![row("", "n", "new")], at(0), KEEP);
    let key = Key::new("", "n");
    assert_eq!(&*before.get(&key, at(0)).unwrap().row.fields, b"old");
    assert_eq!(&*table.snapshot().get(&key, at(0)).unwrap().row.fields, b"new");
    assert!(table.snapshot().revision() > before.revision());
}

#[test]
fn a_namespace_is_a_range() {
    let a: Arc<str> = "a".into();
    let table = Table::new();
    let rows = [("a", "z"), ("ab", "a"), ("ab", "b"), ("abc", "a")]
        .map(|(ns, n)| row(ns, n, ""))
        .into();
    table.publish(&a, rows, at(0), KEEP);
    let snapshot = table.snapshot();
    let names: Vec<_> = snapshot.iter_namespace("ab", at(0)).map(|e| e.row.key.to_string()).collect();
    assert_eq!(names, ["ab/a", "ab/b"]);
}

/// Pods that live, with their labels.
#[derive(Default)]
struct Cluster(Mutex<std::collections::BTreeMap<String, Arc<Labels>>>);

impl Cluster {
    fn set(&self, name: &str, app: Option<&str>) {
        let mut pods = self.0.lock().unwrap();
        match app {
            Some(app) => pods.insert(name.into(), Arc::new(Labels::from([("app".into(), app.into())]))),
            None => pods.remove(name),
        };
    }
}

impl LiveIndex for Cluster {
    fn labels(&self, _of: Shadow, _namespace: &str, name: &str) -> Option<Arc<Labels>> {
        self.0.lock().unwrap().get(name).cloned()
    }
}

/// Each change in a line: `+` new, `~` changed, `-` gone.
fn told(watching: &Watching, since: &mut u64) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in watching.since(*since).unwrap() {
        for change in batch.changes().iter().filter(|c| c.revision > *since) {
            let (sign, entry) = match (&change.before, &change.after) {
                (Before::Absent, Some(after)) => ('+', after),
                (Before::Was(_) | Before::Relabelled(_), Some(after)) => ('~', after),
                (Before::Was(last) | Before::Relabelled(last), None) => ('-', last),
                (Before::Absent, None) => panic!("a change from nothing to nothing"),
            };
            lines.push(format!(
                "{sign}{} {}",
                entry.row.key,
                std::str::from_utf8(&entry.row.fields).unwrap()
            ));
        }
        *since = batch.revision();
    }
    lines
}

#[test]
fn watchers_are_told_what_changed_and_nothing_else() {
    let a: Arc<str> = "a".into();
    for keeps_up in [true, false] {
        let table = Arc::new(Table::new());
        let mut watching = keeps_up.then(|| table.watch());
        let mut since = table.snapshot().revision();
        let mut told = |want: &[&str]| {
            let now = watching.take().unwrap_or_else(|| table.watch());
            assert_eq!(told(&now, &mut since), want, "keeps up: {keeps_up}");
            watching = keeps_up.then_some(now);
        };
        told(&[]);
        table.publish(&a, vec![row("ns", "1", "x"), row("ns", "2", "x")], at(0), KEEP);
        told(&["+ns/1 x", "+ns/2 x"]);
        table.publish(&a, vec![row("ns", "1", "y"), row("ns", "2", "x")], at(1), KEEP);
        told(&["~ns/1 y"]);
        table.publish(&a, vec![row("ns", "1", "y"), row("ns", "2", "x")], at(2), KEEP);
        told(&[]);
        table.publish(&a, vec![row("ns", "3", "z"), row("ns", "1", "y")], at(3), KEEP);
        told(&["-ns/2 x", "+ns/3 z"]);
        table.sweep(at(63));
        told(&["-ns/1 y", "-ns/3 z"]);
    }
}

#[test]
fn a_row_is_shown_while_its_object_lives() {
    let (a, live) = (Arc::<str>::from("a"), Arc::new(Cluster::default()));
    let table = Arc::new(Table::speaking_of(Some((Shadow::Pods, live.clone()))));
    let watching = table.watch();
    let mut since = table.snapshot().revision();
    let rows = || vec![row("ns", "1", "x"), row("ns", "2", "x")];
    live.set("1", Some("web"));
    table.publish(&a, rows(), at(0), KEEP);
    assert_eq!(told(&watching, &mut since), ["+ns/1 x"]);
    live.set("2", Some("db"));
    table.publish(&a, rows(), at(1), KEEP);
    assert_eq!(told(&watching, &mut since), ["+ns/2 x"]);
    live.set("1", None);
    table.look_around();
    assert_eq!(told(&watching, &mut since), ["-ns/1 x"]);
    live.set("2", Some("cache"));
    table.look_around();
    assert_eq!(told(&watching, &mut since), ["~ns/2 x"]);
    table.look_around();
    assert!(told(&watching, &mut since).is_empty());
}

#[test]
fn labels_that_are_forgotten_are_said_to_be() {
    let (a, live) = (Arc::<str>::from("a"), Arc::new(Cluster::default()));
    let table = Arc::new(Table::speaking_of(Some((Shadow::Pods, live.clone()))));
    live.set("1", Some("web"));
    table.publish(&a, vec![row("ns", "1", "x")], at(0), KEEP);
    let since = table.snapshot().revision();
    live.set("1", Some("db"));
    table.publish(&a, vec![row("ns", "1", "x")], at(1), KEEP);
    let batches = table.watch().since(since).unwrap();
    assert!(matches!(batches[0].changes()[0].before, Before::Relabelled(_)));
}

#[test]
fn what_is_too_old_is_refused() {
    let a: Arc<str> = "a".into();
    let table = Arc::new(Table::new());
    let first = table.snapshot().revision();
    for n in 0..1_200 {
        table.publish(&a, vec![row("ns", &n.to_string(), "")], at(0), KEEP);
    }
    let watching = table.watch();
    let refused = watching.since(first).unwrap_err();
    assert_eq!(refused.revision, first);
    assert!(watching.since(refused.oldest).is_ok());
    assert!(watching.since(refused.oldest - 1).is_err());
    assert!(watching.since(first - 1).is_err(), "before the process began");
    assert!(watching.since(u64::MAX).unwrap().is_empty(), "not yet");
}

#[test]
fn revisions_are_times_and_never_go_back() {
    let a: Arc<str> = "a".into();
    let table = Table::new();
    let now = SystemTime::now() + Duration::from_secs(5);
    table.publish(&a, vec![row("ns", "1", "x"), row("ns", "2", "x")], now, KEEP);
    let revision = table.snapshot().revision();
    assert_eq!(revision, micros(now) + 1, "two changes");
    table.publish(&a, vec![row("ns", "1", "y"), row("ns", "2", "x")], at(9), KEEP);
    assert_eq!(table.snapshot().revision(), revision + 1, "a clock that went back");
    table.publish(&a, vec![row("ns", "1", "y"), row("ns", "2", "x")], at(9), KEEP);
    assert_eq!(table.snapshot().revision(), revision + 1, "nothing has changed");
}

#[tokio::test(start_paused = true)]
async fn a_revision_is_waited_for() {
    let a: Arc<str> = "a".into();
    let table = Arc::new(Table::new());
    let now = table.snapshot().revision();
    assert_eq!(table.reached(now, Duration::ZERO).await.unwrap().revision(), now);
    let late = table.reached(now + 1, Duration::from_secs(3)).await.unwrap_err();
    assert_eq!((late.wanted, late.current), (now + 1, now));
    let waiting = tokio::spawn({
        let table = table.clone();
        async move { table.reached(now + 1, Duration::from_secs(3)).await.map(|s| s.len()) }
    });
    tokio::task::yield_now().await;
    table.publish(&a, vec![row("", "n", "x")], at(0), KEEP);
    assert_eq!(waiting.await.unwrap(), Ok(1));
}

#[test]
fn pages_are_kept_for_a_while_and_in_a_number() {
    let a: Arc<str> = "a".into();
    let table = Table::new();
    let mut revisions = Vec::new();
    for n in 0..PAGES + 2 {
        table.publish(&a, vec![row("ns", "1", &n.to_string())], at(0), KEEP);
        table.keep(&table.snapshot());
        table.keep(&table.snapshot());
        revisions.push(table.snapshot().revision());
    }
    let known: Vec<bool> = revisions.iter().map(|r| table.page(*r).is_some()).collect();
    assert_eq!(known.iter().filter(|k| **k).count(), PAGES);
    assert!(!known[0] && !known[1]);
    assert_eq!(
        &*table.page(revisions[2]).unwrap().iter(at(1)).next().unwrap().row.fields,
        b"2"
    );
}

mod law {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        /// Source, names with contents.
        Publish(u8, Vec<(u8, u8)>),
        /// A pod lives with this label, or no longer.
        Live(u8, Option<u8>, bool),
        Sweep,
        /// The watcher reads; or goes away and comes back.
        Read(bool),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..3_u8, prop::collection::vec((0..6_u8, 0..3_u8), 0..5)).prop_map(|(s, r)| Step::Publish(s, r)),
            (0..6_u8, prop::option::of(0..2_u8), any::<bool>()).prop_map(|(n, l, look)| Step::Live(n, l, look)),
            Just(Step::Sweep),
            any::<bool>().prop_map(Step::Read),
        ];
        prop::collection::vec(step, 1..40)
    }

    proptest! {
        /// Whoever applies what a watch tells holds what the table shows, however late and however often it reads.
        #[test]
        fn a_watcher_holds_what_is_shown(steps in steps()) {
            let live = Arc::new(Cluster::default());
            let table = Arc::new(Table::speaking_of(Some((Shadow::Pods, live.clone()))));
            let mut since = table.snapshot().revision();
            let mut held: BTreeMap<String, (u64, Arc<Labels>)> = BTreeMap::new();
            let mut watching = Some(table.watch());
            for (second, step) in (0..).zip(steps.into_iter().chain([Step::Read(true)])) {
                match step {
                    Step::Publish(source, rows) => {
                        let rows = rows.iter().map(|(n, c)| row("ns", &n.to_string(), &c.to_string())).collect();
                        table.publish(&source.to_string().into(), rows, at(second), Duration::from_secs(9));
                    }
                    Step::Live(name, label, look) => {
                        live.set(&name.to_string(), label.map(|l| l.to_string()).as_deref());
                        if look {
                            table.look_around();
                        }
                    }
                    Step::Sweep => table.sweep(at(second)),
                    Step::Read(stay) => {
                        let now = watching.take().unwrap_or_else(|| table.watch());
                        for batch in now.since(since).unwrap() {
                            for change in batch.changes().iter().filter(|c| c.revision > since) {
                                let (Before::Was(e) | Before::Relabelled(e)) = &change.before else {
                                    let after = change.after.as_ref().unwrap();
                                    prop_assert!(held.insert(after.row.key.to_string(), (after.revision, after.labels.clone().unwrap())).is_none());
                                    continue;
                                };
                                let was = held.remove(&e.row.key.to_string());
                                prop_assert!(was.is_some(), "{} was not known", e.row.key);
                                if matches!(&change.before, Before::Was(_)) && change.after.is_none() {
                                    prop_assert_eq!(was.map(|w| w.1), e.labels.clone());
                                }
                                if let Some(after) = &change.after {
                                    held.insert(after.row.key.to_string(), (after.revision, after.labels.clone().unwrap()));
                                }
                            }
                            since = batch.revision();
                        }
                        let snapshot = table.snapshot();
                        let shown: BTreeMap<_, _> = snapshot.rows.values().filter(|e| e.is_shown())
                            .map(|e| (e.row.key.to_string(), (e.revision, e.labels.clone().unwrap()))).collect();
                        prop_assert_eq!(&held, &shown);
                        watching = stay.then_some(now);
                    }
                }
            }
        }
    }
}

#[test]
fn a_row_that_is_put_leaves_its_neighbours_alone_and_brings_its_labels() {
    let a: Arc<str> = "poll".into();
    let table = Table::new();
    table.publish(&a, vec![row("ns", "1", "a1")], at(0), KEEP);
    let labels = Arc::new(Labels::from([("k".to_owned(), "v".to_owned())]));
    let meta = crate::Meta {
        labels: Arc::clone(&labels),
        ..crate::Meta::default()
    };
    let labelled = Row {
        meta: Some(Box::new(meta)),
        ..row("ns", "2", "a2")
    };
    let entry = table.put(&a, labelled.clone(), at(1), KEEP).unwrap();
    assert_eq!(
        (entry.revision, entry.labels.as_ref()),
        (table.snapshot().revision(), Some(&labels))
    );
    let same = table.put(&a, labelled, at(2), KEEP).unwrap();
    assert_eq!(same.revision, entry.revision, "what is as it was has not changed");
    assert_eq!(listed(&table, at(2)), ["ns/1 a1", "ns/2 a2"]);
    table.remove(&a, &Key::new("ns", "1"));
    assert_eq!(listed(&table, at(2)), ["ns/2 a2"]);
    table.publish(&a, vec![], at(3), KEEP);
    assert!(listed(&table, at(3)).is_empty(), "what was put is the source's");
}
