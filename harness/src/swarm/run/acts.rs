//! What happens, happens here.

use carillon_core::time::{Span, UnixMillis};

use super::super::owner::OwnerAct;
use super::super::plan::{Act, NetTrouble, Place};
use super::{Life, Trouble};
use crate::exchange::{DELETED_ITEMS, FolderKey, INBOX, Importance};
use crate::world::town::Town;
use crate::world::{Clock, PeerAt};

impl Life {
    pub(super) fn act(&mut self, act: &Act) {
        if act.kills() && !matches!(act, Act::Owner(OwnerAct::Restart { .. })) {
            self.forget_drains();
        }
        let now = self.town.world.now();
        let people = self.town.people.len();
        match act {
            Act::Mail { user, mails, vip } => {
                for n in 0..*mails {
                    let mut mail = self.town.mail();
                    mail.subject = format!("mail {n} of {mails} — Grüße 🎉");
                    mail.body = "Dear all, ".repeat(1 + (n as usize % 40));
                    if *vip {
                        mail.importance = Importance::High;
                    }
                    self.town.deliver_mail(user % people, mail);
                    self.mails += 1;
                }
            }
            Act::RuledMail { user, to } => {
                let mut mail = self.town.mail();
                mail.folder = self.folder(user % people, *to);
                self.town.deliver_mail(user % people, mail);
                self.mails += 1;
            }
            Act::Move { user, mail, to } => {
                let mails = self.town.people[user % people].mails.len();
                if mails > 0 {
                    self.move_mail(user % people, mail % mails, *to);
                }
            }
            Act::MoveLast { user, to } => {
                if let Some(last) = self.town.people[user % people].mails.len().checked_sub(1) {
                    self.move_mail(user % people, last, *to);
                }
            }
            Act::Read { user, mail } => self.with_mail(*user, *mail, Town::read),
            Act::Delete { user, mail } => self.with_mail(*user, *mail, Town::delete),
            Act::UseApp { user, phone } => {
                let phones = self.town.people[user % people].phones.len();
                self.town.use_app(user % people, phone % phones);
            }
            Act::Register { user, phone } => {
                let phones = self.town.people[user % people].phones.len();
                self.town.register_again(user % people, phone % phones);
            }
            Act::Uninstall { user, phone } => {
                let phones = self.town.people[user % people].phones.len();
                self.town.uninstall(user % people, phone % phones);
            }
            Act::Stop { user } => self.town.stop(user % people),
            Act::Crash { shard } => {
                let shards = self.shards;
                self.town.world.crash(shard % shards);
            }
            Act::CutStream { .. }
            | Act::SilenceStream { .. }
            | Act::CloseStream { .. }
            | Act::RestartBackEnd { .. }
            | Act::Busy { .. }
            | Act::Nonsense { .. }
            | Act::LoseSubscription { .. }
            | Act::Deafen { .. } => {
                self.mail_fault(act);
            }
            Act::Goaway { .. } | Act::ResetLane | Act::SilenceLane | Act::PushTrouble { .. } => {
                self.push_fault(act);
            }
            Act::Distrust { user, phone, answers } => {
                let phones = &self.town.people[user % people].phones;
                let (service, device) =
                    (phones[phone % phones.len()].service, phones[phone % phones.len()].device);
                let yesterday = UnixMillis(now.unix.0 - 86_400_000);
                self.town.world.apns[service].distrust(device, yesterday, *answers);
            }
            Act::BadNetwork { resets, refused, length } => {
                self.town.world.net.resets = *resets;
                self.town.world.net.refused = *refused;
                self.until.push((now.time + *length, Trouble::Network));
            }
            Act::Network { kind, share, length } => {
                let net = &mut self.town.world.net;
                match kind {
                    NetTrouble::Stalls => net.stalls = *share,
                    NetTrouble::HalfCloses => net.half_closes = *share,
                    NetTrouble::FailedHandshakes => net.failed_handshakes = *share,
                    NetTrouble::SlowConnections => net.lag_max = Span(*share),
                    NetTrouble::Crumbs => {
                        net.fragment_bytes_max = Some(1);
                        net.piece_gap_max = Span(*share);
                    }
                }
                self.until.push((now.time + *length, Trouble::Network));
            }
            Act::Phones(act) => self.phone_act(act),
            Act::PowerFailure { tail } => {
                self.town.lose_power(*tail);
            }
            Act::ForgetSyncStates { server } => {
                let servers = self.town.world.exchanges.len();
                self.town.world.exchanges[server % servers].forget_sync_states();
            }
            Act::Owner(act) => self.owner_act(act),
            Act::Mailboxes(act) => self.mailbox_act(act),
            Act::Folders(act) => self.folder_act(act),
            Act::Odd(act) => self.odd_act(act),
            Act::Disk(act) => self.disk_act(act),
            Act::Registrations(act) => self.registration_act(act),
            Act::Strays(act) => self.stray_act(act),
            Act::MailClock { ahead_ms } => {
                let clock = Clock { ahead_ms: *ahead_ms, drift_ppm: self.drift_ppm };
                let server = ahead_ms.unsigned_abs() as usize % self.town.world.exchanges.len();
                self.town.world.set_clock(PeerAt::Exchange(server), clock);
            }
            Act::PushClock { ahead_ms } => {
                self.push_clock_behind |= *ahead_ms < 0;
                let clock = Clock { ahead_ms: *ahead_ms, drift_ppm: self.drift_ppm };
                self.town.world.set_clock(PeerAt::Apns(0), clock);
            }
        }
    }

    fn move_mail(&mut self, user: usize, mail: usize, to: Place) {
        let to = self.folder(user, to);
        self.town.move_mail(user, mail, to);
    }

    pub(in super::super) fn folder(&self, user: usize, place: Place) -> FolderKey {
        let person = &self.town.people[user];
        let exchange = &self.town.world.exchanges[person.server];
        let mut chosen = person.chosen.iter().filter(|folder| exchange.has_folder(person.mailbox, **folder));
        match place {
            Place::Inbox => INBOX,
            Place::Chosen => chosen.next().copied().unwrap_or(INBOX),
            Place::Elsewhere => DELETED_ITEMS,
        }
    }

    fn with_mail(&mut self, user: usize, mail: usize, what: fn(&mut Town, usize, usize)) {
        let user = user % self.town.people.len();
        let mails = self.town.people[user].mails.len();
        if mails > 0 {
            what(&mut self.town, user, mail % mails);
        }
    }
}
