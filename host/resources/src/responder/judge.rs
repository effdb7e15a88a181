//! What a guest returned must be what was asked for.
//!
//! A plugin could answer with another object, another namespace's, or none at all. Type, name and namespace are filled in where it left them
//! out, and must be right where it did not.

use outrigger_api::object::{NotAnObject, Object};

/// Why an answer cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Bad {
    #[error("it is no object: {0}")]
    Object(#[from] NotAnObject),
    #[error("{field} is {found:?}, not {wanted:?}")]
    Other {
        field: &'static str,
        found: String,
        wanted: String,
    },
    #[error("an object of its list has no {0}")]
    Nameless(&'static str),
    #[error("its list has more than {0} bytes")]
    TooLarge(usize),
}

/// What an object must be.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) is_namespaced: bool,
    /// Empty for a list over all namespaces.
    pub(crate) namespace: String,
    /// Empty for a list.
    pub(crate) name: String,
}

// === impl Expected ===

impl Expected {
    /// Judges one object.
    pub(crate) fn judge(&self, json: &[u8]) -> Result<Object, Bad> {
        let mut object = Object::read(json)?;
        one("apiVersion", &mut object.api_version, &self.api_version)?;
        one("kind", &mut object.kind, &self.kind)?;
        let mut name = object.name().to_owned();
        if self.name.is_empty() && name.is_empty() {
            return Err(Bad::Nameless("metadata.name"));
        }
        if !self.name.is_empty() {
            one("metadata.name", &mut name, &self.name)?;
            object.set("name", &name);
        }
        let mut namespace = object.namespace().to_owned();
        if !self.is_namespaced || !self.name.is_empty() {
            one("metadata.namespace", &mut namespace, &self.namespace)?;
            object.set("namespace", &namespace);
        } else if namespace.is_empty() {
            if self.namespace.is_empty() {
                return Err(Bad::Nameless("metadata.namespace"));
            }
            object.set("namespace", &self.namespace);
        }
        Ok(object)
    }
}

fn one(field: &'static str, found: &mut String, wanted: &str) -> Result<(), Bad> {
    if found.is_empty() {
        wanted.clone_into(found);
    }
    if found == wanted {
        return Ok(());
    }
    Err(Bad::Other {
        field,
        found: std::mem::take(found),
        wanted: wanted.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_what_was_asked_for() {
        let one = Expected {
            api_version: "h/v1".into(),
            kind: "Ship".into(),
            is_namespaced: true,
            namespace: "sea".into(),
            name: "a".into(),
        };
        let anywhere = Expected {
            namespace: String::new(),
            name: String::new(),
            ..one.clone()
        };
        let cluster = Expected {
            is_namespaced: false,
            namespace: String::new(),
            ..one.clone()
        };
        for (name, expected, json, want) in [
            ("filled in", &one, "{}", Ok("sea/a")),
            (
                "right",
                &one,
                r#"{"apiVersion":"h/v1","kind":"Ship","metadata":{"name":"a","namespace":"sea"}}"#,
                Ok("sea/a"),
            ),
            ("no object", &one, "[]", Err("no object")),
            (
                "another kind",
                &one,
                r#"{"kind":"Boat"}"#,
                Err(r#"kind is "Boat", not "Ship""#),
            ),
            ("another version", &one, r#"{"apiVersion":"h/v2"}"#, Err("apiVersion is")),
            (
                "another name",
                &one,
                r#"{"metadata":{"name":"b"}}"#,
                Err(r#"metadata.name is "b", not "a""#),
            ),
            (
                "another's",
                &one,
                r#"{"metadata":{"namespace":"land"}}"#,
                Err("metadata.namespace is"),
            ),
            (
                "of a list",
                &anywhere,
                r#"{"metadata":{"name":"b","namespace":"land"}}"#,
                Ok("land/b"),
            ),
            (
                "nowhere",
                &anywhere,
                r#"{"metadata":{"name":"b"}}"#,
                Err("no metadata.namespace"),
            ),
            (
                "nameless",
                &anywhere,
                r#"{"metadata":{"namespace":"b"}}"#,
                Err("no metadata.name"),
            ),
            ("of the cluster", &cluster, "{}", Ok("/a")),
            (
                "in a namespace",
                &cluster,
                r#"{"metadata":{"namespace":"sea"}}"#,
                Err("metadata.namespace is"),
            ),
        ] {
            match (expected.judge(json.as_bytes()), want) {
                (Ok(object), Ok(want)) => assert_eq!(format!("{}/{}", object.namespace(), object.name()), want, "{name}"),
                (Err(error), Err(want)) => assert!(error.to_string().contains(want), "{name}: {error}"),
                (got, want) => panic!("{name}: {got:?}, not {want:?}"),
            }
        }
    }
}
