//! kubectl as a user runs it, with a home of its own: no configuration or cache of whoever runs the tests.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use crate::scratch;

/// kubectl as one user of one cluster.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

/// A kubectl that goes on until it is dropped, and what it has written.
#[derive(Debug)]
pub struct Running {
    child: Child,
    out: PathBuf,
}

// === impl Kubectl ===

impl Kubectl {
    /// kubectl at `program` with this kubeconfig; its discovery cache lies under `home`.
    #[must_use]
    pub fn new(program: &Path, kubeconfig: &Path, home: &Path) -> Self {
        Self {
            program: program.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            home: home.to_owned(),
        }
    }

    /// The command, for whoever wants to run it in his own way.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("HOME", &self.home)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("TZ", "UTC")
            .args(arguments);
        command
    }

    /// Runs it with arguments split on spaces.
    ///
    /// # Errors
    /// It failed: what it wrote to stderr.
    pub fn run(&self, arguments: &str) -> Result<String> {
        self.run_with(&arguments.split_whitespace().collect::<Vec<_>>(), "")
    }

    /// Runs it with these arguments and this input.
    ///
    /// # Errors
    /// It failed: what it wrote to stderr.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.output(arguments, input)?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            bail!(
                "kubectl {}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            )
        }
    }

    /// Applies a manifest.
    ///
    /// # Errors
    /// It was refused.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.run_with(&["apply", "-f", "-"], manifest)
    }

    /// Starts it with arguments split on spaces; what it writes goes to a file of this name.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, name: &str, arguments: &str) -> Result<Running> {
        let out = scratch::folder("kubectl")?.join(name);
        let file = std::fs::File::create(&out)?;
        let child = self
            .command(&arguments.split_whitespace().collect::<Vec<_>>())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        Ok(Running { child, out })
    }

    fn output(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // Who does not read its input closes the pipe early.
            let _ = stdin.write_all(input.as_bytes());
        }
        Ok(child.wait_with_output()?)
    }
}

// === impl Running ===

impl Running {
    /// All lines that it has written so far, to either output.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub fn lines(&self) -> Result<Vec<String>> {
        Ok(std::fs::read_to_string(&self.out)?.lines().map(str::to_owned).collect())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
