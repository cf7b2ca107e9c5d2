//! What people do with their phones, what becomes of their tokens, and what they are told.

use carillon_core::names::DeviceToken;
use carillon_core::shard::{Command, DeviceSettings};

use super::{APPS, ENVIRONMENTS, PhoneOf, Town};
use crate::apns::{Delivery, Environment, TokenSpec};
use crate::phone::Wants;
use crate::world::PeerAt;

impl PhoneOf {
    /// What the push service is to know of it.
    pub(super) fn token(&self) -> TokenSpec<'_> {
        TokenSpec {
            token: self.spec.token.as_str(),
            bundle: self.spec.topic.as_str(),
            environment: ENVIRONMENTS[self.service],
            tag: self.spec.device.0,
        }
    }
}

impl Town {
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
        row.phones[phone].removed = false;
        let service = row.phones[phone].service;
        let spec = &mut row.phones[phone].spec;
        spec.registered = now.unix;
        spec.active = now.unix;
        spec.stopped = false;
        let command = Command::RegisterDevice { user: row.key, device: Box::new(spec.clone()) };
        self.world.apns[service].register(&row.phones[phone].token());
        self.audit.register_again(row.phones[phone].phone, now.time, now.unix);
        let shard = row.shard;
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

    /// An app registers again, with other settings.
    pub fn choose(&mut self, person: usize, phone: usize, settings: &DeviceSettings) {
        if self.people[person].away {
            return;
        }
        let row = &mut self.people[person].phones[phone];
        row.spec.settings.clone_from(settings);
        self.audit.wants(row.phone, self.world.now().time, wants(settings));
        self.register_again(person, phone);
    }

    /// An app's token is not good any more; the app does not know it yet.
    pub fn expire_token(&mut self, person: usize, phone: usize) {
        let row = &self.people[person].phones[phone];
        let now = self.world.now_of(PeerAt::Apns(row.service));
        self.world.apns[row.service].set_expired(row.device, now.unix);
        self.audit.phone_gone(row.phone, self.world.now().time);
    }

    /// An app gets another token, and registers with it. The one before may stay good.
    pub fn renew_push_token(&mut self, person: usize, phone: usize, stays_good: bool) {
        if self.people[person].away {
            return;
        }
        let row = &mut self.people[person].phones[phone];
        row.renewals += 1;
        let token = format!("{:032x}{:032x}", row.renewals, row.key.0);
        let now = self.world.now_of(PeerAt::Apns(row.service));
        self.world.apns[row.service].renew(row.device, &token, (!stays_good).then_some(now.unix));
        row.spec.token = DeviceToken::parse(&token).expect("hex");
        self.register_again(person, phone);
    }

    /// An app registers with a token of the other environment or, without `environment`, of the other app: the push service
    /// knows no such token, until the app gets another.
    pub fn misplace_token(&mut self, person: usize, phone: usize, environment: bool) {
        if self.people[person].away {
            return;
        }
        self.renew_push_token(person, phone, true);
        let row = &self.people[person].phones[phone];
        let here = ENVIRONMENTS[row.service];
        let app = row.spec.topic.as_str();
        let other_app = if app == APPS[0] { APPS[1] } else { APPS[0] };
        let (environment, bundle) = match (environment, here) {
            (true, Environment::Production) => (Environment::Sandbox, app),
            (true, Environment::Sandbox) => (Environment::Production, app),
            (false, _) => (here, other_app),
        };
        self.world.apns[row.service].misplace(row.device, environment, bundle);
        self.audit.phone_gone(row.phone, self.world.now().time);
    }

    /// Whether the push service knows an app's token elsewhere.
    pub fn is_misplaced(&self, person: usize, phone: usize) -> bool {
        let row = &self.people[person].phones[phone];
        let known = self.world.apns[row.service].row(row.device);
        known.environment != ENVIRONMENTS[row.service] || *known.bundle != *row.spec.topic.as_str()
    }
}

fn wants(settings: &DeviceSettings) -> Wants {
    let DeviceSettings { alerts, details, badge, localized, sound, vip_sound: _ } = settings;
    Wants { alerts: *alerts, details: *details, badge: *badge, localized: *localized, sound: sound.is_some() }
}
