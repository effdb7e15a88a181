//! `config`: the operator's configuration, valid against the manifest's schema since the plugin was loaded.

use crate::bindings::outrigger::plugin::config;
use crate::bindings::outrigger::plugin::types::Error;
use crate::call::Call;
use crate::capabilities::Capability;

impl config::Host for Call {
    fn get(&mut self) -> Result<Vec<u8>, Error> {
        self.admit(Capability::Config)?;
        let document = self.granted.config.clone().unwrap_or_default();
        self.spend(document.len())?;
        Ok(document.into())
    }
}
