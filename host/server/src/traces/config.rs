//! `--tracing-config-file`: upstream's `TracingConfiguration` (apiserver `server/options/tracing.go`, component-base `tracing/api/v1`).

use std::path::{Path, PathBuf};

use outrigger_api::quote::Quoted;
use serde::Deserialize;

/// Where spans go, and how many of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracingConfiguration {
    /// The collector.
    pub endpoint: Endpoint,
    /// Requests without a trace of their own that are traced, of a million; 0 traces only those of trusted callers who ask.
    pub sampling_rate_per_million: u32,
}

/// A collector, in the notation of gRPC's names. The connection is not encrypted, as upstream has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `HOST:PORT`.
    Tcp(String),
    /// `unix:///PATH`.
    Unix(PathBuf),
    /// `unix-abstract:NAME`.
    Abstract(String),
}

/// Why a file cannot be used, in upstream's words.
#[derive(Debug, thiserror::Error)]
pub enum BadTracing {
    /// It cannot be read.
    #[error("failed to read tracing config: unable to read tracing configuration from {}: {source}", Quoted(.path))]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is no such document.
    #[error("failed to read tracing config: unable to decode tracing configuration data: {0}")]
    Decode(String),
    /// A value is out of its range.
    #[error("failed to validate tracing configuration: {0}")]
    Invalid(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    #[serde(default)]
    endpoint: Option<String>,
    #[serde(default)]
    sampling_rate_per_million: Option<i32>,
}

/// The collector's port on this machine, as every OTLP exporter has it.
const USUAL: &str = "localhost:4317";
const MILLION: u32 = 1_000_000;

// === impl TracingConfiguration ===

impl TracingConfiguration {
    /// Reads a file.
    ///
    /// # Errors
    /// [`BadTracing`].
    pub fn from_file(path: &Path) -> Result<Self, BadTracing> {
        let text = std::fs::read_to_string(path).map_err(|source| BadTracing::Read {
            path: path.display().to_string(),
            source,
        })?;
        Self::parse(&text)
    }

    /// Reads YAML or JSON.
    ///
    /// # Errors
    /// [`BadTracing`].
    pub fn parse(text: &str) -> Result<Self, BadTracing> {
        let document: Document = serde_saphyr::from_str(text).map_err(|e| BadTracing::Decode(e.to_string()))?;
        let (version, kind) = (document.api_version.as_str(), document.kind.as_str());
        let versions = ["v1", "v1beta1", "v1alpha1"].map(|v| format!("apiserver.config.k8s.io/{v}"));
        if kind != "TracingConfiguration" || versions.iter().all(|v| v != version) {
            let sentence = format!("no kind {} is registered for version {}", Quoted(kind), Quoted(version));
            return Err(BadTracing::Decode(sentence));
        }
        let rate = document.sampling_rate_per_million.unwrap_or(0);
        let invalid = |why: &str| BadTracing::Invalid(format!("samplingRatePerMillion: Invalid value: {rate}: {why}"));
        let Ok(rate) = u32::try_from(rate) else {
            return Err(invalid("sampling rate must be positive"));
        };
        if rate > MILLION {
            return Err(invalid("sampling rate per million must be less than or equal to one million"));
        }
        Ok(Self {
            endpoint: Endpoint::parse(document.endpoint.as_deref().unwrap_or(USUAL))?,
            sampling_rate_per_million: rate,
        })
    }
}

// === impl Endpoint ===

impl Endpoint {
    fn parse(text: &str) -> Result<Self, BadTracing> {
        if let Some(name) = text.strip_prefix("unix-abstract:") {
            return Ok(Self::Abstract(name.trim_start_matches("//").to_owned()));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.strip_prefix("//").unwrap_or(path).into()));
        }
        match text.split_once("//") {
            None => Ok(Self::Tcp(text.strip_prefix("dns:").unwrap_or(text).to_owned())),
            // dns://SERVER/NAME: the system's resolver is asked, whichever server is named.
            Some(("dns:", rest)) => Ok(Self::Tcp(rest.split_once('/').map_or(rest, |(_, name)| name).to_owned())),
            Some((scheme, _)) => Err(BadTracing::Invalid(format!(
                "endpoint: Invalid value: {}: unsupported scheme: {}.  Options are none, dns, unix, or unix-abstract.  See https://github.com/grpc/grpc/blob/master/doc/naming.md",
                Quoted(text),
                scheme.trim_end_matches(':')
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\n";

    #[test]
    fn files_read_as_upstreams() {
        let tcp = |at: &str| Endpoint::Tcp(at.into());
        for (text, endpoint, rate) in [
            ("", tcp("localhost:4317"), 0),
            (
                "endpoint: collector:1\nsamplingRatePerMillion: 100\n",
                tcp("collector:1"),
                100,
            ),
            ("endpoint: dns://8.8.8.8/collector:1\n", tcp("collector:1"), 0),
            ("endpoint: dns:///collector:1\n", tcp("collector:1"), 0),
            (
                "endpoint: unix:///run/otel.sock\n",
                Endpoint::Unix("/run/otel.sock".into()),
                0,
            ),
            ("endpoint: unix-abstract:otel\n", Endpoint::Abstract("otel".into()), 0),
        ] {
            let read = TracingConfiguration::parse(&format!("{HEAD}{text}")).unwrap();
            assert_eq!((read.endpoint, read.sampling_rate_per_million), (endpoint, rate), "{text}");
        }
        for version in ["v1beta1", "v1alpha1"] {
            let text = format!("apiVersion: apiserver.config.k8s.io/{version}\nkind: TracingConfiguration\n");
            assert!(TracingConfiguration::parse(&text).is_ok(), "{version}");
        }
    }

    #[test]
    fn what_does_not_fit_is_said_in_upstreams_words() {
        for (text, want) in [
            (
                "samplingRatePerMillion: -1",
                "failed to validate tracing configuration: samplingRatePerMillion: Invalid value: -1: sampling rate must be positive",
            ),
            (
                "samplingRatePerMillion: 1000001",
                "failed to validate tracing configuration: samplingRatePerMillion: Invalid value: 1000001: sampling rate per million must be less than or equal to one million",
            ),
            (
                "endpoint: https://collector:1",
                "failed to validate tracing configuration: endpoint: Invalid value: \"https://collector:1\": unsupported scheme: https.  Options are none, dns, unix, or unix-abstract.  See https://github.com/grpc/grpc/blob/master/doc/naming.md",
            ),
        ] {
            let said = TracingConfiguration::parse(&format!("{HEAD}{text}\n")).unwrap_err();
            assert_eq!(said.to_string(), want, "{text}");
        }
        for text in [
            format!("{HEAD}sampling: 1\n"),
            "apiVersion: apiserver.config.k8s.io/v2\nkind: TracingConfiguration\n".into(),
            "apiVersion: apiserver.config.k8s.io/v1\nkind: Other\n".into(),
        ] {
            assert!(
                matches!(TracingConfiguration::parse(&text), Err(BadTracing::Decode(_))),
                "{text}"
            );
        }
    }
}
