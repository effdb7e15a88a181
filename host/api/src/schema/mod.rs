//! The schema of a stored resource, at work: what it prunes from an object, what it fills in, what it refuses and with which words.
//!
//! A manifest says what its objects look like in a structural OpenAPI v3 schema. [`Schema::read`] compiles it once; from then on a write walks the
//! object and the compiled schema side by side, three times: [`Schema::prune`], [`Schema::default`], [`Schema::validate`], in this
//! order, as kube-apiserver does with a custom resource (apiextensions `pkg/apiserver/schema`, kube-openapi `pkg/validation`). Reasons,
//! sentences and field paths are those of a CustomResourceDefinition's validation; the tables in `tests/golden/schema.json` were answered by it.
//!
//! What is promised:
//! - the root's `apiVersion`, `kind` and `metadata` are never touched or judged;
//! - pruning twice prunes nothing more, filling in twice fills in nothing more;
//! - **bounded**: 24 levels (below is anything), 16,384 schemas, 4 MiB of names and values, 512 patterns of at most 1 MiB each once compiled, 100 pruned paths and 256 causes
//!   told. The work on an object is linear in its size for every one of the alternatives that apply to it; patterns take linear time;
//!   nothing recurses deeper than the schema, but for printing a refused value, which is as deep as the reader of the document allows (128).
//!
//! Where it differs from upstream, each time because the answer there is a slip: an array does not pass for a formatted string; null passes an
//! enumeration where it is allowed; an integer is held against a limit with a fraction as it is.

mod embedded;
mod fill;
mod formats;
mod lists;
mod numbers;
mod pattern;
mod prune;
mod read;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use crate::field;
use crate::status::Cause;
use formats::Format;

/// What an object's fields look like.
#[derive(Debug, Clone)]
pub struct Schema {
    root: Node,
    notes: Vec<String>,
}

/// Why a schema cannot be used: one sentence for each thing, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Unusable(pub Vec<String>);

/// What one value looks like.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    /// None of them: any type.
    types: Vec<Type>,
    nullable: bool,
    /// Fields that are not named stay.
    open: bool,
    embedded: bool,
    pub(crate) properties: BTreeMap<Box<str>, Node>,
    others: Others,
    pub(crate) items: Option<Box<Node>>,
    default: Option<Box<Value>>,
    limits: Option<Box<Limits>>,
    alternatives: Option<Box<Alternatives>>,
    pub(crate) list: List,
    pub(crate) patch: Option<Box<Patch>>,
}

/// Fields that are not named.
#[derive(Debug, Clone, Default)]
enum Others {
    /// Pruned, unless the object is open.
    #[default]
    Unsaid,
    /// Refused: inside an alternative, where nothing is pruned.
    Refused,
    /// Each looks like this.
    Each(Box<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum List {
    #[default]
    Atomic,
    Set,
    /// By these keys.
    Map(Vec<Box<str>>),
}

/// `x-kubernetes-patch-strategy` and `x-kubernetes-patch-merge-key`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Patch {
    pub(crate) merge: bool,
    pub(crate) replace: bool,
    pub(crate) key: Option<Box<str>>,
}

#[derive(Debug, Clone, Default)]
struct Limits {
    enumeration: Vec<Value>,
    required: Vec<Box<str>>,
    format: Option<Format>,
    pattern: Option<(Box<str>, Regex)>,
    min_length: Option<i64>,
    max_length: Option<i64>,
    min_items: Option<i64>,
    max_items: Option<i64>,
    unique: bool,
    min_properties: Option<i64>,
    max_properties: Option<i64>,
    number: numbers::Limits,
}

#[derive(Debug, Clone, Default)]
struct Alternatives {
    any: Vec<Node>,
    one: Vec<Node>,
    all: Vec<Node>,
    not: Option<Node>,
}

/// What the root keeps whatever its schema says.
const OF_THE_HOST: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// The place of a value, printed only when something is wrong there.
#[derive(Debug, Clone, Copy)]
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    part: Part<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Part<'a> {
    Root,
    Field(&'a str),
    Index(usize),
    /// A field of a map, in the spelling of `field.Path.Key`.
    Key(&'a str),
}

// === impl Schema ===

impl Schema {
    /// Compiles the schema of an object's fields, all but apiVersion, kind and metadata.
    ///
    /// JSON Schema as schemars writes it is understood: references into `$defs` or `definitions` (one that leads back to itself is anything),
    /// `type` with null, alternatives with null, `const`. Keywords that only describe are passed over.
    ///
    /// # Errors
    /// [`Unusable`]: keywords with values that make no sense, references into nothing, patterns that cannot be read, a default that its own
    /// schema refuses, a schema that is too large.
    pub fn read(schema: &Value) -> Result<Self, Unusable> {
        read::read(schema)
    }

    /// What the schema says that nobody will hold anybody to: one sentence for each keyword, with its place.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Takes away the fields that the schema does not know; returns their paths in order (the first hundred), such as `spec.list[1].name`.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        prune::prune(&self.root, object)
    }

    /// Fills in what is not there and has a default; takes away nulls where none is allowed (with a default they become it).
    pub fn default(&self, object: &mut Value) {
        fill::fill(&self.root, object);
    }

    /// What the schema refuses of an object; nothing if it is as it should be. At most 256 causes.
    #[must_use]
    pub fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = validate::validate(&self.root, object, None);
        causes.extend(embedded::validate(&self.root, object));
        causes.extend(lists::validate(&self.root, object));
        causes.truncate(validate::CAUSES);
        causes
    }

    /// What the schema refuses of a change: what it refuses of the new object, but for values that are what they were, and but for items that stand
    /// twice in a list if they did so before (KEP-4008). So an object that was written by another schema can still be changed elsewhere.
    #[must_use]
    pub fn validate_update(&self, object: &Value, old: &Value) -> Vec<Cause> {
        let mut causes = validate::validate(&self.root, object, Some(old));
        causes.extend(embedded::validate(&self.root, object));
        if lists::validate(&self.root, old).is_empty() {
            causes.extend(lists::validate(&self.root, object));
        }
        causes.truncate(validate::CAUSES);
        causes
    }

    pub(crate) fn root(&self) -> &Node {
        &self.root
    }
}

// === impl Node ===

impl Node {
    /// Anything.
    fn anything() -> Self {
        Self {
            nullable: true,
            open: true,
            ..Self::default()
        }
    }

    pub(crate) fn is_embedded(&self) -> bool {
        self.embedded
    }

    /// The name of its type in a sentence.
    pub(crate) fn type_name(&self) -> &'static str {
        self.types.first().map_or("Struct", |kind| kind.name())
    }

    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        match (self.properties.get(name), &self.others) {
            (Some(node), _) => Some(node),
            (None, Others::Each(node)) => Some(node),
            (None, _) => None,
        }
    }

    /// A null stands here that may not.
    fn refuses_null(&self) -> bool {
        !self.nullable
    }
}

// === impl Type ===

impl Type {
    fn read(name: &str) -> Option<Self> {
        Some(match name {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }

    /// The type of a value as apimachinery's decoder sees it; none for null.
    fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(_) => Self::Boolean,
            Value::Number(number) if number.is_i64() => Self::Integer,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::String,
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Object,
        })
    }
}

// === impl Path ===

impl<'a> Path<'a> {
    const ROOT: Self = Path {
        parent: None,
        part: Part::Root,
    };

    fn field(&'a self, name: &'a str) -> Self {
        self.below(Part::Field(name))
    }

    fn index(&'a self, index: usize) -> Self {
        self.below(Part::Index(index))
    }

    fn key(&'a self, name: &'a str) -> Self {
        self.below(Part::Key(name))
    }

    fn below(&'a self, part: Part<'a>) -> Self {
        Path {
            parent: Some(self),
            part,
        }
    }

    /// Whether a member is one of those that nobody but the host judges.
    fn is_of_the_host(&self, member: &str) -> bool {
        self.parent.is_none() && OF_THE_HOST.contains(&member)
    }

    /// As kube-openapi names it in sentences; empty for the root. Whoever sends a name of megabytes does not get it back with each cause.
    fn text(&self) -> String {
        let mut out = self.parent.map(Path::text).unwrap_or_default();
        if out.len() > field::QUOTED {
            return out;
        }
        match self.part {
            Part::Root => {}
            Part::Field(name) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            Part::Index(index) => out.push_str(&format!("[{index}]")),
            Part::Key(name) => out.push_str(&format!("[{name}]")),
        }
        field::shorten(&mut out);
        out
    }

    /// As a cause names it: what is about the root is about nothing (Go prints its nil path so).
    fn cause(&self) -> String {
        match self.text() {
            text if text.is_empty() => NOWHERE.to_owned(),
            text => text,
        }
    }
}

/// The field of a cause that has none.
const NOWHERE: &str = "<nil>";
