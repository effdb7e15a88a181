//! One plugin, a hundred times another version, under load: no request fails, no watch is told a lie, and a version that is no good
//! is refused or sent back while the one before goes on.

#![allow(clippy::indexing_slicing, reason = "a test may")]

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use http::Method;
use outrigger_e2e::http::Client;
use outrigger_e2e::outrigger::{Options, account, version};
use outrigger_e2e::wait::{LATER, SOON};
use outrigger_e2e::{ControlPlane, Outrigger, promise, until};
use serde_json::Value;

const SWAPS: usize = 100;
const GROUP: &str = "versions.example.com";
const MARKS: &str = "/apis/versions.example.com/v1/marks";
const NOW: &str = "/apis/versions.example.com/v1/marks/now";
const ECHOES: &str = "/apis/versions.example.com/v1/echoes";
const ECHO: &str = "/apis/versions.example.com/v1/echoes/now";
const OPENAPI: &str = "/openapi/v3/apis/versions.example.com/v1";

/// As an operator should: whole, by rename.
fn put(bytes: &[u8], to: &Path) -> Result<()> {
    let half = to.with_extension("half");
    std::fs::write(&half, bytes)?;
    Ok(std::fs::rename(&half, to)?)
}

/// Which version the documents describe.
fn described(client: &Client) -> Result<String> {
    let text = client.get(OPENAPI)?.ok()?.text();
    let (_, rest) = text
        .split_once("Written by version ")
        .context("no version in the documents")?;
    Ok(rest.split('.').next().unwrap_or_default().to_owned())
}

fn by(object: &Value) -> Result<&str> {
    object["by"].as_str().with_context(|| format!("no version in {object}"))
}

/// Reads until it is over; every answer is whole, and of one of the versions. Returns how many there were.
fn read(client: &Client, path: &str, versions: &BTreeSet<&str>, over: &AtomicBool) -> Result<usize> {
    let mut answers = 0;
    while !over.load(Ordering::SeqCst) {
        let answer = client.get(path).with_context(|| format!("answer {answers} of {path}"))?;
        ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.text());
        match path {
            OPENAPI => ensure!(answer.text().contains("Written by version "), "{}", answer.text()),
            NOW | ECHO => ensure!(versions.contains(by(&answer.json()?)?), "{}", answer.text()),
            MARKS | ECHOES => {
                let list = answer.json()?;
                let [item] = list["items"].as_array().map(Vec::as_slice).unwrap_or_default() else {
                    bail!("{path}: {list}")
                };
                ensure!(versions.contains(by(item)?), "{item}");
            }
            _ => ensure!(answer.text().contains("marks"), "{path}: {}", answer.text()),
        }
        answers += 1;
    }
    Ok(answers)
}

/// Writes until it is over; every write is done, by one of the versions. Returns how many there were.
fn write(client: &Client, versions: &BTreeSet<&str>, over: &AtomicBool) -> Result<usize> {
    let object = r#"{"apiVersion": "versions.example.com/v1", "kind": "Echo", "metadata": {"name": "new"}}"#;
    let mut answers = 0;
    while !over.load(Ordering::SeqCst) {
        let headers = [("content-type", "application/json")];
        let answer = client.request(Method::POST, ECHOES, &headers, object.into())?;
        ensure!(answer.status == 201, "write {answers}: {} {}", answer.status, answer.text());
        ensure!(versions.contains(by(&answer.json()?)?), "{}", answer.text());
        answers += 1;
    }
    Ok(answers)
}

/// Watches without a gap until it is over; rows only ever change. Returns the versions that wrote them.
fn watch(client: &Client, over: &AtomicBool) -> Result<BTreeSet<String>> {
    let list = client.document(MARKS)?;
    let mut from = list["metadata"]["resourceVersion"].as_str().context("a version")?.to_owned();
    let mut seen = BTreeSet::new();
    while !over.load(Ordering::SeqCst) {
        let path = format!("{MARKS}?watch=1&allowWatchBookmarks=true&timeoutSeconds=5&resourceVersion={from}");
        for line in client.get(&path)?.ok()?.text().lines() {
            let event: Value = serde_json::from_str(line)?;
            match event["type"].as_str() {
                Some("MODIFIED") => _ = seen.insert(by(&event["object"])?.to_owned()),
                Some("BOOKMARK") => {}
                _ => bail!("a row that stays: {line}"),
            }
            from = event["object"]["metadata"]["resourceVersion"]
                .as_str()
                .context("a version")?
                .to_owned();
        }
    }
    Ok(seen)
}

#[test]
fn a_hundred_swaps_without_a_failed_request() {
    promise(|| {
        let control_plane = ControlPlane::start()?;
        let kubeconfig = account(&control_plane)?;
        let first = version("one-well")?;
        let options = Options {
            name: "swaps".to_owned(),
            address: Ipv4Addr::new(127, 96, 0, 60),
            resolution: 1,
            plugins: vec![first.clone()],
            arguments: Vec::new(),
        };
        let server = Outrigger::start(&control_plane, &kubeconfig, &options)?;
        server.ready()?;
        let direct = server.client(Some(control_plane.admin()))?;
        let file = server.plugins().join(first.file_name().context("a name")?);
        server.register(&control_plane, GROUP, &["v1"])?;
        until("the first row is served, through the aggregator too", LATER, || {
            server.program().runs()?;
            ensure!(by(&direct.document(NOW)?)? == "one");
            ensure!(by(&control_plane.api().document(NOW)?)? == "one");
            Ok(())
        })?;
        let wells = [
            ("one", std::fs::read(version("one-well")?)?),
            ("two", std::fs::read(version("two-well")?)?),
        ];
        let (over, wrote, swaps) = (AtomicBool::new(false), AtomicBool::new(false), AtomicUsize::new(0));
        let versions = BTreeSet::from(["one", "two"]);

        std::thread::scope(|scope| {
            let api = control_plane.api();
            let ways = [
                (&direct, MARKS),
                (&direct, NOW),
                (&direct, OPENAPI),
                (&direct, ECHO),
                (&direct, ECHOES),
                (api, MARKS),
                (api, ECHO),
            ];
            let readers = ways.map(|(client, path)| {
                let (versions, over) = (&versions, &over);
                scope.spawn(move || read(client, path, versions, over))
            });
            let (direct, versions, over, wrote) = (&direct, &versions, &over, &wrote);
            let writing = scope.spawn(move || write(direct, versions, wrote));
            let watching = scope.spawn(move || watch(direct, over));
            let begun = Instant::now();
            let swapped = (|| {
                for swap in 0..SWAPS {
                    let (name, bytes) = &wells[(swap + 1) % 2];
                    put(bytes, &file)?;
                    until(&format!("swap {swap} to {name}"), SOON, || {
                        server.program().runs()?;
                        ensure!(described(direct)? == *name);
                        Ok(())
                    })?;
                    swaps.fetch_add(1, Ordering::SeqCst);
                    // Now and then a version lives long enough to write.
                    if swap % 10 == 0 {
                        until(&format!("{name} writes"), SOON, || {
                            ensure!(by(&direct.document(NOW)?)? == *name);
                            Ok(())
                        })?;
                    }
                }
                Ok(())
            })();
            let took = begun.elapsed();
            // A version that traps fails the writes that it gets: nobody may do them twice.
            wrote.store(true, Ordering::SeqCst);
            let written = writing.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
            let bad = swapped.and_then(|()| bad_versions(&server, direct, &file, &wells[0]));
            over.store(true, Ordering::SeqCst);
            let mut answers = Vec::new();
            for reader in readers {
                answers.push(reader.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??);
            }
            let seen = watching.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
            let written = written?;
            bad?;
            ensure!(written > 0);
            eprintln!(
                "swaps: {} in {took:.1?}, {written} writes, answers of seven readers {answers:?}, none failed; watched {seen:?}",
                swaps.into_inner()
            );
            ensure!(answers.iter().all(|n| *n > 0));
            ensure!(
                seen.iter().map(String::as_str).collect::<BTreeSet<_>>() == *versions,
                "{seen:?}"
            );
            Ok(())
        })
    });
}

/// What is no good is refused or goes back, each with its sentence, while everybody goes on reading.
fn bad_versions(server: &Outrigger, direct: &Client, file: &Path, good: &(&str, Vec<u8>)) -> Result<()> {
    put(&good.1, file)?;
    until("a good version serves", SOON, || {
        ensure!(described(direct)? == good.0);
        Ok(())
    })?;
    let contract = |bytes: &[u8]| {
        let (ours, theirs) = (br#""contract":"0.1.0""#, br#""contract":"0.9.0""#);
        let mut bytes = bytes.to_vec();
        let mut at = 0;
        while let Some(found) = bytes[at..].windows(ours.len()).position(|w| w == ours) {
            at += found;
            bytes[at..at + ours.len()].copy_from_slice(theirs);
        }
        bytes
    };
    let bytes = |part: &str| Ok::<_, anyhow::Error>(std::fs::read(version(part)?)?);
    for (what, bytes, sentence) in [
        ("half a file", good.1[..good.1.len() / 2].to_vec(), "not valid for this host"),
        ("describes itself badly", bytes("three-misfit")?, "manifest is not valid"),
        (
            "describes itself differently each time",
            bytes("three-fickle")?,
            "differently each time",
        ),
        (
            "fails its own test",
            bytes("three-sick")?,
            "its test of itself failed: plugin versions: self-test: failed: two and two are five",
        ),
        (
            "is built for a later contract",
            contract(&bytes("three-well")?),
            "built for contract 0.9.0 (SDK rust 0.1.0), this host speaks 0.1.0; upgrade the host",
        ),
    ] {
        let before = server.program().log().len();
        put(&bytes, file)?;
        until(what, SOON, || {
            server.program().runs()?;
            let log = server.program().log();
            let line = log[before..].lines().find(|l| l.contains("the version that served goes on"));
            let line = line.context("nothing is said")?;
            ensure!(line.contains(sentence), "{line}");
            Ok(())
        })?;
        ensure!(described(direct)? == good.0, "{what}");
    }

    // Nothing is wrong with it until it is called.
    let before = server.program().log().len();
    put(&bytes("four-traps")?, file)?;
    until("the version that traps is sent back", LATER, || {
        server.program().runs()?;
        let metrics = direct.get("/metrics")?.ok()?.text();
        ensure!(
            metrics.contains(r#"outrigger_plugin_rollbacks_total{plugin="versions"} 1"#),
            "no rollback yet"
        );
        ensure!(described(direct)? == good.0);
        Ok(())
    })?;
    let log = server.program().log();
    let told: Vec<&str> = log[before..]
        .lines()
        .filter(|l| l.contains("this one is not tried again"))
        .collect();
    ensure!(told.len() == 1 && told[0].contains("as told"), "{told:?}");
    // And the old one goes on from where it was.
    let ticks = || direct.document(NOW)?["ticks"].as_u64().context("ticks");
    let then = ticks()?;
    until("rows are new", SOON, || {
        ensure!(ticks()? > then);
        Ok(())
    })?;
    std::thread::sleep(Duration::from_secs(3));
    ensure!(described(direct)? == good.0, "it was not tried again");
    Ok(())
}
