//! What people do with their phones beside using them: other settings.

use carillon_core::shard::DeviceSettings;

use super::town::Town;
use crate::phone::Wants;

impl Town {
    /// An app registers again, with other settings.
    pub fn choose(&mut self, person: usize, phone: usize, settings: &DeviceSettings) {
        let row = &mut self.people[person].phones[phone];
        row.spec.settings.clone_from(settings);
        self.audit.wants(row.phone, self.world.now().time, wants(settings));
        self.register_again(person, phone);
    }
}

fn wants(settings: &DeviceSettings) -> Wants {
    let DeviceSettings { alerts, details, badge, localized, sound, vip_sound: _ } = settings;
    Wants { alerts: *alerts, details: *details, badge: *badge, localized: *localized, sound: sound.is_some() }
}
