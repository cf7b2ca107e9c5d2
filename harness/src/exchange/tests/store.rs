//! GetItem, FindItem, GetFolder, SyncFolderItems.

use super::*;

#[test]
fn items_are_answered_one_by_one_in_order() {
    let mut lab = Lab::new();
    let first = lab.deliver(ANNA);
    let gone = lab.deliver(ANNA);
    let corrupt = lab.deliver(ANNA);
    let foreign = lab.deliver(BEN);
    lab.exchange.delete(lab.now, ANNA, &gone);
    lab.exchange.corrupt_item(ANNA, &corrupt);
    let got = lab.call("anna@example.com", &get_item_body(&[&first, &gone, "x", &corrupt, &foreign]));
    assert_eq!(
        all_text(&got.body, "ResponseCode"),
        ["NoError", "ErrorItemNotFound", "ErrorInvalidIdMalformed", "ErrorItemCorrupt", "ErrorAccessDenied"]
    );
    assert_eq!(all_text(&got.body, "Subject"), ["Lunch?"]);
    assert_eq!(all_text(&got.body, "Preview"), ["At noon, as usual."]);
    assert_eq!(all_text(&got.body, "EmailAddress"), ["zoe@example.net"]);
    assert_eq!(lab.exchange.stats().count(Operation::GetItem, Code::NoError), 1);
    assert_eq!(lab.exchange.stats().count_all(Operation::GetItem), 5);
    lab.is_clean();
}

#[test]
fn an_item_that_moved_has_another_id() {
    let mut lab = Lab::new();
    let item = lab.deliver(ANNA);
    let moved = lab.exchange.move_item(lab.now, ANNA, &item, JUNK_EMAIL).unwrap();
    let got = lab.call("anna@example.com", &get_item_body(&[&item, &moved]));
    assert_eq!(all_text(&got.body, "ResponseCode"), ["ErrorItemNotFound", "NoError"]);
}

#[test]
fn a_preview_has_256_characters_and_encrypted_mail_has_none() {
    let mut lab = Lab::new();
    let body = "ä".repeat(300);
    let plain = lab.exchange.deliver(lab.now, ANNA, Mail { body: body.clone(), ..Mail::default() });
    let class = "IPM.Note.SMIME".to_owned();
    let secret = lab.exchange.deliver(lab.now, ANNA, Mail { body, class, ..Mail::default() });
    let got = lab.call("anna@example.com", &get_item_body(&[&plain, &secret]));
    assert_eq!(all_text(&got.body, "Preview"), ["ä".repeat(256)]);
}

#[test]
fn control_characters_are_written_as_references() {
    let mut lab = Lab::new();
    let mail = Mail { subject: "a\u{1}<&>".to_owned(), ..Mail::default() };
    let item = lab.exchange.deliver(lab.now, ANNA, mail);
    let got = lab.call("anna@example.com", &get_item_body(&[&item]));
    assert_eq!(got.text("Subject").as_deref(), Some("a&#x1;&lt;&amp;&gt;"));
}

#[test]
fn a_folder_tells_its_counts() {
    let mut lab = Lab::new();
    let item = lab.deliver(ANNA);
    lab.deliver(ANNA);
    lab.exchange.mark_read(lab.now, ANNA, &item, true);
    let got = lab.call("anna@example.com", GET_FOLDER);
    assert_eq!(got.text("UnreadCount").as_deref(), Some("1"));
    assert!(got.body.contains(&lab.exchange.folder_id(ANNA, INBOX)));
}

fn find(max: u32, offset: u32, restriction: &str) -> String {
    format!(
        "<m:FindItem Traversal=\"Shallow\"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>\
         <t:FieldURI FieldURI=\"item:Subject\"/></t:AdditionalProperties></m:ItemShape><m:IndexedPageItemView \
         MaxEntriesReturned=\"{max}\" Offset=\"{offset}\" BasePoint=\"Beginning\"/>{restriction}<m:SortOrder>\
         <t:FieldOrder Order=\"Descending\"><t:FieldURI FieldURI=\"item:DateTimeReceived\"/></t:FieldOrder>\
         </m:SortOrder><m:ParentFolderIds><t:DistinguishedFolderId Id=\"inbox\"/></m:ParentFolderIds></m:FindItem>"
    )
}

#[test]
fn a_folder_is_found_page_by_page_newest_first() {
    let mut lab = Lab::new();
    for n in 0..5 {
        lab.exchange.deliver(lab.now, ANNA, Mail { subject: n.to_string(), ..Mail::default() });
        lab.wait(Span::from_secs(10));
    }
    let got = lab.call("anna@example.com", &find(2, 0, ""));
    assert_eq!(all_text(&got.body, "Subject"), ["4", "3"]);
    assert!(
        got.body
            .contains("IndexedPagingOffset=\"2\" TotalItemsInView=\"5\" IncludesLastItemInRange=\"false\"")
    );
    let got = lab.call("anna@example.com", &find(2, 4, ""));
    assert_eq!(all_text(&got.body, "Subject"), ["0"]);
    assert!(got.body.contains("IncludesLastItemInRange=\"true\""));
    let after = "<m:Restriction><t:IsGreaterThan><t:FieldURI FieldURI=\"item:DateTimeReceived\"/>\
                 <t:FieldURIOrConstant><t:Constant Value=\"2023-11-14T22:13:40Z\"/></t:FieldURIOrConstant>\
                 </t:IsGreaterThan></m:Restriction>";
    let got = lab.call("anna@example.com", &find(9, 0, after));
    assert_eq!(all_text(&got.body, "Subject"), ["4", "3"]);
    let body = find(9, 0, "").replace("item:Subject", "item:Body");
    lab.call("anna@example.com", &body).is(200, "ErrorInvalidPropertyRequest");
    lab.exchange.reconfigure(|config| config.limits.find_count_max = 3);
    assert_eq!(all_text(&lab.call("anna@example.com", &find(9, 0, "")).body, "Subject").len(), 3);
}

fn sync(state: &str, max: u32) -> String {
    let state = if state.is_empty() { String::new() } else { format!("<m:SyncState>{state}</m:SyncState>") };
    format!(
        "<m:SyncFolderItems><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>\
         <t:FieldURI FieldURI=\"item:Subject\"/></t:AdditionalProperties></m:ItemShape><m:SyncFolderId>\
         <t:DistinguishedFolderId Id=\"inbox\"/></m:SyncFolderId>{state}<m:MaxChangesReturned>{max}\
         </m:MaxChangesReturned></m:SyncFolderItems>"
    )
}

#[test]
fn a_folder_is_synchronised_from_state_to_state() {
    let mut lab = Lab::new();
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(lab.exchange.deliver(lab.now, ANNA, Mail { subject: n.to_string(), ..Mail::default() }));
    }
    let got = lab.call("anna@example.com", &sync("", 2));
    assert_eq!(all_text(&got.body, "Subject"), ["2", "1"], "newest first");
    assert_eq!(got.text("IncludesLastItemInRange").as_deref(), Some("false"));
    // What comes in between is told after the first walk.
    let late = lab.exchange.deliver(lab.now, ANNA, Mail { subject: "late".to_owned(), ..Mail::default() });
    let got = lab.call("anna@example.com", &sync(&got.text("SyncState").unwrap(), 2));
    assert_eq!(all_text(&got.body, "Subject"), ["0"]);
    let state = got.text("SyncState").unwrap();
    lab.exchange.mark_read(lab.now, ANNA, &ids[0], true);
    lab.exchange.delete(lab.now, ANNA, &ids[1]);
    let short = lab.deliver(ANNA);
    lab.exchange.delete(lab.now, ANNA, &short);
    let got = lab.call("anna@example.com", &sync(&state, 512));
    assert_eq!(all_text(&got.body, "Subject"), ["late"]);
    assert!(got.body.contains(&format!("<t:ReadFlagChange><t:ItemId Id=\"{}\"", ids[0])));
    assert!(got.body.contains(&format!("<t:Delete><t:ItemId Id=\"{}\"", ids[1])));
    assert!(!got.body.contains(&short) && got.body.contains(&late));
    let got = lab.call("anna@example.com", &sync(&got.text("SyncState").unwrap(), 512));
    assert!(got.body.contains("<m:Changes></m:Changes>"));
    lab.call("anna@example.com", &sync("AAAA", 512)).is(200, "ErrorInvalidSyncStateData");
    lab.call("anna@example.com", &sync("", 513)).is(500, "ErrorSchemaValidation");
}

#[test]
fn what_became_visible_is_recorded_when_asked_for() {
    let mut lab = Lab::with(ExchangeConfig { record_on_wire: true, ..ExchangeConfig::default() });
    let (conn, _) = lab.streaming(&["anna@example.com"]);
    let item = lab.exchange.deliver(lab.now, ANNA, Mail { tag: 7, ..Mail::default() });
    assert_eq!(lab.exchange.take_on_wire(), []);
    lab.news(conn);
    lab.call("anna@example.com", &get_item_body(&[&item]));
    lab.call("anna@example.com", &find(9, 0, ""));
    let stations: Vec<_> = lab.exchange.take_on_wire().iter().map(|one| (one.tag, one.station)).collect();
    assert_eq!(stations, [(7, Station::Streamed), (7, Station::Fetched), (7, Station::Found)]);
}
