//! A plugin inside its component: the real host behind the capability traits, and the plugin behind the contract's exports.
//!
//! Every call enters a fresh instance, so each export first says where a panic goes. Nothing else happens here: types of
//! the contract become types of the SDK and back, by moving.

use std::marker::PhantomData;

use crate::bindings::capabilities::outrigger::plugin::{
    clock, config, events, http as wit_http, kubelet, kv, log, metrics, objects, random, secrets,
};
use crate::bindings::collecting::exports::outrigger::plugin::collector as collecting;
use crate::bindings::controlling::exports::outrigger::plugin::controller as controlling;
use crate::bindings::deciding::exports::outrigger::plugin::strategy as deciding;
use crate::bindings::migrating::exports::outrigger::plugin::migrator as migrating;
use crate::bindings::plugin::exports::outrigger::plugin::describe;
use crate::bindings::responding::exports::outrigger::plugin::responder as responding;
use crate::bindings::testing::exports::outrigger::plugin::self_test as testing;
use crate::bindings::{requests, types};
use crate::strategy::AdmittedBytes;
use crate::{
    Clock, Cluster, Collected, Config, Detail, Error, EventKind, Events, FieldError, Http, Kubelet, Kv, Level, Log, Metrics,
    Outcome, Page, Plugin, Random, Reader, Reference, Request, Row, Secrets, Target, Writer, http,
};

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

impl Random for Host {
    fn random(&self, count: u32) -> Vec<u8> {
        random::bytes(count)
    }
}

impl Cluster for Host {
    fn get_object(&self, of: &Target, name: &str) -> Result<Vec<u8>, Error> {
        Ok(objects::get(&of.into(), name)?)
    }

    fn list_objects(&self, of: &Target, label_selector: &str, limit: u32, after: &str) -> Result<Page, Error> {
        let page = objects::list(&of.into(), label_selector, limit, after)?;
        Ok(Page {
            items: page.items,
            next: page.continue_,
        })
    }

    fn create_object(&self, of: &Target, object: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(objects::create(&of.into(), object)?)
    }

    fn update_object(&self, of: &Target, object: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(objects::update(&of.into(), object)?)
    }

    fn patch_object(&self, of: &Target, name: &str, content_type: &str, patch: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(objects::patch(&of.into(), name, content_type, patch)?)
    }

    fn delete_object(&self, of: &Target, name: &str) -> Result<(), Error> {
        Ok(objects::delete(&of.into(), name)?)
    }
}

impl Http for Host {
    fn send(&self, request: http::Request) -> Result<http::Response, Error> {
        let http::Request {
            method,
            url,
            headers,
            body,
            wrong,
        } = request;
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        let response = wit_http::send(&wit_http::Request {
            method,
            url,
            headers,
            body,
        })?;
        Ok(http::Response {
            status: response.status,
            headers: response.headers,
            body: response.body,
        })
    }
}

impl Kv for Host {
    fn kv_get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(kv::get(key)?)
    }

    fn kv_set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        Ok(kv::set(key, value)?)
    }

    fn kv_delete(&self, key: &str) -> Result<(), Error> {
        Ok(kv::delete(key)?)
    }

    fn kv_keys(&self, prefix: &str, after: &str) -> Result<Vec<String>, Error> {
        Ok(kv::keys(prefix, after)?)
    }
}

impl Events for Host {
    fn emit(&self, on: &Reference, kind: EventKind, reason: &str, message: &str) -> Result<(), Error> {
        Ok(events::emit(&serde_json::to_vec(on)?, kind.as_str(), reason, message)?)
    }
}

impl Metrics for Host {
    fn metric_add(&self, name: &str, labels: &[(&str, &str)], by: f64) -> Result<(), Error> {
        Ok(metrics::add(name, &owned(labels), by)?)
    }

    fn metric_set(&self, name: &str, labels: &[(&str, &str)], to: f64) -> Result<(), Error> {
        Ok(metrics::set(name, &owned(labels), to)?)
    }
}

fn owned(labels: &[(&str, &str)]) -> Vec<(String, String)> {
    labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

impl Secrets for Host {
    fn secret(&self, name: &str) -> Result<Vec<u8>, Error> {
        Ok(secrets::get(name)?)
    }
}

impl From<&Target> for objects::Target {
    fn from(of: &Target) -> Self {
        let Target {
            group,
            version,
            plural,
            namespace,
        } = of.clone();
        Self {
            group,
            version,
            plural,
            namespace,
        }
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

impl<P: Plugin> responding::Guest for Exports<P> {
    fn get(request: &requests::Request) -> Result<Vec<u8>, types::Error> {
        report_panics();
        Ok(P::get(&Host, &Request::new(request))?)
    }

    fn list(request: &requests::Request, to: &requests::Writer) -> Result<(), types::Error> {
        report_panics();
        Ok(P::list(&Host, &Request::new(request), Writer::new(to))?)
    }

    fn create(request: &requests::Request, object: Vec<u8>) -> Result<Vec<u8>, types::Error> {
        report_panics();
        Ok(P::create(&Host, &Request::new(request), &object)?)
    }

    fn update(request: &requests::Request, object: Vec<u8>) -> Result<Vec<u8>, types::Error> {
        report_panics();
        Ok(P::update(&Host, &Request::new(request), &object)?)
    }

    fn delete(request: &requests::Request) -> Result<Vec<u8>, types::Error> {
        report_panics();
        Ok(P::delete(&Host, &Request::new(request))?)
    }

    fn connect(request: &requests::Request, from: &requests::Reader, to: &requests::Writer) -> Result<(), types::Error> {
        report_panics();
        Ok(P::connect(&Host, &Request::new(request), Reader::new(from), Writer::new(to))?)
    }
}

impl<P: Plugin> deciding::Guest for Exports<P> {
    fn admit(request: &requests::Request, object: Vec<u8>, old: Vec<u8>) -> Result<deciding::Admitted, types::Error> {
        report_panics();
        let AdmittedBytes {
            object,
            warnings,
            fields,
        } = P::admit(&Host, Request::new(request), &object, &old)?;
        Ok(deciding::Admitted {
            object,
            warnings,
            errors: fields.into_iter().map(Into::into).collect(),
        })
    }

    fn convert(resource: String, version: String, objects: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, types::Error> {
        report_panics();
        Ok(P::convert(&resource, &version, &objects)?)
    }
}

impl<P: Plugin> controlling::Guest for Exports<P> {
    fn reconcile(name: String, key: String) -> Result<controlling::Outcome, types::Error> {
        report_panics();
        Ok(match P::reconcile(&Host, &name, &key)? {
            Outcome::Done => controlling::Outcome::Done,
            Outcome::AgainAfter(pause) => controlling::Outcome::AgainAfter(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)),
        })
    }
}

impl<P: Plugin> testing::Guest for Exports<P> {
    fn self_test() -> Result<(), types::Error> {
        report_panics();
        Ok(P::self_test(&Host)?)
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

// === impl FieldError ===

impl From<FieldError> for types::FieldError {
    fn from(e: FieldError) -> Self {
        Self {
            reason: e.reason,
            field: e.field,
            message: e.message,
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
