//! The last failures of a plugin, for whoever has to find out why.
//!
//! A log line is gone with the log; these stay with the plugin for as long as it is loaded. They are few and short, since a guest
//! decides what is in them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::failure::{CallError, Panic};

/// One failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// When it ended.
    pub at: SystemTime,
    /// The call, such as `collect nodes/node-1`.
    pub call: String,
    /// Why, as in `outrigger_plugin_calls_total`: `trap`, `deadline`, `memory` …
    pub reason: &'static str,
    /// The whole sentence.
    pub message: String,
    /// What the guest said before it aborted.
    pub panic: Option<Panic>,
    /// Functions on the stack, innermost first.
    pub frames: Vec<String>,
}

/// The last few.
#[derive(Default)]
pub(crate) struct History(Mutex<VecDeque<Failed>>);

/// How many are kept.
const KEPT: usize = 5;
/// Bytes of a text.
const TEXT: usize = 2048;

// === impl History ===

impl History {
    pub(crate) fn keep(&self, call: &str, reason: &'static str, error: &CallError) {
        let panic = error.panic().map(|panic| Panic {
            message: short(&panic.message),
            location: short(&panic.location),
        });
        let failed = Failed {
            at: SystemTime::now(),
            call: short(call),
            reason,
            message: short(&error.to_string()),
            panic,
            frames: error.frames().to_vec(),
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEPT {
            all.pop_front();
        }
        all.push_back(failed);
    }

    /// The oldest first.
    pub(crate) fn read(&self) -> Vec<Failed> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().cloned().collect()
    }
}

fn short(text: &str) -> String {
    let mut end = text.len().min(TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::BadResult;

    #[test]
    fn the_last_five_are_kept_and_short() {
        let history = History::default();
        for n in 0..9 {
            let error = CallError::BadResult {
                plugin: "p".into(),
                call: format!("get ships {n}"),
                why: BadResult::Unreadable("ü".repeat(5000)),
            };
            history.keep(&format!("get ships {n}"), "result", &error);
        }
        let all = history.read();
        let calls: Vec<&str> = all.iter().map(|f| f.call.as_str()).collect();
        assert_eq!(
            calls,
            ["get ships 4", "get ships 5", "get ships 6", "get ships 7", "get ships 8"]
        );
        assert!(all.iter().all(|f| f.message.len() <= TEXT && f.reason == "result"));
    }
}
