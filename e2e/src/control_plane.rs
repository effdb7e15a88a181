//! etcd, kube-apiserver and kube-controller-manager as plain processes on loopback, with the complete aggregation layer.
//!
//! Services get their addresses from 127.96.0.0/16, so a Service's clusterIP is an address that a server can simply bind:
//! the aggregator reaches a plain process exactly as it reaches a pod, and no privilege is needed. The `kubernetes` Service
//! has no endpoints (they may not be loopback addresses). No scheduler and no node runs; [`crate::Fleet`] plays both.

use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::http::Client;
use crate::kubectl::Kubectl;
use crate::pki::{self, Authority, Pair};
use crate::program::Program;
use crate::scratch;
use crate::wait::{SOON, until};

/// The controllers that the tests need; those that punish silent nodes stay off.
const CONTROLLERS: &str = "serviceaccount-token-controller,serviceaccount-controller,root-ca-certificate-publisher-controller,\
namespace-controller,garbage-collector-controller,clusterrole-aggregation-controller,deployment-controller,\
replicaset-controller,horizontal-pod-autoscaler-controller,resourcequota-controller";

/// Records whatever the users `auditor` and `auditor-weak` do, and nothing else.
pub const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
rules: [{level: RequestResponse, users: [auditor, auditor-weak]}]
";

/// A running control plane. Dropped, it ends.
#[derive(Debug)]
pub struct ControlPlane {
    folder: PathBuf,
    programs: PathBuf,
    address: SocketAddr,
    ca: Authority,
    etcd: String,
    admin: Pair,
    api: Client,
    front_proxy: Authority,
    proxy: Pair,
    apiserver: Mutex<Apiserver>,
    running: Vec<Program>,
}

/// kube-apiserver, which may be away for a while.
#[derive(Debug, Default)]
struct Apiserver {
    arguments: Vec<OsString>,
    starts: u32,
    program: Option<Program>,
}

/// The file of certificate authorities for one purpose, which kube-apiserver reads again when it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bundle {
    /// `--client-ca-file`.
    Clients,
    /// `--requestheader-client-ca-file`.
    FrontProxy,
}

/// A port that nobody listens on just now.
///
/// # Errors
/// There is none.
pub fn free_port(address: Ipv4Addr) -> Result<u16> {
    Ok(TcpListener::bind((address, 0))
        .with_context(|| format!("cannot bind {address}"))?
        .local_addr()?
        .port())
}

/// The repository's root.
#[must_use]
pub fn repository() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

// === impl ControlPlane ===

impl ControlPlane {
    /// Builds what is not built yet, starts everything and waits until it answers: three to five seconds on two cores once
    /// the programs are there.
    ///
    /// # Errors
    /// The build's sentence, or what did not come up.
    pub fn start() -> Result<Self> {
        Self::start_in("control-plane")
    }

    /// The same with a folder of its own, for tests that need two.
    ///
    /// # Errors
    /// See [`ControlPlane::start`].
    pub fn start_in(name: &str) -> Result<Self> {
        let programs = built_by("e2e/control-plane/build")?;
        let folder = scratch::folder(name)?;
        let ca = Authority::new(&folder, "ca")?;
        let front_proxy = Authority::new(&folder, "front-proxy-ca")?;
        let serving = ca.server(
            "apiserver",
            &[
                "localhost",
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "127.0.0.1",
                "127.96.0.1",
            ],
        )?;
        let admin = ca.user("admin", Some("system:masters"))?;
        let manager = ca.user("system:kube-controller-manager", None)?;
        let proxy = front_proxy.user("front-proxy-client", None)?;
        let (token_key, token_public) = pki::token_keys(&folder)?;

        let local = Ipv4Addr::LOCALHOST;
        let (etcd, peer, secure, controllers) = (free_port(local)?, free_port(local)?, free_port(local)?, free_port(local)?);
        let address = SocketAddr::from((local, secure));
        let api = Client::new(address, "localhost", &ca.certificate(), Some(&admin))?;
        let (clients, peers) = (format!("http://127.0.0.1:{etcd}"), format!("http://127.0.0.1:{peer}"));
        let mut house = Self {
            folder,
            programs,
            address,
            ca,
            etcd: clients.clone(),
            admin,
            api,
            front_proxy,
            proxy,
            apiserver: Mutex::default(),
            running: Vec::new(),
        };
        house.trust(Bundle::Clients, &[&house.ca])?;
        house.trust(Bundle::FrontProxy, &[&house.front_proxy])?;

        let program = house.launch("etcd", |c| {
            c.args(["--name", "e", "--unsafe-no-fsync", "--log-level", "warn", "--data-dir"])
                .arg(house.folder.join("etcd"));
            c.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
            c.args([
                "--listen-peer-urls",
                &peers,
                "--initial-advertise-peer-urls",
                &peers,
                "--initial-cluster",
                &format!("e={peers}"),
            ]);
        })?;
        house.keep(program)?;

        let audit_policy = house.folder.join("audit-policy.yaml");
        std::fs::write(&audit_policy, AUDIT_POLICY)?;
        let mut apiserver = Command::new(house.programs.join("kube-apiserver"));
        {
            let c = &mut apiserver;
            c.arg("--audit-policy-file").arg(&audit_policy);
            c.arg("--audit-log-path").arg(house.audit_log());
            c.args([
                "--etcd-servers",
                &clients,
                "--bind-address",
                "127.0.0.1",
                "--advertise-address",
                "127.0.0.1",
            ]);
            c.arg(format!("--secure-port={secure}"));
            c.args([
                "--endpoint-reconciler-type",
                "none",
                "--service-cluster-ip-range",
                "127.96.0.0/16",
            ]);
            c.args([
                "--authorization-mode",
                "Node,RBAC",
                "--disable-admission-plugins",
                "ServiceAccount,TaintNodesByCondition",
            ]);
            c.arg("--service-account-issuer=https://kubernetes.default.svc");
            pair(c, "--tls-cert-file", "--tls-private-key-file", &serving);
            pair(c, "--proxy-client-cert-file", "--proxy-client-key-file", &house.proxy);
            c.arg("--client-ca-file").arg(house.bundle(Bundle::Clients));
            c.arg("--service-account-key-file").arg(&token_public);
            c.arg("--service-account-signing-key-file").arg(&token_key);
            c.arg("--requestheader-client-ca-file").arg(house.bundle(Bundle::FrontProxy));
            c.args([
                "--requestheader-allowed-names",
                "front-proxy-client",
                "--requestheader-username-headers",
                "X-Remote-User",
            ]);
            c.args([
                "--requestheader-group-headers",
                "X-Remote-Group",
                "--requestheader-extra-headers-prefix",
                "X-Remote-Extra-",
            ]);
            c.args(["--requestheader-uid-headers", "X-Remote-Uid"]);
            // Nobody resolves the nodes' names.
            c.arg("--kubelet-preferred-address-types=InternalIP");
        }
        house.apiserver.lock().unwrap_or_else(PoisonError::into_inner).arguments =
            apiserver.get_args().map(OsStr::to_owned).collect();
        house.start_apiserver()?;

        let manager = house.kubeconfig_of("controller-manager", &manager)?;
        let serving = house.ca.server("controller-manager", &["127.0.0.1"])?;
        let program = house.launch("kube-controller-manager", |c| {
            c.args([
                "--bind-address",
                "127.0.0.1",
                "--leader-elect=false",
                "--use-service-account-credentials=true",
            ]);
            c.arg(format!("--secure-port={controllers}"));
            for flag in ["--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"] {
                c.arg(flag).arg(&manager);
            }
            pair(c, "--tls-cert-file", "--tls-private-key-file", &serving);
            c.arg("--root-ca-file")
                .arg(house.ca.certificate())
                .arg("--service-account-private-key-file")
                .arg(&token_key);
            c.args(["--controllers", CONTROLLERS]);
            // What is made behind an aggregator is counted at this pace alone.
            c.arg("--resource-quota-sync-period=5s");
            c.args([
                "--horizontal-pod-autoscaler-sync-period=5s",
                "--horizontal-pod-autoscaler-initial-readiness-delay=5s",
            ]);
            c.args(["--horizontal-pod-autoscaler-cpu-initialization-period=20s"]);
            c.args(["--horizontal-pod-autoscaler-downscale-stabilization=30s"]);
        })?;
        let health = Client::new((local, controllers).into(), "127.0.0.1", &house.ca.certificate(), None)?;
        until("kube-controller-manager is healthy", SOON, || {
            program.runs().and_then(|()| health.get("/healthz")?.ok())
        })?;
        house.keep(program)?;
        Ok(house)
    }

    /// Kills kube-apiserver. etcd and everybody else run on.
    pub fn stop_apiserver(&self) {
        self.apiserver.lock().unwrap_or_else(PoisonError::into_inner).program = None;
    }

    /// Starts kube-apiserver (again) and waits until it is ready.
    ///
    /// # Errors
    /// It ends or does not become ready.
    pub fn start_apiserver(&self) -> Result<()> {
        let mut apiserver = self.apiserver.lock().unwrap_or_else(PoisonError::into_inner);
        apiserver.starts += 1;
        let name = match apiserver.starts {
            1 => "kube-apiserver".to_owned(),
            n => format!("kube-apiserver-{n}"),
        };
        let mut command = Command::new(self.programs.join("kube-apiserver"));
        command.current_dir(&self.folder).args(&apiserver.arguments);
        let program = Program::start(
            "kube-apiserver",
            &mut command,
            &self.folder.join(format!("{name}.log")),
            false,
        )?;
        until("kube-apiserver is ready", SOON, || {
            program.runs().and_then(|()| self.api.get("/readyz")?.ok())
        })?;
        apiserver.program = Some(program);
        Ok(())
    }

    /// The authority of the aggregator's certificate at start.
    #[must_use]
    pub fn front_proxy(&self) -> &Authority {
        &self.front_proxy
    }

    /// A further authority, whose files lie beside the others.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn authority(&self, name: &str) -> Result<Authority> {
        Authority::new(&self.folder, name)
    }

    /// From now on kube-apiserver trusts exactly these authorities for this purpose; it notices within a minute, or at its
    /// next start.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn trust(&self, bundle: Bundle, authorities: &[&Authority]) -> Result<()> {
        let mut pem = String::new();
        for authority in authorities {
            pem += &std::fs::read_to_string(authority.certificate())?;
        }
        Ok(std::fs::write(self.bundle(bundle), pem)?)
    }

    /// From now on the aggregator shows this certificate, at the latest after kube-apiserver's next start.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn show(&self, pair: &Pair) -> Result<()> {
        std::fs::copy(&pair.certificate, &self.proxy.certificate)?;
        std::fs::copy(&pair.key, &self.proxy.key)?;
        Ok(())
    }

    fn bundle(&self, bundle: Bundle) -> PathBuf {
        self.folder.join(match bundle {
            Bundle::Clients => "clients-bundle.crt",
            Bundle::FrontProxy => "front-proxy-bundle.crt",
        })
    }

    /// Where kube-apiserver listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// kube-apiserver's audit log; [`AUDIT_POLICY`] says what is in it.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    /// The cluster's authority: it signs servers, kubelets and users.
    #[must_use]
    pub fn ca(&self) -> &Authority {
        &self.ca
    }

    /// Where etcd listens, as a URL: another server may keep its objects there under a prefix of its own.
    #[must_use]
    pub fn etcd(&self) -> &str {
        &self.etcd
    }

    /// kube-apiserver, as an administrator.
    #[must_use]
    pub fn api(&self) -> &Client {
        &self.api
    }

    /// The administrator's certificate.
    #[must_use]
    pub fn admin(&self) -> &Pair {
        &self.admin
    }

    /// kubectl as an administrator.
    ///
    /// # Errors
    /// Its kubeconfig cannot be written.
    pub fn kubectl(&self) -> Result<Kubectl> {
        Ok(self.kubectl_with(&self.kubeconfig_of("admin", &self.admin)?, "home"))
    }

    /// kubectl as a new user of this name and group, who may do what RBAC lets him.
    ///
    /// # Errors
    /// His certificate or kubeconfig cannot be written.
    pub fn kubectl_as(&self, user: &str, group: Option<&str>) -> Result<Kubectl> {
        let pair = self.ca.user(user, group)?;
        Ok(self.kubectl_with(&self.kubeconfig_of(&user.replace([':', '/'], "-"), &pair)?, "home"))
    }

    /// kubectl as an administrator who has not yet asked what this cluster serves (kubectl remembers for hours).
    ///
    /// # Errors
    /// Its kubeconfig cannot be written.
    pub fn kubectl_anew(&self, home: &str) -> Result<Kubectl> {
        Ok(self.kubectl_with(&self.kubeconfig_of("admin", &self.admin)?, home))
    }

    /// A kubeconfig for whoever holds this certificate; returns its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn kubeconfig_of(&self, name: &str, user: &Pair) -> Result<PathBuf> {
        self.write_kubeconfig(name, &json!({"client-certificate": user.certificate, "client-key": user.key}))
    }

    /// A kubeconfig for whoever holds the token in this file, as a pod has it; returns its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn kubeconfig_with_token(&self, name: &str, token: &Path) -> Result<PathBuf> {
        self.write_kubeconfig(name, &json!({"tokenFile": token}))
    }

    fn kubectl_with(&self, kubeconfig: &Path, home: &str) -> Kubectl {
        Kubectl::new(&self.programs.join("kubectl"), kubeconfig, &self.folder.join(home))
    }

    fn write_kubeconfig(&self, name: &str, user: &serde_json::Value) -> Result<PathBuf> {
        let path = self.folder.join(format!("{name}.kubeconfig"));
        let server = format!("https://{}", self.address);
        // JSON is YAML.
        let document = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
            "clusters": [{"name": "e2e", "cluster": {"server": server, "certificate-authority": self.ca.certificate()}}],
            "users": [{"name": "e2e", "user": user}],
            "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e"}}],
        });
        // By rename: another test may be reading the same user's.
        let half = self.folder.join(format!(".{name}.{:?}", std::thread::current().id()));
        std::fs::write(&half, serde_json::to_vec_pretty(&document)?)?;
        std::fs::rename(&half, &path)?;
        Ok(path)
    }

    fn launch(&self, name: &str, arguments: impl FnOnce(&mut Command)) -> Result<Program> {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir(&self.folder);
        arguments(&mut command);
        Program::start(name, &mut command, &self.folder.join(format!("{name}.log")), false)
    }

    fn keep(&mut self, program: Program) -> Result<()> {
        program.runs()?;
        // Ended in the order of this list: first whoever talks to the others.
        self.running.insert(0, program);
        Ok(())
    }
}

fn pair(command: &mut Command, certificate: &str, key: &str, pair: &Pair) {
    command.arg(certificate).arg(&pair.certificate).arg(key).arg(&pair.key);
}

/// Runs a build script of the repository, which is quick when everything is there; its progress goes to stderr. Returns the folder
/// that it names.
///
/// # Errors
/// It cannot be run, or fails.
pub fn built_by(script: &str) -> Result<PathBuf> {
    let script = repository().join(script);
    let output = Command::new(&script)
        .stderr(Stdio::inherit())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", script.display()))?;
    ensure!(
        output.status.success(),
        "{} failed; what it said stands above",
        script.display()
    );
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}
