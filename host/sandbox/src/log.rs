//! A plugin's lines: from the `log` capability, from its stdout and stderr, and from the host about it.
//!
//! Whatever a guest writes is hostile text on the way to somebody's terminal: line breaks, escapes and characters that turn
//! reading direction are made visible. Three bounds keep a flood away: lines and bytes per call, and lines per second of the
//! plugin as a whole. What is over is dropped and counted, and the call's last line says how many.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::limits::Limits;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// What wakes somebody.
    Error,
    /// What looks wrong.
    Warn,
    /// What happened.
    Info,
    /// What a developer wants.
    Debug,
}

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The `log` capability.
    Log,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The host, about the plugin.
    Host,
}

/// One line, safe to print.
#[derive(Debug, Clone, Copy)]
pub struct LogLine<'a> {
    /// Whose it is: the plugin's name, or `sha256:…` before its manifest is known.
    pub plugin: &'a str,
    /// The call that it belongs to, such as `nodes/node-1`; empty outside of one.
    pub call: &'a str,
    /// How much it matters.
    pub level: Level,
    /// Where it came from.
    pub source: Source,
    /// The text, without control characters.
    pub message: &'a str,
}

/// Where plugins' lines go. Must not block: it is called while a guest runs.
pub trait LogSink: Send + Sync {
    /// Takes one line.
    fn line(&self, line: LogLine<'_>);
}

/// The default: `tracing`, with the plugin's name as a field.
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingLog;

/// The log of one plugin: what its calls share.
pub(crate) struct PluginLog {
    plugin: Arc<str>,
    sink: Arc<dyn LogSink>,
    limits: Arc<Limits>,
    rate: Mutex<Bucket>,
    pub(crate) written: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

/// The log of one call. Dropping it writes what is left over.
pub(crate) struct CallLog {
    plugin: Arc<PluginLog>,
    call: Arc<str>,
    lines_left: usize,
    bytes_left: usize,
    dropped: u64,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// A token bucket: as many lines at once as per second.
struct Bucket {
    tokens: f64,
    filled: Instant,
}

// === impl TracingLog ===

impl LogSink for TracingLog {
    fn line(&self, line: LogLine<'_>) {
        let LogLine {
            plugin,
            call,
            level,
            source,
            message,
        } = line;
        let source = match source {
            Source::Log => "log",
            Source::Stdout => "stdout",
            Source::Stderr => "stderr",
            Source::Host => "host",
        };
        match level {
            Level::Error => tracing::error!(target: "outrigger::plugin", plugin, call, source, "{message}"),
            Level::Warn => tracing::warn!(target: "outrigger::plugin", plugin, call, source, "{message}"),
            Level::Info => tracing::info!(target: "outrigger::plugin", plugin, call, source, "{message}"),
            Level::Debug => tracing::debug!(target: "outrigger::plugin", plugin, call, source, "{message}"),
        }
    }
}

// === impl PluginLog ===

impl PluginLog {
    pub(crate) fn new(plugin: Arc<str>, sink: Arc<dyn LogSink>, limits: Arc<Limits>) -> Self {
        let rate = Mutex::new(Bucket {
            tokens: f64::from(limits.log_lines_per_second),
            filled: Instant::now(),
        });
        Self {
            plugin,
            sink,
            limits,
            rate,
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// A line of the host's own; it is not counted against the plugin.
    pub(crate) fn host(&self, call: &str, level: Level, message: &str) {
        self.sink.line(LogLine {
            plugin: &self.plugin,
            call,
            level,
            source: Source::Host,
            message,
        });
    }

    fn has_token(&self) -> bool {
        let most = f64::from(self.limits.log_lines_per_second);
        let mut bucket = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        bucket.tokens = (bucket.tokens + now.duration_since(bucket.filled).as_secs_f64() * most).min(most);
        bucket.filled = now;
        let has = bucket.tokens >= 1.0;
        if has {
            bucket.tokens -= 1.0;
        }
        has
    }
}

// === impl CallLog ===

impl CallLog {
    pub(crate) fn new(plugin: Arc<PluginLog>, call: Arc<str>) -> Self {
        let (lines_left, bytes_left) = (plugin.limits.log_lines_per_call, plugin.limits.log_bytes_per_call);
        Self {
            plugin,
            call,
            lines_left,
            bytes_left,
            dropped: 0,
            stdout: Vec::new(),
            stderr: Vec::new(),
        }
    }

    /// Writes one line, or counts it.
    pub(crate) fn write(&mut self, level: Level, source: Source, message: &str) {
        let room = self.plugin.limits.log_line_bytes.min(self.bytes_left);
        if self.lines_left == 0 || room == 0 || !self.plugin.has_token() {
            self.dropped += 1;
            return;
        }
        let message = visible(message, room);
        self.lines_left -= 1;
        self.bytes_left = self.bytes_left.saturating_sub(message.len());
        self.plugin.written.fetch_add(1, Ordering::Relaxed);
        self.plugin.sink.line(LogLine {
            plugin: &self.plugin.plugin,
            call: &self.call,
            level,
            source,
            message: &message,
        });
    }

    /// Takes bytes of a standard stream; whole lines go out, the rest waits for its end.
    pub(crate) fn stream(&mut self, source: Source, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            let (line, rest) = bytes.split_at(end);
            self.keep(source, line);
            self.end_line(source);
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.keep(source, bytes);
    }

    /// Remembers the beginning of a line. What no line can hold is not kept.
    fn keep(&mut self, source: Source, bytes: &[u8]) {
        let most = self.plugin.limits.log_line_bytes.saturating_add(1);
        let partial = self.partial(source);
        let room = most.saturating_sub(partial.len()).min(bytes.len());
        partial.extend_from_slice(bytes.get(..room).unwrap_or_default());
    }

    fn end_line(&mut self, source: Source) {
        let line = std::mem::take(self.partial(source));
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches('\r');
        if !text.is_empty() {
            let level = if source == Source::Stderr { Level::Warn } else { Level::Info };
            self.write(level, source, text);
        }
    }

    fn partial(&mut self, source: Source) -> &mut Vec<u8> {
        if source == Source::Stderr {
            &mut self.stderr
        } else {
            &mut self.stdout
        }
    }
}

impl Drop for CallLog {
    fn drop(&mut self) {
        self.end_line(Source::Stdout);
        self.end_line(Source::Stderr);
        if self.dropped > 0 {
            self.plugin.dropped.fetch_add(self.dropped, Ordering::Relaxed);
            let message = format!(
                "{} lines were dropped: the plugin logs more than its limit allows",
                self.dropped
            );
            self.plugin.host(&self.call, Level::Warn, &message);
        }
    }
}

/// Text that cannot move a cursor, start a line or turn around what follows; at most `most` bytes, then `…`.
pub(crate) fn visible(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    for c in text.chars() {
        let at = out.len();
        if c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        if out.len() > most {
            out.truncate(at);
            out.push('…');
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<(Level, Source, String)>>);

    impl LogSink for Kept {
        fn line(&self, line: LogLine<'_>) {
            self.0
                .lock()
                .unwrap()
                .push((line.level, line.source, line.message.to_owned()));
        }
    }

    fn logged(limits: Limits, work: impl FnOnce(&mut CallLog)) -> Vec<(Level, Source, String)> {
        let kept = Arc::new(Kept::default());
        let log = PluginLog::new("p".into(), kept.clone(), Arc::new(limits));
        let mut call = CallLog::new(Arc::new(log), "c".into());
        work(&mut call);
        drop(call);
        kept.0.lock().unwrap().clone()
    }

    #[test]
    fn hostile_text_becomes_visible() {
        for (name, text, most, expected) in [
            ("plain", "ship in dock", 100, "ship in dock"),
            ("line break", "a\nb\r\n", 100, "a\\nb\\r\\n"),
            ("terminal escape", "\u{1b}[2Jgone", 100, "\\u{1b}[2Jgone"),
            ("C1 control", "\u{9b}31m", 100, "\\u{9b}31m"),
            ("turned around", "a\u{202e}b", 100, "a\\u{202e}b"),
            ("other scripts", "Ñandú 船", 100, "Ñandú 船"),
            ("too long", "abcdef", 3, "abc…"),
            ("cut before a wide character", "ab船", 4, "ab…"),
            ("exactly", "abc", 3, "abc"),
        ] {
            assert_eq!(visible(text, most), expected, "{name}");
        }
    }

    #[test]
    fn streams_become_lines() {
        let lines = logged(Limits::default(), |log| {
            log.stream(Source::Stdout, b"one\ntw");
            log.stream(Source::Stderr, b"bad\xff\r\n");
            log.stream(Source::Stdout, b"o\n\nrest");
        });
        let texts: Vec<_> = lines.iter().map(|(l, s, t)| (*l, *s, t.as_str())).collect();
        assert_eq!(
            texts,
            [
                (Level::Info, Source::Stdout, "one"),
                (Level::Warn, Source::Stderr, "bad\u{fffd}"),
                (Level::Info, Source::Stdout, "two"),
                (Level::Info, Source::Stdout, "rest"),
            ]
        );
    }

    #[test]
    fn a_flood_is_dropped_and_told() {
        let limits = |f: fn(&mut Limits)| {
            let mut l = Limits::default();
            f(&mut l);
            l
        };
        for (name, limits, kept) in [
            ("lines per call", limits(|l| l.log_lines_per_call = 3), 3),
            ("bytes per call", limits(|l| l.log_bytes_per_call = 20), 2),
            ("lines per second", limits(|l| l.log_lines_per_second = 5), 5),
        ] {
            let lines = logged(limits, |log| {
                (0..50).for_each(|_| log.write(Level::Info, Source::Log, "0123456789"))
            });
            let (last, others) = lines.split_last().unwrap();
            assert_eq!(others.len(), kept, "{name}");
            assert_eq!(last.1, Source::Host, "{name}");
            assert!(
                last.2.starts_with(&format!("{} lines were dropped", 50 - kept)),
                "{name}: {}",
                last.2
            );
        }
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let limits = Limits {
            log_line_bytes: 10,
            ..Limits::default()
        };
        let lines = logged(limits, |log| (0..100).for_each(|_| log.stream(Source::Stdout, &[b'x'; 1000])));
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].2, format!("{}…", "x".repeat(10)));
    }
}
