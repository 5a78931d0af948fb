//! The traps that people fall into, and the line each one gets.

use super::*;
use crate::daemon::config::parse;

fn lint_text(text: &str, secrets: io::Result<(u32, u32, &str)>) -> Vec<String> {
    let load = |_: &[u8], _: &str| Ok(vec![(b"conf".to_vec(), text.as_bytes().to_vec())]);
    let config = parse(b"conf", &[], &load, &|_| None).unwrap();
    let directory = |path: &[u8]| match path {
        b"/there" => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::ENOENT)),
    };
    let secrets = |_: &[u8]| match &secrets {
        Ok((mode, owner, content)) => {
            Ok(SecretsFile { mode: *mode, owner: *owner, content: content.as_bytes().to_vec() })
        }
        Err(_) => Err(io::Error::from_raw_os_error(libc::ENOENT)),
    };
    let facts = LintFacts { directory: &directory, secrets: &secrets, euid: 0 };
    lint_with(&config, &facts).iter().map(ToString::to_string).collect()
}

fn lint_lines(text: &str) -> Vec<String> {
    lint_text(text, Ok((0o600, 0, "bob:x\n")))
}

#[test]
fn a_good_file_has_no_remarks() {
    let text = "[m]\npath=/there\nread only=no\nuid=0\nauth users=bob\nsecrets file=/s\n\
                hosts allow=10.0.0.0/8\nhosts deny=*\ncomment = issue #4, see #5\n";
    assert_eq!(lint_lines(text), Vec::<String>::new());
}

#[test]
fn the_articles_traps() {
    let found = lint_text(include_str!("../../tests/data/article_rsyncd.conf"), Ok((0o600, 0, "")));
    let starts = [
        "conf:37: hosts deny 0.0.0.0/32 matches no client",
        "conf:27: module rsync_test0: path /temp/rsync_test0 does not exist: mkdir -p",
        "conf:43: user rsync is in auth users but not among the 0 entries",
        "conf:57: hosts deny 0.0.0.0/32 matches no client",
        "conf:47: module rsync_test1: path",
        "conf:51: module rsync_test1 is writable without a login, as root",
    ];
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}");
    }
    assert_eq!(found.len(), starts.len(), "{found:#?}");
}

#[test]
fn comments_behind_values() {
    let text = "[m]\npath = /there # note\n";
    assert_eq!(
        lint_lines(text),
        [
            "conf:2: rsyncd.conf has no comments behind a value; \"# note\" is part of \"path\"",
            "conf:2: module m: path /there # note does not exist: mkdir -p /there # note",
        ]
    );
}

#[test]
fn an_allow_list_for_nobody() {
    let text = "hosts allow = 0.0.0.0, 0.0.0.0/24\n[a]\npath=/there\n[b]\npath=/there\n";
    let expected =
        "conf:1: hosts allow 0.0.0.0, 0.0.0.0/24 matches no client; did you mean 0.0.0.0/0?";
    assert_eq!(lint_lines(text), [expected]);
}

#[test]
fn secrets_files() {
    let text = "[m]\npath=/there\nauth users=bob, @staff, ann:ro\nsecrets file=/s\n";
    let found = |mode, owner, content| lint_text(text, Ok((mode, owner, content)));
    let good = "bob:x\nann:y\n";
    assert_eq!(
        found(0o100644, 0, good),
        ["conf:4: secrets file /s has mode 644 and is refused: chmod 600 /s"]
    );
    assert_eq!(
        found(0o600, 7, good),
        ["conf:4: secrets file /s belongs to user 7 and is refused: chown root /s"]
    );
    assert_eq!(
        found(0o600, 0, "bob:x \nsecret\n# c\n"),
        [
            "conf:4: line 1 of /s ends in a blank, which is part of the password",
            "conf:4: line 2 of /s is not user:password",
            "conf:4: user ann is in auth users but not among the 1 entries of /s",
        ]
    );
    let missing = lint_text(text, Err(io::Error::other("")));
    assert_eq!(missing, ["conf:4: secrets file /s cannot be read: No such file or directory (2)"]);
    let text = "[m]\npath=/there\nauth users=bob\n";
    let expected = "conf:3: module m has auth users but no secrets file: no login works";
    assert_eq!(lint_lines(text), [expected]);
}
