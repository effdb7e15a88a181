//! Outrigger beside metrics-server v0.9.0 at metrics-server's own job: the same nodes, the same pods, the same kubelets.
//!
//! # What is fair
//! * metrics-server is upstream's, built from its module with its own flags and run with those of its manifests (resolution 15 s);
//!   Outrigger runs with the flags that `deploy/` gives it, and the same resolution. Neither keeps an audit log.
//! * One kube-apiserver with real Node and Pod objects, and one fleet of kubelets (`kubelets.rs`), a process of its own. Each
//!   kubelet has an address and a certificate, verified by both, and says the same samples to both: `/metrics/resource` with
//!   milliseconds, compressed as a real kubelet compresses it, to the one; `/stats/summary` with whole seconds, uncompressed and
//!   with everything that a real one says besides, to the other (`e2e/src/exposition.rs`). The samples' clocks are a real kubelet's.
//! * Memory, CPU for each cycle, errors, gaps and first values are taken of both at the same time, from outside (`/proc`, and LISTs).
//!   CPU and steady memory are taken while nobody asks anything.
//! * Latencies are measured in turn. Meanwhile the other server stands still (SIGSTOP), and has two cycles to recover before it is
//!   measured itself. Whoever is measured goes on scraping, as it would anywhere.
//! * Requests come from the aggregator for one ordinary user who may read metrics; both servers ask the same kube-apiserver about him
//!   and remember it for ten seconds. HTTP/2 over loopback TLS, one connection for each request in flight. The client has the
//!   same two cores.
//! * The truth is a function of time (`truth.rs`). A served rate is compared with what the container really used in the window that the
//!   server claims, ending when the kubelet looked. Both cut their timestamps to seconds, so the second names the look.
//!
//! `make bench-metrics` runs this with release builds. Absolute figures are of the machine; trust the ratios.

mod answers;
mod chart;
pub(crate) mod kubelets;
mod measure;
mod trial;
mod truth;
mod world;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use outrigger_e2e::outrigger::{Options, account, metrics_plugin};
use outrigger_e2e::pki::Pair;
use outrigger_e2e::{ControlPlane, MetricsServer, Outrigger, http, metrics_server};

use self::answers::{Judgement, List};
use self::chart::{Bar, Group};
use self::kubelets::Kubelets;
use self::measure::{Answers, Paused, forget_peak, gets, machine, memory, peak};
use self::trial::Trials;
use self::truth::{Node, Place, Size};
use crate::client::Target;
use crate::{BASE, GZIP, PROTOBUF, Side, cpu, megabytes, ratio};

/// Seconds from one scrape to the next, as the manifests of both say.
const RESOLUTION: u32 = 15;
const CYCLE: Duration = Duration::from_secs(15);
/// Cycles over which CPU is counted.
const QUIET: u32 = 4;
/// How long rates are compared with the truth.
const WATCHED: Duration = Duration::from_secs(300);
/// How long five in a hundred kubelets fail.
const FAILING: Duration = Duration::from_secs(120);
/// For a server to have all pods.
const FULL: Duration = Duration::from_secs(600);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// Who asks, through the aggregator.
const WHO: [(&str, &str); 2] = [("x-remote-user", "bench"), ("x-remote-group", "system:authenticated")];
const HOST: &str = "metrics-server.kube-system.svc";
/// What client-go sends.
const ANY_PROTOBUF: (&str, &str) = ("accept", "application/vnd.kubernetes.protobuf,application/json");

/// Both servers over one fleet.
struct Bench {
    size: Size,
    epoch: u64,
    control_plane: ControlPlane,
    kubelets: Kubelets,
    sides: [Side; 2],
    clients: [http::Client; 2],
    bars: Vec<Bar>,
    // Held so that they run.
    outrigger: Outrigger,
    theirs: MetricsServer,
}

/// Every size, each with a table; then the picture.
pub(crate) fn run(sizes: &[String]) -> Result<()> {
    let mut groups = Vec::new();
    let default = ["100x70x2".to_owned()];
    for size in if sizes.is_empty() { &default } else { sizes } {
        let size: Size = size.parse()?;
        println!(
            "\n### {} nodes × {} pods × {} containers\n\nLoad before: {}\n",
            size.nodes,
            size.pods,
            size.containers,
            std::fs::read_to_string("/proc/loadavg")?.trim()
        );
        println!("| what | Outrigger | metrics-server | ratio | goal |\n|---|---|---|---|---|");
        let mut bench = Bench::start(size)?;
        bench.quiet()?;
        bench.judged()?;
        bench.asked()?;
        bench.failing()?;
        groups.push(Group {
            title: format!(
                "{} nodes, {} pods, {} containers each",
                size.nodes,
                size.all(),
                size.containers
            ),
            bars: bench.bars,
        });
    }
    chart::write(&groups)
}

// === impl Bench ===

impl Bench {
    fn start(size: Size) -> Result<Self> {
        let control_plane = ControlPlane::start_in(&format!("control-plane-{size}"))?;
        let kubeconfigs = (account(&control_plane)?, metrics_server::account(&control_plane)?);
        control_plane.kubectl()?.apply(
            "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: bench}, rules: [{apiGroups: [metrics.k8s.io], resources: ['*'], verbs: [get, list]}]}",
        )?;
        control_plane
            .kubectl()?
            .run("create clusterrolebinding bench --clusterrole=bench --user=bench")?;
        let proxy = control_plane.front_proxy().user("front-proxy-client", None)?;
        let epoch = truth::now() - truth::AGE;
        let kubelets = Kubelets::start(&control_plane, size, epoch)?;
        let begin = Instant::now();
        crate::runtime()?.block_on(world::populate(&control_plane, size, &kubelets))?;
        eprintln!("{size}: {} pods after {:?}", size.all(), begin.elapsed());

        let begin = Instant::now();
        let options = metrics_server::Options {
            name: format!("metrics-server-{size}"),
            address: Ipv4Addr::new(127, 96, 0, 11),
            resolution: RESOLUTION,
            arguments: Vec::new(),
        };
        let theirs = MetricsServer::launch(&control_plane, &kubeconfigs.1, &options)?;
        let options = Options {
            name: format!("outrigger-{size}"),
            address: Ipv4Addr::new(127, 96, 0, 10),
            resolution: RESOLUTION,
            plugins: vec![metrics_plugin()],
            arguments: Vec::new(),
        };
        let outrigger = Outrigger::start(&control_plane, &kubeconfigs.0, &options)?;
        let side = |name, target, pid| Side { name, target, pid };
        let sides = [
            side(
                "Outrigger",
                Target::new(outrigger.address(), HOST, outrigger.ca(), Some(&proxy), &WHO)?,
                outrigger.program().pid(),
            ),
            side(
                "metrics-server",
                Target::new(theirs.address(), HOST, theirs.ca(), Some(&proxy), &WHO)?,
                theirs.program().pid(),
            ),
        ];
        let clients = [through(&outrigger, &proxy)?, through_theirs(&theirs, &proxy)?];
        let bench = Self {
            size,
            epoch,
            control_plane,
            kubelets,
            sides,
            clients,
            bars: Vec::new(),
            outrigger,
            theirs,
        };
        let full = bench.full(begin)?;
        bench.say("start → every pod is served", full, "s", "");
        Ok(bench)
    }

    /// Waits until both serve every pod; returns when each did, in seconds after `begin`.
    fn full(&self, begin: Instant) -> Result<[f64; 2]> {
        let mut when = [None; 2];
        loop {
            self.outrigger.program().runs()?;
            self.theirs.program().runs()?;
            for (when, client) in when.iter_mut().zip(&self.clients).filter(|(when, _)| when.is_none()) {
                // Its port may not be open yet; until the deadline no error is one.
                if self.present(client).is_ok_and(|present| present == self.expected()) {
                    *when = Some(begin.elapsed().as_secs_f64());
                }
            }
            if let [Some(ours), Some(theirs)] = when {
                return Ok([ours, theirs]);
            }
            ensure!(begin.elapsed() < FULL, "not every pod is served: {when:?}");
            std::thread::sleep(PAUSE);
        }
    }

    /// Pods of the first namespace, of which there are enough.
    fn expected(&self) -> usize {
        self.size.places().filter(|place| place.namespace() == "team-0").count()
    }

    fn list(client: &http::Client, path: &str) -> Result<List> {
        let answer = client.get(&format!("{BASE}/{path}"))?.ok()?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    fn present(&self, client: &http::Client) -> Result<usize> {
        let list = Self::list(client, "namespaces/team-0/pods")?;
        let old = |name| Place::of(name).is_some_and(|place| place.pod < self.size.pods);
        Ok(list.items.iter().filter(|item| old(&item.metadata.name)).count())
    }

    /// Nobody asks anything: what they hold, and what a cycle costs.
    fn quiet(&mut self) -> Result<()> {
        std::thread::sleep(CYCLE * 2);
        let pids = self.sides.each_ref().map(|side| side.pid);
        let used = || -> Result<[f64; 3]> { Ok([cpu(pids[0])?, cpu(pids[1])?, cpu(self.kubelets.pid())?]) };
        let (before, machine_before) = (used()?, machine()?);
        std::thread::sleep(CYCLE * QUIET);
        let (after, machine_after) = (used()?, machine()?);
        let [ours, theirs, fleet] =
            [0, 1, 2].map(|i| (after.get(i).unwrap_or(&0.0) - before.get(i).unwrap_or(&0.0)) / f64::from(QUIET));
        let (mine, others) = (memory(pids[0])?, memory(pids[1])?);
        self.row("resident memory, steady", [mine.rss, others.rss], "MB", 1, Some(4.0));
        self.row("memory by share (PSS), steady", [mine.pss, others.pss], "MB", 1, Some(4.0));
        self.row("CPU for each scrape cycle", [ours * 1e3, theirs * 1e3], "ms", 0, Some(2.0));
        let (busy, all) = (machine_after.0 - machine_before.0, machine_after.1 - machine_before.1);
        let known = (ours + theirs + fleet) * f64::from(QUIET);
        println!(
            "| (for the record: CPU of the fleet for each cycle of both; the machine busy with anything else) | {:.0} ms | {:.1} % | | |",
            fleet * 1e3,
            (busy - known).max(0.0) / all * 100.0
        );
        Ok(())
    }

    /// Rates beside the truth, and how soon a new pod has a value.
    fn judged(&mut self) -> Result<()> {
        let nodes: HashMap<String, Node> = (0..self.size.nodes)
            .map(|node| (truth::node_name(node), Node::new(self.size, node, self.epoch)))
            .collect();
        let mut verdicts = [Judgement::default(), Judgement::default()];
        let mut trials = Trials::new(self.size);
        // On nodes with new pods the truth has changed.
        let nodes: HashMap<String, Node> = nodes.into_iter().filter(|(name, _)| !trials.touches(name)).collect();
        let begin = Instant::now();
        let mut next = Duration::ZERO;
        while begin.elapsed() < WATCHED {
            trials.step(begin.elapsed(), &self.control_plane, &mut self.kubelets, &self.clients)?;
            if begin.elapsed() >= next {
                for (verdict, client) in verdicts.iter_mut().zip(&self.clients) {
                    verdict.pods(&Self::list(client, "namespaces/team-0/pods")?, self.size, self.epoch)?;
                    verdict.nodes(&Self::list(client, "nodes")?, &nodes)?;
                }
                next += CYCLE;
            }
            std::thread::sleep(PAUSE);
        }
        let first = trials.results();
        self.row(
            "a new pod's first value after its start, mean",
            first.each_ref().map(|times| times.mean),
            "s",
            1,
            None,
        );
        println!(
            "| the same, at most ({} pods; not within {} s) | {:.1} s ({}) | {:.1} s ({}) | | |",
            first[0].count,
            trial::LONGEST.as_secs(),
            first[0].max,
            first[0].missed,
            first[1].max,
            first[1].missed
        );
        let [ours, theirs] = &verdicts;
        for (what, mine, other, goal) in [
            ("steady loads", ours.steady, theirs.steady, "≤ 0.5 %"),
            ("bursty loads", ours.bursty, theirs.bursty, ""),
            ("nodes", ours.nodes, theirs.nodes, ""),
        ] {
            println!(
                "| error of rates, {what}: mean / max ({} / {} values) | {:.4} / {:.3} % | {:.4} / {:.3} % | | {goal} |",
                mine.count,
                other.count,
                mine.mean() * 100.0,
                mine.max * 100.0,
                other.mean() * 100.0,
                other.max * 100.0
            );
        }
        println!("| working sets that are wrong | {} | {} | | 0 |", ours.wrong, theirs.wrong);
        Ok(())
    }

    /// Requests, to one server at a time.
    fn asked(&mut self) -> Result<()> {
        let [mine, others] = &self.sides;
        let ours = {
            let _still = Paused::new(others.pid)?;
            self.requests(mine)?
        };
        let theirs = {
            let _still = Paused::new(mine.pid)?;
            std::thread::sleep(CYCLE * 2 + CYCLE / 3);
            self.requests(others)?
        };
        self.row(
            "peak of resident memory, 8 LISTs of all pods at once (JSON)",
            [ours.peak, theirs.peak],
            "MB",
            1,
            Some(6.0),
        );
        for ((what, goal, mine), (_, _, other)) in ours.answers.iter().zip(&theirs.answers) {
            let p50 = [mine, other].map(|answers| answers.times.percentile(50) / 1e3);
            println!(
                "| {what} | {} | {} | {} | {} |",
                mine.text(),
                other.text(),
                ratio(p50[0], p50[1]),
                goal.map_or_else(String::new, |goal| format!("≤ 1/{goal}"))
            );
            self.bars.push(bar(&format!("{what}, p50"), p50, *goal));
        }
        Ok(())
    }

    fn requests(&self, side: &Side) -> Result<Requests> {
        let place = Place {
            node: self.size.nodes / 2,
            pod: 0,
        };
        let all = format!("{BASE}/pods");
        let nodes = format!("{BASE}/nodes");
        let pod = format!("{BASE}/namespaces/{}/pods/{}", place.namespace(), place.name());
        let app = format!(
            "{BASE}/namespaces/{}/pods?labelSelector=app%3D{}",
            place.namespace(),
            place.app()
        );
        let mut answers = Vec::new();
        for (what, path, headers, in_flight, goal) in [
            ("LIST pods, JSON", &all, &[][..], 1, Some(10.0)),
            ("LIST pods, JSON, gzip", &all, &[GZIP], 1, Some(10.0)),
            ("LIST pods, protobuf", &all, &[PROTOBUF], 1, Some(10.0)),
            ("LIST pods, protobuf, gzip", &all, &[PROTOBUF, GZIP], 1, Some(10.0)),
            ("LIST pods, JSON, 8 at once", &all, &[], 8, Some(10.0)),
            ("LIST pods, protobuf, 8 at once", &all, &[PROTOBUF], 8, Some(10.0)),
            ("LIST nodes, JSON", &nodes, &[], 1, None),
            ("LIST nodes, protobuf", &nodes, &[PROTOBUF], 1, None),
            ("GET pod, JSON", &pod, &[], 1, None),
            ("GET pod, protobuf", &pod, &[PROTOBUF], 1, None),
            ("GET pod, JSON, 8 at once", &pod, &[], 8, None),
            ("the HPA's LIST by label", &app, &[ANY_PROTOBUF, GZIP], 1, None),
            ("the HPA's LIST by label, 8 at once", &app, &[ANY_PROTOBUF, GZIP], 8, None),
        ] {
            answers.push((what, goal, gets(side, path, headers, in_flight)?));
        }
        // Last, since memory that was freed may still be held.
        forget_peak(side.pid)?;
        gets(side, &all, &[], 8)?;
        Ok(Requests {
            answers,
            peak: peak(side.pid)?,
        })
    }

    /// Five kubelets in a hundred fail at any time.
    fn failing(&mut self) -> Result<()> {
        // Whoever stood still recovers.
        std::thread::sleep(CYCLE * 2 + CYCLE / 3);
        let expected = self.expected();
        self.kubelets.fail(50)?;
        std::thread::sleep(CYCLE);
        let begin = Instant::now();
        let mut missing = [(0, 0), (0, 0)];
        let mut looks = 0;
        while begin.elapsed() < FAILING {
            for ((sum, max), client) in missing.iter_mut().zip(&self.clients) {
                let gone = expected.saturating_sub(self.present(client)?);
                *sum += gone;
                *max = gone.max(*max);
            }
            looks += 1;
            std::thread::sleep(PAUSE * 6);
        }
        self.kubelets.fail(0)?;
        let percent = |pods: usize, of: usize| truth_percent(pods, of.max(1));
        let [ours, theirs] =
            missing.map(|(sum, max)| format!("{:.2} / {:.2} %", percent(sum, expected * looks), percent(max, expected)));
        println!("| pods missing while 5 % of the kubelets fail at any time: mean / max | {ours} | {theirs} | | 0 |");
        Ok(())
    }

    /// A row with a ratio, and a bar for it.
    fn row(&mut self, what: &str, [ours, theirs]: [f64; 2], unit: &str, digits: usize, goal: Option<f64>) {
        println!(
            "| {what} | {ours:.digits$} {unit} | {theirs:.digits$} {unit} | {} | {} |",
            ratio(ours, theirs),
            goal.map_or_else(String::new, |goal| format!("≤ 1/{goal}"))
        );
        self.bars.push(bar(what, [ours, theirs], goal));
    }

    fn say(&self, what: &str, [ours, theirs]: [f64; 2], unit: &str, goal: &str) {
        println!(
            "| {what} | {ours:.1} {unit} | {theirs:.1} {unit} | {} | {goal} |",
            ratio(ours, theirs)
        );
    }
}

/// What one server made of the requests.
struct Requests {
    answers: Vec<(&'static str, Option<f64>, Answers)>,
    peak: f64,
}

fn bar(what: &str, [ours, theirs]: [f64; 2], goal: Option<f64>) -> Bar {
    Bar {
        what: what.to_owned(),
        share: ours / theirs,
        goal: goal.map(|goal| 1.0 / goal),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn truth_percent(part: usize, of: usize) -> f64 {
    part as f64 / of as f64 * 100.0
}

fn through(outrigger: &Outrigger, proxy: &Pair) -> Result<http::Client> {
    asking(outrigger.client(Some(proxy))?)
}

fn through_theirs(theirs: &MetricsServer, proxy: &Pair) -> Result<http::Client> {
    asking(theirs.client(Some(proxy))?)
}

fn asking(mut client: http::Client) -> Result<http::Client> {
    for (name, value) in WHO {
        client = client.with(name, value)?;
    }
    Ok(client)
}

// === impl Answers ===

impl Answers {
    fn text(&self) -> String {
        format!(
            "{:.2} / {:.2} ms, {:.0}/s ({:.2} MB, CPU {:.1} ms)",
            self.times.percentile(50) / 1e3,
            self.times.percentile(99) / 1e3,
            self.times.rate(),
            megabytes(self.bytes),
            self.cpu
        )
    }
}
