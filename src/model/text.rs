//! Text that people give and other people are shown.

/// Whether a character commands whoever shows it, rather than being shown: the control characters, and those
/// that reorder what stands around them (UAX #9), so that a name could disguise what follows it. RFC 8265
/// and RFC 8266 keep both out of names.
pub fn commands(c: char) -> bool {
    let reorders =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || reorders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_is_told_from_what_joins_letters() {
        assert!("\n\u{1b}\u{9b}\u{202e}\u{2067}\u{200f}\u{61c}\u{2028}".chars().all(commands));
        // Persian and several scripts of India need the joiners.
        assert!(!"Zoë 王 محمد\u{200c}\u{200d}".chars().any(commands));
    }
}
