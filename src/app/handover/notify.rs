//! What systemd is told of a unit with `Type=notify` (`sd_notify(3)`): a datagram to `$NOTIFY_SOCKET`. Without it
//! nobody asks.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::time::{ClockId, clock_gettime};

/// Doors are open.
pub(in crate::app) fn ready() {
    tell(std::env::var_os("NOTIFY_SOCKET").as_deref(), "READY=1\nSTATUS=serving");
}

/// The configuration is read anew; [`ready`] follows.
pub(in crate::app) fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
    let state = format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading the configuration");
    tell(std::env::var_os("NOTIFY_SOCKET").as_deref(), &state);
}

/// Doors are closing.
pub(in crate::app) fn stopping() {
    tell(std::env::var_os("NOTIFY_SOCKET").as_deref(), "STOPPING=1\nSTATUS=finishing open requests");
}

/// Another process is the unit's main one from now on.
pub(in crate::app) fn handed_over(pid: u32) {
    let state = format!("MAINPID={pid}\nREADY=1\nSTATUS=serving");
    tell(std::env::var_os("NOTIFY_SOCKET").as_deref(), &state);
}

/// Whether systemd runs this process as a unit's main one and is not told who takes over: it would take the end of
/// this process for the unit's, and end the one that took over.
pub(in crate::app) fn is_not_told() -> bool {
    let main = std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    main && std::env::var_os("NOTIFY_SOCKET").is_none()
}

fn tell(socket: Option<&OsStr>, state: &str) {
    let Some(name) = socket else { return };
    let address = match name.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name),
        Some((b'/', _)) => SocketAddr::from_pathname(name),
        // Of another kind (vsock): nobody asks for it on a machine of one's own.
        _ => return,
    };
    let sent = address
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop));
    if let Err(error) = sent {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_goes_to_a_path_or_an_abstract_name_and_else_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("keepgate-notify-{}", std::process::id());
        let here = UnixDatagram::bind(&path).unwrap();
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        let there = UnixDatagram::bind_addr(&abstract_name).unwrap();
        let mut heard = [0; 64];
        tell(Some(path.as_os_str()), "READY=1");
        assert_eq!(here.recv(&mut heard).map(|size| heard[..size].to_vec()).unwrap(), b"READY=1");
        tell(Some(OsStr::new(&format!("@{name}"))), "STOPPING=1");
        assert_eq!(there.recv(&mut heard).map(|size| heard[..size].to_vec()).unwrap(), b"STOPPING=1");
        tell(Some(OsStr::new("vsock:2:1")), "READY=1");
        tell(None, "READY=1");
    }
}
