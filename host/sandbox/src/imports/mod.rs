//! The host's side of every capability of the contract, a file each.
//!
//! Each function first asks [`Call::admit`]; what was not granted is answered `denied` with a sentence. Then its arguments are made
//! types, and held against the effective rules; only then is anybody asked, within the call's own deadline and byte budget. Nothing here
//! can trap.

mod config;
mod events;
mod free;
mod http;
mod kubelet;
mod kv;
mod metrics;
mod objects;
mod secrets;

use std::time::Instant;

use wasmtime::component::{HasSelf, Linker};

use crate::bindings::Sandbox;
use crate::bindings::outrigger::plugin::types::{self, Error};
use crate::call::Call;
use crate::capabilities::{Capability, HostError};

/// Links everything that a component may import: the contract's capabilities, and WASI without authority.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Call>> {
    let mut linker = Linker::new(engine);
    Sandbox::add_to_linker::<_, HasSelf<Call>>(&mut linker, |call| call)?;
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    Ok(linker)
}

impl types::Host for Call {}

// === impl Call ===

impl Call {
    /// Counts a host call, and refuses it if it was not granted.
    fn admit(&self, capability: Capability) -> Result<(), Error> {
        self.counters.called(capability);
        if self.granted.effective.allows(capability) {
            return Ok(());
        }
        let why = if self.granted.requested.allows(capability) {
            format!(
                "the operator has not granted the capability {capability} to plugin {}",
                self.plugin
            )
        } else {
            format!(
                "the manifest of plugin {} does not ask for the capability {capability}",
                self.plugin
            )
        };
        Err(self.deny(capability, why))
    }

    fn deny(&self, capability: Capability, why: String) -> Error {
        self.counters.denied(capability);
        Error::Denied(why)
    }

    /// What is granted, but not for this argument: says who has the say.
    fn deny_argument(&self, capability: Capability, asked: bool, what: &str) -> Error {
        let why = if asked {
            format!("the operator has not granted {what} to plugin {}", self.plugin)
        } else {
            format!("the manifest of plugin {} does not ask for {what}", self.plugin)
        };
        self.deny(capability, why)
    }

    /// Takes bytes of an answer off the call's budget.
    fn spend(&mut self, bytes: usize) -> Result<(), Error> {
        match self.answers_left.checked_sub(bytes) {
            Some(left) => {
                self.answers_left = left;
                Ok(())
            }
            None => Err(Error::TooLarge(format!(
                "the answer has {bytes} bytes, {} are left to this call",
                self.answers_left
            ))),
        }
    }
}

/// Waits for somebody else, but no longer than a host function may ([`Call::host_deadline`]).
async fn within<T>(deadline: Instant, who: &str, work: impl Future<Output = Result<T, HostError>>) -> Result<T, Error> {
    match tokio::time::timeout_at(deadline.into(), work).await {
        Ok(outcome) => outcome.map_err(Error::from),
        Err(_) => Err(Error::Timeout(format!("{who} gave no answer in time"))),
    }
}

/// The answer where this host has nobody to ask.
fn nobody(what: &str) -> Error {
    Error::Unavailable(format!("this host has no way to {what}"))
}
