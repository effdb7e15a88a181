//! How a controller stands, for people.

use outrigger_api::time::Timestamp;
use serde::Serialize;

/// What a controller is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase", tag = "state", content = "why")]
pub enum State {
    /// It has just been found.
    #[default]
    Starting,
    /// It may not follow what it is for, or what it owns: which, in one sentence.
    NotGranted(String),
    /// Another replica leads, or none does yet.
    Standby,
    /// It does not know all that it follows yet; a sentence if something is in the way.
    Syncing(String),
    /// It reconciles.
    Running,
}

/// The last reconcile that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The object.
    pub key: String,
    /// When it ended.
    pub at: Timestamp,
    /// One sentence.
    pub error: String,
}

/// How one controller stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ControllerStatus {
    /// The plugin's name.
    pub plugin: String,
    /// The controller's name in its manifest.
    pub controller: String,
    /// What it is doing.
    #[serde(flatten)]
    pub state: State,
    /// Keys that wait.
    pub waiting: usize,
    /// Keys that are reconciled now.
    pub working: usize,
    /// Keys whose last reconcile failed.
    pub failing: usize,
    /// Reconciles that succeeded, of this process.
    pub succeeded: u64,
    /// Reconciles that failed, of this process.
    pub failed: u64,
    /// When the last one succeeded.
    pub last_success: Option<Timestamp>,
    /// The last one that failed.
    pub last_failure: Option<Failure>,
}
