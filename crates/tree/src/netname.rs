//! The name of a network address, which the standard library does not look up.
//!
//! Called by the daemon before it gives up any privilege. The name comes from whoever runs the
//! name server of the peer: the caller looks it up again and compares.

use std::ffi::CStr;
use std::mem::size_of;
use std::net::IpAddr;

/// Longest host name the resolver returns, with its NUL.
const HOST_BYTES_MAX: usize = 1025;

/// The name of an address, none if it has no name. May take as long as the resolver's time limit.
pub fn reverse(addr: IpAddr) -> Option<Vec<u8>> {
    match addr {
        IpAddr::V4(addr) => {
            // SAFETY: an all-zero sockaddr_in is a valid value of that plain structure.
            let mut address: libc::sockaddr_in = unsafe { std::mem::zeroed() };
            address.sin_family = libc::AF_INET as libc::sa_family_t;
            address.sin_addr.s_addr = u32::from_ne_bytes(addr.octets());
            name_of(&address)
        }
        IpAddr::V6(addr) => {
            // SAFETY: an all-zero sockaddr_in6 is a valid value of that plain structure.
            let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
            address.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            address.sin6_addr.s6_addr = addr.octets();
            name_of(&address)
        }
    }
}

/// Asks the resolver about one of the two socket address structures.
fn name_of<A>(address: &A) -> Option<Vec<u8>> {
    let mut name = [0u8; HOST_BYTES_MAX];
    let length = libc::socklen_t::try_from(name.len()).ok()?;
    // SAFETY: the address is a socket address structure of the length given with it, both outlive
    // the call; the name buffer is as long as stated; no service name is asked for.
    let status = unsafe {
        libc::getnameinfo(
            std::ptr::from_ref(address).cast(),
            libc::socklen_t::try_from(size_of::<A>()).ok()?,
            name.as_mut_ptr().cast(),
            length,
            std::ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    if status != 0 {
        return None;
    }
    Some(CStr::from_bytes_until_nul(&name).ok()?.to_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_documentation_has_no_name() {
        assert_eq!(reverse("192.0.2.1".parse().unwrap()), None);
    }
}
