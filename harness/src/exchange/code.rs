//! EWS response codes that this server gives, each with the sentence that Exchange sends along.

macro_rules! codes {
    ($($name:ident = $message:literal),* $(,)?) => {
        /// An EWS response code. The variant's name is the code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)]
        pub enum Code { $($name),* }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            /// The code as it stands in `ResponseCode`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => stringify!($name)),* }
            }

            /// What Exchange says in `MessageText`.
            pub const fn message(self) -> &'static str {
                match self { $(Code::$name => $message),* }
            }
        }
    };
}

codes! {
    NoError = "",
    ErrorADUnavailable = "An Active Directory transient exception occurred.",
    ErrorAccessDenied = "Access is denied. Check credentials and try again.",
    ErrorAccountDisabled = "The account is disabled.",
    ErrorBatchProcessingStopped = "The operation was stopped before this item was reached.",
    ErrorCannotFindUser = "The user could not be found.",
    ErrorContentConversionFailed = "Content conversion failed., Content conversion: Body conversion failed.",
    ErrorConnectionFailed = "The connection to the mailbox failed.",
    ErrorCorruptData = "Data is corrupt.",
    ErrorCrossSiteRequest = "The mailbox is in another site.",
    ErrorEventNotFound = "The event was not found.",
    ErrorExceededConnectionCount =
        "You have exceeded the available concurrent connections for your account.  Try again once your other requests have completed.",
    ErrorExceededSubscriptionCount = "You have exceeded the available subscriptions for your account.",
    ErrorExpiredSubscription = "The subscription has expired.",
    ErrorFolderNotFound = "The specified folder could not be found in the store.",
    ErrorImpersonateUserDenied = "The account does not have permission to impersonate the requested user.",
    ErrorImpersonationDenied = "Impersonation is denied.",
    ErrorImpersonationFailed = "Exchange Web Services are not currently available for this request because none of the Client Access Servers in the destination site could process the request.",
    ErrorIncorrectSchemaVersion = "The schema version of the request is too old for what it asks for.",
    ErrorInsufficientResources = "There are not enough resources to process the request.",
    ErrorInternalServerError = "An internal server error occurred. The operation failed.",
    ErrorInternalServerTransientError =
        "An internal server error occurred. Try again later.",
    ErrorInvalidChangeKey = "The change key is invalid.",
    ErrorInvalidExchangeImpersonationHeaderData =
        "ExchangeImpersonation SOAP header must be present for this type of OAuth token.",
    ErrorInvalidIdMalformed = "Id is malformed.",
    ErrorInvalidIdMalformedEwsLegacyIdFormat = "Id is malformed.",
    ErrorInvalidLicense = "The license is not valid.",
    ErrorInvalidPropertyRequest = "The property can not be used with this type of request.",
    ErrorInvalidRequest = "The request is invalid.",
    ErrorInvalidPullSubscriptionId = "The subscription is no pull subscription.",
    ErrorInvalidSchemaVersionForMailboxVersion =
        "The schema version of the request is not supported by the version of the mailbox.",
    ErrorInvalidServerVersion = "The specified server version is invalid.",
    ErrorInvalidSmtpAddress = "The SMTP address has no mailbox associated with it.",
    ErrorInvalidSubscription =
        "Subscription is invalid.",
    ErrorInvalidSubscriptionRequest = "Subscription request is invalid.",
    ErrorInvalidSyncStateData = "Synchronization state data is corrupt or otherwise invalid.",
    ErrorInvalidUserPrincipalName = "The user principal name (UPN) is not valid.",
    ErrorInvalidUserSid = "The user security identifier (SID) is not valid.",
    ErrorInvalidWatermark = "Watermark is invalid.",
    ErrorItemCorrupt = "The item in the store is corrupt.",
    ErrorItemNotFound = "The specified object was not found in the store., The process failed to get the correct properties.",
    ErrorMailboxFailover = "The mailbox is failing over.",
    ErrorMailboxLogonFailed = "The mailbox logon failed.",
    ErrorMailboxMoveInProgress = "Mailbox move in progress. Try again later., Mailbox is being moved.",
    ErrorMailboxStoreUnavailable = "The mailbox database is temporarily unavailable.",
    ErrorMessageSizeExceeded = "The message exceeds the maximum supported size.",
    ErrorMimeContentConversionFailed = "MIME content conversion failed.",
    ErrorMissedNotificationEvents = "Some notification events were missed.",
    ErrorMissingEmailAddress =
        "When making a request as an account that does not have a mailbox, you must specify the mailbox primary SMTP address for any distinguished folder Ids.",
    ErrorMoreThanOneAccessModeSpecified = "The request specifies more than one access mode.",
    ErrorNewEventStreamConnectionOpened =
        "A new connection was opened for this subscription; this one is closed.",
    ErrorNoRespondingCASInDestinationSite =
        "Exchange Web Services are not currently available for this request because none of the Client Access Servers in the destination site could process the request.",
    ErrorNonExistentMailbox = "The SMTP address has no mailbox associated with it.",
    ErrorNonPrimarySmtpAddress = "The primary SMTP address must be specified when referencing a mailbox.",
    ErrorNotEnoughMemory = "There is not enough memory to process the request.",
    ErrorOrganizationAccessBlocked = "Access to the organization is blocked.",
    ErrorPasswordExpired = "The password has expired.",
    ErrorProxiedSubscriptionCallFailure = "The proxied subscription call failed.",
    ErrorProxyRequestNotAllowed =
        "The caller does not have sufficient permissions to proxy the request.",
    ErrorProxyServiceDiscoveryFailed = "The service to which the request is to be proxied was not found.",
    ErrorQuotaExceeded = "The mailbox is over its quota.",
    ErrorReadEventsFailed = "Failed to read events from the subscription. The subscription must be recreated.",
    ErrorSchemaValidation = "The request failed schema validation",
    ErrorServerBusy = "The server cannot service this request right now. Try again later.",
    ErrorServiceUnavailable = "The service is unavailable.",
    ErrorSubscriptionAccessDenied =
        "Access to this subscription is denied. You are not the creator of the subscription.",
    ErrorSubscriptionDelegateAccessNotSupported = "Delegate access is not supported for subscriptions.",
    ErrorSubscriptionNotFound = "The specified subscription was not found.",
    ErrorSubscriptionUnsubscribed = "The subscription was unsubscribed.",
    ErrorSubscriptionsDisabledForGroup = "Subscriptions are disabled for the group.",
    ErrorSyncFolderNotFound = "The folder to synchronize could not be found.",
    ErrorTimeoutExpired = "The request timed out.",
    ErrorTooManyObjectsOpened = "Too many objects are open.",
    ErrorUnsupportedPathForQuery = "The property path is not supported for queries.",
    ErrorUnsupportedPathForSortGroup = "The property can not be used for sorting or grouping.",
}

impl Code {
    /// The code of this name.
    pub fn parse(name: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.as_str() == name)
    }

    /// Whether a subscription about which a stream says this lives on (reference §3.6).
    pub(super) const fn leaves_subscription(self) -> bool {
        matches!(
            self,
            Code::ErrorMissedNotificationEvents
                | Code::ErrorNewEventStreamConnectionOpened
                | Code::ErrorSubscriptionAccessDenied
                | Code::ErrorExceededConnectionCount
                | Code::ErrorServerBusy
                | Code::ErrorInternalServerTransientError
                | Code::ErrorADUnavailable
                | Code::ErrorTimeoutExpired
                | Code::ErrorInsufficientResources
                | Code::ErrorNotEnoughMemory
                | Code::ErrorTooManyObjectsOpened
                | Code::ErrorServiceUnavailable
                | Code::ErrorInternalServerError
                | Code::ErrorImpersonateUserDenied
                | Code::ErrorImpersonationDenied
                | Code::ErrorImpersonationFailed
                | Code::ErrorAccessDenied
                | Code::ErrorInvalidServerVersion
                | Code::ErrorIncorrectSchemaVersion
                | Code::ErrorInvalidSchemaVersionForMailboxVersion
        )
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
