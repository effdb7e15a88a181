//! A file in memory that remembers what was done to it, and that fails when it is told to.

use std::io;
use std::sync::Mutex;

use redb::StorageBackend;

/// The file.
#[derive(Debug, Default)]
pub(super) struct Mem {
    pub(super) bytes: Mutex<Vec<u8>>,
    /// What was done, if anybody wants to know.
    pub(super) log: Mutex<Option<Vec<Op>>>,
    fault: Mutex<Fault>,
}

/// Something that was done.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Write(u64, Vec<u8>),
    Length(u64),
    Sync,
    /// Said by the test: all up to this revision is acknowledged.
    Acknowledged(u64),
}

/// What fails.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Fault {
    /// After so many more operations, once.
    pub(super) at: Option<(usize, io::ErrorKind)>,
    /// The file may not grow beyond.
    pub(super) room: Option<u64>,
    /// Everything that changes it, as long as this stands.
    pub(super) all: Option<io::ErrorKind>,
}

// === impl Mem ===

impl Mem {
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self {
            bytes: Mutex::new(bytes),
            ..Self::default()
        }
    }

    pub(super) fn copy(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    pub(super) fn break_with(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// Whether the one fault that was asked for has come.
    pub(super) fn has_failed(&self) -> bool {
        self.fault.lock().unwrap().at.is_none()
    }

    pub(super) fn note(&self, op: Op) {
        if let Some(log) = &mut *self.log.lock().unwrap() {
            log.push(op);
        }
    }

    fn fails(&self) -> io::Result<()> {
        let mut fault = self.fault.lock().unwrap();
        if let Some(kind) = fault.all {
            return Err(kind.into());
        }
        match &mut fault.at {
            Some((0, kind)) => {
                let kind = *kind;
                fault.at = None;
                Err(kind.into())
            }
            Some((left, _)) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl StorageBackend for Mem {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        let there = bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(there);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.fails()?;
        if self.fault.lock().unwrap().room.is_some_and(|room| length > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.note(Op::Length(length));
        self.bytes.lock().unwrap().resize(usize::try_from(length).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.fails()?;
        self.note(Op::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.fails()?;
        self.note(Op::Write(offset, data.to_vec()));
        let mut bytes = self.bytes.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        if bytes.len() < from + data.len() {
            bytes.resize(from + data.len(), 0);
        }
        bytes[from..from + data.len()].copy_from_slice(data);
        Ok(())
    }
}
