//! The network between processes: how messages become frames, how a connection opens, and who carries what in and out.

mod ceiling;
pub mod directory;
pub mod door;
pub mod hello;
pub mod host;
pub mod hosted;
pub mod ledger_client;
pub mod ledger_service;
pub mod link;
pub mod refusals;
pub mod service;
pub mod settings;
pub mod stream;
pub mod wire;

pub(crate) mod strangers;
pub(crate) mod task;
