//! The kubelet's port: three paths over TLS, for whoever shows the token or a client certificate.
//!
//! A request only ever reads the last sample, so no reader can make the machine work. Every wait has a deadline (handshake, request
//! head, a connection's life), connections and their memory are bounded, bodies are never read, and all connections
//! finish their answers, within a deadline, when the server stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::identity::Token;
use crate::pods::PodList;
use crate::sample::Sample;
use crate::summary::Summary;

/// What the port serves, and to whom.
#[derive(Debug)]
pub struct Kubelet {
    /// The node's name.
    pub node: String,
    /// Whoever has it may read.
    pub token: Token,
    /// The newest sample.
    pub samples: watch::Receiver<Arc<Sample>>,
}

const HANDSHAKE: Duration = Duration::from_secs(5);
/// For a request's head, and between two requests. Longer than the usual time between two scrapes.
const HEAD: Duration = Duration::from_secs(90);
/// A connection's life; a reader that does not read ends with it.
const LIFE: Duration = Duration::from_secs(600);
const DRAIN: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 128;
const STREAMS: u32 = 32;
const HEAD_BYTES: u32 = 16 << 10;

/// Serves until `stop` resolves, then drains.
pub async fn serve(listener: TcpListener, tls: TlsAcceptor, kubelet: Arc<Kubelet>, stop: impl Future<Output = ()>) {
    let (graceful, places, mut tasks) = (GracefulShutdown::new(), Arc::new(Semaphore::new(CONNECTIONS)), JoinSet::new());
    // Gone when the server stops: a handshake then has nothing to wait for.
    let (running, handshaking) = watch::channel(());
    tokio::pin!(stop);
    loop {
        let accept = async {
            // First a place, then a connection: the rest wait in the kernel's queue.
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = &mut stop => break,
            accepted = accept => accepted,
            // Reaps what ended, so that the set does not grow.
            Some(_) = tasks.join_next() => continue,
        };
        match (place, accepted) {
            (Ok(place), Ok((stream, _))) => {
                let (tls, kubelet, watcher, mut stopped) =
                    (tls.clone(), kubelet.clone(), graceful.watcher(), handshaking.clone());
                tasks.spawn(async move {
                    let handshake = timeout(HANDSHAKE, tls.accept(stream));
                    let shaken = tokio::select! { shaken = handshake => shaken, _ = stopped.changed() => return };
                    match shaken {
                        Ok(Ok(stream)) => connection(stream, kubelet, watcher, place).await,
                        Ok(Err(e)) => tracing::debug!("handshake: {e}"),
                        Err(_) => tracing::debug!("no handshake within {HANDSHAKE:?}"),
                    }
                });
            }
            (Err(_), _) => break,
            (_, Err(e)) => {
                // Out of descriptors, as a rule: it passes, and asking at once again does not help.
                tracing::warn!("accept: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop((listener, running));
    if timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were still open after {DRAIN:?}");
    }
    tasks.shutdown().await;
}

async fn connection(stream: TlsStream<TcpStream>, kubelet: Arc<Kubelet>, watcher: Watcher, place: OwnedSemaphorePermit) {
    let session = stream.get_ref().1;
    // The handshake has verified it against the CA.
    let certified = session.peer_certificates().is_some();
    let http2 = session.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let answer = answer(&request, &kubelet, certified);
        let answer = if request.method() == Method::HEAD {
            head(answer)
        } else {
            answer
        };
        async move { Ok::<_, Infallible>(answer) }
    });
    // By ALPN and not by the first bytes: waiting for those has no deadline.
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder = if http2 { builder.http2_only() } else { builder.http1_only() };
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD / 3)
        .keep_alive_timeout(HEAD / 3);
    builder
        .http2()
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES);
    let connection = watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
    if let Ok(Err(e)) = timeout(LIFE, connection).await {
        tracing::debug!("connection: {e}");
    }
    drop(place);
}

/// The whole of the API.
fn answer<B>(request: &Request<B>, kubelet: &Kubelet, certified: bool) -> Response<Full<Bytes>> {
    let bearer = || request.headers().get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ");
    if !certified && !bearer().is_some_and(|token| kubelet.token.is(token)) {
        let mut refusal = text(StatusCode::UNAUTHORIZED, "Unauthorized");
        refusal
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return refusal;
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    let sample = kubelet.samples.borrow().clone();
    let query = request.uri().query().unwrap_or_default();
    match request.uri().path().trim_end_matches('/') {
        "/healthz" => text(StatusCode::OK, "ok"),
        "/stats/summary" => {
            let only = query
                .split('&')
                .any(|pair| matches!(pair.split_once('='), Some(("only_cpu_and_memory", "true" | "1"))));
            json(&Summary::of(&sample, &kubelet.node, only))
        }
        "/pods" => json(&PodList::of(&sample, &kubelet.node)),
        _ => text(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

/// What GET would answer, without its body: over HTTP/2 hyper would send one.
fn head(answer: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let (mut parts, body) = answer.into_parts();
    parts.headers.insert(CONTENT_LENGTH, body.size_hint().lower().into());
    Response::from_parts(parts, Full::default())
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn json(value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(bytes) => respond(StatusCode::OK, "application/json", bytes.into()),
        Err(e) => {
            tracing::error!("writing JSON: {e}");
            text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
        }
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
