//! Randomness as a parameter: the system's generator in production, a seeded one in tests.

use std::sync::Arc;

use parking_lot::Mutex;

/// A source of random bytes. The system's is cryptographically secure; others are for tests only.
pub trait Rng: Send + Sync + 'static {
    /// Fills the whole slice.
    fn fill(&self, bytes: &mut [u8]);
}

/// A generator shared by whoever needs one.
pub type SharedRng = Arc<dyn Rng>;

/// `N` random bytes.
pub fn bytes<const N: usize>(rng: &dyn Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill(&mut bytes);
    bytes
}

/// The kernel's generator, by its system call.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemRng;

impl Rng for SystemRng {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the kernel")]
    #[expect(
        clippy::expect_used,
        reason = "getrandom(2) with no flags cannot fail on Linux ≥ 3.17; \
        going on without randomness would be worse than stopping"
    )]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("getrandom(2) is available");
    }
}

/// A deterministic stream (BLAKE3 in its extendable-output form), for tests and simulations.
#[derive(Debug)]
pub struct SeededRng(Mutex<blake3::OutputReader>);

impl SeededRng {
    /// The stream of one seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof()))
    }
}

impl Rng for SeededRng {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().fill(bytes);
    }
}
