//! All kubelets of a fleet, as a process of their own, so that what they cost is on nobody's account.
//!
//! Each node has an address of its own in 127/8 and a certificate for it, as a real one has, and speaks HTTP/2 or HTTP/1.1.
//! `/metrics/resource` is compressed for whoever asks for it, as a real kubelet does it; `/stats/summary` never is. A bearer token is
//! wanted and not judged: a real kubelet remembers its verdict for minutes.
//!
//! Orders come on stdin, one a line: `run NODE POD STARTED`, `fail PERMILLE`. It ends with its input.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use outrigger_e2e::ControlPlane;
use outrigger_e2e::pki::{self, Pair};
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::truth::{Node, Place, SECOND, Size, mix, now};

/// How long a failing kubelet fails: about one scrape of each server.
const SPELL: u64 = 15 * SECOND;

/// The process, seen from the bench. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Kubelets {
    child: Child,
    orders: ChildStdin,
    ports: Vec<u16>,
}

struct World {
    size: Size,
    nodes: Vec<RwLock<Node>>,
    failing: AtomicU64,
}

/// Where the kubelet of a node listens.
pub(crate) fn address(node: usize) -> Result<Ipv4Addr> {
    Ok(Ipv4Addr::new(
        127,
        100,
        u8::try_from(node / 250).context("too many nodes")?,
        u8::try_from(node % 250 + 1)?,
    ))
}

fn certificate(node: usize) -> String {
    format!("fleet-{node}")
}

// === impl Kubelets ===

impl Kubelets {
    /// Makes their certificates, starts them and waits until all listen.
    pub(crate) fn start(control_plane: &ControlPlane, size: Size, epoch: u64) -> Result<Self> {
        let mut folder = None;
        let mut prefix = String::new();
        for node in 0..size.nodes {
            let pair = control_plane
                .ca()
                .server(&certificate(node), &[&address(node)?.to_string()])?;
            let file = pair
                .certificate
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            prefix = file
                .strip_suffix(&format!("{}.crt", certificate(node)))
                .unwrap_or_default()
                .to_owned();
            folder = pair.certificate.parent().map(Path::to_owned);
        }
        let mut child = Command::new(std::env::current_exe()?)
            .args(["kubelets", &size.to_string(), &epoch.to_string()])
            .arg(folder.context("a fleet has nodes")?)
            .arg(prefix)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().context("a pipe was asked for")?;
        let said = child.stdout.take().context("a pipe was asked for")?;
        let ports = ports(said)?;
        ensure!(ports.len() == size.nodes, "{} of {} kubelets listen", ports.len(), size.nodes);
        Ok(Self { child, orders, ports })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn port(&self, node: usize) -> Result<u16> {
        self.ports.get(node).copied().context("no such node")
    }

    /// From now on this pod runs.
    pub(crate) fn run(&mut self, place: Place, started: u64) -> Result<()> {
        self.order(&format!("run {} {} {started}", place.node, place.pod))
    }

    /// From now on so many of a thousand fail at any time, another choice every fifteen seconds.
    pub(crate) fn fail(&mut self, permille: u64) -> Result<()> {
        self.order(&format!("fail {permille}"))
    }

    fn order(&mut self, line: &str) -> Result<()> {
        writeln!(self.orders, "{line}")?;
        Ok(self.orders.flush()?)
    }
}

impl Drop for Kubelets {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One line, which comes when all listen, or ends with the process.
fn ports(said: ChildStdout) -> Result<Vec<u16>> {
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(said), &mut line)?;
    let ports: Result<Vec<u16>, _> = line.split_whitespace().map(str::parse).collect();
    ports.with_context(|| format!("no ports: {line}"))
}

/// The process itself.
pub(crate) async fn serve(arguments: &[String]) -> Result<()> {
    let [size, epoch, folder, prefix] = arguments else {
        bail!("kubelets SIZE EPOCH FOLDER PREFIX")
    };
    let (size, epoch): (Size, u64) = (size.parse()?, epoch.parse()?);
    let world = Arc::new(World {
        size,
        nodes: (0..size.nodes)
            .map(|node| RwLock::new(Node::new(size, node, epoch)))
            .collect(),
        failing: AtomicU64::new(0),
    });
    let mut listening = tokio::task::JoinSet::new();
    let mut ports = Vec::new();
    for node in 0..size.nodes {
        let file = |ending| Path::new(folder).join(format!("{prefix}{}.{ending}", certificate(node)));
        let pair = Pair {
            certificate: file("crt"),
            key: file("key"),
        };
        let (chain, key) = pair.load()?;
        let mut config = ServerConfig::builder_with_provider(pki::provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Both servers keep their connections; a store of sessions for each node would be memory for nothing.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let listener = TcpListener::bind(SocketAddr::from((address(node)?, 0))).await?;
        ports.push(listener.local_addr()?.port().to_string());
        listening.spawn(listen(
            listener,
            TlsAcceptor::from(Arc::new(config)),
            Arc::clone(&world),
            node,
        ));
    }
    let mut out = std::io::stdout();
    writeln!(out, "{}", ports.join(" "))?;
    out.flush()?;
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Some(order) = orders.next_line().await? {
        world.obey(&order)?;
    }
    Ok(())
}

async fn listen(listener: TcpListener, acceptor: TlsAcceptor, world: Arc<World>, node: usize) {
    // Aborted with this task: the set owns the connections.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            Ok((tcp, _)) = listener.accept() => { connections.spawn(converse(tcp, acceptor.clone(), Arc::clone(&world), node)); }
            Some(_) = connections.join_next() => {}
            else => return,
        }
    }
}

async fn converse(tcp: TcpStream, acceptor: TlsAcceptor, world: Arc<World>, node: usize) {
    // Without it an answer waits for an acknowledgement.
    let _ = tcp.set_nodelay(true);
    let Ok(tls) = acceptor.accept(tcp).await else { return };
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = world.answer(node, request.uri().path(), request.headers());
        async move { Ok::<_, Infallible>(answer) }
    });
    // A client that leaves is the normal end.
    let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(tls), service)
        .await;
}

// === impl World ===

impl World {
    fn obey(&self, order: &str) -> Result<()> {
        let words: Vec<&str> = order.split_whitespace().collect();
        match *words {
            ["fail", permille] => self.failing.store(permille.parse()?, Ordering::SeqCst),
            ["run", node, pod, started] => {
                let place = Place {
                    node: node.parse()?,
                    pod: pod.parse()?,
                };
                let node = self.nodes.get(place.node).context("no such node")?;
                let mut node = node.write().unwrap_or_else(PoisonError::into_inner);
                node.run(place, self.size.containers, started.parse()?);
            }
            _ => bail!("{order} is no order"),
        }
        Ok(())
    }

    fn answer(&self, node: usize, path: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let now = now();
        let refusal = |status| {
            let mut response = Response::new(Full::default());
            *response.status_mut() = status;
            response
        };
        if !headers.contains_key(header::AUTHORIZATION) {
            return refusal(StatusCode::UNAUTHORIZED);
        }
        if mix(u64::try_from(node).unwrap_or_default(), now / SPELL) % 1000 < self.failing.load(Ordering::SeqCst) {
            return refusal(StatusCode::INTERNAL_SERVER_ERROR);
        }
        let Some(node) = self.nodes.get(node) else {
            return refusal(StatusCode::NOT_FOUND);
        };
        let node = node.read().unwrap_or_else(PoisonError::into_inner);
        let (body, kind, may_shrink) = match path {
            "/stats/summary" => (node.exposition(now).summary(), "application/json", false),
            "/metrics/resource" => (
                node.exposition(now).resource(),
                "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
                true,
            ),
            _ => return refusal(StatusCode::NOT_FOUND),
        };
        let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
        let shrink = may_shrink && accepted.is_some_and(|value| value.contains("gzip"));
        let body = match shrink {
            true => match gzip(&body) {
                Ok(body) => body,
                Err(_) => return refusal(StatusCode::INTERNAL_SERVER_ERROR),
            },
            false => body,
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
        if shrink {
            fields.insert(header::CONTENT_ENCODING, http::HeaderValue::from_static("gzip"));
        }
        response
    }
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}
