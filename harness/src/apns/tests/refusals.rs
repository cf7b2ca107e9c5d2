//! Each row of the table of refusals, and their order where a test may rely on it.

use proptest::prelude::*;

use super::*;

#[test]
fn a_good_push_is_accepted() {
    let mut bench = Bench::new();
    assert_eq!(bench.refusal_of(|_| {}), None);
    let delivery = bench.service.poll_delivery().unwrap();
    assert_eq!((delivery.tag, delivery.payload.badge, delivery.duplicate), (42, Some(3), false));
    assert_eq!(delivery.apns_id, super::super::request::parse_uuid(APNS_ID).unwrap());
    assert_eq!((&*delivery.token, &*delivery.topic), (TOKEN, BUNDLE));
    assert!(bench.service.poll_delivery().is_none());
    assert!(bench.service.stats.strict.is_clean());
}

#[test]
fn method_not_allowed_comes_before_everything() {
    let mut bench = Bench::new();
    assert_eq!(bench.refusal_of(|push| push.method = "GET"), Some(Reason::MethodNotAllowed));
    let all_wrong = |push: &mut Push| {
        push.method = "PUT";
        push.path = "/".into();
        push.without("authorization");
    };
    assert_eq!(bench.refusal_of(all_wrong), Some(Reason::MethodNotAllowed));
}

#[test]
fn bad_path() {
    for path in
        ["/", "/2/device/aa", "/3/devices/aa", "/3/deviceaa", "/3/device/aa/bb", "/3/device/aa?x=1", ""]
    {
        let mut bench = Bench::new();
        assert_eq!(bench.refusal_of(|push| push.path = path.into()), Some(Reason::BadPath), "{path}");
    }
}

#[test]
fn missing_device_token() {
    for path in ["/3/device", "/3/device/"] {
        let mut bench = Bench::new();
        assert_eq!(bench.refusal_of(|push| push.path = path.into()), Some(Reason::MissingDeviceToken));
    }
}

#[test]
fn duplicate_headers() {
    for (name, value) in [
        ("apns-topic", BUNDLE),
        ("apns-id", APNS_ID),
        ("authorization", "bearer x"),
        ("apns-unheard-of", "1"),
    ] {
        let mut bench = Bench::new();
        let twice = |push: &mut Push| {
            push.append(name, value);
            push.append(name, value);
        };
        assert_eq!(bench.refusal_of(twice), Some(Reason::DuplicateHeaders), "{name}");
    }
    let mut bench = Bench::new();
    let cookies = |push: &mut Push| {
        push.append("cookie", "a");
        push.append("cookie", "b");
    };
    assert_eq!(bench.refusal_of(cookies), None);
}

#[test]
fn missing_provider_token_comes_before_faults_of_fields() {
    let mut bench = Bench::new();
    let spoil = |push: &mut Push| {
        push.without("authorization");
        push.set("apns-priority", "11");
    };
    assert_eq!(bench.refusal_of(spoil), Some(Reason::MissingProviderToken));
}

#[test]
fn bad_message_id() {
    for id in ["", "x", "eabeae5414a811e5b60b1697f925ec7b", "eabeae54-14a8-11e5-b60b-1697f925ec7g"] {
        let mut bench = Bench::new();
        assert_eq!(bench.refusal_of(|push| push.set("apns-id", id)), Some(Reason::BadMessageId), "{id}");
    }
    let mut bench = Bench::new();
    assert_eq!(bench.refusal_of(|push| push.set("apns-id", &APNS_ID.to_uppercase())), None);
    assert_eq!(bench.service.stats.strict.count(StrictFault::ApnsIdUnusual), 1);
    assert_eq!(bench.refusal_of(|push| push.without("apns-id")), None);
}

#[test]
fn invalid_push_type() {
    for kind in ["", "Alert", "badge", "silent"] {
        let mut bench = Bench::new();
        assert_eq!(bench.refusal_of(|push| push.set("apns-push-type", kind)), Some(Reason::InvalidPushType));
    }
    let mut bench = Bench::new();
    assert_eq!(bench.refusal_of(|push| push.without("apns-push-type")), None);
    assert_eq!(bench.service.stats.strict.count(StrictFault::PushTypeMissing), 1);
}

#[test]
fn bad_priority() {
    for priority in ["", "0", "2", "11", "010", "high"] {
        let mut bench = Bench::new();
        let refusal = bench.refusal_of(|push| push.set("apns-priority", priority));
        assert_eq!(refusal, Some(Reason::BadPriority), "{priority}");
    }
    for priority in ["1", "5", "10"] {
        let mut bench = Bench::new();
        assert_eq!(bench.refusal_of(|push| push.set("apns-priority", priority)), None, "{priority}");
    }
    let mut bench = Bench::new();
    let eager_background = |push: &mut Push| {
        push.set("apns-push-type", "background");
        push.set("apns-priority", "10");
    };
    assert_eq!(bench.refusal_of(eager_background), Some(Reason::BadPriority));
}

#[test]
fn bad_expiration_date() {
    for at in ["", "-1", "tomorrow", "1.5", "99999999999999999999999"] {
        let mut bench = Bench::new();
        let refusal = bench.refusal_of(|push| push.set("apns-expiration", at));
        assert_eq!(refusal, Some(Reason::BadExpirationDate), "{at}");
    }
    let mut bench = Bench::new();
    assert_eq!(bench.refusal_of(|push| push.set("apns-expiration", "0")), None);
}

#[test]
fn bad_collapse_id_is_one_of_more_than_64_bytes() {
    let mut bench = Bench::new();
    assert_eq!(bench.refusal_of(|push| push.set("apns-collapse-id", &"c".repeat(64))), None);
    let long = |push: &mut Push| push.set("apns-collapse-id", &"c".repeat(65));
    assert_eq!(bench.refusal_of(long), Some(Reason::BadCollapseId));
}

#[test]
fn missing_topic() {
    let mut bench = Bench::new();
    assert_eq!(bench.refusal_of(|push| push.without("apns-topic")), Some(Reason::MissingTopic));
}

#[test]
fn topic_disallowed_is_one_of_another_team_or_of_nobody() {
    let mut bench = Bench::new();
    bench.service.accounts.add_app(bench.now, "com.example.other", OTHER_TEAM);
    for topic in ["com.example.other", "com.example.unknown"] {
        assert_eq!(bench.refusal_of(|push| push.set("apns-topic", topic)), Some(Reason::TopicDisallowed));
    }
}

#[test]
fn topic_disallowed_is_an_app_younger_than_the_connection() {
    let mut bench = Bench::new();
    assert_eq!(bench.refusal_of(|_| {}), None);
    bench.wait(Span::from_secs(1));
    bench.service.accounts.add_app(bench.now, "com.example.new", TEAM);
    let to_new = |push: &mut Push| push.set("apns-topic", "com.example.new");
    assert_eq!(bench.refusal_of(to_new), Some(Reason::TopicDisallowed));
    bench.reconnect();
    // Known by now; only the phone is another app's.
    assert_eq!(bench.refusal_of(to_new), Some(Reason::DeviceTokenNotForTopic));
}

#[test]
fn bad_topic_is_one_whose_suffix_does_not_fit_the_type() {
    let mut bench = Bench::new();
    let voip_topic = format!("{BUNDLE}.voip");
    assert_eq!(bench.refusal_of(|push| push.set("apns-topic", &voip_topic)), Some(Reason::BadTopic));
    let plain_voip = |push: &mut Push| push.set("apns-push-type", "voip");
    assert_eq!(bench.refusal_of(plain_voip), Some(Reason::BadTopic));
    let voip = |push: &mut Push| {
        push.set("apns-push-type", "voip");
        push.set("apns-topic", &voip_topic);
    };
    assert_eq!(bench.refusal_of(voip), None);
}

#[test]
fn bad_device_token_is_malformed_or_unknown() {
    for token in ["zz", "abc", &"ab".repeat(101), "abcd"] {
        let mut bench = Bench::new();
        let refusal = bench.refusal_of(|push| push.path = format!("/3/device/{token}"));
        assert_eq!(refusal, Some(Reason::BadDeviceToken), "{token}");
    }
    let mut bench = Bench::new();
    assert_eq!(bench.refusal_of(|push| push.path = format!("/3/device/{}", TOKEN.to_uppercase())), None);
    assert_eq!(bench.service.stats.strict.count(StrictFault::TokenUpperCase), 1);
}

#[test]
fn bad_device_token_is_one_of_the_other_environment() {
    let mut bench = Bench::new();
    bench.service.environment = Environment::Sandbox;
    assert_eq!(bench.refusal_of(|_| {}), Some(Reason::BadDeviceToken));
}

#[test]
fn device_token_not_for_topic() {
    let mut bench = Bench::new();
    bench.service.accounts.add_app(bench.now, "com.example.second", TEAM);
    let refusal = bench.refusal_of(|push| push.set("apns-topic", "com.example.second"));
    assert_eq!(refusal, Some(Reason::DeviceTokenNotForTopic));
}

#[test]
fn unregistered_with_its_time_until_the_phone_registers_again() {
    let mut bench = Bench::new();
    let since = UnixMillis(bench.now.unix.0 - 5_000);
    bench.service.registry.row_mut(bench.device).set_gone(Reason::Unregistered, since);
    let push = bench.push();
    assert_eq!(bench.send(&push), Err(Refusal { since: Some(since), ..Reason::Unregistered.into() }));
    assert_eq!(bench.service.stats.strict.count(StrictFault::PushedAfterGone), 0);
    // Whose answer was lost may ask again.
    assert_eq!(bench.refusal(&push), Some(Reason::Unregistered));
    assert_eq!(bench.service.stats.strict.count(StrictFault::PushedAfterGone), 0);
    // Who was told of another time does not know of this one.
    bench.service.registry.row_mut(bench.device).set_told(UnixMillis(since.0 - 1), true);
    assert_eq!(bench.refusal(&push), Some(Reason::Unregistered));
    assert_eq!(bench.service.stats.strict.count(StrictFault::PushedAfterGone), 0);
    // To push again to a token that is known to be gone is no fault that APNs would tell.
    bench.service.registry.row_mut(bench.device).set_told(since, true);
    assert_eq!(bench.refusal(&push), Some(Reason::Unregistered));
    assert_eq!(bench.service.stats.strict.count(StrictFault::PushedAfterGone), 1);
    let again = TokenSpec { token: TOKEN, bundle: BUNDLE, environment: Environment::Production, tag: 43 };
    assert_eq!(bench.service.registry.register(&again), bench.device);
    assert_eq!(bench.refusal(&push), None);
    assert_eq!(bench.service.poll_delivery().unwrap().tag, 43);
}

#[test]
fn expired_token_is_a_410_too() {
    let mut bench = Bench::new();
    bench.service.registry.row_mut(bench.device).set_gone(Reason::ExpiredToken, UnixMillis(9));
    let push = bench.push();
    let refusal = bench.send(&push).unwrap_err();
    assert_eq!((refusal.reason.status(), refusal.since), (410, Some(UnixMillis(9))));
}

#[test]
fn payload_empty() {
    let mut bench = Bench::new();
    assert_eq!(bench.refusal_of(|push| push.body.clear()), Some(Reason::PayloadEmpty));
}

#[test]
fn payload_too_large_begins_at_4097_bytes_and_for_voip_at_5121() {
    let mut bench = Bench::new();
    let sized = |bytes: usize| format!(r#"{{"aps":{{}},"x":"{}"}}"#, "x".repeat(bytes - 17)).into_bytes();
    assert_eq!(sized(4_096).len(), 4_096);
    assert_eq!(bench.refusal_of(|push| push.body = sized(4_096)), None);
    assert_eq!(bench.refusal_of(|push| push.body = sized(4_097)), Some(Reason::PayloadTooLarge));
    let mut voip = bench.push();
    voip.set("apns-push-type", "voip");
    voip.set("apns-topic", &format!("{BUNDLE}.voip"));
    voip.body = sized(5_120);
    assert_eq!(bench.refusal(&voip), None);
    voip.body = sized(5_121);
    assert_eq!(bench.refusal(&voip), Some(Reason::PayloadTooLarge));
}

#[test]
fn too_many_requests_for_one_device_only_while_it_is_too_many() {
    let mut bench = Bench::new();
    bench.service.knobs.device_rate = Some(Rate { per_s: 10, burst: 3 });
    let other = "ff".repeat(32);
    bench.service.registry.register(&TokenSpec {
        token: &other,
        bundle: BUNDLE,
        environment: Environment::Production,
        tag: 1,
    });
    let push = bench.push();
    for _ in 0..3 {
        assert_eq!(bench.refusal(&push), None);
    }
    assert_eq!(bench.refusal(&push), Some(Reason::TooManyRequests));
    assert_eq!(bench.refusal_of(|push| push.path = format!("/3/device/{other}")), None);
    bench.wait(Span::from_millis(100));
    assert_eq!(bench.refusal(&push), None);
    assert_eq!(bench.refusal(&push), Some(Reason::TooManyRequests));
}

#[test]
fn too_many_requests_on_command() {
    let mut bench = Bench::new();
    let until = bench.now.time + Span::from_secs(5);
    bench.service.registry.row_mut(bench.device).throttle(until, false);
    let push = bench.push();
    assert_eq!(bench.send(&push), Err(Reason::TooManyRequests.into()));
    bench.service.registry.row_mut(bench.device).throttle(until, true);
    bench.wait(Span::from_millis(1_500));
    let refusal = Refusal { retry_after_s: Some(4), ..Reason::TooManyRequests.into() };
    assert_eq!(bench.send(&push), Err(refusal));
    bench.wait(Span::from_millis(3_500));
    assert_eq!(bench.refusal(&push), None);
}

#[test]
fn service_unavailable_for_a_time() {
    let mut bench = Bench::new();
    bench.service.knobs.unavailable_until = bench.now.time + Span::from_secs(5);
    let push = bench.push();
    assert_eq!(bench.refusal(&push), Some(Reason::ServiceUnavailable));
    assert!(bench.service.poll_delivery().is_none());
    bench.wait(Span::from_secs(5));
    assert_eq!(bench.refusal(&push), None);
}

#[test]
fn internal_server_error_for_a_share() {
    let mut bench = Bench::new();
    bench.service.knobs.internal_errors = Share::percent(50);
    bench.service.knobs.device_rate = None;
    let push = bench.push();
    let failed = (0..1_000).filter(|_| bench.refusal(&push) == Some(Reason::InternalServerError)).count();
    assert!((400..600).contains(&failed), "{failed}");
    assert_eq!(bench.service.stats.refused_for(Reason::InternalServerError), failed as u64);
    assert_eq!(bench.service.stats.accepted, 1_000 - failed as u64);
}

#[test]
fn what_the_service_lets_pass_stands_in_the_strict_report() {
    let mut bench = Bench::new();
    bench.service.authority = Some("api.push.apple.com:2197".into());
    let spoil = |push: &mut Push| {
        push.set("content-encoding", "gzip");
        push.set("x-long", &"x".repeat(8_000));
        push.body = b"not json".to_vec();
    };
    assert_eq!(bench.refusal_of(spoil), None);
    let strict = &bench.service.stats.strict;
    for fault in [
        StrictFault::AuthorityWrong,
        StrictFault::ContentEncoding,
        StrictFault::HeaderListTooLarge,
        StrictFault::Payload(PayloadFault::NotJson),
    ] {
        assert_eq!(strict.count(fault), 1, "{fault:?}");
    }
}

#[test]
fn equal_seeds_choose_equal_tokens_to_go() {
    let gone = |seed: u64| {
        let mut service = Service::new(Environment::Production, Knobs::default(), seed);
        for n in 0..1_000u64 {
            let token = format!("{n:016x}");
            let environment = Environment::Production;
            service.registry.register(&TokenSpec { token: &token, bundle: BUNDLE, environment, tag: n });
        }
        service.churn(Share::percent(10), UnixMillis(1))
    };
    assert_eq!(gone(1), gone(1));
    assert_ne!(gone(1), gone(2));
    assert!((50..200).contains(&gone(1).len()));
}

proptest! {
    /// Every request gets an answer from the table.
    #[test]
    fn no_request_is_too_strange(
        method in prop::sample::select(vec!["POST", "GET"]),
        path in prop_oneof!["/3/device/[0-9a-g]{0,8}", "\\PC{0,20}", Just(format!("/3/device/{TOKEN}"))],
        fields in prop::collection::vec((0usize..7, "[ -~]{0,70}"), 0..5),
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            Just(BODY.as_bytes().to_vec()),
            "[{}\\[\\]\":,0-9a-z]{0,60}".prop_map(String::into_bytes),
        ],
    ) {
        const NAMES: [&str; 7] = [
            "authorization", "apns-id", "apns-topic", "apns-push-type", "apns-priority", "apns-expiration",
            "apns-collapse-id",
        ];
        let mut bench = Bench::new();
        let mut push = Push { method, path, body, ..bench.push() };
        for (name, value) in fields {
            push.set(NAMES[name], &value);
        }
        let refusal = bench.refusal(&push);
        let accepted = usize::from(refusal.is_none());
        prop_assert_eq!(std::iter::from_fn(|| bench.service.poll_delivery()).count(), accepted);
    }
}
