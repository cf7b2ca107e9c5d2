//! People who settle: each with a mailbox and phones, known to the engine and to the audit.

use carillon_core::names::{DeviceKey, DeviceToken, SmtpAddress, Topic, UserKey};
use carillon_core::shard::{
    AssignUser, Command, DeviceSettings, DeviceSpec, MailServerId, PushServiceId, VipRules,
};
use carillon_core::time::UnixMillis;

use super::{APPS, ENVIRONMENTS, Person, PhoneOf, Town};
use crate::apns::TokenSpec;
use crate::audit::UserIx;
use crate::exchange::{ImpersonationRight, MailboxSpec};
use crate::phone::Wants;

/// A user who has so many phones gets no new one: made-up devices need the other places.
const PHONES_MAX: usize = 4;

/// Keys of one user's phones.
const KEYS: usize = 16;

impl Town {
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
        let chosen: Vec<_> = chooses.then(|| exchange.add_folder(mailbox, "Projects")).into_iter().collect();
        let user = self.audit.add_user(0);
        let mut person = Person {
            shard: number % shards,
            key: UserKey(number as u64),
            server,
            mailbox,
            user,
            own: chosen.clone(),
            chosen,
            phones: Vec::new(),
            mails: Vec::new(),
            away: false,
        };
        for phone in 0..phones {
            person.phones.push(self.phone(number, phone, user));
        }
        let devices = person.phones.iter().map(|phone| phone.spec.clone()).collect();
        let assign = self.assign(&person, VipRules::default(), devices);
        self.world.command(person.shard, Command::AssignUser(Box::new(assign)));
        self.people.push(person);
    }

    /// One of the people gets a new phone, and the app on it registers.
    pub fn new_phone(&mut self, person: usize) {
        let row = &self.people[person];
        if row.away || row.phones.len() >= PHONES_MAX {
            return;
        }
        let phone = self.phone(person, row.phones.len(), row.user);
        let row = &mut self.people[person];
        let command = Command::RegisterDevice { user: row.key, device: Box::new(phone.spec.clone()) };
        row.phones.push(phone);
        let shard = row.shard;
        self.world.command(shard, command);
    }

    /// A phone with its app, known to the push service and to the audit.
    fn phone(&mut self, number: usize, phone: usize, user: UserIx) -> PhoneOf {
        let now = self.world.now();
        let token = format!("{:064x}", (number as u128) << 16 | phone as u128 | 0xabcd << 64);
        let key = DeviceKey((number * KEYS + phone) as u64);
        let service = (number + phone) % self.world.apns.len();
        let app = APPS[if self.two_apps { phone % APPS.len() } else { 0 }];
        let spec = TokenSpec { token: &token, bundle: app, environment: ENVIRONMENTS[service], tag: key.0 };
        let device = self.world.apns[service].register(&spec);
        let in_audit = self.audit.add_phone(user, now.time, now.unix, Wants::default());
        self.phones.insert((service, device), in_audit);
        let spec = device_spec(key, service, &token, app, now.unix);
        PhoneOf { service, key, device, phone: in_audit, spec, removed: false, renewals: 0 }
    }

    /// The present address of one of the people.
    pub fn address(&self, person: usize) -> &str {
        let row = &self.people[person];
        self.world.exchanges[row.server].address(row.mailbox)
    }

    /// The owner assigns one of the people with the address of a mailbox on the same server that is nobody's here, and gets
    /// no mail.
    pub fn go_elsewhere(&mut self, person: usize) {
        let address = format!("other{person:05}@example.com");
        let server = self.people[person].server;
        let account = self.account(server);
        let exchange = &mut self.world.exchanges[server];
        if exchange.find_mailbox(&address).is_none() {
            let mailbox =
                exchange.add_mailbox(MailboxSpec { address: address.clone(), ..MailboxSpec::default() });
            exchange.change_account(account, |account| {
                if account.impersonation == ImpersonationRight::None {
                    account.full_access.insert(mailbox);
                }
            });
        }
        let address = SmtpAddress::parse(&address).expect("well-formed");
        self.readdress(person, |assign| {
            assign.address = address;
            assign.folders.clear();
        });
    }

    /// The owner assigns one of the people with the own address and folders.
    pub fn go_home(&mut self, person: usize) {
        self.readdress(person, |_| {});
    }

    fn readdress(&mut self, person: usize, change: impl FnOnce(&mut AssignUser)) {
        let row = &self.people[person];
        let Some(known) = self.world.store.assigned(row.key).filter(|_| !row.away) else { return };
        let mut assign = AssignUser { grouping: known.grouping, ..self.assign(row, known.vip, Vec::new()) };
        change(&mut assign);
        let shard = row.shard;
        self.world.command(shard, Command::AssignUser(Box::new(assign)));
    }

    /// What the engine's owner says of one of the people.
    pub(super) fn assign(&self, person: &Person, vip: VipRules, devices: Vec<DeviceSpec>) -> AssignUser {
        let exchange = &self.world.exchanges[person.server];
        let address = exchange.address(person.mailbox);
        AssignUser {
            folders: self.folder_ids(person),
            vip,
            devices,
            ..AssignUser::new(
                person.key,
                SmtpAddress::parse(address).expect("addresses of a town are well-formed"),
                Some(MailServerId(person.server as u16)),
            )
        }
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
        stopped: false,
        badge: None,
        unsettled: None,
    }
}
