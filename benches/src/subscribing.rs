//! A first start: a mail server that answers each Subscribe at once, and nothing else.

use carillon_core::shard::{
    AccountNews, Budget, Command, ConnId, Effect, Effects, EndpointId, Input, MailCredential, MailServerId,
    More, ShardCore, Verdict,
};
use carillon_core::time::{Now, Span, Time};

use crate::users::{START, config, mailbox_user};

/// Subscriptions that the pace allows in a second.
const PER_S: u32 = 1_000;

/// A shard whose mailboxes are being subscribed for the first time.
#[derive(Debug)]
pub struct Start {
    core: ShardCore,
    now: Now,
    fx: Effects,
    answers: u64,
}

impl Start {
    /// With the first mailbox of each cohort subscribed, and all others in the queue.
    pub fn with_users(users: u64) -> Start {
        let now = Now { time: Time(1_000_000), unix: START };
        let mut config = config();
        // Calls that nobody answers do not hold up the others.
        config.mail_servers[0].calls_max = u16::MAX;
        config.mail_servers[0].subscribes_per_s = PER_S;
        let mut start = Start { core: ShardCore::new(now, config), now, fx: Effects::new(), answers: 0 };
        let verdict = Some((MailCredential::ClientCertificate, Verdict::Proven));
        let news = AccountNews { verdict, ..AccountNews::default() };
        start.core.handle(now, Input::Account { server: MailServerId(0), news }, &mut start.fx);
        for number in 0..users {
            let mut user = mailbox_user(number);
            (user.watch, user.devices) = (None, Vec::new());
            let command = Command::AssignUser(Box::new(user));
            start.core.handle(now, Input::Command(command), &mut start.fx);
        }
        while start.subscribed() < users.div_ceil(200) {
            start.tick();
        }
        start
    }

    /// How many subscriptions stand.
    pub fn subscribed(&self) -> u64 {
        self.core.stats().subscribes
    }

    /// The time passes that the pace sets between two subscriptions, and what is due is done.
    pub fn tick(&mut self) {
        let span = Span(1_000_000 / u64::from(PER_S));
        self.now.time = self.now.time + span;
        self.now.unix.0 += span.as_millis();
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
                Effect::Open { conn, endpoint: EndpointId(0) } => {
                    self.core.handle(self.now, Input::Opened { conn }, &mut self.fx);
                    busy = true;
                }
                Effect::Flush { conn } => busy |= self.flush(conn),
                Effect::Open { .. }
                | Effect::Close { .. }
                | Effect::Account { .. }
                | Effect::Report(_)
                | Effect::Sent(_)
                | Effect::Accepted(_) => {}
            }
        }
        busy
    }

    fn flush(&mut self, conn: ConnId) -> bool {
        let mut request = Vec::new();
        while self.core.drain(conn, &mut request, usize::MAX) {}
        if !String::from_utf8_lossy(&request).contains("<m:Subscribe>") {
            return false;
        }
        self.answers += 1;
        let body = format!(
            "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><m:SubscribeResponse \
             xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\"><m:ResponseMessages>\
             <m:SubscribeResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>\
             <m:SubscriptionId>{:064}</m:SubscriptionId></m:SubscribeResponseMessage></m:ResponseMessages>\
             </m:SubscribeResponse></s:Body></s:Envelope>",
            self.answers
        );
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n", body.len());
        self.core.handle(self.now, Input::Bytes { conn, data: (head + &body).as_bytes() }, &mut self.fx);
        true
    }
}
