//! Fuzz target: a change's bytes. Whatever is read is read again, as itself, from what is written of it.

use super::codec::{decode, encode, kind};
use crate::fuzzing::input::Input;

/// The codec over a kind and a payload.
pub fn target(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let number = u16::from_le_bytes(input.array());
    let Ok(change) = decode(number, input.rest()) else { return };
    assert_eq!(kind(&change), number);
    let mut written = Vec::new();
    encode(&change, &mut written);
    assert_eq!(decode(number, &written).as_ref(), Ok(&change), "it is another change after the journal");
}
