//! What every request walks through, one rule per file; [`crate::chain`] has the order.

pub mod audit;
pub mod body;
pub mod cors;
pub mod deadline;
pub mod goaway;
pub mod hsts;
pub mod in_flight;
pub mod long_running;
pub mod optional;
pub mod retry_after;
pub mod stream;
