//! The traps that people fall into, and the line each one gets.

use super::*;
use crate::daemon::config::parse;

fn lint_text(text: &str, secrets: io::Result<(u32, u32, &str)>) -> Vec<String> {
    let load = |_: &[u8], _: &str| Ok(vec![(b"/etc/conf".to_vec(), text.as_bytes().to_vec())]);
    let config = parse(b"/etc/conf", &[], &load, &|_| None).unwrap();
    let directory = |path: &[u8]| match path {
        b"/there" | b"/var/run" => {
            Ok(tree::root::Root::open(b"/").unwrap().top().stat_self().unwrap())
        }
        _ => Err(io::Error::from_raw_os_error(libc::ENOENT)),
    };
    let secrets = |path: &[u8]| match &secrets {
        Ok((mode, owner, content)) if matches!(path, b"/s" | b"/etc/rsync/rsync.passwd") => {
            Ok(SecretsFile { mode: *mode, owner: *owner, content: content.as_bytes().to_vec() })
        }
        Err(_) if path == b"/root/s" => {
            Ok(SecretsFile { mode: 0o600, owner: 0, content: b"bob:x\n".to_vec() })
        }
        _ => Err(io::Error::from_raw_os_error(libc::ENOENT)),
    };
    let ids = |module: &Module| match module.uid.as_slice() {
        b"" | b"0" => Ok(None),
        b"ann" => Ok(Some((1000, vec![1000]))),
        _ => Err("Invalid uid".to_owned()),
    };
    // SELinux decides for configurations that say `labelled`.
    let label = |_: &[u8]| text.contains("labelled").then(|| b"var_t".to_vec());
    let facts =
        LintFacts { directory: &directory, secrets: &secrets, ids: &ids, label: &label, euid: 0 };
    let found: Vec<String> = lint_with(&config, &facts).iter().map(ToString::to_string).collect();
    found.into_iter().map(|line| line.replace("/etc/conf", "conf")).collect()
}

#[test]
fn a_charset_is_one_that_the_system_knows() {
    let text = "[m]\npath = /there\nuid = 0\ncharset = ";
    let of_charset = |name: &str| {
        let lines = lint_lines(&format!("{text}{name}\n"));
        lines.into_iter().filter(|line| line.contains("charset")).collect::<Vec<_>>()
    };
    assert_eq!(of_charset("ISO-8859-1"), [""; 0]);
    let want = "conf:4: charset = utf-9: this system knows no such charset: every client is turned \
                away; write a name that iconv -l lists";
    assert_eq!(of_charset("utf-9"), [want]);
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
        "conf:37: hosts deny = 0.0.0.0/32: matches no client",
        "conf:27: path = /temp/rsync_test0: does not exist: whoever asks for module rsync_test0 \
         is refused; mkdir -p /temp/rsync_test0",
        "conf:9: use chroot = no: module rsync_test0 is written as root without a chroot",
        "conf:40: auth users = rsync: user rsync cannot log in: /etc/rsync/rsync.passwd has 0 \
         entries",
        "conf:21: log file = /var/rsync/rsync.log: the directory /var/rsync does not exist",
        "conf:57: hosts deny = 0.0.0.0/32: matches no client",
        "conf:47: path = /temp/rsync_test1: does not exist",
        "conf:51: read only = no: module rsync_test1 is writable without a login, as root",
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
        ["conf:2: path = /there # note: rsyncd.conf has no comments behind a value: all of it is \
          the value; put the comment on a line of its own"]
    );
}

#[test]
fn an_allow_list_for_nobody() {
    let text = "hosts allow = 0.0.0.0, 0.0.0.0/24\n[a]\npath=/there\n[b]\npath=/there\n";
    let expected = "conf:1: hosts allow = 0.0.0.0, 0.0.0.0/24: matches no client: everybody is \
                    refused; did you mean 0.0.0.0/0?";
    assert_eq!(lint_lines(text), [expected]);
}

#[test]
fn users_that_cannot_do_what_is_wanted() {
    let text = "[m]\npath=/there\nuid=ann\n";
    assert_eq!(lint_lines(text), Vec::<String>::new(), "reading needs nothing");
    let found = lint_lines(&text.replace("uid", "read only=no\nuid"));
    let expected = "conf:4: uid = ann: user 1000 cannot write /there (owner 0, mode 755): every \
                    file fails; chown 1000 /there, or set another uid";
    let open = "conf:3: read only = no: module m is writable by whoever reaches the port; set auth \
                users and secrets file, or hosts allow";
    assert_eq!(found, [expected, open]);
    let closed = text.replace("uid", "hosts allow=10.0.0.0/8\nread only=no\nuid");
    assert_eq!(lint_lines(&closed).len(), 1, "somebody is kept out");
    let found = lint_lines("[m]\npath=/there\nuid=nosuch\n");
    assert!(found[0].starts_with("conf:3: uid = nosuch: Invalid uid; write"), "{found:?}");
}

#[test]
fn secrets_files() {
    let text = "[m]\npath=/there\nauth users=bob, @staff, ann:ro\nsecrets file=/s\n";
    let found = |mode, owner, content| lint_text(text, Ok((mode, owner, content)));
    let good = "bob:x\nann:y\n";
    assert_eq!(
        found(0o100644, 0, good),
        ["conf:4: secrets file = /s: has mode 644 and is refused: no login works; chmod 600 /s"]
    );
    assert_eq!(
        found(0o600, 7, good),
        [
            "conf:4: secrets file = /s: belongs to user 7 and is refused: no login works; chown root \
          /s"
        ]
    );
    assert_eq!(
        found(0o600, 0, "bob:x \nsecret\n# c\njoe:123456\nmax:abc\\n\n"),
        [
            "/s:1: user bob: ends in a blank, which is part of the password; remove the blank at \
             column 6",
            "/s:2: the line: is not user:password, so it lets nobody in; write user:password",
            "/s:4: user joe: has a password that is guessed first; choose another",
            "/s:5: user max: ends in the two letters \\n, which are part of the password; remove \
             them",
            "conf:3: auth users = bob, @staff, ann:ro: user ann cannot log in: /s has 3 entries, \
             none of that name; add the line ann:PASSWORD",
        ]
    );
    let missing = lint_text(text, Err(io::Error::other("")));
    assert_eq!(
        missing,
        ["conf:4: secrets file = /s: no login works: No such file or directory (2); /root/s has \
          an entry: was it written there by mistake?"]
    );
    let text = "[m]\npath=/there\nauth users=bob\n";
    let expected = "conf:3: auth users = bob: there is no secrets file: no login works; write \
                    secrets file = FILE";
    assert_eq!(lint_lines(text), [expected]);
}

#[test]
fn a_long_value_is_cut() {
    let found = lint_lines(&format!("[m]\npath=/{}\n", "x".repeat(5000)));
    let expected = format!("conf:2: path = /{}...: does not exist", "x".repeat(192));
    assert!(found[0].starts_with(&expected), "{found:?}");
}

#[test]
fn a_directory_that_selinux_keeps_from_the_daemon() {
    let expected = "conf:2: path = /there: SELinux keeps an rsync daemon that is a service out of \
                    var_t: permission denied, whatever the modes; setsebool -P rsync_full_access 1, \
                    or chcon -R -t rsync_data_t /there";
    assert_eq!(lint_lines("[m]\npath=/there\ncomment=labelled\n"), [expected]);
    assert_eq!(lint_lines("[m]\npath=/there\n"), Vec::<String>::new());
}
