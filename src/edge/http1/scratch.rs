//! What all HTTP/1 connections of a thread share: the buffer that they read into, one to write from, and the
//! date. A connection keeps only what it could not use or send at once.

use std::cell::{Cell, RefCell};

use super::date::Dates;
use crate::model::time::SharedClock;

/// Most bytes read at once: what one TLS record holds.
const READ_BYTES: usize = 16 * 1024;
/// A buffer larger than this is not kept.
const KEPT_BYTES: usize = 64 * 1024;

/// A thread's shared buffers.
pub struct Scratch {
    pub(super) input: RefCell<Box<[u8]>>,
    output: Cell<Vec<u8>>,
    pub(super) dates: Dates,
}

impl Scratch {
    /// Of a thread that goes by this clock.
    pub fn new(clock: SharedClock) -> Self {
        let input = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
        Self { input, output: Cell::default(), dates: Dates::new(clock) }
    }

    /// An empty buffer to write into.
    pub(super) fn output(&self) -> Vec<u8> {
        self.output.take()
    }

    /// A buffer that is no longer used.
    pub(super) fn give_back(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= KEPT_BYTES {
            buffer.clear();
            self.output.set(buffer);
        }
    }
}
