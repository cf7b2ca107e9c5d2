//! Reports of runs that were made up.

use super::*;
use crate::control::Outcome;
use crate::run::{Restart, Slowest};

pub(crate) fn example() -> Report {
    let profile = Profile::find("node-10k").unwrap().1;
    let plan = profile.draw(3);
    let mut outcome = Outcome {
        mails: 6_420,
        told_by_name: 8_100,
        told_by_number: 212,
        pushes: 9_000,
        tellings_owed: 7_000,
        streams_max: 52,
        latency: Percentiles { count: 5_000, p50: 1.2, p90: 2.4, p99: 6.5, p999: 9.0, max: 14.0 },
        ..Outcome::default()
    };
    for (name, count) in [("details", 6_000), ("generic", 1_500), ("several", 200), ("badge", 1_300)] {
        outcome.shown.insert(name.into(), count);
    }
    for name in ["lost", "duplicates", "details_after_cutoff", "wrong_badges", "told_after_gone"] {
        outcome.findings.insert(name.into(), Finding::default());
    }
    let mut ledger =
        Ledger { signalled: 6_420, folded: 8_412, accepted: 8_312, superseded: 88, ..Ledger::default() };
    ledger.suppressed.insert("token_gone".into(), 12);
    let samples = (0..260)
        .map(|at| {
            let t_s = at as f64 / 2.0;
            let load = (40..180).contains(&at);
            let wave = (t_s / 3.0).sin();
            Sample {
                t_s,
                phase: if load { "load" } else { "drain" },
                mails_per_s: if load {
                    100.0 + 30.0 * wave + if at % 23 == 0 { 250.0 } else { 0.0 }
                } else {
                    0.0
                },
                pushes_per_s: if load { 128.0 + 25.0 * wave } else { 0.0 },
                latency_p50_ms: load.then_some(1.2 + 0.2 * wave),
                latency_p99_ms: load.then_some(5.0 + 3.0 * wave),
                cpu_percent: Some(if load { 12.0 + 2.0 * wave } else { 1.0 }),
                rss_mib: Some(60.0 + t_s / 10.0),
                threads: Some(7),
                streams: 50,
            }
        })
        .collect();
    let driven = Driven {
        outcome,
        ledger,
        engine_latency_us: BTreeMap::new(),
        restarts: 0,
        cpu_s: 9.3,
        cpu_load_s: 8.0,
        load_s: 70.0,
        rss_bytes_peak: 74 << 20,
        threads: 7,
        registered_s: 2.6,
        live_s: 11.8,
        restart: Some(Restart { shutdown_s: Some(0.3), live_s: 6.1 }),
        pushes_load: 8_500,
        bytes_per_user: 2_100.0,
        rss_growth_percent: 0.7,
        slowest: Slowest { status_ms: 3.0, metrics_ms: 4.0 },
        shutdown_s: Some(0.2),
        unsettled: false,
        samples,
        phases: vec![
            ("start", 0.0),
            ("register", 1.4),
            ("watch", 4.0),
            ("load", 20.0),
            ("drain", 90.0),
            ("end", 98.0),
        ],
    };
    Report::new("node-10k", 3, &profile, &plan, driven, 130.0)
}

#[test]
fn a_good_run_passes_and_has_every_field_of_the_contract() {
    let report = example();
    assert!(report.passed, "{:?} {:?}", report.ledger.complaints, report.budget);
    let json = serde_json::to_value(&report).unwrap();
    for field in [
        "profile",
        "seed",
        "users",
        "devices",
        "streams",
        "signals",
        "accepted",
        "folded",
        "suppressed",
        "lost",
        "duplicates",
        "details_after_cutoff",
        "latency_ms",
        "engine",
        "budget",
        "duration_s",
    ] {
        assert!(!json[field].is_null(), "{field}");
    }
    for field in ["p50", "p90", "p99", "p999", "max"] {
        assert!(json["latency_ms"][field].is_number(), "{field}");
    }
    for field in ["cpu_seconds", "cpu_us_per_push", "rss_bytes_peak", "threads"] {
        assert!(json["engine"][field].is_number(), "{field}");
    }
}

#[test]
fn a_budget_that_does_not_hold_fails_the_run() {
    let mut report = example();
    report.latency_ms.p99 = 10.1;
    let lines = report.judge(&Profile::find("node-10k").unwrap().1.budget);
    let failed: Vec<&str> = lines.iter().filter(|line| !line.held).map(|line| line.name).collect();
    assert_eq!(failed, ["latency_p99_ms_max"]);
    report.latency_ms = Percentiles::default();
    let lines = report.judge(&Profile::find("node-10k").unwrap().1.budget);
    assert!(lines.iter().any(|line| line.name == "latency_p99_ms_max" && !line.held), "nothing was measured");
}

#[test]
fn an_account_that_does_not_balance_is_complained_of() {
    let good = example().ledger;
    let check = |change: fn(&mut Ledger, &mut BTreeMap<String, Finding>), unsettled, mails, told| {
        let (mut ledger, mut findings) = (good.engine.clone(), good.findings.clone());
        change(&mut ledger, &mut findings);
        LedgerCheck::new(ledger, findings, unsettled, Some((mails, told))).balances
    };
    assert!(check(|_, _| {}, false, 6_420, 8_312));
    assert!(!check(|_, _| {}, true, 6_420, 8_312));
    assert!(!check(|_, _| {}, false, 6_421, 8_312));
    assert!(!check(|_, _| {}, false, 6_420, 8_313));
    assert!(!check(|ledger, _| ledger.accepted -= 1, false, 6_420, 8_312));
    assert!(!check(
        |ledger, _| {
            ledger.accepted -= 1;
            ledger.waiting += 1
        },
        false,
        6_420,
        8_312
    ));
    let badge = |_: &mut Ledger, findings: &mut BTreeMap<String, Finding>| {
        findings.get_mut("wrong_badges").unwrap().count = 1;
    };
    assert!(!check(badge, false, 6_420, 8_312));
}

#[test]
fn the_page_is_self_contained_and_the_table_names_each_budget() {
    let report = example();
    let (page, text) = (html(&report), table(&report));
    for line in &report.budget {
        assert!(text.contains(line.name) && page.contains(line.name), "{}", line.name);
    }
    for outside in ["http://", "https://", "src=", "@import", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    if let Ok(path) = std::env::var("LOADGEN_EXAMPLE_PAGE") {
        std::fs::write(path, page).unwrap();
    }
}

fn finding(count: u64) -> Finding {
    Finding { count, examples: vec![format!("example of {count}")] }
}

/// A run without faults in which no two figures are the same.
fn distinct() -> (Outcome, Driven) {
    let outcome = Outcome {
        mails: 1_001,
        reads: 102,
        deletes: 103,
        tellings_owed: 1_004,
        told_by_name: 705,
        told_by_number: 206,
        pushes: 807,
        shown: [("details", 301), ("generic", 202), ("badge", 304)].map(|(k, n)| (k.into(), n)).into(),
        duplicates_recognised: 9,
        findings: [
            ("lost", 11),
            ("duplicates", 12),
            ("details_after_cutoff", 13),
            ("wrong_badges", 14),
            ("told_after_gone", 15),
            ("told_after_stop", 16),
            ("told_unwanted", 17),
            ("foreign", 18),
        ]
        .map(|(name, count)| (name.into(), finding(count)))
        .into(),
        latency: Percentiles { count: 500, p50: 1.5, p90: 2.5, p99: 3.5, p999: 4.5, max: 5.5 },
        streams_max: 21,
        accepted_after_last_mail_ms: 2_222.0,
        faults: BTreeMap::new(),
        peers: [("pings".into(), 23)].into(),
        misbehaviour: [("too soon".into(), 24), ("no anchor".into(), 25)].into(),
        histories: BTreeMap::new(),
    };
    let ledger = Ledger {
        signalled: 1_001,
        duplicate: 31,
        // 911 accepted, 65 suppressed, 34 superseded, 35 expired.
        folded: 1_045,
        fetched: 36,
        offered: 937,
        returned: 26,
        accepted: 911,
        suppressed: [("stopped".into(), 32), ("token_gone".into(), 33)].into(),
        superseded: 34,
        expired: 35,
        waiting: 0,
        in_flight: 0,
    };
    let driven = Driven {
        outcome: Outcome::default(),
        ledger,
        engine_latency_us: [("mail_to_written".into(), [("0.5".into(), 41)].into())].into(),
        restarts: 0,
        cpu_s: 42.5,
        cpu_load_s: 8.07,
        load_s: 16.14,
        rss_bytes_peak: 44 << 20,
        threads: 45,
        registered_s: 45.5,
        live_s: 46.5,
        restart: Some(Restart { shutdown_s: Some(0.39), live_s: 37.5 }),
        pushes_load: 807,
        bytes_per_user: 1_912.0,
        rss_growth_percent: 6.25,
        slowest: Slowest { status_ms: 7.25, metrics_ms: 8.25 },
        shutdown_s: Some(0.47),
        unsettled: false,
        samples: Vec::new(),
        phases: vec![("load", 48.0)],
    };
    (outcome, driven)
}

fn report(budget: &str, change: impl FnOnce(&mut Outcome, &mut Driven)) -> Report {
    let (mut outcome, mut driven) = distinct();
    change(&mut outcome, &mut driven);
    driven.outcome = outcome;
    let mut profile = Profile::find("smoke").unwrap().1;
    profile.budget = toml::from_str(budget).unwrap();
    let plan = profile.draw(3);
    Report::new("made up", 3, &profile, &plan, driven, 150.5)
}

/// Lets the peers find nothing.
fn well(outcome: &mut Outcome, _: &mut Driven) {
    outcome.findings.values_mut().for_each(|finding| *finding = Finding::default());
    outcome.misbehaviour.clear();
}

#[test]
fn each_figure_stands_where_it_belongs() {
    let report = report("", |_, _| {});
    let json = serde_json::to_value(&report).unwrap();
    let expected = serde_json::json!({
        "profile": "made up", "seed": 3, "passed": false,
        "users": 200, "devices": 260, "streams": 21, "signals": 1_001,
        "folded": 1_045, "accepted": 911, "accepted_by_number": 206,
        "suppressed": {"stopped": 32, "token_gone": 33}, "superseded": 34, "expired": 35,
        "lost": 11, "duplicates": 12, "details_after_cutoff": 13,
        "latency_ms": {"count": 500, "p50": 1.5, "p90": 2.5, "p99": 3.5, "p999": 4.5, "max": 5.5},
        "engine": {
            "cpu_seconds": 42.5, "cpu_us_per_push": 10_000.0, "cpu_percent_load": 50.0,
            "rss_bytes_peak": 44 << 20, "bytes_per_user": 1_912.0, "rss_growth_percent": 6.25,
            "threads": 45, "restarts": 0,
            "latency_us": {"mail_to_written": {"0.5": 41}},
        },
        "budget": [],
        "duration_s": 150.5,
        "pushes": {"all": 807, "details": 301, "generic": 202, "badge": 304},
        "duplicates_recognised": 9, "tellings_owed": 1_004, "mails_read": 102, "mails_deleted": 103,
        "accepted_after_last_mail_ms": 2_222.0, "registered_s": 45.5, "live_s": 46.5, "restart_live_s": 37.5,
        "shutdown_s": 0.47, "status_ms": 7.25, "metrics_ms": 8.25,
        "faults": {}, "misbehaviour": {"too soon": 24, "no anchor": 25}, "histories": {},
        "peers": {"pings": 23}, "phases": [["load", 48.0]], "samples": [],
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&json[name], value, "{name}");
    }
    for name in json.as_object().unwrap().keys() {
        let elsewhere = ["about", "ledger", "plan"];
        assert!(
            expected.get(name).is_some() || elsewhere.contains(&name.as_str()),
            "{name} is not looked at"
        );
    }
    for (name, found) in [("lost", 11), ("told_after_gone", 15), ("foreign", 18)] {
        assert_eq!(json["ledger"]["findings"][name]["count"], found, "{name}");
    }
    // What the budget judges, and what may be right, is no complaint of the ledger's.
    let complaints = [
        "foreign: 18, first: example of 18",
        "lost: 11, first: example of 11",
        "told after stop: 16, first: example of 16",
        "told unwanted: 17, first: example of 17",
        "wrong badges: 14, first: example of 14",
    ];
    assert_eq!(report.ledger.complaints, complaints);
}

#[test]
fn each_line_of_the_budget_holds_at_its_limit_and_breaks_one_beyond() {
    // Each with the figure of the report, and whether more is worse.
    let lines = [
        ("users_min", 200.0, false),
        ("streams_max", 21.0, true),
        ("lost_max", 11.0, true),
        ("duplicates_max", 12.0, true),
        ("details_after_cutoff_max", 13.0, true),
        ("misbehaviour_max", 49.0, true),
        ("latency_p50_ms_max", 1.5, true),
        ("latency_p99_ms_max", 3.5, true),
        ("engine_cpu_percent_max", 50.0, true),
        ("engine_cpu_us_per_push_max", 10_000.0, true),
        ("engine_rss_mib_max", 44.0, true),
        ("accepted_after_last_mail_ms_max", 2_222.0, true),
        ("live_s_max", 46.5, true),
        ("duration_s_max", 150.5, true),
        ("restart_live_s_max", 37.5, true),
        ("shutdown_s_max", 0.47, true),
        ("api_ms_max", 8.25, true),
        ("engine_rss_growth_percent_max", 6.25, true),
        ("engine_bytes_per_user_max", 1_912.0, true),
    ];
    for (name, figure, more_is_worse) in lines {
        for (limit, held) in [(figure - 1.0, !more_is_worse), (figure, true), (figure + 1.0, more_is_worse)] {
            let report = report(&format!("{name} = {limit:?}"), |_, _| {});
            let line = &report.budget[0];
            assert_eq!(report.budget.len(), 1, "{name}");
            assert_eq!(
                (line.name, line.limit, line.figure, line.held),
                (name, limit, figure, held),
                "{name}"
            );
        }
    }
    let all: String = lines.iter().map(|(name, figure, _)| format!("{name} = {figure:?}\n")).collect();
    let names: Vec<_> = report(&all, |_, _| {}).budget.iter().map(|line| line.name).collect();
    assert_eq!(names, lines.map(|(name, ..)| name));
    // Whoever adds a line to the budget adds it here: a profile with any other key is refused.
    let other = toml::from_str::<Budget>("restarts_max = 1.0").unwrap_err().to_string();
    for (name, ..) in lines {
        assert!(other.contains(&format!("`{name}`")), "{name}: {other}");
    }
    assert_eq!(other.matches('`').count() / 2, 1 + lines.len(), "{other}");
}

#[test]
fn a_run_passes_only_if_its_ledger_balances_and_its_budget_holds() {
    let budget = |name: &str, value: f64| format!("{name} = {value:?}");
    assert!(report(&budget("duration_s_max", 150.5), well).passed);
    assert!(!report(&budget("duration_s_max", 150.0), well).passed, "the budget alone is broken");
    let lost = |outcome: &mut Outcome, driven: &mut Driven| {
        well(outcome, driven);
        outcome.findings.get_mut("lost").unwrap().count = 1;
    };
    let report_of_loss = report(&budget("duration_s_max", 150.5), lost);
    assert!(report_of_loss.budget.iter().all(|line| line.held));
    assert!(!report_of_loss.passed, "the ledger alone does not balance");
    assert!(!report("", lost).passed, "no budget is no excuse");
    let one_of_two = "duration_s_max = 150.0\nlive_s_max = 47.0";
    assert!(!report(one_of_two, well).passed, "one line is broken");
    assert!(
        !report(&budget("duplicates_max", 0.0), |outcome, driven| {
            well(outcome, driven);
            outcome.findings.get_mut("duplicates").unwrap().count = 1;
        })
        .passed
    );
}

#[test]
fn where_something_broke_the_peers_and_the_engine_may_count_differently() {
    let fewer = |outcome: &mut Outcome, driven: &mut Driven| {
        well(outcome, driven);
        outcome.mails += 1;
        outcome.told_by_name += 1;
    };
    assert_eq!(
        report("", fewer).ledger.complaints,
        ["1002 mails came, the engine counts 1001", "912 tellings were accepted, the engine counts 911"]
    );
    assert!(
        report("", |outcome, driven| {
            fewer(outcome, driven);
            driven.restarts = 1;
        })
        .passed
    );
    assert!(
        report("", |outcome, driven| {
            fewer(outcome, driven);
            outcome.faults.insert("cut".into(), 1);
        })
        .passed
    );
}

#[test]
fn the_table_shows_each_figure_under_its_name() {
    let report = report("lost_max = 0\nduration_s_max = 200.5", |outcome, _| {
        outcome.faults.insert("lane_reset".into(), 26);
    });
    let text = table(&report);
    let expected = "  \
  users, devices         200, 260 on 21 streams
  mails                  1001 (102 read, 103 deleted)
  pushes accepted        807 (304 badge, 301 details, 202 generic)
  tellings               911 accepted, of them 206 by number alone
  engine's ledger        1045 = 911 accepted + 65 suppressed + 34 superseded + 35 expired + 0 open
  lost, told twice       11, 12 (9 came again and were recognised)
  details after cut-off  13
  latency                p50 1.5, p90 2.5, p99 3.5, p99.9 4.5, max 5.5 ms of 500 notices
  last mail to last push 2222 ms, settling included
  engine                 42.5 CPU s; under load 50.0 % of a core, 10000 µs a push; 45 threads
  memory                 44.0 MiB at most; 1912 bytes a user when all are watched; +6.2 % under load
  faults                 26 lane reset
  time                   150.5 s; registered within 45.5 s, all mailboxes watched after 46.5 s, 37.5 s after the start with all users stored
  slowest answers        /v1/status 7.2 ms, /metrics 8.2 ms
  misbehaviour           25 × no anchor
  misbehaviour           24 × too soon

  budget                                  allowed       figure
  lost_max                                      0           11  BROKEN
  duration_s_max                            200.5        150.5  held
  the ledger does not balance: foreign: 18, first: example of 18
  the ledger does not balance: lost: 11, first: example of 11
  the ledger does not balance: told after stop: 16, first: example of 16
  the ledger does not balance: told unwanted: 17, first: example of 17
  the ledger does not balance: wrong badges: 14, first: example of 14

FAILED
";
    assert_eq!(text, expected);
    assert!(table(&super::tests::report("", well)).ends_with("\nPASSED\n"));
}
