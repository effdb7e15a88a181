//! How a call can end without a result: one variant for each fact, one sentence for a person.
//!
//! Facts come from types, never from text: wasmtime's `Trap`, its backtrace, its pool error, the exit code of WASI, and what our own
//! meters saw. Text of the engine is only ever quoted, in full (`{:#}`).

use std::fmt;
use std::time::Duration;

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use crate::capabilities::ContractError;
use crate::log::visible;
use crate::requests::FieldError;

/// Why a call brought nothing. The target's old state and rows are still good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The guest stopped where it may not: a panic, a fault, an exit.
    #[error("plugin {plugin}: {call} stopped: {report}")]
    Trap {
        /// The plugin.
        plugin: String,
        /// The call, such as `collect nodes/node-1`.
        call: String,
        /// What is known of it.
        report: Box<TrapReport>,
    },
    /// It took too long.
    #[error("plugin {plugin}: {call} took longer than {after:?}{}", At(.frames))]
    Deadline {
        /// The plugin.
        plugin: String,
        /// The call.
        call: String,
        /// The deadline.
        after: Duration,
        /// Where it was, innermost first; empty if it was waiting for the host.
        frames: Vec<String>,
    },
    /// It used more CPU time than its limit.
    #[error("plugin {plugin}: {call} used more than {limit:?} of CPU time{}", At(.frames))]
    CpuTime {
        /// The plugin.
        plugin: String,
        /// The call.
        call: String,
        /// The limit.
        limit: Duration,
        /// Where it was, innermost first.
        frames: Vec<String>,
    },
    /// It wanted more memory than its limit, and did not survive the refusal.
    #[error("plugin {plugin}: {call} wanted {wanted} bytes of memory, its limit is {limit}{}", At(.frames))]
    Memory {
        /// The plugin.
        plugin: String,
        /// The call.
        call: String,
        /// Bytes of all its memories after the growth that was refused.
        wanted: usize,
        /// The limit.
        limit: usize,
        /// Where it was, innermost first.
        frames: Vec<String>,
    },
    /// It wanted more table elements than its limit, and did not survive the refusal.
    #[error("plugin {plugin}: {call} wanted {wanted} table elements, its limit is {limit}{}", At(.frames))]
    Table {
        /// The plugin.
        plugin: String,
        /// The call.
        call: String,
        /// Elements of all its tables after the growth that was refused.
        wanted: usize,
        /// The limit.
        limit: usize,
        /// Where it was, innermost first.
        frames: Vec<String>,
    },
    /// All slots are taken, of this plugin or of the engine. Nothing ran; ask again later.
    #[error("plugin {plugin}: too many calls at once ({waiting} are waiting)")]
    Busy {
        /// The plugin.
        plugin: String,
        /// How many calls of this plugin wait.
        waiting: usize,
    },
    /// The call was not made: it has failed too often in a row. Nothing ran; it is tried again by itself.
    #[error("plugin {plugin}: {call} is set aside after {failures} failures in a row")]
    SetAside {
        /// The plugin.
        plugin: String,
        /// The call, or all calls like it, such as `get ships`.
        call: String,
        /// How often it failed in a row.
        failures: u32,
        /// When asking again may help.
        retry_after: Duration,
    },
    /// The guest answered with an error of the contract.
    #[error("plugin {plugin}: {call}: {error}")]
    Refused {
        /// The plugin.
        plugin: String,
        /// The call.
        call: String,
        /// What it said.
        error: ContractError,
        /// The fields that it blames; they matter if the error is `invalid`.
        fields: Vec<FieldError>,
    },
    /// The guest returned what cannot be used.
    #[error("plugin {plugin}: {call} returned {why}")]
    BadResult {
        /// The plugin.
        plugin: String,
        /// The call.
        call: String,
        /// What is wrong.
        why: BadResult,
    },
    /// The plugin has no such collector.
    #[error("plugin {plugin} has no collector {collector:?}")]
    NoSuchCollector {
        /// The plugin.
        plugin: String,
        /// What was asked for.
        collector: String,
    },
    /// The plugin does not play that role.
    #[error("plugin {plugin} does not play the role {role}")]
    NoSuchRole {
        /// The plugin.
        plugin: String,
        /// The role.
        role: &'static str,
    },
    /// The engine could not make an instance.
    #[error("plugin {plugin}: {call} could not start: {cause}")]
    Start {
        /// The plugin.
        plugin: String,
        /// The call.
        call: String,
        /// The engine's whole chain of causes.
        cause: String,
    },
}

/// What is wrong with a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadResult {
    /// More rows than the limit.
    #[error("{rows} rows, its limit is {limit}")]
    Rows {
        /// How many.
        rows: usize,
        /// The limit.
        limit: usize,
    },
    /// More bytes of rows than the limit.
    #[error("{bytes} bytes of rows, its limit is {limit}")]
    Bytes {
        /// How many.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A larger state than the limit.
    #[error("{bytes} bytes of state, its limit is {limit}")]
    State {
        /// How many.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A larger answer than the limit.
    #[error("{bytes} bytes, its limit is {limit}")]
    TooLarge {
        /// How many.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Another number of objects than went in.
    #[error("{found} objects for {wanted}")]
    Batch {
        /// How many came back.
        found: usize,
        /// How many went in.
        wanted: usize,
    },
    /// The engine could not read it: more bytes than may cross, text that is not UTF-8, a pointer out of bounds.
    #[error("what cannot be read: {0}")]
    Unreadable(String),
}

/// A trap, told so that somebody can act on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrapReport {
    /// What happened.
    pub kind: TrapKind,
    /// What the guest said before it aborted, if its SDK hands panics over.
    pub panic: Option<Panic>,
    /// Functions on the stack, demangled, innermost first.
    pub frames: Vec<String>,
}

/// The last words of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panic {
    /// The message.
    pub message: String,
    /// File, line and column.
    pub location: String,
}

/// What stopped a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrapKind {
    /// An `unreachable` instruction: how guests abort.
    Unreachable,
    /// The stack is used up: most often endless recursion.
    StackOverflow,
    /// Memory was read or written out of bounds.
    MemoryOutOfBounds,
    /// A call through a pointer that is not a function, or not of that type.
    BadCall,
    /// A division by zero, an overflow, a conversion of what is no number.
    Arithmetic,
    /// The guest ended itself through WASI.
    Exit(i32),
    /// The engine refused a host call, such as one with arguments over the limit.
    HostCall(String),
    /// Any other trap, in the engine's words.
    Other(String),
}

/// What a failed call leaves to be judged.
pub(crate) struct Remains<'a> {
    pub(crate) plugin: &'a str,
    pub(crate) call: &'a str,
    pub(crate) after: Duration,
    pub(crate) panic: Option<Panic>,
    /// The limit of CPU time, if it was passed.
    pub(crate) cpu: Option<Duration>,
    /// The refused growth of memory, and the limit.
    pub(crate) memory: Option<(usize, usize)>,
    /// The refused growth of tables, and the limit.
    pub(crate) table: Option<(usize, usize)>,
    pub(crate) waiting: usize,
    /// Whether the guest had begun to run.
    pub(crate) started: bool,
}

struct At<'a>(&'a [String]);

// === impl CallError ===

impl CallError {
    /// Why, in one word: the label of `outrigger_plugin_calls_total`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Trap { .. } => "trap",
            Self::Deadline { .. } => "deadline",
            Self::CpuTime { .. } => "cpu",
            Self::Memory { .. } => "memory",
            Self::Table { .. } => "table",
            Self::Busy { .. } => "busy",
            Self::SetAside { .. } => "aside",
            Self::Refused { .. } => "refused",
            Self::BadResult { .. } => "result",
            Self::NoSuchCollector { .. } | Self::NoSuchRole { .. } | Self::Start { .. } => "start",
        }
    }

    /// Whether the guest failed: it ran, and neither answered nor refused.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Trap { .. }
            | Self::Deadline { .. }
            | Self::CpuTime { .. }
            | Self::Memory { .. }
            | Self::Table { .. }
            | Self::BadResult { .. }
            | Self::Start { .. } => true,
            Self::Busy { .. }
            | Self::SetAside { .. }
            | Self::Refused { .. }
            | Self::NoSuchCollector { .. }
            | Self::NoSuchRole { .. } => false,
        }
    }

    /// Functions on the guest's stack, innermost first.
    #[must_use]
    pub fn frames(&self) -> &[String] {
        match self {
            Self::Trap { report, .. } => &report.frames,
            Self::Deadline { frames, .. }
            | Self::CpuTime { frames, .. }
            | Self::Memory { frames, .. }
            | Self::Table { frames, .. } => frames,
            _ => &[],
        }
    }

    /// What the guest said before it aborted.
    #[must_use]
    pub fn panic(&self) -> Option<&Panic> {
        match self {
            Self::Trap { report, .. } => report.panic.as_ref(),
            _ => None,
        }
    }
}

// === impl Remains ===

impl Remains<'_> {
    /// What the engine's error means.
    pub(crate) fn judge(self, error: &wasmtime::Error) -> CallError {
        let (plugin, call) = (self.plugin.to_owned(), self.call.to_owned());
        let frames = frames(error);
        let trap = error.downcast_ref::<Trap>().copied();
        if trap == Some(Trap::Interrupt)
            && let Some(limit) = self.cpu
        {
            return CallError::CpuTime {
                plugin,
                call,
                limit,
                frames,
            };
        }
        if trap == Some(Trap::Interrupt) {
            return CallError::Deadline {
                plugin,
                call,
                after: self.after,
                frames,
            };
        }
        if error.is::<PoolConcurrencyLimitError>() {
            return CallError::Busy {
                plugin,
                waiting: self.waiting,
            };
        }
        if let Some((wanted, limit)) = self.memory {
            return CallError::Memory {
                plugin,
                call,
                wanted,
                limit,
                frames,
            };
        }
        if let Some((wanted, limit)) = self.table {
            return CallError::Table {
                plugin,
                call,
                wanted,
                limit,
                frames,
            };
        }
        let kind = if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
            TrapKind::Exit(exit.0)
        } else if frames.is_empty() && self.started {
            // No function on the stack: the guest had returned, and its result could not be lifted.
            return CallError::BadResult {
                plugin,
                call,
                why: BadResult::Unreadable(format!("{error:#}")),
            };
        } else if let Some(trap) = trap {
            TrapKind::of(trap)
        } else if !frames.is_empty() {
            // Raised by a host function, or on the way into one.
            TrapKind::HostCall(format!("{:#}", error.root_cause()))
        } else {
            return CallError::Start {
                plugin,
                call,
                cause: format!("{error:#}"),
            };
        };
        CallError::Trap {
            plugin,
            call,
            report: Box::new(TrapReport {
                kind,
                panic: self.panic,
                frames,
            }),
        }
    }
}

/// Names of the functions on the stack. Rust's are demangled without their hash.
fn frames(error: &wasmtime::Error) -> Vec<String> {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    let name = |f: &wasmtime::FrameInfo| match f.func_name() {
        Some(name) => visible(&format!("{:#}", rustc_demangle::demangle(name)), FRAME),
        None => format!("function {}", f.func_index()),
    };
    trace.frames().iter().map(name).collect()
}

/// The most bytes of one frame's name; generics can be longer than anybody reads.
const FRAME: usize = 256;

// === impl TrapKind ===

impl TrapKind {
    fn of(trap: Trap) -> Self {
        match trap {
            Trap::UnreachableCodeReached => Self::Unreachable,
            Trap::StackOverflow => Self::StackOverflow,
            Trap::MemoryOutOfBounds => Self::MemoryOutOfBounds,
            Trap::TableOutOfBounds | Trap::IndirectCallToNull | Trap::BadSignature => Self::BadCall,
            Trap::IntegerOverflow | Trap::IntegerDivisionByZero | Trap::BadConversionToInteger => Self::Arithmetic,
            other => Self::Other(other.to_string()),
        }
    }
}

impl fmt::Display for TrapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("it aborted"),
            Self::StackOverflow => f.write_str("its stack is used up"),
            Self::MemoryOutOfBounds => f.write_str("it reached outside of its memory"),
            Self::BadCall => f.write_str("it called what is not a function of that type"),
            Self::Arithmetic => f.write_str("it divided by zero or overflowed"),
            Self::Exit(code) => write!(f, "it exited with code {code}"),
            Self::HostCall(why) => write!(f, "a host call failed: {why}"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

impl fmt::Display for TrapReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.panic {
            Some(p) if p.location.is_empty() => write!(f, "it panicked: {}", p.message)?,
            Some(p) => write!(f, "it panicked at {}: {}", p.location, p.message)?,
            None => self.kind.fmt(f)?,
        }
        At(&self.frames).fmt(f)
    }
}

/// Whether a frame is a language's way of stopping, which stands on top of every panic and tells nobody anything.
fn is_machinery(frame: &str) -> bool {
    let frame = frame.trim_start_matches(['<', '_']);
    ["std::", "core::", "alloc::", "rust_", "rustc", "abort"]
        .iter()
        .any(|start| frame.starts_with(start))
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Three are enough for a sentence, from where the plugin's own code begins; the rest is in the value.
        let own = self.0.iter().position(|frame| !is_machinery(frame)).unwrap_or(0);
        for (i, frame) in self.0.iter().skip(own).take(3).enumerate() {
            write!(f, "{}{frame}", if i == 0 { ", in " } else { " < " })?;
        }
        Ok(())
    }
}
