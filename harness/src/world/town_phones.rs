//! What people do with their phones beside using them, and what becomes of their tokens.

use carillon_core::names::DeviceToken;
use carillon_core::shard::DeviceSettings;

use super::PeerAt;
use super::town::{APPS, ENVIRONMENTS, PhoneOf, Town};
use crate::apns::{Environment, TokenSpec};
use crate::phone::Wants;

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
