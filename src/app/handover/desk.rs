//! Where the edge's requests to the API and its denials go: to the house, as long as it has the stores; to the
//! process that has taken them over, after that ([`super::relay`]). In between they wait.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Empty};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock, watch};
use tokio::time::timeout;

use super::relay::Relay;
use crate::api::Api;
use crate::audit::Trail;
use crate::audit::draft::Draft;
use crate::edge::body::{BoxError, ResponseBody};
use crate::edge::decisions::{AuditSink, NotRecorded};
use crate::edge::local::LocalApi;

/// For requests to the API that are under way when the stores are to be closed. Those that are still sending
/// their bodies then are answered 503.
const FINISHING: Duration = Duration::from_secs(5);
/// Longest that anybody waits for the stores to be open again.
const MOVING: Duration = Duration::from_secs(60);

/// Who answers.
pub(in crate::app) enum Attendant {
    /// This process.
    House { api: Api, trail: Trail },
    /// The one that has the stores now.
    Successor(Relay),
    /// Nobody: they are on their way, and whoever asks waits.
    Nobody,
}

/// The desk. Clones are the same.
#[derive(Clone)]
pub(in crate::app) struct Desk {
    attendant: Arc<RwLock<Attendant>>,
    hurry: Arc<watch::Sender<bool>>,
}

/// The desk while nobody attends to it; who it is dropped on sits there then.
pub(in crate::app) type Unattended = OwnedRwLockWriteGuard<Attendant>;

impl Desk {
    /// Attended by `attendant`.
    pub fn new(attendant: Attendant) -> Self {
        Self { attendant: Arc::new(RwLock::new(attendant)), hurry: Arc::new(watch::Sender::new(false)) }
    }

    /// Waits for what is under way, and lets nobody begin anything until the guard is dropped.
    pub async fn close(&self) -> Unattended {
        let mut closing = std::pin::pin!(Arc::clone(&self.attendant).write_owned());
        if let Ok(closed) = timeout(FINISHING, &mut closing).await {
            return closed;
        }
        self.hurry.send_replace(true);
        let closed = closing.await;
        self.hurry.send_replace(false);
        closed
    }

    /// Answers a request to the API.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let Ok(attendant) = timeout(MOVING, self.attendant.read()).await else { return unavailable() };
        let mut hurry = self.hurry.subscribe();
        let answer = async {
            match &*attendant {
                Attendant::House { api, .. } => api.answer(request).await,
                Attendant::Successor(relay) => relay.answer(request).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "the process that took over did not answer for the API");
                    unavailable()
                }),
                Attendant::Nobody => unavailable(),
            }
        };
        tokio::select! {
            answer = answer => answer,
            _ = hurry.wait_for(|hurry| *hurry) => unavailable(),
        }
    }

    /// The API as the edge calls it: on this runtime, not on the edge's threads, so that a store's slow
    /// read or a signature keeps no proxied request waiting. A panic goes back to the edge, which knows
    /// what to answer. What was begun is finished even if the client hangs up.
    pub fn api(&self) -> LocalApi {
        let (desk, services) = (self.clone(), tokio::runtime::Handle::current());
        Arc::new(move |request| {
            let desk = desk.clone();
            let answer = services.spawn(async move { desk.answer(request).await });
            async move {
                match answer.await {
                    Ok(response) => response,
                    Err(ended) => match ended.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        // Only at the very end, when the services' runtime is shut down under it.
                        Err(_) => unavailable(),
                    },
                }
            }
            .boxed()
        })
    }

    /// Records events, all of them or none.
    pub async fn record_all(&self, drafts: Vec<Draft>) -> Result<(), NotRecorded> {
        match &*self.attendant.read().await {
            Attendant::House { trail, .. } => trail.record_all(drafts).await.map_err(NotRecorded::new),
            Attendant::Successor(relay) => relay.record_all(&drafts).await,
            Attendant::Nobody => Err(NotRecorded::new("the stores are closed")),
        }
    }
}

impl AuditSink for Desk {
    fn record(&self, draft: Draft) -> BoxFuture<'_, Result<(), NotRecorded>> {
        Box::pin(Self::record_all(self, vec![draft]))
    }

    fn record_all(&self, drafts: Vec<Draft>) -> BoxFuture<'_, Result<(), NotRecorded>> {
        Box::pin(Self::record_all(self, drafts))
    }

    fn takes(&self) -> bool {
        match self.attendant.try_read().as_deref() {
            Ok(Attendant::House { trail, .. }) => trail.takes(),
            Ok(Attendant::Successor(_)) => true,
            // It is counted in memory meanwhile.
            Ok(Attendant::Nobody) | Err(_) => false,
        }
    }
}

/// The answer of a node that is going away.
fn unavailable() -> Response<ResponseBody> {
    let mut response = Response::new(Empty::new().map_err(|impossible| match impossible {}).boxed_unsync());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}
