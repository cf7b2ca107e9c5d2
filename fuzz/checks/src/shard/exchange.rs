//! The mail server's answers: the right ones, made from the request, and wrong ones.

use crate::input::Input;

const T: &str = "http://schemas.microsoft.com/exchange/services/2006/types";
const M: &str = "http://schemas.microsoft.com/exchange/services/2006/messages";

/// Codes of all kinds that [`carillon_core::ews::EwsError::action`] knows.
const CODES: [&str; 18] = [
    "ErrorServerBusy",
    "ErrorInternalServerError",
    "ErrorSubscriptionNotFound",
    "ErrorItemNotFound",
    "ErrorNonExistentMailbox",
    "ErrorAccessDenied",
    "ErrorImpersonateUserDenied",
    "ErrorMailboxStoreUnavailable",
    "ErrorMailboxMoveInProgress",
    "ErrorExceededSubscriptionCount",
    "ErrorExceededConnectionCount",
    "ErrorNewEventStreamConnectionOpened",
    "ErrorMissedNotificationEvents",
    "ErrorInvalidServerVersion",
    "ErrorFolderNotFound",
    "ErrorSomethingNew",
    "ErrorInvalidIdMalformedEwsLegacyIdFormat",
    "ErrorInvalidSyncStateData",
];

/// The whole answer to a request that arrived; `None` when it is not one, or not whole.
pub(super) fn answer(request: &[u8], number: u64, input: &mut Input<'_>) -> Option<Answer> {
    let text = String::from_utf8_lossy(request).into_owned();
    let (_, body) = text.split_once("\r\n\r\n")?;
    if !body.contains("</s:Envelope>") {
        return None;
    }
    if body.contains("<m:GetStreamingEvents>") {
        let ids = between(body, "<t:SubscriptionId>", "</t:SubscriptionId>");
        return Some(Answer { bytes: stream_head(input), subscriptions: Some(ids) });
    }
    let mood = input.u8();
    let (status, soap) = match mood {
        0..160 => (200, right_answer(body, number, input)),
        160..200 => (200, refusal(body, CODES[input.below(CODES.len())])),
        200..220 => (500, refusal(body, CODES[input.below(CODES.len())])),
        220..230 => (401, String::new()),
        230..240 => (503, String::new()),
        240..245 => (302, String::new()),
        245..250 => (200, "<html>Log on</html>".to_owned()),
        _ => (200, "<Envelope".to_owned()),
    };
    let cookie = if input.flag() { "Set-Cookie: X-BackEndCookie=b1; path=/\r\n" } else { "" };
    let close = if input.u8() % 8 == 7 { "Connection: close\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: text/xml; charset=utf-8\r\n{cookie}{close}Content-Length: {}\r\n\r\n",
        soap.len()
    );
    Some(Answer { bytes: (head + &soap).into_bytes(), subscriptions: None })
}

/// What goes back to the shard.
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    /// For a stream: the subscriptions that it was opened for.
    pub(super) subscriptions: Option<Vec<String>>,
}

fn stream_head(input: &mut Input<'_>) -> Vec<u8> {
    match input.u8() {
        0..200 => b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
        200..230 => b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 503 Busy\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n".to_vec(),
    }
}

/// One envelope of a stream as one chunk: something happened, or did not.
pub(super) fn envelope(subscriptions: &[String], input: &mut Input<'_>) -> Vec<u8> {
    let kind = input.u8() % 8;
    let id = subscriptions.get(input.below(subscriptions.len().max(1))).map_or("nobody", String::as_str);
    let item = input.u8() % 16;
    let notification = |event: &str| {
        success(&format!(
            "<m:Notifications><m:Notification><t:SubscriptionId>{id}</t:SubscriptionId>{event}</m:Notification>\
             </m:Notifications>"
        ))
    };
    let happened = |name: &str, inner: &str| {
        format!(
            "<t:{name}><t:TimeStamp>2026-01-05T08:{:02}:00Z</t:TimeStamp>{inner}<t:ParentFolderId Id=\"inbox\"/></t:{name}>",
            item
        )
    };
    let mail = format!("<t:ItemId Id=\"item{item}\" ChangeKey=\"a\"/>");
    let message = match kind {
        0 => success("<m:ConnectionStatus>OK</m:ConnectionStatus>"),
        1 => notification(&(happened("CreatedEvent", &mail) + &happened("NewMailEvent", &mail))),
        2 => notification(&happened(
            "ModifiedEvent",
            &format!("<t:FolderId Id=\"inbox\"/><t:UnreadCount>{item}</t:UnreadCount>"),
        )),
        3 => notification(&happened("ModifiedEvent", &mail)),
        4 => notification(&happened("DeletedEvent", &mail)),
        5 => notification(&happened("NewMailEvent", "<t:ItemId Id=\"\"/>")),
        6 => format!(
            "<m:GetStreamingEventsResponseMessage ResponseClass=\"Error\"><m:MessageText>No.</m:MessageText>\
             <m:ResponseCode>{}</m:ResponseCode><m:ErrorSubscriptionIds><m:SubscriptionId>{id}</m:SubscriptionId>\
             </m:ErrorSubscriptionIds></m:GetStreamingEventsResponseMessage>",
            CODES[input.below(CODES.len())]
        ),
        _ => success("<m:ConnectionStatus>Closed</m:ConnectionStatus>"),
    };
    let soap = soap("GetStreamingEvents", &message);
    let mut chunk = format!("{:x}\r\n", soap.len()).into_bytes();
    chunk.extend_from_slice(soap.as_bytes());
    chunk.extend_from_slice(b"\r\n");
    chunk
}

fn right_answer(body: &str, number: u64, input: &mut Input<'_>) -> String {
    let one = |operation: &str, inner: &str| soap(operation, &no_error(operation, inner));
    if body.contains("<m:Subscribe>") {
        return one("Subscribe", &format!("<m:SubscriptionId>sub{number}</m:SubscriptionId>"));
    }
    if body.contains("<m:GetItem>") {
        let messages = between(body, "<t:ItemId Id=\"", "\"").into_iter().map(|id| match input.u8() % 8 {
            0 => refused("GetItem", "ErrorItemNotFound"),
            1 => refused("GetItem", CODES[input.below(CODES.len())]),
            mood => no_error("GetItem", &format!("<m:Items>{}</m:Items>", message(&id, 0, mood == 2))),
        });
        return soap("GetItem", &messages.collect::<String>());
    }
    if body.contains("<m:FindItem") {
        let first = input.u8() % 16;
        let items: String = (0..input.u8() % 6)
            .map(|at| message(&format!("item{}", first + at), 59u8.saturating_sub(at), input.flag()))
            .collect();
        return one(
            "FindItem",
            &format!(
                "<m:RootFolder IndexedPagingOffset=\"25\" TotalItemsInView=\"60\" IncludesLastItemInRange=\"{}\">\
                 <t:Items>{items}</t:Items></m:RootFolder>",
                !input.flag()
            ),
        );
    }
    if body.contains("<m:SyncFolderItems>") {
        let first = input.u8() % 16;
        let changes: String = (0..input.u8() % 6).map(|at| change(first + at, input)).collect();
        return one(
            "SyncFolderItems",
            &format!(
                "<m:SyncState>state{number}</m:SyncState><m:IncludesLastItemInRange>{}</m:IncludesLastItemInRange>\
                 <m:Changes>{changes}</m:Changes>",
                !input.flag()
            ),
        );
    }
    if body.contains("<m:ConvertId ") {
        let ids = between(body, "Format=\"EwsLegacyId\" Id=\"", "\"").into_iter();
        let messages = ids.map(|id| match input.u8() % 4 {
            0 => refused("ConvertId", CODES[input.below(CODES.len())]),
            _ => no_error("ConvertId", &format!("<m:AlternateId Format=\"EwsId\" Id=\"{id}\"/>")),
        });
        return soap("ConvertId", &messages.collect::<String>());
    }
    if body.contains("<m:GetFolder>") {
        let asked = body.matches("<t:DistinguishedFolderId").count() + body.matches("<t:FolderId").count();
        let messages = (0..asked.max(1)).map(|at| {
            let id = if at == 0 { "inbox".to_owned() } else { format!("folder{at}") };
            let counts = format!(
                "<m:Folders><t:Folder><t:FolderId Id=\"{id}\"/><t:TotalCount>99</t:TotalCount>\
                 <t:UnreadCount>{}</t:UnreadCount></t:Folder></m:Folders>",
                input.u8() % 8
            );
            no_error("GetFolder", &counts)
        });
        return soap("GetFolder", &messages.collect::<String>());
    }
    one("Unsubscribe", "")
}

/// One change of a folder.
fn change(number: u8, input: &mut Input<'_>) -> String {
    let id = format!("item{number}");
    match input.u8() % 4 {
        0 => format!("<t:Delete><t:ItemId Id=\"{id}\"/></t:Delete>"),
        1 => format!(
            "<t:ReadFlagChange><t:ItemId Id=\"{id}\"/><t:IsRead>{}</t:IsRead></t:ReadFlagChange>",
            input.flag()
        ),
        2 => format!("<t:Update>{}</t:Update>", message(&id, number, input.flag())),
        _ => format!("<t:Create>{}</t:Create>", message(&id, number, false)),
    }
}

fn message(id: &str, minute: u8, read: bool) -> String {
    format!(
        "<t:Message><t:ItemId Id=\"{id}\"/><t:Subject>Lunch &amp; more</t:Subject><t:Sensitivity>Normal</t:Sensitivity>\
         <t:DateTimeReceived>2026-01-05T08:{minute:02}:00Z</t:DateTimeReceived><t:Importance>High</t:Importance>\
         <t:Preview>At noon?</t:Preview><t:From><t:Mailbox><t:Name>Jane</t:Name><t:EmailAddress>jane@example.org\
         </t:EmailAddress><t:RoutingType>SMTP</t:RoutingType></t:Mailbox></t:From><t:IsRead>{read}</t:IsRead></t:Message>"
    )
}

fn refusal(body: &str, code: &str) -> String {
    let operation =
        ["Subscribe", "GetItem", "FindItem", "SyncFolderItems", "ConvertId", "GetFolder", "Unsubscribe"]
            .into_iter()
            .find(|name| body.contains(&format!("<m:{name}")))
            .unwrap_or("Unsubscribe");
    soap(operation, &refused(operation, code))
}

fn success(payload: &str) -> String {
    no_error("GetStreamingEvents", payload)
}

fn no_error(operation: &str, inner: &str) -> String {
    format!(
        "<m:{operation}ResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>{inner}\
         </m:{operation}ResponseMessage>"
    )
}

fn refused(operation: &str, code: &str) -> String {
    format!(
        "<m:{operation}ResponseMessage ResponseClass=\"Error\"><m:MessageText>No.</m:MessageText>\
         <m:ResponseCode>{code}</m:ResponseCode></m:{operation}ResponseMessage>"
    )
}

fn soap(operation: &str, messages: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><m:{operation}Response xmlns:m=\"{M}\" \
         xmlns:t=\"{T}\"><m:ResponseMessages>{messages}</m:ResponseMessages></m:{operation}Response></s:Body></s:Envelope>"
    )
}

fn between(text: &str, start: &str, end: &str) -> Vec<String> {
    let parts = text.split(start).skip(1).filter_map(|part| part.split(end).next());
    parts.map(str::to_owned).collect()
}
