//! Errors as callers see them: always the same JSON, never a secret, never a word from inside.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::types::{ErrorAnswer, ErrorView};
use crate::app::AppError;

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// The request is wrong: 400.
    Bad(Complaint),
    /// No token, or one that nobody knows: 401.
    Unauthorized,
    /// The token is known, but not enough: 403.
    Forbidden,
    /// There is no such thing: 404.
    NotFound {
        /// `user`, `device` or `path`.
        what: &'static str,
    },
    /// The path does not know this method: 405.
    MethodNotAllowed,
    /// The body did not come in time: 408.
    Slow,
    /// Something of the kind goes on already: 409.
    Conflict {
        /// What, as a sentence.
        message: &'static str,
    },
    /// The body is larger than allowed: 413.
    TooLarge {
        /// The bound, in bytes.
        bytes_max: usize,
    },
    /// The body is not of the type that is expected here: 415.
    MediaType {
        /// The type that is.
        expected: &'static str,
    },
    /// Too many requests: 429.
    TooMany {
        /// When to come again, in seconds.
        retry_s: u64,
    },
    /// It cannot be done at present: 503.
    Unavailable {
        /// When to come again, in seconds.
        retry_s: u64,
        /// What, as a sentence.
        message: &'static str,
    },
}

/// What is wrong with a request, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The member that is to blame, with its path (`settings.sound`); `None` when the body as a whole is.
    pub field: Option<String>,
    /// A sentence that says what is expected. It does not repeat the value: that may be a token.
    pub message: String,
}

impl Complaint {
    /// A complaint about one member.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Complaint {
        Complaint { field: Some(field.into()), message: message.into() }
    }

    /// A complaint about the whole.
    pub fn whole(message: impl Into<String>) -> Complaint {
        Complaint { field: None, message: message.into() }
    }
}

impl From<Complaint> for ApiError {
    fn from(complaint: Complaint) -> ApiError {
        ApiError::Bad(complaint)
    }
}

impl From<AppError> for ApiError {
    fn from(error: AppError) -> ApiError {
        // Why the store failed is in the log and in `/readyz`; it names files, which are nobody's business here.
        match error {
            AppError::Store(_) => ApiError::Unavailable {
                retry_s: 5,
                message: "the store cannot do it at present; nothing was changed, please try again",
            },
            AppError::Overloaded => ApiError::Unavailable {
                retry_s: 1,
                message: "too many changes wait for the store; nothing was changed, please try again",
            },
            AppError::Ending => ApiError::Unavailable {
                retry_s: 5,
                message: "the service is ending; please try again when it is back",
            },
        }
    }
}

impl ApiError {
    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            ApiError::Bad(_) => StatusCode::BAD_REQUEST,
            ApiError::Unauthorized => StatusCode::UNAUTHORIZED,
            ApiError::Forbidden => StatusCode::FORBIDDEN,
            ApiError::NotFound { .. } => StatusCode::NOT_FOUND,
            ApiError::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::Slow => StatusCode::REQUEST_TIMEOUT,
            ApiError::Conflict { .. } => StatusCode::CONFLICT,
            ApiError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            ApiError::MediaType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ApiError::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            ApiError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            ApiError::Bad(_) => "bad_request",
            ApiError::Unauthorized => "unauthorized",
            ApiError::Forbidden => "forbidden",
            ApiError::NotFound { .. } => "not_found",
            ApiError::MethodNotAllowed => "method_not_allowed",
            ApiError::Slow => "timeout",
            ApiError::Conflict { .. } => "conflict",
            ApiError::TooLarge { .. } => "too_large",
            ApiError::MediaType { .. } => "unsupported_media_type",
            ApiError::TooMany { .. } => "too_many_requests",
            ApiError::Unavailable { .. } => "unavailable",
        }
    }

    fn message(&self) -> String {
        match self {
            ApiError::Bad(complaint) => complaint.message.clone(),
            ApiError::Unauthorized => {
                "a valid token is needed, as in: Authorization: Bearer <token>".to_owned()
            }
            ApiError::Forbidden => "this needs the administrators' token".to_owned(),
            ApiError::NotFound { what } => format!("there is no such {what}"),
            ApiError::MethodNotAllowed => "this path does not know this method".to_owned(),
            ApiError::Slow => "the body did not come in time".to_owned(),
            ApiError::Conflict { message } | ApiError::Unavailable { message, .. } => (*message).to_owned(),
            ApiError::TooLarge { bytes_max } => format!("the body is larger than {bytes_max} bytes"),
            ApiError::MediaType { expected } => {
                format!("the body is expected as Content-Type: {expected}")
            }
            ApiError::TooMany { retry_s } => format!("too many requests; come again in {retry_s} s"),
        }
    }

    fn field(&self) -> Option<String> {
        match self {
            ApiError::Bad(complaint) => complaint.field.clone(),
            ApiError::Unauthorized
            | ApiError::Forbidden
            | ApiError::NotFound { .. }
            | ApiError::MethodNotAllowed
            | ApiError::Slow
            | ApiError::Conflict { .. }
            | ApiError::TooLarge { .. }
            | ApiError::MediaType { .. }
            | ApiError::TooMany { .. }
            | ApiError::Unavailable { .. } => None,
        }
    }

    fn retry_s(&self) -> Option<u64> {
        match self {
            ApiError::TooMany { retry_s } | ApiError::Unavailable { retry_s, .. } => Some(*retry_s),
            ApiError::Conflict { .. } => Some(10),
            ApiError::Bad(_)
            | ApiError::Unauthorized
            | ApiError::Forbidden
            | ApiError::NotFound { .. }
            | ApiError::MethodNotAllowed
            | ApiError::Slow
            | ApiError::TooLarge { .. }
            | ApiError::MediaType { .. } => None,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let answer = ErrorAnswer {
            error: ErrorView { code: self.code().to_owned(), field: self.field(), message: self.message() },
        };
        let mut response = (self.status(), axum::Json(answer)).into_response();
        let headers = response.headers_mut();
        if self == ApiError::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"carillon\""));
        }
        if let Some(retry_s) = self.retry_s() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_s));
        }
        response
    }
}
