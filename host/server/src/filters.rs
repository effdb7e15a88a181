//! What every request walks through, one rule per file; [`crate::chain`] has the order.

pub mod audit;
pub mod body;
pub mod deadline;
pub mod in_flight;
pub mod long_running;
pub mod stream;
