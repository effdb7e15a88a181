//! The log's file, rotated as upstream's is (lumberjack v2): a file that would grow too large is renamed to
//! `NAME-2026-11-21T10-00-00.000.EXT` and a new one begun; old ones are compressed, and removed by number and by age.
//!
//! A line is written whole or not at all: what a full disk took only half of is cut off again, so that the next line begins a line.
//! Compressing has a thread of its own, which ends with the file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Where to write, and what to keep.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// The file.
    pub path: PathBuf,
    /// `--audit-log-maxsize` in MiB; 0 never rotates.
    pub max_megabytes: u64,
    /// `--audit-log-maxage` in days; 0 keeps for ever.
    pub max_days: u64,
    /// `--audit-log-maxbackup`; 0 keeps all.
    pub max_backups: usize,
    /// `--audit-log-compress`.
    pub compress: bool,
}

/// The file that is written now.
#[derive(Debug)]
pub(crate) struct LogFile {
    rotation: Rotation,
    file: Option<File>,
    size: u64,
    tidy: Option<(SyncSender<()>, JoinHandle<()>)>,
}

const STAMP: &str = "%Y-%m-%dT%H-%M-%S%.3f";
const DAY: Duration = Duration::from_secs(24 * 3600);

// === impl LogFile ===

impl LogFile {
    /// Makes sure that the file can be written: the folder is made (0700) and so is the file (0600), if they are missing.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn open(rotation: Rotation) -> io::Result<Self> {
        if let Some(folder) = rotation.path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let file = append(&rotation.path, 0o600)?;
        let size = file.metadata()?.len();
        let mut this = Self {
            rotation,
            file: Some(file),
            size,
            tidy: None,
        };
        this.tidy_up();
        Ok(this)
    }

    /// Appends a line.
    ///
    /// # Errors
    /// The system's; nothing of the line is left then.
    pub(crate) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        let most = self.rotation.max_megabytes.saturating_mul(1 << 20);
        if most > 0 {
            if length > most {
                let sentence = format!("write length {length} exceeds maximum file size {most}");
                return Err(io::Error::other(sentence));
            }
            if self.size + length > most && self.size > 0 {
                self.rotate()?;
            }
        }
        if self.file.is_none() {
            let file = append(&self.rotation.path, 0o600)?;
            self.size = file.metadata()?.len();
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else {
            return Err(io::Error::other("there is no file"));
        };
        if let Err(error) = file.write_all(line) {
            // Best effort: the file may be gone altogether.
            let _ = file.set_len(self.size);
            return Err(error);
        }
        self.size += length;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        let path = &self.rotation.path;
        let found = std::fs::metadata(path)?;
        std::fs::rename(path, backup_name(path, Timestamp::now()))?;
        let file = append(path, found.permissions().mode() & 0o7777)?;
        // As who owned it before, where we may.
        let _ = fchown(&file, Some(found.uid()), Some(found.gid()));
        self.file = Some(file);
        self.size = 0;
        self.tidy_up();
        Ok(())
    }

    /// Wakes the thread that compresses and removes; one that is at work will look again.
    fn tidy_up(&mut self) {
        let Rotation {
            max_days,
            max_backups,
            compress,
            max_megabytes,
            ..
        } = self.rotation;
        if max_megabytes == 0 || (max_days == 0 && max_backups == 0 && !compress) {
            return;
        }
        if self.tidy.is_none() {
            let rotation = self.rotation.clone();
            let (wake, woken) = sync_channel(1);
            let thread = std::thread::Builder::new()
                .name("audit-tidy".into())
                .spawn(move || tidy(&rotation, &woken));
            match thread {
                Ok(thread) => self.tidy = Some((wake, thread)),
                Err(error) => tracing::warn!(%error, "old audit logs are not tidied up"),
            }
        }
        if let Some((wake, _)) = &self.tidy {
            // Full means that it is woken already.
            let _ = wake.try_send(());
        }
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // Nothing can be done about a failure any more.
            let _ = file.sync_all();
        }
        if let Some((wake, thread)) = self.tidy.take() {
            drop(wake);
            let _ = thread.join();
        }
    }
}

fn append(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(mode).open(path)
}

fn tidy(rotation: &Rotation, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        if let Err(error) = tidy_once(rotation, SystemTime::now()) {
            tracing::warn!(path = %rotation.path.display(), %error, "old audit logs cannot be tidied up");
        }
    }
}

/// A rotated file.
struct Backup {
    path: PathBuf,
    at: SystemTime,
    compressed: bool,
}

fn tidy_once(rotation: &Rotation, now: SystemTime) -> io::Result<()> {
    let mut backups = backups(&rotation.path)?;
    backups.sort_by_key(|b| std::cmp::Reverse(b.at));
    let mut kept: Vec<SystemTime> = Vec::new();
    let oldest = (rotation.max_days > 0).then(|| now - DAY * u32::try_from(rotation.max_days).unwrap_or(u32::MAX));
    for backup in backups {
        // A file and its compressed form are one.
        if kept.last() != Some(&backup.at) {
            kept.push(backup.at);
        }
        let too_many = rotation.max_backups > 0 && kept.len() > rotation.max_backups;
        if too_many || oldest.is_some_and(|oldest| backup.at < oldest) {
            std::fs::remove_file(&backup.path)?;
        } else if rotation.compress && !backup.compressed {
            compress(&backup.path)?;
        }
    }
    Ok(())
}

/// Whole or not at all: an interrupted compression starts anew.
fn compress(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    let to = PathBuf::from(name);
    let mut source = File::open(path)?;
    let mode = source.metadata()?.permissions().mode() & 0o7777;
    let target = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&to)?;
    let mut encoder = GzEncoder::new(target, Compression::default());
    let written = io::copy(&mut source, &mut encoder)
        .and_then(|_| encoder.finish())
        .and_then(|f| f.sync_all());
    match written {
        Ok(()) => std::fs::remove_file(path),
        Err(error) => {
            let _ = std::fs::remove_file(&to);
            Err(error)
        }
    }
}

fn backups(path: &Path) -> io::Result<Vec<Backup>> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let (start, end) = around(path);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let (plain, compressed) = match name.strip_suffix(".gz") {
            Some(plain) if plain.ends_with(&end) => (plain, true),
            _ => (name.as_str(), false),
        };
        let stamp = plain.strip_prefix(&start).and_then(|n| n.strip_suffix(&end));
        let at = stamp.and_then(|s| DateTime::strptime(STAMP, s).ok()?.to_zoned(TimeZone::UTC).ok());
        if let Some(at) = at {
            found.push(Backup {
                path: entry.path(),
                at: at.timestamp().into(),
                compressed,
            });
        }
    }
    Ok(found)
}

fn backup_name(path: &Path, at: Timestamp) -> PathBuf {
    let (start, end) = around(path);
    path.with_file_name(format!("{start}{}{end}", at.strftime(STAMP)))
}

/// What stands before and behind the time: `audit.log` becomes `audit-` and `.log`.
fn around(path: &Path) -> (String, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match name.rfind('.') {
        Some(dot) => {
            let (stem, extension) = name.split_at(dot);
            (format!("{stem}-"), extension.to_owned())
        }
        None => (format!("{name}-"), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn rotation(path: PathBuf) -> Rotation {
        Rotation {
            path,
            max_megabytes: 1,
            max_days: 0,
            max_backups: 0,
            compress: false,
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let name = |e: io::Result<std::fs::DirEntry>| e.unwrap().file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = std::fs::read_dir(folder).unwrap().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_is_renamed_and_no_line_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/audit.log");
        let mut log = LogFile::open(rotation(path.clone())).unwrap();
        let line = |n: usize| format!("{}{n}\n", "0".repeat(399_998)).into_bytes();
        for n in 0..5 {
            log.write(&line(n)).unwrap();
            // The name has milliseconds.
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(
            log.write(&vec![b'x'; (1 << 20) + 1])
                .unwrap_err()
                .to_string()
                .contains("exceeds maximum file size 1048576")
        );
        drop(log);
        let names = names(path.parent().unwrap());
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(
            names[0].starts_with("audit-20")
                && names[0].ends_with(".log")
                && names[0].len() == "audit-2026-11-21T10-00-00.000.log".len()
        );
        let mut all = String::new();
        for name in &names {
            let path = path.with_file_name(name);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            File::open(path).unwrap().read_to_string(&mut all).unwrap();
        }
        let order: Vec<usize> = all.lines().map(|l| l.trim_start_matches('0').parse().unwrap_or(0)).collect();
        assert_eq!(order, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn it_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit");
        for n in 0..2 {
            let mut log = LogFile::open(Rotation {
                max_megabytes: 0,
                ..rotation(path.clone())
            })
            .unwrap();
            log.write(format!("{n}\n").as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "0\n1\n");
    }

    #[test]
    fn old_ones_are_compressed_and_removed_by_number_and_age() {
        let now: SystemTime = "2026-11-21T00:00:00Z".parse::<Timestamp>().unwrap().into();
        let all = [
            "audit-2026-11-01T00-00-00.000.log",
            "audit-2026-11-18T00-00-00.000.log.gz",
            "audit-2026-11-19T00-00-00.000.log",
            "audit-2026-11-20T00-00-00.000.log",
            "audit-x.log",
            "audit.log",
            "other-2026-11-01T00-00-00.000.log",
        ];
        for (max_backups, max_days, compress, gone) in [
            (0, 0, false, &[][..]),
            (0, 5, false, &[0][..]),
            (2, 0, false, &[0, 1][..]),
            (3, 2, false, &[0, 1][..]),
            (1, 0, true, &[0, 1, 2][..]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            for name in all {
                std::fs::write(dir.path().join(name), "line\n").unwrap();
            }
            let rotation = Rotation {
                max_backups,
                max_days,
                compress,
                ..rotation(dir.path().join("audit.log"))
            };
            tidy_once(&rotation, now).unwrap();
            let kept = all.iter().enumerate().filter(|(i, _)| !gone.contains(i)).map(|(i, name)| {
                if compress && i < 4 && !name.ends_with(".gz") {
                    format!("{name}.gz")
                } else {
                    (*name).to_owned()
                }
            });
            let mut kept: Vec<String> = kept.collect();
            kept.sort();
            assert_eq!(names(dir.path()), kept, "{max_backups} {max_days} {compress}");
        }
    }
}
