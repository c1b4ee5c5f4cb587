//! The failures that operations share: each is described once and referred to. An operation names
//! the groups that it can end in ([`Any`], [`JsonBody`] …); what it lists after them wins.

use std::collections::BTreeMap;

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ComponentsBuilder, ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::model::problem;

/// One error answer (RFC 9457).
#[derive(ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "its schema describes model::problem::Problem; a test compares them")]
pub(in crate::api) struct ProblemSchema {
    /// `urn:keepgate:problem:<word>`; stable.
    #[schema(rename = "type", pattern = "^urn:keepgate:problem:[a-z-]+$")]
    kind: String,
    /// What kind of problem it is, for people.
    title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// This occurrence, and what to do about it.
    #[schema(nullable = false)]
    detail: Option<String>,
    /// `urn:uuid:<X-Request-Id>`
    #[schema(nullable = false)]
    instance: Option<String>,
    /// The fields at fault, if fields are.
    #[schema(inline, nullable = false)]
    errors: Option<Vec<FieldSchema>>,
}

/// One field at fault.
#[derive(ToSchema)]
#[schema(as = FieldProblem)]
#[expect(dead_code, reason = "its schema describes model::problem::FieldProblem")]
pub(in crate::api) struct FieldSchema {
    /// Its name, or a JSON Pointer.
    field: String,
    /// What is wrong with it; stable.
    code: String,
    /// What would be right.
    detail: String,
}

/// A shared failure: its name, its status, when it is given, and a header that is always on it.
struct Shared(&'static str, &'static str, &'static str, Option<(&'static str, &'static str, Type)>);

const ALL: &[Shared] = &[
    Shared("BadRequest", "400", "The request, a header or the body cannot be read.", None),
    Shared(
        "Unauthenticated",
        "401",
        "No good access token: none was sent, or it expired or was revoked, or the session has ended.",
        Some(("WWW-Authenticate", "The scheme that would do (RFC 6750 §3).", Type::String)),
    ),
    Shared("Forbidden", "403", "Not with these roles.", None),
    Shared("NotFound", "404", "There is no such thing, or it is not the caller's.", None),
    Shared("Timeout", "408", "The request came too slowly.", None),
    Shared("Conflict", "409", "It clashes with what is there, such as an address that is taken.", None),
    Shared(
        "PreconditionFailed",
        "412",
        "`If-Match` or `If-None-Match` does not hold: nothing was changed.",
        None,
    ),
    Shared("TooLarge", "413", "The body is longer than is taken here, or a quota is used up.", None),
    Shared("UriTooLong", "414", "The path or query is too long.", None),
    Shared(
        "UnsupportedMediaType",
        "415",
        "The body's `Content-Type` is another one, or not in UTF-8, or the body has a `Content-Encoding`.",
        None,
    ),
    Shared("ExpectationFailed", "417", "`Expect` asks for something else than 100-continue.", None),
    Shared("Misdirected", "421", "The connection is for another host.", None),
    Shared("Invalid", "422", "The input breaks rules; `errors` names every field at fault.", None),
    Shared(
        "TooManyRequests",
        "429",
        "More requests, logins or bad tokens than a limit allows.",
        Some(("Retry-After", "Seconds to wait.", Type::Integer)),
    ),
    Shared("HeadersTooLarge", "431", "The request's head is too large.", None),
    Shared("Internal", "500", "The request failed here; the log has the reason under its id.", None),
    Shared(
        "Unavailable",
        "503",
        "Overloaded, read-only or shutting down: nothing was changed.",
        Some(("Retry-After", "Seconds to wait.", Type::Integer)),
    ),
];

/// Adds every shared failure.
pub(in crate::api) fn components(components: ComponentsBuilder) -> ComponentsBuilder {
    let described = |Shared(name, _, text, header): &Shared| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let mut response = ResponseBuilder::new().description(*text).content(problem::CONTENT_TYPE, content);
        if let Some((name, text, kind)) = header {
            let schema = ObjectBuilder::new().schema_type(kind.clone()).build();
            response = response
                .header(*name, HeaderBuilder::new().schema(Some(schema)).description(Some(*text)).build());
        }
        ((*name).to_owned(), response.build())
    };
    components.schema_from::<ProblemSchema>().responses_from_iter(ALL.iter().map(described))
}

fn refer(statuses: &[&str]) -> BTreeMap<String, RefOr<Response>> {
    let named = |Shared(name, status, ..): &Shared| {
        ((*status).to_owned(), RefOr::Ref(Ref::from_response_name(*name)))
    };
    ALL.iter().filter(|Shared(_, status, ..)| statuses.contains(status)).map(named).collect()
}

macro_rules! groups {
    ($($(#[$doc:meta])* $name:ident: $($status:literal),+;)+) => {$(
        $(#[$doc])*
        pub(in crate::api) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                refer(&[$($status),+])
            }
        }
    )+};
}

groups! {
    /// What any request can end in, before or whatever it asks.
    Any: "400", "408", "413", "414", "417", "421", "429", "431", "500", "503";
    /// A caller was asked for, or credentials.
    Bearer: "401";
    /// A body in JSON was asked for.
    JsonBody: "415", "422";
    /// Input other than a body was.
    Input: "422";
    /// The thing may not be there.
    Missing: "404";
    /// The request may have conditions.
    Conditional: "412";
    /// It may clash with what is there.
    Taken: "409";
    /// A role was asked for.
    Restricted: "403";
}
