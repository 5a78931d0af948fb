//! What a connection hands to the server side of the protocol once the client is let in.
//!
//! Made by `connection`, used by `crate::server`. From here on the process has the module's user,
//! groups and root directory, and everything a peer names is reached through `root`.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use tree::root::Root;
use wire::filter::FilterList;
use wire::version::Protocol;

use crate::charset::Charset;

use super::converter::NameConverter;
use super::log::DaemonLog;
use super::module::Module;
use super::refuse::RefuseSet;
use super::slots::Slot;
use super::standing::Teller;

/// One admitted client.
#[derive(Debug)]
pub struct DaemonSession {
    /// Bytes from the client.
    pub input: OwnedFd,
    /// Bytes to the client.
    pub output: OwnedFd,
    /// Bytes of the client that were read together with its arguments; they come first.
    pub ahead: Vec<u8>,
    /// Lower of the two versions of the greetings.
    pub protocol: Protocol,
    /// Options, `.`, paths: escapes removed, module names stripped, wildcards replaced, paths
    /// cleaned so that none leads above the module.
    pub args: Vec<Vec<u8>>,
    /// Whether the client asked this side to send.
    pub sending: bool,
    /// The module, resolved for this user; `read_only` is what holds for the user.
    pub module: Module,
    /// The directory served, opened while the process still had its privileges.
    pub root: Root,
    /// Whether that directory is the root of the process and nothing but it is in reach.
    pub confined: bool,
    /// Whether symbolic links are munged, default and parameter taken together.
    pub munge: bool,
    /// Whether ids are not mapped by name, default and parameter taken together.
    pub numeric_ids: bool,
    /// The client's address.
    pub addr: IpAddr,
    /// The client's name as logged.
    pub host: Vec<u8>,
    /// The user who logged in; empty if nobody did.
    pub user: Vec<u8>,
    /// The daemon's own filter; what it excludes does not exist for the client.
    pub filters: FilterList,
    /// Options the module refuses.
    pub refused: RefuseSet,
    /// The log, open.
    pub log: DaemonLog,
    /// What the client is told instead of being served, if a command of the operator said no.
    pub refusal: Option<Vec<u8>>,
    /// Who knows names and ids in place of the system.
    pub converter: Option<Arc<Mutex<NameConverter>>>,
    /// The module's charset, for a client that has names converted.
    pub charset: Option<Arc<Charset>>,
    /// Upper bound of the bandwidth in bytes per second; 0 none.
    pub bwlimit: u64,
    /// Where the listener is told how things stand.
    pub standing: Arc<Teller>,
    /// Counts against `max connections` as long as it lives.
    pub slot: Option<Slot>,
}

impl DaemonSession {
    /// The client as logged: `[USER@]HOST (ADDR)`.
    pub fn client(&self) -> Vec<u8> {
        client_name(&self.user, &self.host, self.addr)
    }
}

/// `[USER@]HOST (ADDR)`.
pub(crate) fn client_name(user: &[u8], host: &[u8], addr: IpAddr) -> Vec<u8> {
    let at: &[u8] = if user.is_empty() { b"" } else { b"@" };
    [user, at, host, format!(" ({addr})").as_bytes()].concat()
}
