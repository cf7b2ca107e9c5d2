//! One request's head: what can be said of it without knowing any key, app or token.

use http::header::HeaderMap;

use super::answer::Reason;

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// `:method`.
    pub method: &'a str,
    /// `:path`, with query if there is one.
    pub path: &'a str,
    /// `:authority`.
    pub authority: Option<&'a str>,
    /// The ordinary headers.
    pub headers: &'a HeaderMap,
}

/// The checked values of a push's headers, but for authorisation and topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    /// `apns-id`; `None`: the service gives one.
    pub apns_id: Option<u128>,
    /// The `apns-id` was written in another form than Apple's (lower case).
    pub apns_id_unusual: bool,
    /// `apns-push-type`; `None`: absent, taken for `alert`.
    pub push_type: Option<PushType>,
    /// `apns-priority`: 10, 5 or 1.
    pub priority: u8,
    /// `apns-expiration` in seconds; `None`: the service's default.
    pub expiration_s: Option<u64>,
    /// `apns-collapse-id`, at most 64 bytes.
    pub collapse_id: Option<&'a str>,
}

/// `apns-push-type` (reference table in Apple, "Sending notification requests to APNs").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Apple's names.
pub enum PushType {
    Alert,
    Background,
    Voip,
    Complication,
    FileProvider,
    Location,
    LiveActivity,
    Widgets,
    Controls,
    PushToTalk,
    Mdm,
}

/// The longest `apns-collapse-id`, in bytes.
pub const COLLAPSE_ID_BYTES_MAX: usize = 64;

/// The device token in the path of a push; checks method and path.
pub fn route<'a>(head: &Head<'a>) -> Result<&'a str, Reason> {
    if head.method != "POST" {
        return Err(Reason::MethodNotAllowed);
    }
    match head.path.strip_prefix("/3/device") {
        Some("" | "/") => Err(Reason::MissingDeviceToken),
        Some(rest) => match rest.strip_prefix('/') {
            Some(token) if !token.contains(['/', '?', '#']) => Ok(token),
            Some(_) | None => Err(Reason::BadPath),
        },
        None => Err(Reason::BadPath),
    }
}

/// Refuses any `apns-*` or `authorization` header that stands there twice.
pub fn no_duplicates(headers: &HeaderMap) -> Result<(), Reason> {
    if headers.len() == headers.keys_len() {
        return Ok(());
    }
    let ours = |name: &str| name == "authorization" || name.starts_with("apns-");
    match headers.keys().any(|name| ours(name.as_str()) && headers.get_all(name).iter().count() > 1) {
        true => Err(Reason::DuplicateHeaders),
        false => Ok(()),
    }
}

impl<'a> Fields<'a> {
    /// Reads and checks the headers, in the order id, type, priority, expiration, collapse id.
    pub fn parse(headers: &'a HeaderMap) -> Result<Fields<'a>, Reason> {
        let (apns_id, apns_id_unusual) = match header(headers, "apns-id") {
            Some(text) => {
                let id = text.and_then(parse_uuid).ok_or(Reason::BadMessageId)?;
                (Some(id), text.is_some_and(|text| text.bytes().any(|b| b.is_ascii_uppercase())))
            }
            None => (None, false),
        };
        let push_type = match header(headers, "apns-push-type") {
            Some(text) => Some(text.and_then(PushType::parse).ok_or(Reason::InvalidPushType)?),
            None => None,
        };
        let priority = match header(headers, "apns-priority") {
            None => 10,
            Some(Some("10")) if push_type != Some(PushType::Background) => 10,
            Some(Some("5")) => 5,
            Some(Some("1")) => 1,
            Some(_) => return Err(Reason::BadPriority),
        };
        let expiration_s = match header(headers, "apns-expiration") {
            None => None,
            Some(text) => Some(text.and_then(parse_digits).ok_or(Reason::BadExpirationDate)?),
        };
        let collapse_id = match header(headers, "apns-collapse-id") {
            None => None,
            Some(Some(text)) if text.len() <= COLLAPSE_ID_BYTES_MAX => Some(text),
            Some(_) => return Err(Reason::BadCollapseId),
        };
        Ok(Fields { apns_id, apns_id_unusual, push_type, priority, expiration_s, collapse_id })
    }
}

impl PushType {
    /// Every type, with its name and the suffix that its topics carry.
    pub const ALL: [(PushType, &'static str, &'static str); 11] = [
        (PushType::Alert, "alert", ""),
        (PushType::Background, "background", ""),
        (PushType::Voip, "voip", ".voip"),
        (PushType::Complication, "complication", ".complication"),
        (PushType::FileProvider, "fileprovider", ".pushkit.fileprovider"),
        (PushType::Location, "location", ".location-query"),
        (PushType::LiveActivity, "liveactivity", ".push-type.liveactivity"),
        (PushType::Widgets, "widgets", ".push-type.widgets"),
        (PushType::Controls, "controls", ".push-type.controls"),
        (PushType::PushToTalk, "pushtotalk", ".voip-ptt"),
        (PushType::Mdm, "mdm", ""),
    ];

    /// The type of this name.
    pub fn parse(text: &str) -> Option<PushType> {
        PushType::ALL.iter().find(|(_, name, _)| *name == text).map(|(kind, ..)| *kind)
    }

    /// What its topics end with.
    pub fn suffix(self) -> &'static str {
        PushType::ALL[self as usize].2
    }

    /// The largest payload, in bytes.
    pub const fn payload_bytes_max(self) -> usize {
        match self {
            PushType::Voip => 5_120,
            PushType::Alert
            | PushType::Background
            | PushType::Complication
            | PushType::FileProvider
            | PushType::Location
            | PushType::LiveActivity
            | PushType::Widgets
            | PushType::Controls
            | PushType::PushToTalk
            | PushType::Mdm => 4_096,
        }
    }
}

/// A header's value: `Some(None)` when it is there but not visible ASCII.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<Option<&'a str>> {
    headers.get(name).map(|value| value.to_str().ok())
}

/// A UUID in its usual form, 8-4-4-4-12 hex digits.
pub fn parse_uuid(text: &str) -> Option<u128> {
    let bytes: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let mut id = 0u128;
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
        } else {
            id = id << 4 | u128::from((*byte as char).to_digit(16)?);
        }
    }
    Some(id)
}

/// A UUID in Apple's form: lower case.
pub fn format_uuid(id: u128) -> String {
    let mut text = String::with_capacity(36);
    for nibble in 0..32 {
        if matches!(nibble, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        let digit = (id >> (124 - 4 * nibble)) as u32 & 0xf;
        text.extend(char::from_digit(digit, 16));
    }
    text
}

fn parse_digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_types_is_in_the_order_of_the_enum() {
        for (at, (kind, name, suffix)) in PushType::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, at);
            assert_eq!(PushType::parse(name), Some(*kind));
            assert_eq!(kind.suffix(), *suffix);
        }
    }

    #[test]
    fn a_uuid_is_read_and_written_alike() {
        let text = "0123abcd-4567-89ef-0123-456789abcdef";
        assert_eq!(format_uuid(parse_uuid(text).unwrap()), text);
        assert_eq!(parse_uuid("0123ABCD-4567-89EF-0123-456789ABCDEF"), parse_uuid(text));
        for bad in [
            "",
            "0123abcd456789ef0123456789abcdef",
            "0123abcd-4567-89ef-0123-456789abcde",
            &format!("{text}0"),
        ] {
            assert_eq!(parse_uuid(bad), None, "{bad}");
        }
        assert_eq!(parse_uuid("+123abcd-4567-89ef-0123-456789abcdef"), None);
    }
}
