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

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use carillon_core::names::{DeviceKey, SmtpAddress, SubscriptionId, UserKey};
use carillon_core::shard::{NoticeRecord, Report, UnsettledNotice, WatchRecord};
use carillon_core::time::UnixMillis;

use crate::crc32::crc32;

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
    let mut bytes = Reader { rest: bytes };
    let Some((epoch, shard)) = bytes.header() else { return };
    while let Some((seq, report)) = bytes.record() {
        entries.push(Entry { epoch, shard, seq, report });
    }
}

/// Whether a report must outlive the process.
pub(crate) fn is_durable(report: &Report) -> bool {
    match report {
        Report::Watched { .. }
        | Report::Noticed { .. }
        | Report::Device { .. }
        | Report::DeviceGone { .. } => true,
        Report::Live { .. }
        | Report::Unwatched { .. }
        | Report::TeamTokenStale { .. }
        | Report::MailCredentialRefused { .. }
        | Report::MailServerWell { .. }
        | Report::MailServerTrouble { .. }
        | Report::PushServiceTrouble { .. }
        | Report::PushServiceWell { .. }
        | Report::Drained => false,
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
    len: u64,
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
                Ok(Segment { file, len: header.len() as u64, seq_last: 0 })
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
        let bytes = self.buffer.len();
        let done = self.switch(stored).and_then(|()| {
            let segment = &mut self.segments[self.current];
            let done = segment.file.write_all(&self.buffer);
            match done {
                Ok(()) => {
                    segment.len += bytes as u64;
                    segment.seq_last = self.buffer_seq;
                    Ok(bytes)
                }
                Err(error) => {
                    // A full disk still lets a file be cut. Half a record must not stand before whole ones.
                    segment.file.set_len(segment.len)?;
                    Err(error)
                }
            }
        });
        self.buffer.clear();
        done
    }

    /// Goes over to the other segment when this one is long and the other one's reports are stored.
    fn switch(&mut self, stored: u64) -> io::Result<()> {
        let header_len = self.header.len() as u64;
        let other = &mut self.segments[1 - self.current];
        if other.seq_last > stored {
            return Ok(());
        }
        if self.segments[self.current].len < SEGMENT_BYTES {
            return Ok(());
        }
        let other = &mut self.segments[1 - self.current];
        other.file.set_len(header_len)?;
        other.len = header_len;
        self.current = 1 - self.current;
        Ok(())
    }
}

/// Length at which a segment is long. A shard at full speed (10,000 pushes a second) fills one in about 4 s; the store
/// has done its part within one.
const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

const MAGIC: &[u8; 8] = b"CARJRNL1";
const EXTENSION: &str = "journal";

const TAG_WATCHED: u8 = 1;
const TAG_NOTICED: u8 = 2;
const TAG_DEVICE: u8 = 3;
const TAG_DEVICE_GONE: u8 = 4;

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

fn header(epoch: u64, shard: u16) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend(epoch.to_le_bytes());
    header.extend(shard.to_le_bytes());
    let crc = crc32(&header);
    header.extend(crc.to_le_bytes());
    header
}

fn write_record(out: &mut Vec<u8>, seq: u64, report: &Report) {
    let start = out.len();
    // Length and CRC are filled in at the end.
    out.extend([0; 8]);
    out.extend(seq.to_le_bytes());
    write_report(out, report);
    let body_len = (out.len() - start - 8) as u32;
    out[start..start + 4].copy_from_slice(&body_len.to_le_bytes());
    let crc = crc32(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

fn write_report(out: &mut Vec<u8>, report: &Report) {
    match report {
        Report::Watched { user, watch: WatchRecord { subscription, anchor, cookie } } => {
            out.push(TAG_WATCHED);
            out.extend(user.0.to_le_bytes());
            write_option(out, subscription.as_ref(), |out, id| write_text(out, id.as_str()));
            write_text(out, anchor.as_str());
            write_text(out, cookie);
        }
        Report::Noticed { user, notices: NoticeRecord { sync_point, told, unread } } => {
            out.push(TAG_NOTICED);
            out.extend(user.0.to_le_bytes());
            out.extend(sync_point.0.to_le_bytes());
            out.extend((told.len() as u32).to_le_bytes());
            told.iter().for_each(|hash| out.extend(hash.to_le_bytes()));
            write_option(out, unread.as_ref(), |out, unread| out.extend(unread.to_le_bytes()));
        }
        Report::Device { user, device, badge, unsettled } => {
            out.push(TAG_DEVICE);
            out.extend(user.0.to_le_bytes());
            out.extend(device.0.to_le_bytes());
            write_option(out, badge.as_ref(), |out, badge| out.extend(badge.to_le_bytes()));
            write_option(out, unsettled.as_ref(), |out, UnsettledNotice { apns_id, mails, newest }| {
                out.extend(apns_id.to_le_bytes());
                out.extend(mails.to_le_bytes());
                out.extend(newest.to_le_bytes());
            });
        }
        Report::DeviceGone { user, device, since } => {
            out.push(TAG_DEVICE_GONE);
            out.extend(user.0.to_le_bytes());
            out.extend(device.0.to_le_bytes());
            write_option(out, since.as_ref(), |out, since| out.extend(since.0.to_le_bytes()));
        }
        Report::Live { .. }
        | Report::Unwatched { .. }
        | Report::TeamTokenStale { .. }
        | Report::MailCredentialRefused { .. }
        | Report::MailServerWell { .. }
        | Report::MailServerTrouble { .. }
        | Report::PushServiceTrouble { .. }
        | Report::PushServiceWell { .. }
        | Report::Drained => unreachable!("only durable reports are added to the journal"),
    }
}

fn write_option<T>(out: &mut Vec<u8>, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        write(out, value);
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Takes values off the front. `None`, everywhere: the bytes are not what was written.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn header(&mut self) -> Option<(u64, u16)> {
        let whole = self.rest;
        if self.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let (epoch, shard) = (self.u64()?, self.u16()?);
        let sound = crc32(&whole[..MAGIC.len() + 10]) == self.u32()?;
        sound.then_some((epoch, shard))
    }

    fn record(&mut self) -> Option<(u64, Report)> {
        let len = self.u32()? as usize;
        let crc = self.u32()?;
        let body = self.take(len)?;
        if crc32(body) != crc {
            return None;
        }
        let mut body = Reader { rest: body };
        let record = (body.u64()?, body.report()?);
        body.rest.is_empty().then_some(record)
    }

    fn report(&mut self) -> Option<Report> {
        let (tag, user) = (self.u8()?, UserKey(self.u64()?));
        match tag {
            TAG_WATCHED => {
                let subscription = self.option(|body| SubscriptionId::parse(body.text()?).ok())?;
                let anchor = SmtpAddress::parse(self.text()?).ok()?;
                let cookie = self.text()?.into();
                Some(Report::Watched { user, watch: WatchRecord { subscription, anchor, cookie } })
            }
            TAG_NOTICED => {
                let sync_point = UnixMillis(self.u64()?);
                let told_len = self.u32()? as usize;
                let told_bytes = self.take(told_len.checked_mul(8)?)?;
                let told = told_bytes.as_chunks().0.iter().map(|hash| u64::from_le_bytes(*hash)).collect();
                let unread = self.option(Reader::u32)?;
                Some(Report::Noticed { user, notices: NoticeRecord { sync_point, told, unread } })
            }
            TAG_DEVICE => {
                let device = DeviceKey(self.u64()?);
                let badge = self.option(Reader::u32)?;
                let unsettled = self.option(|body| {
                    Some(UnsettledNotice { apns_id: body.u128()?, mails: body.u16()?, newest: body.u64()? })
                })?;
                Some(Report::Device { user, device, badge, unsettled })
            }
            TAG_DEVICE_GONE => {
                let device = DeviceKey(self.u64()?);
                let since = self.option(|body| body.u64().map(UnixMillis))?;
                Some(Report::DeviceGone { user, device, since })
            }
            _ => None,
        }
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.u8()? {
            0 => Some(None),
            1 => read(self).map(Some),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = self.u32()? as usize;
        std::str::from_utf8(self.take(len)?).ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*array)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }
}
