//! `GET /ready`: each dependency; 503 if one is not ready. Without details, which name paths and
//! causes: anyone may ask. The internal listener and `keepgate status` show them.

use axum::Json;
use axum::extract::State;
use http::StatusCode;

use crate::observe::health::{Health, Report};

pub(in crate::api) async fn answer(State(health): State<Health>) -> (StatusCode, Json<Report>) {
    let report = health.ready().without_details();
    let status = if report.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report))
}
