//! How a story of a town begins and ends: all mailboxes are watched, and nobody has anything to object to.

use carillon_core::time::Span;

use super::town::{Town, TownConfig};
use crate::audit::AuditReport;

/// So many seconds.
pub fn secs(s: u64) -> Span {
    Span::from_secs(s)
}

/// So many minutes.
pub fn minutes(m: u64) -> Span {
    secs(60 * m)
}

/// A new town with all mailboxes watched.
///
/// # Panics
/// As [`until_live`].
pub fn live(config: TownConfig) -> Town {
    until_live(Town::new(config))
}

/// The town with all mailboxes watched.
///
/// # Panics
/// If that takes more than a minute: with the first shard's figures and what the engine reported.
pub fn until_live(mut town: Town) -> Town {
    assert!(town.run_until_live(secs(60)), "not live: {:?}\n{:?}", town.world.stats(0), town.world.reports);
    town
}

/// Ends the town. No mail server may complain of the client, and the audit must find nothing.
///
/// # Panics
/// Otherwise, with what is wrong.
pub fn clean(town: Town) -> AuditReport {
    for exchange in &town.world.exchanges {
        let violations = exchange.violations();
        assert!(violations.is_empty(), "a mail server complains: {violations:?}");
    }
    let report = town.finish();
    assert!(report.is_clean(), "{report:#?}");
    report
}
