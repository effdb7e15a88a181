//! kubectl that waits and watches.

use anyhow::{Result, ensure};
use outrigger_e2e::kubectl::Running;
use outrigger_e2e::promise;
use outrigger_e2e::wait::{LATER, until};

use crate::house::{flunder, house};

/// Waits until this kubectl has written a line with these words.
fn says(running: &Running, words: &str) -> Result<()> {
    until(words, LATER, || {
        let lines = running.lines()?;
        ensure!(lines.iter().any(|line| line.contains(words)), "{lines:?}");
        Ok(())
    })
}

#[test]
fn get_watches() {
    promise(|| {
        let here = house()?.namespace("watched")?;
        here.send("create", &[flunder("one", "first")])?;
        let all = here.start("all", "get flunders -w --output-watch-events")?;
        let only = here.start("only", "get flunders --watch-only --output-watch-events --no-headers")?;
        let selected = here.start("selected", "get flunders -l in=yes -w --output-watch-events --no-headers")?;
        let one = here.start("one", "get flunder one -w --output-watch-events --no-headers")?;
        let json = here.start(
            "json",
            "get flunders -w -o jsonpath={.metadata.name}={.spec.flunderReference}{\"\\n\"}",
        )?;
        says(&all, "ADDED      one")?;
        says(&one, "ADDED      one")?;
        says(&json, "one=first")?;
        // Whether the others watch by now, nobody says: a first change is repeated until they have seen it.
        let mut turn = 0;
        until("both watch", LATER, || {
            turn += 1;
            here.run(&format!("label flunder one in=yes turn={turn} --overwrite"))?;
            let seen = |watch: &Running| -> Result<bool> { Ok(watch.lines()?.iter().any(|line| line.contains("one"))) };
            ensure!(seen(&only)? && seen(&selected)?, "not yet");
            Ok(())
        })?;
        here.send("create", &[flunder("two", "one")])?;
        for watch in [&all, &only] {
            says(watch, "ADDED      two")?;
        }
        here.run_with("patch flunder two -p", r#"{"spec": {"flunderReference": "nobody"}}"#)?;
        for watch in [&all, &only] {
            says(watch, "MODIFIED   two")?;
        }
        says(&json, "two=nobody")?;
        here.run("label flunder one in-")?;
        says(&selected, "DELETED    one")?;
        here.run("delete flunder two one")?;
        for watch in [&all, &only] {
            says(watch, "DELETED    two")?;
        }
        until("whoever looks at one alone sees one alone", LATER, || {
            let lines = one.lines()?;
            ensure!(lines.last().is_some_and(|line| line.starts_with("DELETED")), "{lines:?}");
            ensure!(!lines.iter().any(|line| line.contains("two")), "{lines:?}");
            Ok(())
        })
    });
}

#[test]
fn wait_sees_fields_creation_and_deletion() {
    promise(|| {
        let here = house()?.namespace("waits")?;
        let created = here.start("create", "wait flunder/one --for=create --timeout=100s")?;
        here.send("create", &[flunder("one", "first")])?;
        says(&created, "condition met")?;
        here.run("wait flunder/one --for=jsonpath={.spec.flunderReference}=first --timeout=60s")?;
        let field = here.start(
            "field",
            "wait flunder/one --for=jsonpath={.spec.flunderReference}=second --timeout=100s",
        )?;
        let gone = here.start("gone", "wait flunder/one --for=delete --timeout=100s")?;
        here.run_with("patch flunder one -p", r#"{"spec": {"flunderReference": "second"}}"#)?;
        says(&field, "condition met")?;
        here.run("delete flunder one --wait=false")?;
        until("the end is seen", LATER, || {
            let lines = gone.lines()?;
            ensure!(
                lines
                    .iter()
                    .any(|line| line.contains("condition met") || line.contains("not found")),
                "{lines:?}"
            );
            Ok(())
        })
    });
}
