//! The query of a URL, decoded once, as Go's `url.ParseQuery` decodes it.
//!
//! Everything that reads parameters reads them here, so that authorization and handlers cannot disagree about what a
//! request says. A pair that cannot be decoded, or has a `;` in it, is dropped and the others stay, as
//! `http.Request.URL.Query()` does it. Of repeated keys upstream takes the first.

use percent_encoding::percent_decode;

/// Decoded parameters in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

// === impl Query ===

impl Query {
    /// Decodes what stands after the `?`.
    #[must_use]
    pub fn parse(query: &str) -> Self {
        let pairs = query
            .split('&')
            .filter(|pair| !pair.is_empty() && !pair.contains(';'))
            .filter_map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decode(key, true)?, decode(value, true)?))
            })
            .collect();
        Self { pairs }
    }

    /// The first value of a parameter; `Some("")` if it is there without one.
    #[must_use]
    pub fn first(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.pairs.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// All parameters, in their order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// A flag as apimachinery reads it: absent, `0` and `false` are false, anything else is true, also nothing at all.
    #[must_use]
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.first(key).map(|v| v != "0" && !v.eq_ignore_ascii_case("false"))
    }
}

/// Decodes percent escapes; `None` if one is broken or the result is not UTF-8. In queries `+` is a space.
pub(crate) fn decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut rest = text;
    while let Some((_, tail)) = rest.split_once('%') {
        tail.as_bytes().get(..2).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit))?;
        rest = tail.get(2..)?;
    }
    let spaced = if plus_is_space {
        text.replace('+', " ")
    } else {
        text.to_owned()
    };
    percent_decode(spaced.as_bytes())
        .decode_utf8()
        .ok()
        .map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_as_go_does_it() {
        for (query, want) in [
            ("", vec![]),
            ("&&", vec![]),
            ("a=1&b=2&a=3", vec![("a", "1"), ("b", "2"), ("a", "3")]),
            ("watch", vec![("watch", "")]),
            ("a=b=c", vec![("a", "b=c")]),
            ("labelSelector=a%20in%20%28b%2Cc%29", vec![("labelSelector", "a in (b,c)")]),
            ("x=a+b", vec![("x", "a b")]),
            ("x=%zz&y=1", vec![("y", "1")]),
            ("x=%4&y=1", vec![("y", "1")]),
            ("x=1;y=2&z=3", vec![("z", "3")]),
            ("x=%ff&y=1", vec![("y", "1")]),
        ] {
            let got = Query::parse(query).pairs;
            let got: Vec<_> = got.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            assert_eq!(got, want, "{query}");
        }
    }

    #[test]
    fn flags_are_true_unless_they_say_no() {
        for (query, want) in [
            ("", None),
            ("watch", Some(true)),
            ("watch=", Some(true)),
            ("watch=1", Some(true)),
            ("watch=no", Some(true)),
            ("watch=0", Some(false)),
            ("watch=False", Some(false)),
            ("watch=0&watch=1", Some(false)),
        ] {
            assert_eq!(Query::parse(query).flag("watch"), want, "{query}");
        }
    }
}
