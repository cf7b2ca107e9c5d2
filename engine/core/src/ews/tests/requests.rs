use quick_xml::Reader;
use quick_xml::events::Event;

use crate::ews::request::*;
use crate::names::{FolderId, ItemId, SmtpAddress, SubscriptionId};

const JANE: &str = "o&apos;jane@example.com";

fn jane() -> SmtpAddress {
    SmtpAddress::parse("o'jane@example.com").unwrap()
}

/// What stands in the body of a request for Jane; checks what stands around it.
fn body_of(request: Vec<u8>, version: &str, address: Option<&str>) -> String {
    let text = String::from_utf8(request).unwrap();
    let mut reader = Reader::from_str(&text);
    while !matches!(reader.read_event().unwrap(), Event::Eof) {}
    let impersonation = address.map_or(String::new(), |address| {
        format!(
            "<t:ExchangeImpersonation><t:ConnectingSID><t:SmtpAddress>{address}</t:SmtpAddress></t:ConnectingSID>\
             </t:ExchangeImpersonation>"
        )
    });
    let head = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns:t=\"http://schemas.microsoft.com/exchange/services/2006/types\" \
         xmlns:m=\"http://schemas.microsoft.com/exchange/services/2006/messages\"><s:Header>\
         <t:RequestServerVersion Version=\"{version}\"/>{impersonation}</s:Header><s:Body>"
    );
    let body = text.strip_prefix(&head).unwrap_or_else(|| panic!("{text}\nbegins not with\n{head}"));
    body.strip_suffix("</s:Body></s:Envelope>").unwrap().to_owned()
}

fn body(make: impl FnOnce(&Caller<'_>) -> Vec<u8>) -> String {
    let jane = jane();
    let caller = Caller { version: SchemaVersion::default(), mailbox: &jane, impersonate: true };
    body_of(make(&caller), "Exchange2013_SP1", Some(JANE))
}

#[test]
fn subscribe_names_folders_and_events_and_nothing_else() {
    let folder = FolderId::parse("AAMk+/=").unwrap();
    assert_eq!(
        body(|caller| subscribe(caller, &[folder])),
        "<m:Subscribe><m:StreamingSubscriptionRequest><t:FolderIds><t:DistinguishedFolderId Id=\"inbox\"/>\
         <t:FolderId Id=\"AAMk+/=\"/></t:FolderIds><t:EventTypes><t:EventType>NewMailEvent</t:EventType>\
         <t:EventType>CreatedEvent</t:EventType><t:EventType>ModifiedEvent</t:EventType>\
         <t:EventType>MovedEvent</t:EventType><t:EventType>DeletedEvent</t:EventType></t:EventTypes>\
         </m:StreamingSubscriptionRequest></m:Subscribe>"
    );
}

#[test]
fn unsubscribe_has_its_id_in_the_messages_namespace() {
    let id = SubscriptionId::parse("JwBo=").unwrap();
    assert_eq!(
        body(|caller| unsubscribe(caller, &id)),
        "<m:Unsubscribe><m:SubscriptionId>JwBo=</m:SubscriptionId></m:Unsubscribe>"
    );
}

#[test]
fn a_stream_asks_for_its_ids_in_the_types_namespace_and_for_its_minutes() {
    let ids = ["JwBo=", "JwBp="].map(|id| SubscriptionId::parse(id).unwrap());
    assert_eq!(
        body(|caller| get_streaming_events(caller, &[&ids[0], &ids[1]], 29)),
        "<m:GetStreamingEvents><m:SubscriptionIds><t:SubscriptionId>JwBo=</t:SubscriptionId>\
         <t:SubscriptionId>JwBp=</t:SubscriptionId></m:SubscriptionIds><m:ConnectionTimeout>29</m:ConnectionTimeout>\
         </m:GetStreamingEvents>"
    );
}

#[test]
#[should_panic(expected = "1 to 200 subscriptions")]
fn a_stream_of_more_than_200_is_our_mistake() {
    let id = SubscriptionId::parse("JwBo=").unwrap();
    body(|caller| get_streaming_events(caller, &[&id; 201], 29));
}

#[test]
#[should_panic(expected = "1 to 30 minutes")]
fn a_stream_of_more_than_30_minutes_is_our_mistake() {
    let id = SubscriptionId::parse("JwBo=").unwrap();
    body(|caller| get_streaming_events(caller, &[&id], 31));
}

const SHAPE_2013: &str = "<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>\
    <t:FieldURI FieldURI=\"item:ParentFolderId\"/>\
    <t:FieldURI FieldURI=\"item:Subject\"/><t:FieldURI FieldURI=\"message:From\"/><t:FieldURI FieldURI=\"message:Sender\"/>\
    <t:FieldURI FieldURI=\"item:Preview\"/><t:FieldURI FieldURI=\"item:Importance\"/>\
    <t:FieldURI FieldURI=\"item:Sensitivity\"/><t:FieldURI FieldURI=\"message:IsRead\"/>\
    <t:FieldURI FieldURI=\"item:DateTimeReceived\"/><t:FieldURI FieldURI=\"item:ItemClass\"/>\
    </t:AdditionalProperties></m:ItemShape>";

#[test]
fn items_are_asked_for_by_id_alone_in_their_order() {
    let ids = ["AAMk2", "AAMk1"].map(|id| ItemId::parse(id).unwrap());
    assert_eq!(
        body(|caller| get_item(caller, &[&ids[0], &ids[1]])),
        format!(
            "<m:GetItem>{SHAPE_2013}<m:ItemIds><t:ItemId Id=\"AAMk2\"/><t:ItemId Id=\"AAMk1\"/></m:ItemIds></m:GetItem>"
        )
    );
}

#[test]
fn a_preview_is_asked_for_from_2013_on_only() {
    let id = ItemId::parse("AAMk").unwrap();
    let jane = jane();
    let caller = Caller { version: SchemaVersion::Exchange2010Sp2, mailbox: &jane, impersonate: false };
    let body = body_of(get_item(&caller, &[&id]), "Exchange2010_SP2", None);
    assert!(!body.contains("item:Preview") && body.contains("item:Subject"), "{body}");
}

#[test]
fn versions_fall_back_once() {
    assert_eq!(SchemaVersion::default().lower(), Some(SchemaVersion::Exchange2010Sp2));
    assert_eq!(SchemaVersion::Exchange2010Sp2.lower(), None);
}

#[test]
fn a_page_is_sorted_newest_first_in_the_order_of_the_schema() {
    assert_eq!(
        body(|caller| find_item_newest(caller, None, 25, 50, false)),
        format!(
            "<m:FindItem Traversal=\"Shallow\">{SHAPE_2013}<m:IndexedPageItemView MaxEntriesReturned=\"25\" \
             Offset=\"50\" BasePoint=\"Beginning\"/><m:SortOrder><t:FieldOrder Order=\"Descending\">\
             <t:FieldURI FieldURI=\"item:DateTimeReceived\"/></t:FieldOrder></m:SortOrder><m:ParentFolderIds>\
             <t:DistinguishedFolderId Id=\"inbox\"/></m:ParentFolderIds></m:FindItem>"
        )
    );
}

#[test]
fn the_inbox_is_asked_for_its_counts() {
    assert_eq!(
        body(|caller| get_folder(caller, &[])),
        "<m:GetFolder><m:FolderShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>\
         <t:FieldURI FieldURI=\"folder:UnreadCount\"/><t:FieldURI FieldURI=\"folder:TotalCount\"/>\
         </t:AdditionalProperties></m:FolderShape><m:FolderIds><t:DistinguishedFolderId Id=\"inbox\"/></m:FolderIds>\
         </m:GetFolder>"
    );
}

#[test]
fn ids_of_the_old_format_can_be_converted() {
    let id = ItemId::parse("AQMk").unwrap();
    assert_eq!(
        body(|caller| convert_id(caller, &[&id])),
        format!(
            "<m:ConvertId DestinationFormat=\"EwsId\"><m:SourceIds><t:AlternateId Format=\"EwsLegacyId\" Id=\"AQMk\" \
             Mailbox=\"{JANE}\"/></m:SourceIds></m:ConvertId>"
        )
    );
}

#[test]
fn without_impersonation_the_inbox_is_that_of_a_named_mailbox() {
    let jane = jane();
    let caller = Caller { version: SchemaVersion::default(), mailbox: &jane, impersonate: false };
    let inbox = format!(
        "<t:DistinguishedFolderId Id=\"inbox\"><t:Mailbox><t:EmailAddress>{JANE}</t:EmailAddress></t:Mailbox>\
         </t:DistinguishedFolderId>"
    );
    for request in
        [subscribe(&caller, &[]), find_item_newest(&caller, None, 25, 0, false), get_folder(&caller, &[])]
    {
        let body = body_of(request, "Exchange2013_SP1", None);
        assert!(body.contains(&inbox), "{body}");
    }
}

#[test]
fn a_folder_is_named_by_its_id_or_as_a_well_known_one() {
    let folders = ["AAMk=", "junkemail"].map(|id| FolderId::parse(id).unwrap());
    let both = "<t:DistinguishedFolderId Id=\"inbox\"/><t:FolderId Id=\"AAMk=\"/>\
                <t:DistinguishedFolderId Id=\"junkemail\"/>";
    assert!(body(|caller| subscribe(caller, &folders)).contains(both));
    assert!(body(|caller| get_folder(caller, &folders)).contains(both));
}

#[test]
fn a_synchronisation_asks_for_little_in_the_order_of_the_schema() {
    let sync = |state| body(move |caller| sync_folder_items(caller, None, state, 512));
    let head = "<m:SyncFolderItems><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>\
         <t:FieldURI FieldURI=\"item:DateTimeReceived\"/><t:FieldURI FieldURI=\"message:IsRead\"/>\
         </t:AdditionalProperties></m:ItemShape><m:SyncFolderId><t:DistinguishedFolderId Id=\"inbox\"/>\
         </m:SyncFolderId>";
    let tail = "<m:MaxChangesReturned>512</m:MaxChangesReturned></m:SyncFolderItems>";
    assert_eq!(sync(None), format!("{head}{tail}"));
    assert_eq!(sync(Some("H4sI=")), format!("{head}<m:SyncState>H4sI=</m:SyncState>{tail}"));
}
