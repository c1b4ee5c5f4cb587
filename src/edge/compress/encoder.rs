//! The three encoders behind one face: bytes in, what has come out so far taken, flushed or ended on request.
//!
//! Levels and windows are chosen for answers that are made anew each time and for bounded memory, measured as
//! resident bytes of one encoder after a megabyte of text (docs/sites.md has them): files that never change are
//! compressed better and once, beside themselves on the disk.

use std::fmt;
use std::io::{self, Write as _};

use brotli::CompressorWriter;
use flate2::Compression;
use flate2::write::GzEncoder;
use zstd::stream::raw::CParameter;
use zstd::stream::write::Encoder as ZstdEncoder;

use crate::edge::codings::Coding;

/// 256 KiB back: what a page repeats of itself is nearer than that.
const WINDOW_BITS: u32 = 18;
const ZSTD_LEVEL: i32 = 3;
const BROTLI_QUALITY: u32 = 4;
const GZIP_LEVEL: u32 = 5;
/// What brotli collects before it is written on.
const BROTLI_BUFFER: usize = 4096;

/// One answer's.
pub(super) enum Encoder {
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(ZstdEncoder<'static, Vec<u8>>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Encoder {
    pub(super) fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Brotli => Self::Brotli(Box::new(CompressorWriter::new(
                Vec::new(),
                BROTLI_BUFFER,
                BROTLI_QUALITY,
                WINDOW_BITS,
            ))),
            Coding::Zstd => {
                let mut encoder = ZstdEncoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.set_parameter(CParameter::WindowLog(WINDOW_BITS))?;
                Self::Zstd(encoder)
            }
            Coding::Gzip => Self::Gzip(Box::new(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL)))),
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Brotli(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
        }
    }

    /// Has all come out that went in.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Brotli(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
            Self::Gzip(encoder) => encoder.flush(),
        }
    }

    /// What has come out.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let out = match self {
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Gzip(encoder) => encoder.get_mut(),
        };
        std::mem::take(out)
    }

    /// The rest.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Gzip(encoder) => encoder.finish(),
        }
    }
}

/// Everything decoded again, as a client would.
#[cfg(test)]
pub fn decoded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    use std::io::Read as _;
    let mut out = Vec::new();
    match coding {
        "br" => drop(brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out).unwrap()),
        "zstd" => drop(zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut out).unwrap()),
        "gzip" => drop(flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap()),
        _ => out.extend_from_slice(bytes),
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_comes_out_is_what_went_in_however_it_is_cut_and_flushed(
            pieces in prop::collection::vec((prop::collection::vec(0_u8..4, 0..3000), any::<bool>()), 0..8)
        ) {
            for coding in ALL {
                let (mut encoder, mut out, mut all) = (Encoder::new(coding).unwrap(), Vec::new(), Vec::new());
                for (piece, flush) in &pieces {
                    encoder.write(piece).unwrap();
                    if *flush {
                        encoder.flush().unwrap();
                    }
                    out.extend(encoder.take());
                    all.extend_from_slice(piece);
                }
                out.extend(encoder.finish().unwrap());
                prop_assert_eq!(decoded(coding.name(), &out), all);
            }
        }
    }

    #[test]
    fn after_a_flush_a_client_can_read_all_that_went_in() {
        use std::io::Read as _;
        for coding in ALL {
            let mut encoder = Encoder::new(coding).unwrap();
            encoder.write(b"an event").unwrap();
            encoder.flush().unwrap();
            let out = encoder.take();
            let mut read = [0; 8];
            match coding {
                Coding::Brotli => brotli::Decompressor::new(&out[..], 4096).read_exact(&mut read),
                Coding::Zstd => zstd::stream::read::Decoder::new(&out[..]).unwrap().read_exact(&mut read),
                Coding::Gzip => flate2::read::GzDecoder::new(&out[..]).read_exact(&mut read),
            }
            .unwrap();
            assert_eq!(&read, b"an event", "{coding:?}");
        }
    }
}
