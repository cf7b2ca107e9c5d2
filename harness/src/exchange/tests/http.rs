//! The outermost layer: HTTP, log-in, routing.

use super::*;

#[test]
fn without_credentials_there_is_a_challenge_of_each_scheme() {
    let mut lab = Lab::new();
    let head = lab.head("anna@example.com", false);
    let bare: String =
        head.split_inclusive("\r\n").filter(|line| !line.starts_with("Authorization")).collect();
    let got = lab.post(&bare, "");
    assert_eq!(got.status, 401);
    assert!(got.head.contains("WWW-Authenticate: Basic realm=\"mail.example.com\""));
    assert!(got.head.contains("WWW-Authenticate: Bearer"));
}

#[test]
fn a_wrong_password_is_refused_and_hammering_is_a_violation() {
    let mut lab = Lab::new();
    lab.exchange.set_password(lab.service, "new");
    assert_eq!(lab.call("anna@example.com", GET_FOLDER).status, 401);
    lab.wait(Span::from_millis(500));
    assert_eq!(lab.call("anna@example.com", GET_FOLDER).status, 401);
    lab.is_clean();
    lab.wait(Span::from_secs(5));
    assert_eq!(lab.call("anna@example.com", GET_FOLDER).status, 401);
    lab.violated("a refused credential is tried again");
    let count = lab.exchange.violation_count();
    lab.wait(Span::from_secs(60));
    assert_eq!(lab.call("anna@example.com", GET_FOLDER).status, 401);
    assert_eq!(lab.exchange.violation_count(), count, "a try after a rest is none");
    lab.password = "new".to_owned();
    lab.call("anna@example.com", GET_FOLDER).is(200, "NoError");
    assert_eq!(lab.exchange.stats().refused, 4);
}

#[test]
fn an_account_is_locked_after_too_many_failures() {
    let config = ExchangeConfig { lockout_failures: Some(3), ..ExchangeConfig::default() };
    let mut lab = Lab::with(config);
    lab.password = "wrong".to_owned();
    for _ in 0..3 {
        assert_eq!(lab.call("anna@example.com", GET_FOLDER).status, 401);
    }
    lab.password = "secret".to_owned();
    assert_eq!(lab.call("anna@example.com", GET_FOLDER).status, 401);
    assert!(lab.exchange.is_locked(lab.service));
    lab.exchange.set_password(lab.service, "secret");
    assert_eq!(lab.call("anna@example.com", GET_FOLDER).status, 200);
}

#[test]
fn a_bearer_token_of_an_app_must_impersonate_and_may_expire() {
    let mut lab = Lab::new();
    let expires = UnixMillis(lab.now.unix.0 + 60_000);
    lab.exchange.change_account(AccountKey(0), |account| {
        account.tokens.push(("t0k".to_owned(), TokenKind::AppOnly, Some(expires)));
    });
    let head = |lab: &mut Lab| {
        let head = lab.head("anna@example.com", false);
        head.split_inclusive("\r\n")
            .map(
                |line| if line.starts_with("Authorization") { "Authorization: Bearer t0k\r\n" } else { line },
            )
            .collect::<String>()
    };
    let text = head(&mut lab);
    let with = soap_as("Exchange2013_SP1", &impersonate("anna@example.com"), GET_FOLDER);
    lab.post(&text, &with).is(200, "NoError");
    let text = head(&mut lab);
    lab.post(&text, &soap_as("Exchange2013_SP1", "", GET_FOLDER))
        .is(500, "ErrorInvalidExchangeImpersonationHeaderData");
    lab.wait(Span::from_secs(61));
    let text = head(&mut lab);
    let got = lab.post(&text, &with);
    assert_eq!(got.status, 401);
    assert!(got.head.contains("x-ms-diagnostics: 2000002"));
}

#[test]
fn a_client_certificate_is_a_log_in_where_it_is_mapped_and_a_must_where_it_is_required() {
    let mut lab =
        Lab::with(ExchangeConfig { certificate: CertificateRule::Mapped, ..ExchangeConfig::default() });
    lab.exchange.change_account(AccountKey(0), |account| account.certificate = Some(vec![1, 2, 3]));
    let ask = |lab: &mut Lab, certificate: Option<Vec<u8>>| {
        lab.next_conn += 1;
        let conn = PeerConn(lab.next_conn);
        lab.exchange.accepted(lab.now, conn, Hello { certificate, ..Hello::default() });
        let head = lab.head("anna@example.com", false);
        let bare: String =
            head.split_inclusive("\r\n").filter(|line| !line.starts_with("Authorization")).collect();
        lab.send(conn, &bare, &soap_as("Exchange2013_SP1", &impersonate("anna@example.com"), GET_FOLDER));
        Got::parse(&lab.read(conn).0).status
    };
    assert_eq!(ask(&mut lab, Some(vec![1, 2, 3])), 200);
    assert_eq!(ask(&mut lab, Some(vec![9])), 401);
    assert_eq!(ask(&mut lab, None), 401);
    lab.exchange.reconfigure(|config| config.certificate = CertificateRule::Required);
    assert_eq!(ask(&mut lab, None), 403);
}

#[test]
fn an_account_without_ews_is_forbidden() {
    let mut lab = Lab::new();
    lab.exchange.change_account(AccountKey(0), |account| account.ews_enabled = false);
    assert_eq!(lab.call("anna@example.com", GET_FOLDER).status, 403);
}

#[test]
fn other_paths_methods_and_types_are_refused() {
    let mut lab = Lab::new();
    let head = lab.head("anna@example.com", false);
    assert_eq!(lab.post(&head.replace("/EWS/Exchange.asmx", "/other"), "").status, 404);
    assert_eq!(lab.post(&head.replace("/EWS/Exchange.asmx", "/ews/exchange.ASMX"), "<a/>").status, 400);
    assert_eq!(lab.post(&head.replacen("POST", "GET", 1), "").status, 200);
    assert_eq!(lab.post(&head.replacen("POST", "PUT", 1), "").status, 405);
    assert_eq!(lab.post(&head.replace("text/xml; charset=utf-8", "application/soap+xml"), "").status, 415);
    assert_eq!(lab.post(&head.replace("charset=utf-8", "charset=utf-16"), "").status, 415);
}

#[test]
fn a_connection_is_kept_and_pipelined_calls_are_answered_in_order() {
    let mut lab = Lab::new();
    let conn = lab.connect();
    let first = lab.head("anna@example.com", false);
    let second = lab.head("anna@example.com", false);
    let good = soap_as("Exchange2013_SP1", &impersonate("anna@example.com"), GET_FOLDER);
    let text =
        format!("{first}Content-Length: {}\r\n\r\n{good}{second}Content-Length: 2\r\n\r\n<a", good.len());
    lab.exchange.received(lab.now, conn, text.as_bytes());
    let out = lab.read_text(conn);
    let at = out.find("HTTP/1.1 400").unwrap();
    assert!(out.starts_with("HTTP/1.1 200") && at > 0, "{out}");
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let mut lab = Lab::new();
    let idle = lab.connect();
    let (conn, _) = lab.streaming(&["anna@example.com"]);
    lab.wait(Span::from_secs(121));
    let ready: Vec<PeerConn> = std::iter::from_fn(|| lab.exchange.poll_ready()).collect();
    assert_eq!(ready, [conn, idle], "a heartbeat for the one, the end for the other");
    assert_eq!(lab.read(idle).1, Some(Close::Orderly));
    assert_eq!(lab.read(conn).1, None);
}

#[test]
fn a_correlation_id_is_echoed_and_must_be_new() {
    let mut lab = Lab::new();
    lab.extra = "return-client-request-id: true\r\n".to_owned();
    let got = lab.call("anna@example.com", GET_FOLDER);
    assert!(got.head.contains("\r\nclient-request-id: 1") && got.head.contains("\r\nrequest-id: "));
    lab.is_clean();
    let conn = lab.connect();
    let head = lab.head("anna@example.com", false);
    let body = soap_as("Exchange2013_SP1", &impersonate("anna@example.com"), GET_FOLDER);
    lab.send(conn, &head, &body);
    lab.send(conn, &head, &body);
    lab.violated("a client-request-id is used twice");
}

#[test]
fn expect_continue_is_answered() {
    let mut lab = Lab::new();
    let conn = lab.connect();
    let head = lab.head("anna@example.com", false);
    let text = format!("{head}Expect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    lab.exchange.received(lab.now, conn, text.as_bytes());
    assert_eq!(lab.read_text(conn), "HTTP/1.1 100 Continue\r\n\r\n");
}

#[test]
fn equal_seeds_give_equal_bytes() {
    let run = || {
        let mut lab = Lab::with(two_back_ends());
        let (conn, _) = lab.streaming(&["anna@example.com", "ben@example.com"]);
        lab.deliver(ANNA);
        lab.deliver(BEN);
        lab.wait(Span::from_secs(100));
        let bytes = lab.read(conn).0;
        (bytes, format!("{:?}", lab.exchange.stats()), format!("{:?}", lab.exchange.subscriptions()))
    };
    assert_eq!(run(), run());
}
