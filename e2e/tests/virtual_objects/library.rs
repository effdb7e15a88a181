//! The example `library`: kubectl makes, reads, lists, watches, patches and deletes what an outside HTTP service keeps.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use outrigger_e2e::promise;
use outrigger_e2e::wait::{LATER, SOON, until};
use serde_json::{Value, json};

use crate::house::house;

/// Books by path, as the service keeps them.
type Shelf = Arc<Mutex<BTreeMap<String, Value>>>;

/// The address that the example's manifest asks for.
const PORT: u16 = 8787;

pub(crate) const GRANTS: &str = "apiVersion: outrigger.dev/v1alpha1
kind: Grants
plugins:
  library:
    capabilities:
      config: {}
      http: {hosts: ['127.0.0.1:8787'], allowPrivate: [127.0.0.1/32]}
    limits: {callsInFlight: 8, memory: 32Mi}
";

/// A library that has never heard of Kubernetes.
fn library() -> Result<Shelf> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).context("the library's port")?;
    let shelf = Shelf::default();
    let books = shelf.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that breaks off is no concern of the library's.
            _ = serve(stream, &books);
        }
    });
    Ok(shelf)
}

fn serve(stream: TcpStream, shelf: &Shelf) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (method, path) = (
        words.next().unwrap_or_default().to_owned(),
        words.next().unwrap_or_default().to_owned(),
    );
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, answer) = answer(&method, &path, &body, shelf)?;
    let text = answer.to_string();
    write!(
        &stream,
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    )?;
    Ok(())
}

fn answer(method: &str, path: &str, body: &[u8], shelf: &Shelf) -> Result<(u16, Value)> {
    let mut shelf = shelf.lock().unwrap();
    let known = shelf.get(path).cloned();
    Ok(match (method, known) {
        ("GET", _) if path == "/books" => (200, shelf.values().cloned().collect()),
        ("POST", Some(_)) => (409, json!("there is one")),
        ("GET" | "PUT" | "DELETE", None) => (404, json!("none")),
        ("GET", Some(book)) => (200, book),
        ("DELETE", Some(book)) => {
            shelf.remove(path);
            (200, book)
        }
        ("POST" | "PUT", before) => {
            let mut book: Value = serde_json::from_slice(body)?;
            let number = before.as_ref().map_or(0, |b| b["number"].as_u64().unwrap_or_default());
            if book["number"].as_u64().unwrap_or_default() != number {
                return Ok((409, json!("somebody was faster")));
            }
            book["number"] = json!(number + 1);
            if before.is_none() {
                book["id"] = json!(format!("00000000-0000-4000-8000-{:012}", shelf.len() + 1));
                book["made"] = json!("2026-11-21T10:00:00Z");
            }
            shelf.insert(path.to_owned(), book.clone());
            (200, book)
        }
        _ => (405, json!("no")),
    })
}

fn moby(pages: u32) -> String {
    json!({
        "apiVersion": "library.example.com/v1", "kind": "Book", "metadata": {"name": "moby", "namespace": "sea"},
        "spec": {"title": "Moby-Dick", "pages": pages}
    })
    .to_string()
}

#[test]
fn kubectl_keeps_books_in_a_service_outside() {
    promise(|| {
        let house = house()?;
        let kubectl = house.control_plane.kubectl_anew("home-library")?;
        let shelf = library()?;
        until("books are served through the aggregator", LATER, || {
            kubectl.run("get books -A").map(drop)
        })?;
        kubectl.run("create namespace sea")?;

        // Refused by the plugin: kubectl shows the field.
        let refused = kubectl.run_with(&["create", "-f", "-"], &moby(0)).unwrap_err().to_string();
        ensure!(
            refused.contains("The Book \"moby\" is invalid") && refused.contains("spec.pages"),
            "{refused}"
        );
        ensure!(shelf.lock().unwrap().is_empty(), "a refused book is nowhere");

        let mut command = kubectl.command(&["get", "books", "-n", "sea", "-w", "--no-headers", "--output-watch-events"]);
        let mut watching = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let events = BufReader::new(watching.stdout.take().context("no stdout")?);

        let made = kubectl.run_with(&["create", "-f", "-"], &moby(635))?;
        ensure!(made.contains("book.library.example.com/moby created"), "{made}");
        let again = kubectl.run_with(&["create", "-f", "-"], &moby(635)).unwrap_err().to_string();
        ensure!(again.contains("AlreadyExists"), "{again}");
        until("the table has it", SOON, || {
            let table = kubectl.run("get books -n sea")?;
            let rows: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
            ensure!(rows.len() == 2 && rows[0] == ["NAME", "TITLE", "PAGES", "AGE"], "{table}");
            ensure!(rows[1][..3] == ["moby", "Moby-Dick", "635"], "{table}");
            Ok(())
        })?;
        kubectl.run("label book moby -n sea by=melville")?;
        kubectl.run("annotate book moby -n sea shelf=3")?;
        kubectl.run_with(
            &[
                "patch",
                "book",
                "moby",
                "-n",
                "sea",
                "--type=merge",
                "-p",
                r#"{"spec": {"pages": 720}}"#,
            ],
            "",
        )?;
        kubectl.run_with(
            &[
                "patch",
                "book",
                "moby",
                "-n",
                "sea",
                "--type=json",
                "-p",
                r#"[{"op": "replace", "path": "/spec/title", "value": "The Whale"}]"#,
            ],
            "",
        )?;
        let book = shelf.lock().unwrap()["/books/sea/moby"].clone();
        ensure!(
            book["labels"]["by"] == "melville" && book["notes"]["shelf"] == "3" && book["book"]["pages"] == 720,
            "{book}"
        );
        ensure!(book["book"]["title"] == "The Whale" && book["number"] == 5, "{book}");
        let object: Value = serde_json::from_str(&kubectl.run("get book moby -n sea -o json")?)?;
        ensure!(
            object["metadata"]["uid"] == "00000000-0000-4000-8000-000000000001" && object["spec"]["pages"] == 720,
            "{object}"
        );
        let selected = kubectl.run("get books -A -l by=melville -o name")?;
        ensure!(selected.trim() == "book.library.example.com/moby", "{selected}");
        let dry = kubectl.run("delete book moby -n sea --dry-run=server")?;
        ensure!(dry.contains("deleted") && shelf.lock().unwrap().len() == 1, "{dry}");
        let invalid = kubectl
            .run_with(
                &[
                    "patch",
                    "book",
                    "moby",
                    "-n",
                    "sea",
                    "--type=merge",
                    "-p",
                    r#"{"spec": {"pages": -1}}"#,
                ],
                "",
            )
            .unwrap_err()
            .to_string();
        ensure!(invalid.contains("must be positive"), "{invalid}");

        let said: Vec<String> = events.lines().take(2).collect::<Result<_, _>>()?;
        watching.kill()?;
        watching.wait()?;
        ensure!(
            said[0].starts_with("ADDED") && said[1].starts_with("MODIFIED") && said[1].contains("moby"),
            "{said:?}"
        );

        // Whoever deletes the namespace empties it: the controller lists and deletes what is in it.
        kubectl.run("delete namespace sea --timeout=90s")?;
        ensure!(shelf.lock().unwrap().is_empty(), "the namespace controller has emptied it");
        let metrics = house
            .outrigger
            .client(Some(house.control_plane.admin()))?
            .get("/metrics")?
            .text();
        let limit = "outrigger_plugin_limit{plugin=\"library\",limit=\"calls_in_flight\"} 8";
        ensure!(metrics.contains(limit), "the limit of the grants file is in force");
        Ok(())
    });
}
