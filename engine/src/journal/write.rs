//! Writing the journal of one shard.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use carillon_core::shard::Report;

use super::name;
use super::record::{END, end_write, header, write_record};

/// The journal of one shard.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(super) segments: [Segment; 2],
    pub(super) current: usize,
    header: Vec<u8>,
    /// Records that are not written yet: those of earlier turns whose write failed, then those of this turn.
    buffer: Vec<u8>,
    buffer_seq: u64,
    /// Where the last record of this turn begins.
    last_at: Option<usize>,
    /// Of the buffer, what earlier writes failed to put down: how many bytes, up to which number.
    failed: Option<(usize, u64)>,
    /// Everything up to this number may be missing, as it was given up for what came later.
    given_up: u64,
    given_up_times: u64,
    /// Why the last write failed, until all up to this number is stored or written.
    error: Option<(String, u64)>,
    commits: u32,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: File,
    /// Up to here it holds whole records.
    len: u64,
    /// It has its header.
    begun: bool,
    /// It has its whole length on the disk.
    reserved: bool,
    seq_last: u64,
}

impl Journal {
    /// Makes the files, which nobody else may read, and takes the room for them on the disk. An error names the one that
    /// could not be made. A disk that is full already is none: then they grow as far as there is room.
    pub(crate) fn create(dir: &Path, epoch: u64, shard: u16) -> Result<Journal, (PathBuf, io::Error)> {
        let header = header(epoch, shard);
        let segment = |number: u8| {
            let path = dir.join(name(epoch, shard, number));
            let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
            let made = made.and_then(|file| {
                let len = header.len() as u64;
                let mut segment = Segment { file, len, begun: false, reserved: false, seq_last: 0 };
                segment.reserve()?;
                match segment.begin(&header) {
                    Err(error) if !no_room(&error) => Err(error),
                    _ => Ok(segment),
                }
            });
            made.map_err(|error| (path, error))
        };
        let segments = [segment(0)?, segment(1)?];
        Ok(Journal {
            segments,
            current: 0,
            header,
            buffer: Vec::new(),
            buffer_seq: 0,
            last_at: None,
            failed: None,
            given_up: 0,
            given_up_times: 0,
            error: None,
            commits: 0,
        })
    }

    /// Takes a durable report for the next [`Journal::commit`].
    pub(crate) fn add(&mut self, seq: u64, report: &Report) {
        let first = self.last_at.replace(self.buffer.len()).is_none();
        write_record(&mut self.buffer, seq, first, report);
        self.buffer_seq = seq;
    }

    /// Puts down what was added, with one write, and what earlier writes failed to. What was added is read again whole or not
    /// at all: half a turn may say that mail was dealt with, and not which notice of it was on its way. `stored`: everything up to this number is
    /// in the owner's store. After an error the segment ends where it ended before, and what was added is tried again
    /// with what is added next.
    pub(crate) fn commit(&mut self, stored: u64) -> io::Result<usize> {
        if let Some(last_at) = self.last_at.take() {
            end_write(&mut self.buffer[last_at..]);
        }
        if let Some((bytes, _)) = self.failed.take_if(|(_, seq)| *seq <= stored) {
            self.buffer.drain(..bytes);
        }
        self.error.take_if(|(_, seq)| *seq <= stored);
        let added = self.buffer.len() - self.failed.map_or(0, |(bytes, _)| bytes);
        if added == 0 {
            return Ok(0);
        }
        self.switch(stored);
        self.reserve_again();
        let bytes = self.buffer.len();
        let segment = &mut self.segments[self.current];
        let begun = segment.begin(&self.header);
        match begun.and_then(|()| segment.append(&mut self.buffer, self.buffer_seq)) {
            Ok(()) => {
                self.buffer.clear();
                (self.failed, self.error) = (None, None);
                Ok(bytes)
            }
            Err(error) => {
                self.error = Some((error.to_string(), self.buffer_seq));
                self.failed = Some((bytes, self.buffer_seq));
                if bytes > UNWRITTEN_BYTES_MAX {
                    self.buffer.clear();
                    self.failed = None;
                    self.give_up(self.buffer_seq);
                }
                Err(error)
            }
        }
    }

    /// What is wrong, for people; nothing when all that must survive is in the files or in the store.
    pub(crate) fn trouble(&self, stored: u64) -> Option<String> {
        if let Some((error, _)) = &self.error {
            return Some(error.clone());
        }
        if self.given_up > stored {
            return Some(
                "it is full, since the store took nothing for so long; its oldest part is given up".into(),
            );
        }
        let reserved = self.segments.iter().all(|segment| segment.reserved);
        (!reserved).then(|| {
            "there is no room on the disk to reserve for it; it will stop when the disk is full".into()
        })
    }

    /// How often something was given up.
    pub(crate) fn given_up_times(&self) -> u64 {
        self.given_up_times
    }

    fn give_up(&mut self, seq: u64) {
        self.given_up = self.given_up.max(seq);
        self.given_up_times += 1;
    }

    /// Goes over to the other segment when what is to be written has no room in this one. If the other one has reports that
    /// are not stored, they are given up: the last word about a user is worth more than an earlier one.
    fn switch(&mut self, stored: u64) {
        let (len, other) = (self.segments[self.current].len, 1 - self.current);
        let begun = len > self.header.len() as u64;
        if !begun || len + (self.buffer.len() + END.len()) as u64 <= SEGMENT_BYTES {
            return;
        }
        let seq_last = self.segments[other].seq_last;
        if seq_last > stored {
            self.give_up(seq_last);
        }
        self.segments[other].len = self.header.len() as u64;
        self.segments[other].seq_last = 0;
        self.current = other;
    }

    /// Now and then, for a disk that was full when the files were made.
    fn reserve_again(&mut self) {
        self.commits = self.commits.wrapping_add(1);
        if self.commits.is_multiple_of(COMMITS_PER_RESERVE) {
            // An error shows where it counts: when records are written.
            self.segments
                .iter_mut()
                .filter(|segment| !segment.reserved)
                .for_each(|segment| drop(segment.reserve()));
        }
    }
}

impl Segment {
    /// Takes the room up to [`SEGMENT_BYTES`]. Zeros are written, since not every file system keeps room for what it was only
    /// asked to reserve, and a file without holes is written to without changes to anything else.
    fn reserve(&mut self) -> io::Result<()> {
        let zeros = [0; 64 * 1024];
        let mut at = self.file.metadata()?.len().max(self.len);
        while at < SEGMENT_BYTES {
            let bytes = (SEGMENT_BYTES - at).min(zeros.len() as u64);
            match self.file.write_all_at(&zeros[..bytes as usize], at) {
                Ok(()) => at += bytes,
                Err(error) if no_room(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.reserved = true;
        Ok(())
    }

    /// Writes the header, if it is not there yet.
    fn begin(&mut self, header: &[u8]) -> io::Result<()> {
        if !self.begun {
            self.file.write_all_at(header, 0)?;
            self.begun = true;
        }
        Ok(())
    }

    /// Writes whole records behind those that are there, and the end behind them. After an error the next ones take the
    /// same place.
    fn append(&mut self, records: &mut Vec<u8>, seq_last: u64) -> io::Result<()> {
        let bytes = records.len();
        records.extend(END);
        let written = self.file.write_all_at(records, self.len);
        records.truncate(bytes);
        written?;
        self.len += bytes as u64;
        self.seq_last = seq_last;
        Ok(())
    }
}

fn no_room(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Length of a segment. A shard at full speed (10,000 pushes a second) fills one in about 4 s; the store has done its part
/// within one. While the store takes nothing, two of them hold the last 15,000 mails or so of a shard.
pub(super) const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

/// Records that wait in memory for a file that cannot be written. They are bound to be lost if the process ends; more of
/// them would cost each turn more.
pub(super) const UNWRITTEN_BYTES_MAX: usize = 256 * 1024;

/// After so many writes, room that there was not is looked for again.
const COMMITS_PER_RESERVE: u32 = 256;
