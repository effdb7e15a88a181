//! What an object may be called, and names that the host makes (apimachinery `util/validation`, apiserver `storage/names`).

use crate::quote::Quoted;
use crate::status::Cause;

/// The alphabet of generated names (apimachinery `util/rand`): no vowels, so no words.
pub const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Letters behind the prefix.
const SUFFIX: usize = 5;
/// The longest prefix that is kept (`names.MaxGeneratedNameLength`).
const PREFIX: usize = 63 - SUFFIX;
const LONGEST: usize = 253;
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// A name from a prefix: five letters behind it, each chosen by `choose`, which is given how many there are to choose from.
pub fn generate(prefix: &str, mut choose: impl FnMut(usize) -> usize) -> String {
    let mut name: String = prefix.chars().take(PREFIX).collect();
    for _ in 0..SUFFIX {
        let letter = ALPHABET.get(choose(ALPHABET.len()) % ALPHABET.len());
        name.push(letter.copied().map_or('b', char::from));
    }
    name
}

/// What is wrong with an object's name: it must be a DNS subdomain, as that of a custom resource's object.
#[must_use]
pub fn check(name: &str) -> Vec<Cause> {
    let invalid = |why: String| Cause {
        reason: "FieldValueInvalid".into(),
        message: format!("Invalid value: {}: {why}", Quoted(name)),
        field: "metadata.name".into(),
    };
    if name.is_empty() {
        return vec![Cause {
            reason: "FieldValueRequired".into(),
            message: "Required value: name or generateName is required".into(),
            field: "metadata.name".into(),
        }];
    }
    faults(name, "characters").into_iter().map(invalid).collect()
}

/// What keeps a text from being a DNS subdomain (`IsDNS1123Subdomain`, which upstream has twice: names are counted in `characters`, the prefixes of
/// labels in `bytes`).
pub(crate) fn faults(name: &str, unit: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if name.len() > LONGEST {
        faults.push(format!("must be no more than {LONGEST} {unit}"));
    }
    if !is_subdomain(name) {
        faults.push(SUBDOMAIN.to_owned());
    }
    faults
}

/// Whether it is a DNS subdomain, however long.
pub(crate) fn is_subdomain(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.split('.').all(|label| {
        let bytes = label.as_bytes();
        let ends = bytes.first().is_some_and(|b| inner(*b)) && bytes.last().is_some_and(|b| inner(*b));
        ends && bytes.iter().all(|b| inner(*b) || *b == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_as_upstream_makes_them() {
        let mut n = 0;
        let mut next = |_| {
            n += 1;
            n - 1
        };
        assert_eq!(generate("ship-", &mut next), "ship-bcdfg");
        let long = generate(&"x".repeat(80), |_| 26);
        assert_eq!((long.len(), &long[58..]), (63, "99999"));
    }

    #[test]
    fn names_are_subdomains() {
        for (name, fits) in [
            ("a", true),
            ("a.b-c.0", true),
            ("A", false),
            ("a_b", false),
            ("-a", false),
            ("a-", false),
            ("a..b", false),
            (".a", false),
        ] {
            assert_eq!(check(name).is_empty(), fits, "{name}");
        }
        assert_eq!(check("")[0].message, "Required value: name or generateName is required");
        assert_eq!(check(&"a".repeat(254)).len(), 1);
    }
}
