//! What is said of a process whose connections others could read.

use std::net::SocketAddr;

use crate::{processes::supervise::Process, system::output::complain};

/// Says, once a process listens, that others can read what its members say, if they can (SPEC J1).
pub fn warn_of_eavesdroppers(process: &Process, listens: SocketAddr, is_encrypted: bool) {
    if is_encrypted || listens.ip().to_canonical().is_loopback() {
        return;
    }
    let listen = match process {
        Process::Peers(ids) if ids.len() > 1 => "listen",
        Process::Peers(_) | Process::Ledger(_) => "listens",
    };
    complain(&format!(
        "warning: {process} {listen} at {listens} without TLS: what members say can be read and changed on the way; \
         `bazaar init --tls` makes certificates"
    ));
}
