//! A plugin that plays every role that answers somebody, for the tests of the sandbox; never shipped.
//!
//! `ships` are stored by its rules, in two versions. `signals` are virtual: the plugin knows three of them by heart, one of which is a
//! text to read and another a thing to be said back. The rules are such that every way of an answer is taken: filled in, warned of,
//! refused with fields, failed, trapped, never ending. What a ship's `flag` says decides which.
#![allow(
    clippy::panic,
    clippy::infinite_loop,
    reason = "a plugin may do all that a host has to bear"
)]

use std::hint::black_box;
use std::time::Duration;

use outrigger_sdk::prelude::*;
use outrigger_sdk::serde_json::{Map, Value};

/// A ship: `tonnes` in v2, `tons` in v1.
#[derive(Debug, Resource, Serialize, Deserialize, JsonSchema)]
#[resource(group = "test.example.com", version = "v2", version = "v1", plural = "ships", short = "sh")]
#[resource(column(name = "Tonnes", path = ".tonnes", type = "integer"))]
pub struct Ship {
    /// Where it is at home; what else it says, the tests know.
    #[serde(default)]
    flag: String,
    /// Gross tonnage.
    tonnes: i64,
}

/// A signal that can be hoisted.
#[derive(Debug, Resource, Serialize, Deserialize, JsonSchema)]
#[resource(
    group = "test.example.com",
    version = "v1",
    plural = "signals",
    scope = "Cluster",
    poll_seconds = 5
)]
pub struct Signal {
    /// What it means.
    meaning: String,
}

/// A signal, spelt out; what is sent along is said back.
#[derive(Debug)]
pub struct Spelling;

/// How high a signal is hoisted.
#[derive(Debug)]
pub struct Height;

/// What [`Height`] reads and writes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Metres {
    metres: u32,
}

/// Watches ConfigMaps, to no effect.
#[derive(Debug)]
pub struct Lookout;

const SIGNALS: [(&str, &str); 3] = [("a", "diver below"), ("b", "dangerous goods"), ("o", "man overboard")];

impl Strategy for Ship {
    fn admit(_: &impl Host, mut request: Admission<'_, Self>) -> Admitted<Self> {
        if request.operation() == Operation::Delete {
            return match request.object.flag.as_str() {
                "kept" => request.forbidden("metadata.name", "it is kept"),
                _ => Admitted::yes(request.object),
            };
        }
        let (user, old) = (request.request().user(), request.old.as_ref().map(|old| old.tonnes));
        let ship = &mut request.object;
        match ship.flag.as_str() {
            "" => "unknown".clone_into(&mut ship.flag),
            "trap" => panic!("as told by {user}"),
            "loop" => loop {
                black_box(());
            },
            "failed" => return Admitted::failed(Error::Unavailable("no harbour master".to_owned())),
            _ => {}
        }
        if ship.tonnes <= 0 {
            let sunk = request.invalid("tonnes", "must be positive");
            return sunk.and(FieldError::required("flag", ""));
        }
        if old.is_some_and(|old| old > request.object.tonnes) {
            request.warn("it was larger");
        }
        Admitted::yes(request.object.label("admitted-by", user))
    }

    fn convert(mut object: Object<Map<String, Value>>, from: &str, _: &str) -> Result<Object<Map<String, Value>>, Error> {
        let (old, new) = if from == "v1" {
            ("tons", "tonnes")
        } else {
            ("tonnes", "tons")
        };
        let weight = object
            .shift_remove(old)
            .ok_or_else(|| Error::invalid(format_args!("no {old}")))?;
        object.insert(new.to_owned(), weight);
        Ok(object)
    }
}

fn known(request: &Request<'_>) -> Result<&'static str, Error> {
    let found = SIGNALS.iter().find(|(name, _)| *name == request.name());
    found.map(|(_, meaning)| *meaning).ok_or_else(|| request.not_found())
}

fn signal(name: &str, meaning: &str) -> Object<Signal> {
    let meaning = meaning.to_owned();
    Object::named("", name, Signal { meaning })
}

impl Get for Signal {
    fn get(_: &impl Host, request: &Request<'_>) -> Result<Object<Self>, Error> {
        Ok(signal(&request.name(), known(request)?))
    }
}

impl List for Signal {
    fn list(_: &impl Host, _: &Request<'_>, to: &mut Objects<'_, Self>) -> Result<(), Error> {
        SIGNALS
            .iter()
            .try_for_each(|(name, meaning)| to.write(&signal(name, meaning)))
    }
}

impl Connect for Spelling {
    type Of = Signal;
    const NAME: &'static str = "spelling";
    const METHODS: &'static [&'static str] = &["GET", "POST"];
    const PROTOCOLS: &'static [&'static str] = &["flags.example.com"];

    fn connect(_: &impl Host, request: &Request<'_>, from: &mut Reader<'_>, to: &mut Writer<'_>) -> Result<(), Error> {
        to.start(200, "text/plain")?;
        for word in known(request)?.split(' ') {
            to.write(word.as_bytes())?;
        }
        std::io::copy(from, to)?;
        Ok(())
    }
}

impl Part for Height {
    type Of = Signal;
    type Body = Metres;
    const NAME: &'static str = "height";
    const KIND: &'static str = "Height";

    fn get(_: &impl Host, request: &Request<'_>) -> Result<Metres, Error> {
        known(request).map(|meaning| Metres {
            metres: u32::from(meaning.len() > 11),
        })
    }
}

impl UpdatePart for Height {
    fn update(_: &impl Host, request: &Request<'_>, body: Metres) -> Result<Metres, Error> {
        match body.metres {
            0..=40 => Ok(body),
            _ => Err(request.invalid("metres", "the mast is not that high")),
        }
    }
}

impl Controller for Lookout {
    const NAME: &'static str = "lookout";

    fn watches() -> manifest::Controller {
        manifest::Controller::new(Self::NAME, manifest::ResourceName::new("", "v1", "configmaps"))
    }

    fn reconcile(_: &impl Host, key: &Key) -> Result<Outcome, Error> {
        match (key.namespace.as_str(), key.name.as_str()) {
            (_, "") => Err(Error::invalid("no name")),
            ("", _) => Ok(Outcome::Done),
            _ => Ok(Outcome::AgainAfter(Duration::from_millis(1500))),
        }
    }
}

fn check(_: &impl Host) -> Result<(), Error> {
    Ok(())
}

fn about() -> Manifest {
    let configmaps = manifest::ObjectRule::of("", "configmaps").verbs(["list", "watch"]);
    manifest!().needs_objects([configmaps], "looks at them")
}

plugin! {
    manifest: about,
    responders: [Signal],
    connects: [Spelling],
    parts: [Height],
    controllers: [Lookout],
    strategies: [Ship],
    self_test: check,
}
