//! SOAP envelopes as Exchange writes them: ordinary replies, faults in their versions, and what goes over a stream.

use super::code::Code;
use super::faults::{EnvelopeStyle, Lead};
use super::stats::Operation;
use super::version::Version;
use super::xml::{ERRORS, MESSAGES, SOAP11, SOAP12, TYPES, push_escaped};

/// A SOAP fault (reference §1.7).
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub code: Code,
    pub message: String,
    /// `Value`s of `MessageXml`.
    pub values: Vec<(&'static str, String)>,
    /// A fault of SOAP itself, which is in no EWS namespace: `MustUnderstand`, `VersionMismatch`.
    pub soap: Option<&'static str>,
}

impl Fault {
    pub(super) fn new(code: Code) -> Fault {
        Fault { code, message: code.message().to_owned(), values: Vec::new(), soap: None }
    }

    pub(super) fn saying(code: Code, message: impl Into<String>) -> Fault {
        Fault { code, message: message.into(), values: Vec::new(), soap: None }
    }

    pub(super) fn soap(name: &'static str, message: &str) -> Fault {
        Fault { soap: Some(name), ..Fault::saying(Code::ErrorInvalidRequest, message) }
    }

    /// The whole envelope.
    pub(super) fn envelope(&self, soap12: bool) -> String {
        let mut message = String::new();
        push_escaped(&mut message, &self.message);
        let mut values = String::new();
        if !self.values.is_empty() {
            values.push_str(&format!("<t:MessageXml xmlns:t=\"{TYPES}\">"));
            push_values(&mut values, &self.values);
            values.push_str("</t:MessageXml>");
        }
        let (code, detail) = match self.soap {
            Some(name) => (format!("s:{name}"), String::new()),
            None => {
                let code = self.code;
                let detail = format!(
                    "<e:ResponseCode xmlns:e=\"{ERRORS}\">{code}</e:ResponseCode>\
                     <e:Message xmlns:e=\"{ERRORS}\">{message}</e:Message>{values}"
                );
                (format!("a:{code}"), detail)
            }
        };
        if soap12 {
            let detail = if detail.is_empty() { detail } else { format!("<s:Detail>{detail}</s:Detail>") };
            return format!(
                "<s:Envelope xmlns:s=\"{SOAP12}\"><s:Body><s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode>\
                 <s:Value xmlns:a=\"{TYPES}\">{code}</s:Value></s:Subcode></s:Code><s:Reason><s:Text xml:lang=\"en-US\">\
                 {message}</s:Text></s:Reason>{detail}</s:Fault></s:Body></s:Envelope>"
            );
        }
        let detail = if detail.is_empty() { detail } else { format!("<detail>{detail}</detail>") };
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"{SOAP11}\"><s:Body><s:Fault>\
             <faultcode xmlns:a=\"{TYPES}\">{code}</faultcode><faultstring xml:lang=\"en-US\">{message}</faultstring>\
             {detail}</s:Fault></s:Body></s:Envelope>"
        )
    }
}

fn push_values(out: &mut String, values: &[(&'static str, String)]) {
    for (name, value) in values {
        out.push_str("<t:Value Name=\"");
        out.push_str(name);
        out.push_str("\">");
        push_escaped(out, value);
        out.push_str("</t:Value>");
    }
}

/// The attributes of `ServerVersionInfo`.
pub(super) fn version_info(version: Version) -> String {
    let (major, minor, build, revision) = version.build();
    format!(
        "MajorVersion=\"{major}\" MinorVersion=\"{minor}\" MajorBuildNumber=\"{build}\" \
         MinorBuildNumber=\"{revision}\" Version=\"{}\"",
        version.as_str()
    )
}

/// An ordinary reply around its response messages.
pub(super) fn ordinary(operation: Operation, info: &str, messages: &str) -> String {
    let name = operation.as_str();
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"{SOAP11}\"><s:Header><h:ServerVersionInfo {info} \
         xmlns:h=\"{TYPES}\" xmlns=\"{TYPES}\" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"/></s:Header><s:Body \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\">\
         <m:{name}Response xmlns:m=\"{MESSAGES}\" xmlns:t=\"{TYPES}\"><m:ResponseMessages>{messages}\
         </m:ResponseMessages></m:{name}Response></s:Body></s:Envelope>"
    )
}

/// Appends a successful response message around its payload.
pub(super) fn push_success(out: &mut String, operation: Operation, payload: &str) {
    let name = operation.as_str();
    out.push_str(&format!(
        "<m:{name}ResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>{payload}\
         </m:{name}ResponseMessage>"
    ));
}

/// A response message that says what went wrong.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub code: Code,
    pub message: String,
    pub values: Vec<(&'static str, String)>,
}

impl Failure {
    pub(super) fn new(code: Code) -> Failure {
        Failure { code, message: code.message().to_owned(), values: Vec::new() }
    }
}

impl From<Code> for Failure {
    fn from(code: Code) -> Failure {
        Failure::new(code)
    }
}

/// Appends a failed response message. `payload` is what the schema still has there.
pub(super) fn push_failure(out: &mut String, operation: Operation, failure: &Failure, payload: &str) {
    let name = operation.as_str();
    // What was not looked at has not failed (Microsoft: "ResponseClass").
    let class = if failure.code == Code::ErrorBatchProcessingStopped { "Warning" } else { "Error" };
    out.push_str(&format!("<m:{name}ResponseMessage ResponseClass=\"{class}\"><m:MessageText>"));
    push_escaped(out, &failure.message);
    out.push_str(&format!(
        "</m:MessageText><m:ResponseCode>{}</m:ResponseCode><m:DescriptiveLinkKey>0</m:DescriptiveLinkKey>",
        failure.code
    ));
    if !failure.values.is_empty() {
        out.push_str("<m:MessageXml>");
        push_values(out, &failure.values);
        out.push_str("</m:MessageXml>");
    }
    out.push_str(payload);
    out.push_str(&format!("</m:{name}ResponseMessage>"));
}

/// How envelopes of streams look.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamFace<'a> {
    pub style: EnvelopeStyle,
    pub lead: Lead,
    pub info: &'a str,
}

impl StreamFace<'_> {
    /// Appends one envelope around a `GetStreamingEventsResponseMessage`.
    pub(super) fn push(&self, out: &mut String, message: impl FnOnce(&mut String)) {
        match self.lead {
            Lead::Nothing => {}
            Lead::Declaration => out.push_str("<?xml version=\"1.0\" encoding=\"utf-8\"?>"),
            Lead::Bom => out.push('\u{feff}'),
            Lead::Blank => out.push_str("\r\n  "),
        }
        let prefix = match self.style {
            EnvelopeStyle::Default => {
                out.push_str("<Envelope xmlns=\"");
                out.push_str(SOAP11);
                out.push_str("\"><soap11:Header xmlns:soap11=\"");
                out.push_str(SOAP11);
                out.push_str("\">");
                "soap11"
            }
            EnvelopeStyle::S => "s",
            EnvelopeStyle::Soap11 => "soap11",
            EnvelopeStyle::Soap => "SOAP",
        };
        if self.style != EnvelopeStyle::Default {
            out.push_str(&format!("<{prefix}:Envelope xmlns:{prefix}=\"{SOAP11}\"><{prefix}:Header>"));
        }
        out.push_str("<ServerVersionInfo ");
        out.push_str(self.info);
        out.push_str(" xmlns=\"");
        out.push_str(TYPES);
        out.push_str("\" /></");
        out.push_str(prefix);
        out.push_str(":Header><");
        out.push_str(prefix);
        out.push_str(":Body");
        if self.style == EnvelopeStyle::Default {
            out.push_str(" xmlns:soap11=\"");
            out.push_str(SOAP11);
            out.push('"');
        }
        out.push_str("><m:GetStreamingEventsResponse xmlns:t=\"");
        out.push_str(TYPES);
        out.push_str("\" xmlns:m=\"");
        out.push_str(MESSAGES);
        out.push_str("\"><m:ResponseMessages>");
        message(out);
        out.push_str("</m:ResponseMessages></m:GetStreamingEventsResponse></");
        out.push_str(prefix);
        out.push_str(":Body></");
        if self.style != EnvelopeStyle::Default {
            out.push_str(prefix);
            out.push(':');
        }
        out.push_str("Envelope>");
    }

    /// An opening envelope, a heartbeat or the last one.
    pub(super) fn push_status(&self, out: &mut String, status: &str) {
        let payload = format!("<m:ConnectionStatus>{status}</m:ConnectionStatus>");
        self.push(out, |out| push_success(out, Operation::GetStreamingEvents, &payload));
    }

    /// An error, for some ids or for the whole connection.
    pub(super) fn push_error(&self, out: &mut String, failure: &Failure, ids: &[&str]) {
        let mut payload = String::new();
        if !ids.is_empty() {
            payload.push_str("<m:ErrorSubscriptionIds>");
            for id in ids {
                payload.push_str("<m:SubscriptionId>");
                push_escaped(&mut payload, id);
                payload.push_str("</m:SubscriptionId>");
            }
            payload.push_str("</m:ErrorSubscriptionIds>");
        }
        self.push(out, |out| push_failure(out, Operation::GetStreamingEvents, failure, &payload));
    }
}
