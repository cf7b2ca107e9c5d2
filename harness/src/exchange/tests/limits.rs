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
    let refused = Got::parse(&lab.read(conns[2]).0);
    refused.is(500, "ErrorExceededConnectionCount");
    conns.remove(2);
    lab.wait(Span::from_millis(100));
    let codes: Vec<String> = conns.iter().map(|conn| Got::parse(&lab.read(*conn).0).code()).collect();
    assert_eq!(codes, ["NoError"; 3]);
    assert_eq!(lab.exchange.stats().concurrency_peak, 2, "what is refused takes no place");
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

/// An account that has full access to everybody's mailbox and acts as itself.
fn as_itself(lab: &mut Lab) {
    let service = lab.service;
    lab.exchange.change_account(service, |account| {
        account.impersonation = ImpersonationRight::None;
        account.full_access = (0..4).map(MailboxKey).collect();
    });
}

fn inbox_of(address: &str) -> String {
    format!(
        "<t:DistinguishedFolderId Id=\"inbox\"><t:Mailbox><t:EmailAddress>{address}</t:EmailAddress></t:Mailbox>\
         </t:DistinguishedFolderId>"
    )
}

#[test]
fn without_impersonation_the_account_pays_for_everything_in_whatever_mailbox() {
    let mut lab =
        Lab::with(ExchangeConfig { call_time: Span::from_millis(100), ..ExchangeConfig::default() });
    as_itself(&mut lab);
    lab.exchange.reconfigure(|config| {
        config.limits.concurrency_max = 2;
        config.limits.subscriptions_max = 2;
        config.limits.hanging_connections_max = 1;
    });
    let people = ["anna@example.com", "ben@example.com", "cleo@example.com"];
    let ask = |lab: &mut Lab, body: &dyn Fn(&str) -> String, affinity: bool| {
        let mut conns = Vec::new();
        for who in people {
            let conn = lab.connect();
            let head = lab.head(if affinity { people[0] } else { who }, affinity);
            lab.send(conn, &head, &soap_as("Exchange2013_SP1", "", &body(who)));
            conns.push(conn);
        }
        lab.wait(Span::from_millis(100));
        conns.iter().map(|conn| Got::parse(&lab.read(*conn).0)).collect::<Vec<Got>>()
    };
    let codes = |got: &[Got]| got.iter().map(Got::code).collect::<Vec<String>>();
    let folder = |who: &str| GET_FOLDER.replace(INBOX_ID, &inbox_of(who));
    let got = ask(&mut lab, &folder, false);
    assert_eq!(codes(&got), ["NoError", "NoError", "ErrorExceededConnectionCount"], "in flight");

    lab.exchange.reconfigure(|config| config.limits.concurrency_max = 27);
    let got = ask(&mut lab, &|who| subscribe_body(&inbox_of(who)), true);
    assert_eq!(codes(&got), ["NoError", "NoError", "ErrorExceededSubscriptionCount"], "subscriptions");
    let ids: Vec<String> = got.iter().filter_map(|got| got.text("SubscriptionId")).collect();

    let conns: Vec<PeerConn> = ids
        .iter()
        .map(|id| {
            let conn = lab.connect();
            let head = lab.head(people[0], true);
            let body = stream_body(std::slice::from_ref(id), "30");
            lab.send(conn, &head, &soap_as("Exchange2013_SP1", "", &body));
            conn
        })
        .collect();
    lab.wait(Span::from_millis(100));
    let got: Vec<Got> = conns.iter().map(|conn| Got::parse(&lab.read(*conn).0)).collect();
    assert_eq!(codes(&got), ["NoError", "ErrorExceededConnectionCount"], "streams");
}

#[test]
fn service_accounts_share_a_mailbox_s_copy_and_its_owner_has_his_own() {
    let mut lab = Lab::new();
    lab.exchange.reconfigure(|config| config.limits.subscriptions_max = 2);
    let other = lab.exchange.add_account(Account::service("EXAMPLE\\other", "secret"));
    let owner = lab.exchange.add_account(Account {
        impersonation: ImpersonationRight::None,
        mailbox: Some(ANNA),
        ..Account::service("EXAMPLE\\anna", "secret")
    });
    assert!(lab.exchange.leave_stray(lab.now, owner, ANNA));
    assert!(lab.exchange.leave_stray(lab.now, owner, ANNA));
    assert!(!lab.exchange.leave_stray(lab.now, owner, ANNA));
    lab.subscribe("anna@example.com");
    assert!(lab.exchange.leave_stray(lab.now, other, ANNA));
    lab.group_call("anna@example.com", &subscribe_body(INBOX_ID)).is(200, "ErrorExceededSubscriptionCount");
    assert!(lab.exchange.leave_stray(lab.now, other, BEN));
    // Nobody reads them: they expire.
    lab.wait(Span::from_secs(30 * 60));
    lab.subscribe("anna@example.com");
}

#[test]
fn whoever_comes_back_before_retry_after_is_recorded() {
    let mut lab = Lab::new();
    lab.exchange.answer_next(1, None, Override::Unavailable { retry_after_s: Some(30) });
    let got = lab.call("anna@example.com", GET_FOLDER);
    assert_eq!(got.status, 503);
    assert!(got.head.contains("Retry-After: 30"), "{}", got.head);
    lab.wait(Span::from_millis(500));
    lab.call("ben@example.com", GET_FOLDER).is(200, "NoError");
    lab.is_clean();
    lab.wait(Span::from_secs(29));
    lab.call("ben@example.com", GET_FOLDER).is(200, "NoError");
    lab.violated("before the end of Retry-After");

    let mut lab = Lab::new();
    let answer = Override::TooManyRequests { retry_after_s: Some(30) };
    lab.exchange.answer_next(1, Some(Operation::GetFolder), answer);
    assert_eq!(lab.call("anna@example.com", GET_FOLDER).status, 429);
    lab.wait(Span::from_secs(30));
    lab.call("anna@example.com", GET_FOLDER).is(200, "NoError");
    lab.is_clean();
}

#[test]
fn a_batch_can_stop_in_the_middle_with_and_without_a_reason() {
    let mut lab = Lab::new();
    let ids: Vec<String> = (0..3).map(|_| lab.deliver(ANNA)).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    lab.exchange.stop_batches(Operation::GetItem, 1, 1, None);
    lab.call("anna@example.com", &get_item_body(&ids[..1])).is(200, "NoError");
    let got = lab.call("anna@example.com", &get_item_body(&ids));
    let stopped = "ErrorBatchProcessingStopped";
    assert_eq!(all_text(&got.body, "ResponseCode"), ["NoError", stopped, stopped]);
    assert_eq!(got.body.matches("ResponseClass=\"Warning\"").count(), 2);
    let why = Code::ErrorMailboxStoreUnavailable;
    lab.exchange.stop_batches(Operation::GetItem, 1, 1, Some(why));
    let got = lab.call("anna@example.com", &get_item_body(&ids));
    assert_eq!(all_text(&got.body, "ResponseCode"), ["NoError", why.as_str(), stopped]);
    let got = lab.call("anna@example.com", &get_item_body(&ids));
    assert_eq!(all_text(&got.body, "ResponseCode"), ["NoError"; 3]);
}
