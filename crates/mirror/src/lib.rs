//! The live mirror: keeps a target equal to a source, change by change.
//!
//! `config` says what to mirror; `watch` turns kernel events into changes of paths; `aggregate`
//! holds the dirty paths in bounded memory; `plan` makes batches of names; `run` carries them out
//! through the transfers of crate `rsync`, retries, and guards the source; `status` answers what is
//! going on, `serve_status` the same of a daemon; `check` tells what is wrong with a configuration
//! before it runs. Nothing here prints: what there is to say is a [`report::Report`] handed to the
//! caller.

pub mod aggregate;
pub mod check;
pub mod config;
pub mod plan;
pub mod report;
pub mod run;
pub mod script;
pub mod serve_status;
pub mod status;
pub mod status_file;
pub mod watch;
