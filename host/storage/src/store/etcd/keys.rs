//! How objects are called on etcd: the prefix, and behind it the text of their key.

use crate::store::{ObjectKey, Prefix};

/// Names on etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    /// The prefix: a slash at both ends.
    root: String,
}

// === impl Keys ===

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            root: format!("/{}/", prefix.trim_matches('/')),
        }
    }

    /// A key that is no object's: those have slashes.
    pub(super) fn own(&self, name: &str) -> Vec<u8> {
        format!("{}{name}", self.root).into_bytes()
    }

    pub(super) fn object(&self, key: &ObjectKey) -> Vec<u8> {
        self.own(key.as_str())
    }

    /// All keys of a resource: the first, and what is behind the last.
    pub(super) fn range(&self, of: &Prefix) -> (Vec<u8>, Vec<u8>) {
        under(self.own(of.as_str()))
    }

    /// All keys.
    pub(super) fn all(&self) -> (Vec<u8>, Vec<u8>) {
        under(self.own(""))
    }

    /// Which resource an object's key belongs to.
    pub(super) fn resource(&self, key: &[u8]) -> Option<Prefix> {
        let text = std::str::from_utf8(key).ok()?.strip_prefix(&self.root)?;
        Some(ObjectKey::parse(text)?.prefix())
    }

    /// Which object of a resource it is. What somebody else has put there is none.
    pub(super) fn parse(&self, of: &Prefix, key: &[u8]) -> Option<ObjectKey> {
        let text = std::str::from_utf8(key).ok()?.strip_prefix(&self.root)?;
        let key = ObjectKey::parse(text)?;
        of.key(&key).map(|_| key)
    }
}

/// All that begin with what ends in a slash: the first that may, and the first that does not.
fn under(first: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let mut end = first.clone();
    if let Some(slash) = end.last_mut() {
        *slash = slash.saturating_add(1);
    }
    (first, end)
}

/// The next key in the order of bytes.
pub(super) fn after(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    #[test]
    fn keys_lie_under_the_prefix() {
        for prefix in ["/registry/outrigger", "registry/outrigger/", "registry/outrigger"] {
            assert_eq!(Keys::new(prefix).root, "/registry/outrigger/", "{prefix}");
        }
        let keys = Keys::new("/r");
        for (group, plural, namespace, text) in [
            ("g.io", "ships", "sea", "/r/g.io/ships/sea/vega"),
            ("g.io", "ports", "", "/r/g.io/ports//vega"),
            ("", "things", "n", "/r//things/n/vega"),
        ] {
            let of = Prefix::of(group, plural);
            let object = of.object(&Key::new(namespace, "vega"));
            assert_eq!(keys.object(&object), text.as_bytes());
            let (first, end) = keys.range(&of);
            assert!(first.as_slice() <= text.as_bytes() && text.as_bytes() < end.as_slice());
            assert_eq!(keys.parse(&of, text.as_bytes()), Some(object));
        }
        let ships = Prefix::of("g.io", "ships");
        for text in [
            "/r/g.io/ships",
            "/r/g.io/ships/",
            "/r/g.io/ships/a",
            "/r/g.io/shipsandmore/n/a",
            "/x/g.io/ships/n/a",
            "/r/compact_rev_key",
        ] {
            assert_eq!(keys.parse(&ships, text.as_bytes()), None, "{text}");
            let (first, end) = keys.range(&ships);
            let inside = first.as_slice() <= text.as_bytes() && text.as_bytes() < end.as_slice();
            assert_eq!(inside, text.starts_with("/r/g.io/ships/"), "{text}");
        }
    }
}
