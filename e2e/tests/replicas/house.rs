//! A cluster with one node, and replicas that keep their authority in a Secret.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use outrigger_e2e::http::runtime;
use outrigger_e2e::kubectl::Kubectl;
use outrigger_e2e::load::Load;
use outrigger_e2e::outrigger::{Options, account, metrics_plugin, register};
use outrigger_e2e::wait::LATER;
use outrigger_e2e::{ControlPlane, Fleet, Outrigger, until};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const GROUP: &str = "metrics.k8s.io";
pub(crate) const NODES: &str = "/apis/metrics.k8s.io/v1/nodes";
pub(crate) const SECRET: &str = "metrics-server-ca";

/// Two control planes at once are too many for a small machine, and the account's files are in one place.
static ALONE: Mutex<()> = Mutex::new(());

pub(crate) struct House {
    pub(crate) control_plane: ControlPlane,
    pub(crate) kubectl: Kubectl,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) fleet: Fleet,
    _alone: MutexGuard<'static, ()>,
}

/// The Service of several replicas: each new connection goes to the next one that takes it.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl House {
    pub(crate) fn new(name: &str) -> Result<Self> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let control_plane = ControlPlane::start_in(name)?;
        let fleet = Fleet::new(&control_plane)?;
        let load = Load {
            millicores: 100,
            bytes: 1 << 30,
        };
        fleet.add(&control_plane, "ash", load, true)?;
        let (kubectl, kubeconfig) = (control_plane.kubectl()?, account(&control_plane)?);
        Ok(Self {
            control_plane,
            kubectl,
            kubeconfig,
            fleet,
            _alone: alone,
        })
    }

    /// Takes away what `--ca-secret` needs.
    pub(crate) fn take_rights(&self) -> Result<()> {
        self.kubectl
            .run("delete rolebinding metrics-server:authority -n kube-system")?;
        self.kubectl
            .run("delete clusterrolebinding system:metrics-server:authority")?;
        Ok(())
    }

    /// A replica that keeps its authority in `secret`, as it begins.
    pub(crate) fn replica(&self, name: &str, address: [u8; 4], secret: &str, more: &[&str]) -> Result<Outrigger> {
        self.slow_replica(name, address, 1, secret, more)
    }

    /// The same with so many seconds from one tick to the next.
    pub(crate) fn slow_replica(
        &self,
        name: &str,
        address: [u8; 4],
        resolution: u32,
        secret: &str,
        more: &[&str],
    ) -> Result<Outrigger> {
        let options = Options {
            name: name.to_owned(),
            address: Ipv4Addr::from(address),
            resolution,
            plugins: vec![metrics_plugin()],
            arguments: [format!("--ca-secret=kube-system/{secret}")]
                .into_iter()
                .chain(more.iter().map(|argument| (*argument).to_owned()))
                .collect(),
        };
        Outrigger::launch(&self.control_plane, &self.kubeconfig, &options)
    }

    /// One key of a Secret in kube-system.
    pub(crate) fn key(&self, secret: &str, key: &str) -> Result<String> {
        let document = self
            .control_plane
            .api()
            .document(&format!("/api/v1/namespaces/kube-system/secrets/{secret}"))?;
        let text = document["data"][key]
            .as_str()
            .with_context(|| format!("no {key} in {secret}"))?;
        Ok(String::from_utf8(BASE64_STANDARD.decode(text)?)?)
    }

    /// Waits until a replica shows a certificate that the Secret's bundle vouches for, and says that it is ready.
    pub(crate) fn ready(&self, replica: &Outrigger, secret: &str) -> Result<()> {
        until("it is ready under the Secret's authority", LATER, || {
            replica.program().runs()?;
            std::fs::write(replica.ca(), self.key(secret, "ca.crt")?)?;
            replica.client(None)?.get("/readyz?verbose")?.ok()
        })?;
        Ok(())
    }

    pub(crate) fn register(&self, at: SocketAddr, versions: &[&str], trust: &Value) -> Result<()> {
        register(&self.control_plane, "metrics-server", at, GROUP, versions, trust)
    }

    pub(crate) fn apiservice(&self, version: &str) -> Result<Value> {
        let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/{version}.{GROUP}");
        self.control_plane.api().document(&path)
    }

    /// What the `caBundle` of a version says now.
    pub(crate) fn bundle(&self, version: &str) -> Result<String> {
        let service = self.apiservice(version)?;
        let text = service["spec"]["caBundle"].as_str().context("no caBundle")?;
        Ok(String::from_utf8(BASE64_STANDARD.decode(text)?)?)
    }

    pub(crate) fn patch(&self, version: &str, patch: &Value) -> Result<()> {
        let name = format!("{version}.{GROUP}");
        self.kubectl
            .run_with(&["patch", "apiservice", &name, "--type=merge", "-p", &patch.to_string()], "")?;
        Ok(())
    }

    /// Waits until kube-apiserver serves metrics of the node from a server that it verifies.
    pub(crate) fn serves(&self) -> Result<()> {
        until("metrics come through the aggregator", LATER, || {
            let list = self.control_plane.api().document(NODES)?;
            ensure!(list["items"].as_array().is_some_and(|items| items.len() == 1), "{list}");
            Ok(())
        })?;
        // By the other version, whose APIService is looked at when its turn comes.
        until("kubectl prints them", LATER, || {
            let top = self.kubectl.run("top node --no-headers")?;
            ensure!(top.starts_with("ash"), "{top}");
            Ok(())
        })
    }
}

impl Service {
    pub(crate) fn start(address: [u8; 4], replicas: [SocketAddr; 2]) -> Result<Self> {
        Self::of(address, &Arc::new(Mutex::new(replicas.to_vec())))
    }

    /// Of replicas that come and go.
    pub(crate) fn of(address: [u8; 4], replicas: &Arc<Mutex<Vec<SocketAddr>>>) -> Result<Self> {
        let replicas = replicas.clone();
        let listener = runtime().block_on(TcpListener::bind((Ipv4Addr::from(address), 0)))?;
        let (address, turn) = (listener.local_addr()?, AtomicUsize::new(0));
        let task = runtime().spawn(async move {
            // Aborted with this task: the set owns the connections.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let mut all = replicas.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let first = turn.fetch_add(1, Ordering::Relaxed) % all.len().max(1);
                all.rotate_left(first);
                connections.spawn(async move {
                    for to in all {
                        if let Ok(mut server) = TcpStream::connect(to).await {
                            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                            return;
                        }
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, task })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An APIService that verifies nobody.
pub(crate) fn unverified() -> Value {
    json!({"insecureSkipTLSVerify": true})
}

/// An authority of nobody here, as a `caBundle`.
pub(crate) fn strangers(house: &House) -> Result<String> {
    Ok(std::fs::read_to_string(house.control_plane.front_proxy().certificate())?)
}
