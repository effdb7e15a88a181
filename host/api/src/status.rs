//! `meta/v1 Status`: how every refusal reads, with upstream's words (apimachinery `api/errors/errors.go`).
//!
//! Inside a room errors are small enums; they become a [`Status`] in one place per room, and a `Status` becomes bytes in
//! the encoding that the client asked for, also before routing.

use serde::{Deserialize, Serialize};

/// An answer that is not an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason such as `NotFound`; empty for none.
    pub reason: String,
    /// One sentence for a person.
    pub message: String,
    /// What it is about.
    pub details: Option<Details>,
}

/// What a [`Status`] is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    /// Object name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Kind or plural resource, as upstream has it in each case.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// UID.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Single causes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// Ask again after so many seconds; becomes `Retry-After` too. 0 for none.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

/// One cause of a [`Status`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// `FieldValueInvalid` …
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// One sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Field path.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}
