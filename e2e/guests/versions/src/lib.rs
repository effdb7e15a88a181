//! A plugin of which tests make as many versions as they need, for the tests of swaps; never shipped.
//!
//! Which version it is stands in its data as a text of fixed length, `VERSION-TRAIT`, which a test overwrites in a copy of the file
//! ([`MARK`]). The name of the plugin and all that it serves stay the same, so each copy is a version of one plugin. The one row
//! `now` of the table `marks` says which version wrote it, the virtual object `now` of `echoes` which version answers, and the
//! description of the table which version is served.
//!
//! Traits: `well`; `traps` in every tick and at every question; `sick` in its own test; `fickle` about itself; `misfit` in its manifest.
#![allow(clippy::panic, reason = "some versions are bad")]

use std::hint::black_box;
use std::time::SystemTime;

use outrigger_sdk::prelude::*;
use outrigger_sdk::serde_json::json;

/// Before the text in the component's data.
pub const MARK: &[u8] = b"outrigger-version-part:";

/// The text, filled up with dots.
#[used]
static PART: [u8; 55] = *b"outrigger-version-part:first-well......................";

/// Fills `marks`.
#[derive(Debug)]
pub struct Marks;

/// Says who answers.
#[derive(Debug, Resource, Serialize, Deserialize, JsonSchema)]
#[resource(
    group = "versions.example.com",
    version = "v1",
    plural = "echoes",
    singular = "echo",
    scope = "Cluster"
)]
pub struct Echo {
    /// The version that answers.
    #[serde(default)]
    by: String,
}

fn part() -> (String, String) {
    // Not a constant to the compiler: the file may have been changed since.
    let text = black_box(&PART).iter().skip(MARK.len()).map(|b| char::from(*b));
    let text: String = text.take_while(|c| *c != '.').collect();
    let (version, is) = text.split_once('-').unwrap_or((&text, "well"));
    (version.to_owned(), is.to_owned())
}

/// The version, unless it traps.
fn speak() -> String {
    let (version, is) = part();
    if is == "traps" {
        panic!("as told");
    }
    version
}

fn echo(name: &str) -> Object<Echo> {
    Object::named("", name, Echo { by: speak() })
}

impl Get for Echo {
    fn get(_: &impl Host, request: &Request<'_>) -> Result<Object<Self>, Error> {
        Ok(echo(&request.name()))
    }
}

impl List for Echo {
    fn list(_: &impl Host, _: &Request<'_>, to: &mut Objects<'_, Self>) -> Result<(), Error> {
        to.write(&echo("now"))
    }
}

impl Create for Echo {
    fn create(_: &impl Host, _: &Request<'_>, object: Object<Self>) -> Result<Object<Self>, Error> {
        Ok(echo(&object.metadata.name))
    }
}

impl Collector for Marks {
    const NAME: &'static str = "marks";
    const EACH: Each = Each::Once;
    const INTERVAL_SECONDS: u32 = 1;
    const FILLS: &'static [&'static str] = &["marks"];
    type State = u32;

    fn collect(_: &impl Log, _: &str, ticks: u32) -> Result<Collected<u32>, Error> {
        let version = speak();
        let ticks = ticks + 1;
        let row = Row::of("marks")
            .name("now")
            .fields(&json!({"by": version, "ticks": ticks}))
            .cells(&(version, ticks));
        Ok(Collected::new(vec![row], ticks))
    }
}

fn check(_: &impl Host) -> Result<(), Error> {
    match &*part().1 {
        "sick" => Err(Error::Failed("two and two are five".into())),
        _ => Ok(()),
    }
}

fn about() -> Manifest {
    let (version, is) = part();
    let when = match &*is {
        "fickle" => format!("{:?}", SystemTime::now()),
        _ => String::new(),
    };
    let marks = Resource::table("Mark", "marks", Scope::Cluster)
        .group("versions.example.com")
        .version(if is == "misfit" { "version one" } else { "v1" })
        .description(format!("Written by version {version}.{when}"))
        .column(Column::string("By"))
        .column(Column::integer("Ticks"));
    manifest!().name("versions").resource(marks)
}

plugin! { manifest: about, collectors: [Marks], responders: [Echo], self_test: check }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_is_read_from_its_place() {
        assert!(PART.starts_with(MARK));
        assert_eq!(part(), ("first".to_owned(), "well".to_owned()));
    }
}
