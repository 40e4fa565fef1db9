//! Certificates and mutual TLS: who may speak for which member of a run (SPEC J1).
//!
//! A run that has `[tls]` in its configuration has an authority of its own. The authority issues one certificate to
//! each [`Identity`]: every peer, the ledger, and the tools. The identity is the certificate's one DNS name. Whoever
//! connects checks that name before anything is said, and whoever accepts takes the name of the certificate it is shown for the
//! name of the other side, so that the hello can claim nothing else.
//!
//! [`certificate`] says what is in a certificate, [`authority`] issues them, [`files`] keeps and loads them, and
//! [`handshake`] opens connections with them.

pub mod authority;
pub mod certificate;
pub mod files;
pub mod handshake;
pub mod identity;

pub use handshake::Tls;
pub use identity::Identity;
