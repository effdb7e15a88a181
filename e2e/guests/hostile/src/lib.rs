//! A plugin that harms its host, for the tests of faults; never shipped.
//!
//! One component plays every part: the part is a text of fixed length in its data, which a test overwrites in a copy of the file
//! ([`MARK`]). `KIND-after-N` is the plugin's name, the first label of its group, and what it does: N good ticks for each node,
//! one row each, then harm at every tick. A failed tick leaves the state as it was, so it never becomes good again.
//!
//! What it does well it does like an honest plugin: the row `NODE` of the resource `woes` says how many ticks went well.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::infinite_loop,
    reason = "a plugin may do all that a host has to bear"
)]

use std::hint::black_box;

use outrigger_sdk::prelude::*;
use outrigger_sdk::serde_json::json;

/// Before the part in the component's data.
pub const MARK: &[u8] = b"outrigger-hostile-part:";

/// The part, filled up with dots.
#[used]
static PART: [u8; 55] = *b"outrigger-hostile-part:well-after-0....................";

/// The kinds of harm.
pub const KINDS: [&str; 13] = [
    "well", "trap", "loop", "eat", "json", "twice", "many", "huge", "names", "proto", "slow", "flood", "mute",
];

/// Fills `woes`.
#[derive(Debug)]
pub struct Harm;

fn part() -> (String, String, u32) {
    // Not a constant to the compiler: the file may have been changed since.
    let text = black_box(&PART).iter().skip(MARK.len()).map(|b| char::from(*b));
    let name: String = text.take_while(|c| *c != '.').collect();
    let (kind, after) = name.split_once("-after-").unwrap();
    let (kind, after) = (kind.to_owned(), after.parse().unwrap());
    (name, kind, after)
}

fn spin() -> ! {
    loop {
        black_box(());
    }
}

fn good(node: &str, ticks: u32) -> Row {
    Row::of("woes").name(node).fields(&json!({"ticks": ticks})).cells(&[ticks])
}

/// A text that is no text: the host, not the guest's compiler, has to notice.
#[allow(unsafe_code, reason = "a guest in another language could send these bytes")]
fn no_text() -> String {
    // SAFETY: never read here; it crosses to the host as bytes and a length.
    unsafe { String::from_utf8_unchecked(vec![b'a', 0xff, 0xfe]) }
}

impl Collector for Harm {
    const NAME: &'static str = "harm";
    const EACH: Each = Each::Node;
    const INTERVAL_SECONDS: u32 = 15;
    const FILLS: &'static [&'static str] = &["woes"];
    type State = u32;

    fn collect(host: &(impl Log + Clock), node: &str, ticks: u32) -> Result<Collected<u32>, Error> {
        let (_, kind, after) = part();
        let ticks = ticks + 1;
        let one = |row: Row| Ok(Collected::new(vec![row], ticks));
        if ticks <= after {
            return one(good(node, ticks));
        }
        match kind.as_str() {
            "trap" => panic!("as told"),
            "loop" => spin(),
            "eat" => {
                let mut all = Vec::new();
                loop {
                    all.push(black_box(vec![1_u8; 1 << 20]));
                }
            }
            "json" => one(good(node, ticks).fields_raw(*b"{\"ticks\": nope, <script>")),
            "twice" => {
                one(good(node, ticks).fields_raw(*b"{\"kind\":\"Node\",\"metadata\":{\"name\":\"other\"},\"metadata\":{}}"))
            }
            "many" => Ok(Collected::new(
                (0..100_000).map(|n| Row::of("woes").name(format!("{n}"))).collect(),
                ticks,
            )),
            "huge" => one(good(node, ticks).cells_raw(format!("[\"{}\"]", "x".repeat(9 << 20)))),
            "names" => one(good(&no_text(), ticks)),
            "proto" => one(good(node, ticks).protobuf([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x07])),
            "slow" => {
                let until = host.monotonic() + 700_000_000;
                while host.monotonic() < until {}
                one(good(node, ticks))
            }
            "flood" => {
                for n in 0..20_000 {
                    host.error(format_args!("{n}: \u{1b}[2J the sky is falling"));
                }
                one(good(node, ticks))
            }
            _ => one(good(node, ticks)),
        }
    }
}

fn about() -> Manifest {
    let (name, kind, _) = part();
    if kind == "mute" {
        spin();
    }
    let woes = Resource::table("Woe", "woes", Scope::Cluster)
        .group(format!("{name}.hostile.example.com"))
        .version("v1")
        .description("What a hostile plugin has brought.")
        .column(Column::integer("Ticks"))
        .protobuf();
    manifest!().name(name).resource(woes)
}

plugin! { manifest: about, collectors: [Harm] }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_is_read_from_its_place() {
        assert!(PART.starts_with(MARK));
        assert_eq!(part(), ("well-after-0".to_owned(), "well".to_owned(), 0));
    }
}
