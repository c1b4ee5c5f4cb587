//! The parameters that operations share, described once.

use utoipa::IntoParams;
use uuid::Uuid;

/// A document's key.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes what `KeyPath` reads; a test compares the pattern")]
pub(in crate::api) struct KeyParam {
    /// The document's key.
    #[param(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    key: String,
}

/// An account's id.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes what `AccountPath` reads")]
pub(in crate::api) struct AccountParam {
    /// The account's id.
    id: Uuid,
}

/// Entity tags (RFC 9110 §13.1).
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes what `Conditions` reads")]
pub(in crate::api) struct ConditionParams {
    /// Only if what is there is one of these versions; `*`: any.
    #[param(rename = "If-Match", nullable = false, pattern = r#"^(\*|(W/)?"[!#-~]*"(, *(W/)?"[!#-~]*")*)$"#)]
    if_match: Option<String>,
    /// Not if what is there is one of these versions; `*`: any. A read is then answered with 304.
    #[param(
        rename = "If-None-Match",
        nullable = false,
        pattern = r#"^(\*|(W/)?"[!#-~]*"(, *(W/)?"[!#-~]*")*)$"#
    )]
    if_none_match: Option<String>,
}

/// A page of documents.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `Page` reads; a test compares the pattern")]
pub(in crate::api) struct KeyPageParams {
    /// The `next` of the page before.
    #[param(nullable = false, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    after: Option<String>,
    /// Entries of the page; 100 if left out.
    #[param(nullable = false, minimum = 1, maximum = 100)]
    limit: Option<u32>,
}

/// A page of accounts.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what `Page` reads")]
pub(in crate::api) struct AccountPageParams {
    /// The `next` of the page before.
    #[param(nullable = false)]
    after: Option<Uuid>,
    /// Entries of the page; 100 if left out.
    #[param(nullable = false, minimum = 1, maximum = 100)]
    limit: Option<u32>,
}
