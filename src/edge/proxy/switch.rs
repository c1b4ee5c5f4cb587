//! A request that asks to switch protocols, on its way: over a pooled connection like any other, so that
//! asking costs nobody more than any request. Once it has switched it is never the pool's again.

use std::future::poll_fn;
use std::task::Poll;

use http::header::CONTENT_LENGTH;
use http::{Response, StatusCode, Version};
use keepgate_guard::refusal::Refusal;

use super::exchange::Asked;
use super::send::{Outbound, Tail};
use super::{Proxy, headers};
use crate::edge::authenticate::{Stopped, bad_token};
use crate::edge::body::Outgoing;
use crate::edge::decisions::Denied;
use crate::edge::guard;
use crate::edge::upgrade::Offer;
use crate::edge::upgrade::tunnel::Opening;
use crate::edge::upstream::local::Group;
use crate::edge::watch::Watched;
use crate::observe::metrics::tunnels::Cut;

/// What a request asks to switch to.
pub(super) struct Asking {
    /// The protocols.
    pub offer: Offer,
    /// The event, if its grounds fall away before the upstream has agreed.
    pub denied: Box<Denied>,
}

impl Proxy<'_> {
    /// Asks one of the group's servers to switch. Any answer but 101 is an ordinary response, and the
    /// client's connection goes on.
    pub(super) async fn switch(
        self,
        group: &Group,
        (outbound, key): (&mut Outbound, u64),
        asking: Asking,
        mut watched: Watched,
    ) -> Result<Response<Outgoing>, Stopped> {
        let Asking { offer, denied } = asking;
        let asked = Asked { group, key, upload: None };
        let (response, flight) = self.exchange(asked, outbound).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(self.answer(response, flight, watched));
        }
        let chosen = offer.chosen(response.headers());
        let chosen =
            chosen.ok_or_else(|| self.broken("the application switched to what nobody asked for"))?;
        let (mut parts, tail) = response.into_parts();
        let Tail::Http1(rest, lease) = tail else {
            return Err(self.broken("the application switched what does not switch").into());
        };
        let upstream = lease.into_switched(rest.inbox);
        // It was asked for in the name of whoever might have been then. Listed first, then looked at:
        // what falls away from here on cuts the tunnel.
        if let Poll::Ready(cut) = poll_fn(|cx| Poll::Ready(watched.poll_cut(cx))).await {
            return Err(fallen(cut, *denied));
        }
        headers::drop_hop_by_hop(&mut parts.headers);
        // RFC 9110 §8.6: not in a 1xx.
        parts.headers.remove(CONTENT_LENGTH);
        chosen.write(&mut parts.headers);
        parts.version = Version::HTTP_11;
        Ok(Response::from_parts(parts, Outgoing::opening(Box::new(Opening { upstream, watched, flight }))))
    }
}

/// As if it had been so when the request came.
fn fallen(cut: Cut, denied: Denied) -> Stopped {
    let (refused, reason) = match cut {
        Cut::Banned => (guard::banned(None), "blacklisted"),
        Cut::Revoked | Cut::Lapsed => (bad_token(Refusal::Revoked), Refusal::Revoked.word()),
    };
    Stopped { refused, denied: Some(Box::new(Denied { reason, ..denied })) }
}
