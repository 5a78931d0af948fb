//! The first line of a daemon connection, the same from both sides.
//!
//! Shape: `@RSYNCD: VERSION.SUB DIGEST DIGEST...`. Source: [greeting].

use crate::version::Protocol;

/// Digests offered for the login, strongest first.
pub const DIGESTS: &str = "sha512 sha256 sha1 md5 md4";

/// A greeting, as the peer sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Protocol version.
    pub version: i32,
    /// Sub-version of a pre-release.
    pub sub: Option<i32>,
    /// Digest names; absent in greetings of older releases.
    pub digests: Option<Vec<String>>,
}

/// What is wrong with a greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GreetingDefect {
    /// It is none.
    NotAGreeting,
    /// The sub-version is missing.
    NoSubprotocol,
    /// The digest list is missing.
    NoDigests,
}

impl GreetingDefect {
    /// What a client says of it.
    pub fn client_text(self, line: &[u8]) -> Vec<u8> {
        let mut text: Vec<u8> = match self {
            GreetingDefect::NotAGreeting => b"server sent \"".to_vec(),
            GreetingDefect::NoSubprotocol => b"the server omitted the subprotocol value: ".to_vec(),
            GreetingDefect::NoDigests => b"the server omitted the digest name list: ".to_vec(),
        };
        text.extend_from_slice(line);
        if self == GreetingDefect::NotAGreeting {
            text.extend_from_slice(b"\" rather than greeting");
        }
        text
    }

    /// What a daemon answers.
    pub fn daemon_text(self, line: &[u8]) -> Vec<u8> {
        let mut text: Vec<u8> = match self {
            GreetingDefect::NotAGreeting => return b"@ERROR: protocol startup error\n".to_vec(),
            GreetingDefect::NoSubprotocol => {
                b"@ERROR: your client omitted the subprotocol value: ".to_vec()
            }
            GreetingDefect::NoDigests => {
                b"@ERROR: your client omitted the digest name list: ".to_vec()
            }
        };
        text.extend_from_slice(line);
        text.push(b'\n');
        text
    }
}

/// Our greeting, with its newline.
pub fn format_greeting(protocol: Protocol) -> String {
    format!("@RSYNCD: {}.0 {DIGESTS}\n", protocol.number())
}

/// Reads a greeting line without its newline.
pub fn parse_greeting(line: &[u8]) -> Result<Greeting, GreetingDefect> {
    let text = std::str::from_utf8(line).map_err(|_| GreetingDefect::NotAGreeting)?;
    let rest = text.strip_prefix("@RSYNCD: ").ok_or(GreetingDefect::NotAGreeting)?;
    let mut words = rest.split_whitespace();
    let number = words.next().ok_or(GreetingDefect::NotAGreeting)?;
    let (version, sub) = match number.split_once('.') {
        Some((version, sub)) => (version, Some(sub)),
        None => (number, None),
    };
    let parse = |text: &str| text.parse::<i32>().ok().filter(|n| *n >= 0);
    let version = parse(version).ok_or(GreetingDefect::NotAGreeting)?;
    let sub = match sub {
        Some(sub) => Some(parse(sub).ok_or(GreetingDefect::NotAGreeting)?),
        None => None,
    };
    if sub.is_none() && Protocol::needs_subprotocol(version) {
        return Err(GreetingDefect::NoSubprotocol);
    }
    let digests: Vec<String> = words.map(str::to_ascii_lowercase).collect();
    if digests.is_empty() && Protocol::needs_digest_list(version) {
        return Err(GreetingDefect::NoDigests);
    }
    Ok(Greeting { version, sub, digests: (!digests.is_empty()).then_some(digests) })
}

impl Greeting {
    /// The version to negotiate with: a pre-release of another step counts as the one before.
    pub fn effective_version(&self, own: Protocol) -> i32 {
        let sub = self.sub.unwrap_or(0);
        if sub != 0 && self.version <= own.number() { self.version - 1 } else { self.version }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defects_are_told_apart() {
        assert_eq!(format_greeting(Protocol::NEWEST), "@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4\n");
        let old = parse_greeting(b"@RSYNCD: 31.0").unwrap();
        assert_eq!((old.version, old.sub, old.digests), (31, Some(0), None));
        assert_eq!(parse_greeting(b"@RSYNCD: 32.0"), Err(GreetingDefect::NoDigests));
        assert_eq!(parse_greeting(b"@RSYNCD: 30"), Err(GreetingDefect::NoSubprotocol));
        assert_eq!(parse_greeting(b"SSH-2.0-x"), Err(GreetingDefect::NotAGreeting));
        assert_eq!(parse_greeting(b"@RSYNCD: x.0 md5"), Err(GreetingDefect::NotAGreeting));
        assert!(parse_greeting(b"@RSYNCD: 29").is_ok());
    }
}
