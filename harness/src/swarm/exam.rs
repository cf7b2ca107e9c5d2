//! After the last fault: a day that ends in peace must be one in which everything works.

use carillon_core::shard::{DeviceSettings, Timing};
use carillon_core::time::Span;

use crate::world::town::Town;

/// Below this, mail cannot come faster than it settles without a crowd of it.
const SETTLE_MS_MIN: u32 = 1_000;

/// What a phone may take beyond the longest delay: one fetch that gets no answer, one idle connection that turns out to have
/// died in silence, and the way there.
const SLACK: Span = Span::from_secs(30);

/// What one of the people can expect after a day: he is told of a single mail in time, his badge follows when he reads it
/// elsewhere, and his phones ring all the while that mail keeps coming. Returns how many mails came.
///
/// # Errors
/// What he waited for in vain.
pub(super) fn examine(town: &mut Town, timing: &Timing, person: usize) -> Result<u64, String> {
    for phone in 0..town.people[person].phones.len() {
        town.choose(person, phone, &DeviceSettings::default());
    }
    // Connections that died in silence are noticed, whatever the day left behind goes out.
    town.deliver(person, "is anybody there?");
    town.run_for(Span::from_secs(120));
    let patience = Span::from_millis(timing.max_delay_ms.into()) + SLACK;
    tell_of_one_mail(town, person, patience)?;
    follow_a_reading(town, person, patience)?;
    Ok(2 + ring_through_a_drizzle(town, timing, person, patience)?)
}

fn tell_of_one_mail(town: &mut Town, person: usize, patience: Span) -> Result<(), String> {
    let begin = town.world.now().time;
    town.deliver(person, "a single mail");
    town.run_for(patience);
    for phone in 0..town.people[person].phones.len() {
        let told = town.told(person, phone);
        if !told.iter().any(|push| push.payload.is_alert() && push.at.time >= begin) {
            let patience = patience.as_millis();
            return Err(format!(
                "phone {phone} of {person} was not told of a single mail within {patience} ms"
            ));
        }
    }
    Ok(())
}

fn follow_a_reading(town: &mut Town, person: usize, patience: Span) -> Result<(), String> {
    let last = town.people[person].mails.len() - 1;
    town.read(person, last);
    town.run_for(patience);
    match town.badges_are_right() {
        true => Ok(()),
        false => {
            let patience = patience.as_millis();
            Err(format!("{person} read a mail elsewhere, and a badge did not follow within {patience} ms"))
        }
    }
}

/// Mail keeps coming in to one of the people, always before the last one has settled: the first one sets the deadline.
fn ring_through_a_drizzle(
    town: &mut Town,
    timing: &Timing,
    person: usize,
    patience: Span,
) -> Result<u64, String> {
    if timing.settle_ms < SETTLE_MS_MIN {
        return Ok(0);
    }
    let pause = Span(u64::from(timing.settle_ms) * 700);
    let begin = town.world.now().time;
    let mut mails = 0;
    while town.world.now().time.since(begin) < patience + patience {
        town.deliver(person, "and another");
        mails += 1;
        town.run_for(pause);
    }
    let end = town.world.now().time;
    for phone in 0..town.people[person].phones.len() {
        let alerts = town.told(person, phone).into_iter().filter(|push| push.payload.is_alert());
        let rings = alerts.map(|push| push.at.time).filter(|at| *at >= begin).chain([end]);
        let mut last = begin;
        for at in rings {
            let silent = at.since(last);
            if silent > patience {
                let (silent, patience) = (silent.as_millis(), patience.as_millis());
                return Err(format!(
                    "phone {phone} of {person} was silent for {silent} ms while mail kept coming; {patience} ms is the most"
                ));
            }
            last = at;
        }
    }
    Ok(mails)
}
