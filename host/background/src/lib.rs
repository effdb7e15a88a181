//! What runs without a request: collectors' ticks, from the schedule into the tables, and controllers' reconciles, from watches.
//!
//! One task per collector and target owns that pair's state and its clock, so a tick can never overlap itself and nothing is
//! shared. A tick is a function (state, target) → (state, rows), and both results are taken only when it
//! succeeds: after an error, a trap, a deadline, or a result of which no row is good, the old state and the old rows stay, the rows
//! up to their age bound. Plugins do not queue behind each other: each has as many ticks under way as it is allowed.
//!
//! Replicas may share the ticks between them ([`sharing`]): then each has all rows and asks for a part of them.
//!
//! One task per controller owns its queue. What both follow in the cluster comes through [`Watches`], with the plugin's own rights.

mod collectors;
mod controllers;
mod metrics;
mod schedule;
#[cfg(test)]
mod sea;
pub mod sharing;
mod targets;
mod troubles;
mod watches;

pub use collectors::{CollectorStatus, Collectors, EMPTY, Feed, Options, TargetStatus};
pub use controllers::{ControllerOptions, ControllerStatus, Controllers, Failure, State};
pub use metrics::Metrics;
pub use sharing::{NotTaken, Replicas};
pub use targets::Targets;
pub use watches::{Blind, Follow, Following, Hears, Kind, Owner, Seen, Standing, Watches, What};
