//! Collectors over plugins that are plain functions, on a clock that only the tests move.

mod shared;

use std::sync::atomic::{AtomicBool, AtomicU32};

use outrigger_api::manifest::{Manifest, ObjectRule, ResourceName};
use outrigger_catalog::testing::Native;
use outrigger_catalog::{Installed, Unknown};
use outrigger_sandbox::{CallError, Collected, ContractError, GuestRow};
use prometheus_client::registry::Registry;

use super::*;
use crate::sea::{Sea, World};

struct Nodes(watch::Sender<Arc<BTreeSet<Arc<str>>>>);

impl Targets for Nodes {
    fn nodes(&self) -> watch::Receiver<Arc<BTreeSet<Arc<str>>>> {
        self.0.subscribe()
    }
}

/// A catalog with one plugin and its collectors under way; ends when it is dropped.
struct Bench {
    catalog: Arc<Catalog>,
    collectors: Arc<Collectors>,
    nodes: Arc<Nodes>,
    world: Arc<World>,
    registry: Registry,
    stop: CancellationToken,
}

const GROUP: &str = "t.example.com";

impl Bench {
    fn start(plugin: Installed, nodes: &[&str]) -> Self {
        Self::start_as(plugin, nodes, |collectors| collectors)
    }

    fn start_as(plugin: Installed, nodes: &[&str], with: impl FnOnce(Collectors) -> Collectors) -> Self {
        let catalog = Arc::new(Catalog::new(Vec::new(), Arc::new(outrigger_storage::Nothing)));
        catalog.replace(vec![plugin]);
        let nodes = Arc::new(Nodes(watch::Sender::new(set(nodes))));
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let collectors = with(Collectors::new(catalog.clone(), nodes.clone(), Options::default(), metrics));
        let collectors = Arc::new(collectors);
        let stop = CancellationToken::new();
        let world = Arc::new(World::default());
        tokio::spawn(collectors.clone().run(Arc::new(Sea(world.clone())), stop.clone()));
        Self {
            catalog,
            collectors,
            nodes,
            world,
            registry,
            stop,
        }
    }

    fn rows(&self) -> Vec<String> {
        let table = self.catalog.snapshot().table("p", GROUP, "things").unwrap().clone();
        let text = |e: &outrigger_storage::Entry| format!("{} {}", e.row.key, String::from_utf8_lossy(&e.row.fields));
        table.snapshot().iter(SystemTime::now()).map(|e| text(e)).collect()
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn set(names: &[&str]) -> Arc<BTreeSet<Arc<str>>> {
    Arc::new(names.iter().map(|&n| n.into()).collect())
}

fn one(name: &str, fields: &str, state: &[u8]) -> Collected {
    let row = GuestRow {
        resource: "things".into(),
        namespace: String::new(),
        name: name.into(),
        fields: fields.into(),
        protobuf: Vec::new(),
        cells: b"[]".into(),
    };
    Collected {
        rows: vec![row],
        state: state.into(),
        ..Collected::default()
    }
}

/// Counts its ticks in its state and says the count.
fn counting(digest: &str) -> Native {
    Native::collecting("p", digest, GROUP, |target, state| {
        let ticks = state.len() + 1;
        Ok(one(target, &format!("{{\"ticks\":{ticks}}}"), &vec![1; ticks]))
    })
}

/// Time is paused and moves only when everybody waits, so this is exact.
async fn seconds(n: u64) {
    tokio::time::sleep(Duration::from_secs(n)).await;
}

#[tokio::test(start_paused = true)]
async fn each_target_has_its_ticks_and_its_state() {
    let b = Bench::start(counting("1").installed("p.wasm"), &["a", "b"]);
    seconds(1).await;
    assert_eq!(b.rows(), [r#"a "ticks":1"#, r#"b "ticks":1"#]);
    seconds(20).await;
    assert_eq!(b.rows(), [r#"a "ticks":3"#, r#"b "ticks":3"#]);
    assert!(b.collectors.timely().is_ok());
    b.nodes.0.send_replace(set(&["b", "c"]));
    seconds(1).await;
    assert_eq!(
        b.rows(),
        [r#"b "ticks":3"#, r#"c "ticks":1"#],
        "what a node knew goes with it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_tick_keeps_state_and_rows() {
    let tries = AtomicU32::new(0);
    let plugin = Native::collecting("p", "1", GROUP, move |target, state| {
        if tries.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
            let error = ContractError::Unavailable("the kubelet is away".into());
            return Err(CallError::Refused {
                plugin: "p".into(),
                call: "collect".into(),
                error,
                fields: Vec::new(),
            });
        }
        let good = state.len() + 1;
        Ok(one(target, &format!("{{\"good\":{good}}}"), &vec![1; good]))
    });
    let b = Bench::start(plugin.installed("p.wasm"), &["a"]);
    for (after, expected) in [(1, r#"a "good":1"#), (10, r#"a "good":1"#), (10, r#"a "good":2"#)] {
        seconds(after).await;
        assert_eq!(b.rows(), [expected]);
    }
    let metrics = b.metrics();
    for line in [
        r#"outrigger_collector_ticks_total{plugin="p",collector="things",result="success"} 2"#,
        r#"outrigger_collector_ticks_total{plugin="p",collector="things",result="refused"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_version_takes_over_state_and_schedule() {
    let b = Bench::start(counting("1").installed("p.wasm"), &["a"]);
    seconds(11).await;
    b.catalog.replace(vec![counting("2").installed("p.wasm")]);
    seconds(10).await;
    assert_eq!(b.rows(), [r#"a "ticks":3"#]);
    b.catalog
        .replace(vec![counting("3").migrating(1, 0, &[1, 1, 1, 1, 1, 1]).installed("p.wasm")]);
    seconds(10).await;
    assert_eq!(b.rows(), [r#"a "ticks":7"#], "another schema: migrate was offered the state");
    b.catalog
        .replace(vec![counting("4").migrating(2, 7, &[]).installed("p.wasm")]);
    seconds(10).await;
    assert_eq!(b.rows(), [r#"a "ticks":1"#], "a schema it cannot come from: empty");
    b.catalog.replace(vec![counting("2").installed("p.wasm")]);
    seconds(10).await;
    assert_eq!(
        b.rows(),
        [r#"a "ticks":1"#],
        "nor is it given to the version before as its own"
    );
}

#[tokio::test(start_paused = true)]
async fn a_version_of_another_schema_that_fails_leaves_the_state_as_it_was() {
    let b = Bench::start(counting("1").installed("p.wasm"), &["a"]);
    seconds(11).await;
    let broken = Native::collecting("p", "2", GROUP, |_, state| {
        assert_eq!(state, [7; 7], "what its migrator made of the old state, at every try");
        let why = outrigger_sandbox::BadResult::Batch { found: 0, wanted: 1 };
        let (plugin, call) = ("p".into(), "collect".into());
        Err(CallError::BadResult { plugin, call, why })
    });
    b.catalog.replace(vec![broken.migrating(1, 0, &[7; 7]).installed("p.wasm")]);
    seconds(20).await;
    assert_eq!(b.rows(), [r#"a "ticks":2"#]);
    b.catalog.replace(vec![counting("1").installed("p.wasm")]);
    seconds(10).await;
    assert_eq!(b.rows(), [r#"a "ticks":3"#], "the version before goes on from where it was");
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_goes_takes_its_jobs_along() {
    let b = Bench::start(counting("1").installed("p.wasm"), &["a"]);
    seconds(1).await;
    b.catalog.replace(Vec::new());
    seconds(30).await;
    assert!(b.collectors.timely().is_ok(), "nothing to collect is in time");
    b.catalog.replace(vec![counting("1").installed("p.wasm")]);
    seconds(1).await;
    assert_eq!(b.rows(), [r#"a "ticks":1"#], "it starts anew");
}

#[tokio::test(start_paused = true)]
async fn a_table_is_known_from_its_first_good_tick_to_its_age_bound() {
    let ill = Arc::new(AtomicBool::new(true));
    let told = ill.clone();
    let plugin = Native::collecting("p", "1", GROUP, move |target, _| {
        if told.load(Ordering::Relaxed) {
            // Rows, but no good one.
            let mut rubbish = one(target, "{}", b"");
            rubbish.rows.clear();
            rubbish.complaints.count = 1;
            return Ok(rubbish);
        }
        Ok(one(target, "{}", b""))
    });
    let b = Bench::start(plugin.installed("p.wasm"), &["a"]);
    let standing = b.catalog.snapshot().standing("p", GROUP, "things").unwrap().clone();
    seconds(21).await;
    assert_eq!(standing.check(SystemTime::now()), Err(Unknown::Never), "rubbish is no tick");
    ill.store(false, Ordering::Relaxed);
    seconds(10).await;
    assert_eq!(standing.check(SystemTime::now()), Ok(()));
    ill.store(true, Ordering::Relaxed);
    seconds(10).await;
    assert_eq!(b.rows().len(), 1, "the last good rows stay");
    // The schedule's time is paused, the rows' is the wall's.
    let later = SystemTime::now() + Duration::from_secs(40);
    assert!(matches!(standing.check(later), Err(Unknown::Since(_))));
    assert!(
        b.metrics().contains(r#"collector="things",result="failed"} 3"#),
        "{}",
        b.metrics()
    );
    b.nodes.0.send_replace(set(&[]));
    seconds(1).await;
    assert_eq!(standing.check(later), Ok(()), "without a node there is nothing to know");
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_hangs_everywhere_holds_up_no_other() {
    let nodes: Vec<String> = (0..Options::default().concurrency * 2).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let b = Bench::start(counting("1").installed("p.wasm"), &names);
    let hangs = Native::collecting("hangs", "1", "hangs.example.com", |_, _| Ok(Collected::default())).hanging();
    b.catalog
        .replace(vec![hangs.installed("h.wasm"), counting("1").installed("p.wasm")]);
    seconds(31).await;
    assert!(
        b.rows()
            .iter()
            .all(|row| row.ends_with(r#""ticks":4"#) || row.ends_with(r#""ticks":3"#)),
        "{:?}",
        b.rows()
    );
}

/// The plugin of [`counting`], for each object of a resource.
fn each_object(digest: &str, verbs: &[&str]) -> Native {
    let rule = ObjectRule::of("harbor.example.com", "ships").verbs(verbs.iter().copied());
    counting(digest).with(|mut manifest: Manifest| {
        manifest.collectors[0].each = Each::Object;
        manifest.collectors[0].of = Some(ResourceName::new("harbor.example.com", "v1", "ships"));
        manifest.needs_objects([rule], "one row for each")
    })
}

#[tokio::test(start_paused = true)]
async fn each_object_of_a_resource_is_a_target() {
    let b = Bench::start(each_object("1", &["list", "watch"]).installed("p.wasm"), &["node"]);
    let standing = b.catalog.snapshot().standing("p", GROUP, "things").unwrap().clone();
    b.world.put("ships", "a/x", None);
    seconds(60).await;
    assert_eq!(b.rows(), [""; 0], "not before all of them are known");
    assert_eq!(standing.check(SystemTime::now()), Err(Unknown::Never), "nor is the table");
    b.world.sync("ships");
    seconds(1).await;
    assert_eq!(b.rows(), [r#"a/x "ticks":1"#]);
    b.world.put("ships", "a/y", None);
    b.world.put("ships", "a/x", None);
    seconds(1).await;
    assert_eq!(b.rows(), [r#"a/x "ticks":1"#, r#"a/y "ticks":1"#], "a change is no tick");
    b.world.take("ships", "a/x");
    seconds(11).await;
    assert_eq!(b.rows(), [r#"a/y "ticks":2"#], "what was known of an object goes with it");
    b.catalog.replace(vec![each_object("2", &["list"]).installed("p.wasm")]);
    seconds(30).await;
    assert_eq!((b.rows().len(), b.world.followers("ships")), (0, 0), "not granted any more");
    b.catalog
        .replace(vec![each_object("3", &["list", "watch"]).installed("p.wasm")]);
    seconds(1).await;
    assert_eq!(b.rows(), [r#"a/y "ticks":1"#], "granted again");
}

fn trap(call: &str) -> CallError {
    CallError::Deadline {
        plugin: "p".into(),
        call: call.into(),
        after: Duration::from_secs(1),
        frames: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_always_fails_is_asked_less_and_less_until_it_is_well() {
    let (ill, ticks) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
    let plugin = |digest: &str| {
        let (ill, ticks) = (ill.clone(), ticks.clone());
        Native::collecting("p", digest, GROUP, move |target, _| {
            ticks.fetch_add(1, Ordering::Relaxed);
            if ill.load(Ordering::Relaxed) {
                return Err(trap("collect"));
            }
            Ok(one(target, "{}", b""))
        })
    };
    let b = Bench::start(plugin("1").installed("p.wasm"), &["a", "b", "c", "d"]);
    seconds(3_600).await;
    let asked = ticks.swap(0, Ordering::Relaxed);
    assert!((50..90).contains(&asked), "{asked} of 1,440 ticks");
    assert_eq!(b.collectors.timely(), Ok(()), "waiting is in time");
    let status = b.collectors.status().remove(0);
    assert_eq!((status.collector.as_str(), status.targets.len()), ("things", 4));
    let a = &status.targets[0];
    assert!(a.failures > 10 && a.last_success.is_none() && a.due_in_seconds > 0.0, "{a:?}");
    assert!(a.last_error.as_ref().unwrap().contains("collect"), "{a:?}");
    assert!(
        b.metrics()
            .contains(r#"outrigger_collector_targets_failing{plugin="p",collector="things"} 4"#)
    );
    ill.store(false, Ordering::Relaxed);
    seconds(81 + 10).await;
    assert_eq!(b.rows().len(), 4, "the first good tick wakes the others");
    let status = b.collectors.status().remove(0);
    assert!(
        status.targets.iter().all(|t| t.failures == 0 && t.last_success.is_some()),
        "{status:?}"
    );
    assert!(
        b.metrics()
            .contains(r#"outrigger_collector_targets_failing{plugin="p",collector="things"} 0"#)
    );
    ill.store(true, Ordering::Relaxed);
    seconds(3_600).await;
    ill.store(false, Ordering::Relaxed);
    ticks.store(0, Ordering::Relaxed);
    b.catalog.replace(vec![plugin("2").installed("p.wasm")]);
    seconds(11).await;
    assert_eq!(ticks.load(Ordering::Relaxed), 4, "a new version is asked at once");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_away_is_asked_every_other_time() {
    let ticks = Arc::new(AtomicU32::new(0));
    let counted = ticks.clone();
    let plugin = Native::collecting("p", "1", GROUP, move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        Err(CallError::Refused {
            plugin: "p".into(),
            call: "collect".into(),
            error: ContractError::Unavailable("the kubelet is away".into()),
            fields: Vec::new(),
        })
    });
    let b = Bench::start(plugin.installed("p.wasm"), &["a"]);
    seconds(401).await;
    assert_eq!(ticks.load(Ordering::Relaxed), 21);
    assert!(b.collectors.timely().is_ok());
}
