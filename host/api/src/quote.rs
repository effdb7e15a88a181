//! How Go prints a quoted string (`%q`, `strconv.Quote`).
//!
//! Upstream's sentences are full of it, clients and dashboards compare those sentences, and Rust's `{:?}` writes
//! other escapes (`\u{7f}` for `\x7f`).

use std::fmt::{self, Display, Write};

/// Prints a string as Go's `%q` does.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'a>(pub &'a str);

// === impl Quoted ===

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\u{7}' => f.write_str("\\a")?,
                '\u{8}' => f.write_str("\\b")?,
                '\u{c}' => f.write_str("\\f")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\u{b}' => f.write_str("\\v")?,
                c if is_printable(c) => f.write_char(c)?,
                c if u32::from(c) < 0x80 => write!(f, "\\x{:02x}", u32::from(c))?,
                c if u32::from(c) < 0x1_0000 => write!(f, "\\u{:04x}", u32::from(c))?,
                c => write!(f, "\\U{:08x}", u32::from(c))?,
            }
        }
        f.write_char('"')
    }
}

/// Rust's table stands in for Go's `unicode.IsPrint`; they differ in combining marks only.
fn is_printable(c: char) -> bool {
    c == '\'' || c.escape_debug().count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_go_quotes_them() {
        for (input, want) in [
            ("", r#""""#),
            ("plain", r#""plain""#),
            ("o'clock", r#""o'clock""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("\u{7}\u{8}\u{b}\u{c}\n\r\t", r#""\a\b\v\f\n\r\t""#),
            ("\u{0}\u{1f}\u{7f}", r#""\x00\x1f\x7f""#),
            ("grüß 日本", r#""grüß 日本""#),
            ("\u{200b}", r#""\u200b""#),
            ("\u{e0001}", r#""\U000e0001""#),
        ] {
            assert_eq!(Quoted(input).to_string(), want);
        }
    }
}
