//! Small durable state of plugins: keys and values in spaces, each with a quota.
//!
//! What is promised: a value is on the disk when [`Store::set`] returns, a space never holds more than its quota, keys of one space are
//! not seen from another, and a file that is damaged or in use is refused with a sentence instead of being written to. The store blocks;
//! whoever calls it from a task does so on a thread made for that.
//!
//! Behind the trait [`KeyValues`] stands one file with transactions and checksums ([`Store`]).

use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};

/// Keys and values in spaces. All of it blocks.
pub trait KeyValues: Send + Sync {
    /// The value, or none.
    ///
    /// # Errors
    /// See [`KvError`], here and below.
    fn get(&self, space: &str, key: &str) -> Result<Option<Bytes>, KvError>;
    /// Stores; durable when it returns.
    ///
    /// # Errors
    /// The quota, too: nothing has changed then.
    fn set(&self, space: &str, key: &str, value: &[u8], quota: u64) -> Result<(), KvError>;
    /// Removes; fine if absent. Durable when it returns.
    ///
    /// # Errors
    /// See [`KvError`].
    fn delete(&self, space: &str, key: &str) -> Result<(), KvError>;
    /// Keys with a prefix, sorted by their bytes, at most `most` of them behind `after`.
    ///
    /// # Errors
    /// See [`KvError`].
    fn keys(&self, space: &str, prefix: &str, after: &str, most: usize) -> Result<Vec<String>, KvError>;
}

/// Why the store cannot do it.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// Another process has it.
    #[error("{path:?} is in use by another process; each host needs a state folder of its own")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is not a store, or a damaged one.
    #[error("{path:?} is damaged or not a store ({why}); move it away to begin with empty state")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The disk.
    #[error("the state cannot be kept: {0}")]
    Disk(String),
    /// The space is full.
    #[error("the quota of {quota} bytes is used up: {used} are in use, {wanted} more are wanted")]
    Quota {
        /// The most bytes of the space.
        quota: u64,
        /// Bytes in use.
        used: u64,
        /// Bytes that this would add.
        wanted: u64,
    },
}

/// One file.
pub struct Store {
    db: Database,
    path: PathBuf,
}

/// By space and key.
const VALUES: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("values");
/// Bytes of keys and values, by space.
const USED: TableDefinition<'_, &str, u64> = TableDefinition::new("used");
/// The file in the state folder.
const FILE: &str = "plugins.redb";

// === impl Store ===

impl Store {
    /// Opens the store in a folder, which is made if need be and is its owner's alone.
    ///
    /// # Errors
    /// It is in use, damaged, or cannot be made.
    pub fn open(folder: &Path) -> Result<Self, KvError> {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        let disk = |e: std::io::Error| KvError::Disk(format!("{}: {e}", folder.display()));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(disk)?;
        let path = folder.join(FILE);
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(disk)?;
        let opened = FileBackend::new(file).and_then(|file| Database::builder().create_with_backend(file));
        let db = opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => KvError::InUse { path: path.clone() },
            DatabaseError::Storage(redb::StorageError::Io(e)) if e.kind() != std::io::ErrorKind::InvalidData => {
                KvError::Disk(format!("{}: {e}", path.display()))
            }
            error => KvError::Damaged {
                path: path.clone(),
                why: error.to_string(),
            },
        })?;
        let this = Self { db, path };
        // Both tables exist from the first on, so that reading needs no write.
        let write = this.db.begin_write().map_err(failed)?;
        write.open_table(VALUES).map_err(|e| this.damaged(&e))?;
        write.open_table(USED).map_err(|e| this.damaged(&e))?;
        write.commit().map_err(failed)?;
        Ok(this)
    }

    fn damaged(&self, why: &dyn fmt::Display) -> KvError {
        KvError::Damaged {
            path: self.path.clone(),
            why: why.to_string(),
        }
    }
}

impl KeyValues for Store {
    fn get(&self, space: &str, key: &str) -> Result<Option<Bytes>, KvError> {
        let read = self.db.begin_read().map_err(failed)?;
        let values = read.open_table(VALUES).map_err(failed)?;
        let found = values.get((space, key)).map_err(failed)?;
        Ok(found.map(|value| Bytes::copy_from_slice(value.value())))
    }

    fn set(&self, space: &str, key: &str, value: &[u8], quota: u64) -> Result<(), KvError> {
        // Dropped without a commit it changes nothing.
        let write = self.db.begin_write().map_err(failed)?;
        {
            let mut values = write.open_table(VALUES).map_err(failed)?;
            let mut used = write.open_table(USED).map_err(failed)?;
            let old = values.insert((space, key), value).map_err(failed)?;
            let freed = old.map_or(0, |old| size(key, old.value()));
            let before = used.get(space).map_err(failed)?.map_or(0, |n| n.value());
            let now = before.saturating_sub(freed).saturating_add(size(key, value));
            // What makes it smaller is fine even over a quota that was lowered.
            if now > quota && now > before {
                return Err(KvError::Quota {
                    quota,
                    used: before,
                    wanted: now - before,
                });
            }
            used.insert(space, now).map_err(failed)?;
        }
        write.commit().map_err(failed)
    }

    fn delete(&self, space: &str, key: &str) -> Result<(), KvError> {
        let write = self.db.begin_write().map_err(failed)?;
        {
            let mut values = write.open_table(VALUES).map_err(failed)?;
            let Some(freed) = values.remove((space, key)).map_err(failed)?.map(|old| size(key, old.value())) else {
                return Ok(());
            };
            let mut used = write.open_table(USED).map_err(failed)?;
            let before = used.get(space).map_err(failed)?.map_or(0, |n| n.value());
            used.insert(space, before.saturating_sub(freed)).map_err(failed)?;
        }
        write.commit().map_err(failed)
    }

    fn keys(&self, space: &str, prefix: &str, after: &str, most: usize) -> Result<Vec<String>, KvError> {
        let read = self.db.begin_read().map_err(failed)?;
        let values = read.open_table(VALUES).map_err(failed)?;
        let from = prefix.max(after);
        let mut keys = Vec::new();
        for entry in values.range((space, from)..).map_err(failed)? {
            let (at, _) = entry.map_err(failed)?;
            let (of, key) = at.value();
            if of != space || keys.len() >= most || !key.starts_with(prefix) {
                break;
            }
            if after.is_empty() || key > after {
                keys.push(key.to_owned());
            }
        }
        Ok(keys)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What an entry counts.
fn size(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64
}

fn failed(error: impl Into<redb::Error>) -> KvError {
    KvError::Disk(error.into().to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const ROOM: u64 = 1 << 20;

    #[test]
    fn values_survive_and_spaces_are_apart() {
        let dir = tempfile::tempdir().unwrap();
        {
            let store = Store::open(dir.path()).unwrap();
            store.set("harbor", "tide", b"high", ROOM).unwrap();
            store.set("other", "tide", b"low", ROOM).unwrap();
            assert!(matches!(Store::open(dir.path()), Err(KvError::InUse { .. })), "one owner");
        }
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.get("harbor", "tide").unwrap().as_deref(), Some(&b"high"[..]));
        store.delete("harbor", "tide").unwrap();
        store.delete("harbor", "tide").unwrap();
        assert_eq!(store.get("harbor", "tide").unwrap(), None);
        assert_eq!(store.get("other", "tide").unwrap().as_deref(), Some(&b"low"[..]));
    }

    #[test]
    fn quotas_hold() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.set("harbor", "a", &[0; 9], 20).unwrap();
        store.set("harbor", "b", &[0; 9], 20).unwrap();
        let error = store.set("harbor", "c", b"", 20).unwrap_err();
        assert!(
            matches!(
                error,
                KvError::Quota {
                    quota: 20,
                    used: 20,
                    wanted: 1
                }
            ),
            "{error}"
        );
        assert_eq!(store.get("harbor", "c").unwrap(), None);
        store.set("other", "c", &[0; 19], 20).unwrap();
        // A value takes the place of the old one; a smaller one fits under a quota that was lowered.
        store.set("harbor", "a", &[1; 9], 20).unwrap();
        store.set("harbor", "a", &[1; 4], 5).unwrap();
        assert!(store.set("harbor", "a", &[1; 5], 5).is_err());
        store.delete("harbor", "b").unwrap();
        store.set("harbor", "c", &[0; 14], 20).unwrap();
    }

    #[test]
    fn keys_come_in_order_and_in_pages() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        for key in ["b/2", "b/1", "a", "c", "b/3", "b"] {
            store.set("harbor", key, b"x", ROOM).unwrap();
        }
        store.set("harbor2", "b/4", b"x", ROOM).unwrap();
        for (prefix, after, most, want) in [
            ("", "", 10, &["a", "b", "b/1", "b/2", "b/3", "c"][..]),
            ("b/", "", 10, &["b/1", "b/2", "b/3"]),
            ("b/", "b/1", 1, &["b/2"]),
            ("b/", "a", 10, &["b/1", "b/2", "b/3"]),
            ("b/", "b/3", 10, &[]),
            ("b/", "z", 10, &[]),
            ("d", "", 10, &[]),
        ] {
            assert_eq!(
                store.keys("harbor", prefix, after, most).unwrap(),
                want,
                "{prefix:?} after {after:?}"
            );
        }
    }

    #[test]
    fn what_is_no_store_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        std::fs::write(
            &path,
            b"this is a text and not a store, whatever its name says; it stays as it is",
        )
        .unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        assert!(matches!(error, KvError::Damaged { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before, "nothing was written to it");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Set(String, Vec<u8>),
        Delete(String),
        Reopen,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => ("[ab]{1,3}", proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(k, v)| Step::Set(k, v)),
            2 => "[ab]{1,3}".prop_map(Step::Delete),
            1 => Just(Step::Reopen),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// It is a map with a bound, whatever is done to it and however often it is opened.
        #[test]
        fn it_is_a_bounded_map(steps in proptest::collection::vec(step(), 1..25)) {
            const QUOTA: u64 = 120;
            let dir = tempfile::tempdir().unwrap();
            let mut store = Store::open(dir.path()).unwrap();
            let mut model: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            let used = |m: &BTreeMap<String, Vec<u8>>| m.iter().map(|(k, v)| (k.len() + v.len()) as u64).sum::<u64>();
            for step in steps {
                match step {
                    Step::Set(key, value) => {
                        let mut next = model.clone();
                        next.insert(key.clone(), value.clone());
                        let fits = used(&next) <= QUOTA;
                        prop_assert_eq!(store.set("s", &key, &value, QUOTA).is_ok(), fits);
                        if fits {
                            model = next;
                        }
                    }
                    Step::Delete(key) => {
                        store.delete("s", &key).unwrap();
                        model.remove(&key);
                    }
                    Step::Reopen => {
                        drop(store);
                        store = Store::open(dir.path()).unwrap();
                    }
                }
                prop_assert_eq!(store.keys("s", "", "", 100).unwrap(), model.keys().cloned().collect::<Vec<_>>());
            }
            for (key, value) in &model {
                let found = store.get("s", key).unwrap();
                prop_assert_eq!(found.as_deref(), Some(&value[..]));
            }
        }
    }
}
