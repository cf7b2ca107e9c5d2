//! A shard with users, its shell and its provider in memory.

use carillon_core::names::{DeviceKey, DeviceToken, ItemId, SmtpAddress, SubscriptionId, Topic, UserKey};
use carillon_core::shard::{
    AssignUser, Budget, Command, ConnId, DeviceSettings, DeviceSpec, Effect, Effects, Endpoint, EndpointId,
    Input, MailCredential, MailServer, MailServerId, More, NoticeRecord, Protocol, PushAuth, PushService,
    PushServiceId, ShardConfig, ShardCore, Timing, WatchRecord,
};
use carillon_core::signal::MailSignal;
use carillon_core::time::{Now, Span, Time, UnixMillis};

use crate::exchange::item_id;
use crate::provider::Provider;

/// 2026-01-05T08:00:00Z.
pub const START: UnixMillis = UnixMillis(1_767_600_000_000);

/// A shard whose mailboxes are told of by signals, with one provider.
#[derive(Debug)]
pub struct Town {
    /// The shard.
    pub core: ShardCore,
    /// The present.
    pub now: Now,
    fx: Effects,
    lanes: Vec<(ConnId, Provider)>,
    bytes: Vec<u8>,
    replies: Vec<u8>,
    /// Effects of kinds that nobody here acts on.
    pub reports: u64,
    mails: u64,
}

impl Town {
    /// Nobody yet. Pushes go out the moment that a mail comes.
    pub fn new() -> Town {
        let now = Now { time: Time(1_000_000), unix: START };
        Town {
            core: ShardCore::new(now, config()),
            now,
            fx: Effects::new(),
            lanes: Vec::new(),
            bytes: Vec::new(),
            replies: Vec::new(),
            reports: 0,
            mails: 0,
        }
    }

    /// With users who have one device each, and a lane that stands.
    pub fn with_users(users: u64) -> Town {
        let mut town = Town::new();
        for user in 0..users {
            town.assign(signal_user(user));
        }
        town.turn();
        town
    }

    /// Takes a user in.
    pub fn assign(&mut self, user: AssignUser) {
        self.core.handle(self.now, Input::Command(Command::AssignUser(Box::new(user))), &mut self.fx);
    }

    /// A mail comes for this user.
    pub fn mail(&mut self, user: u64) {
        self.mails += 1;
        let item = ItemId::parse(&item_id(self.mails)).expect("an id");
        let signal = MailSignal::NewMail { item, received: self.now.unix, vip: false };
        let command = Command::Signal { user: UserKey(user), signal };
        self.core.handle(self.now, Input::Command(command), &mut self.fx);
    }

    /// Time passes.
    pub fn pass(&mut self, span: Span) {
        self.now.time = self.now.time + span;
        self.now.unix.0 += span.as_millis();
    }

    /// Turns of the shell until nothing is left to do: everything due is told, and answered.
    pub fn turn(&mut self) {
        loop {
            let more = self.core.work(self.now, Budget::TURN, &mut self.fx);
            if !self.apply() && more == More::No {
                return;
            }
        }
    }

    fn apply(&mut self) -> bool {
        let mut busy = false;
        let effects: Vec<Effect> = self.fx.drain().collect();
        for effect in effects {
            match effect {
                Effect::Open { conn, endpoint: EndpointId(1) } => {
                    self.lanes.push((conn, Provider::new()));
                    self.core.handle(self.now, Input::Opened { conn }, &mut self.fx);
                    busy = true;
                }
                Effect::Flush { conn } => busy |= self.flush(conn),
                // Connections to the mail server never stand here, and there is no other shard.
                Effect::Open { .. } | Effect::Close { .. } | Effect::Account { .. } => {}
                Effect::Report(_) | Effect::Sent(_) | Effect::Accepted(_) => self.reports += 1,
            }
        }
        busy
    }

    fn flush(&mut self, conn: ConnId) -> bool {
        self.bytes.clear();
        self.replies.clear();
        while self.core.drain(conn, &mut self.bytes, usize::MAX) {}
        let Some((_, provider)) = self.lanes.iter_mut().find(|(known, _)| *known == conn) else {
            return false;
        };
        provider.exchange(&self.bytes, &mut self.replies);
        if !self.replies.is_empty() {
            let input = Input::Bytes { conn, data: &self.replies };
            self.core.handle(self.now, input, &mut self.fx);
        }
        self.core.handle(self.now, Input::Room { conn }, &mut self.fx);
        !self.bytes.is_empty() || !self.replies.is_empty()
    }
}

impl Default for Town {
    fn default() -> Town {
        Town::new()
    }
}

/// A user of whom only signals tell, with one device.
pub fn signal_user(number: u64) -> AssignUser {
    AssignUser {
        notices: NoticeRecord { sync_point: START, unread: Some(3), ..NoticeRecord::default() },
        devices: vec![DeviceSpec {
            device: DeviceKey(number),
            service: PushServiceId(0),
            token: DeviceToken::parse(&format!("{number:064x}")).expect("hex"),
            topic: Topic::parse("com.example.mail").expect("a bundle id"),
            registered: START,
            active: START,
            settings: DeviceSettings::default(),
            stopped: false,
            badge: Some(3),
            unsettled: None,
        }],
        ..AssignUser::new(
            UserKey(number),
            SmtpAddress::parse(&format!("firstname.lastname{number:07}@example.com")).expect("an address"),
            None,
        )
    }
}

/// As [`signal_user`], on an Exchange server, with a subscription as it comes back from the store.
pub fn mailbox_user(number: u64) -> AssignUser {
    let subscription = format!("JwBkYjUyLmV4YW1wbGUuY29tEAAAAHr3dCy0EexHl0bYTNTVZmXIJvr1{number:020}QCA==");
    let anchor = format!("firstname.lastname{:07}@example.com", number / 200 * 200);
    AssignUser {
        server: Some(MailServerId(0)),
        watch: Some(WatchRecord {
            subscription: Some(SubscriptionId::parse(&subscription).expect("an id")),
            anchor: SmtpAddress::parse(&anchor).expect("an address"),
            cookie:
                "X-BackEndCookie=S-1-5-21=u56Lnp2ejJqBypqcnsfJx5nSy8ucnNLLnczPgYHNz83J0s/K0szPq8/LxczJxc/M"
                    .into(),
        }),
        ..signal_user(number)
    }
}

/// One shard with one mail server and one provider.
pub(crate) fn config() -> ShardConfig {
    ShardConfig {
        shard: 0,
        seed: 1,
        endpoints: vec![
            Endpoint { host: "mail.example.com".into(), port: 443, protocol: Protocol::Http1 },
            Endpoint { host: "api.push.apple.com".into(), port: 443, protocol: Protocol::Http2 },
        ],
        mail_servers: vec![MailServer {
            subscribes_per_s: 1_000,
            ..MailServer::new(EndpointId(0), MailCredential::ClientCertificate)
        }],
        push_services: vec![PushService {
            endpoint: EndpointId(1),
            auth: PushAuth::Certificate,
            lanes: 1,
            lane_window_max: 1_000,
        }],
        timing: Timing { settle_ms: 0, vip_settle_ms: 0, min_interval_ms: 0, ..Timing::default() },
        item_key: *b"a key for bench!",
    }
}
