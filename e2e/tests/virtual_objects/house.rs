//! The one cluster of all these tests, with the examples `shell` and `library` behind the aggregator.

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use anyhow::{Result, anyhow};
use outrigger_e2e::kubectl::Kubectl;
use outrigger_e2e::outrigger::{Options, account, example};
use outrigger_e2e::wait::{LATER, until};
use outrigger_e2e::{ControlPlane, Outrigger, scratch};

use crate::library::GRANTS;

pub(crate) const SHELLS: &str = "/apis/shell.example.com/v1/namespaces/default/shells";

pub(crate) struct House {
    pub(crate) control_plane: ControlPlane,
    pub(crate) kubectl: Kubectl,
    pub(crate) outrigger: Outrigger,
}

static HOUSE: LazyLock<Result<House, String>> = LazyLock::new(|| House::build().map_err(|reason| format!("{reason:#}")));

/// The house, built by whichever test comes first.
pub(crate) fn house() -> Result<&'static House> {
    HOUSE.as_ref().map_err(|reason| anyhow!("{reason}"))
}

impl House {
    fn build() -> Result<Self> {
        let control_plane = ControlPlane::start()?;
        let kubectl = control_plane.kubectl()?;
        let account = account(&control_plane)?;
        let grants = scratch::folder("virtual")?.join("grants.yaml");
        std::fs::write(&grants, GRANTS)?;
        let options = Options {
            name: "outrigger".into(),
            address: Ipv4Addr::new(127, 96, 0, 12),
            resolution: 5,
            plugins: vec![example("shell"), example("library")],
            arguments: vec![format!("--grants={}", grants.display())],
        };
        let outrigger = Outrigger::start(&control_plane, &account, &options)?;
        outrigger.register(&control_plane, "shell.example.com", &["v1"])?;
        outrigger.register(&control_plane, "library.example.com", &["v1"])?;
        outrigger.ready()?;
        let house = Self {
            control_plane,
            kubectl,
            outrigger,
        };
        until("shells are served through the aggregator", LATER, || {
            house.control_plane.api().document(SHELLS)
        })?;
        Ok(house)
    }
}
