//! PROXY headers, fuzzed: whatever the bytes, a header is read to its end and no further, within bounds, and what
//! it says of a client is in it.

use super::header::{Step, Told, crc32c, read};

/// No header may ask for more than this: version 2's head and its longest block.
const MOST: usize = 16 + 4096;

/// A connection's bytes. A first byte of 0xff asks for a right checksum in the last four.
pub fn target(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0xff, rest)) => one(&summed(rest)),
        _ => one(bytes),
    }
}

/// With the checksum of the rest in the last four bytes.
fn summed(bytes: &[u8]) -> Vec<u8> {
    let mut summed = bytes.to_vec();
    let sum = summed.len().checked_sub(4);
    if let Some(place) = sum.and_then(|at| summed.get_mut(at..)) {
        place.fill(0);
    }
    let crc = crc32c(summed.iter().copied()).to_be_bytes();
    if let Some(place) = sum.and_then(|at| summed.get_mut(at..)) {
        place.copy_from_slice(&crc);
    }
    summed
}

fn one(bytes: &[u8]) {
    let mut have = 0;
    loop {
        let Some(header) = bytes.get(..have) else { return };
        match read(header) {
            Ok(Step::More(more)) => {
                assert!(more > 0 && have + more <= MOST, "it asks for {more} after {have}");
                have += more;
            }
            Ok(Step::Done(told)) => return agrees(header, told),
            Err(_) => return,
        }
    }
}

/// A client that was told of stands in the bytes: as text in version 1, as octets in version 2.
fn agrees(header: &[u8], told: Told) {
    let Told::Client(address) = told else { return };
    assert!(address == address.to_canonical(), "{address} has another form");
    if header.starts_with(b"PROXY ") {
        let text = String::from_utf8_lossy(header);
        let source = text.split(' ').nth(2).and_then(|word| word.parse::<std::net::IpAddr>().ok());
        assert!(source.map(|source| source.to_canonical()) == Some(address), "{text:?} is not {address}");
        assert!(header.ends_with(b"\r\n") && header.len() <= 107, "{text:?}");
    } else {
        let octets = match address {
            std::net::IpAddr::V4(address) => address.octets().to_vec(),
            std::net::IpAddr::V6(address) => address.octets().to_vec(),
        };
        let holds = header.windows(octets.len()).any(|window| window == octets);
        assert!(holds, "{address} is not in {header:?}");
    }
}
