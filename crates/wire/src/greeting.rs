//! The first line of a daemon connection, the same from both sides (`[greeting]`).
//!
//! Shape: `@RSYNCD: VERSION.SUB DIGEST DIGEST...`. Both sides send theirs at once, without
//! waiting. Reading lines, and the lines after this one, are the connection's business.

use crate::auth::AuthDigest;
use crate::error::Error;
use crate::version::{Protocol, negotiated_sub};

/// The word a greeting starts with.
const PREFIX: &str = "@RSYNCD: ";

/// A greeting, as a peer sent it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Greeting {
    /// Protocol number.
    pub version: i32,
    /// Sub-protocol, 0 for a released protocol; old peers name none.
    pub sub: Option<i32>,
    /// Names of the digests that the peer accepts for the login, in its order, in lower case; old
    /// peers name none.
    pub digests: Option<Vec<String>>,
}

impl Greeting {
    /// The protocol of a session with this peer.
    pub fn negotiate(&self, own: Protocol) -> Result<Protocol, Error> {
        negotiated_sub(own, self.version, self.sub.unwrap_or(0))
    }
}

/// What is wrong with a greeting.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum GreetingDefect {
    /// The line is none.
    NotAGreeting,
    /// The sub-protocol is missing although the version must name one.
    NoSubprotocol,
    /// The digest list is missing although the version must have one.
    NoDigests,
}

impl GreetingDefect {
    /// What a client says of it, without line end, before it exits 5.
    pub fn client_text(self, line: &[u8]) -> Vec<u8> {
        let (before, after): (&[u8], &[u8]) = match self {
            GreetingDefect::NotAGreeting => (b"server sent \"", b"\" rather than greeting"),
            GreetingDefect::NoSubprotocol => (b"the server omitted the subprotocol value: ", b""),
            GreetingDefect::NoDigests => (b"the server omitted the digest name list: ", b""),
        };
        [before, line, after].concat()
    }

    /// The line a daemon answers before it closes, with its end.
    pub fn daemon_text(self, line: &[u8]) -> Vec<u8> {
        let text: &[u8] = match self {
            GreetingDefect::NotAGreeting => return b"@ERROR: protocol startup error\n".to_vec(),
            GreetingDefect::NoSubprotocol => b"@ERROR: your client omitted the subprotocol value: ",
            GreetingDefect::NoDigests => b"@ERROR: your client omitted the digest name list: ",
        };
        [text, line, b"\n"].concat()
    }
}

/// Our greeting, with its line end.
pub fn format_greeting(protocol: Protocol) -> String {
    let digests = AuthDigest::PREFERENCE.map(AuthDigest::name).join(" ");
    format!("{PREFIX}{}.0 {digests}\n", protocol.number())
}

/// Reads a greeting from a line without its end.
pub fn parse_greeting(line: &[u8]) -> Result<Greeting, GreetingDefect> {
    let text = str::from_utf8(line).map_err(|_| GreetingDefect::NotAGreeting)?;
    let rest = text.strip_prefix(PREFIX).ok_or(GreetingDefect::NotAGreeting)?;
    let mut words = rest.split_ascii_whitespace();
    let numbers = words.next().unwrap_or_default();
    let (version, sub) = match numbers.split_once('.') {
        Some((version, sub)) => (version, Some(sub)),
        None => (numbers, None),
    };
    let version = number(version)?;
    let sub = sub.map(number).transpose()?;
    if sub.is_none() && Protocol::needs_subprotocol(version) {
        return Err(GreetingDefect::NoSubprotocol);
    }
    let digests: Vec<String> = words.map(str::to_ascii_lowercase).collect();
    if digests.is_empty() && Protocol::needs_digest_list(version) {
        return Err(GreetingDefect::NoDigests);
    }
    Ok(Greeting { version, sub, digests: (!digests.is_empty()).then_some(digests) })
}

fn number(digits: &str) -> Result<i32, GreetingDefect> {
    let decimal = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| decimal).ok_or(GreetingDefect::NotAGreeting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_that_of_the_capture() {
        let line = format_greeting(Protocol::NEWEST);
        assert_eq!(line, "@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4\n");
        let greeting = parse_greeting(line.trim_end().as_bytes()).unwrap();
        assert_eq!((greeting.version, greeting.sub), (32, Some(0)));
        assert_eq!(greeting.digests.unwrap().join(" "), "sha512 sha256 sha1 md5 md4");
    }

    #[test]
    fn old_peers_may_leave_things_out() {
        let old = |version, sub| Ok(Greeting { version, sub, digests: None });
        assert_eq!(parse_greeting(b"@RSYNCD: 31.0"), old(31, Some(0)));
        assert_eq!(parse_greeting(b"@RSYNCD: 30.0"), old(30, Some(0)));
        assert_eq!(parse_greeting(b"@RSYNCD: 29"), old(29, None));
        // Too old to talk to, but well-formed: that is said in other words.
        assert_eq!(parse_greeting(b"@RSYNCD: 26"), old(26, None));
        let error = parse_greeting(b"@RSYNCD: 26").unwrap().negotiate(Protocol::NEWEST);
        assert!(matches!(error, Err(Error::Incompatible { .. })));
    }

    #[test]
    fn a_pre_release_is_one_protocol_less() {
        let greeting = parse_greeting(b"@RSYNCD: 32.1 md5").unwrap();
        assert_eq!(greeting.negotiate(Protocol::NEWEST), Ok(Protocol::new(31).unwrap()));
    }

    #[test]
    fn defects_have_their_texts() {
        for (line, defect, client, daemon) in [
            (
                "220 smtp ready",
                GreetingDefect::NotAGreeting,
                "server sent \"220 smtp ready\" rather than greeting",
                "@ERROR: protocol startup error\n",
            ),
            (
                "@RSYNCD: 30",
                GreetingDefect::NoSubprotocol,
                "the server omitted the subprotocol value: @RSYNCD: 30",
                "@ERROR: your client omitted the subprotocol value: @RSYNCD: 30\n",
            ),
            (
                "@RSYNCD: 32.0",
                GreetingDefect::NoDigests,
                "the server omitted the digest name list: @RSYNCD: 32.0",
                "@ERROR: your client omitted the digest name list: @RSYNCD: 32.0\n",
            ),
        ] {
            assert_eq!(parse_greeting(line.as_bytes()), Err(defect));
            assert_eq!(defect.client_text(line.as_bytes()), client.as_bytes());
            assert_eq!(defect.daemon_text(line.as_bytes()), daemon.as_bytes());
        }
    }

    #[test]
    fn what_only_resembles_a_greeting_is_none() {
        for line in [
            &b""[..],
            b"@RSYNCD: ",
            b"@RSYNCD:32.0 md5",
            b"@RSYNCD: x.0 md5",
            b"@RSYNCD: -1.0",
            b"@RSYNCD: +32.0 md5",
            b"@RSYNCD: 32. md5",
            b"@RSYNCD: 99999999999.0 md5",
            b"@RSYNCD: 32.0 \xff",
        ] {
            assert_eq!(parse_greeting(line), Err(GreetingDefect::NotAGreeting), "{line:?}");
        }
    }
}
