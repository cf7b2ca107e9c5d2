use super::*;
use crate::ews::response::*;
use crate::ews::{Action, EwsError, ResponseCode};
use crate::http1::{Head, Response};
use crate::limits::{BACK_OFF_MS_MAX, DETAIL_TEXT_BYTES_MAX, ERROR_TEXT_BYTES_MAX};
use crate::time::{Span, UnixMillis};

fn reply(status: u16, content_type: &str, body: &str) -> Response {
    let head = Head { status, content_type: content_type.into(), ..Head::default() };
    Response { head, body: body.into(), took: Span::ZERO }
}

fn xml(status: u16, body: &str) -> Response {
    reply(status, "text/xml", body)
}

/// What a call to Subscribe makes of this answer.
fn outcome(response: &Response) -> Result<String, EwsError> {
    http(response).and_then(subscribe).map(|id| id.as_str().to_owned())
}

const BACK_OFF: &str = "<t:Value Name=\"BackOffMilliseconds\">297749</t:Value>";

#[test]
fn a_subscription_has_the_id_that_the_server_gave_it() {
    let id = "JwBkYjUyLmV4YW1wbGUuY29tEAAAAHr3dCy0EexHl0bYTNTVZmXIJvr1hHPQCA==";
    let message = format!(
        "<m:SubscribeResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>\
         <m:SubscriptionId>{id}</m:SubscriptionId></m:SubscribeResponseMessage>"
    );
    assert_eq!(outcome(&xml(200, &answer("Subscribe", &message))).unwrap(), id);
    let nameless = message.replace(id, "");
    assert_eq!(
        outcome(&xml(200, &answer("Subscribe", &nameless))).unwrap_err().code,
        ResponseCode::Malformed
    );
}

#[test]
fn busy_as_a_fault_tells_its_pause_in_either_namespace() {
    for prefix in ["t", "e"] {
        let error = outcome(&xml(500, &fault("ErrorServerBusy", prefix, BACK_OFF))).unwrap_err();
        assert_eq!((&error.code, error.back_off_ms), (&ResponseCode::ErrorServerBusy, Some(297_749)));
        assert_eq!(error.action(), Action::BackOffAccount { ms: 297_749 });
    }
}

#[test]
fn busy_inside_of_a_response_message_tells_its_pause() {
    let message =
        refusal("Subscribe", "ErrorServerBusy", &format!("<m:MessageXml>{BACK_OFF}</m:MessageXml>"));
    let error = outcome(&xml(200, &answer("Subscribe", &message))).unwrap_err();
    assert_eq!(error.action(), Action::BackOffAccount { ms: 297_749 });
    assert_eq!(&*error.message, "No.");
}

#[test]
fn busy_behind_an_internal_error_is_busy() {
    let inner = [
        format!("<t:Value Name=\"InnerErrorResponseCode\">ErrorServerBusy</t:Value>{BACK_OFF}"),
        format!(
            "<e:Error xmlns:e=\"{E}\"><e:ResponseCode>ErrorServerBusy</e:ResponseCode></e:Error>{BACK_OFF}"
        ),
    ];
    for inner in inner {
        let message = refusal(
            "Subscribe",
            "ErrorInternalServerError",
            &format!("<m:MessageXml>{inner}</m:MessageXml>"),
        );
        let in_message = outcome(&xml(200, &answer("Subscribe", &message))).unwrap_err();
        let in_fault = outcome(&xml(500, &fault("ErrorInternalServerError", "t", &inner))).unwrap_err();
        for error in [in_message, in_fault] {
            assert_eq!(error.action(), Action::BackOffAccount { ms: 297_749 }, "{inner}");
        }
    }
    let other = "<t:Value Name=\"InnerErrorResponseCode\">ErrorNotEnoughMemory</t:Value>";
    let error = outcome(&xml(500, &fault("ErrorInternalServerError", "t", other))).unwrap_err();
    assert_eq!(error.code, ResponseCode::ErrorInternalServerError);
}

#[test]
fn a_pause_without_a_number_or_a_huge_one_is_bounded() {
    let busy = |value: &str| {
        let value = format!("<t:Value Name=\"BackOffMilliseconds\">{value}</t:Value>");
        outcome(&xml(500, &fault("ErrorServerBusy", "t", &value))).unwrap_err().action()
    };
    assert_eq!(busy("99999999999999999999999999"), Action::BackOffAccount { ms: BACK_OFF_MS_MAX });
    for none in ["", "-5", "soon", "1e3"] {
        assert_eq!(busy(none), Action::BackOffAccount { ms: 60_000 }, "{none}");
    }
}

#[test]
fn the_faults_own_pause_goes_before_retry_after() {
    let mut response = xml(500, &fault("ErrorServerBusy", "t", BACK_OFF));
    response.head.retry_after_s = Some(7);
    assert_eq!(http(&response).unwrap_err().back_off_ms, Some(297_749));
    let mut response = xml(500, &fault("ErrorServerBusy", "t", ""));
    response.head.retry_after_s = Some(7);
    assert_eq!(http(&response).unwrap_err().action(), Action::BackOffAccount { ms: 7_000 });
    let mut response = reply(503, "text/html", "<html>queue full</html>");
    response.head.retry_after_s = Some(30);
    let error = http(&response).unwrap_err();
    assert_eq!((error.action(), error.back_off_ms), (Action::RetryConnection, Some(30_000)));
}

#[test]
fn the_code_in_the_detail_is_trusted_more_than_the_faults_own() {
    let body = soap(
        "<s:Fault><faultcode>s:Server</faultcode><faultstring>x</faultstring><detail>\
         <e:ResponseCode>ErrorImpersonateUserDenied</e:ResponseCode><e:Message>The account does not have permission to \
         impersonate the requested user.</e:Message></detail></s:Fault>",
    );
    let error = outcome(&xml(500, &body)).unwrap_err();
    assert_eq!((&error.code, error.action()), (&ResponseCode::ErrorImpersonateUserDenied, Action::Alarm));

    let bare = soap(
        "<s:Fault><faultcode xmlns:a=\"x\">a:ErrorAccessDenied</faultcode><faultstring>x</faultstring></s:Fault>",
    );
    assert_eq!(outcome(&xml(500, &bare)).unwrap_err().code, ResponseCode::ErrorAccessDenied);
}

#[test]
fn a_fault_without_a_header_or_with_status_200_is_a_fault() {
    let fault = "<SOAP:Envelope xmlns:SOAP=\"http://schemas.xmlsoap.org/soap/envelope/\"><SOAP:Body><SOAP:Fault>\
                 <faultcode>ErrorCannotFindUser</faultcode><faultstring>Unknown user</faultstring></SOAP:Fault>\
                 </SOAP:Body></SOAP:Envelope>";
    for status in [200, 500] {
        let error = outcome(&xml(status, fault)).unwrap_err();
        assert_eq!((&error.code, error.action()), (&ResponseCode::ErrorCannotFindUser, Action::MailboxGone));
    }
}

#[test]
fn a_fault_of_soap_1_2_is_read() {
    let body = "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Body><s:Fault><s:Code>\
                <s:Value>s:Receiver</s:Value><s:Subcode><s:Value xmlns:a=\"x\">a:ErrorServerBusy</s:Value></s:Subcode>\
                </s:Code><s:Reason><s:Text xml:lang=\"en\">Busy.</s:Text></s:Reason><s:Detail><t:MessageXml>\
                <t:Value Name=\"BackOffMilliseconds\">5000</t:Value></t:MessageXml></s:Detail></s:Fault></s:Body>\
                </s:Envelope>";
    let error = outcome(&xml(500, body)).unwrap_err();
    assert_eq!((error.action(), &*error.message), (Action::BackOffAccount { ms: 5_000 }, "Busy."));
}

#[test]
fn a_fault_of_soap_itself_is_tried_again_whoever_is_said_to_be_at_fault() {
    let fault = |code: &str| {
        let body =
            soap(&format!("<s:Fault><faultcode>{code}</faultcode><faultstring>x</faultstring></s:Fault>"));
        outcome(&xml(500, &body)).unwrap_err().action()
    };
    assert_eq!(fault("s:Server"), Action::RetryConnection);
    assert_eq!(fault(""), Action::RetryConnection);
    assert_eq!(fault("s:Client"), Action::RetryConnection);
}

#[test]
fn a_status_without_soap_has_its_action() {
    for (status, action) in [
        (204, Action::RetryConnection),
        (302, Action::RetryConnection),
        (400, Action::RetryConnection),
        (401, Action::AuthFailed),
        (403, Action::Alarm),
        (404, Action::RetryConnection),
        (407, Action::RetryConnection),
        (413, Action::RetryConnection),
        (429, Action::RetryConnection),
        (440, Action::AuthFailed),
        (456, Action::AuthFailed),
        (500, Action::RetryConnection),
        (502, Action::RetryConnection),
        (503, Action::RetryConnection),
        (504, Action::RetryConnection),
    ] {
        for body in ["", "<html><body>no</body></html>", "<Envelope>"] {
            assert_eq!(
                http(&reply(status, "text/html", body)).unwrap_err().action(),
                action,
                "{status} {body}"
            );
        }
    }
}

#[test]
fn a_401_without_basic_and_bearer_is_not_about_the_credential() {
    for (offers, code) in [
        (&["Negotiate", "NTLM"][..], ResponseCode::AuthOffer),
        (&["NTLM TlRMTVNTUAAC"], ResponseCode::AuthOffer),
        (&["Negotiate", "Basic realm=\"mail.example.com\""], ResponseCode::Auth),
        (&["NTLM, Bearer"], ResponseCode::Auth),
        (&[], ResponseCode::Auth),
    ] {
        let mut response = reply(401, "text/html", "<html>no</html>");
        response.head.www_authenticate = offers.iter().map(|offer| (*offer).into()).collect();
        assert_eq!(http(&response).unwrap_err().code, code, "{offers:?}");
    }
}

#[test]
fn each_way_of_logging_on_that_is_offered_is_named_once_however_the_offers_are_written() {
    for (offers, said) in [
        (&["Negotiate", "NTLM"][..], "offers Negotiate, NTLM"),
        (&["Negotiate, NTLM"], "offers Negotiate, NTLM"),
        (&["NTLM,Negotiate ,NTLM"], "offers NTLM, Negotiate"),
        (&["Digest realm=\"a, b\", nonce=\"x\", NTLM"], "offers Digest, NTLM"),
        (&["Negotiate", "Kerberos", "NTLM"], "offers Negotiate, Kerberos, NTLM"),
        (&["=, \"x\", \u{202e}evil"], "HTTP 401)"),
    ] {
        let mut response = reply(401, "", "");
        response.head.www_authenticate = offers.iter().map(|offer| (*offer).into()).collect();
        let text = http(&response).unwrap_err().trouble().text;
        assert!(text.contains(said) && !text.contains(",)"), "{offers:?}: {text}");
    }
}

#[test]
fn a_refused_credential_tells_what_the_server_would_take() {
    let mut response = reply(401, "", "");
    response.head.www_authenticate =
        vec!["Negotiate".into(), "Bearer client_id=\"0000\", realm=\"x\"".into()];
    response.head.request_id = Some("0b2f1f0e-5d8c-4b1e-9d59-1d6f1e7c9a11".into());
    response.head.diagnostics = vec![("X-FEServer", "CAS1".into())];
    let text = http(&response).unwrap_err().trouble().text;
    assert!(
        text.ends_with("(HTTP 401 request-id 0b2f1f0e-5d8c-4b1e-9d59-1d6f1e7c9a11 offers Negotiate, Bearer X-FEServer CAS1)"),
        "{text}"
    );
}

#[test]
fn a_redirect_is_never_followed() {
    let mut response = reply(302, "", "");
    response.head.location = Some("https://mail.example.com/owa/auth/logon.aspx?secret=1".into());
    let error = http(&response).unwrap_err();
    assert_eq!(error.code, ResponseCode::Redirect);
    assert!(!error.trouble().text.contains("secret"));
}

#[test]
fn a_page_instead_of_soap_is_told_apart() {
    for response in [
        reply(200, "text/html", ""),
        reply(200, "application/xhtml+xml", "<x/>").with_type("text/html"),
        reply(200, "text/xml", "\u{feff} \r\n<!DOCTYPE HTML><html></html>"),
        reply(200, "", "<HTML></HTML>"),
    ] {
        assert_eq!(http(&response).unwrap_err().code, ResponseCode::NotSoap);
    }
}

impl Response {
    fn with_type(mut self, content_type: &str) -> Response {
        self.head.content_type = content_type.into();
        self
    }
}

#[test]
fn what_cannot_be_read_is_malformed_and_no_panic() {
    let deep = format!("<Envelope><Body>{}", "<a>".repeat(100_000));
    let unclosed = soap("").replace("</s:Envelope>", "");
    for bad in [
        "",
        "x",
        "<Envelope/>",
        "<Envelope><Body/></Envelope>",
        "<Envelope><Body><x/></Body></Envelope>",
        "<Other><Body/></Other>",
        "<Envelope><Body></Envelope></Body>",
        "<Envelope><Body>&unknown;</Body></Envelope>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><Envelope/>",
        &deep,
        &unclosed,
    ] {
        assert_eq!(
            subscribe(bad.as_bytes()).unwrap_err().code,
            ResponseCode::Malformed,
            "{}",
            &bad[..bad.len().min(80)]
        );
    }
    let latin: &[u8] = b"<Envelope><Body><R><ResponseMessages><M><MessageText>\xe4</MessageText></M></ResponseMessages></R></Body></Envelope>";
    assert_eq!(subscribe(latin).unwrap_err().code, ResponseCode::Malformed);
    let codeless = answer("Subscribe", "<m:X ResponseClass=\"Error\"/>");
    assert_eq!(subscribe(codeless.as_bytes()).unwrap_err().code, ResponseCode::Malformed);
}

#[test]
fn deep_nesting_is_refused_for_its_depth() {
    for nest in [50, 100, 100_000] {
        let body = answer("Subscribe", &format!("<m:X>{}{}</m:X>", "<a>".repeat(nest), "</a>".repeat(nest)));
        let error = subscribe(body.as_bytes()).unwrap_err();
        assert_eq!(
            error.message.contains("nested beyond every bound"),
            nest > 50,
            "{nest}: {}",
            error.message
        );
    }
}

#[test]
fn half_an_answer_is_none() {
    let message = "<m:SubscribeResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>\
                   <m:SubscriptionId>abc</m:SubscriptionId></m:SubscribeResponseMessage>";
    let whole = answer("Subscribe", message);
    assert!(subscribe(whole.as_bytes()).is_ok());
    for end in 0..whole.len() {
        assert_eq!(
            subscribe(&whole.as_bytes()[..end]).unwrap_err().code,
            ResponseCode::Malformed,
            "{}",
            &whole[..end]
        );
    }
}

#[test]
fn the_servers_words_are_bounded_and_name_nobody() {
    let words = format!(
        "The mailbox of jane@example.com (/o=First/ou=Exchange/cn=jane) failed with {}\n\tand {}",
        "x".repeat(60),
        "word ".repeat(200)
    );
    let error = EwsError::new(ResponseCode::ErrorAccessDenied, &words, None);
    assert!(error.message.starts_with("The mailbox of … … failed with … and word"), "{}", error.message);
    assert!(error.message.len() <= ERROR_TEXT_BYTES_MAX);
}

#[test]
fn an_unsubscribe_of_what_is_gone_is_done() {
    let message = |code| answer("Unsubscribe", &refusal("Unsubscribe", code, ""));
    let good = "<m:UnsubscribeResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>\
                </m:UnsubscribeResponseMessage>";
    assert_eq!(unsubscribe(answer("Unsubscribe", good).as_bytes()), Ok(()));
    assert_eq!(unsubscribe(message("ErrorSubscriptionNotFound").as_bytes()), Ok(()));
    let denied = unsubscribe(message("ErrorSubscriptionAccessDenied").as_bytes()).unwrap_err();
    assert_eq!(denied.code, ResponseCode::ErrorSubscriptionAccessDenied);
}

fn got(item: &str) -> String {
    format!(
        "<m:GetItemResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode><m:Items>{item}\
         </m:Items></m:GetItemResponseMessage>"
    )
}

fn fetch(item: &str) -> FetchedItem {
    get_item(answer("GetItem", &got(item)).as_bytes()).unwrap().pop().unwrap().unwrap()
}

fn message(inside: &str) -> String {
    format!("<t:Message><t:ItemId Id=\"AAMk\" ChangeKey=\"CQAAAA\"/>{inside}</t:Message>")
}

const FROM_JANE: &str = "<t:From><t:Mailbox><t:Name>Jane Doe</t:Name><t:EmailAddress>jane@example.com</t:EmailAddress>\
    <t:RoutingType>SMTP</t:RoutingType><t:MailboxType>Mailbox</t:MailboxType></t:Mailbox></t:From>";

#[test]
fn an_item_has_what_an_alert_shows() {
    let item = fetch(&message(&format!(
        "<t:ItemClass>IPM.Note</t:ItemClass><t:Subject>R&amp;D &lt;1&gt; &#x1F600;<![CDATA[ & more]]></t:Subject>\
         <t:Sensitivity>Normal</t:Sensitivity><t:DateTimeReceived>2013-09-16T04:31:29Z</t:DateTimeReceived>\
         <t:Importance>High</t:Importance><t:Sender><t:Mailbox><t:Name>The Secretary</t:Name></t:Mailbox></t:Sender>\
         {FROM_JANE}<t:IsRead>true</t:IsRead><t:Preview>Dear all,&#xD;\nas you know  </t:Preview>"
    )));
    assert_eq!((item.id.as_str(), item.received), ("AAMk", Some(UnixMillis(1_379_305_889_000))));
    let details = &item.details;
    assert_eq!((&*details.sender, &*details.sender_address), ("Jane Doe", "jane@example.com"));
    assert_eq!(&*details.subject, "R&D <1> 😀 & more");
    assert_eq!(&*details.preview, "Dear all,\r\nas you know");
    assert!(details.high_importance && details.read && !details.protected);
    assert!(!format!("{item:?}").contains("R&D"));
}

#[test]
fn results_stand_in_the_order_of_the_ids_each_with_its_own_fate() {
    let messages = format!(
        "{}{}{}{}",
        got(&message("<t:Subject>one</t:Subject>")),
        refusal("GetItem", "ErrorItemNotFound", "<m:Items/>"),
        got("<t:MeetingRequest><t:ItemId Id=\"AAMk3\"/><t:Subject>meet</t:Subject></t:MeetingRequest>"),
        refusal("GetItem", "ErrorBatchProcessingStopped", "").replace("\"Error\"", "\"Warning\""),
    );
    let results = get_item(answer("GetItem", &messages).as_bytes()).unwrap();
    let told: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().map(|item| &*item.details.subject).map_err(EwsError::action))
        .collect();
    assert_eq!(told, [Ok("one"), Err(Action::ItemGone), Ok("meet"), Err(Action::RetryItem)]);
}

#[test]
fn a_directory_name_is_no_address() {
    let from =
        |inside: &str| fetch(&message(&format!("<t:From><t:Mailbox>{inside}</t:Mailbox></t:From>"))).details;
    let dn = "<t:EmailAddress>/O=ORG/OU=EXCHANGE/CN=RECIPIENTS/CN=JANE@X</t:EmailAddress>";
    for routing in ["<t:RoutingType>EX</t:RoutingType>", ""] {
        let details = from(&format!("<t:Name>Jane</t:Name>{dn}{routing}"));
        assert_eq!((&*details.sender, &*details.sender_address), ("Jane", ""), "{routing}");
    }
    let smtp = from("<t:EmailAddress>jane@example.com</t:EmailAddress>");
    assert_eq!((&*smtp.sender, &*smtp.sender_address), ("jane@example.com", "jane@example.com"));
    let details = fetch(&message(&FROM_JANE.replace("From>", "Sender>"))).details;
    assert_eq!(&*details.sender, "Jane Doe", "without From, Sender tells");
}

#[test]
fn a_directory_name_is_no_name_either() {
    let of = |inside: &str| fetch(&message(inside)).details;
    let from = |name: &str, address: &str| {
        of(&format!(
            "<t:From><t:Mailbox><t:Name>{name}</t:Name><t:EmailAddress>{address}</t:EmailAddress></t:Mailbox></t:From>"
        ))
    };
    for name in [
        "/O=ORG/OU=EXCHANGE (FYDIBOHF23SPDLT)/CN=RECIPIENTS/CN=jane",
        "/o=org/ou=exchange/cn=jane",
        "'/O=ORG/CN=jane'",
        "X500:/O=ORG/CN=jane",
        "EX:/O=ORG/CN=jane",
        "IMCEAEX-_O=ORG_OU=EXCHANGE_CN=jane@example.com",
    ] {
        let details = from(name, name);
        assert_eq!((&*details.sender, &*details.sender_address), ("", ""), "{name}");
        assert_eq!(&*from(name, "jane@example.com").sender, "jane@example.com", "{name}");
        let sent_for = of(&format!(
            "<t:From><t:Mailbox><t:Name>{name}</t:Name></t:Mailbox></t:From>{}",
            FROM_JANE.replace("From>", "Sender>")
        ));
        assert_eq!(&*sent_for.sender, "Jane Doe", "{name}");
    }
    for name in ["Jane /o=", "O=Neill", "/on call/ Jane", "EX: Jane", "IMCEA"] {
        assert_eq!(&*from(name, "jane@example.com").sender, name);
    }
}

#[test]
fn protected_mail_is_marked() {
    let protected = |inside: &str| fetch(&message(inside)).details.protected;
    for class in [
        "IPM.Note.SMIME",
        "IPM.Note.SMIME.MultipartSigned",
        "ipm.note.smime",
        "IPM.Note.rpmsg.Microsoft.Voicemail",
    ] {
        assert!(
            protected(&format!("<t:ItemClass>{class}</t:ItemClass><t:Sensitivity>Normal</t:Sensitivity>")),
            "{class}"
        );
    }
    for sensitivity in ["Personal", "Private", "Confidential", "SomethingNew"] {
        assert!(protected(&format!("<t:Sensitivity>{sensitivity}</t:Sensitivity>")), "{sensitivity}");
    }
    for class in ["IPM.Note", "IPM.Schedule.Meeting.Request", "IPM.Not", "ÄPM.Note.SMIME"] {
        assert!(
            !protected(&format!("<t:ItemClass>{class}</t:ItemClass><t:Sensitivity>Normal</t:Sensitivity>")),
            "{class}"
        );
    }
}

#[test]
fn one_bad_character_loses_no_mail() {
    let subject = |text: &str| fetch(&message(&format!("<t:Subject>{text}</t:Subject>"))).details.subject;
    assert_eq!(&*subject("a&#x0;b"), "a\u{fffd}b");
    assert_eq!(&*subject("a&#xD800;b"), "a\u{fffd}b");
    assert_eq!(&*subject("a&#99999999999;b"), "a\u{fffd}b");
    assert_eq!(&*subject("a&#;b&#x;c"), "a\u{fffd}b\u{fffd}c");
    assert_eq!(&*subject("a<x>y</x>b<!-- c -->c<?d e?>d"), "abcd");
}

#[test]
fn a_character_in_two_halves_is_one_and_a_half_alone_is_none() {
    let subject = |text: &str| fetch(&message(&format!("<t:Subject>{text}</t:Subject>"))).details.subject;
    assert_eq!(&*subject("Hi &#xD83D;&#xDE00;!"), "Hi 😀!");
    assert_eq!(&*subject("&#55357;&#56832;&#xD83D;&#xDE00;"), "😀😀");
    assert_eq!(&*subject("&#xD83D; &#xDE00;"), "\u{fffd} \u{fffd}");
    assert_eq!(&*subject("&#xD83D;&#xD83D;&#xDE00;"), "\u{fffd}😀");
    assert_eq!(&*subject("&#xDE00;&#xD83D;"), "\u{fffd}\u{fffd}");
}

#[test]
fn an_entity_that_nobody_has_defined_stays_as_it_is_written() {
    let subject = |text: &str| fetch(&message(&format!("<t:Subject>{text}</t:Subject>"))).details.subject;
    assert_eq!(&*subject("A&nbsp;B &amp; &bomb;"), "A\u{a0}B & &bomb;");
}

#[test]
fn long_texts_are_cut_between_characters() {
    let subject = fetch(&message(&format!("<t:Subject>x{}</t:Subject>", "ä".repeat(5_000)))).details.subject;
    assert_eq!(subject.len(), DETAIL_TEXT_BYTES_MAX - 1);
}

#[test]
fn a_page_has_its_mails_newest_first_and_says_whether_it_is_the_last() {
    let found = |last: bool| {
        let messages = format!(
            "<m:FindItemResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>\
             <m:RootFolder IndexedPagingOffset=\"3\" TotalItemsInView=\"7\" IncludesLastItemInRange=\"{last}\"><t:Items>\
             <t:Message><t:ItemId Id=\"B\"/><t:Subject>b</t:Subject><t:DateTimeReceived>2013-09-16T04:31:30Z\
             </t:DateTimeReceived><t:IsRead>false</t:IsRead></t:Message>\
             <t:Contact><t:ItemId Id=\"C\"/></t:Contact>\
             <t:Message><t:ItemId Id=\"A\"/><t:DateTimeReceived>2013-09-16T04:31:29Z</t:DateTimeReceived>\
             <t:IsRead>true</t:IsRead></t:Message></t:Items></m:RootFolder></m:FindItemResponseMessage>"
        );
        find_item(answer("FindItem", &messages).as_bytes()).unwrap()
    };
    let page = found(false);
    let items: Vec<_> =
        page.items.iter().map(|item| (item.id.as_str(), item.received.as_secs(), item.read)).collect();
    assert_eq!(items, [("B", 1_379_305_890, false), ("A", 1_379_305_889, true)]);
    assert_eq!((page.last, page.next_offset, page.total), (false, Some(3), Some(7)));
    assert_eq!(&*page.items[0].details.as_ref().unwrap().subject, "b");
    assert!(found(true).last);
}

#[test]
fn the_inbox_has_its_counts() {
    let folder = |counts: &str| {
        let messages = format!(
            "<m:GetFolderResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode><m:Folders>\
             <t:Folder><t:FolderId Id=\"AAMkInbox\" ChangeKey=\"AQAAAB\"/>{counts}</t:Folder></m:Folders>\
             </m:GetFolderResponseMessage>"
        );
        get_folder(answer("GetFolder", &messages).as_bytes())
    };
    let counts = folder("<t:TotalCount>17</t:TotalCount><t:UnreadCount>4</t:UnreadCount>").unwrap();
    assert_eq!((counts.folder.as_str(), counts.unread, counts.total), ("AAMkInbox", 4, Some(17)));
    let huge = folder("<t:UnreadCount>99999999999</t:UnreadCount>").unwrap();
    assert_eq!((huge.unread, huge.total), (u32::MAX, None));
    assert_eq!(folder("<t:UnreadCount>-1</t:UnreadCount>").unwrap_err().code, ResponseCode::Malformed);
}

#[test]
fn converted_ids_stand_in_their_order() {
    let messages = format!(
        "<m:ConvertIdResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>\
         <m:AlternateId xmlns:q=\"x\" q:type=\"t:AlternateIdType\" Format=\"EwsId\" Id=\"AAMk1\" Mailbox=\"j@example.com\"/>\
         </m:ConvertIdResponseMessage>{}",
        refusal("ConvertId", "ErrorInvalidIdMalformed", "")
    );
    let results = convert_id(answer("ConvertId", &messages).as_bytes()).unwrap();
    assert_eq!(results[0].as_ref().unwrap().as_str(), "AAMk1");
    assert_eq!(results[1].as_ref().unwrap_err().action(), Action::ConvertId);
}

#[test]
fn a_synchronisation_tells_what_is_new_changed_and_gone() {
    let item = |id: &str, read: bool| {
        format!(
            "<t:Message><t:ItemId Id=\"{id}\" ChangeKey=\"C\"/><t:DateTimeReceived>2026-01-05T08:00:00Z\
             </t:DateTimeReceived><t:IsRead>{read}</t:IsRead></t:Message>"
        )
    };
    let flag = |id: &str, read: bool| {
        format!("<t:ReadFlagChange><t:ItemId Id=\"{id}\"/><t:IsRead>{read}</t:IsRead></t:ReadFlagChange>")
    };
    let changes = format!(
        "<t:Create>{}</t:Create><t:Update>{}</t:Update><t:Delete><t:ItemId Id=\"c\"/></t:Delete>{}{}<t:Other/>",
        item("a", false),
        item("b", true),
        flag("d", true),
        flag("e", false)
    );
    let message = format!(
        "<m:SyncFolderItemsResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>\
         <m:SyncState>H4sI=</m:SyncState><m:IncludesLastItemInRange>false</m:IncludesLastItemInRange>\
         <m:Changes>{changes}</m:Changes></m:SyncFolderItemsResponseMessage>"
    );
    let page = sync_folder_items(answer("SyncFolderItems", &message).as_bytes()).unwrap();
    let found: Vec<_> = page.found.iter().map(|item| (item.id.as_str(), item.read)).collect();
    assert_eq!(found, [("a", false), ("b", true)]);
    assert_eq!(page.gone.iter().map(|id| id.as_str()).collect::<Vec<_>>(), ["c", "d"]);
    assert_eq!((page.state.as_deref(), page.last), (Some("H4sI="), false));
    let long = message.replace("H4sI=", &"A".repeat(crate::limits::SYNC_STATE_BYTES_MAX + 1));
    let page = sync_folder_items(answer("SyncFolderItems", &long).as_bytes()).unwrap();
    assert_eq!(page.state, None, "too long to keep");
}

#[test]
fn a_body_gives_the_beginning_of_its_text_on_one_line() {
    let preview = |kind: &str, text: &str| {
        let body =
            format!("<t:Message><t:ItemId Id=\"a\"/><t:Body BodyType=\"{kind}\">{text}</t:Body></t:Message>");
        let message = format!(
            "<m:GetItemResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>\
             <m:Items>{body}</m:Items></m:GetItemResponseMessage>"
        );
        let item = get_item(answer("GetItem", &message).as_bytes()).unwrap().remove(0).unwrap();
        item.details.preview
    };
    assert_eq!(&*preview("Text", " Dear all,\r\n\r\n\tas you\u{a0}know  "), "Dear all, as you know");
    assert_eq!(&*preview("HTML", "&lt;p&gt;"), "", "only text was asked for");
    assert_eq!(preview("Text", &"ä".repeat(10_000)).chars().count(), 256);
    assert_eq!(preview("Text", &"ab ".repeat(10_000)).chars().count(), 256);
}
