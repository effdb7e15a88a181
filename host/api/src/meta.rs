//! The metadata that the host writes: `meta/v1` TypeMeta, ObjectMeta and ListMeta in JSON and protobuf.
//!
//! A row of a table has no metadata of its own: the host knows the name, and the live object has the labels. A list
//! writes thousands of these, so they borrow everything and append to a buffer of the caller: no allocation per row.
//! Keys come in the order of Go's structs, as upstream writes them.

use std::collections::BTreeMap;
use std::io::Write as _;

use crate::json::{self, Members};
use crate::protobuf as pb;
use crate::time::Timestamp;

/// No labels, no annotations.
pub static NONE: BTreeMap<String, String> = BTreeMap::new();

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeMeta<'a> {
    /// `v1`, `metrics.k8s.io/v1beta1` …
    pub api_version: &'a str,
    /// `PodMetrics`, `PodMetricsList` …
    pub kind: &'a str,
}

/// Metadata of an object. Whatever is empty (or `None`, or 0) is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectMeta<'a> {
    /// Name.
    pub name: &'a str,
    /// Namespace.
    pub namespace: &'a str,
    /// UID.
    pub uid: &'a str,
    /// Resource version; 0 for none.
    pub resource_version: u64,
    /// Generation.
    pub generation: i64,
    /// When it was made.
    pub creation: Option<Timestamp>,
    /// Labels; [`NONE`] for none.
    pub labels: &'a BTreeMap<String, String>,
    /// Annotations; [`NONE`] for none.
    pub annotations: &'a BTreeMap<String, String>,
    /// Whatever else somebody else wrote: see [`crate::object::Object::rest`]. Empty for what is wholly the host's.
    pub rest: Rest<'a>,
}

/// Members of metadata as finished bytes, borrowed from [`crate::object::Rest`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rest<'a> {
    /// JSON members without braces.
    pub json: &'a [u8],
    /// Protobuf fields.
    pub protobuf: &'a [u8],
}

/// Metadata of a list. Whatever is empty is not written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ListMeta<'a> {
    /// Resource version; 0 for none.
    pub resource_version: u64,
    /// Where the next page starts.
    pub continue_token: &'a str,
    /// How many items follow this page.
    pub remaining: Option<i64>,
}

/// A number as decimal digits, without an allocation: a list writes one per row.
struct Decimal {
    digits: [u8; 20],
    start: usize,
}

// === impl Rest ===

impl<'a> From<&'a crate::object::Rest> for Rest<'a> {
    fn from(rest: &'a crate::object::Rest) -> Self {
        Self {
            json: &rest.json,
            protobuf: &rest.protobuf,
        }
    }
}

// === impl Decimal ===

impl Decimal {
    fn of(mut number: u64) -> Self {
        let mut digits = [0; 20];
        let mut start = digits.len();
        for place in digits.iter_mut().rev() {
            *place = b'0' + (number % 10) as u8;
            start -= 1;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        Self { digits, start }
    }

    /// No digits at all for 0.
    fn unless_zero(number: u64) -> Self {
        if number == 0 {
            return Self {
                digits: [0; 20],
                start: 20,
            };
        }
        Self::of(number)
    }

    fn as_str(&self) -> &str {
        self.digits
            .get(self.start..)
            .and_then(|d| std::str::from_utf8(d).ok())
            .unwrap_or_default()
    }
}

// === impl ObjectMeta ===

impl<'a> ObjectMeta<'a> {
    /// A name, and nothing else yet.
    #[must_use]
    pub fn named(namespace: &'a str, name: &'a str) -> Self {
        Self {
            name,
            namespace,
            ..Self::default()
        }
    }

    /// Appends the JSON object.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let mut members = Members::begin(out);
        members.text("name", self.name);
        members.text("namespace", self.namespace);
        members.finished(self.rest.json);
        members.text("uid", self.uid);
        if self.resource_version != 0 {
            let version = Decimal::of(self.resource_version);
            json::write_string(members.key("resourceVersion"), version.as_str());
        }
        if self.generation != 0 {
            // Writing into a Vec does not fail.
            let _ = write!(members.key("generation"), "{}", self.generation);
        }
        if let Some(creation) = self.creation {
            creation.write_json(members.key("creationTimestamp"));
        }
        members.map("labels", self.labels);
        members.map("annotations", self.annotations);
        members.end();
    }

    /// Length of the protobuf message.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        pb::text_len(1, self.name)
            + pb::text_len(3, self.namespace)
            + pb::text_len(5, self.uid)
            + pb::text_len(6, Decimal::unless_zero(self.resource_version).as_str())
            + pb::int_len(7, self.generation)
            + self.creation.map_or(0, |t| pb::block_len(8, pb::int_len(1, t.seconds())))
            + pb::map_len(11, self.labels)
            + pb::map_len(12, self.annotations)
            + self.rest.protobuf.len()
    }

    /// Appends the protobuf message.
    pub fn write_protobuf(&self, out: &mut Vec<u8>) {
        pb::put_text(out, 1, self.name);
        pb::put_text(out, 3, self.namespace);
        pb::put_text(out, 5, self.uid);
        pb::put_text(out, 6, Decimal::unless_zero(self.resource_version).as_str());
        pb::put_int(out, 7, self.generation);
        if let Some(creation) = self.creation {
            pb::put_block(out, 8, pb::int_len(1, creation.seconds()));
            pb::put_int(out, 1, creation.seconds());
        }
        pb::put_map(out, 11, self.labels);
        pb::put_map(out, 12, self.annotations);
        out.extend_from_slice(self.rest.protobuf);
    }
}

impl Default for ObjectMeta<'_> {
    fn default() -> Self {
        Self {
            name: "",
            namespace: "",
            uid: "",
            resource_version: 0,
            generation: 0,
            creation: None,
            labels: &NONE,
            annotations: &NONE,
            rest: Rest::default(),
        }
    }
}

// === impl ListMeta ===

impl ListMeta<'_> {
    /// Appends the JSON object; `{}` if there is nothing to say.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let mut members = Members::begin(out);
        if self.resource_version != 0 {
            let version = Decimal::of(self.resource_version);
            json::write_string(members.key("resourceVersion"), version.as_str());
        }
        members.text("continue", self.continue_token);
        if let Some(remaining) = self.remaining {
            // Writing into a Vec does not fail.
            let _ = write!(members.key("remainingItemCount"), "{remaining}");
        }
        members.end();
    }

    /// Length of the protobuf message.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        pb::text_len(2, Decimal::unless_zero(self.resource_version).as_str())
            + pb::text_len(3, self.continue_token)
            + self.remaining.map_or(0, |n| pb::present_int_len(4, n))
    }

    /// Appends the protobuf message.
    pub fn write_protobuf(&self, out: &mut Vec<u8>) {
        pb::put_text(out, 2, Decimal::unless_zero(self.resource_version).as_str());
        pb::put_text(out, 3, self.continue_token);
        if let Some(remaining) = self.remaining {
            pb::put_present_int(out, 4, remaining);
        }
    }
}

// === impl TypeMeta ===

impl TypeMeta<'_> {
    /// Appends `"kind":"…","apiVersion":"…"`, in the order in which upstream has them, without braces.
    pub fn write_members(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"kind\":");
        json::write_string(out, self.kind);
        out.extend_from_slice(b",\"apiVersion\":");
        json::write_string(out, self.api_version);
    }
}
