//! A daemon that sends what no honest one would, to a client that pulls: the client refuses, and
//! nothing is deleted or written that was not asked for.

// A case that cannot be set up is a failure.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rsync::console::Captured;
use rsync::control::Control;
use rsync::options::parse::{Parsing, parse};
use wire::exchange::request::ItemHead;
use wire::flist::encode::Encoder;
use wire::flist::entry::Entry;
use wire::flist::flags::FlistOptions;
use wire::itemize::ItemFlags;
use wire::message::Message;
use wire::ndx::{self, NdxWriter};
use wire::sum::SumHead;
use wire::version::Protocol;

/// A destination with something in it that must stay.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("livemirror-hostile-sender-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(path.join("dst/kept")).unwrap();
        std::fs::write(path.join("dst/kept/file"), "intact").unwrap();
        Place(path)
    }

    fn names(&self) -> Vec<String> {
        let items = std::fs::read_dir(self.0.join("dst")).unwrap();
        let mut names: Vec<_> =
            items.map(|i| i.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The bytes of one frame of data, or several.
fn framed(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in data.chunks(60_000) {
        out.extend_from_slice(&wire::mux::header(wire::mux::DATA, piece.len()));
        out.extend_from_slice(piece);
    }
    out
}

/// Serves one client: the text phase as any daemon, then `stream`; reads until the client is gone.
fn serve(listener: &TcpListener, stream: &[u8], inc: bool) {
    let (mut peer, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(peer.try_clone().unwrap());
    peer.write_all(b"@RSYNCD: 32.0 md5 md4\n").unwrap();
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
    // Compatibility flags, the lowest for incremental recursion; one checksum; the seed.
    let mut out = vec![0x81, 0xfe | u8::from(inc), 3];
    out.extend_from_slice(b"md5");
    out.extend_from_slice(&1i32.to_le_bytes());
    out.extend_from_slice(stream);
    // A client that has refused may be gone.
    let _ = peer.write_all(&out);
    let _ = peer.shutdown(std::net::Shutdown::Write);
    let _ = peer.set_read_timeout(Some(Duration::from_secs(20)));
    let mut rest = [0; 4096];
    while matches!(reader.read(&mut rest), Ok(n) if n > 0) {}
}

/// Pulls `path` with `words` from a daemon that sends `stream`: exit status and what was said.
fn pull(place: &Place, words: &[&str], path: &str, stream: &[u8]) -> (i32, String) {
    pull_from(place, words, path, (stream, false))
}

/// The same, with or without incremental recursion.
fn pull_from(
    place: &Place,
    words: &[&str],
    path: &str,
    (stream, inc): (&[u8], bool),
) -> (i32, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("rsync://127.0.0.1:{}/{path}", listener.local_addr().unwrap().port());
    let dst = place.0.join("dst").to_str().unwrap().to_owned() + "/";
    let mut args: Vec<Vec<u8>> = words.iter().map(|w| w.as_bytes().to_vec()).collect();
    args.extend([url.into_bytes(), dst.into_bytes()]);
    let parsed = parse(&args, &|_| None, Parsing::Client).unwrap();
    let mut options = parsed.options;
    let plan = rsync::location::plan(&parsed.words, &options).unwrap();
    rsync::options::check::with_locations(&mut options, &plan).unwrap();
    let heard = Arc::new(Captured::default());
    let status = std::thread::scope(|scope| {
        scope.spawn(|| serve(&listener, stream, inc));
        let control = Arc::new(Control::default());
        rsync::client::run(options, plan.sources, plan.dest, heard.clone(), control).status
    });
    let (out, err) = heard.take();
    (status, String::from_utf8_lossy(&[out, err].concat()).into_owned())
}

fn entry(name: &str, mode: u32) -> Entry {
    let dir = mode & 0o170_000 == 0o040_000;
    let name = name.as_bytes().to_vec();
    Entry { name, mode, len: 3, content_dir: dir, top_dir: dir, ..Entry::default() }
}

fn list(entries: &[Entry], relative: bool) -> Vec<u8> {
    let options = FlistOptions { relative, ..FlistOptions::plain(Protocol::NEWEST) };
    let mut encoder = Encoder::new(options);
    let mut out = Vec::new();
    encoder.begin_segment(0);
    for entry in entries {
        encoder.entry(&mut out, entry).unwrap();
    }
    encoder.end(&mut out, 0);
    out
}

/// A whole honest end: end marks of all phases, statistics, goodbye.
fn ending() -> Vec<u8> {
    vec![0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0]
}

fn whole(entries: &[Entry], relative: bool) -> Vec<u8> {
    framed(&[list(entries, relative), ending()].concat())
}

const DIR: u32 = 0o040_755;
const REG: u32 = 0o100_644;

#[test]
fn only_directories_that_were_asked_for_lose_what_is_not_listed() {
    // A failure would let a sender that was asked for one file empty the whole destination.
    for (words, path, names, deletes) in [
        (&["-rt", "--delete"][..], "m/", &["."][..], true),
        (&["-rt", "--delete"], "m/f", &["."], false),
        (&["-rt", "--delete"], "m/f", &[".", "f"], false),
        (&["-rt", "--delete"], "m/kept2", &[".", "kept2"], false),
        (&["-rt", "--delete"], "m/?", &["."], false),
        (&["-t", "-d", "--delete"], "m/f", &["."], false),
        (&["-rtR", "--delete"], "m/x/f", &["."], false),
        (&["-rtR", "--delete"], "m/kept/f", &[".", "kept"], false),
        (&["-rtR", "--delete"], "m/kept/", &[".", "kept"], true),
        (&["-rt", "--delete", "--trust-sender"], "m/f", &["."], true),
    ] {
        let place = Place::new();
        let entries: Vec<Entry> = names.iter().map(|n| entry(n, DIR)).collect();
        let relative = words.iter().any(|w| w.contains('R'));
        let (status, said) = pull(&place, words, path, &whole(&entries, relative));
        assert_eq!(status, 0, "{words:?} {path}: {said}");
        let kept = place.0.join("dst/kept/file").exists();
        assert_eq!(kept, !deletes, "{words:?} {path}: {said}");
    }
}

#[test]
fn names_that_were_not_asked_for_end_the_run() {
    // A failure would let a sender add files, or replace what the client excluded.
    let unrequested = "ERROR: rejecting unrequested file-list name: ";
    let excluded = "ERROR: rejecting excluded file-list name: ";
    for (words, path, name, mode, code, text) in [
        (&["-rt"][..], "m/f", "kept", DIR, 4, unrequested),
        (&["-rt"], "m/f", "f2", REG, 4, unrequested),
        (&["-rtR"], "m/a/b", "a", REG, 4, unrequested),
        (&["-rt", "--exclude=kept"], "m/", "kept", DIR, 4, excluded),
        (&["-rt", "--exclude=kept"], "m/", "kept/file", REG, 2, "kept"),
        (&["-rt"], "m/", "../x", REG, 4, "ABORTING due to unsafe pathname from sender: ../x"),
        (&["-rt"], "m/", "/x", REG, 4, "ABORTING due to unsafe pathname from sender: /x"),
        (&["-rt"], "m/", ".", REG, 2, "ERROR: rejecting non-directory transfer-root entry: ."),
        (&["-rt"], "m/", ".", 0o120_777, 2, "ERROR: rejecting non-directory transfer-root"),
        (&["-rt"], "m/", "kept", 0, 2, "invalid file mode 00 for kept [Receiver]"),
        (&["-rt"], "m/", "kept", 0o170_000, 2, "invalid file mode 0170000 for kept [Receiver]"),
    ] {
        let place = Place::new();
        let mut hostile = entry(name, mode);
        hostile.link_target = (mode == 0o120_777).then(|| b"/etc".to_vec());
        let relative = words.iter().any(|w| w.contains('R'));
        let stream = whole(&[hostile], relative);
        let words = [words, &["--delete", "--force"][..]].concat();
        let (status, said) = pull(&place, &words, path, &stream);
        assert_eq!(status, code, "{words:?} {name}: {said}");
        assert!(said.contains(text), "{words:?} {name}: {said}");
        assert_eq!(place.names(), ["kept"]);
        assert!(place.0.join("dst/kept/file").exists(), "{words:?} {name}");
    }
}

/// A list of `.` and the file `f`, then an item for `index` with what follows it.
fn transfer(index: i32, iflags: ItemFlags, basis: Option<u8>, rest: &[u8]) -> Vec<u8> {
    let mut out = list(&[entry(".", DIR), entry("f", REG)], false);
    ItemHead { ndx: index, iflags, basis, xname: None }
        .encode(&mut out, &mut NdxWriter::new(), Protocol::NEWEST)
        .unwrap();
    out.extend_from_slice(rest);
    framed(&out)
}

fn sums(count: i32, block: i32, strong: i32, remainder: i32) -> Vec<u8> {
    [count, block, strong, remainder].iter().flat_map(|n| n.to_le_bytes()).collect()
}

#[test]
fn items_that_make_no_sense_end_the_run() {
    // A failure would have the receiver index, divide or allocate by a sender's numbers.
    let send = ItemFlags::TRANSFER;
    let typed = ItemFlags::TRANSFER | ItemFlags::BASIS_TYPE_FOLLOWS;
    let word = |n: i32| n.to_le_bytes();
    for (index, flags, basis, rest, text) in [
        (77, send, None, vec![], "File-list index 77 not in "),
        (0, send, None, vec![], "received request to transfer non-regular file: 0 [receiver]"),
        (-4, send, None, vec![], "Invalid file index: -4 "),
        (ndx::FLIST_OFFSET, send, None, vec![], "Invalid file index: -101 "),
        (1, send, None, sums(1, -1, 0, 0), "Invalid block length -1 [receiver]"),
        (1, send, None, sums(1, 0, 0, 0), "Invalid zero block length [receiver]"),
        (1, send, None, sums(1, 131_073, 0, 0), "Invalid block length 131073 [receiver]"),
        (1, send, None, sums(-1, 700, 0, 0), "Invalid checksum count -1 [receiver]"),
        (1, send, None, sums(1, 700, 17, 0), "Invalid checksum length 17 [receiver]"),
        (1, send, None, sums(1, 700, 16, -1), "Invalid remainder length -1 [receiver]"),
        (1, send, None, sums(1, 700, 16, 701), "Invalid remainder length 701 [receiver]"),
        (1, send, None, [&sums(1, 700, 16, 0)[..], &word(-2)].concat(), "Invalid block index 1 "),
        (1, send, None, [&sums(0, 0, 0, 0)[..], &word(i32::MIN)].concat(), "Invalid block index"),
        (1, typed, Some(0), vec![], "invalid basis_dir index: 0"),
        (1, typed, Some(0x83), vec![], "refusing malicious fuzzy operation"),
        (1, typed, Some(0x85), vec![], "invalid basis_dir index: "),
    ] {
        let place = Place::new();
        let stream = transfer(index, flags, basis, &rest);
        let (status, said) = pull(&place, &["-rt"], "m/", &stream);
        assert_eq!(status, 2, "{index}: {said}");
        assert!(said.contains(text), "{index}: {said}");
        assert_eq!(place.names(), ["kept"], "{index}");
    }
}

#[test]
fn a_listing_writes_nothing() {
    // A failure would let a sender that was only asked for a list write where the client stands.
    let mut head = Vec::new();
    SumHead::empty().encode(&mut head);
    let stream = transfer(1, ItemFlags::TRANSFER, None, &[head, abc(), ending()].concat());
    let place = Place::new();
    assert_eq!(pull(&place, &["-rt"], "m/", &stream).0, 0);
    assert_eq!(place.names(), ["f", "kept"], "the stream is one that delivers the file");
    let place = Place::new();
    let (status, said) = pull(&place, &["-rt", "--list-only"], "m/", &stream);
    assert_eq!(status, 2, "{said}");
    assert!(said.contains("ERROR: rejecting file transfer into a listing: f"), "{said}");
    assert_eq!(place.names(), ["kept"]);
    assert!(!std::path::Path::new("f").exists());
}

#[test]
fn a_flood_of_empty_frames_is_passed_over() {
    // A failure would let a peer exhaust the stack or the memory with frames that say nothing.
    let mut stream = Vec::new();
    for _ in 0..200_000 {
        Message::Noop.encode(&mut stream);
        stream.extend_from_slice(&wire::mux::header(wire::mux::DATA, 0));
    }
    stream.extend_from_slice(&whole(&[entry(".", DIR)], false));
    let place = Place::new();
    let (status, said) = pull(&place, &["-rt"], "m/", &stream);
    assert_eq!(status, 0, "{said}");
}

/// The content "abc" as tokens, with its MD5.
fn abc() -> Vec<u8> {
    let mut file = 3i32.to_le_bytes().to_vec();
    file.extend_from_slice(b"abc");
    file.extend_from_slice(&[0; 4]);
    file.extend_from_slice(&[0x90, 1, 0x50, 0x98, 0x3c, 0xd2, 0x4f, 0xb0]);
    file.extend_from_slice(&[0xd6, 0x96, 0x3f, 0x7d, 0x28, 0xe1, 0x7f, 0x72]);
    file
}

#[test]
fn content_that_nobody_asked_for_is_refused() {
    // A failure would let a sender overrule what the user wants kept.
    let mut head = Vec::new();
    SumHead::empty().encode(&mut head);
    let stream = transfer(1, ItemFlags::TRANSFER, None, &[head, abc(), ending()].concat());
    for option in ["--ignore-existing", "--update", "--existing", "--max-size=1", "--size-only"] {
        let place = Place::new();
        let file = place.0.join("dst/f");
        let there = option != "--existing";
        if there {
            std::fs::write(&file, "own").unwrap();
        }
        let (status, said) = pull(&place, &["-rt", option], "m/", &stream);
        assert_eq!(status, 2, "{option}: {said}");
        assert!(said.contains("content came that was not asked for [receiver]"), "{said}");
        assert_eq!(std::fs::read(&file).ok(), there.then(|| b"own".to_vec()), "{option}");
    }
}

#[test]
fn content_that_is_withheld_ends_the_run() {
    // A failure would wait for ever, or call an unfinished copy a success.
    let place = Place::new();
    let entries = [entry(".", DIR), entry("f", REG)];
    let (status, said) = pull(&place, &["-rt"], "m/", &whole(&entries, false));
    assert_eq!(status, 2, "{said}");
    assert!(said.contains("content that was asked for did not come [receiver]"), "{said}");
    assert_eq!(place.names(), ["kept"]);

    // With incremental recursion: the list, no more lists, end marks as if all had been sent.
    let stream = [list(&entries, false), vec![0xff, 1], ending()].concat();
    let (status, said) = pull_from(&place, &["-rt"], "m/", (&framed(&stream), true));
    assert_ne!(status, 0, "{said}");
    assert_eq!(place.names(), ["kept"], "{said}");
}

#[test]
fn blocks_come_from_a_basis_that_was_named() {
    // A failure would make a file of zeros, or of something that the user did not offer.
    let zeros: Vec<u8> = [&sums(1, 700, 16, 3)[..], &(-1i32).to_le_bytes(), &[0; 4]].concat();
    let typed = ItemFlags::TRANSFER | ItemFlags::BASIS_TYPE_FOLLOWS;
    for (flags, basis, text) in [
        (ItemFlags::TRANSFER, None, "got a block match with no basis file for "),
        (typed, Some(0x81), "content came against a basis that was not named [receiver]"),
    ] {
        let place = Place::new();
        std::fs::create_dir(place.0.join("dst/partial")).unwrap();
        std::fs::write(place.0.join("dst/partial/other"), "abc").unwrap();
        let stream = transfer(1, flags, basis, &[zeros.clone(), vec![0; 16], ending()].concat());
        let words = ["-rt", "--partial-dir=partial"];
        let (status, said) = pull(&place, &words, "m/", &stream);
        assert_eq!(status, 2, "{said}");
        assert!(said.contains(text), "{said}");
        assert_eq!(place.names(), ["kept", "partial"]);
    }
}
