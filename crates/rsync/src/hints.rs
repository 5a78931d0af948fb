//! One line that names the cause of a refusal or failure and its fix, where they are known.
//!
//! What the reference prints stays as it is; the hint follows on a line of its own. The live side
//! shows the same hints in its status.

use crate::options::Options;

/// The hint for what was said, for someone who typed these options.
pub fn for_client(said: &str, opts: &Options) -> Option<&'static str> {
    if said.contains("auth failed on module") && opts.password_file.is_none() {
        return Some("give the password with --password-file=FILE (mode 600, the password alone)");
    }
    for_text(said)
}

/// The hint for what was said, in letters of either case.
pub fn for_text(said: &str) -> Option<&'static str> {
    let said = said.to_lowercase();
    HINTS.iter().find(|(text, _)| said.contains(text)).map(|(_, hint)| *hint)
}

/// A part of the text in lower case, and what helps.
const HINTS: &[(&str, &str)] = &[
    (
        "auth failed on module",
        "the user in the address or the password does not fit: the password file holds the \
         password alone, without a user; on the daemon's side its log names the reason (auth \
         users, secrets file, its mode 600 and owner)",
    ),
    (
        "unknown module",
        "ask for the list with rsync://HOST/ ; a denied host is told the same when the module is \
         not listed",
    ),
    (
        "access denied to",
        "this address is not admitted: see hosts allow and hosts deny of the module",
    ),
    ("no space left on device", "the target's file system is full: make room there"),
    ("disk quota exceeded", "the quota of the user that the target writes as is used up"),
    ("max connections", "all slots of the module are taken: raise max connections there, or wait"),
    (
        "chdir failed",
        "the module's path does not exist on the daemon's side, or it may not enter it: mkdir -p, \
         and check uid and gid",
    ),
    (
        "chroot failed",
        "the daemon lacks the right to chroot: run it as root, or set use chroot = no",
    ),
    (
        "setgroups failed",
        "the daemon does not run as root: remove uid and gid from its configuration",
    ),
    ("invalid uid", "the module's uid names no user on the daemon's side"),
    ("invalid gid", "the module's gid names no group on the daemon's side"),
    (
        "module is read only",
        "set read only = no for this module on the daemon's side, and have it reloaded",
    ),
    ("module is write only", "set write only = no for this module on the daemon's side"),
    (
        "configured to refuse",
        "leave the option out, or take it from refuse options of the module on the daemon's side",
    ),
    ("connection refused", "nothing listens there: start the daemon, or check host and port"),
    (
        "no route to host",
        "a firewall or the network is in the way: open the port (873/tcp unless told otherwise)",
    ),
    ("connection timed out", "a firewall drops the connection, or the host is down"),
    ("name or service not known", "check the host's name"),
    ("no space left", "make room on the target's file system"),
    ("read-only file system", "the target's file system is mounted read-only"),
    ("cannot delete non-empty directory", "a directory became a file: only --delete may remove it"),
    (
        "operation not permitted",
        "the target's user may not set owner or times: let the daemon run with uid = root, or \
         leave owner and group out",
    ),
    ("permission denied", "the user at one end may not read or write there"),
    ("password file", "give the password file mode 600, holding the password alone"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_refusals_have_a_fix() {
        let opts = Options::default();
        let hint = |said| for_client(said, &opts);
        assert!(
            hint("@ERROR: auth failed on module m").is_some_and(|h| h.contains("--password-file"))
        );
        assert!(hint("ERROR: module is read only").is_some_and(|h| h.contains("read only = no")));
        assert!(hint("failed to connect to h (::1): Connection refused (111)").is_some());
        assert!(for_text("write failed on \"f\": No space left on device (28)").is_some());
        assert_eq!(hint("some files/attrs were not transferred"), None);
    }
}
