//! Listening sockets: one for each edge thread on the same port (SO_REUSEPORT), so that the kernel
//! spreads connections and threads share no accept queue.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use super::EdgeError;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// One thread's share of a listening socket.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// Whether every connection begins with a PROXY header.
    pub proxied: bool,
}

/// What whoever starts the node can do about an address that cannot be listened on.
pub fn remedy(refused: &std::io::Error) -> &'static str {
    match refused.kind() {
        ErrorKind::AddrInUse => "stop what listens there",
        ErrorKind::PermissionDenied => "grant CAP_NET_BIND_SERVICE, which ports below 1024 take",
        ErrorKind::AddrNotAvailable => "give an interface of this machine that address",
        _ => "see what the system has against it",
    }
}

/// Binds one address `count` times. With port 0 the system chooses for the first, and the others
/// follow. The address returned has the port.
pub fn bind(
    address: SocketAddr,
    count: usize,
    beside: &[SocketAddr],
) -> Result<(SocketAddr, Vec<TcpListener>), EdgeError> {
    let refused = |source| EdgeError::Bind { address, source };
    if address.port() != 0 {
        // SO_REUSEPORT would let a second Keepgate share the port unnoticed: ask without it first.
        socket(address, false, beside).map_err(refused)?;
    }
    let mut chosen = address;
    let mut listeners = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = socket(chosen, true, beside).map_err(refused)?;
        socket.listen(BACKLOG).map_err(refused)?;
        let listener = TcpListener::from(socket);
        chosen = listener.local_addr().map_err(refused)?;
        listeners.push(listener);
    }
    Ok((chosen, listeners))
}

/// Takes those that listen on `address` from sockets that are open already; where the address leaves the
/// port to the system, those on any port that no other address names.
pub fn take(given: &mut Vec<TcpListener>, address: SocketAddr, named: &[SocketAddr]) -> Vec<TcpListener> {
    let is = |socket: &TcpListener| {
        socket.local_addr().is_ok_and(|local| match address.port() {
            0 => local.ip() == address.ip() && !named.contains(&local),
            _ => local == address,
        })
    };
    let (taken, left) = std::mem::take(given).into_iter().partition(is);
    *given = left;
    taken
}

/// Spreads sockets that are open already over `count` threads, or more: all of them are accepted from, or those
/// who wait at one would wait for ever; threads beyond their number share them.
pub fn spread(given: Vec<TcpListener>, count: usize) -> Result<(SocketAddr, Vec<TcpListener>), EdgeError> {
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let address = given.first().and_then(|socket| socket.local_addr().ok()).unwrap_or(any);
    let refused = |source| EdgeError::Bind { address, source };
    let more = given.iter().cycle().take(count.saturating_sub(given.len()));
    let more = more.map(TcpListener::try_clone).collect::<Result<Vec<_>, _>>().map_err(refused)?;
    let all: Vec<_> = given.into_iter().chain(more).collect();
    all.iter().try_for_each(|socket| socket.set_nonblocking(true)).map_err(refused)?;
    Ok((address, all))
}

fn socket(address: SocketAddr, shared: bool, beside: &[SocketAddr]) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // `[::]` takes IPv4 too, unless that has its own listener.
    if address.is_ipv6() && beside.iter().any(|other| other.is_ipv4() && other.port() == address.port()) {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_listeners_share_the_port_the_system_chose() {
        let (address, listeners) = bind("127.0.0.1:0".parse().unwrap(), 3, &[]).unwrap();
        assert_ne!(address.port(), 0);
        assert!(listeners.iter().all(|listener| listener.local_addr().unwrap() == address));
    }

    #[test]
    fn open_sockets_are_taken_by_their_address_and_spread_over_any_number_of_threads() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (named, sockets) = bind(any, 2, &[]).unwrap();
        let (_, more) = bind(any, 1, &[]).unwrap();
        let mut given: Vec<_> = sockets.into_iter().chain(more).collect();
        let chosen = take(&mut given, any, &[named]);
        assert_eq!((chosen.len(), given.len()), (1, 2), "a named port is left to its name");
        let (address, spread) = spread(take(&mut given, named, &[named]), 3).unwrap();
        assert_eq!((address, spread.len(), given.len()), (named, 3, 0));
        let (_, few) = super::spread(spread, 1).unwrap();
        assert_eq!(few.len(), 3, "none is left without anybody who accepts");
    }

    #[test]
    fn a_port_in_use_is_refused_even_though_ports_are_shared() {
        let (address, _held) = bind("127.0.0.1:0".parse().unwrap(), 1, &[]).unwrap();
        let refused = bind(address, 1, &[]).unwrap_err();
        let said = refused.to_string();
        assert!(
            said.contains("stop what listens there, or set listen.https") && said.contains("--https"),
            "{said}"
        );
        let elsewhere = bind("192.0.2.1:0".parse().unwrap(), 1, &[]).unwrap_err().to_string();
        assert!(elsewhere.contains("give an interface of this machine that address"), "{elsewhere}");
    }
}
