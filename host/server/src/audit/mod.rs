//! The audit log: who did what, when, and how it ended, in upstream's format and by upstream's policy.
//!
//! [`Audit`] is the policy with the way into the log; the chain asks it once the caller is known ([`Audit::begin`]) and gets a
//! [`Trail`], which stays with the request until its last byte and makes the events of its later stages, also if the client
//! goes away or the handler panics. Handlers reach the event through a [`Notebook`], which a request without audit has too, and
//! which then costs nothing. Without a policy there is no `Audit`, and the chain tests one pointer.

mod file;
mod metrics;
mod sink;
mod tee;
mod trail;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use jiff::Timestamp;
use outrigger_api::identity::Identity;
use outrigger_api::request_info::RequestInfo;
use outrigger_api::status::Status;
use outrigger_audit::{Answer, Level, Policy, Received, Stage};
use prometheus_client::registry::Registry;

pub use file::Rotation;
pub use metrics::AuditMetrics;
pub use sink::{Format, Mode, SinkOptions};
pub use trail::{Notebook, Trail};

use file::LogFile;
use sink::{Sink, Target};
use trail::Shared;

/// Where the log is.
#[derive(Debug, Clone)]
pub enum Log {
    /// `-`.
    Stdout,
    /// A file, rotated.
    File(Rotation),
}

/// The policy, and the way into the log.
#[derive(Debug)]
pub struct Audit {
    policy: Policy,
    sink: Arc<Sink>,
    metrics: Arc<AuditMetrics>,
}

/// What is known of a request at the door.
pub(crate) struct Arrival<'a> {
    pub(crate) audit_id: &'a str,
    pub(crate) parts: &'a Parts,
    pub(crate) info: &'a RequestInfo,
    pub(crate) remote: IpAddr,
    pub(crate) at: Timestamp,
    pub(crate) long_running: bool,
}

// === impl Audit ===

impl Audit {
    /// Opens the log and starts writing.
    ///
    /// # Errors
    /// The file cannot be opened, or there is no thread for it.
    pub fn open(policy: Policy, log: Log, options: SinkOptions, registry: &mut Registry) -> io::Result<Arc<Self>> {
        let target = match log {
            Log::Stdout => Target::Stream(Box::new(io::stdout())),
            Log::File(rotation) => Target::File(LogFile::open(rotation)?),
        };
        Self::over(policy, target, options, AuditMetrics::new(registry))
    }

    /// As [`Audit::open`], into any stream; for tests of what stands before the log.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn into_stream(
        policy: Policy,
        stream: Box<dyn io::Write + Send>,
        options: SinkOptions,
        registry: &mut Registry,
    ) -> io::Result<Arc<Self>> {
        Self::over(policy, Target::Stream(stream), options, AuditMetrics::new(registry))
    }

    fn over(policy: Policy, target: Target, options: SinkOptions, metrics: Arc<AuditMetrics>) -> io::Result<Arc<Self>> {
        let sink = Sink::start(target, options, metrics.clone())?;
        Ok(Arc::new(Self {
            policy,
            sink: Arc::new(sink),
            metrics,
        }))
    }

    /// Writes all that was said and closes the log. False if that took longer than the deadline.
    pub async fn close(&self, deadline: Duration) -> bool {
        self.sink.close(deadline).await
    }

    /// Begins the trail of a request whose caller is known; `None` if the policy does not want it.
    ///
    /// # Errors
    /// 500 in the strict mode, if the first event cannot be written.
    pub(crate) async fn begin(&self, arrival: &Arrival<'_>, identity: &Arc<Identity>) -> Result<Option<Trail>, Status> {
        let Some(trail) = self.trail(arrival, Some(identity)) else {
            return Ok(None);
        };
        let event = trail.event(Stage::RequestReceived, arrival.at);
        if let Some(event) = event
            && !self.sink.put(event).await
            && self.sink.is_strict()
        {
            self.metrics.rejected.inc();
            trail.forget();
            return Err(Status::internal_error("failed to store audit event"));
        }
        Ok(Some(trail))
    }

    /// The one event of a request that was refused before anybody was known, or before the chain had begun.
    pub(crate) async fn refused(&self, arrival: &Arrival<'_>, status: &Status) {
        let Some(trail) = self.trail(arrival, None) else { return };
        trail.notebook().answer(Answer::from(status));
        if let Some(event) = trail.event(Stage::ResponseStarted, Timestamp::now()) {
            self.sink.put(event).await;
        }
        trail.forget();
    }

    fn trail(&self, arrival: &Arrival<'_>, identity: Option<&Arc<Identity>>) -> Option<Trail> {
        let verdict = self.policy.evaluate(identity.map(|i| &**i), arrival.info);
        self.metrics.level(verdict.level);
        if verdict.level == Level::None {
            return None;
        }
        let Arrival {
            audit_id,
            parts,
            info,
            remote,
            at,
            long_running,
        } = *arrival;
        let received = Received::new(audit_id, &parts.uri, &parts.headers, remote, info, identity.cloned(), at);
        Some(Trail::new(Shared::new(self.sink.clone(), verdict, received, long_running)))
    }
}
