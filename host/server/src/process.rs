//! `process_*`: what the system says of this process, under the names that every Prometheus client library has; and
//! `kubernetes_build_info`. Read from /proc when somebody looks, kept nowhere.

use std::fmt;
use std::sync::OnceLock;

use outrigger_api::discovery::VersionInfo;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

/// All of `process_*`.
#[derive(Debug)]
struct Process;

/// `process_start_time_seconds` alone.
#[derive(Debug)]
pub(crate) struct StartTime;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    major: String,
    minor: String,
    git_version: String,
    git_commit: String,
    git_tree_state: String,
    build_date: String,
    go_version: String,
    compiler: String,
    platform: String,
}

/// Ticks per second of the times in /proc: the kernel's interface has had this value on every architecture that we build for.
const TICKS: f64 = 100.0;

/// Registers `process_*` and `kubernetes_build_info`, whose version is ours.
pub fn register(registry: &mut Registry, version: &VersionInfo) {
    registry.register_collector(Box::new(Process));
    let build = Family::<Build, Gauge>::default();
    // The document that /version shows has the same facts.
    let facts = serde_json::to_value(version).unwrap_or_default();
    let text = |name: &str| {
        facts
            .get(name)
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    build
        .get_or_create(&Build {
            major: text("major"),
            minor: text("minor"),
            git_version: text("gitVersion"),
            git_commit: text("gitCommit"),
            git_tree_state: text("gitTreeState"),
            build_date: text("buildDate"),
            go_version: text("goVersion"),
            compiler: text("compiler"),
            platform: text("platform"),
        })
        .set(1);
    registry.register(
        "kubernetes_build_info",
        "[BETA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which this server was built, and platform on which it is running",
        build,
    );
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name: &str, help: &str, value: Option<f64>| -> fmt::Result {
            let Some(value) = value else { return Ok(()) };
            ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        gauge(
            "process_open_fds",
            "Number of open file descriptors",
            std::fs::read_dir("/proc/self/fd")
                .ok()
                // The directory itself is one while it is read.
                .map(|fds| fds.count().saturating_sub(1))
                .and_then(|n| u32::try_from(n).ok())
                .map(f64::from),
        )?;
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        gauge(
            "process_max_fds",
            "Maximum number of open file descriptors",
            limit(&limits, "Max open files"),
        )?;
        gauge(
            "process_virtual_memory_max_bytes",
            "Maximum amount of virtual memory available in bytes",
            limit(&limits, "Max address space"),
        )?;
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        gauge(
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes",
            memory(&status, "VmSize:"),
        )?;
        gauge(
            "process_resident_memory_bytes",
            "Resident memory size in bytes",
            memory(&status, "VmRSS:"),
        )?;
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let (Some(user), Some(system)) = (ticks(&stat, 14), ticks(&stat, 15)) {
            let help = "Total user and system CPU time spent in seconds";
            let descriptor = encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
            ConstCounter::new(user + system).encode(descriptor)?;
        }
        StartTime.encode(encoder)
    }
}

impl Collector for StartTime {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(started) = started() else { return Ok(()) };
        let help = "Start time of the process since unix epoch in seconds";
        let descriptor = encoder.encode_descriptor("process_start_time_seconds", help, None, MetricType::Gauge)?;
        ConstGauge::new(started).encode(descriptor)
    }
}

/// Seconds since 1970.
fn started() -> Option<f64> {
    static STARTED: OnceLock<Option<f64>> = OnceLock::new();
    *STARTED.get_or_init(|| {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let boot = std::fs::read_to_string("/proc/stat").ok()?;
        let boot: f64 = boot.lines().find_map(|l| l.strip_prefix("btime "))?.trim().parse().ok()?;
        Some(boot + ticks(&stat, 22)?)
    })
}

/// A field of /proc/PID/stat, counted from 1 as proc(5) does, in seconds. The name of the program may contain anything but ends
/// at the last bracket.
fn ticks(stat: &str, field: usize) -> Option<f64> {
    let (_, behind) = stat.rsplit_once(')')?;
    let ticks: f64 = behind.split_whitespace().nth(field.checked_sub(3)?)?.parse().ok()?;
    Some(ticks / TICKS)
}

/// A line of /proc/PID/status, in bytes.
fn memory(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|l| l.strip_prefix(name))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024.0)
}

/// A soft limit; without one, the largest number, as Go's library shows it.
fn limit(limits: &str, name: &str) -> Option<f64> {
    let line = limits.lines().find_map(|l| l.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX as f64),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 4 0 12345 1 2";
        assert_eq!(ticks(stat, 14), Some(2.5));
        assert_eq!(ticks(stat, 15), Some(0.5));
        assert_eq!(ticks(stat, 22), Some(123.45));
        assert_eq!(memory("VmSize:\t    2048 kB\nVmRSS:\t 1 kB\n", "VmRSS:"), Some(1024.0));
        let limits = "Max open files            1024                 4096                 files\nMax address space         unlimited            unlimited            bytes\n";
        assert_eq!(limit(limits, "Max open files"), Some(1024.0));
        assert!(limit(limits, "Max address space") > Some(1.8e19));
    }

    #[test]
    fn this_process_has_all_of_them() {
        let mut registry = Registry::default();
        register(&mut registry, &VersionInfo::of("0.1.0", "", ""));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for name in [
            "process_open_fds",
            "process_max_fds",
            "process_virtual_memory_max_bytes",
            "process_virtual_memory_bytes",
            "process_resident_memory_bytes",
            "process_cpu_seconds_total",
            "process_start_time_seconds",
        ] {
            let value = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
            assert!(
                value.is_some_and(|v| v.parse::<f64>().is_ok_and(|v| v >= 0.0)),
                "{name}\n{text}"
            );
        }
        assert!(
            text.contains("kubernetes_build_info{major=\"0\",minor=\"1\",git_version=\"v0.1.0\""),
            "{text}"
        );
    }
}
