//! Which faults struck in the course of a day, as far as the world and the peers count them.

use std::collections::BTreeMap;

use crate::exchange::Code;
use crate::world::{Fault, World};

/// How often each, by name.
pub(super) fn struck(world: &World) -> BTreeMap<String, u64> {
    let mut struck: BTreeMap<String, u64> = BTreeMap::new();
    let mut add = |name: String, times: u64| {
        if times > 0 {
            *struck.entry(name).or_default() += times;
        }
    };
    for fault in Fault::ALL {
        add(format!("{fault:?}"), world.struck().times(fault));
    }
    for exchange in &world.exchanges {
        let stats = exchange.stats();
        for (status, times) in stats.statuses.iter().filter(|(status, _)| **status != 200) {
            add(format!("mail server: {status}"), *times);
        }
        for ((_, code), times) in stats.responses.iter().filter(|((_, code), _)| *code != Code::NoError) {
            add(format!("mail server: {code:?}"), *times);
        }
        for (code, times) in &stats.faults {
            add(format!("mail server: fault {code:?}"), *times);
        }
        add("mail server: calls never answered".to_owned(), stats.calls_hung);
        add("mail server: calls answered late".to_owned(), stats.calls_slow);
        add("mail server: streams obstructed".to_owned(), stats.streams_obstructed);
        add("mail server: events lost".to_owned(), stats.events_lost);
        add("mail server: streams taken over".to_owned(), stats.streams_taken_over);
        add("mail server: ids given out again".to_owned(), stats.ids_given_again);
        add("mail server: stale ids accepted".to_owned(), stats.stale_ids);
        add("mail server: log-ins refused".to_owned(), stats.refused);
        add("mail server: no UTF-8".to_owned(), stats.not_utf8);
        add("mail server: old counts".to_owned(), stats.stale_counts);
        add("mail server: mails from the future".to_owned(), stats.from_the_future);
        add("mail server: connections given up".to_owned(), stats.given_up);
    }
    for apns in &world.apns {
        let stats = apns.stats();
        for (reason, times) in &stats.refused {
            add(format!("push service: {reason:?}"), *times);
        }
        add("push service: tokens made up".to_owned(), stats.unknown_tokens);
        add("push service: pushes lost".to_owned(), stats.unprocessed);
        add("push service: answers lost".to_owned(), stats.unanswered);
        add("push service: streams reset".to_owned(), stats.resets);
        add("push service: sent away".to_owned(), stats.goaways);
        add("push service: told again".to_owned(), stats.duplicates);
    }
    struck
}
