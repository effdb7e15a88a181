//! The serving certificate's files are replaced while everybody asks.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_e2e::http::runtime;
use outrigger_e2e::pki::Pair;
use outrigger_e2e::steady::{Protocol, Steady};
use outrigger_e2e::wait::SOON;
use outrigger_e2e::{Outrigger, promise, until};

use crate::house::{NODES, WELL, house, lines, options, serves_metrics};
use crate::load::Load;

/// As a Secret's volume does: whole, by rename.
fn put(from: &Path, to: &Path) -> Result<()> {
    let half = to.with_extension("half");
    std::fs::copy(from, &half)?;
    Ok(std::fs::rename(half, to)?)
}

#[test]
fn a_new_certificate_is_shown_and_no_request_fails() {
    promise(|| {
        let house = house()?;
        let ca = house.control_plane.ca();
        let names = ["metrics-server.kube-system.svc"];
        let (used, next) = (ca.server("renewed", &names)?, ca.server("renewed-next", &names)?);
        let options = options("renewed", [127, 96, 0, 40], WELL);
        let server = Outrigger::start_under(&house.control_plane, &house.kubeconfig, &options, &used)?;
        serves_metrics(&server, &house.control_plane)?;
        let client = server.client(Some(house.control_plane.admin()))?;
        let mut load = Load::new();
        for (way, protocol, fresh) in [
            ("HTTP/1.1", Protocol::H1, false),
            ("HTTP/2", Protocol::H2, false),
            ("a connection for each request", Protocol::H1, true),
        ] {
            load.add(way, client.clone(), protocol, NODES, fresh);
        }
        let shown = |steady: &mut Steady| -> Result<Vec<u8>> {
            runtime().block_on(steady.get("/livez"))?.ok()?;
            Ok(steady.certificate().context("a connection")?.to_vec())
        };
        let mut old = Steady::new(client.clone(), Protocol::H2);
        let before = shown(&mut old)?;
        replace(&next, &used)?;
        let (chain, _) = next.load()?;
        until("a new connection shows the new certificate", SOON, || {
            let now = shown(&mut Steady::new(client.clone(), Protocol::H2))?;
            ensure!(now != before && now == chain[0].to_vec() || load.failed());
            Ok(())
        })?;
        ensure!(shown(&mut old)? == before && old.dialled == 1, "the old connection lives on");

        // Half a pair, then rubbish: what was served is served on, and it is said once.
        std::fs::write(&used.certificate, "no certificate")?;
        until("the log says so", SOON, || {
            ensure!(
                lines(
                    &server.program().log(),
                    &["the serving certificate cannot be renewed; the last one stays"]
                ) == 1
            );
            Ok(())
        })?;
        shown(&mut Steady::new(client.clone(), Protocol::H1))?;
        let answers = load.answers();
        until("the load runs on", SOON, || {
            ensure!(load.answers() > answers + 100 || load.failed());
            Ok(())
        })?;
        std::thread::sleep(Duration::from_millis(100));
        for one in load.end()? {
            eprintln!(
                "certificates: {}: {} answers over {} connections",
                one.way, one.answers, one.connections
            );
            ensure!(
                one.way.contains("each") || one.connections == 1,
                "{}: {}",
                one.way,
                one.connections
            );
        }
        Ok(())
    });
}

fn replace(from: &Pair, to: &Pair) -> Result<()> {
    put(&from.key, &to.key)?;
    put(&from.certificate, &to.certificate)
}
