//! Shells that compute: virtual objects with two streams, a `log` to follow and an `exec` to talk to.
//!
//! `kubectl get --raw /apis/shell.example.com/v1/namespaces/NS/shells/NAME/log?follow=true` prints lines until its reader has had enough.
//! `exec` speaks `v5.channel.k8s.io` over a WebSocket, as the kubelet does: the first byte of each message names the channel.

use std::time::Duration;

use outrigger_sdk::prelude::*;

/// A shell.
#[derive(Debug, Resource, Serialize, Deserialize, JsonSchema)]
#[resource(
    group = "shell.example.com",
    version = "v1",
    plural = "shells",
    short = "sh",
    poll_seconds = 2
)]
#[resource(column(name = "Prompt", path = ".spec.prompt"))]
#[resource(column(name = "Commands", path = ".spec.commands", wide))]
pub struct Shell {
    /// What it is like.
    spec: ShellSpec,
}

/// What a shell is like.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ShellSpec {
    /// Written before each line that is read.
    prompt: String,
    /// What it knows.
    commands: Vec<String>,
}

/// What it has to say: `tailLines`, `follow`.
#[derive(Debug)]
pub struct Log;

/// A command that runs while somebody talks to it.
#[derive(Debug)]
pub struct Exec;

/// The shells of every namespace: name, prompt.
const SHELLS: [(&str, &str); 2] = [("abacus", "+"), ("parrot", "~")];
/// Namespaces that have shells; anywhere else there are none.
const NAMESPACES: [&str; 2] = ["default", "shells"];
const COMMANDS: [&str; 3] = ["cat", "sum", "false"];

/// Channels of `v5.channel.k8s.io` (KEP-4006).
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const CLOSE: u8 = 255;
/// The largest message that is read at once.
const MESSAGE: u32 = 64 << 10;

fn shell(namespace: &str, name: &str, prompt: &str) -> Object<Shell> {
    let spec = ShellSpec {
        prompt: prompt.to_owned(),
        commands: COMMANDS.map(str::to_owned).to_vec(),
    };
    Object::named(namespace, name, Shell { spec }).label("prompt", if prompt == "+" { "plus" } else { "tilde" })
}

fn find(request: &Request<'_>) -> Result<Object<Shell>, Error> {
    let (namespace, name) = (request.namespace(), request.name());
    let known = SHELLS.iter().find(|(known, _)| *known == name);
    let known = known.filter(|_| NAMESPACES.contains(&namespace.as_str()));
    let (name, prompt) = known.ok_or_else(|| request.not_found())?;
    Ok(shell(&namespace, name, prompt))
}

impl Get for Shell {
    fn get(_: &impl Host, request: &Request<'_>) -> Result<Object<Self>, Error> {
        find(request)
    }
}

impl List for Shell {
    fn list(_: &impl Host, request: &Request<'_>, to: &mut Objects<'_, Self>) -> Result<(), Error> {
        let wanted = request.namespace();
        let namespaces = NAMESPACES.into_iter().filter(|n| wanted.is_empty() || *n == wanted);
        for namespace in namespaces {
            for (name, prompt) in SHELLS {
                to.write(&shell(namespace, name, prompt))?;
            }
        }
        Ok(())
    }
}

impl Connect for Log {
    type Of = Shell;
    const NAME: &'static str = "log";
    const METHODS: &'static [&'static str] = &["GET"];

    fn connect(_: &impl Host, request: &Request<'_>, _: &mut Reader<'_>, to: &mut Writer<'_>) -> Result<(), Error> {
        let shell = find(request)?;
        let lines = match request.parameter("tailLines") {
            Some(text) => text.parse().map_err(|_| Error::invalid("tailLines is not a number"))?,
            None => 3_u32,
        };
        to.start(200, "text/plain")?;
        let follows = request.parameter("follow").is_some_and(|f| f == "true");
        let mut line = 0;
        while follows || line < lines {
            line += 1;
            // Fails when nobody reads any more: that is how a follower ends.
            to.write(format!("{} {line}\n", shell.fields.spec.prompt).as_bytes())?;
            if line >= lines {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        Ok(())
    }
}

impl Connect for Exec {
    type Of = Shell;
    const NAME: &'static str = "exec";
    const METHODS: &'static [&'static str] = &["GET"];
    const PROTOCOLS: &'static [&'static str] = &["v5.channel.k8s.io"];

    fn connect(_: &impl Host, request: &Request<'_>, from: &mut Reader<'_>, to: &mut Writer<'_>) -> Result<(), Error> {
        find(request)?;
        if request.protocol().is_empty() {
            return Err(Error::invalid("exec speaks v5.channel.k8s.io over a WebSocket"));
        }
        let command = request.parameters("command");
        let code = match command.first().map(String::as_str) {
            Some("cat") => cat(from, to)?,
            Some("sum") => sum(command.get(1..).unwrap_or_default(), to)?,
            Some("false") => 1,
            other => {
                let name = other.unwrap_or_default();
                say(to, STDERR, format!("{name}: command not found\n").as_bytes())?;
                127
            }
        };
        say(to, STATUS, status(code).to_string().as_bytes())
    }
}

/// Says back what it hears until its input is closed.
fn cat(from: &mut Reader<'_>, to: &mut Writer<'_>) -> Result<u8, Error> {
    loop {
        let message = from.read(MESSAGE)?;
        match message.split_first() {
            None | Some((&CLOSE, [STDIN, ..])) => return Ok(0),
            Some((&STDIN, bytes)) => say(to, STDOUT, bytes)?,
            // A resize, or a channel that means nothing here.
            Some(_) => {}
        }
    }
}

fn sum(numbers: &[String], to: &mut Writer<'_>) -> Result<u8, Error> {
    let parsed: Result<Vec<i64>, _> = numbers.iter().map(|n| n.parse()).collect();
    match parsed {
        Ok(numbers) => {
            say(to, STDOUT, format!("{}\n", numbers.iter().sum::<i64>()).as_bytes())?;
            Ok(0)
        }
        Err(error) => {
            say(to, STDERR, format!("sum: {error}\n").as_bytes())?;
            Ok(2)
        }
    }
}

fn say(to: &mut Writer<'_>, channel: u8, bytes: &[u8]) -> Result<(), Error> {
    to.write(&[&[channel], bytes].concat())
}

/// How a command ended, as the kubelet says it on the last channel.
fn status(code: u8) -> serde_json::Value {
    if code == 0 {
        return serde_json::json!({"metadata": {}, "status": "Success"});
    }
    serde_json::json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

plugin! { manifest: || manifest!(), responders: [Shell], connects: [Log, Exec] }

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(command: &[&str], input: &[&str]) -> Vec<Vec<u8>> {
        let mut request = fake::Request::new("connect")
            .namespace("default")
            .name("abacus")
            .protocol("v5.channel.k8s.io");
        for word in command {
            request = request.parameter("command", word);
        }
        let heard = fake::connect::<Exec>(&fake::Host::new(), &request, input.iter().copied()).unwrap();
        heard.messages()
    }

    #[test]
    fn commands_answer_on_their_channels() {
        assert_eq!(exec(&["sum", "1", "2"], &[""])[0], b"\x013\n");
        let failed = exec(&["fly"], &[""]);
        assert_eq!(failed[0], b"\x02fly: command not found\n");
        assert!(String::from_utf8_lossy(&failed[1]).contains("exit status 127"), "{failed:?}");
        let heard = exec(&["cat"], &["\0hello"]);
        assert_eq!(heard[0], b"\x01hello");
        assert!(heard[1].starts_with(b"\x03{"), "{heard:?}");
    }

    #[test]
    fn a_log_has_as_many_lines_as_are_asked_for() {
        let request = fake::Request::new("connect")
            .namespace("shells")
            .name("parrot")
            .parameter("tailLines", "2");
        let read = fake::connect::<Log>(&fake::Host::new(), &request, [""]).unwrap();
        assert_eq!((read.status(), read.text().as_str()), (200, "~ 1\n~ 2\n"));
        let nobody = fake::Request::new("connect").namespace("shells").name("crow");
        assert!(fake::connect::<Log>(&fake::Host::new(), &nobody, [""]).is_err());
    }

    #[test]
    fn shells_are_listed_where_they_are() {
        let shells = fake::Responder::<Shell>::new();
        assert_eq!(shells.list(&fake::Host::new()).unwrap().len(), 4);
    }
}
