//! The cells of a Table for objects that bring none: by the columns' JSONPaths, as a CRD's printer columns
//! (apiextensions `tableconvertor.go`).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::SystemTime;

use outrigger_manifest::Column;
use serde_json::Value;

use crate::json_path::JsonPath;
use crate::time::{Timestamp, human_duration};

/// The columns of one resource, read once.
#[derive(Debug, Clone, Default)]
pub struct Cells {
    columns: Vec<(Option<JsonPath>, String)>,
    /// Equal columns have equal numbers.
    number: u64,
}

/// What the columns have found in one object. Ages are written when somebody reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The columns' number.
    of: u64,
    /// The cells with commas between; where an age belongs there is nothing.
    text: Box<[u8]>,
    /// Where in the text an age belongs, and the second since which it counts.
    ages: Box<[(u32, i64)]>,
}

/// A cell.
enum Cell {
    Value(Value),
    Age(i64),
}

// === impl Cells ===

impl Cells {
    /// A path that cannot be read gives empty cells, as a CRD's would.
    #[must_use]
    pub fn of(columns: &[Column]) -> Self {
        let mut hasher = DefaultHasher::new();
        for column in columns {
            (&column.json_path, &column.kind).hash(&mut hasher);
        }
        Self {
            columns: columns
                .iter()
                .map(|c| (JsonPath::parse(&c.json_path).ok(), c.kind.clone()))
                .collect(),
            number: hasher.finish(),
        }
    }

    /// The cells of one object with commas between, without outer brackets. Ages are as of `now`.
    #[must_use]
    pub fn write(&self, object: &Value, now: SystemTime) -> Vec<u8> {
        let mut out = Vec::new();
        self.find(object).write(&mut out, now);
        out
    }

    /// The cells of one object, to be remembered with it.
    #[must_use]
    pub fn find(&self, object: &Value) -> Found {
        let (mut text, mut ages) = (Vec::new(), Vec::new());
        for (i, (path, kind)) in self.columns.iter().enumerate() {
            if i > 0 {
                text.push(b',');
            }
            let value = path.as_ref().and_then(|path| path.first(object));
            match value.and_then(|value| cell(kind, value)).unwrap_or(Cell::Value(Value::Null)) {
                // Writing to memory does not fail.
                Cell::Value(value) => drop(serde_json::to_writer(&mut text, &value)),
                Cell::Age(since) => ages.push((u32::try_from(text.len()).unwrap_or(u32::MAX), since)),
            }
        }
        Found {
            of: self.number,
            text: text.into(),
            ages: ages.into(),
        }
    }
}

// === impl Found ===

impl Found {
    /// Whether these columns would find the same.
    #[must_use]
    pub fn is_of(&self, cells: &Cells) -> bool {
        self.of == cells.number
    }

    /// Appends the cells with commas between, without outer brackets. Ages are as of `now`.
    pub fn write(&self, out: &mut Vec<u8>, now: SystemTime) {
        let mut written = 0;
        for (at, since) in &self.ages {
            let at = usize::try_from(*at).unwrap_or(usize::MAX);
            out.extend_from_slice(self.text.get(written..at).unwrap_or_default());
            out.push(b'"');
            let now = Timestamp::from(now).seconds();
            out.extend_from_slice(human_duration(now.saturating_sub(*since)).as_bytes());
            out.push(b'"');
            written = at;
        }
        out.extend_from_slice(self.text.get(written..).unwrap_or_default());
    }
}

fn cell(kind: &str, value: &Value) -> Option<Cell> {
    let value = match (kind, value) {
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
        ("date", Value::String(text)) => match Timestamp::parse(text) {
            Ok(time) => return Some(Cell::Age(time.seconds())),
            Err(_) => Some("<invalid>".into()),
        },
        _ => None,
    };
    value.map(Cell::Value)
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

    #[test]
    fn what_was_found_grows_older() {
        let columns = [
            Column::date("Age").path(".at"),
            Column::string("x").path(".x"),
            Column::date("Since").path(".at"),
        ];
        let cells = Cells::of(&columns);
        let found = cells.find(&json!({"at": "1970-01-01T00:00:00Z", "x": "a"}));
        for (seconds, want) in [(1, r#""1s","a","1s""#), (7_200, r#""120m","a","120m""#)] {
            let mut out = Vec::new();
            found.write(&mut out, UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
        assert!(found.is_of(&Cells::of(&columns)));
        assert!(!found.is_of(&Cells::of(&columns[1..])));
    }
}
