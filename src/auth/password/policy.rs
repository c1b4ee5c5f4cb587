//! What a new password must be: long enough and not guessable by looking at the account (NIST
//! SP 800-63B-4 §3.1.1.2). No composition rules, no expiry: they make passwords worse. Never asked
//! at login, so that raising the bar locks nobody out.

use crate::auth::error::FieldError;
use crate::config::accounts::Accounts;
use crate::model::email::Email;

use super::common::COMMON;

/// Words that say nothing, because everybody here knows them.
const CONTEXT: [&str; 3] = ["keepgate", WORDS[0], WORDS[1]];
/// Those of them that are everybody's.
const WORDS: [&str; 2] = ["password", "passwort"];

/// What the context must leave over, in letters, for the rest to count as a password.
const LEAST_REST: usize = 4;

/// The longest unit whose mere repetition is no password.
const LONGEST_UNIT: usize = 4;

/// The rules for new passwords.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    min: usize,
    max: usize,
}

impl Policy {
    /// The rules as configured.
    pub const fn new(config: &Accounts) -> Self {
        Self { min: config.password_min_length, max: config.password_max_length }
    }

    /// Every rule that a password (already normalised) breaks, as faults of `field`.
    pub fn faults(&self, field: &'static str, password: &str, email: Option<&Email>) -> Vec<FieldError> {
        let length = password.chars().count();
        if length > self.max {
            // Whatever else is wrong with it is not worth looking at megabytes.
            return vec![FieldError::new(field, "too_long", format!("use at most {} characters", self.max))];
        }
        let lower = password.to_lowercase();
        let mut faults = Vec::new();
        if length < self.min {
            let detail = format!("use at least {} characters; this has {length}", self.min);
            faults.push(FieldError::new(field, "too_short", detail));
        }
        if is_trivial(&lower) {
            let detail = "use more than a repetition or a sequence";
            faults.push(FieldError::new(field, "trivial", detail));
        } else if is_common(&lower) {
            faults.push(FieldError::new(field, "common", "this is one of the most used passwords"));
        }
        if let Some(detail) = context(&lower, email) {
            faults.push(FieldError::new(field, "context", detail));
        }
        faults
    }
}

fn is_common(lower: &str) -> bool {
    COMMON.binary_search(&lower).is_ok()
}

/// One short unit over and over, or characters that follow each other.
fn is_trivial(lower: &str) -> bool {
    let chars: Vec<char> = lower.chars().collect();
    let repeats = |unit: usize| chars.iter().zip(chars.iter().skip(unit)).all(|(a, b)| a == b);
    let repeated = (1..=LONGEST_UNIT.min(chars.len() / 2)).any(repeats);
    let steps = |by: i64| {
        chars.iter().zip(chars.iter().skip(1)).all(|(&a, &b)| {
            let wrapped = by == 1 && a == '9' && b == '0' || by == -1 && a == '0' && b == '9';
            wrapped || i64::from(u32::from(b)) - i64::from(u32::from(a)) == by
        })
    };
    chars.len() < 2 || repeated || steps(1) || steps(-1)
}

/// The account's address, a part of it, the service's name or the word itself, with next to nothing around it: what
/// is wrong with that.
fn context(lower: &str, email: Option<&Email>) -> Option<&'static str> {
    const OWN: &str = "use more than the e-mail address or the service's name";
    let mut words: Vec<&str> = CONTEXT.to_vec();
    if let Some((local, domain)) = email.and_then(|email| email.as_str().split_once('@')) {
        words.extend([local, domain]);
        words.extend(domain.split('.').filter(|label| label.len() > 3));
        words.extend(local.split(['.', '-', '_', '+']).filter(|part| part.len() > 3));
        if lower == local {
            return Some(OWN);
        }
    }
    words.retain(|word| word.chars().count() > 2);
    // Longest first, so that taking out a part does not hide the whole.
    words.sort_unstable_by_key(|word| std::cmp::Reverse(word.len()));
    let rest = words.iter().fold(lower.to_owned(), |rest, word| rest.replace(word, ""));
    if rest.len() == lower.len() || rest.chars().filter(|c| c.is_alphabetic()).count() >= LEAST_REST {
        return None;
    }
    let own = words.iter().any(|word| !WORDS.contains(word) && lower.contains(word));
    Some(if own { OWN } else { "use more than the word \"password\" and a few characters" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn codes(password: &str) -> Vec<&'static str> {
        let policy = Policy::new(&Accounts::default());
        let email: Email = "ada.lovelace@analytical.example".parse().unwrap();
        policy.faults("password", password, Some(&email)).into_iter().map(|f| f.code).collect()
    }

    #[test]
    fn length_is_counted_in_characters_not_bytes() {
        assert_eq!(codes("äöüßéèêëàá"), ["too_short"]);
        assert!(codes("äöüßéèêëàáçñ").is_empty());
        assert_eq!(codes(&"x9".repeat(200)), ["too_long"]);
    }

    #[test]
    fn composition_is_nobodys_business() {
        for password in ["correct horse battery", "the rain in spain", "729481650238", "…………·•…………—…"]
        {
            assert!(codes(password).is_empty(), "{password}");
        }
    }

    #[test]
    fn repetitions_and_sequences_are_trivial() {
        for password in
            ["aaaaaaaaaaaa", "abcabcabcabc", "12341234123412", "abcdefghijkl", "123456789012", "987654321098"]
        {
            assert!(codes(password).contains(&"trivial"), "{password}");
        }
    }

    #[test]
    fn what_anybody_would_try_first_is_refused() {
        assert_eq!(codes("QwertyUiop123"), ["common"]);
        for password in [
            "ada.lovelace@analytical.example",
            "Ada.Lovelace",
            "lovelace1815!",
            "keepgate2026!",
            "keepgate-keepgate",
            "Password-1234",
            "analytical.example1",
        ] {
            assert!(codes(password).contains(&"context"), "{password}: {:?}", codes(password));
        }
        assert!(codes("lovelace wrote the first programme").is_empty());
    }

    #[test]
    fn what_is_refused_is_what_it_holds() {
        let policy = Policy::new(&Accounts::default());
        let email: Email = "ada@analytical.example".parse().unwrap();
        let detail = |password| policy.faults("password", password, Some(&email)).pop().unwrap().detail;
        assert_eq!(detail("password1234"), "use more than the word \"password\" and a few characters");
        for own in ["keepgate-2026", "password-keepgate", "analytical1815"] {
            assert_eq!(detail(own), "use more than the e-mail address or the service's name", "{own}");
        }
    }

    #[test]
    fn the_list_of_common_passwords_is_sorted_and_lower_case() {
        assert!(COMMON.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(COMMON.iter().all(|word| *word == word.to_lowercase()));
    }

    proptest! {
        #[test]
        fn any_text_gets_an_answer(password in any::<String>()) {
            let _ = codes(&password);
        }
    }
}
