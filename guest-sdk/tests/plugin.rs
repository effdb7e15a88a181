//! A whole plugin, natively: what `plugin!` makes of two collectors and a migrator.

use outrigger_sdk::prelude::*;

/// Counts its ticks.
struct Ticks;

impl Collector for Ticks {
    const NAME: &'static str = "ticks";
    const EACH: Each = Each::Once;
    const INTERVAL_SECONDS: u32 = 10;
    const KEEP_SECONDS: u32 = 30;
    const FILLS: &'static [&'static str] = &["ticks"];
    const STATE_SCHEMA: u32 = 2;
    type State = u64;

    fn collect(host: &impl Host, _: &str, last: u64) -> Result<Collected<u64>, Error> {
        host.debug(format_args!("tick {}", last + 1));
        Ok(Collected::keeping(last + 1).row(Row::of("ticks").name("all").fields(&serde_json::json!({"count": last + 1}))))
    }
}

impl Migrator for Ticks {
    fn migrate(old: u32, state: Vec<u8>) -> Result<u64, Error> {
        match old {
            1 => std::str::from_utf8(&state)
                .ok()
                .and_then(|s| s.parse().ok())
                .ok_or_else(|| Error::invalid("not a number")),
            _ => Err(Error::invalid(format_args!("schema {old} is unknown"))),
        }
    }
}

/// Says how long a node's summary is.
struct Lengths;

impl Collector for Lengths {
    const NAME: &'static str = "lengths";
    const EACH: Each = Each::Node;
    const INTERVAL_SECONDS: u32 = 10;
    const FILLS: &'static [&'static str] = &["lengths"];
    type State = Bytes;

    fn collect(host: &(impl Kubelet + Config), node: &str, last: Bytes) -> Result<Collected<Bytes>, Error> {
        #[derive(serde::Deserialize)]
        struct Settings {
            #[serde(default)]
            full: bool,
        }
        let detail = if host.config::<Settings>()?.full {
            Detail::Full
        } else {
            Detail::CpuAndMemory
        };
        let summary = host.summary(node, detail)?;
        let row = Row::of("lengths").name(node).cells(&(summary.len(), last.0.len()));
        Ok(Collected::new(vec![row], Bytes(summary)))
    }
}

fn about() -> Manifest {
    let table = |kind, plural| {
        Resource::table(kind, plural, Scope::Cluster)
            .group("test.example.com")
            .version("v1")
    };
    manifest!()
        .name("test")
        .needs("kubelet", "measures summaries")
        .needs("config", "which of them")
        .resource(table("Tick", "ticks"))
        .resource(table("Length", "lengths"))
}

plugin! { manifest: about, collectors: [Ticks, Lengths], migrators: [Ticks] }

#[test]
fn collectors_are_declared_by_their_trait() {
    let manifest = Plugin::manifest();
    let ticks = manifest::Collector::new("ticks", Each::Once, 10)
        .keep_seconds(30)
        .state_schema(2)
        .fills("ticks");
    assert_eq!(
        manifest.collectors,
        [ticks, manifest::Collector::new("lengths", Each::Node, 10).fills("lengths")]
    );
}

#[test]
fn calls_go_to_the_collector_of_that_name() {
    let host = fake::Host::new().answering("a", "12345");
    let collected = Plugin::collect(&host, "ticks", "", b"41".to_vec()).unwrap();
    assert_eq!(
        (collected.state.as_slice(), collected.rows[0].fields_json()),
        (&b"42"[..], r#"{"count":42}"#)
    );
    let collected = Plugin::collect(&host, "lengths", "a", Vec::new()).unwrap();
    assert_eq!(
        (collected.state.as_slice(), collected.rows[0].cells_json()),
        (&b"12345"[..], "[5,0]")
    );
    assert_eq!(
        Plugin::collect(&host, "length", "a", Vec::new()),
        Err(Error::invalid("no collector \"length\""))
    );
    assert_eq!(host.logged(), [(Level::Debug, "tick 42".to_owned())]);
}

#[test]
fn state_is_migrated_by_the_migrator_of_that_name() {
    for (name, old, state, expected) in [
        ("ticks", 1, "41", Ok(b"41".to_vec())),
        ("ticks", 1, "x", Err(Error::invalid("not a number"))),
        ("ticks", 0, "41", Err(Error::invalid("schema 0 is unknown"))),
        ("lengths", 1, "41", Err(Error::invalid("no migrator \"lengths\""))),
    ] {
        assert_eq!(Plugin::migrate(name, old, state.into()), expected, "{name} {old} {state}");
    }
}

#[test]
fn a_tick_that_fails_keeps_the_old_state() {
    let host = fake::Host::new()
        .answering("a", "123")
        .refusing("a", Error::Timeout("10 s".into()))
        .answering("a", "1");
    let mut target = fake::Target::<Lengths>::new("a");
    assert_eq!(target.tick(&host).unwrap()[0].cells_json(), "[3,0]");
    assert_eq!(target.tick(&host), Err(Error::Timeout("10 s".into())));
    assert_eq!(target.state(), b"123");
    assert_eq!(target.tick(&host).unwrap()[0].cells_json(), "[1,3]");
}

#[test]
fn the_configuration_decides_and_must_fit() {
    let host = fake::Host::new()
        .answering("a", "")
        .configured(&serde_json::json!({"full": true}));
    fake::Target::<Lengths>::new("a").tick(&host).unwrap();
    assert_eq!(host.asked(), [("a".to_owned(), Detail::Full)]);
    let host = host.configured("full");
    assert!(matches!(
        fake::Target::<Lengths>::new("a").tick(&host),
        Err(Error::Invalid(_))
    ));
    let host = fake::Host::new();
    assert_eq!(
        fake::Target::<Lengths>::new("b").tick(&host),
        Err(Error::NotFound("no node \"b\"".to_owned()))
    );
}

#[test]
fn damaged_state_starts_anew() {
    let mut target = fake::Target::<Ticks>::new("").with_state(*b"\xff");
    assert_eq!(target.tick(&fake::Host::new()).unwrap()[0].fields_json(), r#"{"count":1}"#);
}
