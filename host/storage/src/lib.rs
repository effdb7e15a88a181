//! What is kept: tables, whose rows collectors fetch and requests read.

pub mod live;
pub mod table;

pub use live::{Labels, LiveIndex};
pub use table::{Entry, Key, Row, Snapshot, Table};
