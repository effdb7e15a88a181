//! Two servers, the same requests: what differs in their answers is a defect of ours, or an entry that somebody argued.
//!
//! [`compare`] finds what differs in two answers, [`difference`] holds what was argued and writes the page that shows it, [`verdict`] sends
//! everything, and fails over what nobody argued and over an entry that no request needs any more.

pub mod compare;
pub mod difference;
pub mod verdict;

pub use compare::Aspect;
pub use difference::Difference;
pub use verdict::{Outcome, judge};
