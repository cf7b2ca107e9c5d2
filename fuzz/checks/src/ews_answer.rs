//! The parsers of EWS answers. Input: HTTP status (2 bytes), then the body.

use carillon_core::ews::{EwsError, response};
use carillon_core::ews::{MailEvent, StreamMessage, parse_stream_message};
use carillon_core::http1::{Head, Response};
use carillon_core::limits::{BACK_OFF_MS_MAX, DETAIL_TEXT_BYTES_MAX, ERROR_TEXT_BYTES_MAX};
use carillon_core::notice::MailDetails;
use carillon_core::time::Span;

use crate::input::Input;

/// Whatever a server sends, each parser answers, and what it brings along is bounded.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let status = 200 + input.u16() % 800;
    let body = input.rest();

    look_through(response::subscribe(body));
    look_through(response::unsubscribe(body));
    look_through(response::get_folder(body));
    look_through(response::sync_folder_items(body));
    for id in look_through(response::convert_id(body)).unwrap_or_default() {
        look_through(id);
    }
    for item in look_through(response::get_item(body)).unwrap_or_default() {
        if let Some(item) = look_through(item) {
            look_at_details(&item.details);
        }
    }
    if let Some(page) = look_through(response::find_item(body)) {
        assert!(page.items.len() <= body.len(), "each item has some bytes");
        page.items.iter().filter_map(|item| item.details.as_ref()).for_each(look_at_details);
    }
    if let Some(message) = look_through(parse_stream_message(body)) {
        look_at_message(&message, body.len());
    }

    let head = Head { status, content_type: "text/xml".into(), ..Head::default() };
    let answer = Response { head, body: body.to_vec(), took: Span::ZERO };
    match response::http(&answer) {
        Ok(soap) => assert!(status == 200 && soap == body),
        Err(error) => look_at_error(&error),
    }
}

fn look_at_message(message: &StreamMessage, body_bytes: usize) {
    let events = message.notifications.iter().map(|notification| notification.events.len()).sum::<usize>();
    assert!(events + message.notifications.len() + message.bad_ids.len() <= body_bytes);
    for notification in &message.notifications {
        let unclear = |pair: &[MailEvent]| pair == [MailEvent::Unclear, MailEvent::Unclear];
        assert!(!notification.events.windows(2).any(unclear), "one look tells as much as many");
    }
    if let Some(error) = &message.error {
        look_at_error(error);
    }
}

fn look_through<T>(answer: Result<T, EwsError>) -> Option<T> {
    answer.map_err(|error| look_at_error(&error)).ok()
}

fn look_at_error(error: &EwsError) {
    assert!(error.message.len() <= ERROR_TEXT_BYTES_MAX);
    assert!(error.back_off_ms.is_none_or(|ms| ms <= BACK_OFF_MS_MAX));
    let trouble = error.trouble();
    assert!(!trouble.code.is_empty() && trouble.code.len() <= ERROR_TEXT_BYTES_MAX);
    let _ = error.action();
}

fn look_at_details(details: &MailDetails) {
    for text in [&details.sender, &details.sender_address, &details.subject, &details.preview] {
        assert!(text.len() <= DETAIL_TEXT_BYTES_MAX);
    }
}
