//! `GET /health`: alive. It asks no dependency, because a restart would mend none.

use axum::Json;
use axum::extract::State;

use crate::observe::health::{Health, Report};

pub(in crate::api) async fn answer(State(health): State<Health>) -> Json<Report> {
    Json(health.alive())
}
