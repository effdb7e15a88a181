//! What is there, as the first events of many watches.
//!
//! After a restart every informer of a cluster opens its watch at once, and each begins with all objects. Watches that begin with the same
//! state in the same form share the bytes: whoever comes first to a piece makes it, the others take it. A piece lives as long as somebody is
//! still among the first events. What is held so has a bound for each table; beyond it every watch makes its own pieces, one at a time, as if
//! there were nothing to share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as Lock, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::Mutex;

use crate::{Key, Representation, Snapshot};

/// The states that watches of a table begin with just now.
#[derive(Debug, Default)]
pub(crate) struct Openings {
    known: Lock<Vec<Weak<Opening>>>,
    held: Arc<AtomicUsize>,
}

/// One state in one form.
#[derive(Debug)]
pub struct Opening {
    how: Representation,
    namespace: Box<str>,
    snapshot: Arc<Snapshot>,
    pieces: Mutex<Vec<Piece>>,
    held: Arc<AtomicUsize>,
}

/// Some events.
#[derive(Debug, Clone, Default)]
pub struct Piece {
    /// The events, one behind the other.
    pub bytes: Bytes,
    /// Where each of them ends.
    pub ends: Arc<[usize]>,
    /// The key that the next piece begins with; `None` if this is the last.
    pub next: Option<Key>,
}

/// Bytes of all pieces of a table that are shared: some states of ten thousand objects.
const MOST: usize = 64 << 20;

// === impl Openings ===

impl Openings {
    pub(crate) fn of(&self, snapshot: &Arc<Snapshot>, how: &Representation, namespace: &str) -> Arc<Opening> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|opening| opening.strong_count() > 0);
        let same = |opening: &Arc<Opening>| {
            opening.snapshot.changed == snapshot.changed && opening.how == *how && *opening.namespace == *namespace
        };
        if let Some(opening) = known.iter().filter_map(Weak::upgrade).find(same) {
            return opening;
        }
        let opening = Arc::new(Opening {
            how: how.clone(),
            namespace: namespace.into(),
            snapshot: Arc::clone(snapshot),
            pieces: Mutex::default(),
            held: Arc::clone(&self.held),
        });
        known.push(Arc::downgrade(&opening));
        opening
    }
}

// === impl Opening ===

impl Opening {
    /// What there is. A watch may have begun with a newer revision of the same state.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Piece number `at`, which whoever comes first makes; the others wait for it. What fails is made again by the next.
    ///
    /// # Errors
    /// Those of `make`.
    pub async fn piece<E, F>(&self, at: usize, make: impl FnOnce() -> F) -> Result<Piece, E>
    where
        F: Future<Output = Result<Piece, E>>,
    {
        let mut pieces = self.pieces.lock().await;
        if let Some(piece) = pieces.get(at) {
            return Ok(piece.clone());
        }
        if pieces.len() < at || self.held.load(Ordering::Relaxed) > MOST {
            drop(pieces);
            return make().await;
        }
        let piece = make().await?;
        self.held.fetch_add(piece.bytes.len(), Ordering::Relaxed);
        pieces.push(piece.clone());
        Ok(piece)
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let bytes = self.pieces.get_mut().iter().map(|piece| piece.bytes.len()).sum();
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use outrigger_api::media::{Encoding, Form, Media};
    use outrigger_api::table::IncludeObject;

    use super::*;

    fn how(version: &str) -> Representation {
        Representation {
            media: Media {
                encoding: Encoding::Json { pretty: false },
                form: Form::Object,
            },
            include: IncludeObject::default(),
            version: version.into(),
        }
    }

    fn snapshot(revision: u64, changed: u64) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            revision,
            changed,
            ..Snapshot::default()
        })
    }

    fn piece(bytes: usize) -> Piece {
        Piece {
            bytes: vec![b'x'; bytes].into(),
            ..Piece::default()
        }
    }

    #[tokio::test]
    async fn watches_that_begin_alike_share_what_one_of_them_has_made() {
        let openings = Openings::default();
        let a = openings.of(&snapshot(7, 5), &how("v1"), "");
        for (name, revision, changed, version, namespace, shared) in [
            ("the same", 7, 5, "v1", "", true),
            ("later, nothing has happened", 9, 5, "v1", "", true),
            ("something has", 9, 9, "v1", "", false),
            ("another version", 7, 5, "v2", "", false),
            ("another namespace", 7, 5, "v1", "sea", false),
        ] {
            let other = openings.of(&snapshot(revision, changed), &how(version), namespace);
            assert_eq!(Arc::ptr_eq(&a, &other), shared, "{name}");
        }
        let failed: Result<Piece, &str> = a.piece(0, || async { Err("no") }).await;
        assert_eq!(failed.unwrap_err(), "no");
        let made = a.piece(0, || async { Ok::<_, ()>(piece(10)) }).await.unwrap();
        let taken = a.piece(0, || async { Err("it is there") }).await.unwrap();
        assert_eq!(made.bytes.as_ptr(), taken.bytes.as_ptr());
        assert_eq!(openings.held.load(Ordering::Relaxed), 10);
        drop(a);
        assert_eq!(openings.held.load(Ordering::Relaxed), 0);
        openings.of(&snapshot(1, 1), &how("v1"), "");
        assert_eq!(openings.known.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_is_shared_has_a_bound() {
        let openings = Openings::default();
        let a = openings.of(&snapshot(1, 1), &how("v1"), "");
        a.piece(0, || async { Ok::<_, ()>(piece(MOST + 1)) }).await.unwrap();
        for at in [1, 2, 1] {
            let own = a.piece(at, || async { Ok::<_, ()>(piece(at)) }).await.unwrap();
            assert_eq!(own.bytes.len(), at);
        }
        assert_eq!(a.pieces.lock().await.len(), 1);
    }
}
