//! Every route, in one table: the router is built from it, and nothing else adds one.

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post, put};

use super::access::{Access, admit, guard};
use super::body::ReadToEnd;
use super::connection::Origin;
use super::error::ApiError;
use super::{ApiState, devices, import, status, users};

/// A route.
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path, with parameters in braces.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
    handler: MethodRouter<ApiState>,
}

/// All routes.
pub fn table() -> Vec<Route> {
    let route = |method, path, access, handler| Route { method, path, access, handler };
    const DEVICE: &str = "/v1/users/{user}/devices/{device}";
    const USER: &str = "/v1/users/{user}";
    vec![
        route(Method::PUT, DEVICE, Access::Gateway, put(devices::register)),
        route(Method::DELETE, DEVICE, Access::Gateway, delete(devices::remove)),
        route(
            Method::POST,
            "/v1/users/{user}/devices/{device}/active",
            Access::Gateway,
            post(devices::active),
        ),
        route(Method::GET, USER, Access::Gateway, get(users::read)),
        route(Method::DELETE, USER, Access::Admin, delete(users::remove)),
        route(Method::POST, "/v1/users/{user}/stop", Access::Admin, post(users::stop)),
        route(Method::POST, "/v1/devices/import", Access::Admin, post(import::import)),
        route(Method::GET, "/v1/status", Access::Admin, get(status::status)),
        route(Method::GET, "/metrics", Access::Metrics, get(status::metrics)),
        route(Method::GET, "/healthz", Access::Open, get(status::healthz)),
        route(Method::GET, "/readyz", Access::Open, get(status::readyz)),
        route(Method::GET, "/openapi.json", Access::Open, get(status::openapi)),
    ]
}

/// The router over all routes: the API without its socket.
pub fn router(state: ApiState) -> Router {
    let mut router = Router::new();
    for Route { method: _, path, access, handler } in table() {
        // `route_layer`: a method that a path does not know is answered before anybody asks for a token.
        let guarded = handler.route_layer(middleware::from_fn_with_state((state.clone(), access), guard));
        router = router.route(path, guarded);
    }
    router
        .fallback(async || ApiError::NotFound { what: "path" })
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(state.clone(), observe))
        .with_state(state)
}

/// Bounds and counts each request by its route, and puts on what every answer has.
async fn observe(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = known_method(request.method());
    let is_old = request.extensions().get::<Origin>().is_some_and(Origin::is_old);
    let admitted = admit(&state, &mut request, route.as_ref().map(MatchedPath::as_str));
    let (request, body_read) = {
        let (head, body) = request.into_parts();
        let (body, body_read) = ReadToEnd::watch(body);
        (Request::from_parts(head, body), body_read)
    };
    let mut response = match admitted {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    let route = route.as_ref().map_or("unknown", MatchedPath::as_str);
    state.metrics.count_request(method, route, response.status().as_u16());
    tracing::debug!(method, route, status = response.status().as_u16(), "request answered");
    let headers = response.headers_mut();
    if is_old || !body_read.is_done() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A caller may invent methods; each would be a new series in the metrics.
fn known_method(method: &Method) -> &'static str {
    const KNOWN: [&str; 6] = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}
