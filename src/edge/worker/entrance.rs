//! Who comes in: directly, or through a proxy that has to say whose connection it is. What is turned away is
//! counted, and a ban's denial recorded.

use std::net::IpAddr;
use std::rc::Rc;

use tokio::net::TcpStream;

use super::Worker;
use crate::edge::accept::{Accepted, Unnamed};
use crate::edge::decisions::Denied;
use crate::edge::proxy_protocol::header::Told;
use crate::edge::proxy_protocol::receive;
use crate::model::caller::Origin;
use crate::observe::metrics::Turned;

impl Worker {
    pub(super) fn take_in(self: &Rc<Self>, stream: TcpStream, address: IpAddr) -> Option<Accepted> {
        let site = self.site();
        let now = site.clock.now();
        let admitted = Accepted::admit(stream, address, (site.plans.budget(), &site.blacklist, now));
        admitted.map_err(|(turned, stream)| self.turn_away(turned, stream, address)).ok()
    }

    /// Takes in a connection that must say whose it is, from those who are believed.
    pub(super) fn take_in_unnamed(self: &Rc<Self>, stream: TcpStream, peer: IpAddr) -> Option<Unnamed> {
        let site = self.site();
        if !site.proxies.contains(peer) {
            self.turn_away(Turned::NoProxy, stream, peer);
            return None;
        }
        let admitted = Unnamed::admit(stream, site.plans.budget());
        admitted.map_err(|(turned, stream)| self.turn_away(turned, stream, peer)).ok()
    }

    /// Reads whose it is, and takes it in as that client's.
    pub(super) async fn name(self: &Rc<Self>, mut unnamed: Unnamed, peer: IpAddr) -> Option<Accepted> {
        let patience = self.plan().plan.limits.handshake_timeout;
        let address = match receive(unnamed.stream(), patience).await {
            Ok(Told::Client(address)) => address,
            Ok(Told::Proxy) => peer,
            Err(error) => {
                tracing::debug!(%peer, %error, "a proxy did not say whose connection it is");
                self.counters().turned_away.up(Turned::ProxyHeader);
                return None;
            }
        };
        let site = self.site();
        let named = unnamed.of(address, (&site.blacklist, site.clock.now()));
        named.map_err(|(turned, stream)| self.turn_away(turned, stream, address)).ok()
    }

    fn turn_away(self: &Rc<Self>, turned: Turned, stream: TcpStream, address: IpAddr) {
        // Counted before it is closed: who sees the close finds it counted.
        self.counters().turned_away.up(turned);
        drop(stream);
        if turned == Turned::Blacklist {
            let request = self.request_ids.next(self.site().clock.now());
            let address = Some(address.to_canonical());
            let origin = Origin { request, address, user_agent: String::new() };
            let denied = Denied { origin, reason: "blacklisted", target: "accept".into(), caller: None };
            let worker = Rc::clone(self);
            tokio::task::spawn_local(async move { worker.pipeline.record(denied).await });
        }
    }
}
