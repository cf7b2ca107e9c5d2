//! The table of Exchange's codes, walked through a shard: the strict server gives each code at each place where it can
//! occur, and what is asked next, not before when, and what becomes of the neighbours, is looked at.

use std::collections::BTreeSet;

use carillon_core::ews::{Action, EwsError, ResponseCode};
use carillon_core::shard::{CatchUp, Report};
use carillon_core::time::{Span, Time};
use carillon_harness::exchange::{Asked, Code, ExchangeConfig, MailboxKey, Operation, Override, Version};
use carillon_harness::world::town::{Town, TownConfig};

/// People in the town: number 0 is the anchor of their stream, number 2 is the one in trouble.
const USERS: usize = 4;
const VICTIM: usize = 2;

/// Seconds from a refusal to the next attempt, at least and at most.
type Window = (f64, f64);
const AT_ONCE: Window = (0.0, 2.3);
const SOON: Window = (2.4, 5.3);
const MOMENT: Window = (4.9, 10.3);

/// When a mailbox is asked for again after a call on it was refused.
fn pause(action: Action) -> Window {
    match action {
        Action::DropFolder | Action::StartOver | Action::LowerVersion => (0.0, 0.2),
        Action::Resubscribe
        | Action::RetryConnection
        | Action::RetryOrBisect
        | Action::CatchUp
        | Action::StepAside
        | Action::ItemGone
        | Action::ItemUnreadable
        | Action::RetryItem
        | Action::ConvertId
        | Action::Alarm
        | Action::Terminal
        | Action::OurBug => SOON,
        Action::Rediscover
        | Action::AwaitMove
        | Action::AwaitStore
        | Action::MailboxGone
        | Action::FewerSubscriptions => MOMENT,
        Action::BackOffAccount { .. } => (59.9, 60.3),
        Action::FewerConnections { .. } => (29.9, 30.3),
        Action::AuthFailed | Action::NoCommonAuth => panic!("no code of Exchange, but an HTTP status"),
    }
}

/// Whether the owner is asked to look for the mailbox anew.
fn looks_elsewhere(action: Action) -> bool {
    matches!(action, Action::Rediscover | Action::AwaitMove | Action::MailboxGone)
}

fn table() -> impl Iterator<Item = (&'static ResponseCode, Code, Action)> {
    ResponseCode::NAMED.iter().map(|code| {
        let given = Code::parse(code.name()).expect("the server gives every code of the table");
        (code, given, EwsError::new(code.clone(), "", None).action())
    })
}

/// A live town whose server writes down what it is asked, with the record empty.
struct Stage {
    town: Town,
    what: String,
    from: Time,
    reports: usize,
}

impl Stage {
    /// Gives the engine a reason to make this call for a mailbox: another subscription, or a look into it.
    fn provoke(&mut self, operation: Operation, mailbox: MailboxKey) {
        let now = self.town.world.now();
        let exchange = &mut self.town.world.exchanges[0];
        match operation {
            Operation::Subscribe => {
                exchange.fail_subscriptions(now, &[mailbox], Code::ErrorSubscriptionNotFound, None);
            }
            _ => exchange.miss_events(mailbox),
        }
        self.town.world.collect();
    }

    fn set(what: String) -> Stage {
        Stage::set_with(what, CatchUp::Find)
    }

    fn set_with(what: String, catch_up: CatchUp) -> Stage {
        let exchange = ExchangeConfig { record_asked: true, ..ExchangeConfig::default() };
        let config = TownConfig {
            users: USERS,
            exchange,
            mail_server: Box::new(move |server| server.catch_up = catch_up),
            wait_max: Span::from_secs(8_000),
            ..TownConfig::default()
        };
        let mut town = Town::new(config);
        assert!(town.run_until_live(Span::from_secs(60)), "{what}");
        town.run_for(Span::from_secs(60));
        town.world.exchanges[0].take_asked();
        let (from, reports) = (town.world.now().time, town.world.reports.len());
        Stage { town, what, from, reports }
    }

    fn mailbox(&self, person: usize) -> MailboxKey {
        self.town.people[person].mailbox
    }

    fn run(&mut self, window: Window) -> Vec<Asked> {
        self.town.run_for(Span((window.1 * 1e6) as u64 + 10_000_000));
        self.town.world.exchanges[0].take_asked()
    }

    /// A mail for somebody else is told in time.
    fn others_go_on(&mut self, from: Time, within: f64) {
        let neighbour = 1;
        let told = self.town.told(neighbour, 0);
        let at =
            told.iter().find(|push| push.payload.is_alert() && push.at.time >= from).map(|push| push.at.time);
        let took =
            at.unwrap_or_else(|| panic!("{}: the neighbour is told", self.what)).since(from).0 as f64 / 1e6;
        assert!(took <= within, "{}: the neighbour is told after {took} s", self.what);
    }

    fn misplaced(&self) -> BTreeSet<u64> {
        self.reported(|report| match report {
            Report::Misplaced { user, .. } => Some(user.0),
            _ => None,
        })
    }

    fn taken(&self) -> BTreeSet<u64> {
        self.reported(|report| match report {
            Report::Taken { user, .. } => Some(user.0),
            _ => None,
        })
    }

    /// Of whom the engine has reported such a thing since.
    fn reported(&self, of: impl Fn(&Report) -> Option<u64>) -> BTreeSet<u64> {
        self.town.world.reports[self.reports..].iter().filter_map(|(_, report)| of(report)).collect()
    }

    fn within(&self, from: Time, at: Time, window: Window) {
        let took = at.since(from).0 as f64 / 1e6;
        assert!(took >= window.0 && took <= window.1, "{}: {took} s, not in {window:?}", self.what);
    }

    /// In the end everybody is live, nobody was told wrongly, and the server has no complaint.
    fn end(mut self, patience: Span) {
        assert!(self.town.run_until_live(patience), "{}: {:?}", self.what, self.town.world.stats(0));
        self.town.run_for(Span::from_secs(60));
        let violations = self.town.world.exchanges[0].violations().to_vec();
        assert!(violations.is_empty(), "{}: the mail server complains: {violations:?}", self.what);
        let report = self.town.finish();
        assert!(report.is_clean(), "{}: {report:#?}", self.what);
    }
}

fn of(asked: &[Asked], operation: Operation, mailbox: MailboxKey) -> Vec<&Asked> {
    asked.iter().filter(|one| one.operation == operation && one.mailbox == Some(mailbox)).collect()
}

fn streams(asked: &[Asked]) -> Vec<&Asked> {
    asked.iter().filter(|one| one.operation == Operation::GetStreamingEvents).collect()
}

#[test]
fn each_code_at_subscribe() {
    for fault in [false, true] {
        for (_, code, action) in table() {
            let mut stage = Stage::set(format!("{code:?} at Subscribe, fault {fault}"));
            let victim = stage.mailbox(VICTIM);
            let now = stage.town.world.now();
            let exchange = &mut stage.town.world.exchanges[0];
            exchange.refuse(victim, Operation::Subscribe, 1, code, fault);
            exchange.fail_subscriptions(now, &[victim], Code::ErrorSubscriptionNotFound, None);
            stage.town.world.collect();
            stage.town.deliver(1, "for the neighbour");
            let asked = stage.run(pause(action));
            let tries = of(&asked, Operation::Subscribe, victim);
            let [refused, next, ..] = tries[..] else { panic!("{}: {tries:?}", stage.what) };
            stage.within(refused.at, next.at, pause(action));
            assert_eq!(
                stage.misplaced(),
                looks_elsewhere(action).then_some(VICTIM as u64).into_iter().collect()
            );
            if action == Action::LowerVersion {
                assert_eq!(refused.version, Some(Version::Exchange2013_SP1), "{}", stage.what);
                assert_eq!(next.version, Some(Version::Exchange2010_SP2), "{}", stage.what);
            }
            stage.others_go_on(stage.from, 10.0);
            stage.end(Span::from_secs(60));
        }
    }
}

#[test]
fn each_code_for_one_id_of_a_stream() {
    for (_, code, action) in table() {
        let mut stage = Stage::set(format!("{code:?} for an id of a stream"));
        let victim = stage.mailbox(VICTIM);
        let now = stage.town.world.now();
        if action == Action::CatchUp {
            stage.town.world.exchanges[0].miss_events(victim);
        } else {
            stage.town.world.exchanges[0].fail_subscriptions(now, &[victim], code, None);
        }
        stage.town.world.collect();
        stage.town.deliver(1, "for the neighbour");
        stage.town.deliver(VICTIM, "for the victim");
        // When the stream is asked for again, with whom on whose budget, and when the victim is subscribed anew.
        let (anew, reopened, with_victim): (Option<Window>, Option<Window>, bool) = match action {
            Action::CatchUp => (None, None, true),
            Action::Resubscribe
            | Action::DropFolder
            | Action::StartOver
            | Action::ItemGone
            | Action::ItemUnreadable
            | Action::RetryItem
            | Action::ConvertId => (Some(AT_ONCE), Some(AT_ONCE), false),
            Action::Rediscover
            | Action::AwaitMove
            | Action::AwaitStore
            | Action::FewerSubscriptions
            | Action::MailboxGone
            | Action::Alarm
            | Action::Terminal
            | Action::OurBug => (Some(pause(action)), Some(AT_ONCE), false),
            Action::RetryConnection | Action::RetryOrBisect => (None, Some(SOON), true),
            Action::BackOffAccount { .. } | Action::LowerVersion => (None, Some(AT_ONCE), true),
            Action::FewerConnections { .. } => (None, Some(pause(action)), true),
            Action::StepAside => (None, Some(AT_ONCE), false),
            Action::AuthFailed | Action::NoCommonAuth => panic!("no code of Exchange"),
        };
        let asked = stage.run(anew.or(reopened).unwrap_or(AT_ONCE));
        let subscribed = of(&asked, Operation::Subscribe, victim);
        match (anew, subscribed.first()) {
            (Some(window), Some(first)) => stage.within(stage.from, first.at, window),
            (None, None) => {}
            (window, _) => panic!("{}: subscribed {subscribed:?}, expected {window:?}", stage.what),
        }
        for other in [0, 1, 3] {
            let other = stage.mailbox(other);
            assert!(of(&asked, Operation::Subscribe, other).is_empty(), "{}: others keep theirs", stage.what);
        }
        match (reopened, streams(&asked).first()) {
            (Some(window), Some(first)) => {
                stage.within(stage.from, first.at, window);
                let all_but = [0, 1, 3].map(|other| stage.mailbox(other));
                let named: BTreeSet<u32> = first.streams.iter().map(|mailbox| mailbox.0).collect();
                assert!(all_but.iter().all(|other| named.contains(&other.0)), "{}: {named:?}", stage.what);
                // A subscription that was made anew at once may be on the first stream already.
                if with_victim || anew != Some(AT_ONCE) {
                    assert_eq!(named.contains(&victim.0), with_victim, "{}: {named:?}", stage.what);
                }
                let budget_spared =
                    matches!(action, Action::BackOffAccount { .. } | Action::FewerConnections { .. });
                assert_eq!(first.mailbox == Some(stage.mailbox(0)), !budget_spared, "{}", stage.what);
                if action == Action::LowerVersion {
                    assert_eq!(first.version, Some(Version::Exchange2010_SP2), "{}", stage.what);
                }
            }
            (None, None) => {}
            (window, _) => panic!("{}: {:?}, expected {window:?}", stage.what, streams(&asked)),
        }
        if action == Action::CatchUp {
            let looked = of(&asked, Operation::FindItem, victim);
            stage.within(stage.from, looked.first().expect("caught up").at, (0.0, 1.0));
        }
        let me = BTreeSet::from([VICTIM as u64]);
        assert_eq!(stage.misplaced(), if looks_elsewhere(action) { me.clone() } else { BTreeSet::new() });
        assert_eq!(stage.taken(), if action == Action::StepAside { me } else { BTreeSet::new() });
        stage.others_go_on(stage.from, reopened.unwrap_or(AT_ONCE).1 + 10.0);
        stage.end(Span::from_secs(1_500));
    }
}

#[test]
fn each_code_for_a_whole_stream() {
    for fault in [false, true] {
        for (_, code, action) in table() {
            let mut stage = Stage::set(format!("{code:?} for a whole stream, fault {fault}"));
            let anchor = stage.mailbox(0);
            let now = stage.town.world.now();
            let exchange = &mut stage.town.world.exchanges[0];
            exchange.refuse(anchor, Operation::GetStreamingEvents, 1, code, fault);
            let stream = exchange.stream_keys()[0];
            exchange.close_stream(now, stream);
            stage.town.world.collect();
            stage.town.run_for(Span::from_millis(2_100));
            let asked = stage.town.world.exchanges[0].take_asked();
            let first = streams(&asked);
            let first = first.first().unwrap_or_else(|| panic!("{}: reopened", stage.what));
            let refused_at = first.at;
            assert_eq!((first.mailbox, first.streams.len()), (Some(anchor), USERS), "{}", stage.what);
            stage.from = stage.town.world.now().time;
            stage.town.deliver(1, "for the neighbour");

            let again: Window = match action {
                Action::Resubscribe
                | Action::DropFolder
                | Action::StartOver
                | Action::ItemGone
                | Action::ItemUnreadable
                | Action::RetryItem
                | Action::ConvertId => (0.0, 6.5),
                Action::RetryConnection | Action::RetryOrBisect => SOON,
                Action::BackOffAccount { .. }
                | Action::LowerVersion
                | Action::CatchUp
                | Action::AwaitMove
                | Action::AwaitStore
                | Action::MailboxGone
                | Action::Alarm
                | Action::Terminal => (0.0, 5.3),
                Action::Rediscover => (4.9, 11.5),
                Action::FewerConnections { .. } | Action::FewerSubscriptions | Action::OurBug => {
                    pause(action)
                }
                Action::StepAside => (899.9, 1_350.3),
                Action::AuthFailed | Action::NoCommonAuth => panic!("no code of Exchange"),
            };
            let mut asked = asked.into_iter().filter(|one| one.at > refused_at).collect::<Vec<_>>();
            asked.extend(stage.run(again));
            let next = streams(&asked);
            let next = next.first().unwrap_or_else(|| panic!("{}: opened again", stage.what));
            stage.within(refused_at, next.at, again);
            let spared = matches!(
                action,
                Action::BackOffAccount { .. }
                    | Action::FewerConnections { .. }
                    | Action::AwaitMove
                    | Action::AwaitStore
                    | Action::MailboxGone
                    | Action::Alarm
                    | Action::Terminal
            );
            assert_eq!(next.mailbox == Some(anchor), !spared, "{}: on whose budget", stage.what);
            let anew = match action {
                Action::Resubscribe
                | Action::DropFolder
                | Action::StartOver
                | Action::ItemGone
                | Action::ItemUnreadable
                | Action::RetryItem
                | Action::ConvertId
                | Action::Rediscover
                | Action::MailboxGone => USERS - usize::from(action == Action::MailboxGone),
                _ => 0,
            };
            let before: BTreeSet<_> = asked
                .iter()
                .filter(|one| one.operation == Operation::Subscribe && one.at < next.at)
                .filter_map(|one| Some(one.mailbox?.0))
                .collect();
            assert_eq!(before.len(), anew, "{}: subscribed anew", stage.what);
            let everybody = || (0..USERS as u64).collect::<BTreeSet<_>>();
            let misplaced = match action {
                Action::Rediscover => everybody(),
                Action::MailboxGone => BTreeSet::from([0]),
                _ => BTreeSet::new(),
            };
            assert_eq!(stage.misplaced(), misplaced, "{}", stage.what);
            assert_eq!(
                stage.taken(),
                if action == Action::StepAside { everybody() } else { BTreeSet::new() }
            );
            stage.others_go_on(stage.from, again.1 + 12.0);
            stage.end(Span::from_secs(120));
        }
    }
}

#[test]
fn each_code_at_an_ordinary_call() {
    for (operation, catch_up) in [
        (Operation::FindItem, CatchUp::Find),
        (Operation::GetFolder, CatchUp::Find),
        (Operation::SyncFolderItems, CatchUp::Sync),
    ] {
        for (_, code, action) in table() {
            for fault in [false, true] {
                let what = format!("{code:?} at {operation:?}, fault {fault}");
                let mut stage = Stage::set_with(what, catch_up);
                let victim = stage.mailbox(VICTIM);
                let exchange = &mut stage.town.world.exchanges[0];
                exchange.refuse(victim, operation, 1, code, fault);
                exchange.miss_events(victim);
                stage.town.world.collect();
                stage.town.deliver(1, "for the neighbour");
                let asked = stage.run(pause(action));
                let tries = of(&asked, operation, victim);
                let [refused, next, ..] = tries[..] else { panic!("{}: {tries:?}", stage.what) };
                stage.within(refused.at, next.at, pause(action));
                let subscribed = asked.iter().any(|one| one.operation == Operation::Subscribe);
                assert!(!subscribed, "{}: the subscriptions are alive", stage.what);
                stage.others_go_on(stage.from, 10.0);
                stage.end(Span::from_secs(60));
            }
        }
    }
}

#[test]
fn each_code_at_the_call_for_a_mail_s_details() {
    // A mail that is said to be gone is not told: that it then really is gone, the stories see to.
    for (_, code, _) in table().filter(|(_, _, action)| *action != Action::ItemGone) {
        for fault in [false, true] {
            let mut stage = Stage::set(format!("{code:?} at GetItem, fault {fault}"));
            let victim = stage.mailbox(VICTIM);
            stage.town.world.exchanges[0].refuse(victim, Operation::GetItem, 2, code, fault);
            let from = stage.town.world.now().time;
            stage.town.deliver(VICTIM, "for the victim");
            stage.town.deliver(1, "for the neighbour");
            let asked = stage.run((0.0, 30.0));
            let tries = of(&asked, Operation::GetItem, victim);
            assert!((1..=3).contains(&tries.len()), "{}: {tries:?}", stage.what);
            let told = stage.town.told(VICTIM, 0);
            let alerts = told.iter().filter(|push| push.payload.is_alert() && push.at.time >= from).count();
            assert_eq!(alerts, 1, "{}: at worst without its details", stage.what);
            stage.others_go_on(stage.from, 10.0);
            stage.end(Span::from_secs(4_000));
        }
    }
}

/// One code for each action that waits, and a pause that is longer than its own.
fn asked_for_longer() -> impl Iterator<Item = (Code, Action, Span)> {
    let mut seen = BTreeSet::new();
    let longer = |(_, code, action): (&ResponseCode, Code, Action)| {
        let asked = Span((pause(action).1 * 1e6) as u64 + 20_000_000);
        // Nobody is believed who asks for more than an hour.
        (code, action, asked.min(Span::from_secs(3_600)))
    };
    table().filter(move |(_, _, action)| seen.insert(format!("{action:?}"))).map(longer)
}

#[test]
fn a_longer_pause_counts_whatever_the_code_that_asks_for_it() {
    for (code, _, asked_for) in asked_for_longer() {
        let window = (asked_for.0 as f64 / 1e6 - 0.1, asked_for.0 as f64 / 1e6 + 0.5);
        for (operation, fault) in [(Operation::Subscribe, true), (Operation::FindItem, false)] {
            let mut stage = Stage::set(format!("{code:?} at {operation:?} with a pause"));
            let victim = stage.mailbox(VICTIM);
            let exchange = &mut stage.town.world.exchanges[0];
            exchange.refuse_for(victim, operation, code, fault, asked_for);
            stage.provoke(operation, victim);
            stage.town.deliver(1, "for the neighbour");
            let asked = stage.run(window);
            let tries: Vec<Time> = asked
                .iter()
                .filter(|one| one.mailbox == Some(victim))
                .filter(|one| one.operation == operation || one.operation == Operation::GetFolder)
                .map(|one| one.at)
                .collect();
            let refused = tries.first().unwrap_or_else(|| panic!("{}: asked", stage.what));
            let next = tries.iter().find(|at| at.since(*refused) > Span::from_secs(1));
            let next = next.unwrap_or_else(|| panic!("{}: asked again: {tries:?}", stage.what));
            stage.within(*refused, *next, window);
            stage.others_go_on(stage.from, 10.0);
            stage.end(Span::from_secs(120));
        }
    }
}

#[test]
fn a_stream_that_is_asked_to_wait_longer_waits_longer() {
    let waits = |action: &Action| {
        matches!(
            action,
            Action::RetryConnection
                | Action::RetryOrBisect
                | Action::FewerConnections { .. }
                | Action::FewerSubscriptions
                | Action::Rediscover
                | Action::Resubscribe
                | Action::OurBug
        )
    };
    for (code, _, asked_for) in asked_for_longer().filter(|(_, action, _)| waits(action)) {
        let mut stage = Stage::set(format!("{code:?} for a whole stream with a pause"));
        let anchor = stage.mailbox(0);
        let now = stage.town.world.now();
        let exchange = &mut stage.town.world.exchanges[0];
        exchange.refuse_for(anchor, Operation::GetStreamingEvents, code, false, asked_for);
        let stream = exchange.stream_keys()[0];
        exchange.close_stream(now, stream);
        stage.town.world.collect();
        let window = (asked_for.0 as f64 / 1e6 - 0.1, asked_for.0 as f64 / 1e6 + 3.0);
        let asked = stage.run(window);
        let [refused, next, ..] = streams(&asked)[..] else { panic!("{}: {asked:?}", stage.what) };
        stage.within(refused.at, next.at, window);
        stage.end(Span::from_secs(120));
    }
}

/// What the table says of an HTTP status without SOAP.
fn of_status(status: u16) -> Action {
    EwsError::new(ResponseCode::Http(status), "", None).action()
}

#[test]
fn each_http_status_at_an_ordinary_call_costs_a_mailbox_some_seconds() {
    let statuses = [
        400, 402, 404, 405, 406, 407, 409, 410, 411, 413, 414, 415, 417, 418, 421, 429, 500, 501, 502, 503,
        504, 505, 599,
    ];
    // 408 on a connection that has been used says that it was given up, and the call is made again at once.
    let plain = statuses.map(|status| (status, Action::RetryConnection));
    for (status, action) in plain.into_iter().chain([(403, Action::Alarm)]) {
        if status != 403 {
            assert_eq!(of_status(status), action);
        }
        let mut stage = Stage::set(format!("status {status}"));
        let victim = stage.mailbox(VICTIM);
        let exchange = &mut stage.town.world.exchanges[0];
        exchange.answer_next(1, Some(Operation::FindItem), Override::Status(status));
        exchange.miss_events(victim);
        stage.town.world.collect();
        let from = stage.town.world.now().time;
        stage.town.deliver(1, "for the neighbour");
        // The refused call is not in the record: it came no further than the front end.
        let asked = stage.run(SOON);
        let tries = of(&asked, Operation::FindItem, victim);
        let next = tries.first().unwrap_or_else(|| panic!("{}: asked again", stage.what));
        let (least, most) = SOON;
        stage.within(from, next.at, (least, most + 0.5));
        stage.others_go_on(from, 10.0);
        stage.end(Span::from_secs(60));
    }
}

#[test]
fn a_server_that_offers_no_way_of_logging_on_is_tried_with_one_call_now_and_then() {
    let mut stage = Stage::set("no common way of logging on".to_owned());
    let offers = |stage: &mut Stage, ours: bool| {
        stage.town.world.exchanges[0].reconfigure(|config| {
            (config.basic, config.bearer, config.windows_auth) = (ours, ours, true);
        });
    };
    offers(&mut stage, false);
    let before = refusals(&stage);
    for person in 0..USERS {
        stage.town.deliver(person, "nobody can look at it");
    }
    stage.town.run_for(Span::from_secs(3_600));
    let refused = refusals(&stage) - before;
    // At a growing pace at first: what worked a moment ago may work again.
    assert!((11..=25).contains(&refused), "{refused} log-ins refused within an hour");
    let trouble = stage.town.world.reports[stage.reports..].iter().filter(
        |(_, report)| matches!(report, Report::MailServerTrouble { trouble, .. } if &*trouble.code == "ews_auth_offer"),
    );
    assert_eq!(trouble.count(), 1, "a person is told, once");
    offers(&mut stage, true);
    stage.end(Span::from_secs(400));
}

fn refusals(stage: &Stage) -> u64 {
    stage.town.world.exchanges[0].stats().statuses.get(&401).copied().unwrap_or(0)
}

#[test]
fn a_code_that_is_in_no_table_costs_a_subscription_and_is_tried_more_and_more_slowly() {
    let code = Code::ErrorQuotaExceeded;
    let unknown = ResponseCode::parse(code.as_str()).expect("a code");
    assert!(matches!(unknown, ResponseCode::Unknown(_)));
    let action = EwsError::new(unknown, "", None).action();
    for (operation, fault) in [(Operation::Subscribe, true), (Operation::FindItem, false)] {
        let mut stage = Stage::set(format!("an unknown code at {operation:?}"));
        let victim = stage.mailbox(VICTIM);
        let exchange = &mut stage.town.world.exchanges[0];
        exchange.refuse(victim, operation, 3, code, fault);
        stage.provoke(operation, victim);
        stage.town.deliver(1, "for the neighbour");
        let asked = stage.run((0.0, 60.0));
        let tries = of(&asked, operation, victim);
        let [first, second, third, fourth, ..] = tries[..] else { panic!("{}: {tries:?}", stage.what) };
        stage.within(first.at, second.at, pause(action));
        stage.within(second.at, third.at, (4.9, 10.3));
        stage.within(third.at, fourth.at, (9.9, 20.3));
        stage.others_go_on(stage.from, 10.0);
        stage.end(Span::from_secs(60));
    }
    // For one id of a stream.
    let mut stage = Stage::set("an unknown code for an id".to_owned());
    let victim = stage.mailbox(VICTIM);
    let now = stage.town.world.now();
    stage.town.world.exchanges[0].fail_subscriptions(now, &[victim], code, None);
    stage.town.world.collect();
    let asked = stage.run(AT_ONCE);
    stage.within(stage.from, of(&asked, Operation::Subscribe, victim)[0].at, AT_ONCE);
    stage.end(Span::from_secs(60));
}
