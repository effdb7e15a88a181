//! The filter chain, in upstream's order (apiserver `server/config.go` `DefaultBuildHandlerChain`).
//!
//! audit id → panic recovery → request info → retry-after → HSTS → cache control → GOAWAY → deadline → CORS → authentication →
//! trace → audit → impersonation → seats → authorization → health, metrics, version or the [`Endpoint`]. [`Chain::answer`] is the
//! outer half, which always answers; [`Chain::filtered`] the inner one, which may refuse at any step by returning a [`Status`].
//!
//! Where we differ from upstream: a panic, a missing seat and every other refusal is a `Status` and not a line of text; probes
//! take no seat, as under upstream's exempt flow schema.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures::FutureExt;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, Version as HttpVersion};
use http_body::Body as _;
use outrigger_api::discovery::VersionInfo;
use outrigger_api::identity::{ANONYMOUS, Identity, MASTERS, UNAUTHENTICATED};
use outrigger_api::request_info::RequestInfo;
use outrigger_api::status::Status;
use outrigger_auth::{Attributes, Authenticator, Authorizer, impersonate};
use prometheus_client::registry::Registry;
use tokio::time::Instant as Deadline;
use tokio_util::sync::CancellationToken;

use crate::audit::{Arrival, Trail};
use crate::call::{Body, Call, Endpoint, Permission};
use crate::connection::{Connection, UnderWay};
use crate::exposition;
use crate::filters::in_flight::{Seat, Seats};
use crate::filters::optional::Optional;
use crate::filters::retry_after::{Awaited, RetryAfter};
use crate::filters::stream::{Ending, Held, PIECE};
use crate::filters::{audit, body, cors, deadline, in_flight, long_running};
use crate::health::Health;
use crate::http_log;
use crate::metrics::{DeprecatedApi, Metrics, Running, Series};
use crate::observation::{self, Observation};
use crate::refusal::Client;
use crate::stream_task;
use crate::traces::{RequestSpan, Seen};
use crate::version;
use crate::warnings::Warnings;

/// What a chain is made of.
pub struct ChainParts {
    /// Who is calling.
    pub authenticator: Authenticator,
    /// May they.
    pub authorizer: Authorizer,
    /// The health paths. Whether the endpoint is ready is a check like any other: the binary adds it, under its name.
    pub health: Health,
    /// The server's own metrics.
    pub metrics: Arc<Metrics>,
    /// What `/metrics` shows.
    pub registry: Arc<Registry>,
    /// What `/version` shows.
    pub version: VersionInfo,
    /// What `/debug/plugins` shows, as JSON.
    pub plugins: Option<Document>,
    /// What other replicas listen to.
    pub stream: Option<OwnStream>,
    /// Everything else.
    pub endpoint: Arc<dyn Endpoint>,
    /// How much and how long.
    pub limits: Limits,
    /// Filters that are off by default.
    pub optional: Optional,
    /// Who looks on: the audit log, traces.
    pub observation: Observation,
    /// Cancelled by the listener when it drains; ends long-running answers.
    pub draining: CancellationToken,
}

/// Writes a document anew for each who asks.
pub type Document = Arc<dyn Fn() -> Vec<u8> + Send + Sync>;

/// A path of the server's own whose answer has no end: it ends when the server drains.
#[derive(Clone)]
pub struct OwnStream {
    /// The path.
    pub path: &'static str,
    /// Begins an answer, for whoever may `get` the path.
    pub open: Arc<dyn Fn() -> Body + Send + Sync>,
}

/// How much and how long.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `--request-timeout`: the most a request may take, and what it may take if it says nothing.
    pub request_timeout: Duration,
    /// `--max-requests-inflight`; 0 for no limit.
    pub max_reading: u32,
    /// `--max-mutating-requests-inflight`; 0 for no limit.
    pub max_writing: u32,
    /// `--min-request-timeout`: how long a watch stays open at least, if it does not say itself. For whoever serves watches; the
    /// chain leaves them alone.
    pub min_request_timeout: Duration,
}

/// The chain.
pub struct Chain {
    authenticator: Authenticator,
    authorizer: Arc<Authorizer>,
    health: Health,
    metrics: Arc<Metrics>,
    registry: Arc<Registry>,
    version: Bytes,
    plugins: Option<Document>,
    stream: Option<OwnStream>,
    endpoint: Arc<dyn Endpoint>,
    observation: Observation,
    request_timeout: Duration,
    reading: Seats,
    writing: Seats,
    optional: Optional,
    draining: CancellationToken,
}

/// What is known of a request when its answer leaves.
#[derive(Default)]
struct Track {
    series: Option<Arc<Series>>,
    deadline: Option<Deadline>,
    long_running: bool,
    seat: Option<Seat>,
    /// An origin that may see the answer.
    origin: Option<HeaderValue>,
    awaited: Option<Awaited>,
    audit_id: Option<HeaderValue>,
    /// When it arrived, if anybody wants to know.
    at: Option<SystemTime>,
    trail: Option<Trail>,
    span: Option<RequestSpan>,
    warnings: Warnings,
}

/// Counts an answer that is written over time when it ends.
struct Tally {
    series: Option<Arc<Series>>,
    code: u16,
    started: Instant,
    bytes: u64,
    line: Option<http_log::Line>,
    span: Option<RequestSpan>,
    _running: Option<Running>,
    _seat: Option<Seat>,
    _awaited: Option<Awaited>,
    _under_way: UnderWay,
}

// === impl Limits ===

impl Default for Limits {
    /// Upstream's.
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(60),
            max_reading: 400,
            max_writing: 200,
            min_request_timeout: Duration::from_secs(1800),
        }
    }
}

// === impl Chain ===

impl Chain {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: ChainParts) -> Self {
        let ChainParts {
            authenticator,
            authorizer,
            health,
            metrics,
            registry,
            version,
            plugins,
            stream,
            endpoint,
            limits,
            optional,
            observation,
            draining,
        } = parts;
        Self {
            reading: Seats::new(metrics.reading.clone(), limits.max_reading),
            writing: Seats::new(metrics.writing.clone(), limits.max_writing),
            // Plain strings: this cannot fail. Indented, as upstream has it.
            version: serde_json::to_vec_pretty(&version).unwrap_or_default().into(),
            request_timeout: limits.request_timeout,
            optional,
            authenticator,
            authorizer: Arc::new(authorizer),
            health,
            metrics,
            registry,
            plugins,
            stream,
            endpoint,
            observation,
            draining,
        }
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub(crate) fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// What sends newcomers away during a shutdown, if that is asked for.
    pub(crate) fn retry_after(&self) -> Option<&Arc<RetryAfter>> {
        self.optional.retry_after.as_ref()
    }

    /// Answers a request, whatever it is and whatever happens.
    pub async fn answer<B>(&self, connection: &Arc<Connection>, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let started = Instant::now();
        let under_way = connection.begin();
        let (parts, body) = request.into_parts();
        let audit_id = audit::id(&parts.headers);
        let client = Client::of(&parts);
        let (method, http_version) = (parts.method.clone(), parts.version);
        if self.optional.goaway.is_some_and(|goaway| goaway.now(http_version)) {
            connection.end();
        }
        let line = http_log::Line::begin(&parts, &audit_id, connection.remote);
        let mut track = Track {
            audit_id: Some(audit_id.clone()),
            at: self.observation.wants_time().then(SystemTime::now),
            ..Track::default()
        };
        let mut response = match AssertUnwindSafe(self.filtered(connection, parts, body, &mut track))
            .catch_unwind()
            .await
        {
            Ok(Ok(response)) => response,
            Ok(Err(status)) => client.refuse(&status),
            Err(panic) => {
                // The panic's own text was written by the panic hook; the audit id ties the two together.
                tracing::error!(%method, uri = %client.uri, ?audit_id, "a request panicked");
                self.metrics.panics.inc();
                if let Some(trail) = track.trail.take() {
                    trail.panicked(words(&*panic)).await;
                }
                client.refuse(&Status::internal_error(
                    "This request caused the server to panic. Look in the logs for details.",
                ))
            }
        };
        if let Some(api) = response.extensions_mut().remove::<DeprecatedApi>() {
            self.deprecated(&api, track.trail.as_ref());
        }
        let headers = response.headers_mut();
        track.warnings.write(headers);
        headers.insert(audit::AUDIT_ID, audit_id);
        headers
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-cache, private"));
        if self.optional.retry_after.is_some() && http_version != HttpVersion::HTTP_2 && connection.ending().is_cancelled() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(hsts) = &self.optional.hsts {
            hsts.mark(headers);
        }
        if let Some(origin) = track.origin.take() {
            cors::mark(origin, headers);
        }
        if method == Method::HEAD && http_version == HttpVersion::HTTP_2 {
            bodiless(&mut response);
        }
        if let Some(trail) = track.trail.take() {
            response = trail.answered(response).await;
        }
        let mut tally = Tally {
            series: track.series,
            code: response.status().as_u16(),
            started,
            bytes: 0,
            line,
            span: track.span,
            _running: None,
            _seat: track.seat,
            _awaited: track.awaited,
            _under_way: under_way,
        };
        if let Some(bytes) = response.body().size_hint().exact().filter(|bytes| *bytes <= PIECE as u64) {
            // Whole and in memory: it is done.
            tally.bytes = bytes;
            drop(tally);
            return response;
        }
        if let Some(deadline) = track.deadline {
            if http_version == HttpVersion::HTTP_2 {
                stream_task::written_by(deadline);
            } else {
                connection.write_by(deadline.into_std());
            }
        }
        let draining = track.long_running.then(|| self.draining.clone());
        tally._running = tally.series.as_ref().and_then(|series| series.running());
        response.map(|body| Held::wrap(body, track.deadline, draining, tally))
    }

    fn deprecated(&self, api: &DeprecatedApi, trail: Option<&Trail>) {
        self.metrics.deprecated(api);
        if let Some(trail) = trail {
            trail.notebook().annotate("k8s.io/deprecated", "true");
            if !api.removed_release.is_empty() {
                trail.notebook().annotate("k8s.io/removed-release", &api.removed_release);
            }
        }
    }

    async fn filtered<B>(
        &self,
        connection: &Arc<Connection>,
        parts: Parts,
        body: B,
        track: &mut Track,
    ) -> Result<Response<Body>, Status>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let info = match RequestInfo::parse(&parts.method, &parts.uri) {
            Ok(info) => info,
            Err(status) => {
                let nothing = RequestInfo::default();
                track.series = Some(self.metrics.series(&nothing, &parts, || false));
                return Err(status);
            }
        };
        track.series = Some(self.metrics.series(&info, &parts, || self.endpoint.serves(&info)));
        track.long_running = long_running::is(&info)
            || self.stream_at(&info.path).is_some()
            || (!info.subresource.is_empty() && self.endpoint.stays_open(&info));
        if let Some(retry_after) = &self.optional.retry_after {
            match retry_after.enter(&info.path, &parts.headers) {
                // Who is long-running is told to end by the drain, and not waited for.
                Ok(awaited) => track.awaited = awaited.filter(|_| !track.long_running),
                Err(status) => {
                    connection.end();
                    return Err(status);
                }
            }
        }
        if let Some(cors) = &self.optional.cors {
            track.origin = cors.origin(&parts.headers);
        }
        if track.long_running {
            return self.decided(connection, info, parts, body, track).await;
        }
        let (given, late) = match deadline::of_request(&info, &parts.uri, self.request_timeout) {
            Ok(allowed) => allowed,
            Err(status) => {
                self.audit_refusal(connection, &info, &parts, track, &status).await;
                return Err(status);
            }
        };
        let deadline = Deadline::now() + given;
        track.deadline = Some(deadline);
        if track.origin.is_some() && parts.method == Method::OPTIONS {
            return Ok(cors::preflight());
        }
        match tokio::time::timeout_at(deadline, self.decided(connection, info, parts, body, track)).await {
            Ok(answered) => answered,
            Err(_elapsed) => {
                let status = late.status();
                if let Some(series) = &track.series {
                    series.terminated(status.code);
                }
                Err(status)
            }
        }
    }

    /// The audit log's one event of a request whose caller is not known.
    async fn audit_refusal(&self, connection: &Connection, info: &RequestInfo, parts: &Parts, track: &Track, status: &Status) {
        if let Some(audit) = &self.observation.audit {
            audit.refused(&track.arrival(connection, info, parts), status).await;
        }
    }

    async fn decided<B>(
        &self,
        connection: &Arc<Connection>,
        info: RequestInfo,
        mut parts: Parts,
        request_body: B,
        track: &mut Track,
    ) -> Result<Response<Body>, Status>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let began = Instant::now();
        let outcome = self.authenticator.authenticate(&connection.peer, &mut parts.headers).await;
        self.metrics.authentication.observe(began.elapsed().as_secs_f64());
        if let Some(ends) = connection.certificate_ends() {
            self.metrics.expirations.observe(seconds_until(ends));
        }
        let caller = match outcome {
            Ok(caller) => caller,
            Err(unauthenticated) => {
                tracing::info!(remote = %connection.remote, path = %info.path, reason = %unauthenticated, "unauthenticated");
                self.end_after_stranger(connection, parts.version);
                let status = unauthenticated.status();
                self.audit_refusal(connection, &info, &parts, track, &status).await;
                return Err(status);
            }
        };
        if caller.name == ANONYMOUS || caller.is_in(UNAUTHENTICATED) {
            self.end_after_stranger(connection, parts.version);
        }
        let mut audited = crate::audit::Notebook::default();
        if self.observation.is_on() {
            audited = self.observe(connection, &caller, &info, &parts, track).await?;
        }
        // From here on nobody sees the caller any more, only whom they act as.
        let identity = match impersonate(&self.authorizer, &caller, &mut parts.headers).await? {
            Some(impersonated) => {
                audited.impersonated(Arc::clone(&impersonated), "");
                impersonated
            }
            None => caller,
        };
        let attributes = Attributes::from(&info);
        if !track.long_running && !identity.is_in(MASTERS) && !self.authorizer.is_open(&attributes) {
            let seats = if in_flight::is_read_only(&info.verb) {
                &self.reading
            } else {
                &self.writing
            };
            track.seat = Some(seats.take().ok_or_else(|| {
                if let Some(series) = &track.series {
                    series.terminated(429);
                }
                Status::too_many_requests(1)
            })?);
        }
        let began = Instant::now();
        let outcome = self.authorizer.permit(&identity, &attributes).await;
        self.metrics.authorization.observe(began.elapsed().as_secs_f64());
        if let Some(span) = &track.span {
            span.filter("authorization", began.elapsed());
        }
        observation::decided(&audited, &outcome);
        if let Err(refused) = outcome {
            return Err(refused.status(&identity, &info));
        }
        if !info.is_resource_request
            && let Some(answer) = self.own(&info, &parts)
        {
            return answer;
        }
        if !self.endpoint.ready() {
            let message = "the request has been made before all known HTTP paths have been installed, please try again";
            return Err(Status::service_unavailable(message, 5));
        }
        // A stream has no length that anybody could limit, and is no object.
        let body = if track.long_running {
            Body::new(request_body)
        } else {
            let body = body::limited(&parts.headers, request_body)?;
            match &track.trail {
                Some(trail) => trail.request_body(&parts.headers, body),
                None => body,
            }
        };
        let call = Call {
            info,
            permission: Permission {
                authorizer: Arc::clone(&self.authorizer),
                identity: Arc::clone(&identity),
            },
            identity,
            parts,
            body,
            deadline: track.deadline,
            draining: self.draining.clone(),
            warnings: track.warnings.clone(),
            audit: audited,
            audit_id: track
                .audit_id
                .as_ref()
                .and_then(|id| id.to_str().ok())
                .unwrap_or_default()
                .to_owned(),
            handover: connection.handover().clone(),
        };
        Ok(self.endpoint.answer(call).await)
    }

    /// HTTP/2 lets a client open and reset streams by the thousand; who is nobody gets one answer per connection
    /// (CVE-2023-44487, upstream's gate `UnauthenticatedHTTP2DOSMitigation`). As upstream, this also sends the front proxy to
    /// another connection if it speaks for nobody; but it carries other users too, so it is never cut off.
    fn end_after_stranger(&self, connection: &Connection, version: HttpVersion) {
        if version != HttpVersion::HTTP_2 {
            return;
        }
        if self.authenticator.is_front_proxy(&connection.peer) {
            connection.end();
        } else {
            connection.end_after_stranger();
        }
    }

    /// Begins what looks on: the span, the trail. Not called if nobody does.
    async fn observe(
        &self,
        connection: &Connection,
        identity: &Arc<Identity>,
        info: &RequestInfo,
        parts: &Parts,
        track: &mut Track,
    ) -> Result<crate::audit::Notebook, Status> {
        let arrival = track.arrival(connection, info, parts);
        if let Some(tracer) = &self.observation.tracer {
            track.span = tracer.begin(&Seen {
                parts,
                info,
                identity,
                remote: connection.remote,
                audit_id: arrival.audit_id,
                at: track.at.unwrap_or_else(SystemTime::now),
            });
        }
        let Some(audit) = &self.observation.audit else {
            return Ok(crate::audit::Notebook::default());
        };
        let began = Instant::now();
        let trail = audit.begin(&track.arrival(connection, info, parts), identity).await?;
        self.metrics.audit.observe(began.elapsed().as_secs_f64());
        if let Some(span) = &track.span {
            span.filter("audit", began.elapsed());
        }
        let notebook = trail.as_ref().map(Trail::notebook).unwrap_or_default();
        track.trail = trail;
        Ok(notebook)
    }

    fn stream_at(&self, path: &str) -> Option<&OwnStream> {
        self.stream.as_ref().filter(|stream| stream.path == path)
    }

    /// The paths that are the server's own.
    fn own(&self, info: &RequestInfo, parts: &Parts) -> Option<Result<Response<Body>, Status>> {
        let path = info.path.as_str();
        if let Some(stream) = self.stream_at(path) {
            return Some(match parts.method {
                Method::GET => Ok(Response::new((stream.open)())),
                _ => Err(Status::method_not_allowed()),
            });
        }
        match path {
            "/metrics" => Some(exposition::answer(&self.registry, &parts.headers)),
            "/metrics/slis" => Some(exposition::answer(self.health.slis(), &parts.headers)),
            "/debug/plugins" => self.plugins.as_ref().map(|write| {
                if parts.method != Method::GET && parts.method != Method::HEAD {
                    return Err(Status::method_not_allowed());
                }
                let mut response = Response::new(Body::from(write()));
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert(header::CONTENT_TYPE, json);
                Ok(response)
            }),
            _ if path.starts_with("/version") => version::answer(path, parts, &self.version),
            _ => {
                let name = path.trim_start_matches('/').split('/').next().unwrap_or_default();
                matches!(name, "healthz" | "livez" | "readyz").then(|| {
                    let query = parts.uri.query().unwrap_or_default();
                    self.health.answer(path, query).ok_or_else(Status::generic_not_found)
                })
            }
        }
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain")
            .field("authenticator", &self.authenticator)
            .field("authorizer", &self.authorizer)
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

// === impl Track ===

impl Track {
    fn arrival<'a>(&'a self, connection: &Connection, info: &'a RequestInfo, parts: &'a Parts) -> Arrival<'a> {
        Arrival {
            audit_id: self.audit_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default(),
            parts,
            info,
            remote: connection.remote.ip(),
            at: self.at.and_then(|at| at.try_into().ok()).unwrap_or_default(),
            long_running: self.long_running,
        }
    }
}

// === impl Tally ===

impl Ending for Tally {
    fn ended(&mut self, bytes: u64, broken: bool) {
        self.bytes = bytes;
        if broken && let Some(series) = &self.series {
            series.aborted();
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        if let Some(series) = &self.series {
            series.record(self.code, took, self.bytes);
        }
        if let Some(span) = &self.span {
            span.answered(self.code, self.bytes);
        }
        if let Some(line) = &self.line {
            line.end(self.code, took, self.series.as_ref().map(|s| s.verb()));
        }
    }
}

/// A panic's own words.
fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(words), _) => words,
        (None, Some(words)) => words,
        (None, None) => "a value of an unknown type",
    }
}

/// Negative once it is over.
fn seconds_until(ends: i64) -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let ends = ends as f64;
    ends - now.as_secs_f64()
}

/// An answer to HEAD says how long it would be and ends there. HTTP/1.1 connections see to that themselves.
fn bodiless(response: &mut Response<Body>) {
    if let Some(length) = response.body().size_hint().exact() {
        response
            .headers_mut()
            .entry(header::CONTENT_LENGTH)
            .or_insert(HeaderValue::from(length));
    }
    *response.body_mut() = Body::empty();
}
