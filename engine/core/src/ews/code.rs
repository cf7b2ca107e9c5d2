//! Every answer of Exchange that the engine knows by name, with what to do about it: one table.

use std::fmt;

use super::action::{Action, BACK_OFF_DEFAULT_MS, CONNECTIONS_WAIT_MS};

/// A row's action; those that wait do so for their default time.
macro_rules! kind {
    (BackOffAccount) => {
        Action::BackOffAccount { ms: BACK_OFF_DEFAULT_MS }
    };
    (FewerConnections) => {
        Action::FewerConnections { ms: CONNECTIONS_WAIT_MS }
    };
    ($action:ident) => {
        Action::$action
    };
}

/// Builds [`ResponseCode`] and its columns from the table below. One line: what to do, the sentence for a person, the codes.
macro_rules! codes {
    ($($action:ident, $text:literal: $($code:ident)+;)+) => {
        /// What a mail server answered instead of success: a code of Exchange, or, in the last variants, what an HTTP
        /// answer said that held no SOAP.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ResponseCode {
            $($(
                #[doc = concat!("`", stringify!($code), "`: ", $text, ".")]
                $code,
            )+)+
            /// A code that this table does not have; at most 64 letters and digits.
            Unknown(Box<str>),
            /// An HTTP status without a usable SOAP fault.
            Http(u16),
            /// 401, 440 or 456: the server does not accept who we say we are.
            Auth,
            /// 401 that offers neither Basic nor Bearer, but NTLM or Negotiate, say.
            AuthOffer,
            /// 403: it knows us and will not serve us.
            Forbidden,
            /// 3xx: to a log-on or error page. Never followed: credentials go to no other place.
            Redirect,
            /// Something other than SOAP, such as a page in HTML.
            NotSoap,
            /// SOAP that cannot be read.
            Malformed,
            /// The id of a mailbox's subscription was given to another mailbox.
            SubscriptionReused,
            /// A mailbox's subscription brings events of folders that are none of its own.
            ForeignEvents,
        }

        impl ResponseCode {
            /// All codes that Exchange itself gives, in the order of the table.
            pub const NAMED: &'static [ResponseCode] = &[$($(ResponseCode::$code,)+)+];

            /// The code of this name.
            pub(super) fn named(name: &str) -> Option<ResponseCode> {
                match name {
                    $($(stringify!($code) => Some(ResponseCode::$code),)+)+
                    _ => None,
                }
            }

            /// Exchange's name for it, or a stable name of ours: for metrics and alarms.
            pub fn name(&self) -> &str {
                match self {
                    $($(ResponseCode::$code => stringify!($code),)+)+
                    ResponseCode::Unknown(name) => name,
                    ResponseCode::Http(_) => "ews_http_status",
                    ResponseCode::Auth => "ews_auth",
                    ResponseCode::AuthOffer => "ews_auth_offer",
                    ResponseCode::Forbidden => "ews_forbidden",
                    ResponseCode::Redirect => "ews_redirect",
                    ResponseCode::NotSoap => "ews_not_soap",
                    ResponseCode::Malformed => "ews_malformed",
                    ResponseCode::SubscriptionReused => "ews_subscription_reused",
                    ResponseCode::ForeignEvents => "ews_foreign_events",
                }
            }

            /// What to do, before what an error carries besides its code is looked at ([`super::EwsError::action`]).
            pub(super) fn action(&self) -> Action {
                match self {
                    $($(ResponseCode::$code)|+ => kind!($action),)+
                    // Treat the ids as gone.
                    ResponseCode::Unknown(_) => Action::Resubscribe,
                    // Whatever the status says, front ends and proxies give it while they restart, too.
                    ResponseCode::Http(_) => Action::RetryConnection,
                    ResponseCode::Auth => Action::AuthFailed,
                    ResponseCode::AuthOffer => Action::NoCommonAuth,
                    ResponseCode::Forbidden => Action::Alarm,
                    ResponseCode::Redirect | ResponseCode::NotSoap | ResponseCode::Malformed => {
                        Action::RetryConnection
                    }
                    ResponseCode::SubscriptionReused | ResponseCode::ForeignEvents => Action::Resubscribe,
                }
            }

            /// What happened, who is at fault and what to do, in a sentence without its end.
            pub(super) fn text(&self) -> &'static str {
                match self {
                    $($(ResponseCode::$code)|+ => $text,)+
                    ResponseCode::Unknown(_) => {
                        "Exchange refused with a code that is not known here; it is tried again more slowly, look it \
                         up in Microsoft's list of EWS response codes if it lasts"
                    }
                    ResponseCode::Http(400 | 411 | 413..=415 | 417) => {
                        "the mail server does not take our request; it is tried again, and if that lasts see what stands in \
                         front of it (host name, limits of size), or report this"
                    }
                    ResponseCode::Http(404..=407 | 410) => {
                        "there is no EWS at this address just now; if that lasts, correct the URL or the proxy in the configuration"
                    }
                    ResponseCode::Http(_) => {
                        "the mail server failed without saying why; it is tried again, look at the server if it lasts"
                    }
                    ResponseCode::Auth => {
                        "the mail server refuses the credential; correct user, password or token, and see that the \
                         account is neither locked nor expired"
                    }
                    ResponseCode::AuthOffer => {
                        "the mail server offers only ways of logging on that are not supported here; switch Basic on for \
                         its EWS virtual directory (it is safe over TLS), or hand in a bearer token"
                    }
                    ResponseCode::Forbidden => {
                        "the mail server forbids access; allow EWS for this account and this application \
                         (EwsEnabled, EwsApplicationAccessPolicy, conditional access)"
                    }
                    ResponseCode::Redirect => {
                        "the mail server redirects to another page, which is never followed; see that the URL is that \
                         of EWS and that the front end is well"
                    }
                    ResponseCode::NotSoap => {
                        "the mail server answers with a page instead of SOAP; see that the URL is that of EWS and that \
                         no log-on page stands before it"
                    }
                    ResponseCode::Malformed => {
                        "the mail server's answer cannot be read; it is tried again, look at the proxy in front of it \
                         if it lasts"
                    }
                    ResponseCode::SubscriptionReused => {
                        "the mail server has given the id of this mailbox's subscription to another mailbox, as some \
                         do after a restart; it is made anew and the mailbox caught up, nothing to do"
                    }
                    ResponseCode::ForeignEvents => {
                        "the mail server told of folders that are none of this mailbox's; nothing of that is pushed, \
                         the subscription is made anew and the mailbox caught up, look at the mail server if it lasts"
                    }
                }
            }
        }
    };
}

// Sources: reference tables of Subscribe and GetStreamingEvents errors, impersonation, faults and GetItem, from
// Microsoft's "ResponseCode", "Handling notification-related errors in EWS" and "EWS throttling in Exchange", and what
// client libraries do.
codes! {
    // Streams: the subscription is gone.
    Resubscribe, "Exchange no longer knows the subscription; it is made anew and the mailbox caught up, nothing to do":
        ErrorSubscriptionNotFound ErrorInvalidSubscription ErrorExpiredSubscription ErrorSubscriptionUnsubscribed
        ErrorInvalidWatermark ErrorEventNotFound ErrorInvalidPullSubscriptionId;
    Resubscribe, "the subscription belongs to another account, because the service account was changed; it is made anew":
        ErrorSubscriptionAccessDenied;
    CatchUp, "Exchange lost notifications of the mailbox; it is caught up, nothing to do":
        ErrorMissedNotificationEvents;
    StepAside, "another connection took the subscription over; see that no second service uses the same subscriptions":
        ErrorNewEventStreamConnectionOpened;

    // The mailbox is elsewhere, or on its way.
    Rediscover, "Exchange can no longer read the mailbox's events where they were; it is looked for and subscribed anew":
        ErrorReadEventsFailed;
    Rediscover, "the mail server cannot reach the server that holds the mailbox; it is looked for and subscribed anew, check the sites' proxying if it lasts":
        ErrorProxyRequestNotAllowed ErrorProxiedSubscriptionCallFailure ErrorProxyServiceDiscoveryFailed
        ErrorNoRespondingCASInDestinationSite ErrorCrossSiteRequest ErrorConnectionFailed;
    AwaitMove, "the mailbox is being moved; it is tried every five minutes until it has arrived":
        ErrorMailboxMoveInProgress;
    AwaitStore, "the mailbox's database is not available; it is tried again, look at the Exchange server if it lasts":
        ErrorMailboxStoreUnavailable ErrorMailboxFailover;

    // Too much, or not now.
    BackOffAccount, "Exchange throttles this budget; everything on it waits, give the service account a throttling policy without limits if it lasts":
        ErrorServerBusy;
    FewerConnections, "Exchange allows no more connections at once on this budget; fewer are used":
        ErrorExceededConnectionCount;
    FewerSubscriptions, "the mailbox has too many subscriptions, left from earlier runs or made by other programs; those of earlier runs end by themselves within half an hour, and it is tried again slowly":
        ErrorExceededSubscriptionCount;
    RetryConnection, "Exchange cannot serve at the moment; it is tried again, look at the Exchange server if it lasts":
        ErrorInternalServerTransientError ErrorADUnavailable ErrorTimeoutExpired ErrorInsufficientResources
        ErrorNotEnoughMemory ErrorTooManyObjectsOpened ErrorServiceUnavailable;
    RetryOrBisect, "Exchange failed without saying why; it is tried again, look at the Exchange server's event log if it lasts":
        ErrorInternalServerError;

    // A person must change something.
    MailboxGone, "the address is no longer that of a mailbox; see whether it was renamed or removed":
        ErrorNonExistentMailbox ErrorNonPrimarySmtpAddress ErrorMissingEmailAddress ErrorCannotFindUser
        ErrorInvalidSmtpAddress ErrorInvalidUserPrincipalName ErrorInvalidUserSid;
    Alarm, "the service account may not act for the mailbox; give it the role ApplicationImpersonation with a scope that has this mailbox":
        ErrorImpersonateUserDenied ErrorImpersonationDenied ErrorImpersonationFailed;
    Alarm, "the service account may not read the mailbox; check its rights":
        ErrorAccessDenied;
    Alarm, "the account may read parts of the mailbox, but subscribing needs its owner's access; give it FullAccess to the mailbox, or the role ApplicationImpersonation and switch `impersonate` on":
        ErrorSubscriptionDelegateAccessNotSupported;
    Alarm, "this kind of credential needs impersonation in each request; switch `impersonate` on for this mail server":
        ErrorInvalidExchangeImpersonationHeaderData;
    Terminal, "the account cannot be used in its present state; enable it, renew its password or licence, or allow the organisation access":
        ErrorAccountDisabled ErrorPasswordExpired ErrorMailboxLogonFailed ErrorOrganizationAccessBlocked
        ErrorInvalidLicense ErrorSubscriptionsDisabledForGroup;
    DropFolder, "a watched folder is gone; the others are watched on, take it out of the configuration":
        ErrorFolderNotFound ErrorSyncFolderNotFound;
    StartOver, "Exchange no longer understands how far a folder was synchronised; it is walked through anew, nothing to do":
        ErrorInvalidSyncStateData;

    // Versions, and mistakes of ours.
    LowerVersion, "the server or the mailbox is older than the version asked for; an older one is asked for":
        ErrorInvalidServerVersion ErrorIncorrectSchemaVersion ErrorInvalidSchemaVersionForMailboxVersion;
    OurBug, "Exchange calls our request invalid; it is tried again more and more slowly, please report this if it lasts":
        ErrorInvalidRequest ErrorSchemaValidation ErrorInvalidSubscriptionRequest
        ErrorMoreThanOneAccessModeSpecified;

    // One mail among several.
    ItemGone, "the mail was deleted or moved before it could be read; nothing to do":
        ErrorItemNotFound;
    ItemUnreadable, "Exchange cannot read this mail; it is told without details":
        ErrorItemCorrupt;
    RetryItem, "Exchange stopped in the middle of several mails; the rest is asked for again":
        ErrorBatchProcessingStopped;
    ConvertId, "Exchange gave the mail's id in an old format; it is converted and tried once more":
        ErrorInvalidIdMalformed ErrorInvalidIdMalformedEwsLegacyIdFormat;
}

impl ResponseCode {
    /// The code of this name; nothing for `NoError` and for no name at all.
    pub fn parse(name: &str) -> Option<ResponseCode> {
        let name = name.trim();
        if name.is_empty() || name == "NoError" {
            return None;
        }
        Some(ResponseCode::named(name).unwrap_or_else(|| {
            let plain = name.chars().filter(char::is_ascii_alphanumeric).take(64);
            ResponseCode::Unknown(plain.collect::<String>().into())
        }))
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResponseCode::Http(status) => write!(f, "HTTP {status}"),
            _ => f.write_str(self.name()),
        }
    }
}
