//! Formats of texts (kube-openapi `validation/strfmt`): those that apiextensions holds custom resources to. Any other is a remark.

use std::net::Ipv6Addr;

/// A format, with the name that the schema gave it.
#[derive(Debug, Clone)]
pub(super) struct Format {
    name: Box<str>,
    fits: Fits,
}

type Fits = fn(&str) -> bool;

const FORMATS: [(&str, Fits); 26] = [
    ("bsonobjectid", |text| {
        text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit())
    }),
    ("uri", is_uri),
    ("email", is_email),
    ("hostname", is_hostname),
    ("ipv4", |text| text.contains('.') && is_address(text)),
    ("ipv6", |text| text.contains(':') && is_ipv6(text)),
    ("cidr", is_cidr),
    ("mac", is_mac),
    ("uuid", |text| is_uuid(text, None)),
    ("uuid3", |text| is_uuid(text, Some(b'3'))),
    ("uuid4", |text| is_uuid(text, Some(b'4'))),
    ("uuid5", |text| is_uuid(text, Some(b'5'))),
    ("isbn", |text| is_isbn10(text) || is_isbn13(text)),
    ("isbn10", is_isbn10),
    ("isbn13", is_isbn13),
    ("creditcard", is_creditcard),
    ("ssn", is_ssn),
    ("hexcolor", is_hexcolor),
    ("rgbcolor", is_rgbcolor),
    ("byte", is_base64),
    ("password", |_| true),
    ("date", is_date),
    ("duration", is_duration),
    ("datetime", is_date_time),
    ("k8sshortname", |text| text.len() <= 63 && is_label(text)),
    ("k8slongname", |text| text.len() <= 253 && text.split('.').all(is_label)),
];

// === impl Format ===

impl Format {
    /// A format that texts are held to; dashes in its name do not count.
    pub(super) fn read(name: &str) -> Option<Self> {
        let plain = name.replace('-', "");
        let fits = FORMATS.iter().find(|(known, _)| *known == plain)?.1;
        Some(Self { name: name.into(), fits })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn fits(&self, text: &str) -> bool {
        (self.fits)(text)
    }
}

fn is_label(text: &str) -> bool {
    !text.contains('.') && crate::names::is_subdomain(text)
}

/// An absolute URI or an absolute path (Go's `url.ParseRequestURI`).
fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return false;
    }
    let scheme = text.split_once(':').filter(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    });
    let path = match scheme {
        None if text == "*" => return true,
        None => text,
        Some((_, rest)) => match rest.strip_prefix("//") {
            Some(rest) => {
                let at = rest.find(['/', '?']).unwrap_or(rest.len());
                let (authority, path) = rest.split_at(at);
                return is_authority(authority) && are_escapes(path.split('?').next().unwrap_or_default());
            }
            // What has a scheme and no slash is opaque.
            None if !rest.starts_with('/') => return true,
            None => rest,
        },
    };
    path.starts_with('/') && are_escapes(path.split('?').next().unwrap_or_default())
}

fn is_authority(text: &str) -> bool {
    let (user, host) = text.rsplit_once('@').unwrap_or(("", text));
    let in_user = |b: u8| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&b);
    if !user.bytes().all(in_user) || !are_escapes(user) {
        return false;
    }
    let (name, port) = if host.starts_with('[') {
        match host.split_once(']') {
            Some((_, port)) => ("", port),
            None => return false,
        }
    } else {
        match host.find(':') {
            Some(at) => host.split_at(at),
            None => (host, ""),
        }
    };
    let in_host = |b: u8| b >= 0x80 || b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]<>\"%".contains(&b);
    let is_port = |text: &str| text.is_empty() || text.strip_prefix(':').is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
    is_port(port) && name.bytes().all(in_host) && are_escapes(name)
}

fn are_escapes(text: &str) -> bool {
    let bytes = text.as_bytes();
    let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    bytes
        .iter()
        .enumerate()
        .all(|(at, b)| *b != b'%' || (hex(at + 1) && hex(at + 2)))
}

/// An address, alone or in angle brackets behind a name (Go's `mail.ParseAddress`, without comments and encoded words).
fn is_email(text: &str) -> bool {
    let text = text.trim_matches([' ', '\t']);
    let address = match text.strip_suffix('>') {
        Some(rest) => match rest.rsplit_once('<') {
            Some((name, address)) if is_phrase(name.trim_matches([' ', '\t'])) => address,
            _ => return false,
        },
        None => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else {
        return false;
    };
    let atom = |part: &str| !part.is_empty() && part.chars().all(is_atom);
    let is_local = local.split('.').all(atom) || is_quoted(local);
    let literal = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_domain = match literal {
        Some(address) => is_address(address.strip_prefix("IPv6:").unwrap_or(address)),
        None => domain.split('.').all(atom),
    };
    is_local && is_domain
}

fn is_phrase(text: &str) -> bool {
    is_quoted(text)
        || text
            .split_ascii_whitespace()
            .all(|word| is_quoted(word) || word.chars().all(|c| is_atom(c) || c == '.'))
}

fn is_atom(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || (!c.is_ascii() && !c.is_control())
}

fn is_quoted(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return false;
    };
    let mut escaped = false;
    for c in inner.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return false,
            c if c.is_control() && c != '\t' => return false,
            _ => {}
        }
    }
    !escaped && text.len() > 1
}

/// A host's name; letters and symbols of any script are allowed but in the last of several labels, which has letters alone.
fn is_hostname(text: &str) -> bool {
    if text.len() > 255 || text.split('.').any(|label| label.len() > 63) {
        return false;
    }
    // Digits beyond ASCII are no letters; other numbers, marks, punctuation and blanks are none either.
    let symbol = |c: char| !c.is_ascii() && !c.is_numeric() && !c.is_whitespace() && !c.is_control() && !is_punctuation(c);
    let inner =
        |c: char| c.is_ascii_alphanumeric() || c.is_alphabetic() || symbol(c) || (c.is_ascii() && "$+<=>^`|~".contains(c));
    let one = |label: &str| {
        let ends = |c: Option<char>| c.is_some_and(inner);
        ends(label.chars().next()) && ends(label.chars().next_back()) && label.chars().all(|c| inner(c) || c == '-')
    };
    match text.rsplit_once('.') {
        Some((front, top)) => {
            front.split('.').all(one) && (2..=63).contains(&top.chars().count()) && top.chars().all(char::is_alphabetic)
        }
        None => {
            let mut chars = text.chars();
            let first = chars.next().is_some_and(inner);
            // One dash may stand behind the first letter, even at the end, and none elsewhere.
            let rest = chars.as_str().strip_prefix('-').unwrap_or(chars.as_str());
            first && rest.chars().count() <= 62 && rest.chars().all(inner)
        }
    }
}

fn is_punctuation(c: char) -> bool {
    matches!(c, '\u{a1}' | '\u{a7}' | '\u{ab}' | '\u{b6}' | '\u{b7}' | '\u{bb}' | '\u{bf}' | '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205e}' | '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}')
}

/// An address of either family; Go's lenient parser takes leading zeros.
fn is_address(text: &str) -> bool {
    if text.contains(':') { is_ipv6(text) } else { is_ipv4(text) }
}

fn is_ipv4(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let octet =
        |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && part.parse::<u32>().is_ok_and(|n| n <= 255);
    parts.len() == 4 && parts.iter().all(octet)
}

fn is_ipv6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    let most = if address.contains(':') { 128 } else { 32 };
    let is_length = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    is_address(address) && is_length && length.parse::<u32>().is_ok_and(|n| n <= most)
}

/// 6, 8 or 20 bytes with colons, dashes, dots between fours, or nothing between them.
fn is_mac(text: &str) -> bool {
    let hex = |part: &str, length: usize| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
    let of = |separator: char, digits: usize| {
        let parts: Vec<&str> = text.split(separator).collect();
        let bytes = parts.len() * digits / 2;
        [6, 8, 20].contains(&bytes) && parts.iter().all(|part| hex(part, digits))
    };
    let bare = [12, 16, 40].contains(&text.len()) && hex(text, text.len());
    bare || of(':', 2) || of('-', 2) || of('.', 4)
}

fn is_uuid(text: &str, version: Option<u8>) -> bool {
    // Each dash may be missing.
    let mut rest = text;
    for (i, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if i > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some((part, left)) = rest.split_at_checked(length) else {
            return false;
        };
        let first = part.bytes().next().unwrap_or_default().to_ascii_lowercase();
        let fits = match (i, version) {
            (2, Some(version)) => first == version,
            (3, Some(b'4' | b'5')) => b"89ab".contains(&first),
            _ => true,
        };
        if !fits || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
            return false;
        }
        rest = left;
    }
    rest.is_empty()
}

fn digits_of(text: &str) -> Vec<u32> {
    text.chars().filter_map(|c| c.to_digit(10)).collect()
}

fn without_blanks(text: &str) -> String {
    text.chars()
        .filter(|c| !matches!(c, '\t' | '\n' | '\u{c}' | '\r' | ' ' | '-'))
        .collect()
}

fn is_isbn10(text: &str) -> bool {
    let text = without_blanks(text);
    let (body, last) = match text.split_at_checked(9) {
        Some((body, last @ ("X" | "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9"))) => (body, last),
        _ => return false,
    };
    let digits = digits_of(body);
    if digits.len() != 9 {
        return false;
    }
    let sum: u32 = (1..).zip(&digits).map(|(i, digit)| i * digit).sum();
    (sum + 10 * last.parse::<u32>().unwrap_or(10)).is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let text = without_blanks(text);
    let digits = digits_of(&text);
    if digits.len() != 13 || text.len() != 13 {
        return false;
    }
    let sum: u32 = digits
        .iter()
        .zip([1, 3].into_iter().cycle())
        .map(|(digit, factor)| digit * factor)
        .sum();
    sum.is_multiple_of(10)
}

/// The numbers of the known companies, with Luhn's digit; whatever is no digit does not count.
fn is_creditcard(text: &str) -> bool {
    let number: String = text.chars().filter(char::is_ascii_digit).collect();
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| number.starts_with(prefix));
    let known = match number.len() {
        13 => starts(&["4"]),
        14 => starts(&["300", "301", "302", "303", "304", "305", "36", "38"]),
        15 => starts(&["34", "37", "2131", "1800"]),
        16 => {
            starts(&["4", "51", "52", "53", "54", "55", "6011", "65", "35"]) || number.starts_with('6') && starts(&["65", "6011"])
        }
        _ => false,
    };
    let sum: u32 = digits_of(&number)
        .iter()
        .rev()
        .enumerate()
        .map(|(i, digit)| match i % 2 {
            0 => *digit,
            _ if *digit > 4 => digit * 2 - 9,
            _ => digit * 2,
        })
        .sum();
    known && sum.is_multiple_of(10)
}

/// Eleven characters, so both dashes or blanks are there.
fn is_ssn(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 11
        && bytes.iter().enumerate().all(|(i, b)| match i {
            3 | 6 => b"- ".contains(b),
            _ => b.is_ascii_digit(),
        })
}

fn is_hexcolor(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or(text);
    [3, 6].contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_rgbcolor(text: &str) -> bool {
    let Some(inner) = text.strip_prefix("rgb(").and_then(|rest| rest.strip_suffix(')')) else {
        return false;
    };
    let parts: Vec<&str> = inner
        .split(',')
        .map(|part| part.trim_matches(['\t', '\n', '\u{c}', '\r', ' ']))
        .collect();
    let is_color = |part: &&str| {
        // No leading zeros.
        part.parse::<u8>().is_ok_and(|n| n.to_string() == **part)
    };
    parts.len() == 3 && parts.iter().all(is_color)
}

/// Standard base64 with its padding, at least one group.
fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let padding = text.len() - body.len();
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || b"+/".contains(&b);
    !text.is_empty() && text.len().is_multiple_of(4) && padding <= 2 && body.bytes().all(alphabet)
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shaped = bytes.len() == 10
        && bytes.iter().enumerate().all(|(i, b)| match i {
            4 | 7 => *b == b'-',
            _ => b.is_ascii_digit(),
        });
    shaped && text.parse::<jiff::civil::Date>().is_ok()
}

/// A date, `t`, and a time in some zone; case does not count (`strfmt.IsDateTime`).
fn is_date_time(text: &str) -> bool {
    let text = text.to_lowercase();
    let mut parts = text.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else {
        return false;
    };
    let (Some(clock), Some(rest)) = (time.get(..8), time.get(8..)) else {
        return false;
    };
    let two = |at: usize, most: &str| {
        clock
            .get(at..at + 2)
            .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()) && n <= most)
    };
    let is_clock = two(0, "23") && two(3, "59") && two(6, "59") && clock.get(2..3) == Some(":") && clock.get(5..6) == Some(":");
    // Any character stands before the fraction, as long as digits follow.
    let zone = match rest.chars().next() {
        Some('z' | '+' | '-') if is_zone(rest) => rest,
        Some(point) if point != '\n' => {
            let fraction = rest.get(point.len_utf8()..).unwrap_or_default();
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if zone.len() == fraction.len() {
                return false;
            }
            zone
        }
        _ => return false,
    };
    is_date(date) && is_clock && is_zone(zone)
}

fn is_zone(text: &str) -> bool {
    let bytes = text.as_bytes();
    text == "z"
        || bytes.len() == 6
            && bytes.iter().enumerate().all(|(i, b)| match i {
                0 => b"+-".contains(b),
                3 => *b == b':',
                _ => b.is_ascii_digit(),
            })
}

/// As Go writes them, or numbers with units in words anywhere in the text (`strfmt.ParseDuration`).
fn is_duration(text: &str) -> bool {
    if is_go_duration(text) {
        return true;
    }
    let mut found = false;
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let from = rest.get(at..).unwrap_or_default();
        let behind = from.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = from.get(..from.len() - behind.len()).unwrap_or_default();
        let word = behind.trim_start_matches(['\t', '\n', '\u{c}', '\r', ' ']);
        let end = word
            .find(|c: char| !(c.is_ascii_alphabetic() || c == 'µ'))
            .unwrap_or(word.len());
        let (unit, left) = word.split_at(end);
        if !unit.is_empty() {
            if number.parse::<i64>().is_err() {
                return false;
            }
            found |= is_unit(&unit.to_lowercase());
        }
        rest = left;
    }
    found
}

fn is_unit(unit: &str) -> bool {
    const EXACT: [&str; 13] = ["ns", "us", "µs", "μs", "ms", "s", "m", "h", "hr", "d", "w", "wk", "min"];
    const WORDS: [&str; 8] = ["nano", "micro", "milli", "sec", "min", "hour", "day", "week"];
    EXACT.contains(&unit) || WORDS.iter().any(|word| unit.starts_with(word))
}

/// Go's `time.ParseDuration`: signed decimal numbers, each with a unit; zero needs none.
fn is_go_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let Ok(number) = number.parse::<f64>() else { return false };
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, left) = tail.split_at(end);
        let nanos = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 6e10,
            "h" => 3.6e12,
            _ => return false,
        };
        total += number * nanos;
        rest = left;
    }
    // 2^63 nanoseconds, some 292 years.
    total <= 9_223_372_036_854_775_807.0
}
