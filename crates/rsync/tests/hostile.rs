//! A client that pushes what no honest one would: the server refuses, and nothing appears outside
//! the destination.

// A case that cannot be set up is a failure.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rsync::console::Silent;
use rsync::control::Control;
use rsync::options::parse::{Parsing, parse};
use rsync::server::{ServerRun, run};
use rsync::transport::Streams;
use wire::exit::ExitCode;
use wire::flist::encode::Encoder;
use wire::flist::entry::Entry;
use wire::flist::flags::FlistOptions;
use wire::version::Protocol;

/// How long a client waits for what it asked for.
const GIVE_UP: Duration = Duration::from_secs(20);

/// A directory of its own, with `dst` inside and a file outside that must stay as it is.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path =
            std::env::temp_dir().join(format!("livemirror-hostile-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(path.join("dst")).unwrap();
        std::fs::create_dir_all(path.join("outside")).unwrap();
        std::fs::write(path.join("outside/victim"), "intact").unwrap();
        Place(path)
    }

    fn untouched(&self) -> bool {
        let names: Vec<_> = std::fs::read_dir(self.0.join("outside")).unwrap().collect();
        names.len() == 1 && std::fs::read(self.0.join("outside/victim")).unwrap() == b"intact"
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn server(dst: &Path, words: &[&str]) -> (UnixStream, std::thread::JoinHandle<ExitCode>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut args: Vec<Vec<u8>> = words.iter().map(|w| w.as_bytes().to_vec()).collect();
    args.push(b".".to_vec());
    args.push(dst.to_str().unwrap().as_bytes().to_vec());
    let opts = parse(&args, &|_| None, Parsing::Server).unwrap().options;
    let fd = Arc::new(OwnedFd::from(theirs));
    let path = args.last().unwrap().clone();
    let handle = std::thread::spawn(move || {
        run(ServerRun {
            opts,
            paths: vec![path],
            streams: Streams { input: fd.clone(), output: fd, child: None },
            buffered: Vec::new(),
            console: Arc::new(Silent),
            daemon: None,
            restricted: None,
            control: Arc::new(Control::default()),
        })
        .exit
    });
    (ours, handle)
}

fn options(relative: bool) -> FlistOptions {
    FlistOptions { relative, ..FlistOptions::plain(Protocol::NEWEST) }
}

/// Pushes raw list bytes and returns how the server ended.
fn push(place: &Place, words: &[&str], list: &[u8]) -> ExitCode {
    push_until(place, words, list, || true)
}

/// The same, by a client that goes when something has come true, or else gives up.
fn push_until(
    place: &Place,
    words: &[&str],
    list: &[u8],
    come_true: impl Fn() -> bool,
) -> ExitCode {
    let (mut peer, handle) = server(&place.0.join("dst"), words);
    let mut out = 32i32.to_le_bytes().to_vec();
    out.push(4);
    out.extend_from_slice(b"md5 ");
    for piece in list.chunks(60_000) {
        out.extend_from_slice(&wire::mux::header(wire::mux::DATA, piece.len()));
        out.extend_from_slice(piece);
    }
    let _ = peer.write_all(&out);
    let written = Instant::now();
    while !come_true() && written.elapsed() < GIVE_UP {
        std::thread::sleep(Duration::from_millis(2));
    }
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = peer.read_to_end(&mut Vec::new());
    drop(peer);
    handle.join().unwrap()
}

fn entry(name: &[u8], mode: u32) -> Entry {
    let content_dir = mode & 0o170_000 == 0o040_000;
    Entry { name: name.to_vec(), mode, len: 3, content_dir, ..Entry::default() }
}

fn encoded(entries: &[Entry], relative: bool) -> Vec<u8> {
    let mut encoder = Encoder::new(options(relative));
    let mut out = Vec::new();
    encoder.begin_segment(0);
    for entry in entries {
        encoder.entry(&mut out, entry).unwrap();
    }
    encoder.end(&mut out, 0);
    out
}

const WORDS: &[&str] = &["--server", "-rle.LsfxCIvu"];

#[test]
fn an_honest_list_is_acted_upon() {
    // A failure would mean that the other cases are refused for a reason of their own.
    let place = Place::new("honest");
    let made = place.0.join("dst/made");
    let list = encoded(&[entry(b"made", 0o040_755)], false);
    push_until(&place, WORDS, &list, || made.is_dir());
    assert!(made.is_dir());
}

#[test]
fn names_that_lead_out_end_the_run() {
    // A failure would let a client write beside or above the destination.
    for name in
        [&b"../outside/x"[..], b"a/../../outside/x", b"/tmp/x", b"a//b", b".", b"a/.", b"x\0y"]
    {
        let place = Place::new("names");
        let exit = push(&place, WORDS, &encoded(&[entry(name, 0o100_644)], false));
        assert!(matches!(exit, ExitCode::Unsupported | ExitCode::Protocol), "{name:?}: {exit:?}");
        assert!(place.untouched(), "{name:?}");
    }
}

#[test]
fn nothing_is_written_through_a_symlink_of_the_list() {
    // A failure would let a client plant a link and write through it.
    let place = Place::new("link");
    let outside = place.0.join("outside").to_str().unwrap().as_bytes().to_vec();
    let link = Entry { link_target: Some(outside), ..entry(b"x", 0o120_777) };
    let below = entry(b"x/victim", 0o100_644);
    let exit = push(&place, WORDS, &encoded(&[link, below], false));
    assert_eq!(exit, ExitCode::Protocol);
    assert!(place.untouched());
}

#[test]
fn odd_modes_and_lengths_end_the_run() {
    // A failure would have the receiver act on a type that does not exist.
    let place = Place::new("modes");
    for mode in [0, 0o170_000, 0o1_000_644] {
        let exit = push(&place, WORDS, &encoded(&[entry(b"f", mode)], false));
        assert_eq!(exit, ExitCode::Protocol, "{mode:o}");
    }
    // Prefix 9 of an empty name; a name of 5000 bytes; a negative length.
    for bytes in [
        &[0xa0, 0x20, 9, 1, b'x'][..],
        &[0x40, 0x93, 0x88],
        &[0x18, 1, b'f', 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ] {
        assert_ne!(push(&place, WORDS, bytes), ExitCode::Ok);
    }
    assert!(place.untouched());
}

#[test]
fn messages_a_client_may_not_send_end_the_run() {
    // A failure would let a client speak to the server's operator or wedge its reader.
    let place = Place::new("tags");
    for tag in [5u8, 9, 10, 33, 101, 200] {
        let (mut peer, handle) = server(&place.0.join("dst"), WORDS);
        let mut out = 32i32.to_le_bytes().to_vec();
        out.push(4);
        out.extend_from_slice(b"md5 ");
        out.extend_from_slice(&wire::mux::header(tag, 4));
        out.extend_from_slice(&[1, 0, 0, 0]);
        peer.write_all(&out).unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = peer.read_to_end(&mut Vec::new());
        assert_ne!(handle.join().unwrap(), ExitCode::Ok, "{tag}");
    }
    assert!(place.untouched());
}
