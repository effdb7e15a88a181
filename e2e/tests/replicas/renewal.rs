//! Leaves and authorities are renewed while everybody asks, and no request fails.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_e2e::http::runtime;
use outrigger_e2e::steady::{Protocol, Steady};
use outrigger_e2e::wait::{LATER, SOON};
use outrigger_e2e::{Outrigger, promise, until};
use serde_json::json;

use crate::house::{House, NODES, SECRET, Service};
use crate::load::Load;

/// The certificate that a replica shows to somebody new, and who signed it.
fn shown(house: &House, replica: &Outrigger) -> Result<(Vec<u8>, String)> {
    std::fs::write(replica.ca(), house.key(SECRET, "ca.crt")?)?;
    let mut steady = Steady::new(replica.client(None)?, Protocol::H1);
    runtime().block_on(steady.get("/livez"))?.ok()?;
    let leaf = steady.certificate().context("a connection")?.to_vec();
    let (_, parsed) = x509_parser::parse_x509_certificate(&leaf).context("a certificate")?;
    let issuer = parsed.issuer().to_string();
    Ok((leaf, issuer))
}

#[test]
fn leaf_and_authority_are_renewed_and_no_request_fails() {
    promise(|| {
        let house = House::new("trust-renewal")?;
        // A new authority after a minute, a new leaf each 20 s; and connections that end by themselves, so that the aggregator makes
        // new ones all the time.
        let short = [
            "--ca-lifetime=90s",
            "--cert-lifetime=30s",
            "--ca-switch-delay=3s",
            "--goaway-chance=0.02",
        ];
        let one = house.replica("trust-5", [127, 96, 0, 66], SECRET, &short)?;
        let two = house.replica("trust-6", [127, 96, 0, 67], SECRET, &short)?;
        let service = Service::start([127, 96, 0, 68], [one.address(), two.address()])?;
        house.register(service.address, &["v1", "v1beta1"], &json!({}))?;
        for replica in [&one, &two] {
            house.ready(replica, SECRET)?;
        }
        house.serves()?;

        let mut load = Load::new();
        let aggregator = house.control_plane.api();
        for (way, protocol, fresh) in [
            ("the aggregator, HTTP/1.1", Protocol::H1, false),
            ("the aggregator, HTTP/2", Protocol::H2, false),
            ("the aggregator, a connection for each request", Protocol::H1, true),
        ] {
            load.add(way, aggregator.clone(), protocol, NODES, fresh);
        }
        let (mut leaves, mut issuers) = ([BTreeSet::new(), BTreeSet::new()], [BTreeSet::new(), BTreeSet::new()]);
        let mut believed = 0;
        until("two authorities and a handful of leaves", LATER * 2, || {
            for (n, replica) in [&one, &two].into_iter().enumerate() {
                replica.program().runs()?;
                let (leaf, issuer) = shown(&house, replica)?;
                leaves[n].insert(leaf);
                issuers[n].insert(issuer);
            }
            believed = believed.max(house.bundle("v1")?.matches("BEGIN CERTIFICATE").count());
            let enough = |n: usize| issuers[n].len() >= 2 && leaves[n].len() >= 5;
            ensure!(enough(0) && enough(1) || load.failed(), "{:?} {}", issuers, leaves[0].len());
            Ok(())
        })?;
        ensure!(load.failed() || believed >= 2, "old and new are believed at once");
        let answers = load.answers();
        until("the load runs on", SOON, || {
            ensure!(load.answers() > answers + 100 || load.failed());
            Ok(())
        })?;
        for one in load.end()? {
            eprintln!(
                "trust: {}: {} answers over {} connections",
                one.way, one.answers, one.connections
            );
        }
        ensure!(issuers[0].intersection(&issuers[1]).count() >= 2, "{issuers:?}");

        // Deleted, it is made anew, and nobody is refused for that either.
        let mut load = Load::new();
        load.add("the aggregator", aggregator.clone(), Protocol::H2, NODES, false);
        house.kubectl.run(&format!("delete secret {SECRET} -n kube-system"))?;
        until("another authority signs", LATER, || {
            for replica in [&one, &two] {
                let (_, issuer) = shown(&house, replica)?;
                ensure!(!issuers[0].contains(&issuer) || load.failed(), "{issuer}");
            }
            Ok(())
        })?;
        std::thread::sleep(Duration::from_millis(100));
        load.end()?;
        Ok(())
    });
}
