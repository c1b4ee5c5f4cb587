//! Watching the stores: a task asks each of them for something small from time to time, and readiness
//! tells what came of it. Whoever asks for readiness, and anyone may, costs no store a read.

use std::sync::Arc;

use parking_lot::Mutex;

use super::core::Core;
use super::told::{News, news};
use crate::observe::health::Health;
use crate::store::Stores;
use crate::store::error::StoreError;
use crate::store::namespace::{AuthStore, LogStore, UserStore};

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
        let damage = Damage::of(stores);
        for (at, name) in NAMES.into_iter().enumerate() {
            let watch = self.clone();
            let damage = damage.clone();
            health.register(name, move || {
                // What somebody met since the last look counts at once.
                match watch.0.lock().get(at).cloned().flatten().or_else(|| damage.met(at)) {
                    Some(reason) => Err(reason),
                    None => Ok("readable".to_owned()),
                }
            });
        }
    }
}

/// What readers and writers met in the stores' files that is not as it was written.
#[derive(Clone)]
struct Damage(AuthStore, UserStore, LogStore);

impl Damage {
    fn of(stores: &Stores) -> Self {
        Self(stores.auth.clone(), stores.user.clone(), stores.logs.clone())
    }

    /// In the store of that place in [`NAMES`].
    fn met(&self, at: usize) -> Option<String> {
        let met = match at {
            0 => self.0.damage(),
            1 => self.1.damage(),
            2 => self.2.damage(),
            // The token store is of another engine, which says nothing of the kind.
            _ => None,
        };
        met.map(|met| met.to_string())
    }
}

/// Looks at every store. Blocking, but for no longer than a read of one record each.
pub(in crate::app) fn look(core: &Core) {
    let stores = &core.stores;
    let nobody = crate::model::id::AccountId(uuid::Uuid::nil());
    let mut found = [
        failure(stores.auth.account(nobody)),
        failure(stores.user.document(nobody, "")),
        failure(stores.logs.head()),
        failure(stores.tokens.session(crate::model::id::SessionId(uuid::Uuid::nil()))),
    ];
    // A broken page is met by whoever reads it, which these reads may not.
    let damage = Damage::of(stores);
    for (at, found) in found.iter_mut().enumerate() {
        *found = damage.met(at).or_else(|| found.take());
    }
    let before = std::mem::replace(&mut *core.watch.0.lock(), found.clone());
    for (name, (before, found)) in NAMES.iter().zip(before.iter().zip(&found)) {
        tell(name, before.as_deref(), found.as_deref());
    }
}

/// Once when it begins or gets worse, once when it is over: what lasts is told by `/ready`.
fn tell(store: &str, before: Option<&str>, found: Option<&str>) {
    match (news(before, found), found) {
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
    use std::path::Path;

    use super::*;
    use crate::app::control::Executor as _;
    use crate::app::control::command::{Command, Password};
    use crate::config::Config;
    use crate::config::development::Listeners;
    use crate::model::caller::Actor;

    /// Overwrites every page of a closed node's file that holds these words.
    fn break_pages(file: &Path, words: &str) {
        let mut bytes = std::fs::read(file).unwrap();
        let size = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
        let mut broken = 0;
        for page in bytes.chunks_exact_mut(size).skip(1) {
            if page.windows(words.len()).any(|window| window == words.as_bytes()) {
                page.fill(0xFF);
                broken += 1;
            }
        }
        assert!(broken > 0, "the account is in the file");
        std::fs::write(file, bytes).unwrap();
    }

    #[tokio::test]
    async fn a_broken_page_takes_readiness_from_when_it_is_met_and_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let config = || Config::development(folder.path(), &Listeners::default(), vec![]).unwrap();
        let core = Core::open(config()).await.unwrap();
        let add = Command::UserAdd {
            email: "ada@example.com".parse().unwrap(),
            name: String::new(),
            roles: [].into(),
            password: Password("correct horse battery".into()),
        };
        core.execute(add, Actor::Console(0)).await.unwrap();
        core.close().await.unwrap();
        break_pages(&folder.path().join("store/auth/view.sqlite"), "ada@example.com");

        let core = Core::open(config()).await.unwrap();
        assert!(core.health.ready().is_ready(), "nobody has met it");
        let list = Command::UserList { after: None, limit: 10 };
        core.execute(list, Actor::Console(0)).await.unwrap_err();
        let said = format!("{:?}", core.health.ready());
        assert!(!core.health.ready().is_ready(), "{said}");
        assert!(said.contains("view.sqlite is damaged") && said.contains("restore from a backup"), "{said}");
        let lines = crate::observe::logging::testing::lines(|| (0..3).for_each(|_| look(&core)));
        let told: Vec<_> = lines.iter().filter(|line| line.contains("restore from a backup")).collect();
        assert!(told.len() == 1 && told[0].contains("ERROR"), "{lines:?}");
        assert!(!core.health.ready().is_ready(), "a look that misses the page heals nothing");
    }

    #[test]
    fn a_store_that_cannot_be_read_is_told_once_for_each_reason_and_so_is_its_return() {
        let lines = crate::observe::logging::testing::lines(|| {
            let looks = [None, Some("torn"), Some("torn"), Some("torn elsewhere"), None, None];
            for pair in looks.windows(2) {
                tell("auth", pair[0], pair[1]);
            }
        });
        assert!(lines.len() == 3 && lines[0].contains("restart"), "{lines:?}");
        assert!(lines[1].contains("torn elsewhere") && lines[1].contains("ERROR"), "{lines:?}");
        assert!(lines[2].contains("can be read again"), "{lines:?}");
    }
}
