//! `auth users` and the secrets file: who may log in, and with which password.
//!
//! Called by `connection` (`login`), which owns the exchange with the client. Here are the
//! decisions: the first entry of `auth users` that matches decides; the user's own line in the
//! secrets file, or that of the group that matched, must hold the password. A client is told only
//! that it failed; the reasons here are for the log.

use wire::limits::SECRET_LINE_MAX;

use super::glob;

/// What `auth users` says of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthRule {
    /// No entry matches.
    NoMatch,
    /// The entry that matches says `:deny`.
    Denied,
    /// The entry that matches lets the user in.
    Allowed {
        /// `:ro` and `:rw` decide in place of `read only`.
        read_only: Option<bool>,
        /// The group that matched, if the entry names one; its secret counts too.
        group: Option<Vec<u8>>,
    },
}

/// The entries of a list: split at blanks and commas, or at commas alone if it begins with one.
pub fn entries(list: &[u8]) -> Vec<&[u8]> {
    let list = list.trim_ascii();
    let only_commas = list.first() == Some(&b',');
    let parts = list.split(move |b| *b == b',' || (!only_commas && b.is_ascii_whitespace()));
    parts.map(<[u8]>::trim_ascii).filter(|part| !part.is_empty()).collect()
}

/// Finds the first entry for a user. `groups` gives the names of the user's groups, none if the
/// system does not know the user; it is asked only when an entry names a group.
pub fn rule_for(list: &[u8], user: &[u8], groups: &dyn Fn() -> Vec<Vec<u8>>) -> AuthRule {
    let mut known: Option<Vec<Vec<u8>>> = None;
    for entry in entries(list) {
        let (pattern, option) = match entry.iter().position(|b| *b == b':') {
            Some(at) => (entry.get(..at).unwrap_or_default(), entry.get(at + 1..)),
            None => (entry, None),
        };
        let group = match pattern.strip_prefix(b"@") {
            Some(pattern) => {
                let known = known.get_or_insert_with(groups);
                match known.iter().find(|group| glob::matches(pattern, group)) {
                    Some(group) => Some(group.clone()),
                    None => continue,
                }
            }
            None if glob::matches(pattern, user) => None,
            None => continue,
        };
        let read_only = match option {
            Some([b'd' | b'D', ..]) => return AuthRule::Denied,
            Some(option) if option.eq_ignore_ascii_case(b"ro") => Some(true),
            Some(option) if option.eq_ignore_ascii_case(b"rw") => Some(false),
            _ => None,
        };
        return AuthRule::Allowed { read_only, group };
    }
    AuthRule::NoMatch
}

/// What the secrets file says of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretCheck {
    /// A line of the user or the group has the password.
    Match,
    /// There is a line, with another password.
    Mismatch,
    /// There is no line.
    NotFound,
}

/// Looks for a line of the user or the group whose password `verify` accepts.
pub fn check_secret(
    content: &[u8],
    user: &[u8],
    group: Option<&[u8]>,
    verify: &dyn Fn(&[u8]) -> bool,
) -> SecretCheck {
    let mut result = SecretCheck::NotFound;
    for line in content.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > SECRET_LINE_MAX || line.first() == Some(&b'#') {
            continue;
        }
        let Some(at) = line.iter().position(|b| *b == b':') else { continue };
        let (name, password) = line.split_at(at);
        let mine = match name.strip_prefix(b"@") {
            Some(name) => group == Some(name),
            None => name == user,
        };
        if !mine {
            continue;
        }
        if verify(password.get(1..).unwrap_or_default()) {
            return SecretCheck::Match;
        }
        result = SecretCheck::Mismatch;
    }
    result
}

/// Why a secrets file is not used although it could be read, under `strict modes`.
pub fn refuse_mode(mode: u32, owner: u32, euid: u32) -> Option<&'static str> {
    if mode & 0o006 != 0 {
        Some("secrets file must not be other-accessible (see strict modes option)")
    } else if euid == 0 && owner != 0 {
        Some("secrets file must be owned by root when running as root (see strict modes)")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(list: &str, user: &str) -> AuthRule {
        let groups = || vec![b"staff".to_vec(), b"web dev".to_vec()];
        rule_for(list.as_bytes(), user.as_bytes(), &groups)
    }

    fn allowed(read_only: Option<bool>, group: Option<&str>) -> AuthRule {
        AuthRule::Allowed { read_only, group: group.map(|g| g.as_bytes().to_vec()) }
    }

    #[test]
    fn the_first_entry_decides() {
        assert_eq!(rule("bob", "bob"), allowed(None, None));
        assert_eq!(rule("bob", "Bob"), AuthRule::NoMatch);
        assert_eq!(rule("bob:deny, bo*", "bob"), AuthRule::Denied);
        assert_eq!(rule("bob:deny bo*:rw", "bot"), allowed(Some(false), None));
        assert_eq!(rule("*:ro", "x"), allowed(Some(true), None));
        assert_eq!(rule("bob:other", "bob"), allowed(None, None));
        assert_eq!(rule("#bob", "bob"), AuthRule::NoMatch);
    }

    #[test]
    fn groups_and_lists_of_commas_alone() {
        assert_eq!(rule("@staff:rw", "ann"), allowed(Some(false), Some("staff")));
        assert_eq!(rule("@nobodys, ann", "ann"), allowed(None, None));
        assert_eq!(rule(", @web dev , bob", "ann"), allowed(None, Some("web dev")));
        assert_eq!(rule("@web dev", "ann"), AuthRule::NoMatch);
        assert_eq!(entries(b",a b, c"), [&b"a b"[..], b"c"]);
    }

    #[test]
    fn a_line_of_the_user_or_the_group_has_the_password() {
        let file = b"# bob:no\nbob:one\r\n@staff:two\nbob\nann:a:b\n";
        let check = |user: &str, group: Option<&str>, password: &str| {
            let accept = |line: &[u8]| line == password.as_bytes();
            check_secret(file, user.as_bytes(), group.map(str::as_bytes), &accept)
        };
        assert_eq!(check("bob", None, "one"), SecretCheck::Match);
        assert_eq!(check("bob", None, "two"), SecretCheck::Mismatch);
        assert_eq!(check("bob", Some("staff"), "two"), SecretCheck::Match);
        assert_eq!(check("ann", None, "a:b"), SecretCheck::Match);
        assert_eq!(check("eve", None, "one"), SecretCheck::NotFound);
        assert_eq!(check("# bob", None, "no"), SecretCheck::NotFound);
    }

    #[test]
    fn strict_modes() {
        assert!(refuse_mode(0o100600, 0, 0).is_none());
        assert!(refuse_mode(0o100640, 0, 0).is_none());
        assert!(refuse_mode(0o100644, 0, 0).is_some());
        assert!(refuse_mode(0o100602, 0, 0).is_some());
        assert!(refuse_mode(0o100600, 7, 0).is_some());
        assert!(refuse_mode(0o100600, 7, 7).is_none());
    }
}
