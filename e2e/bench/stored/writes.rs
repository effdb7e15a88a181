//! Creates and updates, one at a time and eight at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::servers::Server;
use super::{OBJECTS, reads};
use crate::client::{Connection, Times, send_all};
use crate::ratio;

pub(crate) const PATH: &str = "/apis/wardle.example.com/v1beta1/namespaces/bench/flunders";
/// Bytes of one object's JSON in a list.
pub(crate) const SIZE: usize = 543;
const AT_ONCE: usize = 8;
const LONG: Duration = Duration::from_secs(4);

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A Flunder that has about [`SIZE`] bytes when it is kept.
pub(crate) fn flunder(name: &str) -> Value {
    json!({
        "apiVersion": "wardle.example.com/v1beta1", "kind": "Flunder",
        "metadata": {"name": name, "namespace": "bench", "labels": {"app": "bench", "part": "one"}, "annotations": {"note": "x".repeat(190)}},
        "spec": {"fischerReference": "some-fischer", "referenceType": "Fischer"},
    })
}

/// Names that nobody had, in an order that is not theirs of creation.
fn next() -> String {
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("f-{:06}", n.wrapping_mul(7_919) % 1_000_003)
}

/// CREATE and UPDATE of both servers.
pub(crate) fn writes(both: &[Server<'_>; 2], how: &str) -> Result<()> {
    let [ours, theirs] = both;
    let one = |server: &Server<'_>| server.block(1, creates(server, 1));
    let (mine, peers) = (one(ours)?, one(theirs)?);
    tell("CREATE, 1 in flight", how, &mine, &peers, "p50 ≤ 1/3", false);
    let eight = |server: &Server<'_>| server.block(2, creates(server, AT_ONCE));
    let (mine, peers) = (eight(ours)?, eight(theirs)?);
    tell("CREATE, 8 in flight", how, &mine, &peers, "≥ 5 ×", true);
    let one = |server: &Server<'_>| server.block(1, updates(server, 1));
    let (mine, peers) = (one(ours)?, one(theirs)?);
    tell("UPDATE, 1 in flight", how, &mine, &peers, "", false);
    let eight = |server: &Server<'_>| server.block(2, updates(server, AT_ONCE));
    let (mine, peers) = (eight(ours)?, eight(theirs)?);
    tell("UPDATE, 8 in flight on eight objects", how, &mine, &peers, "≥ 5 ×", true);
    Ok(())
}

pub(super) fn tell(what: &str, how: &str, mine: &Times, peers: &Times, goal: &str, by_rate: bool) {
    let text = |times: &Times| {
        format!(
            "p50 {:.3}, p99 {:.2} ms, {:.0}/s",
            times.percentile(50) / 1e3,
            times.percentile(99) / 1e3,
            times.rate()
        )
    };
    let ratio = match by_rate {
        true => format!("{:.1} ×", mine.rate() / peers.rate()),
        false => ratio(mine.percentile(50), peers.percentile(50)),
    };
    println!("| {what}{how} | {} | {} | {ratio} | {goal} |", text(mine), text(peers));
}

async fn creates(server: &Server<'_>, at_once: usize) -> Result<Times> {
    many(server, at_once, |connection| async move {
        let mut times = Vec::new();
        let begin = Instant::now();
        while begin.elapsed() < LONG {
            let body = Bytes::from(flunder(&next()).to_string());
            let sent = Instant::now();
            let request = connection.request(Method::POST, PATH, &[("content-type", "application/json")])?;
            let got = connection.fetch(request, Some(body)).await?;
            times.push(sent.elapsed());
            ensure!(got.status == 201, "create: {}", got.status);
        }
        Ok(times)
    })
    .await
}

async fn updates(server: &Server<'_>, at_once: usize) -> Result<Times> {
    many(server, at_once, |connection| async move {
        let name = next();
        let body = Bytes::from(flunder(&name).to_string());
        let request = connection.request(Method::POST, PATH, &[("content-type", "application/json")])?;
        let (_, made) = connection.read(request, Some(body)).await?;
        let mut object: Value = serde_json::from_slice(&made)?;
        let (mut times, path) = (Vec::new(), format!("{PATH}/{name}"));
        let begin = Instant::now();
        while begin.elapsed() < LONG {
            let labels = object.pointer_mut("/metadata/labels").context("no labels")?;
            *labels = json!({"app": "bench", "part": format!("n{}", times.len())});
            let body = Bytes::from(object.to_string());
            let sent = Instant::now();
            let request = connection.request(Method::PUT, &path, &[("content-type", "application/json")])?;
            let (status, answer) = connection.read(request, Some(body)).await?;
            times.push(sent.elapsed());
            ensure!(status == 200, "update: {status}: {}", String::from_utf8_lossy(&answer));
            object = serde_json::from_slice(&answer)?;
        }
        Ok(times)
    })
    .await
}

/// The same from several connections at once, once to warm up.
async fn many<F>(server: &Server<'_>, at_once: usize, work: impl Fn(Connection) -> F) -> Result<Times>
where
    F: Future<Output = Result<Vec<Duration>>> + Send + 'static,
{
    let begin = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..at_once {
        tasks.spawn(work(server.target.connect().await?));
    }
    let mut all = Vec::new();
    while let Some(times) = tasks.join_next().await {
        all.extend(times??);
    }
    Ok(Times::new(all, begin.elapsed()))
}

/// Makes both hold exactly so many objects, the same.
pub(crate) fn fill(both: &[Server<'_>; 2]) -> Result<()> {
    for server in both {
        server.block(2, async {
            let connection = Arc::new(server.target.connect().await?);
            let request = connection.request(Method::DELETE, PATH, &[])?;
            let (status, answer) = connection.read(request, None).await?;
            ensure!(
                status == 200,
                "deletecollection: {status}: {}",
                String::from_utf8_lossy(&answer)
            );
            let objects = (0..OBJECTS).map(|n| (PATH.to_owned(), Bytes::from(flunder(&format!("f-{n:06}")).to_string())));
            send_all(&server.target, Method::POST, objects.collect()).await?;
            let count = reads::count(&connection).await?;
            ensure!(count == OBJECTS, "{count} objects");
            Ok(())
        })?;
    }
    Ok(())
}
