//! People who settle: each with a mailbox and phones, known to the engine and to the audit.

use carillon_core::names::{DeviceKey, DeviceToken, SmtpAddress, Topic, UserKey};
use carillon_core::shard::{
    AssignUser, Command, DeviceSettings, DeviceSpec, MailServerId, PushServiceId, VipRules,
};
use carillon_core::time::UnixMillis;

use super::{APPS, ENVIRONMENTS, Person, PhoneOf, Town};
use crate::apns::TokenSpec;
use crate::exchange::MailboxSpec;
use crate::phone::Wants;

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
        let now = self.world.now();
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
        badge: None,
        unsettled: None,
    }
}
