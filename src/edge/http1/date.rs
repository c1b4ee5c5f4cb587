//! The `Date` of responses (RFC 9110 §5.6.7), written once a second.

use std::cell::Cell;

use time::OffsetDateTime;

use crate::model::time::SharedClock;

/// `Sun, 06 Nov 1994 08:49:37 GMT`
pub type Text = [u8; 29];

/// The date as of this second.
pub struct Dates {
    clock: SharedClock,
    last: Cell<(i64, Text)>,
}

impl Dates {
    /// By this clock.
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, last: Cell::new((i64::MIN, [b' '; 29])) }
    }

    /// Now.
    pub fn now(&self) -> Text {
        let (second, text) = self.last.get();
        let now = self.clock.now().as_secs();
        if second == now {
            return text;
        }
        let text = written(now);
        self.last.set((now, text));
        text
    }
}

fn written(second: i64) -> Text {
    let at = OffsetDateTime::from_unix_timestamp(second).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    // The first three letters of both names are their abbreviations in the standard.
    let (day, month) = (at.weekday().to_string(), at.month().to_string());
    let (year, (hour, minute, second)) = (at.year(), at.to_hms());
    let text =
        format!("{day:.3}, {:02} {month:.3} {year:04} {hour:02}:{minute:02}:{second:02} GMT", at.day());
    text.into_bytes().try_into().unwrap_or([b' '; 29])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_the_standard_has_them() {
        for (second, text) in
            [(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT")]
        {
            assert_eq!(written(second), text.as_bytes());
        }
    }
}
