//! The roles that join the wire to the file system: client, server, daemon, sender, generator,
//! receiver.
//!
//! One engine: a push, a pull, a local copy and the live mirror's batches all run the same sender,
//! generator and receiver over a pair of byte streams. Nothing here prints: lines go to a
//! [`console::Console`], and every path's fate is a value in [`problem`].

pub mod accept;
pub mod acls;
pub mod alternate;
pub mod asked;
pub mod attributes;
pub mod backup;
pub mod basis;
pub mod batch;
mod batch_script;
pub mod charset;
pub mod chmod;
pub mod client;
pub mod console;
pub mod control;
mod copy_as;
pub mod counters;
pub mod create;
pub mod daemon;
pub mod daemon_login;
pub mod daemon_session;
pub mod delayed;
pub mod delete;
pub mod delete_when;
pub mod dest;
mod digests;
pub mod ending;
pub mod farewell;
pub mod fatal;
pub mod files_from;
pub mod flist_options;
pub mod fuzzy;
pub mod generator;
pub mod handover;
pub mod hardlink;
pub mod hash;
pub mod heading;
pub mod hints;
pub mod id_map;
pub mod itemize_line;
pub mod items;
pub mod link;
pub mod lists;
pub mod location;
pub mod merge_files;
pub mod munge;
pub mod old_peer;
pub mod options;
pub mod pace;
pub mod partial;
pub mod presence;
pub mod problem;
pub mod quick_check;
pub mod receiver;
pub mod receiving;
pub mod regular;
pub mod remove_source;
pub mod report;
pub mod restrict;
pub mod run_log;
pub mod scan;
pub mod sender;
pub mod server;
pub mod session;
pub mod settled;
pub mod setup;
pub mod similar_name;
pub mod symlinks;
#[cfg(feature = "tls")]
pub mod tls;
pub mod transport;
pub mod wildcards;
pub mod window;
pub mod xattrs;
