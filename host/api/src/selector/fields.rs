//! Field selectors (apimachinery `fields/selector.go`): terms joined by commas; `\`, `,` and `=` in values are escaped by
//! a backslash. Fields are those that every kind has.

use std::fmt::{self, Display};

use crate::quote::Quoted;
use crate::status::Status;

/// All of these must hold; none selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

/// One thing that must hold of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldRequirement {
    /// Which field.
    pub field: Field,
    /// Equal to the value, or not.
    pub equal: bool,
    /// The value, unescaped.
    pub value: String,
}

/// Fields that can be selected by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// `metadata.name`
    Name,
    /// `metadata.namespace`; empty for cluster-scoped objects.
    Namespace,
}

/// Terms of any fields: what authorization sees, before anybody knows which fields there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms(Vec<Term>);

/// One thing that must hold of a field that may or may not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// The field's path, as it was written.
    pub field: String,
    /// Equal to the value, or not.
    pub equal: bool,
    /// The value, unescaped.
    pub value: String,
}

// === impl FieldSelector ===

impl FieldSelector {
    /// Reads the text form; the empty text selects everything.
    ///
    /// # Errors
    /// 400 with upstream's sentence for malformed text and for other fields.
    pub fn parse(text: &str) -> Result<Self, Status> {
        Terms::parse(text).and_then(Self::known)
    }

    /// Terms, once the fields are known (apimachinery `DefaultMetaV1FieldSelectorConversion`).
    pub(crate) fn known(terms: Terms) -> Result<Self, Status> {
        let requirement = |term: Term| {
            let field = Field::parse(&term.field).ok_or_else(|| {
                Status::bad_request(format!(
                    "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                    Quoted(&term.field)
                ))
            })?;
            Ok(FieldRequirement {
                field,
                equal: term.equal,
                value: term.value,
            })
        };
        Ok(Self {
            requirements: terms.0.into_iter().map(requirement).collect::<Result<_, Status>>()?,
        })
    }

    /// Whether this object is meant; the namespace of cluster-scoped objects is empty.
    #[must_use]
    pub fn matches(&self, namespace: &str, name: &str) -> bool {
        self.requirements.iter().all(|r| {
            let actual = match r.field {
                Field::Name => name,
                Field::Namespace => namespace,
            };
            (actual == r.value) == r.equal
        })
    }

    /// Whether everything is meant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// What must hold.
    #[must_use]
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }

    /// The only name that can be meant, if there is one: then a list is a look-up.
    #[must_use]
    pub fn exact_name(&self) -> Option<&str> {
        self.requirements
            .iter()
            .find(|r| r.equal && r.field == Field::Name)
            .map(|r| r.value.as_str())
    }
}

impl Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let operator = if r.equal { "=" } else { "!=" };
            let value = r.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{comma}{}{operator}{value}", r.field)?;
        }
        Ok(())
    }
}

// === impl Field ===

impl Field {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "metadata.name" => Some(Self::Name),
            "metadata.namespace" => Some(Self::Namespace),
            _ => None,
        }
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "metadata.name",
            Self::Namespace => "metadata.namespace",
        })
    }
}

// === impl Terms ===

impl Terms {
    /// Reads terms, sorted by their text as upstream sorts them; empty ones are skipped.
    ///
    /// # Errors
    /// 400 with upstream's sentence for malformed text.
    pub fn parse(text: &str) -> Result<Self, Status> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let term = |part: &str| {
            let not_understood = || Status::bad_request(format!("invalid selector: '{text}'; can't understand '{part}'"));
            let at = part.find('=').ok_or_else(not_understood)?;
            let (mut field, rest) = part.split_at(at);
            let equal = match field.strip_suffix('!') {
                Some(stripped) => {
                    field = stripped;
                    false
                }
                None => true,
            };
            let value = if equal { rest.strip_prefix("==") } else { None }
                .or_else(|| rest.strip_prefix('='))
                .unwrap_or_default();
            Ok(Term {
                field: field.to_owned(),
                equal,
                value: unescape(value)?,
            })
        };
        parts
            .into_iter()
            .filter(|p| !p.is_empty())
            .map(term)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// All of them.
    #[must_use]
    pub fn terms(&self) -> &[Term] {
        &self.0
    }

    /// The value that a field must have, if one is named (apimachinery `RequiresExactMatch`).
    pub(crate) fn exact(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|t| t.equal && t.field == field).map(|t| t.value.as_str())
    }
}

/// Splits at commas that are not escaped.
fn split_terms(text: &str) -> Vec<&str> {
    let mut escaped = false;
    text.split(|c| {
        let split = !escaped && c == ',';
        escaped = !escaped && c == '\\';
        split
    })
    .collect()
}

fn unescape(value: &str) -> Result<String, Status> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                other => {
                    let sequence: String = std::iter::once('\\').chain(other).collect();
                    return Err(Status::bad_request(format!(
                        "invalid field selector: invalid escape sequence: {sequence}"
                    )));
                }
            },
            // Upstream prints the number of the character.
            ',' | '=' => {
                let number = u32::from(c);
                return Err(Status::bad_request(format!(
                    "invalid field selector: unescaped character in value: {number}"
                )));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_read_as_upstream_reads_it() {
        for (text, want) in [
            ("", ""),
            ("metadata.name=x", "metadata.name=x"),
            ("metadata.name==x", "metadata.name=x"),
            ("metadata.name!=x", "metadata.name!=x"),
            ("metadata.namespace=a,metadata.name=b", "metadata.name=b,metadata.namespace=a"),
            (r"metadata.name=a\=b\,c\\", r"metadata.name=a\=b\,c\\"),
            (",,metadata.name=a,", "metadata.name=a"),
            ("metadata.name=", "metadata.name="),
        ] {
            assert_eq!(FieldSelector::parse(text).unwrap().to_string(), want, "{text}");
        }
    }

    #[test]
    fn refusals_read_as_upstream() {
        for (text, want) in [
            ("a", "invalid selector: 'a'; can't understand 'a'"),
            (
                "metadata.name=x,foo",
                "invalid selector: 'metadata.name=x,foo'; can't understand 'foo'",
            ),
            (
                "metadata.name=a=b",
                "invalid field selector: unescaped character in value: 61",
            ),
            ("a!==b", "invalid field selector: unescaped character in value: 61"),
            (r"metadata.name=a\x", r"invalid field selector: invalid escape sequence: \x"),
            (r"metadata.name=a\", r"invalid field selector: invalid escape sequence: \"),
            (
                "a!b=c",
                r#""a!b" is not a known field selector: only "metadata.name", "metadata.namespace""#,
            ),
            (
                "spec.nodeName=n",
                r#""spec.nodeName" is not a known field selector: only "metadata.name", "metadata.namespace""#,
            ),
        ] {
            let status = FieldSelector::parse(text).unwrap_err();
            assert_eq!((status.code, status.message.as_str()), (400, want), "{text}");
        }
    }

    #[test]
    fn objects_are_selected_by_name_and_namespace() {
        for (text, namespace, name, want) in [
            ("", "", "n", true),
            ("metadata.name=n", "", "n", true),
            ("metadata.name=n", "", "m", false),
            ("metadata.name!=n", "", "n", false),
            ("metadata.namespace=a", "a", "n", true),
            ("metadata.namespace=a", "", "n", false),
            ("metadata.namespace=", "", "n", true),
            ("metadata.namespace=a,metadata.name!=n", "a", "m", true),
        ] {
            assert_eq!(FieldSelector::parse(text).unwrap().matches(namespace, name), want, "{text}");
        }
        assert_eq!(FieldSelector::parse("metadata.name!=n").unwrap().exact_name(), None);
        assert_eq!(
            FieldSelector::parse("metadata.namespace=a,metadata.name=n")
                .unwrap()
                .exact_name(),
            Some("n")
        );
    }

    proptest! {
        #[test]
        fn a_selector_and_its_text_say_the_same(
            terms in prop::collection::vec((any::<bool>(), any::<bool>(), ".{0,12}"), 0..4)
        ) {
            let field = |name| if name { Field::Name } else { Field::Namespace };
            let requirement = |(name, equal, value)| FieldRequirement { field: field(name), equal, value };
            let selector = FieldSelector { requirements: terms.into_iter().map(requirement).collect() };
            // Terms are sorted by their text when they are read.
            let again = FieldSelector::parse(&selector.to_string()).unwrap();
            prop_assert_eq!(again.requirements.len(), selector.requirements.len());
            prop_assert!(selector.requirements.iter().all(|r| again.requirements.contains(r)));
        }
    }
}
