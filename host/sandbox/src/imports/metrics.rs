//! `metrics`: the series that the manifest declares, and no others.

use outrigger_manifest::SeriesKind;

use crate::bindings::outrigger::plugin::metrics;
use crate::bindings::outrigger::plugin::types::Error;
use crate::call::Call;
use crate::capabilities::Capability;
use crate::log::visible;

/// The most bytes of a label's value.
const VALUE: usize = 128;

impl metrics::Host for Call {
    fn add(&mut self, name: String, labels: Vec<(String, String)>, by: f64) -> Result<(), Error> {
        if by.is_finite() && by >= 0.0 {
            return self.write_series(SeriesKind::Counter, &name, &labels, by);
        }
        self.admit(Capability::Metrics)?;
        Err(Error::Invalid("a counter grows by a number that is not negative".into()))
    }

    fn set(&mut self, name: String, labels: Vec<(String, String)>, to: f64) -> Result<(), Error> {
        self.write_series(SeriesKind::Gauge, &name, &labels, to)
    }
}

// === impl Call ===

impl Call {
    fn write_series(&self, kind: SeriesKind, name: &str, labels: &[(String, String)], value: f64) -> Result<(), Error> {
        self.admit(Capability::Metrics)?;
        let Some(declared) = self.granted.declared.iter().find(|d| d.name == name) else {
            let name = visible(name, 64);
            return Err(Error::Invalid(format!("the manifest declares no series {name:?}")));
        };
        if declared.kind != kind {
            let (is, call) = match declared.kind {
                SeriesKind::Counter => ("counter", "add"),
                SeriesKind::Gauge => ("gauge", "set"),
            };
            return Err(Error::Invalid(format!("the series {name:?} is a {is}; it takes `{call}`")));
        }
        let value_of = |label: &String| {
            let mut found = labels.iter().filter(|(name, _)| name == label);
            match (found.next(), found.next()) {
                (Some((_, value)), None) => Some(visible(value, VALUE)),
                _ => None,
            }
        };
        let values: Option<Vec<String>> = declared.labels.iter().map(value_of).collect();
        let Some(values) = values.filter(|values| values.len() == labels.len()) else {
            let all = declared.labels.join(", ");
            return Err(Error::Invalid(format!(
                "the labels of the series {name:?} are [{all}], each of them once"
            )));
        };
        let Some(grant) = &self.granted.series else {
            return Err(super::nobody("keep series"));
        };
        if grant.series.write(declared, values, value, grant.most) {
            return Ok(());
        }
        Err(Error::Exhausted(format!(
            "plugin {} has {} combinations of labels, which is the most; the operator may raise maxSeries",
            self.plugin, grant.most
        )))
    }
}
