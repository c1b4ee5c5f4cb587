//! The header lines of a head: where each is in the bytes that were judged, and the map that is made of them.
//! Nothing is copied: the map's values are slices of those bytes.

use bytes::Bytes;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use super::lines::split;
use super::refused::FramingRefused;

/// Room for those that are added on the way, so that the map need not grow for them.
const ADDED: usize = 10;

/// The header lines so far.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<Field>);

/// Where one header line is in the buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    name: (usize, usize),
    value: (usize, usize),
}

impl Field {
    /// Reads a line, which begins there in the buffer: its name, its value, and where they are.
    pub(super) fn read(line: &[u8], at: usize) -> Result<(&[u8], &[u8], Self), FramingRefused> {
        let (colon, start, end) = split(line)?;
        let (name, value) = (line.get(..colon), line.get(start..end));
        let field = Self { name: (at, at + colon), value: (at + start, at + end) };
        Ok((name.unwrap_or_default(), value.unwrap_or_default(), field))
    }
}

impl Fields {
    /// Makes room for so many lines.
    pub(super) fn reserve(&mut self, lines: usize) {
        self.0.reserve(lines);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes in one more.
    pub(super) fn push(&mut self, field: Field) {
        self.0.push(field);
    }

    /// The headers in exactly the head's bytes, but for those that `leave_out` names.
    pub(super) fn map(
        &self,
        head: &Bytes,
        leave_out: impl Fn(&[u8]) -> bool,
    ) -> Result<HeaderMap, FramingRefused> {
        let too_many = |_| FramingRefused::HeadTooLarge;
        let mut headers = HeaderMap::try_with_capacity(self.0.len() + ADDED).map_err(too_many)?;
        for Field { name, value } in &self.0 {
            let name = head.get(name.0..name.1).unwrap_or_default();
            if leave_out(name) {
                continue;
            }
            let name = HeaderName::from_bytes(name).map_err(|_| FramingRefused::Header)?;
            let value = HeaderValue::from_maybe_shared(head.slice(value.0..value.1));
            headers.try_append(name, value.map_err(|_| FramingRefused::Header)?).map_err(too_many)?;
        }
        Ok(headers)
    }
}
