//! kubectl reads virtual objects.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use outrigger_e2e::promise;
use outrigger_e2e::wait::until;

use crate::house::house;

#[test]
fn kubectl_lists_gets_and_explains() {
    promise(|| {
        let kubectl = &house()?.kubectl;
        let table = kubectl.run("get shells")?;
        let lines: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
        ensure!(
            lines == [vec!["NAME", "PROMPT"], vec!["abacus", "+"], vec!["parrot", "~"]],
            "{table}"
        );
        let wide = kubectl.run("get shells abacus -o wide")?;
        ensure!(
            wide.contains("COMMANDS") && wide.contains(r#"["cat","sum","false"]"#),
            "{wide}"
        );
        let all = kubectl.run("get shells -A --no-headers")?;
        ensure!(all.lines().count() == 4, "{all}");
        let selected = kubectl.run("get sh -A -l prompt=tilde --no-headers -o name")?;
        ensure!(selected.lines().count() == 2, "{selected}");
        let yaml = kubectl.run("get shells parrot -o yaml")?;
        ensure!(yaml.contains("kind: Shell") && yaml.contains("prompt: \"~\""), "{yaml}");
        let described = kubectl.run("describe shells parrot")?;
        ensure!(
            described.contains("Name:         parrot") && described.contains("Prompt:  ~"),
            "{described}"
        );
        // kube-apiserver fetches the document in the background.
        until("kubectl explains", Duration::from_secs(60), || {
            let explained = kubectl.run("explain shells.spec.prompt")?;
            ensure!(explained.contains("Written before each line that is read."), "{explained}");
            Ok(())
        })?;
        let pages = kubectl.run("get shells -A --chunk-size=1 --no-headers")?;
        ensure!(pages.lines().count() == 4, "{pages}");
        Ok(())
    });
}

#[test]
fn discovery_says_what_the_plugin_implements_and_no_more() {
    promise(|| {
        let house = house()?;
        let kubectl = house.control_plane.kubectl_anew("home-shells")?;
        let resources = kubectl.run("api-resources --api-group=shell.example.com --no-headers -o wide")?;
        let words: Vec<&str> = resources.split_whitespace().collect();
        ensure!(
            words == ["shells", "sh", "shell.example.com/v1", "true", "Shell", "get,list,watch"],
            "{resources}"
        );
        let list = house.control_plane.api().document("/apis/shell.example.com/v1")?;
        let streams: Vec<(&str, &str)> = list["resources"]
            .as_array()
            .context("resources")?
            .iter()
            .map(|r| (r["name"].as_str().unwrap(), r["verbs"][0].as_str().unwrap()))
            .collect();
        ensure!(
            streams == [("shells", "get"), ("shells/exec", "get"), ("shells/log", "get")],
            "{streams:?}"
        );
        let refused = kubectl.run("delete shell parrot").unwrap_err().to_string();
        ensure!(
            refused.contains("the server does not allow this method on the requested resource"),
            "{refused}"
        );
        Ok(())
    });
}

#[test]
fn kubectl_watches() {
    promise(|| {
        let kubectl = &house()?.kubectl;
        let mut command = kubectl.command(&["get", "shells", "-w", "--no-headers"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let out = BufReader::new(child.stdout.take().context("no stdout")?);
        let lines: Vec<String> = out.lines().take(2).collect::<Result<_, _>>()?;
        child.kill()?;
        child.wait()?;
        ensure!(lines[0].starts_with("abacus") && lines[1].starts_with("parrot"), "{lines:?}");
        Ok(())
    });
}
