//! What is kept: tables, whose rows collectors fetch and requests read and watch; stores of objects and the watch cache over them; and plugins'
//! own small state.

pub mod history;
pub mod interned;
pub mod kept;
pub mod kv;
pub mod live;
pub mod opening;
mod ring;
pub mod row;
pub mod shelf;
pub mod snapshot;
pub mod store;
pub mod table;

pub use history::{Batch, Before, Change, Encoded, Representation, TooOld};
pub use interned::Interned;
pub use kept::{Kept, Why};
pub use kv::{KeyValues, KvError, Store};
pub use live::{Labels, LiveIndex, Nothing};
pub use opening::{Opening, Piece};
pub use row::{Entry, Key, Meta, Row};
pub use shelf::Shelf;
pub use snapshot::Snapshot;
pub use store::{Store as ObjectStore, StoreError};
pub use table::{Next, NotYet, Table, Watching};
