//! A client's way through the text phase, byte for byte as the real daemon was seen to answer.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::service::ConfigSource;
use super::*;

const GREETING: &str = "@RSYNCD: 32.0 sha512 sha256 sha1 md5 md4\n";

/// A directory with a configuration, removed when the test ends.
struct Place(PathBuf);

impl Place {
    fn new(config: &str) -> Place {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "livemirror-daemon-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(dir.join("tree/sub")).unwrap();
        std::fs::write(dir.join("tree/a.txt"), "a").unwrap();
        std::fs::write(dir.join("motd"), "Welcome\n").unwrap();
        std::fs::write(dir.join("secrets"), "bob:s3cret\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(dir.join("secrets"), mode).unwrap();
        let ids = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let head = match ids.0 {
            0 => "uid = 0\ngid = 0\n",
            _ => "",
        };
        let config = config.replace("DIR", dir.to_str().unwrap());
        let text = format!("log file = {}/log\nuse chroot = no\n{head}{config}", dir.display());
        std::fs::write(dir.join("conf"), text).unwrap();
        Place(dir)
    }

    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.0.join("log")).unwrap();
        let lines = log.lines().map(|line| line.split_once("] ").unwrap().1);
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Serves a connection; gives the exit code and the session that was admitted.
    fn arrive(&self, ours: UnixStream) -> (i32, Option<DaemonSession>) {
        let path = self.0.join("conf").into_os_string().into_encoded_bytes();
        let service = Service::new(ConfigSource::File(path));
        let session = Mutex::new(None);
        let arrival = Arrival {
            service: &service,
            output: ours.try_clone().unwrap().into(),
            input: ours.into(),
            via_shell: false,
            address: None,
            standing: Arc::default(),
        };
        let admit = |admitted| {
            *session.lock().unwrap() = Some(admitted);
            ExitCode::Ok
        };
        // A connection shuts its thread in its module.
        let exit = std::thread::scope(|scope| {
            let served = scope.spawn(|| run(arrival, &admit));
            served.join().unwrap()
        });
        (exit, session.into_inner().unwrap())
    }

    /// Lets a client say its lines; gives what it was told, the exit code and the session.
    fn talk(&self, says: &[u8]) -> (String, i32, Option<DaemonSession>) {
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        theirs.write_all(says).unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let (exit, session) = self.arrive(ours);
        theirs.set_nonblocking(true).unwrap();
        let mut told = Vec::new();
        let _ = theirs.read_to_end(&mut told);
        (String::from_utf8(told).unwrap(), exit, session)
    }

    fn told(&self, says: &str) -> String {
        let (told, _, session) = self.talk(says.as_bytes());
        assert!(session.is_none());
        told.strip_prefix(GREETING).unwrap().to_string()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn greetings_list_and_commands() {
    let place =
        Place::new("motd file = DIR/motd\n[a  b]\ncomment = hello\n[hidden]\nlist = no\n[c]\n");
    let says = |line: &str| place.told(&format!("{GREETING}{line}\n"));
    let list = "Welcome\n\na b            \thello\nc              \t\n@RSYNCD: EXIT\n";
    assert_eq!(says("#list"), list);
    assert_eq!(says(""), list);
    assert_eq!(says("#early_input=3\nabc#list"), list);
    assert_eq!(says("#early_input=9999"), "Welcome\n\n@ERROR: invalid early_input length\n");
    assert_eq!(says("#foo"), "Welcome\n\n@ERROR: Unknown command '#foo'\n");
    assert_eq!(says("a/x"), "Welcome\n\n@ERROR: Unknown module 'a/x'\n");
    assert_eq!(says("c"), "Welcome\n\n@ERROR: no path setting.\n");
    assert_eq!(place.told("foo\n"), "@ERROR: protocol startup error\n");
    let omitted = "@ERROR: your client omitted the subprotocol value: @RSYNCD: 31\n";
    assert_eq!(place.told("@RSYNCD: 31\n"), omitted);
    let omitted = "@ERROR: your client omitted the digest name list: @RSYNCD: 32.0\n";
    assert_eq!(place.told("@RSYNCD: 32.0\n"), omitted);
    let log = place.log();
    assert!(
        log.contains("connect from UNKNOWN (0.0.0.0)\nmodule-list request from UNKNOWN (0.0.0.0)")
    );
    assert!(log.contains("unknown module 'a/x' tried from UNKNOWN (0.0.0.0)"));
}

#[test]
fn who_is_kept_out_and_what_they_learn() {
    let place = Place::new(
        "[far]\nhosts allow = 1.2.3.4\n[secret]\nhosts allow = 1.2.3.4\nlist = no\n\
         [closed]\nmax connections = -1\n[nolock]\nmax connections = 2\nlock file = /none/x\n\
         [gone]\npath = DIR/none\n[who]\npath = DIR/tree\nuid = no such user\n",
    );
    let says = |line: &str| place.told(&format!("{GREETING}{line}\n"));
    let denied = "@ERROR: access denied to far from UNKNOWN (0.0.0.0)\n";
    assert_eq!(says("far"), denied);
    assert_eq!(says("secret"), "@ERROR: Unknown module 'secret'\n");
    let full = "@ERROR: max connections (-1) reached -- try again later\n";
    assert_eq!(says("closed"), full);
    assert_eq!(says("nolock"), "@ERROR: failed to open lock file\n");
    assert_eq!(says("gone"), "@ERROR: chdir failed\n");
    assert_eq!(says("who"), "@ERROR: invalid uid no such user\n");
    let log = place.log();
    assert!(log.contains("rsync denied on module secret from UNKNOWN (0.0.0.0)"), "{log}");
    assert!(log.contains("max connections (-1) reached\n"));
    assert!(log.contains("/none failed: No such file or directory (2)"));
}

#[test]
fn logins_fail_alike_and_say_why_in_the_log() {
    let place = Place::new(
        "path = DIR/tree\nsecrets file = DIR/secrets\n[m]\nauth users = eve:deny bob ann\n\
         [strong]\nauth users = bob\nauth digest = sha256\n[nofile]\nauth users = bob\n\
         secrets file = /none/x\n",
    );
    let fails = |module: &str, reply: &str| {
        let told = place.told(&format!("@RSYNCD: 31.0 md5\n{module}\n{reply}\n"));
        let last = told.lines().last().unwrap().to_string();
        assert_eq!(last, format!("@ERROR: auth failed on module {module}"), "{told}");
        place.log().lines().last().unwrap().to_string()
    };
    let start = "auth failed on module m from UNKNOWN (0.0.0.0)";
    assert_eq!(fails("m", "bob"), format!("{start}: invalid challenge response"));
    assert_eq!(fails("m", "bob x"), format!("{start} for bob: password mismatch"));
    assert_eq!(fails("m", "eve x"), format!("{start} for eve: denied by rule"));
    assert_eq!(fails("m", "ann x"), format!("{start} for ann: secret not found"));
    assert_eq!(fails("m", "tom x"), format!("{start} for tom: no matching rule"));
    assert!(fails("nofile", "bob x").ends_with(" for bob: no secrets file"));
    let floor = "negotiated auth digest md5 is weaker than the required 'auth digest = sha256'";
    assert!(fails("strong", "bob x").ends_with(floor));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(place.0.join("secrets"), mode).unwrap();
    assert_eq!(fails("m", "bob x"), format!("{start} for bob: ignoring secrets file"));
    let told = place.told("@RSYNCD: 31.0 foo\nm\n");
    let expected = "@ERROR: your client does not support one of our daemon-auth checksums: \
                    sha512 sha256 sha1 md5 md4\n";
    assert_eq!(told, expected);
}

#[test]
fn an_admitted_client_becomes_a_session() {
    let place = Place::new(
        "[m]\npath = DIR/tree\nexclude = hid*\nmax connections = 2\n\
                            lock file = DIR/lock\ntimeout = 300\n",
    );
    let says =
        format!("{GREETING}m\n--server\0--sender\0-lre.iLsfxCIvu\0.\0m/a*\0m/../../sub/\0\0rest");
    let (told, exit, session) = place.talk(says.as_bytes());
    assert_eq!(told, format!("{GREETING}@RSYNCD: OK\n"));
    assert_eq!(exit, ExitCode::Ok.code());
    let session = session.unwrap();
    let words: Vec<_> = session.args.iter().map(|word| String::from_utf8_lossy(word)).collect();
    assert_eq!(words, ["--server", "--sender", "-lre.iLsfxCIvu", ".", "a.txt", "sub/"]);
    assert!(session.sending && session.munge && !session.numeric_ids && !session.confined);
    assert_eq!(session.ahead, b"rest");
    assert_eq!(session.protocol, Protocol::NEWEST);
    assert_eq!(session.module.timeout_s, 300);
    assert!(session.slot.is_some());
    let request = "rsync on m/a* m/../../sub/ from UNKNOWN (0.0.0.0)";
    assert_eq!(place.log().lines().last(), Some(request));
}

#[test]
fn a_login_with_the_right_password() {
    let place =
        Place::new("[m]\npath = DIR/tree\nauth users = bob:rw\nsecrets file = DIR/secrets\n");
    let (mut theirs, ours) = UnixStream::pair().unwrap();
    let client = std::thread::spawn(move || {
        theirs.write_all(format!("{GREETING}m\n").as_bytes()).unwrap();
        let mut text = String::new();
        let mut byte = [0u8];
        while !text.ends_with("\n@RSYNCD: AUTHREQD ") {
            theirs.read_exact(&mut byte).unwrap();
            text.push(char::from(byte[0]));
        }
        let mut challenge = String::new();
        while !challenge.ends_with('\n') {
            theirs.read_exact(&mut byte).unwrap();
            challenge.push(char::from(byte[0]));
        }
        let answer = wire::auth::response(
            wire::auth::AuthDigest::Sha512,
            b"s3cret",
            challenge.trim().as_bytes(),
        );
        theirs.write_all(format!("bob {answer}\n--server\0.\0m/\0\0").as_bytes()).unwrap();
        theirs
    });
    let (_, session) = place.arrive(ours);
    let _theirs = client.join().unwrap();
    let session = session.unwrap();
    assert_eq!(session.user, b"bob");
    assert!(!session.module.read_only && !session.sending);
    assert_eq!(session.client(), b"bob@UNKNOWN (0.0.0.0)");
    assert!(place.log().ends_with("rsync to m/ from bob@UNKNOWN (0.0.0.0)"));
}
