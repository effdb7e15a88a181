//! The cells of a Table for objects that bring none: by the columns' JSONPaths, as a CRD's printer columns
//! (apiextensions `tableconvertor.go`).

use std::time::SystemTime;

use outrigger_manifest::Column;
use serde_json::Value;

use crate::json_path::JsonPath;
use crate::time::{Timestamp, human_duration};

/// The columns of one resource, read once.
#[derive(Debug, Clone, Default)]
pub struct Cells(Vec<(Option<JsonPath>, String)>);

// === impl Cells ===

impl Cells {
    /// A path that cannot be read gives empty cells, as a CRD's would.
    #[must_use]
    pub fn of(columns: &[Column]) -> Self {
        Self(
            columns
                .iter()
                .map(|c| (JsonPath::parse(&c.json_path).ok(), c.kind.clone()))
                .collect(),
        )
    }

    /// The cells of one object with commas between, without outer brackets. Ages are as of `now`.
    #[must_use]
    pub fn write(&self, object: &Value, now: SystemTime) -> Vec<u8> {
        let mut out = Vec::new();
        for (i, (path, kind)) in self.0.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            let value = path.as_ref().and_then(|path| path.first(object));
            let cell = value.and_then(|value| cell(kind, value, now)).unwrap_or(Value::Null);
            // Writing to memory does not fail.
            let _ = serde_json::to_writer(&mut out, &cell);
        }
        out
    }
}

fn cell(kind: &str, value: &Value, now: SystemTime) -> Option<Value> {
    match (kind, value) {
        (_, Value::Null) => (kind == "string").then(|| "<nil>".into()),
        ("string", Value::String(_)) | ("boolean", Value::Bool(_)) => Some(value.clone()),
        // What is no text is printed as one.
        ("string", other) => Some(other.to_string().into()),
        ("integer", Value::Number(number)) => {
            #[expect(clippy::cast_possible_truncation, reason = "as Go's conversion does")]
            let whole = || number.as_f64().map(|n| n as i64);
            number.as_i64().or_else(whole).map(Value::from)
        }
        ("number", Value::Number(_)) => Some(value.clone()),
        ("date", Value::String(text)) => Some(match Timestamp::parse(text) {
            Ok(time) => age(time, now).into(),
            Err(_) => "<invalid>".into(),
        }),
        _ => None,
    }
}

fn age(of: Timestamp, now: SystemTime) -> String {
    let now = Timestamp::from(now).seconds();
    human_duration(now.saturating_sub(of.seconds()))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::json;

    use super::*;

    /// What a CRD with these columns shows.
    #[test]
    fn cells_are_those_of_a_crds_columns() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let at = "1970-01-12T13:45:00Z";
        for (kind, value, want) in [
            ("string", json!("a"), json!("a")),
            ("string", json!(5), json!("5")),
            ("string", json!(true), json!("true")),
            ("string", json!({"a": [1]}), json!("{\"a\":[1]}")),
            ("integer", json!(5), json!(5)),
            ("integer", json!(5.9), json!(5)),
            ("integer", json!("5"), json!(null)),
            ("number", json!(1.5), json!(1.5)),
            ("boolean", json!(true), json!(true)),
            ("boolean", json!("true"), json!(null)),
            ("date", json!(at), json!("100s")),
            ("date", json!("yesterday"), json!("<invalid>")),
            ("date", json!(5), json!(null)),
            ("integer", json!(null), json!(null)),
        ] {
            let column = Column {
                kind: kind.into(),
                ..Column::string("x").path(".x")
            };
            let absent = Column::string("y").path(".y");
            let written = Cells::of(&[column, absent]).write(&json!({ "x": value }), now);
            let cells: Value = serde_json::from_slice(&[b"[", &*written, b"]"].concat()).unwrap();
            assert_eq!(cells, json!([want, null]), "{kind} {value}");
        }
    }
}
