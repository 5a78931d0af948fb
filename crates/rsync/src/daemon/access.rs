//! `hosts allow` and `hosts deny`: who may connect.
//!
//! Called by `connection` for a module that a client asked for, before anything else about it is
//! told. A match in the allow list lets in; without one, an allow list alone refuses, and a deny
//! list refuses what it matches. Names are looked up by a closure, so nothing here touches the
//! network. A name that does not resolve matches a deny list and never an allow list.

use std::net::IpAddr;

use super::glob;

/// What is known of the peer.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub addr: IpAddr,
    /// Scope of a link-local IPv6 address, as a name (`eth0`).
    pub scope: Option<String>,
    /// Its name by reverse look-up; `UNDETERMINED` or `UNKNOWN` if there is none.
    pub host: Vec<u8>,
}

/// What the lists say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessVerdict {
    /// Whether the peer may enter.
    pub allowed: bool,
    /// Name of a list that matched by forward look-up, shown if no other name is known.
    pub matched_name: Option<Vec<u8>>,
    /// What to log about tokens that cannot be understood.
    pub remarks: Vec<String>,
}

/// Looks up the addresses of a host name; `None` if that fails.
pub type ForwardLookup<'a> = Option<&'a dyn Fn(&str) -> Option<Vec<IpAddr>>>;

/// Which list a token stands in: decides what a failed look-up means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    Allow,
    Deny,
}

/// Decides whether the peer may use a module with these two lists; an empty list is unset.
pub fn check(allow: &[u8], deny: &[u8], peer: &Peer, forward: ForwardLookup<'_>) -> AccessVerdict {
    let mut verdict = AccessVerdict::default();
    let (allow, deny) = (allow.trim_ascii(), deny.trim_ascii());
    let allowed = !allow.is_empty() && matches(allow, List::Allow, peer, forward, &mut verdict);
    verdict.allowed = if allowed {
        true
    } else if !allow.is_empty() && deny.is_empty() {
        false
    } else {
        deny.is_empty() || !matches(deny, List::Deny, peer, forward, &mut verdict)
    };
    verdict
}

/// The tokens of a list: lower case, split at blanks, commas and tabs.
pub fn tokens(list: &[u8]) -> Vec<String> {
    let lower = String::from_utf8_lossy(list).to_ascii_lowercase();
    let words = lower.split([' ', ',', '\t']);
    words.filter(|word| !word.is_empty()).map(str::to_string).collect()
}

fn matches(
    list: &[u8],
    kind: List,
    peer: &Peer,
    forward: ForwardLookup<'_>,
    verdict: &mut AccessVerdict,
) -> bool {
    for token in tokens(list) {
        if glob::matches_ignoring_case(token.as_bytes(), &peer.host) {
            return true;
        }
        if is_plain_name(&token) {
            let Some(lookup) = forward else { continue };
            match lookup(&token) {
                Some(addresses) if addresses.contains(&peer.addr) => {
                    verdict.matched_name = Some(token.into_bytes());
                    return true;
                }
                None if kind == List::Deny => return true,
                _ => continue,
            }
        }
        match address_matches(&token, peer) {
            Ok(true) => return true,
            Ok(false) => {}
            Err(remark) => verdict.remarks.push(remark),
        }
    }
    false
}

/// A token that can only be a host name: no address, no wildcard, no netgroup.
fn is_plain_name(token: &str) -> bool {
    let numeric = token.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    !numeric && !token.contains([':', '/', '*', '?', '[', '@'])
}

/// Compares an address, or a network of it, with the peer's.
fn address_matches(token: &str, peer: &Peer) -> Result<bool, String> {
    if token.contains(['*', '?', '[']) || token.starts_with('@') {
        return Ok(false);
    }
    let (text, mask) = match token.split_once('/') {
        Some((address, mask)) => (address, Some(mask)),
        None => (token, None),
    };
    let (text, scope) = match text.split_once('%') {
        Some((address, scope)) => (address, Some(scope)),
        None => (text, None),
    };
    let Ok(address) = text.parse::<IpAddr>() else {
        let known = "Name or service not known";
        return Err(format!("error matching address {token}: {known}"));
    };
    let other_scope = scope.is_some_and(|scope| peer.scope.as_deref() != Some(scope));
    if address.is_ipv4() != peer.addr.is_ipv4() || other_scope {
        return Ok(false);
    }
    let bits = match mask {
        None => u128::MAX,
        Some(mask) => {
            mask_bits(mask, address).ok_or_else(|| format!("malformed mask in {token}"))?
        }
    };
    Ok(number(address) & bits == number(peer.addr) & bits)
}

/// A mask as bits over the address as a number: a count of bits, or an address of the family.
fn mask_bits(mask: &str, address: IpAddr) -> Option<u128> {
    let width = if address.is_ipv4() { 32 } else { 128 };
    if mask.bytes().all(|b| b.is_ascii_digit()) {
        let count: u32 = mask.parse().ok().filter(|count| *count <= width)?;
        return Some(u128::MAX.checked_shl(width - count).unwrap_or(0));
    }
    match (address, mask.parse::<IpAddr>().ok()?) {
        (IpAddr::V4(_), IpAddr::V4(mask)) => Some(u128::from(u32::from(mask))),
        (IpAddr::V6(_), IpAddr::V6(mask)) => Some(u128::from(mask)),
        _ => None,
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The IPv4 address inside an IPv6 one that stands for it, else the address itself.
pub fn canonical(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(addr, IpAddr::V4),
        IpAddr::V4(_) => addr,
    }
}

/// Whether a token matches no client that can exist: `0.0.0.0` and the nets within 0/8, `::`.
pub(crate) fn matches_nobody(token: &str) -> bool {
    let (text, mask) = match token.split_once('/') {
        Some((text, mask)) => (text, Some(mask)),
        None => (token, None),
    };
    match text.parse() {
        Ok(IpAddr::V4(address)) => {
            let bits = mask.map_or(Some(u128::MAX), |mask| mask_bits(mask, IpAddr::V4(address)));
            let first_is_fixed = bits.is_none_or(|bits| bits & 0xff00_0000 == 0xff00_0000);
            u32::from(address) >> 24 == 0 && first_is_fixed
        }
        Ok(IpAddr::V6(address)) => address.is_unspecified() && mask.is_none_or(|m| m == "128"),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(addr: &str, host: &str) -> Peer {
        Peer { addr: addr.parse().unwrap(), scope: None, host: host.into() }
    }

    fn allowed(allow: &str, deny: &str, addr: &str, host: &str) -> bool {
        let lookup = |name: &str| match name {
            "good.example" => Some(vec!["10.0.0.7".parse().unwrap()]),
            _ => None,
        };
        let peer = peer(addr, host);
        check(allow.as_bytes(), deny.as_bytes(), &peer, Some(&lookup)).allowed
    }

    #[test]
    fn the_two_lists_together() {
        assert!(allowed("", "", "10.0.0.7", "h"));
        assert!(allowed("10.0.0.7", "", "10.0.0.7", "h"));
        assert!(!allowed("10.0.0.8", "", "10.0.0.7", "h"));
        assert!(!allowed("", "10.0.0.7", "10.0.0.7", "h"));
        assert!(allowed("", "10.0.0.8", "10.0.0.7", "h"));
        assert!(allowed("10.0.0.7", "*", "10.0.0.7", "h"));
        assert!(!allowed("10.0.0.8", "*", "10.0.0.7", "h"));
        // The article's trap: the deny list matches nobody, so everybody is let in.
        assert!(allowed("192.168.0.0/16", "0.0.0.0/32", "10.0.0.7", "h"));
    }

    #[test]
    fn nets_and_masks_of_both_families() {
        assert!(allowed("192.168.0.0/16", "", "192.168.2.230", "h"));
        assert!(!allowed("192.168.0.0/16", "", "192.169.2.230", "h"));
        assert!(allowed("x, 192.168.0.0/255.255.0.0\t", "", "192.168.2.230", "h"));
        assert!(allowed("0.0.0.0/0", "", "1.2.3.4", "h"));
        assert!(!allowed("0.0.0.0/0", "", "::1", "h"));
        assert!(allowed("::/0", "", "::1", "h"));
        assert!(allowed("fe80::/10", "", "fe80::7", "h"));
        assert!(allowed("2001:DB8::/ffff:ffff::", "", "2001:db8:1::7", "h"));
        assert!(!allowed("fe80::7%eth0", "", "fe80::7", "h"));
        assert!(allowed("::1", "", "::1", "h"));
    }

    #[test]
    fn names_and_wildcards() {
        assert!(allowed("*.Example", "", "10.0.0.9", "Host.example"));
        assert!(!allowed("*.example", "", "10.0.0.9", "UNKNOWN"));
        assert!(allowed("good.example", "", "10.0.0.7", "UNDETERMINED"));
        assert!(!allowed("good.example", "", "10.0.0.9", "UNDETERMINED"));
        // A name without an address: no match in the one list, a match in the other.
        assert!(!allowed("bad.example", "", "10.0.0.9", "h"));
        assert!(!allowed("", "bad.example", "10.0.0.9", "h"));
        let peer = peer("10.0.0.9", "UNDETERMINED");
        assert!(check(b"", b"bad.example", &peer, None).allowed);
    }

    #[test]
    fn what_cannot_be_read_is_remarked_and_matches_nothing() {
        let verdict = check(b"1.2.3.4/300 1.2.3/24", b"", &peer("1.2.3.4", "h"), None);
        assert!(!verdict.allowed);
        let expected = [
            "malformed mask in 1.2.3.4/300",
            "error matching address 1.2.3/24: Name or service not known",
        ];
        assert_eq!(verdict.remarks, expected);
    }

    #[test]
    fn tokens_that_no_client_can_match() {
        for token in ["0.0.0.0", "0.0.0.0/32", "0.0.0.0/24"] {
            assert!(matches_nobody(token), "{token}");
        }
        for token in ["0.0.0.0/0", "10.0.0.0/8", "*", "::/0", "::1", "host"] {
            assert!(!matches_nobody(token), "{token}");
        }
    }
}
