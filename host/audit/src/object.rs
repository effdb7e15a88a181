//! Objects in events: bodies of requests and answers, as JSON.
//!
//! A body is kept as it was on the wire, with reference counts only; what it costs to make JSON of it is paid by whoever writes the
//! log. What cannot become JSON here (protobuf) is left out: an event without an object is still true.

use std::io::Read;

use bytes::Bytes;
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The largest object of an event, in bytes of JSON; larger ones are left out, and the event says so.
pub const MAX_OBJECT: usize = 10 << 20;

/// A body.
#[derive(Debug, Clone)]
pub struct Object {
    /// The bytes as they were sent, in pieces.
    pub pieces: Vec<Bytes>,
    /// What they are.
    pub media: Media,
    /// Whether they are compressed.
    pub gzip: bool,
}

/// The media types that can be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// JSON, any flavour.
    Json,
    /// YAML.
    Yaml,
}

/// What an object says of itself; what the URL does not say is taken from here (`audit.LogRequestObject`).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Facts {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OnlyMetadata {
    metadata: Facts,
}

// === impl Media ===

impl Media {
    /// By `Content-Type`; none is JSON, as upstream reads it. `None` for what cannot be recorded.
    #[must_use]
    pub fn of(content_type: &str) -> Option<Self> {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        match kind {
            "" | "application/json" => Some(Self::Json),
            kind if kind.ends_with("+json") => Some(Self::Json),
            "application/yaml" => Some(Self::Yaml),
            kind if kind.ends_with("+yaml") => Some(Self::Yaml),
            _ => None,
        }
    }
}

// === impl Object ===

impl Object {
    /// Bytes held.
    #[must_use]
    pub fn size(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// As JSON on one line; `None` if it is none, or too large.
    #[must_use]
    pub fn json(&self, omit_managed_fields: bool) -> Option<Box<RawValue>> {
        let text = self.text()?;
        let mut value: Value = match self.media {
            Media::Json => serde_json::from_str(&text).ok()?,
            Media::Yaml => serde_saphyr::from_str(&text).ok()?,
        };
        if omit_managed_fields {
            drop_managed_fields(&mut value);
        }
        serde_json::value::to_raw_value(&value).ok()
    }

    /// Whether it is over the limit.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.size() > MAX_OBJECT || (self.gzip && self.text().is_none())
    }

    pub(crate) fn facts(&self) -> Option<Facts> {
        let text = self.text()?;
        let read: OnlyMetadata = match self.media {
            Media::Json => serde_json::from_str(&text).ok()?,
            Media::Yaml => serde_saphyr::from_str(&text).ok()?,
        };
        Some(read.metadata)
    }

    fn text(&self) -> Option<String> {
        if self.size() > MAX_OBJECT {
            return None;
        }
        let whole = match self.pieces.as_slice() {
            [one] => one.to_vec(),
            many => many.concat(),
        };
        let whole = if self.gzip {
            let mut plain = Vec::new();
            let most = u64::try_from(MAX_OBJECT).unwrap_or(u64::MAX).saturating_add(1);
            GzDecoder::new(whole.as_slice()).take(most).read_to_end(&mut plain).ok()?;
            plain
        } else {
            whole
        };
        (whole.len() <= MAX_OBJECT).then_some(())?;
        String::from_utf8(whole).ok()
    }
}

/// Of the object itself, of a list's items, and of a table's rows (`copyWithoutManagedFields`).
fn drop_managed_fields(value: &mut Value) {
    let mut of_one = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.shift_remove("managedFields");
        }
    };
    of_one(value);
    if let Some(items) = value.get_mut("items").and_then(Value::as_array_mut) {
        items.iter_mut().for_each(&mut of_one);
    }
    if let Some(rows) = value.get_mut("rows").and_then(Value::as_array_mut) {
        rows.iter_mut().filter_map(|r| r.get_mut("object")).for_each(of_one);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn object(text: &str, media: Media) -> Object {
        let (a, b) = text.split_at(text.len() / 2);
        Object {
            pieces: vec![Bytes::copy_from_slice(a.as_bytes()), Bytes::copy_from_slice(b.as_bytes())],
            media,
            gzip: false,
        }
    }

    #[test]
    fn bodies_become_json_on_one_line() {
        let json = |o: &Object| o.json(false).map(|v| v.get().to_owned());
        assert_eq!(
            json(&object("{\n \"b\": 1.50,\n \"a\": \"é\"}", Media::Json)).unwrap(),
            r#"{"b":1.5,"a":"é"}"#
        );
        assert_eq!(
            json(&object("a: [1, x]\nb: null\n", Media::Yaml)).unwrap(),
            r#"{"a":[1,"x"],"b":null}"#
        );
        assert_eq!(json(&object("{", Media::Json)), None);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(b"{\"a\":1}").unwrap();
        let compressed = |bytes: Vec<u8>| Object {
            pieces: vec![bytes.into()],
            media: Media::Json,
            gzip: true,
        };
        assert_eq!(json(&compressed(gzip.finish().unwrap())).unwrap(), r#"{"a":1}"#);
        let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..11 {
            bomb.write_all(&vec![b' '; 1 << 20]).unwrap();
        }
        let bomb = compressed(bomb.finish().unwrap());
        assert!(bomb.is_too_large() && json(&bomb).is_none());
    }

    #[test]
    fn managed_fields_go_wherever_upstream_drops_them() {
        let of = |text: &str| object(text, Media::Json).json(true).unwrap().get().to_owned();
        let one = r#"{"metadata":{"name":"a","managedFields":[{"manager":"x"}]},"spec":{"managedFields":1}}"#;
        let bare = r#"{"metadata":{"name":"a"},"spec":{"managedFields":1}}"#;
        assert_eq!(of(one), bare);
        assert_eq!(
            of(&format!(r#"{{"items":[{one},{one}]}}"#)),
            format!(r#"{{"items":[{bare},{bare}]}}"#)
        );
        assert_eq!(
            of(&format!(r#"{{"rows":[{{"cells":[1],"object":{one}}}]}}"#)),
            format!(r#"{{"rows":[{{"cells":[1],"object":{bare}}}]}}"#)
        );
    }

    #[test]
    fn media_types_that_can_be_recorded() {
        for (kind, want) in [
            ("", Some(Media::Json)),
            ("application/json; charset=utf-8", Some(Media::Json)),
            ("application/json;as=Table;v=v1;g=meta.k8s.io", Some(Media::Json)),
            ("application/merge-patch+json", Some(Media::Json)),
            ("application/apply-patch+yaml", Some(Media::Yaml)),
            ("application/yaml", Some(Media::Yaml)),
            ("application/vnd.kubernetes.protobuf", None),
        ] {
            assert_eq!(Media::of(kind), want, "{kind}");
        }
    }
}
