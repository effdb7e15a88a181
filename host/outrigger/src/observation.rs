//! The audit log and traces, from flags: upstream's names, defaults and sentences (apiserver `server/options/audit.go`, `tracing.go`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use outrigger_audit::Policy;
use outrigger_server::Observation;
use outrigger_server::audit::{Audit, Format, Log, Mode, Rotation, SinkOptions};
use outrigger_server::traces::{Tracer, TracingConfiguration};
use prometheus_client::registry::Registry;

/// Who looks on.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Path to the file that defines the audit policy configuration; a change of it needs a restart.
    #[arg(long, value_name = "FILE")]
    audit_policy_file: Option<PathBuf>,

    /// If set, all requests coming to the server will be logged to this file. '-' means standard out.
    #[arg(long, value_name = "FILE")]
    audit_log_path: Option<PathBuf>,

    /// The maximum number of days to retain old audit log files, based on the timestamp in their names. 0 removes none for age.
    #[arg(long, default_value_t = 366, allow_negative_numbers = true, value_name = "DAYS")]
    audit_log_maxage: i64,

    /// The maximum number of old audit log files to retain. 0 is no restriction.
    #[arg(long, default_value_t = 100, allow_negative_numbers = true, value_name = "N")]
    audit_log_maxbackup: i64,

    /// The maximum size in megabytes of the audit log file before it gets rotated. 0 disables rotation.
    #[arg(long, default_value_t = 100, allow_negative_numbers = true, value_name = "MEGABYTES")]
    audit_log_maxsize: i64,

    /// If set, the rotated log files will be compressed using gzip.
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    audit_log_compress: bool,

    /// Format of saved audits: `json`, or `legacy` for one line of text per event.
    #[arg(long, default_value = "json", value_name = "FORMAT")]
    audit_log_format: String,

    /// `blocking` writes an event before the request goes on, `blocking-strict` also fails a request whose first event cannot be
    /// written, `batch` buffers and writes asynchronously.
    #[arg(long, default_value = "blocking", value_name = "MODE")]
    audit_log_mode: String,

    /// API group and version used for serializing audit events written to log.
    #[arg(long, default_value = "audit.k8s.io/v1", value_name = "VERSION")]
    audit_log_version: String,

    /// The size of the buffer to store events before writing; beyond it they are dropped and counted. Only used in batch mode.
    #[arg(long, default_value_t = 10_000, allow_negative_numbers = true, value_name = "N")]
    audit_log_batch_buffer_size: i64,

    /// The maximum size of a batch. A file is written event by event, so this changes nothing.
    #[arg(long, default_value_t = 1, allow_negative_numbers = true, value_name = "N", hide = true)]
    audit_log_batch_max_size: i64,

    /// The time to wait for a batch. A file is written at once, so this changes nothing.
    #[arg(long, default_value = "0s", value_parser = crate::flags::go_duration, value_name = "DURATION", hide = true)]
    audit_log_batch_max_wait: Duration,

    /// Whether event truncating is enabled.
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    audit_log_truncate_enabled: bool,

    /// Maximum size of an audit event: of a larger one request and response are removed, and if it is still larger, it is discarded.
    #[arg(long, default_value_t = 100 * 1024, allow_negative_numbers = true, value_name = "BYTES")]
    audit_log_truncate_max_event_size: i64,

    /// Maximum size of a batch; events are written one by one, so this is only held against the size of an event.
    #[arg(long, default_value_t = 10 * 1024 * 1024, allow_negative_numbers = true, value_name = "BYTES")]
    audit_log_truncate_max_batch_size: i64,

    /// File with the tracing configuration (apiserver.config.k8s.io TracingConfiguration); without it nothing is traced.
    #[arg(long, value_name = "FILE")]
    tracing_config_file: Option<PathBuf>,
}

/// How long the last events and spans may take to leave.
const CLOSING: Duration = Duration::from_secs(5);

// === impl Flags ===

impl Flags {
    /// Opens the log and the exporter, if they are wanted. Needs the runtime.
    pub(crate) fn open(&self, registry: &mut Registry) -> Result<Observation> {
        Ok(Observation {
            audit: self.audit(registry)?,
            tracer: self.tracer()?,
        })
    }

    fn audit(&self, registry: &mut Registry) -> Result<Option<Arc<Audit>>> {
        let policy = match &self.audit_policy_file {
            Some(path) => Some(Policy::from_file(path).context("loading audit policy file")?),
            None => None,
        };
        for warning in policy.iter().flat_map(Policy::warnings) {
            tracing::warn!("Audit policy contains errors, falling back to lenient decoding: strict decoding error: {warning}");
        }
        let Some(path) = self.audit_log_path.as_ref().filter(|p| !p.as_os_str().is_empty()) else {
            if policy.is_some() {
                tracing::warn!("an audit policy is given but no --audit-log-path, so no events are recorded");
            }
            return Ok(None);
        };
        let (log, options) = self.log(path.clone())?;
        let Some(policy) = policy else {
            tracing::warn!("No audit policy file provided, no events will be recorded for log backend");
            return Ok(None);
        };
        let audit =
            Audit::open(policy, log, options, registry).with_context(|| format!("--audit-log-path {}", path.display()))?;
        Ok(Some(audit))
    }

    fn log(&self, path: PathBuf) -> Result<(Log, SinkOptions)> {
        let mut wrong = Vec::new();
        let mode = match self.audit_log_mode.as_str() {
            "batch" => Mode::Batch,
            "blocking" => Mode::Blocking,
            "blocking-strict" => Mode::BlockingStrict,
            other => {
                wrong.push(format!(
                    "invalid audit log mode {other}, allowed modes are \"batch,blocking,blocking-strict\""
                ));
                Mode::Blocking
            }
        };
        let (queue, batch) = (self.audit_log_batch_buffer_size, self.audit_log_batch_max_size);
        if mode == Mode::Batch && queue <= 0 {
            wrong.push(format!(
                "invalid audit batch log buffer size {queue}, must be a positive number"
            ));
        }
        if mode == Mode::Batch && batch <= 0 {
            wrong.push(format!(
                "invalid audit batch log max batch size {batch}, must be a positive number"
            ));
        }
        let (event, batch) = (self.audit_log_truncate_max_event_size, self.audit_log_truncate_max_batch_size);
        if event <= 0 {
            wrong.push(format!(
                "invalid audit truncate log max event size {event}, must be a positive number"
            ));
        }
        if batch < event {
            wrong.push(format!(
                "invalid audit truncate log max batch size {batch}, must be greater than max event size ({event})"
            ));
        }
        if self.audit_log_version != "audit.k8s.io/v1" {
            wrong.push("invalid group version, allowed versions are [\"audit.k8s.io/v1\"]".into());
        }
        let format = match self.audit_log_format.as_str() {
            "json" => Format::Json,
            "legacy" => Format::Legacy,
            other => {
                wrong.push(format!(
                    "invalid audit log format {other}, allowed formats are \"legacy,json\""
                ));
                Format::Json
            }
        };
        let mut natural = |name: &str, value: i64| {
            u64::try_from(value).unwrap_or_else(|_| {
                wrong.push(format!("--{name} {value} can't be a negative number"));
                0
            })
        };
        let rotation = Rotation {
            max_days: natural("audit-log-maxage", self.audit_log_maxage),
            max_backups: usize::try_from(natural("audit-log-maxbackup", self.audit_log_maxbackup)).unwrap_or(usize::MAX),
            max_megabytes: natural("audit-log-maxsize", self.audit_log_maxsize),
            compress: self.audit_log_compress,
            path,
        };
        if !wrong.is_empty() {
            bail!("{}", wrong.join("; "));
        }
        let options = SinkOptions {
            mode,
            format,
            queue: usize::try_from(queue).unwrap_or(1),
            max_event_bytes: self
                .audit_log_truncate_enabled
                .then(|| usize::try_from(event).unwrap_or(usize::MAX)),
        };
        let stdout = rotation.path.as_os_str() == "-";
        Ok((if stdout { Log::Stdout } else { Log::File(rotation) }, options))
    }

    fn tracer(&self) -> Result<Option<Arc<Tracer>>> {
        let Some(path) = &self.tracing_config_file else {
            return Ok(None);
        };
        if !path.exists() {
            bail!("tracing-config-file {} does not exist", path.display());
        }
        let configuration = TracingConfiguration::from_file(path)?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let instance = format!("{host}-{}", std::process::id());
        Ok(Some(Tracer::start(&configuration, env!("CARGO_PKG_VERSION"), instance)?))
    }
}

/// Writes and exports what is left.
pub(crate) async fn close(observation: &Observation) {
    if let Some(audit) = &observation.audit
        && !audit.close(CLOSING).await
    {
        tracing::error!("the audit log could not be completed in time");
    }
    if let Some(tracer) = &observation.tracer {
        tracer.close(CLOSING).await;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    fn open(arguments: &[&str]) -> Result<Observation> {
        let line = Line::try_parse_from([&["x"], arguments].concat())?;
        line.flags.open(&mut Registry::default())
    }

    #[test]
    fn what_does_not_fit_is_refused_in_upstreams_words() {
        let dir = tempfile::tempdir().unwrap();
        let policy = dir.path().join("policy.yaml");
        std::fs::write(
            &policy,
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n",
        )
        .unwrap();
        for (arguments, want) in [
            (
                "--audit-log-path=- --audit-log-mode=soon --audit-log-format=xml",
                "invalid audit log mode soon, allowed modes are \"batch,blocking,blocking-strict\"; invalid audit log format xml, allowed formats are \"legacy,json\"",
            ),
            (
                "--audit-log-path=- --audit-log-maxage=-1",
                "--audit-log-maxage -1 can't be a negative number",
            ),
            (
                "--audit-log-path=- --audit-log-mode=batch --audit-log-batch-buffer-size=0",
                "invalid audit batch log buffer size 0, must be a positive number",
            ),
            (
                "--audit-log-path=- --audit-log-truncate-max-event-size=20000000",
                "invalid audit truncate log max batch size 10485760, must be greater than max event size (20000000)",
            ),
            (
                "--audit-log-path=- --audit-log-version=audit.k8s.io/v1beta1",
                "invalid group version, allowed versions are [\"audit.k8s.io/v1\"]",
            ),
            (
                "--tracing-config-file=/nowhere/at/all",
                "tracing-config-file /nowhere/at/all does not exist",
            ),
        ] {
            let arguments: Vec<&str> = arguments.split(' ').collect();
            assert_eq!(open(&arguments).unwrap_err().to_string(), want);
        }
        let missing = open(&["--audit-policy-file=/nowhere/at/all"]).unwrap_err();
        assert!(format!("{missing:#}").starts_with("loading audit policy file: failed to read file path \"/nowhere/at/all\":"));
        assert!(open(&[]).unwrap().audit.is_none());
        assert!(open(&["--audit-log-path=-"]).unwrap().audit.is_none());
        let path = format!("--audit-log-path={}", dir.path().join("deep/audit.log").display());
        let policy = format!("--audit-policy-file={}", policy.display());
        assert!(open(&[&policy, &path]).unwrap().audit.is_some());
    }
}
