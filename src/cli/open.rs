//! Reaching a node: its daemon if one answers, else its stores opened in this process. The two
//! calls into `app` stand here and nowhere else in the command line.

use std::future::Future;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Gid, Uid, geteuid, getuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use tokio::time::{sleep, timeout};

use super::output;
use super::place::{Place, refuse_configured};
use crate::app::control::client::{SendError, send};
use crate::app::control::command::{Command, Takes};
use crate::app::control::reply::Reply;
use crate::app::control::socket_path;
use crate::app::handover::inherited::Inherited;
use crate::app::ready::Ready;
use crate::app::{App, Orders};
use crate::config::Config;
use crate::config::problem::Problems;
use crate::model::caller::Actor;

/// Serves until the orders' `shutdown` resolves and everything is drained and closed.
pub(super) async fn serve(
    config: Config,
    found: Inherited,
    orders: Orders<impl Future<Output = ()> + Send>,
    on_ready: impl FnOnce(&Ready) + Send,
) -> anyhow::Result<()> {
    let app = App::open_with(config, found).await?;
    app.serve(orders, on_ready).await?;
    Ok(())
}

/// Has a daemon execute a command that makes no sense without one.
pub(super) async fn ask(data_dir: &Path, command: Command) -> Result<Reply, SendError> {
    reach(data_dir, &command).await
}

/// Before the person who gave a command is told that its answer is late.
const LATE: Duration = Duration::from_secs(3);

/// For a daemon that has the stores to answer: it is starting, or stopping.
const BETWEEN: Duration = Duration::from_secs(5);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(100);
/// What is said of one that does not.
const UNREACHABLE: &str = "no daemon answers, and the stores are not free: it is still starting, or still stopping \
                           (try again in a moment)";

/// Sends a command, and says so if the answer to one that is quick does not come.
async fn reach(data_dir: &Path, command: &Command) -> Result<Reply, SendError> {
    let path = socket_path(data_dir);
    let mut sending = std::pin::pin!(send(&path, command));
    // The others have their progress shown.
    if command.takes() == Takes::Moments {
        if let Ok(ended) = timeout(LATE, &mut sending).await {
            return ended;
        }
        output::complain(&format!("the daemon on {} does not answer; still waiting\n", path.display()));
    }
    sending.await
}

/// One node, reached when the first command is executed.
pub(super) struct Node {
    config: Result<Config, Problems>,
    data_dir: PathBuf,
    /// Only for want of another: it opens no folder that has one.
    assumed: bool,
    /// That a daemon answers whose file is wrong by now has been said.
    warned: bool,
    /// The stores opened in this process, once no daemon was found.
    app: Option<App>,
}

impl Node {
    pub(super) fn of(config: Config) -> Self {
        Self {
            data_dir: config.data_dir.clone(),
            config: Ok(config),
            assumed: false,
            warned: false,
            app: None,
        }
    }

    /// The node that the arguments name.
    pub(super) fn at(place: &Place) -> anyhow::Result<Self> {
        let (data_dir, config) = match place.config() {
            Ok(config) => (config.data_dir.clone(), Ok(config)),
            // What runs goes by what it was started with: a mistake made since is none of a command's business.
            Err(error) => match (place.data_dir()?, error.downcast::<Problems>()) {
                (Some(data_dir), Ok(problems)) => (data_dir, Err(problems)),
                (_, error) => return Err(error.map_or_else(|error| error, Into::into)),
            },
        };
        Ok(Self { config, data_dir, assumed: place.is_assumed(), warned: false, app: None })
    }

    /// Has a command executed.
    pub(super) async fn execute(&mut self, command: Command) -> anyhow::Result<Reply> {
        let began = Instant::now();
        while self.app.is_none() {
            match reach(&self.data_dir, &command).await {
                Err(SendError::NotRunning(_)) => {
                    let config = self.config.clone()?;
                    if self.assumed {
                        refuse_configured(&self.data_dir)?;
                    }
                    // Only now: the socket's peer should be who really asks.
                    become_owner(&self.data_dir)?;
                    // An open folder stays open: its lock keeps a daemon from starting in between.
                    match App::open(config).await {
                        Ok(app) => self.app = Some(app),
                        // A daemon that is starting, or stopping.
                        Err(error) if error.is_in_use() => {
                            if began.elapsed() >= BETWEEN {
                                return Err(anyhow::Error::new(error).context(UNREACHABLE));
                            }
                            sleep(AGAIN).await;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                other => {
                    if let (Ok(_) | Err(SendError::Failed(_)), Err(wrong)) = (&other, &self.config)
                        && !std::mem::replace(&mut self.warned, true)
                    {
                        output::complain(&format!(
                            "keepgate: {} is wrong (run `keepgate check`); the daemon in {} goes by what it was \
                             started with\n",
                            wrong.file,
                            self.data_dir.display()
                        ));
                    }
                    return Ok(other?);
                }
            }
        }
        let app = self.app.as_ref().context("the stores were just opened")?;
        Ok(app.execute(command, Actor::Console(getuid().as_raw())).await?)
    }

    /// Whether a daemon answered; only known after a command.
    pub(super) const fn is_running(&self) -> bool {
        self.app.is_none()
    }

    /// Closes what was opened.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        match self.app {
            Some(app) => Ok(app.close().await?),
            None => Ok(()),
        }
    }
}

/// Becomes the owner of the data folder if this is root and the folder is someone else's: files that
/// root makes there would keep the daemon from starting. The real user id stays, for the audit log.
///
/// The calls change this thread alone. The command line's runtime has no other, and the stores'
/// threads, started after it, inherit it.
fn become_owner(data_dir: &Path) -> anyhow::Result<()> {
    // Not made here: its owner decides whose the files in it will be.
    let folder = std::fs::metadata(data_dir).with_context(|| {
        format!(
            "there is no data folder {} yet: start the node once, or make it for its user",
            data_dir.display()
        )
    })?;
    if !geteuid().is_root() || folder.uid() == 0 {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(folder.uid()), Gid::from_raw(folder.gid()));
    set_thread_groups(&[gid])
        .and_then(|()| set_thread_res_gid(gid, gid, gid))
        .and_then(|()| set_thread_res_uid(None, uid, uid))
        .with_context(|| format!("cannot become the owner of {} (user {})", data_dir.display(), uid.as_raw()))
}
