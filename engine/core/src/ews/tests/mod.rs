//! What a client must keep, one test a rule, on the bytes that real servers send.

mod codes;
mod events;
mod requests;
mod responses;
mod streams;

const T: &str = "http://schemas.microsoft.com/exchange/services/2006/types";
const M: &str = "http://schemas.microsoft.com/exchange/services/2006/messages";
const E: &str = "http://schemas.microsoft.com/exchange/services/2006/errors";

/// An answer to an ordinary call, as Exchange 2016 frames it.
fn soap(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Header>\
         <h:ServerVersionInfo MajorVersion=\"15\" MinorVersion=\"1\" MajorBuildNumber=\"619\" MinorBuildNumber=\"10\" \
         Version=\"V2016_07_13\" xmlns:h=\"{T}\" xmlns=\"{T}\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"/>\
         </s:Header><s:Body xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">{body}</s:Body></s:Envelope>"
    )
}

/// The answer to `operation` with these response messages.
fn answer(operation: &str, messages: &str) -> String {
    soap(&format!(
        "<m:{operation}Response xmlns:m=\"{M}\" xmlns:t=\"{T}\"><m:ResponseMessages>{messages}</m:ResponseMessages>\
         </m:{operation}Response>"
    ))
}

/// A response message of `operation` that says no.
fn refusal(operation: &str, code: &str, message_xml: &str) -> String {
    format!(
        "<m:{operation}ResponseMessage ResponseClass=\"Error\"><m:MessageText>No.</m:MessageText>\
         <m:ResponseCode>{code}</m:ResponseCode><m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>{message_xml}\
         </m:{operation}ResponseMessage>"
    )
}

/// An envelope of a stream, as Exchange 15.0 sends it: default namespace on the root, another prefix on its parts.
fn envelope(message: &str) -> String {
    const S: &str = "http://schemas.xmlsoap.org/soap/envelope/";
    format!(
        "<Envelope xmlns=\"{S}\"><soap11:Header xmlns:soap11=\"{S}\"><ServerVersionInfo MajorVersion=\"15\" \
         MinorVersion=\"0\" MajorBuildNumber=\"847\" MinorBuildNumber=\"31\" Version=\"V2_8\" xmlns=\"{T}\" />\
         </soap11:Header><soap11:Body xmlns:soap11=\"{S}\"><m:GetStreamingEventsResponse xmlns:t=\"{T}\" xmlns:m=\"{M}\">\
         <m:ResponseMessages>{message}</m:ResponseMessages></m:GetStreamingEventsResponse></soap11:Body></Envelope>"
    )
}

fn success(payload: &str) -> String {
    envelope(&format!(
        "<m:GetStreamingEventsResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>{payload}\
         </m:GetStreamingEventsResponseMessage>"
    ))
}

fn heartbeat() -> String {
    success("<m:ConnectionStatus>OK</m:ConnectionStatus>")
}

fn closed() -> String {
    success("<m:ConnectionStatus>Closed</m:ConnectionStatus>")
}

fn failure(code: &str, rest: &str) -> String {
    envelope(&format!(
        "<m:GetStreamingEventsResponseMessage ResponseClass=\"Error\"><m:MessageText>Subscription is invalid.</m:MessageText>\
         <m:ResponseCode>{code}</m:ResponseCode><m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>{rest}\
         </m:GetStreamingEventsResponseMessage>"
    ))
}

/// One mail as Exchange tells of it: the item twice, and its folder's count.
const ONE_MAIL: &str = "<m:Notifications><m:Notification><t:SubscriptionId>JwBtYng=</t:SubscriptionId>\
    <t:CreatedEvent><t:TimeStamp>2013-09-16T04:31:29Z</t:TimeStamp><t:ItemId Id=\"AAMkA1\" ChangeKey=\"CQAAAA==\" />\
    <t:ParentFolderId Id=\"AQMkInbox\" ChangeKey=\"AQAAAA==\" /></t:CreatedEvent>\
    <t:NewMailEvent><t:TimeStamp>2013-09-16T04:31:29Z</t:TimeStamp><t:ItemId Id=\"AAMkA1\" ChangeKey=\"CQAAAA==\" />\
    <t:ParentFolderId Id=\"AQMkInbox\" ChangeKey=\"AQAAAA==\" /></t:NewMailEvent>\
    <t:ModifiedEvent><t:TimeStamp>2013-09-16T04:31:29Z</t:TimeStamp><t:FolderId Id=\"AQMkInbox\" ChangeKey=\"AQAAAA==\" />\
    <t:ParentFolderId Id=\"AQMkRoot\" ChangeKey=\"AQAAAA==\" /><t:UnreadCount>1</t:UnreadCount></t:ModifiedEvent>\
    </m:Notification></m:Notifications>";

/// A SOAP fault as Exchange sends it, with its detail's `MessageXml` in the namespace of prefix `prefix`.
fn fault(code: &str, prefix: &str, values: &str) -> String {
    soap(&format!(
        "<s:Fault><faultcode xmlns:a=\"{T}\">a:{code}</faultcode><faultstring xml:lang=\"en-US\">The server cannot service \
         this request right now. Try again later.</faultstring><detail><e:ResponseCode xmlns:e=\"{E}\">{code}\
         </e:ResponseCode><e:Message xmlns:e=\"{E}\">The server cannot service this request right now. Try again later.\
         </e:Message><{prefix}:MessageXml xmlns:t=\"{T}\" xmlns:e=\"{E}\">{values}</{prefix}:MessageXml></detail></s:Fault>"
    ))
}
