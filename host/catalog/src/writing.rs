//! Which files of a folder are being written just now, as far as the file system tells.
//!
//! A file that was renamed into place, or whose writer has closed it, is whole and can be looked at once. One that has only begun would
//! be half a plugin: it is left alone until its writer is done, or has been silent for [`PATIENCE`] (a writer that was killed, a
//! file system that does not tell, a hard link that nobody ever writes to).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind};
use tokio::sync::Notify;

/// What is heard of a folder.
#[derive(Default)]
pub(crate) struct Writing {
    /// When each file that has a writer was last written to.
    open: Mutex<HashMap<PathBuf, Instant>>,
    /// Something is as it shall be.
    pub(crate) whole: Notify,
    /// Something is being written.
    pub(crate) half: Notify,
}

/// Silence after which a file counts as whole.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

// === impl Writing ===

impl Writing {
    /// Takes note of one event.
    pub(crate) fn hear(&self, event: notify::Result<Event>) {
        // Whatever is not understood is a reason to look.
        let Ok(event) = event else {
            return self.whole.notify_one();
        };
        let plugins = || event.paths.iter().filter(|path| is_plugin(path));
        match event.kind {
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any) => {
                let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
                let links = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|facts| facts.is_symlink());
                for path in plugins() {
                    if links(path) {
                        self.whole.notify_one();
                    } else {
                        open.insert(path.clone(), Instant::now());
                        self.half.notify_one();
                    }
                }
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Modify(ModifyKind::Metadata(_)) => {
                if plugins().next().is_some() {
                    if matches!(event.kind, EventKind::Access(_)) {
                        self.forget(&event.paths);
                    }
                    self.whole.notify_one();
                }
            }
            EventKind::Access(_) => {}
            // Also of names that are none of a plugin: a ConfigMap's files are links to what lies behind such a one.
            EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Any | EventKind::Other => {
                self.forget(&event.paths);
                self.whole.notify_one();
            }
        }
    }

    /// Whether somebody is at this file.
    pub(crate) fn is_half(&self, path: &Path) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, last| last.elapsed() < PATIENCE);
        open.contains_key(path)
    }

    fn forget(&self, paths: &[PathBuf]) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|path, _| !paths.contains(path));
    }
}

fn is_plugin(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "wasm")
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, DataChange, RenameMode};

    #[test]
    fn a_writer_is_waited_for() {
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        let created = EventKind::Create(CreateKind::File);
        let writing = Writing::default();
        // The event, its file, and whether p.wasm is half then.
        for (kind, path, half) in [
            (created, "/f/p.wasm", true),
            (written, "/f/p.wasm", true),
            (closed, "/f/other.wasm", true),
            (closed, "/f/p.wasm", false),
            (written, "/f/p.wasm", true),
            (renamed, "/f/p.wasm", false),
            (written, "/f/p.log", false),
        ] {
            writing.hear(Ok(Event::new(kind).add_path(path.into())));
            assert_eq!(writing.is_half(Path::new("/f/p.wasm")), half, "{kind:?} {path}");
        }
    }
}
