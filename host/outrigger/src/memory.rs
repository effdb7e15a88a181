//! What the process holds of the machine's memory, kept to what it uses.
//!
//! Two things made a host at rest three times as large as it is, both measured with one plugin over one node:
//! * The allocator asks for huge pages (`MADV_HUGEPAGE`). A heap of 7 MB that is spread over its arenas took 33.
//! * The kernel maps sixteen pages of the binary around each one that is needed. Starting (flags, TLS, the engine, a plugin) touches code
//!   all over it, of which serving needs a third: 31 MB stayed, 13 are used.
//!
//! So huge pages are turned off, and the binary's code is let go a while after the start and after each change of plugins. Nothing is
//! read anew: the pages stay in the kernel's cache, and those that are needed are mapped again as they are needed.

use std::ffi::c_void;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use outrigger_catalog::Catalog;
use tokio_util::sync::CancellationToken;

/// How long after a change the code that it needed is let go.
const AFTER: Duration = Duration::from_secs(60);

/// Whether this process, and those that it starts, may have huge pages. Where the kernel knows nothing of it, there are none.
#[expect(
    unsafe_code,
    reason = "no safe call for it that does not bring more of its crate into everybody's build"
)]
pub(crate) fn huge_pages(may: bool) {
    // SAFETY: an option with four numbers, of which it reads one; no memory is named.
    let done = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, libc::c_ulong::from(!may), 0, 0, 0) };
    if done != 0 {
        tracing::debug!("huge pages stay as they are: {}", io::Error::last_os_error());
    }
}

/// Lets code go that only starting and loading needed, until the end.
pub(crate) async fn follow(catalog: Arc<Catalog>, stop: CancellationToken) {
    let mut changes = catalog.changes();
    loop {
        if stop.run_until_cancelled(tokio::time::sleep(AFTER)).await.is_none() {
            return;
        }
        // What has changed meanwhile had its time too.
        changes.borrow_and_update();
        match let_go() {
            Ok(bytes) => tracing::debug!(bytes, "code that is not in use was let go"),
            Err(error) => tracing::debug!("code that is not in use stays: {error}"),
        }
        match stop.run_until_cancelled(changes.changed()).await {
            Some(Ok(())) => {}
            _ => return,
        }
    }
}

/// Unmaps the pages of the binary's code; how many bytes that may be.
fn let_go() -> io::Result<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let own = std::fs::read_link("/proc/self/exe")?;
    let mut bytes = 0;
    for (from, to) in code(&maps, &own) {
        forget(from, to - from)?;
        bytes += to - from;
    }
    Ok(bytes)
}

/// Where the code of `program` is, in the words of `/proc/PID/maps`. Code alone: what is only read may have been written when the program
/// was loaded (relocations), and would be lost.
fn code(maps: &str, program: &Path) -> Vec<(usize, usize)> {
    let range = |line: &str| {
        let (place, rest) = line.split_once(' ')?;
        let mut words = rest.split_ascii_whitespace();
        let (mode, path) = (words.next()?, words.nth(3)?);
        let (from, to) = place.split_once('-')?;
        let (from, to) = (usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?);
        (mode == "r-xp" && Path::new(path) == program && from < to).then_some((from, to))
    };
    maps.lines().filter_map(range).collect()
}

#[expect(
    unsafe_code,
    reason = "the kernel is told of addresses; there is no safe call for memory that is not ours to name"
)]
fn forget(from: usize, length: usize) -> io::Result<()> {
    let address: *mut c_void = std::ptr::with_exposed_provenance_mut(from);
    // SAFETY: the range is a private mapping of this program's file that nobody may write to (`r-xp`), just read from the kernel's own
    // list. Its pages are the file's, unchanged; whoever needs one again, were it the very next instruction, is given the same bytes.
    match unsafe { libc::madvise(address, length, libc::MADV_DONTNEED) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55d0c0000000-55d0c0600000 r--p 00000000 08:01 77 /usr/bin/outrigger
55d0c0600000-55d0c3000000 r-xp 00600000 08:01 77 /usr/bin/outrigger
55d0c3000000-55d0c3300000 r--p 03000000 08:01 77 /usr/bin/outrigger
55d0c3300000-55d0c3310000 rw-p 03300000 08:01 77 /usr/bin/outrigger
7f0000000000-7f0000200000 r-xp 00000000 08:01 99 /usr/lib/libc.so.6
7f0000300000-7f0000400000 r-xp 00000000 00:00 0 
7f0000500000-7f0000600000 r-xp 00000000 08:01 12 /usr/bin/outrigger (deleted)
nonsense
";

    #[test]
    fn only_the_programs_own_code_is_let_go() {
        let found = code(MAPS, Path::new("/usr/bin/outrigger"));
        let expected = [(0x55d0_c060_0000, 0x55d0_c300_0000), (0x7f00_0050_0000, 0x7f00_0060_0000)];
        assert_eq!(found, expected);
        assert_eq!(code("", Path::new("/x")), []);
    }

    #[test]
    fn what_was_let_go_is_there_when_it_is_needed() {
        let before: Vec<u32> = (0..1000).collect();
        assert!(let_go().unwrap() > 100_000, "this program has code");
        let sorted = {
            let mut again = before.clone();
            again.reverse();
            again.sort_unstable();
            again
        };
        assert_eq!(sorted, before);
        assert_eq!(format!("{:?}", "still here"), "\"still here\"");
    }
}
