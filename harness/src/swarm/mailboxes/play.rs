//! What happens, happens here.

use carillon_core::time::Now;

use super::super::run::{Life, Trouble};
use super::{Ending, Garbage, MailboxAct, Manner};
use crate::exchange::{BadIdMix, BusyScope, Code, Exchange, Faults};
use crate::world::PeerAt;

/// Beyond the largest envelope that the engine takes.
const OVERSIZED_BYTES: usize = 3 << 20;

impl Life {
    pub(in super::super) fn mailbox_act(&mut self, act: &MailboxAct) {
        let people = self.town.people.len();
        let servers = self.town.world.exchanges.len();
        let now = self.town.world.now().time;
        match act {
            MailboxAct::MoveBackEnd { user, back_end } => {
                let back_end = back_end % self.back_ends;
                self.at_home(*user, |exchange, now, mailbox| exchange.move_mailbox(now, mailbox, back_end));
            }
            MailboxAct::MoveServer { user, server, length, code } => {
                let (user, server) = (user % people, server % servers);
                self.at_home(user, |exchange, now, mailbox| {
                    exchange.take_offline(now, mailbox, Code::ErrorMailboxMoveInProgress);
                });
                let arrival = Ending::Arrival { user, server, code: *code };
                self.until.push((now + *length, Trouble::Mailbox(arrival)));
            }
            MailboxAct::Offline { user, code, length } => {
                let user = user % people;
                self.at_home(user, |exchange, now, mailbox| exchange.take_offline(now, mailbox, *code));
                self.until.push((now + *length, Trouble::Mailbox(Ending::Online { user })));
            }
            MailboxAct::Disconnect { user, length } => {
                let user = user % people;
                self.at_home(user, |exchange, now, mailbox| exchange.disconnect_mailbox(now, mailbox));
                self.until.push((now + *length, Trouble::Mailbox(Ending::Reconnected { user })));
            }
            MailboxAct::Rename { user, number, told_after } => {
                let user = user % people;
                let address = format!("name{number}-{user}@example.com");
                self.at_home(user, |exchange, _, mailbox| exchange.rename_mailbox(mailbox, &address));
                self.until.push((now + *told_after, Trouble::Mailbox(Ending::Heard { user })));
            }
            MailboxAct::Busy { user, length, shape, mute } => {
                self.at_home(*user, |exchange, now, mailbox| {
                    exchange.set_busy(now, BusyScope::Mailbox(mailbox), *length, *shape, *mute);
                });
            }
            MailboxAct::MissEvents { user } => {
                self.at_home(*user, |exchange, _, mailbox| exchange.miss_events(mailbox));
            }
            MailboxAct::FailSubscription { user, code } => {
                self.at_home(*user, |exchange, now, mailbox| {
                    exchange.fail_subscriptions(now, &[mailbox], *code, None);
                });
            }
            MailboxAct::Refuse { user, operation, times, code, fault } => {
                self.at_home(*user, |exchange, _, mailbox| {
                    exchange.refuse(mailbox, *operation, *times, *code, *fault);
                });
            }
            MailboxAct::FailStream { stream, code } => {
                self.at_stream(*stream, |exchange, now, stream| exchange.fail_stream(now, stream, *code));
            }
            MailboxAct::StopHeartbeats { stream } => {
                self.at_stream(*stream, |exchange, _, stream| exchange.stop_heartbeats(stream));
            }
            MailboxAct::TakeOver { stream } => {
                self.at_stream(*stream, |exchange, now, stream| exchange.take_stream_over(now, stream));
            }
            MailboxAct::Garbage { stream, kind } => {
                self.at_stream(*stream, |exchange, _, stream| match kind {
                    Garbage::NotXml => exchange.inject(stream, b"\xff\xfe<<< no XML".to_vec()),
                    Garbage::NotSoap => exchange.inject(stream, b"<html><body>Sorry.</body></html>".to_vec()),
                    Garbage::UnknownSubscription => exchange.inject(stream, UNKNOWN.as_bytes().to_vec()),
                    Garbage::Oversized => exchange.inject_oversized(stream, OVERSIZED_BYTES),
                });
            }
            MailboxAct::FrontEnd { server, requests, only, answer } => {
                self.town.world.exchanges[server % servers].answer_next(*requests, *only, answer.clone());
            }
            MailboxAct::Speak { server, manner, length } => {
                let server = server % servers;
                manner.turn(&mut self.town.world.exchanges[server].faults, true);
                let ending = Ending::Manner { server, manner: *manner };
                self.until.push((now + *length, Trouble::Mailbox(ending)));
            }
            MailboxAct::CorruptMail { user } => {
                let Some(user) = self.somebody(user % people) else { return };
                let mail = self.town.mail();
                self.town.deliver_mail(user, mail);
                self.mails += 1;
                let id = self.town.people[user].mails.last().cloned().unwrap_or_default();
                self.at_home(user, |exchange, _, mailbox| exchange.corrupt_item(mailbox, &id));
            }
            MailboxAct::UnreadAgain { user, mail } => {
                let mails = self.town.people[user % people].mails.len();
                if mails > 0 {
                    self.town.unread_again(user % people, mail % mails);
                }
            }
            MailboxAct::Copy { user, mail, to } => {
                let mails = self.town.people[user % people].mails.len();
                if mails > 0 {
                    let to = self.folder(user % people, *to);
                    self.town.copy_mail(user % people, mail % mails, to);
                }
            }
            MailboxAct::Hang { user, answer_after, length } => {
                let user = user % people;
                self.at_home(user, |exchange, _, mailbox| exchange.slow_down(mailbox, *answer_after));
                self.until.push((now + *length, Trouble::Mailbox(Ending::Prompt { user })));
            }
            MailboxAct::Obstruct { server, proxy, length } => {
                let server = server % servers;
                self.town.world.exchanges[server].faults.proxy = Some(*proxy);
                self.until.push((now + *length, Trouble::Mailbox(Ending::Free { server })));
            }
            MailboxAct::Age { server, version } => {
                self.town.world.exchanges[server % servers].set_version(*version);
            }
        }
        self.town.world.collect();
    }

    pub(in super::super) fn mailbox_ending(&mut self, ending: Ending) {
        match ending {
            Ending::Online { user } => {
                self.at_home(user, |exchange, _, mailbox| exchange.bring_online(mailbox));
            }
            Ending::Arrival { user, server, code } => {
                self.at_home(user, |exchange, _, mailbox| exchange.bring_online(mailbox));
                self.town.move_mailbox(user, server, code);
            }
            Ending::Reconnected { user } => {
                self.at_home(user, |exchange, _, mailbox| exchange.reconnect_mailbox(mailbox));
                self.say_where(user);
            }
            Ending::Heard { user } => self.say_where(user),
            Ending::Prompt { user } => {
                self.at_home(user, |exchange, _, mailbox| exchange.speed_up(mailbox));
            }
            Ending::Free { server } => self.town.world.exchanges[server].faults.proxy = None,
            Ending::Manner { server, manner } => {
                manner.turn(&mut self.town.world.exchanges[server].faults, false);
            }
        }
        self.town.world.collect();
    }

    fn at_home(&mut self, user: usize, what: impl FnOnce(&mut Exchange, Now, crate::exchange::MailboxKey)) {
        let person = &self.town.people[user % self.town.people.len()];
        let now = self.town.world.now_of(PeerAt::Exchange(person.server));
        what(&mut self.town.world.exchanges[person.server], now, person.mailbox);
    }

    fn at_stream(&mut self, stream: usize, what: impl FnOnce(&mut Exchange, Now, u64)) {
        let server = stream % self.town.world.exchanges.len();
        let now = self.town.world.now_of(PeerAt::Exchange(server));
        let exchange = &mut self.town.world.exchanges[server];
        let streams = exchange.stream_keys();
        if !streams.is_empty() {
            what(exchange, now, streams[stream % streams.len()]);
        }
    }
}

impl Manner {
    fn turn(self, faults: &mut Faults, on: bool) {
        match self {
            Manner::Soap12 => faults.soap12_faults = on,
            Manner::EndsOnBadIds => faults.bad_id_mix = if on { BadIdMix::End } else { BadIdMix::Silence },
            Manner::SmallWrites => faults.drain_bytes_max = on.then_some(17),
            Manner::NoHeartbeats => faults.heartbeats = !on,
            Manner::MutePrimary => faults.primary_smtp_is_mute = on,
        }
    }
}

/// An error about a subscription that nobody of us has made.
const UNKNOWN: &str = r#"<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><m:GetStreamingEventsResponse xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages"><m:ResponseMessages><m:GetStreamingEventsResponseMessage ResponseClass="Error"><m:MessageText>Gone.</m:MessageText><m:ResponseCode>ErrorSubscriptionNotFound</m:ResponseCode><m:ErrorSubscriptionIds><m:SubscriptionId>c29tZWJvZHkgZWxzZQ==</m:SubscriptionId></m:ErrorSubscriptionIds></m:GetStreamingEventsResponseMessage></m:ResponseMessages></m:GetStreamingEventsResponse></s:Body></s:Envelope>"#;
