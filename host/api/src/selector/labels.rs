//! Label selectors (apimachinery `labels/selector.go`).
//!
//! ```text
//! selector    = [ requirement { "," requirement } ]
//! requirement = KEY | "!" KEY | KEY ("="|"=="|"!=") [VALUE] | KEY ("in"|"notin") "(" [VALUE] { "," [VALUE] } ")" | KEY (">"|"<") INTEGER
//! ```

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use crate::quote::Quoted;
use crate::status::Status;

/// All of these must hold; none selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

/// One thing that must hold of an object's labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// How.
    pub operator: Operator,
    /// Sorted, without duplicates. One for the exact and the ordered operators, none for the unary ones.
    pub values: Vec<String>,
}

/// How a [`Requirement`] relates label and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `=`
    Equals,
    /// `==`
    DoubleEquals,
    /// `!=`; holds also without the label.
    NotEquals,
    /// `in`
    In,
    /// `notin`; holds also without the label.
    NotIn,
    /// The key alone.
    Exists,
    /// `!` and the key.
    DoesNotExist,
    /// `>`, both sides integers.
    GreaterThan,
    /// `<`, both sides integers.
    LessThan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    End,
    Close,
    Comma,
    Not,
    DoubleEquals,
    Equals,
    Greater,
    Identifier(&'a str),
    In,
    Less,
    NotEquals,
    NotIn,
    Open,
}

/// Tokens to come; after the last one, [`Token::End`] for ever.
struct Parser<'a> {
    rest: &'a str,
}

// === impl LabelSelector ===

impl LabelSelector {
    /// Reads the text form; the empty text selects everything.
    ///
    /// # Errors
    /// 400 with upstream's sentence.
    pub fn parse(text: &str) -> Result<Self, Status> {
        Self::read(text).map_err(Status::bad_request)
    }

    /// Whether these labels are meant.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|r| r.matches(labels))
    }

    /// Whether everything is meant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// What must hold, sorted by key.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    fn read(text: &str) -> Result<Self, String> {
        let mut parser = Parser { rest: text };
        let mut requirements = Vec::new();
        loop {
            match parser.peek().as_value() {
                Token::Identifier(_) | Token::Not => {
                    requirements.push(
                        parser
                            .requirement()
                            .map_err(|e| format!("unable to parse requirement: {e}"))?,
                    );
                    match parser.next().as_value() {
                        Token::End => break,
                        Token::Comma => match parser.peek().as_value() {
                            Token::Identifier(_) | Token::Not => {}
                            other => return Err(format!("found '{other}', expected: identifier after ','")),
                        },
                        other => return Err(format!("found '{other}', expected: ',' or 'end of string'")),
                    }
                }
                Token::End => break,
                other => return Err(format!("found '{other}', expected: !, identifier, or 'end of string'")),
            }
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements })
    }
}

impl Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, requirement) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

// === impl Requirement ===

impl Requirement {
    /// Whether it holds of these labels.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let label = labels.get(&self.key);
        let among = |label: &String| self.values.contains(label);
        match self.operator {
            Operator::Equals | Operator::DoubleEquals | Operator::In => label.is_some_and(among),
            Operator::NotEquals | Operator::NotIn => !label.is_some_and(among),
            Operator::Exists => label.is_some(),
            Operator::DoesNotExist => label.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let integer = |text: &String| text.parse::<i64>().ok();
                match (label.and_then(integer), self.values.first().and_then(integer)) {
                    (Some(label), Some(value)) if self.operator == Operator::GreaterThan => label > value,
                    (Some(label), Some(value)) => label < value,
                    _ => false,
                }
            }
        }
    }

    /// What the grammar cannot say: integers are integers and values are label values.
    fn checked(self) -> Result<Self, String> {
        let mut wrong = Vec::new();
        if matches!(self.operator, Operator::GreaterThan | Operator::LessThan) {
            for (i, value) in self.values.iter().enumerate().filter(|(_, v)| v.parse::<i64>().is_err()) {
                let value = Quoted(value);
                wrong.push(format!(
                    "values[{i}]: Invalid value: {value}: for 'Gt', 'Lt' operators, the value must be an integer"
                ));
            }
        }
        for (i, value) in self.values.iter().enumerate() {
            let reasons = label_value_errors(value);
            if !reasons.is_empty() {
                wrong.push(format!(
                    "values[{i}][{}]: Invalid value: {}: {}",
                    self.key,
                    Quoted(value),
                    reasons.join("; ")
                ));
            }
        }
        match wrong.len() {
            0 => Ok(self),
            1 => Err(wrong.concat()),
            _ => Err(format!("[{}]", wrong.join(", "))),
        }
    }
}

impl Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after, end) = match self.operator {
            Operator::Equals => ("", "=", ""),
            Operator::DoubleEquals => ("", "==", ""),
            Operator::NotEquals => ("", "!=", ""),
            Operator::In => ("", " in (", ")"),
            Operator::NotIn => ("", " notin (", ")"),
            Operator::Exists => ("", "", ""),
            Operator::DoesNotExist => ("!", "", ""),
            Operator::GreaterThan => ("", ">", ""),
            Operator::LessThan => ("", "<", ""),
        };
        write!(f, "{before}{}{after}{}{end}", self.key, self.values.join(","))
    }
}

// === impl Parser ===

impl<'a> Parser<'a> {
    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut token = self.next().as_value();
        let negated = token == Token::Not;
        if negated {
            token = self.next().as_value();
        }
        let Token::Identifier(key) = token else {
            return Err(format!("found '{token}', expected: identifier"));
        };
        let reasons = label_key_errors(key);
        if !reasons.is_empty() {
            // Upstream has no path to print here, and prints that.
            return Err(format!("<nil>: Invalid value: {}: {}", Quoted(key), reasons.join("; ")));
        }
        let key = key.to_owned();
        if negated {
            // Whatever follows is the caller's to judge.
            return Ok(Requirement {
                key,
                operator: Operator::DoesNotExist,
                values: Vec::new(),
            });
        }
        if matches!(self.peek(), Token::End | Token::Comma) {
            return Ok(Requirement {
                key,
                operator: Operator::Exists,
                values: Vec::new(),
            });
        }
        let operator = match self.next() {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::NotEquals => Operator::NotEquals,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            other => return Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
        };
        let mut values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        values.sort_unstable();
        values.dedup();
        Requirement {
            key,
            operator,
            values: values.into_iter().map(str::to_owned).collect(),
        }
        .checked()
    }

    /// `( a, b )`; nothing between commas or parentheses is the empty value.
    fn values(&mut self) -> Result<Vec<&'a str>, String> {
        let open = self.next();
        if open != Token::Open {
            return Err(format!("found '{open}' expected: '('"));
        }
        let first = self.peek().as_value();
        match first {
            Token::Identifier(_) | Token::Comma => {}
            Token::Close => {
                self.next();
                return Ok(vec![""]);
            }
            other => return Err(format!("found '{other}', expected: ',', ')' or identifier")),
        }
        let mut values = Vec::new();
        loop {
            match self.next().as_value() {
                Token::Identifier(value) => {
                    values.push(value);
                    match self.peek().as_value() {
                        Token::Comma => {}
                        Token::Close => break,
                        other => return Err(format!("found '{other}', expected: ',' or ')'")),
                    }
                }
                Token::Comma => {
                    if values.is_empty() {
                        values.push("");
                    }
                    match self.peek() {
                        Token::Close => {
                            values.push("");
                            break;
                        }
                        Token::Comma => values.push(""),
                        _ => {}
                    }
                }
                other => return Err(format!("found '{other}', expected: ',', or identifier")),
            }
        }
        // The loop ends before a closing parenthesis only.
        self.next();
        Ok(values)
    }

    fn exact_value(&mut self) -> Result<&'a str, String> {
        match self.peek() {
            Token::End | Token::Comma => return Ok(""),
            _ => {}
        }
        match self.next().as_value() {
            Token::Identifier(value) => Ok(value),
            other => Err(format!("found '{other}', expected: identifier")),
        }
    }

    fn peek(&self) -> Token<'a> {
        self.lex().0
    }

    fn next(&mut self) -> Token<'a> {
        let (token, rest) = self.lex();
        self.rest = rest;
        token
    }

    fn lex(&self) -> (Token<'a>, &'a str) {
        let text = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        for (symbol, token) in [
            ("==", Token::DoubleEquals),
            ("!=", Token::NotEquals),
            ("=", Token::Equals),
            ("!", Token::Not),
            ("(", Token::Open),
            (")", Token::Close),
            (",", Token::Comma),
            (">", Token::Greater),
            ("<", Token::Less),
        ] {
            if let Some(rest) = text.strip_prefix(symbol) {
                return (token, rest);
            }
        }
        // Upstream's lexer takes a NUL for the end of the text between words, and for a blank after one.
        if text.is_empty() || text.starts_with('\0') {
            return (Token::End, "");
        }
        let stop = [' ', '\t', '\r', '\n', '=', '!', '(', ')', ',', '>', '<', '\0'];
        let end = text.find(stop).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        let token = match word {
            "in" => Token::In,
            "notin" => Token::NotIn,
            word => Token::Identifier(word),
        };
        (token, rest.strip_prefix('\0').unwrap_or(rest))
    }
}

// === impl Token ===

impl<'a> Token<'a> {
    /// Where a value may stand, `in` and `notin` are words like others.
    fn as_value(self) -> Token<'a> {
        match self {
            Token::In => Token::Identifier("in"),
            Token::NotIn => Token::Identifier("notin"),
            other => other,
        }
    }
}

impl Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Token::End => "",
            Token::Close => ")",
            Token::Comma => ",",
            Token::Not => "!",
            Token::DoubleEquals => "==",
            Token::Equals => "=",
            Token::Greater => ">",
            Token::Identifier(word) => word,
            Token::In => "in",
            Token::Less => "<",
            Token::NotEquals => "!=",
            Token::NotIn => "notin",
            Token::Open => "(",
        })
    }
}

// What labels may look like (apimachinery `api/validate/content`).

const KEY_WORDS: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE_WORDS: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const PREFIX_WORDS: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// What keeps a text from being the key of a label, which upstream calls a qualified name.
pub(crate) fn label_key_errors(key: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let name = match key.split('/').collect::<Vec<_>>().as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                if prefix.len() > 253 {
                    wrong.push("prefix part must be no more than 253 bytes".to_owned());
                }
                let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
                if !prefix.split('.').all(|label| is_word(label, edge, |c| edge(c) || c == '-')) {
                    wrong.push(format!("prefix part {PREFIX_WORDS}"));
                }
            }
            *name
        }
        _ => {
            return vec![format!(
                "a valid label key {KEY_WORDS} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        wrong.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_label_word(name) {
        wrong.push(format!("name part {KEY_WORDS}"));
    }
    wrong
}

/// What keeps a text from being the value of a label.
pub(crate) fn label_value_errors(value: &str) -> Vec<&'static str> {
    let mut wrong = Vec::new();
    if value.len() > 63 {
        wrong.push("must be no more than 63 bytes");
    }
    if !value.is_empty() && !is_label_word(value) {
        wrong.push(VALUE_WORDS);
    }
    wrong
}

fn is_label_word(word: &str) -> bool {
    is_word(
        word,
        |c| c.is_ascii_alphanumeric(),
        |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'),
    )
}

fn is_word(word: &str, edge: impl Fn(char) -> bool, inner: impl Fn(char) -> bool) -> bool {
    word.starts_with(&edge) && word.ends_with(&edge) && word.chars().all(inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_read_as_upstream_reads_it() {
        // Answers of apimachinery 0.36's labels.Parse.
        for (text, want) in [
            ("", ""),
            ("x=a,y=b,z=c", "x=a,y=b,z=c"),
            ("x!=a,y=b", "x!=a,y=b"),
            ("x=", "x="),
            ("x= ", "x="),
            ("x=,z= ", "x=,z="),
            ("a==", "a=="),
            ("!x", "!x"),
            ("! a", "!a"),
            ("exists", "exists"),
            ("x>1", "x>1"),
            ("x>1,z<5", "x>1,z<5"),
            ("z=1,a=2", "a=2,z=1"),
            ("x in (b,a,b)", "x in (a,b)"),
            ("x in ()", "x in ()"),
            ("x in (,a)", "x in (,a)"),
            ("x in (a,)", "x in (,a)"),
            ("x in (a,,b)", "x in (,a,b)"),
            ("x notin (a, b),y", "x notin (a,b),y"),
            ("in in (in)", "in in (in)"),
            ("notin=in", "notin=in"),
            ("example.com/a=1", "example.com/a=1"),
            ("a = b , c != d", "a=b,c!=d"),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().to_string(), want, "{text}");
        }
    }

    #[test]
    fn refusals_read_as_upstream() {
        let value = |v: &str| format!("unable to parse requirement: values[0][{v}: {VALUE_WORDS}");
        let key = |k: &str, why: &str| format!("unable to parse requirement: <nil>: Invalid value: \"{k}\": {why}");
        let integer = |v: &str| {
            let why = "for 'Gt', 'Lt' operators, the value must be an integer";
            format!("unable to parse requirement: values[0]: Invalid value: \"{v}\": {why}")
        };
        let long = "a".repeat(64);
        for (text, want) in [
            ("x=a||y=b", value("x]: Invalid value: \"a||y\"")),
            ("a=-b", value("a]: Invalid value: \"-b\"")),
            ("a>+1", value("a]: Invalid value: \"+1\"")),
            ("x==a==b", "found '==', expected: ',' or 'end of string'".into()),
            ("!x=a", "found '=', expected: ',' or 'end of string'".into()),
            ("a=b=c", "found '=', expected: ',' or 'end of string'".into()),
            ("x<a", integer("a")),
            ("x<", integer("")),
            ("x>1.5", integer("1.5")),
            ("x in a", "unable to parse requirement: found 'a' expected: '('".into()),
            (
                "x in (a b)",
                "unable to parse requirement: found 'b', expected: ',' or ')'".into(),
            ),
            (
                "x in (a",
                "unable to parse requirement: found '', expected: ',' or ')'".into(),
            ),
            (
                "x in (",
                "unable to parse requirement: found '', expected: ',', ')' or identifier".into(),
            ),
            (
                "x in (!)",
                "unable to parse requirement: found '!', expected: ',', ')' or identifier".into(),
            ),
            (
                "a b",
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt".into(),
            ),
            (
                "a\0b",
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt".into(),
            ),
            (",a", "found ',', expected: !, identifier, or 'end of string'".into()),
            ("=a", "found '=', expected: !, identifier, or 'end of string'".into()),
            ("(a)", "found '(', expected: !, identifier, or 'end of string'".into()),
            ("a,", "found '', expected: identifier after ','".into()),
            ("a,,b", "found ',', expected: identifier after ','".into()),
            ("a=(", "unable to parse requirement: found '(', expected: identifier".into()),
            ("!", "unable to parse requirement: found '', expected: identifier".into()),
            ("!!a", "unable to parse requirement: found '!', expected: identifier".into()),
            ("/a", key("/a", "prefix part must be non-empty")),
            ("A.b/c", key("A.b/c", &format!("prefix part {PREFIX_WORDS}"))),
            ("-a", key("-a", &format!("name part {KEY_WORDS}"))),
            ("é=1", key("é", &format!("name part {KEY_WORDS}"))),
            (&long, key(&long, "name part must be no more than 63 bytes")),
            (
                "a/b/c",
                key(
                    "a/b/c",
                    &format!(
                        "a valid label key {KEY_WORDS} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
                    ),
                ),
            ),
        ] {
            let status = LabelSelector::parse(text).unwrap_err();
            assert_eq!(
                (status.code, status.reason.as_str(), status.message),
                (400, "BadRequest", want),
                "{text}"
            );
        }
    }

    #[test]
    fn labels_match_as_upstream_matches_them() {
        // Rows of apimachinery's TestSelectorMatches, and the empty value.
        for (text, labels, want) in [
            ("", "x=y", true),
            ("x=y", "x=y", true),
            ("x=y,z=w", "x=y,z=w", true),
            ("x!=y,z!=w", "x=z,z=a", true),
            ("notin=in", "notin=in", true),
            ("x", "x=z", true),
            ("!x", "y=z", true),
            ("x>1", "x=2", true),
            ("x<1", "x=0", true),
            ("x=z", "", false),
            ("x=y", "x=z", false),
            ("x=y,z=w", "x=w,z=w", false),
            ("x!=y,z!=w", "x=z,z=w", false),
            ("x", "y=z", false),
            ("!x", "x=z", false),
            ("x>1", "x=0", false),
            ("x<1", "x=2", false),
            ("x>1", "x=many", false),
            ("x>1", "", false),
            ("x!=y", "", true),
            ("x notin (y)", "", true),
            ("x in (y)", "", false),
            ("x in (y,z)", "x=z", true),
            ("x in (,y)", "x=", true),
            ("x=", "x=", true),
            ("x=", "", false),
            ("foo=bar,foobar=bar,baz=blah", "foo=bar,baz=blah", false),
        ] {
            let labels = labels
                .split(',')
                .filter_map(|l| l.split_once('='))
                .map(|(k, v)| (k.into(), v.into()))
                .collect();
            assert_eq!(
                LabelSelector::parse(text).unwrap().matches(&labels),
                want,
                "{text} {labels:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_selector_and_its_text_say_the_same(text in selector()) {
            let once = LabelSelector::parse(&text).unwrap();
            prop_assert_eq!(&LabelSelector::parse(&once.to_string()).unwrap(), &once);
        }

        #[test]
        fn whatever_is_read_is_read_again(text in "[a-z0-9!=<>(), \\x00/.-]{0,24}") {
            if let Ok(once) = LabelSelector::parse(&text) {
                prop_assert_eq!(LabelSelector::parse(&once.to_string()).unwrap(), once);
            }
        }
    }

    fn selector() -> impl Strategy<Value = String> {
        let key =
            "([a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?(\\.[a-z]{1,3}){0,2}/)?([A-Za-z0-9][A-Za-z0-9_.-]{0,5})?[A-Za-z0-9]|in|notin";
        let value = "|in|notin|([A-Za-z0-9][A-Za-z0-9_.-]{0,5})?[A-Za-z0-9]";
        let requirement = prop_oneof![
            (key, "|!").prop_map(|(k, not)| format!("{not}{k}")),
            (key, "=|==|!=", value).prop_map(|(k, op, v)| format!("{k}{op}{v}")),
            (key, " in | notin ", prop::collection::vec(value, 0..4)).prop_map(|(k, op, v)| format!("{k}{op}({})", v.join(","))),
            (key, "<|>", 0_i64..).prop_map(|(k, op, v)| format!("{k}{op}{v}")),
        ];
        prop::collection::vec(requirement, 0..5).prop_map(|all| all.join(" , "))
    }
}
