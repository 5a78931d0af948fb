//! Who the client is: address, name, addresses of a name.
//!
//! Called by `connection` before any change of root, since looking up names needs the system's
//! files. A name by reverse look-up counts only if it leads back to the same address.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::os::fd::OwnedFd;

use socket2::SockRef;

use super::access::canonical;
use super::files;

/// Shown while no look-up has been made.
pub const UNDETERMINED: &[u8] = b"UNDETERMINED";

/// Shown when the name does not lead back to the address.
pub const UNKNOWN: &[u8] = b"UNKNOWN";

/// Variables in which a remote shell tells whom it serves; the first word is the address.
const SHELL_VARIABLES: &[&[u8]] =
    &[b"REMOTE_HOST", b"SSH_CONNECTION", b"SSH_CLIENT", b"SSH2_CLIENT"];

/// The address of the peer; `0.0.0.0` if there is none.
pub fn address(input: &OwnedFd, via_shell: bool) -> IpAddr {
    let found = if via_shell {
        SHELL_VARIABLES.iter().find_map(|name| {
            let value = String::from_utf8(files::system_variable(name)?).ok()?;
            value.split_whitespace().next()?.parse().ok()
        })
    } else {
        let peer = SockRef::from(input).peer_addr().ok();
        peer.and_then(|peer| peer.as_socket()).map(|peer| peer.ip())
    };
    canonical(found.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
}

/// Whether a descriptor is a connected socket: then a daemon serves it alone, as for inetd.
pub fn is_connection(input: &OwnedFd) -> bool {
    SockRef::from(input).peer_addr().is_ok()
}

/// The name of an address, and what to log where there is none.
pub fn host_name(addr: IpAddr) -> (Vec<u8>, Option<String>) {
    let unknown = UNKNOWN.to_vec();
    if addr.is_unspecified() {
        return (unknown, None);
    }
    let Some(name) = tree::netname::reverse(addr) else {
        let remark = format!("name lookup failed for {addr}: Name or service not known");
        return (unknown, Some(remark));
    };
    let found = std::str::from_utf8(&name).ok().and_then(addresses);
    match found.is_some_and(|found| found.contains(&addr)) {
        true => (name, None),
        false => (unknown, None),
    }
}

/// The addresses of a name.
pub fn addresses(name: &str) -> Option<Vec<IpAddr>> {
    let found = (name, 0).to_socket_addrs().ok()?;
    Some(found.map(|address| canonical(address.ip())).collect())
}
