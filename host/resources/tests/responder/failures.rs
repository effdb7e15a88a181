//! How a guest's failures read.

use std::time::Duration;

use outrigger_sandbox::{BadResult, CallError, ContractError};

use crate::world::{World, refused};

#[tokio::test]
async fn every_failure_has_its_status() {
    use ContractError::{Conflict, Denied, Exhausted, Failed, Invalid, NotFound, Timeout, TooLarge, Unavailable};
    let (plugin, call) = (|| "library".to_owned(), || "get".to_owned());
    let said = |error: fn(String) -> ContractError| refused(error("the words".into()), Vec::new());
    let defect = "(audit id audit-1)";
    for (error, code, reason, retry, want) in [
        (
            said(Denied),
            403,
            "Forbidden",
            None,
            "books.library.example.com \"moby\" is forbidden: the words",
        ),
        (said(Invalid), 400, "BadRequest", None, "the words"),
        (
            said(NotFound),
            404,
            "NotFound",
            None,
            "books.library.example.com \"moby\" not found",
        ),
        (
            said(Conflict),
            409,
            "Conflict",
            None,
            "Operation cannot be fulfilled on books.library.example.com \"moby\": the words",
        ),
        (said(Timeout), 504, "Timeout", None, "Timeout: the words"),
        (said(TooLarge), 413, "RequestEntityTooLarge", None, "the words"),
        (said(Exhausted), 429, "TooManyRequests", Some(1), "the words"),
        (said(Unavailable), 503, "ServiceUnavailable", Some(1), "the words"),
        (said(Failed), 500, "InternalError", None, "Internal error occurred: the words"),
        (
            CallError::Busy {
                plugin: plugin(),
                waiting: 3,
            },
            429,
            "TooManyRequests",
            Some(1),
            "please try again later",
        ),
        (
            CallError::Deadline {
                plugin: plugin(),
                call: call(),
                after: Duration::from_secs(1),
                frames: vec!["secret".into()],
            },
            504,
            "Timeout",
            None,
            defect,
        ),
        (
            CallError::Memory {
                plugin: plugin(),
                call: call(),
                wanted: 2,
                limit: 1,
                frames: vec!["secret".into()],
            },
            500,
            "InternalError",
            None,
            defect,
        ),
        (
            CallError::BadResult {
                plugin: plugin(),
                call: call(),
                why: BadResult::Unreadable("secret".into()),
            },
            500,
            "InternalError",
            None,
            defect,
        ),
        (
            CallError::Start {
                plugin: plugin(),
                call: call(),
                cause: "secret".into(),
            },
            503,
            "ServiceUnavailable",
            Some(1),
            defect,
        ),
    ] {
        let world = World::new(0);
        let text = error.to_string();
        *world.shelf.instead.lock().unwrap() = Some(Err(error));
        let status = world.send("GET", "namespaces/sea/books/moby", "").await.unwrap_err();
        assert_eq!(
            (status.code, status.reason.as_str(), status.retry_after()),
            (code, reason, retry),
            "{text}"
        );
        assert!(status.message.contains(want), "{text}: {}", status.message);
        assert!(!status.message.contains("secret"), "{text}: {}", status.message);
    }
}

#[tokio::test]
async fn an_answer_that_is_not_what_was_asked_for_is_refused() {
    for body in [
        "[]",
        "nonsense",
        r#"{"metadata":{"name":"other"}}"#,
        r#"{"kind":"Page"}"#,
        r#"{"metadata":{"namespace":"land"}}"#,
    ] {
        let world = World::new(0);
        *world.shelf.instead.lock().unwrap() = Some(Ok(body.into()));
        let status = world.send("GET", "namespaces/sea/books/moby", "").await.unwrap_err();
        assert_eq!(status.code, 500, "{body}");
        assert!(status.message.contains("audit-1"), "{}", status.message);
        *world.shelf.instead.lock().unwrap() = Some(Ok(body.replace("namespace\":\"land", "labels\":\"x").into()));
        assert_eq!(
            world.send("GET", "books", "").await.unwrap_err().code,
            500,
            "{body} in a list"
        );
    }
}
