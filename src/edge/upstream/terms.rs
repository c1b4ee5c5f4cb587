//! How long a server is ejected for, and how much it gets after it came back.

use std::time::Duration;

use super::state::{WHOLE, millis};
use crate::config::upstream::Passive;

/// What a server that has just come back gets of it.
const FIRST: u32 = WHOLE / 10;
/// Longest ejection; `fail_timeout`, if that is longer.
const LONGEST: Duration = Duration::from_secs(300);

/// How long the ejection of this number on end lasts.
pub fn ejection(rule: &Passive, times: u32) -> u64 {
    let first = millis(rule.fail_timeout).max(1);
    let doubled = 1_u64.checked_shl(times.saturating_sub(1)).unwrap_or(u64::MAX);
    first.saturating_mul(doubled).min(millis(LONGEST).max(first))
}

/// What a server gets so long after it came back.
pub fn risen(elapsed: u64, slow_start: u64) -> u32 {
    let part = elapsed.saturating_mul(u64::from(WHOLE)).checked_div(slow_start).unwrap_or(u64::MAX);
    u32::try_from(part).unwrap_or(WHOLE).clamp(FIRST, WHOLE)
}
