//! The HTTPS API: devices register here, administrators look and act, and `/metrics` is read.
//!
//! A request meets, in this order: the places for connections and the times that they have ([`places`], [`connection`]),
//! the route ([`routes`]), the token and its rate ([`access`]), the size and type of its body (`body`), strict JSON ([`strict`]),
//! the check of every value ([`registration`]); only then the store. Registrations are durable when the answer comes:
//! the writer hands them to the engine at once, or, when its queue is full, as soon as there is room; the caller
//! never has to know.

pub mod access;
mod body;
pub mod connection;
pub mod devices;
pub mod error;
pub mod import;
pub mod lines;
pub mod openapi;
pub mod paths;
pub mod places;
pub mod rate;
pub mod registration;
pub mod routes;
pub mod server;
pub mod status;
pub mod strict;
pub mod types;
pub mod users;

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use carillon_core::time::UnixMillis;
use tokio::sync::Mutex;

use crate::app::App;
use crate::bridge::Keeper;
use crate::clock;
use crate::metrics::Metrics;

/// Bounds of the API that are not in the configuration: nobody has a reason to change them, but tests.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at one time, as [`places::PlaceBounds::of`] shares them out. Each costs some 40 KiB.
    pub connections_max: usize,
    /// How long they last.
    pub times: connection::Times,
    /// For the TLS handshake.
    pub handshake_time: Duration,
    /// For the head of a request, and so also the longest rest of a connection between two requests.
    pub head_time: Duration,
    /// For the body of a request (an import has this long for each piece instead).
    pub body_time: Duration,
    /// Requests without a valid token per second, from one address: enough for mistakes, not for guessing.
    pub strangers_per_s: u32,
    /// The same for the routes that load balancers ask: whoever knocks too often elsewhere does not make the service look
    /// dead.
    pub health_per_s: u32,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            connections_max: 512,
            times: connection::Times {
                write_time: Duration::from_secs(20),
                stranger_time: Duration::from_secs(120),
                life_time: Duration::from_secs(600),
            },
            handshake_time: Duration::from_secs(10),
            head_time: Duration::from_secs(30),
            body_time: Duration::from_secs(15),
            strangers_per_s: 10,
            health_per_s: 50,
        }
    }
}

/// What the API shows of parts that it does not work with.
#[derive(Clone, Default)]
pub struct Extras {
    /// Who writes the engine's reports behind: for its numbers.
    pub keeper: Option<Arc<Keeper>>,
    /// Key of the hashes that name mails in payloads; callers need it to find a mail by its hash.
    pub item_key: Option<[u8; 16]>,
}

/// What all handlers share.
#[derive(Clone)]
pub struct ApiState(Arc<Shared>);

/// The parts of [`ApiState`].
pub struct Shared {
    app: Arc<App>,
    bounds: Bounds,
    rates: access::RateBounds,
    metrics: Metrics,
    item_key: Option<String>,
    /// This API's description: the same for everybody, and dear to make.
    openapi: Bytes,
    importing: Mutex<()>,
    ready: Mutex<Option<(Instant, types::ReadyView)>>,
}

impl ApiState {
    /// The API over `app`.
    pub fn new(app: Arc<App>, bounds: Bounds, extras: Extras, places: places::Places) -> ApiState {
        let hex = |key: [u8; 16]| format!("{:032x}", u128::from_be_bytes(key));
        ApiState(Arc::new(Shared {
            bounds,
            rates: access::RateBounds::new(&app, &bounds),
            metrics: Metrics::new(app.clone(), extras.keeper, Some(places)),
            item_key: extras.item_key.map(hex),
            openapi: openapi::document(),
            importing: Mutex::new(()),
            ready: Mutex::new(None),
            app,
        }))
    }

    fn now(&self) -> UnixMillis {
        clock::now()
    }
}

impl Deref for ApiState {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}
