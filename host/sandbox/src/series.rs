//! Series of plugins' own.
//!
//! One store for each plugin, by its name: it outlives the version that writes it, so a hot swap loses no count. What a series is comes
//! with every write from the version that writes; a version that declares it otherwise (another type, other labels) begins it anew.
//! The number of combinations of labels is bounded, so that no plugin fills the host's memory or its reader's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use outrigger_manifest::{Series as Declared, SeriesKind};

/// One plugin's series and their values.
#[derive(Debug, Default)]
pub struct Series(Mutex<BTreeMap<String, Family>>);

/// One series with all its combinations of labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// What the version that wrote last declares.
    pub declared: Declared,
    /// By the values of the declared labels, in their order.
    pub values: BTreeMap<Vec<String>, f64>,
}

/// A plugin's series, and how many it may have.
#[derive(Debug, Clone)]
pub struct SeriesGrant {
    /// Where they are kept.
    pub series: Arc<Series>,
    /// Combinations of labels, over all series.
    pub most: usize,
}

// === impl Series ===

impl Series {
    /// All that was written, by name.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Writes one value; false if that were one combination of labels too many.
    pub(crate) fn write(&self, declared: &Declared, labels: Vec<String>, value: f64, most: usize) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(family) = all.get(&declared.name)
            && (family.declared.kind != declared.kind || family.declared.labels != declared.labels)
        {
            all.remove(&declared.name);
        }
        let known = all.get(&declared.name).is_some_and(|f| f.values.contains_key(&labels));
        if !known && all.values().map(|f| f.values.len()).sum::<usize>() >= most {
            return false;
        }
        let family = all.entry(declared.name.clone()).or_insert_with(|| Family {
            declared: declared.clone(),
            values: BTreeMap::new(),
        });
        family.declared.help.clone_from(&declared.help);
        let at = family.values.entry(labels).or_insert(0.0);
        match declared.kind {
            SeriesKind::Counter => *at += value,
            SeriesKind::Gauge => *at = value,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_and_bounded() {
        let series = Series::default();
        let (landed, depth) = (
            Declared::counter("landed", "Ships.").label("pier"),
            Declared::gauge("depth", "Metres."),
        );
        let at = |pier: &str| vec![pier.to_owned()];
        assert!(series.write(&landed, at("a"), 1.0, 3) && series.write(&landed, at("a"), 2.5, 3));
        assert!(series.write(&landed, at("b"), 1.0, 3) && series.write(&depth, vec![], 7.0, 3));
        assert!(!series.write(&landed, at("c"), 1.0, 3), "one too many");
        assert!(series.write(&depth, vec![], 8.0, 3), "what is known goes on");
        let seen = |name: &str| {
            series
                .families()
                .into_iter()
                .find(|f| f.declared.name == name)
                .unwrap()
                .values
        };
        assert_eq!(seen("landed")[&at("a")], 3.5);
        assert_eq!(seen("depth")[&Vec::<String>::new()], 8.0);
        // Another version declares it otherwise.
        let other = Declared::gauge("landed", "Ships.");
        assert!(series.write(&other, vec![], 1.0, 3));
        assert_eq!(seen("landed").len(), 1);
    }
}
