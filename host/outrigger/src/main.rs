//! Outrigger: Kubernetes APIs from sandboxed WebAssembly plugins, beside kube-apiserver.
//!
//! This crate is the binary: it reads flags, wires the rooms, runs, drains. Anything with an idea in it lives in a room.

mod ca;
mod debug;
mod doctor;
mod flags;
mod host;
mod inspect;
mod join;
mod keeping;
mod laptop;
mod leading;
mod loader;
mod means;
mod memory;
mod observation;
mod observe;
mod opening;
mod operator;
mod own_objects;
mod own_series;
mod refused;
mod rights;
mod run;
mod serve;
mod sharing;
mod show;
mod stop;
mod storage;
mod stored_series;
mod tidy;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use flags::{Cli, Compile, Logging, Verb};
use outrigger_sandbox::{CompileError, REFUSED, compile_for_parent};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => match refused::sentence(&error) {
            Some(sentence) => {
                eprintln!("outrigger: {sentence}");
                return ExitCode::from(2);
            }
            None => error.exit(),
        },
    };
    // A child of a server: no log, no runtime, as little as can be.
    if let Verb::Compile(flags) = &cli.verb {
        return compile(flags);
    }
    // Who asks doctor reads its report; what its clients would log is in there as a finding.
    let quiet = matches!(cli.verb, Verb::Doctor(_)) && cli.logging.verbosity == 0;
    log(&cli.logging, quiet);
    // A server is small for long; who compiles is large for a moment, and has inherited what its parent said.
    match cli.verb {
        Verb::Serve(_) | Verb::Run(_) => memory::huge_pages(false),
        Verb::Compile(_) => memory::huge_pages(true),
        _ => {}
    }
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            runtime.block_on(async {
                match cli.verb {
                    Verb::Serve(flags) => serve::serve(*flags).await,
                    Verb::Run(flags) => run::run(*flags).await,
                    Verb::Inspect(flags) => inspect::inspect(flags).await,
                    Verb::Storage(flags) => storage::storage(flags).await,
                    Verb::Doctor(flags) => return Ok(doctor::doctor(*flags).await),
                    Verb::Compile(flags) => return Ok(compile(&flags)),
                }
                .map(|()| ExitCode::SUCCESS)
            })
        });
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("outrigger: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compile(flags: &Compile) -> ExitCode {
    match compile_for_parent(flags.memory, Duration::from_secs(flags.cpu_seconds)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(CompileError::Refused(why)) => {
            eprintln!("{why}");
            ExitCode::from(REFUSED)
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn log(flags: &Logging, quiet: bool) {
    let level = match flags.verbosity {
        _ if quiet => "off",
        0 | 1 => "info",
        2 | 3 => "debug",
        _ => "trace",
    };
    // One line per request, as kube-apiserver has them at -v=3.
    let requests = if flags.verbosity >= 3 { "info" } else { "off" };
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into());
    // Other people's crates stay at info: their debug lines are for their own developers.
    let filter = filter.parse_lossy(std::env::var("RUST_LOG").unwrap_or_else(|_| {
        [
            "api",
            "auth",
            "background",
            "catalog",
            "cluster",
            "egress",
            "resources",
            "sandbox",
            "server",
            "storage",
        ]
        .map(|room| format!("outrigger_{room}={level}"))
        .join(",")
            + &format!(",outrigger={level},outrigger_http={requests},kube_runtime=error,info")
    }));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if flags.logging_format == "json" {
        lines.json().init();
    } else {
        lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
    }
}
