//! What one plugin may cost.
//!
//! Every number here is enforced somewhere in this crate and has a test that tries to pass it. A plugin that hits one loses the
//! call that it was in, never the host, and its state stays as it was. The defaults fit a plugin that turns the summaries of a
//! few hundred pods into rows; each field says what it costs to raise it.

use std::time::Duration;

use crate::engine::EngineOptions;

/// Limits of one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory of one call, all memories of the component together. Default 64 MiB. Raise it for guests with a
    /// runtime of their own (JavaScript, Python: 128 MiB and more); the host may then need as much for each call in flight.
    /// At most the engine's `memory_bytes`.
    pub memory_bytes: usize,
    /// Elements of all tables of one call together. Default 20,000. A table holds one entry for each function whose address is
    /// taken; only very large runtimes need more.
    pub table_elements: usize,
    /// Core instances in one component. Default 64. A Rust guest has about four; composed components have more.
    pub instances: usize,
    /// Linear memories in one component. Default 4.
    pub memories: usize,
    /// Tables in one component. Default 16.
    pub tables: usize,
    /// Handles (streams, pollables …) that a guest may hold at once. Default 1,024.
    pub handles: usize,
    /// Longest time of one call, waiting for a free slot included. Default 10 s. A caller may ask for less, never for more.
    pub call_deadline: Duration,
    /// Longest time of one collector's tick. Default 10 s, as that of any call.
    pub tick_deadline: Duration,
    /// CPU time of one call. Default 5 s. For a stream it is a rate: as much again for each `call_deadline` that it lives. Raise it for
    /// plugins that compute for long; others get their share all the same.
    pub cpu_time: Duration,
    /// Longest time of a `connect`. Default 4 h, as kubelet's `--streaming-connection-idle-timeout`.
    pub connect_deadline: Duration,
    /// Longest time of `describe`. Default 2 s. Raise it for guests that start slowly.
    pub describe_deadline: Duration,
    /// Bytes that may cross from guest to host at once: the arguments of one host call, or the result of the call itself. It
    /// bounds what a guest can make the host allocate. Default 16 MiB.
    pub hostcall_bytes: usize,
    /// Bytes that host functions may answer within one call, all together. Default 32 MiB: one summary of a node with hundreds of
    /// pods is about 1 MiB.
    pub answer_bytes: usize,
    /// Bytes of a manifest. Default 1 MiB.
    pub manifest_bytes: usize,
    /// Bytes of one target's state. Default 4 MiB. The host keeps it for each target.
    pub state_bytes: usize,
    /// Rows of one call. Default 20,000.
    pub rows_per_call: usize,
    /// Bytes of all rows of one call. Default 8 MiB. The host keeps them until the next tick replaces them.
    pub result_bytes: usize,
    /// Bytes of one log line; what is longer is cut. Default 8 KiB.
    pub log_line_bytes: usize,
    /// Lines that one call may log. Default 200; what is over is counted and dropped.
    pub log_lines_per_call: usize,
    /// Bytes that one call may log. Default 64 KiB; what is over is counted and dropped.
    pub log_bytes_per_call: usize,
    /// Lines per second that all calls of the plugin may log together, with a burst of as many. Default 200.
    pub log_lines_per_second: u32,
    /// Bytes of the component's file. Default 64 MiB. Compiling costs time and memory in proportion.
    pub component_bytes: usize,
    /// Longest time to wait for a compilation. Default 60 s.
    pub compile_deadline: Duration,
    /// Calls at once. Default 64: most of a tick is waiting for a kubelet, and a few dead nodes must not hold up the others. Each costs
    /// a slot of the engine and up to `memory_bytes`.
    pub calls_in_flight: usize,
    /// Calls that may wait for a slot; what is over is told [`CallError::Busy`](crate::CallError::Busy) at once. Default 1,024.
    pub calls_waiting: usize,
    /// Requests to the outside at once, of all calls together. Default 16. Each costs a connection and what it answers.
    pub egress_in_flight: usize,
}

// === impl Limits ===

impl Limits {
    /// The most that an operator may allow: what the host with its default engine has.
    #[must_use]
    pub fn most() -> Self {
        let engine = EngineOptions::default();
        Self {
            memory_bytes: engine.memory_bytes,
            call_deadline: Duration::from_secs(600),
            tick_deadline: Duration::from_secs(600),
            connect_deadline: Duration::from_secs(24 * 3600),
            describe_deadline: Duration::from_secs(60),
            cpu_time: Duration::from_secs(600),
            hostcall_bytes: 256 << 20,
            answer_bytes: 256 << 20,
            manifest_bytes: 4 << 20,
            state_bytes: 64 << 20,
            rows_per_call: 1_000_000,
            result_bytes: 256 << 20,
            log_lines_per_second: 10_000,
            component_bytes: 512 << 20,
            compile_deadline: Duration::from_secs(600),
            calls_in_flight: engine.slots as usize,
            calls_waiting: 100_000,
            egress_in_flight: 1024,
            ..Self::default()
        }
    }

    /// Each limit by its name in metrics, in base units (bytes, seconds, numbers).
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "metrics are floating point numbers")]
    pub fn figures(&self) -> [(&'static str, f64); 24] {
        [
            ("memory_bytes", self.memory_bytes as f64),
            ("table_elements", self.table_elements as f64),
            ("handles", self.handles as f64),
            ("call_deadline_seconds", self.call_deadline.as_secs_f64()),
            ("tick_deadline_seconds", self.tick_deadline.as_secs_f64()),
            ("connect_deadline_seconds", self.connect_deadline.as_secs_f64()),
            ("describe_deadline_seconds", self.describe_deadline.as_secs_f64()),
            ("cpu_seconds", self.cpu_time.as_secs_f64()),
            ("hostcall_bytes", self.hostcall_bytes as f64),
            ("answer_bytes", self.answer_bytes as f64),
            ("manifest_bytes", self.manifest_bytes as f64),
            ("response_bytes", self.result_bytes as f64),
            ("rows", self.rows_per_call as f64),
            ("state_bytes", self.state_bytes as f64),
            ("log_line_bytes", self.log_line_bytes as f64),
            ("log_lines_per_call", self.log_lines_per_call as f64),
            ("log_bytes_per_call", self.log_bytes_per_call as f64),
            ("log_lines_per_second", self.log_lines_per_second.into()),
            ("component_bytes", self.component_bytes as f64),
            ("compile_deadline_seconds", self.compile_deadline.as_secs_f64()),
            ("calls_in_flight", self.calls_in_flight as f64),
            ("calls_waiting", self.calls_waiting as f64),
            ("egress_in_flight", self.egress_in_flight as f64),
            ("instances", self.instances as f64),
        ]
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            table_elements: 20_000,
            instances: 64,
            memories: 4,
            tables: 16,
            handles: 1024,
            call_deadline: Duration::from_secs(10),
            tick_deadline: Duration::from_secs(10),
            cpu_time: Duration::from_secs(5),
            connect_deadline: Duration::from_secs(4 * 3600),
            describe_deadline: Duration::from_secs(2),
            hostcall_bytes: 16 << 20,
            answer_bytes: 32 << 20,
            manifest_bytes: 1 << 20,
            state_bytes: 4 << 20,
            rows_per_call: 20_000,
            result_bytes: 8 << 20,
            log_line_bytes: 8 << 10,
            log_lines_per_call: 200,
            log_bytes_per_call: 64 << 10,
            log_lines_per_second: 200,
            component_bytes: 64 << 20,
            compile_deadline: Duration::from_secs(60),
            calls_in_flight: 64,
            calls_waiting: 1024,
            egress_in_flight: 16,
        }
    }
}
