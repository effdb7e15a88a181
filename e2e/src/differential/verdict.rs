//! What differs, and whether somebody said why.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail};

use crate::compare::{self, Aspect};
use crate::differences::{self, Difference};
use crate::house::House;
use crate::row::Row;

/// Requests at a time; a watch waits for its end.
const AT_A_TIME: usize = 6;
/// Characters of a value that a report shows.
const SHOWN: usize = 300;

/// Sends all rows to both; fails over a difference that nobody argued, and over an argument that nobody needs.
pub(crate) fn judge(house: &House, rows: &[Row]) -> Result<()> {
    let argued: Vec<_> = differences::all().collect();
    let mut names: BTreeMap<&str, &Row> = BTreeMap::new();
    for row in rows {
        if let Some(other) = names.insert(&row.name, row) {
            bail!("two rows are named {:?}: {other} and {row}", row.name);
        }
    }
    house.fresh()?;
    let found = all(house, rows);
    let mut report = String::new();
    let mut used = vec![0_usize; argued.len()];
    let mut wrong = 0;
    for (row, outcome) in rows.iter().zip(found) {
        let (mut open, mut entries) = weigh(row, outcome, &argued);
        if !open.is_empty() {
            // Once more and alone: upstream writes the kind into documents that its requests share while it encodes them, so
            // that one asked for twice at a time may lack it; and a watch's last bookmark may miss the watch's end.
            (open, entries) = weigh(row, ask(house, row), &argued);
        }
        for entry in entries {
            if let Some(count) = used.get_mut(entry) {
                *count += 1;
            }
        }
        if open.is_empty() {
            continue;
        }
        wrong += 1;
        let _ = writeln!(report, "\n{}: {row}", row.name);
        for Aspect { at, ours, theirs } in open {
            let _ = writeln!(report, "  {at}\n    ours:     {}\n    upstream: {}", cut(&ours), cut(&theirs));
        }
    }
    let idle: Vec<String> = argued
        .iter()
        .zip(&used)
        .filter(|(_, used)| **used == 0)
        .map(|(entry, _)| format!("{} {}", entry.rows, entry.at))
        .collect();
    eprintln!(
        "{} requests; {wrong} with differences that nobody argued; {} entries, {} of them idle",
        rows.len(),
        argued.len(),
        idle.len()
    );
    if wrong > 0 || !idle.is_empty() {
        bail!(
            "{wrong} of {} answers differ from upstream's:\n{report}\nentries that no request needs: {idle:#?}",
            rows.len()
        );
    }
    Ok(())
}

/// What nobody argued, and the entries that argue the rest.
fn weigh(row: &Row, outcome: Result<Vec<Aspect>>, argued: &[&Difference]) -> (Vec<Aspect>, Vec<usize>) {
    let aspects = match outcome {
        Ok(aspects) => aspects,
        Err(reason) => vec![Aspect::new("exchange", format!("{reason:#}"), String::new())],
    };
    let (mut open, mut entries) = (Vec::new(), Vec::new());
    for aspect in aspects {
        match argued.iter().position(|entry| entry.covers(&row.name, &aspect.at)) {
            Some(entry) => entries.push(entry),
            None => open.push(aspect),
        }
    }
    (open, entries)
}

fn ask(house: &House, row: &Row) -> Result<Vec<Aspect>> {
    house
        .both(row)
        .map(|(ours, theirs)| compare::answers(&house.decoder, row, &ours, &theirs))
}

fn all(house: &House, rows: &[Row]) -> Vec<Result<Vec<Aspect>>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<BTreeMap<usize, Result<Vec<Aspect>>>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::SeqCst);
                    let Some(row) = rows.get(index) else { return };
                    let outcome = ask(house, row);
                    if let Ok(mut done) = done.lock() {
                        done.insert(index, outcome);
                    }
                }
            });
        }
    });
    done.into_inner().map(|done| done.into_values().collect()).unwrap_or_default()
}

fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(SHOWN).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}
