//! Watching the stores: a task asks each of them for something small from time to time, and readiness
//! tells what came of it. Whoever asks for readiness, and anyone may, costs no store a read.

use std::sync::Arc;

use parking_lot::Mutex;

use super::core::Core;
use super::told::{News, news};
use crate::observe::health::Health;
use crate::store::Stores;
use crate::store::error::StoreError;

/// What came of the last look at each store: `None` is good.
#[derive(Clone, Debug, Default)]
pub(in crate::app) struct Watch(Arc<Mutex<[Option<String>; 4]>>);

/// The stores that are looked at, in the order of [`look`].
const NAMES: [&str; 4] = ["auth", "user", "logs", "tokens"];

impl Watch {
    /// Adds a check for each store, and one for the journal, which says itself how it is.
    pub fn register(&self, health: &Health, stores: &Stores) {
        let committer = stores.committer.clone();
        health.register("journal", move || match committer.failed() {
            Some(reason) => Err(reason.to_string()),
            None => Ok(format!("durable through position {}", committer.durable())),
        });
        for (at, name) in NAMES.into_iter().enumerate() {
            let watch = self.clone();
            health.register(name, move || match watch.0.lock().get(at).cloned().flatten() {
                Some(reason) => Err(reason),
                None => Ok("readable".to_owned()),
            });
        }
    }
}

/// Looks at every store. Blocking, but for no longer than a read of one record each.
pub(in crate::app) fn look(core: &Core) {
    let stores = &core.stores;
    let nobody = crate::model::id::AccountId(uuid::Uuid::nil());
    let found = [
        failure(stores.auth.account(nobody)),
        failure(stores.user.document(nobody, "")),
        failure(stores.logs.head()),
        failure(stores.tokens.session(crate::model::id::SessionId(uuid::Uuid::nil()))),
    ];
    let before = std::mem::replace(&mut *core.watch.0.lock(), found.clone());
    for (name, (before, found)) in NAMES.iter().zip(before.iter().zip(&found)) {
        tell(name, before.as_deref(), found.as_deref());
    }
}

/// Once when it begins, once when it is over: what lasts is told by `/ready`.
fn tell(store: &str, before: Option<&str>, found: Option<&str>) {
    match (news(before.is_some(), found.is_some()), found) {
        (Some(News::Begins), Some(reason)) => tracing::error!(
            store,
            reason,
            "a store cannot be read: see that the disk and the data folder are whole, then restart; until then \
             what needs this store is refused"
        ),
        (Some(News::Ends), _) => tracing::info!(store, "the store can be read again"),
        _ => {}
    }
}

fn failure<T>(asked: Result<T, StoreError>) -> Option<String> {
    asked.err().map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_cannot_be_read_is_told_once_and_so_is_its_return() {
        let lines = crate::observe::logging::testing::lines(|| {
            let looks = [None, Some("torn"), Some("torn"), Some("torn elsewhere"), None, None];
            for pair in looks.windows(2) {
                tell("auth", pair[0], pair[1]);
            }
        });
        assert!(lines.len() == 2 && lines[0].contains("restart"), "{lines:?}");
        assert!(lines[1].contains("can be read again"), "{lines:?}");
    }
}
