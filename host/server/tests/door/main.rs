//! The door from outside: a real server on a real port, spoken to through real TLS over HTTP/1.1 and HTTP/2.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may"
)]

mod discovery;
mod ending;
mod frames;
mod hot_path;
mod identity;
mod limits;
mod observation;
mod optional;
mod own_stream;
mod refusals;
mod slow;
mod strangers;
mod streams;
mod tls;
mod world;
