//! The table's ratios as a picture: `docs/metrics-server.svg`.
//!
//! One bar for each figure, as long as our share of metrics-server's; a line across it is the goal. The layout depends on
//! which rows there are and on nothing else, so that two runs differ in the figures alone.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use outrigger_e2e::control_plane::repository;

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bar {
    pub(crate) what: String,
    /// Ours through theirs.
    pub(crate) share: f64,
    /// What it should be at most.
    pub(crate) goal: Option<f64>,
}

/// Figures of one size.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    pub(crate) title: String,
    pub(crate) bars: Vec<Bar>,
}

const LEFT: f64 = 250.0;
const WIDE: f64 = 360.0;
const ROW: f64 = 20.0;

/// Writes the picture.
pub(crate) fn write(groups: &[Group]) -> Result<()> {
    let file = repository().join("docs/metrics-server.svg");
    std::fs::write(&file, draw(groups)).with_context(|| format!("cannot write {}", file.display()))
}

fn draw(groups: &[Group]) -> String {
    let mut body = String::new();
    let mut y = 34.0;
    for Group { title, bars } in groups {
        let _ = writeln!(body, "<text x=\"10\" y=\"{}\" class=\"h\">{title}</text>", y + 14.0);
        y += ROW + 4.0;
        for Bar { what, share, goal } in bars {
            let long = (share.min(1.0) * WIDE).max(1.0);
            let _ = writeln!(
                body,
                "<text x=\"{:.0}\" y=\"{:.0}\" class=\"e\">{what}</text><rect x=\"{LEFT:.0}\" y=\"{:.0}\" width=\"{WIDE:.0}\" height=\"12\" class=\"t\"/>\
                 <rect x=\"{LEFT:.0}\" y=\"{:.0}\" width=\"{long:.1}\" height=\"12\" class=\"o\"/>",
                LEFT - 8.0,
                y + 12.0,
                y + 2.0,
                y + 2.0,
            );
            if let Some(goal) = goal {
                let _ = writeln!(
                    body,
                    "<rect x=\"{:.1}\" y=\"{y:.0}\" width=\"1.5\" height=\"16\" class=\"g\"/>",
                    LEFT + goal * WIDE
                );
            }
            let _ = writeln!(
                body,
                "<text x=\"{:.0}\" y=\"{:.0}\">{}</text>",
                LEFT + WIDE + 8.0,
                y + 12.0,
                text(*share)
            );
            y += ROW;
        }
        y += 10.0;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 690 {y:.0}\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n\
         <title>Outrigger beside metrics-server v0.9.0</title>\n\
         <style>text{{fill:#333}}.h{{font-weight:bold}}.e{{text-anchor:end}}.t{{fill:#e3e3e3}}.o{{fill:#2f6f8f}}.g{{fill:#c0392b}}\
         @media (prefers-color-scheme:dark){{text{{fill:#ddd}}.t{{fill:#444}}.o{{fill:#5fa8c9}}}}</style>\n\
         <text x=\"10\" y=\"20\">Outrigger's share of what metrics-server v0.9.0 uses or takes (the grey bar); red: the goal</text>\n{body}</svg>\n"
    )
}

fn text(share: f64) -> String {
    if share < 1.0 {
        format!("1/{:.1}", 1.0 / share)
    } else {
        format!("{share:.1} ×")
    }
}

#[test]
fn the_layout_depends_on_the_rows_alone() {
    let draw = |share| {
        draw(&[Group {
            title: "t".into(),
            bars: vec![Bar {
                what: "w".into(),
                share,
                goal: Some(0.25),
            }],
        }])
    };
    let lines = |text: String| text.lines().count();
    assert_eq!(lines(draw(0.1)), lines(draw(3.0)));
    assert!(draw(0.1).contains("1/10.0") && draw(0.1).contains("x=\"340.0\""));
}
