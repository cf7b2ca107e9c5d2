//! A small town for tests: an organisation with mailboxes, their owners' phones, and the audit of what the phones show.

use std::collections::HashMap;

use carillon_core::names::{DeviceKey, DeviceToken, SmtpAddress, Topic, UserKey};
use carillon_core::shard::{
    AssignUser, Command, DeviceSettings, DeviceSpec, Endpoint, EndpointId, MailCredential, MailServer,
    MailServerId, NoticeRecord, Protocol, PushAuth, PushService, PushServiceId, ShardConfig, Timing,
    VipRules,
};
use carillon_core::time::{Now, Span, Time, UnixMillis};
use carillon_core::user::item_hash;

use super::{PeerAt, World, WorldConfig};
use crate::apns::{Apns, Certificate, Delivery, DeviceIx, Environment, Knobs, TokenSpec};
use crate::audit::{Audit, AuditReport, PhoneIx, UserIx};
use crate::exchange::{Account, Exchange, ExchangeConfig, Mail, MailboxKey, MailboxSpec};
use crate::phone::{Rules, Wants};

/// 2026-01-05T08:00:00Z, a Monday.
pub const START: UnixMillis = UnixMillis(1_767_600_000_000);

/// The app that everybody has.
pub const APP: &str = "com.example.mail";

/// The town's mail server.
pub const MAIL: PeerAt = PeerAt::Exchange(0);

/// The town's push service.
pub const PUSH: PeerAt = PeerAt::Apns(0);

/// How a town is made.
pub struct TownConfig {
    /// Everything that can differ follows from it.
    pub seed: u64,
    /// Mailboxes.
    pub users: usize,
    /// Phones of each user.
    pub phones: usize,
    /// Shards over which users are spread.
    pub shards: usize,
    /// The organisation.
    pub exchange: ExchangeConfig,
    /// The push service.
    pub knobs: Knobs,
    /// Times of the engine.
    pub timing: Timing,
    /// The engine's side of the mail server.
    pub mail_server: Box<dyn Fn(&mut MailServer)>,
    /// The longest that a mail may lawfully wait in this town.
    pub wait_max: Span,
    /// Shards are looked through as they go ([`WorldConfig::vigilant`]).
    pub vigilant: bool,
}

impl Default for TownConfig {
    fn default() -> TownConfig {
        TownConfig {
            seed: 1,
            users: 3,
            phones: 1,
            shards: 1,
            exchange: ExchangeConfig::default(),
            knobs: Knobs::default(),
            timing: Timing::default(),
            mail_server: Box::new(|_| {}),
            wait_max: Span::from_secs(60),
            vigilant: true,
        }
    }
}

/// A world with inhabitants.
pub struct Town {
    /// Where they live.
    pub world: World,
    /// What their phones were told.
    pub audit: Audit,
    /// They.
    pub people: Vec<Person>,
    /// Everything that reached a phone, in order.
    pub deliveries: Vec<Delivery>,
    phones: HashMap<DeviceIx, PhoneIx>,
    item_key: [u8; 16],
}

/// One inhabitant.
pub struct Person {
    /// His shard.
    pub shard: usize,
    /// In the engine.
    pub key: UserKey,
    /// At the mail server.
    pub mailbox: MailboxKey,
    /// In the audit.
    pub user: UserIx,
    /// His phones.
    pub phones: Vec<PhoneOf>,
    /// Item ids of his mails, oldest first.
    pub mails: Vec<String>,
}

/// One phone.
pub struct PhoneOf {
    /// In the engine.
    pub key: DeviceKey,
    /// At the push service.
    pub device: DeviceIx,
    /// In the audit.
    pub phone: PhoneIx,
    /// Its registration.
    pub spec: DeviceSpec,
}

impl Town {
    /// Builds the town; everybody registers at once. Nothing has run yet.
    pub fn new(config: TownConfig) -> Town {
        let item_key = *b"a key for tests!";
        let mut exchange = Exchange::new(ExchangeConfig { seed: config.seed, ..config.exchange.clone() });
        exchange.add_account(Account::service("EX\\carillon", "correct horse"));
        let mut apns = Apns::new(Environment::Production, config.knobs.clone(), config.seed);
        apns.add_app(Now { time: Time(0), unix: START }, APP, "TEAM000001");
        let certificate = b"a client certificate".to_vec();
        apns.add_certificate(Certificate {
            der: certificate.clone(),
            topics: vec![APP.to_owned()],
            environment: None,
        });
        let mut server = mail_server();
        (config.mail_server)(&mut server);
        let shard = ShardConfig {
            shard: 0,
            seed: 0,
            endpoints: vec![
                Endpoint { host: "mail.example.com".into(), port: 443, protocol: Protocol::Http1 },
                Endpoint { host: "api.push.apple.com".into(), port: 443, protocol: Protocol::Http2 },
            ],
            mail_servers: vec![server],
            push_services: vec![PushService {
                endpoint: EndpointId(1),
                auth: PushAuth::Certificate,
                lanes: 2,
                lane_window_max: 1_000,
            }],
            timing: config.timing,
            item_key,
        };
        let rules = Rules {
            detail_cutoff: Span::from_secs(config.timing.detail_cutoff_s.into()),
            wait_max: config.wait_max,
            crossing_max: Span::from_secs(2),
            transit_max: Span::from_secs(2),
        };
        let world = World::new(
            WorldConfig {
                seed: config.seed,
                start: START,
                shards: config.shards,
                shard,
                routes: vec![MAIL, PUSH],
                certificate: Some(certificate),
                vigilant: config.vigilant,
            },
            vec![exchange],
            vec![apns],
        );
        let mut town = Town {
            world,
            audit: Audit::new(rules),
            people: Vec::new(),
            deliveries: Vec::new(),
            phones: HashMap::new(),
            item_key,
        };
        let back_ends = config.exchange.back_ends.len();
        for number in 0..config.users {
            town.settle_person(number, config.phones, config.shards, number % back_ends);
        }
        town
    }

    /// One of the people says which mails go first.
    pub fn set_vip(&mut self, person: usize, vip: VipRules) {
        let row = &self.people[person];
        let address = self.world.exchanges[0].address(row.mailbox).to_owned();
        let assign = assign(row.key, &address, vip, Vec::new());
        let shard = row.shard;
        self.world.command(shard, Command::AssignUser(Box::new(assign)));
    }

    fn settle_person(&mut self, number: usize, phones: usize, shards: usize, back_end: usize) {
        let address = format!("user{number:05}@example.com");
        let spec = MailboxSpec { address: address.clone(), back_end, ..MailboxSpec::default() };
        let mailbox = self.world.exchanges[0].add_mailbox(spec);
        let now = self.world.now();
        let user = self.audit.add_user(0);
        let mut person = Person {
            shard: number % shards,
            key: UserKey(number as u64),
            mailbox,
            user,
            phones: Vec::new(),
            mails: Vec::new(),
        };
        for phone in 0..phones {
            let token = format!("{:064x}", (number as u128) << 16 | phone as u128 | 0xabcd << 64);
            let key = DeviceKey((number * 16 + phone) as u64);
            let spec =
                TokenSpec { token: &token, bundle: APP, environment: Environment::Production, tag: key.0 };
            let device = self.world.apns[0].register(&spec);
            let in_audit = self.audit.add_phone(user, now.time, now.unix, Wants::default());
            self.phones.insert(device, in_audit);
            let spec = device_spec(key, &token, now.unix);
            person.phones.push(PhoneOf { key, device, phone: in_audit, spec });
        }
        let devices = person.phones.iter().map(|phone| phone.spec.clone()).collect();
        let assign = assign(person.key, &address, VipRules::default(), devices);
        self.world.command(person.shard, Command::AssignUser(Box::new(assign)));
        self.people.push(person);
    }

    /// Turns something at the push service.
    pub fn turn_apns(&mut self, change: impl FnOnce(&mut Knobs)) {
        let now = self.world.now_of(PUSH);
        self.world.apns[0].turn(now, change);
        self.world.collect();
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Span) {
        let until = self.world.now().time + span;
        while self.world.step(until) {
            self.hear();
        }
        self.hear();
    }

    /// Lets time pass until everybody's mailbox is watched. False if that takes longer than `limit`.
    pub fn run_until_live(&mut self, limit: Span) -> bool {
        let people = self.people.len() as u64;
        let shards = self.people.iter().map(|person| person.shard).max().map_or(1, |last| last + 1);
        let live =
            |world: &World| (0..shards).map(|shard| world.stats(shard).users_live).sum::<u64>() == people;
        let done = self.world.run_until(limit, live);
        self.hear();
        done
    }

    /// A mail arrives for one of the people.
    pub fn deliver(&mut self, person: usize, subject: &str) -> u64 {
        let mail = Mail { subject: subject.to_owned(), body: format!("body of {subject}"), ..self.mail() };
        self.deliver_mail(person, mail)
    }

    /// As [`Town::deliver`], with all of the mail's properties.
    pub fn deliver_mail(&mut self, person: usize, mail: Mail) -> u64 {
        let now = self.world.now_of(MAIL);
        let row = &mut self.people[person];
        let id = self.world.exchanges[0].deliver(now, row.mailbox, mail);
        let hash = item_hash(&self.item_key, &id);
        self.audit.arrived(row.user, hash, now.time);
        row.mails.push(id);
        self.world.collect();
        hash
    }

    /// A mail from somebody.
    pub fn mail(&self) -> Mail {
        let mut mail = Mail::default();
        mail.sender.name = "Jane Doe".to_owned();
        mail.sender.address = "jane@example.org".to_owned();
        mail
    }

    /// One of the people reads a mail in another program.
    pub fn read(&mut self, person: usize, mail: usize) {
        let now = self.world.now_of(MAIL);
        let row = &self.people[person];
        let id = &row.mails[mail];
        self.world.exchanges[0].mark_read(now, row.mailbox, id, true);
        self.audit.read(row.user, item_hash(&self.item_key, id), now.time);
        self.world.collect();
    }

    /// One of the people deletes a mail in another program.
    pub fn delete(&mut self, person: usize, mail: usize) {
        let now = self.world.now_of(MAIL);
        let row = &self.people[person];
        let id = &row.mails[mail];
        self.world.exchanges[0].delete(now, row.mailbox, id);
        self.audit.deleted(row.user, item_hash(&self.item_key, id), now.time, true);
        self.world.collect();
    }

    /// An app is opened.
    pub fn use_app(&mut self, person: usize, phone: usize) {
        let at = self.world.now().unix;
        let row = &self.people[person];
        let command = Command::TouchDevice { user: row.key, device: row.phones[phone].key, at };
        self.audit.touched(row.phones[phone].phone, at);
        let shard = row.shard;
        self.world.command(shard, command);
    }

    /// An app registers again.
    pub fn register_again(&mut self, person: usize, phone: usize) {
        let now = self.world.now();
        let row = &mut self.people[person];
        let spec = &mut row.phones[phone].spec;
        spec.registered = now.unix;
        spec.active = now.unix;
        let command = Command::RegisterDevice { user: row.key, device: Box::new(spec.clone()) };
        let token = TokenSpec {
            token: spec.token.as_str(),
            bundle: APP,
            environment: Environment::Production,
            tag: spec.device.0,
        };
        self.world.apns[0].register(&token);
        self.audit.register_again(row.phones[phone].phone, now.time, now.unix);
        let shard = row.shard;
        self.world.command(shard, command);
    }

    /// Notifications of one of the people are stopped.
    pub fn stop(&mut self, person: usize) {
        let row = &self.people[person];
        self.audit.stopped(row.user, self.world.now().time);
        let (shard, command) = (row.shard, Command::StopUser { user: row.key });
        self.world.command(shard, command);
    }

    /// An app is gone from a phone.
    pub fn uninstall(&mut self, person: usize, phone: usize) {
        let now = self.world.now_of(PUSH);
        let row = &self.people[person].phones[phone];
        self.world.apns[0].set_gone(row.device, now.unix);
        self.audit.phone_gone(row.phone, now.time);
    }

    /// What the phone of this person was told, oldest first.
    pub fn told(&self, person: usize, phone: usize) -> Vec<&Delivery> {
        let device = self.people[person].phones[phone].device;
        self.deliveries.iter().filter(|delivery| delivery.device == device).collect()
    }

    /// The verdict.
    pub fn finish(mut self) -> AuditReport {
        self.hear();
        let ledger = self.world.ledger();
        assert!(ledger.balances(), "the engine's own ledger does not balance: {ledger:?}");
        let now = self.world.now();
        self.audit.finish(now)
    }

    /// Whether nothing waits and nothing is in flight.
    pub fn is_quiet(&self) -> bool {
        let ledger = self.world.ledger();
        ledger.waiting == 0 && ledger.in_flight == 0
    }

    /// Whether every phone that wants one shows the badge that it should, as far as the engine knows.
    pub fn badges_are_right(&self) -> bool {
        self.audit.badges_are_right()
    }

    fn hear(&mut self) {
        while let Some(mut delivery) = self.world.apns[0].poll_delivery() {
            // Stamped by the push service's clock; what may be told is judged by the engine's.
            delivery.at = self.world.now();
            let phone = self.phones[&delivery.device];
            self.audit.delivered(phone, &delivery, |_| {});
            self.deliveries.push(delivery);
        }
    }
}

fn assign(user: UserKey, address: &str, vip: VipRules, devices: Vec<DeviceSpec>) -> AssignUser {
    AssignUser {
        user,
        address: SmtpAddress::parse(address).expect("addresses of a town are well-formed"),
        server: Some(MailServerId(0)),
        grouping: "".into(),
        watch: None,
        notices: NoticeRecord::default(),
        vip,
        stopped: false,
        devices,
    }
}

fn mail_server() -> MailServer {
    MailServer {
        endpoint: EndpointId(0),
        path: "/EWS/Exchange.asmx".into(),
        credential: MailCredential::Basic { user: "EX\\carillon".into(), password: "correct horse".into() },
        impersonate: true,
        user_agent: "Carillon/0".into(),
        folders: Vec::new(),
        cohort_users_max: 200,
        stream_minutes: 29,
        stream_idle_s: 120,
        calls_max: 8,
        call_timeout_s: 100,
        subscribes_per_s: 1_000,
    }
}

fn device_spec(device: DeviceKey, token: &str, now: UnixMillis) -> DeviceSpec {
    DeviceSpec {
        device,
        service: PushServiceId(0),
        token: DeviceToken::parse(token).expect("hex"),
        topic: Topic::parse(APP).expect("a bundle id"),
        registered: now,
        active: now,
        settings: DeviceSettings::default(),
        badge: None,
        unsettled: None,
    }
}

/// A moment of the town's first day.
pub fn at(s: u64) -> Time {
    Time(0) + Span::from_secs(s)
}
