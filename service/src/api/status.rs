//! How the service does: for administrators, load balancers and Prometheus.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use carillon_core::ledger::{Ledger, Suppressed};
use carillon_core::names::UserKey;
use carillon_core::shard::{ANSWERS, Trouble};

use super::ApiState;
use super::types::{
    ErrorAnswer, HealthView, LatenciesView, LatencyView, LedgerView, PartView, ReadyView, StatusView,
    TroubleView, UnwatchedView,
};
use crate::directory::Health;
use crate::engine::Latency;

/// How long the answer of `/readyz` holds: many balancers may ask, and each look costs the store a read.
const READY_HOLDS: Duration = Duration::from_secs(1);

/// Users in trouble that are shown one by one.
const UNWATCHED_SHOWN: usize = 10;

/// How long the store may take to answer before it counts as not ready.
const PROBE_TIME: Duration = Duration::from_secs(2);

/// The state of the whole.
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "admin",
    responses(
        (status = 200, description = "The state.", body = StatusView),
        (status = "default", description = "An error.", body = ErrorAnswer),
    ),
    security(("admin" = [])),
)]
pub async fn status(State(state): State<ApiState>) -> Json<StatusView> {
    let (config, directory) = (state.app.config(), state.app.directory());
    let numbers = state.app.engine().numbers();
    let total = &numbers.total;
    let counts = directory.counts();
    Json(StatusView {
        users: counts.users,
        devices: counts.devices,
        live: counts.live,
        polling: counts.polling,
        unwatched: counts.unwatched,
        unwatched_first: unwatched_first(&state).await,
        stopped: total.users_stopped,
        streams: total.streams,
        lanes: total.lanes,
        pushes_in_flight: total.pushes_in_flight,
        users_ready: total.users_ready,
        ledger: ledger_view(&total.ledger),
        answers: ANSWERS.iter().zip(total.answers).map(|(name, n)| ((*name).to_owned(), n)).collect(),
        latency_us: LatenciesView {
            mail_to_written: latency_view(&numbers.mail_to_written),
            due_to_written: latency_view(&numbers.due_to_written),
            mail_to_accepted: latency_view(&numbers.mail_to_accepted),
        },
        mail_servers: parts(
            config.exchange.iter().map(|one| &*one.name),
            directory.mail_servers(),
            directory.mail_server_notes(),
        ),
        push_services: parts(config.push.iter().map(|one| &*one.name), directory.push_services(), Vec::new()),
        store: directory.store_trouble().map(|trouble| TroubleView::new(&trouble)),
        journal: directory.journal_trouble().map(|trouble| TroubleView::new(&trouble)),
        uptime_s: state.app.started().elapsed().as_secs(),
    })
}

/// The process is alive.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "health",
    responses((status = 200, description = "It is.", body = HealthView)),
)]
pub async fn healthz() -> Json<HealthView> {
    Json(HealthView { alive: true })
}

/// The service can do its work: the store answers and the engine runs.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    responses(
        (status = 200, description = "It can.", body = ReadyView),
        (status = 503, description = "It cannot; the parts that keep it from it are named.", body = ReadyView),
    ),
)]
pub async fn readyz(State(state): State<ApiState>) -> (StatusCode, Json<ReadyView>) {
    // Whoever comes while another looks waits for that look.
    let mut last = state.ready.lock().await;
    let view = match &*last {
        Some((at, view)) if at.elapsed() < READY_HOLDS => view.clone(),
        Some(_) | None => {
            let view = look(&state).await;
            *last = Some((Instant::now(), view.clone()));
            view
        }
    };
    let status = if view.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(view))
}

/// Prometheus metrics.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    responses(
        (
            status = 200,
            description = "All metrics, as OpenMetrics text. Without a token where `metrics_open` is set.",
            content_type = "application/openmetrics-text",
            body = String,
        ),
        (status = "default", description = "An error.", body = ErrorAnswer),
    ),
    security(("admin" = []), ()),
)]
pub async fn metrics(State(state): State<ApiState>) -> Response {
    const TYPE: HeaderValue =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([(header::CONTENT_TYPE, TYPE)], state.metrics.read().await).into_response()
}

/// This API, as an OpenAPI 3.1 document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "health",
    responses((status = 200, description = "The document.", content_type = "application/json", body = Object)),
)]
pub async fn openapi(State(state): State<ApiState>) -> Response {
    const TYPE: HeaderValue = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, TYPE)], state.openapi.clone()).into_response()
}

/// Their ids stand in the store alone. One that cannot be read now leaves the number.
async fn unwatched_first(state: &ApiState) -> Vec<UnwatchedView> {
    let (mut all, mut readable) = (Vec::new(), true);
    for (key, trouble) in state.app.directory().first_unwatched(UNWATCHED_SHOWN) {
        let mut user = None;
        if readable {
            let before = UserKey(key.0.saturating_sub(1));
            match tokio::time::timeout(PROBE_TIME, state.app.store().page(before, 1)).await {
                Ok(Ok(rows)) => {
                    user = rows.into_iter().find(|row| row.key == key).map(|row| row.id.as_str().to_owned());
                }
                Ok(Err(_)) | Err(_) => readable = false,
            }
        }
        all.push(UnwatchedView { user, number: key.0, trouble: TroubleView::new(&trouble) });
    }
    all
}

async fn look(state: &ApiState) -> ReadyView {
    let store = tokio::time::timeout(PROBE_TIME, state.app.store().probe()).await;
    let mut not_ready = Vec::new();
    if !matches!(store, Ok(Ok(()))) {
        not_ready.push("store".to_owned());
    }
    if !state.app.engine().is_running() {
        not_ready.push("engine".to_owned());
    }
    ReadyView { ready: not_ready.is_empty(), not_ready }
}

fn parts<'a>(
    names: impl Iterator<Item = &'a str>,
    healths: Vec<Health>,
    notes: Vec<Vec<Arc<Trouble>>>,
) -> Vec<PartView> {
    names
        .zip(healths)
        .zip(notes.into_iter().chain(std::iter::repeat(Vec::new())))
        .map(|((name, health), notes)| PartView {
            name: name.to_owned(),
            state: health.name().to_owned(),
            trouble: health.trouble().map(TroubleView::new),
            notes: notes.iter().map(|note| TroubleView::new(note)).collect(),
        })
        .collect()
}

fn latency_view(latency: &Latency) -> LatencyView {
    LatencyView {
        count: latency.count,
        p50: latency.p50_us,
        p90: latency.p90_us,
        p99: latency.p99_us,
        p999: latency.p999_us,
        max: latency.max_us,
    }
}

fn ledger_view(ledger: &Ledger) -> LedgerView {
    LedgerView {
        signalled: ledger.signalled,
        duplicate: ledger.duplicate,
        folded: ledger.folded,
        fetched: ledger.fetched,
        offered: ledger.offered,
        returned: ledger.returned,
        accepted: ledger.accepted,
        suppressed: Suppressed::ALL
            .iter()
            .zip(ledger.suppressed)
            .map(|(why, n)| (why.name().to_owned(), n))
            .collect(),
        superseded: ledger.superseded,
        expired: ledger.expired,
        waiting: ledger.waiting,
        in_flight: ledger.in_flight,
    }
}
