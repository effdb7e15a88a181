//! `Warning` headers: what a caller should know though the request succeeds (apiserver `endpoints/filters/warning.go`).
//!
//! Any room may add a warning while it works on a [`Call`](crate::Call); the chain writes them once, when the answer leaves. kubectl
//! and client-go show each of them to the user. A text is said once. All texts together have 4,096 characters; if they do not fit,
//! each is cut to 256, and once those fill the 4,096 nothing more is taken. What cannot stand in a header is left out.

use std::sync::{Arc, Mutex, PoisonError};

use http::header::{HeaderMap, HeaderValue, WARNING};

/// All texts together, in characters.
const IN_TOTAL: usize = 4 * 1024;
/// Each text, once they do not fit.
const EACH: usize = 256;

/// The warnings of one request; clones are one.
#[derive(Debug, Clone, Default)]
pub struct Warnings(Arc<Mutex<Recorded>>);

#[derive(Debug, Default)]
struct Recorded {
    said: Vec<String>,
    headers: Vec<HeaderValue>,
    written: usize,
    truncating: bool,
}

// === impl Warnings ===

impl Warnings {
    /// Adds a warning; control characters have no place in it.
    pub fn add(&self, text: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(text);
    }

    /// Writes them into the headers of the answer.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        for header in self.0.lock().unwrap_or_else(PoisonError::into_inner).headers.drain(..) {
            headers.append(WARNING, header);
        }
    }
}

// === impl Recorded ===

impl Recorded {
    fn add(&mut self, text: &str) {
        let full = self.truncating && self.written >= IN_TOTAL;
        if text.is_empty() || full || self.said.iter().any(|s| s == text) {
            return;
        }
        self.said.push(text.to_owned());
        if self.truncating {
            return self.push(cut(text));
        }
        if text.chars().any(char::is_control) {
            return;
        }
        if self.written + text.chars().count() <= IN_TOTAL {
            return self.push(text);
        }
        tracing::warn!("the warnings of a request are too long and are cut");
        self.truncating = true;
        self.written = 0;
        self.headers.clear();
        for text in std::mem::take(&mut self.said) {
            self.push(cut(&text));
            self.said.push(text);
        }
    }

    fn push(&mut self, text: &str) {
        if let Some(header) = header(text) {
            self.written += text.chars().count();
            self.headers.push(header);
        }
    }
}

fn cut(text: &str) -> &str {
    let end = text.char_indices().nth(EACH).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text)
}

/// `299 - "text"` (RFC 7234, 5.5; apimachinery `NewWarningHeader`).
fn header(text: &str) -> Option<HeaderValue> {
    if text.chars().any(char::is_control) {
        return None;
    }
    let mut value = String::with_capacity(text.len() + 8);
    value.push_str("299 - \"");
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            value.push('\\');
        }
        value.push(c);
    }
    value.push('"');
    HeaderValue::from_bytes(value.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(texts: &[&str]) -> Vec<String> {
        let warnings = Warnings::default();
        texts.iter().for_each(|t| warnings.add(t));
        let mut headers = HeaderMap::new();
        warnings.write(&mut headers);
        let text = |v: &HeaderValue| String::from_utf8(v.as_bytes().to_vec()).unwrap();
        headers.get_all(WARNING).iter().map(text).collect()
    }

    #[test]
    fn texts_are_quoted_and_said_once() {
        assert_eq!(
            written(&["", "a", "say \"b\\c\"", "a", "grüß 日本", "bad\nline"]),
            ["299 - \"a\"", "299 - \"say \\\"b\\\\c\\\"\"", "299 - \"grüß 日本\""]
        );
    }

    /// The rows of upstream's `TestRecorderTruncation` in their gist.
    #[test]
    fn what_does_not_fit_is_cut() {
        let long = |c: &str, n: usize| c.repeat(n);
        let fits = [long("a", 4000), long("b", 96)];
        let fits: Vec<&str> = fits.iter().map(String::as_str).collect();
        assert_eq!(written(&fits).iter().map(String::len).collect::<Vec<_>>(), [4008, 104]);

        let over = [long("é", 4000), long("b", 97), long("c", 300), "short".to_owned()];
        let over: Vec<&str> = over.iter().map(String::as_str).collect();
        let lengths: Vec<usize> = written(&over).iter().map(|w| w.chars().count() - 8).collect();
        assert_eq!(lengths, [256, 97, 256, 5]);

        let many: Vec<String> = (0..40).map(|n| format!("{n:02}{}", long("x", 500))).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let got = written(&many);
        assert_eq!(got.len(), 16, "16 times 256 is 4096");
        assert!(got[15].starts_with("299 - \"15x"));
    }
}
