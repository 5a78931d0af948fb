//! Syncs with actions of their own: the program in Lua of an lsyncd configuration decides what runs.
//!
//! Called by `run::runner` on a thread of its own, one for all such syncs of a configuration, since
//! they share one program. Steps: the program is run once more and kept; each sync's source is
//! watched, and its events become [`delays`]; the functions of `runtime.lua` are called for what is
//! due, and start processes through [`machine`]; what these end with is judged there again.
//!
//! Words of a command reach a process as they are, and names in a command for a shell as its
//! arguments: no name is ever read as a command.

#[cfg(feature = "lua")]
pub mod delays;
#[cfg(feature = "lua")]
pub mod machine;
#[cfg(feature = "lua")]
mod process;
#[cfg(feature = "lua")]
mod state;
