//! What a hostile client of a daemon or of a restricted key may try, beyond the paths of
//! `confinement`: each attempt has to end soon, and to leave the next client served.

// A case that cannot be set up is a failure.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use livemirror_tests::peer::{self, Programs, Run, Server, Side};

/// An attempt that takes longer holds a process.
const SOON: Duration = Duration::from_secs(25);

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let dir = format!("livemirror-attacks-{}-{name}", std::process::id());
        let place = Place(std::env::temp_dir().join(dir));
        for made in ["src", "dst", "m/d", "m/e"] {
            fs::create_dir_all(place.0.join(made)).unwrap();
        }
        for file in ["src/new", "m/d/f", "m/f"] {
            fs::write(place.0.join(file), file).unwrap();
        }
        for pipe in ["m/pipe", "m/d/pipe", "m/e/pipe"] {
            rustix::fs::mkfifoat(rustix::fs::CWD, place.0.join(pipe), 0o666.into()).unwrap();
        }
        place
    }

    fn daemon(&self, programs: &Programs, settings: &str) -> Server {
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        let ids = match uid.is_root() {
            true => format!("uid = {}\ngid = {}\n", uid.as_raw(), gid.as_raw()),
            false => String::new(),
        };
        let module = self.0.join("m").to_str().unwrap().to_owned();
        let config =
            format!("{ids}use chroot = no\n[m]\npath = {module}\nread only = no\n{settings}\n");
        fs::write(self.0.join("conf"), config).unwrap();
        let log = self.0.join("daemon.log");
        Server::start(&programs.words(Side::Ours), &self.0.join("conf"), &log).unwrap()
    }

    /// Runs a client here and lets it take no longer than an honest one.
    #[track_caller]
    fn soon(&self, programs: &Programs, words: &[&str]) -> Run {
        let client = programs.words(Side::Ours);
        let mut command = Command::new(&client[0]);
        command.args(&client[1..]).args(words).current_dir(&self.0).env("LC_ALL", "C");
        let run = peer::run(command, Vec::new(), SOON);
        assert!(run.code.is_some(), "{words:?} held: {}", String::from_utf8_lossy(&run.stderr));
        run
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Words that make a server read what they name, where a pipe stands there.
const PIPES: [&[&str]; 8] = [
    &["-r", "--files-from=:pipe", "M", "dst/"],
    &["-r", "--filter=: pipe", "M", "dst/"],
    &["-r", "--filter=: pipe", "--delete", "src/", "M/e/"],
    &["-r", "M/pipe", "dst/"],
    &["-rt", "--link-dest=/pipe", "src/", "M/to/"],
    &["-rt", "--temp-dir=/pipe", "src/", "M/to/"],
    &["-rtb", "--backup-dir=/pipe", "-I", "src/", "M/to/"],
    &["-rt", "--partial-dir=/pipe", "src/", "M/to/"],
];

#[test]
fn pipes_hold_neither_a_daemon_nor_a_key() {
    // A failure would let a client who may store a pipe block one process for each attempt.
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("pipes");
    let server = place.daemon(programs, "");
    let shell = format!(
        "#!/bin/sh\nshift\nSSH_ORIGINAL_COMMAND=\"$*\" exec '{}' restrict -no-lock '{}'\n",
        programs.livemirror().display(),
        place.0.join("m").display()
    );
    fs::write(place.0.join("shell"), shell).unwrap();
    fs::set_permissions(place.0.join("shell"), PermissionsExt::from_mode(0o755)).unwrap();
    let url = format!("rsync://127.0.0.1:{}/m", server.port);
    for words in PIPES {
        let daemon: Vec<String> = words.iter().map(|word| word.replace('M', &url)).collect();
        place.soon(programs, &daemon.iter().map(String::as_str).collect::<Vec<_>>());
        let key = words.iter().map(|word| word.replace("M/", "h:").replace('M', "h:"));
        let key: Vec<String> =
            ["-e".to_owned(), "./shell".to_owned()].into_iter().chain(key).collect();
        place.soon(programs, &key.iter().map(String::as_str).collect::<Vec<_>>());
    }
    // A pipe in place of a file that is written is replaced, never opened.
    symlink("pipe", place.0.join("m/d/link")).unwrap();
    for name in ["pipe", "link"] {
        fs::rename(place.0.join("src/new"), place.0.join("src/x")).unwrap();
        fs::copy(place.0.join("src/x"), place.0.join("src").join(name)).unwrap();
        for option in ["--inplace", "--append", "--ignore-times"] {
            place.soon(programs, &["-r", option, &format!("src/{name}"), &format!("{url}/d/")]);
        }
        fs::rename(place.0.join("src/x"), place.0.join("src/new")).unwrap();
    }
    let run = place.soon(programs, &["-r", &format!("{url}/f"), "dst/after"]);
    assert_eq!(run.code, Some(0));
}

/// A connection that has been greeted.
fn greeted(port: u16) -> (TcpStream, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"@RSYNCD: 31.0 md5 md4\n").unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    reader.read_line(&mut String::new()).unwrap();
    (stream, reader)
}

#[test]
fn words_that_make_no_sense_end_a_connection_and_nothing_else() {
    // A failure would be a process that hangs, or dies of a panic, over what anybody can send.
    let Some(programs) = Programs::find() else { return };
    let place = Place::new("words");
    let server = place.daemon(programs, "");
    let word = |bytes: &[u8], times: usize| bytes.repeat(times);
    let begin = |rest: Vec<u8>| [b"m\n".as_slice(), &rest].concat();
    let attempts = [
        b"\n".to_vec(),
        b"#early_input=99999999999999999999\n".to_vec(),
        b"#early_input=-1\nm\n".to_vec(),
        b"#early_input=1\n\0#early_input=1\n".to_vec(),
        word(b"m", 100_000),
        begin(word(b"--server\0", 20_000)),
        begin(word(b"a", 100_000)),
        begin([b"--server\0-s\0\0".to_vec(), word(b"x\0", 20_000)].concat()),
        begin(
            [b"--server\0--sender\0-r\0.\0".to_vec(), word(b"m/*/*/*\0", 15_000), b"\0".to_vec()]
                .concat(),
        ),
        begin(b"--server\0--sender\0.\0m/[\0m/\\\0m/[[:\0m/**/**/**/x\0\0".to_vec()),
        begin(b"--server\0--sender\0--suffix\0--sender\0.\0m/\0\0".to_vec()),
        begin(b"--server\0--suffix\0".to_vec()),
        begin(b"--server\0--daemon\0.\0m/\0\0".to_vec()),
        begin(b"--server\0--block-size=99999999999999999999\0.\0m/\0\0".to_vec()),
        begin(b"--server\0-e\0.\0m/\0\0".to_vec()),
        begin(b"--server\0-\0.\0m/\0\0".to_vec()),
        begin(b"--server\0--\0.\0m/\0\0".to_vec()),
        begin(b"\0\0\0\0".to_vec()),
        begin(b"--server\0\\\0.\0m/\\\0\0".to_vec()),
    ];
    for attempt in attempts {
        let (mut stream, mut reader) = greeted(server.port);
        // The daemon may close before it has read all of it.
        let _ = stream.write_all(&attempt);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let begin = Instant::now();
        let mut answer = Vec::new();
        // A reset is an end too; only silence is none.
        let ended = reader.read_to_end(&mut answer);
        let silent = |e: std::io::Error| e.kind() == std::io::ErrorKind::WouldBlock;
        let shown = String::from_utf8_lossy(&attempt[..attempt.len().min(60)]).into_owned();
        assert!(!ended.is_err_and(silent) && begin.elapsed() < SOON, "{shown:?} holds");
    }
    let log = fs::read_to_string(place.0.join("daemon.log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    let url = format!("rsync://127.0.0.1:{}/m/f", server.port);
    assert_eq!(place.soon(programs, &["-r", &url, "dst/after"]).code, Some(0));
}
