//! An etcd of a test's own, which may be stopped, killed, frozen and started again; alone or several as a cluster.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::control_plane::{built_by, free_port};
use crate::pki::{Authority, Pair};
use crate::program::Program;
use crate::scratch;
use crate::wait::{SOON, until};

/// One member.
#[derive(Debug)]
pub struct Etcd {
    name: String,
    folder: PathBuf,
    program: PathBuf,
    arguments: Vec<String>,
    port: u16,
    tls: bool,
    running: Mutex<Option<Program>>,
}

/// How it is to be.
#[derive(Debug, Default)]
pub struct Kind<'a> {
    /// Nothing that was acknowledged is lost when the machine loses power: slower.
    pub durable: bool,
    /// TLS with this certificate, and clients must have one of this authority.
    pub tls: Option<(&'a Authority, &'a Pair)>,
    /// Other flags.
    pub flags: &'a [&'a str],
}

// === impl Etcd ===

impl Etcd {
    /// Starts one; it answers when this returns.
    ///
    /// # Errors
    /// It cannot be built or does not come up.
    pub fn start(name: &str, kind: &Kind<'_>) -> Result<Self> {
        let mut members = Self::cluster(name, 1, kind)?;
        members.pop().context("a member")
    }

    /// Starts several that are one.
    ///
    /// # Errors
    /// As for one.
    pub fn cluster(name: &str, members: usize, kind: &Kind<'_>) -> Result<Vec<Self>> {
        let program = built_by("e2e/control-plane/build")?.join("etcd");
        let mut places = Vec::new();
        for member in 0..members {
            let (clients, peers) = (free_port(Ipv4Addr::LOCALHOST)?, free_port(Ipv4Addr::LOCALHOST)?);
            places.push((format!("{name}-{member}"), clients, peers));
        }
        let all: Vec<String> = places
            .iter()
            .map(|(name, _, peers)| format!("{name}=http://127.0.0.1:{peers}"))
            .collect();
        let mut cluster = Vec::new();
        for (name, port, peers) in places {
            let folder = scratch::folder(&name)?;
            let scheme = if kind.tls.is_some() { "https" } else { "http" };
            let (clients, peers) = (format!("{scheme}://127.0.0.1:{port}"), format!("http://127.0.0.1:{peers}"));
            let data = folder.join("data").display().to_string();
            let mut arguments: Vec<String> = [
                "--name",
                &name,
                "--data-dir",
                &data,
                "--log-level=warn",
                "--listen-client-urls",
                &clients,
                "--advertise-client-urls",
                &clients,
                "--listen-peer-urls",
                &peers,
                "--initial-advertise-peer-urls",
                &peers,
                "--initial-cluster",
                &all.join(","),
                // It is a client of itself, for which a server's certificate is no good.
                "--enable-grpc-gateway=false",
            ]
            .map(str::to_owned)
            .to_vec();
            if !kind.durable {
                arguments.push("--unsafe-no-fsync".to_owned());
            }
            if let Some((authority, pair)) = kind.tls {
                arguments.push("--client-cert-auth".to_owned());
                arguments.push(format!("--trusted-ca-file={}", authority.certificate().display()));
                arguments.push(format!("--cert-file={}", pair.certificate.display()));
                arguments.push(format!("--key-file={}", pair.key.display()));
            }
            arguments.extend(kind.flags.iter().map(|flag| (*flag).to_owned()));
            let member = Self {
                name,
                folder,
                program: program.clone(),
                arguments,
                port,
                tls: kind.tls.is_some(),
                running: Mutex::new(None),
            };
            member.launch()?;
            cluster.push(member);
        }
        for member in &cluster {
            member.wait()?;
        }
        Ok(cluster)
    }

    /// Where clients find it.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address())
    }

    /// The same without a scheme.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The folder of its data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Ends it with SIGKILL.
    pub fn kill(&self) {
        drop(self.slot().take());
    }

    /// Ends it as a supervisor does (SIGTERM), and waits for that.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub fn stop(&self) -> Result<()> {
        let program = self.slot().take().context("it does not run")?;
        program.terminate()?;
        until("etcd ends", SOON, || match program.ended()? {
            Some(_) => Ok(()),
            None => bail!("it still runs"),
        })
    }

    /// Starts it again with what it had.
    ///
    /// # Errors
    /// It does not come up.
    pub fn again(&self) -> Result<()> {
        self.launch()?;
        self.wait()
    }

    /// Takes its time away, or gives it back: it keeps its connections and says nothing.
    ///
    /// # Errors
    /// It does not run.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        let pid = self.slot().as_ref().context("it does not run")?.pid();
        let pid = Pid::from_raw(i32::try_from(pid)?).context("no process has number 0")?;
        Ok(kill_process(pid, if frozen { Signal::STOP } else { Signal::CONT })?)
    }

    fn launch(&self) -> Result<()> {
        let log = self.folder.join("log");
        let program = Program::start(&self.name, Command::new(&self.program).args(&self.arguments), &log, false)?;
        *self.slot() = Some(program);
        Ok(())
    }

    fn wait(&self) -> Result<()> {
        until("etcd listens", SOON, || {
            if let Some(program) = self.slot().as_ref() {
                program.runs()?;
            }
            TcpStream::connect_timeout(&self.address(), Duration::from_secs(1))?;
            Ok(())
        })
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Program>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
