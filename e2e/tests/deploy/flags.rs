//! docs/flags.md on metrics-server's flags: all of them, and what this binary does with each.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use outrigger_e2e::control_plane::repository;
use outrigger_e2e::promise;

use crate::house::{takes, upstream};

/// The heading of the table.
const HEADING: &str = "## metrics-server's flags";

/// Every flag of metrics-server with its type and default, from the help text that its own tests hold against the image.
fn theirs() -> Result<BTreeMap<String, (String, String)>> {
    let help = std::fs::read_to_string(upstream()?.join("docs/command-line-flags.txt"))?;
    let mut flags = BTreeMap::new();
    for line in help.lines() {
        let line = line.trim_start();
        let line = line
            .strip_prefix("-l, ")
            .or_else(|| line.strip_prefix("-v, "))
            .unwrap_or(line);
        let Some(rest) = line.strip_prefix("--") else { continue };
        let (name, kind) = match rest.split_once("  ") {
            Some((declared, _)) => declared.split_once(' ').unwrap_or((declared, "bool")),
            None => continue,
        };
        let default = rest.rsplit_once("(default ").map_or("", |(_, default)| default);
        let default = default.trim_end_matches(')').trim_matches(['[', ']', '"']);
        flags.insert(name.to_owned(), (kind.trim().to_owned(), default.to_owned()));
    }
    Ok(flags)
}

/// Flag to `same`, `differs` or `refused`, from the page.
fn page() -> Result<BTreeMap<String, String>> {
    let page = std::fs::read_to_string(repository().join("docs/flags.md"))?;
    let (_, section) = page.split_once(HEADING).context("no such heading")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut flags = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let verdict = cells.get(1).context("a cell")?.trim_matches('*');
        if !["same", "differs", "refused"].contains(&verdict) {
            continue;
        }
        for flag in cells
            .get(2)
            .context("a second cell")?
            .split('`')
            .filter_map(|part| part.strip_prefix("--"))
        {
            let before = flags.insert(flag.to_owned(), verdict.to_owned());
            ensure!(before.is_none(), "--{flag} twice");
        }
    }
    Ok(flags)
}

/// A value that metrics-server takes.
fn sample(kind: &str, default: &str) -> String {
    match (kind, default) {
        (_, default) if !default.is_empty() => default.to_owned(),
        ("bool", _) => "false".to_owned(),
        ("duration", _) => "5s".to_owned(),
        ("ip", _) => "10.0.0.1".to_owned(),
        ("int" | "float" | "float32" | "int32Slice" | "Level" | "quantity", _) => "0".to_owned(),
        ("namedCertKey", _) => "a.crt,a.key".to_owned(),
        _ => "x".to_owned(),
    }
}

#[test]
fn every_flag_of_metrics_server_is_on_the_page_and_does_what_it_says() {
    promise(|| {
        let (theirs, page) = (theirs()?, page()?);
        ensure!(theirs.len() == 103, "{} flags were read", theirs.len());
        let known: Vec<&String> = theirs.keys().collect();
        ensure!(
            page.keys().collect::<Vec<_>>() == known,
            "the page has {:?}\nthere are {known:?}",
            page.keys()
        );
        for (flag, (kind, default)) in &theirs {
            let verdict = page.get(flag).context("a verdict")?;
            let value = match (flag.as_str(), kind.as_str()) {
                ("tls-min-version", _) => "VersionTLS12".to_owned(),
                ("tls-cipher-suites", _) => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".to_owned(),
                ("tls-curve-preferences", _) => "29".to_owned(),
                // What it does by itself: nothing is to be had, and true is metrics-server's default.
                ("enable-priority-and-fairness" | "profiling", _) => "false".to_owned(),
                (_, kind) => sample(kind, default),
            };
            let mut arguments = vec!["serve".to_owned(), "--plugins=/plugins".to_owned()];
            match flag.as_str() {
                "version" => arguments = vec!["--version".to_owned()],
                // Each wants the other.
                "tls-cert-file" => arguments.push("--tls-private-key-file=y".to_owned()),
                "tls-private-key-file" => arguments.push("--tls-cert-file=y".to_owned()),
                _ => {}
            }
            if flag != "version" {
                arguments.push(format!("--{flag}={value}"));
            }
            let (taken, said) = takes(&arguments)?;
            ensure!(
                taken == (verdict != "refused"),
                "--{flag}={value} is {verdict}, and the binary says: {said}"
            );
            ensure!(taken || said.contains(&format!("--{flag}")), "--{flag}: {said}");
        }
        Ok(())
    })
}
