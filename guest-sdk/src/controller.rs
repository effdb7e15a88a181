//! The role *controller*: the loop that brings the world in step with objects.
//!
//! The host watches, drops duplicates, limits, retries with growing pauses, and lets one replica work at a time. What is left is a
//! function of a key: read what is wanted, read what is there, change the difference. It is called again and again with the same
//! key, so it must not matter how often; and the object may be gone by then.
//!
//! ```
//! use outrigger_sdk::prelude::*;
//! use outrigger_sdk::serde_json::{Value, json};
//!
//! /// Keeps a copy of each ConfigMap's name in the plugin's own store.
//! struct Names;
//!
//! impl Controller for Names {
//!     const NAME: &'static str = "names";
//!
//!     fn watches() -> manifest::Controller {
//!         manifest::Controller::new(Self::NAME, manifest::ResourceName::new("", "v1", "configmaps")).resync_seconds(3600)
//!     }
//!
//!     fn reconcile(host: &impl Host, key: &Key) -> Result<Outcome, Error> {
//!         let maps = host.objects(Target::new("", "v1", "configmaps").namespace(&key.namespace));
//!         match maps.get::<Value>(&key.name) {
//!             Ok(_) => host.kv_set(&key.to_string(), b"seen")?,
//!             Err(Error::NotFound(_)) => host.kv_delete(&key.to_string())?,
//!             Err(e) => return Err(e),
//!         }
//!         Ok(Outcome::Done)
//!     }
//! }
//!
//! let host = fake::Host::new().holding(&Target::new("", "v1", "configmaps").namespace("main"), json!({"metadata": {"name": "a"}}));
//! assert_eq!(Names::reconcile(&host, &Key::of("main/a")), Ok(Outcome::Done));
//! assert_eq!(host.kept(), ["main/a"]);
//! ```

use std::fmt;
use std::time::Duration;

use outrigger_manifest as manifest;

use crate::{Error, Host};

/// Something that keeps the world in step with the objects of one resource.
pub trait Controller {
    /// Its name within the plugin, a DNS label.
    const NAME: &'static str;

    /// Whose objects it is called with, and which of others lead back to them. Both need the capability `objects` with `list` and
    /// `watch`.
    #[must_use]
    fn watches() -> manifest::Controller;

    /// Brings the world in step with one object.
    ///
    /// # Errors
    /// The host calls again with the same key, after a pause that grows.
    fn reconcile(host: &impl Host, key: &Key) -> Result<Outcome, Error>;

    /// Its entry in the manifest. [`plugin!`](crate::plugin) adds it.
    #[must_use]
    fn declaration() -> manifest::Controller {
        manifest::Controller {
            name: Self::NAME.to_owned(),
            ..Self::watches()
        }
    }
}

/// Which object.
///
/// ```
/// # use outrigger_sdk::Key;
/// let key = Key::of("main/moby-dick");
/// assert_eq!((key.namespace.as_str(), key.name.as_str()), ("main", "moby-dick"));
/// assert_eq!(Key::of("node-1").to_string(), "node-1");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Empty if cluster-scoped.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// When the host shall call again though nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// At the next change.
    Done,
    /// After so long (in milliseconds on the wire), or at the next change.
    AgainAfter(Duration),
}

// === impl Key ===

impl Key {
    /// From `NAMESPACE/NAME`, or `NAME`.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let (namespace, name) = text.split_once('/').unwrap_or(("", text));
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}
