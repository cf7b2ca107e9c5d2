use proptest::prelude::*;

use super::*;
use crate::ews::{ConnectionStatus, MailEvent, ResponseCode, StreamMessage, parse_stream_message};
use crate::names::{FolderId, ItemId};
use crate::time::UnixMillis;

const AT: UnixMillis = UnixMillis(1_379_305_889_000);

fn parse(envelope: &str) -> StreamMessage {
    parse_stream_message(envelope.as_bytes()).unwrap()
}

fn item(id: &str) -> ItemId {
    ItemId::parse(id).unwrap()
}

fn folder(id: &str) -> FolderId {
    FolderId::parse(id).unwrap()
}

/// The events of a notification with these elements in it.
fn events(elements: &str) -> Vec<MailEvent> {
    let notification =
        format!("<m:Notification><t:SubscriptionId>S</t:SubscriptionId>{elements}</m:Notification>");
    let mut message = parse(&success(&format!("<m:Notifications>{notification}</m:Notifications>")));
    message.notifications.pop().unwrap().events
}

const STAMP: &str = "<t:TimeStamp>2013-09-16T04:31:29Z</t:TimeStamp>";

#[test]
fn one_mail_gives_three_events() {
    let message = parse(&success(ONE_MAIL));
    let (parent, at) = (folder("AQMkInbox"), AT);
    assert_eq!(message.notifications[0].subscription.as_str(), "JwBtYng=");
    assert_eq!(
        message.notifications[0].events,
        [
            MailEvent::Created { item: item("AAMkA1"), parent: parent.clone(), at },
            MailEvent::NewMail { item: item("AAMkA1"), parent: parent.clone(), at },
            MailEvent::FolderModified { folder: parent, parent: folder("AQMkRoot"), unread: Some(1) },
        ]
    );
    assert_eq!((message.error, message.status), (None, None));
}

#[test]
fn prefixes_and_namespaces_do_not_matter() {
    let plain = parse(&success(ONE_MAIL));
    let bare =
        success(ONE_MAIL).replace("<t:", "<").replace("</t:", "</").replace("<m:", "<").replace("</m:", "</");
    let other =
        success(ONE_MAIL).replace("t:", "types:").replace("m:", "t:").replace("xmlns:types", "xmlns:t2");
    for envelope in [bare, other] {
        assert_eq!(parse(&envelope), plain, "{envelope}");
    }
}

#[test]
fn items_moved_deleted_copied_and_changed_are_told_apart_from_folders() {
    let ids = "<t:ItemId Id=\"New\"/><t:ParentFolderId Id=\"To\"/><t:OldItemId Id=\"Old\"/><t:OldParentFolderId Id=\"From\"/>";
    let folders = "<t:FolderId Id=\"F\"/><t:ParentFolderId Id=\"P\"/><t:OldFolderId Id=\"F\"/><t:OldParentFolderId Id=\"Q\"/>";
    let (new, old, to, from) = (item("New"), item("Old"), folder("To"), folder("From"));
    let told = events(&format!(
        "<t:MovedEvent>{STAMP}{ids}</t:MovedEvent><t:CopiedEvent>{STAMP}{ids}</t:CopiedEvent>\
         <t:DeletedEvent>{STAMP}{ids}</t:DeletedEvent><t:ModifiedEvent>{STAMP}{ids}</t:ModifiedEvent>\
         <t:ModifiedEvent>{STAMP}{folders}</t:ModifiedEvent><t:MovedEvent>{STAMP}{folders}</t:MovedEvent>\
         <t:CreatedEvent>{STAMP}{folders}</t:CreatedEvent><t:FreeBusyChangedEvent>{STAMP}{ids}</t:FreeBusyChangedEvent>"
    ));
    assert_eq!(
        told,
        [
            MailEvent::Moved {
                item: new.clone(),
                old_item: old.clone(),
                parent: to.clone(),
                old_parent: from.clone()
            },
            MailEvent::Copied { item: new.clone(), old_item: old, parent: to.clone(), old_parent: from },
            MailEvent::Deleted { item: new.clone(), parent: to.clone() },
            MailEvent::ItemModified { item: new, parent: to },
            MailEvent::FolderModified { folder: folder("F"), parent: folder("P"), unread: None },
            MailEvent::FolderOther,
            MailEvent::FolderOther,
        ]
    );
}

#[test]
fn an_event_that_cannot_be_read_disturbs_nobody_else() {
    let long = "x".repeat(1_025);
    let parent = "<t:ParentFolderId Id=\"P\"/>";
    for bad in [
        format!("<t:NewMailEvent>{STAMP}{parent}</t:NewMailEvent>"),
        format!("<t:NewMailEvent>{STAMP}<t:ItemId Id=\"\"/>{parent}</t:NewMailEvent>"),
        format!("<t:NewMailEvent>{STAMP}<t:ItemId ChangeKey=\"a\"/>{parent}</t:NewMailEvent>"),
        format!("<t:NewMailEvent>{STAMP}<t:ItemId Id=\"{long}\"/>{parent}</t:NewMailEvent>"),
        format!("<t:NewMailEvent>{STAMP}<t:ItemId Id=\"a b\"/>{parent}</t:NewMailEvent>"),
        format!("<t:NewMailEvent>{STAMP}<t:ItemId Id=\"a\"/></t:NewMailEvent>"),
        format!(
            "<t:NewMailEvent><t:TimeStamp>then</t:TimeStamp><t:ItemId Id=\"a\"/>{parent}</t:NewMailEvent>"
        ),
        format!("<t:MovedEvent>{STAMP}<t:ItemId Id=\"a\"/>{parent}</t:MovedEvent>"),
        format!("<t:ModifiedEvent>{STAMP}<t:FolderId Id=\"\"/>{parent}</t:ModifiedEvent>"),
    ] {
        let good = format!("<t:DeletedEvent>{STAMP}<t:ItemId Id=\"a\"/>{parent}</t:DeletedEvent>");
        let deleted = MailEvent::Deleted { item: item("a"), parent: folder("P") };
        assert_eq!(events(&format!("{bad}{bad}{good}")), [MailEvent::Unclear, deleted], "{bad}");
    }
}

#[test]
fn a_huge_count_is_the_largest() {
    let folder = |count: &str| {
        events(&format!(
            "<t:ModifiedEvent>{STAMP}<t:FolderId Id=\"F\"/><t:ParentFolderId Id=\"P\"/><t:UnreadCount>{count}\
             </t:UnreadCount></t:ModifiedEvent>"
        ))
    };
    for (count, expected) in [
        ("0", Some(0)),
        ("4294967295", Some(u32::MAX)),
        ("99999999999999999999999", Some(u32::MAX)),
        ("-1", None),
        ("", None),
    ] {
        let [MailEvent::FolderModified { unread, .. }] = &folder(count)[..] else { panic!("{count}") };
        assert_eq!(*unread, expected, "{count}");
    }
}

#[test]
fn ids_are_read_with_their_entities() {
    let told = events(&format!(
        "<t:DeletedEvent>{STAMP}<t:ItemId Id='AA&#x2B;&#47;=' ChangeKey=\">\"/><t:ParentFolderId Id=\"P\"/></t:DeletedEvent>"
    ));
    assert_eq!(told, [MailEvent::Deleted { item: item("AA+/="), parent: folder("P") }]);
}

#[test]
fn news_and_status_may_come_together_as_gromox_sends_them() {
    let message = parse(
        "<SOAP:Envelope xmlns:SOAP=\"http://schemas.xmlsoap.org/soap/envelope/\"><SOAP:Body><m:GetStreamingEventsResponse>\
         <m:ResponseMessages><m:GetStreamingEventsResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError\
         </m:ResponseCode><m:Notifications><m:Notification><t:SubscriptionId>BAAAAHPHvQE=</t:SubscriptionId>\
         <t:MoreEvents>false</t:MoreEvents><t:StatusEvent/></m:Notification></m:Notifications>\
         <m:ConnectionStatus>OK</m:ConnectionStatus></m:GetStreamingEventsResponseMessage></m:ResponseMessages>\
         </m:GetStreamingEventsResponse></SOAP:Body></SOAP:Envelope>",
    );
    assert_eq!(message.notifications[0].events, [MailEvent::Status]);
    assert_eq!(message.status, Some(ConnectionStatus::Ok));
}

#[test]
fn bad_ids_are_found_in_any_namespace() {
    for prefix in ["m:", "t:", ""] {
        let ids = format!(
            "<{prefix}SubscriptionId>A=</{prefix}SubscriptionId><{prefix}SubscriptionId> B= </{prefix}SubscriptionId>"
        );
        let message = parse(&failure(
            "ErrorInvalidSubscription",
            &format!(
                "<m:ErrorSubscriptionIds>{ids}</m:ErrorSubscriptionIds><m:ConnectionStatus>Closed</m:ConnectionStatus>"
            ),
        ));
        let bad: Vec<&str> = message.bad_ids.iter().map(|id| id.as_str()).collect();
        assert_eq!(bad, ["A=", "B="], "{prefix}");
        assert_eq!(message.error.unwrap().code, ResponseCode::ErrorInvalidSubscription);
        assert_eq!(message.status, Some(ConnectionStatus::Closed));
    }
}

#[test]
fn what_nobody_can_be_told_is_malformed() {
    for payload in [
        "<m:Notifications><m:Notification><t:StatusEvent/></m:Notification></m:Notifications>",
        "<m:Notifications><m:Notification><t:SubscriptionId/></m:Notification></m:Notifications>",
        "<m:ConnectionStatus>Perhaps</m:ConnectionStatus>",
    ] {
        let error = parse_stream_message(success(payload).as_bytes()).unwrap_err();
        assert_eq!(error.code, ResponseCode::Malformed, "{payload}");
    }
}

#[test]
fn a_fault_in_a_stream_is_a_fault() {
    let error = parse_stream_message(fault("ErrorServerBusy", "t", "").as_bytes()).unwrap_err();
    assert_eq!(error.code, ResponseCode::ErrorServerBusy);
}

proptest! {
    #[test]
    fn no_change_of_a_good_envelope_makes_it_panic(at in 0usize..2_000, byte in any::<u8>(), len in 0usize..40) {
        let mut bytes = success(ONE_MAIL).into_bytes();
        let at = at % bytes.len();
        let end = (at + len).min(bytes.len());
        bytes.splice(at..end, [byte]);
        let _ = parse_stream_message(&bytes);
    }

    #[test]
    fn no_soup_of_tags_makes_it_panic(
        soup in prop::collection::vec(prop::sample::select(vec![
            "<Envelope>", "</Envelope>", "<Body>", "</Body>", "<R>", "</R>", "<ResponseMessages>", "<Notifications>", "<Notification>",
            "</Notification>", "<NewMailEvent>", "<ItemId Id='", "'", "/>", ">", "&amp;", "&", "<![CDATA[", "]]>", "<Fault>", "<Value ",
            "Name='x'", "<MessageXml>", "</MessageXml>", "\u{feff}",
        ]), 0..30),
    ) {
        let _ = parse_stream_message(soup.concat().as_bytes());
        let _ = parse_stream_message(success(&soup.concat()).as_bytes());
    }
}
