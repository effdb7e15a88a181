//! A fake kubelet: one TLS server that answers `/stats/summary` and `/metrics/resource`, asks who is calling as a real one does, and
//! can fall ill.
//!
//! Its certificate is signed by the cluster's authority for its IP address and its node's name. A bearer token is judged by TokenReview, a client
//! certificate by the cluster's authority, and either user must be allowed `get` on `nodes/stats`, or on `nodes/metrics` for the
//! latter path (SubjectAccessReview): so the RBAC of `deploy/metrics` is tested on the way. Without either, 401.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::ControlPlane;
use crate::http::{Client, runtime};
use crate::load::Node;
use crate::pki;
use crate::recording::Recording;

/// Where a kubelet's answers come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A load of the test's choice.
    Truth(Arc<Node>),
    /// What a real kubelet said.
    Recorded(Arc<Recording>),
}

/// How a kubelet is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Health {
    /// Well.
    #[default]
    Well,
    /// Answers 500.
    Failing,
    /// Takes the request and never answers.
    Hanging,
    /// Answers 200 with something that is no summary.
    Garbled,
    /// One container of the first pod has lost its CPU sample and another field is of the wrong type; the rest is right.
    Torn,
    /// Sends the caller elsewhere.
    Redirecting(String),
}

/// One kubelet. Dropped, it stops listening.
#[derive(Debug)]
pub struct FakeKubelet {
    address: SocketAddr,
    bedside: Arc<Bedside>,
    listening: tokio::task::JoinHandle<()>,
}

/// What the server's tasks share.
#[derive(Debug)]
struct Bedside {
    node: String,
    source: Source,
    health: Mutex<Health>,
    asked: AtomicU64,
    refused: AtomicU64,
    reviewer: Client,
    verdicts: Mutex<HashMap<(Caller, &'static str), Verdict>>,
}

/// What a caller may, and who he is.
#[derive(Debug, Clone)]
struct Verdict {
    status: StatusCode,
    user: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Caller {
    Token(String),
    User { name: String, groups: Vec<String> },
}

// === impl FakeKubelet ===

impl FakeKubelet {
    /// Starts the kubelet of `node` at a free port of `address`.
    ///
    /// # Errors
    /// The address cannot be bound, or the certificate not be written.
    pub fn start(control_plane: &ControlPlane, node: &str, address: Ipv4Addr, source: Source) -> Result<Self> {
        let (chain, key) = control_plane
            .ca()
            .server(&format!("kubelet-{node}"), &[&address.to_string(), node])?
            .load()?;
        let roots = Arc::new(pki::roots(&control_plane.ca().certificate())?);
        let clients = WebPkiClientVerifier::builder_with_provider(roots, pki::provider())
            .allow_unauthenticated()
            .build()?;
        let mut config = ServerConfig::builder_with_provider(pki::provider())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let bedside = Arc::new(Bedside {
            node: node.to_owned(),
            source,
            health: Mutex::default(),
            asked: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            reviewer: control_plane.api().clone(),
            verdicts: Mutex::default(),
        });
        let listener = runtime()
            .block_on(TcpListener::bind((address, 0)))
            .with_context(|| format!("cannot bind {address}"))?;
        let address = listener.local_addr()?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listening = runtime().spawn(listen(listener, acceptor, Arc::clone(&bedside)));
        Ok(Self {
            address,
            bedside,
            listening,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it is so.
    pub fn fall(&self, health: Health) {
        *self.bedside.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    /// Asks anew who callers are and what they may.
    pub fn forget(&self) {
        self.bedside.verdicts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Requests so far, those refused included.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.bedside.asked.load(Ordering::SeqCst)
    }

    /// Requests answered with 401 or 403 so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.bedside.refused.load(Ordering::SeqCst)
    }
}

impl Drop for FakeKubelet {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(listener: TcpListener, acceptor: TlsAcceptor, bedside: Arc<Bedside>) {
    // Aborted with this task: the set owns the connections.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            Ok((tcp, _)) = listener.accept() => { connections.spawn(serve(tcp, acceptor.clone(), Arc::clone(&bedside))); }
            Some(_) = connections.join_next() => {}
            else => return,
        }
    }
}

async fn serve(tcp: TcpStream, acceptor: TlsAcceptor, bedside: Arc<Bedside>) {
    // Whoever does not finish the handshake is gone.
    let Ok(tls) = acceptor.accept(tcp).await else { return };
    let user = tls
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .and_then(user);
    let service = service_fn(move |request| {
        let (bedside, user) = (Arc::clone(&bedside), user.clone());
        async move { Ok::<_, std::convert::Infallible>(bedside.answer(&request, user).await) }
    });
    // A client that leaves early is no concern of ours.
    let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(tls), service)
        .await;
}

fn user(certificate: &CertificateDer<'_>) -> Option<Caller> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().ok().map(str::to_owned);
    let name = certificate.subject().iter_common_name().find_map(text)?;
    Some(Caller::User {
        name,
        groups: certificate.subject().iter_organization().filter_map(text).collect(),
    })
}

// === impl Verdict ===

impl Verdict {
    fn unknown() -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            user: String::new(),
        }
    }
}

// === impl Bedside ===

impl Bedside {
    async fn answer(&self, request: &Request<Incoming>, user: Option<Caller>) -> Response<Full<Bytes>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let bearer = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
        // kubernetes pkg/kubelet/server/auth.go: the subresource by the path.
        let resource = request.uri().path() == "/metrics/resource";
        let subresource = if resource { "metrics" } else { "stats" };
        let verdict = match bearer.map(|token| Caller::Token(token.to_owned())).or(user) {
            Some(caller) => self.judge(caller, subresource).await,
            None => Verdict::unknown(),
        };
        if verdict.status != StatusCode::OK {
            self.refused.fetch_add(1, Ordering::SeqCst);
            let Verdict { status, user } = verdict;
            // kubernetes pkg/kubelet/server/server.go, InstallAuthRequiredFilter.
            let text = match status {
                StatusCode::FORBIDDEN => {
                    format!("Forbidden (user={user}, verb=get, resource=nodes, subresource(s)=[{subresource}])\n")
                }
                _ => "Unauthorized".to_owned(),
            };
            let mut response = Response::new(Full::new(Bytes::from(text)));
            *response.status_mut() = status;
            return response;
        }
        if request.method() != Method::GET || !(resource || request.uri().path() == "/stats/summary") {
            return plain(StatusCode::NOT_FOUND, "404 page not found");
        }
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match health {
            Health::Well if resource => self.resource(),
            Health::Well => document(&self.summary(request.uri().query().is_none())),
            Health::Failing => plain(StatusCode::INTERNAL_SERVER_ERROR, "Internal Error: failed to list pod stats"),
            Health::Hanging => {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                plain(StatusCode::GATEWAY_TIMEOUT, "")
            }
            Health::Garbled => json_text(Bytes::from_static(
                b"{\"node\": {\"nodeName\": \"\xff\xfe\", \"cpu\": [[[[[1e999",
            )),
            Health::Torn => document(&torn(self.summary(false))),
            Health::Redirecting(to) => {
                let mut response = plain(StatusCode::FOUND, "");
                if let Ok(to) = to.parse() {
                    response.headers_mut().insert(header::LOCATION, to);
                }
                response
            }
        }
    }

    fn summary(&self, full: bool) -> Value {
        match &self.source {
            Source::Truth(node) if full => node.full_summary(),
            Source::Truth(node) => node.summary(),
            Source::Recorded(recording) => {
                let mut summary = recording.summary();
                if let Some(name) = summary.pointer_mut("/node/nodeName") {
                    *name = json!(self.node);
                }
                summary
            }
        }
    }

    /// A recording has no milliseconds, so it has no such answer.
    fn resource(&self) -> Response<Full<Bytes>> {
        let Source::Truth(node) = &self.source else {
            return plain(StatusCode::NOT_FOUND, "404 page not found");
        };
        let mut response = Response::new(Full::new(Bytes::from(node.resource())));
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8; escaping=underscores"),
        );
        response
    }

    /// 200, 401 or 403; remembered, since the cluster's answer does not change within a test.
    async fn judge(&self, caller: Caller, subresource: &'static str) -> Verdict {
        let question = (caller, subresource);
        if let Some(known) = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).get(&question) {
            return known.clone();
        }
        match self.review(&question.0, subresource).await {
            Ok(verdict) => {
                self.verdicts
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(question, verdict.clone());
                verdict
            }
            Err(reason) => {
                eprintln!("the kubelet of {} could not ask who is calling: {reason:#}", self.node);
                Verdict {
                    status: StatusCode::INTERNAL_SERVER_ERROR,
                    user: String::new(),
                }
            }
        }
    }

    async fn review(&self, caller: &Caller, subresource: &str) -> Result<Verdict> {
        let (user, groups) = match caller {
            Caller::User { name, groups } => {
                let all = groups.iter().map(String::as_str).chain(["system:authenticated"]);
                (json!(name), json!(all.collect::<Vec<_>>()))
            }
            Caller::Token(token) => {
                let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
                let review = self.ask("/apis/authentication.k8s.io/v1/tokenreviews", &review).await?;
                if review.pointer("/status/authenticated") != Some(&json!(true)) {
                    return Ok(Verdict::unknown());
                }
                let field = |path: &str| review.pointer(path).cloned().unwrap_or_default();
                (field("/status/user/username"), field("/status/user/groups"))
            }
        };
        let name = user.as_str().unwrap_or_default().to_owned();
        let attributes =
            json!({"verb": "get", "version": "v1", "resource": "nodes", "subresource": subresource, "name": self.node});
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": user, "groups": groups, "resourceAttributes": attributes},
        });
        let review = self
            .ask("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review)
            .await?;
        let allowed = review.pointer("/status/allowed") == Some(&json!(true));
        Ok(Verdict {
            status: if allowed { StatusCode::OK } else { StatusCode::FORBIDDEN },
            user: name,
        })
    }

    async fn ask(&self, path: &str, review: &Value) -> Result<Value> {
        let body = Bytes::from(serde_json::to_vec(review)?);
        self.reviewer
            .send(Method::POST, path, &[("content-type", "application/json")], body)
            .await?
            .ok()?
            .json()
    }
}

/// The same summary after an accident: in the first pod (by name) the first container has no CPU sample, and the node's swap,
/// which nobody needs, is of the wrong type.
fn torn(mut summary: Value) -> Value {
    let name = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let pods = summary.get_mut("pods").and_then(Value::as_array_mut).into_iter().flatten();
    let pod = pods.min_by_key(|pod| name(pod, "/podRef/name"));
    let containers = pod
        .and_then(|pod| pod.get_mut("containers"))
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten();
    if let Some(cpu) = containers.min_by_key(|c| name(c, "/name")).and_then(|c| c.get_mut("cpu")) {
        *cpu = Value::Null;
    }
    if let Some(swap) = summary.pointer_mut("/node/swap") {
        *swap = json!("none");
    }
    summary
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}

fn document(value: &Value) -> Response<Full<Bytes>> {
    json_text(Bytes::from(value.to_string()))
}

fn json_text(bytes: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(bytes));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}
