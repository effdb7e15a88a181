//! What a kubelet says, in both of its formats, from the same samples.
//!
//! `/stats/summary?only_cpu_and_memory=true` is JSON whose times have whole seconds, cut; `/metrics/resource` is Prometheus text
//! with milliseconds, cut. Fields, families and their order are those of kubelet v1.36 (stats/v1alpha1 `Summary`;
//! pkg/kubelet/metrics/collectors/resource_metrics.go), and numbers are written as Go writes them, so that a reader works as hard
//! as it does on the real thing. The counter is the same integer in both: nanoseconds here, seconds with nine digits there.

use std::io::Write as _;

const SECOND: u64 = 1_000_000_000;

/// One sample of a counter and of a working set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When what is sampled began, in nanoseconds since 1970.
    pub started: u64,
    /// When it was sampled, likewise.
    pub at: u64,
    /// Core-nanoseconds used since the start.
    pub counter: u64,
    /// Nanocores between this sample and the one before; 0 if there is none.
    pub rate: u64,
    /// Working set.
    pub bytes: u64,
}

/// A pod that a kubelet speaks of.
#[derive(Debug, Clone)]
pub struct Pod<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// Its own cgroup.
    pub whole: Sample,
    /// Its containers, in the order in which they are named.
    pub containers: Vec<(&'a str, Sample)>,
}

/// One answer of a kubelet.
#[derive(Debug, Clone)]
pub struct Exposition<'a> {
    /// The node's name.
    pub node: &'a str,
    /// The node itself.
    pub whole: Sample,
    /// Its pods.
    pub pods: Vec<Pod<'a>>,
    /// What the node has, in bytes.
    pub capacity: u64,
}

// === impl Exposition ===

impl Exposition<'_> {
    /// The answer to `/stats/summary?only_cpu_and_memory=true`.
    #[must_use]
    pub fn summary(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1200 + self.pods.iter().map(|p| 900 * (p.containers.len() + 1)).sum::<usize>());
        put(
            &mut out,
            format_args!("{{\"node\":{{\"nodeName\":\"{}\",\"systemContainers\":[", self.node),
        );
        put(&mut out, format_args!("{{\"name\":\"pods\","));
        self.entity(&mut out, &self.whole);
        out.extend_from_slice(b"}],");
        self.entity(&mut out, &self.whole);
        out.extend_from_slice(b"},\"pods\":[");
        for (i, pod) in self.pods.iter().enumerate() {
            comma(&mut out, i);
            let Pod {
                namespace, name, uid, ..
            } = pod;
            put(
                &mut out,
                format_args!(
                    "{{\"podRef\":{{\"name\":\"{name}\",\"namespace\":\"{namespace}\",\"uid\":\"{uid}\"}},\"containers\":["
                ),
            );
            for (i, (name, sample)) in pod.containers.iter().enumerate() {
                comma(&mut out, i);
                put(&mut out, format_args!("{{\"name\":\"{name}\","));
                self.entity(&mut out, sample);
                out.push(b'}');
            }
            out.extend_from_slice(b"],");
            self.entity(&mut out, &pod.whole);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
        out
    }

    fn entity(&self, out: &mut Vec<u8>, sample: &Sample) {
        const PSI: &str = "\"psi\":{\"full\":{\"total\":0,\"avg10\":0,\"avg60\":0,\"avg300\":0},\
                           \"some\":{\"total\":0,\"avg10\":0,\"avg60\":0,\"avg300\":0}}";
        let Sample {
            rate, counter, bytes, ..
        } = sample;
        let (used, left) = (bytes + (1 << 20), self.capacity.saturating_sub(*bytes));
        out.extend_from_slice(b"\"startTime\":\"");
        time(out, sample.started);
        out.extend_from_slice(b"\",\"cpu\":{\"time\":\"");
        time(out, sample.at);
        put(
            out,
            format_args!("\",\"usageNanoCores\":{rate},\"usageCoreNanoSeconds\":{counter},{PSI}}},\"memory\":{{\"time\":\""),
        );
        time(out, sample.at);
        put(
            out,
            format_args!(
                "\",\"availableBytes\":{left},\"usageBytes\":{used},\"workingSetBytes\":{bytes},\"rssBytes\":{bytes},\
                 \"pageFaults\":0,\"majorPageFaults\":0,{PSI}}},\"swap\":{{\"time\":\""
            ),
        );
        time(out, sample.at);
        out.extend_from_slice(b"\",\"swapUsageBytes\":0}");
    }

    /// The answer to `/metrics/resource`.
    #[must_use]
    pub fn resource(&self) -> Vec<u8> {
        let containers: usize = self.pods.iter().map(|pod| pod.containers.len()).sum();
        let mut out = Vec::with_capacity(2048 + 480 * containers + 360 * self.pods.len());
        self.containers(
            &mut out,
            "container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds",
            "counter",
            |out, s| stamped(out, seconds(s.counter), s.at),
        );
        self.containers(
            &mut out,
            "container_memory_working_set_bytes [STABLE] Current working set of the container in bytes",
            "gauge",
            |out, s| stamped(out, whole(s.bytes), s.at),
        );
        self.containers(
            &mut out,
            "container_start_time_seconds [STABLE] Start time of the container since unix epoch in seconds",
            "gauge",
            |out, s| {
                number(out, seconds(s.started));
                out.push(b'\n');
            },
        );
        let swap = "Reported only on non-windows systems";
        self.containers(
            &mut out,
            &format!("container_swap_usage_bytes [ALPHA] Current amount of the container swap usage in bytes. {swap}"),
            "gauge",
            |out, s| stamped(out, 0.0, s.at),
        );
        let node = |out: &mut Vec<u8>, help: &str, kind, value| {
            let name = head(out, help, kind);
            put(out, format_args!("{name} "));
            stamped(out, value, self.whole.at);
        };
        node(
            &mut out,
            "node_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the node in core-seconds",
            "counter",
            seconds(self.whole.counter),
        );
        node(
            &mut out,
            "node_memory_working_set_bytes [STABLE] Current working set of the node in bytes",
            "gauge",
            whole(self.whole.bytes),
        );
        node(
            &mut out,
            &format!("node_swap_usage_bytes [ALPHA] Current swap usage of the node in bytes. {swap}"),
            "gauge",
            0.0,
        );
        type Value = fn(&Sample) -> f64;
        let pods: [(&str, &str, Value); 3] = [
            (
                "pod_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the pod in core-seconds",
                "counter",
                |s| seconds(s.counter),
            ),
            (
                "pod_memory_working_set_bytes [STABLE] Current working set of the pod in bytes",
                "gauge",
                |s| whole(s.bytes),
            ),
            (
                "pod_swap_usage_bytes [ALPHA] Current amount of the pod swap usage in bytes. Reported only on non-windows systems",
                "gauge",
                |_| 0.0,
            ),
        ];
        for (help, kind, value) in pods {
            let family = head(&mut out, help, kind);
            for Pod {
                namespace, name, whole, ..
            } in &self.pods
            {
                put(
                    &mut out,
                    format_args!("{family}{{namespace=\"{namespace}\",pod=\"{name}\"}} "),
                );
                stamped(&mut out, value(whole), whole.at);
            }
        }
        head(
            &mut out,
            "resource_scrape_error [STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
            "gauge",
        );
        out.extend_from_slice(b"resource_scrape_error 0\n");
        out
    }

    fn containers(&self, out: &mut Vec<u8>, help: &str, kind: &str, value: impl Fn(&mut Vec<u8>, &Sample)) {
        let family = head(out, help, kind);
        for Pod {
            namespace,
            name,
            containers,
            ..
        } in &self.pods
        {
            for (container, sample) in containers {
                put(
                    out,
                    format_args!("{family}{{container=\"{container}\",namespace=\"{namespace}\",pod=\"{name}\"}} "),
                );
                value(out, sample);
            }
        }
    }
}

/// The two lines before a family, of which the help begins with the name.
fn head<'h>(out: &mut Vec<u8>, help: &'h str, kind: &str) -> &'h str {
    let name = help.split_once(' ').map_or(help, |(name, _)| name);
    put(out, format_args!("# HELP {help}\n# TYPE {name} {kind}\n"));
    name
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // A Vec takes everything.
    let _ = out.write_fmt(text);
}

fn comma(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.push(b',');
    }
}

fn stamped(out: &mut Vec<u8>, value: f64, at: u64) {
    number(out, value);
    put(out, format_args!(" {}\n", at / 1_000_000));
}

#[expect(clippy::cast_precision_loss, reason = "a float is what Prometheus has")]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "a float is what Prometheus has")]
fn whole(bytes: u64) -> f64 {
    bytes as f64
}

/// As Go's `strconv.AppendFloat(f, 'g', -1, 64)` writes it.
fn number(out: &mut Vec<u8>, value: f64) {
    if value != 0.0 && !(1e-4..1e6).contains(&value.abs()) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
        put(out, format_args!("{digits}e{sign}{exponent:0>2}"));
    } else {
        put(out, format_args!("{value}"));
    }
}

/// RFC 3339 with whole seconds, cut, as metav1.Time is written.
fn time(out: &mut Vec<u8>, nanoseconds: u64) {
    let seconds = nanoseconds / SECOND;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to a civil date (Howard Hinnant, "chrono-compatible low-level date algorithms"), for days after 1970.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    put(
        out,
        format_args!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
            second / 3600,
            second / 60 % 60,
            second % 60
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (34.239_689_715, "34.239689715"),
            (0.04063652, "0.04063652"),
            (1_795_257_015.728_026_6, "1.7952570157280266e+09"),
            (5_930_803_200.0, "5.9308032e+09"),
            (999_999.5, "999999.5"),
            (1e6, "1e+06"),
            (0.000_05, "5e-05"),
        ] {
            assert_eq!(written(|out| number(out, value)), text);
        }
    }

    #[test]
    fn times_are_cut_to_seconds() {
        for (at, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696_999_999_999, "2000-02-29T12:34:56Z"),
            (1_795_257_695_894_454_000, "2026-11-21T10:41:35Z"),
        ] {
            assert_eq!(written(|out| time(out, at)), text);
        }
    }

    #[test]
    fn both_formats_say_the_same() {
        let sample = Sample {
            started: 1_795_257_015_728_026_600,
            at: 1_795_257_700_403_999_999,
            counter: 34_239_689_715,
            rate: 49_966_440,
            bytes: 1_294_336,
        };
        let exposition = Exposition {
            node: "n",
            whole: sample,
            pods: vec![Pod {
                namespace: "default",
                name: "burner",
                uid: "u",
                whole: sample,
                containers: vec![("burn", sample)],
            }],
            capacity: 1 << 30,
        };
        let summary: serde_json::Value = serde_json::from_slice(&exposition.summary()).unwrap();
        let container = &summary["pods"][0]["containers"][0];
        assert_eq!(container["cpu"]["usageCoreNanoSeconds"], 34_239_689_715_u64);
        assert_eq!(container["cpu"]["time"], "2026-11-21T10:41:40Z");
        assert_eq!(summary["node"]["memory"]["workingSetBytes"], 1_294_336);
        let text = String::from_utf8(exposition.resource()).unwrap();
        for line in [
            "container_cpu_usage_seconds_total{container=\"burn\",namespace=\"default\",pod=\"burner\"} 34.239689715 1795257700403",
            "container_memory_working_set_bytes{container=\"burn\",namespace=\"default\",pod=\"burner\"} 1.294336e+06 1795257700403",
            "container_start_time_seconds{container=\"burn\",namespace=\"default\",pod=\"burner\"} 1.7952570157280266e+09",
            "node_cpu_usage_seconds_total 34.239689715 1795257700403",
            "# TYPE pod_cpu_usage_seconds_total counter",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }
}
