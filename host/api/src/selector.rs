//! Selectors: which objects a request means, by label and by field.
//!
//! Parsed once at the door, with upstream's grammar and upstream's sentences (apimachinery `labels/selector.go`,
//! `fields/selector.go`); a selector and its text form say the same.

mod fields;
mod labels;

pub use fields::{Field, FieldRequirement, FieldSelector, Term, Terms};
pub use labels::{LabelSelector, Operator, Requirement};
pub(crate) use labels::{label_key_errors, label_value_errors};
