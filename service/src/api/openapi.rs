//! The API's own description.

use axum::body::Bytes;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{devices, import, status, users};

/// The OpenAPI 3.1 document. A test compares it with the routes, both ways.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Carillon",
        description = "Push notifications for Exchange mail: registration of devices, and administration.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        devices::register,
        devices::active,
        devices::remove,
        users::read,
        users::stop,
        users::remove,
        import::import,
        status::status,
        status::healthz,
        status::readyz,
        status::metrics,
        status::openapi,
    ),
    modifiers(&Tokens),
)]
pub struct Document;

/// The document as JSON.
pub(super) fn document() -> Bytes {
    // Of texts and numbers alone: nothing in it cannot be written.
    Document::openapi().to_json().unwrap_or_default().into()
}

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let bearer = |description: &str| {
            SecurityScheme::Http(
                HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build(),
            )
        };
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("gateway", bearer("The token of the devices' gateway."));
        components.add_security_scheme("admin", bearer("The token of administrators."));
    }
}
