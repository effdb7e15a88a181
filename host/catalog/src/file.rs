//! What is known of one file of the plugin folder: its version that has proven itself, and a newer one that has yet to.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::Guest;
use crate::probation::Probation;

/// A file that could not be served, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The file.
    pub path: PathBuf,
    /// The plugin's name; empty if it is not known.
    pub plugin: String,
    /// Digest of the bytes that failed; empty if they could not be read.
    pub digest: String,
    /// One sentence.
    pub why: String,
    /// Whether an earlier version of this file is still served.
    pub still_served: bool,
    /// Whether it served for a while, and failed.
    pub rolled_back: bool,
}

/// One version of one file.
#[derive(Clone)]
pub(crate) struct Version {
    /// Of the file's bytes.
    pub(crate) digest: String,
    pub(crate) guest: Arc<dyn Guest>,
}

/// What is known of one file.
#[derive(Default)]
pub(crate) struct File {
    pub(crate) stamp: Option<Stamp>,
    /// Of the bytes that were read last.
    pub(crate) digest: String,
    /// The version that serves, or served before the one on trial.
    pub(crate) good: Option<Version>,
    /// A newer version, over the good one.
    pub(crate) trial: Option<Arc<Probation>>,
    pub(crate) failure: Option<Failure>,
    /// The newest version is good in itself, but another plugin has its name or resource.
    pub(crate) in_the_way: bool,
}

/// Cheap signs of a change: when none of them moved, the bytes are not read again.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    /// Inode and time of its last change: a copy may bring length and modification time along, but not these.
    inode: (u64, i64, i64),
    real: PathBuf,
}

// === impl File ===

impl File {
    /// Whoever answers for it.
    pub(crate) fn serving(&self) -> Option<Arc<dyn Guest>> {
        let trial = self.trial.clone().map(|trial| trial as Arc<dyn Guest>);
        trial.or_else(|| self.good.as_ref().map(|good| good.guest.clone()))
    }

    /// Whether these bytes have been judged already, and nothing has changed since.
    pub(crate) fn knows(&self, digest: &str) -> bool {
        self.digest == digest && (self.good.is_some() || self.failure.is_some())
    }

    /// Whether these are the bytes of the version that serves, or that would if the one on trial failed.
    pub(crate) fn is_good(&self, digest: &str) -> bool {
        self.good.as_ref().is_some_and(|good| good.digest == digest)
    }
}

/// The `*.wasm` files of a folder with their stamps, hidden ones left out.
pub(crate) async fn candidates(folder: &Path) -> io::Result<BTreeMap<PathBuf, Stamp>> {
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
