//! The heads of HTTP/2's frames, read out of a stream of bytes as it passes (RFC 9113 §4.1). Payloads are passed
//! over, but for their first bytes; nothing is allocated, whatever the bytes say.

/// Bytes of a frame's head.
const HEAD: usize = 9;
/// Bytes of a payload that are looked at.
const START: usize = 8;

/// DATA
pub const DATA: u8 = 0x0;
/// HEADERS
pub const HEADERS: u8 = 0x1;
/// PRIORITY
pub const PRIORITY: u8 = 0x2;
/// RST_STREAM
pub const RST_STREAM: u8 = 0x3;
/// SETTINGS
pub const SETTINGS: u8 = 0x4;
/// PING
pub const PING: u8 = 0x6;
/// GOAWAY
pub const GOAWAY: u8 = 0x7;
/// WINDOW_UPDATE
pub const WINDOW_UPDATE: u8 = 0x8;
/// CONTINUATION
pub const CONTINUATION: u8 = 0x9;

/// END_STREAM of DATA and HEADERS, ACK of SETTINGS and PING.
const FIRST_FLAG: u8 = 0x1;
/// END_HEADERS of HEADERS and CONTINUATION.
const END_HEADERS: u8 = 0x4;
/// PADDED
const PADDED: u8 = 0x8;

/// A frame's head, and how its payload begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Bytes of payload.
    pub length: usize,
    /// What it is.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream, or 0.
    pub stream: u32,
    /// The payload's first bytes, as many as there are.
    pub start: [u8; START],
}

impl Frame {
    /// Whether DATA or HEADERS end their stream.
    pub const fn ends_stream(&self) -> bool {
        self.flags & FIRST_FLAG != 0
    }

    /// Whether SETTINGS or PING answer ours.
    pub const fn is_ack(&self) -> bool {
        self.flags & FIRST_FLAG != 0
    }

    /// Whether nothing is in it but padding.
    pub const fn is_empty(&self) -> bool {
        let [pad, ..] = self.start;
        self.length == 0 || (self.flags & PADDED != 0 && self.length == pad as usize + 1)
    }

    /// GOAWAY's error code.
    pub const fn goaway_code(&self) -> u32 {
        let [_, _, _, _, code @ ..] = self.start;
        u32::from_be_bytes(code)
    }
}

const fn carries_fields(kind: u8) -> bool {
    matches!(kind, HEADERS | CONTINUATION)
}

/// Where in its frames a stream of bytes stands.
#[derive(Debug)]
pub struct Scanner {
    seen: [u8; HEAD + START],
    have: usize,
    skip: usize,
    /// Whether what is passed over belongs to a head: fields, or the preface.
    passes_head: bool,
    /// Whether the fields go on in the next frame.
    head_goes_on: bool,
}

impl Scanner {
    /// A stream that begins with so many bytes that are no frames.
    pub const fn after(preface: usize) -> Self {
        Self {
            seen: [0; HEAD + START],
            have: 0,
            skip: preface,
            passes_head: preface > 0,
            head_goes_on: false,
        }
    }

    /// Whether the last byte seen was a frame's last.
    pub const fn is_between_frames(&self) -> bool {
        self.have == 0 && self.skip == 0
    }

    /// Whether a head has begun and is not complete: the connection's, a frame's, or a request's.
    pub const fn is_within_head(&self) -> bool {
        let [_, _, _, kind, ..] = self.seen;
        let frame = self.have > 0 && (self.have < HEAD || carries_fields(kind));
        frame || (self.skip > 0 && self.passes_head) || self.head_goes_on
    }

    /// Goes over the next bytes and shows each frame as soon as its head and the start of its payload are there.
    pub fn feed<E>(
        &mut self,
        mut bytes: &[u8],
        mut see: impl FnMut(&Frame) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let passed = self.skip.min(bytes.len());
                self.skip -= passed;
                bytes = bytes.get(passed..).unwrap_or_default();
                continue;
            }
            let needed = self.needed();
            let room = self.seen.get_mut(self.have..needed).unwrap_or_default();
            let taken = room.len().min(bytes.len());
            room.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            self.have += taken;
            bytes = bytes.get(taken..).unwrap_or_default();
            // The head may say that more is needed than it did before it was whole.
            if self.have == self.needed() {
                let frame = self.take();
                see(&frame)?;
            }
        }
        Ok(())
    }

    fn length(&self) -> usize {
        let [a, b, c, ..] = self.seen;
        usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
    }

    fn needed(&self) -> usize {
        if self.have < HEAD { HEAD } else { HEAD + self.length().min(START) }
    }

    fn take(&mut self) -> Frame {
        let length = self.length();
        let [_, _, _, kind, flags, a, b, c, d, start @ ..] = std::mem::take(&mut self.seen);
        self.have = 0;
        self.skip = length.saturating_sub(START);
        self.passes_head = carries_fields(kind);
        if self.passes_head {
            self.head_goes_on = flags & END_HEADERS == 0;
        }
        let stream = u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff;
        Frame { length, kind, flags, stream, start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(length: usize, kind: u8, stream: u32) -> Vec<u8> {
        let size = u32::try_from(length).unwrap().to_be_bytes();
        let mut bytes = vec![size[1], size[2], size[3], kind, 0];
        bytes.extend(stream.to_be_bytes());
        bytes.extend((0..length).map(|at| u8::try_from(at % 251).unwrap()));
        bytes
    }

    fn seen(scanner: &mut Scanner, pieces: impl IntoIterator<Item = Vec<u8>>) -> Vec<Frame> {
        let mut frames = Vec::new();
        for piece in pieces {
            let see = |frame: &Frame| {
                frames.push(*frame);
                Ok::<_, ()>(())
            };
            scanner.feed(&piece, see).unwrap();
        }
        frames
    }

    #[test]
    fn the_reserved_bit_of_a_stream_is_nobodys() {
        let bytes = frame(0, DATA, 0x8000_0003);
        assert_eq!(seen(&mut Scanner::after(0), [bytes])[0].stream, 3);
    }

    #[test]
    fn a_head_is_under_way_until_its_last_byte() {
        let flagged = |kind, flags| {
            let mut bytes = frame(20, kind, 1);
            bytes[4] = flags;
            bytes
        };
        let mut scanner = Scanner::after(3);
        let mut within = |bytes: &[u8]| {
            seen(&mut scanner, [bytes.to_vec()]);
            scanner.is_within_head()
        };
        assert!(within(b"PR"));
        assert!(!within(b"I"));
        for (whole, goes_on) in [
            (flagged(HEADERS, END_HEADERS), false),
            (flagged(HEADERS, 0), true),
            (flagged(CONTINUATION, 0), true),
            (flagged(CONTINUATION, END_HEADERS), false),
        ] {
            let (last, rest) = whole.split_last().unwrap();
            assert!(rest.chunks(3).all(&mut within), "{whole:?}");
            assert_eq!(within(&[*last]), goes_on, "{whole:?}");
        }
        let data = frame(20, DATA, 1);
        assert!(within(&data[..8]));
        assert!(!within(&data[8..15]));
        assert!(!within(&data[15..]));
    }

    #[test]
    fn padding_alone_is_nothing() {
        let empty = |length, flags, pad| {
            Frame { length, flags, start: [pad, 0, 0, 0, 0, 0, 0, 0], ..Frame::default() }.is_empty()
        };
        assert!(empty(0, 0, 0) && empty(1, PADDED, 0) && empty(8, PADDED, 7));
        assert!(!empty(1, 0, 0) && !empty(8, PADDED, 6) && !empty(8, 0, 7));
    }

    proptest! {
        #[test]
        fn frames_are_the_same_however_they_are_cut(
            lengths in prop::collection::vec(0_usize..40, 1..12),
            size in 1_usize..30,
        ) {
            let mut bytes = b"preface".to_vec();
            for (kind, length) in (0..).zip(&lengths) {
                bytes.extend(frame(*length, kind, u32::from(kind)));
            }
            let mut scanner = Scanner::after(7);
            let frames = seen(&mut scanner, bytes.chunks(size).map(<[u8]>::to_vec));
            prop_assert_eq!(frames.iter().map(|frame| frame.length).collect::<Vec<_>>(), lengths);
            prop_assert!((0..).zip(&frames).all(|(kind, frame)| frame.kind == kind));
            prop_assert!(scanner.is_between_frames());
        }

        #[test]
        fn no_bytes_confuse_it(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut scanner = Scanner::after(0);
            for frame in seen(&mut scanner, [bytes]) {
                prop_assert!(frame.length < 1 << 24 && frame.stream < 1 << 31);
            }
        }
    }
}
