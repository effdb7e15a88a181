//! The accept loop, the connections, and how they end.
//!
//! The loop only accepts: handshakes happen in the connection's own task, so that one slow client delays nobody. Everything has
//! a bound: connections in number, handshakes and headers in time, headers in size, streams per connection, idleness, the time
//! that an answer may take to be read. One aggregator connection carries all users of a cluster, hence many streams and room in
//! the windows.
//!
//! Draining ([`Server::run`]'s second half) loses nothing: `/readyz` turns red, connections still in the backlog are taken in,
//! watches end, requests under way are answered, clients are told to go elsewhere (GOAWAY, `Connection: close`), and only what
//! is still there at the deadline is cut off.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use outrigger_auth::Peer;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::chain::Chain;
use crate::connection::Connection;
use crate::stream_task::Streams;
use crate::tls::Tls;

/// 1 MiB of headers (`http.DefaultMaxHeaderBytes`).
const MAX_HEADER_BYTES: u32 = 1 << 20;
/// A user may be in many groups, and each is a header; hyper's own bound of 100 would refuse them over HTTP/1.1.
const MAX_HEADERS: usize = 2_000;
/// 99 % of resources are smaller (upstream's `resourceBody99Percentile`).
const STREAM_WINDOW: u32 = 256 * 1024;
/// The least that HTTP/2 allows. h2 bounds CONTINUATION frames by how many of this size a head of [`MAX_HEADER_BYTES`] needs; with
/// upstream's 256 KiB it would break off with a client that sends a long head (a user in thousands of groups) in small frames.
const FRAME: u32 = 16 * 1024;
/// Many streams' worth, and yet a bound on what one connection can make us hold.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// How long a connection that was open before the drain began may take to bring its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(1);
/// How often a connection is looked at, if it may not be idle for less.
const LOOK: Duration = Duration::from_secs(5);
/// Connections that wait to be accepted (Go takes the system's `somaxconn`, which is this on today's Linux).
const BACKLOG: u32 = 4096;
/// Go's `http2.defaultMaxStreams`, which `--http2-max-streams-per-connection=0` means.
pub const GO_MAX_STREAMS: u32 = 250;

/// What an operator may set. Defaults are upstream's where it has one.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Connections at once; further ones wait in the backlog.
    pub max_connections: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long an HTTP/1.1 client may take to send a request's head; such a connection may be idle no longer than that.
    pub read_header: Duration,
    /// How long an HTTP/2 connection may have nothing under way.
    pub idle: Duration,
    /// `--http2-max-streams-per-connection`.
    pub max_streams: u32,
    /// How often a connection is asked whether it still lives, and how long it may take to answer.
    pub ping: (Duration, Duration),
    /// `--permit-port-sharing`: several processes may listen on one port (SO_REUSEPORT).
    pub share_port: bool,
    /// `--shutdown-delay-duration`: how long to serve on, with `/readyz` red, before the port is closed.
    pub shutdown_delay: Duration,
    /// How long requests under way may take once the port is closed.
    pub drain: Duration,
}

/// A bound listener.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// How a drain went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut off at the deadline; 0 if everything was answered.
    pub cut_off: usize,
}

/// What the connections share.
#[derive(Debug)]
struct Shared {
    tls: Tls,
    chain: Arc<Chain>,
    options: ServerOptions,
    tasks: TaskTracker,
    slots: Arc<Semaphore>,
    /// At the deadline of the drain.
    cut: CancellationToken,
}

// === impl ServerOptions ===

impl Default for ServerOptions {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            max_connections: 4096,
            handshake: seconds(10),
            read_header: seconds(32),
            idle: seconds(90),
            max_streams: 1000,
            ping: (seconds(30), seconds(15)),
            share_port: false,
            shutdown_delay: Duration::ZERO,
            drain: seconds(60),
        }
    }
}

// === impl Server ===

impl Server {
    /// Binds; port 0 takes any free one.
    ///
    /// # Errors
    /// The system's, if the address cannot be had.
    #[expect(clippy::unused_async, reason = "the listener must be made on a runtime, and this says so")]
    pub async fn bind(address: SocketAddr, tls: Tls, chain: Arc<Chain>, options: ServerOptions) -> io::Result<Self> {
        let listener = bind(address, options.share_port)?;
        let address = listener.local_addr()?;
        tracing::info!(%address, "serving");
        let slots = Arc::new(Semaphore::new(options.max_connections.min(Semaphore::MAX_PERMITS)));
        let shared = Shared {
            tls,
            chain,
            options,
            tasks: TaskTracker::new(),
            slots,
            cut: CancellationToken::new(),
        };
        Ok(Self {
            listener,
            address,
            shared: Arc::new(shared),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` (the token that [`crate::Health`] knows), then drains.
    pub async fn run(self, shutdown: CancellationToken) -> Drained {
        let Self {
            listener,
            address,
            shared,
        } = self;
        {
            let mut stop = pin!(async {
                shutdown.cancelled().await;
                tokio::time::sleep(shared.options.shutdown_delay).await;
            });
            loop {
                tokio::select! {
                    biased;
                    () = &mut stop => break,
                    accepted = shared.accept(&listener) => shared.spawn(accepted),
                }
            }
        }
        if let Some(retry_after) = shared.chain.retry_after() {
            tracing::info!(%address, "newcomers are told to come back");
            retry_after.close();
            let mut emptied = pin!(timeout(shared.options.drain, retry_after.emptied()));
            loop {
                tokio::select! {
                    biased;
                    _ = &mut emptied => break,
                    accepted = shared.accept(&listener) => shared.spawn(accepted),
                }
            }
        }
        tracing::info!(%address, "draining");
        shared.empty_backlog(listener);
        shared.chain.draining().cancel();
        shared.tasks.close();
        if timeout(shared.options.drain, shared.tasks.wait()).await.is_ok() {
            tracing::info!(%address, "drained");
            return Drained { cut_off: 0 };
        }
        let cut_off = shared
            .options
            .max_connections
            .saturating_sub(shared.slots.available_permits());
        tracing::warn!(%address, cut_off, "the drain's deadline has passed; connections are cut off");
        shared.cut.cancel();
        shared.tasks.wait().await;
        Drained { cut_off }
    }
}

// === impl Shared ===

impl Shared {
    /// The next connection, as soon as there is a slot for it.
    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, remote)) => Some((stream, remote, slot)),
            Err(error) => {
                // A client that is gone again is nothing; too many open files need a pause, or this loop would burn a core.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                None
            }
        }
    }

    /// Takes in whoever is in the backlog and closes the port. They have a connection already; closing would reset it.
    fn empty_backlog(self: &Arc<Self>, listener: TcpListener) {
        let Ok(listener) = listener.into_std() else { return };
        while let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            let Ok((stream, remote)) = listener.accept() else { break };
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                self.spawn(Some((stream, remote, slot)));
            }
        }
    }

    fn spawn(self: &Arc<Self>, accepted: Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)>) {
        if let Some((stream, remote, slot)) = accepted {
            let shared = Arc::clone(self);
            self.tasks.spawn(async move {
                shared.cut.clone().run_until_cancelled(shared.serve(stream, remote)).await;
                drop(slot);
            });
        }
    }

    async fn serve(self: &Arc<Self>, stream: TcpStream, remote: SocketAddr) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%remote, %error, "the connection is gone");
            return;
        }
        let failed = |reason: &dyn std::fmt::Display| {
            self.chain.metrics().handshake_errors.inc();
            tracing::debug!(%remote, %reason, "TLS handshake error");
        };
        let acceptor = match self.tls.acceptor() {
            Ok(acceptor) => acceptor,
            Err(error) => return failed(&error),
        };
        let tls = match timeout(self.options.handshake, acceptor.accept(stream)).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => return failed(&error),
            Err(elapsed) => return failed(&elapsed),
        };
        let session = tls.get_ref().1;
        let is_http2 = session.alpn_protocol() == Some(b"h2");
        let peer = session.peer_certificates().map_or_else(Peer::unknown, Peer::new);
        let connection = Arc::new(Connection::new(peer, remote, self.chain.draining().child_token()));
        let service = service_fn(|request: http::Request<Incoming>| {
            let (chain, connection) = (Arc::clone(&self.chain), Arc::clone(&connection));
            // A stream's task lives as long as its answer is written, a watch's for an hour; boxed, what it took to find the answer is
            // given back when there is one.
            Box::pin(async move { Ok::<_, Infallible>(chain.answer(&connection, request).await) })
        });
        let io = TokioIo::new(tls);
        let ended = if is_http2 {
            self.until_done(&connection, self.http2().serve_connection(io, service), |c| {
                c.graceful_shutdown()
            })
            .await
        } else {
            self.until_done(&connection, self.http1().serve_connection(io, service).with_upgrades(), |c| {
                c.graceful_shutdown()
            })
            .await
        };
        if let Err(error) = ended {
            tracing::debug!(%remote, %error, "the connection broke off");
        } else if let Some(work) = connection.handover().take() {
            work.await;
        }
    }

    /// Drives a connection: on its own until it ends, is idle for too long, or shall end; then until what is under way is done.
    /// Returning drops it: a client that does not read what is left for it, or goes on although it was sent away, is cut off.
    async fn until_done<C, E>(&self, connection: &Connection, driven: C, end: impl Fn(Pin<&mut C>)) -> Result<(), E>
    where
        C: Future<Output = Result<(), E>>,
    {
        let mut driven = pin!(driven);
        let most = self.options.idle.min(LOOK);
        let mut look = pin!(tokio::time::sleep(most));
        let look_again = |rest: Duration| tokio::time::Instant::now() + rest.min(most);
        loop {
            tokio::select! {
                ended = &mut driven => return ended,
                () = connection.ending().cancelled() => break,
                () = &mut look => {
                    if connection.is_overdue() {
                        return Ok(());
                    }
                    let rest = self.options.idle.saturating_sub(connection.idle_for());
                    if rest.is_zero() {
                        break;
                    }
                    look.as_mut().reset(look_again(rest));
                }
            }
        }
        // A client that has just connected would find its first request unanswered.
        if !connection.is_used() {
            let first = async {
                while !connection.is_used() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                ended = &mut driven => return ended,
                _ = timeout(FIRST_REQUEST, first) => {}
            }
        }
        end(driven.as_mut());
        let ending = tokio::time::Instant::now();
        look.as_mut().reset(look_again(most));
        loop {
            tokio::select! {
                ended = &mut driven => return ended,
                () = connection.cut().cancelled() => return Ok(()),
                () = &mut look => {
                    // Nothing is under way, yet it does not end: its last answers are not read.
                    let unread = connection.idle_for().min(ending.elapsed());
                    if connection.is_overdue() || unread >= self.options.idle {
                        return Ok(());
                    }
                    look.as_mut().reset(look_again(most));
                }
            }
        }
    }

    fn http1(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.options.read_header)
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEADER_BYTES as usize)
            .max_buf_size(MAX_HEADER_BYTES as usize + 64 * 1024);
        builder
    }

    fn http2(&self) -> http2::Builder<Streams> {
        let mut builder = http2::Builder::new(Streams(self.tasks.clone()));
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.options.max_streams)
            .max_header_list_size(MAX_HEADER_BYTES)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .keep_alive_interval(self.options.ping.0)
            .keep_alive_timeout(self.options.ping.1);
        builder
    }
}

/// Binds as Go does: an address may be taken again at once, though connections of its last owner still linger
/// (SO_REUSEADDR, `--permit-address-sharing`).
fn bind(address: SocketAddr, share_port: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    if share_port {
        socket.set_reuseport(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
