//! The servers under measurement: ours over its own file or over etcd, and the peer over etcd.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_e2e::control_plane::{built_by, free_port};
use outrigger_e2e::outrigger::{Options, example};
use outrigger_e2e::program::Program;
use outrigger_e2e::sample::HOST;
use outrigger_e2e::{ControlPlane, Outrigger, Sample, scratch, until};

use crate::client::Target;
use crate::{ratio, resident};

/// Where a server keeps its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// Outrigger, in its own file.
    Embedded,
    /// Outrigger, in etcd.
    Etcd,
    /// sample-apiserver, in etcd.
    Peer,
}

/// A server with objects.
pub(crate) struct Server<'a> {
    pub(crate) name: &'static str,
    pub(crate) target: Target,
    program: Running,
    etcd: Option<Etcd>,
    keeping: Keeping,
    control_plane: &'a ControlPlane,
    kubeconfig: &'a Path,
    folder: PathBuf,
}

enum Running {
    Ours(Outrigger),
    Theirs(Sample),
}

/// An etcd with fsync on, for one server.
struct Etcd {
    program: Program,
    url: String,
}

const READY: Duration = Duration::from_secs(60);

// === impl Server ===

impl<'a> Server<'a> {
    pub(crate) fn start(control_plane: &'a ControlPlane, kubeconfig: &'a Path, keeping: Keeping) -> Result<Self> {
        let folder = scratch::folder(&format!("stored-{keeping:?}-{}", free_port(Ipv4Addr::LOCALHOST)?))?;
        let etcd = match keeping {
            Keeping::Embedded => None,
            Keeping::Etcd | Keeping::Peer => Some(Etcd::start(&folder)?),
        };
        Self::begin(control_plane, kubeconfig, keeping, folder, etcd)
    }

    /// Ends it and starts it anew over the same objects.
    pub(crate) fn again(self) -> Result<Self> {
        let Self {
            program,
            etcd,
            keeping,
            control_plane,
            kubeconfig,
            folder,
            ..
        } = self;
        match &program {
            Running::Ours(outrigger) => outrigger.program().terminate()?,
            Running::Theirs(sample) => sample.program().terminate()?,
        }
        drop(program);
        Self::begin(control_plane, kubeconfig, keeping, folder, etcd)
    }

    fn begin(
        control_plane: &'a ControlPlane,
        kubeconfig: &'a Path,
        keeping: Keeping,
        folder: PathBuf,
        etcd: Option<Etcd>,
    ) -> Result<Self> {
        let admin = Some(control_plane.admin());
        let (name, target, program) = match keeping {
            Keeping::Peer => {
                let url = &etcd.as_ref().context("the peer has an etcd")?.url;
                let name = folder.file_name().and_then(|name| name.to_str()).context("a folder's name")?;
                // It follows more than our account may see.
                let kubeconfig = control_plane.kubeconfig_of("sample", control_plane.admin())?;
                let sample = Sample::start(control_plane, &kubeconfig, name, url)?;
                let target = Target::new(sample.address(), HOST, sample.ca(), admin, &[])?;
                ("sample-apiserver", target, Running::Theirs(sample))
            }
            Keeping::Embedded | Keeping::Etcd => {
                let arguments = match &etcd {
                    Some(etcd) => vec![format!("--etcd-servers={}", etcd.url)],
                    None => vec![format!("--data-dir={}", folder.join("objects").display())],
                };
                let options = Options {
                    name: "stored".to_owned(),
                    address: Ipv4Addr::new(127, 96, 0, 20),
                    resolution: 60,
                    plugins: vec![example("wardle")],
                    arguments: [vec!["--grant=wardle=objects".to_owned()], arguments].concat(),
                };
                let outrigger = Outrigger::start(control_plane, kubeconfig, &options)?;
                let client = outrigger.client(admin)?;
                until("Outrigger serves flunders", READY, || {
                    let list = client.get("/apis/wardle.example.com/v1alpha1/flunders?limit=1")?;
                    ensure!(list.status == ::http::StatusCode::OK, "{}", list.status);
                    Ok(())
                })?;
                let host = "metrics-server.kube-system.svc";
                let target = Target::new(outrigger.address(), host, outrigger.ca(), admin, &[])?;
                ("Outrigger", target, Running::Ours(outrigger))
            }
        };
        Ok(Self {
            name,
            target,
            program,
            etcd,
            keeping,
            control_plane,
            kubeconfig,
            folder,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        match &self.program {
            Running::Ours(outrigger) => outrigger.program().pid(),
            Running::Theirs(sample) => sample.program().pid(),
        }
    }

    /// One thread for one connection: what is measured is the server, not the scheduler.
    pub(crate) fn block<T>(&self, threads: usize, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut builder = match threads {
            1 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = builder.worker_threads(2).enable_all().build()?;
        runtime
            .block_on(work)
            .with_context(|| format!("{} ({:?})", self.name, self.keeping))
    }
}

// === impl Etcd ===

impl Etcd {
    fn start(folder: &Path) -> Result<Self> {
        let local = Ipv4Addr::LOCALHOST;
        let (clients, peers) = (free_port(local)?, free_port(local)?);
        let (url, peers) = (format!("http://127.0.0.1:{clients}"), format!("http://127.0.0.1:{peers}"));
        let mut command = Command::new(built_by("e2e/control-plane/build")?.join("etcd"));
        command
            .arg("--data-dir")
            .arg(folder.join("etcd"))
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peers, "--log-level=error"]);
        let program = Program::start("etcd", &mut command, &folder.join("etcd.log"), false)?;
        until("etcd listens", READY, || {
            std::net::TcpStream::connect((local, clients))?;
            Ok(())
        })?;
        Ok(Self { program, url })
    }
}

/// What they hold when nothing has been asked of them.
#[expect(clippy::cast_precision_loss, reason = "memory is small")]
pub(crate) fn idle(both: &[Server<'_>; 2]) -> Result<()> {
    std::thread::sleep(Duration::from_secs(5));
    let [ours, theirs] = both;
    let (mine, peers) = (resident(ours.pid())? as f64 / 1024.0, resident(theirs.pid())? as f64 / 1024.0);
    let etcd = match &theirs.etcd {
        Some(etcd) => resident(etcd.program.pid())? as f64 / 1024.0,
        None => 0.0,
    };
    println!(
        "| idle, no objects, resident | {mine:.1} MiB | {peers:.1} MiB (+ {etcd:.1} of etcd) | {} | |",
        ratio(mine, peers)
    );
    Ok(())
}

/// What each object costs beyond its JSON: after a restart over many, against the server that holds none.
#[expect(clippy::cast_precision_loss, reason = "memory is small")]
pub(crate) fn objects(again: &[Server<'_>]) -> Result<()> {
    let mut each = Vec::new();
    for server in again {
        let full = server.block(1, async {
            let connection = server.target.connect().await?;
            let request = connection.request(::http::Method::GET, &format!("{}?limit=1", super::writes::PATH), &[])?;
            connection.fetch(request, None).await?;
            Ok(())
        });
        full?;
        std::thread::sleep(Duration::from_secs(5));
        let full = resident(server.pid())? as f64;
        let empty = Server::start(server.control_plane, server.kubeconfig, server.keeping)?;
        std::thread::sleep(Duration::from_secs(5));
        let empty = resident(empty.pid())? as f64;
        each.push((
            full,
            (full - empty) * 1024.0 / super::OBJECTS as f64 - super::writes::SIZE as f64,
        ));
    }
    if let [(full, mine), (theirs_full, theirs)] = &*each {
        println!(
            "| each of 10,000 objects, after a restart, beyond its JSON (resident in all) | {mine:.0} B ({:.1} MiB) | {theirs:.0} B ({:.1} MiB) | {} | ≤ 1 KB |",
            full / 1024.0,
            theirs_full / 1024.0,
            ratio(*mine, *theirs)
        );
    }
    Ok(())
}
