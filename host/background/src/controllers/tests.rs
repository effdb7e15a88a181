//! Controllers over plugins that are plain functions, in a cluster that is a map.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};

use outrigger_api::manifest::{Controller, Manifest, ObjectRule, ResourceName};
use outrigger_catalog::Installed;
use outrigger_catalog::testing::Native;
use outrigger_sandbox::{CallError, Collected, ContractError, Outcome};
use tokio::sync::Semaphore;

use super::*;
use crate::sea::{Sea, World};
use crate::watches::{Owner, Standing};

fn owner(kind: &str, name: &str) -> Option<Owner> {
    Some(Owner {
        group: "harbor.example.com".into(),
        kind: kind.into(),
        name: name.into(),
    })
}

/// What was reconciled, in order, as `DIGEST KEY`.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn say(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }

    /// What was said since the last time, sorted.
    fn take(&self) -> Vec<String> {
        let mut said = std::mem::take(&mut *self.0.lock().unwrap());
        said.sort();
        said
    }
}

struct Bench {
    world: Arc<World>,
    catalog: Arc<Catalog>,
    controllers: Arc<Controllers>,
    registry: Registry,
    leading: watch::Sender<bool>,
    stop: CancellationToken,
}

impl Bench {
    fn start(plugin: Installed) -> Self {
        let catalog = Arc::new(Catalog::new(Vec::new(), Arc::new(outrigger_storage::Nothing)));
        catalog.replace(vec![plugin]);
        let (world, mut registry) = (Arc::new(World::default()), Registry::default());
        let controllers = Arc::new(Controllers::new(catalog.clone(), ControllerOptions::default(), &mut registry));
        let (leading, led) = watch::channel(true);
        let stop = CancellationToken::new();
        let sea = Arc::new(Sea(world.clone()));
        tokio::spawn(controllers.clone().run(sea, led, stop.clone()));
        Self {
            world,
            catalog,
            controllers,
            registry,
            leading,
            stop,
        }
    }

    fn synced(plugin: Installed, ships: &[&str]) -> Self {
        let bench = Self::start(plugin);
        for ship in ships {
            bench.world.put("ships", ship, None);
        }
        bench.world.sync("ships");
        bench.world.sync("crates");
        bench
    }

    fn state(&self) -> State {
        self.controllers.status().remove(0).state
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

fn name(resource: &str) -> ResourceName {
    ResourceName::new("harbor.example.com", "v1", resource)
}

fn manifest() -> Manifest {
    let rule = |resource: &str| ObjectRule::of("harbor.example.com", resource).verbs(["get", "list", "watch"]);
    Manifest::new("p", "1")
        .needs_objects([rule("ships"), rule("crates")], "keeps crates in step with ships")
        .controller(Controller::new("keeper", name("ships")).owns(name("crates")))
}

fn plugin<F>(digest: &str, work: impl Fn(String) -> F + Send + Sync + 'static) -> Native
where
    F: Future<Output = Result<Outcome, CallError>> + Send + 'static,
{
    Native::controlling(manifest(), digest, work)
}

/// Says each key and is done.
fn saying(digest: &str, log: &Log) -> Native {
    let (log, said) = (log.clone(), digest.to_owned());
    plugin(digest, move |key| {
        log.say(format!("{said} {key}"));
        async { Ok(Outcome::Done) }
    })
}

fn refusal() -> CallError {
    CallError::Refused {
        plugin: "p".into(),
        call: "reconcile".into(),
        error: ContractError::Unavailable("the tide is out".into()),
        fields: Vec::new(),
    }
}

async fn seconds(n: u64) {
    tokio::time::sleep(Duration::from_secs(n)).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_reconciled_before_everything_is_known() {
    let log = Log::default();
    let b = Bench::start(saying("1", &log).installed("p.wasm"));
    b.world.put("ships", "a/x", None);
    b.world.put("ships", "a/y", None);
    seconds(60).await;
    assert_eq!(b.state(), State::Syncing(String::new()));
    b.world.on("ships", |shelf| {
        shelf.hears[0].1.stands(Standing::Troubled("may not list ships".into()));
    });
    seconds(1).await;
    assert_eq!(b.state(), State::Syncing("may not list ships".into()));
    b.world.sync("ships");
    seconds(60).await;
    assert_eq!(log.take(), [""; 0], "what it owns is not known yet");
    b.world.sync("crates");
    seconds(1).await;
    assert_eq!(log.take(), ["1 a/x", "1 a/y"]);
    assert_eq!(b.state(), State::Running);
    b.world.put("ships", "a/x", None);
    seconds(1).await;
    assert_eq!(log.take(), ["1 a/x"], "a change");
}

#[tokio::test(start_paused = true)]
async fn what_is_owned_leads_to_its_owner() {
    let log = Log::default();
    let b = Bench::synced(saying("1", &log).installed("p.wasm"), &["a/x", "a/y"]);
    seconds(1).await;
    log.take();
    for (case, key, owned_by, expected) in [
        ("made", "a/c1", owner("Ship", "x"), vec!["1 a/x"]),
        ("changed hands", "a/c1", owner("Ship", "y"), vec!["1 a/x", "1 a/y"]),
        ("let go", "a/c1", None, vec!["1 a/y"]),
        ("of another kind", "a/c2", owner("Boat", "x"), vec![]),
        ("of nobody", "a/c3", None, vec![]),
        ("in another namespace", "b/c4", owner("Ship", "x"), vec!["1 b/x"]),
    ] {
        b.world.put("crates", key, owned_by);
        seconds(1).await;
        assert_eq!(log.take(), expected, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_comes_back_later_each_time_and_is_well_again() {
    let (log, tries) = (Log::default(), Arc::new(AtomicUsize::new(0)));
    let (said, counted) = (log.clone(), tries.clone());
    let p = plugin("1", move |key| {
        let n = counted.fetch_add(1, Ordering::Relaxed);
        said.say(key);
        async move {
            match n {
                0 | 2 => Err(refusal()),
                1 => Err(CallError::Deadline {
                    plugin: "p".into(),
                    call: "reconcile".into(),
                    after: Duration::from_secs(1),
                    frames: Vec::new(),
                }),
                _ => Ok(Outcome::Done),
            }
        }
    });
    let b = Bench::synced(p.installed("p.wasm"), &["a/x"]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    for (after, tried) in [(1, 1), (5, 2), (5, 2), (6, 3), (30, 4), (5_000, 4)] {
        tokio::time::sleep(Duration::from_millis(after)).await;
        assert_eq!(tries.load(Ordering::Relaxed), tried, "after {after} ms more");
    }
    let status = b.controllers.status().remove(0);
    assert_eq!((status.succeeded, status.failed, status.failing), (1, 3, 0));
    let failure = status.last_failure.unwrap();
    assert!(
        failure.key == "a/x" && failure.error.contains("the tide is out"),
        "{failure:?}"
    );
    let metrics = b.metrics();
    for line in [
        r#"workqueue_retries_total{name="p/keeper"} 3"#,
        r#"workqueue_adds_total{name="p/keeper"} 4"#,
        r#"workqueue_depth{name="p/keeper"} 0"#,
        r#"workqueue_work_duration_seconds_count{name="p/keeper"} 4"#,
        r#"workqueue_queue_duration_seconds_count{name="p/keeper"} 4"#,
        r#"workqueue_longest_running_processor_seconds{name="p/keeper"} 0"#,
        r#"outrigger_controller_reconciles_total{plugin="p",controller="keeper",result="refused"} 2"#,
        r#"outrigger_controller_reconciles_total{plugin="p",controller="keeper",result="failed"} 1"#,
        r#"outrigger_controller_reconciles_total{plugin="p",controller="keeper",result="success"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    b.catalog.replace(Vec::new());
    seconds(1).await;
    assert!(!b.metrics().contains("p/keeper"), "{}", b.metrics());
}

#[tokio::test(start_paused = true)]
async fn again_after_is_kept_and_cannot_spin() {
    let calls = Arc::new(AtomicUsize::new(0));
    for (asked, least, most) in [(30_000, 2, 3), (0, 2, 620), (1, 2, 620)] {
        calls.store(0, Ordering::Relaxed);
        let counted = calls.clone();
        let p = plugin("1", move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move { Ok(Outcome::AgainAfter(Duration::from_millis(asked))) }
        });
        let _bench = Bench::synced(p.installed("p.wasm"), &["a/x"]);
        seconds(60).await;
        let calls = calls.load(Ordering::Relaxed);
        assert!(
            (least..=most).contains(&calls),
            "again after {asked} ms: {calls} calls in a minute"
        );
    }
}

/// Two calls of one key never run together, and no more keys than allowed.
#[tokio::test(start_paused = true)]
async fn as_many_at_once_as_the_manifest_says() {
    for (concurrency, expected) in [(0, 1), (1, 1), (3, 3), (1_000, ControllerOptions::default().concurrency)] {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, highest) = (now.clone(), most.clone());
        let p = plugin("1", move |_| {
            let (now, most) = (counted.clone(), highest.clone());
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
                now.fetch_sub(1, Ordering::Relaxed);
                Ok(Outcome::Done)
            }
        });
        let p = p.with(|mut manifest| {
            manifest.controllers[0].concurrency = concurrency;
            manifest
        });
        let ships: Vec<String> = (0..40).map(|n| format!("a/{n}")).collect();
        let _bench = Bench::synced(p.installed("p.wasm"), &ships.iter().map(String::as_str).collect::<Vec<_>>());
        seconds(100).await;
        assert_eq!(most.load(Ordering::Relaxed), expected, "concurrency {concurrency}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_version_takes_over_the_queue_and_sees_everything_once() {
    let (log, gate) = (Log::default(), Arc::new(Semaphore::new(0)));
    let (said, opened) = (log.clone(), gate.clone());
    let old = plugin("1", move |key| {
        let (said, gate) = (said.clone(), opened.clone());
        async move {
            gate.acquire().await.unwrap().forget();
            said.say(format!("1 {key}"));
            Ok(Outcome::Done)
        }
    });
    let b = Bench::synced(old.installed("p.wasm"), &["a/x", "a/y"]);
    seconds(1).await;
    assert_eq!(b.controllers.status()[0].working, 1);
    b.catalog.replace(vec![saying("2", &log).installed("p.wasm")]);
    seconds(1).await;
    assert_eq!(log.take(), [""; 0], "the old version's call counts until it ends");
    gate.add_permits(1);
    seconds(1).await;
    assert_eq!(
        log.take(),
        ["1 a/x", "2 a/x", "2 a/y"],
        "the call under way ended on the old version"
    );
    assert_eq!(b.world.followers("ships"), 1, "it goes on with what it follows");
    // A version that follows something else.
    let less = saying("3", &log).with(|mut manifest| {
        manifest.controllers[0].owns.clear();
        manifest
    });
    b.catalog.replace(vec![less.installed("p.wasm")]);
    seconds(1).await;
    assert_eq!(log.take(), ["3 a/x", "3 a/y"]);
    assert_eq!((b.world.followers("ships"), b.world.followers("crates")), (1, 0));
    b.catalog.replace(Vec::new());
    seconds(1).await;
    assert_eq!(b.world.followers("ships"), 0, "nobody follows for a plugin that is gone");
    assert!(b.controllers.status().is_empty() && !*b.controllers.wanted().borrow());
}

#[tokio::test(start_paused = true)]
async fn only_who_leads_reconciles() {
    struct Dropped(Log);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.say("dropped".into());
        }
    }
    let log = Log::default();
    let said = log.clone();
    let p = plugin("1", move |key| {
        let dropped = Dropped(said.clone());
        said.say(key);
        async move {
            let _dropped = dropped;
            seconds(3_600).await;
            Ok(Outcome::Done)
        }
    });
    let b = Bench::start(p.installed("p.wasm"));
    b.leading.send_replace(false);
    b.world.put("ships", "a/x", None);
    b.world.sync("ships");
    b.world.sync("crates");
    seconds(60).await;
    assert_eq!((b.state(), log.take()), (State::Standby, vec![]));
    assert_eq!(b.world.followers("ships"), 0, "who waits costs nothing");
    assert!(*b.controllers.wanted().borrow());
    for term in 0..2 {
        b.leading.send_replace(true);
        seconds(1).await;
        assert_eq!(log.take(), ["a/x"], "term {term}");
        b.world.put("ships", "a/y", None);
        b.leading.send_replace(false);
        seconds(1).await;
        assert_eq!(log.take(), ["dropped"], "term {term}: at once");
        seconds(3_600).await;
        assert_eq!((b.state(), log.take()), (State::Standby, vec![]));
        b.world.on("ships", |shelf| shelf.objects.remove("a/y"));
    }
    b.leading.send_replace(true);
    seconds(1).await;
    b.stop.cancel();
    seconds(1).await;
    assert_eq!(log.take(), ["a/x", "dropped"], "a stop drops calls too");
    assert!(!*b.controllers.wanted().borrow(), "the lease may go once all have ended");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_granted_does_not_start_and_starts_when_it_is() {
    let log = Log::default();
    let poor = saying("1", &log).with(|mut manifest| {
        manifest.capabilities[0].objects[1].verbs = vec!["list".into()];
        manifest
    });
    let b = Bench::synced(poor.installed("p.wasm"), &["a/x"]);
    seconds(60).await;
    let State::NotGranted(why) = b.state() else {
        panic!("{:?}", b.state())
    };
    assert!(why.contains("list and watch of crates in harbor.example.com"), "{why}");
    assert_eq!(log.take(), [""; 0]);
    b.catalog.replace(vec![saying("2", &log).installed("p.wasm")]);
    seconds(1).await;
    assert_eq!(log.take(), ["2 a/x"]);
}

#[tokio::test(start_paused = true)]
async fn every_key_comes_again_with_a_resync() {
    let log = Log::default();
    let p = saying("1", &log).with(|mut manifest| {
        manifest.controllers[0].resync_seconds = 10;
        manifest
    });
    let _bench = Bench::synced(p.installed("p.wasm"), &["a/x", "a/y"]);
    seconds(1).await;
    log.take();
    seconds(10).await;
    assert_eq!(log.take(), ["1 a/x", "1 a/y"]);
}

/// A plugin without controllers asks for no election.
#[tokio::test(start_paused = true)]
async fn without_a_controller_nobody_need_lead() {
    let p = Native::collecting("p", "1", "t.example.com", |_, _| Ok(Collected::default()));
    let b = Bench::start(p.installed("p.wasm"));
    seconds(1).await;
    assert!(!*b.controllers.wanted().borrow());
    assert!(!b.metrics().contains("workqueue_depth{"));
    let text = serde_json::to_value(b.controllers.status()).unwrap();
    assert_eq!(text, serde_json::json!([]));
}
