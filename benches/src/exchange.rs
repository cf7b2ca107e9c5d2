//! A notification stream as Exchange sends it.

const S: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const T: &str = "http://schemas.microsoft.com/exchange/services/2006/types";
const M: &str = "http://schemas.microsoft.com/exchange/services/2006/messages";

/// The id of an item as Exchange makes them: 152 characters of base64.
pub fn item_id(number: u64) -> String {
    format!("AAMkADU1ZjQ3{number:020}{}", "BGAAAAAAD7q".repeat(10) + "Q3vVAAA=AA")
}

/// The envelope that tells of one new mail: created, delivered, and the folder's count.
pub fn one_mail(subscription: &str, mail: u64) -> String {
    let (item, folder) = (item_id(mail), item_id(0));
    let at = "<t:TimeStamp>2026-01-05T08:00:00Z</t:TimeStamp>";
    let about = format!(
        "{at}<t:ItemId Id=\"{item}\" ChangeKey=\"CQAAAA==\" /><t:ParentFolderId Id=\"{folder}\" ChangeKey=\"AQAAAA==\" />"
    );
    format!(
        "<Envelope xmlns=\"{S}\"><soap11:Header xmlns:soap11=\"{S}\"><ServerVersionInfo MajorVersion=\"15\" \
         MinorVersion=\"0\" MajorBuildNumber=\"847\" MinorBuildNumber=\"31\" Version=\"V2_8\" xmlns=\"{T}\" />\
         </soap11:Header><soap11:Body xmlns:soap11=\"{S}\"><m:GetStreamingEventsResponse xmlns:t=\"{T}\" xmlns:m=\"{M}\">\
         <m:ResponseMessages><m:GetStreamingEventsResponseMessage ResponseClass=\"Success\">\
         <m:ResponseCode>NoError</m:ResponseCode><m:Notifications><m:Notification>\
         <t:SubscriptionId>{subscription}</t:SubscriptionId><t:CreatedEvent>{about}</t:CreatedEvent>\
         <t:NewMailEvent>{about}</t:NewMailEvent><t:ModifiedEvent>{at}<t:FolderId Id=\"{folder}\" \
         ChangeKey=\"AQAAAA==\" /><t:ParentFolderId Id=\"{folder}\" ChangeKey=\"AQAAAA==\" /><t:UnreadCount>1\
         </t:UnreadCount></t:ModifiedEvent></m:Notification></m:Notifications></m:GetStreamingEventsResponseMessage>\
         </m:ResponseMessages></m:GetStreamingEventsResponse></soap11:Body></Envelope>"
    )
}

/// The head of a stream's answer.
pub const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\nCache-Control: private\r\nTransfer-Encoding: chunked\r\nContent-Type: \
    text/xml; charset=utf-8\r\nrequest-id: 4ca3e5d5-3a0c-4d8f-9f4f-3e9dd7c6e4f1\r\nX-FEServer: EX1\r\n\r\n";

/// Appends `body` as one chunk.
pub fn push_chunk(out: &mut Vec<u8>, body: &str) {
    out.extend_from_slice(format!("{:x}\r\n{body}\r\n", body.len()).as_bytes());
}

/// One mail of a `GetItem` answer, as far as an alert shows it.
pub fn item(id: &str, folder: &str, received: &str, subject: &str) -> String {
    let who = |tag: &str| {
        format!(
            "<t:{tag}><t:Mailbox><t:Name>Ann Example</t:Name><t:EmailAddress>ann@example.net</t:EmailAddress>\
             <t:RoutingType>SMTP</t:RoutingType></t:Mailbox></t:{tag}>"
        )
    };
    format!(
        "<t:Message><t:ItemId Id=\"{id}\" ChangeKey=\"CQAA\"/><t:ParentFolderId Id=\"{folder}\" ChangeKey=\"AQAA\"/>\
         <t:ItemClass>IPM.Note</t:ItemClass><t:Subject>{subject}</t:Subject><t:Sensitivity>Normal</t:Sensitivity>\
         <t:DateTimeReceived>{received}</t:DateTimeReceived><t:Importance>Normal</t:Importance>{}{}\
         <t:IsRead>false</t:IsRead></t:Message>",
        who("Sender"),
        who("From"),
    )
}

/// The answer to an operation, around its response messages.
pub fn response(operation: &str, messages: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\">\
         <s:Header><h:ServerVersionInfo MajorVersion=\"15\" MinorVersion=\"1\" MajorBuildNumber=\"2507\" \
         MinorBuildNumber=\"6\" xmlns:h=\"{T}\"/></s:Header><s:Body><m:{operation}Response xmlns:m=\"{M}\" \
         xmlns:t=\"{T}\"><m:ResponseMessages>{messages}</m:ResponseMessages></m:{operation}Response></s:Body></s:Envelope>"
    )
}
