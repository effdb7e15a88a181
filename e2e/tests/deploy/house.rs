//! The cluster of these tests, in which nothing of ours runs, and the tools.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::{Context, Result, anyhow, bail, ensure};
use outrigger_e2e::control_plane::{built_by, repository};
use outrigger_e2e::kubectl::Kubectl;
use outrigger_e2e::outrigger::binary;
use outrigger_e2e::wait::{SOON, until};
use outrigger_e2e::{ControlPlane, scratch};
use serde_json::{Value, json};

/// The release that the manifests take the place of.
pub(crate) const METRICS_SERVER: &str = "sigs.k8s.io/metrics-server@v0.9.0";

/// Where the chart is installed.
pub(crate) const NAMESPACE: &str = "outrigger-system";

/// Kinds of others that are rendered: group, version, kind, plural.
const FOREIGN: [(&str, &str, &str, &str); 3] = [
    ("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
    ("cert-manager.io", "v1", "Issuer", "issuers"),
    ("cert-manager.io", "v1", "Certificate", "certificates"),
];

pub(crate) struct House {
    pub(crate) control_plane: ControlPlane,
    pub(crate) kubectl: Kubectl,
    /// An administrator's.
    pub(crate) kubeconfig: PathBuf,
    helm: PathBuf,
}

static HOUSE: LazyLock<Result<House, String>> = LazyLock::new(|| {
    let build = || House::build(ControlPlane::start()?);
    build().map_err(|reason| format!("{reason:#}"))
});

/// The folder of metrics-server's module, as the Go module proxy has it.
static UPSTREAM: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let download = || {
        let output = Command::new("go")
            .current_dir(repository().join("e2e/helm"))
            .args(["mod", "download", "-json", METRICS_SERVER])
            .output()
            .context("go downloads metrics-server's module")?;
        let said: Value = serde_json::from_slice(&output.stdout).context("go mod download -json")?;
        let folder = said["Dir"].as_str().with_context(|| format!("no folder: {said}"))?;
        Ok(PathBuf::from(folder))
    };
    download().map_err(|reason: anyhow::Error| format!("{reason:#}"))
});

/// A cluster of its own for whoever puts metrics-server into it.
pub(crate) fn own_house(name: &str) -> Result<House> {
    House::build(ControlPlane::start_in(name)?)
}

/// The house, built by whichever test comes first.
pub(crate) fn house() -> Result<&'static House> {
    HOUSE.as_ref().map_err(|reason| anyhow!("{reason}"))
}

/// The folder of metrics-server's module.
pub(crate) fn upstream() -> Result<&'static Path> {
    UPSTREAM.as_deref().map_err(|reason| anyhow!("{reason}"))
}

/// A folder under `deploy`.
pub(crate) fn deploy(path: &str) -> PathBuf {
    repository().join("deploy").join(path)
}

/// The documents of a text.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).context("not YAML")?;
    Ok(all.into_iter().filter(|document| !document.is_null()).collect())
}

/// The one document of this kind and name.
pub(crate) fn one<'a>(documents: &'a [Value], kind: &str, name: &str) -> Result<&'a Value> {
    let mut found = documents
        .iter()
        .filter(|d| d["kind"] == kind && d["metadata"]["name"] == name);
    let first = found.next().with_context(|| format!("no {kind} {name}"))?;
    ensure!(found.next().is_none(), "{kind} {name} twice");
    Ok(first)
}

/// The arguments of every container of every Deployment, as a kubelet hands them over: a variable that the container has is put in.
pub(crate) fn arguments(documents: &[Value]) -> Vec<Vec<String>> {
    let deployments = documents.iter().filter(|d| d["kind"] == "Deployment");
    let containers = deployments.flat_map(|d| d["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten());
    containers
        .map(|c| {
            let variables = c["env"].as_array().into_iter().flatten();
            let names: Vec<&str> = variables
                .filter(|variable| variable["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP")
                .filter_map(|variable| variable["name"].as_str())
                .collect();
            let put = |argument: &str| {
                let put = |text: String, name: &&str| text.replace(&format!("$({name})"), "10.0.0.9");
                names.iter().fold(argument.to_owned(), put)
            };
            let arguments = c["args"].as_array().into_iter().flatten();
            arguments.filter_map(|argument| argument.as_str().map(put)).collect()
        })
        .collect()
}

/// Whether the binary takes these arguments; what it says if not. `--help` at the end: all before it is read, nothing is done.
pub(crate) fn takes(arguments: &[String]) -> Result<(bool, String)> {
    let output = Command::new(binary()?).args(arguments).arg("--help").output()?;
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    ))
}

/// Runs a program with this input; what it wrote to stdout.
pub(crate) fn run(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // Who does not read its input closes the pipe early.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    bail!("{said}{}", String::from_utf8_lossy(&output.stderr).trim())
}

// === impl House ===

impl House {
    fn build(control_plane: ControlPlane) -> Result<Self> {
        let helm = built_by("e2e/helm/build")?.join("helm");
        let kubectl = control_plane.kubectl()?;
        let kubeconfig = control_plane.kubeconfig_of("admin", control_plane.admin())?;
        let mut items: Vec<Value> = [NAMESPACE, "harbor"]
            .iter()
            .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
            .collect();
        for (group, version, kind, plural) in FOREIGN {
            let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
            items.push(json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("{plural}.{group}")},
                "spec": {
                    "group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
                    "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
                },
            }));
        }
        kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
        until("the foreign kinds are served", SOON, || {
            kubectl.run("get servicemonitors,issuers,certificates -A")
        })?;
        Ok(Self {
            control_plane,
            kubectl,
            kubeconfig,
            helm,
        })
    }

    /// What `kubectl apply -k` would apply.
    pub(crate) fn kustomize(&self, folder: &Path) -> Result<String> {
        self.kubectl.run_with(&["kustomize", &folder.display().to_string()], "")
    }

    /// kube-apiserver takes all of it: defaults, validation and admission, with unknown fields as errors; nothing is kept.
    pub(crate) fn accepts(&self, manifests: &str) -> Result<()> {
        self.kubectl.run_with(
            &["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"],
            manifests,
        )?;
        Ok(())
    }

    /// helm, with these values on its standard input where the arguments say `--values -`.
    pub(crate) fn helm(&self, arguments: &[&str], values: &str) -> Result<String> {
        let mut command = Command::new(&self.helm);
        command
            .env_clear()
            .env("HOME", scratch::folder("helm")?)
            .env("KUBECONFIG", &self.kubeconfig)
            .args(arguments);
        run(&mut command, values).with_context(|| format!("helm {}", arguments.join(" ")))
    }

    /// What the chart renders with these values.
    pub(crate) fn render(&self, values: &str) -> Result<String> {
        let chart = deploy("helm/outrigger").display().to_string();
        self.helm(
            &["template", "outrigger", &chart, "--namespace", NAMESPACE, "--values", "-"],
            values,
        )
    }
}
