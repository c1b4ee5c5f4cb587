//! `GET /ready`: each dependency; 503 if one is not ready. Without details, which name paths and
//! causes: anyone may ask. The internal listener and `keepgate status` show them.

use axum::Json;
use axum::extract::State;
use http::StatusCode;

use super::health::ReportSchema;
use super::openapi::answers::{Any, ProblemSchema};
use crate::observe::health::{Health, Report};

/// Whether the node can do its work.
#[utoipa::path(
    get,
    path = "/ready",
    operation_id = "ready",
    tag = "node",
    responses(
        (status = 200, description = "It can.", body = ReportSchema),
        Any,
        (
            status = 503,
            description = "It cannot: a check fails, or it is draining; or it answers nobody now.",
            content((ReportSchema = "application/json"), (ProblemSchema = "application/problem+json")),
        ),
    ),
)]
pub(in crate::api) async fn answer(State(health): State<Health>) -> (StatusCode, Json<Report>) {
    let report = health.ready().without_details();
    let status = if report.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report))
}
