//! A plugin inside its component: the real host behind the capability traits, and the plugin behind the contract's exports.
//!
//! Every call enters a fresh instance, so each export first says where a panic goes. Nothing else happens here: types of
//! the contract become types of the SDK and back, by moving.

use std::marker::PhantomData;

use crate::bindings::capabilities::outrigger::plugin::{clock, config, kubelet, log};
use crate::bindings::collecting::exports::outrigger::plugin::collector as collecting;
use crate::bindings::migrating::exports::outrigger::plugin::migrator as migrating;
use crate::bindings::plugin::exports::outrigger::plugin::describe;
use crate::bindings::types;
use crate::{Clock, Collected, Config, Detail, Error, Kubelet, Level, Log, Plugin, Row};

/// The host that runs this component.
#[derive(Debug)]
pub struct Host;

/// What a component exports, for one plugin. `plugin!` names it.
#[derive(Debug)]
pub struct Exports<P>(PhantomData<P>);

// === impl Host ===

impl Log for Host {
    fn write(&self, level: Level, message: &str) {
        let level = match level {
            Level::Error => log::Level::Error,
            Level::Warn => log::Level::Warn,
            Level::Info => log::Level::Info,
            Level::Debug => log::Level::Debug,
        };
        log::write(level, message);
    }
}

impl Config for Host {
    fn document(&self) -> Result<Vec<u8>, Error> {
        Ok(config::get()?)
    }
}

impl Kubelet for Host {
    fn summary(&self, node: &str, detail: Detail) -> Result<Vec<u8>, Error> {
        Ok(kubelet::summary(node, detail == Detail::CpuAndMemory)?)
    }
}

impl Clock for Host {
    fn now(&self) -> u64 {
        clock::now()
    }

    fn monotonic(&self) -> u64 {
        clock::monotonic()
    }
}

// === impl Exports ===

impl<P: Plugin> describe::Guest for Exports<P> {
    fn describe() -> Vec<u8> {
        report_panics();
        // A manifest is texts and numbers, which always have a form in JSON; the host refuses what is empty.
        serde_json::to_vec(&P::manifest()).unwrap_or_default()
    }
}

impl<P: Plugin> collecting::Guest for Exports<P> {
    fn collect(name: String, target: String, state: Vec<u8>) -> Result<collecting::Collected, types::Error> {
        report_panics();
        let Collected { rows, state } = P::collect(&Host, &name, &target, state)?;
        Ok(collecting::Collected {
            rows: rows.into_iter().map(Into::into).collect(),
            state,
        })
    }
}

impl<P: Plugin> migrating::Guest for Exports<P> {
    fn migrate(name: String, old: u32, state: Vec<u8>) -> Result<Vec<u8>, types::Error> {
        report_panics();
        Ok(P::migrate(&name, old, state)?)
    }
}

/// A guest aborts on a panic, and the host then sees a bare `unreachable`; this says why and where before that.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a panic without a message");
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        log::panic(message, &location);
    }));
}

// === impl Row ===

impl From<Row> for collecting::Row {
    fn from(row: Row) -> Self {
        let Row {
            table,
            namespace,
            name,
            fields,
            protobuf,
            cells,
            ..
        } = row;
        Self {
            resource: table,
            namespace,
            name,
            fields,
            protobuf,
            cells,
        }
    }
}

// === impl Error ===

impl From<types::Error> for Error {
    fn from(e: types::Error) -> Self {
        match e {
            types::Error::Denied(why) => Self::Denied(why),
            types::Error::Invalid(why) => Self::Invalid(why),
            types::Error::NotFound(why) => Self::NotFound(why),
            types::Error::Conflict(why) => Self::Conflict(why),
            types::Error::Timeout(why) => Self::Timeout(why),
            types::Error::TooLarge(why) => Self::TooLarge(why),
            types::Error::Exhausted(why) => Self::Exhausted(why),
            types::Error::Unavailable(why) => Self::Unavailable(why),
            types::Error::Failed(why) => Self::Failed(why),
        }
    }
}

impl From<Error> for types::Error {
    fn from(e: Error) -> Self {
        match e {
            Error::Denied(why) => Self::Denied(why),
            Error::Invalid(why) => Self::Invalid(why),
            Error::NotFound(why) => Self::NotFound(why),
            Error::Conflict(why) => Self::Conflict(why),
            Error::Timeout(why) => Self::Timeout(why),
            Error::TooLarge(why) => Self::TooLarge(why),
            Error::Exhausted(why) => Self::Exhausted(why),
            Error::Unavailable(why) => Self::Unavailable(why),
            Error::Failed(why) => Self::Failed(why),
        }
    }
}
