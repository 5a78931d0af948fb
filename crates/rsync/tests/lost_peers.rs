//! Daemons that do nothing but keep the connection alive, or that give up: how the transfer ends, and
//! what its caller is told.

// A case that cannot be set up is a failure.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rsync::console::Silent;
use rsync::control::Control;
use rsync::options::parse::{Parsing, parse};
use wire::exit::ExitCode;

/// Serves one client as a daemon that, after the text phase, sends `frames` and then keep-alives for
/// as long as `alive`.
fn serve(listener: &TcpListener, frames: &[u8], alive: bool) {
    let (mut peer, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(peer.try_clone().unwrap());
    peer.write_all(b"@RSYNCD: 30.0\n").unwrap();
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).unwrap();
    reader.read_until(b'\n', &mut line).unwrap();
    peer.write_all(b"@RSYNCD: OK\n").unwrap();
    loop {
        let mut word = Vec::new();
        reader.read_until(0, &mut word).unwrap();
        if word.len() <= 1 {
            break;
        }
    }
    // Compatibility flags and a seed; from here on frames, and the client's own are left unread.
    peer.write_all(&[0, 1, 0, 0, 0]).unwrap();
    peer.write_all(frames).unwrap();
    while alive && peer.write_all(&wire::mux::header(wire::mux::DATA, 0)).is_ok() {
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Sends to such a daemon.
fn send_to(frames: &[u8], alive: bool) -> rsync::problem::Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("rsync://{}/m/", listener.local_addr().unwrap());
    let words = ["-r", "--timeout=2", "--protocol=30", "src/", url.as_str()];
    let words: Vec<Vec<u8>> = words.iter().map(|w| w.as_bytes().to_vec()).collect();
    let parsed = parse(&words, &|_| None, Parsing::Client).unwrap();
    let plan = rsync::location::plan(&parsed.words, &parsed.options).unwrap();
    let control = Arc::new(Control::default());
    control.stall_s.store(3, Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&listener, frames, alive));
        let silent = Arc::new(Silent);
        rsync::client::run(parsed.options, plan.sources, plan.dest, silent, control)
    })
}

#[test]
fn keep_alives_alone_do_not_hold_a_transfer_for_ever() {
    // A failure would leave a live mirror in one transfer for good, with a target that is up.
    let outcome = send_to(b"", true);
    assert_eq!(outcome.exit, ExitCode::Timeout, "{}", outcome.reason);
    assert!(outcome.reason.contains("nothing but keep-alives"), "{}", outcome.reason);
}

#[test]
fn a_daemon_that_gives_up_has_said_why() {
    // A failure would tell an operator the number of an exit code instead of the full disk.
    let text = "rsync: [receiver] write failed on \"f\" (in m): No space left on device (28)";
    let mut frames = Vec::new();
    wire::message::Message::ErrorXfer(format!("{text}\n").into_bytes()).encode(&mut frames);
    wire::message::Message::Error(b"rsync error: error in file IO (code 11) at x\n".to_vec())
        .encode(&mut frames);
    let outcome = send_to(&frames, false);
    assert_ne!(outcome.exit, ExitCode::Ok);
    assert_eq!(outcome.reason, text);
}
