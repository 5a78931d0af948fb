//! The roles that join the wire to the file system: client, server, daemon, sender, generator,
//! receiver.
//!
//! One engine: a push, a pull, a local copy and the live mirror's batches all run the same sender,
//! generator and receiver over a pair of byte streams. Nothing here prints: lines go to a
//! [`console::Console`], and every path's fate is a value in [`problem`].

pub mod console;
pub mod options;
pub mod location;
pub mod chmod;
pub mod id_map;
pub mod problem;
pub mod control;
pub mod report;
pub mod transport;
pub mod link;
pub mod client;
pub mod server;
pub mod daemon;
