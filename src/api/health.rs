//! `GET /health`: alive. It asks no dependency, because a restart would mend none.

use axum::Json;
use axum::extract::State;
use utoipa::ToSchema;

use super::openapi::answers::Any;
use crate::observe::health::{Health, Report};

/// How the node stands.
#[derive(ToSchema)]
#[schema(as = Health)]
#[expect(dead_code, reason = "its schema describes observe::health::Report")]
pub(in crate::api) struct ReportSchema {
    status: StatusSchema,
    checks: Vec<CheckSchema>,
}

/// How a dependency stands.
#[derive(ToSchema)]
#[schema(as = Check)]
#[expect(dead_code, reason = "its schema describes observe::health::Check")]
pub(in crate::api) struct CheckSchema {
    name: String,
    status: StatusSchema,
    /// Empty for the public.
    detail: String,
}

/// `draining`: it finishes what is open.
#[derive(ToSchema)]
#[schema(as = Status, rename_all = "snake_case")]
#[expect(dead_code, reason = "its schema describes observe::health::Status")]
pub(in crate::api) enum StatusSchema {
    Ok,
    Failing,
    Draining,
}

/// Whether the node is alive.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "health",
    tag = "node",
    responses((status = 200, description = "It is.", body = ReportSchema), Any),
)]
pub(in crate::api) async fn answer(State(health): State<Health>) -> Json<Report> {
    Json(health.alive())
}
