//! `/healthz`, `/livez`, `/readyz`, word for word as k8s.io/apiserver has them (`server/healthz/healthz.go`).
//!
//! A probe learns which check failed, never why: the paths are open to everybody. The reason is in the log, and under the
//! single check's own path, which needs permission.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use outrigger_api::query::Query;
use outrigger_api::quote::Quoted;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::call::Body;
use crate::process::StartTime;

/// All checks, in the order in which they are reported.
pub struct Health {
    healthz: Vec<Check>,
    livez: Vec<Check>,
    readyz: Vec<Check>,
    results: Results,
    slis: Registry,
}

/// How the checks went, for `/metrics/slis` (component-base `metrics/prometheus/slis`).
#[derive(Default)]
struct Results {
    last: Family<Of, Gauge>,
    all: Family<Outcome, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    name: String,
    r#type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    #[prometheus(flatten)]
    of: Of,
    status: &'static str,
}

struct Check {
    name: String,
    run: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// What it said last, so that the log has one line for a change and not one for a poll.
    failing: AtomicBool,
}

// === impl Health ===

impl Health {
    /// `ping` and `log` everywhere; `shutdown` makes `/readyz` red once the token is cancelled.
    #[must_use]
    pub fn new(shutdown: CancellationToken) -> Self {
        let usual = || vec![Check::new("ping", || Ok(())), Check::new("log", || Ok(()))];
        let mut readyz = usual();
        readyz.push(Check::new("shutdown", move || {
            if shutdown.is_cancelled() {
                Err("process is shutting down".into())
            } else {
                Ok(())
            }
        }));
        let (results, mut slis) = (Results::default(), Registry::default());
        slis.register(
            "kubernetes_healthcheck",
            "[STABLE] This metric records the result of a single healthcheck",
            results.last.clone(),
        );
        slis.register(
            "kubernetes_healthchecks",
            "[STABLE] This metric records the results of all healthcheck",
            results.all.clone(),
        );
        slis.register_collector(Box::new(StartTime));
        Self {
            healthz: usual(),
            livez: usual(),
            readyz,
            results,
            slis,
        }
    }

    /// What `/metrics/slis` shows.
    pub(crate) fn slis(&self) -> &Registry {
        &self.slis
    }

    /// Adds a check to `/healthz`.
    #[must_use]
    pub fn healthz(mut self, name: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.healthz.push(Check::new(name, check));
        self
    }

    /// Adds a check to `/livez`: a failing one gets the process restarted.
    #[must_use]
    pub fn livez(mut self, name: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.livez.push(Check::new(name, check));
        self
    }

    /// Adds a check to `/readyz`, before `shutdown`: a failing one takes the process out of the Service.
    #[must_use]
    pub fn readyz(mut self, name: &str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        let last = self.readyz.len().saturating_sub(1);
        self.readyz.insert(last, Check::new(name, check));
        self
    }

    /// The answer to a health path; `None` if it is none, or names no check.
    #[must_use]
    pub fn answer(&self, path: &str, query: &str) -> Option<Response<Body>> {
        let (name, single) = match path.strip_prefix('/')?.split_once('/') {
            Some((name, single)) => (name, Some(single)),
            None => (path.strip_prefix('/')?, None),
        };
        let (name, checks) = match name {
            "healthz" => ("healthz", &self.healthz),
            "livez" => ("livez", &self.livez),
            "readyz" => ("readyz", &self.readyz),
            _ => return None,
        };
        match single {
            None => Some(all(name, checks, &Query::parse(query), &self.results)),
            Some("") => None,
            Some(single) => checks.iter().find(|c| c.name == single).map(one),
        }
    }
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = |checks: &[Check]| checks.iter().map(|c| c.name.clone()).collect::<Vec<_>>();
        f.debug_struct("Health")
            .field("healthz", &names(&self.healthz))
            .field("livez", &names(&self.livez))
            .field("readyz", &names(&self.readyz))
            .finish()
    }
}

// === impl Check ===

impl Check {
    fn new(name: &str, run: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self {
            name: name.to_owned(),
            run: Box::new(run),
            failing: AtomicBool::new(false),
        }
    }

    /// Asks; `endpoint` is for the log.
    fn passes(&self, endpoint: &str) -> bool {
        let outcome = (self.run)();
        let failed_before = self.failing.swap(outcome.is_err(), Ordering::Relaxed);
        match &outcome {
            Err(reason) if !failed_before => tracing::warn!(endpoint, check = %self.name, %reason, "health check fails"),
            Ok(()) if failed_before => tracing::info!(endpoint, check = %self.name, "health check passes again"),
            _ => {}
        }
        outcome.is_ok()
    }
}

// === impl Results ===

impl Results {
    fn count(&self, check: &Check, endpoint: &'static str, passed: bool) {
        let of = Of {
            name: check.name.clone(),
            r#type: endpoint,
        };
        self.last.get_or_create(&of).set(i64::from(passed));
        let status = if passed { "success" } else { "error" };
        self.all.get_or_create(&Outcome { of, status }).inc();
    }
}

fn all(name: &'static str, checks: &[Check], query: &Query, results: &Results) -> Response<Body> {
    let mut excluded: Vec<&str> = query.all("exclude").collect();
    excluded.sort_unstable();
    excluded.dedup();
    let mut lines = String::new();
    let mut failed = false;
    // Writing to a string cannot fail.
    for check in checks {
        if let Some(at) = excluded.iter().position(|e| *e == check.name) {
            excluded.remove(at);
            let _ = writeln!(lines, "[+]{} excluded: ok", check.name);
            continue;
        }
        let passed = check.passes(name);
        results.count(check, name, passed);
        if passed {
            let _ = writeln!(lines, "[+]{} ok", check.name);
        } else {
            let _ = writeln!(lines, "[-]{} failed: reason withheld", check.name);
            failed = true;
        }
    }
    if !excluded.is_empty() {
        let names = excluded.iter().map(|e| Quoted(e).to_string()).collect::<Vec<_>>().join(",");
        let _ = writeln!(lines, "warn: some health checks cannot be excluded: no matches for {names}");
    }
    if failed {
        return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{lines}{name} check failed\n"));
    }
    match query.first("verbose") {
        Some(_) => text(StatusCode::OK, format!("{lines}{name} check passed\n")),
        None => text(StatusCode::OK, "ok"),
    }
}

fn one(check: &Check) -> Response<Body> {
    match (check.run)() {
        Ok(()) => text(StatusCode::OK, "ok"),
        Err(reason) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("internal server error: {reason}\n"),
        ),
    }
}

fn text(code: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn ask(health: &Health, path: &str, query: &str) -> Option<(u16, String)> {
        let response = health.answer(path, query)?;
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
        assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Some((code, String::from_utf8(body.to_vec()).unwrap()))
    }

    /// The rows of upstream's `TestMultipleChecks`, which has no `log`.
    #[tokio::test]
    async fn many_checks() {
        let rows: &[(&str, &str, u16, &str, bool)] = &[
            ("", "verbose", 200, "[+]ping ok\n[+]log ok\nlivez check passed\n", false),
            ("", "exclude=dontexist", 200, "ok", false),
            ("", "exclude=bad", 200, "ok", true),
            (
                "",
                "verbose=true&exclude=bad",
                200,
                "[+]ping ok\n[+]log ok\n[+]bad excluded: ok\nlivez check passed\n",
                true,
            ),
            (
                "",
                "verbose=true&exclude=dontexist",
                200,
                "[+]ping ok\n[+]log ok\nwarn: some health checks cannot be excluded: no matches for \"dontexist\"\nlivez check passed\n",
                false,
            ),
            (
                "",
                "verbose&exclude=z&exclude=a&exclude=z",
                200,
                "[+]ping ok\n[+]log ok\nwarn: some health checks cannot be excluded: no matches for \"a\",\"z\"\nlivez check passed\n",
                false,
            ),
            (
                "",
                "exclude=ping&exclude=log&verbose",
                200,
                "[+]ping excluded: ok\n[+]log excluded: ok\nlivez check passed\n",
                false,
            ),
            ("/ping", "", 200, "ok", false),
            ("", "", 200, "ok", false),
            (
                "",
                "verbose",
                500,
                "[+]ping ok\n[+]log ok\n[-]bad failed: reason withheld\nlivez check failed\n",
                true,
            ),
            ("/ping", "", 200, "ok", true),
            ("/bad", "", 500, "internal server error: this will fail\n", true),
            (
                "",
                "",
                500,
                "[+]ping ok\n[+]log ok\n[-]bad failed: reason withheld\nlivez check failed\n",
                true,
            ),
        ];
        for (path, query, code, body, bad) in rows {
            let mut health = Health::new(CancellationToken::new());
            if *bad {
                health = health.livez("bad", || Err("this will fail".into()));
            }
            let got = ask(&health, &format!("/livez{path}"), query).await;
            assert_eq!(got, Some((*code, (*body).to_owned())), "{path}?{query} bad={bad}");
        }
        // What upstream's handler would take, its exact paths never let through.
        assert_eq!(ask(&Health::new(CancellationToken::new()), "/livez/", "").await, None);
    }

    #[tokio::test]
    async fn readyz_turns_red_at_shutdown_and_shutdown_stays_last() {
        let shutdown = CancellationToken::new();
        let health = Health::new(shutdown.clone()).readyz("metric-storage-ready", || Ok(()));
        let (code, body) = ask(&health, "/readyz", "verbose").await.unwrap();
        assert_eq!(
            (code, body.as_str()),
            (
                200,
                "[+]ping ok\n[+]log ok\n[+]metric-storage-ready ok\n[+]shutdown ok\nreadyz check passed\n"
            )
        );
        shutdown.cancel();
        let (code, body) = ask(&health, "/readyz", "").await.unwrap();
        assert_eq!(code, 500);
        assert!(
            body.ends_with("[-]shutdown failed: reason withheld\nreadyz check failed\n"),
            "{body}"
        );
        assert_eq!(ask(&health, "/livez", "").await.unwrap().0, 200);
    }

    #[tokio::test]
    async fn other_paths_are_not_ours() {
        let health = Health::new(CancellationToken::new());
        for path in ["/", "", "/healthzz", "/metrics", "/healthz/nope", "/readyz/ping/x"] {
            assert!(health.answer(path, "").is_none(), "{path}");
        }
    }
}
