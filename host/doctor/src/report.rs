//! What was looked at and what was found: rows, as text for people, as JSON for programs, as an exit code for scripts.
//!
//! Names and messages come from a cluster that somebody else may write to: control characters never reach the terminal.

use std::fmt::Write as _;

use outrigger_cluster::advice::{Advice, Severity};
use serde::Serialize;

use crate::condition::Condition;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What, as a path: `apiservice/v1.metrics.k8s.io/endpoints`.
    pub check: String,
    /// What was found.
    pub finding: Finding,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Nothing is wrong; the fact that shows it.
    Fine(String),
    /// Something that `serve` says as well.
    Shared(Advice),
    /// Something that only the doctor sees.
    Own(Condition),
}

/// All rows, in the order in which they are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The rows.
    pub rows: Vec<Row>,
}

// === impl Row ===

impl Row {
    pub(crate) fn new(check: impl Into<String>, finding: impl Into<Finding>) -> Self {
        Self {
            check: check.into(),
            finding: finding.into(),
        }
    }

    pub(crate) fn fine(check: impl Into<String>, fact: impl Into<String>) -> Self {
        Self::new(check, Finding::Fine(fact.into()))
    }
}

// === impl Finding ===

impl Finding {
    /// How bad it is; none if it is fine.
    #[must_use]
    pub fn severity(&self) -> Option<Severity> {
        match self {
            Self::Fine(_) => None,
            Self::Shared(advice) => Some(advice.sentence().severity),
            Self::Own(condition) => Some(condition.sentence().severity),
        }
    }

    /// Its code; none if it is fine.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Fine(_) => None,
            Self::Shared(advice) => Some(advice.sentence().code),
            Self::Own(condition) => Some(condition.sentence().code),
        }
    }

    fn status(&self) -> &'static str {
        match self.severity() {
            None => "OK",
            Some(Severity::Warn) => "WARN",
            Some(Severity::Fail) => "FAIL",
            Some(Severity::Skip) => "SKIP",
        }
    }

    fn said(&self) -> (String, String) {
        match self {
            Self::Fine(fact) => (fact.clone(), String::new()),
            Self::Shared(advice) => (advice.wrong(), advice.cure()),
            Self::Own(condition) => (condition.wrong(), condition.cure()),
        }
    }
}

impl From<Advice> for Finding {
    fn from(advice: Advice) -> Self {
        Self::Shared(advice)
    }
}

impl From<Condition> for Finding {
    fn from(condition: Condition) -> Self {
        Self::Own(condition)
    }
}

// === impl Report ===

impl Report {
    /// Whether anything does not work.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.rows.iter().any(|row| row.finding.severity() == Some(Severity::Fail))
    }

    /// One aligned line for each row, and a last one that counts. `colour` is for terminals.
    #[must_use]
    pub fn text(&self, colour: bool) -> String {
        let width = self.rows.iter().map(|r| visible(&r.check).chars().count()).max().unwrap_or(0);
        let mut out = String::new();
        for row in &self.rows {
            let status = row.finding.status();
            let (on, off) = if colour { (paint(status), "\x1b[0m") } else { ("", "") };
            let (wrong, cure) = row.finding.said();
            let join = if cure.is_empty() { "" } else { "; " };
            // Writing to a String does not fail.
            let _ = writeln!(
                out,
                "{on}{status:<4}{off}  {:<width$}  {}",
                visible(&row.check),
                visible(&format!("{wrong}{join}{cure}"))
            );
        }
        let [ok, warn, fail, skip] = self.counts();
        let _ = writeln!(out, "{ok} OK, {warn} WARN, {fail} FAIL, {skip} SKIP");
        out
    }

    /// One document.
    ///
    /// # Errors
    /// There is none: everything in it is text and numbers.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        let [ok, warn, fail, skip] = self.counts();
        let checks = self
            .rows
            .iter()
            .map(|row| {
                let (message, cure) = row.finding.said();
                Check {
                    check: visible(&row.check),
                    status: row.finding.status(),
                    code: row.finding.code(),
                    message: visible(&message),
                    cure: Some(visible(&cure)).filter(|text| !text.is_empty()),
                }
            })
            .collect();
        serde_json::to_string_pretty(&Document {
            checks,
            summary: Summary { ok, warn, fail, skip },
        })
    }

    fn counts(&self) -> [usize; 4] {
        ["OK", "WARN", "FAIL", "SKIP"].map(|status| self.rows.iter().filter(|r| r.finding.status() == status).count())
    }
}

#[derive(Serialize)]
struct Document {
    checks: Vec<Check>,
    summary: Summary,
}

#[derive(Serialize)]
struct Check {
    check: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

#[derive(Serialize)]
struct Summary {
    ok: usize,
    warn: usize,
    fail: usize,
    skip: usize,
}

/// In rows that build on each other, only the first failure is one: the later ones are said to follow from it.
pub(crate) fn blame_first(mut rows: Vec<Row>) -> Vec<Row> {
    let mut cause: Option<String> = None;
    for row in &mut rows {
        match (&cause, row.finding.severity()) {
            (None, Some(Severity::Fail)) => cause = Some(row.check.clone()),
            (Some(from), Some(Severity::Fail | Severity::Warn)) => {
                row.finding = Condition::Follows { from: from.clone() }.into();
            }
            _ => {}
        }
    }
    rows
}

fn paint(status: &str) -> &'static str {
    match status {
        "OK" => "\x1b[32m",
        "WARN" => "\x1b[33m",
        "FAIL" => "\x1b[31m",
        _ => "\x1b[2m",
    }
}

/// A stranger's text on one line, without what a terminal would obey: control characters, and those that turn the direction
/// of reading.
pub(crate) fn visible(text: &str) -> String {
    text.trim_end()
        .chars()
        .map(|c| match c {
            '\n' | '\t' | '\r' => ' ',
            c if c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                char::REPLACEMENT_CHARACTER
            }
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(name: &str) -> Condition {
        Condition::ApiServiceMissing { name: name.into() }
    }

    #[test]
    fn rows_are_aligned_and_harmless() {
        let report = Report {
            rows: vec![
                Row::fine("kube-apiserver", "v1.36.3"),
                Row::new("apiservice/v1.a", missing("v1.a\x1b[2J\nOK")),
            ],
        };
        let expected = "OK    kube-apiserver   v1.36.3\n\
                        FAIL  apiservice/v1.a  there is no APIService v1.a\u{fffd}[2J OK; apply one (docs/in-a-cluster.md, step 4)\n\
                        1 OK, 0 WARN, 1 FAIL, 0 SKIP\n";
        assert_eq!(report.text(false), expected);
        assert!(report.text(true).starts_with("\x1b[32mOK  \x1b[0m  kube"));
        assert!(report.failed());
        let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(json["checks"][1]["code"], "apiservice-missing");
        assert_eq!(json["checks"][1]["status"], "FAIL");
        assert_eq!(json["checks"][1]["cure"], "apply one (docs/in-a-cluster.md, step 4)");
        assert!(json["checks"][0].get("code").is_none());
        assert_eq!(json["summary"]["fail"], 1);
    }

    #[test]
    fn only_the_cause_is_blamed() {
        let rows = blame_first(vec![
            Row::fine("a", ""),
            Row::new("b", Condition::VerificationSkipped { name: "x".into() }),
            Row::new("c", missing("x")),
            Row::new("d", missing("y")),
            Row::new("e", Condition::NodesLeftOut { asked: "1".into() }),
            Row::fine("f", ""),
        ]);
        let status: Vec<_> = rows.iter().map(|r| r.finding.status()).collect();
        assert_eq!(status, ["OK", "WARN", "FAIL", "SKIP", "SKIP", "OK"]);
        assert_eq!(rows[3].finding, Condition::Follows { from: "c".into() }.into());
    }

    /// The page is made of the sentences: after a change, `UPDATE=1 cargo test -p outrigger-doctor`.
    #[test]
    fn the_page_lists_every_finding() {
        const FROM: &str = "<!-- findings -->\n";
        const TO: &str = "<!-- end of findings -->";
        let mut table = String::from("| code | | what is wrong | what to do |\n|---|---|---|---|\n");
        let words = |text: &str| {
            let plain = text.replace("{{", "{").replace("}}", "}");
            plain.replace(['{', '}'], "*").replace('|', "\\|").replace('<', "&lt;")
        };
        let mut codes = Vec::new();
        for sentence in Advice::ALL.iter().chain(Condition::ALL) {
            codes.push(sentence.code);
            let _ = writeln!(
                table,
                "| `{}` | {} | {} | {} |",
                sentence.code,
                sentence.severity,
                words(sentence.wrong),
                words(sentence.cure)
            );
        }
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count, "a code stands for one thing");

        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/doctor.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (before, rest) = page.split_once(FROM).unwrap();
        let (_, after) = rest.split_once(TO).unwrap();
        let expected = format!("{before}{FROM}{table}{TO}{after}");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, expected).unwrap();
        } else {
            assert!(
                page == expected,
                "run `UPDATE=1 cargo test -p outrigger-doctor` and commit docs/doctor.md"
            );
        }
    }
}
