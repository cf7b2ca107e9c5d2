//! Reading request bodies: of the right type, not too large, not too slow.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, header};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::error::ApiError;

/// How much of a body that is too large is read and thrown away, so that the caller, still writing, lives to see the
/// answer (a reset would take it from him).
const DRAIN_BYTES_MAX: usize = 1024 * 1024;

/// How long throwing away may take.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Reads the whole body of a request, in `time`.
pub(super) async fn read(mut body: Body, bytes_max: usize, time: Duration) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    let by = Instant::now() + time;
    while let Some(data) = next(&mut body, by).await? {
        if bytes.len() + data.len() > bytes_max {
            drain(body).await;
            return Err(ApiError::TooLarge { bytes_max });
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// The next piece of a body; `None` at its end.
pub(super) async fn next(body: &mut Body, by: Instant) -> Result<Option<Bytes>, ApiError> {
    loop {
        match timeout_at(by, body.frame()).await {
            Err(_) => return Err(ApiError::Slow),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => {
                return Err(super::error::Complaint::whole("the body broke off before its end").into());
            }
            Ok(Some(Ok(frame))) => {
                // Trailers say nothing to us.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Checks that the body is said to be of one of `types`; the first is the one to recommend.
pub(super) fn expect_type(headers: &HeaderMap, types: &[&'static str]) -> Result<(), ApiError> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if types.iter().any(|known| essence.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    Err(ApiError::MediaType { expected: types.first().copied().unwrap_or("application/json") })
}

async fn drain(mut body: Body) {
    let by = Instant::now() + DRAIN_TIME;
    let mut drained = 0;
    while drained < DRAIN_BYTES_MAX {
        match next(&mut body, by).await {
            Ok(Some(data)) => drained += data.len(),
            Ok(None) | Err(_) => return,
        }
    }
}

/// Whether a request's body was read to its end. Where it was not, the connection cannot be used again, and the answer
/// must say so: or the caller sends his next request into a connection that is about to close.
#[derive(Clone, Debug)]
pub(super) struct ReadToEnd(Arc<AtomicBool>);

impl ReadToEnd {
    /// Watches over `body`.
    pub(super) fn watch(body: Body) -> (Body, ReadToEnd) {
        let seen = ReadToEnd(Arc::new(AtomicBool::new(body.is_end_stream())));
        (Body::new(Watched { body, seen: seen.clone() }), seen)
    }

    /// Whether the end was seen.
    pub(super) fn is_done(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

struct Watched {
    body: Body,
    seen: ReadToEnd,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || self.body.is_end_stream() {
            self.seen.0.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
