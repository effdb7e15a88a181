//! What a fresh call costs in the running server, and what HTTP, TLS and permission cost around it.
//!
//! Two objects of one plugin, over the same way: a row of a table, which is bytes in memory, and a virtual object, which a fresh
//! instance makes for each request. The difference between the two is the call; what the row costs is the share of the rest. The figure of
//! the sandbox alone, without a server, is `fresh_call`'s.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use outrigger_e2e::outrigger::{Options, version};
use outrigger_e2e::pki::Pair;
use outrigger_e2e::{ControlPlane, Outrigger, until};

use crate::client::Target;
use crate::{CONNECTIONS, Side, ratio};

const ROW: &str = "/apis/versions.example.com/v1/marks/now";
const VIRTUAL: &str = "/apis/versions.example.com/v1/echoes/now";

/// Prints the figures.
pub(crate) fn fresh(control_plane: &ControlPlane, kubeconfig: &Path, proxy: &Pair) -> Result<()> {
    let options = Options {
        name: "fresh".to_owned(),
        address: Ipv4Addr::new(127, 96, 0, 12),
        resolution: 30,
        plugins: vec![version("fresh-well")?],
        arguments: Vec::new(),
    };
    let server = Outrigger::start(control_plane, kubeconfig, &options)?;
    let direct = server.client(Some(control_plane.admin()))?;
    until("there is a row", Duration::from_secs(60), || {
        for path in [ROW, VIRTUAL] {
            let answer = direct.get(path)?;
            ensure!(answer.status == 200, "{path}: {}", answer.text());
        }
        Ok(())
    })?;
    let who = [("x-remote-user", "bench"), ("x-remote-group", "system:authenticated")];
    let side = Side {
        name: "Outrigger",
        target: Target::new(
            server.address(),
            "metrics-server.kube-system.svc",
            server.ca(),
            Some(proxy),
            &who,
        )?,
        pid: server.program().pid(),
    };
    let (row, _) = side.one(ROW, &[])?;
    let (made, _) = side.one(VIRTUAL, &[])?;
    for part in [50, 99] {
        let (row, made) = (row.percentile(part), made.percentile(part));
        println!(
            "| GET of a virtual object, 1 in flight, p{part} (of a row; the fresh call between them) | {:.3} ms ({:.3} ms; {:.1} µs) | | | |",
            made / 1e3,
            row / 1e3,
            made - row
        );
    }
    for (how, connections) in [("one connection", 1), ("eight connections", CONNECTIONS)] {
        let (row, made) = (side.burst(ROW, connections)?, side.burst(VIRTUAL, connections)?);
        let microseconds = |burst: &crate::Burst| burst.server / burst.times.rate() * 1e6;
        let (before, all) = (microseconds(&row), microseconds(&made));
        println!(
            "| GET of a virtual object, 64 in flight, {how} | {} | | {} of a row's rate | |",
            made.text(),
            ratio(made.times.rate(), row.times.rate())
        );
        println!(
            "| … the server's CPU for each, and the share of HTTP, TLS and permission in it | {all:.1} µs, {:.0} % | | | |",
            100.0 * before / all
        );
    }
    Ok(())
}
