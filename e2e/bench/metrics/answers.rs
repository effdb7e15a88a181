//! What a server says, beside the truth.

use std::collections::HashMap;

use anyhow::{Context, Result};
use outrigger_e2e::quantity;
use serde::Deserialize;
use serde_json::Value;

use super::truth::{Container, Node, Place, SECOND, Size, container_index, float};

/// A LIST of pods or of nodes.
#[derive(Debug, Deserialize)]
pub(crate) struct List {
    pub(crate) items: Vec<Item>,
}

/// A PodMetrics or a NodeMetrics.
#[derive(Debug, Deserialize)]
pub(crate) struct Item {
    pub(crate) metadata: Metadata,
    timestamp: Option<String>,
    window: String,
    #[serde(default)]
    containers: Vec<Used>,
    #[serde(default)]
    usage: Value,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) name: String,
}

#[derive(Debug, Deserialize)]
struct Used {
    name: String,
    usage: Value,
}

/// Relative errors of many rates.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Errors {
    sum: f64,
    pub(crate) max: f64,
    pub(crate) count: u32,
}

/// What was found out about one server.
#[derive(Debug, Default)]
pub(crate) struct Judgement {
    /// Rates of containers that use the same all the time.
    pub(crate) steady: Errors,
    /// Rates of the others.
    pub(crate) bursty: Errors,
    /// Rates of nodes, on which both kinds run.
    pub(crate) nodes: Errors,
    /// Working sets that are not the truth.
    pub(crate) wrong: u32,
}

// === impl Errors ===

impl Errors {
    fn add(&mut self, served: f64, truth: f64) {
        let error = (served - truth).abs() / truth;
        self.sum += error;
        self.max = self.max.max(error);
        self.count += 1;
    }

    pub(crate) fn mean(&self) -> f64 {
        self.sum / f64::from(self.count.max(1))
    }
}

// === impl Judgement ===

impl Judgement {
    /// Compares pods of a LIST with the truth.
    pub(crate) fn pods(&mut self, list: &List, size: Size, epoch: u64) -> Result<()> {
        for item in &list.items {
            let Some(place) = Place::of(&item.metadata.name).filter(|place| place.pod < size.pods) else {
                continue;
            };
            let Some(second) = item.second() else { continue };
            let window = window(&item.window)?;
            for used in &item.containers {
                let Some(index) = container_index(&used.name) else { continue };
                let truth = Container::new(place, index, epoch);
                self.wrong += u32::from(quantity::bytes(&used.usage)? != truth.bytes());
                // A pod's timestamp and window are those of its oldest container, so only a container that was looked at
                // in that second can be judged by them.
                if let Some(rate) = truth.rate(second, window) {
                    let errors = if place.steady() { &mut self.steady } else { &mut self.bursty };
                    errors.add(quantity::millicores(&used.usage)? * 1e6, rate);
                }
            }
        }
        Ok(())
    }

    /// Compares nodes of a LIST with the truth.
    pub(crate) fn nodes(&mut self, list: &List, nodes: &HashMap<String, Node>) -> Result<()> {
        for item in &list.items {
            let Some(node) = nodes.get(&item.metadata.name) else {
                continue;
            };
            let Some(second) = item.second() else { continue };
            if let Some(rate) = node.rate(second, window(&item.window)?) {
                self.nodes.add(quantity::millicores(&item.usage)? * 1e6, rate);
            }
        }
        Ok(())
    }
}

// === impl Item ===

impl Item {
    fn second(&self) -> Option<u64> {
        let time: jiff::Timestamp = self.timestamp.as_deref()?.parse().ok()?;
        u64::try_from(time.as_second()).ok()
    }
}

/// Nanoseconds of a duration as Go writes it.
fn window(text: &str) -> Result<u64> {
    let mut rest = text;
    let mut nanoseconds = 0.0;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len()));
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let scale = match unit {
            "h" => 3600e9,
            "m" => 60e9,
            "s" => 1e9,
            "ms" => 1e6,
            "µs" => 1e3,
            "ns" => 1.0,
            _ => anyhow::bail!("{text} is no duration"),
        };
        nanoseconds += number.parse::<f64>().with_context(|| format!("{text} is no duration"))? * scale;
        rest = tail;
    }
    whole(nanoseconds)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
fn whole(nanoseconds: f64) -> Result<u64> {
    anyhow::ensure!((0.0..float(1_000_000 * SECOND)).contains(&nanoseconds), "{nanoseconds} ns");
    Ok(nanoseconds.round() as u64)
}

#[test]
fn windows_are_read() {
    for (text, expected) in [
        ("15.042s", 15_042_000_000),
        ("1m0.5s", 60_500_000_000),
        ("10s", 10_000_000_000),
        ("1h2m3s", 3_723_000_000_000),
        ("0s", 0),
    ] {
        assert_eq!(window(text).unwrap(), expected, "{text}");
    }
    assert!(window("soon").is_err());
}
