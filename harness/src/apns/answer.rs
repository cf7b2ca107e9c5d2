//! What APNs answers: the reasons of Apple's table, each with its status.

use carillon_core::time::UnixMillis;

macro_rules! reasons {
    ($($status:literal $name:ident),* $(,)?) => {
        /// Why a push was refused (Apple, "Handling notification responses from APNs").
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)] // Apple's own words are the documentation.
        pub enum Reason { $($name),* }

        impl Reason {
            /// All reasons, in the order of the table.
            pub const ALL: [Reason; [$($status),*].len()] = [$(Reason::$name),*];

            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 {
                match self { $(Reason::$name => $status),* }
            }

            /// The `reason` in the answer's body.
            pub const fn text(self) -> &'static str {
                match self { $(Reason::$name => stringify!($name)),* }
            }
        }
    };
}

reasons! {
    400 BadCollapseId,
    400 BadDeviceToken,
    400 BadExpirationDate,
    400 BadMessageId,
    400 BadPriority,
    400 BadTopic,
    400 DeviceTokenNotForTopic,
    400 DuplicateHeaders,
    400 IdleTimeout,
    400 InvalidPushType,
    400 MissingDeviceToken,
    400 MissingTopic,
    400 PayloadEmpty,
    400 TopicDisallowed,
    403 BadCertificate,
    403 BadCertificateEnvironment,
    403 ExpiredProviderToken,
    403 Forbidden,
    403 InvalidProviderToken,
    403 MissingProviderToken,
    403 UnrelatedKeyIdInToken,
    403 BadEnvironmentKeyIdInToken,
    404 BadPath,
    405 MethodNotAllowed,
    410 ExpiredToken,
    410 Unregistered,
    413 PayloadTooLarge,
    429 TooManyProviderTokenUpdates,
    429 TooManyRequests,
    500 InternalServerError,
    503 ServiceUnavailable,
    503 Shutdown,
}

impl Reason {
    /// Whether it is about this one message: as it is, it is never taken, and neither token nor connection nor account are
    /// to blame.
    pub const fn is_of_message(self) -> bool {
        matches!(
            self,
            Reason::BadCollapseId
                | Reason::BadExpirationDate
                | Reason::BadMessageId
                | Reason::BadPriority
                | Reason::DuplicateHeaders
                | Reason::InvalidPushType
                | Reason::MissingDeviceToken
                | Reason::MissingTopic
                | Reason::PayloadEmpty
                | Reason::BadPath
                | Reason::MethodNotAllowed
                | Reason::PayloadTooLarge
        )
    }
}

/// A refusal: a reason, for 410 the time since which the token is gone, and for 429 perhaps a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// `timestamp` of a 410.
    pub since: Option<UnixMillis>,
    /// `retry-after` of a 429, in seconds (RFC 6585 §4: it may be there).
    pub retry_after_s: Option<u64>,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Refusal {
        Refusal { reason, since: None, retry_after_s: None }
    }
}

impl Refusal {
    /// The body of the answer.
    pub fn body(&self) -> String {
        let reason = self.reason.text();
        match self.since {
            Some(since) => format!(r#"{{"reason":"{reason}","timestamp":{}}}"#, since.0),
            None => format!(r#"{{"reason":"{reason}"}}"#),
        }
    }
}
