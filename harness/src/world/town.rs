//! A small town for tests: an organisation with mailboxes, their owners' phones, and the audit of what the phones show.

use std::collections::HashMap;

use carillon_core::limits::FETCH_WAIT_MAX;
use carillon_core::names::{DeviceKey, DeviceToken, FolderId, SmtpAddress, Topic, UserKey};
use carillon_core::shard::{
    AssignUser, BadgeCount, CatchUp, Command, DeviceSettings, DeviceSpec, Endpoint, EndpointId,
    MailCredential, MailServer, MailServerId, Protocol, PushAuth, PushService, PushServiceId, Report,
    ShardConfig, TeamId, Timing, VipRules,
};
use carillon_core::time::{Now, Span, Time, UnixMillis};
use carillon_core::user::item_hash;

use super::administrator::Administrator;
use super::tokens::{KEY_ID, TEAM, Tokens};
use super::{PeerAt, World, WorldConfig};
use crate::apns::{
    Apns, Certificate, Delivery, DeviceIx, Environment, KeyScope, Knobs, Reason, TeamKey, TokenSpec, WorldKey,
};
use crate::audit::{Audit, AuditReport, Moved, PhoneIx, Place, UserIx};
use crate::exchange::{Exchange, ExchangeConfig, FolderKey, INBOX, Mail, MailboxKey, MailboxSpec};
use crate::phone::{Rules, Wants};

/// 2026-01-05T08:00:00Z, a Monday.
pub const START: UnixMillis = UnixMillis(1_767_600_000_000);

/// The app that everybody has.
pub const APP: &str = "com.example.mail";

/// The apps there are.
pub const APPS: [&str; 2] = [APP, "com.example.mail.lite"];

/// The town's first mail server.
pub const MAIL: PeerAt = PeerAt::Exchange(0);

/// The town's push service.
pub const PUSH: PeerAt = PeerAt::Apns(0);

/// The town's push services.
pub(super) const ENVIRONMENTS: [Environment; 2] = [Environment::Production, Environment::Sandbox];

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
    /// Mail servers, over which users are spread.
    pub mail_servers: usize,
    /// Some phones have an app that is registered with the second push service, the sandbox: of each two in a row, one.
    pub sandbox: bool,
    /// The service account has full access to all mailboxes, and may impersonate nobody: everything counts against its own
    /// budget.
    pub full_access: bool,
    /// Of each user's phones, every other has the second app.
    pub two_apps: bool,
    /// People who have chosen a folder beside the inbox.
    pub choosers: Vec<usize>,
    /// The engine's side of each mail server.
    pub mail_server: Box<dyn Fn(&mut MailServer)>,
    /// The engine's side of the push service.
    pub push_service: Box<dyn Fn(&mut PushService)>,
    /// The longest that a mail may lawfully wait in this town.
    pub wait_max: Span,
    /// Pushes go with a provider token, which is renewed after so long (at least 20 minutes); otherwise with a client
    /// certificate.
    pub tokens: Option<Span>,
    /// The engine logs in to mail servers by bearer tokens.
    pub mail_tokens: bool,
    /// From the engine's word that a mail server refuses its credential until the right one is handed in; without, nobody
    /// listens.
    pub patience: Option<Span>,
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
            mail_servers: 1,
            sandbox: false,
            two_apps: false,
            full_access: false,
            choosers: Vec::new(),
            mail_server: Box::new(|_| {}),
            push_service: Box::new(|_| {}),
            wait_max: Span::from_secs(60),
            tokens: None,
            mail_tokens: false,
            patience: None,
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
    /// Moves of mails are heard of: nothing is wrong between the mail server and the engine. Whoever breaks something
    /// there says no.
    pub moves_are_heard: bool,
    /// As `moves_are_heard`, of mails that are read or deleted.
    pub readings_are_heard: bool,
    /// Whose mailboxes are on an open stream and caught up, as the engine said last, and when it did.
    pub(super) live: HashMap<UserKey, Time>,
    /// By push service and device.
    phones: HashMap<(usize, DeviceIx), PhoneIx>,
    tokens: Option<Tokens>,
    pub(super) administrator: Administrator,
    badge: BadgeCount,
    two_apps: bool,
    /// Reports that have been looked at.
    reports_heard: usize,
    pub(super) item_key: [u8; 16],
}

/// One inhabitant.
pub struct Person {
    /// His shard.
    pub shard: usize,
    /// In the engine.
    pub key: UserKey,
    /// Which mail server is his.
    pub server: usize,
    /// At the mail server.
    pub mailbox: MailboxKey,
    /// In the audit.
    pub user: UserIx,
    /// The folder that he has chosen beside the inbox.
    pub chosen: Option<FolderKey>,
    /// His phones.
    pub phones: Vec<PhoneOf>,
    /// Item ids of his mails, oldest first.
    pub mails: Vec<String>,
    /// His notifications are stopped.
    pub stopped: bool,
    /// The owner has dropped him.
    pub away: bool,
}

/// One phone.
pub struct PhoneOf {
    /// Which push service is its app's.
    pub service: usize,
    /// In the engine.
    pub key: DeviceKey,
    /// At the push service.
    pub device: DeviceIx,
    /// In the audit.
    pub phone: PhoneIx,
    /// Its registration.
    pub spec: DeviceSpec,
    /// The owner has removed it.
    pub removed: bool,
    /// Tokens that its app had before this one.
    pub renewals: u32,
}

impl Town {
    /// Builds the town; everybody registers at once. Nothing has run yet.
    pub fn new(config: TownConfig) -> Town {
        let item_key = *b"a key for tests!";
        let exchange = |number: usize| {
            let seed = config.seed.wrapping_add(number as u64);
            let mut exchange = Exchange::new(ExchangeConfig { seed, ..config.exchange.clone() });
            let mut account = Administrator::account(config.mail_tokens, config.full_access);
            if config.full_access {
                account.full_access = (0..config.users as u32).map(MailboxKey).collect();
            }
            exchange.add_account(account);
            exchange
        };
        let exchanges: Vec<Exchange> = (0..config.mail_servers).map(exchange).collect();
        let start = Now { time: Time(0), unix: START };
        let key = WorldKey::new(config.seed);
        let certificate = b"a client certificate".to_vec();
        let push_services = 1 + usize::from(config.sandbox);
        let push_service = |number: usize| {
            let seed = config.seed.wrapping_add(number as u64);
            let mut apns = Apns::new(ENVIRONMENTS[number], config.knobs.clone(), seed);
            APPS.iter().for_each(|app| apns.add_app(start, app, TEAM));
            apns.add_key(TeamKey {
                team: TEAM.to_owned(),
                kid: KEY_ID.to_owned(),
                public_key: key.shared(),
                scope: KeyScope::Team,
                environment: None,
            });
            apns.add_certificate(Certificate {
                der: certificate.clone(),
                topics: APPS.map(str::to_owned).to_vec(),
                environment: None,
            });
            apns
        };
        let apns: Vec<Apns> = (0..push_services).map(push_service).collect();
        let tokens = config.tokens.map(|renew_after| Tokens::new(key, renew_after, start));
        let mut endpoints = vec![
            Endpoint { host: "mail.example.com".into(), port: 443, protocol: Protocol::Http1 },
            Endpoint { host: "api.push.apple.com".into(), port: 443, protocol: Protocol::Http2 },
        ];
        let mut routes = vec![MAIL, PUSH];
        let mut mail_servers = Vec::new();
        for number in 0..config.mail_servers {
            let mut endpoint = EndpointId(0);
            if number > 0 {
                endpoint = EndpointId(endpoints.len() as u16);
                let host = format!("mail{number}.example.com").into();
                endpoints.push(Endpoint { host, port: 443, protocol: Protocol::Http1 });
                routes.push(PeerAt::Exchange(number));
            }
            let mut server = mail_server(endpoint);
            server.impersonate = !config.full_access;
            server.credential = Administrator::first(config.mail_tokens);
            (config.mail_server)(&mut server);
            mail_servers.push(server);
        }
        let badge = mail_servers[0].badge;
        let mut sides = Vec::new();
        for number in 0..push_services {
            let mut endpoint = EndpointId(1);
            if number > 0 {
                endpoint = EndpointId(endpoints.len() as u16);
                let host = "api.sandbox.push.apple.com".into();
                endpoints.push(Endpoint { host, port: 443, protocol: Protocol::Http2 });
                routes.push(PeerAt::Apns(number));
            }
            let mut side = PushService {
                endpoint,
                auth: if tokens.is_some() { PushAuth::Team(TeamId(0)) } else { PushAuth::Certificate },
                lanes: 2,
                lane_window_max: 1_000,
            };
            (config.push_service)(&mut side);
            sides.push(side);
        }
        let with_certificate = sides[0].auth == PushAuth::Certificate;
        let shard = ShardConfig {
            shard: 0,
            seed: 0,
            endpoints,
            mail_servers,
            push_services: sides,
            timing: config.timing,
            item_key,
        };
        let rules = Rules {
            detail_cutoff: Span::from_secs(config.timing.detail_cutoff_s.into()),
            wait_max: config.wait_max,
            crossing_max: Span::from_secs(2),
            // Judged by when it left.
            look_max: FETCH_WAIT_MAX,
            transit_max: Span::ZERO,
        };
        let world = World::new(
            WorldConfig {
                seed: config.seed,
                start: START,
                shards: config.shards,
                shard,
                routes,
                certificate: with_certificate.then_some(certificate),
                vigilant: config.vigilant,
            },
            exchanges,
            apns,
        );
        let mut town = Town {
            world,
            audit: Audit::new(rules),
            people: Vec::new(),
            deliveries: Vec::new(),
            moves_are_heard: true,
            readings_are_heard: true,
            live: HashMap::new(),
            phones: HashMap::new(),
            tokens,
            administrator: Administrator::new(config.mail_servers, config.mail_tokens, config.patience),
            badge,
            two_apps: config.two_apps,
            reports_heard: 0,
            item_key,
        };
        town.hand_tokens_in(config.shards);
        let back_ends = config.exchange.back_ends.len();
        for number in 0..config.users {
            let chooses = config.choosers.contains(&number);
            town.settle_person(number, config.phones, config.shards, number % back_ends, chooses);
        }
        town
    }

    /// One of the people says which mails go first.
    pub fn set_vip(&mut self, person: usize, vip: VipRules) {
        let row = &self.people[person];
        let assign = self.assign(row, vip, Vec::new());
        let shard = row.shard;
        self.world.command(shard, Command::AssignUser(Box::new(assign)));
    }

    pub(super) fn settle_person(
        &mut self,
        number: usize,
        phones: usize,
        shards: usize,
        back_end: usize,
        chooses: bool,
    ) {
        let address = format!("user{number:05}@example.com");
        let spec = MailboxSpec { address, back_end, ..MailboxSpec::default() };
        let server = number % self.world.exchanges.len();
        let exchange = &mut self.world.exchanges[server];
        let mailbox = exchange.add_mailbox(spec);
        let chosen = chooses.then(|| exchange.add_folder(mailbox, "Projects"));
        let now = self.world.now();
        let user = self.audit.add_user(0);
        let mut person = Person {
            shard: number % shards,
            key: UserKey(number as u64),
            server,
            mailbox,
            user,
            chosen,
            phones: Vec::new(),
            mails: Vec::new(),
            stopped: false,
            away: false,
        };
        for phone in 0..phones {
            let token = format!("{:064x}", (number as u128) << 16 | phone as u128 | 0xabcd << 64);
            let key = DeviceKey((number * 16 + phone) as u64);
            let service = (number + phone) % self.world.apns.len();
            let app = APPS[if self.two_apps { phone % APPS.len() } else { 0 }];
            let spec =
                TokenSpec { token: &token, bundle: app, environment: ENVIRONMENTS[service], tag: key.0 };
            let device = self.world.apns[service].register(&spec);
            let in_audit = self.audit.add_phone(user, now.time, now.unix, Wants::default());
            self.phones.insert((service, device), in_audit);
            let spec = device_spec(key, service, &token, app, now.unix);
            person.phones.push(PhoneOf {
                service,
                key,
                device,
                phone: in_audit,
                spec,
                removed: false,
                renewals: 0,
            });
        }
        let devices = person.phones.iter().map(|phone| phone.spec.clone()).collect();
        let assign = self.assign(&person, VipRules::default(), devices);
        self.world.command(person.shard, Command::AssignUser(Box::new(assign)));
        self.people.push(person);
    }

    /// What the engine's owner says of one of the people.
    pub(super) fn assign(&self, person: &Person, vip: VipRules, devices: Vec<DeviceSpec>) -> AssignUser {
        let exchange = &self.world.exchanges[person.server];
        let address = exchange.address(person.mailbox);
        let chosen = person.chosen.map(|folder| exchange.folder_id(person.mailbox, folder));
        AssignUser {
            folders: chosen.iter().map(|id| FolderId::parse(id).expect("an id")).collect(),
            vip,
            devices,
            ..AssignUser::new(
                person.key,
                SmtpAddress::parse(address).expect("addresses of a town are well-formed"),
                Some(MailServerId(person.server as u16)),
            )
        }
    }

    /// Turns something at the push service.
    pub fn turn_apns(&mut self, change: impl FnOnce(&mut Knobs)) {
        self.turn_push_service(0, change);
    }

    /// Turns something at one of the push services.
    pub fn turn_push_service(&mut self, service: usize, change: impl FnOnce(&mut Knobs)) {
        let now = self.world.now_of(PeerAt::Apns(service));
        self.world.apns[service].turn(now, change);
        self.world.collect();
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Span) {
        let until = self.world.now().time + span;
        loop {
            // Whatever is heard may be a reason to do something before the next thing happens.
            let due = self.token_due().min(self.administrator.due()).max(self.world.now().time);
            let stop = until.min(due);
            let happened = self.world.step(stop);
            self.hear();
            if happened {
                continue;
            }
            if stop == until {
                return;
            }
            self.renew_token();
            self.administrate();
        }
    }

    /// When the next provider token is to be made; the service may refuse the present one at any step.
    fn token_due(&self) -> Time {
        let now = self.world.now();
        let due = self.tokens.as_ref().map(|tokens| tokens.due());
        due.map_or(Time::NEVER, |due| now.time + Span::from_millis(due.0.saturating_sub(now.unix.0)))
    }

    fn renew_token(&mut self) {
        let now = self.world.now();
        let Some(tokens) = self.tokens.as_mut() else { return };
        if tokens.due() <= now.unix {
            tokens.renew(now);
            self.hand_tokens_in(self.world.shards());
        }
    }

    fn hand_tokens_in(&mut self, shards: usize) {
        let Some(command) = self.tokens.as_ref().map(Tokens::command) else { return };
        for shard in 0..shards {
            self.world.command(shard, command.clone());
        }
    }

    /// What the engine has reported: whom it hears, which notices it has put down, and which token the push service refuses:
    /// another comes as soon as the budget allows, until then the same.
    fn hear_reports(&mut self) {
        let heard = std::mem::replace(&mut self.reports_heard, self.world.reports.len());
        let mut refused = false;
        for (at, report) in &self.world.reports[heard..] {
            match report {
                Report::Live { user } => _ = self.live.insert(*user, *at),
                Report::Unwatched { user, .. }
                | Report::Misplaced { user, .. }
                | Report::Taken { user, .. } => _ = self.live.remove(user),
                Report::Device { unsettled: Some(notice), .. } => self.audit.put_down(*at, *notice),
                Report::TeamTokenStale { issued, .. } => {
                    refused |= self.tokens.as_mut().is_some_and(|tokens| tokens.refuse(*issued));
                }
                Report::Watched { .. }
                | Report::Noticed { .. }
                | Report::Synced { .. }
                | Report::Device { unsettled: None, .. }
                | Report::DeviceGone { .. }
                | Report::MailCredentialRefused { .. }
                | Report::MailTokenStale { .. }
                | Report::MailServerWell { .. }
                | Report::MailServerTrouble { .. }
                | Report::PushServiceTrouble { .. }
                | Report::PushServiceWell { .. }
                | Report::Drained => {}
            }
        }
        if refused {
            self.renew_token();
            self.hand_tokens_in(self.world.shards());
        }
    }

    /// Whether the engine has said that it hears this one's mailbox, and nothing else since, nor died.
    pub fn is_live(&self, person: usize) -> bool {
        let row = &self.people[person];
        self.live.get(&row.key).is_some_and(|since| *since >= self.world.begun(row.shard))
    }

    /// The power fails on the engine's machine: what was written down within the last `tail` is gone. Whose registration or
    /// stop is among it, makes it again: his app was told that it was done, and sees that it was not.
    pub fn lose_power(&mut self, tail: Span) {
        self.hear();
        let from = self.world.now().time - tail;
        self.audit.power_failed(from);
        let broken = self.world.lose_power(from);
        for person in 0..self.people.len() {
            if broken.contains(&self.people[person].key) {
                self.make_again(person);
            }
        }
    }

    /// Lets time pass until everybody's mailbox is watched. False if that takes longer than `limit`.
    pub fn run_until_live(&mut self, limit: Span) -> bool {
        let people = self.watched() as u64;
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
        let now = self.world.now_of(PeerAt::Exchange(self.people[person].server));
        let place = self.place(person, mail.folder);
        let row = &mut self.people[person];
        let id = self.world.exchanges[row.server].deliver(now, row.mailbox, mail);
        let hash = item_hash(&self.item_key, &id);
        self.audit.arrived_in(row.user, hash, now.time, place);
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
        let now = self.world.now_of(PeerAt::Exchange(self.people[person].server));
        let row = &self.people[person];
        let id = &row.mails[mail];
        self.world.exchanges[row.server].mark_read(now, row.mailbox, id, true);
        let item = item_hash(&self.item_key, id);
        self.audit.read(row.user, item, now.time);
        if !self.readings_are_heard {
            self.audit.unheard(item);
        }
        self.world.collect();
    }

    /// One of the people deletes a mail in another program.
    pub fn delete(&mut self, person: usize, mail: usize) {
        let now = self.world.now_of(PeerAt::Exchange(self.people[person].server));
        let row = &self.people[person];
        let id = &row.mails[mail];
        self.world.exchanges[row.server].delete(now, row.mailbox, id);
        let item = item_hash(&self.item_key, id);
        self.audit.deleted(row.user, item, now.time, true);
        if !self.readings_are_heard {
            self.audit.unheard(item);
        }
        self.world.collect();
    }

    /// One of the people moves a mail to another folder in another program, or a rule does it for him. Nothing happens if
    /// it lies there, or was deleted.
    pub fn move_mail(&mut self, person: usize, mail: usize, to: FolderKey) {
        let now = self.world.now_of(PeerAt::Exchange(self.people[person].server));
        let place = self.place(person, to);
        let row = &mut self.people[person];
        let exchange = &mut self.world.exchanges[row.server];
        let old = &mut row.mails[mail];
        let Some(item) = exchange.item(row.mailbox, old).filter(|item| item.folder != to) else { return };
        let moved = Moved { unread: !item.read, heard: self.moves_are_heard };
        let Some(new) = exchange.move_item(now, row.mailbox, old, to) else { return };
        let hash = |id: &str| item_hash(&self.item_key, id);
        self.audit.moved(row.user, hash(old), hash(&new), now.time, place, moved);
        *old = new;
        self.world.collect();
    }

    pub(super) fn place(&self, person: usize, folder: FolderKey) -> Place {
        let row = &self.people[person];
        let watched = folder == INBOX || Some(folder) == row.chosen;
        Place { watched, counts: folder == INBOX || (watched && self.badge == BadgeCount::Watched) }
    }

    /// An app is opened.
    pub fn use_app(&mut self, person: usize, phone: usize) {
        let at = self.world.now().unix;
        let row = &self.people[person];
        if row.away || row.phones[phone].removed {
            return;
        }
        let command = Command::TouchDevice { user: row.key, device: row.phones[phone].key, at };
        self.audit.touched(row.phones[phone].phone, at);
        let shard = row.shard;
        self.world.command(shard, command);
    }

    /// An app registers again.
    pub fn register_again(&mut self, person: usize, phone: usize) {
        let now = self.world.now();
        let row = &mut self.people[person];
        if row.away {
            return;
        }
        row.stopped = false;
        row.phones[phone].removed = false;
        let service = row.phones[phone].service;
        let spec = &mut row.phones[phone].spec;
        spec.registered = now.unix;
        spec.active = now.unix;
        let command = Command::RegisterDevice { user: row.key, device: Box::new(spec.clone()) };
        self.world.apns[service].register(&row.phones[phone].token());
        self.audit.register_again(row.phones[phone].phone, now.time, now.unix);
        let shard = row.shard;
        self.world.command(shard, command);
    }

    /// Notifications of one of the people are stopped.
    pub fn stop(&mut self, person: usize) {
        if self.people[person].away {
            return;
        }
        self.people[person].stopped = true;
        let row = &self.people[person];
        self.audit.stopped(row.user, self.world.now().time);
        let (shard, command) = (row.shard, Command::StopUser { user: row.key });
        self.world.command(shard, command);
    }

    /// An app is gone from a phone.
    pub fn uninstall(&mut self, person: usize, phone: usize) {
        let row = &self.people[person].phones[phone];
        let now = self.world.now_of(PeerAt::Apns(row.service));
        self.world.apns[row.service].set_gone(row.device, now.unix);
        self.audit.phone_gone(row.phone, now.time);
    }

    /// What the phone of this person was told, oldest first.
    pub fn told(&self, person: usize, phone: usize) -> Vec<&Delivery> {
        let key = self.people[person].phones[phone].key;
        self.deliveries.iter().filter(|delivery| delivery.tag == key.0).collect()
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
        self.hear_reports();
        while let Some((service, push)) = self.world.poll_push() {
            let phone = self.phones[&(service, push.device)];
            self.audit.left(phone, push.at, &push.payload);
            if push.refused.is_some_and(Reason::is_of_message) {
                self.audit.refused(phone, push.at.time, &push.payload);
            }
        }
        for service in 0..self.world.apns.len() {
            while let Some(mut delivery) = self.world.apns[service].poll_delivery() {
                // Stamped by the push service's clock; what may be told is judged by the engine's.
                delivery.at = self.world.now();
                let phone = self.phones[&(service, delivery.device)];
                self.audit.delivered(phone, &delivery, |_| {});
                self.deliveries.push(delivery);
            }
        }
        self.hear_of_credentials();
    }
}

fn mail_server(endpoint: EndpointId) -> MailServer {
    MailServer {
        endpoint,
        path: "/EWS/Exchange.asmx".into(),
        credential: MailCredential::Basic { user: "EX\\carillon".into(), password: "correct horse".into() },
        impersonate: true,
        user_agent: "Carillon/0".into(),
        folders: Vec::new(),
        catch_up: CatchUp::default(),
        badge: BadgeCount::default(),
        cohort_users_max: 200,
        stream_minutes: 29,
        stream_idle_s: 120,
        calls_max: 8,
        call_timeout_s: 100,
        subscribes_per_s: 1_000,
    }
}

fn device_spec(device: DeviceKey, service: usize, token: &str, app: &str, now: UnixMillis) -> DeviceSpec {
    DeviceSpec {
        device,
        service: PushServiceId(service as u16),
        token: DeviceToken::parse(token).expect("hex"),
        topic: Topic::parse(app).expect("a bundle id"),
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
