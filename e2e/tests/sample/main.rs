//! Upstream's sample-apiserver and `examples/wardle` answer the same requests; answers are compared field by field.
//!
//! A case is a script: what is made, changed and deleted, and what every request answers, over objects that only it has. What no two
//! servers have in common (uids, versions, times) becomes a word by [`rules`], and how those stand to each other is compared. What
//! differs is a defect, or stands with its reason in [`differences`], which `docs/stored-differences.md` shows.

#![allow(clippy::indexing_slicing, reason = "a test may panic")]

mod changing;
mod creating;
mod deleting;
mod differences;
mod house;
mod reading;
mod rules;
mod script;
mod watching;

use outrigger_e2e::differential::judge;
use outrigger_e2e::promise;

#[test]
fn stored_objects_are_upstreams() {
    promise(|| {
        let house = house::house()?;
        let cases = [
            watching::cases(),
            reading::cases(),
            creating::cases(),
            changing::cases(),
            deleting::cases(),
        ];
        let argued: Vec<_> = differences::all().collect();
        judge(&cases.concat(), &argued, |case| house.compared(case))
    });
}

#[test]
fn the_page_shows_the_differences() {
    promise(differences::page);
}
