//! Frames: what stands in one row of the embedded store's file, so that each row can be checked by itself.
//!
//! A frame carries the hash of everything that it says and of the key under which it stands: bytes that were changed, a row under another
//! key, a row of another table, none of them passes. What is lost, doubled or old shows in the sum over all objects ([`Mark`]), which is
//! changed in the transaction that changes them: a hash of the set that is kept up to date by one addition and one subtraction.
//!
//! All numbers are little-endian. A frame begins with the number of its format; a reader refuses one that it does not know.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{ObjectKey, Stored};

/// The format that is written, of all kinds of frames and of the file.
pub const FORMAT: u32 = 1;

/// Says what a frame's hash is over, so that no kind of row passes for another.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Kind {
    Object = 1,
    Past = 2,
    Mark = 3,
    Acknowledged = 4,
}

/// One remembered change: what was there before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// Its revision, under which it stands.
    pub revision: u64,
    /// When it was made, in milliseconds since 1970.
    pub at: u64,
    /// Whose.
    pub key: ObjectKey,
    /// The value before it; none if it was new.
    pub before: Option<Stored>,
}

/// What a file says of itself as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its revision.
    pub revision: u64,
    /// The past is forgotten up to and including this one.
    pub oldest: u64,
    /// How many objects there are.
    pub objects: u64,
    /// The sum of their hashes.
    pub sum: u128,
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It ends too early or has something behind its end.
    #[error("a row is cut or has too many bytes")]
    Length,
    /// It is of a format that is not known.
    #[error("a row is of the unknown format {0}")]
    Format(u8),
    /// Its hash is not that of its content.
    #[error("a row has other bytes than were written")]
    Hash,
    /// It says what no frame says.
    #[error("a row says what no row can say")]
    Content,
}

/// The bytes of a hash in a frame.
const HASH: usize = 16;

/// The frame of an object, and its hash for the sum.
#[must_use]
pub fn object(stored: &Stored) -> (Vec<u8>, u128) {
    let revision = stored.revision.to_le_bytes();
    let hash = hash(Kind::Object, &[stored.key.as_str().as_bytes(), &revision, &stored.value]);
    let mut frame = Vec::with_capacity(1 + 8 + HASH + stored.value.len());
    frame.push(FORMAT as u8);
    frame.extend(revision);
    frame.extend(hash.to_le_bytes());
    frame.extend_from_slice(&stored.value);
    (frame, hash)
}

/// The hash of an object's frame.
#[must_use]
pub fn object_hash(stored: &Stored) -> u128 {
    let revision = stored.revision.to_le_bytes();
    hash(Kind::Object, &[stored.key.as_str().as_bytes(), &revision, &stored.value])
}

/// Reads an object's frame, and its hash.
///
/// # Errors
/// It is none, or not of this key.
pub fn read_object(key: &str, frame: &[u8]) -> Result<(Stored, u128), FrameError> {
    let mut rest = Reader::new(frame)?;
    let revision = rest.u64()?;
    let said = rest.u128()?;
    let stored = Stored {
        key: ObjectKey::parse(key).ok_or(FrameError::Content)?,
        value: Bytes::copy_from_slice(rest.0),
        revision,
    };
    (object_hash(&stored) == said)
        .then_some((stored, said))
        .ok_or(FrameError::Hash)
}

/// The frame of a remembered change.
#[must_use]
pub fn past(past: &Past) -> Vec<u8> {
    let before = past.before.as_ref();
    let value = before.map_or(&[][..], |before| &before.value);
    let key = past.key.as_str().as_bytes();
    let mut frame = Vec::with_capacity(1 + 1 + 8 + 8 + 4 + HASH + key.len() + value.len());
    frame.push(FORMAT as u8);
    frame.push(u8::from(before.is_some()));
    frame.extend(past.at.to_le_bytes());
    frame.extend(before.map_or(0, |before| before.revision).to_le_bytes());
    frame.extend(u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes());
    let hash = hash(Kind::Past, &[&past.revision.to_le_bytes(), &frame, key, value]);
    frame.extend(hash.to_le_bytes());
    frame.extend_from_slice(key);
    frame.extend_from_slice(value);
    frame
}

/// Reads the frame of the change of a revision.
///
/// # Errors
/// It is none, or not of this revision.
pub fn read_past(revision: u64, frame: &[u8]) -> Result<Past, FrameError> {
    let mut rest = Reader::new(frame)?;
    let has_before = rest.u8()?;
    let at = rest.u64()?;
    let before = rest.u64()?;
    let key_len = rest.u32()? as usize;
    let head = frame.get(..frame.len() - rest.0.len()).ok_or(FrameError::Length)?;
    let said = rest.u128()?;
    let (key, value) = rest.0.split_at_checked(key_len).ok_or(FrameError::Length)?;
    if hash(Kind::Past, &[&revision.to_le_bytes(), head, key, value]) != said {
        return Err(FrameError::Hash);
    }
    let key = std::str::from_utf8(key)
        .ok()
        .and_then(ObjectKey::parse)
        .ok_or(FrameError::Content)?;
    let before = match (has_before, before, value) {
        (1, revision, value) => Some(Stored {
            key: key.clone(),
            value: Bytes::copy_from_slice(value),
            revision,
        }),
        (0, 0, []) => None,
        _ => return Err(FrameError::Content),
    };
    Ok(Past {
        revision,
        at,
        key,
        before,
    })
}

/// The frame of what a file says of itself.
#[must_use]
pub fn mark(mark: &Mark) -> Vec<u8> {
    let mut frame = vec![FORMAT as u8];
    for number in [mark.revision, mark.oldest, mark.objects] {
        frame.extend(number.to_le_bytes());
    }
    frame.extend(mark.sum.to_le_bytes());
    let hash = hash(Kind::Mark, &[&frame]);
    frame.extend(hash.to_le_bytes());
    frame
}

/// Reads what a file says of itself.
///
/// # Errors
/// It is no such frame.
pub fn read_mark(frame: &[u8]) -> Result<Mark, FrameError> {
    let mut rest = Reader::new(frame)?;
    let mark = Mark {
        revision: rest.u64()?,
        oldest: rest.u64()?,
        objects: rest.u64()?,
        sum: rest.u128()?,
    };
    let head = frame.get(..frame.len() - rest.0.len()).ok_or(FrameError::Length)?;
    let said = rest.u128()?;
    if !rest.0.is_empty() {
        return Err(FrameError::Length);
    }
    if hash(Kind::Mark, &[head]) != said {
        return Err(FrameError::Hash);
    }
    Ok(mark)
}

/// The bytes of [`acknowledged`].
pub const ACKNOWLEDGED: usize = 1 + 8 + HASH;

/// The frame of a revision that was acknowledged.
#[must_use]
pub fn acknowledged(revision: u64) -> Vec<u8> {
    let mut frame = vec![FORMAT as u8];
    frame.extend(revision.to_le_bytes());
    let hash = hash(Kind::Acknowledged, &[&frame]);
    frame.extend(hash.to_le_bytes());
    frame
}

/// Reads a revision that was acknowledged.
///
/// # Errors
/// It is no such frame.
pub fn read_acknowledged(frame: &[u8]) -> Result<u64, FrameError> {
    let revision = Reader::new(frame)?.u64()?;
    if frame.len() != ACKNOWLEDGED {
        return Err(FrameError::Length);
    }
    (acknowledged(revision) == frame).then_some(revision).ok_or(FrameError::Hash)
}

/// The first half of SHA-256 over the parts, each with its length.
fn hash(kind: Kind, parts: &[&[u8]]) -> u128 {
    let mut hash = Sha256::new();
    hash.update([kind as u8]);
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let all: [u8; 32] = hash.finalize().into();
    all.first_chunk().map_or(0, |half| u128::from_le_bytes(*half))
}

/// Takes a frame apart.
struct Reader<'a>(&'a [u8]);

// === impl Reader ===

impl<'a> Reader<'a> {
    fn new(frame: &'a [u8]) -> Result<Self, FrameError> {
        match frame.split_first() {
            Some((&format, rest)) if u32::from(format) == FORMAT => Ok(Self(rest)),
            Some((&format, _)) => Err(FrameError::Format(format)),
            None => Err(FrameError::Length),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(FrameError::Length)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, FrameError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, FrameError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, FrameError> {
        self.take().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Result<u128, FrameError> {
        self.take().map(u128::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(key: &str, value: &str, revision: u64) -> Stored {
        Stored {
            key: ObjectKey::parse(key).unwrap(),
            value: Bytes::copy_from_slice(value.as_bytes()),
            revision,
        }
    }

    /// Each byte of each frame counts, and so does the key under which it stands.
    #[test]
    fn frames_hold_nothing_but_what_was_written() {
        let a = stored("g/ships/n/a", "{\"a\":1}", 7);
        let (object_frame, hash) = object(&a);
        assert_eq!(read_object("g/ships/n/a", &object_frame), Ok((a.clone(), hash)));
        assert_eq!(read_object("g/ships/n/b", &object_frame), Err(FrameError::Hash));
        let changes = [
            Past {
                revision: 8,
                at: 5,
                key: a.key.clone(),
                before: Some(a.clone()),
            },
            Past {
                revision: 8,
                at: 5,
                key: a.key.clone(),
                before: None,
            },
        ];
        for change in &changes {
            assert_eq!(read_past(8, &past(change)).as_ref(), Ok(change));
            assert_eq!(read_past(9, &past(change)), Err(FrameError::Hash));
        }
        let all = Mark {
            revision: 9,
            oldest: 3,
            objects: 2,
            sum: u128::MAX,
        };
        assert_eq!(read_mark(&mark(&all)), Ok(all));
        assert_eq!(read_acknowledged(&acknowledged(77)), Ok(77));
        for frame in [
            object_frame,
            past(&changes[0]),
            past(&changes[1]),
            mark(&all),
            acknowledged(77),
        ] {
            for at in 0..frame.len() {
                for cut in [&frame[..at], &[&frame[..at], &frame[at + 1..]].concat()] {
                    refused(cut);
                }
                for bit in 0..8 {
                    let mut frame = frame.clone();
                    frame[at] ^= 1 << bit;
                    refused(&frame);
                }
            }
            refused(&[&frame[..], b"x"].concat());
        }
    }

    fn refused(frame: &[u8]) {
        assert!(read_object("g/ships/n/a", frame).is_err());
        assert!(read_past(8, frame).is_err());
        assert!(read_mark(frame).is_err());
        assert!(read_acknowledged(frame).is_err());
    }
}
