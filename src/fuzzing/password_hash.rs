//! Stored and imported password hashes: believed within bounds, so that none costs more than the
//! configuration allows, and never a panic in argon2.

use crate::auth::password::hash::{Arena, Parameters};
use crate::config::passwords::Passwords;
use crate::model::account::PasswordHash;

/// The most a stored hash may ask for, as `hash.rs` says it.
const MOST: [(&str, u32); 3] = [("m=", 64 * 1024), ("t=", 10), ("p=", 8)];
/// Hashes of more KiB times passes are not computed here: a fuzzer has no time for them.
const WORTH: u32 = 64;

/// `auth/password/hash.rs` over any stored text.
pub fn target(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let small = Passwords { memory_kib: 8, iterations: 1, parallelism: 1, ..Passwords::default() };
    let Ok(parameters) = Parameters::new(&small) else { panic!("argon2id has these parameters") };
    let Ok(stored) = parameters.read(&PasswordHash(text.to_owned())) else { return };
    assert!(text.starts_with("$argon2id$v=19$"), "{text:?}");
    let written = text.split('$').nth(3).unwrap_or_default();
    let mut cost = [0; 3];
    for ((key, most), cost) in MOST.iter().zip(&mut cost) {
        // Of a parameter that stands twice the last one counts.
        let value =
            written.rsplit(',').find_map(|pair| pair.strip_prefix(key)).and_then(|text| text.parse().ok());
        // A parameter that is left out has argon2's default, which is within the bounds.
        *cost = value.unwrap_or(1);
        assert!(*cost <= *most, "{text:?} was believed");
    }
    let [memory, passes, _] = cost;
    if written.contains("m=") && memory.saturating_mul(passes) <= WORTH {
        let mut arena = Arena::default();
        let once = parameters.verify(&stored, b"password", &mut arena);
        assert_eq!(once, parameters.verify(&stored, b"password", &mut arena), "{text:?}");
    }
}
