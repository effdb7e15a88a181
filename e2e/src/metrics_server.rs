//! Upstream's metrics-server as it is, to compare with: built by `e2e/metrics-server`, run on the same cluster and the same
//! kubelets as Outrigger.
//!
//! Its flags are those of upstream's manifests, and what a machine without DNS needs; its ServiceAccount has the rights of upstream's
//! manifests (`nodes/metrics` where ours has `nodes/stats`). Its certificate is the cluster authority's, since its own is made
//! for nobody to verify.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use crate::control_plane::{ControlPlane, built_by, free_port};
use crate::http::Client;
use crate::outrigger::account_named;
use crate::pki::Pair;
use crate::program::Program;
use crate::scratch;
use crate::wait::{SOON, until};

/// Its ServiceAccount here; the usual name is taken by Outrigger's.
const ACCOUNT: &str = "upstream-metrics-server";

/// Whom its certificate is for.
const HOST: &str = "metrics-server.kube-system.svc";

/// How to run it.
#[derive(Debug, Clone)]
pub struct Options {
    /// A name for its folder and log.
    pub name: String,
    /// The address that it binds.
    pub address: Ipv4Addr,
    /// Seconds from one scrape to the next; upstream refuses less than 10.
    pub resolution: u32,
    /// Arguments after all others.
    pub arguments: Vec<String>,
}

/// A running metrics-server. Dropped, it is killed.
#[derive(Debug)]
pub struct MetricsServer {
    program: Program,
    address: SocketAddr,
    ca: PathBuf,
}

/// Builds it, which is quick when it is there.
///
/// # Errors
/// The build's sentence.
pub fn program() -> Result<PathBuf> {
    Ok(built_by("e2e/metrics-server/build")?.join("metrics-server"))
}

/// A kubeconfig with a token of its ServiceAccount, which may do what upstream's manifests grant.
///
/// # Errors
/// kube-apiserver refuses it.
pub fn account(control_plane: &ControlPlane) -> Result<PathBuf> {
    let kubeconfig = account_named(control_plane, ACCOUNT)?;
    let may = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "upstream:nodes-metrics"},
        "rules": [{"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]}],
    });
    let it = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "upstream:nodes-metrics"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "upstream:nodes-metrics"},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": "kube-system"}],
    });
    control_plane
        .kubectl()?
        .apply(&json!({"apiVersion": "v1", "kind": "List", "items": [may, it]}).to_string())?;
    Ok(kubeconfig)
}

// === impl MetricsServer ===

impl MetricsServer {
    /// Starts it without waiting: it opens its port when it knows all nodes and pods.
    ///
    /// # Errors
    /// It cannot be built or started.
    pub fn launch(control_plane: &ControlPlane, kubeconfig: &Path, options: &Options) -> Result<Self> {
        let folder = scratch::folder(&options.name)?;
        let address = SocketAddr::from((options.address, free_port(options.address)?));
        let ca = control_plane.ca().certificate();
        let serving = control_plane
            .ca()
            .server(&options.name, &[HOST, &options.address.to_string()])?;
        let mut command = Command::new(program()?);
        command
            .current_dir(&folder)
            .arg(format!("--bind-address={}", options.address))
            .arg(format!("--secure-port={}", address.port()))
            .arg("--tls-cert-file")
            .arg(&serving.certificate)
            .arg("--tls-private-key-file")
            .arg(&serving.key)
            .arg("--kubelet-certificate-authority")
            .arg(&ca)
            .args([
                "--kubelet-preferred-address-types=InternalIP",
                "--kubelet-use-node-status-port",
            ])
            .arg(format!("--metric-resolution={}s", options.resolution))
            .args(&options.arguments);
        for flag in ["--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"] {
            command.arg(flag).arg(kubeconfig);
        }
        let log = folder.join(format!("{}.log", options.name));
        let program = Program::start(&options.name, &mut command, &log, true)?;
        Ok(Self { program, address, ca })
    }

    /// Waits until it says that it is ready: it has values of a node and of a pod.
    ///
    /// # Errors
    /// It ends, or does not become ready.
    pub fn ready(&self) -> Result<()> {
        until("metrics-server is ready", SOON + Duration::from_secs(30), || {
            self.program.runs()?;
            self.client(None)?.get("/readyz?verbose")?.ok()
        })?;
        Ok(())
    }

    /// A way to it, for whoever holds this certificate.
    ///
    /// # Errors
    /// The user's files cannot be read.
    pub fn client(&self, user: Option<&Pair>) -> Result<Client> {
        Client::new(self.address, HOST, &self.ca, user)
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
}
