//! The role *collector*: data that lives elsewhere, fetched on a schedule.
//!
//! The host owns timers, fan-out over nodes, bounded concurrency, the state and the tables. A collector is a function
//! (target, state) → (rows, state), so it is tested like one. Reads of the tables never enter it. After an error, a panic or
//! a deadline the old rows and the old state stay.

use outrigger_manifest as manifest;

use crate::{Each, Error, Host, Row, State};

/// Something that runs on a schedule and fills tables.
///
/// `collect` may ask for less than a whole [`Host`]: `host: &impl Kubelet` says (and proves) what it uses, and a test may
/// then hand in anything that is a kubelet.
pub trait Collector {
    /// Its name within the plugin, a DNS label.
    const NAME: &'static str;
    /// For what it runs.
    const EACH: Each;
    /// Seconds from one tick of a target to the next; the operator may set another.
    const INTERVAL_SECONDS: u32;
    /// Seconds for which the rows of the last good tick are served when later ones fail; 0: four intervals.
    const KEEP_SECONDS: u32 = 0;
    /// The plural names of the tables into which it may put rows.
    const FILLS: &'static [&'static str];
    /// The number of the state's schema. Where it changes, the state starts empty, or goes through a [`Migrator`].
    const STATE_SCHEMA: u32 = 0;
    /// What it keeps per target.
    type State: State;

    /// For [`Each::Object`]: whose objects. They need the capability `objects` with `list` and `watch`.
    #[must_use]
    fn of() -> Option<manifest::ResourceName> {
        None
    }

    /// One tick for one target: the node's name, the object's (see [`Key::of`](crate::Key::of)), or an empty text for
    /// [`Each::Once`].
    ///
    /// # Errors
    /// Any error fails this tick for this target alone.
    fn collect(host: &impl Host, target: &str, last: Self::State) -> Result<Collected<Self::State>, Error>;

    /// Its entry in the manifest. [`plugin!`](crate::plugin) adds it.
    #[must_use]
    fn declaration() -> manifest::Collector {
        let declared = manifest::Collector {
            of: Self::of(),
            ..manifest::Collector::new(Self::NAME, Self::EACH, Self::INTERVAL_SECONDS)
        };
        Self::FILLS.iter().fold(
            declared.keep_seconds(Self::KEEP_SECONDS).state_schema(Self::STATE_SCHEMA),
            |declaration, plural| declaration.fills(*plural),
        )
    }
}

/// A collector that carries its state over from older schemas.
pub trait Migrator: Collector {
    /// State of schema `old` in, state of this version's schema out.
    ///
    /// # Errors
    /// The target starts with empty state.
    fn migrate(old: u32, state: Vec<u8>) -> Result<Self::State, Error>;
}

/// What one tick for one target brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected<S> {
    /// All rows of this target. They replace the rows of its last good tick as a whole.
    pub rows: Vec<Row>,
    /// For the next tick.
    pub state: S,
}

// === impl Collected ===

impl<S> Collected<S> {
    /// These rows, and this to remember.
    #[must_use]
    pub fn new(rows: Vec<Row>, state: S) -> Self {
        Self { rows, state }
    }

    /// No rows yet, and this to remember.
    #[must_use]
    pub fn keeping(state: S) -> Self {
        Self { rows: Vec::new(), state }
    }

    /// One more row.
    #[must_use]
    pub fn row(mut self, row: Row) -> Self {
        self.rows.push(row);
        self
    }
}

impl<S: Default> Collected<S> {
    /// No rows yet, and nothing to remember.
    #[must_use]
    pub fn empty() -> Self {
        Self::keeping(S::default())
    }
}

impl<S: Default> FromIterator<Row> for Collected<S> {
    fn from_iter<I: IntoIterator<Item = Row>>(rows: I) -> Self {
        Self::new(rows.into_iter().collect(), S::default())
    }
}

/// One tick in the host's terms: state in bytes on both sides, and every row whole.
pub(crate) fn run<C: Collector>(host: &impl Host, target: &str, state: Vec<u8>) -> Result<Collected<Vec<u8>>, Error> {
    let Collected { rows, state } = C::collect(host, target, C::State::load(state))?;
    let rows = rows.into_iter().map(Row::finish).collect::<Result<_, _>>()?;
    Ok(Collected {
        rows,
        state: state.save()?,
    })
}
