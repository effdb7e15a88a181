//! Lists of what is kept: written piece by piece from one state, so that memory does not grow with the list.
//!
//! A state of the image costs a pointer to hold, and the objects are pieces of bytes that are there anyway. A list that is longer than
//! [`FIRST`] leaves as it is made, at the pace at which the client reads; a shorter one is a document that says how long it is. YAML and
//! protobuf need the whole: there the objects may have [`WHOLE`] bytes. What is not kept in the version that is asked for is converted batch by
//! batch on the way, the first before anything is said, so that a plugin that cannot do it is a Status; metadata alone needs no plugin.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use outrigger_api::continue_token::ContinueToken;
use outrigger_api::encode::Indenter;
use outrigger_api::list_options::{ListOptions, ResourceVersion};
use outrigger_api::media::{Encoding, Media};
use outrigger_api::meta::{ListMeta, NONE};
use outrigger_api::status::Status;
use outrigger_api::table::IncludeObject;
use outrigger_catalog::Served;
use outrigger_storage::{Entry, Key, Snapshot};

use super::convert::{in_version, is_in_version};
use crate::read::{Read, finish};
use crate::selection::Selection;
use crate::shape::{Object, Shape};
use crate::{Answer, BrokenOff};

/// Bytes of a piece, about.
const PIECE: usize = 64 << 10;
/// What is longer than this leaves in pieces. Upstream compresses what is longer than this.
const FIRST: usize = 128 << 10;
/// The most that is held where the whole is needed.
const WHOLE: usize = 64 << 20;

/// A list under way.
struct Listing {
    served: Arc<Served>,
    media: Media,
    include: IncludeObject,
    selection: Selection,
    snapshot: Arc<Snapshot>,
    /// The next object; `None` when all are written.
    next: Option<Key>,
    /// So many are left to write; all if none.
    left: Option<usize>,
    items: usize,
    indenter: Option<Indenter>,
    begun: Instant,
    deadline: Duration,
}

// === impl Read ===

impl Read<'_> {
    /// The objects of this state, from `first` on.
    pub(crate) async fn list_kept(
        &self,
        options: ListOptions,
        media: Media,
        include: IncludeObject,
        snapshot: Arc<Snapshot>,
        first: Option<Key>,
    ) -> Result<Answer, Status> {
        // Upstream answers a list of "anything" from its watch cache, whole.
        let limit = match (options.limit, options.resource_version) {
            (_, ResourceVersion::Any) => None,
            (limit, _) => limit.map(std::num::NonZeroUsize::get),
        };
        let selection = Selection::new(self.info, options);
        let first = first.unwrap_or_else(|| selection.first());
        let (mut continued, mut remaining) = (String::new(), None);
        if let Some(limit) = limit {
            let mut rows = selection.of(&snapshot, first.clone(), self.now);
            let last = rows.by_ref().take(limit).last();
            if let Some(last) = last
                && rows.next().is_some()
            {
                continued = ContinueToken::behind(&self.relative(&last.row.key), snapshot.revision()).encode();
                // Upstream counts only where no selector makes the count a lie.
                if selection.is_whole() {
                    remaining = i64::try_from(rows.count() + 1).ok();
                }
                self.served.table.keep(&snapshot);
            }
        }
        let meta = ListMeta {
            resource_version: snapshot.revision(),
            continue_token: &continued,
            remaining,
        };
        let listing = Listing {
            served: Arc::clone(self.served),
            media,
            include,
            selection,
            snapshot: Arc::clone(&snapshot),
            next: Some(first),
            left: limit,
            items: 0,
            indenter: (media.encoding == Encoding::Json { pretty: true }).then(Indenter::default),
            begun: Instant::now(),
            deadline: self.deadline,
        };
        match media.encoding {
            Encoding::Json { .. } => listing.answer(&meta).await,
            Encoding::Yaml | Encoding::Protobuf => listing.whole(&meta).await,
        }
    }
}

// === impl Listing ===

impl Listing {
    fn shape(&self) -> Shape<'_> {
        Shape::of(&self.served, self.media, self.include)
    }

    /// A document if it is short, else a stream.
    async fn answer(mut self, meta: &ListMeta<'_>) -> Result<Answer, Status> {
        let (mut out, mut piece) = (Vec::with_capacity(PIECE + PIECE / 8), Vec::new());
        self.shape().begin_list(&mut piece, meta);
        self.put(piece, &mut out);
        while self.next.is_some() && out.len() < FIRST {
            self.write(&mut out).await?;
        }
        if self.next.is_none() {
            self.end(&mut out);
            return Ok(Answer::Document {
                code: 200,
                content_type: self.media.content_type(),
                body: out,
            });
        }
        let content_type = self.media.content_type().to_owned();
        let rest = futures::stream::unfold(Some(self), |state| async move {
            let mut listing = state?;
            let mut out = Vec::with_capacity(PIECE + PIECE / 8);
            if let Err(status) = listing.write(&mut out).await {
                let what = &listing.served.resource.plural;
                tracing::error!("a list of {what} is cut off: {}", status.message);
                return Some((Err(BrokenOff), None));
            }
            if listing.next.is_some() {
                return Some((Ok(Bytes::from(out)), Some(listing)));
            }
            listing.end(&mut out);
            Some((Ok(out.into()), None))
        });
        let first = futures::stream::iter([Ok(Bytes::from(out))]);
        Ok(Answer::Stream {
            code: 200,
            content_type,
            body: first.chain(rest).boxed(),
        })
    }

    /// All of it.
    async fn whole(mut self, meta: &ListMeta<'_>) -> Result<Answer, Status> {
        let entries = self.take(WHOLE);
        if self.next.is_some() {
            return Err(Status::too_large(format!(
                "limit is {WHOLE}: ask for pages, or for JSON, which has no limit"
            )));
        }
        let entries = self.spoken(entries).await?;
        let objects: Vec<Object<'_>> = entries.iter().map(|entry| Object::of(entry, &NONE)).collect();
        finish(self.shape().list(meta, &objects), self.media)
    }

    /// The next objects, and whether there are more.
    fn take(&mut self, most: usize) -> Vec<Arc<Entry>> {
        let Some(from) = self.next.take() else {
            return Vec::new();
        };
        let shape = Shape::of(&self.served, self.media, self.include);
        let mut gathered = self.selection.gather(&self.snapshot, from, most, |entry| shape.room(entry));
        if let Some(left) = &mut self.left {
            if gathered.entries.len() >= *left {
                gathered.entries.truncate(*left);
                gathered.next = None;
            }
            *left -= gathered.entries.len();
        }
        self.next = gathered.next;
        gathered.entries
    }

    /// Objects in the version that is asked for.
    async fn spoken(&self, entries: Vec<Arc<Entry>>) -> Result<Vec<Arc<Entry>>, Status> {
        if !self.media.form.shows_fields() || entries.iter().all(|entry| is_in_version(&self.served, entry)) {
            return Ok(entries);
        }
        let left = self.deadline.saturating_sub(self.begun.elapsed());
        in_version(&self.served, &entries, left).await
    }

    /// Appends a piece.
    async fn write(&mut self, out: &mut Vec<u8>) -> Result<(), Status> {
        let entries = self.take(PIECE);
        let entries = self.spoken(entries).await?;
        if self.indenter.is_none() {
            self.items(&entries, out);
            return Ok(());
        }
        let mut piece = Vec::new();
        self.items(&entries, &mut piece);
        self.put(piece, out);
        Ok(())
    }

    fn items(&mut self, entries: &[Arc<Entry>], out: &mut Vec<u8>) {
        let shape = Shape::of(&self.served, self.media, self.include);
        for entry in entries {
            shape.list_item(out, &Object::of(entry, &NONE), self.items);
            self.items += 1;
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        let mut piece = Vec::new();
        self.shape().end_list(&mut piece, self.items);
        self.put(piece, out);
    }

    fn put(&mut self, piece: Vec<u8>, out: &mut Vec<u8>) {
        match &mut self.indenter {
            Some(indenter) => indenter.write(&piece, out),
            None => out.extend_from_slice(&piece),
        }
    }
}
