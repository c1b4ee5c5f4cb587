//! Problem details (RFC 9457): the one shape of every error answer, whether the edge or the API
//! makes it. Plain data; turning it into a response is theirs.
//!
//! `type` is a URN that never changes once published; everything a program should act on is in
//! `type`, `status` and `errors[].code`. `title` and `detail` are for people. Internal text (paths,
//! SQL, other errors' messages) never goes in.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::id::RequestId;

/// `Content-Type` of a problem.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// One error answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:keepgate:problem:<word>`.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// What kind of problem it is: the same words for every occurrence.
    pub title: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// This occurrence, and what to do about it.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub detail: Cow<'static, str>,
    /// The request: `urn:uuid:<X-Request-Id>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The fields at fault, if fields are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
}

/// One field at fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldProblem {
    /// The field's name as the client wrote it (`password`), or a JSON Pointer for nested ones.
    pub field: Cow<'static, str>,
    /// A stable word: `missing`, `too_short`, `taken` …
    pub code: Cow<'static, str>,
    /// What is wrong and what would be right.
    pub detail: Cow<'static, str>,
}

impl Problem {
    /// A problem of the kind `urn:keepgate:problem:<word>`. `word` is lower-case with hyphens.
    pub fn new(status: u16, word: &str, title: &'static str) -> Self {
        Self {
            kind: Cow::Owned(format!("urn:keepgate:problem:{word}")),
            title: Cow::Borrowed(title),
            status,
            detail: Cow::Borrowed(""),
            instance: None,
            errors: Vec::new(),
        }
    }

    /// Says what is the matter this time.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Names the request.
    #[must_use]
    pub fn instance(mut self, request: RequestId) -> Self {
        self.instance = Some(format!("urn:uuid:{request}"));
        self
    }

    /// Adds a field at fault.
    #[must_use]
    pub fn field(mut self, error: FieldProblem) -> Self {
        self.errors.push(error);
        self
    }
}

impl FieldProblem {
    /// A field at fault.
    pub fn new(
        field: impl Into<Cow<'static, str>>,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { field: field.into(), code: code.into(), detail: detail.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_problem_carries_no_empty_members() {
        let json = serde_json::to_value(Problem::new(404, "not-found", "Not found")).unwrap();
        let expected = serde_json::json!({
            "type": "urn:keepgate:problem:not-found", "title": "Not found", "status": 404,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn fields_at_fault_and_the_request_are_named() {
        let id: RequestId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let problem = Problem::new(422, "invalid", "Invalid input")
            .detail("one field is wrong")
            .instance(id)
            .field(FieldProblem::new("password", "too_short", "use at least 12 characters"));
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(json["instance"], "urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057");
        assert_eq!(json["errors"][0]["code"], "too_short");
        assert_eq!(serde_json::from_value::<Problem>(json).unwrap(), problem);
    }
}
