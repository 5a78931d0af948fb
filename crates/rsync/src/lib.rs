//! The roles that join the wire to the file system: client, server, daemon, sender, generator,
//! receiver.
//!
//! One engine: a push, a pull, a local copy and the live mirror's batches all run the same sender,
//! generator and receiver over a pair of byte streams. Nothing here prints: lines go to a
//! [`console::Console`], and every path's fate is a value in [`problem`].

pub mod console;
pub mod control;
pub mod options;
pub mod location;
pub mod problem;
pub mod fatal;
pub mod report;
pub mod counters;
pub mod transport;
pub mod link;
pub mod pace;
pub mod setup;
pub mod client;
pub mod daemon_login;
pub mod server;
pub mod farewell;
pub mod hints;
pub mod session;
pub mod flist_options;
pub mod files_from;
pub mod merge_files;
pub mod lists;
pub mod scan;
pub mod window;
pub mod hash;
pub mod sender;
pub mod accept;
pub mod dest;
pub mod receiving;
pub mod id_map;
pub mod chmod;
pub mod quick_check;
pub mod attributes;
pub mod generator;
pub mod create;
pub mod regular;
pub mod hardlink;
pub mod delete;
pub mod partial;
pub mod backup;
pub mod munge;
pub mod receiver;
pub mod items;
pub mod itemize_line;
pub mod daemon;
pub mod daemon_session;
