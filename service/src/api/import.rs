//! Many registrations at once: one JSON object a line.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::{Extension, Json};
use carillon_core::time::UnixMillis;
use tokio::time::Instant;

use super::error::{ApiError, Complaint};
use super::lines::{Line, Lines};
use super::types::{ErrorAnswer, ImportAnswer, ImportError, RegisterRequest};
use super::{ApiState, body, registration, strict};
use crate::auth::Caller;
use crate::config::Config;
use crate::store::RegisterWrite;

/// The longest line, in bytes: a registration with a hundred VIP senders fits.
const LINE_BYTES_MAX: usize = 48 * 1024;

/// Registrations in one transaction.
const BATCH: usize = 1_000;

/// Refused lines that the answer lists one by one.
const ERRORS_LISTED_MAX: usize = 1_000;

/// The longest pause between two pieces of the body.
const PIECE_TIME: Duration = Duration::from_secs(30);

/// Register many devices.
///
/// The body is NDJSON: each line one registration with its `user` and `device`. A line that is wrong is listed in the
/// answer and does not keep the others from being stored. Registering again does no harm, so a broken import is simply
/// repeated. One import runs at a time.
#[utoipa::path(
    post,
    path = "/v1/devices/import",
    tag = "admin",
    request_body(content = RegisterRequest, content_type = "application/x-ndjson"),
    responses(
        (status = 200, description = "Every line was looked at.", body = ImportAnswer),
        (status = "default", description = "An error.", body = ErrorAnswer),
    ),
    security(("admin" = [])),
)]
pub async fn import(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Json<ImportAnswer>, ApiError> {
    body::expect_type(
        request.headers(),
        &["application/x-ndjson", "application/ndjson", "application/jsonl"],
    )?;
    let _only = state
        .importing
        .try_lock()
        .map_err(|_| ApiError::Conflict { message: "another import is running; please wait for its end" })?;
    let mut body = request.into_body();
    let mut import = Import::new(state.app.config(), state.now());
    let mut lines = Lines::new(LINE_BYTES_MAX);
    while let Some(data) = body::next(&mut body, Instant::now() + PIECE_TIME).await? {
        lines.feed(&data, |number, line| import.take(number, line));
        if import.batch.len() >= BATCH {
            flush(&state, &caller, &mut import).await?;
        }
    }
    lines.finish(|number, line| import.take(number, line));
    flush(&state, &caller, &mut import).await?;
    Ok(Json(import.answer))
}

async fn flush(state: &ApiState, caller: &Caller, import: &mut Import<'_>) -> Result<(), ApiError> {
    if import.batch.is_empty() {
        return Ok(());
    }
    for row in state.app.register(&caller.name, std::mem::take(&mut import.batch)).await? {
        if row.new_device {
            import.answer.created += 1;
        } else {
            import.answer.refreshed += 1;
        }
    }
    Ok(())
}

/// Lines in, registrations and complaints out.
struct Import<'a> {
    config: &'a Config,
    now: UnixMillis,
    batch: Vec<RegisterWrite>,
    answer: ImportAnswer,
}

impl<'a> Import<'a> {
    fn new(config: &'a Config, now: UnixMillis) -> Import<'a> {
        Import { config, now, batch: Vec::with_capacity(BATCH), answer: ImportAnswer::default() }
    }

    fn take(&mut self, number: u64, line: Line<'_>) {
        let checked = match line {
            Line::Whole(line) if line.trim_ascii().is_empty() => return,
            Line::Whole(line) => self.check(line),
            Line::TooLong => Err(Complaint::whole(format!("the line is longer than {LINE_BYTES_MAX} bytes"))),
        };
        self.answer.lines += 1;
        match checked {
            Ok(write) => self.batch.push(write),
            Err(complaint) => self.refuse(number, complaint),
        }
    }

    fn check(&mut self, line: &[u8]) -> Result<RegisterWrite, Complaint> {
        let request: RegisterRequest = strict::parse(line)?;
        registration::check(self.config, self.now, None, request)
    }

    fn refuse(&mut self, line: u64, complaint: Complaint) {
        self.answer.refused += 1;
        if self.answer.errors.len() < ERRORS_LISTED_MAX {
            let Complaint { field, message } = complaint;
            self.answer.errors.push(ImportError { line, field, message });
        } else {
            self.answer.errors_left_out += 1;
        }
    }
}
