//! What serving costs, beside a Go server on k8s.io/apiserver with the same objects, in one run on one machine.
//!
//! # What is fair
//! * Both hold the same 10,000 PodMetrics; the peer's objects are the rows that Outrigger served. The peer has its watch cache.
//! * Both ask the same kube-apiserver for permission and remember it for ten seconds; every request comes from the aggregator
//!   for one ordinary user who may read metrics. Neither keeps an audit log, neither has priority and fairness on.
//! * One client, one machine, loopback TLS, HTTP/2; the servers are measured in turn, never at once, and the one that is not
//!   measured is idle. The peer's GET is measured twice: as a client sends it (a quorum read of etcd, which runs without fsync
//!   here), and with `resourceVersion=0`, its best case (from the watch cache). Ratios of GET are to the best case.
//! * Rates are limited by the client too, which has the same two cores: its share of the time is printed, and what it reaches
//!   against a server that only writes a canned answer.
//!
//! `scripts/bench` runs this with release builds. Absolute figures are of the machine; trust the ratios.

#![allow(clippy::print_stdout, reason = "it prints figures")]

mod canned;
mod client;
mod fresh;
mod metrics;
mod stored;
mod swaps;
mod world;

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use http::{Method, StatusCode};
use outrigger_e2e::outrigger::account;
use outrigger_e2e::pki::Pair;
use outrigger_e2e::{ControlPlane, Outrigger, Peer, scratch};

use crate::client::{Target, Times, all_at_once, one_by_one};

const BASE: &str = "/apis/metrics.k8s.io/v1beta1";
const POD: &str = "/apis/metrics.k8s.io/v1beta1/namespaces/team-0/pods/pod-042-010";
/// Of each measurement; as much again warms up half.
const LONG: Duration = Duration::from_secs(5);
const IN_FLIGHT: usize = 64;
const CONNECTIONS: usize = 8;
const WATCHES: usize = 1000;
const PROTOBUF: (&str, &str) = ("accept", "application/vnd.kubernetes.protobuf");
const TABLE: (&str, &str) = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
const GZIP: (&str, &str) = ("accept-encoding", "gzip");

/// A server under measurement.
struct Side {
    name: &'static str,
    target: Target,
    pid: u32,
}

/// What a burst of requests took.
struct Burst {
    times: Times,
    server: f64,
    client: f64,
}

fn main() -> Result<()> {
    let runtime = runtime()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("canned") => {
            let [_, certificate, key] = &*arguments else {
                bail!("canned CERTIFICATE KEY")
            };
            runtime.block_on(canned::serve(&PathBuf::from(certificate), &PathBuf::from(key), 560))
        }
        Some("stored") => stored::run(arguments.get(1..).unwrap_or_default()),
        Some("metrics") => metrics::run(arguments.get(1..).unwrap_or_default()),
        Some("kubelets") => runtime.block_on(metrics::kubelets::serve(arguments.get(1..).unwrap_or_default())),
        None => run(&runtime),
        Some(other) => bail!("{other} is not a benchmark"),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}

fn run(runtime: &tokio::runtime::Runtime) -> Result<()> {
    let control_plane = ControlPlane::start()?;
    let kubeconfig = account(&control_plane)?;
    control_plane.kubectl()?.apply(
        "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: bench}, rules: [{apiGroups: [metrics.k8s.io, versions.example.com], resources: ['*'], verbs: [get, list, watch]}]}",
    )?;
    control_plane
        .kubectl()?
        .run("create clusterrolebinding bench --clusterrole=bench --user=bench")?;

    println!("| what | Outrigger | k8s.io/apiserver | ratio | goal |\n|---|---|---|---|---|");
    let proxy = control_plane.front_proxy().user("front-proxy-client", None)?;
    starts(&control_plane, &kubeconfig)?;
    watches(&control_plane, &kubeconfig, &proxy)?;
    swaps::swaps(runtime, &control_plane, &kubeconfig, &proxy)?;
    fresh::fresh(&control_plane, &kubeconfig, &proxy)?;

    let kubelets = runtime.block_on(world::populate(&control_plane))?;
    let outrigger = Outrigger::start(&control_plane, &kubeconfig, &world::options("outrigger", [127, 96, 0, 10]))?;
    let theirs = Peer::start(&control_plane, &kubeconfig, "peer", &[])?;
    runtime.block_on(world::share(&control_plane, &outrigger, &theirs, &kubelets))?;
    let filled = Instant::now();

    let sides = sides(&outrigger, &theirs, &proxy)?;
    limit(&control_plane)?;
    gets(&sides)?;
    rates(&sides)?;
    lists(&sides)?;
    ensure!(
        filled.elapsed() < Duration::from_secs(u64::from(world::RESOLUTION) * 4),
        "rows grew too old while all this was measured: the last figures are of an empty table"
    );
    Ok(())
}

/// Start to ready, on a cluster without pods; the plugin is compiled already.
fn starts(control_plane: &ControlPlane, kubeconfig: &Path) -> Result<()> {
    let mut ours = Vec::new();
    for turn in 0..6 {
        let begin = Instant::now();
        let server = Outrigger::launch(control_plane, kubeconfig, &world::options("starts", [127, 96, 0, 9]))?;
        // Ready to serve its API. metric-storage-ready waits for two scrapes, which is not a matter of starting.
        answers(|| Ok(server.client(None)?.get("/readyz?exclude=metric-storage-ready")?.status))?;
        if turn > 0 {
            ours.push(begin.elapsed().as_secs_f64() * 1e3);
        }
    }
    let mut theirs = Vec::new();
    let program = outrigger_e2e::peer::program("peer")?;
    ensure!(program.is_file(), "no peer");
    for turn in 0..6 {
        // Building checks the sources' hash: not a part of its start.
        let begin = Instant::now();
        outrigger_e2e::peer::program("peer")?;
        let building = begin.elapsed();
        let begin = Instant::now();
        let server = Peer::launch(control_plane, kubeconfig, "empty", &[])?;
        answers(|| Ok(server.client(Some(control_plane.admin()))?.get("/readyz")?.status))?;
        if turn > 0 {
            theirs.push((begin.elapsed().saturating_sub(building)).as_secs_f64() * 1e3);
        }
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "| start → ready, plugin compiled before (median of 5) | {ours:.0} ms | {theirs:.0} ms | {} | ≤ 100 ms |",
        ratio(ours, theirs)
    );
    Ok(())
}

/// Waits for a 200, without pauses that would be measured.
fn answers(mut ask: impl FnMut() -> Result<StatusCode>) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(60) {
        if matches!(ask(), Ok(StatusCode::OK)) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("not ready within a minute: {:?}", ask().err())
}

/// What this client and this machine can do at all.
fn limit(control_plane: &ControlPlane) -> Result<()> {
    let Pair { certificate, key } = control_plane.ca().server("canned", &["localhost"])?;
    let mut server = std::process::Command::new(std::env::current_exe()?)
        .arg("canned")
        .arg(&certificate)
        .arg(&key)
        .stdout(Stdio::piped())
        .spawn()?;
    scratch::watch(server.id());
    let mut port = String::new();
    BufReader::new(server.stdout.take().context("a pipe was asked for")?).read_line(&mut port)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.trim().parse::<u16>()?));
    let target = Target::new(address, "localhost", &control_plane.ca().certificate(), None, &[])?;
    let side = Side {
        name: "canned",
        target,
        pid: server.id(),
    };
    let measured = (|| {
        let one = side.one("/", &[])?;
        let bursts = [side.burst("/", 1)?, side.burst("/", CONNECTIONS)?];
        Ok::<_, anyhow::Error>((one, bursts))
    })();
    server.kill()?;
    server.wait()?;
    scratch::forget(side.pid);
    let (one, [single, many]) = measured?;
    println!(
        "| the limit: 560 canned bytes, p50 / p99 | {:.3} / {:.3} ms | | | |",
        one.0.percentile(50) / 1e3,
        one.0.percentile(99) / 1e3
    );
    for (how, burst) in [("one connection", single), ("eight connections", many)] {
        println!("| the limit: canned, 64 in flight, {how} | {} | | | |", burst.text());
    }
    Ok(())
}

fn gets(sides: &[Side; 2]) -> Result<()> {
    let [ours, theirs] = sides;
    let cached = format!("{POD}?resourceVersion=0");
    let (mine, _) = ours.one(POD, &[])?;
    let (quorum, _) = theirs.one(POD, &[])?;
    let (best, _) = theirs.one(&cached, &[])?;
    for (part, goal) in [(50, "≤ 1/2"), (99, "")] {
        let (mine, quorum, best) = (
            mine.percentile(part) / 1e3,
            quorum.percentile(part) / 1e3,
            best.percentile(part) / 1e3,
        );
        println!(
            "| GET, 1 in flight, p{part} | {mine:.3} ms | {best:.3} ms from its cache ({quorum:.3} ms by quorum) | {} | {goal} |",
            ratio(mine, best)
        );
    }
    Ok(())
}

fn rates(sides: &[Side; 2]) -> Result<()> {
    let [ours, theirs] = sides;
    let cached = format!("{POD}?resourceVersion=0");
    for (how, connections) in [("one connection", 1), ("eight connections", CONNECTIONS)] {
        let mine = ours.burst(POD, connections)?;
        let quorum = theirs.burst(POD, connections)?;
        let best = theirs.burst(&cached, connections)?;
        println!(
            "| GET, 64 in flight, {how} | {} | {} from its cache ({:.0}/s by quorum) | {:.1} × | ≥ 6 × |",
            mine.text(),
            best.text(),
            quorum.times.rate(),
            mine.times.rate() / best.times.rate()
        );
    }
    Ok(())
}

fn lists(sides: &[Side; 2]) -> Result<()> {
    let [ours, theirs] = sides;
    let path = format!("{BASE}/pods");
    // Its cache serves a list without a version too, after asking etcd how far it is; zero does not ask.
    let cached = format!("{BASE}/pods?resourceVersion=0");
    for (how, headers) in [
        ("JSON", &[][..]),
        ("JSON, gzip", &[GZIP]),
        ("protobuf", &[PROTOBUF]),
        ("protobuf, gzip", &[PROTOBUF, GZIP]),
        ("a Table", &[TABLE]),
    ] {
        let (mine, size) = ours.one(&path, headers)?;
        let (best, peers) = theirs.one(&cached, headers)?;
        let (mine, best) = (mine.percentile(50) / 1e3, best.percentile(50) / 1e3);
        println!(
            "| LIST of 10,000, {how}, p50 (MB) | {mine:.1} ms ({:.2}) | {best:.1} ms ({:.2}) | {} | ≤ 1/8 |",
            megabytes(size),
            megabytes(peers),
            ratio(mine, best)
        );
    }
    Ok(())
}

/// Both, as the aggregator reaches them for one ordinary user.
fn sides(outrigger: &Outrigger, theirs: &Peer, proxy: &Pair) -> Result<[Side; 2]> {
    let who = [("x-remote-user", "bench"), ("x-remote-group", "system:authenticated")];
    let host = "metrics-server.kube-system.svc";
    Ok([
        Side {
            name: "Outrigger",
            target: Target::new(outrigger.address(), host, outrigger.ca(), Some(proxy), &who)?,
            pid: outrigger.program().pid(),
        },
        Side {
            name: "k8s.io/apiserver",
            target: Target::new(theirs.address(), "localhost", theirs.ca(), Some(proxy), &who)?,
            pid: theirs.program().pid(),
        },
    ])
}

/// Idle watches on servers that have done nothing else: after large lists, free memory that is still held would hide them.
fn watches(control_plane: &ControlPlane, kubeconfig: &Path, proxy: &Pair) -> Result<()> {
    let outrigger = Outrigger::start(control_plane, kubeconfig, &world::options("watched", [127, 96, 0, 9]))?;
    let theirs = Peer::start(control_plane, kubeconfig, "watched-peer", &[])?;
    let mut each = Vec::new();
    for side in sides(&outrigger, &theirs, proxy)? {
        each.push(side.runtime(1)?.block_on(side.watchers())?);
    }
    let [Some(mine), Some(theirs)] = &*each else {
        println!(
            "| 1,000 idle watches | {} | {} | | ≤ 10 KB each |",
            word(each.first()),
            word(each.get(1))
        );
        return Ok(());
    };
    println!(
        "| 1,000 idle watches over 10 connections, memory each | {mine:.1} KB | {theirs:.1} KB | {} | ≤ 10 KB |",
        ratio(*mine, *theirs)
    );
    Ok(())
}

fn word(each: Option<&Option<f64>>) -> String {
    each.and_then(|each| *each)
        .map_or_else(|| "not served".to_owned(), |kb| format!("{kb:.1} KB"))
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// As one divided by something, as goals are.
fn ratio(ours: f64, theirs: f64) -> String {
    if ours <= 0.0 || theirs <= 0.0 {
        "?".to_owned()
    } else if ours < theirs {
        format!("1/{:.1}", theirs / ours)
    } else {
        format!("{:.1}", ours / theirs)
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes are small")]
fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

// === impl Side ===

impl Side {
    /// One thread for one connection: what is measured is the server, not the scheduler.
    fn runtime(&self, connections: usize) -> Result<tokio::runtime::Runtime> {
        let mut builder = match connections {
            1 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        builder.worker_threads(2).enable_all().build().with_context(|| self.name)
    }

    fn one(&self, path: &str, headers: &[(&'static str, &str)]) -> Result<(Times, usize)> {
        let runtime = self.runtime(1)?;
        runtime
            .block_on(async {
                one_by_one(&self.target, path, headers, LONG / 4).await?;
                one_by_one(&self.target, path, headers, LONG).await
            })
            .with_context(|| self.name)
    }

    fn burst(&self, path: &str, connections: usize) -> Result<Burst> {
        let runtime = self.runtime(connections)?;
        runtime
            .block_on(async {
                all_at_once(&self.target, path, connections, IN_FLIGHT, LONG / 4).await?;
                let (server, client) = (cpu(self.pid)?, cpu(std::process::id())?);
                let times = all_at_once(&self.target, path, connections, IN_FLIGHT, LONG).await?;
                let took = times.took.as_secs_f64();
                Ok::<_, anyhow::Error>(Burst {
                    server: (cpu(self.pid)? - server) / took,
                    client: (cpu(std::process::id())? - client) / took,
                    times,
                })
            })
            .with_context(|| self.name)
    }

    /// Kilobytes that each of many idle watches takes; none if there is no watch.
    #[expect(clippy::cast_precision_loss, reason = "counts are small")]
    async fn watchers(&self) -> Result<Option<f64>> {
        // What a first connection and a first watch take is no part of each.
        let connection = self.target.connect().await?;
        let list = connection.request(Method::GET, &format!("{BASE}/pods?limit=1"), &[])?;
        let (_, mut stream) = connection.open(list, None).await?;
        let mut body = Vec::new();
        while let Some(chunk) = stream.data().await {
            let chunk = chunk?;
            stream.flow_control().release_capacity(chunk.len())?;
            body.extend_from_slice(&chunk);
        }
        let list: serde_json::Value = serde_json::from_slice(&body)?;
        let version = list
            .pointer("/metadata/resourceVersion")
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default();
        let path = format!("{BASE}/pods?watch=1&allowWatchBookmarks=true&timeoutSeconds=600&resourceVersion={version}");
        let mut held = Vec::new();
        let first = connection.open(connection.request(Method::GET, &path, &[])?, None).await?;
        if first.0 != StatusCode::OK {
            return Ok(None);
        }
        held.push(first);
        tokio::time::sleep(Duration::from_secs(2)).await;
        let before = resident(self.pid)?;
        for _ in 0..10 {
            let connection = self.target.connect().await?;
            for _ in 0..WATCHES / 10 {
                let watch = connection.open(connection.request(Method::GET, &path, &[])?, None).await?;
                ensure!(watch.0 == StatusCode::OK, "watch: {}", watch.0);
                held.push(watch);
            }
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let after = resident(self.pid)?;
        Ok(Some((after as f64 - before as f64) / WATCHES as f64))
    }
}

// === impl Burst ===

impl Burst {
    fn text(&self) -> String {
        format!(
            "{:.0}/s, p50 {:.2}, p99 {:.2} ms (cores: server {:.2}, client {:.2})",
            self.times.rate(),
            self.times.percentile(50) / 1e3,
            self.times.percentile(99) / 1e3,
            self.server,
            self.client
        )
    }
}

/// Seconds of CPU that a process has used.
fn cpu(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("no name")?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).context("too short")?.parse::<f64>().context("no number");
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

/// Kilobytes of memory that a process holds.
fn resident(pid: u32) -> Result<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find(|line| line.starts_with("Rss:")).context("no Rss")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
}
