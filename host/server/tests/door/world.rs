//! One server with its authorities, a cluster that answers reviews, and an endpoint that does as the object's name says.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use outrigger_api::discovery::VersionInfo;
use outrigger_api::identity::Identity;
use outrigger_api::request_info::RequestInfo;
use outrigger_auth::authorize::Options;
use outrigger_auth::{
    AccessReviewer, Attributes, Authenticator, Authorities, Authorizer, Decision, FrontProxy, HeaderNames, Trust,
};
use outrigger_server::authority::PemPair;
use outrigger_server::{
    Authority, Body, Call, Certificates, Chain, ChainParts, Client, Drained, Endpoint, Health, Limits, Metrics, Named, Optional,
    OwnStream, Server, ServerOptions, Source, Tls, TlsOptions, read,
};
use prometheus_client::registry::Registry;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) front: Authority,
    pub(crate) clients: Authority,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) endpoint: Arc<Obedient>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) done: JoinHandle<Drained>,
    serving_ca: String,
}

#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) limits: Limits,
    pub(crate) observation: outrigger_server::Observation,
    pub(crate) options: ServerOptions,
    pub(crate) optional: Optional,
    pub(crate) tls: TlsOptions,
    pub(crate) named: Vec<Named>,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) files: Option<(PathBuf, PathBuf)>,
    /// Whom clients trust, if the certificate comes from files.
    pub(crate) serving_ca: Option<String>,
    /// What other replicas listen to.
    pub(crate) stream: Option<OwnStream>,
    /// What stands behind the door, if not [`Obedient`].
    pub(crate) behind: Option<Arc<dyn Endpoint>>,
}

/// Does what the object's name says.
pub(crate) struct Obedient {
    pub(crate) ready: AtomicBool,
    pub(crate) waiting: AtomicUsize,
    pub(crate) gate: Semaphore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    H1,
    H2,
}

pub(crate) const BOTH: [Protocol; 2] = [Protocol::H1, Protocol::H2];

pub(crate) enum Connected {
    H1(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    H2(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

/// Answers reviews; those about `patient` wait for a permit.
pub(crate) struct Cluster {
    pub(crate) asked: AtomicUsize,
    pub(crate) gate: Semaphore,
}

// === impl World ===

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let [front, clients] = ["front", "clients"].map(|name| Authority::create(name).unwrap());
        let authorities = |authority: &Authority| Authorities::from_pem(authority.pem().as_bytes()).unwrap();
        let proxy = FrontProxy::new(
            authorities(&front),
            vec!["front-proxy-client".into()],
            &HeaderNames::default(),
        )
        .unwrap();
        let trust = Trust::new(Some(proxy), Some(authorities(&clients))).shared();
        let source = match setup.files {
            Some((certificate, key)) => Source::Files { certificate, key },
            None => Source::Own {
                dir: None,
                names: vec!["localhost".into(), "127.0.0.1".into()],
            },
        };
        let certificates = Certificates::open_with(source, setup.named).await.unwrap();
        let serving_ca = setup.serving_ca.or_else(|| certificates.ca_pem()).unwrap();
        let endpoint = Arc::new(Obedient {
            ready: AtomicBool::new(true),
            waiting: AtomicUsize::new(0),
            gate: Semaphore::new(0),
        });
        let shutdown = CancellationToken::new();
        let cluster = Arc::new(Cluster {
            asked: AtomicUsize::new(0),
            gate: Semaphore::new(0),
        });
        let authorizer = Authorizer::delegated(Arc::clone(&cluster) as Arc<dyn AccessReviewer>, &Options::default());
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let measured = outrigger_auth::Metrics::register(&mut registry);
        let chain = Chain::new(ChainParts {
            authenticator: Authenticator::new(Arc::clone(&trust), None, true).measured(Arc::clone(&measured)),
            authorizer: authorizer.unwrap().measured(measured),
            health: Health::new(shutdown.clone()),
            metrics,
            registry: Arc::new(registry),
            version: VersionInfo::of("0.1.0", "", ""),
            plugins: None,
            stream: setup.stream,
            endpoint: setup.behind.unwrap_or_else(|| Arc::clone(&endpoint) as Arc<dyn Endpoint>),
            limits: setup.limits,
            optional: setup.optional,
            observation: setup.observation,
            draining: CancellationToken::new(),
        });
        let tls = Tls::new(Arc::clone(&certificates), trust, setup.tls);
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let address = setup.address.unwrap_or(any);
        let server = Server::bind(address, tls, Arc::new(chain), setup.options).await.unwrap();
        let address = server.address();
        let done = tokio::spawn(server.run(shutdown.clone()));
        Self {
            address,
            front,
            clients,
            certificates,
            endpoint,
            cluster,
            shutdown,
            done,
            serving_ca,
        }
    }

    /// The certificate that may speak for others.
    pub(crate) fn aggregator(&self) -> Option<PemPair> {
        Some(self.front.client("front-proxy-client", None, HOUR).unwrap())
    }

    /// A client's own certificate.
    pub(crate) fn client(&self, user: &str, group: Option<&str>) -> Option<PemPair> {
        Some(self.clients.client(user, group, HOUR).unwrap())
    }

    pub(crate) async fn connect(&self, protocol: Protocol, client: Option<PemPair>) -> Connected {
        self.try_connect(protocol, client).await.unwrap().0
    }

    /// The connection, and the certificate that the server showed.
    pub(crate) async fn try_connect(
        &self,
        protocol: Protocol,
        client: Option<PemPair>,
    ) -> Result<(Connected, CertificateDer<'static>), Box<dyn Error>> {
        let config = self.config(protocol, client, rustls::DEFAULT_VERSIONS);
        let stream = self.dial(config, "localhost").await?;
        let leaf = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
        let io = TokioIo::new(stream);
        let connected = match protocol {
            Protocol::H1 => {
                let (sender, connection) = hyper::client::conn::http1::handshake(io).await?;
                tokio::spawn(connection);
                Connected::H1(sender)
            }
            Protocol::H2 => {
                let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                Connected::H2(sender)
            }
        };
        Ok((connected, leaf))
    }

    /// How a client greets. rustls sends this certificate whatever CAs the server hints at, so a stranger's really arrives.
    pub(crate) fn config(
        &self,
        protocol: Protocol,
        client: Option<PemPair>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.serving_ca.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match client {
            Some(pair) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap(),
                )
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![if protocol == Protocol::H2 {
            b"h2".to_vec()
        } else {
            b"http/1.1".to_vec()
        }];
        config
    }

    /// A connection with nothing on it yet.
    pub(crate) async fn dial(&self, config: rustls::ClientConfig, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector
            .connect(ServerName::try_from(name.to_owned()).unwrap(), stream)
            .await
    }

    /// As [`World::dial`], for a client that writes its own bytes.
    pub(crate) async fn raw(&self, protocol: Protocol, client: Option<PemPair>) -> TlsStream<TcpStream> {
        let config = self.config(protocol, client, rustls::DEFAULT_VERSIONS);
        self.dial(config, "localhost").await.unwrap()
    }

    /// Waits until a caller who competes for the same seats gets one.
    pub(crate) async fn until_there_is_a_seat(&self) {
        let mut bob = self.connect(Protocol::H2, self.client("bob", None)).await;
        while bob.get(&thing("a"), &[]).await.code != 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A sample of `/metrics`; 0 if there is none.
    pub(crate) async fn metric(&self, series: &str) -> u64 {
        let mut root = self.connect(Protocol::H1, self.client("root", Some("system:masters"))).await;
        let text = root.get("/metrics", &[]).await;
        let line = text
            .text()
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until so many requests stand before the gate.
    pub(crate) async fn until_waiting(&self, requests: usize) {
        while self.endpoint.waiting.load(Ordering::SeqCst) < requests {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

// === impl Connected ===

impl Connected {
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, hyper::Error> {
        match self {
            Self::H1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::H2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// The same connection for another task; HTTP/2 alone can do it.
    pub(crate) fn again(&self) -> Self {
        match self {
            Self::H2(sender) => Self::H2(sender.clone()),
            Self::H1(_) => panic!("HTTP/1.1 carries one request at a time"),
        }
    }

    pub(crate) async fn ask(&mut self, request: Request<Full<Bytes>>) -> Answer {
        let (parts, body) = self.send(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            code: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    pub(crate) async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask(request(Method::GET, path, headers, Bytes::new())).await
    }
}

pub(crate) fn request(method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("https://localhost{path}"))
        .header(header::HOST, "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

/// Of an object named as the endpoint should behave.
pub(crate) fn thing(name: &str) -> String {
    format!("/apis/test.example.com/v1/things/{name}")
}

// === impl Answer ===

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{:?}", self.body))
    }

    /// Code, reason, message of a Status.
    pub(crate) fn status(&self) -> (u16, String, String) {
        let json = self.json();
        assert_eq!(json["kind"], "Status");
        assert_eq!(json["code"], self.code);
        (
            self.code,
            json["reason"].as_str().unwrap().into(),
            json["message"].as_str().unwrap().into(),
        )
    }
}

// === impl Cluster ===

#[async_trait]
impl AccessReviewer for Cluster {
    async fn review(&self, identity: &Identity, _: &Attributes<'_>) -> Result<Decision, Box<dyn Error + Send + Sync>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if identity.name == "patient" {
            let _permit = self.gate.acquire().await;
        }
        match identity.name.as_str() {
            "system:anonymous" | "denied" => Ok(Decision::Denied("".into())),
            "lost" => Err("no route to host".into()),
            _ => Ok(Decision::Allowed),
        }
    }
}

// === impl Obedient ===

#[async_trait]
impl Endpoint for Obedient {
    fn ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }

    fn serves(&self, info: &RequestInfo) -> bool {
        info.resource == "things"
    }

    async fn answer(&self, call: Call) -> Response<Body> {
        let client = Client::of(&call.parts);
        if call.info.verb == "watch" {
            let first = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"first\n"))]);
            return Response::new(Body::from_stream(first.chain(futures::stream::pending())));
        }
        match call.info.name.as_str() {
            "panic" => panic!("as told"),
            "panic-late" => {
                let first = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"first\n"))]);
                Response::new(Body::from_stream(
                    first.chain(futures::stream::poll_fn(|_| panic!("as told, late"))),
                ))
            }
            "wait" => {
                self.waiting.fetch_add(1, Ordering::SeqCst);
                let _permit = self.gate.acquire().await;
                Response::new(Body::from("waited"))
            }
            "large" => Response::new(Body::from(vec![b'x'; 16 << 20])),
            "never-ends" => Response::new(Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>())),
            "read" => match read(call.body).await {
                Ok(body) => Response::new(Body::from(body.len().to_string())),
                Err(status) => client.refuse(&status),
            },
            "warn" => {
                call.warnings.add("mind \"the gap\"");
                call.warnings.add("mind \"the gap\"");
                Response::new(Body::from("warned"))
            }
            "json" => {
                let mut response = Response::new(Body::from(r#"{"kind":"Thing"}"#));
                response
                    .headers_mut()
                    .insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
                response
            }
            "missing" => {
                let mut response = Response::new(Body::from("no"));
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
            _ => {
                let claims: Vec<_> = call
                    .parts
                    .headers
                    .keys()
                    .map(http::HeaderName::as_str)
                    .filter(|name| {
                        ["x-remote", "impersonate", "authorization", "sec-websocket"]
                            .iter()
                            .any(|claim| name.starts_with(claim))
                    })
                    .collect();
                let Identity { name, groups, .. } = &*call.identity;
                Response::new(Body::from(format!("{name} {} {}", groups.join(","), claims.join(","))))
            }
        }
    }
}
