//! `kv`: the plugin's own durable state.

use std::sync::Arc;

use crate::bindings::outrigger::plugin::kv;
use crate::bindings::outrigger::plugin::types::Error;
use crate::call::Call;
use crate::capabilities::{Capability, Kv};

/// The most bytes of a key.
const KEY: usize = 512;

impl kv::Host for Call {
    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, Error> {
        let kv = self.state()?;
        is_key(&key)?;
        let value = super::within(self.host_deadline(), "the store", kv.get(&key)).await?;
        self.spend(value.as_ref().map_or(0, bytes::Bytes::len))?;
        Ok(value.map(Into::into))
    }

    async fn set(&mut self, key: String, value: Vec<u8>) -> Result<(), Error> {
        let kv = self.state()?;
        is_key(&key)?;
        super::within(self.host_deadline(), "the store", kv.set(&key, value.into())).await
    }

    async fn delete(&mut self, key: String) -> Result<(), Error> {
        let kv = self.state()?;
        is_key(&key)?;
        super::within(self.host_deadline(), "the store", kv.delete(&key)).await
    }

    async fn keys(&mut self, prefix: String, after: String) -> Result<Vec<String>, Error> {
        let kv = self.state()?;
        for text in [&prefix, &after] {
            if !text.is_empty() {
                is_key(text)?;
            }
        }
        let keys = super::within(self.host_deadline(), "the store", kv.keys(&prefix, &after)).await?;
        self.spend(keys.iter().map(String::len).sum())?;
        Ok(keys)
    }
}

// === impl Call ===

impl Call {
    fn state(&self) -> Result<Arc<dyn Kv>, Error> {
        self.admit(Capability::Kv)?;
        let no = self.granted.no_kv;
        self.granted.kv.clone().ok_or_else(|| Error::Unavailable(no.to_owned()))
    }
}

fn is_key(key: &str) -> Result<(), Error> {
    match key.len() {
        0 => Err(Error::Invalid("the key is empty".into())),
        n if n > KEY => Err(Error::TooLarge(format!("the key has {n} bytes, the most is {KEY}"))),
        _ => Ok(()),
    }
}
