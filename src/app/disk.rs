//! The room left on the data folder's disk, and what the node does about it: below `warn_free` it
//! says so, below `stop_free` it takes only what ends access or gives room back, below a quarter of
//! that it takes nothing. All of it ends by itself when room returns; a write that failed would not.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::config::Config;
use crate::observe::health::Health;
use crate::store::commit::Committer;
use crate::store::commit::room::Short;

/// How short the disk is, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::app) enum Level {
    Plenty,
    Low,
    Reserve,
    Full,
}

/// Where the room is asked for.
trait Space: Send + Sync {
    /// Bytes that may still be written.
    fn free(&self) -> io::Result<u64>;
}

struct FileSystem(PathBuf);

impl Space for FileSystem {
    fn free(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.0)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

/// Watches the disk. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(in crate::app) struct Disk(Arc<Inner>);

struct Inner {
    space: Box<dyn Space>,
    folder: PathBuf,
    warn: u64,
    stop: u64,
    /// The level, and the bytes free at the last look.
    last: Mutex<(Level, Option<u64>)>,
    /// Whether the last look failed.
    silent: AtomicBool,
}

impl Disk {
    /// Watches the data folder's file system.
    pub fn of(config: &Config) -> Self {
        let space = Box::new(FileSystem(config.data_dir.clone()));
        Self::on(space, config.data_dir.clone(), config.store.warn_free, config.store.stop_free)
    }

    fn on(space: Box<dyn Space>, folder: PathBuf, warn: u64, stop: u64) -> Self {
        let (last, silent) = (Mutex::new((Level::Plenty, None)), AtomicBool::new(false));
        Self(Arc::new(Inner { space, folder, warn, stop, last, silent }))
    }

    /// How short it was at the last look.
    pub fn level(&self) -> Level {
        self.0.last.lock().0
    }

    /// Adds the check: it fails below `stop_free`, and says so below `warn_free`.
    pub fn register(&self, health: &Health) {
        let disk = self.clone();
        health.register("disk", move || {
            let (level, free) = *disk.0.last.lock();
            let Some(free) = free else { return Ok("not looked at yet".to_owned()) };
            match level {
                Level::Plenty => Ok(format!("{} MiB free", free >> 20)),
                Level::Low => Ok(disk.reason(level, free)),
                Level::Reserve | Level::Full => Err(disk.reason(level, free)),
            }
        });
    }

    /// Asks how much room there is, and tells the committer. Blocking, but no longer than the file
    /// system takes to say it.
    pub fn look(&self, committer: &Committer) {
        let free = match self.0.space.free() {
            Ok(free) => free,
            Err(error) => {
                if !self.0.silent.swap(true, Ordering::Relaxed) {
                    let folder = self.0.folder.display();
                    tracing::error!(
                        %error,
                        %folder,
                        "the file system does not say how much room it has: see that it is mounted and can be \
                         read; until then nothing is refused or allowed anew for want of room"
                    );
                }
                return;
            }
        };
        if self.0.silent.swap(false, Ordering::Relaxed) {
            tracing::info!("the file system says again how much room it has");
        }
        let mut last = self.0.last.lock();
        let before = last.0;
        let level = self.0.level(free, before);
        *last = (level, Some(free));
        drop(last);
        if level == before {
            return;
        }
        let reason = self.reason(level, free);
        committer.set_room(
            (level >= Level::Reserve)
                .then(|| Short { reserve: level == Level::Reserve, reason: reason.as_str().into() }),
        );
        match level {
            Level::Plenty => tracing::info!(free, "the disk has room again"),
            Level::Low => tracing::warn!("{reason}"),
            Level::Reserve | Level::Full => tracing::error!("{reason}"),
        }
    }

    fn reason(&self, level: Level, free: u64) -> String {
        let folder = self.0.folder.display();
        let (mark, key, effect) = match level {
            Level::Plenty | Level::Low => (self.0.warn, "store.warn_free", "nothing is refused yet"),
            Level::Reserve => (self.0.stop, "store.stop_free", "only what ends access is taken"),
            Level::Full => (self.0.stop / 4, "a quarter of store.stop_free", "nothing is taken"),
        };
        // In the slack that a level is left with, there is more than the mark and not yet enough.
        let short = if free < mark {
            format!("less than the {} MiB of {key}", mark >> 20)
        } else {
            let enough = mark.saturating_add(mark / 4) >> 20;
            format!("was below the {} MiB of {key} and is not back above {enough} MiB", mark >> 20)
        };
        format!("the disk of {folder} has {} MiB free, {short}: {effect}; make room", free >> 20)
    }
}

impl Inner {
    /// A level is left only with a quarter more room than it begins at: who makes a little room
    /// should not see the node come and go.
    fn level(&self, free: u64, before: Level) -> Level {
        let below = |mark: u64, level: Level| {
            let slack = if before >= level { mark / 4 } else { 0 };
            free < mark.saturating_add(slack)
        };
        if below(self.stop / 4, Level::Full) {
            Level::Full
        } else if below(self.stop, Level::Reserve) {
            Level::Reserve
        } else if below(self.warn, Level::Low) {
            Level::Low
        } else {
            Level::Plenty
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::auth::error::AuthError;
    use crate::auth::testing::{PASSWORD, World, events, here};
    use crate::model::unavailable::Unavailable;

    struct Told(Arc<AtomicU64>);

    impl Space for Told {
        fn free(&self) -> io::Result<u64> {
            Ok(self.0.load(Ordering::SeqCst))
        }
    }

    fn disk() -> (Disk, Arc<AtomicU64>) {
        let free = Arc::new(AtomicU64::new(u64::MAX));
        (Disk::on(Box::new(Told(Arc::clone(&free))), "/data".into(), 1000 << 20, 400 << 20), free)
    }

    #[tokio::test]
    async fn short_of_room_only_what_ends_access_is_taken_and_all_is_well_when_room_returns() {
        let world = World::new().await;
        world.account("ada", &[]).await;
        let grants = [world.login("ada").await, world.login("ada").await, world.login("ada").await];
        let ended = world.login("ada").await;
        world.auth.sessions.logout(&world.caller(&ended), &here()).await.unwrap();
        let (disk, free) = disk();
        let health = Health::new();
        disk.register(&health);
        let look = |mib: u64| {
            free.store(mib << 20, Ordering::SeqCst);
            disk.look(&world.stores.committer);
            health.ready().is_ready()
        };
        let logout = async |at: usize| {
            let caller = world.caller(&grants[at]);
            world.auth.sessions.logout(&caller, &here()).await
        };
        let read_only =
            |error: AuthError| matches!(error, AuthError::Unavailable(Unavailable::ReadOnly { .. }));

        assert!(look(999), "low is said, and refuses nothing");
        assert_eq!(disk.level(), Level::Low);
        world.login("ada").await;

        assert!(!look(399));
        assert!(read_only(world.try_login("ada", PASSWORD).await.unwrap_err()));
        assert!(read_only(world.refresh(&grants[1].refresh_token, &here()).await.unwrap_err()));
        assert!(read_only(world.try_login("ada", "a wrong password").await.unwrap_err()), "no event alone");
        let before = world.history().len();
        for _ in 0..100 {
            let refused = world.refresh(&ended.refresh_token, &here()).await.unwrap_err();
            assert!(matches!(refused, AuthError::InvalidRefreshToken(_)), "{refused:?}");
        }
        assert_eq!(world.auth.denials.close_windows(None).await, 0);
        assert_eq!(world.history().len(), before, "who has no account writes nothing");
        assert!(world.passes(&grants[0]));
        logout(0).await.unwrap();
        assert!(!world.passes(&grants[0]), "the revocation is in force");

        assert!(!look(99));
        assert!(read_only(logout(1).await.unwrap_err()), "below the hard floor nothing is taken");
        assert!(world.passes(&grants[1]));

        assert!(!look(499), "not enough to come back with");
        logout(1).await.unwrap();
        assert!(look(500));
        assert!(world.stores.committer.read_only().is_none());
        let before = world.history().len();
        world.auth.denials.close_windows(None).await;
        let counted: Vec<_> =
            world.history().split_off(before).iter().flat_map(events).map(|event| event.count).collect();
        assert_eq!(counted, [100], "what was refused meanwhile is on record");
        world.login("ada").await;
        world.refresh(&grants[2].refresh_token, &here()).await.unwrap();
        look(5000);
        assert_eq!(disk.level(), Level::Plenty);
    }

    #[tokio::test]
    async fn room_that_is_coming_back_is_told_in_true_words() {
        let world = World::new().await;
        let (disk, free) = disk();
        let health = Health::new();
        disk.register(&health);
        let look = |mib: u64| {
            free.store(mib << 20, Ordering::SeqCst);
            disk.look(&world.stores.committer);
            format!("{:?}", health.ready())
        };
        let low = look(900);
        assert!(low.contains("has 900 MiB free, less than the 1000 MiB of store.warn_free"), "{low}");
        let between = look(1100);
        let words =
            "has 1100 MiB free, was below the 1000 MiB of store.warn_free and is not back above 1250 MiB";
        assert!(between.contains(words), "{between}");
        assert!(look(1250).contains("1250 MiB free\""), "plenty again");
    }

    #[tokio::test]
    async fn a_file_system_that_says_nothing_is_told_once_and_so_is_its_return() {
        struct Silent(Arc<AtomicBool>);
        impl Space for Silent {
            fn free(&self) -> io::Result<u64> {
                if self.0.load(Ordering::SeqCst) { Err(io::ErrorKind::NotFound.into()) } else { Ok(u64::MAX) }
            }
        }
        let world = World::new().await;
        let silent = Arc::new(AtomicBool::new(true));
        let disk = Disk::on(Box::new(Silent(Arc::clone(&silent))), "/data".into(), 1000 << 20, 400 << 20);
        let lines = crate::observe::logging::testing::lines(|| {
            for _ in 0..3 {
                disk.look(&world.stores.committer);
            }
            silent.store(false, Ordering::SeqCst);
            for _ in 0..3 {
                disk.look(&world.stores.committer);
            }
        });
        assert!(lines.len() == 2 && lines[0].contains("see that it is mounted"), "{lines:?}");
        assert!(lines[1].contains("says again"), "{lines:?}");
    }
}
