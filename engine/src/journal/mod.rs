//! Durable reports, kept from the turn that made them until the owner has stored them.
//!
//! Each shard has two segments, files to which it appends all durable reports of a turn with one write, before that
//! turn writes to any socket. A process that is killed loses none: the page cache outlives it. After a loss of power
//! the last second may be missing, as in the owner's store. When a segment is long and everything in the other one is
//! stored ([`crate::EngineHandle::stored`]), the other one is emptied and takes over.
//!
//! At start, before [`crate::Engine::start`]: [`read`], store what is newer than the store's own mark, [`clear`].
//!
//! A segment is a header (`CARJRNL1`, epoch, shard, CRC) and records (length, CRC, sequence number, report), all
//! little-endian. A record that was cut off or damaged ends the segment: nothing behind it can be trusted.

mod record;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use carillon_core::shard::Report;

pub(crate) use record::is_durable;
use record::{Reader, header, write_record};

/// One durable report, as [`read`] finds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The run that wrote it ([`crate::EngineConfig::epoch`]).
    pub epoch: u64,
    /// The shard that it comes from.
    pub shard: u16,
    /// Its number ([`crate::Numbered::seq`]).
    pub seq: u64,
    /// The report.
    pub report: Report,
}

/// All reports in the journal at `dir`, in order of epoch, shard and number. A folder that is not there holds none.
/// Damage is no error: what stands before it is returned.
///
/// # Errors
/// The operating system's, when the folder or a file cannot be read.
pub fn read(dir: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for path in segments(dir)? {
        read_segment(&fs::read(path)?, &mut entries);
    }
    entries.sort_by_key(|entry| (entry.epoch, entry.shard, entry.seq));
    Ok(entries)
}

/// Removes the journal at `dir`. Not while an engine writes to it.
///
/// # Errors
/// The operating system's, when a file cannot be removed.
pub fn clear(dir: &Path) -> io::Result<()> {
    segments(dir)?.into_iter().try_for_each(fs::remove_file)
}

/// Reads one segment as far as it is sound. Any bytes may be given to it.
pub fn read_segment(bytes: &[u8], entries: &mut Vec<Entry>) {
    let mut bytes = Reader::new(bytes);
    let Some((epoch, shard)) = bytes.header() else { return };
    while let Some((seq, report)) = bytes.record() {
        entries.push(Entry { epoch, shard, seq, report });
    }
}

/// The journal of one shard.
#[derive(Debug)]
pub(crate) struct Journal {
    segments: [Segment; 2],
    current: usize,
    header: Vec<u8>,
    /// Records of this turn.
    buffer: Vec<u8>,
    buffer_seq: u64,
}

#[derive(Debug)]
struct Segment {
    file: File,
    /// Up to here it holds whole records.
    len: u64,
    /// A write failed, and what it left could not be cut off yet.
    torn: bool,
    seq_last: u64,
}

impl Journal {
    /// Makes the files. An error names the one that could not be made.
    pub(crate) fn create(dir: &Path, epoch: u64, shard: u16) -> Result<Journal, (PathBuf, io::Error)> {
        let header = header(epoch, shard);
        let segment = |number: u8| {
            let path = dir.join(format!("{epoch:020}-{shard:05}-{number}.{EXTENSION}"));
            let made = OpenOptions::new().append(true).create_new(true).open(&path).and_then(|mut file| {
                file.write_all(&header)?;
                Ok(Segment { file, len: header.len() as u64, torn: false, seq_last: 0 })
            });
            made.map_err(|error| (path, error))
        };
        let segments = [segment(0)?, segment(1)?];
        Ok(Journal { segments, current: 0, header, buffer: Vec::new(), buffer_seq: 0 })
    }

    /// Takes a durable report for the next [`Journal::commit`].
    pub(crate) fn add(&mut self, seq: u64, report: &Report) {
        write_record(&mut self.buffer, seq, report);
        self.buffer_seq = seq;
    }

    /// Appends what was added, with one write. `stored`: everything up to this number is in the owner's store.
    /// After an error the segment ends where it ended before, and what was added is given up.
    pub(crate) fn commit(&mut self, stored: u64) -> io::Result<usize> {
        if self.buffer.is_empty() {
            return Ok(0);
        }
        let done = self.switch(stored).and_then(|()| self.segments[self.current].append(&self.buffer));
        if done.is_ok() {
            self.segments[self.current].seq_last = self.buffer_seq;
        }
        self.buffer.clear();
        done
    }

    /// Goes over to the other segment when this one is long and the other one's reports are stored.
    fn switch(&mut self, stored: u64) -> io::Result<()> {
        if self.segments[1 - self.current].seq_last <= stored
            && self.segments[self.current].len >= SEGMENT_BYTES
        {
            let other = &mut self.segments[1 - self.current];
            other.len = self.header.len() as u64;
            other.cut()?;
            self.current = 1 - self.current;
        }
        Ok(())
    }
}

impl Segment {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.torn {
            self.cut()?;
        }
        if let Err(error) = self.file.write_all(bytes) {
            // Half a record must not stand before whole ones. A full disk lets a file be cut all the same.
            self.torn = true;
            self.cut()?;
            return Err(error);
        }
        self.len += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.len)?;
        self.torn = false;
        Ok(())
    }
}

/// Length at which a segment is long. A shard at full speed (10,000 pushes a second) fills one in about 4 s; the store
/// has done its part within one.
const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

const EXTENSION: &str = "journal";

fn segments(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let listing = match fs::read_dir(dir) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in listing {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests;
