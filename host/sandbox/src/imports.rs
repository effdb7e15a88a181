//! The host's side of every capability of the contract.
//!
//! Each function first asks [`Call::admit`]; what was not granted is answered `denied` with a sentence. Nothing here can trap.
//! Capabilities that this version does not serve yet answer `unavailable` once granted, so that a plugin with an optional use of
//! them runs today.

use std::time::{Instant, SystemTime};

use wasmtime::component::{HasSelf, Linker};

use crate::bindings::Sandbox;
use crate::bindings::outrigger::plugin::types::Error;
use crate::bindings::outrigger::plugin::{
    clock, config, events, http, kubelet, kv, log, metrics, objects, random, secrets, types,
};
use crate::call::Call;
use crate::capabilities::{Capability, ContractError, SENTENCE};
use crate::failure::Panic;
use crate::log::{Level, Source, visible};
use crate::rows::is_object_name;

/// Links everything that a component may import: the contract's capabilities, and WASI without authority.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Call>> {
    let mut linker = Linker::new(engine);
    Sandbox::add_to_linker::<_, HasSelf<Call>>(&mut linker, |call| call)?;
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    Ok(linker)
}

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

    /// The answer of a capability that has no implementation in this version.
    fn later<T>(&self, capability: Capability) -> Result<T, Error> {
        self.admit(capability)?;
        Err(Error::Unavailable(format!(
            "this version of the host does not serve the capability {capability}"
        )))
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

impl types::Host for Call {}

impl log::Host for Call {
    fn write(&mut self, level: log::Level, message: String) {
        self.counters.called(Capability::Log);
        let level = match level {
            log::Level::Error => Level::Error,
            log::Level::Warn => Level::Warn,
            log::Level::Info => Level::Info,
            log::Level::Debug => Level::Debug,
        };
        Call::write(self, level, Source::Log, &message);
    }

    fn panic(&mut self, message: String, location: String) {
        self.counters.called(Capability::Log);
        self.panic = Some(Panic {
            message: visible(&message, SENTENCE),
            location: visible(&location, 256),
        });
    }
}

impl config::Host for Call {
    fn get(&mut self) -> Result<Vec<u8>, Error> {
        self.admit(Capability::Config)?;
        let document = self.granted.config.clone().unwrap_or_default();
        self.spend(document.len())?;
        Ok(document.into())
    }
}

impl kubelet::Host for Call {
    async fn summary(&mut self, node: String, only_cpu_and_memory: bool) -> Result<Vec<u8>, Error> {
        self.admit(Capability::Kubelet)?;
        if !is_object_name(&node) {
            return Err(Error::Invalid(format!("{:?} is not the name of a node", visible(&node, 64))));
        }
        if let Some(own) = self.node.as_deref().filter(|own| *own != node) {
            let why = format!("this collector runs for each node, so it may ask for its target {own:?} only, not for {node:?}");
            return Err(self.deny(Capability::Kubelet, why));
        }
        let Some(kubelet) = self.granted.kubelet.clone() else {
            return Err(Error::Unavailable("this host has no way to kubelets".into()));
        };
        let deadline = self.host_deadline();
        match tokio::time::timeout_at(deadline.into(), kubelet.summary(&node, only_cpu_and_memory, deadline)).await {
            Ok(Ok(bytes)) => {
                self.spend(bytes.len())?;
                Ok(bytes.into())
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(ContractError::Timeout(format!("the kubelet of node {node} gave no answer in time")).into()),
        }
    }
}

impl clock::Host for Call {
    fn now(&mut self) -> u64 {
        self.counters.called(Capability::Clock);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn monotonic(&mut self) -> u64 {
        // The first call of the process is the fixed point: no guest learns how long the machine is up.
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        self.counters.called(Capability::Clock);
        u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl random::Host for Call {
    fn bytes(&mut self, count: u32) -> Vec<u8> {
        self.counters.called(Capability::Random);
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(usize::MAX).min(4096)];
        wasmtime_wasi::thread_rng().fill_bytes(&mut bytes);
        bytes
    }
}

impl objects::Host for Call {
    async fn get(&mut self, _: objects::Target, _: String) -> Result<Vec<u8>, Error> {
        self.later(Capability::Objects)
    }

    async fn list(&mut self, _: objects::Target, _: String, _: u32, _: String) -> Result<objects::Page, Error> {
        self.later(Capability::Objects)
    }

    async fn create(&mut self, _: objects::Target, _: Vec<u8>) -> Result<Vec<u8>, Error> {
        self.later(Capability::Objects)
    }

    async fn update(&mut self, _: objects::Target, _: Vec<u8>) -> Result<Vec<u8>, Error> {
        self.later(Capability::Objects)
    }

    async fn patch(&mut self, _: objects::Target, _: String, _: String, _: Vec<u8>) -> Result<Vec<u8>, Error> {
        self.later(Capability::Objects)
    }

    async fn delete(&mut self, _: objects::Target, _: String) -> Result<(), Error> {
        self.later(Capability::Objects)
    }
}

impl http::Host for Call {
    async fn send(&mut self, _: http::Request) -> Result<http::Response, Error> {
        self.later(Capability::Http)
    }
}

impl kv::Host for Call {
    async fn get(&mut self, _: String) -> Result<Option<Vec<u8>>, Error> {
        self.later(Capability::Kv)
    }

    async fn set(&mut self, _: String, _: Vec<u8>) -> Result<(), Error> {
        self.later(Capability::Kv)
    }

    async fn delete(&mut self, _: String) -> Result<(), Error> {
        self.later(Capability::Kv)
    }

    async fn keys(&mut self, _: String, _: String) -> Result<Vec<String>, Error> {
        self.later(Capability::Kv)
    }
}

impl events::Host for Call {
    fn emit(&mut self, _: Vec<u8>, _: String, _: String, _: String) -> Result<(), Error> {
        self.later(Capability::Events)
    }
}

impl metrics::Host for Call {
    fn add(&mut self, _: String, _: Vec<(String, String)>, _: f64) -> Result<(), Error> {
        self.later(Capability::Metrics)
    }

    fn set(&mut self, _: String, _: Vec<(String, String)>, _: f64) -> Result<(), Error> {
        self.later(Capability::Metrics)
    }
}

impl secrets::Host for Call {
    async fn get(&mut self, _: String) -> Result<Vec<u8>, Error> {
        self.later(Capability::Secrets)
    }
}
