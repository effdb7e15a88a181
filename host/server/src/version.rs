//! `/version`: apimachinery `version.Info`.

use serde::Serialize;

/// Who serves here. Shown by `kubectl version` against this server directly.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "upstream's fields, by name")]
pub struct Version {
    pub major: String,
    pub minor: String,
    pub git_version: String,
    pub git_commit: String,
    pub git_tree_state: String,
    pub build_date: String,
    pub go_version: String,
    pub compiler: String,
    pub platform: String,
}

// === impl Version ===

impl Version {
    /// The document, indented as upstream has it.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Plain strings: this cannot fail.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }
}
