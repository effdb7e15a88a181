//! Spans of requests, exported over OTLP/gRPC: off unless `--tracing-config-file` is given (apiserver `filters/traces.go`).
//!
//! One server span per request begins after authentication, so that who is calling decides what a `traceparent` means: of
//! `system:masters` and `system:monitoring` it is the parent, and its sampling flag is obeyed; of everybody else it is a link of a
//! new trace, which is sampled by the configured rate alone. Names and attributes are those of upstream's `otelhttp` filter.
//!
//! The queue is the SDK's (2,048 spans, batches of 512, every five seconds); what it cannot hold is dropped and logged, and no
//! request ever waits for a collector. [`Tracer::close`] exports what is left, under a deadline.

mod config;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{HOST, USER_AGENT};
use http::request::Parts;
use hyper_util::rt::TokioIo;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanKind, Status as SpanStatus, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, Span};
use outrigger_api::identity::{Identity, MASTERS};
use outrigger_api::request_info::RequestInfo;
use tonic::transport::{Channel, Uri};

pub use config::{BadTracing, Endpoint, TracingConfiguration};

/// Members may say of their own requests whether they are traced.
const MONITORING: &str = "system:monitoring";
/// An audit id beyond this is cut off in attributes and logs (`GetAuditIDTruncated`).
const MAX_AUDIT_ID: usize = 64;

/// Makes spans and exports them.
#[derive(Debug)]
pub struct Tracer {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    propagator: TraceContextPropagator,
    rate: u32,
}

/// The span of one request; it ends when it is dropped.
#[derive(Debug)]
pub struct RequestSpan {
    context: Context,
    tracer: SdkTracer,
}

/// Why there is no exporter.
#[derive(Debug, thiserror::Error)]
pub enum NoExporter {
    /// The endpoint is no address.
    #[error("the endpoint of the collector is no address: {0}")]
    Endpoint(#[from] tonic::transport::Error),
    /// The exporter cannot be built.
    #[error("the exporter of traces cannot be built: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// What is known of a request at the door.
pub(crate) struct Seen<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) info: &'a RequestInfo,
    pub(crate) identity: &'a Identity,
    pub(crate) remote: std::net::SocketAddr,
    pub(crate) audit_id: &'a str,
    pub(crate) at: SystemTime,
}

struct Headers<'a>(&'a HeaderMap);

// === impl Tracer ===

impl Tracer {
    /// Ready to export; nothing is connected before there is a span. `instance` names this process.
    ///
    /// # Errors
    /// [`NoExporter`]; a collector that is not there is none.
    pub fn start(configuration: &TracingConfiguration, version: &str, instance: String) -> Result<Arc<Self>, NoExporter> {
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_channel(channel(&configuration.endpoint)?)
            .build()?;
        let rate = configuration.sampling_rate_per_million;
        let sampler = match rate {
            0 => Sampler::AlwaysOff,
            rate => Sampler::TraceIdRatioBased(f64::from(rate) / 1e6),
        };
        let resource = Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", "outrigger"),
                KeyValue::new("service.version", version.to_owned()),
                KeyValue::new("service.instance.id", instance),
            ])
            .build();
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(sampler)))
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        Ok(Arc::new(Self {
            tracer: provider.tracer("outrigger"),
            provider,
            propagator: TraceContextPropagator::new(),
            rate,
        }))
    }

    /// Exports what is left, in at most `deadline`.
    pub async fn close(&self, deadline: Duration) {
        let provider = self.provider.clone();
        let closed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(deadline)).await;
        if let Ok(Err(error)) = closed {
            tracing::warn!("the last traces could not be exported: {error}");
        }
    }

    /// The span of a request; `None` if it is not traced.
    pub(crate) fn begin(&self, seen: &Seen<'_>) -> Option<RequestSpan> {
        let trusted = seen.identity.is_in(MASTERS) || seen.identity.is_in(MONITORING);
        let sent = self
            .propagator
            .extract_with_context(&Context::new(), &Headers(&seen.parts.headers))
            .span()
            .span_context()
            .clone();
        let parent = Some(&sent).filter(|sent| trusted && sent.is_valid());
        // What the sampler will say is known without making attributes first.
        if parent.map_or(self.rate == 0, |parent| !parent.is_sampled()) {
            return None;
        }
        let mut builder = self
            .tracer
            .span_builder(name(seen.info, &seen.parts.method))
            .with_kind(SpanKind::Server)
            .with_start_time(seen.at)
            .with_attributes(attributes(seen));
        if parent.is_none() && sent.is_valid() {
            builder = builder.with_links(vec![Link::with_context(sent.clone())]);
        }
        let above = parent.map_or_else(Context::new, |parent: &SpanContext| {
            Context::new().with_remote_span_context(parent.clone())
        });
        let span: Span = self.tracer.build_with_context(builder, &above);
        span.is_recording().then(|| RequestSpan {
            context: Context::new().with_span(span),
            tracer: self.tracer.clone(),
        })
    }
}

// === impl RequestSpan ===

impl RequestSpan {
    /// A filter that is done now and took so long.
    pub(crate) fn filter(&self, name: &'static str, took: Duration) {
        let builder = self.tracer.span_builder(name).with_start_time(SystemTime::now() - took);
        self.tracer.build_with_context(builder, &self.context).end();
    }

    /// The answer's code and size.
    pub(crate) fn answered(&self, code: u16, bytes: u64) {
        let span = self.context.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(code)));
        if let Some(bytes) = i64::try_from(bytes).ok().filter(|b| *b > 0) {
            span.set_attribute(KeyValue::new("http.response.body.size", bytes));
        }
        if code >= 500 {
            span.set_status(SpanStatus::error(""));
        }
    }
}

// === impl Headers ===

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|v| v.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// The first 64 bytes of an audit id, for logs and attributes.
pub(crate) fn short(audit_id: &str) -> &str {
    audit_id.get(..MAX_AUDIT_ID).unwrap_or(audit_id)
}

/// The method, and of a resource its path with placeholders (`getSpanNameFromRequestInfo`).
fn name(info: &RequestInfo, method: &http::Method) -> String {
    if !info.is_resource_request {
        return method.to_string();
    }
    let mut name = format!("{method} /{}", info.api_prefix);
    let mut add = |part: &str| {
        name.push('/');
        name.push_str(part);
    };
    if !info.api_group.is_empty() {
        add(&info.api_group);
    }
    add(&info.api_version);
    if !info.namespace.is_empty() {
        add("namespaces/{:namespace}");
    }
    add(&info.resource);
    if !info.name.is_empty() {
        add("{:name}");
    }
    if !info.subresource.is_empty() {
        add(&info.subresource);
    }
    name
}

/// As `otelhttp` names them (semantic conventions 1.39), and the two that apiserver adds.
fn attributes(seen: &Seen<'_>) -> Vec<KeyValue> {
    let headers = &seen.parts.headers;
    let text = |name| headers.get(name).and_then(|v: &http::HeaderValue| v.to_str().ok());
    let authority = seen.parts.uri.authority().map(http::uri::Authority::as_str);
    let authority: http::uri::Authority = match authority.or_else(|| text(HOST)).map(str::parse) {
        Some(Ok(authority)) => authority,
        _ => http::uri::Authority::from_static("localhost"),
    };
    let (method, original) = method(seen.parts.method.as_str());
    let peer = seen.remote.ip().to_canonical().to_string();
    let forwarded = headers.get("x-forwarded-for").and_then(|v| v.to_str().ok());
    let client = forwarded
        .and_then(|f| f.split(',').next())
        .map(str::trim)
        .filter(|f| !f.is_empty());
    let path = seen.parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let version = match seen.parts.version {
        http::Version::HTTP_2 => "2.0",
        http::Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    let mut attributes = vec![
        KeyValue::new("server.address", authority.host().trim_matches(['[', ']']).to_owned()),
        KeyValue::new("http.request.method", method),
        KeyValue::new("url.scheme", "https"),
        KeyValue::new("network.peer.address", peer.clone()),
        KeyValue::new("network.peer.port", i64::from(seen.remote.port())),
        KeyValue::new("client.address", client.map_or(peer, str::to_owned)),
        KeyValue::new("url.path", seen.info.path.clone()),
        KeyValue::new("network.protocol.version", version),
        KeyValue::new("http.target", path.to_owned()),
        KeyValue::new("audit-id", short(seen.audit_id).to_owned()),
    ];
    if let Some(port) = authority.port_u16().filter(|port| *port != 443) {
        attributes.push(KeyValue::new("server.port", i64::from(port)));
    }
    if let Some(original) = original {
        attributes.push(KeyValue::new("http.request.method_original", original.to_owned()));
    }
    if let Some(agent) = text(USER_AGENT) {
        attributes.push(KeyValue::new("user_agent.original", agent.to_owned()));
    }
    attributes
}

/// A method that the conventions know, and what was sent if that is another.
fn method(sent: &str) -> (&'static str, Option<&str>) {
    const KNOWN: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
    match KNOWN.into_iter().find(|known| known.eq_ignore_ascii_case(sent)) {
        Some(known) if known == sent => (known, None),
        Some(known) => (known, Some(sent)),
        None => ("GET", Some(sent)),
    }
}

/// Connects when there is something to export, and again when it broke.
fn channel(endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error> {
    const ANY: &str = "http://localhost";
    Ok(match endpoint {
        Endpoint::Tcp(at) => Channel::from_shared(format!("http://{at}"))
            .map_err(|_| ())
            .map_or_else(|()| tonic::transport::Endpoint::new(at.clone()), Ok)?
            .connect_lazy(),
        Endpoint::Unix(path) => {
            let path = path.clone();
            Channel::from_static(ANY).connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
                let path = path.clone();
                async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
            }))
        }
        Endpoint::Abstract(name) => {
            let name = name.clone();
            Channel::from_static(ANY).connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
                let name = name.clone();
                async move { abstract_socket(&name).map(TokioIo::new) }
            }))
        }
    })
}

/// Connecting to a local socket does not wait.
fn abstract_socket(name: &str) -> std::io::Result<tokio::net::UnixStream> {
    use std::os::linux::net::SocketAddrExt as _;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    let stream = std::os::unix::net::UnixStream::connect_addr(&address)?;
    stream.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stream)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    #[test]
    fn names_are_upstreams() {
        for (method, uri, want) in [
            ("GET", "/healthz", "GET"),
            ("GET", "/apis/g.io/v1/things", "GET /apis/g.io/v1/things"),
            (
                "PUT",
                "/apis/g.io/v1/namespaces/a/things/b/status",
                "PUT /apis/g.io/v1/namespaces/{:namespace}/things/{:name}/status",
            ),
            ("GET", "/api/v1/nodes/n", "GET /api/v1/nodes/{:name}"),
        ] {
            let method: Method = method.parse().unwrap();
            let info = RequestInfo::parse(&method, &uri.parse().unwrap()).unwrap();
            assert_eq!(name(&info, &method), want);
        }
    }

    #[test]
    fn methods_are_those_of_the_conventions() {
        for (sent, want) in [
            ("GET", ("GET", None)),
            ("get", ("GET", Some("get"))),
            ("BREW", ("GET", Some("BREW"))),
        ] {
            assert_eq!(method(sent), want);
        }
    }
}
