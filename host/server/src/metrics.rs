//! The server's own metrics, under upstream's names, labels and buckets (apiserver `endpoints/metrics/metrics.go`).
//!
//! A request finds its counters by one hash of borrowed text; the registry is asked only when a combination is seen first. The
//! number of combinations is bounded: resources count only if they are served, and beyond [`MAX_SERIES`] everything falls into
//! one series without names.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{Method, header, request::Parts};
use outrigger_api::request_info::RequestInfo;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::filters::long_running;

/// More combinations of labels than any cluster asks for; above it somebody is playing.
const MAX_SERIES: usize = 4096;
/// `apiserver_request_duration_seconds`.
const DURATIONS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
];

/// `apiserver_request_sli_duration_seconds`: the same without the two shortest.
const SLI_DURATIONS: [f64; 21] = [
    0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
];
/// `apiserver_response_sizes`: 1 kB to 1 GB.
const SIZES: [f64; 7] = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// `apiserver_request_filter_duration_seconds`.
const FILTERS: [f64; 13] = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 5.0, 10.0, 15.0, 30.0];
/// `apiserver_client_certificate_expiration_seconds`: half an hour to a year.
const EXPIRATIONS: [f64; 14] = [
    0.0,
    1800.0,
    3600.0,
    7200.0,
    21600.0,
    43200.0,
    86400.0,
    172_800.0,
    345_600.0,
    604_800.0,
    2_592_000.0,
    7_776_000.0,
    15_552_000.0,
    31_104_000.0,
];

/// The families, and the series found so far.
#[derive(Debug)]
pub struct Metrics {
    requests: Family<Code, Counter>,
    durations: Family<Labels, Histogram, fn() -> Histogram>,
    sli_durations: Family<Plain, Histogram, fn() -> Histogram>,
    sizes: Family<Plain, Histogram, fn() -> Histogram>,
    long_running: Family<Plain, Gauge>,
    terminations: Family<Termination, Counter>,
    aborts: Family<Abort, Counter>,
    deprecated: Family<DeprecatedApi, Gauge>,
    /// Time until a caller is known.
    pub(crate) authentication: Histogram,
    /// Time until a caller is permitted.
    pub(crate) authorization: Histogram,
    /// Time until the audit log has taken the request in.
    pub(crate) audit: Histogram,
    /// What is left of client certificates, in seconds.
    pub(crate) expirations: Histogram,
    /// Requests under way that only read.
    pub(crate) reading: Gauge,
    /// Requests under way that write.
    pub(crate) writing: Gauge,
    /// Connections that did not get through their handshake.
    pub(crate) handshake_errors: Counter,
    /// Requests that panicked.
    pub(crate) panics: Counter,
    hasher: RandomState,
    found: ArcSwap<HashMap<u64, Arc<Series>>>,
}

/// The metrics of one combination of labels.
#[derive(Debug)]
pub struct Series {
    labels: Labels,
    requests: Family<Code, Counter>,
    duration: Histogram,
    /// Dry runs have no service level.
    sli_duration: Option<Histogram>,
    /// Only of reads.
    sizes: Option<Histogram>,
    codes: RwLock<Vec<(u16, Counter)>>,
    running: Option<Gauge>,
    terminations: Family<Termination, Counter>,
    aborts: Family<Abort, Counter>,
}

/// An API version that was asked for and should not be any more; an endpoint attaches it to its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DeprecatedApi {
    /// API group.
    pub group: String,
    /// The deprecated version.
    pub version: String,
    /// Plural resource.
    pub resource: String,
    /// Subresource; empty for none.
    pub subresource: String,
    /// The release that will not have it any more, as MAJOR.MINOR; empty if that is not decided.
    pub removed_release: String,
}

/// A long-running request while it runs.
#[derive(Debug)]
pub(crate) struct Running(Gauge);

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, EncodeLabelSet)]
struct Labels {
    verb: &'static str,
    dry_run: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    component: &'static str,
}

/// [`Labels`] without the dry run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Plain {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    component: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Termination {
    #[prometheus(flatten)]
    labels: Plain,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Abort {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Filter {
    filter: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    #[prometheus(flatten)]
    labels: Labels,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    request_kind: &'static str,
}

/// Borrowed [`Labels`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Names<'a> {
    verb: &'static str,
    dry_run: &'static str,
    group: &'a str,
    version: &'a str,
    resource: &'a str,
    subresource: &'a str,
    scope: &'static str,
    component: &'static str,
}

// === impl Metrics ===

impl Metrics {
    /// Registers all families.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Arc<Self> {
        let in_flight = Family::<Kind, Gauge>::default();
        let new: fn() -> Histogram = || Histogram::new(DURATIONS);
        let sli: fn() -> Histogram = || Histogram::new(SLI_DURATIONS);
        let sizes: fn() -> Histogram = || Histogram::new(SIZES);
        let filter: fn() -> Histogram = || Histogram::new(FILTERS);
        let filters = Family::<Filter, Histogram, fn() -> Histogram>::new_with_constructor(filter);
        let of_filter = |filter| filters.get_or_create_owned(&Filter { filter });
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(new),
            sli_durations: Family::new_with_constructor(sli),
            sizes: Family::new_with_constructor(sizes),
            long_running: Family::default(),
            terminations: Family::default(),
            aborts: Family::default(),
            deprecated: Family::default(),
            authentication: of_filter("authentication"),
            authorization: of_filter("authorization"),
            audit: of_filter("audit"),
            expirations: Histogram::new(EXPIRATIONS),
            reading: in_flight.get_or_create_owned(&Kind {
                request_kind: "readOnly",
            }),
            writing: in_flight.get_or_create_owned(&Kind {
                request_kind: "mutating",
            }),
            handshake_errors: Counter::default(),
            panics: Counter::default(),
            hasher: RandomState::new(),
            found: ArcSwap::default(),
        };
        let requests = "[STABLE] Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code";
        let durations = "[STABLE] Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component";
        let long_running = "[STABLE] Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way";
        registry.register("apiserver_request", requests, metrics.requests.clone());
        registry.register("apiserver_request_duration_seconds", durations, metrics.durations.clone());
        registry.register("apiserver_longrunning_requests", long_running, metrics.long_running.clone());
        metrics.register_further(registry, filters);
        let current = "[STABLE] Number of currently used inflight request limit of this apiserver per request kind";
        registry.register("apiserver_current_inflight_requests", current, in_flight);
        let handshakes = "[ALPHA] Number of requests dropped with 'TLS handshake error from' error";
        registry.register("apiserver_tls_handshake_errors", handshakes, metrics.handshake_errors.clone());
        registry.register(
            "outrigger_request_panics",
            "Requests that panicked and got 500",
            metrics.panics.clone(),
        );
        Arc::new(metrics)
    }

    fn register_further(&self, registry: &mut Registry, filters: Family<Filter, Histogram, fn() -> Histogram>) {
        let sli = "[ALPHA] Response latency distribution (not counting webhook duration and priority & fairness queue wait times) in seconds for each verb, group, version, resource, subresource, scope and component";
        registry.register("apiserver_request_sli_duration_seconds", sli, self.sli_durations.clone());
        let sizes = "[STABLE] Response size distribution in bytes for each group, version, verb, resource, subresource, scope and component";
        registry.register("apiserver_response_sizes", sizes, self.sizes.clone());
        let terminations = "[ALPHA] Number of requests which apiserver terminated in self-defense";
        registry.register("apiserver_request_terminations", terminations, self.terminations.clone());
        let aborts = "[ALPHA] Number of requests which apiserver aborted possibly due to a timeout, for each group, version, verb, resource, subresource and scope";
        registry.register("apiserver_request_aborts", aborts, self.aborts.clone());
        let deprecated = "[STABLE] Gauge of deprecated APIs that have been requested, broken out by API group, version, resource, subresource, and removed_release";
        registry.register("apiserver_requested_deprecated_apis", deprecated, self.deprecated.clone());
        let filter = "[ALPHA] Request filter latency distribution in seconds, for each filter type";
        registry.register("apiserver_request_filter_duration_seconds", filter, filters);
        let expiration = "[ALPHA] Distribution of the remaining lifetime on the certificate used to authenticate a request";
        registry.register(
            "apiserver_client_certificate_expiration_seconds",
            expiration,
            self.expirations.clone(),
        );
    }

    /// Somebody asks for an API version that goes away.
    pub(crate) fn deprecated(&self, api: &DeprecatedApi) {
        self.deprecated.get_or_create(api).set(1);
    }

    /// The series of a request. `serves` is asked only if the combination is new.
    pub(crate) fn series(&self, info: &RequestInfo, parts: &Parts, serves: impl FnOnce() -> bool) -> Arc<Series> {
        let named = Names::of(info, parts);
        if let Some(known) = self.known(named) {
            return known;
        }
        let served = if named.resource.is_empty() || serves() {
            named
        } else {
            Names {
                scope: "",
                ..named.nameless()
            }
        };
        self.known(served)
            .unwrap_or_else(|| self.make(served, long_running::is(info)))
    }

    fn known(&self, names: Names<'_>) -> Option<Arc<Series>> {
        self.found
            .load()
            .get(&self.hasher.hash_one(names))
            .filter(|series| series.labels.names() == names)
            .cloned()
    }

    fn make(&self, names: Names<'_>, long_running: bool) -> Arc<Series> {
        let full = self.found.load().len() >= MAX_SERIES;
        let labels = if full { names.nameless().labels() } else { names.labels() };
        let plain = labels.plain();
        let reads = matches!(labels.verb, "GET" | "LIST");
        let series = Arc::new(Series {
            requests: self.requests.clone(),
            duration: self.durations.get_or_create_owned(&labels),
            sli_duration: labels
                .dry_run
                .is_empty()
                .then(|| self.sli_durations.get_or_create_owned(&plain)),
            sizes: reads.then(|| self.sizes.get_or_create_owned(&plain)),
            codes: RwLock::default(),
            running: long_running.then(|| self.long_running.get_or_create_owned(&plain)),
            terminations: self.terminations.clone(),
            aborts: self.aborts.clone(),
            labels,
        });
        if !full {
            let key = self.hasher.hash_one(names);
            self.found.rcu(|found| {
                let mut found = HashMap::clone(found);
                found.entry(key).or_insert_with(|| Arc::clone(&series));
                found
            });
        }
        series
    }
}

// === impl Series ===

impl Series {
    /// Counts a request among the long-running ones, if that is what it is.
    pub(crate) fn running(&self) -> Option<Running> {
        let gauge = self.running.clone()?;
        gauge.inc();
        Some(Running(gauge))
    }

    /// The verb as it is reported.
    pub(crate) fn verb(&self) -> &'static str {
        self.labels.verb
    }

    /// The server ended a request in self-defence, with this code.
    pub(crate) fn terminated(&self, code: u16) {
        let labels = self.labels.plain();
        self.terminations.get_or_create(&Termination { labels, code }).inc();
    }

    /// The server broke an answer off.
    pub(crate) fn aborted(&self) {
        let Plain {
            verb,
            group,
            version,
            resource,
            subresource,
            scope,
            ..
        } = self.labels.plain();
        let abort = Abort {
            verb,
            group,
            version,
            resource,
            subresource,
            scope,
        };
        self.aborts.get_or_create(&abort).inc();
    }

    /// One answered request.
    pub(crate) fn record(&self, code: u16, took: Duration, bytes: u64) {
        self.duration.observe(took.as_secs_f64());
        if let Some(sli) = &self.sli_duration {
            sli.observe(took.as_secs_f64());
        }
        if let Some(sizes) = &self.sizes {
            // Exact up to 9 PB.
            sizes.observe(bytes as f64);
        }
        let known = self
            .codes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .find(|(c, _)| *c == code)
            .map(|(_, n)| n.inc());
        if known.is_none() {
            let counter = self.requests.get_or_create_owned(&Code {
                labels: self.labels.clone(),
                code,
            });
            counter.inc();
            let mut codes = self.codes.write().unwrap_or_else(PoisonError::into_inner);
            if codes.iter().all(|(c, _)| *c != code) {
                codes.push((code, counter));
            }
        }
    }
}

// === impl Running ===

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

// === impl Labels ===

impl Labels {
    fn names(&self) -> Names<'_> {
        Names {
            verb: self.verb,
            dry_run: self.dry_run,
            group: &self.group,
            version: &self.version,
            resource: &self.resource,
            subresource: &self.subresource,
            scope: self.scope,
            component: self.component,
        }
    }

    fn plain(&self) -> Plain {
        Plain {
            verb: self.verb,
            group: self.group.clone(),
            version: self.version.clone(),
            resource: self.resource.clone(),
            subresource: self.subresource.clone(),
            scope: self.scope,
            component: self.component,
        }
    }
}

// === impl Names ===

impl<'a> Names<'a> {
    fn of(info: &'a RequestInfo, parts: &Parts) -> Self {
        let dry_run = parts.uri.query().is_some_and(|q| q.contains("dryRun=All"));
        let verb = verb(info, parts);
        if !info.is_resource_request {
            // As upstream installs these handlers: the path stands where a subresource would, and there is no component.
            let own = matches!(
                info.path.as_str(),
                "/healthz" | "/livez" | "/readyz" | "/metrics" | "/version"
            );
            let subresource = if own { info.path.as_str() } else { "" };
            return Self {
                verb,
                subresource,
                component: if own { "" } else { "apiserver" },
                ..Self::nothing()
            };
        }
        let scope = match () {
            () if !info.name.is_empty() || info.verb == "create" => "resource",
            () if !info.namespace.is_empty() => "namespace",
            () => "cluster",
        };
        Self {
            verb,
            dry_run: if dry_run { "All" } else { "" },
            group: &info.api_group,
            version: &info.api_version,
            resource: &info.resource,
            subresource: &info.subresource,
            scope,
            component: "apiserver",
        }
    }

    const fn nothing() -> Self {
        Self {
            verb: "",
            dry_run: "",
            group: "",
            version: "",
            resource: "",
            subresource: "",
            scope: "",
            component: "apiserver",
        }
    }

    fn nameless(self) -> Names<'static> {
        Names {
            verb: self.verb,
            component: self.component,
            ..Names::nothing()
        }
    }

    fn labels(self) -> Labels {
        Labels {
            verb: self.verb,
            dry_run: self.dry_run,
            group: self.group.into(),
            version: self.version.into(),
            resource: self.resource.into(),
            subresource: self.subresource.into(),
            scope: self.scope,
            component: self.component,
        }
    }
}

/// The reported verb (`metrics.CleanVerb`).
fn verb(info: &RequestInfo, parts: &Parts) -> &'static str {
    let is_apply = || {
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        kind.is_some_and(|k| k.starts_with("application/apply-patch+"))
    };
    match (info.is_resource_request, info.verb.as_str(), &parts.method) {
        (true, "get", _) => "GET",
        (true, "list", _) => "LIST",
        (true, "watch", _) => "WATCH",
        (true, "create", _) => "POST",
        (true, "update", _) => "PUT",
        (true, "patch", _) => {
            if is_apply() {
                "APPLY"
            } else {
                "PATCH"
            }
        }
        (true, "delete", _) => "DELETE",
        (true, "deletecollection", _) => "DELETECOLLECTION",
        (true, "proxy", _) => "CONNECT",
        (_, _, method) => match *method {
            Method::GET | Method::HEAD => "GET",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            Method::CONNECT => "CONNECT",
            Method::OPTIONS => "OPTIONS",
            _ => "other",
        },
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn ask(metrics: &Metrics, method: &str, uri: &str, served: bool) -> Arc<Series> {
        let (parts, ()) = Request::builder().method(method).uri(uri).body(()).unwrap().into_parts();
        let info = RequestInfo::parse(&parts.method, &parts.uri).unwrap();
        metrics.series(&info, &parts, || served)
    }

    #[test]
    fn labels_are_upstreams() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let pods = "/apis/metrics.k8s.io/v1beta1/namespaces/a/pods";
        for (method, uri, want) in [
            (
                "GET",
                "/healthz",
                r#"verb="GET",dry_run="",group="",version="",resource="",subresource="/healthz",scope="",component="""#,
            ),
            (
                "GET",
                "/nope",
                r#"verb="GET",dry_run="",group="",version="",resource="",subresource="",scope="",component="apiserver""#,
            ),
            (
                "BREW",
                "/nope",
                r#"verb="other",dry_run="",group="",version="",resource="",subresource="",scope="",component="apiserver""#,
            ),
            (
                "GET",
                pods,
                r#"verb="LIST",dry_run="",group="metrics.k8s.io",version="v1beta1",resource="pods",subresource="",scope="namespace",component="apiserver""#,
            ),
            (
                "GET",
                &format!("{pods}/x/status"),
                r#"verb="GET",dry_run="",group="metrics.k8s.io",version="v1beta1",resource="pods",subresource="status",scope="resource",component="apiserver""#,
            ),
            (
                "POST",
                &format!("{pods}?dryRun=All"),
                r#"verb="POST",dry_run="All",group="metrics.k8s.io",version="v1beta1",resource="pods",subresource="",scope="resource",component="apiserver""#,
            ),
            (
                "GET",
                "/apis/g/v1/xs?watch=1",
                r#"verb="WATCH",dry_run="",group="g",version="v1",resource="xs",subresource="",scope="cluster",component="apiserver""#,
            ),
        ] {
            ask(&metrics, method, uri, true).record(200, Duration::ZERO, 0);
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            assert!(
                text.contains(&format!("apiserver_request_total{{{want},code=\"200\"}} 1\n")),
                "{method} {uri}\n{text}"
            );
        }
    }

    #[test]
    fn a_series_is_found_again_and_invented_resources_make_none() {
        let metrics = Metrics::new(&mut Registry::default());
        let first = ask(&metrics, "GET", "/apis/g/v1/xs/a", true);
        assert!(Arc::ptr_eq(&first, &ask(&metrics, "GET", "/apis/g/v1/xs/b", true)));
        let nameless = ask(&metrics, "GET", "/apis/g/v1/invented/a", false);
        assert!(Arc::ptr_eq(&nameless, &ask(&metrics, "GET", "/apis/g/v1/other/a", false)));
        assert_eq!(nameless.labels.resource, "");
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let metrics = Metrics::new(&mut Registry::default());
        for n in 0..MAX_SERIES + 10 {
            ask(&metrics, "GET", &format!("/apis/g/v1/xs{n}/a"), true);
        }
        assert_eq!(metrics.found.load().len(), MAX_SERIES);
        assert_eq!(ask(&metrics, "GET", "/apis/g/v1/onemore/a", true).labels.resource, "");
    }
}
