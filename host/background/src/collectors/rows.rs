//! From what a tick brought to what a table keeps.

use outrigger_sandbox::{Collected, GuestRow};
use outrigger_storage::{Key, Row};

/// There were rows, and not one of them is good: that says nothing of the target, least of all that it has none.
pub(super) fn is_rubbish(collected: &Collected) -> bool {
    collected.rows.is_empty() && collected.complaints.count > 0
}

/// A row as the table keeps it. The sandbox has checked that fields are an object and cells an array.
pub(super) fn kept(row: GuestRow) -> Row {
    Row {
        key: Key::new(&row.namespace, &row.name),
        created: None,
        fields: inside(&row.fields).to_vec().into(),
        protobuf: row.protobuf.into_boxed_slice(),
        cells: inside(&row.cells).into(),
        meta: None,
    }
}

/// What stands between the outer brackets of a JSON object or array.
pub(crate) fn inside(json: &[u8]) -> &[u8] {
    let trimmed = json.trim_ascii();
    trimmed
        .get(1..trimmed.len().saturating_sub(1))
        .unwrap_or_default()
        .trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_come_off() {
        for (json, expected) in [
            (r#" {"a":1} "#, r#""a":1"#),
            ("{}", ""),
            ("[ 1, 2 ]", "1, 2"),
            ("", ""),
            ("x", ""),
        ] {
            assert_eq!(inside(json.as_bytes()), expected.as_bytes(), "{json:?}");
        }
    }
}
