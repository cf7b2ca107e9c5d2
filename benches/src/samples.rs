//! A mail, a push and a delay as they usually are.

use carillon_core::names::{DeviceToken, Topic};
use carillon_core::notice::MailDetails;
use carillon_core::push::{PushRequest, PushType};
use carillon_core::rng::Rng;
use carillon_core::time::Span;

/// A mail from outside.
pub fn mail(subject: &str, preview: &str) -> MailDetails {
    MailDetails {
        sender: "Jane Doe (Purchasing)".into(),
        sender_address: "jane.doe@example.com".into(),
        subject: subject.into(),
        preview: preview.into(),
        ..MailDetails::default()
    }
}

/// A mail with a subject and a preview of usual lengths.
pub fn usual_mail() -> MailDetails {
    mail("Offer for the meeting rooms, second floor", &"We can hold them until Friday. ".repeat(8))
}

/// An alert. Each `number` has an `apns-id` of its own.
pub fn push<'a>(token: &'a DeviceToken, topic: &'a Topic, payload: &'a [u8], number: u64) -> PushRequest<'a> {
    PushRequest {
        token,
        topic,
        jwt: None,
        apns_id: 0x1122_3344_5566_7788_99aa_bbcc_ddee_ff00 + u128::from(number),
        push_type: PushType::Alert,
        priority: 10,
        expiration_s: 1_767_686_400,
        collapse_id: Some("m0011223344556677"),
        payload,
    }
}

/// Delays as users have them: most within seconds, some within hours.
pub fn delay(rng: &mut Rng) -> Span {
    let magnitude = 6 + rng.below(20);
    Span::from_millis(rng.below(1 << magnitude))
}
