//! What is said of a process whose connections others could read.

use std::net::SocketAddr;

use crate::system::output::complain;

/// Says, once a process listens, that others can read what its members say, if they can (SPEC J1).
pub fn warn_of_eavesdroppers(process: &str, listens: SocketAddr, is_encrypted: bool) {
    if is_encrypted || listens.ip().to_canonical().is_loopback() {
        return;
    }
    complain(&format!(
        "warning: {process} listens at {listens} without TLS: what members say can be read and changed on the way; \
         `bazaar init --tls` makes certificates"
    ));
}
