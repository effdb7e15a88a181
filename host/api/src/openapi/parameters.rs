//! The parameters of operations, as apiserver reads them.
//!
//! Their descriptions are our own and short: upstream repeats a page of text for each operation, and every byte here is
//! merged, hashed and kept by kube-apiserver.

/// A parameter of the path or the query.
#[derive(Clone)]
pub(super) struct Parameter {
    pub name: &'static str,
    pub in_path: bool,
    /// `string`, `integer` or `boolean`.
    pub kind: &'static str,
    pub description: String,
}

pub(super) fn query(name: &'static str, kind: &'static str, description: &str) -> Parameter {
    Parameter {
        name,
        in_path: false,
        kind,
        description: description.into(),
    }
}

pub(super) fn in_path(name: &'static str, description: String) -> Parameter {
    Parameter {
        name,
        in_path: true,
        kind: "string",
        description,
    }
}

pub(super) fn selecting() -> Vec<Parameter> {
    vec![
        query("continue", "string", "The continue token of the page before."),
        query(
            "fieldSelector",
            "string",
            "Only objects whose fields fit. Defaults to everything.",
        ),
        query(
            "labelSelector",
            "string",
            "Only objects whose labels fit. Defaults to everything.",
        ),
        query("limit", "integer", "The largest number of objects in one answer."),
        query("resourceVersion", "string", "The version from which to answer."),
        query(
            "resourceVersionMatch",
            "string",
            "How resourceVersion is applied: Exact or NotOlderThan.",
        ),
        query("timeoutSeconds", "integer", "Limits the duration of the call."),
    ]
}

pub(super) fn watching() -> Vec<Parameter> {
    vec![
        query("allowWatchBookmarks", "boolean", "Ask for events of type BOOKMARK."),
        query(
            "sendInitialEvents",
            "boolean",
            "Begin the watch with the present state, and mark its end with a bookmark.",
        ),
        query(
            "watch",
            "boolean",
            "Watch for changes and return them as a stream of add, update, and remove notifications.",
        ),
    ]
}

pub(super) fn writing() -> Vec<Parameter> {
    vec![
        query("dryRun", "string", "All: process the request, persist nothing."),
        query(
            "fieldManager",
            "string",
            "A name for who makes these changes, at most 128 characters.",
        ),
        query(
            "fieldValidation",
            "string",
            "What unknown and duplicate fields do: Ignore, Warn (the default) or Strict.",
        ),
    ]
}

pub(super) fn deleting() -> Vec<Parameter> {
    vec![
        query("dryRun", "string", "All: process the request, persist nothing."),
        query(
            "gracePeriodSeconds",
            "integer",
            "Seconds before the object is deleted; zero means immediately.",
        ),
        query("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
        query(
            "propagationPolicy",
            "string",
            "What becomes of dependents: Orphan, Background or Foreground.",
        ),
    ]
}
