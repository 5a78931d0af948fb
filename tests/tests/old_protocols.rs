//! Daemon sessions of protocols 27, 28 and 29: either program as client and as daemon, with and
//! without a login. The text phase and the login differ from today's; what is sent arrives the same.

// A case that cannot be set up is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use livemirror_tests::peer::{self, Programs, Server, Side};
use livemirror_tests::tree_text;

const LIMIT: Duration = Duration::from_secs(60);

struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_daemon_serves_clients_of_old_protocols() {
    // A failure would lock out programs that still run somewhere, or give them wrong files.
    let Some(programs) = Programs::find() else { return };
    let place = std::env::temp_dir().join(format!("livemirror-old-{}", std::process::id()));
    let place = Place(place);
    fs::create_dir_all(place.0.join("src/dir/sub")).unwrap();
    fs::create_dir_all(place.0.join("m")).unwrap();
    for (name, size) in [("a", 3), ("dir/large", 300_000), ("dir/sub/empty", 0), ("dir-x", 5_000)] {
        let content: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
        fs::write(place.0.join("src").join(name), content).unwrap();
    }
    fs::hard_link(place.0.join("src/a"), place.0.join("src/dir/linked")).unwrap();
    std::os::unix::fs::symlink("nowhere", place.0.join("src/link")).unwrap();
    for secret in ["secrets", "password"] {
        let text = if secret == "secrets" { "someone:word\n" } else { "word\n" };
        fs::write(place.0.join(secret), text).unwrap();
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(place.0.join(secret), mode).unwrap();
    }
    let here = place.0.to_str().unwrap();
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let ids = match uid.is_root() {
        true => format!("uid = {}\ngid = {}\n", uid.as_raw(), gid.as_raw()),
        false => String::new(),
    };
    let module = format!("path = {here}/m\nread only = no\n");
    let config = format!(
        "{ids}use chroot = no\nmunge symlinks = no\n[open]\n{module}[closed]\n{module}\
         auth users = someone\nsecrets file = {here}/secrets\n"
    );
    fs::write(place.0.join("conf"), config).unwrap();
    // These protocols know whole seconds only.
    let touched = Command::new("find")
        .arg(place.0.join("src"))
        .args(["-exec", "touch", "-h", "-d", "@1500000000", "{}", "+"])
        .status();
    assert!(touched.unwrap().success());
    let wanted = tree_text::dump(&place.0.join("src"), None);
    for daemon in [Side::Ours, Side::Theirs] {
        let log = place.0.join("daemon.log");
        let server = Server::start(&programs.words(daemon), &place.0.join("conf"), &log).unwrap();
        for client in [Side::Ours, Side::Theirs] {
            for (number, module) in
                [27, 28, 29].into_iter().flat_map(|n| [(n, "open"), (n, "someone@closed")])
            {
                let (user, module) = module.split_once('@').unwrap_or(("", module));
                let at = if user.is_empty() { "" } else { "@" };
                let url = format!("rsync://{user}{at}127.0.0.1:{}/{module}/there/", server.port);
                let _ = fs::remove_dir_all(place.0.join("m/there"));
                let _ = fs::remove_dir_all(place.0.join("back"));
                let who = format!("{client:?} to {daemon:?}, {number}, {module}");
                for (from, to, ends) in [
                    ("src/", url.as_str(), "m/there"),
                    (&url, "back/", "back"),
                    ("src/", &url, "m/there"),
                ] {
                    let words = programs.words(client);
                    let mut command = Command::new(&words[0]);
                    command.args(&words[1..]).args([
                        "-aHz",
                        "--delete",
                        "--password-file=password",
                    ]);
                    command.arg(format!("--protocol={number}")).args([from, to]);
                    command.current_dir(&place.0).env("LC_ALL", "C");
                    let run = peer::run(command, Vec::new(), LIMIT);
                    let said = String::from_utf8_lossy(&run.stderr).into_owned();
                    assert_eq!(run.code, Some(0), "{who}: {from} {to}: {said}");
                    assert_eq!(tree_text::dump(&place.0.join(ends), None), wanted, "{who}: {to}");
                }
            }
        }
    }
}
