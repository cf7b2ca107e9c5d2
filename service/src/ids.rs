//! The names that callers of the API give to users and devices.

use std::fmt;

use carillon_core::names::NameError;

/// The longest user or device id, in bytes.
pub const CALLER_ID_BYTES_MAX: usize = 128;

macro_rules! caller_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks and takes `text`: 1 to [`CALLER_ID_BYTES_MAX`] bytes of letters, digits and `._@:-`.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                check_caller_id(text)?;
                Ok($name(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

caller_id!(
    /// The caller's stable id of a user. It stays when the mailbox's address changes.
    UserId
);
caller_id!(
    /// The caller's stable id of a device, unique for its user.
    DeviceId
);

fn check_caller_id(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > CALLER_ID_BYTES_MAX {
        return Err(NameError::TooLong { bytes_max: CALLER_ID_BYTES_MAX });
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._@:-".contains(&b)) {
        return Err(NameError::Malformed { expected: "an id of letters, digits and . _ @ : -" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_short_and_plain() {
        for good in ["a", "jane@example.com", "S-1-5:21.x_9", &"x".repeat(128)] {
            assert_eq!(UserId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a/b", "a%b", "ä", "a\n", "<x>", &"x".repeat(129)] {
            assert!(DeviceId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
