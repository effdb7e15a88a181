//! A folder of plugins: every `*.wasm` in it is served, and every change of it takes effect, all or nothing per file.
//!
//! A file that cannot be loaded leaves the version that was served from it in place; what is wrong is logged once, counted,
//! and kept in [`Folder::failures`] until the file changes. Half-written files are such failures, and the end of the
//! writing is such a change. Notifications of the file system only wake the scan: what counts is what the scan
//! finds, and it also runs every ten seconds (a mounted ConfigMap swaps symbolic links, and a watch can be lost).

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use notify::{RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{Catalog, Guest, Installed};

/// Makes a plugin of bytes: the sandbox, or a test's own.
#[async_trait]
pub trait Loads: Send + Sync {
    /// Checks, compiles, describes. The error is one sentence for a person.
    ///
    /// # Errors
    /// Whatever keeps the bytes from being a plugin of this host.
    async fn load(&self, bytes: Bytes) -> Result<Arc<dyn Guest>, String>;
}

/// A file that could not be served, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The file.
    pub path: PathBuf,
    /// Digest of the bytes that failed; empty if they could not be read.
    pub digest: String,
    /// One sentence.
    pub why: String,
    /// Whether an earlier version of this file is still served.
    pub still_served: bool,
}

/// Something that wants to hear of loads, for metrics.
type OnLoad = Box<dyn Fn(&Path, Result<(), &Failure>) + Send + Sync>;

/// A folder whose plugins are served.
pub struct Folder {
    path: PathBuf,
    catalog: Arc<Catalog>,
    loader: Arc<dyn Loads>,
    on_load: OnLoad,
    files: tokio::sync::Mutex<BTreeMap<PathBuf, File>>,
    failures: Mutex<Vec<Failure>>,
}

/// What is known of one file.
#[derive(Default)]
struct File {
    stamp: Option<Stamp>,
    digest: String,
    good: Option<Arc<dyn Guest>>,
    failure: Option<Failure>,
    /// The newest version is good in itself, but another plugin has its name or resource.
    in_the_way: bool,
}

/// Cheap signs of a change: when none of them moved, the bytes are not read again.
#[derive(Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    /// Inode and time of its last change: a copy may bring length and modification time along, but not these.
    inode: (u64, i64, i64),
    real: PathBuf,
}

const QUIET: Duration = Duration::from_millis(100);
/// The longest wait for quiet.
const PATIENCE: Duration = Duration::from_secs(2);
const RESCAN: Duration = Duration::from_secs(10);

// === impl Folder ===

impl Folder {
    /// A folder, not looked at yet. `on_load` hears of each load: good, or the failure.
    #[must_use]
    pub fn new(path: PathBuf, catalog: Arc<Catalog>, loader: Arc<dyn Loads>, on_load: OnLoad) -> Self {
        Self {
            path,
            catalog,
            loader,
            on_load,
            files: tokio::sync::Mutex::default(),
            failures: Mutex::default(),
        }
    }

    /// Files that are not served as they are now.
    #[must_use]
    pub fn failures(&self) -> Vec<Failure> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Follows the folder until `stop`; [`Folder::scan`] once before, to know the first result.
    pub async fn follow(&self, stop: CancellationToken) {
        let touched = Arc::new(Notify::new());
        let wake = touched.clone();
        // Kept until the end of this function: dropping it ends the watch.
        let watcher = notify::recommended_watcher(move |_| wake.notify_one())
            .and_then(|mut w| w.watch(&self.path, RecursiveMode::NonRecursive).map(|()| w));
        if let Err(error) = &watcher {
            tracing::warn!(folder = %self.path.display(), %error, "no notifications of changes here; looking every 10 s");
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = touched.notified() => {
                    // A copy is many events: wait until nothing has moved for a moment.
                    // But not for ever: somebody may write a log into this folder all day.
                    let _ = tokio::time::timeout(PATIENCE, async {
                        while tokio::time::timeout(QUIET, touched.notified()).await.is_ok() {}
                    })
                    .await;
                }
                () = tokio::time::sleep(RESCAN) => {}
            }
            if let Err(error) = self.scan().await {
                tracing::warn!(folder = %self.path.display(), %error, "the plugin folder cannot be read; what is served stays");
            }
        }
    }

    /// Looks at every file once, loads what has changed, and serves the result in one step.
    ///
    /// # Errors
    /// The folder cannot be read; nothing has changed then.
    pub async fn scan(&self) -> io::Result<()> {
        let mut files = self.files.lock().await;
        let found = candidates(&self.path).await?;
        let mut changed = files.len();
        files.retain(|path, _| found.contains_key(path));
        changed -= files.len();
        for (path, stamp) in found {
            let file = files.entry(path.clone()).or_default();
            if file.stamp.as_ref() == Some(&stamp) {
                continue;
            }
            file.stamp = Some(stamp);
            if self.load(&path, file).await {
                changed += 1;
            }
        }
        if changed > 0 {
            self.serve(&mut files);
        }
        let failures = files.values().filter_map(|f| f.failure.clone()).collect();
        *self.failures.lock().unwrap_or_else(PoisonError::into_inner) = failures;
        Ok(())
    }

    /// Loads one file; true if there is a new good version.
    async fn load(&self, path: &Path, file: &mut File) -> bool {
        let bytes = match tokio::fs::read(path).await {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) => {
                // Look again at the next scan, whatever the stamp says.
                file.stamp = None;
                self.fail(path, file, String::new(), format!("it cannot be read: {error}"));
                return false;
            }
        };
        let digest = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect::<String>();
        if digest == file.digest && (file.good.is_some() || file.failure.is_some()) {
            return false;
        }
        file.digest.clone_from(&digest);
        match self.loader.load(bytes).await {
            Ok(guest) => {
                let manifest = guest.manifest();
                tracing::info!(file = %path.display(), plugin = manifest.name, version = manifest.version, %digest, "plugin loaded");
                file.good = Some(guest);
                file.failure = None;
                (self.on_load)(path, Ok(()));
                true
            }
            Err(why) => {
                self.fail(path, file, digest, why);
                false
            }
        }
    }

    /// Hands the catalog every good version. One that stands in another's way is a failure of its file, tried again at every
    /// change of the folder.
    fn serve(&self, files: &mut BTreeMap<PathBuf, File>) {
        let installed = files
            .iter()
            .filter_map(|(path, f)| {
                f.good.clone().map(|guest| Installed {
                    origin: path.to_string_lossy().into(),
                    guest,
                })
            })
            .collect();
        let refused: BTreeMap<PathBuf, String> = self
            .catalog
            .replace(installed)
            .into_iter()
            .map(|(p, why)| (PathBuf::from(&*p.origin), why.to_string()))
            .collect();
        for (path, file) in files {
            match refused.get(path) {
                Some(why) if file.failure.as_ref().is_none_or(|f| f.why != *why) => {
                    self.fail(path, file, file.digest.clone(), why.clone());
                }
                Some(_) => {}
                None if file.in_the_way => {
                    file.failure = None;
                    (self.on_load)(path, Ok(()));
                }
                None => {}
            }
            file.in_the_way = refused.contains_key(path);
        }
    }

    fn fail(&self, path: &Path, file: &mut File, digest: String, why: String) {
        let origin = path.to_string_lossy();
        let still_served = self.catalog.snapshot().plugins().values().any(|p| *p.origin == *origin);
        let failure = Failure {
            path: path.to_owned(),
            digest,
            why,
            still_served,
        };
        let outcome = if failure.still_served {
            "the version that served goes on"
        } else {
            "it is not served"
        };
        tracing::error!(file = %path.display(), digest = failure.digest, "plugin not loaded, {outcome}: {}", failure.why);
        (self.on_load)(path, Err(&failure));
        file.failure = Some(failure);
    }
}

/// The `*.wasm` files of a folder with their stamps, hidden ones left out.
async fn candidates(folder: &Path) -> io::Result<BTreeMap<PathBuf, Stamp>> {
    let mut found = BTreeMap::new();
    let mut entries = tokio::fs::read_dir(folder).await?;
    while let Some(entry) = entries.next_entry().await? {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if hidden || path.extension().is_none_or(|e| e != "wasm") {
            continue;
        }
        // A file that vanished meanwhile is simply not there.
        let Ok(facts) = tokio::fs::metadata(&path).await else {
            continue;
        };
        if facts.is_file() {
            let real = tokio::fs::canonicalize(&path).await.unwrap_or_else(|_| path.clone());
            found.insert(
                path,
                Stamp {
                    modified: facts.modified().ok(),
                    length: facts.len(),
                    inode: (facts.ino(), facts.ctime(), facts.ctime_nsec()),
                    real,
                },
            );
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Native;
    use outrigger_sandbox::Collected;

    /// Takes `NAME GROUP` for a plugin, anything else for garbage.
    struct Words;

    #[async_trait]
    impl Loads for Words {
        async fn load(&self, bytes: Bytes) -> Result<Arc<dyn Guest>, String> {
            let text = String::from_utf8_lossy(&bytes);
            let (name, group) = text.split_once(' ').ok_or("this is no plugin")?;
            let work = |_: &str, _: &[u8]| Ok(Collected::default());
            Ok(Native::collecting(name, &text, group, work).installed("").guest)
        }
    }

    struct Bench {
        dir: tempfile::TempDir,
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
            let folder = Arc::new(Folder::new(dir.path().into(), catalog.clone(), Arc::new(Words), on_load));
            Self {
                dir,
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
        assert_eq!(b.loads(), ["a.wasm ok", "b.wasm this is no plugin"]);
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
        assert_eq!(b.loads(), ["a.wasm ok", "b.wasm ok"]);
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
                tokio::time::sleep(QUIET / 10).await;
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
}
