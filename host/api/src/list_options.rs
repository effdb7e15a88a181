//! `meta/v1 ListOptions`: the query of a list or watch, read once.
//!
//! Reading has upstream's three steps in upstream's order (apiserver `handlers/get.go` listOpts): malformed values are 400,
//! combinations that make no sense are 422 Invalid with a cause each, fields nobody can select by are 400. A resource
//! version that is no number is 400 here for every verb, where upstream has 500 on some.

use std::num::NonZeroUsize;

use crate::continue_token::ContinueToken;
use crate::query::Query;
use crate::quote::Quoted;
use crate::selector::{FieldSelector, LabelSelector, Terms};
use crate::status::{Cause, Status};

/// A list or watch request's options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Which labels.
    pub label_selector: LabelSelector,
    /// Which names and namespaces.
    pub field_selector: FieldSelector,
    /// Watch instead of list.
    pub watch: bool,
    /// The watcher understands bookmarks.
    pub allow_watch_bookmarks: bool,
    /// At most so many items; `None` for all.
    pub limit: Option<NonZeroUsize>,
    /// Where the page starts, as an earlier page gave it; empty for the first.
    pub continue_token: String,
    /// How fresh.
    pub resource_version: ResourceVersion,
    /// What [`ListOptions::resource_version`] means.
    pub resource_version_match: Option<ResourceVersionMatch>,
    /// End after so many seconds; `None` leaves it to the server.
    pub timeout_seconds: Option<u64>,
    /// Whether a watch starts with what is there. A watch that names no version (or `0`) and says nothing of this has
    /// it, as upstream sets it with its WatchList gate on.
    pub send_initial_events: Option<bool>,
}

/// A resource version in a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ResourceVersion {
    /// Not given: the newest there is.
    #[default]
    Unset,
    /// `0`: whatever is at hand.
    Any,
    /// This one, or as [`ResourceVersionMatch`] says.
    At(u64),
}

/// `resourceVersionMatch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResourceVersionMatch {
    /// At this version.
    Exact,
    /// At this version or a later one.
    NotOlderThan,
}

// === impl ListOptions ===

impl ListOptions {
    /// Reads the query (what stands after the `?`).
    ///
    /// # Errors
    /// 400 for malformed values and unknown fields, 422 for combinations that upstream forbids.
    pub fn parse(query: &str) -> Result<Self, Status> {
        Self::read(&Query::parse(query))
    }

    /// Reads a query that is decoded already.
    ///
    /// # Errors
    /// See [`ListOptions::parse`].
    pub fn read(query: &Query) -> Result<Self, Status> {
        let (options, terms) = Self::decode(query)?;
        options.check(query, terms)
    }

    /// Reads the query of a request that is a watch by its path.
    ///
    /// # Errors
    /// See [`ListOptions::parse`].
    pub fn read_watch(query: &Query) -> Result<Self, Status> {
        let (mut options, terms) = Self::decode(query)?;
        options.watch = true;
        options.check(query, terms)
    }

    fn check(self, query: &Query, terms: Terms) -> Result<Self, Status> {
        let mut options = self;
        let version_match = query.first("resourceVersionMatch").unwrap_or_default();
        let version = query.first("resourceVersion").unwrap_or_default();
        let legacy_watch = options.watch && matches!(version, "" | "0") && version_match.is_empty();
        if legacy_watch && options.send_initial_events.is_none() {
            options.send_initial_events = Some(true);
            options.resource_version_match = Some(ResourceVersionMatch::NotOlderThan);
        } else {
            let causes = options.forbidden(version, version_match);
            if !causes.is_empty() {
                return Err(Status::invalid("meta.k8s.io", "ListOptions", "", causes));
            }
            options.resource_version_match = ResourceVersionMatch::parse(version_match);
        }
        options.field_selector = FieldSelector::known(terms)?;
        options.resource_version = match version {
            // A page is of its token's version (apiserver `storage` ValidateListOptions).
            version if !options.watch && !options.continue_token.is_empty() && !matches!(version, "" | "0") => {
                ContinueToken::decode(&options.continue_token)?;
                return Err(Status::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            version if options.watch => ResourceVersion::parse(version)?,
            version => ResourceVersion::parse_of_list(version)?,
        };
        Ok(options)
    }

    /// Whether the values alone can be read, and which fields are selected by: what [`crate::request_info`] needs.
    pub(crate) fn decode(query: &Query) -> Result<(Self, Terms), Status> {
        let options = Self {
            label_selector: LabelSelector::parse(query.first("labelSelector").unwrap_or_default())?,
            watch: query.flag("watch").unwrap_or_default(),
            allow_watch_bookmarks: query.flag("allowWatchBookmarks").unwrap_or_default(),
            limit: usize::try_from(integer(query, "limit")?.unwrap_or_default())
                .ok()
                .and_then(NonZeroUsize::new),
            continue_token: query.first("continue").unwrap_or_default().to_owned(),
            timeout_seconds: integer(query, "timeoutSeconds")?.and_then(|s| u64::try_from(s).ok()),
            send_initial_events: query.flag("sendInitialEvents"),
            ..Self::default()
        };
        Ok((options, Terms::parse(query.first("fieldSelector").unwrap_or_default())?))
    }

    /// Combinations that make no sense (apimachinery `ValidateListOptions`).
    fn forbidden(&self, version: &str, version_match: &str) -> Vec<Cause> {
        let mut causes = Vec::new();
        const MATCH: &str = "resourceVersionMatch";
        const CONTINUED: &str = "resourceVersionMatch is forbidden when continue is provided";
        let known = ResourceVersionMatch::parse(version_match);
        let given = !version_match.is_empty();
        let continued = !self.continue_token.is_empty();
        if self.watch {
            let fits = known == Some(ResourceVersionMatch::NotOlderThan);
            if self.send_initial_events.is_some() && !fits {
                causes.push(forbidden(
                    MATCH,
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                ));
            }
            if given && self.send_initial_events.is_none() {
                causes.push(forbidden(
                    MATCH,
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                ));
            }
            if given && !fits {
                causes.push(unsupported(MATCH, version_match, &["NotOlderThan"]));
            }
            if given && continued {
                causes.push(forbidden(MATCH, CONTINUED));
            }
            return causes;
        }
        if given && version.is_empty() {
            causes.push(forbidden(
                MATCH,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if given && continued {
            causes.push(forbidden(MATCH, CONTINUED));
        }
        if given && known.is_none() {
            causes.push(unsupported(MATCH, version_match, &["Exact", "NotOlderThan", ""]));
        }
        if known == Some(ResourceVersionMatch::Exact) && version == "0" {
            causes.push(forbidden(
                MATCH,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
        if self.send_initial_events.is_some() {
            causes.push(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        causes
    }
}

// === impl ResourceVersion ===

impl ResourceVersion {
    /// Reads a version; nothing is [`ResourceVersion::Unset`].
    ///
    /// # Errors
    /// 400 if it is no unsigned integer, in the words in which upstream refuses it.
    pub fn parse(text: &str) -> Result<Self, Status> {
        Self::read(text).map_err(Status::bad_request)
    }

    /// The same for a list, which upstream refuses with two more words.
    fn parse_of_list(text: &str) -> Result<Self, Status> {
        Self::read(text).map_err(|why| Status::bad_request(format!("invalid resource version: {why}")))
    }

    fn read(text: &str) -> Result<Self, String> {
        match text {
            "" => Ok(Self::Unset),
            "0" => Ok(Self::Any),
            text => match text.parse::<u64>() {
                Ok(0) => Ok(Self::Any),
                Ok(version) if !text.starts_with('+') => Ok(Self::At(version)),
                other => {
                    let why = match other.map_err(|error| *error.kind()) {
                        Err(std::num::IntErrorKind::PosOverflow) => "value out of range",
                        _ => "invalid syntax",
                    };
                    Err(format!(
                        "resourceVersion: Invalid value: {0}: strconv.ParseUint: parsing {0}: {why}",
                        Quoted(text)
                    ))
                }
            },
        }
    }
}

// === impl ResourceVersionMatch ===

impl ResourceVersionMatch {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "Exact" => Some(Self::Exact),
            "NotOlderThan" => Some(Self::NotOlderThan),
            _ => None,
        }
    }
}

fn forbidden(field: &str, why: &str) -> Cause {
    Cause {
        reason: "FieldValueForbidden".into(),
        message: format!("Forbidden: {why}"),
        field: field.into(),
    }
}

fn unsupported(field: &str, value: &str, supported: &[&str]) -> Cause {
    let supported: Vec<_> = supported.iter().map(|s| Quoted(s).to_string()).collect();
    Cause {
        reason: "FieldValueNotSupported".into(),
        message: format!(
            "Unsupported value: {}: supported values: {}",
            Quoted(value),
            supported.join(", ")
        ),
        field: field.into(),
    }
}

/// A signed integer, as Go's `strconv.ParseInt` reads and refuses it.
fn integer(query: &Query, key: &str) -> Result<Option<i64>, Status> {
    let Some(text) = query.first(key) else { return Ok(None) };
    text.parse::<i64>().map(Some).map_err(|error| {
        use std::num::IntErrorKind::{NegOverflow, PosOverflow};
        let why = if matches!(error.kind(), PosOverflow | NegOverflow) {
            "value out of range"
        } else {
            "invalid syntax"
        };
        Status::bad_request(format!("strconv.ParseInt: parsing {}: {why}", Quoted(text)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_into_types() {
        let all = "labelSelector=app%3Dweb&fieldSelector=metadata.name%3Dx&limit=500&resourceVersion=7\
                   &timeoutSeconds=30&allowWatchBookmarks=true";
        let options = ListOptions::parse(all).unwrap();
        assert_eq!(options.label_selector.to_string(), "app=web");
        assert_eq!(options.field_selector.exact_name(), Some("x"));
        assert_eq!(options.limit, NonZeroUsize::new(500));
        assert_eq!(ListOptions::parse("continue=abc").unwrap().continue_token, "abc");
        assert_eq!(options.resource_version, ResourceVersion::At(7));
        assert_eq!(options.timeout_seconds, Some(30));
        assert!(options.allow_watch_bookmarks && !options.watch);
        assert_eq!(ListOptions::parse("").unwrap(), ListOptions::default());
        assert_eq!(
            ListOptions::parse("limit=0&pretty=1&unknown=x").unwrap(),
            ListOptions::default()
        );
        assert_eq!(ListOptions::parse("limit=-1").unwrap().limit, None);
    }

    #[test]
    fn versions_and_how_they_match() {
        use ResourceVersion::{Any, At, Unset};
        use ResourceVersionMatch::{Exact, NotOlderThan};
        for (query, version, version_match, initial) in [
            ("", Unset, None, None),
            ("resourceVersion=0", Any, None, None),
            ("resourceVersion=00", Any, None, None),
            ("resourceVersion=12&resourceVersionMatch=Exact", At(12), Some(Exact), None),
            (
                "resourceVersion=0&resourceVersionMatch=NotOlderThan",
                Any,
                Some(NotOlderThan),
                None,
            ),
            ("watch=1", Unset, Some(NotOlderThan), Some(true)),
            ("watch=1&resourceVersion=0", Any, Some(NotOlderThan), Some(true)),
            ("watch=1&resourceVersion=5", At(5), None, None),
            (
                "watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan",
                Unset,
                Some(NotOlderThan),
                Some(false),
            ),
        ] {
            let options = ListOptions::parse(query).unwrap();
            assert_eq!(
                (
                    options.resource_version,
                    options.resource_version_match,
                    options.send_initial_events
                ),
                (version, version_match, initial),
                "{query}"
            );
        }
    }

    #[test]
    fn refusals_read_as_upstream() {
        for (query, code, message) in [
            ("limit=x", 400, r#"strconv.ParseInt: parsing "x": invalid syntax"#),
            ("limit=", 400, r#"strconv.ParseInt: parsing "": invalid syntax"#),
            (
                "timeoutSeconds=99999999999999999999",
                400,
                r#"strconv.ParseInt: parsing "99999999999999999999": value out of range"#,
            ),
            (
                "labelSelector=a+b",
                400,
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("fieldSelector=x", 400, "invalid selector: 'x'; can't understand 'x'"),
            (
                "fieldSelector=spec.nodeName%3Dx",
                400,
                r#""spec.nodeName" is not a known field selector: only "metadata.name", "metadata.namespace""#,
            ),
            (
                "resourceVersion=abc",
                400,
                r#"invalid resource version: resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax"#,
            ),
            (
                "watch=1&resourceVersion=abc",
                400,
                r#"resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax"#,
            ),
            (
                "resourceVersion=18446744073709551616",
                400,
                r#"invalid resource version: resourceVersion: Invalid value: "18446744073709551616": strconv.ParseUint: parsing "18446744073709551616": value out of range"#,
            ),
            (
                "resourceVersion=abc&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6Nywic3RhcnQiOiJhIn0",
                400,
                "specifying resource version is not allowed when using continue",
            ),
            (
                "resourceVersion=0&resourceVersionMatch=Exact&continue=x",
                422,
                r#"ListOptions.meta.k8s.io "" is invalid: [resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided, resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"]"#,
            ),
            (
                "resourceVersionMatch=Exact",
                422,
                r#"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"#,
            ),
            (
                "resourceVersion=0&resourceVersionMatch=Exact",
                422,
                r#"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0""#,
            ),
            (
                "resourceVersion=1&resourceVersionMatch=Older",
                422,
                r#"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Unsupported value: "Older": supported values: "Exact", "NotOlderThan", """#,
            ),
            (
                "sendInitialEvents=true",
                422,
                r#"ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"#,
            ),
            (
                "watch=1&sendInitialEvents=true",
                422,
                r#"ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"#,
            ),
            (
                "watch=1&resourceVersionMatch=Exact",
                422,
                r#"ListOptions.meta.k8s.io "" is invalid: [resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided, resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan"]"#,
            ),
        ] {
            let status = ListOptions::parse(query).unwrap_err();
            assert_eq!((status.code, status.message.as_str()), (code, message), "{query}");
        }
    }
}
