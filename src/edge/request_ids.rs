//! Request ids without a system call each: random bytes are drawn from the generator in blocks,
//! and every byte is used once.

use std::cell::RefCell;

use crate::model::id::RequestId;
use crate::model::random::SharedRng;
use crate::model::time::Timestamp;

/// Random bytes of one id.
const EACH: usize = 10;
/// Random bytes drawn at once.
const BLOCK: usize = EACH * 400;

/// Makes the request ids of one edge thread.
pub struct RequestIds {
    rng: SharedRng,
    block: RefCell<(Box<[u8; BLOCK]>, usize)>,
}

impl RequestIds {
    /// Draws from `rng`.
    pub fn new(rng: SharedRng) -> Self {
        Self { rng, block: RefCell::new((Box::new([0; BLOCK]), BLOCK)) }
    }

    /// A new id (UUIDv7, RFC 9562 §5.7).
    pub fn next(&self, now: Timestamp) -> RequestId {
        let mut block = self.block.borrow_mut();
        let (bytes, used) = &mut *block;
        if *used >= BLOCK {
            self.rng.fill(&mut bytes[..]);
            *used = 0;
        }
        let mut random = [0; EACH];
        if let Some(fresh) = bytes.get(*used..*used + EACH) {
            random.copy_from_slice(fresh);
        }
        *used += EACH;
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        RequestId(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::SeededRng;
    use std::collections::HashSet;
    use std::sync::Arc;

    #[test]
    fn ids_of_one_millisecond_differ_across_blocks() {
        let ids = RequestIds::new(Arc::new(SeededRng::new(7)));
        let now = Timestamp::from_millis(1_700_000_000_000);
        let made: HashSet<_> = (0..1000).map(|_| ids.next(now).0).collect();
        assert_eq!(made.len(), 1000);
        assert!(made.iter().all(|id| id.get_version_num() == 7));
    }
}
