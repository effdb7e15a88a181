//! What a process uses, and how long its answers take.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};

use crate::Side;
use crate::client::{Target, Times};

/// Of each measurement; a quarter more warms up.
const LONG: Duration = Duration::from_secs(3);
/// For one answer at most.
const PATIENCE: Duration = Duration::from_secs(180);

/// Megabytes that a process holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// Resident.
    pub(crate) rss: f64,
    /// Resident, shared pages by share.
    pub(crate) pss: f64,
}

/// What requests took.
pub(crate) struct Answers {
    pub(crate) times: Times,
    /// Bytes of one answer, as they came.
    pub(crate) bytes: usize,
    /// Milliseconds of CPU that the server had for each.
    pub(crate) cpu: f64,
}

/// A process that stands still. Dropped, it goes on.
#[derive(Debug)]
pub(crate) struct Paused(u32);

pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(Memory {
        rss: field(&rollup, "Rss:")?,
        pss: field(&rollup, "Pss:")?,
    })
}

/// The most that it has held since [`forget_peak`], in megabytes.
pub(crate) fn peak(pid: u32) -> Result<f64> {
    field(&std::fs::read_to_string(format!("/proc/{pid}/status"))?, "VmHWM:")
}

/// The peak is what it holds now (proc(5), `clear_refs`).
pub(crate) fn forget_peak(pid: u32) -> Result<()> {
    Ok(std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

fn field(text: &str, name: &str) -> Result<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .with_context(|| format!("no {name}"))?;
    let kib: f64 = line.split_whitespace().next().context("no number")?.parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// Seconds of all cores since boot: at work, and in all.
pub(crate) fn machine() -> Result<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("an empty /proc/stat")?;
    let ticks: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .take(8)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let all: f64 = ticks.iter().sum();
    // Idle, and waiting for a disk.
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    Ok(((all - idle) / 100.0, all / 100.0))
}

/// GETs over as many connections as are in flight, at least three over each.
pub(crate) fn gets(side: &Side, path: &str, headers: &[(&'static str, &str)], in_flight: usize) -> Result<Answers> {
    let runtime = side.runtime(in_flight)?;
    runtime
        .block_on(async {
            volley(&side.target, path, headers, in_flight, 1, LONG / 4).await?;
            let before = crate::cpu(side.pid)?;
            let (times, bytes) = volley(&side.target, path, headers, in_flight, 3, LONG).await?;
            let cpu = (crate::cpu(side.pid)? - before) * 1e3 / (times.rate() * times.took.as_secs_f64());
            Ok::<_, anyhow::Error>(Answers { times, bytes, cpu })
        })
        .with_context(|| format!("{}: {path}", side.name))
}

async fn volley(
    target: &Target,
    path: &str,
    headers: &[(&'static str, &str)],
    in_flight: usize,
    least: usize,
    long: Duration,
) -> Result<(Times, usize)> {
    let mut connections = Vec::new();
    for _ in 0..in_flight {
        connections.push(target.connect().await?);
    }
    let begin = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for connection in connections {
        let request = connection.request(Method::GET, path, headers)?;
        tasks.spawn(async move {
            let (mut times, mut bytes) = (Vec::new(), 0);
            while begin.elapsed() < long || times.len() < least {
                let sent = Instant::now();
                let got = tokio::time::timeout(PATIENCE, connection.fetch(request.clone(), None))
                    .await
                    .context("no answer")??;
                times.push(sent.elapsed());
                ensure!(got.status == StatusCode::OK, "{}", got.status);
                bytes = got.bytes;
            }
            Ok::<_, anyhow::Error>((times, bytes))
        });
    }
    let (mut times, mut bytes) = (Vec::new(), 0);
    while let Some(some) = tasks.join_next().await {
        let (some, size) = some??;
        times.extend(some);
        bytes = size;
    }
    Ok((Times::new(times, begin.elapsed()), bytes))
}

// === impl Paused ===

impl Paused {
    pub(crate) fn new(pid: u32) -> Result<Self> {
        signal(pid, Signal::STOP)?;
        Ok(Self(pid))
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        let _ = signal(self.0, Signal::CONT);
    }
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("no process has number 0")?;
    Ok(kill_process(pid, signal)?)
}
