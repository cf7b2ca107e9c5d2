//! Which of it happens on a day, and when.

use carillon_core::ews::ResponseCode;
use carillon_core::rng::Rng;
use carillon_core::time::{Span, Time};

use super::super::plan::{Act, Place, Plan, below, pick};
use super::super::profile;
use super::{Garbage, MailboxAct, Manner};
use crate::exchange::{BusyShape, Code, Operation, Override, Version};

/// What is drawn here has a generator of its own: the rest of a day is what it would be without.
const MAILBOXES: u64 = 0x3a11_b0ce_5000_0001;

/// Trouble that lasts ends within this time: longer than the engine's shortest pauses, shorter than its longest.
const LENGTH_MAX: Span = Span::from_secs(400);

#[derive(Clone, Copy, Debug)]
enum Kind {
    BackEnds,
    Servers,
    Offline,
    Disconnected,
    Renamed,
    Busy,
    Missed,
    Subscriptions,
    Streams,
    Calls,
    FrontEnds,
    Manners,
    Silence,
    Garbage,
    Corrupt,
    People,
    TakeOver,
    Ages,
}

const KINDS: [Kind; 18] = [
    Kind::BackEnds,
    Kind::Servers,
    Kind::Offline,
    Kind::Disconnected,
    Kind::Renamed,
    Kind::Busy,
    Kind::Missed,
    Kind::Subscriptions,
    Kind::Streams,
    Kind::Calls,
    Kind::FrontEnds,
    Kind::Manners,
    Kind::Silence,
    Kind::Garbage,
    Kind::Corrupt,
    Kind::People,
    Kind::TakeOver,
    Kind::Ages,
];

/// What a mail server says of a mailbox that is at another one.
const ELSEWHERE: [Code; 6] = [
    Code::ErrorNonExistentMailbox,
    Code::ErrorProxyRequestNotAllowed,
    Code::ErrorProxyServiceDiscoveryFailed,
    Code::ErrorNoRespondingCASInDestinationSite,
    Code::ErrorCrossSiteRequest,
    Code::ErrorProxiedSubscriptionCallFailure,
];

/// What a mail server says of a mailbox that is nowhere for a while.
const UNAVAILABLE: [Code; 5] = [
    Code::ErrorMailboxMoveInProgress,
    Code::ErrorMailboxStoreUnavailable,
    Code::ErrorMailboxFailover,
    Code::ErrorConnectionFailed,
    Code::ErrorInternalServerTransientError,
];

impl Plan {
    /// Puts a few kinds of trouble into the day, each so many times.
    pub(in super::super) fn draw_mailboxes(&mut self, profile: &profile::Mailboxes) {
        let mut rng = Rng::new(!self.seed ^ MAILBOXES);
        for _ in 0..profile.kinds.draw(&mut rng) {
            let kind = pick(&mut rng, &KINDS);
            let times = 1 + profile.per_hour.draw(&mut rng) * self.length.0 / 3_600_000_000;
            for _ in 0..times {
                let at = self.moment(&mut rng);
                let (at, act) = self.draw_one(&mut rng, kind, at);
                self.acts.push((at, Act::Mailboxes(act)));
            }
            // A mailbox that moved may need a stream of its own, and all of them are on the account's budget.
            if self.full_access {
                let streams_max = &mut self.manners.limits.hanging_connections_max;
                *streams_max = (*streams_max).max(2 * self.users as u32);
            }
        }
    }

    fn draw_one(&self, rng: &mut Rng, kind: Kind, at: Time) -> (Time, MailboxAct) {
        let any = |rng: &mut Rng| rng.below(1 << 20) as usize;
        let (user, stream, server) = (any(rng), any(rng), any(rng));
        let length = below(rng, LENGTH_MAX);
        let act = match kind {
            Kind::BackEnds => MailboxAct::MoveBackEnd { user, back_end: any(rng) },
            Kind::Servers => MailboxAct::MoveServer { user, server, length, code: pick(rng, &ELSEWHERE) },
            Kind::Offline => MailboxAct::Offline { user, code: pick(rng, &UNAVAILABLE), length },
            Kind::Disconnected => MailboxAct::Disconnect { user, length },
            Kind::Renamed => {
                MailboxAct::Rename { user, number: rng.below(1 << 30), told_after: below(rng, LENGTH_MAX) }
            }
            Kind::Busy => {
                let shape =
                    pick(rng, &[BusyShape::Fault, BusyShape::Message, BusyShape::Inner, BusyShape::Rotate]);
                MailboxAct::Busy { user, length: Span(length.0 / 4), shape, mute: rng.chance(1, 3) }
            }
            Kind::Missed => MailboxAct::MissEvents { user },
            Kind::Subscriptions => match any_code(rng) {
                // Said of living subscriptions only.
                Code::ErrorMissedNotificationEvents => MailboxAct::MissEvents { user },
                code => MailboxAct::FailSubscription { user, code },
            },
            Kind::Streams => MailboxAct::FailStream { stream, code: any_code(rng) },
            Kind::Calls => self.draw_refusal(rng, user),
            Kind::FrontEnds => draw_front_end(rng, server),
            Kind::Manners => {
                let manner = pick(
                    rng,
                    &[
                        Manner::Soap12,
                        Manner::EndsOnBadIds,
                        Manner::SmallWrites,
                        Manner::NoHeartbeats,
                        Manner::MutePrimary,
                    ],
                );
                MailboxAct::Speak { server, manner, length }
            }
            Kind::Silence => MailboxAct::StopHeartbeats { stream },
            Kind::Garbage => {
                let kinds =
                    [Garbage::NotXml, Garbage::NotSoap, Garbage::UnknownSubscription, Garbage::Oversized];
                MailboxAct::Garbage { stream, kind: pick(rng, &kinds) }
            }
            Kind::Corrupt => MailboxAct::CorruptMail { user },
            Kind::People if rng.chance(1, 2) => MailboxAct::UnreadAgain { user, mail: any(rng) },
            Kind::People => {
                MailboxAct::Copy { user, mail: any(rng), to: pick(rng, &[Place::Inbox, Place::Chosen]) }
            }
            Kind::TakeOver => MailboxAct::TakeOver { stream },
            Kind::Ages => {
                let versions = [
                    Version::Exchange2010_SP2,
                    Version::Exchange2012,
                    Version::Exchange2013_SP1,
                    Version::Exchange2016,
                ];
                return (Time(0), MailboxAct::Age { server, version: pick(rng, &versions) });
            }
        };
        (at, act)
    }

    fn draw_refusal(&self, rng: &mut Rng, user: usize) -> MailboxAct {
        let operations = [
            Operation::Subscribe,
            Operation::GetItem,
            Operation::FindItem,
            Operation::SyncFolderItems,
            Operation::GetFolder,
            Operation::GetStreamingEvents,
            Operation::Unsubscribe,
        ];
        let (operation, code) = (pick(rng, &operations), any_code(rng));
        MailboxAct::Refuse { user, operation, times: 1 + rng.below(3) as u32, code, fault: rng.chance(1, 2) }
    }
}

/// Any code that the engine knows, but for those that state a fact and are believed: that a mail or a chosen folder is gone.
fn any_code(rng: &mut Rng) -> Code {
    let name = pick(rng, ResponseCode::NAMED);
    match Code::parse(name.name()).expect("the server gives every code of the table") {
        Code::ErrorItemNotFound | Code::ErrorFolderNotFound | Code::ErrorSyncFolderNotFound => {
            Code::ErrorInternalServerError
        }
        code => code,
    }
}

fn draw_front_end(rng: &mut Rng, server: usize) -> MailboxAct {
    let retry_after_s = pick(rng, &[None, Some(5), Some(30), Some(120)]);
    let answers = [
        Override::Unavailable { retry_after_s },
        Override::TooManyRequests { retry_after_s },
        Override::Forbidden { retry_after_s },
        Override::InternalError { retry_after_s },
        Override::LogonRedirect,
        Override::Html,
    ];
    let only = pick(rng, &[None, None, Some(Operation::GetStreamingEvents), Some(Operation::Subscribe)]);
    MailboxAct::FrontEnd { server, requests: 1 + rng.below(6) as u32, only, answer: pick(rng, &answers) }
}
