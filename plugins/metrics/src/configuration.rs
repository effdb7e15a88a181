//! What the operator may set: which usage is served besides CPU and memory.
//!
//! metrics.k8s.io lets a server add keys to `usage`; `kubectl top --show-swap` reads `swap`, and an autoscaler may name any of them. By
//! default there are none, as in metrics-server, and nothing more is asked of a kubelet: local storage costs it a look at its file
//! systems, and twice the bytes.

use outrigger_sdk::prelude::*;
use outrigger_sdk::serde_json::{Value, json};

/// The operator's document.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Configuration {
    /// Serve the key `swap`.
    pub swap: bool,
    /// Serve the key `ephemeral-storage`.
    pub ephemeral_storage: bool,
}

const USAGE: &str = "usage";
const SWAP: &str = "swap";
const EPHEMERAL_STORAGE: &str = "ephemeral-storage";

// === impl Configuration ===

impl Configuration {
    /// As the operator has it now; the default where he has not granted the capability, and so cannot have meant anything.
    ///
    /// # Errors
    /// The host has checked the document against [`Configuration::schema`], so only the host's own.
    pub fn of(host: &impl Config) -> Result<Self, Error> {
        let document: Value = match host.config() {
            Ok(document) => document,
            Err(Error::Denied(_)) => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let usage = document.get(USAGE).and_then(Value::as_array);
        let has = |key: &str| usage.is_some_and(|keys| keys.iter().any(|k| k == key));
        Ok(Self {
            swap: has(SWAP),
            ephemeral_storage: has(EPHEMERAL_STORAGE),
        })
    }

    /// How much of a summary it takes.
    #[must_use]
    pub fn detail(&self) -> Detail {
        if self.ephemeral_storage {
            Detail::Full
        } else {
            Detail::CpuAndMemory
        }
    }

    /// What a document must be.
    #[must_use]
    pub fn schema() -> Value {
        json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                (USAGE): {
                    "type": "array",
                    "description": "Keys of `usage` besides cpu and memory. ephemeral-storage needs the kubelet's full summary.",
                    "items": {"enum": [SWAP, EPHEMERAL_STORAGE]},
                    "uniqueItems": true,
                    "default": [],
                },
            },
        })
    }
}
