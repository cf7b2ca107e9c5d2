//! Reading a segment: what is sound, and what is wrong with the rest.

use super::Entry;
use super::record::{END, HEADER_BYTES, RECORD_BYTES_MIN, Reader, Record};

/// Bytes of a segment that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where they begin.
    pub offset: u64,
    /// How many they are.
    pub bytes: u64,
    /// Where they stand.
    pub place: Place,
}

/// Where bytes stand that are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the end, with nothing sound behind: the last write was cut off, by a kill, a loss of power or a full disk. The
    /// pushes of its turn had not left yet, if it was a kill.
    Tail,
    /// Before something sound. That comes of no kill: the disk, the file system or somebody else has damaged it.
    Middle,
}

/// Reads whatever is sound in one segment, in whole writes. Any bytes may be given to it. `named`: epoch and shard as the file's name has
/// them, for a header that is damaged.
pub fn read_segment(bytes: &[u8], named: Option<(u64, u16)>, entries: &mut Vec<Entry>) -> Vec<Fault> {
    let mut faults = Vec::new();
    if bytes.len() < HEADER_BYTES {
        // Made, and not begun.
        faults.extend(tail(bytes, 0));
        return faults;
    }
    let header = Reader::new(bytes).header();
    if bytes.iter().all(|byte| *byte == 0) {
        // Room was taken on the disk, and no more.
        return faults;
    }
    let Some((epoch, shard)) = header.or(named) else {
        faults.push(Fault { offset: 0, bytes: bytes.len() as u64, place: Place::Middle });
        return faults;
    };
    let (mut at, mut last) = (HEADER_BYTES, 0);
    // Entries of whole writes, and whether the write that is read has been whole so far.
    let (mut done, mut whole) = (entries.len(), true);
    if header.is_none() {
        faults.push(Fault { offset: 0, bytes: HEADER_BYTES as u64, place: Place::Middle });
    }
    loop {
        let rest = &bytes[at..];
        if let Some((Record { seq, continues, more, report }, len)) = sound(rest, last) {
            if !continues {
                entries.truncate(done);
                whole = true;
            }
            if whole {
                entries.push(Entry { epoch, shard, seq, report });
            }
            if !more {
                (done, whole) = (entries.len(), false);
            }
            (at, last) = (at + len, seq);
            continue;
        }
        entries.truncate(done);
        whole = false;
        let Some(skipped) = next_sound(rest, last) else {
            if !rest.starts_with(&END) {
                faults.extend(tail(rest, at));
            }
            return faults;
        };
        faults.push(Fault { offset: at as u64, bytes: skipped as u64, place: Place::Middle });
        at += skipped;
    }
}

/// A sound record at the beginning of `bytes`, with its length. Numbers only rise: one that is not above the last is of an
/// earlier use of the file.
fn sound(bytes: &[u8], last: u64) -> Option<(Record, usize)> {
    if bytes.len() < RECORD_BYTES_MIN {
        return None;
    }
    let mut reader = Reader::new(bytes);
    let record = reader.record().filter(|record| record.seq > last)?;
    Some((record, bytes.len() - reader.left()))
}

/// How far on the next sound record is. A disk that loses a block gives zeros for it, so it is looked for behind what looks like
/// the end, too.
fn next_sound(rest: &[u8], last: u64) -> Option<usize> {
    let mut at = 1;
    while at < rest.len() {
        let left = &rest[at..];
        if left.starts_with(&END) {
            // The length of a record has up to three zeros in front.
            at += left.iter().position(|byte| *byte != 0)?.saturating_sub(3).max(1);
        } else if sound(left, last).is_some() {
            return Some(at);
        } else {
            at += 1;
        }
    }
    None
}

/// Up to the last byte that is not zero: what follows was only reserved.
fn tail(rest: &[u8], at: usize) -> Option<Fault> {
    let bytes = rest.iter().rposition(|byte| *byte != 0)? + 1;
    Some(Fault { offset: at as u64, bytes: bytes as u64, place: Place::Tail })
}
