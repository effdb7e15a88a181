//! Limits as an operator writes them: what is said changes, what is not said stays.
//!
//! Durations are Go's (`10s`, `1m30s`), sizes Kubernetes quantities (`64Mi`, `1G`) or numbers of bytes. What the host itself cannot
//! give is refused by name, when the file is read and not when a plugin is loaded.

use std::borrow::Cow;
use std::time::Duration;

use outrigger_api::time::{go_duration, parse_go_duration};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::Limits;

/// Limits of one plugin; whatever is absent keeps its default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LimitsSpec {
    /// Linear memory of one call. Default 64Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Elements of all tables of one call. Default 20000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table_elements: Option<u32>,
    /// Longest time of one call, waiting included. Default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_deadline: Option<Span>,
    /// Longest time of one collector's tick. Default: callDeadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tick_deadline: Option<Span>,
    /// Longest time of one stream. Default 4h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_deadline: Option<Span>,
    /// Longest time of describe, at load. Default 2s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub describe_deadline: Option<Span>,
    /// CPU time of one call; of a stream, for each callDeadline that it lives. Default 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_time: Option<Span>,
    /// Bytes that may cross from the plugin to the host at once. Default 16Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostcall_bytes: Option<Size>,
    /// Bytes that the host may answer within one call. Default 32Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_bytes: Option<Size>,
    /// Bytes of one response, or of all rows of one call. Default 8Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_bytes: Option<Size>,
    /// Rows of one call. Default 20000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u32>,
    /// Bytes of one target's state. Default 4Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_bytes: Option<Size>,
    /// Lines per second that all calls may log together. Default 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_lines_per_second: Option<u32>,
    /// Calls at once. Default 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_in_flight: Option<u32>,
    /// Calls that may wait; what is over is answered 429. Default 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_waiting: Option<u32>,
    /// Requests to the outside at once, of all calls together. Default 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_in_flight: Option<u32>,
    /// Bytes of the component's file. Default 64Mi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component_bytes: Option<Size>,
    /// Longest time of its compilation. Default 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compile_deadline: Option<Span>,
}

/// A number of bytes: a Kubernetes quantity such as `64Mi`, or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub usize);

/// A duration as Go writes it, such as `10s`; more than zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

/// A limit that this host cannot give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// More than the host has.
    #[error("{limit} of {wanted} is over this host's {most}")]
    Over {
        /// The limit's name.
        limit: &'static str,
        /// What is asked for.
        wanted: u64,
        /// What there is.
        most: u64,
    },
    /// None at all: nothing would ever run.
    #[error("{limit} must be more than 0")]
    Nothing {
        /// The limit's name.
        limit: &'static str,
    },
}

// === impl LimitsSpec ===

impl LimitsSpec {
    /// These limits, with what is said here instead.
    #[must_use]
    pub fn apply(&self, to: &Limits) -> Limits {
        let size = |said: Option<Size>, old: usize| said.map_or(old, |s| s.0);
        let span = |said: Option<Span>, old: Duration| said.map_or(old, |s| s.0);
        let count = |said: Option<u32>, old: usize| said.map_or(old, |n| n as usize);
        Limits {
            memory_bytes: size(self.memory, to.memory_bytes),
            table_elements: count(self.table_elements, to.table_elements),
            call_deadline: span(self.call_deadline, to.call_deadline),
            tick_deadline: span(self.tick_deadline.or(self.call_deadline), to.tick_deadline),
            connect_deadline: span(self.connect_deadline, to.connect_deadline),
            describe_deadline: span(self.describe_deadline, to.describe_deadline),
            cpu_time: span(self.cpu_time, to.cpu_time),
            hostcall_bytes: size(self.hostcall_bytes, to.hostcall_bytes),
            answer_bytes: size(self.answer_bytes, to.answer_bytes),
            result_bytes: size(self.response_bytes, to.result_bytes),
            rows_per_call: count(self.rows, to.rows_per_call),
            state_bytes: size(self.state_bytes, to.state_bytes),
            log_lines_per_second: self.log_lines_per_second.unwrap_or(to.log_lines_per_second),
            calls_in_flight: count(self.calls_in_flight, to.calls_in_flight),
            calls_waiting: count(self.calls_waiting, to.calls_waiting),
            egress_in_flight: count(self.egress_in_flight, to.egress_in_flight),
            component_bytes: size(self.component_bytes, to.component_bytes),
            compile_deadline: span(self.compile_deadline, to.compile_deadline),
            ..to.clone()
        }
    }

    /// Whether a host with these maxima can give what is said here.
    ///
    /// # Errors
    /// The first limit that it cannot give.
    pub fn check(&self, most: &Limits) -> Result<(), TooMuch> {
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let bytes = |s: Option<Size>| s.map(|s| s.0 as u64);
        let spans = |s: Option<Span>| s.map(|s| millis(s.0));
        let counts = |n: Option<u32>| n.map(u64::from);
        for (limit, wanted, most) in [
            ("memory", bytes(self.memory), most.memory_bytes as u64),
            ("tableElements", counts(self.table_elements), most.table_elements as u64),
            ("callDeadline (ms)", spans(self.call_deadline), millis(most.call_deadline)),
            ("tickDeadline (ms)", spans(self.tick_deadline), millis(most.tick_deadline)),
            (
                "connectDeadline (ms)",
                spans(self.connect_deadline),
                millis(most.connect_deadline),
            ),
            (
                "describeDeadline (ms)",
                spans(self.describe_deadline),
                millis(most.describe_deadline),
            ),
            ("cpuTime (ms)", spans(self.cpu_time), millis(most.cpu_time)),
            ("hostcallBytes", bytes(self.hostcall_bytes), most.hostcall_bytes as u64),
            ("answerBytes", bytes(self.answer_bytes), most.answer_bytes as u64),
            ("responseBytes", bytes(self.response_bytes), most.result_bytes as u64),
            ("rows", counts(self.rows), most.rows_per_call as u64),
            ("stateBytes", bytes(self.state_bytes), most.state_bytes as u64),
            (
                "logLinesPerSecond",
                counts(self.log_lines_per_second),
                most.log_lines_per_second.into(),
            ),
            ("callsInFlight", counts(self.calls_in_flight), most.calls_in_flight as u64),
            ("egressInFlight", counts(self.egress_in_flight), most.egress_in_flight as u64),
            ("componentBytes", bytes(self.component_bytes), most.component_bytes as u64),
            (
                "compileDeadline (ms)",
                spans(self.compile_deadline),
                millis(most.compile_deadline),
            ),
        ] {
            match wanted {
                Some(0) if !matches!(limit, "logLinesPerSecond" | "egressInFlight" | "tableElements" | "rows") => {
                    return Err(TooMuch::Nothing { limit });
                }
                Some(wanted) if wanted > most => return Err(TooMuch::Over { limit, wanted, most }),
                _ => {}
            }
        }
        Ok(())
    }
}

// === impl Size ===

impl Size {
    /// Reads a quantity: digits with an optional fraction, and `k M G T` or `Ki Mi Gi Ti`.
    ///
    /// # Errors
    /// It is not one, or is no whole number of bytes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size such as 64Mi");
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let scale: u64 = match unit {
            "" => 1,
            "k" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "T" => 1_000_000_000_000,
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            "Ti" => 1 << 40,
            _ => return Err(wrong()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 9 {
            return Err(wrong());
        }
        let digits = |s: &str| {
            if s.is_empty() {
                Ok(0)
            } else {
                s.parse::<u64>().map_err(|_| wrong())
            }
        };
        let parts = digits(fraction)?.checked_mul(scale).ok_or_else(wrong)?;
        let ten = 10_u64.pow(u32::try_from(fraction.len()).unwrap_or(9));
        if !parts.is_multiple_of(ten) {
            return Err(format!("{text:?} is no whole number of bytes"));
        }
        let bytes = digits(whole)?.checked_mul(scale).and_then(|w| w.checked_add(parts / ten));
        bytes.and_then(|b| usize::try_from(b).ok()).map(Self).ok_or_else(wrong)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let units = [(1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
        match units.iter().find(|(scale, _)| self.0 > 0 && self.0.is_multiple_of(*scale)) {
            Some((scale, unit)) => serializer.collect_str(&format_args!("{}{unit}", self.0 / scale)),
            None => serializer.serialize_u64(self.0 as u64),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Said {
            Number(u64),
            Text(String),
        }
        match Said::deserialize(deserializer).map_err(|_| D::Error::custom("not a size such as 64Mi, or a number of bytes"))? {
            Said::Number(n) => usize::try_from(n)
                .map(Self)
                .map_err(|_| D::Error::invalid_value(Unexpected::Unsigned(n), &"a size that this machine has")),
            Said::Text(text) => Self::parse(&text).map_err(D::Error::custom),
        }
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes: a Kubernetes quantity such as 64Mi, or a number.",
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": "^([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([kMGT]|[KMGT]i)?$"},
            ],
        })
    }
}

// === impl Span ===

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&go_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        match parse_go_duration(&text).map_err(D::Error::custom)? {
            Some(duration) => Ok(Self(duration)),
            None => Err(D::Error::custom(format!("{text:?} is not more than zero"))),
        }
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration as Go writes it, such as 10s or 1m30s; more than zero.",
            "type": "string",
            "pattern": "^\\+?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)([0-9.]+(ns|us|µs|μs|ms|s|m|h))*$",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_said_changes_and_nothing_else() {
        let all: LimitsSpec = serde_json::from_value(json!({
            "memory": "128Mi", "tableElements": 7, "callDeadline": "20s", "tickDeadline": "9s", "connectDeadline": "1h",
            "describeDeadline": "500ms", "cpuTime": "1m30s", "hostcallBytes": 4096, "answerBytes": "1M", "responseBytes": "1.5Ki",
            "rows": 3, "stateBytes": "1k", "logLinesPerSecond": 0, "callsInFlight": 2, "callsWaiting": 4, "egressInFlight": 1,
            "componentBytes": "1Gi", "compileDeadline": "2m",
        }))
        .unwrap();
        let limits = all.apply(&Limits::default());
        let wanted = Limits {
            memory_bytes: 128 << 20,
            table_elements: 7,
            call_deadline: Duration::from_secs(20),
            tick_deadline: Duration::from_secs(9),
            connect_deadline: Duration::from_secs(3600),
            describe_deadline: Duration::from_millis(500),
            cpu_time: Duration::from_secs(90),
            hostcall_bytes: 4096,
            answer_bytes: 1_000_000,
            result_bytes: 1536,
            rows_per_call: 3,
            state_bytes: 1000,
            log_lines_per_second: 0,
            calls_in_flight: 2,
            calls_waiting: 4,
            egress_in_flight: 1,
            component_bytes: 1 << 30,
            compile_deadline: Duration::from_secs(120),
            ..Limits::default()
        };
        assert_eq!(limits, wanted);
        assert_eq!(LimitsSpec::default().apply(&wanted), wanted);
        let again: LimitsSpec = serde_json::from_value(serde_json::to_value(&all).unwrap()).unwrap();
        assert_eq!(again, all);
        assert_eq!(serde_json::to_value(LimitsSpec::default()).unwrap(), json!({}));
    }

    #[test]
    fn what_is_no_limit_is_refused_in_one_sentence() {
        for (said, sentence) in [
            (json!({"memory": "64MB"}), "\"64MB\" is no size such as 64Mi"),
            (json!({"memory": "0.3"}), "\"0.3\" is no whole number of bytes"),
            (json!({"memory": "-1"}), "\"-1\" is no size"),
            (json!({"memory": -1}), "not a size such as 64Mi"),
            (json!({"memory": "99999999999Ti"}), "is no size"),
            (json!({"cpuTime": "5"}), "missing unit in duration \"5\""),
            (json!({"cpuTime": "0s"}), "\"0s\" is not more than zero"),
            (json!({"cpuTime": "-3s"}), "\"-3s\" is not more than zero"),
            (json!({"callDeadline": 10}), "invalid type"),
            (json!({"cpu": "5s"}), "unknown field `cpu`"),
        ] {
            let error = serde_json::from_value::<LimitsSpec>(said.clone()).unwrap_err().to_string();
            assert!(error.contains(sentence), "{said}: {error}");
        }
    }

    #[test]
    fn what_the_host_cannot_give_is_refused_by_name() {
        let most = Limits::most();
        for (said, sentence) in [
            (json!({"memory": "1Gi"}), "memory of 1073741824 is over this host's 268435456"),
            (json!({"callsInFlight": 0}), "callsInFlight must be more than 0"),
            (
                json!({"callDeadline": "2h"}),
                "callDeadline (ms) of 7200000 is over this host's 600000",
            ),
        ] {
            let spec: LimitsSpec = serde_json::from_value(said.clone()).unwrap();
            assert_eq!(spec.check(&most).unwrap_err().to_string(), sentence, "{said}");
        }
        let spec: LimitsSpec = serde_json::from_value(json!({"memory": "256Mi", "egressInFlight": 0})).unwrap();
        assert_eq!(spec.check(&most), Ok(()));
    }

    #[test]
    fn the_schema_names_every_field_and_lets_nothing_else_in() {
        let schema: Value = schemars::schema_for!(LimitsSpec).into();
        assert_eq!(schema["additionalProperties"], json!(false));
        let properties = schema["properties"].as_object().unwrap();
        assert_eq!(properties.len(), 18);
        assert!(properties.values().all(|p| p["description"].is_string()), "{properties:?}");
    }
}
