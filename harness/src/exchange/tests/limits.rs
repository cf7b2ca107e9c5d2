//! Throttling.

use super::*;

#[test]
fn hanging_connections_are_charged_to_the_impersonated_mailbox() {
    let mut lab = Lab::new();
    lab.exchange.reconfigure(|config| config.limits.hanging_connections_max = 1);
    let (first, ids) = lab.streaming(&["anna@example.com", "ben@example.com"]);
    lab.exchange.closed(lab.now, first);
    let first = lab.open(&ids[..1]);
    lab.read(first);
    let got = lab.group_call("anna@example.com", &stream_body(&ids[1..], "1"));
    got.is(200, "ErrorExceededConnectionCount");
    assert!(got.body.starts_with("<Envelope "), "as an envelope of a stream");
    let other = lab.open_as("ben@example.com", &ids[1..]);
    assert_eq!(Got::parse(&lab.read(other).0).code(), "NoError");
    lab.exchange.closed(lab.now, first);
    let again = lab.open(&ids[..1]);
    assert_eq!(Got::parse(&lab.read(again).0).code(), "NoError");
}

#[test]
fn more_calls_in_flight_than_allowed_are_refused_per_budget() {
    let mut lab =
        Lab::with(ExchangeConfig { call_time: Span::from_millis(100), ..ExchangeConfig::default() });
    lab.exchange.reconfigure(|config| config.limits.concurrency_max = 2);
    let soap = |who: &str| soap_as("Exchange2013_SP1", &impersonate(who), GET_FOLDER);
    let mut conns = Vec::new();
    for who in ["anna@example.com", "anna@example.com", "anna@example.com", "ben@example.com"] {
        let conn = lab.connect();
        let head = lab.head(who, false);
        lab.send(conn, &head, &soap(who));
        conns.push(conn);
    }
    assert_eq!(lab.read(conns[0]).0, b"", "it takes its time");
    lab.wait(Span::from_millis(100));
    let codes: Vec<String> = conns.iter().map(|conn| Got::parse(&lab.read(*conn).0).code()).collect();
    assert_eq!(codes, ["NoError", "NoError", "ErrorExceededConnectionCount", "NoError"]);
    assert_eq!(lab.exchange.stats().concurrency_peak, 3);
    let conn = lab.connect();
    let head = lab.head("anna@example.com", false);
    lab.send(conn, &head, &soap("anna@example.com"));
    lab.wait(Span::from_millis(100));
    assert_eq!(Got::parse(&lab.read(conn).0).code(), "NoError");
}

#[test]
fn the_policy_stands_in_the_fault() {
    let mut lab =
        Lab::with(ExchangeConfig { call_time: Span::from_millis(100), ..ExchangeConfig::default() });
    lab.exchange.reconfigure(|config| config.limits.concurrency_max = 0);
    let conn = lab.connect();
    let head = lab.head("anna@example.com", false);
    lab.send(conn, &head, &soap_as("Exchange2013_SP1", &impersonate("anna@example.com"), GET_FOLDER));
    lab.wait(Span::from_millis(100));
    let got = Got::parse(&lab.read(conn).0);
    got.is(500, "ErrorExceededConnectionCount");
    assert!(got.body.contains("<t:Value Name=\"Policy\">MaxConcurrency</t:Value>"));
}

#[test]
fn subscriptions_are_charged_to_the_target_mailbox() {
    let mut lab = Lab::new();
    lab.exchange.reconfigure(|config| config.limits.subscriptions_max = 2);
    lab.subscribe("anna@example.com");
    let id = lab.subscribe("anna@example.com");
    lab.group_call("anna@example.com", &subscribe_body(INBOX_ID)).is(200, "ErrorExceededSubscriptionCount");
    lab.subscribe("ben@example.com");
    let unsubscribe = format!("<m:Unsubscribe><m:SubscriptionId>{id}</m:SubscriptionId></m:Unsubscribe>");
    lab.group_call("anna@example.com", &unsubscribe).is(200, "NoError");
    lab.subscribe("anna@example.com");
}

#[test]
fn busy_is_said_in_three_shapes() {
    let mut lab = Lab::new();
    lab.exchange.set_busy(lab.now, BusyScope::All, Span::from_secs(30), BusyShape::Rotate, false);
    let got = lab.call("anna@example.com", GET_FOLDER);
    got.is(500, "ErrorServerBusy");
    let value = "<t:Value Name=\"BackOffMilliseconds\">30000</t:Value>";
    assert!(got.body.contains("<faultcode") && got.body.contains(value));
    let got = lab.call("ben@example.com", GET_FOLDER);
    got.is(200, "ErrorServerBusy");
    assert!(got.body.contains(&format!("<m:MessageXml>{value}</m:MessageXml>")), "{}", got.body);
    let got = lab.call("cleo@example.com", GET_FOLDER);
    got.is(200, "ErrorInternalServerError");
    assert!(
        got.body.contains("Name=\"InnerErrorResponseCode\">ErrorServerBusy<") && got.body.contains(value)
    );
    lab.is_clean();
    lab.wait(Span::from_secs(30));
    for who in ["anna@example.com", "ben@example.com", "cleo@example.com"] {
        lab.call(who, GET_FOLDER).is(200, "NoError");
    }
    lab.is_clean();
}

#[test]
fn a_call_during_back_off_is_a_violation_and_lengthens_it() {
    let mut lab = Lab::new();
    let scope = BusyScope::Mailbox(ANNA);
    lab.exchange.set_busy(lab.now, scope, Span::from_secs(30), BusyShape::Message, false);
    lab.call("anna@example.com", GET_FOLDER).is(200, "ErrorServerBusy");
    lab.call("ben@example.com", GET_FOLDER).is(200, "NoError");
    lab.wait(Span::from_millis(500));
    lab.call("anna@example.com", GET_FOLDER).is(200, "ErrorServerBusy");
    lab.is_clean();
    lab.wait(Span::from_secs(10));
    lab.call("anna@example.com", GET_FOLDER).is(200, "ErrorServerBusy");
    lab.violated("before the end of the back-off");
    lab.wait(Span::from_millis(20_000));
    lab.call("anna@example.com", GET_FOLDER).is(200, "ErrorServerBusy");
}

#[test]
fn busy_without_a_time_is_possible_and_streams_are_refused_too() {
    let mut lab = Lab::new();
    let id = lab.subscribe("anna@example.com");
    lab.exchange.set_busy(lab.now, BusyScope::All, Span::from_secs(5), BusyShape::Message, true);
    let got = lab.group_call("anna@example.com", &stream_body(std::slice::from_ref(&id), "1"));
    got.is(200, "ErrorServerBusy");
    assert!(!got.body.contains("BackOff"));
    lab.wait(Span::from_secs(2));
    lab.group_call("anna@example.com", &stream_body(&[id], "1")).is(200, "ErrorServerBusy");
    lab.is_clean();
}

#[test]
fn a_batch_is_refused_item_by_item() {
    let mut lab = Lab::new();
    lab.exchange.set_busy(lab.now, BusyScope::All, Span::from_secs(5), BusyShape::Message, false);
    let got = lab.call("anna@example.com", &get_item_body(&["a", "b"]));
    assert_eq!(all_text(&got.body, "ResponseCode"), ["ErrorServerBusy"; 2]);
}
