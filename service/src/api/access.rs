//! Who may do what, and how often.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;

use super::ApiState;
use super::error::ApiError;
use super::rate::RateBound;
use crate::auth::Role;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// The devices' gateway, and administrators.
    Gateway,
    /// Administrators.
    Admin,
    /// Administrators, or everybody where `metrics_open` says so.
    Metrics,
}

/// How often each role may call.
#[derive(Debug)]
pub(super) struct RateBounds {
    gateway: RateBound,
    admin: RateBound,
    strangers: RateBound,
}

impl RateBounds {
    pub(super) fn new(requests_per_s: u32, strangers_per_s: u32) -> RateBounds {
        RateBounds {
            gateway: RateBound::new(requests_per_s),
            admin: RateBound::new(requests_per_s),
            strangers: RateBound::new(strangers_per_s),
        }
    }
}

/// Lets a request through to its handler, or not.
pub(super) async fn guard(
    State((state, access)): State<(ApiState, Access)>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let needed = match access {
        Access::Open => None,
        Access::Metrics if state.app.config().api.metrics_open => None,
        Access::Gateway => Some(Role::Gateway),
        Access::Admin | Access::Metrics => Some(Role::Admin),
    };
    if let Some(needed) = needed {
        let role = bearer(request.headers()).and_then(|token| state.app.auth().role(token));
        let Some(role) = role else {
            // Rightful callers never see this bound, however many strangers knock.
            state.rates.strangers.take().map_err(|retry_s| ApiError::TooMany { retry_s })?;
            return Err(ApiError::Unauthorized);
        };
        let bound = match role {
            Role::Gateway => &state.rates.gateway,
            Role::Admin => &state.rates.admin,
        };
        bound.take().map_err(|retry_s| ApiError::TooMany { retry_s })?;
        if role < needed {
            return Err(ApiError::Forbidden);
        }
    }
    Ok(next.run(request).await)
}

/// The token of exactly one `Authorization: Bearer` header (RFC 6750 §2.1; the scheme in any case, RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let value = all.next()?.to_str().ok()?;
    if all.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_token_comes_from_one_bearer_header() {
        let headers = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            headers
        };
        assert_eq!(bearer(&headers(&["Bearer abc"])), Some("abc"));
        assert_eq!(bearer(&headers(&["bEARER  abc "])), Some("abc"));
        for none in [&["Basic abc"][..], &["Bearer"], &["Bearer "], &["abc"], &[], &["Bearer a", "Bearer a"]]
        {
            assert_eq!(bearer(&headers(none)), None, "{none:?}");
        }
    }
}
