//! Things break on purpose.

use super::*;

#[test]
fn a_stream_is_cut_at_any_byte() {
    for at in [0_u64, 1, 57, 700] {
        let mut lab = Lab::new();
        let id = lab.subscribe("anna@example.com");
        let conn = lab.open(&[id]);
        lab.exchange.cut(conn, Cut { after_bytes: at, how: Close::Reset });
        let (bytes, close) = lab.read(conn);
        assert_eq!((bytes.len() as u64, close), (at, Some(Close::Reset)));
        assert_eq!((lab.exchange.streams().len(), lab.exchange.connection_count()), (0, 0));
    }
}

#[test]
fn a_black_hole_swallows_news_and_a_stall_keeps_them() {
    for (silence, kept) in [(Silence::Blackhole, 0), (Silence::Stall, 2)] {
        let mut lab = Lab::new();
        let (conn, ids) = lab.streaming(&["anna@example.com"]);
        lab.deliver(ANNA);
        lab.exchange.go_silent(lab.exchange.stream_keys()[0], silence);
        lab.deliver(ANNA);
        lab.wait(Span::from_secs(200));
        assert_eq!(lab.read(conn), (Vec::new(), None));
        let again = lab.open(&ids);
        let text = lab.read_text(again);
        assert_eq!(text.matches("<t:NewMailEvent>").count(), kept, "{silence:?}");
        assert_eq!(lab.read(conn), (Vec::new(), None), "not even told that it lost the subscription");
        assert_eq!(lab.exchange.stats().events_lost, if kept == 0 { 6 } else { 0 });
    }
}

#[test]
fn heartbeats_can_be_stopped_for_one_or_for_all() {
    let mut lab = Lab::new();
    let (conn, _) = lab.streaming(&["anna@example.com"]);
    let key = lab.exchange.stream_keys()[0];
    lab.exchange.stop_heartbeats(key);
    lab.wait(Span::from_secs(200));
    assert_eq!(lab.news(conn), "");
    lab.deliver(ANNA);
    assert!(lab.news(conn).contains("NewMailEvent"));
    let (other, _) = lab.streaming(&["ben@example.com"]);
    lab.exchange.faults.heartbeats = false;
    lab.wait(Span::from_secs(50));
    assert_eq!(lab.news(other), "");
    lab.exchange.faults.heartbeats = true;
    lab.wait(Span::from_secs(50));
    assert!(lab.news(other).contains("ConnectionStatus"));
}

#[test]
fn a_stream_can_outlive_its_time() {
    let mut lab = Lab::new();
    let (conn, _) = lab.streaming(&["anna@example.com"]);
    let key = lab.exchange.stream_keys()[0];
    lab.exchange.let_outlive(key);
    for _ in 0..80 {
        lab.wait(Span::from_secs(45));
        assert_eq!(all_text(&lab.news(conn), "ConnectionStatus"), ["OK"]);
    }
    lab.deliver(ANNA);
    assert!(lab.news(conn).contains("NewMailEvent"));
}

#[test]
fn a_stream_ends_early_with_or_without_closed() {
    let mut lab = Lab::new();
    let (conn, ids) = lab.streaming(&["anna@example.com"]);
    lab.exchange.close_stream(lab.now, lab.exchange.stream_keys()[0]);
    let text = lab.read_text(conn);
    assert!(text.contains(">Closed<") && text.ends_with("0\r\n\r\n"));
    let conn = lab.open(&ids);
    lab.read(conn);
    lab.exchange.end_stream_unclean(lab.now, lab.exchange.stream_keys()[0]);
    assert_eq!(lab.read_text(conn), "0\r\n\r\n");
}

#[test]
fn errors_come_with_and_without_ids() {
    let mut lab = Lab::new();
    let (conn, ids) = lab.streaming(&["anna@example.com", "ben@example.com"]);
    lab.exchange.fail_subscriptions(lab.now, &[ANNA], Code::ErrorReadEventsFailed, None);
    let news = lab.news(conn);
    assert_eq!(all_text(&news, "ResponseCode"), ["ErrorReadEventsFailed"]);
    assert!(news.contains(&ids[0]) && !news.contains(&ids[1]));
    lab.deliver(BEN);
    assert_eq!(lab.news(conn), "", "the good ones are silent from now on");
    lab.group_call("anna@example.com", &stream_body(&ids[..1], "1")).is(200, "ErrorSubscriptionNotFound");
    let conn = lab.open(&ids[1..]);
    assert!(lab.read_text(conn).contains("NewMailEvent"));
    lab.exchange.fail_stream(lab.now, lab.exchange.stream_keys()[1], Code::ErrorInternalServerTransientError);
    let text = lab.read_text(conn);
    assert!(text.contains("ErrorInternalServerTransientError") && !text.contains("ErrorSubscriptionIds"));
    lab.exchange.fail_subscriptions(lab.now, &[BEN], Code::ErrorMailboxMoveInProgress, None);
    lab.group_call("anna@example.com", &stream_body(&ids[1..], "1")).is(200, "ErrorMailboxMoveInProgress");
    lab.group_call("anna@example.com", &stream_body(&ids[1..], "1")).is(200, "ErrorSubscriptionNotFound");
}

#[test]
fn a_moved_mailbox_says_so() {
    let mut lab = Lab::with(two_back_ends());
    let (conn, _) = lab.streaming(&["anna@example.com"]);
    lab.exchange.move_mailbox(lab.now, ANNA, 1);
    let news = lab.news(conn);
    assert!(news.contains("ErrorInvalidSubscription") && news.contains("MailboxMoveStarted"));
}

#[test]
fn a_renamed_or_removed_mailbox_answers_as_such() {
    let mut lab = Lab::new();
    lab.exchange.rename_mailbox(ANNA, "anna.new@example.com");
    lab.call("anna@example.com", GET_FOLDER).is(200, "NoError");
    assert_eq!(lab.exchange.address(ANNA), "anna.new@example.com");
    lab.exchange.disconnect_mailbox(lab.now, ANNA);
    lab.call("anna@example.com", GET_FOLDER).is(500, "ErrorNonExistentMailbox");
}

#[test]
fn standing_answers_take_the_place_of_real_ones() {
    let mut lab = Lab::new();
    let ask = |lab: &mut Lab, answer: Override| {
        lab.exchange.answer_next(1, None, answer);
        lab.call("anna@example.com", GET_FOLDER)
    };
    let got = ask(&mut lab, Override::Unavailable { retry_after_s: Some(7) });
    assert!(got.status == 503 && got.head.contains("Retry-After: 7"));
    let got = ask(&mut lab, Override::InternalError { retry_after_s: None });
    assert!(got.status == 500 && !got.head.contains("Retry-After") && got.body.contains("<html>"));
    let got = ask(&mut lab, Override::Unauthorized);
    assert!(got.status == 401 && got.head.contains("WWW-Authenticate"));
    let got = ask(&mut lab, Override::LogonRedirect);
    assert!(got.status == 302 && got.head.contains("Location: https://mail.example.com/owa/auth/logon.aspx"));
    let got = ask(&mut lab, Override::Html);
    assert!(got.status == 200 && got.head.contains("text/html"));
    let got = ask(&mut lab, Override::Oversized(100_000));
    assert!(got.status == 200 && got.body.len() > 100_000);
    assert!(super::super::xml::parse(&ask(&mut lab, Override::MalformedXml).body).is_err());
    lab.exchange.answer_next(1, Some(Operation::GetItem), Override::Html);
    lab.call("anna@example.com", GET_FOLDER).is(200, "NoError");
    assert!(lab.call("anna@example.com", &get_item_body(&["x"])).body.contains("<html>"));
    lab.exchange.answer_next(5, None, Override::Html);
    lab.exchange.clear_orders();
    lab.call("anna@example.com", GET_FOLDER).is(200, "NoError");
    lab.is_clean();
}

#[test]
fn a_stream_can_be_fed_with_anything() {
    let mut lab = Lab::new();
    let (conn, _) = lab.streaming(&["anna@example.com"]);
    let key = lab.exchange.stream_keys()[0];
    lab.exchange.inject(key, b"<Envelope><oops".to_vec());
    assert_eq!(lab.read_text(conn), "F\r\n<Envelope><oops\r\n");
    lab.exchange.inject_oversized(key, 50_000);
    assert!(lab.news(conn).len() > 50_000);
}

#[test]
fn envelopes_come_in_every_dress() {
    let mut lab = Lab::new();
    let (conn, _) = lab.streaming(&["anna@example.com"]);
    for (style, start) in [
        (EnvelopeStyle::S, "<s:Envelope "),
        (EnvelopeStyle::Soap11, "<soap11:Envelope "),
        (EnvelopeStyle::Soap, "<SOAP:Envelope "),
        (EnvelopeStyle::Default, "<Envelope "),
    ] {
        for (lead, before) in [
            (Lead::Nothing, ""),
            (Lead::Declaration, "<?xml "),
            (Lead::Bom, "\u{feff}"),
            (Lead::Blank, "\r\n  "),
        ] {
            lab.exchange.faults.style = style;
            lab.exchange.faults.lead = lead;
            lab.deliver(ANNA);
            let news = lab.news(conn);
            assert!(news.starts_with(before) && news.contains(start), "{news}");
            super::super::xml::parse(news.trim_start()).unwrap();
        }
    }
}

#[test]
fn chunks_and_writes_are_split_as_asked() {
    let mut lab = Lab::new();
    let (conn, _) = lab.streaming(&["anna@example.com", "ben@example.com"]);
    lab.exchange.faults.chunks = Chunks::Bytes(7);
    lab.deliver(ANNA);
    let text = lab.read_text(conn);
    assert!(text.starts_with("7\r\n<Envelo\r\n7\r\npe xmln\r\n"));
    lab.exchange.faults.chunks = Chunks::Glued;
    for _ in 0..30 {
        lab.deliver(ANNA);
    }
    let text = lab.read_text(conn);
    assert_eq!(dechunk(&text).matches("<Envelope ").count(), 2);
    assert_eq!(text.lines().filter(|line| line.len() < 8).count(), 1, "one chunk");
    lab.exchange.faults.drain_bytes_max = Some(3);
    lab.deliver(ANNA);
    let mut out = Vec::new();
    assert!(lab.exchange.drain(lab.now, conn, &mut out, 1_000).more);
    assert_eq!(out.len(), 3);
}

#[test]
fn faults_come_in_soap_1_2_and_replies_with_each_kind_of_length() {
    let mut lab = Lab::new();
    lab.exchange.faults.soap12_faults = true;
    let got = lab.call("nobody@example.com", GET_FOLDER);
    got.is(500, "ErrorNonExistentMailbox");
    assert!(got.body.contains("http://www.w3.org/2003/05/soap-envelope") && got.body.contains("<s:Subcode>"));
    lab.exchange.faults.transfer = Transfer::Length;
    let got = lab.call("anna@example.com", GET_FOLDER);
    assert!(got.head.contains(&format!("Content-Length: {}", got.body.len())));
    lab.exchange.faults.transfer = Transfer::Close;
    let got = lab.call("anna@example.com", GET_FOLDER);
    assert!(got.head.contains("Connection: close") && !got.head.contains("Content-Length"));
    got.is(200, "NoError");
}

#[test]
fn old_ids_in_events_must_be_converted() {
    let mut lab = Lab::new();
    let (conn, _) = lab.streaming(&["anna@example.com"]);
    lab.exchange.faults.legacy_ids = true;
    let item = lab.deliver(ANNA);
    let news = lab.news(conn);
    assert!(!news.contains(&item));
    let old = news.split("<t:ItemId Id=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    lab.call("anna@example.com", &get_item_body(&[&old])).is(200, "ErrorInvalidIdMalformedEwsLegacyIdFormat");
    let body = format!(
        "<m:ConvertId DestinationFormat=\"EwsId\"><m:SourceIds><t:AlternateId Format=\"EwsLegacyId\" Id=\"{old}\" \
         Mailbox=\"anna@example.com\"/></m:SourceIds></m:ConvertId>"
    );
    let got = lab.call("anna@example.com", &body);
    got.is(200, "NoError");
    assert!(got.body.contains(&format!("Id=\"{item}\"")));
}

#[test]
fn primary_smtp_impersonation_can_be_mute() {
    let mut lab = Lab::new();
    lab.exchange.faults.primary_smtp_is_mute = true;
    let head = lab.head("anna@example.com", true);
    let header = impersonate("anna@example.com").replace("SmtpAddress>", "PrimarySmtpAddress>");
    let got = lab.post(&head, &soap_as("Exchange2013_SP1", &header, &subscribe_body(INBOX_ID)));
    let conn = lab.open(&[got.text("SubscriptionId").unwrap()]);
    lab.read(conn);
    lab.deliver(ANNA);
    assert_eq!(lab.news(conn), "");
}
