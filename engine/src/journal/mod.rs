//! Durable reports, kept from the turn that made them until the owner has stored them.
//!
//! Each shard has two segments, files in which all durable reports of a turn are put down with one write, before that
//! turn writes to any socket. A process that is killed loses none: the page cache outlives it. After a loss of power
//! the last second may be missing, as in the owner's store. When a segment is full and everything in the other one is
//! stored ([`crate::EngineHandle::stored`]), the other one takes over.
//!
//! A segment has its whole length from the start, so a disk that fills up does not stop the journal, and it never grows:
//! while the owner's store takes nothing for so long that both are full, the older one is given up for what is new (decision
//! 021). What is missing then shows as a gap in the numbers.
//!
//! At start, before [`crate::Engine::start`]: [`read`], store what is newer than the store's own mark, [`set_aside`] what is
//! damaged, [`clear`].
//!
//! A segment is a header (`CARJRNL1`, epoch, shard, CRC) and records (length, CRC, sequence number, report), all
//! little-endian; zeros instead of a length end it. Two bits of the number say whether other records of the same write come before and
//! behind it: a write of which something is missing does not count. What stands behind the end is of an earlier use of the file.

mod read;
mod record;
mod write;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use carillon_core::shard::Report;

pub use read::{Fault, Place, read_segment};
pub(crate) use record::is_durable;
pub(crate) use write::Journal;

/// One durable report, as [`read`] finds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The run that wrote it ([`crate::EngineConfig::epoch`]).
    pub epoch: u64,
    /// The shard that it comes from.
    pub shard: u16,
    /// Its number ([`crate::Numbered::seq`]): from 1, one more with each. A number that is missing is a report that is lost.
    pub seq: u64,
    /// The report.
    pub report: Report,
}

/// What [`read`] finds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// All sound reports, in order of epoch, shard and number.
    pub entries: Vec<Entry>,
    /// What is wrong with the files.
    pub faults: Vec<(PathBuf, Fault)>,
}

/// Reads the journal at `dir`. A folder that is not there holds nothing. Damage is no error: everything sound is
/// returned, also what stands behind it.
///
/// # Errors
/// The operating system's, when the folder or a file cannot be read; the text names it.
pub fn read(dir: &Path) -> io::Result<Contents> {
    let mut contents = Contents::default();
    for path in segments(dir)? {
        let bytes = fs::read(&path).map_err(|error| named(&path, error))?;
        let faults = read_segment(&bytes, from_name(&path), &mut contents.entries);
        contents.faults.extend(faults.into_iter().map(|fault| (path.clone(), fault)));
    }
    contents.entries.sort_by_key(|entry| (entry.epoch, entry.shard, entry.seq));
    Ok(contents)
}

/// Takes a damaged file out of the journal and keeps it under another name, which is returned. Of such files the newest eight
/// are kept.
///
/// # Errors
/// The operating system's.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = path.with_extension(format!("{EXTENSION}.{DAMAGED}"));
    fs::rename(path, &aside)?;
    if let Some(dir) = path.parent() {
        let kept = listed(dir, DAMAGED)?;
        kept.iter().rev().skip(DAMAGED_MAX).try_for_each(fs::remove_file)?;
    }
    Ok(aside)
}

/// Removes the journal at `dir`; what was [`set_aside`] stays. Not while an engine writes to it.
///
/// # Errors
/// The operating system's, when a file cannot be removed.
pub fn clear(dir: &Path) -> io::Result<()> {
    segments(dir)?.into_iter().try_for_each(fs::remove_file)
}

const EXTENSION: &str = "journal";

const DAMAGED: &str = "damaged";

/// Damaged files that are kept. A disk that damages one at each start must not be filled with them.
const DAMAGED_MAX: usize = 8;

fn name(epoch: u64, shard: u16, number: u8) -> String {
    format!("{epoch:020}-{shard:05}-{number}.{EXTENSION}")
}

/// Epoch and shard, for a file whose header is damaged.
fn from_name(path: &Path) -> Option<(u64, u16)> {
    let mut parts = path.file_stem()?.to_str()?.split('-');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn segments(dir: &Path) -> io::Result<Vec<PathBuf>> {
    listed(dir, EXTENSION)
}

/// Files with this extension, in order of name: of epoch, shard and number.
fn listed(dir: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let listing = match fs::read_dir(dir) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in listing {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
