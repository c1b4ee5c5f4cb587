//! argon2id (RFC 9106) to and from PHC strings. Pure computation over a memory arena that the
//! caller lends; who may compute, and how much at once, is `pool`'s business.
//!
//! The stored string decides the parameters of a verification, so that hashes of older parameters
//! keep working; it is believed only within bounds, for a store may be hostile.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use password_hash::phc;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::config::passwords::Passwords;
use crate::model::account::PasswordHash;
use crate::model::random::{self, Rng};

const SALT: usize = 16;
const OUTPUT: usize = 32;

/// Most memory a *stored* hash may ask for, KiB, unless the configuration itself asks for more.
/// A pool's threads hold no more than this each, whatever the store says.
const MOST_STORED_KIB: u32 = 64 * 1024;
const MOST_STORED_PASSES: u32 = 10;
const MOST_STORED_LANES: u32 = 8;

/// A hash cannot be made or read. Names no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The stored text is no argon2id PHC string within the bounds.
    #[error("the stored password hash is not one that can be verified")]
    Stored,
    /// A hash from elsewhere is not one to compute with.
    #[error(
        "not an argon2id hash like $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH within m={memory}, t={passes}, \
         p={lanes}: leave it out, and set a password later"
    )]
    Incoming {
        /// Most memory, KiB.
        memory: u32,
        /// Most passes.
        passes: u32,
        /// Most lanes.
        lanes: u32,
    },
    /// A hash from elsewhere takes longer than this node's own.
    #[error(
        "takes more work than a login here may: m × t is {work}, at most {most} with these [passwords]: raise \
         memory_kib or iterations there, or leave it out, and set a password later"
    )]
    Costly {
        /// Its KiB times its passes.
        work: u64,
        /// What it may be.
        most: u64,
    },
    /// The configured parameters are none that argon2id accepts.
    #[error(
        "[passwords] memory_kib, iterations and parallelism are not parameters of argon2id: \
         iterations and parallelism are at least 1, memory_kib at least 8 × parallelism"
    )]
    Parameters,
}

/// The memory that one hashing thread computes in, reused from hash to hash.
///
/// Allocating 19 MiB per hash left the freed blocks with the allocator, so that concurrent logins
/// grew the process without bound; one arena per thread does not, and is faster.
#[derive(Default)]
pub struct Arena {
    blocks: Vec<Block>,
    /// KiB times passes computed so far.
    #[cfg(test)]
    worked: u64,
}

impl Arena {
    /// Computes in it, and wipes it whatever happened.
    fn compute(
        &mut self,
        params: &Params,
        password: &[u8],
        salt: &[u8],
        out: &mut [u8],
    ) -> Result<(), HashError> {
        #[cfg(test)]
        {
            self.worked += work(params);
        }
        self.blocks.resize(params.block_count(), Block::new());
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
        let result = argon.hash_password_into_with_memory(password, salt, out, &mut self.blocks[..]);
        self.wipe();
        result.map_err(|_| HashError::Stored)
    }

    /// Overwrites what was computed: it could be used to find the password faster.
    pub fn wipe(&mut self) {
        for block in &mut self.blocks {
            block.zeroize();
        }
    }

    /// Gives back what is more than `blocks` KiB.
    pub fn shrink(&mut self, blocks: usize) {
        if self.blocks.len() > blocks {
            self.blocks.truncate(blocks);
            self.blocks.shrink_to_fit();
        }
    }
}

/// The parameters that new hashes get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters(Params);

impl Parameters {
    /// As configured.
    ///
    /// # Errors
    /// [`HashError::Parameters`] if argon2id has no such parameters.
    pub fn new(config: &Passwords) -> Result<Self, HashError> {
        Params::new(config.memory_kib, config.iterations, config.parallelism, Some(OUTPUT))
            .map(Self)
            .map_err(|_| HashError::Parameters)
    }

    /// The arena they need, in blocks of 1 KiB.
    pub const fn blocks(&self) -> usize {
        self.0.block_count()
    }

    /// Hashes a password under a fresh salt.
    ///
    /// # Errors
    /// [`HashError::Stored`] if argon2 refuses, which it does not for passwords under 4 GiB.
    pub fn hash(
        &self,
        password: &[u8],
        salt: [u8; SALT],
        arena: &mut Arena,
    ) -> Result<PasswordHash, HashError> {
        let mut out = [0; OUTPUT];
        arena.compute(&self.0, password, &salt, &mut out)?;
        let text = phc_string(&self.0, &salt, &out);
        out.zeroize();
        text.map(PasswordHash)
    }

    /// A fresh salt (RFC 9106 §3.1: 16 bytes).
    pub fn salt(rng: &dyn Rng) -> [u8; SALT] {
        random::bytes(rng)
    }

    /// A hash of no password: verifying against it is the same work as against a real one.
    pub fn decoy(&self, rng: &dyn Rng) -> Stored {
        let out = random::bytes::<OUTPUT>(rng);
        Stored { params: self.0.clone(), salt: Self::salt(rng).to_vec(), out: out.to_vec() }
    }

    /// Reads a stored hash.
    ///
    /// # Errors
    /// [`HashError::Stored`] if it is none of argon2id within the bounds.
    pub fn read(&self, stored: &PasswordHash) -> Result<Stored, HashError> {
        let parsed = phc::PasswordHash::new(&stored.0).map_err(|_| HashError::Stored)?;
        let params = Params::try_from(&parsed).map_err(|_| HashError::Stored)?;
        let (salt, out) = parsed.salt.zip(parsed.hash).ok_or(HashError::Stored)?;
        let kind = parsed.algorithm.as_str() == Algorithm::Argon2id.as_str()
            && parsed.version == Some(Version::V0x13.into());
        let (memory, passes, lanes) = self.most();
        let bounded = params.m_cost() <= memory && params.t_cost() <= passes && params.p_cost() <= lanes;
        let plain = params.keyid().is_empty() && params.data().is_empty();
        // A short output would be guessed; a short salt is refused by argon2 itself.
        if kind && bounded && plain && out.len() >= 16 {
            Ok(Stored { params, salt: salt.as_ref().to_vec(), out: out.as_bytes().to_vec() })
        } else {
            Err(HashError::Stored)
        }
    }

    /// Most KiB, passes and lanes that a stored hash may ask for.
    fn most(&self) -> (u32, u32, u32) {
        (
            self.0.m_cost().max(MOST_STORED_KIB),
            self.0.t_cost().max(MOST_STORED_PASSES),
            self.0.p_cost().max(MOST_STORED_LANES),
        )
    }

    /// Whether a hash from elsewhere can be taken over. One that takes much longer than this node's own
    /// would let logins use up the hashing threads, and tell by its time that the account exists; a quarter
    /// more is let pass, for sets of parameters that are held to be equal are no closer.
    ///
    /// # Errors
    /// [`HashError::Incoming`] or [`HashError::Costly`], with the bounds it must keep.
    pub fn incoming(&self, hash: &PasswordHash) -> Result<(), HashError> {
        let (memory, passes, lanes) = self.most();
        let stored = self.read(hash).map_err(|_| HashError::Incoming { memory, passes, lanes })?;
        let own = work(&self.0);
        let (work, most) = (work(&stored.params), own + own / 4);
        if work > most { Err(HashError::Costly { work, most }) } else { Ok(()) }
    }

    /// Whether this is the password's hash, by as much work as a new hash takes: a cheaper one from
    /// elsewhere would tell by its time that the account exists.
    ///
    /// # Errors
    /// [`HashError::Stored`] if argon2 refuses the salt.
    pub fn verify(&self, stored: &Stored, password: &[u8], arena: &mut Arena) -> Result<bool, HashError> {
        let matches = stored.matches(password, arena)?;
        if let Some(rest) = self.rest(stored) {
            let mut out = [0; OUTPUT];
            arena.compute(&rest, password, &[0; SALT], &mut out)?;
            out.zeroize();
        }
        Ok(matches)
    }

    /// What is left to do after a cheaper hash; none after one that is as dear, or nearly.
    fn rest(&self, stored: &Stored) -> Option<Params> {
        let left = work(&self.0).checked_sub(work(&stored.params))?;
        let passes = left.div_ceil(u64::from(self.0.m_cost())).max(1);
        let memory = u32::try_from(left / passes).ok()?;
        Params::new(memory, u32::try_from(passes).ok()?, self.0.p_cost(), Some(OUTPUT)).ok()
    }

    /// Whether a hash should be made anew: the configuration now asks for more in any respect.
    pub fn outgrow(&self, stored: &Stored) -> bool {
        let (now, then) = (&self.0, &stored.params);
        now.m_cost() > then.m_cost()
            || now.t_cost() > then.t_cost()
            || now.p_cost() > then.p_cost()
            || stored.out.len() < OUTPUT
    }
}

/// KiB times passes: what a hash costs, whatever its lanes, which are computed one after the other.
fn work(params: &Params) -> u64 {
    u64::from(params.m_cost()) * u64::from(params.t_cost())
}

/// A stored hash, read and within bounds.
#[derive(Clone)]
pub struct Stored {
    params: Params,
    salt: Vec<u8>,
    out: Vec<u8>,
}

impl Stored {
    /// Whether this is the password's hash, by its own work alone. The comparison takes alike wherever
    /// they differ.
    fn matches(&self, password: &[u8], arena: &mut Arena) -> Result<bool, HashError> {
        let mut out = vec![0; self.out.len()];
        arena.compute(&self.params, password, &self.salt, &mut out)?;
        let matches = out.ct_eq(&self.out).into();
        out.zeroize();
        Ok(matches)
    }
}

fn phc_string(params: &Params, salt: &[u8], out: &[u8]) -> Result<String, HashError> {
    let fields = || -> Option<phc::PasswordHash> {
        Some(phc::PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params: phc::ParamsString::try_from(params).ok()?,
            salt: Some(phc::Salt::new(salt).ok()?),
            hash: Some(phc::Output::new(out).ok()?),
        })
    };
    fields().map(|hash| hash.to_string()).ok_or(HashError::Stored)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::random::SeededRng;

    fn parameters(memory_kib: u32, iterations: u32, parallelism: u32) -> Parameters {
        Parameters::new(&Passwords { memory_kib, iterations, parallelism, ..Passwords::default() }).unwrap()
    }

    #[test]
    fn a_hash_verifies_its_password_and_no_other() {
        let (cheap, mut arena) = (parameters(16, 1, 2), Arena::default());
        let hash = cheap.hash(b"correct horse", [7; 16], &mut arena).unwrap();
        assert!(hash.0.starts_with("$argon2id$v=19$m=16,t=1,p=2$"), "{}", hash.0);
        let stored = cheap.read(&hash).unwrap();
        assert!(stored.matches(b"correct horse", &mut arena).unwrap());
        assert!(!stored.matches(b"correct house", &mut arena).unwrap());
    }

    #[test]
    fn a_hash_of_the_reference_implementation_verifies() {
        // From the test suite of github.com/P-H-C/phc-winner-argon2: version 0x13, t=2, m=2^8, p=1.
        let text = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        let stored = parameters(8, 1, 1).read(&PasswordHash(text.to_owned())).unwrap();
        assert!(stored.matches(b"password", &mut Arena::default()).unwrap());
    }

    #[test]
    fn the_arena_is_wiped_after_each_hash_and_shrinks_on_demand() {
        let mut arena = Arena::default();
        parameters(64, 1, 1).hash(b"secret", [1; 16], &mut arena).unwrap();
        assert_eq!(arena.blocks.len(), 64);
        assert!(arena.blocks.iter().all(|block| block.as_ref().iter().all(|word| *word == 0)));
        arena.shrink(8);
        assert_eq!(arena.blocks.len(), 8);
    }

    #[test]
    fn rehashing_is_wanted_when_any_parameter_rose_and_not_when_one_fell() {
        let hash = parameters(16, 2, 1).hash(b"x", [0; 16], &mut Arena::default()).unwrap();
        for (memory, passes, lanes, wanted) in
            [(16, 2, 1, false), (17, 2, 1, true), (16, 3, 1, true), (16, 2, 2, true), (8, 1, 1, false)]
        {
            let now = parameters(memory, passes, lanes);
            assert_eq!(now.outgrow(&now.read(&hash).unwrap()), wanted);
        }
    }

    #[test]
    fn absurd_or_foreign_hashes_are_refused_before_any_work() {
        let tail = "$c29tZXNhbHRzb21lc2FsdA$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        for head in [
            "$argon2id$v=19$m=4194304,t=1,p=1",
            "$argon2id$v=19$m=64,t=4000000,p=1",
            "$argon2id$v=19$m=65536,t=1,p=4096",
            "$argon2id$v=16$m=64,t=1,p=1",
            "$argon2id$m=64,t=1,p=1",
            "$argon2i$v=19$m=64,t=1,p=1",
            "$scrypt$ln=16,r=8,p=1",
            "$argon2id$v=19$m=64,t=1,p=1,keyid=AAAA",
        ] {
            let text = PasswordHash(format!("{head}{tail}"));
            assert!(parameters(64, 1, 1).read(&text).is_err(), "{head}");
        }
        let short = PasswordHash("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAA".to_owned());
        assert!(parameters(64, 1, 1).read(&short).is_err());
    }

    #[test]
    fn a_cheap_hash_takes_as_much_work_as_no_hash() {
        let now = parameters(256, 3, 1);
        let worked = |stored: &Stored| {
            let mut arena = Arena::default();
            assert!(!now.verify(stored, b"wrong", &mut arena).unwrap());
            arena.worked
        };
        let unknown = worked(&now.decoy(&SeededRng::new(1)));
        assert_eq!(unknown, 3 * 256);
        for (memory, passes) in [(8, 1), (64, 1), (100, 2), (256, 1), (256, 2), (8, 10), (512, 1)] {
            let hash = parameters(memory, passes, 1).hash(b"right", [7; 16], &mut Arena::default()).unwrap();
            let stored = now.read(&hash).unwrap();
            let spent = worked(&stored);
            assert!(unknown.abs_diff(spent) < 8, "m={memory}, t={passes}: {spent}");
            assert!(now.verify(&stored, b"right", &mut Arena::default()).unwrap());
        }
    }

    #[test]
    fn a_hash_from_elsewhere_may_cost_little_more_than_one_of_ours() {
        let now = parameters(19_456, 2, 1);
        let refused = |memory: u32, passes: u32| {
            let text = format!(
                "$argon2id$v=19$m={memory},t={passes},p=1$c29tZXNhbHRzb21lc2FsdA$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
            );
            now.incoming(&PasswordHash(text)).err()
        };
        for (memory, passes) in [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5), (8, 1)] {
            assert_eq!(refused(memory, passes), None);
        }
        assert_eq!(refused(65_536, 3), Some(HashError::Costly { work: 196_608, most: 48_640 }));
        assert!(matches!(refused(65_537, 1), Some(HashError::Incoming { .. })));
    }

    #[test]
    fn a_decoy_matches_nothing() {
        let cheap = parameters(8, 1, 1);
        let decoy = cheap.decoy(&SeededRng::new(1));
        assert!(!decoy.matches(b"", &mut Arena::default()).unwrap());
    }

    proptest! {
        #[test]
        fn any_stored_text_is_read_or_refused(text in "\\$argon2id\\$v=19\\$[a-z0-9=,]{0,40}\\$[A-Za-z0-9+/$]{0,80}|\\PC*") {
            let _ = parameters(8, 1, 1).read(&PasswordHash(text));
        }
    }
}
