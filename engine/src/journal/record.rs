//! The bytes of a segment.

use carillon_core::names::{DeviceKey, FolderId, SmtpAddress, SubscriptionId, UserKey};
use carillon_core::shard::{FolderSync, NoticeRecord, Report, ToldMail, UnsettledNotice, WatchRecord};
use carillon_core::time::UnixMillis;

use crate::crc32::crc32;

/// Whether a report must outlive the process.
pub(crate) fn is_durable(report: &Report) -> bool {
    match report {
        Report::Watched { .. }
        | Report::Noticed { .. }
        | Report::Synced { .. }
        | Report::Device { .. }
        | Report::DeviceGone { .. } => true,
        Report::Live { .. }
        | Report::Polled { .. }
        | Report::Unwatched { .. }
        | Report::Misplaced { .. }
        | Report::Unreadable { .. }
        | Report::Taken { .. }
        | Report::GivenUp { .. }
        | Report::TeamTokenStale { .. }
        | Report::MailCredentialRefused { .. }
        | Report::MailTokenStale { .. }
        | Report::MailServerWell { .. }
        | Report::MailServerNoted { .. }
        | Report::FoldersDropped { .. }
        | Report::MailServerTrouble { .. }
        | Report::PushServiceTrouble { .. }
        | Report::PushServiceWell { .. }
        | Report::Drained => false,
    }
}

pub(super) fn header(epoch: u64, shard: u16) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend(epoch.to_le_bytes());
    header.extend(shard.to_le_bytes());
    let crc = crc32(&header);
    header.extend(crc.to_le_bytes());
    header
}

/// `first`: it is the first of its write. It is not the last, unless [`end_write`] says so.
pub(super) fn write_record(out: &mut Vec<u8>, seq: u64, first: bool, report: &Report) {
    let seq = seq | MORE | if first { 0 } else { CONTINUES };
    let start = out.len();
    // Length and CRC are filled in at the end.
    out.extend([0; 8]);
    out.extend(seq.to_le_bytes());
    write_report(out, report);
    let body_len = (out.len() - start - 8) as u32;
    out[start..start + 4].copy_from_slice(&body_len.to_le_bytes());
    seal(&mut out[start..]);
}

/// This record is the last of its write.
pub(super) fn end_write(record: &mut [u8]) {
    record[SEQ_END - 1] &= 0x7f;
    seal(record);
}

fn seal(record: &mut [u8]) {
    let crc = crc32(&record[8..]);
    record[4..8].copy_from_slice(&crc.to_le_bytes());
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
        Report::Noticed { user, notices: NoticeRecord { sync_point, began, told, unread } } => {
            out.push(if began.is_some() { TAG_NOTICED_NEWCOMER } else { TAG_NOTICED });
            out.extend(user.0.to_le_bytes());
            out.extend(sync_point.0.to_le_bytes());
            out.extend(began.iter().flat_map(|began| began.0.to_le_bytes()));
            out.extend((told.len() as u32).to_le_bytes());
            told.iter().for_each(|mail| out.extend(mail.to_bytes()));
            write_option(out, unread.as_ref(), |out, unread| out.extend(unread.to_le_bytes()));
        }
        Report::Synced { user, folders } => {
            out.push(TAG_SYNCED);
            out.extend(user.0.to_le_bytes());
            out.extend((folders.len() as u32).to_le_bytes());
            for FolderSync { folder, state } in folders {
                write_option(out, folder.as_ref(), |out, id| write_text(out, id.as_str()));
                write_text(out, state);
            }
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
        | Report::Polled { .. }
        | Report::Unwatched { .. }
        | Report::Misplaced { .. }
        | Report::Unreadable { .. }
        | Report::Taken { .. }
        | Report::GivenUp { .. }
        | Report::TeamTokenStale { .. }
        | Report::MailCredentialRefused { .. }
        | Report::MailTokenStale { .. }
        | Report::MailServerWell { .. }
        | Report::MailServerNoted { .. }
        | Report::FoldersDropped { .. }
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

/// A record as it is read.
pub(super) struct Record {
    pub(super) seq: u64,
    /// Another one of the same write stands before it.
    pub(super) continues: bool,
    /// Another one of the same write stands behind it.
    pub(super) more: bool,
    pub(super) report: Report,
}

/// Takes values off the front. `None`, everywhere: the bytes are not what was written.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn header(&mut self) -> Option<(u64, u16)> {
        let whole = self.rest;
        if self.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let (epoch, shard) = (self.u64()?, self.u16()?);
        let sound = crc32(&whole[..MAGIC.len() + 10]) == self.u32()?;
        sound.then_some((epoch, shard))
    }

    pub(super) fn record(&mut self) -> Option<Record> {
        let len = self.u32()? as usize;
        let crc = self.u32()?;
        let sealed = self.take(len)?;
        // What cannot be one is left before its sum is made: behind damage, and behind the end in a file that was used
        // before, this is asked at each byte, and what looks like a length there may be megabytes.
        let tag = sealed.get(TAG_AT)?;
        if !(TAG_WATCHED..=TAG_NOTICED_NEWCOMER).contains(tag) {
            return None;
        }
        let mut body = Reader { rest: sealed };
        let (seq, report) = (body.u64()?, body.report()?);
        if !body.rest.is_empty() || crc32(sealed) != crc {
            return None;
        }
        let (continues, more) = (seq & CONTINUES != 0, seq & MORE != 0);
        Some(Record { seq: seq & !(CONTINUES | MORE), continues, more, report })
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
            TAG_NOTICED | TAG_NOTICED_NEWCOMER => {
                let sync_point = UnixMillis(self.u64()?);
                let began = match tag {
                    TAG_NOTICED_NEWCOMER => Some(UnixMillis(self.u64()?)),
                    _ => None,
                };
                let told_len = self.u32()? as usize;
                let told_bytes = self.take(told_len.checked_mul(16)?)?;
                let told = told_bytes.as_chunks().0.iter().map(|mail| ToldMail::from_bytes(*mail)).collect();
                let unread = self.option(Reader::u32)?;
                let notices = NoticeRecord { sync_point, began, told, unread };
                Some(Report::Noticed { user, notices })
            }
            TAG_SYNCED => {
                let mut folders = Vec::new();
                for _ in 0..self.u32()? {
                    let folder = self.option(|body| FolderId::parse(body.text()?).ok())?;
                    folders.push(FolderSync { folder, state: self.text()?.into() });
                }
                Some(Report::Synced { user, folders })
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

const MAGIC: &[u8; 8] = b"CARJRNL1";

/// Magic, epoch, shard, CRC.
pub(super) const HEADER_BYTES: usize = 8 + 8 + 2 + 4;

/// Length, CRC, number, tag, user.
pub(super) const RECORD_BYTES_MIN: usize = 4 + 4 + 8 + 1 + 8;

/// Stands behind the last record: a record of no length.
pub(super) const END: [u8; 8] = [0; 8];

/// In the number of a record: [`Record::more`], [`Record::continues`]. No shard reports as often.
const MORE: u64 = 1 << 63;
const CONTINUES: u64 = 1 << 62;

/// Where the number ends, with [`MORE`] in its last byte.
const SEQ_END: usize = 16;

/// Where the tag stands behind length and CRC.
const TAG_AT: usize = 8;

const TAG_WATCHED: u8 = 1;
const TAG_NOTICED: u8 = 2;
const TAG_DEVICE: u8 = 3;
const TAG_DEVICE_GONE: u8 = 4;
const TAG_SYNCED: u8 = 5;
const TAG_NOTICED_NEWCOMER: u8 = 6;
