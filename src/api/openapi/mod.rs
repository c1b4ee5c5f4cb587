//! The API's description (OpenAPI 3.1). Each handler carries its own part, and the router is built
//! from those parts (`utoipa_axum::routes!`): a path that is served is described and the other way
//! round. `docs/openapi.json` is this document; a test compares the two.
//!
//! What the answers to everybody share is in [`answers`]. Bodies are described by structs that
//! nothing else uses, beside the reader of each; a test holds them to the reader.

pub(in crate::api) mod answers;
pub(in crate::api) mod params;

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};

/// The name of the one security scheme.
const BEARER: &str = "bearer";

const DESCRIPTION: &str = "\
Accounts, sessions, profiles and documents. Every error is a problem document (RFC 9457) whose `type` and \
`errors[].code` are stable. Answers that Keepgate's edge may give to any request (401 for a bad token, 408, 421, 429, 431, 503 \
and others) are described with each operation that a client meets them at.";

/// The description without its paths, which come from the handlers.
pub(in crate::api) fn empty() -> OpenApi {
    let license = LicenseBuilder::new().name("MIT").identifier(Some("MIT"));
    let info = InfoBuilder::new()
        .title("Keepgate")
        .version("v1")
        .description(Some(DESCRIPTION))
        .license(Some(license.build()));
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("An access token (RFC 9068), from login or refresh."))
        .build();
    let components =
        answers::components(ComponentsBuilder::new()).security_scheme(BEARER, SecurityScheme::Http(scheme));
    let tag = |name, text| TagBuilder::new().name(name).description(Some(text)).build();
    OpenApiBuilder::new()
        .info(info.build())
        .components(Some(components.build()))
        .tags(Some([
            tag("auth", "Accounts, sessions and tokens."),
            tag("users", "What is kept for a person: profile and documents."),
            tag("administration", "For the role `admin`. Each look is in the audit log."),
            tag("node", "Keys, metadata, health."),
        ]))
        .build()
}
