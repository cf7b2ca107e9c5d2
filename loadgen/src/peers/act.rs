//! What people do, and what breaks.

use carillon_core::time::{Now, Span};
use carillon_harness::apns::Goaway;
use carillon_harness::audit::{PhoneIx, UserIx};
use carillon_harness::exchange::{BusyScope, BusyShape, Cut, Importance, Mail, Sender, Silence};
use carillon_harness::peer::{Close, PeerConn};

use super::history::Deed;
use super::schedule::{Act, Fault};
use super::world::{MailRow, World};
use crate::control::Note;

impl World {
    /// Does one thing. The audit hears of it before the wire does.
    pub(super) fn act(&mut self, now: Now, act: Act) {
        match act {
            Act::Mail(user) => self.mail(now, user),
            Act::Read(mail) => {
                let Some(row) = self.mails.get(mail as usize) else { return };
                let mailbox = self.mailboxes[row.user as usize];
                if self.exchange.peer.mark_read(now, mailbox, &row.item_id, true) {
                    self.audit.read(UserIx(row.user), row.hash, now.time);
                    self.latency.gone(row.user as usize, row.hash);
                    self.history.note(now.time, Some(row.user), Deed::Read(row.hash));
                    self.reads += 1;
                }
            }
            Act::Delete(mail) => {
                let Some(row) = self.mails.get(mail as usize) else { return };
                let mailbox = self.mailboxes[row.user as usize];
                if self.exchange.peer.delete(now, mailbox, &row.item_id) {
                    self.audit.deleted(UserIx(row.user), row.hash, now.time, true);
                    self.latency.gone(row.user as usize, row.hash);
                    self.history.note(now.time, Some(row.user), Deed::Delete(row.hash));
                    self.deletes += 1;
                }
            }
            Act::Fault(fault) => self.fault(now, fault),
        }
    }

    fn mail(&mut self, now: Now, user: u32) {
        let load = &self.plan.load;
        let tag = self.mails.len() as u64;
        let high = self.rng.chance(u64::from(load.high_percent), 100);
        let name = NAMES[self.rng.below(NAMES.len() as u64) as usize];
        let subject = SUBJECTS[self.rng.below(SUBJECTS.len() as u64) as usize];
        let sender = Sender {
            name: name.to_owned(),
            address: format!("{}@partner.example", name.split(' ').next().unwrap_or("mail").to_lowercase()),
            ..Sender::default()
        };
        let mail = Mail {
            tag,
            sender,
            subject: format!("{subject} #{tag}"),
            body: BODY.to_owned(),
            importance: if high { Importance::High } else { Importance::Normal },
            ..Mail::default()
        };
        // How long it lies there is known at once: the schedule does not depend on when anything is told.
        let fate = self.rng.below(100) as u32;
        let later = if fate < load.read_percent {
            Some((load.read_after_ms.draw(&mut self.rng), Act::Read(tag)))
        } else if fate < load.read_percent + load.delete_percent {
            Some((load.delete_after_ms.draw(&mut self.rng), Act::Delete(tag)))
        } else {
            None
        };
        if let Some((ms, act)) = later {
            self.schedule.add(now.time + Span::from_millis(ms.into()), act);
        }
        let item_id = self.exchange.peer.deliver(now, self.mailboxes[user as usize], mail);
        let hash = self.hash(&item_id);
        self.audit.arrived(UserIx(user), hash, now.time);
        self.history.note(now.time, Some(user), Deed::Mail(hash));
        self.latency.mail(user as usize, hash, high && self.people.persons[user as usize].vip);
        self.mails.push(MailRow { user, item_id, hash });
    }

    fn fault(&mut self, now: Now, fault: Fault) {
        let faults = &self.plan.faults;
        let done = match fault {
            Fault::StreamReset => self.any_stream().is_some_and(|stream| {
                self.note_stream(now, stream, fault);
                self.exchange.peer.cut_stream(stream, Cut { after_bytes: 0, how: Close::Reset });
                true
            }),
            Fault::StreamCut => self.any_stream().is_some_and(|stream| {
                self.note_stream(now, stream, fault);
                let after_bytes = self.rng.below(1_500);
                self.exchange.peer.cut_stream(stream, Cut { after_bytes, how: Close::Orderly });
                true
            }),
            Fault::ServerBusy => {
                let length = Span::from_millis(faults.server_busy_ms.draw(&mut self.rng).into());
                self.exchange.peer.set_busy(now, BusyScope::All, length, BusyShape::Rotate, false);
                true
            }
            Fault::SilentStream => self.any_stream().is_some_and(|stream| {
                self.note_stream(now, stream, fault);
                let how = if self.rng.chance(1, 2) { Silence::Blackhole } else { Silence::Stall };
                self.exchange.peer.go_silent(stream, how);
                self.silent.push(stream);
                true
            }),
            Fault::BackEndRestart => {
                let back_end = self.rng.below(u64::from(self.plan.exchange.back_ends)) as usize;
                self.exchange.peer.restart_back_end(now, back_end);
                true
            }
            Fault::Goaway => self.any_lane().is_some_and(|lane| {
                let unprocessed = self.rng.below(5) as u32;
                self.apns.peer.goaway(now, lane, Goaway { unprocessed, ..Goaway::default() });
                true
            }),
            Fault::LaneReset => self.any_lane().is_some_and(|lane| {
                self.apns.peer.reset_connection(lane);
                true
            }),
            Fault::StreamAbort => self.any_lane().is_some_and(|lane| {
                self.apns.peer.reset_streams(lane, INTERNAL_ERROR);
                true
            }),
            Fault::Unavailable => {
                let length = Span::from_millis(faults.unavailable_ms.draw(&mut self.rng).into());
                self.apns.peer.fail_for(now, length);
                true
            }
            Fault::ThrottledDevice => {
                let length = Span::from_millis(faults.throttled_ms.draw(&mut self.rng).into());
                let device = self.rng.below(self.devices.len() as u64) as usize;
                self.apns.peer.throttle(self.devices[device], now.time + length);
                let person = self.people.phones[device].person;
                self.history.note(now.time, Some(person), Deed::Throttled(device as u32));
                true
            }
            Fault::GoneDevice => {
                let phone = self.rng.below(self.devices.len() as u64) as usize;
                let device = self.devices[phone];
                let fresh = !self.apns.peer.row(device).is_gone();
                if fresh {
                    self.audit.phone_gone(PhoneIx(phone as u32), now.time);
                    self.latency.phone_gone(phone);
                    let person = self.people.phones[phone].person;
                    self.phones_left[person as usize] -= 1;
                    self.phoneless += u64::from(self.phones_left[person as usize] == 0);
                    self.history.note(now.time, Some(person), Deed::Gone(phone as u32));
                    self.apns.peer.set_gone(device, now.unix);
                }
                fresh
            }
            Fault::KillService => {
                self.notes.push(Note::KillService);
                true
            }
        };
        match fault {
            // Noted with those whom they concern.
            Fault::StreamReset
            | Fault::StreamCut
            | Fault::SilentStream
            | Fault::ThrottledDevice
            | Fault::GoneDevice => {}
            Fault::ServerBusy
            | Fault::BackEndRestart
            | Fault::Goaway
            | Fault::LaneReset
            | Fault::StreamAbort
            | Fault::Unavailable
            | Fault::KillService => self.history.note(now.time, None, Deed::Fault(fault)),
        }
        if done {
            *self.faults.entry(fault.name().to_owned()).or_default() += 1;
        }
    }

    fn note_stream(&mut self, now: Now, stream: u64, fault: Fault) {
        let streams = self.exchange.peer.streams();
        let found = streams.iter().find(|view| view.key == stream);
        // Mailboxes are numbered as the users are.
        let users: Vec<u32> =
            found.map_or_else(Vec::new, |view| view.mailboxes.iter().map(|key| key.0).collect());
        self.history.note_stream(now.time, &users, fault);
    }

    fn any_stream(&mut self) -> Option<u64> {
        let mut streams = self.exchange.peer.stream_keys();
        streams.retain(|stream| !self.silent.contains(stream));
        (!streams.is_empty()).then(|| streams[self.rng.below(streams.len() as u64) as usize])
    }

    fn any_lane(&mut self) -> Option<PeerConn> {
        let lanes = self.apns.peer.connections();
        (!lanes.is_empty()).then(|| lanes[self.rng.below(lanes.len() as u64) as usize])
    }
}

/// `INTERNAL_ERROR` (RFC 9113 §7): says nothing about whether the request was processed.
const INTERNAL_ERROR: u32 = 2;

const NAMES: [&str; 8] = [
    "Amélie Durand",
    "Björn Åkesson",
    "Chen Wei 陈伟",
    "Dana O'Neill",
    "Ewa Żółkiewska",
    "Farid Haddad",
    "Giulia <b>Rossi</b>",
    "Hana Nováková",
];

const SUBJECTS: [&str; 8] = [
    "Minutes of Tuesday's meeting",
    "Re: Offer for the new pumps",
    "Lunch? 🍜",
    "\"Quoted\" & <tagged> \\ slashed",
    "Ihre Rechnung Nr. 4711 für Oktober",
    "予算案のご確認をお願いします",
    "Fwd: Fwd: Re: A subject that goes on and on, as they do when nobody ever takes the time to shorten what others have written before them",
    "OK",
];

const BODY: &str = "Hello,\r\n\r\nplease find below what we agreed on. The figures are those of last week; I will send the \
    rest as soon as I have it. Let me know what you think, and whether Thursday suits you.\r\n\r\nKind regards";
