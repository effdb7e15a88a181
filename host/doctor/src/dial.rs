//! A server seen directly, past kube-apiserver: which certificate it shows, how it says it is, what time it has.
//!
//! No verification stops the handshake, since what is wrong with the certificate is the question; so nothing is sent that a
//! stranger might not read: no credential, two GETs of open paths.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use outrigger_cluster::{Anybody, causes};
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::ahead;

/// A probe's answer is some lines.
const LARGEST: usize = 1 << 20;

/// What a server shows of itself.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at: String,
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) probes: Vec<Probe>,
    /// How far its clock is ahead, in seconds.
    pub(crate) ahead: Option<i64>,
}

/// What a probe said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) path: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) text: String,
}

/// The certificate chain that a server shows for `name`.
pub(crate) async fn certificates(at: &str, name: &str, within: Duration) -> Result<Vec<CertificateDer<'static>>, String> {
    let tls = bounded(within, connect(at, name)).await?;
    Ok(shown(&tls))
}

/// Looks at a host: certificate, `/livez`, `/readyz`.
pub(crate) async fn look(at: &str, name: &str, within: Duration) -> Result<Seen, String> {
    bounded(within, async {
        let tls = connect(at, name).await?;
        let chain = shown(&tls);
        let (mut sender, connection) = handshake(TokioIo::new(tls)).await.map_err(|error| causes(&error))?;
        // Ends with the exchange below, which owns the sender.
        let driving = tokio::spawn(connection);
        let mut seen = Seen {
            at: at.to_owned(),
            chain,
            probes: Vec::new(),
            ahead: None,
        };
        let mut outcome = Ok(());
        for path in ["/livez", "/readyz"] {
            match probe(&mut sender, at, path).await {
                Ok((probe, ahead)) => {
                    seen.ahead = seen.ahead.or(ahead);
                    seen.probes.push(probe);
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        driving.abort();
        outcome.map(|()| seen)
    })
    .await
}

async fn bounded<T>(within: Duration, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(within, work)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {within:?}")))
}

async fn connect(at: &str, name: &str) -> Result<TlsStream<TcpStream>, String> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody::new(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(name.to_owned()).map_err(|_| format!("{name:?} is no name"))?;
    let tcp = TcpStream::connect(at).await.map_err(|error| error.to_string())?;
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .map_err(|error| format!("TLS: {error}"))
}

fn shown(tls: &TlsStream<TcpStream>) -> Vec<CertificateDer<'static>> {
    let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
    chain.iter().map(|der| der.clone().into_owned()).collect()
}

async fn probe(sender: &mut SendRequest<Empty<Bytes>>, host: &str, path: &'static str) -> Result<(Probe, Option<i64>), String> {
    let request = Request::get(format!("{path}?verbose"))
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("outrigger/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    let before = Timestamp::now();
    sender.ready().await.map_err(|error| causes(&error))?;
    let answer = sender.send_request(request).await.map_err(|error| causes(&error))?;
    let ahead = ahead(answer.headers(), before, Timestamp::now());
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LARGEST)
        .collect()
        .await
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    Ok((Probe { path, status, text }, ahead))
}

// === impl Probe ===

impl Probe {
    /// The names of its checks that fail: upstream's `[-]NAME failed: reason withheld`.
    pub(crate) fn failing(&self) -> Vec<String> {
        let named = self.text.lines().filter_map(|line| line.strip_prefix("[-]"));
        let names: Vec<String> = named
            .map(|line| line.split_whitespace().next().unwrap_or_default().to_owned())
            .collect();
        if names.is_empty() && !self.status.is_success() {
            return vec![self.status.to_string()];
        }
        names
    }
}

/// An address and port as they are dialled.
pub(crate) fn at(address: &str, port: u16) -> String {
    match address.parse() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) => format!("{address}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_names_what_fails() {
        let probe = |status: u16, text: &str| Probe {
            path: "/readyz",
            status: StatusCode::from_u16(status).unwrap(),
            text: text.into(),
        };
        let red = "[+]ping ok\n[-]metric-storage-ready failed: reason withheld\n[-]shutdown failed: reason withheld\nreadyz check failed\n";
        for (case, probe, expected) in [
            ("well", probe(200, "[+]ping ok\nreadyz check passed\n"), vec![]),
            ("two red", probe(500, red), vec!["metric-storage-ready", "shutdown"]),
            ("no words", probe(503, ""), vec!["503 Service Unavailable"]),
        ] {
            assert_eq!(probe.failing(), expected, "{case}");
        }
    }

    #[test]
    fn addresses_are_dialled_as_they_are_written() {
        assert_eq!(at("10.0.0.1", 443), "10.0.0.1:443");
        assert_eq!(at("fd00::1", 443), "[fd00::1]:443");
        assert_eq!(at("localhost", 443), "localhost:443");
    }
}
