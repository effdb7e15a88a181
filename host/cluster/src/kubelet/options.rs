//! The settings of the kubelet client, under metrics-server's names and with its defaults, and what contradicts what.

use std::path::PathBuf;
use std::time::Duration;

/// Settings. Field names are the flags' without `kubelet-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubeletOptions {
    /// `--kubelet-port`: where kubelets listen. 10250.
    pub port: u16,
    /// `--kubelet-use-node-status-port`: prefer the port that the node's status tells.
    pub use_node_status_port: bool,
    /// `--kubelet-preferred-address-types`: the first type that a node has an address of is used.
    pub preferred_address_types: Vec<String>,
    /// `--kubelet-request-timeout`: connection and answer together. 10 s.
    pub request_timeout: Duration,
    /// `--kubelet-insecure-tls`: believe any certificate. The token goes to whoever answers: for tests only.
    pub insecure_tls: bool,
    /// `--kubelet-verify-by-node-name`: a kubelet's certificate must be for its node's name, whatever address is dialled.
    pub verify_by_node_name: bool,
    /// `--kubelet-certificate-authority`: PEM file with the CA of kubelets' serving certificates; none for kube-apiserver's.
    pub certificate_authority: Option<PathBuf>,
    /// `--kubelet-client-certificate`: PEM file.
    pub client_certificate: Option<PathBuf>,
    /// `--kubelet-client-key`: PEM file.
    pub client_key: Option<PathBuf>,
    /// `--node-selector`: label selector; nodes that it leaves out do not exist for us.
    pub node_selector: Option<String>,
    /// `--deprecated-kubelet-completely-insecure`: plain HTTP, and no credential is sent.
    pub completely_insecure: bool,
    /// Largest answer in bytes; a larger one is cut off and fails. 16 MiB (a summary of 500 pods is about 2 MiB).
    pub max_response_bytes: usize,
    /// How many kubelets are asked at the same time. 64.
    pub max_in_flight: usize,
}

/// Settings that contradict each other. The sentences are metrics-server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Two flags that exclude each other.
    #[error("cannot use both {0} and {1}")]
    Both(&'static str, &'static str),
    /// Half of a key pair.
    #[error("need both --kubelet-client-key and --kubelet-client-certificate")]
    HalfKeyPair,
    /// No time to answer.
    #[error("kubelet-request-timeout should be positive")]
    Timeout,
    /// No bytes to answer with.
    #[error("the largest kubelet answer should be positive")]
    ResponseBytes,
    /// Nobody may ask.
    #[error("the number of kubelets asked at the same time should be positive")]
    InFlight,
}

// === impl KubeletOptions ===

impl Default for KubeletOptions {
    fn default() -> Self {
        Self {
            port: 10250,
            use_node_status_port: false,
            preferred_address_types: ["Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP"]
                .map(Into::into)
                .into(),
            request_timeout: Duration::from_secs(10),
            insecure_tls: false,
            verify_by_node_name: false,
            certificate_authority: None,
            client_certificate: None,
            client_key: None,
            node_selector: None,
            completely_insecure: false,
            max_response_bytes: 16 << 20,
            max_in_flight: 64,
        }
    }
}

impl KubeletOptions {
    /// Everything that is wrong with these settings; empty if they can be used.
    #[must_use]
    pub fn validate(&self) -> Vec<OptionsError> {
        const CA: &str = "--kubelet-certificate-authority";
        const KEY: &str = "--kubelet-client-key";
        const CERT: &str = "--kubelet-client-certificate";
        const INSECURE: &str = "--kubelet-insecure-tls";
        const COMPLETELY: &str = "--deprecated-kubelet-completely-insecure";
        const BY_NAME: &str = "--kubelet-verify-by-node-name";
        let (ca, key, cert) = (
            self.certificate_authority.is_some(),
            self.client_key.is_some(),
            self.client_certificate.is_some(),
        );
        let (completely, by_name) = (self.completely_insecure, self.verify_by_node_name);
        let checks = [
            (ca && self.insecure_tls, OptionsError::Both(CA, INSECURE)),
            (key != cert, OptionsError::HalfKeyPair),
            (key && completely, OptionsError::Both(KEY, COMPLETELY)),
            (cert && completely, OptionsError::Both(CERT, COMPLETELY)),
            (self.insecure_tls && completely, OptionsError::Both(INSECURE, COMPLETELY)),
            (ca && completely, OptionsError::Both(CA, COMPLETELY)),
            (by_name && self.insecure_tls, OptionsError::Both(BY_NAME, INSECURE)),
            (by_name && completely, OptionsError::Both(BY_NAME, COMPLETELY)),
            (self.request_timeout.is_zero(), OptionsError::Timeout),
            (self.max_response_bytes == 0, OptionsError::ResponseBytes),
            (self.max_in_flight == 0, OptionsError::InFlight),
        ];
        checks
            .into_iter()
            .filter(|(wrong, _)| *wrong)
            .map(|(_, error)| error)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions() {
        type Change = fn(&mut KubeletOptions);
        let cases: [(&str, Change, &[&str]); 15] = [
            ("defaults", |_| {}, &[]),
            ("insecure alone", |o| o.insecure_tls = true, &[]),
            ("completely insecure alone", |o| o.completely_insecure = true, &[]),
            ("CA alone", |o| o.certificate_authority = Some("ca".into()), &[]),
            (
                "key pair",
                |o| {
                    o.client_key = Some("key".into());
                    o.client_certificate = Some("crt".into());
                },
                &[],
            ),
            (
                "CA and insecure",
                |o| {
                    o.certificate_authority = Some("ca".into());
                    o.insecure_tls = true;
                },
                &["cannot use both --kubelet-certificate-authority and --kubelet-insecure-tls"],
            ),
            (
                "key alone",
                |o| o.client_key = Some("key".into()),
                &["need both --kubelet-client-key and --kubelet-client-certificate"],
            ),
            (
                "certificate alone",
                |o| o.client_certificate = Some("crt".into()),
                &["need both --kubelet-client-key and --kubelet-client-certificate"],
            ),
            (
                "completely insecure with a key pair",
                |o| {
                    o.completely_insecure = true;
                    o.client_key = Some("key".into());
                    o.client_certificate = Some("crt".into());
                },
                &[
                    "cannot use both --kubelet-client-key and --deprecated-kubelet-completely-insecure",
                    "cannot use both --kubelet-client-certificate and --deprecated-kubelet-completely-insecure",
                ],
            ),
            (
                "both kinds of insecure",
                |o| {
                    o.completely_insecure = true;
                    o.insecure_tls = true;
                },
                &["cannot use both --kubelet-insecure-tls and --deprecated-kubelet-completely-insecure"],
            ),
            (
                "completely insecure with a CA",
                |o| {
                    o.completely_insecure = true;
                    o.certificate_authority = Some("ca".into());
                },
                &["cannot use both --kubelet-certificate-authority and --deprecated-kubelet-completely-insecure"],
            ),
            ("by name alone", |o| o.verify_by_node_name = true, &[]),
            (
                "by name, and not at all",
                |o| {
                    o.verify_by_node_name = true;
                    o.insecure_tls = true;
                },
                &["cannot use both --kubelet-verify-by-node-name and --kubelet-insecure-tls"],
            ),
            (
                "by name, and without TLS",
                |o| {
                    o.verify_by_node_name = true;
                    o.completely_insecure = true;
                },
                &["cannot use both --kubelet-verify-by-node-name and --deprecated-kubelet-completely-insecure"],
            ),
            (
                "no time",
                |o| o.request_timeout = Duration::ZERO,
                &["kubelet-request-timeout should be positive"],
            ),
        ];
        for (name, change, expected) in cases {
            let mut options = KubeletOptions::default();
            change(&mut options);
            let said: Vec<String> = options.validate().iter().map(ToString::to_string).collect();
            assert_eq!(said, expected, "{name}");
        }
    }
}
