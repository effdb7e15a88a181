//! Upstream's sample-apiserver as it is (k8s.io/sample-apiserver, a tool of `e2e/peer/go.mod`): the API of `examples/wardle` over etcd.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::control_plane::{ControlPlane, free_port};
use crate::http::Client;
use crate::pki::Pair;
use crate::program::Program;
use crate::wait::{SOON, until};
use crate::{peer, scratch};

/// The name that its certificate has.
pub const HOST: &str = "localhost";

/// A running sample-apiserver. Dropped, it is killed.
#[derive(Debug)]
pub struct Sample {
    program: Program,
    address: SocketAddr,
    ca: PathBuf,
}

// === impl Sample ===

impl Sample {
    /// Starts it over the etcd at this URL, with the rights of `kubeconfig`, and waits until it is ready. `name` is its folder's and its
    /// log's.
    ///
    /// # Errors
    /// It cannot be built, ends, or does not become ready.
    pub fn start(control_plane: &ControlPlane, kubeconfig: &Path, name: &str, etcd: &str) -> Result<Self> {
        let folder = scratch::folder(name)?;
        let local = Ipv4Addr::LOCALHOST;
        let address = SocketAddr::from((local, free_port(local)?));
        let serving = control_plane.ca().server(name, &[HOST, "127.0.0.1"])?;
        let mut command = Command::new(peer::program("sample")?);
        command
            .current_dir(&folder)
            .args(["--etcd-servers", etcd, "--bind-address=127.0.0.1"])
            .arg(format!("--secure-port={}", address.port()))
            .arg("--tls-cert-file")
            .arg(&serving.certificate)
            .arg("--tls-private-key-file")
            .arg(&serving.key);
        for flag in ["--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"] {
            command.arg(flag).arg(kubeconfig);
        }
        let program = Program::start("sample", &mut command, &folder.join("sample.log"), false)?;
        let sample = Self {
            program,
            address,
            ca: control_plane.ca().certificate(),
        };
        let admin = sample.client(Some(control_plane.admin()))?;
        until("sample-apiserver is ready", SOON, || {
            sample.program.runs().and_then(|()| admin.get("/readyz")?.ok())
        })?;
        Ok(sample)
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
        Client::new(self.address, HOST, &self.ca, user)
    }
}
