//! The harness itself: the control plane comes up, nodes and pods are what a test said, kubelets ask who is calling.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use outrigger_e2e::http::Client;
use outrigger_e2e::kubelet::Health;
use outrigger_e2e::load::Load;
use outrigger_e2e::program::Program;
use outrigger_e2e::wait::SOON;
use outrigger_e2e::{ControlPlane, Fleet, outrigger, promise, scratch, until};

#[test]
fn a_cluster_without_a_machine() {
    promise(|| {
        let control_plane = ControlPlane::start()?;
        let kubectl = control_plane.kubectl()?;
        let fleet = Fleet::new(&control_plane)?;
        let ash = fleet.add(
            &control_plane,
            "ash",
            Load {
                millicores: 100,
                bytes: 1 << 30,
            },
            true,
        )?;
        let real = fleet.add_recorded(&control_plane, "real-0")?;

        let nodes = kubectl.run("get nodes --no-headers")?;
        ensure!(
            nodes.lines().count() == 2 && nodes.lines().all(|l| l.contains(" Ready ")),
            "{nodes}"
        );

        // A Deployment's pods get a node, become Ready and use what their template says.
        kubectl.run("create deployment web --image=none --replicas=2")?;
        let load = r#"{"spec":{"template":{"metadata":{"annotations":{"load.e2e/none":"250m 64Mi"}}}}}"#;
        kubectl.run_with(&["patch", "deployment", "web", "-p", load], "")?;
        kubectl.run("rollout status deployment/web --timeout=60s")?;
        until("the node uses what its pods use", SOON, || {
            let load = fleet.load_of("ash").context("a node")?;
            ensure!(
                load == Load {
                    millicores: 600,
                    bytes: (1 << 30) + (128 << 20)
                },
                "{load:?}"
            );
            Ok(())
        })?;

        // Who asks a kubelet, and what it answers.
        let kubeconfig = outrigger::account(&control_plane)?;
        let token = std::fs::read_to_string(kubeconfig.with_file_name("../account/token"))?;
        let nobody = control_plane.ca().user("nobody", None)?;
        let ca = control_plane.ca().certificate();
        for (kubelet, pod) in [(&ash, "web-"), (&real, "burner")] {
            let address = kubelet.address();
            let name = address.ip().to_string();
            let callers = [
                ("without credentials", Client::new(address, &name, &ca, None)?, 401),
                (
                    "with a wrong token",
                    Client::new(address, &name, &ca, None)?.with("authorization", "Bearer x")?,
                    401,
                ),
                ("a user without rights", Client::new(address, &name, &ca, Some(&nobody))?, 403),
                (
                    "an administrator",
                    Client::new(address, &name, &ca, Some(control_plane.admin()))?,
                    200,
                ),
                (
                    "the ServiceAccount",
                    Client::new(address, &name, &ca, None)?.with("authorization", &format!("Bearer {token}"))?,
                    200,
                ),
            ];
            for (who, client, status) in callers {
                let answer = client.get("/stats/summary?only_cpu_and_memory=true")?;
                ensure!(answer.status == status, "{who}: {} {}", answer.status, answer.text());
                if status == 200 {
                    let summary = answer.json()?;
                    ensure!(summary["pods"].to_string().contains(pod), "{summary}");
                }
            }
            ensure!(
                kubelet.asked() == 5 && kubelet.refused() == 3,
                "{} asked, {} refused",
                kubelet.asked(),
                kubelet.refused()
            );
        }

        // Illness.
        let ask = Client::new(
            ash.address(),
            &ash.address().ip().to_string(),
            &ca,
            Some(control_plane.admin()),
        )?;
        let elsewhere = format!("https://{}/elsewhere", real.address());
        for (health, status) in [
            (Health::Failing, 500),
            (Health::Garbled, 200),
            (Health::Torn, 200),
            (Health::Redirecting(elsewhere), 302),
            (Health::Well, 200),
        ] {
            ash.fall(health.clone());
            let answer = ask.get("/stats/summary")?;
            ensure!(
                answer.status == status && (answer.json().is_ok() || status != 200 || health == Health::Garbled),
                "{health:?}: {answer:?}"
            );
        }

        // Deleted pods are let go, and so is their namespace.
        kubectl.run("create namespace brief")?;
        kubectl.run("create deployment web --image=none -n brief")?;
        kubectl.run("rollout status deployment/web -n brief --timeout=60s")?;
        kubectl.run("delete namespace brief --timeout=60s")?;
        Ok(())
    })
}

/// The promise of [`outrigger_e2e::scratch`], kept even when nobody is left to keep it: this test runs itself again, and kills
/// that process with the signal that nothing can catch.
#[test]
fn what_was_started_ends_with_the_test_process() {
    promise(|| {
        let (marker, folder) = ("OUTRIGGER_E2E_DIES", scratch::folder("death")?);
        let report = folder.join("report");
        if let Some(report) = std::env::var_os(marker) {
            let mut command = Command::new("sleep");
            let program = Program::start("sleep", command.arg("600"), &folder.join("sleep.log"), false)?;
            std::fs::write(report, format!("{}\n{}\n", program.pid(), folder.display()))?;
            std::thread::sleep(SOON);
            return Ok(());
        }
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--exact", "what_was_started_ends_with_the_test_process"])
            .env(marker, &report)
            .stdout(Stdio::null())
            .spawn()?;
        let (pid, left) = until("the other process has started a program", SOON, || {
            let text = std::fs::read_to_string(&report)?;
            let mut lines = text.lines().map(str::to_owned);
            Ok((lines.next().context("a process id")?, lines.next().context("a folder")?))
        })?;
        ensure!(
            Path::new("/proc").join(&pid).exists() && Path::new(&left).exists(),
            "{pid} runs in {left}"
        );
        child.kill()?;
        child.wait()?;
        until("its program and its folder are gone", SOON, || {
            ensure!(
                !Path::new("/proc").join(&pid).exists() && !Path::new(&left).exists(),
                "{pid} or {left}"
            );
            Ok(())
        })
    });
}
