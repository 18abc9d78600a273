//! Whoever started this process and wants to know how it stands: systemd, by the datagrams of `sd_notify`.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// The one that is told. Nobody, where none is named.
#[derive(Debug, Default)]
pub struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
}

impl Supervisor {
    /// The one that `NOTIFY_SOCKET` names. One that cannot be reached is as if there were none.
    #[must_use]
    pub fn named(notify_socket: Option<&OsStr>) -> Self {
        let address = notify_socket.and_then(|name| match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
            [b'/', ..] => SocketAddr::from_pathname(Path::new(name)).ok(),
            _ => None,
        });
        Self { socket: address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address))) }
    }

    /// Tells it something; that it does not listen is no harm.
    pub(super) fn tell(&self, text: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(text.as_bytes(), address);
        }
    }
}
