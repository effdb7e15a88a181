//! The same requests to Outrigger and to a server on k8s.io/apiserver with the same objects: upstream's answer is the specification.
//!
//! Each row of the tables is one request. Status, headers and bodies are compared field by field ([`compare`]); what differs is a
//! defect, or stands with its reason in [`differences`], which `docs/differences.md` shows. An entry that no row needs any more
//! fails the test as well.

#![allow(clippy::indexing_slicing, reason = "a test may panic")]

mod compare;
mod differences;
mod discovery;
mod door;
mod health;
mod house;
mod negotiation;
mod reading;
mod row;
mod verdict;
mod watching;

use outrigger_e2e::promise;

#[test]
fn answers_are_upstreams() {
    promise(|| {
        let house = house::house()?;
        let rows = [
            discovery::rows(),
            door::rows(),
            health::rows(),
            negotiation::rows(),
            reading::rows(),
            watching::rows(),
        ];
        verdict::judge(house, &rows.concat())
    });
}

#[test]
fn the_page_shows_the_differences() {
    promise(differences::page);
}
