//! `keepgate check`: everything that is wrong with the configuration, here and now.

use std::process::ExitCode;

use serde_json::json;

use super::output;
use super::place::Place;

pub(super) fn run(place: &Place, json: bool) -> anyhow::Result<ExitCode> {
    let config = place.surveyed()?;
    let file = place.name();
    let (routes, upstreams) = (config.routes.len(), config.upstreams.len());
    let text = if json {
        output::pretty(&json!({ "file": file, "ok": true, "routes": routes, "upstreams": upstreams }))?
    } else {
        let (routes, upstreams) = (output::count(routes, "route"), output::count(upstreams, "upstream"));
        format!("{file} is good: {routes}, {upstreams}\n")
    };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
