//! The program as a reader meets it: over TLS, with and without a token, until it is told to stop.
#![allow(clippy::unwrap_used, reason = "tests are free")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use local_kubelet::identity;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The running program; killed if a test ends early.
struct Kubelet {
    child: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl Kubelet {
    fn start(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_local-kubelet"))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--node-name",
                "laptop",
                "--housekeeping-interval",
                "200ms",
                "--cert-dir",
            ])
            .arg(folder.path())
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("https://").unwrap().to_owned();
        Self { child, address, folder }
    }

    fn token(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("token")).unwrap()
    }

    fn client(&self, with_certificate: bool, alpn: &[u8]) -> ClientConfig {
        let file = |name: &str| self.folder.path().join(name);
        let mut roots = RootCertStore::empty();
        identity::certificates(&file("ca.crt"))
            .unwrap()
            .into_iter()
            .for_each(|ca| roots.add(ca).unwrap());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = if with_certificate {
            let chain = identity::certificates(&file("client.crt")).unwrap();
            builder
                .with_client_auth_cert(chain, identity::read_key(&file("client.key")).unwrap())
                .unwrap()
        } else {
            builder.with_no_client_auth()
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        config
    }

    async fn send(&self, config: ClientConfig, host: &str, request: Request<Empty<Bytes>>) -> Response<Bytes> {
        let http2 = config.alpn_protocols == [b"h2".to_vec()];
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let stream = TokioIo::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap());
        let response = if http2 {
            let (mut send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
                .await
                .unwrap();
            tokio::spawn(connection);
            send.send_request(request).await.unwrap()
        } else {
            let (mut send, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            send.send_request(request).await.unwrap()
        };
        let (head, body) = response.into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }

    async fn get(&self, path: &str) -> Value {
        let request =
            Request::get(format!("https://{}{path}", self.address)).header("Authorization", format!("Bearer {}", self.token()));
        let response = self
            .send(self.client(false, b"h2"), "localhost", request.body(Empty::new()).unwrap())
            .await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        serde_json::from_slice(response.body()).unwrap()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn only_who_shows_a_token_or_a_certificate_may_read() {
    let kubelet = Kubelet::start(&[]);
    let good = format!("Bearer {}", kubelet.token());
    let table = [
        ("nothing shown", "GET", "/stats/summary", None, false, 401),
        ("nothing shown, health", "GET", "/healthz", None, false, 401),
        ("nothing shown, no such path", "GET", "/secrets", None, false, 401),
        ("a wrong token", "GET", "/stats/summary", Some("Bearer wrong"), false, 401),
        ("another scheme", "GET", "/stats/summary", Some("Basic Zm9v"), false, 401),
        ("the token", "GET", "/stats/summary", Some(good.as_str()), false, 200),
        (
            "the certificate",
            "GET",
            "/stats/summary?only_cpu_and_memory=true",
            None,
            true,
            200,
        ),
        ("health", "GET", "/healthz", Some(&good), false, 200),
        ("pods", "GET", "/pods", Some(&good), false, 200),
        ("only a head", "HEAD", "/stats/summary", Some(&good), false, 200),
        ("a write", "POST", "/stats/summary", Some(&good), false, 405),
        ("no such path", "GET", "/exec", Some(&good), false, 404),
    ];
    for (name, method, path, authorization, certificate, expected) in table {
        for alpn in [&b"h2"[..], b"http/1.1"] {
            let mut request = Request::builder()
                .method(method)
                .uri(format!("https://{}{path}", kubelet.address));
            if let Some(value) = authorization {
                request = request.header("Authorization", value);
            }
            let request = request.body(Empty::new()).unwrap();
            let response = kubelet.send(kubelet.client(certificate, alpn), "127.0.0.1", request).await;
            assert_eq!(response.status().as_u16(), expected, "{name} over {}", alpn.escape_ascii());
        }
    }
}

#[tokio::test]
async fn it_says_what_this_machine_does() {
    let kubelet = Kubelet::start(&["--pods", "processes"]);
    let counters = |summary: &Value| {
        let pods = summary["pods"].as_array().unwrap().clone();
        let counter = |stats: &Value| stats["cpu"]["usageCoreNanoSeconds"].as_u64().unwrap();
        let mut all = vec![("node".to_owned(), counter(&summary["node"]))];
        all.extend(
            pods.iter()
                .map(|pod| (pod["podRef"]["name"].as_str().unwrap().to_owned(), counter(pod))),
        );
        all
    };
    let first = kubelet.get("/stats/summary?only_cpu_and_memory=true").await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1800) {
        std::hint::black_box(started);
    }
    let second = kubelet.get("/stats/summary?only_cpu_and_memory=true").await;

    assert_eq!(second["node"]["nodeName"], "laptop");
    assert!(
        second["node"].get("network").is_none() && second["node"].get("fs").is_none(),
        "only CPU and memory"
    );
    assert!(second["node"]["cpu"]["usageNanoCores"].as_u64().unwrap() > 0);
    let used = second["node"]["memory"]["workingSetBytes"].as_u64().unwrap();
    assert!(
        used > 1 << 20 && used <= second["node"]["memory"]["usageBytes"].as_u64().unwrap(),
        "{used}"
    );
    let time = second["node"]["cpu"]["time"].as_str().unwrap();
    assert!(time.len() == 20 && time.ends_with('Z'), "{time}: whole seconds");
    let (before, after) = (counters(&first), counters(&second));
    assert!(after[0].1 > before[0].1, "the node worked: {before:?} {after:?}");
    for (name, counter) in &before {
        let later = after.iter().find(|(other, _)| other == name);
        assert!(
            later.is_none_or(|(_, later)| later >= counter),
            "{name} went backwards: {before:?} {after:?}"
        );
    }

    let pods = kubelet.get("/pods").await;
    let names = |list: &Value, at: &str| {
        let items = list.as_array().unwrap().iter();
        items
            .map(|item| item.pointer(at).unwrap().as_str().unwrap().to_owned())
            .collect::<std::collections::BTreeSet<_>>()
    };
    let (listed, measured) = (names(&pods["items"], "/metadata/uid"), names(&second["pods"], "/podRef/uid"));
    assert!(
        !listed.is_empty() && !listed.is_disjoint(&measured),
        "{listed:?} {measured:?}"
    );
}

#[tokio::test]
async fn it_stops_when_told_also_with_a_connection_open() {
    let mut kubelet = Kubelet::start(&[]);
    let idle = TcpStream::connect(&kubelet.address).await.unwrap();
    kubelet.get("/pods").await;
    let pid = rustix::process::Pid::from_raw(i32::try_from(kubelet.child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let deadline = Instant::now() + Duration::from_secs(4);
    let status = loop {
        if let Some(status) = kubelet.child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(status.success(), "{status}");
    drop(idle);
}

#[test]
fn what_cannot_be_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str], at: &Path| {
        let output = Command::new(env!("CARGO_BIN_EXE_local-kubelet"))
            .args(args)
            .arg("--cert-dir")
            .arg(at)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    for (args, expected) in [
        (&["--node-name", "Not A Name"][..], "is not a DNS name"),
        (&["--pods", "cgroups", "--cgroups", "/nowhere"], "no cgroups"),
        (&["--proc", "/nowhere"], "/nowhere/stat"),
        (&["--housekeeping-interval", "1ns"], "must be like"),
    ] {
        let (success, said) = run(args, folder.path());
        assert!(!success && said.contains(expected), "{args:?}: {said}");
    }
}
