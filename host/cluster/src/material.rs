//! Files that change under us: CAs, certificates, keys and tokens, read anew when they do.
//!
//! Kubernetes rotates what it mounts (a token every hour, a CA some day) by swapping a symbolic link; others write in place.
//! Either shows as another modification time, length or inode. Looking costs one `stat` per file and happens at most once a
//! second. A file that cannot be read leaves the last good content in force.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tracing::{info, warn};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Something made from files, made anew when they change.
pub(crate) struct Followed<T, E> {
    what: &'static str,
    value: ArcSwap<T>,
    make: Box<dyn Fn() -> Result<T, E> + Send + Sync>,
    /// The sentinel, and whether the last making failed and is to be tried again.
    watch: Mutex<(Sentinel, bool)>,
}

/// Notices that one of some files has changed.
#[derive(Debug)]
struct Sentinel {
    files: Vec<(PathBuf, Option<Stamp>)>,
    looked: Instant,
}

/// What tells two contents of a file apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

// === impl Followed ===

impl<T, E: std::error::Error> Followed<T, E> {
    /// Makes the first value from these files.
    pub(crate) fn new(
        what: &'static str,
        files: impl IntoIterator<Item = PathBuf>,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        let sentinel = Sentinel::new(files);
        let value = ArcSwap::from_pointee(make()?);
        Ok(Self {
            what,
            value,
            make: Box::new(make),
            watch: Mutex::new((sentinel, false)),
        })
    }

    /// The value as the files have it, give or take a second; the last good one if they make none.
    pub(crate) fn get(&self) -> Arc<T> {
        // Who finds the lock taken goes on with what there is: somebody else is looking.
        if let Ok(mut watch) = self.watch.try_lock() {
            let (sentinel, failed) = &mut *watch;
            if sentinel.due() && (sentinel.look() || *failed) {
                match (self.make)() {
                    Ok(new) => {
                        self.value.store(Arc::new(new));
                        info!("{} read anew", self.what);
                        *failed = false;
                    }
                    Err(error) => {
                        if !*failed {
                            warn!("{} changed but cannot be used, the last good one stays: {error}", self.what);
                        }
                        *failed = true;
                    }
                }
            }
        }
        self.value.load_full()
    }
}

// === impl Sentinel ===

impl Sentinel {
    /// Watches these files from now on. Make it before reading them, so that a change in between is seen.
    fn new(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let stamped = |path: PathBuf| {
            let stamp = stamp(&path);
            (path, stamp)
        };
        let files = files.into_iter().map(stamped).collect();
        Self {
            files,
            looked: Instant::now(),
        }
    }

    /// Whether it is time to look.
    fn due(&self) -> bool {
        !self.files.is_empty() && self.looked.elapsed() >= LOOK_EVERY
    }

    /// Whether a file has changed since the last look.
    fn look(&mut self) -> bool {
        self.looked = Instant::now();
        let mut changed = false;
        for (path, known) in &mut self.files {
            let now = stamp(path);
            changed |= *known != now;
            *known = now;
        }
        changed
    }
}

/// Reads a file, naming it when that fails.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, io::Error> {
    fs::read(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        modified: metadata.modified().ok(),
        length: metadata.len(),
        inode: inode(&metadata),
    })
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_change_is_seen_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, "one").unwrap();
        let mut sentinel = Sentinel::new([file.clone()]);
        type Change = fn(&Path);
        let cases: [(&str, Change, bool); 5] = [
            ("nothing", |_| {}, false),
            ("written in place", |file| fs::write(file, "longer").unwrap(), true),
            (
                "swapped by rename, same length",
                |file| {
                    let new = file.with_extension("new");
                    fs::write(&new, "LONGER").unwrap();
                    fs::rename(new, file).unwrap();
                },
                true,
            ),
            ("gone", |file| fs::remove_file(file).unwrap(), true),
            ("back", |file| fs::write(file, "three").unwrap(), true),
        ];
        for (name, change, expected) in cases {
            change(&file);
            assert_eq!(sentinel.look(), expected, "{name}");
            assert!(!sentinel.look(), "{name}: seen twice");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("/nowhere/ca.crt")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/ca.crt"), "{error}");
    }
}
