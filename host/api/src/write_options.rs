//! `meta/v1` CreateOptions, UpdateOptions, PatchOptions and DeleteOptions: what a write says beside its object.
//!
//! Values that upstream forbids are 422 with a cause each (apimachinery `ValidateCreateOptions` and its neighbours).

use serde::Deserialize;

use crate::query::Query;
use crate::quote::Quoted;
use crate::status::{Cause, Status};

/// Of create, update and patch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Nothing may be persisted.
    pub dry_run: bool,
    /// What unknown and duplicate fields do.
    pub validation: FieldValidation,
}

/// `fieldValidation`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Nothing.
    Ignore,
    /// A warning; upstream's default.
    #[default]
    Warn,
    /// 400.
    Strict,
}

/// Of delete and deletecollection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteOptions {
    kind: String,
    api_version: String,
    /// `All` for a dry run.
    pub dry_run: Vec<String>,
    /// Accepted; there is no grace to give.
    pub grace_period_seconds: Option<i64>,
    /// Deprecated form of `propagation_policy`.
    pub orphan_dependents: Option<bool>,
    /// Orphan, Background or Foreground.
    pub propagation_policy: Option<String>,
    /// What must hold of the object.
    pub preconditions: Option<Preconditions>,
}

/// What must hold of an object that is deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Preconditions {
    /// Its UID.
    pub uid: Option<String>,
    /// Its resourceVersion.
    pub resource_version: Option<String>,
}

const MANAGER: usize = 128;

// === impl WriteOptions ===

impl WriteOptions {
    /// Reads them; `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`.
    ///
    /// # Errors
    /// 422.
    pub fn read(query: &Query, kind: &str) -> Result<Self, Status> {
        let mut causes = Vec::new();
        let manager = query.first("fieldManager").unwrap_or_default();
        if manager.len() > MANAGER {
            causes.push(cause(
                "FieldValueTooLong",
                "fieldManager",
                format!("Too long: may not be more than {MANAGER} bytes"),
            ));
        }
        for (at, c) in manager.char_indices().filter(|(_, c)| c.is_control()).take(MANAGER) {
            let sentence = format!(
                "Invalid value: {}: invalid character U+{:04X} (at position {at})",
                Quoted(manager),
                u32::from(c)
            );
            causes.push(cause("FieldValueInvalid", "fieldManager", sentence));
        }
        if kind == "PatchOptions" && query.first("force").is_some() {
            let sentence = "Forbidden: may not be specified for non-apply patch";
            causes.push(cause("FieldValueForbidden", "force", sentence.to_owned()));
        }
        let dry_run: Vec<&str> = query.all("dryRun").collect();
        check_dry_run(&dry_run, &mut causes);
        let validation = match query.first("fieldValidation").unwrap_or_default() {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let sentence = format!(
                    "Unsupported value: {}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
                    Quoted(other)
                );
                causes.push(cause("FieldValueNotSupported", "fieldValidation", sentence));
                FieldValidation::Warn
            }
        };
        if causes.is_empty() {
            Ok(Self {
                dry_run: !dry_run.is_empty(),
                validation,
            })
        } else {
            Err(Status::invalid("meta.k8s.io", kind, "", causes))
        }
    }
}

// === impl DeleteOptions ===

impl DeleteOptions {
    /// From the body, or from the query if there is none. The body is JSON, whatever it was sent as.
    ///
    /// # Errors
    /// 400 for what is no DeleteOptions, 422 for values that are forbidden.
    pub fn read(query: &Query, json: &[u8]) -> Result<Self, Status> {
        let options = if json.is_empty() {
            Self::of(query)?
        } else {
            // An array would do for the members in their order: an empty one, for a delete without any options.
            if json.trim_ascii_start().first() != Some(&b'{') {
                return Err(Status::bad_request("DeleteOptions are an object"));
            }
            let options: Self = serde_json::from_slice(json).map_err(|e| Status::bad_request(e.to_string()))?;
            if !matches!(options.kind.as_str(), "" | "DeleteOptions") {
                return Err(Status::bad_request("decoded object cannot be converted to DeleteOptions"));
            }
            options
        };
        let mut causes = Vec::new();
        check_dry_run(&options.dry_run.iter().map(String::as_str).collect::<Vec<_>>(), &mut causes);
        match options.propagation_policy.as_deref() {
            Some(policy) if options.orphan_dependents.is_some() => causes.push(cause(
                "FieldValueInvalid",
                "propagationPolicy",
                format!(
                    "Invalid value: {}: orphanDependents and deletionPropagation cannot be both set",
                    Quoted(policy)
                ),
            )),
            None | Some("Foreground" | "Background" | "Orphan") => {}
            Some(other) => causes.push(cause(
                "FieldValueNotSupported",
                "propagationPolicy",
                format!(
                    "Unsupported value: {}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
                    Quoted(other)
                ),
            )),
        }
        if causes.is_empty() {
            Ok(options)
        } else {
            Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", causes))
        }
    }

    fn of(query: &Query) -> Result<Self, Status> {
        let grace = query.first("gracePeriodSeconds").filter(|text| !text.is_empty());
        Ok(Self {
            dry_run: query.all("dryRun").map(str::to_owned).collect(),
            grace_period_seconds: grace
                .map(str::parse)
                .transpose()
                .map_err(|_| Status::bad_request("gracePeriodSeconds: it is not an integer"))?,
            orphan_dependents: query.flag("orphanDependents"),
            // An empty one is none of the three, as upstream has it.
            propagation_policy: query.first("propagationPolicy").map(str::to_owned),
            ..Self::default()
        })
    }

    /// Nothing may be persisted.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        !self.dry_run.is_empty()
    }
}

fn check_dry_run(values: &[&str], causes: &mut Vec<Cause>) {
    if values.iter().any(|v| *v != "All") {
        let values: Vec<String> = values.iter().map(|v| Quoted(v).to_string()).collect();
        let sentence = format!("Unsupported value: [{}]: supported values: \"All\"", values.join(","));
        causes.push(cause("FieldValueNotSupported", "dryRun", sentence));
    }
}

fn cause(reason: &str, field: &str, message: String) -> Cause {
    Cause {
        reason: reason.into(),
        message,
        field: field.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_judged() {
        use FieldValidation::{Ignore, Strict, Warn};
        for (query, want) in [
            ("", Ok((false, Warn))),
            ("dryRun=All&fieldValidation=Strict&fieldManager=kubectl", Ok((true, Strict))),
            ("fieldValidation=Ignore", Ok((false, Ignore))),
            (
                "dryRun=none",
                Err("dryRun: Unsupported value: [\"none\"]: supported values: \"All\""),
            ),
            ("dryRun=", Err("dryRun: Unsupported value")),
            (
                "fieldValidation=strict",
                Err("fieldValidation: Unsupported value: \"strict\""),
            ),
        ] {
            let got = WriteOptions::read(&Query::parse(query), "CreateOptions");
            match (got, want) {
                (Ok(got), Ok(want)) => assert_eq!((got.dry_run, got.validation), want, "{query}"),
                (Err(got), Err(want)) => assert!(got.code == 422 && got.message.contains(want), "{query}: {}", got.message),
                (got, want) => panic!("{query}: {got:?}, not {want:?}"),
            }
        }
        let long = format!("fieldManager={}", "x".repeat(129));
        assert_eq!(
            WriteOptions::read(&Query::parse(&long), "CreateOptions").unwrap_err().code,
            422
        );
    }

    #[test]
    fn a_deletes_options_stand_in_its_body_or_query() {
        let read = |query: &str, body: &str| DeleteOptions::read(&Query::parse(query), body.as_bytes());
        assert!(read("dryRun=All", "").unwrap().is_dry_run());
        // As upstream: a body is the whole of it.
        assert!(!read("dryRun=All", "{}").unwrap().is_dry_run());
        let options = read(
            "",
            r#"{"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"uid":"u"},"propagationPolicy":"Background"}"#,
        );
        assert_eq!(options.unwrap().preconditions.unwrap().uid.as_deref(), Some("u"));
        for (query, body, code) in [
            ("", "[1]", 400),
            ("", "[]", 400),
            ("", "null", 400),
            ("", r#"{"kind":"Pod"}"#, 400),
            ("propagationPolicy=Never", "", 422),
            ("propagationPolicy=", "", 422),
            ("propagationPolicy=Orphan&orphanDependents=true", "", 422),
            ("dryRun=x", "", 422),
            ("gracePeriodSeconds=x", "", 400),
            ("", r#"{"orphanDependents":true,"propagationPolicy":"Orphan"}"#, 422),
        ] {
            assert_eq!(read(query, body).unwrap_err().code, code, "{query} {body}");
        }
    }
}
