//! What a collector keeps from one tick of a target to the next.
//!
//! The host holds it as bytes it never reads, and hands it back only after a tick that succeeded. It starts empty: at first, after a
//! change of the state's schema number, after a restart of the host. A type that serde knows is kept as JSON with no
//! line of code; where that is too slow, implement [`State`] by hand or keep [`Bytes`]. Loading never fails: what cannot be
//! read is the default, because a counter lost is one interval without a rate, and a tick that always fails is none ever.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// Bytes in, a value; a value in, bytes.
///
/// ```
/// # use outrigger_sdk::State;
/// assert_eq!(Vec::<u64>::load(b"[1,2]".to_vec()), [1, 2]);
/// assert_eq!(Vec::<u64>::load(b"[1,".to_vec()), [0u64; 0]);
/// assert_eq!(vec![1u64, 2].save().unwrap(), b"[1,2]");
/// ```
pub trait State: Sized {
    /// The value that `save` wrote. Empty bytes, or bytes that cannot be read, are the value at the start.
    fn load(bytes: Vec<u8>) -> Self;

    /// The bytes to hand to the next tick.
    ///
    /// # Errors
    /// The value has no form in bytes; the tick fails and the old state stays.
    fn save(self) -> Result<Vec<u8>, Error>;
}

/// State in a form of the plugin's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Bytes(pub Vec<u8>);

// === impl State ===

impl<T: Serialize + DeserializeOwned + Default> State for T {
    fn load(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() {
            T::default()
        } else {
            serde_json::from_slice(&bytes).unwrap_or_default()
        }
    }

    fn save(self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(&self).map_err(|e| Error::Failed(format!("the state has no form in JSON: {e}")))
    }
}

impl State for Bytes {
    fn load(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    fn save(self) -> Result<Vec<u8>, Error> {
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_the_default() {
        type Counters = BTreeMap<String, u64>;
        let kept = Counters::from([("a".to_owned(), 1)]);
        for (bytes, expected) in [
            (&br#"{"a":1}"#[..], kept),
            (b"", Counters::new()),
            (b"{", Counters::new()),
            (b"[]", Counters::new()),
            (b"\xff\x00", Counters::new()),
        ] {
            assert_eq!(Counters::load(bytes.to_vec()), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_has_no_json_form_is_an_error_and_not_a_silent_loss() {
        let keys_that_are_not_texts = BTreeMap::from([((1, 2), 3)]);
        assert!(matches!(keys_that_are_not_texts.save(), Err(Error::Failed(_))));
    }

    #[test]
    fn bytes_are_kept_as_they_are() {
        assert_eq!(Bytes::load(vec![0, 255]).save(), Ok(vec![0, 255]));
    }

    /// A type of the plugin's own, without serde: this compiles beside the blanket implementation.
    #[derive(PartialEq, Debug)]
    struct Last(u64);

    impl State for Last {
        fn load(bytes: Vec<u8>) -> Self {
            Self(bytes.try_into().map_or(0, u64::from_le_bytes))
        }

        fn save(self) -> Result<Vec<u8>, Error> {
            Ok(self.0.to_le_bytes().to_vec())
        }
    }

    #[test]
    fn a_form_of_ones_own() {
        assert_eq!(Last::load(Last(7).save().unwrap()), Last(7));
        assert_eq!(Last::load(vec![1]), Last(0));
    }
}
