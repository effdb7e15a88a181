//! `events`: what happened to an object, for `kubectl describe`.

use crate::bindings::outrigger::plugin::events;
use crate::bindings::outrigger::plugin::types::Error;
use crate::call::Call;
use crate::capabilities::{Capability, Event, ObjectReference};
use crate::log::visible;

/// The most bytes of a reason and of a message (events.k8s.io/v1: 128 characters and 1 kB).
const REASON: usize = 128;
const MESSAGE: usize = 1024;

impl events::Host for Call {
    fn emit(&mut self, object: Vec<u8>, kind: String, reason: String, message: String) -> Result<(), Error> {
        self.admit(Capability::Events)?;
        let object: ObjectReference = serde_json::from_slice(&object)
            .map_err(|e| Error::Invalid(format!("the object is not an ObjectReference in JSON: {e}")))?;
        if object.kind.is_empty() || object.name.is_empty() {
            return Err(Error::Invalid("the ObjectReference needs kind and name".into()));
        }
        if !(object.namespace.is_empty() || outrigger_manifest::is_dns_label(&object.namespace)) {
            let namespace = visible(&object.namespace, 64);
            return Err(Error::Invalid(format!("{namespace:?} is not a namespace")));
        }
        let warning = match kind.as_str() {
            "Normal" => false,
            "Warning" => true,
            other => {
                let other = visible(other, 64);
                return Err(Error::Invalid(format!("the kind {other:?} is neither Normal nor Warning")));
            }
        };
        if reason.is_empty() || reason.len() > REASON || !reason.bytes().all(|b| b.is_ascii_alphanumeric()) {
            let reason = visible(&reason, 64);
            return Err(Error::Invalid(format!("the reason {reason:?} is not one word in CamelCase")));
        }
        let Some(events) = self.granted.events.clone() else {
            return Err(super::nobody("send events"));
        };
        // `visible` shows what a terminal would obey, and cuts.
        let message = visible(&message, MESSAGE);
        events
            .emit(Event {
                object,
                warning,
                reason,
                message,
            })
            .map_err(Error::from)
    }
}
