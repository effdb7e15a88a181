//! One program under test: started with a log of its own, ended with the test process at the latest.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::scratch;

/// A running program, in a process group of its own. Dropped, it is killed.
#[derive(Debug)]
pub struct Program {
    name: String,
    pid: u32,
    log: PathBuf,
    child: Mutex<Child>,
}

// === impl Program ===

impl Program {
    /// Starts `command`; both of its outputs go to `log`. A panic shows the end of a `loud` log.
    ///
    /// # Errors
    /// It cannot be started, or the log cannot be written.
    pub fn start(name: &str, command: &mut Command, log: &Path, loud: bool) -> Result<Self> {
        let out = std::fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", command.get_program().display()))?;
        scratch::watch(child.id());
        scratch::log(log, loud);
        Ok(Self {
            name: name.to_owned(),
            pid: child.id(),
            log: log.to_owned(),
            child: Mutex::new(child),
        })
    }

    /// All that it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        let ended = self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait()?;
        if ended.is_some() {
            scratch::forget(self.pid);
        }
        Ok(ended)
    }

    /// Fails, with the end of its log, when it no longer runs: what waits for it need not wait on.
    ///
    /// # Errors
    /// It has ended.
    pub fn runs(&self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!(
                "{} has ended ({status}); its last words:\n{}",
                self.name,
                scratch::tail(&self.log, 20)
            ),
        }
    }

    /// Bytes of memory that it has now, and had at most.
    ///
    /// # Errors
    /// There is no such process any more.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let field = |name: &str| -> Result<u64> {
            let line = status
                .lines()
                .find_map(|l| l.strip_prefix(name))
                .with_context(|| format!("no {name}"))?;
            Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }

    /// CPU time that it has used so far.
    ///
    /// # Errors
    /// There is no such process any more.
    pub fn cpu(&self) -> Result<std::time::Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        let (_, rest) = stat.rsplit_once(')').context("a name in brackets")?;
        let mut ticks = 0;
        for field in rest.split_whitespace().skip(11).take(2) {
            ticks += field.parse::<u64>()?;
        }
        // USER_HZ, 100 on every Linux.
        Ok(std::time::Duration::from_millis(ticks * 10))
    }

    /// Asks it to end (SIGTERM).
    ///
    /// # Errors
    /// There is no such process any more.
    pub fn terminate(&self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid)?).context("no process has number 0")?;
        Ok(kill_process(pid, Signal::TERM)?)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.ended(), Ok(Some(_))) {
            return;
        }
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // The whole group: whatever it started in turn goes with it.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let _ = self.child.lock().unwrap_or_else(PoisonError::into_inner).wait();
        scratch::forget(self.pid);
    }
}
