//! Why a kubelet's answer did not come: one fact each, in words that say what to do.
//!
//! Trouble with certificates is the most frequent complaint about metrics in Kubernetes, and everybody ends up with
//! `--kubelet-insecure-tls`. So those facts are told apart here, each with its proper cure.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use http::StatusCode;
use rustls::CertificateError;

use super::Target;
use crate::advice::Account;
use crate::causes::causes;
use crate::dial::DialTimeout;

type BoxError = Box<dyn StdError + Send + Sync>;

/// No answer from a kubelet.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    /// The cluster has no such node (or the node selector leaves it out). Nobody was asked.
    #[error("there is no node {node:?}")]
    NoSuchNode {
        /// The name.
        node: String,
    },
    /// The node has no address of the wanted types. Nobody was asked.
    #[error("node {node} has no address of the types {wanted} (it has {has}); see --kubelet-preferred-address-types")]
    NoAddress {
        /// The node.
        node: String,
        /// The wanted types.
        wanted: String,
        /// The types that it has.
        has: String,
    },
    /// The node's address is neither a host name nor an IP address. Nobody was asked.
    #[error("node {node} has the address {address:?}, which is neither a host name nor an IP address")]
    BadAddress {
        /// The node.
        node: String,
        /// What it says.
        address: String,
    },
    /// No connection: name not found, refused, no route, or not in time.
    #[error("kubelet of {node} cannot be reached at {at}: {}", causes(&**.source))]
    Unreachable {
        /// The node.
        node: String,
        /// Host and port.
        at: String,
        /// What the system says.
        source: BoxError,
    },
    /// The certificate is for other names than the one that it must be for.
    #[error(
        "the certificate of the kubelet of {node} is not for {host}{presented}. Kubelets that sign for themselves name their host \
         name only. Cure: set serverTLSBootstrap in the kubelet's configuration and approve its certificate requests; {}; or, for \
         tests only, --kubelet-insecure-tls",
        other_name(*.by_node_name)
    )]
    CertificateName {
        /// The node.
        node: String,
        /// What was dialled, or the node's name.
        host: String,
        /// `; it is for …`, or empty.
        presented: String,
        /// It must be for the node's name.
        by_node_name: bool,
    },
    /// The certificate is not signed by the CA that is trusted.
    #[error(
        "the certificate of the kubelet of {node} is signed by nobody that is trusted here ({source}). Cure: \
         --kubelet-certificate-authority with the CA of the kubelets' serving certificates; or set serverTLSBootstrap in the kubelet's \
         configuration, so that the cluster's CA signs them; or, for tests only, --kubelet-insecure-tls"
    )]
    CertificateUntrusted {
        /// The node.
        node: String,
        /// What the verifier says.
        source: rustls::Error,
    },
    /// The certificate has expired or is not valid yet.
    #[error("the certificate of the kubelet of {node} is out of its time ({source}); renew it, or set the clocks right")]
    CertificateTime {
        /// The node.
        node: String,
        /// What the verifier says.
        source: rustls::Error,
    },
    /// Any other trouble with TLS: no TLS at that port, or the kubelet refuses our certificate.
    #[error("TLS with the kubelet of {node} at {at} failed: {source}")]
    Tls {
        /// The node.
        node: String,
        /// Host and port.
        at: String,
        /// What TLS says.
        source: rustls::Error,
    },
    /// 401.
    #[error(
        "the kubelet of {node} does not know who we are (401): turn on webhook authentication of tokens on the kubelet \
         (authentication.webhook.enabled), or give --kubelet-client-certificate and --kubelet-client-key"
    )]
    Unauthorized {
        /// The node.
        node: String,
    },
    /// 403.
    #[error(
        "the kubelet of {node} refuses (403): {}{said}", Account::named_in(.said).may_not_read("get", "nodes/stats"))]
    Forbidden {
        /// The node.
        node: String,
        /// `; it said …`, or empty.
        said: String,
    },
    /// 3xx. Nobody follows: the token is for the kubelet alone.
    #[error("the kubelet of {node} answered with a redirect ({status}), which is not followed")]
    Redirect {
        /// The node.
        node: String,
        /// The status.
        status: StatusCode,
    },
    /// Any other status but 200.
    #[error("the kubelet of {node} answered {status}{said}")]
    Status {
        /// The node.
        node: String,
        /// The status.
        status: StatusCode,
        /// `; it said …`, or empty.
        said: String,
    },
    /// More bytes than an answer may have. What came was thrown away.
    #[error("the answer of the kubelet of {node} is larger than {limit} bytes")]
    TooLarge {
        /// The node.
        node: String,
        /// The limit.
        limit: usize,
    },
    /// The connection broke, or what came was no HTTP.
    #[error("the answer of the kubelet of {node} broke off or is no HTTP: {}", causes(&**.source))]
    Broken {
        /// The node.
        node: String,
        /// What the protocol says.
        source: BoxError,
    },
    /// The answer was not complete in time.
    #[error("the kubelet of {node} did not answer within {after:.1?}")]
    Timeout {
        /// The node.
        node: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// Too many kubelets were being asked until the deadline. Nobody was asked.
    #[error("the kubelet of {node} was not asked: its turn did not come within {after:.1?}")]
    Busy {
        /// The node.
        node: String,
        /// How long it waited for its turn.
        after: Duration,
    },
}

/// What else may be verified than this host.
fn other_name(by_node_name: bool) -> &'static str {
    if by_node_name {
        "or leave out --kubelet-verify-by-node-name, if it names the node's address"
    } else {
        "or put a type whose address the certificate names first in --kubelet-preferred-address-types; or, if it names the node \
         itself, give --kubelet-verify-by-node-name"
    }
}

// === impl KubeletError ===

impl KubeletError {
    /// One word for metrics and logs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoSuchNode { .. } => "no_such_node",
            Self::NoAddress { .. } | Self::BadAddress { .. } => "no_address",
            Self::Unreachable { .. } => "unreachable",
            Self::CertificateName { .. } => "certificate_name",
            Self::CertificateUntrusted { .. } => "certificate_untrusted",
            Self::CertificateTime { .. } => "certificate_time",
            Self::Tls { .. } => "tls",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Forbidden { .. } => "forbidden",
            Self::Redirect { .. } => "redirect",
            Self::Status { .. } => "status",
            Self::TooLarge { .. } => "too_large",
            Self::Broken { .. } => "broken",
            Self::Timeout { .. } => "timeout",
            Self::Busy { .. } => "busy",
        }
    }

    /// The fact behind a failed request: before the answer's head.
    pub(super) fn of_request(node: &str, target: &Target, error: hyper_util::client::legacy::Error) -> Self {
        let (node, at) = (node.to_owned(), &target.at);
        if let Some(tls) = find::<rustls::Error>(&error) {
            return Self::of_tls(node, target, tls.clone());
        }
        if error.is_connect() || find::<DialTimeout>(&error).is_some() {
            return Self::Unreachable {
                node,
                at: at.clone(),
                source: error.into(),
            };
        }
        Self::Broken {
            node,
            source: error.into(),
        }
    }

    fn of_tls(node: String, target: &Target, source: rustls::Error) -> Self {
        use CertificateError as C;
        let rustls::Error::InvalidCertificate(certificate) = &source else {
            return Self::Tls {
                node,
                at: target.at.clone(),
                source,
            };
        };
        match certificate {
            C::NotValidForName => Self::CertificateName {
                node,
                host: target.host.clone(),
                presented: String::new(),
                by_node_name: target.by_node_name,
            },
            C::NotValidForNameContext { presented, .. } => {
                let presented = match presented.as_slice() {
                    [] => "; it names nobody (no subject alternative name)".to_owned(),
                    names => format!("; it is for {}", names.join(", ")),
                };
                Self::CertificateName {
                    node,
                    host: target.host.clone(),
                    presented,
                    by_node_name: target.by_node_name,
                }
            }
            C::Expired | C::ExpiredContext { .. } | C::NotValidYet | C::NotValidYetContext { .. } => {
                Self::CertificateTime { node, source }
            }
            _ => Self::CertificateUntrusted { node, source },
        }
    }
}

/// The first cause of a type. `io::Error` hides what it wraps from `source`, so it is opened by hand.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(here) = next {
        if let Some(found) = here.downcast_ref::<T>() {
            return Some(found);
        }
        next = match here.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => here.source(),
        };
    }
    None
}

/// What a kubelet said, fit for a log line: short, printable, on one line.
pub(super) fn said(body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(200)
        .collect();
    match text.trim() {
        "" => String::new(),
        text => format!("; it said {text:?}"),
    }
}
