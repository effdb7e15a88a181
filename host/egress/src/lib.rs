//! HTTP from plugins to the outside.
//!
//! A plugin names a URL; whether its host is on the list is judged before anything comes here. What is judged here is where that name
//! leads: the host resolves it once, looks at each address ([`address`]), and connects to exactly one that it has looked at. There is
//! no second lookup between the check and the connection, so a name that changes its mind gains nothing.
//!
//! Promises: no address of this machine, its network or its cloud's metadata service is reached unless the operator named the
//! network; redirects are handed to the caller, never followed; no proxy of the environment is asked; TLS is verified; every wait ends
//! at the caller's deadline and every answer at the caller's budget. It must never log a header or a body.

pub mod address;
mod client;
mod roots;

pub use address::{BadNetwork, Network, Refusal, judge};
pub use client::{Client, Egress, EgressError, Resolve, SystemResolver};
pub use roots::{Roots, RootsError};
