//! A thousand watches: what they hold when nothing happens, how soon the last of them sees a create, and what it takes to open them over
//! ten thousand objects.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use h2::RecvStream;
use http::{Method, StatusCode};
use serde_json::Value;

use super::servers::Server;
use super::writes::{PATH, flunder};
use crate::client::{Connection, Times};
use crate::{ratio, resident};

const WATCHES: usize = 1000;
const CONNECTIONS: usize = 10;
const ROUNDS: usize = 60;
/// In the bookmark behind the initial events.
const END: &[u8] = b"k8s.io/initial-events-end";
/// The peer took 136 s when it was measured alone; who takes longer than this is said to.
const STORM: Duration = Duration::from_secs(400);

async fn version(connection: &Connection) -> Result<String> {
    let request = connection.request(Method::GET, &format!("{PATH}?limit=1"), &[])?;
    let (_, body) = connection.read(request, None).await?;
    let list: Value = serde_json::from_slice(&body)?;
    let version = list.pointer("/metadata/resourceVersion").and_then(Value::as_str);
    Ok(version.context("a list has a version")?.to_owned())
}

async fn open(server: &Server<'_>, path: &str, count: usize) -> Result<Vec<RecvStream>> {
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = server.target.connect().await?;
        for _ in 0..count / CONNECTIONS {
            let (status, stream) = connection.open(connection.request(Method::GET, path, &[])?, None).await?;
            ensure!(status == StatusCode::OK, "watch: {status}");
            streams.push(stream);
        }
    }
    Ok(streams)
}

/// Memory of watches on which nothing happens.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub(crate) fn idle(both: &[Server<'_>; 2]) -> Result<()> {
    let mut each = Vec::new();
    for server in both {
        each.push(server.block(2, async {
            let connection = server.target.connect().await?;
            let path = format!(
                "{PATH}?watch=1&allowWatchBookmarks=true&timeoutSeconds=600&resourceVersion={}",
                version(&connection).await?
            );
            // What the first ones take is no part of each.
            let _first = open(server, &path, CONNECTIONS).await?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            let before = resident(server.pid())?;
            let _held = open(server, &path, WATCHES).await?;
            tokio::time::sleep(Duration::from_secs(3)).await;
            Ok((resident(server.pid())? as f64 - before as f64) / WATCHES as f64)
        })?);
    }
    if let [mine, theirs] = &*each {
        println!(
            "| 1,000 idle watches over 10 connections, memory each | {mine:.1} KiB | {theirs:.1} KiB | {} | ≤ 10 KB |",
            ratio(*mine, *theirs)
        );
    }
    Ok(())
}

/// From the sending of a create to its event at the last of the watchers.
pub(crate) fn fan_out(both: &[Server<'_>; 2]) -> Result<()> {
    let mut all = Vec::new();
    for server in both {
        all.push(server.block(2, async {
            let writer = server.target.connect().await?;
            let path = format!(
                "{PATH}?watch=1&timeoutSeconds=600&resourceVersion={}",
                version(&writer).await?
            );
            let (seen, mut arrivals) = tokio::sync::mpsc::channel(WATCHES * 2);
            for mut stream in open(server, &path, WATCHES).await? {
                let seen = seen.clone();
                tokio::spawn(async move {
                    while let Some(Ok(chunk)) = stream.data().await {
                        let lines = chunk.iter().filter(|b| **b == b'\n').count();
                        if stream.flow_control().release_capacity(chunk.len()).is_err() {
                            return;
                        }
                        for _ in 0..lines {
                            if seen.send(Instant::now()).await.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
            let mut times = Vec::new();
            let begin = Instant::now();
            for round in 0..ROUNDS {
                let body = Bytes::from(flunder(&format!("seen-{round}")).to_string());
                let request = writer.request(Method::POST, PATH, &[("content-type", "application/json")])?;
                let sent = Instant::now();
                let got = writer.fetch(request, Some(body)).await?;
                ensure!(got.status == 201, "create: {}", got.status);
                let mut last = sent;
                for _ in 0..WATCHES {
                    let wait = tokio::time::timeout(Duration::from_secs(30), arrivals.recv()).await;
                    last = last.max(wait.context("an event did not come")?.context("a watcher has ended")?);
                }
                if round > 5 {
                    times.push(last - sent);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(Times::new(times, begin.elapsed()))
        })?);
    }
    if let [mine, theirs] = &*all {
        let text = |t: &Times| format!("p50 {:.1}, p99 {:.1} ms", t.percentile(50) / 1e3, t.percentile(99) / 1e3);
        println!(
            "| a create seen by the last of 1,000 watchers | {} | {} | {} | ≤ 1/3 |",
            text(mine),
            text(theirs),
            ratio(mine.percentile(50), theirs.percentile(50))
        );
    }
    Ok(())
}

/// A thousand watches with initial events over ten thousand objects, all at once.
#[expect(clippy::cast_precision_loss, reason = "memory is small")]
pub(crate) fn storm(both: &[Server<'_>; 2]) -> Result<()> {
    let path = format!(
        "{PATH}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=600"
    );
    let mut all = Vec::new();
    for server in both {
        all.push(server.block(2, async {
            // The kernel's peak from here on.
            std::fs::write(format!("/proc/{}/clear_refs", server.pid()), "5")?;
            let begin = Instant::now();
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..CONNECTIONS {
                let connection = server.target.connect().await?;
                for _ in 0..WATCHES / CONNECTIONS {
                    let (connection, path) = (connection.clone(), path.clone());
                    tasks.spawn(async move {
                        let (status, mut stream) = connection.open(connection.request(Method::GET, &path, &[])?, None).await?;
                        ensure!(status == StatusCode::OK, "watch: {status}");
                        let mut tail: Vec<u8> = Vec::new();
                        while let Some(chunk) = stream.data().await {
                            let chunk = chunk?;
                            stream.flow_control().release_capacity(chunk.len())?;
                            tail.extend_from_slice(chunk.get(chunk.len().saturating_sub(512)..).unwrap_or_default());
                            if tail.windows(END.len()).any(|window| window == END) {
                                return Ok(stream);
                            }
                            let keep = tail.len().saturating_sub(512);
                            tail.drain(..keep);
                        }
                        bail!("a watch ended before its bookmark")
                    });
                }
            }
            let mut held = Vec::new();
            let all = async {
                while let Some(task) = tasks.join_next().await {
                    held.push(task??);
                }
                Ok::<_, anyhow::Error>(())
            };
            // Who is not done by then is cut off: the ratio is a bound.
            let done = tokio::time::timeout(STORM, all).await.ok().transpose()?.is_some();
            let took = begin.elapsed().as_secs_f64();
            Ok((took, done, peak(server.pid())? as f64 / 1024.0))
        })?);
    }
    if let [(mine, all_done, memory), (theirs, done, their_memory)] = &*all {
        ensure!(all_done, "not all of our watches are synced");
        let more = if *done { "" } else { "more than " };
        println!(
            "| 1,000 watches with initial events over 10,000 objects, until all are synced | {mine:.1} s | {more}{theirs:.1} s | {} | ≤ 1/10 |",
            ratio(*mine, *theirs)
        );
        println!(
            "| the same, peak memory | {memory:.0} MiB | {their_memory:.0} MiB | {} | ≤ 1/10, ≤ 300 MB |",
            ratio(*memory, *their_memory)
        );
    }
    Ok(())
}

/// Kilobytes that a process has held at most.
fn peak(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
}
