//! New versions that are good, bad, slow, busy, and no worse than the old one.

use std::collections::VecDeque;

use outrigger_api::manifest::{Each, Scope};
use outrigger_sandbox::{GuestRow, TrapKind, TrapReport};

use super::*;

/// How a scripted version ends a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Well,
    Trap,
    Refuse,
    Busy,
    Rubbish,
    Hang,
    /// A list: two objects, then a trap. All else: a trap.
    Break,
    /// A list: more than is held, then a trap.
    BreakLate,
}

/// Ends its calls in turn as it is told, the last for ever, and signs what it answers with its name.
struct Scripted {
    manifest: Manifest,
    name: &'static str,
    script: Mutex<VecDeque<How>>,
    asked: Mutex<u32>,
    record: Option<(u64, u64)>,
}

#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<u8>>>);

impl Shown {
    fn text(&self) -> String {
        let shown = self.0.lock().unwrap();
        String::from_utf8_lossy(&shown[..shown.len().min(40)]).into_owned()
    }
}

#[async_trait]
impl Sink for Shown {
    async fn start(&mut self, _: u16, _: &str) -> Result<(), HostError> {
        Ok(())
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), HostError> {
        self.0.lock().unwrap().extend(bytes);
        Ok(())
    }
}

fn manifest(schema: u32) -> Manifest {
    let verbs = [Verb::Get, Verb::List, Verb::Create];
    let books = Resource::virtual_("Book", "books", Scope::Cluster, verbs)
        .group("b.example.com")
        .version("v1");
    let shelves = Resource::table("Shelf", "shelves", Scope::Cluster)
        .group("b.example.com")
        .version("v1");
    let mut collector = Collector::new("shelves", Each::Node, 10).fills("shelves");
    collector.state_schema = schema;
    Manifest::new("books", "1.0.0")
        .resource(books)
        .resource(shelves)
        .collector(collector)
}

impl Scripted {
    fn new(name: &'static str, script: &[How]) -> Self {
        Self {
            manifest: manifest(0),
            name,
            script: Mutex::new(script.iter().copied().collect()),
            asked: Mutex::default(),
            record: None,
        }
    }

    fn asked(&self) -> u32 {
        *self.asked.lock().unwrap()
    }

    async fn next(&self) -> Result<How, CallError> {
        *self.asked.lock().unwrap() += 1;
        let how = {
            let mut script = self.script.lock().unwrap();
            if script.len() > 1 {
                script.pop_front()
            } else {
                script.front().copied()
            }
        };
        let (plugin, call) = ("books".to_owned(), format!("call of {}", self.name));
        match how.unwrap_or(How::Well) {
            How::Trap => {
                let (kind, panic, frames) = (TrapKind::Unreachable, None, Vec::new());
                let report = Box::new(TrapReport { kind, panic, frames });
                Err(CallError::Trap { plugin, call, report })
            }
            How::Refuse => Err(CallError::Refused {
                plugin,
                call,
                error: HostError::NotFound("there is none".into()),
                fields: Vec::new(),
            }),
            How::Busy => Err(CallError::Busy { plugin, waiting: 9 }),
            how => Ok(how),
        }
    }

    async fn hangs(&self, deadline: Duration) -> CallError {
        tokio::time::sleep(deadline).await;
        CallError::Deadline {
            plugin: "books".into(),
            call: format!("call of {}", self.name),
            after: deadline,
            frames: Vec::new(),
        }
    }

    fn trap(&self) -> CallError {
        let (kind, panic, frames) = (TrapKind::Unreachable, None, Vec::new());
        let (plugin, call) = ("books".to_owned(), format!("call of {}", self.name));
        let report = Box::new(TrapReport { kind, panic, frames });
        CallError::Trap { plugin, call, report }
    }
}

#[async_trait]
impl Guest for Scripted {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn digest(&self) -> &str {
        self.name
    }

    fn counts(&self) -> Option<Counts> {
        let (succeeded, traps) = self.record?;
        let failed = vec![("trap", traps), ("refused", 1000)];
        Some(Counts {
            succeeded,
            failed,
            ..Counts::default()
        })
    }

    async fn collect(&self, _: &str, target: &str, state: &[u8], deadline: Duration) -> Result<Collected, CallError> {
        let how = self.next().await?;
        let mut found = Collected {
            state: [state, self.name.as_bytes()].concat(),
            ..Collected::default()
        };
        match how {
            How::Hang => return Err(self.hangs(deadline).await),
            How::Rubbish => found.complaints.count = 3,
            _ => found.rows.push(GuestRow {
                resource: "shelves".into(),
                namespace: String::new(),
                name: target.into(),
                fields: b"{}".into(),
                protobuf: Vec::new(),
                cells: b"[]".into(),
            }),
        }
        Ok(found)
    }

    async fn migrate(&self, _: &str, _: u32, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    async fn respond(&self, _: Arc<Request>, ask: Ask, deadline: Duration) -> Result<Answered, CallError> {
        let how = self.next().await?;
        if how == How::Hang {
            return Err(self.hangs(deadline).await);
        }
        let object: Bytes = match how {
            How::Rubbish => "rubbish".into(),
            _ => format!("{{\"by\":\"{}\"}}", self.name).into(),
        };
        if let Ask::List(mut to) = ask {
            if how == How::BreakLate {
                to.write(format!("{{\"by\":\"{}\",\"x\":\"{}\"}}", self.name, "x".repeat(HELD)).into())
                    .await
                    .unwrap();
            }
            for _ in 0..2 {
                to.write(object.clone()).await.unwrap();
            }
            if matches!(how, How::Break | How::BreakLate) {
                return Err(self.trap());
            }
            return Ok(Answered::default());
        }
        if matches!(how, How::Break | How::BreakLate) {
            return Err(self.trap());
        }
        Ok(Answered {
            object,
            warnings: Vec::new(),
        })
    }

    async fn reconcile(&self, _: &str, _: &str, _: Duration) -> Result<Outcome, CallError> {
        match self.next().await? {
            How::Well => Ok(Outcome::Done),
            _ => Err(self.trap()),
        }
    }
}

struct Bench {
    new: Arc<Scripted>,
    old: Arc<Scripted>,
    probation: Probation,
    decided: Arc<Notify>,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Bench {
    fn of(new: Scripted, old: Scripted) -> Self {
        let (new, old, decided) = (Arc::new(new), Arc::new(old), Arc::new(Notify::new()));
        let version = Version {
            digest: "new".into(),
            guest: new.clone(),
        };
        let probation = Probation::new(version, old.clone(), Terms::default(), decided.clone());
        Self {
            new,
            old,
            probation,
            decided,
        }
    }

    fn new(new: &[How], old: &[How]) -> Self {
        Self::of(Scripted::new("new", new), Scripted::new("old", old))
    }

    /// Who answered, or how it failed.
    async fn get(&self) -> String {
        said(self.probation.respond(request("get"), Ask::Get, MINUTE).await)
    }

    async fn create(&self) -> String {
        let ask = Ask::Create("{}".into());
        said(self.probation.respond(request("create"), ask, MINUTE).await)
    }

    async fn list(&self) -> (String, Shown) {
        let shown = Shown::default();
        let ask = Ask::List(Box::new(shown.clone()));
        let outcome = self.probation.respond(request("list"), ask, MINUTE).await;
        (said(outcome), shown)
    }

    async fn collect(&self, state: &str) -> String {
        match self.probation.collect("shelves", "n", state.as_bytes(), MINUTE).await {
            Ok(found) => String::from_utf8(found.state).unwrap(),
            Err(error) => error.to_string(),
        }
    }
}

fn request(verb: &str) -> Arc<Request> {
    Arc::new(Request {
        verb: verb.into(),
        group: "b.example.com".into(),
        version: "v1".into(),
        resource: "books".into(),
        ..Request::default()
    })
}

fn said(outcome: Result<Answered, CallError>) -> String {
    match outcome {
        Ok(answer) => String::from_utf8_lossy(&answer.object).into_owned(),
        Err(error) => error.to_string(),
    }
}

const NEW: &str = r#"{"by":"new"}"#;
const OLD: &str = r#"{"by":"old"}"#;

#[tokio::test(start_paused = true)]
async fn a_read_is_answered_whatever_the_new_version_does() {
    use How::{Break, BreakLate, Busy, Hang, Refuse, Rubbish, Trap, Well};
    // What the new one does, what the old one does, who answers, failures of the new one.
    for (new, old, answer, failures) in [
        (Well, Well, NEW, 0),
        (Trap, Well, OLD, 1),
        (Rubbish, Well, OLD, 1),
        (Hang, Well, OLD, 1),
        (Busy, Well, OLD, 0),
        (Break, Well, OLD, 1),
        (Trap, Refuse, "plugin books: call of old: not found: there is none", 1),
        (Refuse, Well, "plugin books: call of new: not found: there is none", 0),
        (Trap, Trap, "plugin books: call of new stopped: it aborted", 0),
        (Trap, Busy, "plugin books: call of new stopped: it aborted", 0),
        (BreakLate, BreakLate, "plugin books: call of new stopped: it aborted", 0),
    ] {
        let b = Bench::new(&[new], &[old]);
        assert_eq!(b.get().await, answer, "get: {new:?} {old:?}");
        assert_eq!(b.probation.record.lock().unwrap().failures, failures, "get: {new:?} {old:?}");
        if new == BreakLate {
            continue;
        }
        let b = Bench::new(&[new], &[old]);
        let (said, shown) = b.list().await;
        let (said, whole) = if answer.starts_with('{') {
            ("", answer.repeat(2))
        } else {
            (&*said, String::new())
        };
        assert_eq!(shown.text(), whole, "list: {new:?} {old:?}");
        assert_eq!(
            said,
            if answer.starts_with('{') { "" } else { answer },
            "list: {new:?} {old:?}"
        );
        assert_eq!(b.probation.record.lock().unwrap().failures, failures, "list: {new:?} {old:?}");
    }
}

#[tokio::test]
async fn a_list_too_long_to_be_held_is_not_begun_twice() {
    let b = Bench::new(&[How::BreakLate], &[How::Well]);
    let (said, shown) = b.list().await;
    assert!(said.contains("call of new stopped"), "{said}");
    assert!(shown.text().starts_with(r#"{"by":"new","x":"xxx"#));
    assert_eq!(b.old.asked(), 0);
    assert_eq!(b.probation.record.lock().unwrap().failures, 1);
    let b = Bench::new(&[How::BreakLate, How::Well], &[How::Well]);
    b.list().await;
    let (said, shown) = b.list().await;
    assert_eq!((&*said, shown.text()), ("", NEW.repeat(2)));
}

#[tokio::test]
async fn a_write_is_done_once_and_two_failures_bring_the_old_version_back() {
    let b = Bench::new(&[How::Trap], &[How::Well]);
    assert!(b.create().await.contains("call of new stopped"));
    assert_eq!(b.probation.verdict(), Verdict::Watched);
    let reconciled = b.probation.reconcile("keeper", "a/b", MINUTE).await;
    assert!(reconciled.unwrap_err().to_string().contains("call of new stopped"));
    assert_eq!(b.old.asked(), 0, "nothing was done twice");
    assert_eq!(b.probation.verdict(), Verdict::Failed);
    b.decided.notified().await;
    assert_eq!(
        b.probation.why(),
        "2 of its first 2 calls failed where the version before did not, the last: plugin books: call of new stopped: it aborted"
    );
    assert_eq!(b.create().await, OLD, "at once, before the next snapshot");
    assert_eq!(b.new.asked(), 2);
    let elsewhere = Request {
        resource: "others".into(),
        ..(*request("create")).clone()
    };
    let outcome = b
        .probation
        .respond(Arc::new(elsewhere), Ask::Create("{}".into()), MINUTE)
        .await;
    assert!(
        said(outcome).contains("call of new stopped"),
        "the old version does not know it"
    );
}

#[tokio::test(start_paused = true)]
async fn who_is_good_for_long_enough_stays_and_the_old_version_goes() {
    let b = Bench::new(&[How::Trap, How::Well], &[How::Well]);
    let gone = Arc::downgrade(&b.old);
    let Bench {
        probation,
        new,
        old,
        decided,
    } = b;
    drop(old);
    for _ in 0..30 {
        let _ = probation.respond(request("get"), Ask::Get, MINUTE).await;
    }
    assert_eq!(probation.verdict(), Verdict::Watched, "its collector has had no tick");
    assert!(gone.upgrade().is_some());
    probation.collect("shelves", "n", b"", MINUTE).await.unwrap();
    assert_eq!(probation.verdict(), Verdict::Passed);
    decided.notified().await;
    assert!(gone.upgrade().is_none(), "its memory is free");
    // From now on it is alone: its failures are its own.
    *new.script.lock().unwrap() = VecDeque::from([How::Trap]);
    for _ in 0..3 {
        assert!(probation.respond(request("get"), Ask::Get, MINUTE).await.is_err());
    }
    assert_eq!(probation.verdict(), Verdict::Passed);

    let idle = Bench::new(&[How::Well], &[How::Well]);
    tokio::time::sleep(Terms::default().time).await;
    assert_eq!(
        idle.probation.verdict(),
        Verdict::Passed,
        "nobody asked, and its time is over"
    );
}

#[tokio::test]
async fn an_old_version_that_was_no_better_is_no_measure() {
    // Good calls and traps of the old one, and whether writes of the new one bring it back.
    for (record, verdict) in [
        (None, Verdict::Failed),
        (Some((0, 0)), Verdict::Failed),
        (Some((10_000, 5)), Verdict::Failed),
        (Some((1000, 1000)), Verdict::Watched),
    ] {
        let old = Scripted {
            record,
            ..Scripted::new("old", &[How::Well])
        };
        let b = Bench::of(Scripted::new("new", &[How::Trap]), old);
        for _ in 0..2 {
            b.create().await;
        }
        assert_eq!(b.probation.verdict(), verdict, "{record:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_impatient_caller_cannot_have_a_version_thrown_out() {
    let b = Bench::new(&[How::Hang], &[How::Well]);
    let short = Duration::from_millis(100);
    for _ in 0..5 {
        assert_eq!(said(b.probation.respond(request("get"), Ask::Get, short).await), OLD);
        let create = Ask::Create("{}".into());
        assert!(b.probation.respond(request("create"), create, short).await.is_err());
    }
    assert_eq!(b.probation.verdict(), Verdict::Watched);
    for _ in 0..2 {
        assert_eq!(b.get().await, OLD);
    }
    assert_eq!(b.probation.verdict(), Verdict::Failed);
}

#[tokio::test]
async fn a_tick_goes_to_the_old_version_only_if_the_state_is_its_own() {
    let b = Bench::new(&[How::Rubbish, How::Trap], &[How::Well]);
    assert_eq!(b.collect("state of ").await, "state of old");
    assert_eq!(b.collect("state of ").await, "state of old");
    assert_eq!(b.probation.verdict(), Verdict::Failed);
    assert_eq!(b.collect("state of ").await, "state of old");

    let new = Scripted {
        manifest: manifest(2),
        ..Scripted::new("new", &[How::Trap])
    };
    let b = Bench::of(new, Scripted::new("old", &[How::Well]));
    for _ in 0..2 {
        assert!(b.collect("state of the second schema").await.contains("call of new stopped"));
    }
    assert_eq!(b.probation.verdict(), Verdict::Failed);
    assert!(b.collect("state of the second schema").await.contains("call of new stopped"));
    assert_eq!(b.old.asked(), 0, "it was never shown that state");
}
