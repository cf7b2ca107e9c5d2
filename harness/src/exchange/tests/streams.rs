//! Subscriptions and streams.

use super::*;

#[test]
fn a_mail_is_told_as_created_new_and_folder_modified_in_one_notification() {
    let mut lab = Lab::new();
    let (conn, ids) = lab.streaming(&["anna@example.com", "ben@example.com"]);
    let item = lab.deliver(BEN);
    assert_eq!(lab.exchange.poll_ready(), Some(conn));
    let news = lab.news(conn);
    assert_eq!(news.matches("<Envelope ").count(), 1);
    assert_eq!(news.matches("<m:Notification>").count(), 1);
    assert_eq!(all_text(&news, "SubscriptionId"), [ids[1].as_str()]);
    let order: Vec<usize> = ["<t:CreatedEvent>", "<t:NewMailEvent>", "<t:ModifiedEvent>"]
        .map(|tag| news.find(tag).unwrap())
        .to_vec();
    assert!(order.is_sorted());
    assert_eq!(news.matches(&item).count(), 2);
    assert_eq!(all_text(&news, "UnreadCount"), ["1"]);
    assert_eq!(all_text(&news, "TimeStamp"), ["2023-11-14T22:13:20Z"; 3]);
    assert!(!news.contains("ConnectionStatus"), "status and news come apart");
    assert!(news.contains("ChangeKey=\"CQAAAA==\"") && !news.contains("Watermark"));
    assert_eq!(lab.exchange.poll_ready(), None);
    lab.is_clean();
}

#[test]
fn the_head_and_the_envelopes_are_as_on_the_wire() {
    let mut lab = Lab::new();
    let id = lab.subscribe("anna@example.com");
    let conn = lab.open(&[id]);
    let text = lab.read_text(conn);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    for line in [
        "HTTP/1.1 200 OK",
        "Transfer-Encoding: chunked",
        "X-NoBuffering: 1",
        "Content-Type: text/xml; charset=utf-8",
    ] {
        assert!(head.contains(line), "{line}");
    }
    assert!(!head.contains("Content-Length"));
    let body = dechunk(body);
    assert!(
        body.starts_with("<Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\"><soap11:Header ")
    );
    assert!(body.ends_with("</soap11:Body></Envelope>"));
}

#[test]
fn reading_moving_and_deleting_are_told() {
    let mut lab = Lab::new();
    let (conn, _) = lab.streaming(&["anna@example.com"]);
    let item = lab.deliver(ANNA);
    let kept = lab.deliver(ANNA);
    lab.news(conn);
    assert!(lab.exchange.mark_read(lab.now, ANNA, &item, true));
    assert!(!lab.exchange.mark_read(lab.now, ANNA, &item, true));
    let news = lab.news(conn);
    assert_eq!(news.matches("<t:ModifiedEvent>").count(), 2);
    assert_eq!(all_text(&news, "UnreadCount"), ["1"]);
    let moved = lab.exchange.move_item(lab.now, ANNA, &kept, DELETED_ITEMS).unwrap();
    let news = lab.news(conn);
    assert_ne!(moved, kept);
    assert!(
        news.contains(&format!("<t:ItemId Id=\"{moved}\""))
            && news.contains(&format!("<t:OldItemId Id=\"{kept}\""))
    );
    assert_eq!(all_text(&news, "UnreadCount"), ["0"]);
    assert!(lab.exchange.delete(lab.now, ANNA, &item));
    assert!(lab.news(conn).contains("<t:DeletedEvent>"));
    assert!(lab.exchange.delete(lab.now, ANNA, &moved), "in another folder, which nobody watches");
    assert_eq!(lab.news(conn), "");
    assert_eq!(lab.exchange.unread_count(ANNA, INBOX), 0);
}

#[test]
fn what_its_owner_puts_into_a_folder_is_created_and_no_new_mail() {
    let mut lab = Lab::new();
    let (conn, _) = lab.streaming(&["anna@example.com"]);
    let id = lab.exchange.put(lab.now, ANNA, Mail::default(), false);
    let news = lab.news(conn);
    assert!(news.contains("<t:CreatedEvent>") && news.contains(&id), "{news}");
    assert!(!news.contains("NewMailEvent"), "{news}");
    assert_eq!(all_text(&news, "UnreadCount"), ["1"]);
}

#[test]
fn at_most_50_events_stand_in_a_notification() {
    let mut lab = Lab::new();
    let (conn, _) = lab.streaming(&["anna@example.com"]);
    for _ in 0..40 {
        lab.deliver(ANNA);
    }
    let news = lab.news(conn);
    let counts: Vec<usize> =
        news.split("<m:Notification>").skip(1).map(|one| one.matches("<t:TimeStamp>").count()).collect();
    assert_eq!(counts, [50, 50, 20]);
    assert_eq!(news.matches("<Envelope ").count(), 3);
}

#[test]
fn a_quiet_stream_has_heartbeats_and_ends_with_closed() {
    let mut lab = Lab::new();
    let (conn, ids) = lab.streaming(&["anna@example.com"]);
    lab.wait(Span::from_secs(44));
    assert_eq!(lab.news(conn), "");
    lab.wait(Span::from_secs(1));
    assert_eq!(all_text(&lab.news(conn), "ConnectionStatus"), ["OK"]);
    lab.wait(Span::from_secs(30));
    lab.deliver(ANNA);
    lab.news(conn);
    lab.wait(Span::from_secs(44));
    assert_eq!(lab.news(conn), "", "news are as good as a heartbeat");
    lab.wait(Span::from_secs(1));
    assert_eq!(all_text(&lab.news(conn), "ConnectionStatus"), ["OK"]);
    lab.wait(Span::from_secs(28 * 60));
    let text = lab.read_text(conn);
    assert!(text.ends_with("0\r\n\r\n"));
    assert_eq!(all_text(&dechunk(&text), "ConnectionStatus").last().unwrap(), "Closed");
    assert!(lab.exchange.streams().is_empty());
    // The subscription lives on, and so does the connection.
    let head = lab.head("anna@example.com", true);
    let body = soap_as("Exchange2013_SP1", &impersonate("anna@example.com"), &stream_body(&ids, "1"));
    lab.send(conn, &head, &body);
    assert_eq!(Got::parse(&lab.read(conn).0).text("ConnectionStatus").as_deref(), Some("OK"));
}

#[test]
fn a_detached_subscription_keeps_its_events_for_a_while() {
    let mut lab = Lab::new();
    let (conn, ids) = lab.streaming(&["anna@example.com"]);
    assert_eq!(lab.exchange.watched_count(), 1);
    lab.exchange.closed(lab.now, conn);
    assert_eq!((lab.exchange.watched_count(), lab.exchange.is_watched(ANNA)), (0, false));
    lab.deliver(ANNA);
    lab.wait(Span::from_secs(29 * 60));
    let conn = lab.open(&ids);
    let text = lab.read_text(conn);
    let news = dechunk(text.split_once("\r\n\r\n").unwrap().1);
    assert_eq!(news.matches("<t:NewMailEvent>").count(), 1);
    assert!(news.find("ConnectionStatus").unwrap() < news.find("NewMailEvent").unwrap());
    lab.exchange.closed(lab.now, conn);
    lab.wait(Span::from_secs(31 * 60));
    assert_eq!(lab.exchange.subscription_count(), 0);
    lab.group_call("anna@example.com", &stream_body(&ids, "1")).is(200, "ErrorSubscriptionNotFound");
}

#[test]
fn an_overflowing_queue_is_told_as_missed_events_and_the_subscription_lives() {
    let config = ExchangeConfig { queue_events_max: 10, ..ExchangeConfig::default() };
    let mut lab = Lab::with(config);
    let id = lab.subscribe("anna@example.com");
    for _ in 0..4 {
        lab.deliver(ANNA);
    }
    let conn = lab.open(std::slice::from_ref(&id));
    let text = lab.read_text(conn);
    let codes = all_text(&text, "ResponseCode");
    assert_eq!(codes, ["NoError", "ErrorMissedNotificationEvents", "NoError"]);
    assert!(text.contains(&format!("<m:ErrorSubscriptionIds><m:SubscriptionId>{id}</m:SubscriptionId>")));
    lab.deliver(ANNA);
    assert!(lab.news(conn).contains("<t:NewMailEvent>"));
}

#[test]
fn a_second_stream_with_the_same_id_ends_the_first() {
    let mut lab = Lab::new();
    let (first, ids) = lab.streaming(&["anna@example.com", "ben@example.com"]);
    let second = lab.open(&ids[..1]);
    let text = lab.read_text(first);
    assert!(text.ends_with("0\r\n\r\n"));
    assert_eq!(all_text(&text, "ResponseCode"), ["ErrorNewEventStreamConnectionOpened"]);
    assert_eq!(lab.exchange.streams().len(), 1);
    lab.read(second);
    lab.deliver(ANNA);
    lab.deliver(BEN);
    assert_eq!(lab.news(second).matches("<t:NewMailEvent>").count(), 1);
    assert_eq!(lab.exchange.stats().streams_taken_over, 1);
}

#[test]
fn a_bad_id_silences_the_good_ones() {
    let mut lab = Lab::new();
    let good = lab.subscribe("anna@example.com");
    let conn = lab.open(&[good.clone(), "bad".to_owned()]);
    let got = Got::parse(&lab.read(conn).0);
    got.is(200, "ErrorInvalidSubscription");
    assert!(got.body.contains(
        "<m:ErrorSubscriptionIds><m:SubscriptionId>bad</m:SubscriptionId></m:ErrorSubscriptionIds>"
    ));
    assert!(!got.body.contains(&good));
    lab.deliver(ANNA);
    assert_eq!(lab.news(conn), "");
    lab.wait(Span::from_secs(45));
    assert_eq!(all_text(&lab.news(conn), "ConnectionStatus"), ["OK"]);
    assert_eq!(lab.exchange.watched_count(), 0);
    let again = lab.open(&[good]);
    assert!(lab.read_text(again).contains("<t:NewMailEvent>"), "nothing was lost meanwhile");
}

#[test]
fn going_on_with_a_bad_id_is_a_violation() {
    let mut lab = Lab::new();
    for _ in 0..3 {
        lab.is_clean();
        lab.group_call("anna@example.com", &stream_body(&["bad".to_owned()], "1"));
    }
    lab.violated("used on after it was twice reported as bad");
}

#[test]
fn a_subscription_belongs_to_the_account_that_made_it() {
    let mut lab = Lab::new();
    let id = lab.subscribe("anna@example.com");
    lab.exchange.add_account(Account::service("EXAMPLE\\other", "secret"));
    let other = |lab: &mut Lab, body: &str| {
        use base64::Engine as _;
        let credential = base64::engine::general_purpose::STANDARD.encode("EXAMPLE\\other:secret");
        let head = lab.head("anna@example.com", true);
        let head: String = head
            .split_inclusive("\r\n")
            .map(|line| {
                if line.starts_with("Authorization") {
                    format!("Authorization: Basic {credential}\r\n")
                } else {
                    line.to_owned()
                }
            })
            .collect();
        lab.post(&head, &soap_as("Exchange2013_SP1", &impersonate("anna@example.com"), body))
    };
    other(&mut lab, &stream_body(std::slice::from_ref(&id), "1")).is(200, "ErrorSubscriptionAccessDenied");
    let unsubscribe = format!("<m:Unsubscribe><m:SubscriptionId>{id}</m:SubscriptionId></m:Unsubscribe>");
    other(&mut lab, &unsubscribe).is(200, "ErrorSubscriptionAccessDenied");
    lab.group_call("ben@example.com", &stream_body(&[id], "1")).is(200, "NoError");
}

#[test]
fn an_unsubscribed_id_is_gone() {
    let mut lab = Lab::new();
    let (conn, ids) = lab.streaming(&["anna@example.com"]);
    let unsubscribe =
        format!("<m:Unsubscribe><m:SubscriptionId>{}</m:SubscriptionId></m:Unsubscribe>", ids[0]);
    lab.group_call("anna@example.com", &unsubscribe).is(200, "NoError");
    lab.group_call("anna@example.com", &unsubscribe).is(200, "ErrorSubscriptionNotFound");
    lab.deliver(ANNA);
    assert_eq!(lab.news(conn), "");
    assert_eq!(lab.exchange.subscription_count(), 0);
}

#[test]
fn with_several_back_ends_the_cookie_leads_to_the_right_one() {
    let mut lab = Lab::with(two_back_ends());
    let head = lab.head("anna@example.com", true);
    let first = lab.post(
        &head,
        &soap_as("Exchange2013_SP1", &impersonate("anna@example.com"), &subscribe_body(INBOX_ID)),
    );
    assert!(first.head.contains("Set-Cookie: X-BackEndOverrideCookie=ex1.example.com~"), "{}", first.head);
    assert!(first.head.contains("X-CalculatedBETarget: ex1.example.com"));
    let id = first.text("SubscriptionId").unwrap();
    // Dora's database is on the other server: with the cookie her subscription is made here all the same.
    let head = lab.head("anna@example.com", true);
    let second = lab.post(
        &head,
        &soap_as("Exchange2013_SP1", &impersonate("dora@example.com"), &subscribe_body(INBOX_ID)),
    );
    assert!(!second.head.contains("Set-Cookie"), "only the first answer sets it");
    let both = [id, second.text("SubscriptionId").unwrap()];
    lab.group_call("anna@example.com", &stream_body(&both, "1")).is(200, "NoError");
    let cookie = lab.cookie.take();
    lab.group_call("anna@example.com", &stream_body(&both, "1")).is(200, "ErrorSubscriptionNotFound");
    lab.cookie = cookie;
    lab.group_call("anna@example.com", &stream_body(&both, "1")).is(200, "NoError");
    lab.is_clean();
}

#[test]
fn a_wrong_anchor_without_a_cookie_lands_elsewhere() {
    let config = ExchangeConfig { wrong_back_end: Code::ErrorProxyRequestNotAllowed, ..two_back_ends() };
    let mut lab = Lab::with(config);
    let id = lab.subscribe("anna@example.com");
    lab.cookie = None;
    let head = lab.head("dora@example.com", true);
    let soap = soap_as("Exchange2013_SP1", &impersonate("anna@example.com"), &stream_body(&[id], "1"));
    lab.post(&head, &soap).is(200, "ErrorProxyRequestNotAllowed");
}

#[test]
fn a_restarted_back_end_knows_no_id_and_takes_no_cookie() {
    let mut lab = Lab::with(two_back_ends());
    let (conn, ids) = lab.streaming(&["anna@example.com"]);
    lab.exchange.restart_back_end(lab.now, 0);
    assert_eq!(lab.exchange.poll_ready(), Some(conn));
    assert_eq!(lab.read(conn).1, Some(Close::Reset));
    assert_eq!((lab.exchange.subscription_count(), lab.exchange.streams().len()), (0, 0));
    let before = lab.cookie.clone();
    lab.group_call("anna@example.com", &stream_body(&ids, "1")).is(200, "ErrorSubscriptionNotFound");
    assert_ne!(lab.cookie, before, "a new cookie is set");
    let (_, _) = lab.streaming(&["anna@example.com"]);
}

#[test]
fn a_rule_that_files_mail_elsewhere_tells_only_who_watches_there() {
    let mut lab = Lab::new();
    let (conn, _) = lab.streaming(&["anna@example.com"]);
    let folder = lab.exchange.add_folder(ANNA, "Lists");
    lab.exchange.deliver(lab.now, ANNA, Mail { folder, ..Mail::default() });
    assert_eq!(lab.news(conn), "");
    assert_eq!((lab.exchange.unread_count(ANNA, folder), lab.exchange.unread_count(ANNA, INBOX)), (1, 0));
}

#[test]
fn a_slow_reader_gets_what_fits_and_the_rest_later() {
    let mut lab = Lab::new();
    let (conn, _) = lab.streaming(&["anna@example.com"]);
    for _ in 0..200 {
        lab.deliver(ANNA);
    }
    let mut out = Vec::new();
    let mut turns = 0;
    while lab.exchange.drain(lab.now, conn, &mut out, 1_000).more {
        turns += 1;
        assert!(lab.exchange.conns[&conn].out.len() < 128 * 1024);
    }
    assert!(turns > 100);
    assert_eq!(dechunk(&String::from_utf8(out).unwrap()).matches("<t:NewMailEvent>").count(), 200);
}
