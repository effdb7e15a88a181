//! GETs and LISTs.

use std::time::Duration;

use anyhow::{Result, ensure};
use http::Method;
use serde_json::Value;

use super::servers::Server;
use super::writes::{PATH, tell};
use crate::client::{Connection, all_at_once, one_by_one};
use crate::{TABLE, ratio};

const PARTIAL: (&str, &str) = ("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io");
const LONG: Duration = Duration::from_secs(4);
const IN_FLIGHT: usize = 64;

/// How many objects there are.
pub(crate) async fn count(connection: &Connection) -> Result<usize> {
    let request = connection.request(Method::GET, PATH, &[PARTIAL])?;
    let (status, body) = connection.read(request, None).await?;
    ensure!(status == 200, "list: {status}");
    let list: Value = serde_json::from_slice(&body)?;
    Ok(list.get("items").and_then(Value::as_array).map_or(0, Vec::len))
}

/// GET of both servers; ratios are to the peer's best case.
pub(crate) fn gets(both: &[Server<'_>; 2], how: &str) -> Result<()> {
    let [ours, theirs] = both;
    let (path, cached) = (format!("{PATH}/f-004200"), format!("{PATH}/f-004200?resourceVersion=0"));
    let one = |server: &Server<'_>, path: &str| {
        server.block(1, async {
            one_by_one(&server.target, path, &[], LONG / 4).await?;
            Ok(one_by_one(&server.target, path, &[], LONG).await?.0)
        })
    };
    let (mine, quorum, best) = (one(ours, &path)?, one(theirs, &path)?, one(theirs, &cached)?);
    tell("GET, 1 in flight; the peer by quorum", how, &mine, &quorum, "", false);
    tell(
        "GET, 1 in flight; the peer from its cache",
        how,
        &mine,
        &best,
        "p50 ≤ 1/2",
        false,
    );
    for connections in [1, 8] {
        let burst = |server: &Server<'_>, path: &str| {
            server.block(connections, async {
                all_at_once(&server.target, path, connections, IN_FLIGHT, LONG / 4).await?;
                all_at_once(&server.target, path, connections, IN_FLIGHT, LONG).await
            })
        };
        let (mine, quorum, best) = (burst(ours, &path)?, burst(theirs, &path)?, burst(theirs, &cached)?);
        let what = format!("GET, 64 in flight, {connections} connections");
        tell(&format!("{what}; the peer by quorum"), how, &mine, &quorum, "≥ 6 ×", true);
        tell(&format!("{what}; the peer from its cache"), how, &mine, &best, "≥ 6 ×", true);
    }
    Ok(())
}

/// LISTs of both servers.
pub(crate) fn lists(both: &[Server<'_>; 2], how: &str) -> Result<()> {
    let [ours, theirs] = both;
    let page = format!("{PATH}?limit=500");
    let old = PATH.replace("v1beta1", "v1alpha1");
    for (what, path, headers, goal) in [
        ("LIST of 10,000, JSON", PATH, &[][..], "≤ 1/8"),
        ("LIST of 10,000, a Table", PATH, &[TABLE], "≤ 1/4"),
        ("LIST of 10,000, PartialObjectMetadata", PATH, &[PARTIAL], ""),
        ("LIST, first page of 500", &page, &[], ""),
        ("LIST of 10,000 in the other version", &old, &[], ""),
    ] {
        let one = |server: &Server<'_>| {
            server.block(1, async {
                one_by_one(&server.target, path, headers, LONG / 4).await?;
                one_by_one(&server.target, path, headers, LONG).await
            })
        };
        let ((mine, size), (peers, theirs_size)) = (one(ours)?, one(theirs)?);
        println!(
            "| {what}, p50{how} (bytes) | {:.1} ms ({size}) | {:.1} ms ({theirs_size}) | {} | {goal} |",
            mine.percentile(50) / 1e3,
            peers.percentile(50) / 1e3,
            ratio(mine.percentile(50), peers.percentile(50))
        );
    }
    Ok(())
}
