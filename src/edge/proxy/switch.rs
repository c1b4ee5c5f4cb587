//! A request that asks to switch protocols, on its way: over a connection of its own, which is never tried
//! twice and, once it has switched, never a pool's.

use http::header::CONTENT_LENGTH;
use http::{Request, Response, StatusCode, Version};

use super::pool::Group;
use super::{Proxy, headers};
use crate::edge::body::{Outgoing, RequestBody};
use crate::edge::respond::Refused;
use crate::edge::upgrade::Offer;
use crate::edge::upgrade::tunnel::Opening;
use crate::edge::watch::Watched;

impl Proxy<'_> {
    /// Asks one of the group's servers to switch. Any answer but 101 is an ordinary response, and the
    /// client's connection goes on.
    pub(super) async fn switch(
        self,
        group: &Group,
        request: Request<RequestBody>,
        offer: &Offer,
        watched: Watched,
    ) -> Result<Response<Outgoing>, Refused> {
        let pool = group.next().ok_or_else(|| self.broken("the upstream has no servers"))?;
        let lease = self.connect(group, pool, true).await?;
        let sent = self.send(lease, request, None).await;
        let (response, lease) = sent.map_err(|failed| self.given_up(failed))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(self.answer(response, lease, watched));
        }
        let chosen = offer.chosen(response.headers());
        let chosen =
            chosen.ok_or_else(|| self.broken("the application switched to what nobody asked for"))?;
        let (mut parts, _no_body) = response.into_parts();
        let switched = tokio::time::timeout(self.limits.connect_timeout, lease.into_switched()).await;
        let upstream = switched.ok().flatten();
        let upstream = upstream.ok_or_else(|| self.broken("the application left after its 101"))?;
        headers::drop_hop_by_hop(&mut parts.headers);
        // RFC 9110 §8.6: not in a 1xx.
        parts.headers.remove(CONTENT_LENGTH);
        chosen.write(&mut parts.headers);
        parts.version = Version::HTTP_11;
        Ok(Response::from_parts(parts, Outgoing::opening(Box::new(Opening { upstream, watched }))))
    }
}
