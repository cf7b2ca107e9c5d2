//! Names that come from outside, parsed once at the edge. After the edge nobody checks them again.

use std::fmt;

/// The stable id of a user (one mailbox owner). Given by the owner of the engine; survives a change of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserKey(pub u64);

/// The stable id of one registration of one user's app on one phone. Given by the owner of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceKey(pub u64);

/// Why a name from outside was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Nothing there.
    Empty,
    /// More than the bytes that this kind of name may have.
    TooLong {
        /// The bound, in bytes.
        bytes_max: usize,
    },
    /// A character that cannot stand in such a name, or a part that is missing.
    Malformed {
        /// What such a name looks like.
        expected: &'static str,
    },
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty => f.write_str("is empty"),
            NameError::TooLong { bytes_max } => write!(f, "is longer than {bytes_max} bytes"),
            NameError::Malformed { expected } => write!(f, "is not {expected}"),
        }
    }
}

impl std::error::Error for NameError {}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks and takes `text`.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                $check(text).map(|text| $name(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

text_name!(
    /// The SMTP address of a mailbox, in lower case: Exchange compares addresses without case, and two spellings are one
    /// mailbox. At most 320 bytes (RFC 5321 §4.5.3.1), no blanks, quotes or control characters: Exchange gives none out.
    SmtpAddress,
    check_address
);
text_name!(
    /// An Exchange item id: opaque, case-sensitive, without a documented bound; ours is 1,024 bytes.
    ItemId,
    check_opaque_id
);
text_name!(
    /// An Exchange folder id: as [`ItemId`].
    FolderId,
    check_opaque_id
);
text_name!(
    /// The id of a streaming subscription: as [`ItemId`].
    SubscriptionId,
    check_opaque_id
);
text_name!(
    /// An APNs device token in lower-case hex. Apple calls its length variable; ours is 8 to 200 digits, even.
    DeviceToken,
    check_token
);
text_name!(
    /// An APNs topic: the bundle id of the app. At most 255 bytes of letters, digits, `.` and `-`.
    Topic,
    check_topic
);

impl fmt::Debug for SmtpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! opaque_debug {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({}…, {} bytes)"), self.0.get(..4).unwrap_or(""), self.0.len())
            }
        }
    )*};
}
// Tokens never stand in a log in full; ids are too long to read.
opaque_debug!(ItemId, FolderId, SubscriptionId, DeviceToken);

fn bounded(text: &str, bytes_max: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > bytes_max {
        return Err(NameError::TooLong { bytes_max });
    }
    Ok(())
}

fn check_address(text: &str) -> Result<String, NameError> {
    const EXPECTED: NameError = NameError::Malformed { expected: "an SMTP address such as jane@example.com" };
    bounded(text, 320)?;
    let (local, domain) = text.rsplit_once('@').ok_or(EXPECTED)?;
    let local_ok = !local.is_empty()
        && local.len() <= 64
        && local.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"\"<>()[]\\,;:@".contains(c));
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if !local_ok || !domain.split('.').all(label_ok) {
        return Err(EXPECTED);
    }
    Ok(text.to_ascii_lowercase())
}

fn check_opaque_id(text: &str) -> Result<String, NameError> {
    bounded(text, 1_024)?;
    if !text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'&' | b'"' | b'\'')) {
        return Err(NameError::Malformed { expected: "an Exchange id (base64)" });
    }
    Ok(text.to_owned())
}

fn check_token(text: &str) -> Result<String, NameError> {
    bounded(text, 200)?;
    if text.len() < 8 || !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(NameError::Malformed {
            expected: "a device token: an even number (8 to 200) of hex digits",
        });
    }
    Ok(text.to_ascii_lowercase())
}

fn check_topic(text: &str) -> Result<String, NameError> {
    bounded(text, 255)?;
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-')) {
        return Err(NameError::Malformed { expected: "a topic such as com.example.mail" });
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_an_address_that_differ_in_case_are_one_address() {
        let address = SmtpAddress::parse("Jane.Doe@Example.COM").unwrap();
        assert_eq!(address.as_str(), "jane.doe@example.com");
        assert_eq!(address, SmtpAddress::parse("JANE.DOE@example.com").unwrap());
        for bad in [
            "",
            "jane",
            "jane@",
            "@example.com",
            "a b@example.com",
            "jane@exa mple.com",
            "jane@-x.com",
            "a\"@b.c",
        ] {
            assert!(SmtpAddress::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_even_hex_in_lower_case() {
        assert_eq!(DeviceToken::parse("ABCDEF01").unwrap().as_str(), "abcdef01");
        for bad in ["", "abc", "abcdefg0", &"a".repeat(202)] {
            assert!(DeviceToken::parse(bad).is_err(), "{bad}");
        }
        assert!(!format!("{:?}", DeviceToken::parse("abcdef0123").unwrap()).contains("abcdef0123"));
    }
}
