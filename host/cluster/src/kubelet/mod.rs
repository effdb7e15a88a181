//! One question to one kubelet: its summary, or the one fact why not.
//!
//! A kubelet is not trusted more than it must be: whoever owns a node owns what it answers and what address its Node object
//! tells. So every answer is bounded in bytes (counted while they come) and in time, one kubelet never holds up another
//! longer than its own deadline, no redirect is followed, and the token goes over verified TLS to the node's own address
//! and nowhere else. Connections are kept and shared, HTTP/2 where it is offered.
//!
//! ```text
//! summary(node, deadline) ── lookup ── address, port ── a turn (semaphore) ── request (request_timeout) ── bytes
//!                            NoSuchNode  NoAddress      Busy                   Unreachable, Tls, 401 …       TooLarge
//! ```
//!
//! By default a kubelet's certificate must be for the address that is dialled, as upstream. With `--kubelet-verify-by-node-name` it
//! must be for the node's name, which kubelets that sign for themselves, and many installers, put there and nothing else. The URI
//! then has the name, and a directory the address, so a connection that was verified for one node never carries another's question.
//!
//! metrics-server's annotation `metrics.k8s.io/resource-metrics-path` is deliberately not honoured: nodes may annotate
//! themselves, and the path would be theirs to choose.

mod access;
mod error;
mod options;
#[cfg(test)]
mod tests;

pub use access::{AccessError, Authority, KubeletAccess, Pem, Token};
pub use error::KubeletError;
pub use options::{KubeletOptions, OptionsError};

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, HeaderMap, USER_AGENT};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::dial::{Dialer, Directory};
use crate::material::Followed;
use crate::nodes::{Node, NodeIndex, NodeLookup};

/// An error's body is read no further than this.
const SAID: usize = 1024;

/// Hears of every question that was put to a node that exists. Must not block.
pub trait KubeletObserver: Send + Sync {
    /// A question to `node` took so long, its turn not counted, and had an answer or not.
    fn request(&self, node: &str, took: Duration, ok: bool);

    /// The node is gone: forget its series.
    fn gone(&self, node: &str);
}

/// Hears nothing.
impl KubeletObserver for () {
    fn request(&self, _: &str, _: Duration, _: bool) {}
    fn gone(&self, _: &str) {}
}

/// Asks kubelets.
pub struct KubeletClient {
    options: KubeletOptions,
    agent: HeaderValue,
    nodes: Arc<dyn NodeLookup>,
    observer: Arc<dyn KubeletObserver>,
    turns: Semaphore,
    http: Followed<Http, AccessError>,
    authorization: Followed<Option<HeaderValue>, AccessError>,
    plain: bool,
}

/// What kubelets are asked.
const SUMMARY: &str = "/stats/summary";
const SUMMARY_IN_SHORT: &str = "/stats/summary?only_cpu_and_memory=true";
const PODS: &str = "/pods";

type Http = Client<Dialer, Empty<Bytes>>;

// === impl KubeletClient ===

impl KubeletClient {
    /// A client with these settings. `version` goes into the user agent `outrigger/VERSION`.
    ///
    /// # Errors
    /// CA, certificate, key or token cannot be read or used.
    pub fn new(
        options: KubeletOptions,
        access: KubeletAccess,
        version: &str,
        nodes: Arc<dyn NodeLookup>,
        observer: Arc<dyn KubeletObserver>,
    ) -> Result<Self, AccessError> {
        let agent = HeaderValue::from_str(&format!("outrigger/{version}")).map_err(|error| AccessError::Content {
            what: "the user agent",
            why: error.to_string(),
        })?;
        let access = Arc::new(access);
        let (for_tls, for_token) = (Arc::clone(&access), Arc::clone(&access));
        let timeout = options.request_timeout;
        let directory = options.verify_by_node_name.then(|| directory(&options, Arc::clone(&nodes)));
        let http = Followed::new("TLS files for kubelets", access.tls_files(), move || {
            Ok(http(for_tls.tls()?, timeout, directory.clone()))
        })?;
        let authorization = Followed::new("the token for kubelets", access.token_file(), move || {
            if for_token.plain {
                Ok(None)
            } else {
                for_token.authorization()
            }
        })?;
        let turns = Semaphore::new(options.max_in_flight.min(Semaphore::MAX_PERMITS));
        Ok(Self {
            plain: access.plain,
            options,
            agent,
            nodes,
            observer,
            turns,
            http,
            authorization,
        })
    }

    /// The bytes of a node's `/stats/summary`, with CPU and memory alone if so wished (half the bytes). The answer is there
    /// by `deadline`, and no later than the request timeout after the node's turn came.
    ///
    /// # Errors
    /// One fact each; asking again is safe. Dropping the future ends the request.
    pub async fn summary(&self, node: &str, only_cpu_and_memory: bool, deadline: Instant) -> Result<Bytes, KubeletError> {
        self.question(node, if only_cpu_and_memory { SUMMARY_IN_SHORT } else { SUMMARY }, deadline)
            .await
    }

    /// The bytes of a node's `/pods`, a core/v1 PodList of what the kubelet runs. Bounds as for a summary.
    ///
    /// # Errors
    /// As for a summary.
    pub async fn pods(&self, node: &str, deadline: Instant) -> Result<Bytes, KubeletError> {
        self.question(node, PODS, deadline).await
    }

    async fn question(&self, node: &str, path: &'static str, deadline: Instant) -> Result<Bytes, KubeletError> {
        let facts = self
            .nodes
            .node(node)
            .ok_or_else(|| KubeletError::NoSuchNode { node: node.to_owned() })?;
        let target = match Target::of(&facts, &self.options, self.plain, path) {
            Ok(target) => target,
            Err(error) => {
                self.observer.request(node, Duration::ZERO, false);
                return Err(error);
            }
        };
        let asked = Instant::now();
        // The semaphore is never closed, so a missing permit means the deadline.
        let Ok(Ok(_turn)) = timeout_at(deadline, self.turns.acquire()).await else {
            self.observer.request(node, Duration::ZERO, false);
            return Err(KubeletError::Busy {
                node: node.to_owned(),
                after: asked.elapsed(),
            });
        };
        let start = Instant::now();
        let until = deadline.min(start + self.options.request_timeout);
        let answer = match timeout_at(until, self.ask(node, target)).await {
            Ok(answer) => answer,
            Err(_) => Err(KubeletError::Timeout {
                node: node.to_owned(),
                after: start.elapsed(),
            }),
        };
        // A node that went meanwhile has been forgotten; its series must not come back.
        if self.nodes.node(node).is_some() {
            self.observer.request(node, start.elapsed(), answer.is_ok());
        }
        answer
    }

    async fn ask(&self, node: &str, target: Target) -> Result<Bytes, KubeletError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = target.uri.clone();
        request
            .headers_mut()
            .insert(ACCEPT, HeaderValue::from_static("application/json"));
        request.headers_mut().insert(USER_AGENT, self.agent.clone());
        if let Some(authorization) = self.authorization.get().as_ref() {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let answer = self
            .http
            .get()
            .request(request)
            .await
            .map_err(|error| KubeletError::of_request(node, &target, error))?;
        let (head, body) = answer.into_parts();
        if head.status == StatusCode::OK {
            return read(node, &head.headers, body, self.options.max_response_bytes).await;
        }
        let node_name = node.to_owned();
        let said = async { error::said(&read_some(body).await) };
        Err(match head.status {
            StatusCode::UNAUTHORIZED => KubeletError::Unauthorized { node: node_name },
            StatusCode::FORBIDDEN => KubeletError::Forbidden {
                node: node_name,
                said: said.await,
            },
            status if status.is_redirection() => KubeletError::Redirect { node: node_name, status },
            status => KubeletError::Status {
                node: node_name,
                status,
                said: said.await,
            },
        })
    }
}

impl std::fmt::Debug for KubeletClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubeletClient")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Tells the observer of every node that leaves the cluster, until cancelled; the caller owns the task.
#[must_use]
pub fn forget_gone(nodes: &NodeIndex, observer: Arc<dyn KubeletObserver>, cancel: CancellationToken) -> JoinHandle<()> {
    let mut names = nodes.names();
    let mut known: Arc<BTreeSet<Arc<str>>> = Arc::clone(&names.borrow_and_update());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                changed = names.changed() => if changed.is_err() { return },
            }
            let now = Arc::clone(&names.borrow_and_update());
            for gone in known.difference(&now) {
                observer.gone(gone);
            }
            known = now;
        }
    })
}

/// Where a node is dialled, by its name.
fn directory(options: &KubeletOptions, nodes: Arc<dyn NodeLookup>) -> Directory {
    let types = options.preferred_address_types.clone();
    Arc::new(move |name| nodes.node(name)?.address(&types).map(str::to_owned))
}

fn http(tls: rustls::ClientConfig, request_timeout: Duration, directory: Option<Directory>) -> Http {
    // A connection that died is found and closed within the first request that fails on it: pinged after 2/5 of the
    // timeout, given up after another 2/5. One kept connection per node is enough: a node is asked once per tick.
    let part = request_timeout.mul_f64(0.4);
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(Duration::from_secs(90))
        .http2_keep_alive_interval(part)
        .http2_keep_alive_timeout(part)
        .http2_max_header_list_size(64 << 10)
        .build(match (directory, request_timeout.mul_f64(0.75)) {
            (Some(directory), within) => Dialer::by(directory, tls, within),
            (None, within) => Dialer::new(tls, None, within),
        })
}

/// Where a question goes.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    uri: Uri,
    /// What the certificate must be for: the host as dialled, unbracketed, or the node's name.
    host: String,
    /// It is the node's name.
    by_node_name: bool,
    /// Host and port as dialled, for people.
    at: String,
}

// === impl Target ===

impl Target {
    fn of(node: &Node, options: &KubeletOptions, plain: bool, path: &str) -> Result<Self, KubeletError> {
        let Some(host) = node.address(&options.preferred_address_types) else {
            let has: Vec<&str> = node.addresses.iter().map(|a| &*a.kind).collect();
            return Err(KubeletError::NoAddress {
                node: node.name.to_string(),
                wanted: options.preferred_address_types.join(","),
                has: if has.is_empty() { "none".to_owned() } else { has.join(",") },
            });
        };
        let bad = || KubeletError::BadAddress {
            node: node.name.to_string(),
            address: host.to_owned(),
        };
        let port = node
            .kubelet_port
            .filter(|_| options.use_node_status_port)
            .unwrap_or(options.port);
        let at = match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
            Ok(IpAddr::V4(ip)) => format!("{ip}:{port}"),
            // Nodes write their addresses themselves; nothing that would change the URI's meaning may pass.
            Err(_) if is_host_name(host) => format!("{host}:{port}"),
            Err(_) => return Err(bad()),
        };
        let scheme = if plain { "http" } else { "https" };
        let (host, authority) = if options.verify_by_node_name {
            let name = Some(&*node.name).filter(|name| is_host_name(name)).ok_or_else(bad)?;
            (name, format!("{name}:{port}"))
        } else {
            (host, at.clone())
        };
        let uri = format!("{scheme}://{authority}{path}").parse().map_err(|_| bad())?;
        Ok(Self {
            uri,
            host: host.to_owned(),
            by_node_name: options.verify_by_node_name,
            at,
        })
    }
}

fn is_host_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

/// Reads a body, but no more than `limit` bytes of it.
async fn read(node: &str, headers: &HeaderMap, mut body: Incoming, limit: usize) -> Result<Bytes, KubeletError> {
    let too_large = || KubeletError::TooLarge {
        node: node.to_owned(),
        limit,
    };
    let told: Option<usize> = headers
        .get(CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse().ok());
    if told.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|source| KubeletError::Broken {
            node: node.to_owned(),
            source: source.into(),
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > limit - whole.len() {
            return Err(too_large());
        }
        if whole.is_empty() {
            // All in one piece, as small answers come: no copy.
            if told == Some(data.len()) {
                return Ok(data);
            }
            // Believed only once bytes come, so that a mere header costs nothing.
            whole.reserve_exact(told.unwrap_or(64 << 10).min(limit));
        }
        whole.extend_from_slice(&data);
    }
    whole.shrink_to_fit();
    Ok(whole.into())
}

/// The beginning of a body, for an error's text; nothing if it does not come soon.
async fn read_some(mut body: Incoming) -> Vec<u8> {
    let mut some = Vec::new();
    while some.len() < SAID {
        match timeout(Duration::from_secs(1), body.frame()).await {
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => some.extend(data.iter().take(SAID - some.len())),
                Err(_) => break,
            },
            _ => break,
        }
    }
    some
}
