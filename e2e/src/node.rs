//! One real node: a kubelet of the same version as the control plane, with the containerd that `e2e/node/test` has started.
//!
//! There is no pod network, so the node never becomes Ready; pods on the host's network run all the same, and nothing here
//! schedules by readiness.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use crate::ControlPlane;
use crate::control_plane::free_port;
use crate::program::Program;
use crate::wait::{SOON, until};

/// Its name.
pub const NAME: &str = "real";

/// The image that `e2e/node/test` has made; its program is `e2e/node/toil`.
pub const IMAGE: &str = "e2e.local/toil:1";

/// A running kubelet. Dropped, it is killed; its containers are `e2e/node/test`'s to remove.
#[derive(Debug)]
pub struct RealNode {
    kubelet: Program,
}

/// What `e2e/node/test` has prepared.
struct Place {
    kubelet: PathBuf,
    folder: PathBuf,
    address: Ipv4Addr,
}

// === impl Place ===

impl Place {
    fn find() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set: run e2e/node/test"));
        Ok(Self {
            kubelet: variable("OUTRIGGER_KUBELET")?.into(),
            folder: variable("OUTRIGGER_NODE_FOLDER")?.into(),
            address: variable("OUTRIGGER_NODE_ADDRESS")?.parse()?,
        })
    }
}

// === impl RealNode ===

impl RealNode {
    /// Starts the kubelet and waits until its node is registered.
    ///
    /// # Errors
    /// `e2e/node/test` has prepared nothing, or the kubelet does not come up.
    pub fn start(control_plane: &ControlPlane) -> Result<Self> {
        let Place {
            kubelet,
            folder,
            address,
        } = Place::find()?;
        let ca = control_plane.ca();
        let identity = ca.user(&format!("system:node:{NAME}"), Some("system:nodes"))?;
        let kubeconfig = control_plane.kubeconfig_of("kubelet", &identity)?;
        let serving = ca.server(&format!("kubelet-{NAME}"), &[NAME, &address.to_string()])?;
        let socket = folder.join("containerd.sock");
        let configuration = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "address": address, "port": free_port(address)?, "healthzPort": 0,
            "authentication": {
                "anonymous": {"enabled": false}, "webhook": {"enabled": true}, "x509": {"clientCAFile": ca.certificate()},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": serving.certificate, "tlsPrivateKeyFile": serving.key,
            "containerRuntimeEndpoint": format!("unix://{}", socket.display()),
            "podLogsDir": folder.join("pods"), "volumePluginDir": folder.join("volume-plugins"),
            "cgroupDriver": "cgroupfs", "failCgroupV1": false, "failSwapOn": false, "enforceNodeAllocatable": [],
            "makeIPTablesUtilChains": false, "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        });
        let file = folder.join("kubelet.json");
        std::fs::write(&file, serde_json::to_vec_pretty(&configuration)?)?;
        let mut command = Command::new(kubelet);
        command.arg("--config").arg(&file).arg("--kubeconfig").arg(&kubeconfig);
        command
            .arg("--root-dir")
            .arg(folder.join("kubelet"))
            .arg("--cert-dir")
            .arg(folder.join("kubelet-certificates"));
        command.args(["--hostname-override", NAME, "--node-ip", &address.to_string()]);
        // Deprecated, and the only way to tell cAdvisor of a containerd at another place than the usual.
        command.arg("--containerd").arg(&socket);
        let kubelet = Program::start("kubelet", &mut command, &folder.join("kubelet.log"), true)?;
        until("the node is registered", SOON, || {
            kubelet.runs()?;
            control_plane.api().document(&format!("/api/v1/nodes/{NAME}"))
        })?;
        Ok(Self { kubelet })
    }

    /// The process.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.kubelet
    }
}
