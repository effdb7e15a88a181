//! How long a request may take (apiserver `endpoints/filters/request_deadline.go`, `server/filters/timeout.go`).
//!
//! `?timeout=` is a Go duration. Nothing, zero, or more than the server's own limit means that limit. Long-running requests
//! have none: there `timeout` is the handler's business.

use std::time::Duration;

use http::Uri;
use outrigger_api::query::Query;
use outrigger_api::quote::Quoted;
use outrigger_api::status::Status;

/// What a request is given.
///
/// # Errors
/// 400 for a timeout that is no duration.
pub fn of(uri: &Uri, limit: Duration) -> Result<Duration, Status> {
    // Most requests say nothing; they should not pay for a parsed query.
    let Some(query) = uri.query().filter(|q| q.contains("timeout")) else {
        return Ok(limit);
    };
    let query = Query::parse(query);
    let Some(text) = query.first("timeout").filter(|t| !t.is_empty()) else {
        return Ok(limit);
    };
    let wanted =
        parse(text).map_err(|why| Status::bad_request(format!("invalid timeout specified in the request URL - time: {why}")))?;
    Ok(match wanted {
        Some(wanted) if wanted < limit => wanted,
        _ => limit,
    })
}

/// Reads a Go duration (`time.ParseDuration`); `None` for zero and below. The error is Go's, without its `time: `.
fn parse(text: &str) -> Result<Option<Duration>, String> {
    let invalid = || format!("invalid duration {}", Quoted(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(None);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (whole, tail) = digits(rest);
        let (fraction, tail) = match tail.strip_prefix('.') {
            Some(tail) => digits(tail),
            None => ("", tail),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = tail.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let scale: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(format!("missing unit in duration {}", Quoted(text))),
            unknown => return Err(format!("unknown unit {} in duration {}", Quoted(unknown), Quoted(text))),
        };
        let whole: u128 = if whole.is_empty() {
            0
        } else {
            whole.parse::<u64>().map_err(|_| invalid())?.into()
        };
        total += whole * scale;
        let mut part = scale;
        for digit in fraction.bytes().take(12) {
            part /= 10;
            total += u128::from(digit - b'0') * part;
        }
        // Go's durations are 64 bits of nanoseconds.
        if total > i64::MAX.unsigned_abs().into() {
            return Err(invalid());
        }
        rest = tail;
    }
    let nanoseconds = u64::try_from(total).map_err(|_| invalid())?;
    Ok((!negative && nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds)))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[test]
    fn timeouts() {
        for (query, want) in [
            ("", LIMIT),
            ("?x=1", LIMIT),
            ("?timeout=", LIMIT),
            ("?timeoutSeconds=5", LIMIT),
            ("?timeout=0", LIMIT),
            ("?timeout=0s", LIMIT),
            ("?timeout=-5s", LIMIT),
            ("?timeout=61s", LIMIT),
            ("?timeout=1h", LIMIT),
            ("?timeout=34s", Duration::from_secs(34)),
            ("?a=b&timeout=1.5s&timeout=2s", Duration::from_millis(1500)),
            ("?timeout=1m", LIMIT),
            ("?timeout=59s999ms", Duration::from_millis(59_999)),
            ("?timeout=.5s", Duration::from_millis(500)),
            ("?timeout=%2B3s", Duration::from_secs(3)),
            ("?timeout=10%C2%B5s", Duration::from_micros(10)),
        ] {
            assert_eq!(of(&format!("/apis{query}").parse().unwrap(), LIMIT), Ok(want), "{query}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_in_gos_words() {
        for (text, want) in [
            ("abc", r#"time: invalid duration "abc""#),
            ("5", r#"time: missing unit in duration "5""#),
            ("5x", r#"time: unknown unit "x" in duration "5x""#),
            ("1s5", r#"time: missing unit in duration "1s5""#),
            (".", r#"time: invalid duration ".""#),
            ("-", r#"time: invalid duration "-""#),
            ("9999999h", r#"time: invalid duration "9999999h""#),
            ("99999999999999999999s", r#"time: invalid duration "99999999999999999999s""#),
        ] {
            let refused = of(&format!("/apis?timeout={text}").parse().unwrap(), LIMIT).unwrap_err();
            assert_eq!(refused.code, 400, "{text}");
            assert_eq!(
                refused.message,
                format!("invalid timeout specified in the request URL - {want}")
            );
        }
    }
}
