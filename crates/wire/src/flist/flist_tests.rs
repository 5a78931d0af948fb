//! Golden captures of the file list, round trips, and noise.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::decode::Decoder;
use super::encode::Encoder;
use super::entry::{Entry, HardLink};
use super::flags::FlistOptions;
use super::list::FileList;
use super::order::compare;
use super::segment::DirTable;
use crate::codec::SliceSource;
use crate::version::Protocol;

fn options(protocol: i32) -> FlistOptions {
    FlistOptions { inc: true, ..FlistOptions::plain(Protocol::new(protocol).unwrap()) }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn file(name: &str, mode: u32, len: u64) -> Entry {
    let content_dir = mode & 0o170_000 == 0o040_000;
    Entry { name: name.into(), mode, len, mtime: 1_704_164_645, content_dir, ..Entry::default() }
}

#[test]
fn the_captured_list_is_byte_exact() {
    let mut encoder = Encoder::new(options(32));
    encoder.begin_segment(1);
    let mut out = Vec::new();
    let top = Entry { top_dir: true, ..file(".", 0o040_755, 4096) };
    let link = Entry { link_target: Some(b"a.txt".to_vec()), ..file("ln", 0o120_777, 5) };
    let text = Entry { mtime_nsec: 500, ..file("a.txt", 0o100_644, 12) };
    for entry in [&top, &link, &text] {
        encoder.entry(&mut out, entry).unwrap();
    }
    encoder.end(&mut out, 0);
    let golden = unhex(
        "19 01 2e 000010 65257d93 ed410000
         8098 02 6c6e 000500 ffa10000 05 612e747874
         a098 05 612e747874 000c00 81f4 a4810000 00 00",
    );
    assert_eq!(out, golden);
    let mut decoder = Decoder::new(options(32));
    decoder.begin_segment(1);
    let mut source = SliceSource::new(&golden);
    for entry in [top, link, text] {
        assert_eq!(decoder.next(&mut source).unwrap(), Some(entry));
    }
    assert_eq!(decoder.next(&mut source).unwrap(), None);
    assert!(source.rest().is_empty());
}

#[test]
fn owners_names_travel_once_and_segments_inherit() {
    let opts = FlistOptions { owner: true, group: true, ..options(32) };
    let named = |entry: Entry| Entry {
        user_name: Some(b"root".to_vec()),
        group_name: Some(b"root".to_vec()),
        ..entry
    };
    let mut encoder = Encoder::new(opts);
    encoder.begin_segment(1);
    let mut out = Vec::new();
    let entries = [
        Entry { top_dir: true, ..named(file(".", 0o040_755, 4096)) },
        Entry { link_target: Some(b"a.txt".to_vec()), ..named(file("ln", 0o120_777, 5)) },
        named(file("sub", 0o040_755, 4096)),
        named(file("a.txt", 0o100_644, 12)),
    ];
    for entry in &entries {
        encoder.entry(&mut out, entry).unwrap();
    }
    encoder.end(&mut out, 0);
    let first = unhex(
        "8c01 01 2e 000010 65257d93 ed410000 00 04 726f6f74 00 04 726f6f74
         8098 02 6c6e 000500 ffa10000 05 612e747874
         8098 03 737562 000010 ed410000
         8098 05 612e747874 000c00 a4810000 00 00",
    );
    assert_eq!(out, first);
    out.clear();
    encoder.begin_segment(6);
    encoder.entry(&mut out, &named(file("sub/b.txt", 0o100_644, 12))).unwrap();
    encoder.end(&mut out, 0);
    assert_eq!(out, unhex("809a 09 7375622f622e747874 000c00 00 00"));
}

#[test]
fn whole_lists_carry_ids_behind_them() {
    let opts = FlistOptions { owner: true, group: true, inc: false, ..options(32) };
    let mut encoder = Encoder::new(opts.clone());
    encoder.begin_segment(0);
    let mut out = Vec::new();
    encoder.entry(&mut out, &file("a.txt", 0o100_644, 12)).unwrap();
    encoder.end(&mut out, 0);
    encoder.id_lists(&mut out, &mut |_, id| (id == 0).then(|| b"root".to_vec()));
    let golden = unhex(
        "04 05 612e747874 000c00 65257d93 a4810000 00 00 00 00 00 04 726f6f74 00 04 726f6f74",
    );
    assert_eq!(out, golden);
    let mut decoder = Decoder::new(opts);
    let mut source = SliceSource::new(&out);
    assert!(decoder.next(&mut source).unwrap().is_some());
    assert!(decoder.next(&mut source).unwrap().is_none());
    decoder.id_lists(&mut source).unwrap();
    assert!(source.rest().is_empty());
}

#[test]
fn hard_links_refer_back() {
    let opts = FlistOptions { hard_links: true, ..options(32) };
    let group = Some(HardLink::Device { dev: 1, ino: 2 });
    let mut encoder = Encoder::new(opts.clone());
    encoder.begin_segment(12);
    let mut out = Vec::new();
    let first = Entry { hard_link: group, mtime_nsec: 7, ..file("h1", 0o100_644, 3) };
    let second = Entry { name: b"h2".to_vec(), ..first.clone() };
    encoder.entry(&mut out, &file("d", 0o040_755, 0)).unwrap();
    encoder.entry(&mut out, &first).unwrap();
    let at = out.len();
    encoder.entry(&mut out, &second).unwrap();
    assert_eq!(&out[at..], unhex("a2ba 01 01 32 0d"));
    encoder.end(&mut out, 0);
    let mut decoder = Decoder::new(opts);
    decoder.begin_segment(12);
    let mut source = SliceSource::new(&out);
    decoder.next(&mut source).unwrap();
    let h1 = decoder.next(&mut source).unwrap().unwrap();
    let h2 = decoder.next(&mut source).unwrap().unwrap();
    assert_eq!(h1.hard_link, Some(HardLink::Group { id: 13, first: true }));
    assert_eq!(h2.hard_link, Some(HardLink::Group { id: 13, first: false }));
    assert_eq!((h2.len, h2.mtime, h2.mtime_nsec), (3, h1.mtime, 7));
}

#[test]
fn files_come_before_directories_and_dot_first() {
    let sorted = [(".", true), ("b", false), ("c", false), ("a", true), ("a/z", false)];
    let mut list = FileList::new(0, None);
    for (name, dir) in sorted.iter().rev() {
        list.push(file(name, if *dir { 0o040_755 } else { 0o100_644 }, 0));
    }
    list.finish(true);
    let names: Vec<_> = (0..list.len()).map(|i| list.get(i).name()).collect();
    assert_eq!(names, sorted.map(|(name, _)| name.as_bytes().to_vec()));
    assert_eq!(compare(b"foo.bar", true, b"foo", true), Ordering::Less);
    assert_eq!(list.find(b"a/z"), Some(4));
    assert_eq!(list.find(b"a"), Some(3));
    assert_eq!(list.find(b"x"), None);
}

#[test]
fn duplicates_leave_one_and_directories_win() {
    let mut list = FileList::new(0, None);
    for (name, mode) in [("d", 0o040_755), ("f", 0o100_644), ("f", 0o100_600), ("d", 0o100_644)] {
        list.push(file(name, mode, 0));
    }
    list.finish(true);
    let active: Vec<_> = (0..4)
        .filter(|&i| list.is_active(i))
        .map(|i| (list.get(i).name(), list.get(i).mode()))
        .collect();
    assert_eq!(active, [(b"f".to_vec(), 0o100_644), (b"d".to_vec(), 0o040_755)]);
    for name in ["d", "f"] {
        let found = list.find(name.as_bytes()).map(|at| list.get(at).name());
        assert_eq!(found, Some(name.as_bytes().to_vec()));
    }
}

#[test]
fn directories_are_announced_once() {
    let mut list = FileList::new(1, None);
    for name in [".", "a", "b"] {
        list.push(file(name, 0o040_755, 0));
    }
    list.finish(false);
    let mut table = DirTable::new();
    table.add_list(&list);
    assert_eq!((table.next_to_send(), table.name(2)), (Some(1), Some(b"b".to_vec())));
    table.mark_sent(1).unwrap();
    assert_eq!(table.next_to_send(), Some(2));
    for bad in [0, 1, 3, -1] {
        assert!(table.announce(bad).is_err(), "{bad}");
    }
    table.announce(2).unwrap();
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in ["../x", "a/../b", "/abs", "a//b", "", "a/.", "a/"] {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(options(32));
        encoder.entry(&mut out, &file(name, 0o100_644, 0)).unwrap();
        let mut decoder = Decoder::new(options(32));
        assert!(decoder.next(&mut SliceSource::new(&out)).is_err(), "{name}");
    }
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let name = prop::collection::vec(
        prop::collection::vec(any::<u8>().prop_filter("plain", |b| !b"/\0.".contains(b)), 1..12),
        1..4,
    )
    .prop_map(|parts| parts.join(&b'/'));
    let kind = prop::sample::select(vec![0o100_644, 0o040_755, 0o120_777, 0o020_600, 0o010_600]);
    let entry = (name, kind, any::<u32>(), any::<i64>(), 0..1_000_000_000u32, 0..5u32, 0..3u64);
    // Names of one inode have one set of attributes.
    let entry = entry.prop_map(|(name, mode, len, mtime, nsec, id, ino)| match (mode, ino) {
        (0o100_644, 1..) => (name, mode, ino as u32, ino as i64, ino as u32, ino as u32, ino),
        _ => (name, mode, len, mtime, nsec, id, ino),
    });
    let entry = entry.prop_map(|(name, mode, len, mtime, nsec, id, ino)| Entry {
        name,
        mode,
        len: if mode == 0o120_777 { 3 } else { u64::from(len) },
        mtime,
        mtime_nsec: nsec,
        uid: id,
        gid: id * 7,
        rdev: if mode == 0o020_600 { (id, len) } else { (0, 0) },
        link_target: (mode == 0o120_777).then(|| b"t/x".to_vec()),
        hard_link: (mode == 0o100_644 && ino > 0).then_some(HardLink::Device { dev: 1, ino }),
        content_dir: mode == 0o040_755,
        ..Entry::default()
    });
    prop::collection::vec(entry, 0..40)
}

proptest! {
    #[test]
    fn lists_survive_the_wire(
        list in entries(), protocol in 30..=32, varint in any::<bool>(), cut in 0..40usize,
    ) {
        let opts = FlistOptions {
            varint_flags: varint, owner: true, group: true, devices: true, specials: true,
            hard_links: true, ..options(protocol)
        };
        let (mut encoder, mut out) = (Encoder::new(opts.clone()), Vec::new());
        let cut = cut.min(list.len());
        for (start, part) in [(1, &list[..cut]), (2 + cut as i32, &list[cut..])] {
            encoder.begin_segment(start);
            for entry in part {
                encoder.entry(&mut out, entry).unwrap();
            }
            encoder.end(&mut out, 0);
        }
        let (mut decoder, mut source) = (Decoder::new(opts), SliceSource::new(&out));
        let mut leaders = std::collections::HashMap::new();
        for (start, part) in [(1, &list[..cut]), (2 + cut as i32, &list[cut..])] {
            decoder.begin_segment(start);
            for sent in part {
                let got = decoder.next(&mut source).unwrap().unwrap();
                // A later link of one list takes its leader's fields.
                let mut expected = match sent.hard_link {
                    Some(HardLink::Device { ino, .. }) => {
                        let (lead_start, leader): &mut (i32, Entry) =
                            leaders.entry(ino).or_insert_with(|| (start, sent.clone()));
                        if *lead_start == start { leader.clone() } else { sent.clone() }
                    }
                    _ => sent.clone(),
                };
                expected.name = sent.name.clone();
                if protocol < 31 { expected.mtime_nsec = 0; }
                expected.hard_link = got.hard_link;
                prop_assert_eq!(&got, &expected);
                prop_assert_eq!(got.hard_link.is_some(), sent.hard_link.is_some());
            }
            prop_assert!(decoder.next(&mut source).unwrap().is_none());
        }
        prop_assert!(source.rest().is_empty());
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), varint in any::<bool>()) {
        let opts = FlistOptions { varint_flags: varint, hard_links: true, ..options(31) };
        let (mut decoder, mut source) = (Decoder::new(opts), SliceSource::new(&bytes));
        while let Ok(Some(_)) = decoder.next(&mut source) {}
    }

    #[test]
    fn found_where_sorted(list in entries()) {
        let mut store = FileList::new(0, None);
        for entry in list {
            store.push(entry);
        }
        store.finish(true);
        for pos in 0..store.len() {
            if store.is_active(pos) {
                prop_assert_eq!(store.find(&store.get(pos).name()), Some(pos));
            }
        }
    }
}

/// A list of one file in an old protocol, as it was captured, and what is hostile in its place.
#[test]
fn old_lists_are_those_of_the_captures() {
    let dir = Entry {
        name: b".".to_vec(),
        mode: 0o040_755,
        len: 4096,
        mtime: 0x6593_7d25,
        top_dir: true,
        content_dir: true,
        ..Entry::default()
    };
    let link = Entry {
        name: b"ln".to_vec(),
        mode: 0o120_777,
        len: 5,
        mtime: dir.mtime,
        link_target: Some(b"a.txt".to_vec()),
        ..Entry::default()
    };
    let file = Entry {
        name: b"a.txt".to_vec(),
        mode: 0o100_644,
        len: 12,
        mtime: dir.mtime,
        ..Entry::default()
    };
    let captured = [
        &b"\x19\x01.\x00\x10\x00\x00\x25\x7d\x93\x65\xed\x41\x00\x00"[..],
        b"\x98\x02ln\x05\x00\x00\x00\xff\xa1\x00\x00\x05\x00\x00\x00a.txt",
        b"\x98\x05a.txt\x0c\x00\x00\x00\xa4\x81\x00\x00",
        b"\x00\x00\x00\x00\x00",
    ]
    .concat();
    for number in [27, 28, 29] {
        let opts = old_options(number);
        let mut encoder = Encoder::new(opts.clone());
        let mut out = Vec::new();
        for entry in [&dir, &link, &file] {
            encoder.entry(&mut out, entry).unwrap();
        }
        encoder.end(&mut out, 0);
        encoder.last_word(&mut out, 0);
        assert_eq!(out, captured, "{number}");
        let mut src = SliceSource::new(&captured);
        let mut decoder = Decoder::new(opts.clone());
        for entry in [&dir, &link, &file] {
            assert_eq!(decoder.next(&mut src).unwrap().as_ref(), Some(entry), "{number}");
        }
        assert_eq!(decoder.next(&mut src), Ok(None));
        decoder.last_word(&mut src).unwrap();
        assert!(src.is_empty());
        for len in 0..captured.len() {
            let mut src = SliceSource::new(&captured[..len]);
            let mut decoder = Decoder::new(opts.clone());
            let end = loop {
                match decoder.next(&mut src) {
                    Ok(Some(_)) => {}
                    Ok(None) => break decoder.last_word(&mut src),
                    Err(error) => break Err(error),
                }
            };
            assert!(end.is_err(), "{len} bytes");
        }
    }
}

fn old_options(number: i32) -> FlistOptions {
    FlistOptions {
        varint_flags: false,
        safe_flist: false,
        id0_names: false,
        ..FlistOptions::plain(Protocol::new(number).unwrap())
    }
}

/// Devices, fifos, members of groups of hard links, digests of all kinds of entries, names beyond
/// a byte's length: both ways in each old form.
#[test]
fn old_forms_go_both_ways() {
    let file = |name: &[u8], link| Entry {
        name: name.to_vec(),
        mode: 0o100_600,
        len: 1 << 33,
        mtime: 1_000_000_000,
        uid: 1000,
        hard_link: link,
        digest: crate::checksum::strong::Digest::from_slice(&[7; 16]),
        ..Entry::default()
    };
    let node =
        |name: &[u8], mode, rdev| Entry { name: name.to_vec(), mode, rdev, ..Entry::default() };
    let member = |dev, ino| Some(HardLink::Device { dev, ino });
    let given = [
        node(b"c", 0o020_600, (1, 300)),
        node(b"b", 0o060_600, (7, 3)),
        node(b"b2", 0o060_600, (7, 4)),
        node(b"fifo", 0o010_600, (0, 0)),
        file(&[b'x'; 300], None),
        file(b"one", member(5, 9)),
        file(b"other", member(5, 10)),
        file(b"two", member(5, 9)),
        file(b"elsewhere", member(u64::MAX >> 1, u64::MAX)),
    ];
    let group = |id, first| Some(HardLink::Group { id, first });
    let groups = [group(5, true), group(6, true), group(5, false), group(8, true)];
    for number in [27, 28, 29] {
        let opts = FlistOptions {
            devices: true,
            specials: true,
            hard_links: true,
            owner: true,
            checksum_len: Some(16),
            ..old_options(number)
        };
        let mut encoder = Encoder::new(opts.clone());
        let mut out = Vec::new();
        for entry in &given {
            encoder.entry(&mut out, entry).unwrap();
        }
        encoder.end(&mut out, 1);
        encoder.last_word(&mut out, 1);
        let mut decoder = Decoder::new(opts);
        let mut src = SliceSource::new(&out);
        for (at, entry) in given.iter().enumerate() {
            let hard_link = at.checked_sub(5).and_then(|at| groups[at]);
            // In the oldest form each regular file makes a group.
            let alone = (number, at) == (27, 4);
            let hard_link = if alone { group(4, true) } else { hard_link };
            let want = Entry { hard_link, ..entry.clone() };
            assert_eq!(decoder.next(&mut src).unwrap(), Some(want), "{number}");
        }
        assert_eq!(decoder.next(&mut src), Ok(None));
        decoder.last_word(&mut src).unwrap();
        assert_eq!(decoder.take_io_error(), 1);
        assert!(src.is_empty());
    }
}

/// Only named directories are marked in an old list: what lies below one belongs to it.
#[test]
fn contents_follow_from_the_named_directories() {
    let dir = |name: &[u8], top_dir| Entry {
        name: name.to_vec(),
        mode: 0o040_755,
        top_dir,
        content_dir: true,
        ..Entry::default()
    };
    for recurse in [true, false] {
        let opts = FlistOptions { recurse, ..old_options(29) };
        let mut encoder = Encoder::new(opts.clone());
        let mut out = Vec::new();
        let names = [(&b"a"[..], false), (b"a/b", true), (b"a/b/c", false), (b"a/bc", false)];
        for (name, top) in names {
            encoder.entry(&mut out, &dir(name, top)).unwrap();
        }
        let mut decoder = Decoder::new(opts);
        let mut src = SliceSource::new(&out);
        let contents = names.map(|_| decoder.next(&mut src).unwrap().unwrap().content_dir);
        assert_eq!(contents, [false, true, recurse, false]);
    }
}

/// Old lists are in the order of bytes, in which a directory and a file can be twins.
#[test]
fn old_lists_are_sorted_by_bytes() {
    let order = super::order::Order::of(Protocol::new(28).unwrap());
    let mut list = FileList::new(0, None).in_order(order);
    for (name, mode) in [
        (&b"foo/x"[..], 0o100_644),
        (b"foo", 0o100_644),
        (b"foo.bar", 0o100_644),
        (b"foo", 0o040_755),
        (b".", 0o040_755),
    ] {
        list.push(Entry { name: name.to_vec(), mode, ..Entry::default() });
    }
    list.finish(true);
    let names: Vec<_> = (0..list.len()).map(|at| list.get(at).name()).collect();
    assert_eq!(names, [&b"."[..], b"foo", b"foo", b"foo.bar", b"foo/x"]);
    let found = list.find(b"foo").unwrap();
    assert!(list.get(found).is_dir());
    assert_eq!((0..list.len()).filter(|&at| list.is_active(at)).count(), 4);
}
