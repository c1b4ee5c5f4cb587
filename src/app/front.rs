//! What faces the outside and needs no store: the edge with its verifier, the sockets, the metrics. It stays
//! while the house behind it is closed and opened again, or handed over.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keepgate_guard::verifier::Verifier;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::control::server::{self, Socket};
use super::control::view::Restart;
use super::core::Core;
use super::doors;
use super::error::AppError;
use super::handover::desk::Desk;
use super::handover::inherited::{Before, Ending, Inherited};
use super::handover::{Asked, Restarts, relay};
use super::house::until;
use super::measures::Slots;
use super::ready::Listeners;
use super::reload::NAMES;
use super::views::Views;
use crate::audit::draft::Draft;
use crate::config::tls::CertificateSource;
use crate::edge::start::Running;
use crate::edge::tls::Terminator;
use crate::model::caller::{Actor, Origin};
use crate::model::event::{Intent, Outcome};
use crate::model::id::RequestId;
use crate::observe::metrics::Metrics;

/// The front.
pub(in crate::app) struct Front {
    pub edge: Running,
    pub desk: Desk,
    pub views: Views,
    pub verifier: Arc<Verifier>,
    pub terminator: Terminator,
    pub metrics: Arc<Metrics>,
    pub slots: Slots,
    pub socket: Socket,
    pub internal: Option<TcpListener>,
    pub listeners: Listeners,
    pub restarts: Restarts,
    /// The process before this one, until it has ended.
    pub ending: Option<Ending>,
    /// Whether the process before, if there was one, goes back no more. Who comes waits for it, at every door.
    pub owns: watch::Sender<bool>,
    /// `limits.handover_timeout`, as of the last restart.
    pub patience: Duration,
    /// What looks after upstreams, names and checks; and who asks from the process before.
    side: JoinSet<()>,
    /// Ends it.
    stop: watch::Sender<bool>,
}

impl Front {
    /// Opens it. From then on requests are answered, unless a process before this one may still do so.
    pub async fn open(core: &Arc<Core>, found: Inherited) -> Result<(Self, mpsc::Receiver<Asked>), AppError> {
        let Inherited { edge: given, internal, control, before } = found;
        let metrics = Arc::new(Metrics::new(core.started_at));
        // Certificates first: nothing is worth opening without them.
        if matches!(core.config.tls.source, CertificateSource::LocalCa { .. }) {
            let request = RequestId::new(core.clock.now(), &*core.rng);
            let origin = Origin { request, address: None, user_agent: String::new() };
            core.make_ca(&Actor::System, &origin).await?;
        }
        let terminator = doors::terminator(core)?;
        // The control socket next: its folder holds `ports.json`, and it fails if another daemon lives.
        let data_dir = &core.config.data_dir;
        let socket = match control {
            Some(listener) => Socket::inherit(listener, data_dir)?,
            None => server::bind(data_dir)?,
        };
        let internal = doors::internal(core, internal)?;
        // On record before the first request can be.
        core.trail.record(Draft::new(Intent::Start, Outcome::Granted).by(Actor::System)).await?;
        let verifier = doors::verifier(core);
        let slots = Slots::register(&metrics, data_dir.clone());
        let desk = Desk::new(doors::attendant(core));
        let owns = watch::Sender::new(before.is_none());
        let given = (given, owns.subscribe());
        let edge = doors::edge(core, (&terminator, &desk), Arc::clone(&verifier), &metrics, given)?;
        let listeners = doors::listeners(&edge, internal.as_ref());
        // What has one owner is the process's before, until it says that it goes back no more.
        if before.is_none() {
            doors::publish(data_dir, &listeners)?;
        }
        let (stop, stopped) = watch::channel(false);
        let mut side = JoinSet::new();
        let mut names = edge.names();
        // So that the first request finds servers, if a name server answers at once.
        let _ = tokio::time::timeout(NAMES, names.look(Instant::now())).await;
        side.spawn(names.run(until(stopped.clone())));
        side.spawn(edge.checker().run(until(stopped)));
        let mut ending = None;
        if let Some(Before { channel, process, relay, .. }) = before {
            side.spawn(relay::serve(relay, desk.clone()));
            ending = Some(Ending::watch(channel, process).map_err(AppError::Descriptors)?);
        }
        let (ask, asked) = mpsc::channel(1);
        let told = Restart { before: ending.as_ref().map(Ending::pid), ..Restart::default() };
        let before = ending.as_ref().map(Ending::stage);
        let restarts = Restarts::new(ask, told, before);
        let views = core.views.clone();
        let front = Self {
            edge,
            desk,
            views,
            verifier,
            terminator,
            metrics,
            slots,
            socket,
            internal,
            listeners,
            restarts,
            ending,
            owns,
            patience: core.config.limits.handover_timeout,
            side,
            stop,
        };
        Ok((front, asked))
    }

    /// Takes what has one owner from the process before: the control socket's file and `ports.json`.
    pub fn claim(&mut self, data_dir: &Path) {
        self.socket.claim(data_dir);
        if let Err(error) = doors::publish(data_dir, &self.listeners) {
            tracing::error!(%error, "run/ports.json says where the process before this one listened");
        }
        self.owns.send_replace(true);
    }

    /// The edge, to be drained, and what goes on beside it until that is done.
    pub fn part(self) -> (Running, BesideEdge) {
        let Self { edge, side, stop, socket, ending, .. } = self;
        (edge, BesideEdge { side, stop, socket, _ending: ending })
    }
}

/// What runs beside the edge.
pub(in crate::app) struct BesideEdge {
    side: JoinSet<()>,
    stop: watch::Sender<bool>,
    socket: Socket,
    _ending: Option<Ending>,
}

impl BesideEdge {
    /// Ends it. Who asks from the process before gets no answer any more, and ends.
    pub async fn end(self) {
        let Self { mut side, stop, socket, .. } = self;
        drop(socket);
        let _ = stop.send(true);
        side.abort_all();
        while side.join_next().await.is_some() {}
    }
}
