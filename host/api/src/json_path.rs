//! The JSONPath of printer columns: `.spec.tonnage`, `.status.conditions[?(@.type=="Ready")].status`.
//!
//! A strict part of client-go's `util/jsonpath`, which a CRD's `additionalPrinterColumns` are read with: members by name or in brackets,
//! indices (also from the end), `[*]`, and filters that compare a member with a text, a number or a boolean. What lies outside of
//! that part is refused when it is read, not misread. A member that is not there selects nothing (`AllowMissingKeys`).

use serde_json::Value;

/// A path that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath(Vec<Step>);

/// Why a text is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is not a JSONPath that columns can have: {why}")]
pub struct NotAPath {
    /// The text.
    pub path: String,
    /// What is wrong.
    pub why: &'static str,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Member(String),
    Index(i64),
    All,
    /// `[?(@.path OP value)]`; without a comparison the path must select something.
    Filter(Vec<Step>, Option<(Comparison, Value)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

struct Reader<'a> {
    rest: &'a str,
}

// === impl JsonPath ===

impl JsonPath {
    /// Reads a path; it begins with a dot, as those of a CRD do.
    ///
    /// # Errors
    /// [`NotAPath`].
    pub fn parse(path: &str) -> Result<Self, NotAPath> {
        let mut reader = Reader { rest: path };
        let fail = |why| NotAPath {
            path: path.to_owned(),
            why,
        };
        if !path.starts_with('.') {
            return Err(fail("it does not begin with a dot"));
        }
        let steps = reader.steps(false).map_err(fail)?;
        if reader.rest.is_empty() {
            Ok(Self(steps))
        } else {
            Err(fail("it does not end where it should"))
        }
    }

    /// The first value that it selects. A printer column shows only that.
    #[must_use]
    pub fn first<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        select(&self.0, value).into_iter().next()
    }
}

fn select<'v>(steps: &[Step], value: &'v Value) -> Vec<&'v Value> {
    let mut found = vec![value];
    for step in steps {
        found = found.into_iter().flat_map(|value| step.of(value)).collect();
    }
    found
}

// === impl Step ===

impl Step {
    fn of<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        match self {
            Self::Member(name) => value.get(name).into_iter().collect(),
            Self::Index(index) => {
                let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
                let at = match usize::try_from(*index) {
                    Ok(at) => Some(at),
                    Err(_) => items
                        .len()
                        .checked_sub(usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)),
                };
                at.and_then(|at| items.get(at)).into_iter().collect()
            }
            Self::All => match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(members) => members.values().collect(),
                _ => Vec::new(),
            },
            Self::Filter(path, wanted) => {
                let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
                let takes = |item: &&Value| match (select(path, item).first(), wanted) {
                    (Some(found), Some((comparison, value))) => comparison.holds(found, value),
                    (found, None) => found.is_some(),
                    (None, Some(_)) => false,
                };
                items.iter().filter(takes).collect()
            }
        }
    }
}

// === impl Comparison ===

impl Comparison {
    const ALL: [(&'static str, Self); 6] = [
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        ("<=", Self::LessOrEqual),
        (">=", Self::GreaterOrEqual),
        ("<", Self::Less),
        (">", Self::Greater),
    ];

    /// Values of different types never compare.
    fn holds(self, a: &Value, b: &Value) -> bool {
        let order = match (a, b) {
            (Value::String(a), Value::String(b)) => a.partial_cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.partial_cmp(b),
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            _ => None,
        };
        order.is_some_and(|order| match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        })
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn takes(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn until(&mut self, ends: impl Fn(char) -> bool) -> &'a str {
        let at = self.rest.find(ends).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(at);
        self.rest = rest;
        text
    }

    fn steps(&mut self, in_filter: bool) -> Result<Vec<Step>, &'static str> {
        let mut steps = Vec::new();
        loop {
            if self.takes(".") {
                let name = self.name(in_filter)?;
                match (name.as_str(), self.rest.starts_with('[')) {
                    ("", true) => {}
                    // The object itself: a lone dot.
                    ("", false) if steps.is_empty() && self.rest.is_empty() => {}
                    ("", false) => return Err("a member has no name"),
                    ("*", _) => steps.push(Step::All),
                    _ => steps.push(Step::Member(name)),
                }
            } else if self.takes("[") {
                steps.push(self.bracket()?);
            } else {
                return Ok(steps);
            }
        }
    }

    /// Dots in a name are escaped by a backslash, as in `.metadata.labels.app\.kubernetes\.io/name`.
    fn name(&mut self, in_filter: bool) -> Result<String, &'static str> {
        let mut name = String::new();
        loop {
            name.push_str(self.until(|c| matches!(c, '.' | '[' | '\\' | '{' | '}') || (in_filter && " =!<>)".contains(c))));
            if !self.takes("\\") {
                break;
            }
            let mut rest = self.rest.chars();
            name.push(rest.next().ok_or("a backslash stands at its end")?);
            self.rest = rest.as_str();
        }
        if self.rest.starts_with(['{', '}']) {
            return Err("braces belong to templates");
        }
        Ok(name)
    }

    fn bracket(&mut self) -> Result<Step, &'static str> {
        let step = if self.takes("*") {
            Step::All
        } else if self.takes("?(") {
            self.filter()?
        } else if self.rest.starts_with(['\'', '"']) {
            Step::Member(self.quoted()?)
        } else {
            let index = self.until(|c| c == ']');
            Step::Index(
                index
                    .parse()
                    .map_err(|_| "only one index, '*', a quoted name or a filter can stand in brackets")?,
            )
        };
        if self.takes("]") {
            Ok(step)
        } else {
            Err("a bracket is not closed")
        }
    }

    fn quoted(&mut self) -> Result<String, &'static str> {
        let mut rest = self.rest.chars();
        let quote = rest.next().unwrap_or('"');
        self.rest = rest.as_str();
        let text = self.until(|c| c == quote).to_owned();
        self.takes(quote.encode_utf8(&mut [0; 4]))
            .then_some(text)
            .ok_or("a quote is not closed")
    }

    fn filter(&mut self) -> Result<Step, &'static str> {
        if !self.takes("@") {
            return Err("a filter begins with @");
        }
        let path = self.steps(true)?;
        self.rest = self.rest.trim_start();
        let comparison = Comparison::ALL.into_iter().find(|(sign, _)| self.takes(sign));
        let wanted = match comparison {
            None => None,
            Some((_, comparison)) => {
                self.rest = self.rest.trim_start();
                let value = if self.rest.starts_with(['\'', '"']) {
                    Value::String(self.quoted()?)
                } else {
                    let literal = self.until(|c| c == ')').trim();
                    let value = serde_json::from_str(literal).ok();
                    let value = value.filter(|v: &Value| v.is_number() || v.is_boolean());
                    value.ok_or("a filter compares with a text, a number or a boolean")?
                };
                Some((comparison, value))
            }
        };
        self.rest = self.rest.trim_start();
        if self.takes(")") {
            Ok(Step::Filter(path, wanted))
        } else {
            Err("a filter is not closed")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_select_as_client_go_does() {
        let object = json!({
            "metadata": {"labels": {"app.kubernetes.io/name": "web"}},
            "spec": {"n": 3, "list": ["a", "b"], "map": {"x": 1, "y": 2}, "null": null},
            "status": {"conditions": [
                {"type": "Ready", "status": "True", "n": 1, "on": true},
                {"type": "Gone", "status": "False", "n": 2},
            ]},
        });
        for (path, want) in [
            (".spec.n", Some(json!(3))),
            (".spec.list[0]", Some(json!("a"))),
            (".spec.list[-1]", Some(json!("b"))),
            (".spec.list[2]", None),
            (".spec.list[-3]", None),
            (".spec.list[*]", Some(json!("a"))),
            (".spec.list", Some(json!(["a", "b"]))),
            (".spec.map.*", Some(json!(1))),
            (".spec['n']", Some(json!(3))),
            (".spec.null", Some(json!(null))),
            (".spec.absent.deeper", None),
            (".spec.n.deeper", None),
            (r".metadata.labels.app\.kubernetes\.io/name", Some(json!("web"))),
            (".metadata.labels['app.kubernetes.io/name']", Some(json!("web"))),
            (r#".status.conditions[?(@.type=="Ready")].status"#, Some(json!("True"))),
            (".status.conditions[?(@.type == 'Gone')].status", Some(json!("False"))),
            (".status.conditions[?(@.n>1)].type", Some(json!("Gone"))),
            (".status.conditions[?(@.n<=1)].type", Some(json!("Ready"))),
            (".status.conditions[?(@.on==true)].type", Some(json!("Ready"))),
            (".status.conditions[?(@.on)].type", Some(json!("Ready"))),
            (".status.conditions[?(@.type!='Ready')].type", Some(json!("Gone"))),
            (".status.conditions[?(@.type==1)].type", None),
        ] {
            let parsed = JsonPath::parse(path).unwrap();
            assert_eq!(parsed.first(&object), want.as_ref(), "{path}");
        }
        assert_eq!(JsonPath::parse(".").unwrap().first(&object), Some(&object));
    }

    #[test]
    fn what_is_outside_of_the_part_is_refused() {
        for path in [
            "",
            "spec",
            "{.spec}",
            ".spec}",
            ".spec..x",
            ".a[",
            ".a[x]",
            ".a[1:2]",
            ".a['x]",
            ".a[?(.x)]",
            ".a[?(@.x==y)]",
            ".a[?(@.x]",
            ".a[0]x",
            ".a\\",
        ] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}
