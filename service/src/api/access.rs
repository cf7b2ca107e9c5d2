//! Who may do what, and how often.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;

use super::connection::{NOWHERE, Origin};
use super::error::ApiError;
use super::rate::{ByAddress, RateBound};
use super::{ApiState, Bounds};
use crate::app::App;
use crate::auth::{Caller, Role};

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

/// How often somebody may call.
#[derive(Debug)]
pub(super) struct RateBounds {
    /// By [`Caller::at`].
    tokens: Box<[RateBound]>,
    strangers: ByAddress,
    health: ByAddress,
}

impl RateBounds {
    pub(super) fn new(app: &App, bounds: &Bounds) -> RateBounds {
        let requests_per_s = app.config().api.requests_per_s;
        RateBounds {
            tokens: (0..app.auth().count()).map(|_| RateBound::new(requests_per_s)).collect(),
            strangers: ByAddress::new(bounds.strangers_per_s),
            health: ByAddress::new(bounds.health_per_s),
        }
    }

    fn of(&self, caller: Option<&Caller>, address: IpAddr, route: Option<&str>) -> Option<&RateBound> {
        match (caller, route) {
            (Some(caller), _) => self.tokens.get(caller.at),
            (None, Some("/healthz" | "/readyz")) => Some(self.health.of(address)),
            (None, _) => Some(self.strangers.of(address)),
        }
    }
}

/// Says who calls, for whoever handles the request, and lets through what does not come too often: whatever its path and
/// method, and whether they exist. Strangers have no bound in common with callers whose token is known, however many knock.
pub(super) fn admit(state: &ApiState, request: &mut Request, route: Option<&str>) -> Result<(), ApiError> {
    let caller = bearer(request.headers()).and_then(|token| state.app.auth().caller(token)).cloned();
    let origin = request.extensions().get::<Origin>();
    let address = origin.map_or(NOWHERE, Origin::address);
    if let (Some(_), Some(origin)) = (&caller, origin) {
        origin.know();
    }
    let bound = state.rates.of(caller.as_ref(), address, route);
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    bound.map_or(Ok(()), RateBound::take).map_err(|retry_s| ApiError::TooMany { retry_s })
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
        let caller = request.extensions().get::<Caller>().ok_or(ApiError::Unauthorized)?;
        if caller.role < needed {
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
