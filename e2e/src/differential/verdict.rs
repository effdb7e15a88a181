//! What differs, and whether somebody said why.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail};

use super::compare::Aspect;
use super::difference::Difference;

/// Exchanges at a time; a watch waits for its end.
const AT_A_TIME: usize = 6;
/// Characters of a value that a report shows.
const SHOWN: usize = 300;

/// One request to both, and what differs in the answers.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The request's name, unique among all of a test.
    pub name: String,
    /// The request itself, for people.
    pub request: String,
    /// What differs.
    pub aspects: Vec<Aspect>,
}

/// What the entries say of an exchange.
struct Weighed {
    requests: usize,
    /// What nobody argued.
    open: Vec<Outcome>,
    /// The entries that argue the rest.
    used: Vec<usize>,
}

/// Has all exchanges, several at a time; fails over a difference that nobody argued, and over an argument that nobody needs.
///
/// # Errors
/// Those differences, for people.
pub fn judge<E: Sync>(exchanges: &[E], argued: &[&Difference], ask: impl Fn(&E) -> Vec<Outcome> + Sync) -> Result<()> {
    let found = all(exchanges, &ask);
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for Outcome { name, request, .. } in found.iter().flatten() {
        if let Some(other) = names.insert(name.clone(), request.clone()) {
            bail!("two requests are named {name:?}: {other} and {request}");
        }
    }
    let mut report = String::new();
    let mut used = vec![0_usize; argued.len()];
    let (mut wrong, mut requests) = (0, 0);
    for (exchange, outcomes) in exchanges.iter().zip(found) {
        let mut weighed = weigh(outcomes, argued);
        if !weighed.open.is_empty() {
            // Once more and alone: upstream writes the kind into documents that its requests share while it encodes them, so
            // that one asked for twice at a time may lack it; and a watch's last bookmark may miss the watch's end.
            weighed = weigh(ask(exchange), argued);
        }
        requests += weighed.requests;
        for entry in weighed.used {
            if let Some(count) = used.get_mut(entry) {
                *count += 1;
            }
        }
        wrong += weighed.open.len();
        for Outcome { name, request, aspects } in weighed.open {
            let _ = writeln!(report, "\n{name}: {request}");
            for Aspect { at, ours, theirs } in aspects {
                let _ = writeln!(report, "  {at}\n    ours:     {}\n    upstream: {}", cut(&ours), cut(&theirs));
            }
        }
    }
    let idle: Vec<String> = argued
        .iter()
        .zip(&used)
        .filter(|(_, used)| **used == 0)
        .map(|(entry, _)| format!("{} {}", entry.rows, entry.at))
        .collect();
    eprintln!(
        "{requests} requests; {wrong} with differences that nobody argued; {} entries, {} of them idle",
        argued.len(),
        idle.len()
    );
    if wrong > 0 || !idle.is_empty() {
        bail!("{wrong} of {requests} answers differ from upstream's:\n{report}\nentries that no request needs: {idle:#?}");
    }
    Ok(())
}

fn weigh(outcomes: Vec<Outcome>, argued: &[&Difference]) -> Weighed {
    let mut weighed = Weighed {
        requests: outcomes.len(),
        open: Vec::new(),
        used: Vec::new(),
    };
    for mut outcome in outcomes {
        outcome.aspects.retain(|aspect| {
            let entry = argued.iter().position(|entry| entry.covers(&outcome.name, &aspect.at));
            weighed.used.extend(entry);
            entry.is_none()
        });
        if !outcome.aspects.is_empty() {
            weighed.open.push(outcome);
        }
    }
    weighed
}

fn all<E: Sync>(exchanges: &[E], ask: &(impl Fn(&E) -> Vec<Outcome> + Sync)) -> Vec<Vec<Outcome>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<BTreeMap<usize, Vec<Outcome>>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::SeqCst);
                    let Some(exchange) = exchanges.get(index) else { return };
                    let outcomes = ask(exchange);
                    if let Ok(mut done) = done.lock() {
                        done.insert(index, outcomes);
                    }
                }
            });
        }
    });
    done.into_inner().map(|done| done.into_values().collect()).unwrap_or_default()
}

// === impl Outcome ===

impl Outcome {
    /// The differences of one exchange; one that did not take place is a difference.
    #[must_use]
    pub fn of(name: &str, request: &impl std::fmt::Display, aspects: Result<Vec<Aspect>>) -> Self {
        let failed = |reason: anyhow::Error| vec![Aspect::new("exchange", format!("{reason:#}"), String::new())];
        Self {
            name: name.to_owned(),
            request: request.to_string(),
            aspects: aspects.unwrap_or_else(failed),
        }
    }
}

fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(SHOWN).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}
