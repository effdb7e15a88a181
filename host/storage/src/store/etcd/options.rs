//! Where an etcd is and how it is spoken to: what the operator says, checked before anything is dialled.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;

use crate::store::{Keep, StoreError};

/// How to come to an etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdOptions {
    /// Its members, as `https://HOST:PORT` or `http://HOST:PORT` (`--etcd-servers`). Without a scheme it is https if there is a file below.
    /// One of them is spoken to at a time; when it is lost or has no leader, the next.
    pub servers: Vec<String>,
    /// Whom their certificates must be signed by, PEM (`--etcd-cafile`); the system's authorities if none.
    pub ca: Option<PathBuf>,
    /// This client's certificate, PEM (`--etcd-certfile`), with `key`.
    pub cert: Option<PathBuf>,
    /// Its private key, PEM (`--etcd-keyfile`), with `cert`.
    pub key: Option<PathBuf>,
    /// Before every key (`--etcd-prefix`). Upstream's is `/registry`; but there kube-apiserver keeps custom resources of the same groups
    /// and names, so a host that shares its etcd keeps away from it: `/registry/outrigger`.
    pub prefix: String,
    /// How long things may take.
    pub timeouts: EtcdTimeouts,
    /// How much of the past is kept: `time` is upstream's `--etcd-compaction-interval`. 0 never compacts, for an etcd that somebody else
    /// compacts. Its bytes are etcd's own matter.
    pub keep: Keep,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EtcdTimeouts {
    /// To come to one server: the connection, TLS, and its first answer.
    pub connect: Duration,
    /// For one request, with all that is tried again. etcd itself gives up after 7 s (5 s and two elections, `ReqTimeout`), so 10 s let its own
    /// answer arrive: a deadline under that would make writes of unknown outcome out of refused ones.
    pub call: Duration,
    /// For a health check (`--etcd-healthcheck-timeout`).
    pub health: Duration,
    /// For a readiness check (`--etcd-readycheck-timeout`).
    pub ready: Duration,
}

/// Why an etcd cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// Nowhere to go.
    #[error("no etcd server is given")]
    NoServer,
    /// It cannot be dialled.
    #[error("{server:?} is no etcd server ({why}): it must be https://HOST:PORT or http://HOST:PORT")]
    Server {
        /// What was given.
        server: String,
        /// Why not.
        why: String,
    },
    /// One of the two is no use.
    #[error("a certificate for etcd needs its key, and a key its certificate: give both files or none")]
    Half,
    /// Keys would lie beside everybody else's.
    #[error("the prefix of etcd's keys must not be empty")]
    NoPrefix,
    /// A certificate or key cannot be used.
    #[error("{0}")]
    File(String),
    /// None of the servers answers as it should.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A server to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    /// As it is called in messages and requests: scheme and authority.
    pub(super) url: Uri,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
}

// === impl EtcdOptions ===

impl Default for EtcdOptions {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            ca: None,
            cert: None,
            key: None,
            prefix: "/registry/outrigger".to_owned(),
            timeouts: EtcdTimeouts::default(),
            keep: Keep::default(),
        }
    }
}

impl EtcdOptions {
    /// The servers, if all else is well, too.
    pub(super) fn check(&self) -> Result<Vec<Server>, EtcdError> {
        if self.servers.is_empty() {
            return Err(EtcdError::NoServer);
        }
        if self.cert.is_some() != self.key.is_some() {
            return Err(EtcdError::Half);
        }
        if self.prefix.trim_matches('/').is_empty() {
            return Err(EtcdError::NoPrefix);
        }
        let files = self.ca.is_some() || self.cert.is_some();
        self.servers.iter().map(|server| Server::parse(server, files)).collect()
    }
}

// === impl EtcdTimeouts ===

impl Default for EtcdTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            call: Duration::from_secs(10),
            health: Duration::from_secs(2),
            ready: Duration::from_secs(2),
        }
    }
}

// === impl Server ===

impl Server {
    fn parse(server: &str, files: bool) -> Result<Self, EtcdError> {
        let unfit = |why: &str| EtcdError::Server {
            server: server.to_owned(),
            why: why.to_owned(),
        };
        let text = if server.contains("://") {
            server.to_owned()
        } else if files {
            format!("https://{server}")
        } else {
            format!("http://{server}")
        };
        let uri: Uri = text.parse().map_err(|e: http::uri::InvalidUri| unfit(&e.to_string()))?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(unfit("another scheme")),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(unfit("a path"));
        }
        let (Some(host), Some(port)) = (uri.host(), uri.port_u16()) else {
            return Err(unfit("no port"));
        };
        if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err(unfit("a user"));
        }
        Ok(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            tls,
            url: uri,
        })
    }

    /// As it is called in messages.
    pub(super) fn name(&self) -> String {
        self.url.to_string().trim_end_matches('/').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_urls() {
        for (server, files, expected) in [
            ("http://127.0.0.1:2379", false, Ok(("127.0.0.1", 2379, false))),
            ("http://127.0.0.1:2379", true, Ok(("127.0.0.1", 2379, false))),
            ("https://etcd.example.com:2379/", false, Ok(("etcd.example.com", 2379, true))),
            ("https://[::1]:2379", true, Ok(("::1", 2379, true))),
            ("127.0.0.1:2379", false, Ok(("127.0.0.1", 2379, false))),
            ("etcd:2379", true, Ok(("etcd", 2379, true))),
            ("https://etcd", true, Err("no port")),
            ("unix:///run/etcd.sock", false, Err("")),
            ("ftp://etcd:1", false, Err("another scheme")),
            ("http://etcd:1/v3", false, Err("a path")),
            ("http://me@etcd:1", false, Err("a user")),
            ("http://", false, Err("")),
            ("", false, Err("")),
        ] {
            match (Server::parse(server, files), expected) {
                (Ok(s), Ok((host, port, tls))) => assert_eq!((&*s.host, s.port, s.tls), (host, port, tls), "{server}"),
                (Err(EtcdError::Server { why, .. }), Err(part)) => assert!(why.contains(part), "{server}: {why}"),
                (got, _) => panic!("{server}: {got:?}"),
            }
        }
    }

    #[test]
    fn options_are_checked() {
        let good = EtcdOptions {
            servers: vec!["http://127.0.0.1:1".into()],
            ..Default::default()
        };
        assert!(good.check().is_ok());
        for (name, options) in [
            (
                "no server",
                EtcdOptions {
                    servers: vec![],
                    ..good.clone()
                },
            ),
            (
                "a certificate alone",
                EtcdOptions {
                    cert: Some("c".into()),
                    ..good.clone()
                },
            ),
            (
                "a key alone",
                EtcdOptions {
                    key: Some("k".into()),
                    ..good.clone()
                },
            ),
            (
                "an empty prefix",
                EtcdOptions {
                    prefix: "//".into(),
                    ..good.clone()
                },
            ),
        ] {
            assert!(options.check().is_err(), "{name}");
        }
    }
}
