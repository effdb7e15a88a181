//! A folder of plugins: every `*.wasm` in it is served, and every change of it takes effect, all or nothing per file.
//!
//! A version is loaded and tried beside the one that serves, then takes over in one step; calls under way end on the old one. The old
//! one stays at hand until the new one has proven itself (see [`probation`](crate::probation)), and comes back by itself if that
//! fails. Several files are loaded at once, a few at a time, and no file waits for the slow neighbour to be swapped.
//!
//! A file that cannot be loaded, or whose version was sent back, leaves the version that served from it in place; what is wrong is
//! logged once, counted, and kept in [`Folder::failures`] until the file changes: the same bytes are not tried again. Half-written files
//! are such failures, and the end of the writing is such a change (where the file system tells when a writer is done, it is waited for). Notifications of the file system only wake the scan: what counts is
//! what the scan finds, and it also runs every ten seconds (a mounted ConfigMap swaps symbolic links, and a watch can be lost).
//!
//! A version belongs to its file and its plugin's name. A file that now holds a plugin of another name holds another plugin: there
//! is nothing to go back to. A file that is gone takes its versions along, also one on probation.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};
use notify::{RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::file::{Failure, File, Version, candidates};
use crate::probation::{Probation, Terms, Verdict};
use crate::trial::{Unproven, prove};
use crate::writing::{PATIENCE, Writing};
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

/// Something that wants to hear of loads and of versions that were sent back, for metrics.
type OnLoad = Box<dyn Fn(&Path, Result<(), &Failure>) + Send + Sync>;

/// A folder whose plugins are served.
pub struct Folder {
    path: PathBuf,
    catalog: Arc<Catalog>,
    loader: Arc<dyn Loads>,
    on_load: OnLoad,
    terms: Terms,
    /// One scan at a time.
    scanning: tokio::sync::Mutex<()>,
    files: Mutex<BTreeMap<PathBuf, File>>,
    /// Told of every verdict, and of every beginning of a probation.
    decided: Arc<Notify>,
}

/// What came of one file that has changed.
enum Loaded {
    /// The same bytes as before.
    Same,
    /// The bytes of the version before the one on trial, or before the failure.
    Back,
    /// A version that may serve.
    New(Version),
    /// None; `again` if the same bytes may be better later.
    Bad {
        digest: String,
        plugin: String,
        why: String,
        again: bool,
    },
}

/// Between the first sign of a change and the look: a few renames are one change.
const SETTLE: Duration = Duration::from_millis(5);
const RESCAN: Duration = Duration::from_secs(10);
/// Files that are loaded at once: their bytes are in memory meanwhile. Compilations are bounded by the engine.
const AT_ONCE: usize = 4;

// === impl Folder ===

impl Folder {
    /// A folder, not looked at yet. `on_load` hears of each load, good or the failure, and of each version that was sent back.
    #[must_use]
    pub fn new(path: PathBuf, catalog: Arc<Catalog>, loader: Arc<dyn Loads>, on_load: OnLoad) -> Self {
        Self {
            path,
            catalog,
            loader,
            on_load,
            terms: Terms::default(),
            scanning: tokio::sync::Mutex::default(),
            files: Mutex::default(),
            decided: Arc::default(),
        }
    }

    /// Files that are not served as they are now.
    #[must_use]
    pub fn failures(&self) -> Vec<Failure> {
        self.files().values().filter_map(|f| f.failure.clone()).collect()
    }

    /// Follows the folder, and the versions on probation, until `stop`; [`Folder::scan`] once before, to know the first result.
    pub async fn follow(&self, stop: CancellationToken) {
        tokio::join!(self.watch(&stop), self.judge(&stop));
    }

    async fn watch(&self, stop: &CancellationToken) {
        let writing = Arc::new(Writing::default());
        let heard = writing.clone();
        // Kept until the end of this function: dropping it ends the watch.
        let watcher = notify::recommended_watcher(move |event| heard.hear(event))
            .and_then(|mut w| w.watch(&self.path, RecursiveMode::NonRecursive).map(|()| w));
        if let Err(error) = &watcher {
            tracing::warn!(folder = %self.path.display(), %error, "no notifications of changes here; looking every 10 s");
        }
        let mut next = Instant::now() + RESCAN;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                // What is renamed or copied together is looked at together.
                () = writing.whole.notified() => tokio::time::sleep(SETTLE).await,
                () = writing.half.notified() => {
                    next = next.min(Instant::now() + PATIENCE);
                    continue;
                }
                () = tokio::time::sleep_until(next) => {}
            }
            next = Instant::now() + RESCAN;
            let scanned = tokio::select! {
                () = stop.cancelled() => return,
                scanned = self.look(&writing) => scanned,
            };
            match scanned {
                Ok(true) => {}
                Ok(false) => next = Instant::now() + PATIENCE,
                Err(error) => {
                    tracing::warn!(folder = %self.path.display(), %error, "the plugin folder cannot be read; what is served stays");
                }
            }
        }
    }

    /// Puts versions in their place as verdicts come in.
    async fn judge(&self, stop: &CancellationToken) {
        loop {
            let next = self.files().values().filter_map(|f| f.trial.as_ref().map(|t| t.ends())).min();
            let over = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.decided.notified() => {}
                () = over => {}
            }
            self.settle();
        }
    }

    /// Looks at every file once, and loads what has changed. A version that follows another is swapped in as soon as it is ready; the
    /// rest takes effect in one step at the end.
    ///
    /// # Errors
    /// The folder cannot be read; nothing has changed then.
    pub async fn scan(&self) -> io::Result<()> {
        self.look(&Writing::default()).await.map(|_| ())
    }

    /// A scan that leaves alone what is being written; false if there was any.
    async fn look(&self, writing: &Writing) -> io::Result<bool> {
        let _one_at_a_time = self.scanning.lock().await;
        let found = candidates(&self.path).await?;
        let mut touched = Vec::new();
        let (mut changed, mut whole) = (false, true);
        {
            let mut files = self.files();
            changed |= files.keys().any(|path| !found.contains_key(path));
            for (path, stamp) in &found {
                if writing.is_half(path) {
                    whole = false;
                    continue;
                }
                let file = files.entry(path.clone()).or_default();
                if file.stamp.as_ref() != Some(stamp) {
                    // Taken before the bytes are read: what is written meanwhile is the next change.
                    file.stamp = Some(stamp.clone());
                    touched.push(path.clone());
                }
            }
        }
        let places = Semaphore::new(AT_ONCE);
        let mut loads: FuturesUnordered<_> = touched.iter().map(|path| self.load(path, &places)).collect();
        while let Some((path, loaded)) = loads.next().await {
            let mut files = self.files();
            let Some(file) = files.get_mut(path) else { continue };
            let follows = file.good.is_some();
            if self.accept(path, file, loaded) {
                changed = true;
                // What is gone goes at the end: a plugin whose file was renamed is never away.
                if follows {
                    self.serve(&mut files);
                }
            }
        }
        let mut files = self.files();
        files.retain(|path, _| found.contains_key(path));
        if changed {
            self.serve(&mut files);
        }
        Ok(whole)
    }

    /// Reads, loads and tries one file.
    async fn load<'a>(&self, path: &'a Path, places: &Semaphore) -> (&'a Path, Loaded) {
        let bad = |digest: &str, plugin: &str, why: String, again| Loaded::Bad {
            digest: digest.to_owned(),
            plugin: plugin.to_owned(),
            why,
            again,
        };
        let Ok(_place) = places.acquire().await else {
            return (path, Loaded::Same);
        };
        let bytes = match tokio::fs::read(path).await {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) => return (path, bad("", "", format!("it cannot be read: {error}"), true)),
        };
        let digest = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect::<String>();
        if let Some(file) = self.files().get(path) {
            if file.knows(&digest) {
                return (path, Loaded::Same);
            }
            if file.is_good(&digest) {
                return (path, Loaded::Back);
            }
        }
        let guest = match self.loader.load(bytes).await {
            Ok(guest) => guest,
            Err(why) => return (path, bad(&digest, "", why, false)),
        };
        if let Err(Unproven { why, again }) = prove(&*guest).await {
            return (path, bad(&digest, &guest.manifest().name, why, again));
        }
        (path, Loaded::New(Version { digest, guest }))
    }

    /// Takes note of what came of a file; true if something else is to be served from it now.
    fn accept(&self, path: &Path, file: &mut File, loaded: Loaded) -> bool {
        match loaded {
            Loaded::Same => false,
            Loaded::Back => {
                let Some(good) = &file.good else { return false };
                file.digest.clone_from(&good.digest);
                tracing::info!(file = %path.display(), digest = good.digest, "the version that served before is back");
                file.failure = None;
                (self.on_load)(path, Ok(()));
                file.trial.take().is_some()
            }
            Loaded::New(new) => {
                let manifest = new.guest.manifest();
                let digest = &new.digest;
                tracing::info!(file = %path.display(), plugin = manifest.name, version = manifest.version, %digest, "plugin loaded");
                file.digest.clone_from(digest);
                let before = file.good.as_ref().filter(|good| good.guest.manifest().name == manifest.name);
                match before.filter(|_| !file.in_the_way) {
                    Some(good) => {
                        let trial = Probation::new(new, good.guest.clone(), self.terms, self.decided.clone());
                        file.trial = Some(Arc::new(trial));
                        self.decided.notify_one();
                    }
                    None => {
                        file.trial = None;
                        file.good = Some(new);
                    }
                }
                file.failure = None;
                (self.on_load)(path, Ok(()));
                true
            }
            Loaded::Bad {
                digest,
                plugin,
                why,
                again,
            } => {
                // Told once, however often it is tried.
                let known = file.failure.as_ref().is_some_and(|f| f.why == why && f.digest == digest);
                if !known {
                    let failure = self.failure(path, plugin, digest.clone(), why);
                    self.fail(file, failure);
                }
                if again {
                    // Look again at the next scan, whatever the stamp says.
                    file.stamp = None;
                    file.digest.clear();
                } else {
                    file.digest = digest;
                }
                false
            }
        }
    }

    /// Puts versions that have passed in the place of those before them, and takes back those that have failed.
    fn settle(&self) {
        let mut files = self.files();
        let mut changed = false;
        for (path, file) in &mut *files {
            let Some(trial) = file.trial.clone() else { continue };
            let Version { digest, guest } = trial.version().clone();
            match trial.verdict() {
                Verdict::Watched => continue,
                Verdict::Passed => {
                    tracing::debug!(file = %path.display(), %digest, "the new version has proven itself");
                    file.good = Some(Version { digest, guest });
                }
                Verdict::Failed => {
                    let mut failure = self.failure(path, guest.manifest().name.clone(), digest, trial.why());
                    failure.rolled_back = true;
                    failure.still_served = true;
                    // The file may hold something else by now, which has its own story.
                    let story = file.failure.take();
                    self.fail(file, failure);
                    if file.digest != trial.version().digest {
                        file.failure = story;
                    }
                }
            }
            file.trial = None;
            changed = true;
        }
        if changed {
            self.serve(&mut files);
        }
    }

    /// Hands the catalog every good version. One that stands in another's way is a failure of its file, tried again at every
    /// change of the folder.
    fn serve(&self, files: &mut BTreeMap<PathBuf, File>) {
        let installed = files
            .iter()
            .filter_map(|(path, f)| {
                f.serving().map(|guest| Installed {
                    origin: path.to_string_lossy().into(),
                    guest,
                })
            })
            .collect();
        let refused: BTreeMap<PathBuf, (String, String)> = self
            .catalog
            .replace(installed)
            .into_iter()
            .map(|(p, why)| {
                let name = p.guest.manifest().name.clone();
                (PathBuf::from(&*p.origin), (name, why.to_string()))
            })
            .collect();
        for (path, file) in files {
            match refused.get(path) {
                Some((plugin, why)) if file.failure.as_ref().is_none_or(|f| f.why != *why) => {
                    let failure = self.failure(path, plugin.clone(), file.digest.clone(), why.clone());
                    self.fail(file, failure);
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

    fn failure(&self, path: &Path, plugin: String, digest: String, why: String) -> Failure {
        let origin = path.to_string_lossy();
        let still_served = self.catalog.snapshot().plugins().values().any(|p| *p.origin == *origin);
        Failure {
            path: path.to_owned(),
            plugin,
            digest,
            why,
            still_served,
            rolled_back: false,
        }
    }

    fn fail(&self, file: &mut File, failure: Failure) {
        let Failure { path, digest, why, .. } = &failure;
        let path = path.display();
        if failure.rolled_back {
            let plugin = &failure.plugin;
            let back = file.good.as_ref().map_or("", |good| &good.guest.manifest().version);
            tracing::error!(file = %path, plugin, digest, "back to version {back}, this one is not tried again: {why}");
        } else {
            let outcome = if failure.still_served {
                "the version that served goes on"
            } else {
                "it is not served"
            };
            tracing::error!(file = %path, digest, "plugin not loaded, {outcome}: {why}");
        }
        (self.on_load)(&failure.path, Err(&failure));
        file.failure = Some(failure);
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<PathBuf, File>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
