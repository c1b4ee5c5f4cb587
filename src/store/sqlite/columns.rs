//! How values become columns and back. Integers of 64 bits without sign are stored with the same
//! bits; words are serde's, which `model` promises to keep.

use std::error::Error;
use std::str::FromStr;

use rusqlite::Row;
use rusqlite::types::{FromSql, Type};
use serde::de::value::{Error as NotAWord, StrDeserializer};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::time::Timestamp;

/// The name of an enum's variant, as serde writes it.
pub(super) fn word<T: Serialize>(variant: &T) -> String {
    // Only unit variants are asked for, and they serialise as a string.
    match serde_json::to_value(variant) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// A limit or an offset; what SQLite cannot count to is as good as no limit.
pub(super) fn bound(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// The variant of that name.
pub(super) fn variant<T: for<'de> Deserialize<'de>>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    convert(row, column, |text: String| T::deserialize(StrDeserializer::<NotAWord>::new(&text)))
}

/// A value that is stored as its text.
pub(super) fn parsed<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    convert(row, column, |text: String| text.parse())
}

/// As [`parsed`], where there may be none.
pub(super) fn maybe_parsed<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<T>>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    convert(row, column, |text: Option<String>| text.map(|text| text.parse()).transpose())
}

/// Values that are stored as their texts with commas between them; NULL and empty are none.
pub(super) fn listed<T, C>(row: &Row<'_>, column: &str) -> rusqlite::Result<C>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
    C: FromIterator<T>,
{
    convert(row, column, |text: Option<String>| {
        let text = text.unwrap_or_default();
        text.split(',').filter(|item| !item.is_empty()).map(str::parse).collect::<Result<C, _>>()
    })
}

/// An id.
pub(super) fn id(row: &Row<'_>, column: &str) -> rusqlite::Result<Uuid> {
    row.get(column).map(Uuid::from_bytes)
}

/// A time.
pub(super) fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_millis)
}

/// A number without sign.
pub(super) fn number(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    row.get(column).map(i64::cast_unsigned)
}

fn convert<S: FromSql, T, E: Error + Send + Sync + 'static>(
    row: &Row<'_>,
    column: &str,
    how: impl FnOnce(S) -> Result<T, E>,
) -> rusqlite::Result<T> {
    let index = row.as_ref().column_index(column)?;
    how(row.get(index)?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error)))
}
