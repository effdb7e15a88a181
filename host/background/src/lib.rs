//! What runs without a request: collectors' ticks, from the schedule into the tables.
//!
//! One task per collector and target owns that pair's state and its clock, so a tick can never overlap itself and nothing is
//! shared. A tick is a function (state, target) → (state, rows), and both results are taken only when it
//! succeeds: after an error, a trap, a deadline, or a result of which no row is good, the old state and the old rows stay, the rows
//! up to their age bound. Plugins do not queue behind each other: each has as many ticks under way as it is allowed.

mod collectors;
mod metrics;
mod schedule;
mod targets;
mod troubles;

pub use collectors::{Collectors, Options};
pub use metrics::Metrics;
pub use targets::Targets;
