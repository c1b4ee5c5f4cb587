//! Plain HTTP: it leads to HTTPS, and answers challenges.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::Response;

use super::Worker;
use crate::edge::accept::Accepted;
use crate::edge::access::Entry;
use crate::edge::activity::{Activity, Busy};
use crate::edge::body::Outgoing;
use crate::edge::connection::{ClientIo, Peer};
use crate::edge::http1::connection::Arrived;
use crate::edge::{guard, redirect, respond};

impl Worker {
    pub(super) async fn serve_http(self: Rc<Self>, accepted: Accepted) {
        let limits = Arc::clone(&self.plan().plan.limits);
        let (stream, address, permit) = accepted.into_parts();
        let (peer, activity) = (Peer::new(address), Activity::of_http1());
        let io = ClientIo::new(stream, limits.stall_timeout);
        let (worker, busy) = (Rc::clone(&self), Rc::clone(&activity));
        let answer = move |arrived| std::future::ready(worker.redirect(&peer, Busy::start(&busy), arrived));
        let connection = self.http1(io, answer, &activity, &limits);
        self.serve_http1(connection, activity, limits, permit).await;
    }

    fn redirect(&self, peer: &Peer, busy: Rc<Busy>, arrived: Arrived) -> Response<Outgoing> {
        let Arrived { request, breach, .. } = arrived;
        let started = Instant::now();
        let id = self.request_ids.next(self.site().clock.now());
        let mut entry = Entry::of(&request, peer.address, id);
        let (local, https_port) = (self.plan(), self.site().https_port);
        let answered = match breach {
            Some(breach) => Err(guard::misframed(breach, &local.plan.limits)),
            None => redirect::answer(*request, local.plan.terminator.certificates(), https_port),
        };
        let mut response = self.settle(answered, &mut entry);
        // No HSTS: RFC 6797 §7.2 forbids it over plain HTTP.
        respond::seal(&mut response, None, respond::id_header(id));
        let took = started.elapsed();
        self.counters().answered(entry.route.as_ref(), response.status().as_u16(), took);
        entry.write(response.status().as_u16(), took);
        response.map(|body| body.holding(busy))
    }
}
