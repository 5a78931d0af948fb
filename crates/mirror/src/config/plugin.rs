//! A program or a socket that is told of what was sent.
//!
//! Made by `sersync` from its `plugin` elements, carried out by `run::plugin`.

use rsync::options::FilterArg;

/// Who is told, and of what.
#[derive(Clone, Debug, PartialEq)]
pub struct Plugin {
    /// Who.
    pub to: PluginTo,
    /// Patterns of the names to tell of; none for all.
    pub only: Vec<FilterArg>,
    /// Nothing is sent to a target: telling is all there is.
    pub alone: bool,
}

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginTo {
    /// A program, started once for each path. No shell comes in between.
    Command {
        /// The program and its words before the path; not empty.
        before: Vec<Vec<u8>>,
        /// Words behind the path.
        after: Vec<Vec<u8>>,
        /// Its exit code does not count; else a path for which it fails is sent and told again.
        ignore_error: bool,
    },
    /// A TCP socket: each path goes over a connection of its own, as it is.
    Socket {
        /// Name or address.
        host: String,
        /// Its port.
        port: u16,
    },
}
