//! Compiling apart: in a child process with a memory limit of its own.
//!
//! A compiler is the largest program that a stranger's bytes ever meet here. In a child of ours the worst that they can make of it (all
//! memory, all time, a crash) is one sentence, and what it allocated goes with it: the host stays as small as it is with everything
//! compiled.
//!
//! The child is this very program with a hidden verb. It limits itself before it reads a byte, dies with its parent, and speaks through
//! pipes alone: the component in, the code out. The parent runs that code unchecked, so it takes it from nowhere else: not from a file,
//! only from the pipe of the child that it has started itself, and only if the child says the same fingerprint and the digest fits.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::compile::{CompileError, with_threads_of_its_own};
use crate::engine;
use crate::log::visible;

/// A program that compiles: this one, with other arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiler {
    /// What is run.
    pub program: PathBuf,
    /// Its arguments; `--memory BYTES --cpu-seconds N` follow.
    pub arguments: Vec<OsString>,
    /// Bytes of address space that it may have. A large component needs about a hundred times its size.
    pub memory_bytes: u64,
}

/// Begins what a child answers.
const MAGIC: &[u8; 16] = b"outrigger-pipe 1";
/// Bytes of the engine's fingerprint.
const FINGERPRINT: usize = 16;
/// The exit code of a child that refuses its component; the reason is what it said.
pub const REFUSED: u8 = 3;
/// Bytes of code that a parent takes.
const MOST: u64 = 2 << 30;
/// Bytes that a child may say.
const SAID: u64 = 16 << 10;

// === impl Compiler ===

impl Compiler {
    /// This program, whatever has become of its file since it was started, with the verb `compile` and 2 GiB.
    #[must_use]
    pub fn this() -> Self {
        Self {
            program: "/proc/self/exe".into(),
            arguments: vec!["compile".into()],
            memory_bytes: 2 << 30,
        }
    }

    /// The code of this component, by a child that ends with this future.
    pub(crate) async fn run(&self, fingerprint: &str, component: &[u8], deadline: Duration) -> Result<Vec<u8>, CompileError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |e: std::io::Error| CompileError::Failed(format!("{what}: {e}"))
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .args(["--memory".to_owned(), self.memory_bytes.to_string()])
            .args(["--cpu-seconds".to_owned(), (deadline.as_secs().max(1) * cores).to_string()])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed("it cannot be started"))?;
        let (Some(mut to), Some(from), Some(said)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
            return Err(CompileError::Failed("it has no pipes".into()));
        };
        let (mut code, mut words) = (Vec::new(), Vec::new());
        let (mut from, mut said) = (from.take(MOST), said.take(SAID));
        let write = async {
            // A child that has died reads nothing; its end says why.
            let _ = to.write_all(component).await;
            drop(to);
        };
        let ((), read, _) = tokio::join!(write, from.read_to_end(&mut code), said.read_to_end(&mut words));
        read.map_err(failed("its answer cannot be read"))?;
        // Whoever goes on talking after that is not waited for.
        drop((from, said));
        let status = child.wait().await.map_err(failed("it cannot be waited for"))?;
        if !status.success() {
            return Err(self.ended(status, &words));
        }
        checked(fingerprint, code).ok_or_else(|| CompileError::Failed("its answer is not what it should be".into()))
    }

    fn ended(&self, status: ExitStatus, words: &[u8]) -> CompileError {
        let said = visible(String::from_utf8_lossy(words).trim(), 1024);
        if status.code() == Some(REFUSED.into()) {
            return CompileError::Refused(said);
        }
        let how = match (status.code(), status.signal()) {
            (_, Some(signal)) => format!("signal {signal}"),
            (code, _) => format!("code {}", code.unwrap_or_default()),
        };
        CompileError::Died {
            how,
            memory: self.memory_bytes,
            said,
        }
    }
}

/// The child's part: limits itself, reads a component from standard input, writes its code to standard output.
///
/// # Errors
/// [`CompileError::Refused`] if the component is at fault; the child then ends with [`REFUSED`].
pub fn compile_for_parent(memory_bytes: u64, cpu: Duration) -> Result<(), CompileError> {
    let failed = |e: std::io::Error| CompileError::Failed(e.to_string());
    let os = |e: rustix::io::Errno| CompileError::Failed(e.to_string());
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(os)?;
    for (resource, most) in [
        (Resource::As, memory_bytes),
        (Resource::Cpu, cpu.as_secs().max(1)),
        (Resource::Core, 0),
    ] {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit).map_err(os)?;
    }
    let mut component = Vec::new();
    std::io::stdin().lock().read_to_end(&mut component).map_err(failed)?;
    let (engine, fingerprint) = engine::compiling()?;
    let code = with_threads_of_its_own(|| engine.precompile_component(&component))?
        .map_err(|e| CompileError::Refused(format!("{e:#}")))?;
    let mut to = std::io::stdout().lock();
    for part in [MAGIC, fingerprint.as_bytes(), Sha256::digest(&code).as_slice(), &code] {
        to.write_all(part).map_err(failed)?;
    }
    to.flush().map_err(failed)
}

/// The code in a child's answer.
fn checked(fingerprint: &str, mut answer: Vec<u8>) -> Option<Vec<u8>> {
    let head = MAGIC.len() + FINGERPRINT + 32;
    let rest = answer.strip_prefix(MAGIC)?.strip_prefix(fingerprint.as_bytes())?;
    let (digest, code) = rest.split_at_checked(32)?;
    if Sha256::digest(code).as_slice() != digest || fingerprint.len() != FINGERPRINT {
        return None;
    }
    answer.drain(..head);
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Compiler {
        Compiler {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into(), "sh".into()],
            memory_bytes: 1 << 20,
        }
    }

    #[tokio::test]
    async fn however_a_child_ends_it_is_one_sentence() {
        let soon = Duration::from_secs(20);
        for (script, sentence) in [
            (
                "cat >/dev/null; echo 'invalid function 3' >&2; exit 3",
                "the component does not compile: invalid function 3",
            ),
            (
                "kill -KILL $$",
                "the compiler died (signal 9); it may have 1048576 bytes of memory",
            ),
            (
                "echo 'memory allocation failed' >&2; kill -ABRT $$",
                "the compiler died (signal 6); it may have 1048576 bytes of memory: memory allocation failed",
            ),
            (
                "cat >/dev/null; exit 1",
                "the compiler died (code 1); it may have 1048576 bytes of memory",
            ),
            (
                "cat >/dev/null; echo some other code",
                "the compiler failed: its answer is not what it should be",
            ),
            (
                "cat >/dev/null; printf 'outrigger-pipe 10123456789abcdefnot the digest of what follows'",
                "the compiler failed: its answer is not what it should be",
            ),
        ] {
            let error = sh(script).run("0123456789abcdef", &[0; 1 << 20], soon).await.unwrap_err();
            assert_eq!(error.to_string(), sentence, "{script}");
        }
        let nobody = Compiler {
            program: "/nowhere/at/all".into(),
            ..sh("")
        };
        let error = nobody.run("0123456789abcdef", b"", soon).await.unwrap_err().to_string();
        assert!(error.starts_with("the compiler failed: it cannot be started"), "{error}");
    }

    #[test]
    fn only_the_same_engines_code_is_taken() {
        let answer =
            |fingerprint: &str, code: &[u8]| [MAGIC, fingerprint.as_bytes(), Sha256::digest(code).as_slice(), code].concat();
        let (ours, other) = ("0123456789abcdef", "0123456789abcdee");
        assert_eq!(checked(ours, answer(ours, b"code")).as_deref(), Some(&b"code"[..]));
        assert_eq!(checked(ours, answer(other, b"code")), None);
        let mut bent = answer(ours, b"code");
        *bent.last_mut().unwrap() ^= 1;
        assert_eq!(checked(ours, bent), None);
        assert_eq!(checked(ours, b"outrigger".to_vec()), None);
    }
}
