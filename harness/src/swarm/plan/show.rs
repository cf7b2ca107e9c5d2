//! A plan for people to read.

use std::collections::BTreeMap;

use super::Plan;
use crate::exchange::SubscriptionIds;

impl std::fmt::Display for Plan {
    /// The drawn configuration; of a long day, how often each thing happens instead of all that happens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Plan {
            seed,
            users,
            phones,
            shards,
            back_ends,
            cohort_users_max,
            stream_minutes,
            calls_max,
            catch_up,
            ..
        } = self;
        writeln!(
            f,
            "seed {seed}: {users} users with {phones} phones each, {shards} shards, {} mail servers with {back_ends} back ends",
            self.mail_servers
        )?;
        writeln!(f, "  {:.0} s, then calm; {:?}", self.length.0 as f64 / 1e6, self.timing)?;
        writeln!(
            f,
            "  cohorts of {cohort_users_max}, streams of {stream_minutes} min, {calls_max} calls in flight, catch-up by {catch_up:?}"
        )?;
        writeln!(f, "  {:?}", self.manners)?;
        writeln!(f, "  {:?}", self.knobs)?;
        writeln!(
            f,
            "  network: {:?} and up to {:?} more, pieces of {:?} bytes, up to {:?} apart",
            self.delay, self.jitter, self.fragment_bytes_max, self.piece_gap_max
        )?;
        writeln!(
            f,
            "  clocks: mail server {} ms ahead, push service {} ms behind, both {} ppm fast",
            self.mail_clock_ahead_ms, self.push_clock_behind_ms, self.drift_ppm
        )?;
        writeln!(
            f,
            "  a folder beside the inbox: users {:?}; the badge counts {:?}",
            self.choosers, self.badge
        )?;
        if self.sandbox {
            writeln!(f, "  two push services")?;
        }
        let credential = if self.mail_tokens { "bearer token" } else { "password" };
        writeln!(f, "  a {credential} for mail, mended within {} s", self.patience.as_millis() / 1_000)?;
        if let Some(reports) = self.journal_room {
            writeln!(f, "  the journal of a shard has room for {reports} reports")?;
        }
        if self.two_apps {
            writeln!(f, "  two apps")?;
        }
        if self.subscription_ids != SubscriptionIds::Unique {
            writeln!(f, "  subscriptions are numbered: {:?}", self.subscription_ids)?;
        }
        if self.full_access {
            writeln!(f, "  full access to all mailboxes, no impersonation")?;
        }
        match self.tokens {
            Some(after) => {
                writeln!(f, "  provider tokens, renewed after {} min", after.as_millis() / 60_000)?
            }
            None => writeln!(f, "  a client certificate for pushes")?,
        }
        if self.acts.len() <= ACTS_SHOWN_MAX {
            for (at, act) in &self.acts {
                writeln!(f, "{:12.6} s  {act:?}", at.0 as f64 / 1e6)?;
            }
            return Ok(());
        }
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for (_, act) in &self.acts {
            *counts.entry(kind(&format!("{act:?}"))).or_default() += 1;
        }
        let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
        writeln!(f, "  {} things happen: {}", self.acts.len(), counts.join(", "))
    }
}

/// A day of up to so many things is shown with all of them.
const ACTS_SHOWN_MAX: usize = 60;

/// What happens, without to whom: `Crash`, `Mailboxes: Offline`.
fn kind(act: &str) -> String {
    let name = act.split([' ', '{', ')']).next().unwrap_or_default();
    name.replace('(', ": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::{Act, MailboxAct, PhoneAct};

    #[test]
    fn what_happens_often_is_counted_by_its_kind() {
        let miss = Act::Mailboxes(MailboxAct::MissEvents { user: 3 });
        let kinds = [Act::ResetLane, Act::Crash { shard: 1 }, miss, Act::Phones(PhoneAct::AllHands)]
            .map(|act| kind(&format!("{act:?}")));
        assert_eq!(kinds, ["ResetLane", "Crash", "Mailboxes: MissEvents", "Phones: AllHands"]);
    }
}
