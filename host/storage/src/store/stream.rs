//! Backup and restore, export and import: the objects of any store as one stream of lines.
//!
//! ```text
//! {"outrigger":"objects","format":1,"revision":5120,"time":"2026-11-21T22:00:00Z"}
//! {"key":"wardle.example.com/flunders/default/one","revision":17,"object":{"apiVersion":…}}
//! …
//! {"objects":812,"digest":"sha256:9f86d081…"}
//! ```
//!
//! The first line says what it is and of which moment; it has `"of":"GROUP/PLURAL/"` if it is of one resource alone. Then comes one line for
//! each object, by the bytes of their keys, with the very bytes that were stored (`"bytes"` in base64 where those are not one line of
//! JSON). The last line counts them and has the digest of everything before it.
//!
//! All objects are of one revision, however many are written meanwhile. A stream that was cut, or changed anywhere, is refused
//! before anything of it is used: whoever reads one reads it to its end first ([`Backup`]).

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::embedded::Embedded;
use super::{Expected, ObjectKey, PageOf, Prefix, Store, StoreError, Stored, Write};

/// The format that is written.
pub const FORMAT: u32 = 1;
/// How far a restored store's revision is ahead of its backup's, if nobody says otherwise: more than any store has gone on since the
/// backup, so that no client holds a revision that comes again with another content. It is what etcd's documentation advises.
pub const AHEAD: u64 = 1_000_000_000;

/// What a stream is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The moment of all its objects.
    pub revision: u64,
    /// When it was made, as RFC 3339 has it.
    pub time: String,
    /// The one resource that it is of; all if none.
    pub of: Option<Prefix>,
}

/// A whole stream, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// What it is of.
    pub header: Header,
    /// Its objects, by their keys.
    pub objects: Vec<Stored>,
}

/// Reads a stream in pieces of any size.
#[derive(Debug, Default)]
pub struct Decoder {
    /// A line that has not ended yet.
    rest: Vec<u8>,
    header: Option<Header>,
    ended: bool,
    objects: Vec<Stored>,
    /// Bytes of values.
    size: usize,
    digest: Sha256,
    line: u64,
}

/// What an import has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Objects that were not there.
    pub created: u64,
    /// Objects that were there with another content.
    pub replaced: u64,
    /// Objects that were there just so.
    pub unchanged: u64,
    /// Objects that were there and are not in the stream.
    pub removed: u64,
    /// Objects that the store did not take, and why.
    pub refused: Vec<(ObjectKey, String)>,
}

/// Why a stream cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be read from where it is.
    #[error("the stream cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It is something else.
    #[error("this is no stream of objects: {0}")]
    Other(String),
    /// It was written by a newer version.
    #[error("the stream was written by a newer version (format {found}, this one knows {FORMAT})")]
    Newer {
        /// Its format.
        found: u32,
    },
    /// It has no last line.
    #[error("the stream ends after {objects} objects without its last line: it was cut")]
    Cut {
        /// How many there were.
        objects: u64,
    },
    /// A line cannot be read.
    #[error("line {line} of the stream: {why}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// Its digest or its count is not that of its content.
    #[error("the stream is not as it was written: its last line speaks of {0}")]
    Changed(String),
    /// It is larger than what is taken.
    #[error("the stream has more than {most} bytes of objects")]
    TooLarge {
        /// The most.
        most: usize,
    },
}

/// Why an import has stopped.
#[derive(Debug, thiserror::Error)]
#[error("the import has stopped: {source}")]
pub struct Stopped {
    /// What was done until then.
    pub done: Report,
    /// Why.
    #[source]
    pub source: StoreError,
}

/// The longest line: the largest value in base64, and its key.
const LINE: usize = 12 << 20;
/// How much is given at once, about.
const PIECE: usize = 64 << 10;
/// How many objects are read at once from a store that is elsewhere.
const PAGE: usize = 500;
/// How many objects an import writes at once, so that they share waits for the disk.
const AT_ONCE: usize = 64;
/// How often an import tries one object that others write as well.
const TRIES: usize = 8;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    outrigger: String,
    format: u32,
    revision: u64,
    time: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    key: String,
    revision: u64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    object: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    objects: u64,
    digest: String,
}

/// Every line is one of these; which, says the field that it has.
const KIND: &str = "objects";

/// A store's objects as a stream, all of the moment at which it begins. It ends with an error if the store forgets that moment meanwhile
/// or cannot be read; such a stream has no last line.
pub fn export(store: Arc<dyn Store>, of: Option<Prefix>) -> impl Stream<Item = Result<Bytes, StreamError>> + Send + 'static {
    stream::once(async move {
        let (header, pages) = begin(store, of).await?;
        let mut encoder = Encoder::default();
        let first = encoder.first(&header)?;
        let rest = stream::try_unfold((encoder, Some(Box::pin(pages))), |(mut encoder, pages)| async move {
            let Some(mut pages) = pages else { return Ok(None) };
            let mut piece = Vec::new();
            while piece.len() < PIECE {
                match pages.try_next().await? {
                    Some(stored) => encoder.object(&stored, &mut piece)?,
                    None => {
                        encoder.last(&mut piece)?;
                        return Ok(Some((Bytes::from(piece), (encoder, None))));
                    }
                }
            }
            Ok(Some((Bytes::from(piece), (encoder, Some(pages)))))
        });
        Ok::<_, StreamError>(stream::once(async { Ok(first) }).chain(rest))
    })
    .try_flatten()
}

/// The moment of an export, and its objects.
async fn begin(
    store: Arc<dyn Store>,
    of: Option<Prefix>,
) -> Result<(Header, impl Stream<Item = Result<Stored, StreamError>> + Send + 'static), StreamError> {
    // A resource that is emptied after the moment is known from before it, one that is made before the moment is known after it.
    let mut prefixes: BTreeSet<Prefix> = match &of {
        Some(of) => BTreeSet::from([of.clone()]),
        None => store.prefixes().await?.into_iter().collect(),
    };
    let any = prefixes.first().cloned().unwrap_or_else(|| Prefix::of("", "none"));
    let one = PageOf {
        limit: 1,
        ..PageOf::default()
    };
    let revision = store.list(&any, &one).await?.revision;
    if of.is_none() {
        prefixes.extend(store.prefixes().await?);
    }
    // A local store's lists share its bytes: all of them are taken now, and the past may be forgotten while they are sent. What is elsewhere
    // comes page by page.
    let local = store.is_local();
    let limit = if local { 0 } else { PAGE };
    let mut taken = Vec::new();
    for prefix in &prefixes {
        let of = PageOf {
            at: Some(revision),
            limit,
            behind: None,
        };
        if local {
            taken.extend(store.list(prefix, &of).await?.items);
        }
    }
    let paged = stream::iter(if local { BTreeSet::new() } else { prefixes })
        .map(move |prefix| pages(store.clone(), prefix, revision))
        .flatten();
    let header = Header {
        revision,
        time: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        of,
    };
    Ok((header, stream::iter(taken.into_iter().map(Ok)).chain(paged)))
}

/// One resource at a revision, page by page.
fn pages(
    store: Arc<dyn Store>,
    prefix: Prefix,
    revision: u64,
) -> impl Stream<Item = Result<Stored, StreamError>> + Send + 'static {
    stream::try_unfold(Some(None), move |behind: Option<Option<ObjectKey>>| {
        let (store, prefix) = (store.clone(), prefix.clone());
        async move {
            let Some(behind) = behind else {
                return Ok::<_, StreamError>(None);
            };
            let of = PageOf {
                behind,
                limit: PAGE,
                at: Some(revision),
            };
            let page = store.list(&prefix, &of).await?;
            let next = page.items.last().filter(|_| page.more).map(|last| Some(last.key.clone()));
            Ok(Some((stream::iter(page.items.into_iter().map(Ok)), next)))
        }
    })
    .try_flatten()
}

/// Writes lines and counts them.
#[derive(Default)]
struct Encoder {
    digest: Sha256,
    objects: u64,
}

// === impl Encoder ===

impl Encoder {
    fn first(&mut self, header: &Header) -> Result<Bytes, StreamError> {
        let mut line = Vec::new();
        let first = First {
            outrigger: KIND.to_owned(),
            format: FORMAT,
            revision: header.revision,
            time: header.time.clone(),
            of: header.of.as_ref().map(|of| of.as_str().to_owned()),
        };
        self.line(&first, &mut line)?;
        Ok(line.into())
    }

    fn object(&mut self, stored: &Stored, out: &mut Vec<u8>) -> Result<(), StreamError> {
        let object = as_is(&stored.value);
        let line = Line {
            key: stored.key.as_str().to_owned(),
            revision: stored.revision,
            object,
            bytes: object.is_none().then(|| STANDARD.encode(&stored.value)),
        };
        self.objects += 1;
        self.line(&line, out)
    }

    fn last(&mut self, out: &mut Vec<u8>) -> Result<(), StreamError> {
        let last = Last {
            objects: self.objects,
            digest: said(&self.digest),
        };
        self.line(&last, out)
    }

    fn line(&mut self, line: &impl Serialize, out: &mut Vec<u8>) -> Result<(), StreamError> {
        let from = out.len();
        serde_json::to_writer(&mut *out, line).map_err(io::Error::from)?;
        out.push(b'\n');
        self.digest.update(out.get(from..).unwrap_or_default());
        Ok(())
    }
}

/// A value that can stand in a line byte by byte.
fn as_is(value: &[u8]) -> Option<&RawValue> {
    let raw: &RawValue = serde_json::from_slice(value).ok()?;
    // Space around it would be lost, a line end in it would be one.
    (raw.get().len() == value.len() && !value.contains(&b'\n')).then_some(raw)
}

fn said(digest: &Sha256) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("sha256:");
    for byte in digest.clone().finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

// === impl Backup ===

impl Backup {
    /// Reads a stream to its end, with at most so many bytes of objects, which are had in memory.
    ///
    /// # Errors
    /// It is no stream, was cut or changed, or is too large.
    pub async fn read<E: Into<io::Error>>(
        mut pieces: impl Stream<Item = Result<Bytes, E>> + Unpin,
        most: usize,
    ) -> Result<Self, StreamError> {
        let mut decoder = Decoder::default();
        while let Some(piece) = pieces.next().await {
            decoder.push(&piece.map_err(Into::into)?, most)?;
        }
        decoder.finish()
    }

    /// The same from a file; blocks.
    ///
    /// # Errors
    /// As [`Backup::read`].
    pub fn read_from(mut file: impl io::Read, most: usize) -> Result<Self, StreamError> {
        let mut decoder = Decoder::default();
        let mut piece = vec![0; PIECE];
        loop {
            match file.read(&mut piece) {
                Ok(0) => return decoder.finish(),
                Ok(some) => decoder.push(piece.get(..some).unwrap_or_default(), most)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Makes an embedded store of it in a folder that has none; blocks. The objects keep their revisions, and the store goes on `ahead` of
    /// the backup's ([`AHEAD`]), without a past: who has watched before lists again.
    ///
    /// # Errors
    /// As [`Embedded::restore`].
    pub fn restore(&self, folder: &Path, ahead: u64) -> Result<u64, StoreError> {
        let revision = self.header.revision.saturating_add(ahead);
        Embedded::restore(folder, revision, &self.objects)?;
        Ok(revision)
    }

    /// Writes it into a store that may be serving, object by object: each is created or takes the place of what is there. With
    /// `replace`, what is there and not in the stream is removed, among that which the stream is of. Revisions are new ones.
    ///
    /// # Errors
    /// [`Stopped`] if the store cannot be read or written at all; what it only does not take is in the report.
    pub async fn import(&self, store: &dyn Store, replace: bool) -> Result<Report, Stopped> {
        let mut done = Report::default();
        let result = self.import_into(store, replace, &mut done).await;
        result.map(|()| done.clone()).map_err(|source| Stopped { done, source })
    }

    async fn import_into(&self, store: &dyn Store, replace: bool, done: &mut Report) -> Result<(), StoreError> {
        // Owned, so that the whole can be a task: values are shared, not copied.
        let mut writes = stream::iter(self.objects.clone())
            .map(|object| async move {
                let result = put(store, &object.key, Some(&object.value)).await;
                (object.key, result)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((key, result)) = writes.next().await {
            done.count(&key, result)?;
        }
        drop(writes);
        if !replace {
            return Ok(());
        }
        let kept: BTreeSet<&ObjectKey> = self.objects.iter().map(|object| &object.key).collect();
        let of = match &self.header.of {
            Some(of) => vec![of.clone()],
            None => store.prefixes().await?,
        };
        for prefix in of {
            let there = store.list(&prefix, &PageOf::default()).await?.items;
            let gone: Vec<Stored> = there.into_iter().filter(|object| !kept.contains(&object.key)).collect();
            let mut removals = stream::iter(gone)
                .map(|object| async move {
                    let result = put(store, &object.key, None).await;
                    (object.key, result)
                })
                .buffer_unordered(AT_ONCE);
            while let Some((key, result)) = removals.next().await {
                done.count(&key, result)?;
            }
        }
        Ok(())
    }
}

/// What has become of one object.
enum Put {
    Created,
    Replaced,
    Unchanged,
    Removed,
}

/// Makes a value what it shall be, whatever is there.
async fn put(store: &dyn Store, key: &ObjectKey, value: Option<&Bytes>) -> Result<Put, StoreError> {
    let mut there = store.get(key).await?;
    let mut tries = 1;
    loop {
        let (expected, what) = match (&there, value) {
            (None, None) => return Ok(Put::Unchanged),
            (Some(there), Some(value)) if there.value == value => return Ok(Put::Unchanged),
            (None, Some(_)) => (Expected::Absent, Put::Created),
            (Some(there), Some(_)) => (Expected::At(there.revision), Put::Replaced),
            (Some(there), None) => (Expected::At(there.revision), Put::Removed),
        };
        let write = Write {
            key: key.clone(),
            expected,
            value: value.cloned(),
        };
        match store.write(write).await {
            Ok(_) => return Ok(what),
            Err(StoreError::Conflict { current, .. }) if tries < TRIES => there = current,
            Err(error) => return Err(error),
        }
        tries += 1;
    }
}

// === impl Report ===

impl Report {
    fn count(&mut self, key: &ObjectKey, result: Result<Put, StoreError>) -> Result<(), StoreError> {
        match result {
            Ok(Put::Created) => self.created += 1,
            Ok(Put::Replaced) => self.replaced += 1,
            Ok(Put::Unchanged) => self.unchanged += 1,
            Ok(Put::Removed) => self.removed += 1,
            Err(error @ (StoreError::Conflict { .. } | StoreError::TooLarge { .. })) => {
                self.refused.push((key.clone(), error.to_string()));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

// === impl Decoder ===

impl Decoder {
    /// Takes the next bytes of a stream, with at most so many bytes of objects in all.
    ///
    /// # Errors
    /// They are none of a stream, or too many.
    pub fn push(&mut self, bytes: &[u8], most: usize) -> Result<(), StreamError> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.rest.len() + part.len() > LINE {
                return Err(self.wrong("it is longer than any"));
            }
            if !part.ends_with(b"\n") {
                self.rest.extend_from_slice(part);
            } else if self.rest.is_empty() {
                self.line(part)?;
            } else {
                let mut line = std::mem::take(&mut self.rest);
                line.extend_from_slice(part);
                self.line(&line)?;
            }
            if self.size > most {
                return Err(StreamError::TooLarge { most });
            }
        }
        Ok(())
    }

    /// The whole, if it was whole.
    ///
    /// # Errors
    /// [`StreamError::Cut`], or it was none.
    pub fn finish(self) -> Result<Backup, StreamError> {
        let Some(header) = self.header else {
            return Err(StreamError::Other("it is empty, or has no first line".to_owned()));
        };
        if !self.ended || !self.rest.is_empty() {
            let objects = self.objects.len() as u64;
            return Err(StreamError::Cut { objects });
        }
        Ok(Backup {
            header,
            objects: self.objects,
        })
    }

    fn line(&mut self, line: &[u8]) -> Result<(), StreamError> {
        self.line += 1;
        if self.header.is_none() {
            self.header = Some(first(line)?);
        } else if self.ended {
            return Err(self.wrong("it stands behind the last one"));
        } else if line.starts_with(b"{\"key\":") {
            let stored = self.object(line)?;
            self.size += stored.value.len();
            self.objects.push(stored);
        } else {
            self.last(line)?;
        }
        self.digest.update(line);
        Ok(())
    }

    fn object(&self, line: &[u8]) -> Result<Stored, StreamError> {
        let line: Line<'_> = serde_json::from_slice(line).map_err(|e| self.wrong(&e.to_string()))?;
        let Some(header) = &self.header else {
            return Err(self.wrong("it comes before the first one"));
        };
        let key = ObjectKey::parse(&line.key).ok_or_else(|| self.wrong("its key is none"))?;
        if header.of.as_ref().is_some_and(|of| !line.key.starts_with(of.as_str())) {
            return Err(self.wrong("its key is not of the stream's resource"));
        }
        if self.objects.last().is_some_and(|last| last.key >= key) {
            return Err(self.wrong("its key does not follow the one before"));
        }
        if line.revision > header.revision || line.revision == 0 {
            return Err(self.wrong("its revision is not of the stream's time"));
        }
        let value = match (line.object, line.bytes) {
            (Some(object), None) => Bytes::copy_from_slice(object.get().as_bytes()),
            (None, Some(bytes)) => STANDARD.decode(bytes).map_err(|e| self.wrong(&e.to_string()))?.into(),
            _ => return Err(self.wrong("it has no object, or two")),
        };
        Ok(Stored {
            key,
            value,
            revision: line.revision,
        })
    }

    fn last(&mut self, line: &[u8]) -> Result<(), StreamError> {
        let last: Last = serde_json::from_slice(line).map_err(|e| self.wrong(&e.to_string()))?;
        let objects = self.objects.len() as u64;
        if last.objects != objects {
            return Err(StreamError::Changed(format!("{} objects, not of {objects}", last.objects)));
        }
        if last.digest != said(&self.digest) {
            return Err(StreamError::Changed("another digest".to_owned()));
        }
        self.ended = true;
        Ok(())
    }

    fn wrong(&self, why: &str) -> StreamError {
        StreamError::Line {
            line: self.line.max(1),
            why: why.to_owned(),
        }
    }
}

/// Reads the first line.
fn first(line: &[u8]) -> Result<Header, StreamError> {
    #[derive(Deserialize)]
    struct Any {
        outrigger: String,
        format: u32,
    }
    let other = |e: serde_json::Error| StreamError::Other(e.to_string());
    // What a newer version says beside these is its own.
    let any: Any = serde_json::from_slice(line).map_err(other)?;
    if any.outrigger != KIND {
        return Err(StreamError::Other(format!("it is of {:?}", any.outrigger)));
    }
    if any.format > FORMAT {
        return Err(StreamError::Newer { found: any.format });
    }
    let first: First = serde_json::from_slice(line).map_err(other)?;
    let of = match first.of {
        Some(of) => Some(Prefix::parse(&of).ok_or_else(|| StreamError::Other(format!("it is of {of:?}")))?),
        None => None,
    };
    Ok(Header {
        revision: first.revision,
        time: first.time,
        of,
    })
}

#[cfg(test)]
mod tests;
