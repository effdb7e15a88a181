//! What is wrong with ticks, said once.
//!
//! A cluster has thousands of nodes, and each is asked every few seconds: one missing permission would be thousands of lines a
//! minute. So a collector's trouble is said when the first of its targets has it, and that it is over when the last of them is
//! rid of it; in between it is counted (`outrigger_collector_ticks_total`) and shown at debug level. Troubles are equal if their
//! words are, the target's name apart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use outrigger_sandbox::CallError;

/// The troubles of all collectors.
#[derive(Debug, Default)]
pub(crate) struct Troubles(Mutex<HashMap<Whose, Ward>>);

/// A plugin and its collector.
type Whose = (Arc<str>, Arc<str>);

/// One collector's troubles.
#[derive(Debug, Default)]
struct Ward {
    /// What each target that is not well has.
    ill: HashMap<Arc<str>, Arc<str>>,
    /// What has been said, and when. Kept until somebody recovers from it, so that a target with two troubles in turn is no
    /// flood.
    said: HashMap<Arc<str>, Instant>,
}

/// Different troubles that are said of one collector; a plugin may invent as many as it likes.
const MOST: usize = 64;

/// What the log should hear of a change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nobody of this collector had this trouble before.
    New,
    /// It is known.
    Known,
}

// === impl Troubles ===

impl Troubles {
    /// A target has this trouble now.
    pub(crate) fn begins(&self, plugin: &Arc<str>, collector: &Arc<str>, target: &Arc<str>, reason: String) -> Heard {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ward = all.entry((plugin.clone(), collector.clone())).or_default();
        let known = ward.said.get_key_value(reason.as_str()).map(|(known, _)| known.clone());
        let heard = if known.is_some() || ward.said.len() >= MOST {
            Heard::Known
        } else {
            Heard::New
        };
        let reason = known.unwrap_or_else(|| reason.into());
        if heard == Heard::New {
            ward.said.insert(reason.clone(), Instant::now());
        }
        ward.ill.insert(target.clone(), reason);
        heard
    }

    /// A target is well, or gone. The trouble that nobody of this collector has any more, and how long it lasted.
    pub(crate) fn ends(&self, plugin: &Arc<str>, collector: &Arc<str>, target: &str) -> Option<(Arc<str>, Duration)> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let whose = (plugin.clone(), collector.clone());
        let ward = all.get_mut(&whose)?;
        let reason = ward.ill.remove(target)?;
        let last = ward.ill.values().all(|other| *other != reason);
        let since = if last { ward.said.remove(&reason) } else { None };
        if ward.ill.is_empty() {
            all.remove(&whose);
        }
        since.map(|since| (reason, since.elapsed()))
    }
}

/// What makes two failures the same: the words, but for the target's name and for what differs from call to call (where a guest
/// stood when it was stopped).
pub(crate) fn reason(error: &CallError, target: &str) -> String {
    let text = match error {
        CallError::Deadline { .. } => "deadline".to_owned(),
        CallError::CpuTime { .. } => "cpu".to_owned(),
        CallError::Memory { .. } => "memory".to_owned(),
        CallError::Table { .. } => "table".to_owned(),
        CallError::Busy { .. } => "busy".to_owned(),
        other => other.to_string(),
    };
    let text = if target.is_empty() { text } else { text.replace(target, "*") };
    without_measures(&text)
}

/// Measured times and IP addresses differ from node to node and from moment to moment; numbers without a point (codes) do not.
fn without_measures(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(from.len());
        let (number, after) = from.split_at(end);
        out.push_str(before);
        out.push_str(if number.contains('.') { "#" } else { number });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_said_once_and_ends_with_its_last_target() {
        let troubles = Troubles::default();
        let (plugin, collector): (Arc<str>, Arc<str>) = ("p".into(), "c".into());
        let begins = |target: &str, reason: &str| troubles.begins(&plugin, &collector, &target.into(), reason.into());
        let ends = |target: &str| {
            troubles
                .ends(&plugin, &collector, target)
                .map(|(reason, _)| reason.to_string())
        };
        assert_eq!(begins("a", "403"), Heard::New);
        assert_eq!(begins("a", "403"), Heard::Known);
        assert_eq!(begins("b", "403"), Heard::Known, "the same of a neighbour");
        assert_eq!(begins("b", "500"), Heard::New, "another");
        assert_eq!(ends("c"), None, "it had none");
        assert_eq!(ends("a").as_deref(), Some("403"));
        assert_eq!(begins("a", "500"), Heard::Known);
        assert_eq!(ends("b"), None, "a still has it");
        assert_eq!(ends("a").as_deref(), Some("500"));
        assert_eq!(begins("a", "403"), Heard::New, "again");
        assert_eq!(begins("a", "500"), Heard::New);
        assert_eq!(begins("a", "403"), Heard::Known, "in turn");
        ends("a");
        assert!(troubles.0.lock().unwrap().is_empty(), "nothing is kept of those who are well");
    }

    #[test]
    fn failures_are_the_same_but_for_the_target_and_the_moment() {
        let refused = |text: &str| CallError::Refused {
            plugin: "p".into(),
            call: "collect".into(),
            error: outrigger_sandbox::ContractError::Unavailable(text.into()),
            fields: Vec::new(),
        };
        let late = |frame: &str| CallError::Deadline {
            plugin: "p".into(),
            call: "collect".into(),
            after: Duration::from_secs(1),
            frames: vec![frame.into()],
        };
        for (name, one, other, same) in [
            (
                "a neighbour",
                reason(&refused("node n1 is away"), "n1"),
                reason(&refused("node n2 is away"), "n2"),
                true,
            ),
            (
                "another fact",
                reason(&refused("403"), "n1"),
                reason(&refused("500"), "n1"),
                false,
            ),
            (
                "a moment later",
                reason(&refused("no answer within 500.3ms at 10.0.0.1:10250"), "n1"),
                reason(&refused("no answer within 501.9ms at 10.0.0.1:10250"), "n1"),
                true,
            ),
            ("stopped elsewhere", reason(&late("f"), "n1"), reason(&late("g"), "n1"), true),
        ] {
            assert_eq!(one == other, same, "{name}: {one} / {other}");
        }
    }
}
