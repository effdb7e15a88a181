//! Who looks on: the audit log, traces, warnings, and the metrics of a request.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::trace::v1::Span;
use outrigger_audit::Policy;
use outrigger_server::audit::{Audit, Format, Mode, SinkOptions};
use outrigger_server::traces::{Tracer, TracingConfiguration};
use outrigger_server::{Authority, Observation};
use prometheus_client::registry::Registry;
use prost::Message as _;
use serde_json::Value;

use crate::world::{BOTH, HOUR, Protocol, Setup, World, request, thing};

/// A log to look into; it refuses or hangs as told.
#[derive(Clone, Default)]
struct Log {
    bytes: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
    stuck: Arc<AtomicBool>,
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        while self.stuck.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.full.load(Ordering::SeqCst) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.bytes.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines(&self) -> Vec<Value> {
        let bytes = self.bytes.lock().unwrap().clone();
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(|l| serde_json::from_str(l).unwrap_or_else(|_| panic!("{l}")))
            .collect()
    }
}

struct Audited {
    world: World,
    log: Log,
    audit: Arc<Audit>,
    registry: Registry,
}

impl Audited {
    async fn start(rules: &str, mode: Mode, queue: usize) -> Self {
        let (log, mut registry) = (Log::default(), Registry::default());
        let policy = Policy::parse(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}")).unwrap();
        let options = SinkOptions {
            mode,
            format: Format::Json,
            queue,
            max_event_bytes: None,
        };
        let audit = Audit::into_stream(policy, Box::new(log.clone()), options, &mut registry).unwrap();
        let observation = Observation {
            audit: Some(audit.clone()),
            tracer: None,
        };
        let world = World::with(Setup {
            observation,
            ..Setup::default()
        })
        .await;
        Self {
            world,
            log,
            audit,
            registry,
        }
    }

    fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |v| v.parse().unwrap())
    }

    /// All lines once everything has been said.
    async fn closed(self) -> Vec<Value> {
        self.world.shutdown.cancel();
        self.world.done.await.unwrap();
        assert!(self.audit.close(Duration::from_secs(10)).await);
        self.log.lines()
    }
}

/// Stage, verb, URI, user, code, message.
fn gist(line: &Value) -> String {
    let text = |v: &Value| v.as_str().unwrap_or("-").to_owned();
    let status = &line["responseStatus"];
    format!(
        "{} {} {} {} {} {}",
        text(&line["stage"]),
        text(&line["verb"]),
        text(&line["requestURI"]),
        text(&line["user"]["username"]),
        status["code"],
        text(&status["message"])
    )
}

#[tokio::test]
async fn every_way_a_request_can_end_is_in_the_log() {
    let audited = Audited::start("rules: [{level: Metadata}]", Mode::Blocking, 100).await;
    let world = &audited.world;
    let alice = || world.client("alice", None);
    world
        .connect(Protocol::H2, alice())
        .await
        .get(&thing("a"), &[("audit-id", "one")])
        .await;
    world.connect(Protocol::H1, None).await.get("/nope", &[]).await;
    let stranger = Authority::create("stranger").unwrap().client("eve", None, HOUR).unwrap();
    world.connect(Protocol::H1, Some(stranger)).await.get("/nope", &[]).await;
    world
        .connect(Protocol::H1, alice())
        .await
        .get(&format!("{}?timeout=5", thing("a")), &[])
        .await;
    world.connect(Protocol::H1, alice()).await.get(&thing("panic"), &[]).await;
    world
        .connect(Protocol::H1, alice())
        .await
        .get(&format!("{}?timeout=10ms", thing("wait")), &[])
        .await;
    let mut gone = world.connect(Protocol::H2, alice()).await;
    let lost = tokio::spawn(async move {
        gone.send(request(Method::GET, &thing("wait"), &[("audit-id", "gone")], ""))
            .await
            .map(|_| ())
    });
    world.until_waiting(2).await;
    lost.abort();
    let mut watching = world.connect(Protocol::H2, alice()).await;
    let watch = watching
        .send(request(Method::GET, "/apis/test.example.com/v1/things?watch=1", &[], ""))
        .await
        .unwrap();
    let mut watch = watch.into_body();
    watch.frame().await.unwrap().unwrap();
    let lines = audited.closed().await;
    let mut gists: Vec<String> = lines.iter().map(gist).collect();
    gists.sort();
    let forbidden = "forbidden: User \"system:anonymous\" cannot get path \"/nope\"";
    let timeout = "invalid timeout specified in the request URL - time: missing unit in duration \"5\"";
    let t = |name: &str| thing(name);
    let mut want = vec![
        format!("RequestReceived get {} alice null -", t("a")),
        format!("ResponseComplete get {} alice 200 -", t("a")),
        "RequestReceived get /nope system:anonymous null -".into(),
        format!("ResponseComplete get /nope system:anonymous 403 {forbidden}"),
        "ResponseStarted get /nope - 401 Unauthorized".into(),
        format!("ResponseStarted get {}?timeout=5 - 400 {timeout}", t("a")),
        format!("RequestReceived get {} alice null -", t("panic")),
        format!("Panic get {} alice 500 APIServer panic'd: as told", t("panic")),
        format!("RequestReceived get {}?timeout=10ms alice null -", t("wait")),
        format!(
            "ResponseComplete get {}?timeout=10ms alice 504 Timeout: request did not complete within the allotted timeout",
            t("wait")
        ),
        format!("RequestReceived get {} alice null -", t("wait")),
        format!("ResponseComplete get {} alice 200 Connection closed early", t("wait")),
        "RequestReceived watch /apis/test.example.com/v1/things?watch=1 alice null -".into(),
        "ResponseStarted watch /apis/test.example.com/v1/things?watch=1 alice 200 -".into(),
        "ResponseComplete watch /apis/test.example.com/v1/things?watch=1 alice 200 -".into(),
    ];
    want.sort();
    assert_eq!(gists, want);
    let one: Vec<&Value> = lines.iter().filter(|l| l["auditID"] == "one").collect();
    assert_eq!(one.len(), 2);
    assert_eq!(one[0]["stageTimestamp"], one[0]["requestReceivedTimestamp"]);
    assert_eq!(one[1]["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(one[1]["sourceIPs"], serde_json::json!(["127.0.0.1"]));
    assert_eq!(
        one[1]["objectRef"],
        serde_json::json!({"resource": "things", "name": "a", "apiGroup": "test.example.com", "apiVersion": "v1"})
    );
}

#[tokio::test]
async fn bodies_are_in_the_log_at_the_levels_that_want_them() {
    let rules = "rules: [{level: Metadata, users: [meta]}, {level: Request, users: [req]}, {level: RequestResponse}]\nomitStages: [RequestReceived]";
    let audited = Audited::start(rules, Mode::Batch, 100).await;
    for user in ["meta", "req", "both"] {
        let body = r#"{"metadata":{"namespace":"n","uid":"u"}}"#;
        let mut client = audited.world.connect(Protocol::H1, audited.world.client(user, None)).await;
        client
            .ask(request(
                Method::PUT,
                &thing("read"),
                &[("content-type", "application/json")],
                body,
            ))
            .await;
        client.get(&thing("json"), &[]).await;
    }
    let lines = audited.closed().await;
    assert_eq!(lines.len(), 6, "{lines:?}");
    for (pair, (request, response)) in lines.chunks(2).zip([(false, false), (true, false), (true, true)]) {
        assert_eq!(pair[0]["objectRef"]["uid"], "u", "at every level");
        assert_eq!(pair[0]["requestObject"]["metadata"]["namespace"].is_string(), request);
        assert_eq!(pair[1]["responseObject"]["kind"] == "Thing", response, "{}", pair[1]);
    }
}

#[tokio::test]
async fn a_full_disk_fails_no_request_unless_told_to() {
    for (mode, code) in [(Mode::Batch, 200), (Mode::Blocking, 200), (Mode::BlockingStrict, 500)] {
        let audited = Audited::start("rules: [{level: Metadata}]", mode, 100).await;
        audited.log.full.store(true, Ordering::SeqCst);
        let mut client = audited.world.connect(Protocol::H1, audited.world.client("alice", None)).await;
        let answer = client.get(&thing("a"), &[]).await;
        assert_eq!(answer.code, code, "{mode:?}");
        assert!(audited.audit.close(Duration::from_secs(10)).await);
        let strict = mode == Mode::BlockingStrict;
        let lost = if strict { 1.0 } else { 2.0 };
        assert_eq!(
            audited.metric("apiserver_audit_error_total{plugin=\"log\"}"),
            lost,
            "{mode:?}"
        );
        assert_eq!(
            audited.metric("apiserver_audit_requests_rejected_total"),
            f64::from(u8::from(strict))
        );
        assert_eq!(audited.metric("apiserver_audit_event_total"), lost);
        assert_eq!(audited.metric("apiserver_audit_level_total{level=\"Metadata\"}"), 1.0);
    }
}

#[tokio::test]
async fn what_the_queue_cannot_hold_is_dropped_and_counted() {
    let audited = Audited::start("rules: [{level: Metadata}]", Mode::Batch, 4).await;
    audited.log.stuck.store(true, Ordering::SeqCst);
    let mut client = audited.world.connect(Protocol::H1, audited.world.client("alice", None)).await;
    for _ in 0..10 {
        assert_eq!(client.get(&thing("a"), &[]).await.code, 200);
    }
    let dropped = audited.metric("apiserver_audit_error_total{plugin=\"buffered\"}");
    // Four in the queue, and one that the writer has in its hands, if it came that far.
    assert!(dropped == 15.0 || dropped == 16.0, "{dropped}");
    audited.log.stuck.store(false, Ordering::SeqCst);
    let written = audited.closed().await.len();
    assert_eq!(written, if dropped > 15.0 { 4 } else { 5 });
}

#[tokio::test]
async fn warnings_leave_with_the_answer() {
    let world = World::start().await;
    for protocol in BOTH {
        let answer = world
            .connect(protocol, world.client("alice", None))
            .await
            .get(&thing("warn"), &[])
            .await;
        assert_eq!(answer.header("warning"), "299 - \"mind \\\"the gap\\\"\"");
        assert_eq!(answer.headers.get_all("warning").iter().count(), 1);
    }
}

/// What Prometheus' parser and promtool want of a scrape in the classic format.
#[tokio::test]
async fn a_scrape_is_well_formed() {
    let world = World::start().await;
    let mut client = world
        .connect(Protocol::H1, world.client("admin", Some("system:masters")))
        .await;
    for path in ["/readyz", &format!("{}?timeout=5ms", thing("wait")), &thing("a"), "/metrics"] {
        client.get(path, &[]).await;
    }
    for (path, expected) in [
        (
            "/metrics",
            &[
                "apiserver_request_sli_duration_seconds_count{verb=\"GET\",group=\"test.example.com\",",
                "apiserver_response_sizes_count{verb=\"GET\",",
                "apiserver_request_terminations_total{verb=\"GET\",group=\"test.example.com\",version=\"v1\",resource=\"things\",subresource=\"\",scope=\"resource\",component=\"apiserver\",code=\"504\"} 1",
                "apiserver_request_filter_duration_seconds_count{filter=\"authentication\"}",
                "apiserver_request_filter_duration_seconds_count{filter=\"authorization\"}",
                "apiserver_client_certificate_expiration_seconds_count",
            ][..],
        ),
        (
            "/metrics/slis",
            &[
                "kubernetes_healthcheck{name=\"ping\",type=\"readyz\"} 1",
                "kubernetes_healthchecks_total{name=\"shutdown\",type=\"readyz\",status=\"success\"} 1",
                "process_start_time_seconds",
            ][..],
        ),
    ] {
        let text = client.get(path, &[]).await.text().to_owned();
        for line in expected {
            assert!(text.contains(line), "{path} {line}\n{text}");
        }
        well_formed(&text);
        let small = client.get(path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(small.header("content-encoding"), "gzip");
        let mut plain = String::new();
        io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&small.body[..]), &mut plain).unwrap();
        well_formed(&plain);
    }
}

fn well_formed(text: &str) {
    let (mut families, mut series) = (std::collections::BTreeMap::new(), std::collections::BTreeSet::new());
    let mut helped = None;
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(!words.is_empty());
            helped = Some(name);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(helped, Some(name), "{line}");
            // Upstream named these two before there was a rule.
            let old = ["authenticated_user_requests", "authentication_attempts"].contains(&name);
            assert_eq!(kind == "counter", name.ends_with("_total") || old, "{line}");
            assert!(families.insert(name, kind).is_none(), "twice: {line}");
        } else {
            let (id, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            assert!(series.insert(id), "twice: {line}");
            let name = id.split('{').next().unwrap();
            let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s));
            let known = families.contains_key(name) || of_histogram.is_some_and(|n| families.get(n) == Some(&"histogram"));
            assert!(known, "no TYPE: {line}");
        }
    }
}

/// A collector that keeps what it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Collector {
    async fn listen(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, this) = (listener.local_addr().unwrap(), self.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let this = this.clone();
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let this = this.clone();
                    async move {
                        assert_eq!(
                            request.uri().path(),
                            "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
                        );
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        // One message, not compressed: a zero and four bytes of length stand before it.
                        this.0
                            .lock()
                            .unwrap()
                            .push(ExportTraceServiceRequest::decode(&body[5..]).unwrap());
                        let ok =
                            http::HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), "0".parse().unwrap())]);
                        let frames = [Frame::data(Bytes::from_static(&[0; 5])), Frame::trailers(ok)]
                            .map(Ok::<_, std::convert::Infallible>);
                        let answer = Response::builder().header("content-type", "application/grpc");
                        Ok::<_, std::convert::Infallible>(answer.body(StreamBody::new(futures::stream::iter(frames))).unwrap())
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        address
    }

    fn spans(&self) -> Vec<Span> {
        let all = self.0.lock().unwrap();
        let scopes = all.iter().flat_map(|r| &r.resource_spans).flat_map(|r| &r.scope_spans);
        scopes.flat_map(|s| s.spans.clone()).collect()
    }
}

fn attribute(span: &Span, key: &str) -> String {
    let value = span.attributes.iter().find(|a| a.key == key).and_then(|a| a.value.clone());
    match value {
        Some(AnyValue {
            value: Some(Any::StringValue(text)),
        }) => text,
        Some(AnyValue {
            value: Some(Any::IntValue(n)),
        }) => n.to_string(),
        other => format!("{other:?}"),
    }
}

async fn traced(rate: u32) -> (World, Collector, Arc<Tracer>) {
    let collector = Collector::default();
    let at = collector.listen().await;
    let configuration = TracingConfiguration::parse(&format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nendpoint: {at}\nsamplingRatePerMillion: {rate}\n"
    ));
    let tracer = Tracer::start(&configuration.unwrap(), "0.1.0", "test".into()).unwrap();
    let observation = Observation {
        audit: None,
        tracer: Some(tracer.clone()),
    };
    let world = World::with(Setup {
        observation,
        ..Setup::default()
    })
    .await;
    (world, collector, tracer)
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_callers_trace_goes_on_and_a_strangers_is_only_linked() {
    let (world, collector, tracer) = traced(1_000_000).await;
    let sampled = format!("00-{TRACE}-b7ad6b7169203331-01");
    let unsampled = format!("00-{TRACE}-b7ad6b7169203331-00");
    for (group, parent, id) in [
        (Some("system:masters"), Some(&sampled), "trusted"),
        (Some("system:monitoring"), Some(&unsampled), "declined"),
        (None, Some(&unsampled), "stranger"),
        (None, None, "alone"),
    ] {
        let mut client = world.connect(Protocol::H2, world.client("alice", group)).await;
        let mut headers = vec![
            ("audit-id", id),
            ("user-agent", "test"),
            ("x-forwarded-for", "9.9.9.9, 8.8.8.8"),
        ];
        headers.extend(parent.map(|p| ("traceparent", p.as_str())));
        client.get(&thing("missing"), &headers).await;
    }
    tracer.close(Duration::from_secs(10)).await;
    let spans = collector.spans();
    let of = |id: &str| spans.iter().find(|s| attribute(s, "audit-id") == id);
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let trusted = of("trusted").unwrap();
    assert_eq!(
        (hex(&trusted.trace_id), hex(&trusted.parent_span_id)),
        (TRACE.into(), "b7ad6b7169203331".into())
    );
    assert_eq!(trusted.name, "GET /apis/test.example.com/v1/things/{:name}");
    assert_eq!(trusted.kind, 2, "a server's");
    for (key, want) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "404"),
        ("http.response.body.size", "2"),
        ("http.target", &thing("missing")),
        ("url.path", &thing("missing")),
        ("url.scheme", "https"),
        ("server.address", "localhost"),
        ("network.peer.address", "127.0.0.1"),
        ("network.protocol.version", "2.0"),
        ("client.address", "9.9.9.9"),
        ("user_agent.original", "test"),
    ] {
        assert_eq!(attribute(trusted, key), want, "{key}");
    }
    let filter = spans
        .iter()
        .find(|s| s.name == "authorization" && s.parent_span_id == trusted.span_id)
        .unwrap();
    assert_eq!(filter.trace_id, trusted.trace_id);
    assert!(of("declined").is_none(), "who is trusted may say no");
    let stranger = of("stranger").unwrap();
    assert!(hex(&stranger.trace_id) != TRACE && stranger.parent_span_id.is_empty());
    assert_eq!(hex(&stranger.links[0].trace_id), TRACE);
    assert!(of("alone").unwrap().links.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_rate_only_trusted_callers_who_ask_are_traced() {
    let (world, collector, tracer) = traced(0).await;
    let sampled = format!("00-{TRACE}-b7ad6b7169203331-01");
    for (group, header) in [
        (None, Some(&sampled)),
        (Some("system:masters"), None),
        (Some("system:masters"), Some(&sampled)),
    ] {
        let mut client = world.connect(Protocol::H1, world.client("alice", group)).await;
        let headers: Vec<_> = header.map(|h| ("traceparent", h.as_str())).into_iter().collect();
        client.get(&thing("a"), &headers).await;
    }
    tracer.close(Duration::from_secs(10)).await;
    assert_eq!(collector.spans().iter().filter(|s| s.kind == 2).count(), 1);
}
