//! Plugins come and go while the server serves, and the server goes without breaking off an answer.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_e2e::Outrigger;
use outrigger_e2e::outrigger::{example, metrics_plugin};
use outrigger_e2e::wait::{LATER, SOON};
use outrigger_e2e::{promise, until};
use serde_json::Value;

use crate::house::{house, options};

/// One test at a time changes the folder of plugins.
static FOLDER: Mutex<()> = Mutex::new(());

/// As an operator should: whole, by rename.
fn put(bytes: &[u8], to: &Path) -> Result<()> {
    let half = to.with_extension("half");
    std::fs::write(&half, bytes)?;
    Ok(std::fs::rename(&half, to)?)
}

#[test]
fn a_broken_plugin_leaves_the_running_one() {
    promise(|| {
        let _one = FOLDER.lock().unwrap();
        let house = house()?;
        let folder = house.outrigger.plugins();
        let metrics = metrics_plugin();
        let file = folder.join(metrics.file_name().context("a name")?);
        let program = house.outrigger.program();
        for (broken, file) in [
            ("a file that is no component", folder.join("broken.wasm")),
            ("in the place of the running one", file.clone()),
        ] {
            let before = program.log().len();
            let name = file.file_name().context("a name")?.to_string_lossy().into_owned();
            put(b"\0asm but not for long", &file)?;
            until(&format!("the log speaks of {name}"), SOON, || {
                program.runs()?;
                let log = program.log();
                ensure!(log[before..].contains(&name), "{broken}: {}", &log[before..]);
                Ok(())
            })?;
            house.advances("nodes/ash").context(broken)?;
        }
        std::fs::remove_file(folder.join("broken.wasm"))?;
        put(&std::fs::read(metrics)?, &file)?;
        house.advances("nodes/ash")
    })
}

/// The groups that the server itself speaks of.
fn groups() -> Result<Vec<String>> {
    let house = house()?;
    let list = house.outrigger.client(Some(house.control_plane.admin()))?.document("/apis")?;
    Ok(list["groups"]
        .as_array()
        .context("groups")?
        .iter()
        .filter_map(|g| g["name"].as_str().map(str::to_owned))
        .collect())
}

#[test]
fn a_plugin_is_served_when_dropped_in_and_gone_when_removed() {
    promise(|| {
        let _one = FOLDER.lock().unwrap();
        let house = house()?;
        let before = groups()?;
        let plugin = example("hello-collector");
        let file = house.outrigger.plugins().join("hello-collector.wasm");
        put(
            &std::fs::read(&plugin).with_context(|| format!("{} is missing: build the examples", plugin.display()))?,
            &file,
        )?;
        let group = until("a new group is served", SOON, || {
            house.outrigger.program().runs()?;
            groups()?
                .into_iter()
                .find(|group| !before.contains(group))
                .context("no new group")
        })?;

        let direct = house.outrigger.client(Some(house.control_plane.admin()))?;
        let described = direct.document(&format!("/apis/{group}"))?;
        let version = described["preferredVersion"]["version"]
            .as_str()
            .context("a preferred version")?
            .to_owned();
        let resources = direct.document(&format!("/apis/{group}/{version}"))?;
        let resource = resources["resources"][0]["name"]
            .as_str()
            .with_context(|| format!("no resource: {resources}"))?
            .to_owned();
        house.outrigger.register(&house.control_plane, &group, &[&version])?;
        house.kubectl.run(&format!(
            "wait --for=condition=Available apiservice/{version}.{group} --timeout=60s"
        ))?;
        let kubectl = house.control_plane.kubectl_anew("home-hello")?;
        until("kubectl reads what it collected", LATER, || {
            let out = kubectl.run(&format!("get {resource}.{group} -A --no-headers"))?;
            ensure!(!out.trim().is_empty(), "no rows yet");
            Ok(())
        })?;

        // First the APIService: one that is not served would hold up every namespace's deletion.
        house.kubectl.run(&format!("delete apiservice {version}.{group}"))?;
        std::fs::remove_file(&file)?;
        until("the group is gone", SOON, || {
            ensure!(!groups()?.contains(&group));
            Ok(())
        })?;
        ensure!(direct.get(&format!("/apis/{group}/{version}/{resource}"))?.status == 404);
        house.advances("nodes/ash")
    })
}

#[test]
fn a_terminated_server_finishes_its_answers() {
    promise(|| {
        let house = house()?;
        let server = Outrigger::start(
            &house.control_plane,
            &house.kubeconfig,
            &options("terminated", [127, 96, 0, 11]),
        )?;
        server.ready()?;
        let client = server.client(Some(house.control_plane.admin()))?;
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| -> Result<()> {
            let asking = scope.spawn(|| -> Result<usize> {
                let mut answers = 0;
                while !over.load(Ordering::SeqCst) {
                    match client.get("/apis/metrics.k8s.io/v1/pods") {
                        // Whole, or refused in words; a body that breaks off would be no JSON.
                        Ok(answer) => {
                            let list: Value = answer.json()?;
                            ensure!(
                                answer.status == 200 && list["kind"] == "PodMetricsList" || answer.status == 503,
                                "{list}"
                            );
                            answers += usize::from(answer.status == 200);
                        }
                        // Before a request was taken: the door is closed.
                        Err(reason)
                            if format!("{reason:#}").contains("cannot connect")
                                || format!("{reason:#}").contains("no handshake") =>
                        {
                            break;
                        }
                        // Between two requests: hyper had not yet sent this one, or the server closed the connection before reading it.
                        Err(reason) if format!("{reason:#}").contains("the body broke off") => return Err(reason),
                        Err(_) => {}
                    }
                }
                Ok(answers)
            });
            std::thread::sleep(Duration::from_millis(500));
            server.program().terminate()?;
            let ended = until("the server ends", SOON, || server.program().ended()?.context("still runs"));
            over.store(true, Ordering::SeqCst);
            let answers = asking.join().map_err(|_| anyhow::anyhow!("the asking thread panicked"))??;
            let status = ended?;
            ensure!(status.success(), "{status}: {}", server.program().log());
            ensure!(answers > 0, "not one answer");
            Ok(())
        })
    })
}
