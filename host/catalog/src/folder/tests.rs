//! A folder whose files come, change, break, go back, and go.

use super::*;
use crate::testing::Native;
use outrigger_sandbox::{CallError, Collected, HostError, TrapKind, TrapReport};

/// Takes `NAME GROUP [TRAIT]` for a plugin, anything else for garbage.
#[derive(Default)]
struct Words {
    /// Loads under way, and the most there ever were.
    busy: Mutex<(usize, usize)>,
    /// Whether what `waits` waits for is there.
    there: Arc<std::sync::atomic::AtomicBool>,
    /// What `slow` waits for.
    go: Notify,
}

/// A plugin with a test of itself.
struct Told {
    native: Arc<dyn Guest>,
    text: String,
    there: Arc<std::sync::atomic::AtomicBool>,
}

#[async_trait]
impl Guest for Told {
    fn manifest(&self) -> &outrigger_api::manifest::Manifest {
        self.native.manifest()
    }

    fn digest(&self) -> &str {
        self.native.digest()
    }

    async fn collect(&self, name: &str, target: &str, state: &[u8], deadline: Duration) -> Result<Collected, CallError> {
        self.native.collect(name, target, state, deadline).await
    }

    async fn migrate(&self, _: &str, _: u32, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    async fn self_test(&self, _: Duration) -> Result<(), CallError> {
        let error = match &*self.text {
            text if text.ends_with(" fails") => HostError::Failed("two and two are five".into()),
            text if text.ends_with(" waits") && !self.there.load(std::sync::atomic::Ordering::SeqCst) => {
                HostError::Unavailable("the world is away".into())
            }
            _ => return Ok(()),
        };
        let (plugin, call) = (self.native.manifest().name.clone(), "self-test".into());
        let fields = Vec::new();
        Err(CallError::Refused {
            plugin,
            call,
            error,
            fields,
        })
    }
}

#[async_trait]
impl Loads for Words {
    async fn load(&self, bytes: Bytes) -> Result<Arc<dyn Guest>, String> {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        {
            let mut busy = self.busy.lock().unwrap();
            busy.0 += 1;
            busy.1 = busy.1.max(busy.0);
        }
        if text.ends_with(" slow") {
            self.go.notified().await;
        }
        tokio::task::yield_now().await;
        self.busy.lock().unwrap().0 -= 1;
        let (name, rest) = text.split_once(' ').ok_or("this is no plugin")?;
        let traps = text.ends_with(" traps");
        let work = move |_: &str, _: &[u8]| {
            if traps {
                let (kind, panic, frames) = (TrapKind::Unreachable, None, Vec::new());
                let report = Box::new(TrapReport { kind, panic, frames });
                return Err(CallError::Trap {
                    plugin: "a".into(),
                    call: "collect".into(),
                    report,
                });
            }
            Ok(Collected::default())
        };
        let group = rest.split(' ').next().unwrap_or_default();
        let native = Native::collecting(name, &text, group, work).installed("").guest;
        let there = self.there.clone();
        Ok(Arc::new(Told { native, text, there }))
    }
}

struct Bench {
    dir: tempfile::TempDir,
    words: Arc<Words>,
    catalog: Arc<Catalog>,
    folder: Arc<Folder>,
    loads: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Arc::new(Catalog::new(Vec::new(), Arc::new(outrigger_storage::Nothing)));
        let loads = Arc::new(Mutex::new(Vec::new()));
        let heard = loads.clone();
        let on_load: OnLoad = Box::new(move |path, outcome| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            heard
                .lock()
                .unwrap()
                .push(format!("{name} {}", outcome.map_or_else(|f| f.why.clone(), |()| "ok".into())));
        });
        let words = Arc::new(Words::default());
        let folder = Arc::new(Folder::new(dir.path().into(), catalog.clone(), words.clone(), on_load));
        Self {
            dir,
            words,
            catalog,
            folder,
            loads,
        }
    }

    fn write(&self, name: &str, text: &str) {
        // By rename, so that every write is a new file to the scan, however coarse the clock of the file system.
        let new = self.dir.path().join(format!("{name}.new"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.dir.path().join(name)).unwrap();
    }

    async fn scan(&self) -> Vec<String> {
        self.folder.scan().await.unwrap();
        self.catalog
            .snapshot()
            .plugins()
            .values()
            .map(|p| p.guest.digest().to_owned())
            .collect()
    }

    async fn tick(&self, plugin: &str) -> Result<Collected, CallError> {
        let guest = self.catalog.snapshot().plugins()[plugin].guest.clone();
        guest.collect("things", "n", b"", Duration::from_secs(9)).await
    }

    fn served(&self) -> Vec<String> {
        let snapshot = self.catalog.snapshot();
        snapshot.plugins().values().map(|p| p.guest.digest().to_owned()).collect()
    }

    fn loads(&self) -> Vec<String> {
        std::mem::take(&mut self.loads.lock().unwrap())
    }
}

#[tokio::test]
async fn files_come_change_break_and_go() {
    let b = Bench::new();
    b.write("a.wasm", "a one.example.com");
    b.write("b.wasm", "garbage");
    b.write("notes.txt", "a file of another kind");
    b.write(".hidden.wasm", "h hidden.example.com");
    assert_eq!(b.scan().await, ["a one.example.com"]);
    let mut loads = b.loads();
    loads.sort();
    assert_eq!(loads, ["a.wasm ok", "b.wasm this is no plugin"]);
    assert_eq!(b.folder.failures().len(), 1);

    assert_eq!(b.scan().await, ["a one.example.com"]);
    assert!(b.loads().is_empty(), "what has not changed is not loaded again");

    b.write("a.wasm", "half-written");
    assert_eq!(b.scan().await, ["a one.example.com"], "the version that served goes on");
    let failure = b.folder.failures().into_iter().find(|f| f.path.ends_with("a.wasm")).unwrap();
    assert!(failure.still_served);
    b.loads();

    b.write("a.wasm", "a two.example.com");
    b.write("b.wasm", "b three.example.com");
    assert_eq!(b.scan().await, ["a two.example.com", "b three.example.com"]);
    let mut loads = b.loads();
    loads.sort();
    assert_eq!(loads, ["a.wasm ok", "b.wasm ok"]);
    assert!(b.folder.failures().is_empty());

    std::fs::remove_file(b.dir.path().join("a.wasm")).unwrap();
    assert_eq!(b.scan().await, ["b three.example.com"]);
}

#[tokio::test]
async fn a_file_that_was_broken_may_come_back_as_it_served_before() {
    let b = Bench::new();
    b.write("a.wasm", "a one.example.com");
    b.scan().await;
    b.write("a.wasm", "broken");
    b.scan().await;
    b.write("a.wasm", "a one.example.com");
    assert_eq!(b.scan().await, ["a one.example.com"]);
    assert!(b.folder.failures().is_empty());
}

#[tokio::test]
async fn whoever_stands_in_the_way_is_tried_again_when_the_way_is_free() {
    let b = Bench::new();
    b.write("a.wasm", "a one.example.com");
    b.scan().await;
    b.write("b.wasm", "b one.example.com");
    assert_eq!(b.scan().await, ["a one.example.com"]);
    assert!(
        b.folder.failures()[0].why.contains("already served"),
        "{:?}",
        b.folder.failures()
    );
    std::fs::remove_file(b.dir.path().join("a.wasm")).unwrap();
    assert_eq!(b.scan().await, ["b one.example.com"]);
    assert!(b.folder.failures().is_empty());
}

#[tokio::test]
async fn a_folder_that_cannot_be_read_changes_nothing() {
    let b = Bench::new();
    b.write("a.wasm", "a one.example.com");
    b.scan().await;
    std::fs::remove_dir_all(b.dir.path()).unwrap();
    assert!(b.folder.scan().await.is_err());
    assert_eq!(b.catalog.snapshot().plugins().len(), 1);
}

#[tokio::test]
async fn chatter_in_the_folder_holds_nothing_up() {
    let b = Bench::new();
    let stop = CancellationToken::new();
    let (folder, token) = (b.folder.clone(), stop.clone());
    let following = tokio::spawn(async move { folder.follow(token).await });
    let (log, token) = (b.dir.path().join("chatter.log"), stop.clone());
    let chatter = tokio::spawn(async move {
        while !token.is_cancelled() {
            std::fs::write(&log, b"and on").unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let mut changes = b.catalog.changes();
    tokio::time::sleep(Duration::from_millis(50)).await;
    b.write("a.wasm", "a one.example.com");
    tokio::time::timeout(Duration::from_secs(60), changes.changed())
        .await
        .unwrap()
        .unwrap();
    stop.cancel();
    chatter.await.unwrap();
    following.await.unwrap();
}

#[tokio::test]
async fn a_copy_with_the_old_times_and_length_is_a_change() {
    let b = Bench::new();
    b.write("a.wasm", "a one.example.com");
    b.scan().await;
    let file = b.dir.path().join("a.wasm");
    let then = std::fs::metadata(&file).unwrap().modified().unwrap();
    let other = b.dir.path().join("other");
    std::fs::write(&other, "a two.example.com").unwrap();
    std::fs::File::options()
        .write(true)
        .open(&other)
        .unwrap()
        .set_modified(then)
        .unwrap();
    std::fs::rename(&other, &file).unwrap();
    assert_eq!(b.scan().await, ["a two.example.com"]);
}

#[tokio::test]
async fn changes_are_noticed() {
    let b = Bench::new();
    let stop = CancellationToken::new();
    let (folder, token) = (b.folder.clone(), stop.clone());
    let following = tokio::spawn(async move { folder.follow(token).await });
    let mut changes = b.catalog.changes();
    tokio::time::sleep(Duration::from_millis(50)).await;
    b.write("a.wasm", "a one.example.com");
    tokio::time::timeout(Duration::from_secs(60), changes.changed())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(b.catalog.snapshot().plugins().len(), 1);
    stop.cancel();
    following.await.unwrap();
}

#[tokio::test]
async fn a_version_that_fails_its_first_calls_goes_and_is_not_tried_again() {
    let b = Bench::new();
    b.write("a.wasm", "a one.example.com");
    b.scan().await;
    b.write("a.wasm", "a one.example.com traps");
    assert_eq!(
        b.scan().await,
        ["a one.example.com traps"],
        "how it is described, loaded and tested says nothing against it"
    );
    b.loads();
    for _ in 0..2 {
        b.tick("a").await.unwrap();
    }
    b.folder.settle();
    assert_eq!(b.served(), ["a one.example.com"]);
    let failure = b.folder.failures().remove(0);
    assert!(
        failure.rolled_back && failure.still_served && failure.plugin == "a",
        "{failure:?}"
    );
    assert!(failure.why.starts_with("2 of its first 2 calls failed"), "{}", failure.why);
    assert_eq!(b.loads(), [format!("a.wasm {}", failure.why)]);

    // The same bytes in a file that was touched.
    b.write("a.wasm", "a one.example.com traps");
    assert_eq!(b.scan().await, ["a one.example.com"]);
    assert!(b.loads().is_empty());
    assert_eq!(b.folder.failures().len(), 1, "and it still says why");

    b.write("a.wasm", "a one.example.com better");
    assert_eq!(b.scan().await, ["a one.example.com better"]);
    assert!(b.folder.failures().is_empty());
}

#[tokio::test]
async fn the_version_before_can_be_put_back_during_probation() {
    let b = Bench::new();
    b.write("a.wasm", "a one.example.com");
    b.scan().await;
    b.write("a.wasm", "a two.example.com");
    b.scan().await;
    b.write("a.wasm", "a one.example.com");
    assert_eq!(b.scan().await, ["a one.example.com"]);
    assert!(
        b.folder.files().values().all(|f| f.trial.is_none()),
        "it has proven itself before"
    );
}

#[tokio::test(start_paused = true)]
async fn a_version_that_nobody_calls_has_passed_after_its_time() {
    let b = Bench::new();
    let stop = CancellationToken::new();
    b.write("a.wasm", "a one.example.com");
    b.scan().await;
    let old = Arc::downgrade(&b.folder.files().values().next().unwrap().good.as_ref().unwrap().guest);
    let (folder, token) = (b.folder.clone(), stop.clone());
    let judging = tokio::spawn(async move { folder.judge(&token).await });
    b.write("a.wasm", "a two.example.com");
    assert_eq!(b.scan().await, ["a two.example.com"]);
    tokio::time::sleep(Terms::default().time - Duration::from_secs(1)).await;
    assert!(old.upgrade().is_some());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(old.upgrade().is_none(), "its memory is free");
    assert_eq!(b.served(), ["a two.example.com"]);
    stop.cancel();
    judging.await.unwrap();
}

#[tokio::test]
async fn a_plugin_removed_during_probation_is_gone() {
    let b = Bench::new();
    b.write("a.wasm", "a one.example.com");
    b.scan().await;
    b.write("a.wasm", "a one.example.com traps");
    b.scan().await;
    let guest = b.catalog.snapshot().plugins()["a"].guest.clone();
    std::fs::remove_file(b.dir.path().join("a.wasm")).unwrap();
    assert!(b.scan().await.is_empty());
    for _ in 0..3 {
        let _ = guest.collect("things", "n", b"", Duration::from_secs(9)).await;
    }
    b.folder.settle();
    assert!(b.served().is_empty(), "what ends on it brings nothing back");
    assert!(b.folder.failures().is_empty());
}

#[tokio::test]
async fn a_plugin_renamed_is_another_plugin() {
    let b = Bench::new();
    b.write("a.wasm", "a one.example.com");
    b.scan().await;
    b.write("a.wasm", "z one.example.com");
    assert_eq!(b.scan().await, ["z one.example.com"]);
    assert!(b.folder.files().values().all(|f| f.trial.is_none()));
}

#[tokio::test]
async fn what_fails_its_own_test_is_not_served() {
    let b = Bench::new();
    b.write("a.wasm", "a one.example.com");
    b.scan().await;
    b.write("a.wasm", "a one.example.com fails");
    assert_eq!(b.scan().await, ["a one.example.com"]);
    let failure = b.folder.failures().remove(0);
    assert_eq!(
        failure.why,
        "its test of itself failed: plugin a: self-test: failed: two and two are five"
    );
    assert!(failure.still_served && !failure.rolled_back);

    // What its test needs is not there yet: tried at every scan, told once.
    b.write("a.wasm", "a one.example.com waits");
    b.loads();
    for _ in 0..3 {
        assert_eq!(b.scan().await, ["a one.example.com"]);
    }
    assert_eq!(b.loads().len(), 1);
    b.words.there.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(b.scan().await, ["a one.example.com waits"]);
    assert!(b.folder.failures().is_empty());
}

#[tokio::test]
async fn the_same_bytes_under_two_names_are_served_once_and_said_so() {
    let b = Bench::new();
    b.write("a.wasm", "a one.example.com");
    b.write("b.wasm", "a one.example.com");
    assert_eq!(b.scan().await, ["a one.example.com"]);
    let failure = b.folder.failures().remove(0);
    assert!(
        failure.path.ends_with("b.wasm") && failure.why.contains("is already served from"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn many_files_at_once_are_loaded_a_few_at_a_time() {
    let b = Bench::new();
    for n in 0..50 {
        b.write(&format!("p{n}.wasm"), &format!("p{n} g{n}.example.com"));
    }
    assert_eq!(b.scan().await.len(), 50);
    assert_eq!(*b.words.busy.lock().unwrap(), (0, AT_ONCE));
}

#[tokio::test]
async fn a_new_version_does_not_wait_for_a_slow_neighbour() {
    let b = Bench::new();
    b.write("a.wasm", "a one.example.com");
    b.write("b.wasm", "b one.example.com");
    b.scan().await;
    b.write("a.wasm", "a one.example.com slow");
    b.write("b.wasm", "b two.example.com");
    let folder = b.folder.clone();
    let scanning = tokio::spawn(async move { folder.scan().await });
    let mut changes = b.catalog.changes();
    tokio::time::timeout(
        Duration::from_secs(60),
        changes.wait_for(|_| b.served() == ["a one.example.com", "b two.example.com"]),
    )
    .await
    .unwrap()
    .unwrap();
    // It changes while it is being compiled: both versions are whole, the newer one stays.
    b.write("a.wasm", "a three.example.com");
    b.words.go.notify_one();
    scanning.await.unwrap().unwrap();
    assert_eq!(b.served(), ["a one.example.com slow", "b two.example.com"]);
    assert_eq!(b.scan().await, ["a three.example.com", "b two.example.com"]);
}

#[tokio::test]
async fn what_is_being_written_is_left_alone_until_its_writer_is_done() {
    use std::io::Write as _;
    let b = Bench::new();
    let stop = CancellationToken::new();
    let (folder, token) = (b.folder.clone(), stop.clone());
    let following = tokio::spawn(async move { folder.follow(token).await });
    let mut changes = b.catalog.changes();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut slow = std::fs::File::create(b.dir.path().join("a.wasm")).unwrap();
    slow.write_all(b"half").unwrap();
    b.write("b.wasm", "b one.example.com");
    let wait = Duration::from_secs(60);
    tokio::time::timeout(wait, changes.changed()).await.unwrap().unwrap();
    assert_eq!(b.loads(), ["b.wasm ok"], "the neighbour came in meanwhile");
    slow.set_len(0).unwrap();
    std::io::Seek::rewind(&mut slow).unwrap();
    slow.write_all(b"a two.example.com").unwrap();
    drop(slow);
    tokio::time::timeout(wait, changes.changed()).await.unwrap().unwrap();
    assert_eq!(b.loads(), ["a.wasm ok"]);
    stop.cancel();
    following.await.unwrap();
}
