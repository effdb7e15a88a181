//! What /proc says, as types.
//!
//! Each file has one reader here, a function from its text; `None` means that the text is not what proc(5) promises. Nothing
//! outside this room knows a file's columns.

use std::path::PathBuf;

/// The root of a proc file system: /proc, or a host's, mounted elsewhere.
#[derive(Debug, Clone)]
pub struct Proc {
    root: PathBuf,
    /// Nanoseconds of one tick (`USER_HZ`).
    tick: u64,
    page: u64,
}

/// `/proc/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Ticks in which any CPU worked: user, nice, system, interrupts. A guest's time is part of user; time stolen by a
    /// hypervisor was not had.
    pub busy: u64,
    /// Seconds since 1970 at which the machine started.
    pub booted: i64,
}

/// `/proc/meminfo`, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemInfo {
    /// All memory.
    pub total: u64,
    /// What nobody uses.
    pub free: u64,
    /// Page cache that was not used lately.
    pub inactive_file: u64,
    /// What has no file behind it.
    pub anonymous: u64,
    /// All swap.
    pub swap_total: u64,
    /// What nobody uses of it.
    pub swap_free: u64,
}

/// `/proc/vmstat`: faults since boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// All.
    pub all: u64,
    /// Those that waited for a disk.
    pub major: u64,
}

/// One line of `/proc/net/dev`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Errors while receiving.
    pub rx_errors: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Errors while sending.
    pub tx_errors: u64,
}

/// `/proc/PID/stat`: one process, its threads together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id, which is used again after it ends.
    pub pid: i32,
    /// The program's name, at most 15 bytes.
    pub name: String,
    /// Who waits for it.
    pub parent: i32,
    /// Its session; 0 for none.
    pub session: i32,
    /// A thread of the kernel.
    pub kernel: bool,
    /// Minor and major page faults.
    pub faults: Faults,
    /// Ticks that it worked.
    pub own: u64,
    /// Ticks that its children (and theirs) had worked when it waited for their end.
    pub reaped: u64,
    /// Ticks after boot at which it started. With the pid it names a process for good.
    pub started: u64,
    /// Resident pages, shared ones included.
    pub pages: u64,
}

// === impl Proc ===

impl Proc {
    /// A proc file system at this place.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
        Self {
            root: root.into(),
            tick,
            page: rustix::param::page_size() as u64,
        }
    }

    /// Ticks in nanoseconds.
    #[must_use]
    pub fn nanoseconds(&self, ticks: u64) -> u64 {
        ticks.saturating_mul(self.tick)
    }

    /// Pages in bytes.
    #[must_use]
    pub fn bytes(&self, pages: u64) -> u64 {
        pages.saturating_mul(self.page)
    }

    /// Reads one file.
    ///
    /// # Errors
    /// It cannot be read, or `parse` finds that it is not what it should be.
    pub fn read<T>(&self, file: &str, parse: impl FnOnce(&str) -> Option<T>) -> anyhow::Result<T> {
        let path = self.root.join(file);
        let text = std::fs::read_to_string(&path).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
        parse(&text).ok_or_else(|| anyhow::anyhow!("{}: not in the form of proc(5)", path.display()))
    }

    /// All processes. One that ends meanwhile is left out.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn processes(&self) -> anyhow::Result<Vec<Process>> {
        let mut processes = Vec::new();
        for entry in std::fs::read_dir(&self.root)?.flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().filter(|name| name.bytes().all(|b| b.is_ascii_digit())) else {
                continue;
            };
            // A program may call itself by bytes that are no text.
            let Ok(bytes) = std::fs::read(self.root.join(pid).join("stat")) else {
                continue;
            };
            processes.extend(process(&String::from_utf8_lossy(&bytes)));
        }
        Ok(processes)
    }
}

/// Reads `/proc/stat`.
#[must_use]
pub fn stat(text: &str) -> Option<Stat> {
    let mut cpu = text
        .lines()
        .find_map(|line| line.strip_prefix("cpu "))?
        .split_whitespace()
        .map(str::parse::<u64>);
    let (user, nice, system) = (cpu.next()?.ok()?, cpu.next()?.ok()?, cpu.next()?.ok()?);
    let (_idle, _iowait) = (cpu.next()?.ok()?, cpu.next()?.ok()?);
    let (irq, softirq) = (cpu.next()?.ok()?, cpu.next()?.ok()?);
    let booted = text
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    Some(Stat {
        busy: user + nice + system + irq + softirq,
        booted,
    })
}

/// Reads `/proc/meminfo`.
#[must_use]
pub fn meminfo(text: &str) -> Option<MemInfo> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(MemInfo {
        total: field("MemTotal")?,
        free: field("MemFree")?,
        inactive_file: field("Inactive(file)")?,
        anonymous: field("AnonPages")?,
        swap_total: field("SwapTotal").unwrap_or(0),
        swap_free: field("SwapFree").unwrap_or(0),
    })
}

/// Reads `/proc/vmstat`.
#[must_use]
pub fn vmstat(text: &str) -> Option<Faults> {
    Some(Faults {
        all: keyed(text, "pgfault")?,
        major: keyed(text, "pgmajfault")?,
    })
}

/// Reads `/proc/net/dev`.
#[must_use]
pub fn net_dev(text: &str) -> Option<Vec<Interface>> {
    let mut interfaces = Vec::new();
    for line in text.lines().skip(2) {
        let (name, counters) = line.split_once(':')?;
        let c: Vec<u64> = counters.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let (rx_bytes, rx_errors, tx_bytes, tx_errors) = (*c.first()?, *c.get(2)?, *c.get(8)?, *c.get(10)?);
        interfaces.push(Interface {
            name: name.trim().to_owned(),
            rx_bytes,
            rx_errors,
            tx_bytes,
            tx_errors,
        });
    }
    Some(interfaces)
}

/// The interface that the default route of `/proc/net/route` leaves by.
#[must_use]
pub fn default_interface(text: &str) -> Option<String> {
    let lines = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|columns| columns.get(1) == Some(&"00000000"))
        .find_map(|columns| columns.first().map(|&name| name.to_owned()))
}

/// Reads `/proc/PID/stat`. The name stands in brackets and may itself hold brackets and blanks.
#[must_use]
pub fn process(text: &str) -> Option<Process> {
    const PF_KTHREAD: u64 = 0x0020_0000;
    let (pid, rest) = text.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let columns: Vec<&str> = rest.split_whitespace().collect();
    // Numbered as in proc(5), where the state is column 3.
    let number = |column: usize| columns.get(column - 3)?.parse::<u64>().ok();
    let id = |column: usize| columns.get(column - 3)?.parse::<i32>().ok();
    // A child's time may be negative on old kernels; it is then unknown.
    let child = |column: usize| {
        columns
            .get(column - 3)
            .map(|ticks| ticks.parse::<i64>().map_or(0, |t| t.max(0).unsigned_abs()))
    };
    Some(Process {
        pid: pid.trim().parse().ok()?,
        name: name.to_owned(),
        parent: id(4)?,
        session: id(6)?,
        kernel: number(9)? & PF_KTHREAD != 0,
        faults: Faults {
            all: number(10)? + number(12)?,
            major: number(12)?,
        },
        own: number(14)? + number(15)?,
        reaped: child(16)? + child(17)?,
        started: number(22)?,
        pages: number(24)?,
    })
}

/// The number after `key` in a text of `key number` lines, as in vmstat and in a cgroup's files.
#[must_use]
pub fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  100 20 30 4000 50 6 7 80 9 0\ncpu0 1 2 3 4 5 6 7 8 9 0\nintr 1\nctxt 5\nbtime 1795261886\n";

    #[test]
    fn busy_is_what_was_worked() {
        assert_eq!(
            stat(STAT),
            Some(Stat {
                busy: 100 + 20 + 30 + 6 + 7,
                booted: 1_795_261_886
            })
        );
        for damaged in [
            "",
            "cpu  1 2 3\nbtime 1\n",
            "cpu  1 2 x 4 5 6 7\nbtime 1\n",
            "cpu  1 2 3 4 5 6 7\n",
            "cpu0 1 2 3 4 5 6 7\nbtime 1",
        ] {
            assert_eq!(stat(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn meminfo_is_in_bytes_and_may_lack_swap() {
        let text = "MemTotal:       100 kB\nMemFree:         40 kB\nInactive:         9 kB\nInactive(file):  10 kB\nAnonPages:        5 kB\n";
        let expected = MemInfo {
            total: 102_400,
            free: 40_960,
            inactive_file: 10_240,
            anonymous: 5_120,
            swap_total: 0,
            swap_free: 0,
        };
        assert_eq!(meminfo(text), Some(expected));
        assert_eq!(meminfo(&text.replace("MemFree", "MemFred")), None);
        let swap = format!("{text}SwapTotal: 3 kB\nSwapFree: 1 kB\n");
        assert_eq!(meminfo(&swap).map(|m| (m.swap_total, m.swap_free)), Some((3072, 1024)));
    }

    #[test]
    fn a_process_may_be_called_anything() {
        let rest = "S 7 100 99 0 -1 4194560 1000 5 2 6 11 4 30 8 20 0 13 0 26 54603776 5358 18446744073709551615 1 1";
        for (name, raw) in [
            ("bash", "bash"),
            ("a) S 1 (b", "a) S 1 (b"),
            ("Web Content", "Web Content"),
            ("(sd-pam)", "(sd-pam)"),
        ] {
            let process = process(&format!("42 ({raw}) {rest}\n")).unwrap();
            let expected = Process {
                pid: 42,
                name: name.to_owned(),
                parent: 7,
                session: 99,
                kernel: false,
                faults: Faults { all: 1002, major: 2 },
                own: 15,
                reaped: 38,
                started: 26,
                pages: 5358,
            };
            assert_eq!(process, expected);
        }
        assert!(
            process("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 2 0 0 1")
                .unwrap()
                .kernel
        );
        for damaged in ["", "1 bash S 1", "1 (bash) S 1 2", "x (bash) S 7 100 99"] {
            assert_eq!(process(damaged), None, "{damaged:?}");
        }
    }

    #[test]
    fn counters_and_interfaces() {
        let text = "pgfaultx 1\npgfault 10\npgmajfault 2\n";
        assert_eq!(vmstat(text), Some(Faults { all: 10, major: 2 }));
        assert_eq!(vmstat("pgfault x\n"), None);
        let text = "Inter-|   Receive\n face |bytes\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  eth0:5 0 0 0 0 0 0 0 6 0 0 0 0 0 0 0\n";
        let lo = Interface {
            name: "lo".to_owned(),
            rx_bytes: 1,
            rx_errors: 3,
            tx_bytes: 9,
            tx_errors: 11,
        };
        let eth0 = Interface {
            name: "eth0".to_owned(),
            rx_bytes: 5,
            rx_errors: 0,
            tx_bytes: 6,
            tx_errors: 0,
        };
        assert_eq!(net_dev(text), Some(vec![lo, eth0]));
        let routes = "Iface\tDestination\tGateway\nbr0\t0000A8C0\t0\neth0\t00000000\t0100A8C0\n";
        assert_eq!(default_interface(routes).as_deref(), Some("eth0"));
        assert_eq!(default_interface("Iface\n"), None);
    }

    #[test]
    fn this_machine_can_be_read() {
        let proc = Proc::at("/proc");
        assert!(proc.read("stat", stat).unwrap().busy > 0);
        assert!(proc.read("meminfo", meminfo).unwrap().total > 0);
        let me = i32::try_from(std::process::id()).unwrap();
        let processes = proc.processes().unwrap();
        assert!(processes.iter().any(|process| process.pid == me && process.pages > 0));
        assert!(proc.read("nothing", stat).is_err());
    }
}
