//! An error of a mail server, with all that it says about itself.

use std::fmt;

use super::action::Action;
use super::code::ResponseCode;
use super::xml::XmlError;
use crate::limits::{BACK_OFF_MS_MAX, BACK_OFF_MS_MIN, ERROR_TEXT_BYTES_MAX};
use crate::shard::Trouble;
use crate::time::Span;

/// What a mail server answered instead of success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EwsError {
    /// What it was. An inner `ErrorServerBusy` stands here in place of the `ErrorInternalServerError` around it.
    pub code: ResponseCode,
    /// The server's words, at most [`ERROR_TEXT_BYTES_MAX`] bytes, without addresses, ids and tokens: for people, and
    /// for the few cases in which only the text tells what a code means.
    pub message: Box<str>,
    /// The pause that the server asks for, in milliseconds: `BackOffMilliseconds` (it goes before `Retry-After`), at
    /// most [`BACK_OFF_MS_MAX`], at least [`BACK_OFF_MS_MIN`].
    pub back_off_ms: Option<u64>,
}

impl EwsError {
    /// With the server's words cleaned and the pause bounded.
    pub fn new(code: ResponseCode, message: &str, back_off_ms: Option<u64>) -> EwsError {
        EwsError {
            code,
            message: clean(message),
            back_off_ms: back_off_ms.map(|ms| ms.clamp(BACK_OFF_MS_MIN, BACK_OFF_MS_MAX)),
        }
    }

    /// What to do.
    pub fn action(&self) -> Action {
        match self.code.action() {
            Action::BackOffAccount { ms } => Action::BackOffAccount { ms: self.back_off_ms.unwrap_or(ms) },
            Action::FewerConnections { ms } => {
                Action::FewerConnections { ms: self.back_off_ms.unwrap_or(ms) }
            }
            // "…no more events will occur for this EventSink… Event type = MailboxMoveStarted".
            Action::Resubscribe
                if self.code == ResponseCode::ErrorInvalidSubscription
                    && self.message.contains("MailboxMove") =>
            {
                Action::AwaitMove
            }
            other => other,
        }
    }

    /// The pause that the server asks for; none where it names no time.
    pub fn asked_wait(&self) -> Span {
        self.back_off_ms.map_or(Span::ZERO, Span::from_millis)
    }

    /// As [`EwsError::trouble`], for a refusal of a credential that has worked, and is tried again.
    pub fn doubt(&self) -> Trouble {
        let text = format!(
            "the mail server refuses the credential, which has worked; it is tried again within seconds, a few times. If \
             this comes again and again, look for one bad server behind the load balancer; if it stays, correct user, \
             password or token ({})",
            self.message
        );
        Trouble { code: self.code.name().into(), text: text.into() }
    }

    /// For a person: what happened, who is at fault, what to do.
    pub fn trouble(&self) -> Trouble {
        let detail = match &self.code {
            _ if self.message.is_empty() => self.code.to_string(),
            ResponseCode::Unknown(_) => format!("{}: {}", self.code, self.message),
            // The message has the status, and which servers the request passed.
            ResponseCode::Http(_)
            | ResponseCode::Auth
            | ResponseCode::AuthOffer
            | ResponseCode::Forbidden
            | ResponseCode::Redirect => self.message.to_string(),
            _ => self.code.to_string(),
        };
        let text = format!("{} ({detail})", self.code.text());
        Trouble { code: self.code.name().into(), text: text.into() }
    }
}

impl From<XmlError> for EwsError {
    fn from(error: XmlError) -> EwsError {
        EwsError::new(ResponseCode::Malformed, &error.to_string(), None)
    }
}

impl fmt::Display for EwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.code.text(), self.code)
    }
}

impl std::error::Error for EwsError {}

/// Words of the server as they may stand in a log: on one line, bounded, and without the words that could name a person
/// or be a key to something (addresses, legacy names, ids, tokens: long words without a blank).
fn clean(message: &str) -> Box<str> {
    const WORD_BYTES_MAX: usize = 40;
    let mut text = String::new();
    for word in message.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        let private =
            word.contains('@') || word.len() > WORD_BYTES_MAX || word.contains("/o=") || word.contains("/O=");
        let word = if private { "…" } else { word };
        if text.len() + 1 + word.len() > ERROR_TEXT_BYTES_MAX {
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }
    text.into()
}
