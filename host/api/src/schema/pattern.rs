//! A pattern as Go reads it, for the library that reads it here.
//!
//! Both are RE2's kin: no look-around, no back-references, linear time. They differ in what they make of the same text: `\d`, `\w`, `\s` and `\b`
//! know ASCII alone in Go; `[`, `&&`, `--` and `~~` are plain characters in Go's classes; `{` that opens no count is a plain character;
//! `\<` is `<`; `\Q…\E` quotes.

/// Writes a Go pattern so that the `regex` crate takes it for the same.
pub(super) fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    let mut in_class = false;
    // Right behind the bracket that opens a class, where `]` is a plain character.
    let mut fresh = false;
    while let Some(c) = rest.chars().next() {
        let tail = rest.get(c.len_utf8()..).unwrap_or_default();
        let was_fresh = std::mem::take(&mut fresh);
        match c {
            '\\' => {
                rest = escape(tail, in_class, &mut out);
                continue;
            }
            '[' if !in_class => {
                in_class = true;
                fresh = true;
                out.push('[');
                if let Some(behind) = tail.strip_prefix('^') {
                    out.push('^');
                    rest = behind;
                    continue;
                }
            }
            // `[:alpha:]`
            '[' if tail.starts_with(':') && tail.contains(":]") => {
                let end = tail.find(":]").map_or(tail.len(), |at| at + 2);
                out.push('[');
                out.push_str(tail.get(..end).unwrap_or_default());
                rest = tail.get(end..).unwrap_or_default();
                continue;
            }
            '[' => out.push_str("\\["),
            ']' if in_class && was_fresh => out.push_str("\\]"),
            ']' => {
                if in_class {
                    in_class = false;
                    out.push(']');
                } else {
                    out.push_str("\\]");
                }
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            // A range up to the dash itself.
            '-' if in_class && !was_fresh && tail.starts_with('-') => {
                out.push_str("-\\-");
                rest = tail.get(1..).unwrap_or_default();
                continue;
            }
            '-' if in_class && (was_fresh || tail.starts_with(']')) => out.push_str("\\-"),
            '{' if !in_class && !is_count(tail) => out.push_str("\\{"),
            c => out.push(c),
        }
        rest = tail;
    }
    out
}

/// What stands behind a backslash; returns what is left.
fn escape<'a>(tail: &'a str, in_class: bool, out: &mut String) -> &'a str {
    let Some(c) = tail.chars().next() else {
        out.push('\\');
        return "";
    };
    let left = tail.get(c.len_utf8()..).unwrap_or_default();
    match c {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        's' => out.push_str("[\\t\\n\\f\\r ]"),
        'S' => out.push_str("[^\\t\\n\\f\\r ]"),
        'b' if !in_class => out.push_str("(?-u:\\b)"),
        'B' if !in_class => out.push_str("(?-u:\\B)"),
        'Q' if !in_class => {
            let (quoted, left) = left.split_once("\\E").unwrap_or((left, ""));
            out.push_str(&regex::escape(quoted));
            return left;
        }
        // `\p{Greek}`, `\x{10FFFF}`
        'p' | 'P' | 'x' if left.starts_with('{') => {
            let end = left.find('}').map_or(left.len(), |at| at + 1);
            let (name, left) = left.split_at(end);
            out.push('\\');
            out.push(c);
            out.push_str(name);
            return left;
        }
        '<' | '>' => out.push(c),
        c => {
            out.push('\\');
            out.push(c);
        }
    }
    left
}

/// Whether a count follows: `3}`, `3,}`, `3,5}`.
fn is_count(tail: &str) -> bool {
    let Some((count, _)) = tail.split_once('}') else {
        return false;
    };
    let (least, most) = count.split_once(',').unwrap_or((count, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !least.is_empty() && digits(least) && digits(most)
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        for (pattern, text, want) in [
            (r"^\d+$", "123", true),
            (r"^\d+$", "١٢٣", false),
            (r"^[\d_-]+$", "1_-", true),
            (r"^\w+$", "ä", false),
            (r"^[^\W]+$", "a_1", true),
            (r"^[^\W]+$", "a-1", false),
            (r"^[a[b]+$", "[ab", true),
            (r"^[a&&b]+$", "&", true),
            (r"^[a~~b]+$", "~", true),
            (r"^[+--]+$", ",", true),
            (r"^[--0]+$", ".", true),
            (r"^\p{Lu}\x{41}\pL$", "ÄAß", true),
            (r"^[]a]+$", "]a", true),
            (r"^[^]a]+$", "b", true),
            (r"^[[:alpha:]]+$", "abc", true),
            (r"^a{$", "a{", true),
            (r"^a{,3}$", "a{,3}", true),
            (r"^a{2,3}$", "aa", true),
            (r"^\<b\>$", "<b>", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"\bfoo\b", "äfoo", true),
            (r"^(a|b)\/c$", "a/c", true),
            (r"^[-a]+$", "-a", true),
            (r"^[a-]+$", "-a", true),
        ] {
            let translated = translate(pattern);
            let regex = Regex::new(&translated).unwrap_or_else(|why| panic!("{pattern} as {translated}: {why}"));
            assert_eq!(regex.is_match(text), want, "{pattern} as {translated} of {text}");
        }
    }
}
