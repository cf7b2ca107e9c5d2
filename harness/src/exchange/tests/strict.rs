//! What the server refuses, and what it holds against a client.

use super::*;

fn raw(lab: &mut Lab, soap: &str) -> Got {
    let head = lab.head("anna@example.com", true);
    lab.post(&head, soap)
}

#[test]
fn what_is_not_xml_is_a_bad_request() {
    let mut lab = Lab::new();
    assert_eq!(raw(&mut lab, "<s:Envelope").status, 400);
    assert_eq!(raw(&mut lab, "<Envelope/>").status, 400);
    assert_eq!(raw(&mut lab, "<!DOCTYPE a><a/>").status, 400);
}

#[test]
fn soap_1_2_is_a_version_mismatch() {
    let mut lab = Lab::new();
    let soap = soap_as("Exchange2013_SP1", "", GET_FOLDER)
        .replace("http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope");
    let got = raw(&mut lab, &soap);
    assert_eq!(got.status, 500);
    assert!(got.body.contains("s:VersionMismatch"));
}

#[test]
fn namespaces_are_those_of_the_schema() {
    let mut lab = Lab::new();
    let good = soap_as("Exchange2013_SP1", &impersonate("anna@example.com"), &subscribe_body(INBOX_ID));
    raw(&mut lab, &good).is(200, "NoError");
    raw(&mut lab, &good.replace("\"http://schemas.m", "\"https://schemas.m")).is(500, "ErrorInvalidRequest");
    raw(&mut lab, &good.replace("t:EventTypes", "m:EventTypes")).is(500, "ErrorSchemaValidation");
    raw(&mut lab, &good.replace("m:StreamingSubscriptionRequest", "t:StreamingSubscriptionRequest"))
        .is(500, "ErrorSchemaValidation");
}

#[test]
fn elements_stand_in_the_schemas_order() {
    let mut lab = Lab::new();
    let body = format!(
        "<m:Subscribe><m:StreamingSubscriptionRequest>{EVENTS}<t:FolderIds>{INBOX_ID}</t:FolderIds>\
         </m:StreamingSubscriptionRequest></m:Subscribe>"
    );
    lab.group_call("anna@example.com", &body).is(500, "ErrorSchemaValidation");
    let body = "<m:GetFolder><m:FolderIds><t:DistinguishedFolderId Id=\"inbox\"/></m:FolderIds><m:FolderShape>\
                <t:BaseShape>IdOnly</t:BaseShape></m:FolderShape></m:GetFolder>";
    lab.call("anna@example.com", body).is(500, "ErrorSchemaValidation");
    let body = get_item_body(&["x"])
        .replace("<t:BaseShape>IdOnly</t:BaseShape>", "")
        .replace("</t:AdditionalProperties>", "</t:AdditionalProperties><t:BaseShape>IdOnly</t:BaseShape>");
    lab.call("anna@example.com", &body).is(500, "ErrorSchemaValidation");
}

#[test]
fn what_belongs_to_other_kinds_of_subscription_is_refused() {
    let mut lab = Lab::new();
    for extra in ["<t:Timeout>10</t:Timeout>", "<t:Watermark>x</t:Watermark>"] {
        let body = subscribe_body(INBOX_ID).replace("</m:Str", &format!("{extra}</m:Str"));
        lab.group_call("anna@example.com", &body).is(500, "ErrorSchemaValidation");
    }
    let body = subscribe_body(INBOX_ID).replace("NewMailEvent", "StatusEvent");
    lab.group_call("anna@example.com", &body).is(500, "ErrorSchemaValidation");
    let body = subscribe_body(INBOX_ID).replace(EVENTS, "<t:EventTypes></t:EventTypes>");
    lab.group_call("anna@example.com", &body).is(500, "ErrorSchemaValidation");
}

#[test]
fn unknown_values_attributes_and_operations_are_refused() {
    let mut lab = Lab::new();
    for body in [
        GET_FOLDER.replace("folder:UnreadCount", "folder:Unread"),
        GET_FOLDER.replace("Id=\"inbox\"", "Id=\"Inbox\""),
        GET_FOLDER.replace("Id=\"inbox\"", "Id=\"inbox\" Foo=\"1\""),
        GET_FOLDER.replace("IdOnly", "Everything"),
        GET_FOLDER.replace("<t:DistinguishedFolderId Id=\"inbox\"/>", ""),
        get_item_body(&[]),
    ] {
        lab.call("anna@example.com", &body).is(500, "ErrorSchemaValidation");
    }
    lab.call("anna@example.com", "<m:GetRooms/>").is(500, "ErrorInvalidRequest");
    lab.extra =
        "SOAPAction: \"http://schemas.microsoft.com/exchange/services/2006/messages/GetItem\"\r\n".to_owned();
    lab.call("anna@example.com", GET_FOLDER).is(500, "ErrorInvalidRequest");
}

#[test]
fn streaming_needs_exchange_2010_sp1_and_previews_exchange_2013() {
    let mut lab = Lab::new();
    let subscribe = |version| soap_as(version, &impersonate("anna@example.com"), &subscribe_body(INBOX_ID));
    raw(&mut lab, &subscribe("")).is(500, "ErrorInvalidServerVersion");
    raw(&mut lab, &subscribe("Exchange2010")).is(500, "ErrorInvalidServerVersion");
    raw(&mut lab, &subscribe("Exchange2010_SP1")).is(200, "NoError");
    raw(&mut lab, &subscribe("Exchange2014")).is(500, "ErrorSchemaValidation");
    let fetch = |version| soap_as(version, &impersonate("anna@example.com"), &get_item_body(&["x"]));
    raw(&mut lab, &fetch("Exchange2010_SP2")).is(500, "ErrorIncorrectSchemaVersion");
    raw(&mut lab, &fetch("Exchange2013")).is(200, "ErrorInvalidIdMalformed");
}

#[test]
fn an_older_server_refuses_a_newer_version() {
    let config = ExchangeConfig { version_max: Version::Exchange2010_SP2, ..ExchangeConfig::default() };
    let mut lab = Lab::with(config);
    lab.call("anna@example.com", GET_FOLDER).is(500, "ErrorInvalidServerVersion");
    let got = raw(&mut lab, &soap_as("Exchange2010_SP2", &impersonate("anna@example.com"), GET_FOLDER));
    got.is(200, "NoError");
    assert!(got.body.contains("MajorVersion=\"14\""));
}

#[test]
fn impersonation_has_its_rules() {
    let mut lab = Lab::new();
    lab.call("nobody@example.com", GET_FOLDER).is(500, "ErrorNonExistentMailbox");
    lab.call("nobody", GET_FOLDER).is(500, "ErrorInvalidSmtpAddress");
    lab.call("ANNA.old@example.com", GET_FOLDER).is(200, "NoError");
    let as_kind = |kind: &str, value: &str| {
        let header = impersonate(value).replace("SmtpAddress>", &format!("{kind}>"));
        soap_as("Exchange2013_SP1", &header, GET_FOLDER)
    };
    raw(&mut lab, &as_kind("PrimarySmtpAddress", "anna@example.com")).is(200, "NoError");
    raw(&mut lab, &as_kind("PrimarySmtpAddress", "anna.old@example.com"))
        .is(500, "ErrorNonPrimarySmtpAddress");
    raw(&mut lab, &as_kind("PrincipalName", "anna@example.com")).is(200, "NoError");
    raw(&mut lab, &as_kind("PrincipalName", "anna.old@example.com")).is(500, "ErrorInvalidUserPrincipalName");
    raw(&mut lab, &as_kind("SID", "S-1-5-21-1")).is(500, "ErrorInvalidUserSid");
    raw(&mut lab, &as_kind("Name", "anna")).is(500, "ErrorSchemaValidation");
    let two = impersonate("anna@example.com").replace("</t:Conn", "<t:SID>S-1</t:SID></t:Conn");
    raw(&mut lab, &soap_as("Exchange2013_SP1", &two, GET_FOLDER)).is(500, "ErrorSchemaValidation");
    let both = format!("{}<t:SerializedSecurityContext/>", impersonate("anna@example.com"));
    raw(&mut lab, &soap_as("Exchange2013_SP1", &both, GET_FOLDER))
        .is(500, "ErrorMoreThanOneAccessModeSpecified");
    raw(&mut lab, &soap_as("Exchange2013_SP1", "", GET_FOLDER)).is(200, "ErrorMissingEmailAddress");
    let unknown = "<x:Y xmlns:x=\"urn:x\" s:mustUnderstand=\"1\"/>";
    assert!(raw(&mut lab, &soap_as("Exchange2013_SP1", unknown, GET_FOLDER)).body.contains("MustUnderstand"));
}

#[test]
fn the_right_to_impersonate_has_a_scope() {
    let mut lab = Lab::new();
    lab.exchange.change_account(AccountKey(0), |account| {
        account.impersonation = ImpersonationRight::Some([ANNA].into());
    });
    lab.call("anna@example.com", GET_FOLDER).is(200, "NoError");
    lab.call("ben@example.com", GET_FOLDER).is(500, "ErrorImpersonateUserDenied");
    lab.exchange.change_account(AccountKey(0), |account| account.impersonation = ImpersonationRight::None);
    lab.call("anna@example.com", GET_FOLDER).is(500, "ErrorImpersonateUserDenied");
}

#[test]
fn a_subscription_is_of_one_mailbox() {
    let mut lab = Lab::new();
    let of = |address: &str| {
        format!(
            "<t:DistinguishedFolderId Id=\"inbox\"><t:Mailbox><t:EmailAddress>{address}</t:EmailAddress></t:Mailbox>\
             </t:DistinguishedFolderId>"
        )
    };
    let ask =
        |lab: &mut Lab, folders: &str| lab.group_call("anna@example.com", &subscribe_body(folders)).code();
    assert_eq!(ask(&mut lab, &of("anna@example.com")), "NoError");
    assert_eq!(
        ask(&mut lab, &format!("{INBOX_ID}{}", of("ben@example.com"))),
        "ErrorInvalidSubscriptionRequest"
    );
    assert_eq!(ask(&mut lab, &of("ben@example.com")), "ErrorSubscriptionDelegateAccessNotSupported");
    assert_eq!(ask(&mut lab, "<t:DistinguishedFolderId Id=\"calendar\"/>"), "ErrorFolderNotFound");
    assert_eq!(ask(&mut lab, "<t:FolderId Id=\"x\"/>"), "ErrorInvalidIdMalformed");
    let own = lab.exchange.add_folder(ANNA, "Project");
    let id = format!("<t:FolderId Id=\"{}\"/>", lab.exchange.folder_id(ANNA, own));
    assert_eq!(ask(&mut lab, &format!("{INBOX_ID}{id}")), "NoError");
    lab.exchange.delete_folder(lab.now, ANNA, own);
    assert_eq!(ask(&mut lab, &id), "ErrorFolderNotFound");
    let all = "<m:Subscribe><m:StreamingSubscriptionRequest SubscribeToAllFolders=\"true\">";
    let both = subscribe_body(INBOX_ID).replace("<m:Subscribe><m:StreamingSubscriptionRequest>", all);
    assert_eq!(lab.group_call("anna@example.com", &both).code(), "ErrorInvalidSubscriptionRequest");
    let only_all = both.replace(&format!("<t:FolderIds>{INBOX_ID}</t:FolderIds>"), "");
    assert_eq!(lab.group_call("anna@example.com", &only_all).code(), "NoError");
}

#[test]
fn connection_timeout_is_1_to_30_minutes() {
    let mut lab = Lab::new();
    let id = lab.subscribe("anna@example.com");
    for bad in ["0", "31", "-1", "x", ""] {
        lab.group_call("anna@example.com", &stream_body(std::slice::from_ref(&id), bad))
            .is(500, "ErrorSchemaValidation");
    }
    lab.group_call("anna@example.com", &stream_body(&[id], "1")).is(200, "NoError");
}

#[test]
fn a_stream_has_at_least_one_and_at_most_200_ids() {
    let mut lab = Lab::new();
    lab.group_call("anna@example.com", &stream_body(&[], "1")).is(500, "ErrorSchemaValidation");
    lab.is_clean();
    let ids: Vec<String> = (0..201).map(|n| format!("id{n}")).collect();
    lab.group_call("anna@example.com", &stream_body(&ids, "1")).is(500, "ErrorInvalidRequest");
    lab.violated("201 ids");
    lab.group_call("anna@example.com", &stream_body(&ids[..200], "1")).is(200, "ErrorInvalidSubscription");
}

#[test]
fn the_anchor_is_missed_when_it_is_missing() {
    let mut lab = Lab::new();
    let head = lab.head("anna@example.com", false).replace("X-AnchorMailbox: anna@example.com\r\n", "");
    lab.post(&head, &soap_as("Exchange2013_SP1", &impersonate("anna@example.com"), GET_FOLDER))
        .is(200, "NoError");
    lab.violated("GetFolder without X-AnchorMailbox");
}

#[test]
fn an_ordinary_call_is_anchored_at_its_own_mailbox() {
    let mut lab = Lab::new();
    let head = lab.head("ben@example.com", false);
    lab.post(&head, &soap_as("Exchange2013_SP1", &impersonate("anna@example.com"), GET_FOLDER));
    lab.violated("GetFolder with the X-AnchorMailbox of another mailbox");
}

#[test]
fn misplaced_headers_are_noticed() {
    let mut lab = Lab::new();
    let id = lab.subscribe("anna@example.com");
    lab.is_clean();
    let soap = |body: &str| soap_as("Exchange2013_SP1", &impersonate("anna@example.com"), body);
    let head = lab.head("anna@example.com", true).replace("X-PreferServerAffinity: true\r\n", "");
    lab.post(&head, &soap(&stream_body(std::slice::from_ref(&id), "1")));
    lab.violated("GetStreamingEvents without X-PreferServerAffinity");
    lab.extra = "Accept-Encoding: gzip\r\n".to_owned();
    lab.group_call("anna@example.com", &stream_body(std::slice::from_ref(&id), "1"));
    lab.violated("a stream must not be compressed");
    lab.extra = "X-BackEndOverrideCookie: x~1\r\n".to_owned();
    lab.group_call("anna@example.com", &stream_body(std::slice::from_ref(&id), "1"));
    lab.violated("the affinity cookie as a header");
    lab.extra = "Cookie: X-BackEndOverrideCookie=x~1\r\n".to_owned();
    lab.call("anna@example.com", GET_FOLDER);
    lab.violated("GetFolder with an affinity cookie");
    let head = lab.head("ben@example.com", true);
    lab.post(&head, &soap(&stream_body(&[id], "1")));
    lab.violated("another X-AnchorMailbox than it was made with");
}

#[test]
fn bytes_after_the_request_of_a_stream_are_noticed() {
    let mut lab = Lab::new();
    let (conn, _) = lab.streaming(&["anna@example.com"]);
    lab.exchange.received(lab.now, conn, b"POST");
    lab.violated("bytes arrive on a streaming connection");
}

#[test]
fn a_change_key_of_an_event_must_not_be_sent() {
    let mut lab = Lab::new();
    let item = lab.deliver(ANNA);
    let body = get_item_body(&[&item]);
    lab.call(
        "anna@example.com",
        &body.replace("\"/></m:ItemIds>", "\" ChangeKey=\"CQAAAA==\"/></m:ItemIds>"),
    )
    .is(200, "NoError");
    lab.violated("ChangeKey of an event");
}
