//! From a file that is renamed into the folder of plugins to the first answer that is of that version.
//!
//! Each version is first dropped in compiled never before, then once more, compiled before. What answers is the OpenAPI document of its
//! group, which says the version's name; it is asked for again and again over one connection.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http::Method;
use outrigger_e2e::outrigger::{Options, version};
use outrigger_e2e::pki::Pair;
use outrigger_e2e::{ControlPlane, Outrigger};
use tokio::runtime::Runtime;

use crate::client::{Connection, Target};

const OPENAPI: &str = "/openapi/v3/apis/versions.example.com/v1";
const VERSIONS: usize = 20;

/// Prints both figures.
pub(crate) fn swaps(runtime: &Runtime, control_plane: &ControlPlane, kubeconfig: &Path, proxy: &Pair) -> Result<()> {
    let first = version("first-well")?;
    let options = Options {
        name: "swapping".to_owned(),
        address: Ipv4Addr::new(127, 96, 0, 11),
        resolution: 1,
        plugins: vec![first.clone()],
        arguments: Vec::new(),
    };
    let server = Outrigger::start(control_plane, kubeconfig, &options)?;
    server.ready()?;
    let who = [("x-remote-user", "bench"), ("x-remote-group", "system:authenticated")];
    let host = "metrics-server.kube-system.svc";
    let target = Target::new(server.address(), host, server.ca(), Some(proxy), &who)?;
    let connection = runtime.block_on(target.connect())?;
    let file = server.plugins().join(first.file_name().context("a name")?);
    for (how, goal) in [("cold", "≤ 1 s"), ("compiled before", "≤ 100 ms")] {
        let mut times = Vec::new();
        for n in 0..VERSIONS {
            // Their own for each run: compiled code outlives the server.
            let name = format!("v{n}p{}", std::process::id());
            let new = file.with_extension("new");
            std::fs::copy(version(&format!("{name}-well"))?, &new)?;
            let begin = Instant::now();
            std::fs::rename(&new, &file)?;
            runtime.block_on(answers(&connection, &format!("Written by version {name}.")))?;
            times.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let at = |index: usize| times.get(index).copied().unwrap_or_default();
        println!(
            "| a new version's file → its first answer, {how}, median / slowest of {VERSIONS} | {:.0} / {:.0} ms | | | {goal} |",
            at(VERSIONS / 2),
            at(VERSIONS - 1)
        );
    }
    Ok(())
}

/// Waits for an answer with these words.
async fn answers(connection: &Connection, words: &str) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(60) {
        let request = connection.request(Method::GET, OPENAPI, &[])?;
        let (_, mut stream) = connection.open(request, None).await?;
        let mut body = Vec::new();
        while let Some(chunk) = stream.data().await {
            let chunk = chunk?;
            stream.flow_control().release_capacity(chunk.len())?;
            body.extend_from_slice(&chunk);
        }
        if String::from_utf8_lossy(&body).contains(words) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bail!("nobody says {words:?} within a minute")
}
