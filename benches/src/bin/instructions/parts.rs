//! The hot parts, each prepared outside of what is counted.

use std::hint::black_box;

use carillon_benches::exchange::{STREAM_HEAD, item, item_id, one_mail, push_chunk, response};
use carillon_benches::provider::Provider;
use carillon_benches::samples::{delay, push, usual_mail};
use carillon_benches::users::Town;
use carillon_core::ews::response::get_item;
use carillon_core::ews::{Caller, SchemaVersion, StreamConn, StreamEvent, request};
use carillon_core::limits::{APNS_PAYLOAD_BYTES_MAX, READ_BYTES_PER_TURN};
use carillon_core::names::{DeviceToken, ItemId, SmtpAddress, Topic};
use carillon_core::notice::{Notice, Text, compose_apns};
use carillon_core::push::{Lane, LaneConfig, LaneEvent, Outcome};
use carillon_core::rng::Rng;
use carillon_core::time::{Span, Time};
use carillon_core::wheel::Wheel;

/// What is done in one counted call: mails, pushes or timers.
const REPEATS: u64 = 1_000;

/// The name of a part, and what runs it once.
pub(crate) type Part = (&'static str, fn());

/// All parts, in the order of a mail's way.
pub(crate) const PARTS: &[Part] = &[
    ("stream, new mail", stream_new_mail),
    ("GetItem request", get_item_request),
    ("GetItem answer", get_item_answer),
    ("payload, badge only", payload_badge_only),
    ("payload, with details", payload_with_details),
    ("lane, push", lane_push),
    ("shard, signal to accepted", shard_signal_to_accepted),
    ("wheel, arm", wheel_arm),
    ("wheel, fire", wheel_fire),
];

/// What callgrind counts: everything that is called from here. Its name stands in the options of `valgrind`.
#[inline(never)]
pub(crate) fn counted_part<R>(part: impl FnOnce() -> R) -> R {
    black_box(part())
}

/// Instructions are given for one of these.
pub(crate) const fn repeats() -> u64 {
    REPEATS
}

fn stream_new_mail() {
    let mut bytes = Vec::new();
    for mail in 0..REPEATS {
        push_chunk(&mut bytes, &one_mail("JwBtYng=", mail));
    }
    let mut conn = StreamConn::open(Time(0), Vec::new(), Span::from_secs(120), Span::from_secs(1_800));
    conn.feed(Time(1), STREAM_HEAD.as_bytes());
    let events = counted_part(|| {
        let mut events = 0;
        for piece in bytes.chunks(READ_BYTES_PER_TURN) {
            conn.feed(Time(1), piece);
            while let Some(event) = conn.poll() {
                events += u64::from(matches!(event, StreamEvent::Notification { .. }));
            }
        }
        events
    });
    assert_eq!(events, REPEATS);
}

fn get_item_request() {
    let mailbox = SmtpAddress::parse("firstname.lastname0000001@example.com").expect("an address");
    let caller = Caller { version: SchemaVersion::default(), mailbox: &mailbox, impersonate: true };
    let items: Vec<ItemId> =
        (0..REPEATS).map(|number| ItemId::parse(&item_id(number)).expect("an id")).collect();
    let ask = || {
        for item in &items {
            black_box(request::get_item(&caller, &[item]));
        }
    };
    // The first allocations of each size fill the allocator's caches, which costs differently much each time.
    ask();
    counted_part(ask);
}

fn get_item_answer() {
    let bodies: Vec<String> = (0..REPEATS)
        .map(|number| {
            let mail = item(
                &item_id(number),
                &item_id(0),
                "2026-01-05T08:00:00Z",
                "Offer for the meeting rooms, second floor",
            );
            response(
                "GetItem",
                &format!(
                    "<m:GetItemResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>\
                     <m:Items>{mail}</m:Items></m:GetItemResponseMessage>"
                ),
            )
        })
        .collect();
    let read = || {
        let answers = bodies.iter().map(|body| get_item(body.as_bytes()).expect("an answer"));
        answers.map(|items| items.iter().filter(|item| item.is_ok()).count() as u64).sum::<u64>()
    };
    read();
    assert_eq!(counted_part(read), REPEATS);
}

fn payload_badge_only() {
    compose(Text::BadgeOnly);
}

fn payload_with_details() {
    let mail = usual_mail();
    compose(Text::Mail { mail: &mail, localized: false });
}

fn compose(text: Text<'_>) {
    let items = [0x1122_3344_5566_7788];
    let notice = Notice {
        text,
        badge: Some(7),
        sound: Some("default"),
        vip: false,
        account: 42,
        user: 43,
        items: &items,
    };
    let mut payload = Vec::new();
    compose_apns(&mut payload, &notice, APNS_PAYLOAD_BYTES_MAX);
    counted_part(|| {
        for _ in 0..REPEATS {
            compose_apns(&mut payload, black_box(&notice), APNS_PAYLOAD_BYTES_MAX);
        }
    });
}

/// The lane's side of HTTP/2 alone. The answers were recorded from a provider that got the same pushes.
fn lane_push() {
    const WINDOW: u64 = 10;
    let token = DeviceToken::parse(&"00112233".repeat(8)).expect("hex");
    let topic = Topic::parse("com.example.mail").expect("a bundle id");
    let payload = [b'x'; 254];
    // Two lanes say the same bytes. The first one's talk yields the answers for the second one.
    let talk = |lane: &mut Lane, number: Option<u64>, answer: &mut dyn FnMut(&[u8]) -> Vec<u8>| {
        let mut accepted = 0;
        if let Some(first) = number {
            for number in first..first + WINDOW {
                lane.send(Time(1), number, &push(&token, &topic, &payload, number))
                    .expect("the window has room");
            }
        }
        let mut bytes = Vec::new();
        while lane.drain(&mut bytes, usize::MAX) {}
        lane.feed(Time(1), &answer(&bytes));
        while let Some(event) = lane.poll(Time(1)) {
            match event {
                LaneEvent::Settled { outcome: Outcome::Accepted, .. } => accepted += 1,
                other => panic!("{other:?}"),
            }
        }
        accepted
    };
    let rounds: Vec<Option<u64>> =
        [None, None].into_iter().chain((0..REPEATS / WINDOW).map(|round| Some(round * WINDOW))).collect();
    let mut provider = Provider::new();
    let mut answers = Vec::new();
    let mut lane = Lane::new(Time(0), LaneConfig::apns("api.push.apple.com", false));
    for &round in &rounds {
        talk(&mut lane, round, &mut |bytes| {
            let mut reply = Vec::new();
            provider.exchange(bytes, &mut reply);
            answers.push(reply.clone());
            reply
        });
    }
    let mut answers = answers.into_iter();
    let mut recorded = |_: &[u8]| answers.next().expect("as many turns as before");
    let mut lane = Lane::new(Time(0), LaneConfig::apns("api.push.apple.com", false));
    let (greeting, pushes) = rounds.split_at(2);
    for &round in greeting {
        talk(&mut lane, round, &mut recorded);
    }
    let accepted =
        counted_part(|| pushes.iter().map(|&round| talk(&mut lane, round, &mut recorded)).sum::<u64>());
    assert_eq!(accepted, REPEATS);
}

/// With the provider's side of HTTP/2.
fn shard_signal_to_accepted() {
    const USERS: u64 = 10_000;
    let mut town = Town::with_users(USERS);
    // The first pushes open the lane's window and grow its buffers.
    for round in 0..2 {
        let before = town.core.stats().ledger.accepted;
        let mut mails = || {
            for number in 0..REPEATS {
                town.mail(number * (USERS / REPEATS) + round);
            }
            town.pass(Span::from_millis(5));
            town.turn();
        };
        if round == 0 {
            mails()
        } else {
            counted_part(mails)
        }
        assert_eq!(town.core.stats().ledger.accepted - before, REPEATS);
    }
}

fn timers() -> (Wheel<u32>, Vec<carillon_core::wheel::TimerSlot>, Rng) {
    let mut wheel = Wheel::new(Time(0));
    let slots = (0..100_000).map(|key| wheel.slot(key)).collect();
    (wheel, slots, Rng::new(1))
}

fn wheel_arm() {
    let (mut wheel, slots, mut rng) = timers();
    for slot in &slots {
        wheel.arm(slot, Time(0) + delay(&mut rng));
    }
    let chosen: Vec<(usize, Time)> =
        (0..REPEATS).map(|_| (rng.below(slots.len() as u64) as usize, Time(0) + delay(&mut rng))).collect();
    counted_part(|| {
        for &(slot, at) in &chosen {
            wheel.arm(&slots[slot], at);
        }
    });
}

/// All that fire within the first half second.
fn wheel_fire() {
    let (mut wheel, slots, mut rng) = timers();
    for slot in &slots[..REPEATS as usize] {
        wheel.arm(slot, Time(0) + Span::from_millis(rng.below(500)));
    }
    let fired = counted_part(|| {
        let mut fired = 0;
        while let Some(at) = wheel.next_deadline() {
            while wheel.pop_expired(at).is_some() {
                fired += 1;
            }
        }
        fired
    });
    assert_eq!(fired, REPEATS);
}
