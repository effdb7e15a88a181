//! The binary under test, as a cluster runs it: its own ServiceAccount with the rights of `deploy/metrics`, a Service in front
//! of it, and APIServices that name its own authority.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, free_port, repository};
use crate::http::Client;
use crate::pki::Pair;
use crate::program::Program;
use crate::scratch;
use crate::wait::{SOON, until};

/// Service and ServiceAccount have metrics-server's names: its manifests upgrade in place.
const NAME: &str = "metrics-server";

/// Where `deploy/metrics` says what the ServiceAccount may do.
const RBAC: [&str; 3] = [
    "base/rbac.yaml",
    "components/own-authority/rbac.yaml",
    "components/high-availability/rbac.yaml",
];

/// How to run it.
#[derive(Debug, Clone)]
pub struct Options {
    /// A name for its folder and log.
    pub name: String,
    /// The address that it binds; its Service gets the same, so it lies in 127.96.0.0/16.
    pub address: Ipv4Addr,
    /// Seconds from one scrape to the next.
    pub resolution: u32,
    /// The plugins that it starts with: files that are copied into its folder of plugins.
    pub plugins: Vec<PathBuf>,
    /// Arguments after all others.
    pub arguments: Vec<String>,
}

/// A running server. Dropped, it is killed.
#[derive(Debug)]
pub struct Outrigger {
    program: Program,
    address: SocketAddr,
    plugins: PathBuf,
    ca: PathBuf,
}

/// The metrics plugin, built (`OUTRIGGER_PLUGINS` names another folder).
#[must_use]
pub fn metrics_plugin() -> PathBuf {
    built("OUTRIGGER_PLUGINS", "target/plugins").join("metrics.wasm")
}

/// An example, built (`OUTRIGGER_EXAMPLES` names another folder).
#[must_use]
pub fn example(name: &str) -> PathBuf {
    built("OUTRIGGER_EXAMPLES", "target/examples").join(format!("{name}.wasm"))
}

/// The hostile test plugin playing this part, such as `trap-after-3` (`e2e/guests/hostile`; `OUTRIGGER_TEST_GUESTS` names another
/// folder): a copy of the component with another text in its data.
///
/// # Errors
/// It is not built, or the part is too long.
pub fn hostile(part: &str) -> Result<PathBuf> {
    playing("hostile", b"outrigger-hostile-part:", part)
}

/// A version of the plugin of which tests make many (`e2e/guests/versions`), such as `two-well`: a copy of the component with another
/// text in its data.
///
/// # Errors
/// It is not built, or the text is too long.
pub fn version(part: &str) -> Result<PathBuf> {
    playing("versions", b"outrigger-version-part:", part)
}

fn playing(guest: &str, mark: &[u8], part: &str) -> Result<PathBuf> {
    const ROOM: usize = 32;
    let original = built("OUTRIGGER_TEST_GUESTS", "target/test-guests").join(format!("{guest}.wasm"));
    let mut bytes = std::fs::read(&original).with_context(|| format!("{} is missing: make guests", original.display()))?;
    let at = bytes
        .windows(mark.len())
        .position(|window| window == mark)
        .context("the component has no part")?
        + mark.len();
    ensure!(part.len() < ROOM, "{part} is too long");
    let room = bytes.get_mut(at..at + ROOM).context("the component breaks off")?;
    room.copy_from_slice(format!("{part:.<ROOM$}").as_bytes());
    let file = scratch::folder(guest)?.join(format!("{part}.wasm"));
    std::fs::write(&file, bytes)?;
    Ok(file)
}

fn built(variable: &str, folder: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| repository().join(folder), PathBuf::from)
}

/// A guest for tests alone, built (`OUTRIGGER_TEST_GUESTS` names another folder).
#[must_use]
pub fn test_guest(name: &str) -> PathBuf {
    built("OUTRIGGER_TEST_GUESTS", "target/test-guests").join(format!("{name}.wasm"))
}

/// The binary under test (`OUTRIGGER_BIN`, or the debug build).
///
/// # Errors
/// There is none.
pub fn binary() -> Result<PathBuf> {
    let binary = built("OUTRIGGER_BIN", "target/debug/outrigger");
    ensure!(
        binary.is_file(),
        "{} is missing: build it (cargo build -p outrigger) or set OUTRIGGER_BIN",
        binary.display()
    );
    Ok(binary)
}

/// Applies the RBAC of `deploy/metrics` and returns a kubeconfig with a token of the ServiceAccount, as a pod would have it.
///
/// # Errors
/// kube-apiserver refuses it.
pub fn account(control_plane: &ControlPlane) -> Result<PathBuf> {
    account_named(control_plane, NAME)
}

/// The same under another name: a ServiceAccount whose bindings a test may take away.
///
/// # Errors
/// kube-apiserver refuses it.
pub fn account_named(control_plane: &ControlPlane, name: &str) -> Result<PathBuf> {
    control_plane.kubectl()?.apply(&rbac(name)?)?;
    kubeconfig_of(control_plane, name)
}

/// The RBAC of `deploy/metrics` for a ServiceAccount of this name.
///
/// # Errors
/// It cannot be read.
pub fn rbac(name: &str) -> Result<String> {
    let mut all = String::new();
    for file in RBAC {
        let file = repository().join("deploy/metrics").join(file);
        all += &std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        all += "---\n";
    }
    Ok(all.replace(NAME, name))
}

/// The Service with this address, and an APIService for each version of the group; what these say of trust is the caller's.
///
/// # Errors
/// kube-apiserver refuses one of them.
pub fn register(
    control_plane: &ControlPlane,
    service: &str,
    at: SocketAddr,
    group: &str,
    versions: &[&str],
    trust: &Value,
) -> Result<()> {
    let (port, mut items) = (at.port(), Vec::new());
    items.push(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": service, "namespace": "kube-system"},
        "spec": {"clusterIP": at.ip().to_string(), "ports": [{"name": "https", "port": port}]},
    }));
    // Never dialled: the availability check only wants one endpoint, and none may be a loopback address.
    items.push(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": service, "namespace": "kube-system", "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"name": "https", "port": port}],
        "endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": true}}],
    }));
    for (i, version) in versions.iter().enumerate() {
        let mut spec = json!({
            "group": group, "version": version, "groupPriorityMinimum": 100, "versionPriority": 100 - i,
            "service": {"name": service, "namespace": "kube-system", "port": port},
        });
        if let (Some(spec), Some(trust)) = (spec.as_object_mut(), trust.as_object()) {
            spec.extend(trust.clone());
        }
        items.push(json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": format!("{version}.{group}")},
            "spec": spec,
        }));
    }
    control_plane
        .kubectl()?
        .apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
    Ok(())
}

fn kubeconfig_of(control_plane: &ControlPlane, name: &str) -> Result<PathBuf> {
    let folder = match name {
        NAME => "account".to_owned(),
        name => format!("account-{name}"),
    };
    let token = scratch::folder(&folder)?.join("token");
    let kubectl = control_plane.kubectl()?;
    std::fs::write(
        &token,
        kubectl
            .run(&format!("create token {name} -n kube-system --duration=2h"))?
            .trim(),
    )?;
    control_plane.kubeconfig_with_token(name, &token)
}

// === impl Outrigger ===

impl Outrigger {
    /// Starts `outrigger serve` (`OUTRIGGER_BIN`, or the debug build) and waits until it says that it lives.
    ///
    /// # Errors
    /// There is no binary or no plugin, or the server ends or does not answer.
    pub fn start(control_plane: &ControlPlane, kubeconfig: &Path, options: &Options) -> Result<Self> {
        Self::begin(control_plane, kubeconfig, options, None)?.alive()
    }

    /// The same under a serving certificate of the test's, which must name `metrics-server.kube-system.svc` and come from the
    /// cluster's authority.
    ///
    /// # Errors
    /// See [`Outrigger::start`].
    pub fn start_under(control_plane: &ControlPlane, kubeconfig: &Path, options: &Options, pair: &Pair) -> Result<Self> {
        Self::begin(control_plane, kubeconfig, options, Some(pair))?.alive()
    }

    /// The same as [`Outrigger::start`] without waiting for anything.
    ///
    /// # Errors
    /// There is no binary or no plugin, or it cannot be started.
    pub fn launch(control_plane: &ControlPlane, kubeconfig: &Path, options: &Options) -> Result<Self> {
        Self::begin(control_plane, kubeconfig, options, None)
    }

    fn alive(self) -> Result<Self> {
        until("outrigger is alive", SOON, || {
            self.program.runs().and_then(|()| self.client(None)?.get("/livez")?.ok())
        })?;
        Ok(self)
    }

    fn begin(control_plane: &ControlPlane, kubeconfig: &Path, options: &Options, serving: Option<&Pair>) -> Result<Self> {
        let binary = binary()?;
        let folder = scratch::folder(&options.name)?;
        let plugins = scratch::folder(&format!("{}/plugins", options.name))?;
        for plugin in &options.plugins {
            let name = plugin.file_name().context("a plugin is a file")?;
            std::fs::copy(plugin, plugins.join(name))
                .with_context(|| format!("{} is missing: build the plugins", plugin.display()))?;
        }
        let certificates = scratch::folder(&format!("{}/certificates", options.name))?;
        let address = SocketAddr::from((options.address, free_port(options.address)?));
        let mut command = Command::new(&binary);
        command
            .current_dir(&folder)
            .env("HOME", &folder)
            .env("XDG_CACHE_HOME", scratch::folder("cache")?);
        command
            .arg("serve")
            .arg("--plugins")
            .arg(&plugins)
            .arg("--cert-dir")
            .arg(&certificates);
        for flag in ["--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"] {
            command.arg(flag).arg(kubeconfig);
        }
        command
            .arg(format!("--secure-port={}", address.port()))
            .arg(format!("--bind-address={}", options.address));
        command.arg(format!("--metric-resolution={}s", options.resolution));
        command
            .arg("--kubelet-certificate-authority")
            .arg(control_plane.ca().certificate());
        command.args([
            "--kubelet-preferred-address-types=InternalIP",
            "--kubelet-use-node-status-port",
            "--grant=metrics=kubelet,config",
            "--grant=hello=kubelet",
        ]);
        let mut ca = certificates.join("ca.crt");
        if let Some(pair) = serving {
            command.arg("--tls-cert-file").arg(&pair.certificate);
            command.arg("--tls-private-key-file").arg(&pair.key);
            ca = control_plane.ca().certificate();
        }
        command.args(&options.arguments);
        let program = Program::start(
            &options.name,
            &mut command,
            &folder.join(format!("{}.log", options.name)),
            true,
        )?;
        Ok(Self {
            program,
            address,
            plugins,
            ca,
        })
    }

    /// Puts it behind the aggregator: the Service, and an APIService for each version of the group.
    ///
    /// # Errors
    /// kube-apiserver refuses one of them.
    pub fn register(&self, control_plane: &ControlPlane, group: &str, versions: &[&str]) -> Result<()> {
        self.register_behind(self.address, control_plane, group, versions)
    }

    /// The same behind another address, which leads to it.
    ///
    /// # Errors
    /// See [`Outrigger::register`].
    pub fn register_behind(&self, at: SocketAddr, control_plane: &ControlPlane, group: &str, versions: &[&str]) -> Result<()> {
        self.register_at(control_plane, NAME, at, group, versions)
    }

    /// The same as another Service with another address in front of it; its certificate must name `SERVICE.kube-system.svc`.
    ///
    /// # Errors
    /// See [`Outrigger::register`].
    pub fn register_at(
        &self,
        control_plane: &ControlPlane,
        service: &str,
        at: SocketAddr,
        group: &str,
        versions: &[&str],
    ) -> Result<()> {
        let bundle =
            BASE64_STANDARD.encode(std::fs::read(&self.ca).with_context(|| format!("cannot read {}", self.ca.display()))?);
        register(control_plane, service, at, group, versions, &json!({"caBundle": bundle}))
    }

    /// A way straight to it, past the aggregator; it must show the certificate that the aggregator would want.
    ///
    /// # Errors
    /// It has not written its authority yet, or the user's files cannot be read.
    pub fn client(&self, user: Option<&Pair>) -> Result<Client> {
        Client::new(self.address, &format!("{NAME}.kube-system.svc"), &self.ca, user)
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

    /// The folder that it watches for plugins.
    #[must_use]
    pub fn plugins(&self) -> &Path {
        &self.plugins
    }

    /// The process.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn ready(&self) -> Result<()> {
        until("outrigger is ready", SOON + Duration::from_secs(30), || {
            self.program.runs()?;
            self.client(None)?.get("/readyz?verbose")?.ok()
        })?;
        Ok(())
    }
}
