//! The journal to read: what was committed, in order, as far back as it is kept. For whoever
//! compares a view with its origin; nothing is decided by it.

use std::sync::Arc;

use parking_lot::Mutex;

use super::bundle::Committed;
use super::error::StoreError;
use super::journal::reader::Reader;
use super::journal::segment::Catalog;
use crate::model::id::Seq;

/// The bundles that the journal still holds. Cheap to clone; clones share one place to read on from.
#[derive(Clone)]
pub struct History {
    catalog: Arc<Catalog>,
    reader: Arc<Mutex<Reader>>,
}

impl History {
    pub(in crate::store) fn new(catalog: Arc<Catalog>) -> Self {
        let reader = Arc::new(Mutex::new(Reader::new(Arc::clone(&catalog))));
        Self { catalog, reader }
    }

    /// The durable bundles after `seq`, in order, at most `limit`; from [`Self::oldest`] on if those
    /// after `seq` are no longer kept.
    ///
    /// # Errors
    /// `Damaged`, `NewerRecord` or `Io`, naming the journal's file.
    pub fn committed_after(&self, seq: Seq, limit: usize) -> Result<Vec<Committed>, StoreError> {
        self.reader.lock().after(seq, limit)
    }

    /// The oldest position still kept; that of the first bundle to come if there is none yet. Moves
    /// on when every view is durable beyond it.
    pub fn oldest(&self) -> Seq {
        self.catalog.oldest()
    }
}
