//! The same requests to Outrigger and to a server on k8s.io/apiserver with the same objects: upstream's answer is the specification.
//!
//! Each row of the tables is one request. Status, headers and bodies are compared field by field ([`compare`][outrigger_e2e::differential::compare]); what differs is a
//! defect, or stands with its reason in [`differences`], which `docs/differences.md` shows. An entry that no row needs any more
//! fails the test as well.

#![allow(clippy::indexing_slicing, reason = "a test may panic")]

mod differences;
mod discovery;
mod door;
mod health;
mod house;
mod negotiation;
mod reading;
mod row;
mod watching;

use outrigger_e2e::differential::judge;
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
        let argued: Vec<_> = differences::all().collect();
        house.fresh()?;
        judge(&rows.concat(), &argued, |row| vec![house.compared(row)])
    });
}

#[test]
fn the_page_shows_the_differences() {
    promise(differences::page);
}
