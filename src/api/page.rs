//! `?after=…&limit=…`: where a page of a list starts, and how long it is at most.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;

use super::error::Failure;
use crate::model::problem::FieldProblem;

/// Entries of a page where the request does not say, and at most.
pub(in crate::api) const LONGEST: usize = 100;

/// A page of a list whose entries are in order of a `T`.
pub(in crate::api) struct Page<T> {
    /// The last entry of the page before.
    pub after: Option<T>,
    /// 1 to [`LONGEST`].
    pub limit: usize,
}

impl<T> Page<T> {
    /// Cuts one entry too many off a list, and says whether it was there: then there are more.
    pub fn cut<E>(&self, mut entries: Vec<E>) -> (Vec<E>, bool) {
        let more = entries.len() > self.limit;
        entries.truncate(self.limit);
        (entries, more)
    }
}

impl<S: Sync, T> FromRequestParts<S> for Page<T>
where
    T: FromStr<Err: std::fmt::Display>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        // Nothing cannot be read as pairs: what is no escape stands for itself.
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map(|Query(pairs)| pairs);
        let mut faults = Vec::new();
        let (mut after, mut limit) = (None, None);
        for (name, value) in pairs.unwrap_or_default() {
            match name.as_str() {
                "after" if after.is_none() => match value.parse::<T>() {
                    Ok(value) => after = Some(value),
                    Err(error) => faults.push(FieldProblem::new("after", "invalid", error.to_string())),
                },
                "limit" if limit.is_none() => match value.parse() {
                    Ok(number) if (1..=LONGEST).contains(&number) => limit = Some(number),
                    _ => {
                        let detail = format!("use a number from 1 to {LONGEST}");
                        faults.push(FieldProblem::new("limit", "invalid", detail));
                    }
                },
                "after" => {
                    faults.push(FieldProblem::new("after", "duplicate", "this parameter is there twice"))
                }
                "limit" => {
                    faults.push(FieldProblem::new("limit", "duplicate", "this parameter is there twice"))
                }
                _ => {
                    let shown: String = name.chars().take(64).collect();
                    faults.push(FieldProblem::new(shown, "unknown", "this parameter is not known here"));
                }
            }
        }
        faults.truncate(16);
        if faults.is_empty() {
            Ok(Self { after, limit: limit.unwrap_or(LONGEST) })
        } else {
            Err(Failure::fields(faults))
        }
    }
}
