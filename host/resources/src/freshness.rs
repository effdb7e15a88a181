//! How old what somebody reads was measured: metrics-server's `metrics_server_api_metric_freshness_seconds`, one observation for each
//! object that is handed out.
//!
//! A list of ten thousand pods is a concatenation of finished bytes, and stays one: of each row only the seconds of its first member,
//! `timestamp`, are looked at; what stands before them is the same from row to row. One list is one addition per bucket.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use outrigger_api::time::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// The API that is spoken of. Other plugins' rows have a timestamp that means something else.
pub(crate) const GROUP: &str = "metrics.k8s.io";
/// Bucket n ends at this to the power of n, in seconds (metrics-server `pkg/api/monitoring.go`).
const STEP: f64 = 1.364;
const BUCKETS: usize = 20;
const MEMBER: &[u8] = b"\"timestamp\":\"";
/// Of `2026-11-21T11:28:13Z`: all but minutes and seconds.
const HOUR: usize = 14;

/// Ages of what was read.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    /// Beyond the last bucket there is one more.
    buckets: [AtomicU64; BUCKETS + 1],
    seconds: AtomicU64,
}

/// [`Freshness`], as the registry wants it.
pub(crate) struct Shown(pub(crate) Arc<Freshness>);

/// Reads the timestamps of many rows.
#[derive(Default)]
struct Hour<'a> {
    text: &'a [u8],
    seconds: i64,
}

// === impl Freshness ===

impl Freshness {
    /// These rows' fields are handed out.
    pub(crate) fn read<'a>(&self, rows: impl Iterator<Item = &'a [u8]>, now: SystemTime) {
        let now = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs().cast_signed());
        let (mut counts, mut sum, mut hour) = ([0u64; BUCKETS + 1], 0u64, Hour::default());
        for fields in rows {
            let Some(time) = hour.of(fields) else { continue };
            let age = (now - time).max(0).unsigned_abs();
            sum += age;
            if let Some(count) = counts.get_mut(bucket(age)) {
                *count += 1;
            }
        }
        for (bucket, count) in self.buckets.iter().zip(counts).filter(|(_, count)| *count > 0) {
            bucket.fetch_add(count, Ordering::Relaxed);
        }
        self.seconds.fetch_add(sum, Ordering::Relaxed);
    }
}

/// The bucket of an age in whole seconds.
fn bucket(age: u64) -> usize {
    let mut bound = 1.0;
    for n in 0..BUCKETS {
        if age as f64 <= bound {
            return n;
        }
        bound *= STEP;
    }
    BUCKETS
}

// === impl Hour ===

impl<'a> Hour<'a> {
    /// The timestamp that a row begins with, in seconds since 1970.
    fn of(&mut self, fields: &'a [u8]) -> Option<i64> {
        let text = fields.strip_prefix(MEMBER)?.get(..HOUR + 6)?;
        let (hour, rest) = text.split_at_checked(HOUR)?;
        let &[m1, m2, b':', s1, s2, b'Z'] = rest else { return None };
        if hour != self.text {
            let whole = Timestamp::parse(std::str::from_utf8(text).ok()?).ok()?;
            self.seconds = whole.seconds() - in_hour(m1, m2, s1, s2);
            self.text = hour;
        }
        Some(self.seconds + in_hour(m1, m2, s1, s2))
    }
}

fn in_hour(m1: u8, m2: u8, s1: u8, s2: u8) -> i64 {
    let digits = |tens: u8, ones: u8| i64::from(tens.wrapping_sub(b'0')) * 10 + i64::from(ones.wrapping_sub(b'0'));
    digits(m1, m2) * 60 + digits(s1, s2)
}

// === impl Shown ===

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut metric = encoder.encode_descriptor(
            "metrics_server_api_metric_freshness_seconds",
            "[ALPHA] Freshness of metrics exported",
            None,
            MetricType::Histogram,
        )?;
        let counts = self.0.buckets.each_ref().map(|count| count.load(Ordering::Relaxed));
        let mut bound = 1.0;
        let mut buckets = Vec::with_capacity(counts.len());
        for (n, count) in counts.into_iter().enumerate() {
            buckets.push((if n < BUCKETS { bound } else { f64::MAX }, count));
            bound *= STEP;
        }
        let seconds = self.0.seconds.load(Ordering::Relaxed) as f64;
        metric.encode_histogram::<NoLabelSet>(seconds, counts.iter().sum(), &buckets, None)
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn each_object_is_one_observation_of_its_age() {
        let freshness = Arc::new(Freshness::default());
        let now = UNIX_EPOCH + Duration::from_secs(1_795_260_493); // 2026-11-21T11:28:13Z
        let rows: [&[u8]; 9] = [
            br#""timestamp":"2026-11-21T11:28:13Z","window":"15s""#,
            br#""timestamp":"2026-11-21T11:28:03Z""#,
            br#""timestamp":"2026-11-21T11:27:03Z""#,
            br#""timestamp":"2026-11-21T10:28:13Z""#,
            br#""timestamp":"2026-11-21T11:28:43Z""#,
            br#""timestamp":null"#,
            br#""timestamp":"yesterday, 11 o'clock""#,
            br#""spec":{}"#,
            b"",
        ];
        freshness.read(rows.into_iter(), now);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Shown(freshness)));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "metrics_server_api_metric_freshness_seconds_count 5",
            "metrics_server_api_metric_freshness_seconds_sum 3680.0",
            "metrics_server_api_metric_freshness_seconds_bucket{le=\"1.0\"} 2",
            "metrics_server_api_metric_freshness_seconds_bucket{le=\"+Inf\"} 5",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn buckets_are_upstreams() {
        for (age, expected) in [(0, 0), (1, 0), (2, 3), (15, 9), (60, 14), (100_000, BUCKETS)] {
            assert_eq!(bucket(age), expected, "{age}");
        }
    }
}
