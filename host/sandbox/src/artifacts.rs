//! Compiled code, kept between starts.
//!
//! A file here is machine code that this process will run with its own rights, and the engine does not check it. So: the folder is
//! ours alone (0700, our user), so is each file (0600, a regular file, no links followed), each begins with the digest of what
//! follows, and names carry the component's digest and the engine's fingerprint (version, configuration, CPU). Whatever is not
//! exactly so is deleted and compiled again. Nothing is ever loaded from outside of the folder.
//!
//! The digest in the file is against torn writes and failing disks, not against attackers: who can write here, is us.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use crate::engine::Engine;

/// A folder of compiled components.
#[derive(Debug, Clone)]
pub struct ArtifactCache {
    folder: PathBuf,
}

/// Why the folder cannot be used. The host can run without one.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Cannot be made, read or written.
    #[error("the cache folder {folder}: {source}")]
    Io {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Somebody else could write there.
    #[error("the cache folder {folder} must belong to this user and to nobody else (mode 0700); compiled code is run unchecked")]
    NotOurs {
        /// The folder.
        folder: PathBuf,
    },
}

/// Begins each file; the number changes with the layout.
const MAGIC: &[u8; 16] = b"outrigger-code 1";
/// Half-written files older than this belong to nobody any more.
const ABANDONED: Duration = Duration::from_secs(3600);

// === impl ArtifactCache ===

impl ArtifactCache {
    /// Opens the folder, and makes it if it is not there.
    ///
    /// # Errors
    /// It cannot be made, or others could write to it.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, CacheError> {
        let folder = folder.into();
        let io = |source| CacheError::Io {
            folder: folder.clone(),
            source,
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(io)?;
        let found = std::fs::symlink_metadata(&folder).map_err(io)?;
        if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o077 != 0 {
            return Err(CacheError::NotOurs { folder });
        }
        Ok(Self { folder })
    }

    /// The compiled component, if it is here and good. What is not good is deleted.
    pub(crate) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.path(engine, digest);
        let loaded = read(&path).and_then(|file| {
            let code = checked(&file).ok_or_else(|| io::Error::other("its digest does not match"))?;
            deserialize(engine, code).map_err(|e| io::Error::other(format!("{e:#}")))
        });
        match loaded {
            Ok(component) => {
                // Its age is that of its last use. Where that cannot be written, it is compiled once more some day.
                let _ = std::fs::File::open(&path).and_then(|f| f.set_modified(SystemTime::now()));
                Some(component)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => {
                tracing::warn!(path = %path.display(), "compiled code is not usable and will be made again: {e}");
                self.remove(&path);
                None
            }
        }
    }

    /// Keeps a component's code. A failure costs the next start a compilation and nothing else, so it is only logged.
    pub(crate) fn store(&self, engine: &Engine, digest: &str, code: &[u8]) {
        let path = self.path(engine, digest);
        if let Err(e) = self.write(&path, code) {
            tracing::warn!(path = %path.display(), "compiled code could not be kept: {e}");
        }
    }

    /// Deletes what none of these components needs and nobody has used for `unused`; what another engine compiled (the binary
    /// before an upgrade, another process on this folder) is treated alike. Returns how many files went.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn prune(&self, engine: &Engine, live: &BTreeSet<String>, unused: Duration) -> Result<usize, CacheError> {
        let io = |source| CacheError::Io {
            folder: self.folder.clone(),
            source,
        };
        let keep: BTreeSet<PathBuf> = live.iter().map(|digest| self.path(engine, digest)).collect();
        let mut gone = 0;
        for entry in std::fs::read_dir(&self.folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let ours = path.extension().is_some_and(|e| e == "cwasm");
            let abandoned = path.extension().is_some_and(|e| e == "tmp") && is_older(&path, ABANDONED);
            if (ours && !keep.contains(&path) && is_older(&path, unused)) || abandoned {
                self.remove(&path);
                gone += 1;
            }
        }
        Ok(gone)
    }

    fn path(&self, engine: &Engine, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}-{}.cwasm", engine.fingerprint()))
    }

    /// Whole or not at all: written beside, synced, renamed.
    fn write(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        let permissions = std::fs::Permissions::from_mode(0o600);
        let mut file = tempfile::Builder::new()
            .prefix("new-")
            .suffix(".tmp")
            .permissions(permissions)
            .tempfile_in(&self.folder)?;
        file.write_all(MAGIC)?;
        file.write_all(&Sha256::digest(code))?;
        file.write_all(code)?;
        file.as_file().sync_all()?;
        file.persist(path).map(|_| ()).map_err(|e| e.error)
    }

    fn remove(&self, path: &Path) {
        if let Err(e) = std::fs::remove_file(path)
            && e.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), "cannot be deleted: {e}");
        }
    }
}

/// The bytes of a file that only we can have written.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mut file = std::fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o077 != 0 {
        return Err(io::Error::other("it does not belong to this user alone"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The code in a file, if it is what was written.
fn checked(file: &[u8]) -> Option<&[u8]> {
    let rest = file.strip_prefix(MAGIC)?;
    let (digest, code) = rest.split_at_checked(32)?;
    (Sha256::digest(code).as_slice() == digest).then_some(code)
}

#[expect(
    unsafe_code,
    reason = "the engine cannot check machine code; these bytes were written by `store` and have not changed since, or come from our \
              own compiler's pipe"
)]
pub(crate) fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` was made by the engine's own serialization in a process of this user. Either it comes from a file of a folder that
    // only this user can write (checked in `open` and `read`), through one open file (no swap between check and use), and its digest
    // matches; or from the pipe of a child that this process has started from its own executable (`compiler`), with its digest. The
    // engine itself refuses code of another version, configuration or CPU.
    unsafe { Component::deserialize(engine.wasmtime(), code) }
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = std::fs::symlink_metadata(path).and_then(|m| m.modified());
    modified.is_ok_and(|m| SystemTime::now().duration_since(m).is_ok_and(|a| a > age))
}
