//! Databases that hang, with all mailboxes in them, and proxies that do not let streams through: on which days, and when.

use carillon_core::rng::Rng;
use carillon_core::time::Span;

use super::super::plan::{Act, Plan, below, chance, pick};
use super::super::profile;
use super::MailboxAct;
use crate::exchange::Proxy;

/// What is drawn here has a generator of its own: the rest of a day is what it would be without.
const SLOW: u64 = 0x51_0d47_aba5_e001;

/// So long it lasts at most.
const LENGTH_MAX: Span = Span::from_secs(300);

impl Plan {
    pub(in super::super) fn draw_slow(&mut self, profile: &profile::Mailboxes) {
        let mut rng = Rng::new(self.seed ^ SLOW);
        let rng = &mut rng;
        let hangs = chance(rng, &profile.hangs_percent);
        let proxies = chance(rng, &profile.proxies_percent);
        for _ in 0..if hangs { 1 + rng.below(3) } else { 0 } {
            let at = self.moment(rng);
            let length = below(rng, LENGTH_MAX);
            let late = Some(Span::from_secs(2 + rng.below(28)));
            let answer_after = pick(rng, &[None, None, late]);
            let (first, mailboxes) = (rng.below(1 << 20) as usize, 1 + rng.below(self.users as u64) as usize);
            for user in first..first + mailboxes.div_ceil(2) {
                self.acts.push((at, Act::Mailboxes(MailboxAct::Hang { user, answer_after, length })));
            }
        }
        for _ in 0..if proxies { 1 + rng.below(2) } else { 0 } {
            let cuts = Proxy::Cuts(Span::from_secs(5 + rng.below(60)));
            let proxy =
                pick(rng, &[Proxy::Buffers, Proxy::Buffers, Proxy::BuffersRest, cuts, Proxy::Empties]);
            let (server, length) = (rng.below(1 << 20) as usize, below(rng, Span(2 * LENGTH_MAX.0)));
            self.acts
                .push((self.moment(rng), Act::Mailboxes(MailboxAct::Obstruct { server, proxy, length })));
        }
    }
}
