//! Where we answer otherwise than upstream, and why: entries that a test reads, and the page that shows them.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use crate::control_plane::repository;

/// One argued difference.
#[derive(Debug, Clone, Copy)]
pub struct Difference {
    /// The requests: their names, `*` for any part, `|` between several.
    pub rows: &'static str,
    /// Where in the answers: `status`, `header vary`, `body .message`; `*` and `|` likewise.
    pub at: &'static str,
    /// Which requests, for people.
    pub when: &'static str,
    /// What upstream answers.
    pub upstream: &'static str,
    /// What we answer.
    pub ours: &'static str,
    /// Why.
    pub why: &'static str,
}

// === impl Difference ===

impl Difference {
    /// Whether it speaks of this place in this request's answers.
    #[must_use]
    pub fn covers(&self, row: &str, at: &str) -> bool {
        self.rows.split('|').any(|pattern| matches(pattern, row)) && self.at.split('|').any(|pattern| matches(pattern, at))
    }
}

/// `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text
            .strip_prefix(before)
            .is_some_and(|rest| (0..=rest.len()).any(|from| rest.get(from..).is_some_and(|rest| matches(after, rest)))),
    }
}

/// A page of the repository is what these sections say; `OUTRIGGER_UPDATE=1` writes it. A section without entries is left out.
///
/// # Errors
/// It is not, or cannot be read or written.
pub fn page(file: &str, introduction: &str, sections: &[(&str, &[Difference])]) -> Result<()> {
    let mut text = introduction.to_owned();
    for (title, entries) in sections.iter().filter(|(_, entries)| !entries.is_empty()) {
        let _ = write!(
            text,
            "\n## {title}\n\n| when | upstream | Outrigger | why |\n|---|---|---|---|\n"
        );
        for Difference {
            when,
            upstream,
            ours,
            why,
            ..
        } in *entries
        {
            let _ = writeln!(text, "| {when} | {upstream} | {ours} | {why} |");
        }
    }
    let file = repository().join(file);
    if std::env::var_os("OUTRIGGER_UPDATE").is_some() {
        std::fs::write(&file, &text)?;
    }
    let written = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    ensure!(
        written == text,
        "{} is not what its test says: run that with OUTRIGGER_UPDATE=1",
        file.display()
    );
    Ok(())
}

#[test]
fn patterns() {
    for (pattern, text, expected) in [
        ("status", "status", true),
        ("status", "header status", false),
        ("*", "anything", true),
        ("body *", "body .message", true),
        ("*.verbs[*]", "body .resources[pods].verbs[create]", true),
        ("*.verbs[create]", "body .resources[pods].verbs[get]", false),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}
