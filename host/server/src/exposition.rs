//! `/metrics`: the registry in the format that the scraper can read.
//!
//! The library writes OpenMetrics 1.0. Prometheus asks for that and gets it under its own content type; everybody else (and
//! `kubectl get --raw /metrics`) gets the classic text format 0.0.4, which differs in few lines: counters are named with their
//! `_total`, there is no `# UNIT` and no `# EOF`, and two types are called otherwise. Prometheus 3 refuses a scrape whose
//! content type does not fit, so the one must never be sent as the other.
//!
//! A few of upstream's counters are older than the rule that a counter ends in `_total`. In the classic format, which is all
//! that upstream speaks, they are written without it ([`WITHOUT_TOTAL`]), or dashboards would not find them.

use std::fmt::Write;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use http::header::{self, HeaderValue};
use http::{HeaderMap, Response};
use outrigger_api::status::Status;
use prometheus_client::registry::Registry;

use crate::call::Body;
use crate::routes::accepts_gzip;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Counters of upstream that do not end in `_total`.
const WITHOUT_TOTAL: [&str; 2] = ["authenticated_user_requests", "authentication_attempts"];

/// Answers a scrape.
///
/// # Errors
/// 500 if a metric cannot be written.
pub fn answer(registry: &Registry, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let mut open_metrics = String::new();
    prometheus_client::encoding::text::encode(&mut open_metrics, registry)
        .map_err(|_| Status::internal_error("the metrics could not be written"))?;
    let (body, content_type) = if wants_open_metrics(headers) {
        (open_metrics, OPEN_METRICS)
    } else {
        (to_text(&open_metrics), TEXT)
    };
    let gzip = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|v| v.to_str().ok())
        .is_some_and(accepts_gzip);
    let mut response = if gzip {
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
        let compressed = encoder.write_all(body.as_bytes()).and_then(|()| encoder.finish());
        let mut response = Response::new(Body::from(compressed.map_err(Status::internal_error)?));
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        Response::new(Body::from(body))
    };
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}

/// Whether OpenMetrics 1.0 is named. Scrapers that name it at all prefer it.
fn wants_open_metrics(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|a| a.to_str().ok())
        .flat_map(|a| a.split(','))
        .any(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            parts
                .next()
                .is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"))
                && parts.all(|p| {
                    p.split_once('=').is_none_or(|(k, v)| match k.trim() {
                        "version" => v.trim().trim_matches('"') == "1.0.0",
                        "q" => v.trim().parse::<f32>().is_ok_and(|q| q > 0.0),
                        _ => true,
                    })
                })
        })
}

fn to_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        // HELP comes first, and only the TYPE behind it tells what the family is.
        let help = line.strip_prefix("# HELP ");
        let kind = if help.is_some() { lines.peek().copied() } else { Some(line) };
        let kind = kind
            .and_then(|l| l.strip_prefix("# TYPE "))
            .and_then(|l| l.rsplit_once(' '))
            .map(|(_, kind)| kind);
        let name = line.split(' ').nth(2).unwrap_or_default();
        let suffix = match kind {
            Some("counter") if WITHOUT_TOTAL.contains(&name) => "",
            Some("counter") => "_total",
            Some("info") => "_info",
            _ => "",
        };
        // Writing to a string cannot fail.
        let _ = if let Some((name, words)) = help.and_then(|h| h.split_once(' ')) {
            writeln!(text, "# HELP {name}{suffix} {words}")
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|t| t.rsplit_once(' ')) {
            let kind = match kind {
                "unknown" => "untyped",
                "info" | "stateset" => "gauge",
                kind => kind,
            };
            writeln!(text, "# TYPE {name}{suffix} {kind}")
        } else if line == "# EOF" || line.starts_with("# UNIT ") {
            Ok(())
        } else if let Some((name, rest)) = without_total(line) {
            writeln!(text, "{name}{rest}")
        } else {
            writeln!(text, "{line}")
        };
    }
    text
}

/// The name without its `_total`, and the rest of the line, for a sample of one of [`WITHOUT_TOTAL`].
fn without_total(line: &str) -> Option<(&'static str, &str)> {
    WITHOUT_TOTAL.iter().find_map(|name| {
        let rest = line.strip_prefix(name)?.strip_prefix("_total")?;
        rest.starts_with(['{', ' ']).then_some((*name, rest))
    })
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram;

    use super::*;

    fn registry() -> Registry {
        let mut registry = Registry::default();
        let (counter, gauge, histogram) = (Counter::<u64>::default(), Gauge::<i64>::default(), Histogram::new([0.5]));
        registry.register("requests", "All of them", counter.clone());
        registry.register("seats", "Taken now", gauge.clone());
        registry.register_with_unit(
            "took",
            "How long",
            prometheus_client::registry::Unit::Seconds,
            histogram.clone(),
        );
        counter.inc();
        gauge.set(-3);
        histogram.observe(0.25);
        registry
    }

    async fn scrape(accept: Option<&str>) -> (String, String) {
        let headers = HeaderMap::from_iter(accept.map(|a| (header::ACCEPT, a.parse().unwrap())));
        let response = answer(&registry(), &headers).unwrap();
        let content_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (content_type, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn classic_text_is_classic() {
        let (content_type, body) = scrape(None).await;
        assert_eq!(content_type, TEXT);
        assert_eq!(
            body,
            "# HELP requests_total All of them.\n# TYPE requests_total counter\nrequests_total 1\n\
             # HELP seats Taken now.\n# TYPE seats gauge\nseats -3\n\
             # HELP took_seconds How long.\n# TYPE took_seconds histogram\n\
             took_seconds_sum 0.25\ntook_seconds_count 1\ntook_seconds_bucket{le=\"0.5\"} 1\ntook_seconds_bucket{le=\"+Inf\"} 1\n"
        );
    }

    #[test]
    fn old_counters_keep_their_names() {
        let mut registry = Registry::default();
        registry.register("authentication_attempts", "Old", Counter::<u64>::default());
        registry.register("authentication_attempts_late", "Young", Counter::<u64>::default());
        let mut open = String::new();
        prometheus_client::encoding::text::encode(&mut open, &registry).unwrap();
        assert!(open.contains("authentication_attempts_total 0"), "{open}");
        assert_eq!(
            to_text(&open),
            "# HELP authentication_attempts Old.\n# TYPE authentication_attempts counter\nauthentication_attempts 0\n\
             # HELP authentication_attempts_late_total Young.\n# TYPE authentication_attempts_late_total counter\n\
             authentication_attempts_late_total 0\n"
        );
    }

    #[tokio::test]
    async fn the_format_fits_the_accept_header() {
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, open) in [
            (None, false),
            (Some("*/*"), false),
            (Some("text/plain"), false),
            (Some("application/json"), false),
            (Some("application/openmetrics-text"), true),
            (Some("application/openmetrics-text; version=1.0.0; charset=utf-8"), true),
            (Some("application/openmetrics-text; version=0.0.1"), false),
            (Some("application/openmetrics-text;q=0, text/plain"), false),
            (Some(prometheus_3), true),
        ] {
            let (content_type, body) = scrape(accept).await;
            assert_eq!(content_type, if open { OPEN_METRICS } else { TEXT }, "{accept:?}");
            assert_eq!(body.ends_with("# EOF\n"), open, "{accept:?}");
            assert_eq!(body.contains("# UNIT"), open, "{accept:?}");
        }
    }
}
