//! One client connection: who is at the other end, whether anything is under way, and how to ask it to end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use outrigger_auth::Peer;
use tokio_util::sync::CancellationToken;

/// Shared by the connection's task and its requests.
#[derive(Debug)]
pub struct Connection {
    /// The client's certificates, with what was concluded from them.
    pub peer: Peer,
    /// Where the client is. Behind a Service this is a node.
    pub remote: SocketAddr,
    ending: CancellationToken,
    cut: CancellationToken,
    strangers: AtomicUsize,
    /// When the answer that is being written must be, in milliseconds since `opened`; 0 for no such answer.
    written_by: AtomicU64,
    under_way: AtomicUsize,
    begun: AtomicU64,
    opened: Instant,
    last_active: AtomicU64,
    certificate_ends: OnceLock<Option<i64>>,
    handover: Handover,
}

/// What a connection becomes when HTTP on it is over: work that an upgraded request has left. Whoever drove the connection does it then, in
/// the same task and the same slot.
#[derive(Clone, Default)]
pub struct Handover(Arc<Mutex<Option<BoxFuture<'static, ()>>>>);

/// Who is nobody may ask this often on one HTTP/2 connection: GOAWAY takes a while to arrive, and a client may have sent several
/// requests at once. Beyond that it is not listening.
const STRANGERS: usize = 100;

/// One request under way; dropping it (after the last byte of its answer) ends it.
#[derive(Debug)]
pub struct UnderWay(Arc<Connection>);

// === impl Connection ===

impl Connection {
    /// A connection that ends, as soon as what is under way is done, when `ending` is cancelled.
    #[must_use]
    pub fn new(peer: Peer, remote: SocketAddr, ending: CancellationToken) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            peer,
            remote,
            ending,
            cut: CancellationToken::new(),
            strangers: AtomicUsize::new(0),
            written_by: zero(),
            under_way: AtomicUsize::new(0),
            begun: zero(),
            opened: Instant::now(),
            last_active: zero(),
            certificate_ends: OnceLock::new(),
            handover: Handover::default(),
        }
    }

    /// What is left to do when HTTP is over.
    #[must_use]
    pub fn handover(&self) -> &Handover {
        &self.handover
    }

    /// Takes no further requests: GOAWAY on HTTP/2, `Connection: close` on HTTP/1.1.
    pub fn end(&self) {
        self.ending.cancel();
    }

    /// As [`Connection::end`], because its caller is nobody; who goes on asking all the same is cut off.
    pub(crate) fn end_after_stranger(&self) {
        self.end();
        if self.strangers.fetch_add(1, Ordering::Relaxed) >= STRANGERS {
            self.cut.cancel();
        }
    }

    /// Cancelled when the connection shall be dropped as it is.
    pub(crate) fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    /// The answer under way must be written by then. One connection, one such answer: for HTTP/1.1.
    pub(crate) fn write_by(&self, deadline: Instant) {
        let at = deadline.saturating_duration_since(self.opened).as_millis();
        self.written_by
            .store(u64::try_from(at).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
    }

    /// Whether an answer is not written although it should be.
    pub(crate) fn is_overdue(&self) -> bool {
        let by = self.written_by.load(Ordering::Relaxed);
        by > 0 && self.opened.elapsed() > Duration::from_millis(by)
    }

    /// When the client's certificate ends, in seconds since 1970; `None` if it showed none.
    pub(crate) fn certificate_ends(&self) -> Option<i64> {
        *self.certificate_ends.get_or_init(|| {
            let (_, leaf) = x509_parser::parse_x509_certificate(self.peer.chain().first()?).ok()?;
            Some(leaf.validity().not_after.timestamp())
        })
    }

    /// Cancelled when the connection shall end.
    pub(crate) fn ending(&self) -> &CancellationToken {
        &self.ending
    }

    /// Marks a request as under way.
    pub(crate) fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }

    /// Whether any request has come yet.
    pub(crate) fn is_used(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 0
    }

    /// How long nothing has been under way; zero while something is.
    pub(crate) fn idle_for(&self) -> Duration {
        if self.under_way.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        self.opened
            .elapsed()
            .saturating_sub(Duration::from_millis(self.last_active.load(Ordering::Relaxed)))
    }
}

// === impl Handover ===

impl Handover {
    /// Leaves work for when the connection is no longer HTTP.
    pub fn leave(&self, work: BoxFuture<'static, ()>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(work);
    }

    pub(crate) fn take(&self) -> Option<BoxFuture<'static, ()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl std::fmt::Debug for Handover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handover").finish_non_exhaustive()
    }
}

// === impl UnderWay ===

impl Drop for UnderWay {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last_active.store(now, Ordering::Relaxed);
        self.0.written_by.store(0, Ordering::Relaxed);
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
