//! Two replicas that share the ticks between them.

use super::*;
use crate::sharing::{NotTaken, Replicas};

/// How many stand before it for a job.
type Before = Box<dyn Fn(&str) -> usize + Send>;

/// A replica's opinion of who stands before it, which the test changes.
struct Line(watch::Sender<u64>, Mutex<Before>);

impl Line {
    fn new(before: impl Fn(&str) -> usize + Send + 'static) -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(0), Mutex::new(Box::new(before))))
    }

    fn now(&self, before: impl Fn(&str) -> usize + Send + 'static) {
        *self.1.lock().unwrap() = Box::new(before);
        self.0.send_modify(|n| *n += 1);
    }
}

impl Replicas for Line {
    fn before(&self, job: &str) -> usize {
        (self.1.lock().unwrap())(job)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

fn replica(plugin: Native, nodes: &[&str], line: &Arc<Line>) -> Bench {
    Bench::start_as(plugin.installed("p.wasm"), nodes, |collectors| {
        collectors.sharing(line.clone())
    })
}

/// What `from` says, `to` hears, until the one of them ends.
fn hears(to: &Bench, from: &Bench) -> tokio::task::JoinHandle<()> {
    let mut feed = from.collectors.feed().unwrap();
    let (to, stop) = (to.collectors.clone(), from.stop.clone());
    tokio::spawn(async move {
        while let Some(Some(news)) = stop.run_until_cancelled(feed.next()).await {
            let _ = to.hear(news.slice(4..));
        }
    })
}

/// [`counting`], and how often each of the two was asked.
fn counted(asked: &Arc<AtomicU32>) -> Native {
    let asked = asked.clone();
    Native::collecting("p", "1", GROUP, move |target, state| {
        asked.fetch_add(1, Ordering::Relaxed);
        let ticks = state.len() + 1;
        Ok(one(target, &format!("{{\"ticks\":{ticks}}}"), &vec![1; ticks]))
    })
}

/// "a" and "b" are the first's, the others the second's.
fn is_firsts(job: &str) -> bool {
    job.ends_with("/a") || job.ends_with("/b")
}

const NODES: [&str; 4] = ["a", "b", "c", "d"];

fn asked() -> [Arc<AtomicU32>; 2] {
    [Arc::default(), Arc::default()]
}

#[tokio::test(start_paused = true)]
async fn each_target_is_asked_by_one_and_known_by_all() {
    let of = asked();
    let lines = [
        Line::new(|job| usize::from(!is_firsts(job))),
        Line::new(|job| usize::from(is_firsts(job))),
    ];
    let [one, two] = [0, 1].map(|n| replica(counted(&of[n]), &NODES, &lines[n]));
    let (_there, _back) = (hears(&two, &one), hears(&one, &two));
    seconds(101).await;
    let times = [0, 1].map(|n| of[n].load(Ordering::Relaxed));
    assert_eq!(times, [22, 22], "two targets each, eleven times");
    let expected = NODES.map(|node| format!("{node} \"ticks\":11"));
    assert_eq!((one.rows(), two.rows()), (expected.to_vec(), expected.to_vec()));
    let line = r#"outrigger_collector_ticks_heard_total{plugin="p",collector="things",result="success"} 22"#;
    assert!(one.metrics().contains(line), "{}", one.metrics());
    assert!(
        one.collectors.status()[0]
            .targets
            .iter()
            .filter(|t| t.last_heard.is_some())
            .count()
            == 2
    );
}

#[tokio::test(start_paused = true)]
async fn who_takes_over_goes_on_from_where_the_other_was_and_no_value_gets_two_intervals_old() {
    let of = asked();
    let lines = [Line::new(|_| 0), Line::new(|_| 1)];
    let [one, two] = [0, 1].map(|n| replica(counted(&of[n]), &["a"], &lines[n]));
    let _there = hears(&two, &one);
    let _back = hears(&one, &two);
    seconds(45).await;
    assert_eq!(two.rows(), [r#"a "ticks":5"#]);
    assert_eq!(of[1].load(Ordering::Relaxed), 0);
    // Nobody has told the second one yet.
    drop(one);
    seconds(9).await;
    assert_eq!(two.rows(), [r#"a "ticks":6"#], "at 52.5 s");
    lines[1].now(|_| 0);
    seconds(9).await;
    assert_eq!(two.rows(), [r#"a "ticks":7"#], "it is the first now");
    assert_eq!(of[1].load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_comes_is_told_everything_at_once_and_takes_its_part_in_step() {
    let of = asked();
    let lines = [Line::new(|_| 0), Line::new(|job| usize::from(is_firsts(job)))];
    let one = replica(counted(&of[0]), &NODES, &lines[0]);
    seconds(35).await;
    let two = replica(counted(&of[1]), &NODES, &lines[1]);
    seconds(0).await;
    let _there = hears(&two, &one);
    let _back = hears(&one, &two);
    lines[0].now(|job| usize::from(!is_firsts(job)));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let ticks = |n: usize| NODES.map(|node| format!("{node} \"ticks\":{n}"));
    assert_eq!(two.rows()[..2], ticks(4)[..2], "not asked, told");
    seconds(20).await;
    assert_eq!(
        of[0].load(Ordering::Relaxed) + of[1].load(Ordering::Relaxed),
        4 * 4 + 4 * 2 + 2
    );
    assert_eq!(one.rows(), two.rows());
}

#[tokio::test(start_paused = true)]
async fn rows_of_another_version_or_of_nobody_are_not_taken() {
    let line = Line::new(|_| 1);
    let one = replica(counting("1"), &["a"], &Line::new(|_| 0));
    let two = replica(counting("2"), &["a"], &line);
    let three = replica(counting("1"), &["b"], &line);
    seconds(1).await;
    let mut feed = one.collectors.feed().unwrap();
    let news = feed.next().await.unwrap().slice(4..);
    assert_eq!(two.collectors.hear(news.clone()), Err(NotTaken::Unknown));
    assert_eq!(three.collectors.hear(news.clone()), Err(NotTaken::Unknown));
    for broken in [&b"\xff"[..], &news[..news.len() / 2]] {
        assert_eq!(
            two.collectors.hear(bytes::Bytes::copy_from_slice(broken)),
            Err(NotTaken::Unreadable)
        );
    }
    assert_eq!((two.rows().len(), three.rows().len()), (0, 0));
    seconds(13).await;
    assert_eq!((two.rows().len(), three.rows().len()), (1, 1), "each asks for itself");
    let mut feed = one.collectors.feed().unwrap();
    let own = feed.next().await.unwrap().slice(4..);
    assert_eq!(one.collectors.hear(own), Err(NotTaken::Old), "its own words, come back");
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_is_too_slow_is_told_what_there_is() {
    let one = replica(counting("1"), &["a", "b"], &Line::new(|_| 0));
    let mut feed = one.collectors.feed().unwrap();
    let two = replica(counting("1"), &["a", "b"], &Line::new(|_| 1));
    seconds(10_000).await;
    let mut heard = 0;
    while let Ok(Some(news)) = tokio::time::timeout(Duration::ZERO, feed.next()).await {
        heard += 1;
        let _ = two.collectors.hear(news.slice(4..));
    }
    assert!(heard < 1_100, "{heard} of 2,000");
    assert_eq!(one.rows(), two.rows());
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_is_gone_for_a_moment_is_collected_again() {
    let line = Line::new(|_| 0);
    let one = replica(counting("1"), &["a"], &line);
    seconds(1).await;
    // One after the other: the plugin goes, the job looks and finds none, the plugin is back; and only then those who assign look.
    let (gone, back) = (one.catalog.clone(), one.catalog.clone());
    tokio::spawn(async move { gone.replace(Vec::new()) });
    line.now(|_| 0);
    tokio::spawn(async move { back.replace(vec![counting("1").installed("p.wasm")]) });
    seconds(25).await;
    assert_eq!(one.rows(), [r#"a "ticks":3"#]);
}
