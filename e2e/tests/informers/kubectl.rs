//! kubectl's ways to watch, page and wait.

use anyhow::ensure;
use outrigger_e2e::promise;
use outrigger_e2e::wait::{LATER, until};

use crate::house::{house, pod};

fn of<'a>(lines: &'a [String], pod: &str) -> Vec<&'a str> {
    lines
        .iter()
        .map(String::as_str)
        .filter(|line| line.split_whitespace().any(|word| word == pod))
        .collect()
}

#[test]
fn get_watches() {
    promise(|| {
        let house = house()?;
        let all = house
            .kubectl
            .start("watch", "get podmetrics -n shop -w --output-watch-events")?;
        let only = house
            .kubectl
            .start("watch-only", "get podmetrics -n shop --watch-only --output-watch-events")?;
        until("the list and what follows it", LATER, || {
            let lines = all.lines()?;
            ensure!(
                lines
                    .first()
                    .is_some_and(|head| head.starts_with("EVENT") && head.contains("CPU")),
                "{lines:?}"
            );
            for pod in ["one", "two", "three", "four"] {
                let lines = of(&lines, pod);
                ensure!(
                    lines.len() >= 2 && lines[0].starts_with("ADDED") && lines[1].starts_with("MODIFIED"),
                    "{lines:?}"
                );
            }
            Ok(())
        })?;
        until("only what follows", LATER, || {
            let lines = only.lines()?;
            ensure!(lines.len() > 4, "{lines:?}");
            ensure!(lines.iter().skip(1).all(|line| line.starts_with("MODIFIED")), "{lines:?}");
            Ok(())
        })?;
        house.kubectl.apply(&pod("shop", "passing", "10m 8Mi"))?;
        until("a new pod is seen", LATER, || {
            for watch in [&all, &only] {
                let lines = watch.lines()?;
                ensure!(
                    of(&lines, "passing").first().is_some_and(|line| line.starts_with("ADDED")),
                    "{lines:?}"
                );
            }
            Ok(())
        })?;
        let waiting = house
            .kubectl
            .start("wait-delete", "wait podmetrics/passing -n shop --for=delete --timeout=100s")?;
        house.kubectl.run("delete pod passing -n shop --wait=false")?;
        until("its end is seen", LATER, || {
            for watch in [&all, &only] {
                let lines = watch.lines()?;
                ensure!(
                    of(&lines, "passing").last().is_some_and(|line| line.starts_with("DELETED")),
                    "{lines:?}"
                );
            }
            let lines = waiting.lines()?;
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

#[test]
fn get_pages() {
    promise(|| {
        let house = house()?;
        let whole = house.kubectl.run("get podmetrics -n shop -o name --chunk-size=0")?;
        let paged = house.kubectl.run("get podmetrics -n shop -o name --chunk-size=2 -v=6")?;
        let names: Vec<&str> = paged.lines().filter(|line| line.starts_with("podmetrics")).collect();
        ensure!(names == whole.lines().collect::<Vec<_>>(), "{paged}\nand not\n{whole}");
        let pages = house.list("?limit=2")?;
        ensure!(pages.len() == 2, "a page of {}", pages.len());
        Ok(())
    });
}

#[test]
fn wait_sees_a_field() {
    promise(|| {
        let house = house()?;
        house
            .kubectl
            .run("wait podmetrics/one -n shop --for=jsonpath={.containers[0].name}=main --timeout=30s")?;
        let label = house.kubectl.start(
            "wait-label",
            "wait podmetrics/one -n shop --for=jsonpath={.metadata.labels.seen}=yes --timeout=100s",
        )?;
        house.kubectl.run("label pod one -n shop seen=yes --overwrite")?;
        until("the wait ends with the label", LATER, || {
            let lines = label.lines()?;
            ensure!(lines.iter().any(|line| line.contains("condition met")), "{lines:?}");
            Ok(())
        })?;
        house.kubectl.run("label pod one -n shop seen-")?;
        Ok(())
    });
}
