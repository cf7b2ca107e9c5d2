use crate::ews::{Action, EwsError, ResponseCode};

/// The reference's tables, written down a second time: what to do about each code that a server may answer.
const TABLE: &[(&str, Action)] = &[
    // Subscribe.
    ("ErrorExceededSubscriptionCount", Action::FewerSubscriptions),
    ("ErrorServerBusy", Action::BackOffAccount { ms: 60_000 }),
    ("ErrorExceededConnectionCount", Action::FewerConnections { ms: 30_000 }),
    ("ErrorInternalServerTransientError", Action::RetryConnection),
    ("ErrorTimeoutExpired", Action::RetryConnection),
    ("ErrorADUnavailable", Action::RetryConnection),
    ("ErrorMailboxStoreUnavailable", Action::AwaitStore),
    ("ErrorMailboxFailover", Action::AwaitStore),
    ("ErrorConnectionFailed", Action::Rediscover),
    ("ErrorMailboxMoveInProgress", Action::AwaitMove),
    ("ErrorProxyRequestNotAllowed", Action::Rediscover),
    ("ErrorCrossSiteRequest", Action::Rediscover),
    ("ErrorNoRespondingCASInDestinationSite", Action::Rediscover),
    ("ErrorProxiedSubscriptionCallFailure", Action::Rediscover),
    ("ErrorProxyServiceDiscoveryFailed", Action::Rediscover),
    ("ErrorNonExistentMailbox", Action::MailboxGone),
    ("ErrorNonPrimarySmtpAddress", Action::MailboxGone),
    ("ErrorMissingEmailAddress", Action::MailboxGone),
    ("ErrorImpersonateUserDenied", Action::Alarm),
    ("ErrorImpersonationDenied", Action::Alarm),
    ("ErrorImpersonationFailed", Action::Alarm),
    ("ErrorAccessDenied", Action::Alarm),
    ("ErrorSubscriptionDelegateAccessNotSupported", Action::Alarm),
    ("ErrorFolderNotFound", Action::DropFolder),
    ("ErrorAccountDisabled", Action::Terminal),
    ("ErrorPasswordExpired", Action::Terminal),
    ("ErrorMailboxLogonFailed", Action::Terminal),
    ("ErrorOrganizationAccessBlocked", Action::Terminal),
    ("ErrorInvalidLicense", Action::Terminal),
    ("ErrorSubscriptionsDisabledForGroup", Action::Terminal),
    ("ErrorInvalidSubscriptionRequest", Action::OurBug),
    ("ErrorSchemaValidation", Action::OurBug),
    // Versions.
    ("ErrorInvalidServerVersion", Action::LowerVersion),
    ("ErrorIncorrectSchemaVersion", Action::LowerVersion),
    ("ErrorInvalidSchemaVersionForMailboxVersion", Action::LowerVersion),
    // Unsubscribe.
    ("ErrorInvalidPullSubscriptionId", Action::Resubscribe),
    // GetStreamingEvents.
    ("ErrorSubscriptionNotFound", Action::Resubscribe),
    ("ErrorInvalidSubscription", Action::Resubscribe),
    ("ErrorExpiredSubscription", Action::Resubscribe),
    ("ErrorSubscriptionUnsubscribed", Action::Resubscribe),
    ("ErrorReadEventsFailed", Action::Rediscover),
    ("ErrorInvalidWatermark", Action::Resubscribe),
    ("ErrorEventNotFound", Action::Resubscribe),
    ("ErrorMissedNotificationEvents", Action::CatchUp),
    ("ErrorNewEventStreamConnectionOpened", Action::StepAside),
    ("ErrorSubscriptionAccessDenied", Action::Resubscribe),
    ("ErrorInsufficientResources", Action::RetryConnection),
    ("ErrorNotEnoughMemory", Action::RetryConnection),
    ("ErrorTooManyObjectsOpened", Action::RetryConnection),
    ("ErrorServiceUnavailable", Action::RetryConnection),
    ("ErrorInternalServerError", Action::RetryOrBisect),
    ("ErrorInvalidRequest", Action::OurBug),
    // Impersonation.
    ("ErrorMoreThanOneAccessModeSpecified", Action::OurBug),
    ("ErrorInvalidExchangeImpersonationHeaderData", Action::Alarm),
    ("ErrorInvalidUserPrincipalName", Action::MailboxGone),
    ("ErrorInvalidUserSid", Action::MailboxGone),
    ("ErrorInvalidSmtpAddress", Action::MailboxGone),
    ("ErrorCannotFindUser", Action::MailboxGone),
    // GetItem.
    ("ErrorItemNotFound", Action::ItemGone),
    ("ErrorItemCorrupt", Action::ItemUnreadable),
    ("ErrorBatchProcessingStopped", Action::RetryItem),
    ("ErrorInvalidIdMalformed", Action::ConvertId),
    // SyncFolderItems.
    ("ErrorSyncFolderNotFound", Action::DropFolder),
    ("ErrorInvalidSyncStateData", Action::StartOver),
    ("ErrorInvalidIdMalformedEwsLegacyIdFormat", Action::ConvertId),
];

fn error(code: ResponseCode) -> EwsError {
    EwsError::new(code, "", None)
}

#[test]
fn each_code_of_the_tables_has_its_action() {
    for (name, action) in TABLE {
        let code = ResponseCode::parse(name).unwrap();
        assert!(!matches!(code, ResponseCode::Unknown(_)), "{name} is not known");
        assert_eq!(code.name(), *name);
        assert_eq!(error(code).action(), *action, "{name}");
    }
    for code in ResponseCode::NAMED {
        assert!(TABLE.iter().any(|(name, _)| *name == code.name()), "{code} stands in no table");
    }
    assert_eq!(TABLE.len(), ResponseCode::NAMED.len());
}

#[test]
fn each_code_says_what_happened_and_what_to_do() {
    let others = [
        ResponseCode::Unknown("ErrorNew".into()),
        ResponseCode::Http(503),
        ResponseCode::Http(400),
        ResponseCode::Http(404),
        ResponseCode::Auth,
        ResponseCode::AuthOffer,
        ResponseCode::Forbidden,
        ResponseCode::Redirect,
        ResponseCode::NotSoap,
        ResponseCode::Malformed,
    ];
    for code in ResponseCode::NAMED.iter().chain(&others) {
        let trouble = error(code.clone()).trouble();
        assert_eq!(&*trouble.code, code.name());
        assert!(
            trouble.text.contains("; ") && trouble.text.ends_with(&format!("({code})")),
            "{}",
            trouble.text
        );
        assert!(trouble.text.len() < 300 && !trouble.text.contains('\n') && !trouble.text.contains("  "));
    }
}

#[test]
fn an_unknown_code_is_kept_bounded_and_means_subscribe_anew() {
    let code = ResponseCode::parse(" ErrorBrandNew ").unwrap();
    assert_eq!(code, ResponseCode::Unknown("ErrorBrandNew".into()));
    let error = EwsError::new(code, "Some\nwords of the server", None);
    assert_eq!(error.action(), Action::Resubscribe);
    assert!(error.trouble().text.ends_with("(ErrorBrandNew: Some words of the server)"));
    let hostile = ResponseCode::parse(&"<x>\r\n".repeat(1_000)).unwrap();
    assert_eq!(hostile.name(), "x".repeat(64));
}

#[test]
fn no_error_is_none() {
    assert_eq!(ResponseCode::parse("NoError"), None);
    assert_eq!(ResponseCode::parse(" \n"), None);
}

#[test]
fn a_subscription_that_a_move_made_invalid_waits_for_the_move() {
    let text = "The subscription is invalid; no more events will occur for this EventSink. Event type = MailboxMoveStarted";
    assert_eq!(EwsError::new(ResponseCode::ErrorInvalidSubscription, text, None).action(), Action::AwaitMove);
    assert_eq!(
        EwsError::new(ResponseCode::ErrorSubscriptionNotFound, text, None).action(),
        Action::Resubscribe
    );
}

#[test]
fn the_servers_pause_goes_before_ours_but_is_never_none() {
    for (asked, ms) in [(5_001, 5_001), (5, 1_000), (0, 1_000), (u64::MAX, 3_600_000)] {
        let pause = |code| EwsError::new(code, "", Some(asked)).action();
        assert_eq!(pause(ResponseCode::ErrorServerBusy), Action::BackOffAccount { ms });
        assert_eq!(pause(ResponseCode::ErrorExceededConnectionCount), Action::FewerConnections { ms });
    }
}

/// The name of an action, without its time.
fn name(action: Action) -> String {
    format!("{action:?}").split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn the_page_of_codes_is_the_table() {
    let page = include_str!("../../../../../docs/exchange-codes.md");
    let (actions, codes) = page.split_once("<!-- codes -->\n").expect("the mark before the table of codes");
    let mut table = String::from("| code | action | what it means, and what to do |\n|---|---|---|\n");
    for code in ResponseCode::NAMED {
        let action = name(error(code.clone()).action());
        table.push_str(&format!("| `{code}` | {action} | {} |\n", code.text()));
        assert!(actions.contains(&format!("\n| {action} | ")), "{action} stands in the table of actions");
    }
    assert!(codes == table, "docs/exchange-codes.md should end with\n{table}");
}
