//! The same API as upstream's own library serves it: `e2e/peer`, a Go server on k8s.io/apiserver over the control plane's etcd.
//!
//! What is sent to both and answered differently is a defect of ours, or a decision that somebody wrote down. The peer holds only
//! what a test puts there ([`Peer::load`]), with the metadata that Outrigger's rows have, so that bytes can be compared.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, built_by, free_port};
use crate::http::Client;
use crate::pki::Pair;
use crate::program::Program;
use crate::scratch;
use crate::wait::{SOON, until};

/// Its path of the one version that it serves.
const BASE: &str = "/apis/metrics.k8s.io/v1beta1";

/// A running peer. Dropped, it is killed.
#[derive(Debug)]
pub struct Peer {
    program: Program,
    address: SocketAddr,
    ca: PathBuf,
    admin: Client,
}

/// Upstream's reader of protobuf, as a process that answers line by line.
#[derive(Debug)]
pub struct Decoder(Mutex<Conversation>);

/// A program that answers each line with a line. Dropped, it is killed.
#[derive(Debug)]
pub struct Conversation {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Builds the Go programs, which is quick when they are there, and returns one of them: `peer`, `informers` or `sample`.
///
/// # Errors
/// The build's sentence.
pub fn program(name: &str) -> Result<PathBuf> {
    Ok(built_by("e2e/peer/build")?.join(name))
}

// === impl Peer ===

impl Peer {
    /// Starts it with the rights of `kubeconfig` and waits until it is ready.
    ///
    /// # Errors
    /// It cannot be built, ends, or does not become ready.
    pub fn start(control_plane: &ControlPlane, kubeconfig: &Path, name: &str, arguments: &[&str]) -> Result<Self> {
        let peer = Self::launch(control_plane, kubeconfig, name, arguments)?;
        until("the peer is ready", SOON, || {
            peer.program.runs().and_then(|()| peer.admin.get("/readyz")?.ok())
        })?;
        Ok(peer)
    }

    /// The same without waiting for anything.
    ///
    /// # Errors
    /// It cannot be built or started.
    pub fn launch(control_plane: &ControlPlane, kubeconfig: &Path, name: &str, arguments: &[&str]) -> Result<Self> {
        let folder = scratch::folder(name)?;
        let local = Ipv4Addr::LOCALHOST;
        let address = SocketAddr::from((local, free_port(local)?));
        let serving = control_plane.ca().server(name, &["localhost", "127.0.0.1"])?;
        let mut command = Command::new(program("peer")?);
        command
            .current_dir(&folder)
            .args(["--etcd-servers", control_plane.etcd(), "--bind-address=127.0.0.1"])
            .arg(format!("--etcd-prefix=/registry/{name}"))
            .arg(format!("--secure-port={}", address.port()))
            .arg("--tls-cert-file")
            .arg(&serving.certificate)
            .arg("--tls-private-key-file")
            .arg(&serving.key);
        for flag in ["--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"] {
            command.arg(flag).arg(kubeconfig);
        }
        command.args(arguments);
        let program = Program::start(name, &mut command, &folder.join(format!("{name}.log")), true)?;
        let ca = control_plane.ca().certificate();
        let admin = Client::new(address, "localhost", &ca, Some(control_plane.admin()))?;
        Ok(Self {
            program,
            address,
            ca,
            admin,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The authority of its certificate.
    #[must_use]
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// The process.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// A way to it, for whoever holds this certificate.
    ///
    /// # Errors
    /// The user's files cannot be read.
    pub fn client(&self, user: Option<&Pair>) -> Result<Client> {
        Client::new(self.address, "localhost", &self.ca, user)
    }

    /// Makes it hold exactly these items of a LIST: rows that Outrigger served, as they are.
    ///
    /// # Errors
    /// It refuses one of them.
    pub fn load(&self, plural: &str, items: &[Value]) -> Result<()> {
        let held = self.admin.document(&format!("{BASE}/{plural}"))?;
        for item in held.get("items").and_then(Value::as_array).into_iter().flatten() {
            let path = format!("{}/{}", collection(plural, item), text(item, "/metadata/name"));
            self.admin.request(Method::DELETE, &path, &[], Bytes::new())?.ok()?;
        }
        for item in items {
            self.create(plural, item)?;
        }
        Ok(())
    }

    fn create(&self, plural: &str, item: &Value) -> Result<()> {
        let body = Bytes::from(made(plural, item).to_string());
        let headers = [("content-type", "application/json")];
        self.admin
            .request(Method::POST, &collection(plural, item), &headers, body)?
            .ok()?;
        Ok(())
    }
}

/// The object to create for a row: upstream takes the time of creation from the annotation that the peer knows.
#[must_use]
pub fn made(plural: &str, item: &Value) -> Value {
    let mut object = item.clone();
    let kind = if plural == "nodes" { "NodeMetrics" } else { "PodMetrics" };
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".into(), json!("metrics.k8s.io/v1beta1"));
        fields.insert("kind".into(), json!(kind));
    }
    if let Some(meta) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        let created = meta.remove("creationTimestamp").unwrap_or_default();
        meta.remove("resourceVersion");
        meta.insert("annotations".into(), json!({"peer.e2e/created": created}));
    }
    object
}

/// The path of the collection in which a row belongs.
#[must_use]
pub fn collection(plural: &str, item: &Value) -> String {
    match item.pointer("/metadata/namespace").and_then(Value::as_str) {
        Some(namespace) => format!("{BASE}/namespaces/{namespace}/{plural}"),
        None => format!("{BASE}/{plural}"),
    }
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

// === impl Decoder ===

impl Decoder {
    /// Starts it.
    ///
    /// # Errors
    /// It cannot be built or started.
    pub fn start() -> Result<Self> {
        let mut command = Command::new(program("peer")?);
        command.arg("decode");
        Ok(Self(Mutex::new(Conversation::start(&mut command)?)))
    }

    /// The JSON of one object in upstream's envelope.
    ///
    /// # Errors
    /// Upstream cannot read it.
    pub fn object(&self, bytes: &[u8]) -> Result<Value> {
        self.ask(&BASE64_STANDARD.encode(bytes))
    }

    /// The events of a watch's frames, as an array.
    ///
    /// # Errors
    /// Upstream cannot read one of them.
    pub fn events(&self, bytes: &[u8]) -> Result<Value> {
        self.ask(&format!("watch {}", BASE64_STANDARD.encode(bytes)))
    }

    fn ask(&self, line: &str) -> Result<Value> {
        let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner).ask(line)?;
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => bail!("upstream cannot read this: {error}"),
            None => Ok(answer),
        }
    }
}

// === impl Conversation ===

impl Conversation {
    /// Starts the program.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let questions = child.stdin.take().context("a pipe was asked for")?;
        let answers = BufReader::new(child.stdout.take().context("a pipe was asked for")?);
        Ok(Self {
            child,
            questions,
            answers,
        })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// The program has ended, or says something that is not JSON.
    pub fn ask(&mut self, question: &str) -> Result<Value> {
        writeln!(self.questions, "{question}")?;
        let mut line = String::new();
        ensure!(self.answers.read_line(&mut line)? > 0, "the program has ended");
        serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // It ends with its input at the latest; waiting would wait for whoever else holds that pipe.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
