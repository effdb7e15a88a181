//! What must be gone when the tests are: one scratch folder, and every process that was started.
//!
//! The control plane is shared by all tests of a file through a static, and statics are never dropped. A parent-death signal
//! would not do either: Linux sends it when the *thread* that started the child ends, and each test is a thread. So one small
//! shell, the reaper, holds the other end of a pipe: when this process ends in whatever way, the pipe closes, and the reaper
//! kills what is still on its list and removes the folder. After a panic the folder stays, and the panic shows the logs' ends.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

/// Reads orders, one on a line, until the pipe closes; then carries them out.
const REAPER: &str = r#"
trap '' INT TERM HUP
pids= folder=
while read -r verb what; do
  case $verb in
  watch) pids="$pids $what" ;;
  forget) rest=; for p in $pids; do [ "$p" = "$what" ] || rest="$rest $p"; done; pids=$rest ;;
  remove) folder=$what ;;
  keep) folder= ;;
  esac
done
for p in $pids; do kill -s KILL -- "-$p" 2>/dev/null; done
[ -z "$folder" ] && exit
for _ in 1 2 3 4 5; do rm -rf -- "$folder" && break; sleep 0.2; done
"#;

/// Lines of a log that a panic shows.
const TAIL: usize = 40;

static SCRATCH: LazyLock<Scratch> = LazyLock::new(Scratch::new);

struct Scratch {
    folder: PathBuf,
    reaper: Mutex<ChildStdin>,
    logs: Mutex<BTreeMap<PathBuf, bool>>,
}

/// A folder of this name in the scratch folder, made if need be.
///
/// # Errors
/// The folder cannot be made.
pub fn folder(name: &str) -> std::io::Result<PathBuf> {
    let path = SCRATCH.folder.join(name);
    std::fs::create_dir_all(&path)?;
    Ok(path)
}

/// From now on the process group `pid` ends with this process.
pub fn watch(pid: u32) {
    SCRATCH.tell(&format!("watch {pid}"));
}

/// The process group `pid` has ended.
pub fn forget(pid: u32) {
    SCRATCH.tell(&format!("forget {pid}"));
}

/// A log to name when a test panics; a `loud` one is shown as well.
pub fn log(path: &Path, loud: bool) {
    SCRATCH
        .logs
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(path.to_owned(), loud);
}

/// The last lines of a file.
#[must_use]
pub fn tail(path: &Path, lines: usize) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let all: Vec<&str> = text.lines().collect();
    all.iter()
        .skip(all.len().saturating_sub(lines))
        .map(|l| format!("{l}\n"))
        .collect()
}

// === impl Scratch ===

impl Scratch {
    #[expect(clippy::expect_used, reason = "without a folder and a reaper no test can run")]
    #[expect(clippy::zombie_processes, reason = "the reaper is there to outlive this process")]
    fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("outrigger-e2e-")
            .tempdir()
            .expect("a temporary folder")
            .keep();
        let mut reaper = Command::new("sh")
            .args(["-c", REAPER])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh, to clean up after the tests");
        let pipe = reaper.stdin.take().expect("the pipe that was asked for");
        let scratch = Self {
            folder,
            reaper: Mutex::new(pipe),
            logs: Mutex::default(),
        };
        scratch.tell(&format!("remove {}", scratch.folder.display()));
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            SCRATCH.show();
        }));
        scratch
    }

    fn tell(&self, order: &str) {
        let mut pipe = self.reaper.lock().unwrap_or_else(PoisonError::into_inner);
        // A reaper that somebody killed is no reason to fail a test.
        let _ = writeln!(pipe, "{order}");
    }

    fn show(&self) {
        self.tell("keep");
        eprintln!("\nlogs are kept in {}", self.folder.display());
        for (path, loud) in self.logs.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if *loud {
                eprintln!("--- the end of {}\n{}", path.display(), tail(path, TAIL));
            }
        }
    }
}
