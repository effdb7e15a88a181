//! Lists of what each caller is answered for himself.
//!
//! The guest writes object by object into the host's sink, which judges it, selects, and encodes. A list without a limit leaves as it is
//! written, in pieces: a sink is full as soon as the client does not read, and a full sink is a guest that waits. Nothing is held
//! but one piece. Where the form needs the whole (pages, which are sorted; YAML; protobuf) at most [`HELD`] bytes are. The guest runs inside of the
//! answer: a client that goes away drops it.
//!
//! There is no history, so a list has the resource version of its own moment (microseconds, the clock of all tables here), every version
//! that a client asks for is as good as now, and a page begins behind the last key of the one before, in what is there then.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll as Ready;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use outrigger_api::continue_token::ContinueToken;
use outrigger_api::encode::Indenter;
use outrigger_api::list_options::{ListOptions, ResourceVersion};
use outrigger_api::media::{Encoding, Media};
use outrigger_api::meta::ListMeta;
use outrigger_api::selector::{FieldSelector, LabelSelector};
use outrigger_api::status::Status;
use outrigger_api::table::IncludeObject;
use outrigger_catalog::Served;
use outrigger_sandbox::{Answered, Ask, CallError, ContractError, HostError, Sink};
use outrigger_storage::Key;
use tokio::sync::mpsc;

use super::Responder;
use super::judge::{Bad, Expected};
use super::written::Written;
use crate::read::{Kind, finish};
use crate::shape::Shape;
use crate::{Answer, BrokenOff};

/// Bytes of a piece, about.
const PIECE: usize = 64 << 10;
/// Objects between the guest and the piece that is being made.
const QUEUE: usize = 8;
/// The most that is held where the whole is needed, as the size of the objects.
pub(super) const HELD: usize = 32 << 20;
/// Keys of one round of a deletecollection.
const ROUND: usize = 500;

/// What becomes of an object that the guest writes.
struct Sieve {
    expected: Expected,
    fields: FieldSelector,
    labels: LabelSelector,
    /// The first bad object; the guest is told, and so is the log.
    bad: Arc<Mutex<Option<Bad>>>,
}

/// Takes what the sieve lets through.
struct Pieces {
    sieve: Sieve,
    served: Arc<Served>,
    media: Media,
    include: IncludeObject,
    items: Arc<Mutex<usize>>,
    to: mpsc::Sender<Vec<u8>>,
}

/// Keeps the smallest keys from `first` on.
struct Smallest {
    sieve: Sieve,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    first: Option<Key>,
    /// One more than the page; `None` for all.
    most: Option<usize>,
    objects: BTreeMap<Key, Written>,
    bytes: usize,
    /// Something behind the last key was let go.
    more: bool,
}

/// Keys of one round.
pub(super) struct Round {
    pub(super) keys: Vec<Key>,
    /// Where the next round begins.
    pub(super) next: Option<Key>,
}

type Guests = BoxFuture<'static, Result<Answered, CallError>>;

/// A list under way.
struct Streaming {
    guest: Option<Guests>,
    from: mpsc::Receiver<Vec<u8>>,
    indenter: Option<Indenter>,
    out: Vec<u8>,
    outcome: Option<Result<Answered, CallError>>,
}

// === impl Responder ===

impl Responder<'_> {
    pub(super) async fn list(&self) -> Result<Answer, Status> {
        let read = self.asked.read();
        let media = read.media(Kind::List)?;
        let options = ListOptions::read(self.asked.query)?;
        let include = read.include(media)?;
        let token = match options.continue_token.as_str() {
            "" => None,
            token => Some(ContinueToken::decode(token)?),
        };
        let limit = match options.resource_version {
            ResourceVersion::Any => None,
            _ => options.limit,
        };
        let whole = matches!(media.encoding, Encoding::Yaml | Encoding::Protobuf);
        if limit.is_none() && token.is_none() && !whole {
            return self.stream(&options, media, include).await;
        }
        let version = token.as_ref().and_then(|t| t.version).unwrap_or_else(moment);
        let first = token.map(|token| read.first_key(&token.start));
        let kept = self.collect(&options, first, limit.map(std::num::NonZeroUsize::get)).await?;
        if kept.more && limit.is_none() {
            return Err(Status::too_large(format!(
                "limit is {HELD}: ask for pages, or for JSON, which has no limit"
            )));
        }
        let mut continued = String::new();
        if kept.more
            && let Some((last, _)) = kept.objects.last_key_value()
        {
            continued = ContinueToken::behind(&read.relative(last), version).encode();
        }
        let meta = ListMeta {
            resource_version: version,
            continue_token: &continued,
            remaining: None,
        };
        let objects: Vec<_> = kept.objects.values().map(Written::object).collect();
        finish(read.shape(media, include).list(&meta, &objects), media)
    }

    /// The keys of one round of a deletecollection.
    pub(super) async fn names(&self, options: &ListOptions, first: Option<Key>) -> Result<Round, Status> {
        let kept = self.collect(options, first, Some(ROUND)).await?;
        let keys: Vec<Key> = kept.objects.into_keys().collect();
        let next = keys.last().filter(|_| kept.more);
        let next = next.map(|last| Key::new(&last.namespace, &format!("{}\0", last.name)));
        Ok(Round { keys, next })
    }

    /// At most `page` objects, the smallest from `first` on.
    async fn collect(&self, options: &ListOptions, first: Option<Key>, page: Option<usize>) -> Result<Kept, Status> {
        let kept = Arc::new(Mutex::new(Kept {
            first,
            most: page,
            ..Kept::default()
        }));
        let sieve = self.sieve(options);
        let bad = Arc::clone(&sieve.bad);
        let sink = Smallest {
            sieve,
            kept: Arc::clone(&kept),
        };
        let outcome = self.call(self.facts("list", "", false), Ask::List(Box::new(sink))).await;
        if let Some(bad) = taken(&bad) {
            return Err(self.failure().bad(&bad));
        }
        outcome.map_err(|error| self.failure().status(&error, "", false))?;
        let kept = std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(kept)
    }

    fn sieve(&self, options: &ListOptions) -> Sieve {
        Sieve {
            expected: self.expected(""),
            fields: options.field_selector.clone(),
            labels: options.label_selector.clone(),
            bad: Arc::default(),
        }
    }

    /// As it is written.
    async fn stream(&self, options: &ListOptions, media: Media, include: IncludeObject) -> Result<Answer, Status> {
        let (to, from) = mpsc::channel(QUEUE);
        let sieve = self.sieve(options);
        let (bad, items) = (Arc::clone(&sieve.bad), Arc::new(Mutex::new(0)));
        let sink = Pieces {
            sieve,
            served: Arc::clone(self.asked.served),
            media,
            include,
            items: Arc::clone(&items),
            to,
        };
        let (guest, facts) = (Arc::clone(self.guest), Arc::new(self.facts("list", "", false)));
        let deadline = self.asked.deadline;
        let shape = self.asked.read().shape(media, include);
        let mut head = Vec::new();
        let meta = ListMeta {
            resource_version: moment(),
            ..ListMeta::default()
        };
        shape.begin_list(&mut head, &meta);
        let mut streaming = Streaming {
            guest: Some(Box::pin(async move {
                guest.respond(facts, Ask::List(Box::new(sink)), deadline).await
            })),
            from,
            indenter: (media.encoding == Encoding::Json { pretty: true }).then(Indenter::default),
            out: Vec::new(),
            outcome: None,
        };
        streaming.take(&head);
        streaming.fill().await;
        if let Some(outcome) = streaming.outcome.take() {
            if let Some(bad) = taken(&bad) {
                return Err(self.failure().bad(&bad));
            }
            let answered = outcome.map_err(|error| self.failure().status(&error, "", false))?;
            answered.warnings.iter().for_each(|warning| (self.asked.warn)(warning));
            let mut tail = Vec::new();
            shape.end_list(&mut tail, *items.lock().unwrap_or_else(PoisonError::into_inner));
            streaming.take(&tail);
            return Ok(Answer::Document {
                code: 200,
                content_type: media.content_type(),
                body: streaming.out,
            });
        }
        let ending = Ending {
            served: Arc::clone(self.asked.served),
            audit_id: self.asked.audit_id.to_owned(),
            media,
            include,
            items,
            bad,
        };
        Ok(Answer::Stream {
            code: 200,
            content_type: media.content_type().to_owned(),
            body: streaming.into_stream(ending),
        })
    }
}

/// What is needed when the guest of a stream has ended.
struct Ending {
    served: Arc<Served>,
    audit_id: String,
    media: Media,
    include: IncludeObject,
    items: Arc<Mutex<usize>>,
    bad: Arc<Mutex<Option<Bad>>>,
}

// === impl Ending ===

impl Ending {
    /// What stands behind the last item, if all went well.
    fn tail(&self, outcome: Result<Answered, CallError>) -> Result<Vec<u8>, BrokenOff> {
        let (plugin, audit_id) = (&self.served.plugin, &self.audit_id);
        if let Some(bad) = taken(&self.bad) {
            tracing::error!(audit_id, "plugin {plugin}: its list is cut off, it cannot be used: {bad}");
            return Err(BrokenOff);
        }
        if let Err(error) = outcome {
            tracing::error!(audit_id, "a list is cut off: {error}");
            return Err(BrokenOff);
        }
        let mut tail = Vec::new();
        shape(&self.served, self.media, self.include)
            .end_list(&mut tail, *self.items.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(tail)
    }
}

// === impl Streaming ===

impl Streaming {
    fn take(&mut self, piece: &[u8]) {
        match &mut self.indenter {
            Some(indenter) => indenter.write(piece, &mut self.out),
            None => self.out.extend_from_slice(piece),
        }
    }

    /// Until there is a piece, or the guest has ended and everything is taken.
    async fn fill(&mut self) {
        while self.out.len() < PIECE {
            let next = poll_fn(|cx| {
                if let Ready::Ready(Some(item)) = self.from.poll_recv(cx) {
                    return Ready::Ready(Some(item));
                }
                let Some(guest) = &mut self.guest else {
                    return Ready::Ready(None);
                };
                match guest.poll_unpin(cx) {
                    Ready::Ready(outcome) => {
                        self.outcome = Some(outcome);
                        self.guest = None;
                        // What it wrote last is there by now.
                        Ready::Ready(self.from.try_recv().ok())
                    }
                    Ready::Pending => match self.from.poll_recv(cx) {
                        Ready::Ready(Some(item)) => Ready::Ready(Some(item)),
                        _ => Ready::Pending,
                    },
                }
            })
            .await;
            match next {
                Some(item) => self.take(&item),
                None if self.guest.is_none() => return,
                None => {}
            }
        }
        if self.guest.is_none() {
            // More than a piece, and all of it: the rest of the queue has its place as well.
            while let Ok(item) = self.from.try_recv() {
                self.take(&item);
            }
        }
    }

    fn into_stream(self, ending: Ending) -> BoxStream<'static, Result<Bytes, BrokenOff>> {
        futures::stream::unfold(Some((self, ending)), |state| async move {
            let (mut this, ending) = state?;
            if this.out.is_empty() && this.outcome.is_none() {
                this.fill().await;
            }
            if let Some(outcome) = this.outcome.take() {
                return match ending.tail(outcome) {
                    Ok(tail) => {
                        this.take(&tail);
                        Some((Ok(std::mem::take(&mut this.out).into()), None))
                    }
                    Err(broken) => Some((Err(broken), None)),
                };
            }
            let piece = std::mem::take(&mut this.out);
            Some((Ok(piece.into()), Some((this, ending))))
        })
        .boxed()
    }
}

// === impl Sieve ===

impl Sieve {
    /// The object, if it is selected.
    fn judge(&self, json: &[u8]) -> Result<Option<Written>, HostError> {
        let object = self.expected.judge(json).map_err(|bad| self.refuse(bad))?;
        let written = Written::of(object);
        let (namespace, name) = (&*written.key.namespace, &*written.key.name);
        // Another namespace's object is not the caller's to see; a guest that lists all of them is right all the same.
        let within = self.expected.namespace.is_empty() || self.expected.namespace == namespace;
        let selected = within && self.fields.matches(namespace, name) && self.labels.matches(&written.labels);
        Ok(selected.then_some(written))
    }

    fn refuse(&self, bad: Bad) -> HostError {
        let error = ContractError::Invalid(bad.to_string());
        self.bad.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(bad);
        error
    }
}

// === impl Pieces ===

#[async_trait]
impl Sink for Pieces {
    async fn start(&mut self, _: u16, _: &str) -> Result<(), HostError> {
        Err(no_start())
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), HostError> {
        let Some(written) = self.sieve.judge(&bytes)? else {
            return Ok(());
        };
        let mut out = Vec::with_capacity(written.size());
        {
            let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
            shape(&self.served, self.media, self.include).list_item(&mut out, &written.object(), *items);
            *items += 1;
        }
        self.to.send(out).await.map_err(|_| gone())
    }
}

// === impl Smallest ===

#[async_trait]
impl Sink for Smallest {
    async fn start(&mut self, _: u16, _: &str) -> Result<(), HostError> {
        Err(no_start())
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), HostError> {
        if let Some(written) = self.sieve.judge(&bytes)? {
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).put(written);
        }
        Ok(())
    }
}

// === impl Kept ===

impl Kept {
    fn put(&mut self, written: Written) {
        if self.first.as_ref().is_some_and(|first| written.key < *first) {
            return;
        }
        // Behind a key that was let go, there is nothing of this page.
        if self.more && self.objects.last_key_value().is_none_or(|(last, _)| written.key > *last) {
            return;
        }
        self.bytes += written.size();
        if let Some(twice) = self.objects.insert(written.key.clone(), written) {
            self.bytes -= twice.size();
        }
        while self.most.is_some_and(|most| self.objects.len() > most) || (self.bytes > HELD && self.objects.len() > 1) {
            if let Some((_, gone)) = self.objects.pop_last() {
                self.bytes -= gone.size();
                self.more = true;
            }
        }
    }
}

fn shape(served: &Served, media: Media, include: IncludeObject) -> Shape<'_> {
    Shape {
        resource: &served.resource,
        kind: &served.resource.kind,
        cells: served.cells.as_ref(),
        api_version: &served.api_version,
        media,
        include,
    }
}

fn taken(bad: &Mutex<Option<Bad>>) -> Option<Bad> {
    bad.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Microseconds since 1970.
fn moment() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn gone() -> HostError {
    ContractError::Unavailable("nobody reads any more".into())
}

fn no_start() -> HostError {
    ContractError::Invalid("a list has no status and no content type of its own".into())
}
