//! Stored objects beside sample-apiserver: the same Flunders, the same client, both durable.
//!
//! # What is fair
//! * sample-apiserver v0.36.3 as it is, on an etcd of its own with fsync on; Outrigger with `examples/wardle` on its embedded store, which
//!   syncs every commit; and, at the end, Outrigger on such an etcd as well.
//! * The same object of 543 bytes, the same requests, one client over loopback TLS and HTTP/2, as a member of system:masters, so that no
//!   permission is asked for on either side. The servers are measured in turn; the one that is not measured is idle.
//! * Both are asked in v1beta1, the preferred version, which the peer converts from its internal type as it does any other; ours keeps objects
//!   in it. What ours costs when it has to convert is a row of its own.
//! * GET is measured as a client sends it, which the peer answers by a quorum read of etcd, and with `resourceVersion=0`, its best case.
//! * A watcher's end is the moment at which its event has been read; the client that reads has the same two cores, and is the same.

mod reads;
mod servers;
mod watches;
mod writes;

use anyhow::{Result, bail};
use outrigger_e2e::ControlPlane;
use outrigger_e2e::outrigger::account;

use servers::{Keeping, Server};

/// Objects in the store for lists and storms.
const OBJECTS: usize = 10_000;

/// What can be asked for by name.
const PARTS: [&str; 5] = ["watches", "file", "storm", "memory", "etcd"];

/// These parts, or all of them, as a table.
pub(crate) fn run(parts: &[String]) -> Result<()> {
    if let Some(unknown) = parts.iter().find(|part| !PARTS.contains(&part.as_str())) {
        bail!("{unknown} is none of {}", PARTS.join(", "));
    }
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let control_plane = ControlPlane::start()?;
    let kubeconfig = account(&control_plane)?;
    control_plane.kubectl()?.run("create namespace bench")?;
    println!("| what | Outrigger | sample-apiserver | ratio | goal |\n|---|---|---|---|---|");
    let start = |keeping| Server::start(&control_plane, &kubeconfig, keeping);
    if wanted("watches") {
        let both = [start(Keeping::Embedded)?, start(Keeping::Peer)?];
        servers::idle(&both)?;
        watches::idle(&both)?;
        watches::fan_out(&both)?;
    }
    if wanted("file") {
        let both = [start(Keeping::Embedded)?, start(Keeping::Peer)?];
        writes::writes(&both, "")?;
        writes::fill(&both)?;
        reads::gets(&both, "")?;
        reads::lists(&both, "")?;
    }
    if wanted("storm") {
        let both = [start(Keeping::Embedded)?, start(Keeping::Peer)?];
        writes::fill(&both)?;
        watches::storm(&both)?;
    }
    if wanted("memory") {
        let both = [start(Keeping::Embedded)?, start(Keeping::Peer)?];
        writes::fill(&both)?;
        let again = both.into_iter().map(Server::again).collect::<Result<Vec<_>>>()?;
        servers::objects(&again)?;
    }
    if wanted("etcd") {
        let both = [start(Keeping::Etcd)?, start(Keeping::Peer)?];
        writes::writes(&both, ", both on etcd")?;
        writes::fill(&both)?;
        reads::gets(&both, ", both on etcd")?;
        reads::lists(&both, ", both on etcd")?;
    }
    Ok(())
}
