//! Valid inputs for each decoder, made by our own encoders; fuzzing starts from them.
//!
//! Called by `cargo xtask fuzz` and by its `--corpus`, which writes them out for `cargo fuzz`. What
//! an encoder refuses is left out, so a seed is always well formed.

use wire::checksum::strong::{ChecksumKind, SumContext};
use wire::exchange::request::ItemHead;
use wire::filter::wire_form;
use wire::flist::acls::{Acl, AclEntry, AclRef, Acls};
use wire::flist::encode::Encoder;
use wire::flist::entry::Entry;
use wire::flist::flags::FlistOptions;
use wire::flist::xattrs::{self, Xattr, XattrValue, Xattrs};
use wire::greeting;
use wire::handshake;
use wire::itemize::ItemFlags;
use wire::message::Message;
use wire::mux;
use wire::ndx::NdxWriter;
use wire::sum::{SumHead, put_block_sum};
use wire::token::{TokenKind, TokenWriter};
use wire::version::Protocol;

use crate::decoders;

/// The seeds of a target; none for a name that is no target.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "greeting" => greetings(),
        "frames" => frames(),
        "file_list" => file_lists(),
        "request" => requests(),
        "xattrs" => xattr_exchanges(),
        "token" => tokens(),
        "filter" => filters(),
        "daemon_config" => daemon_configs(),
        _ => Vec::new(),
    }
}

fn with_selector(selector: u8, bytes: &[u8]) -> Vec<u8> {
    [&[selector], bytes].concat()
}

fn greetings() -> Vec<Vec<u8>> {
    let texts = [
        greeting::format_greeting(Protocol::NEWEST).trim_end().to_string(),
        "@RSYNCD: 30.0".to_string(),
        "@RSYNCD: 31.14 md5 md4".to_string(),
        handshake::client_capabilities(true).to_string(),
        "\u{7f}\u{10}xxh128 xxh3 md5".to_string(),
        "zstd lz4 zlibx zlib none & md5".to_string(),
        "PROXY TCP4 10.1.2.3 10.9.9.9 1234 873\r\n".to_string(),
        "\r\n\r\n\0\r\nQUIT\n!\u{11}\0\u{c}\n\u{1}\u{2}\u{3}\n\t\t\t\u{4}R\u{3}i".to_string(),
    ];
    texts.iter().enumerate().map(|(i, t)| with_selector(i as u8, t.as_bytes())).collect()
}

fn frames() -> Vec<Vec<u8>> {
    let messages = [
        Message::Info(b"a line\n".to_vec()),
        Message::ErrorXfer(b"rsync: [sender] open failed\n".to_vec()),
        Message::IoError(1),
        Message::IoTimeout(300),
        Message::Noop,
        Message::ErrorExit(Some(12)),
        Message::ErrorExit(None),
        Message::Success { ndx: 7, id: None },
        Message::Success { ndx: 7, id: Some((1, 2)) },
        Message::Deleted { name: b"dir/gone".to_vec(), dir: true },
        Message::NoSend(3),
    ];
    let mut numbers = NdxWriter::new();
    let mut stream = Vec::new();
    for index in [0, 1, 5, 400, 70_000, -1, -2, -101, 3] {
        numbers.put(&mut stream, index);
    }
    let mut found = Vec::new();
    for selector in 0..4 {
        let mut out = vec![selector];
        out.extend_from_slice(&mux::header(mux::DATA, stream.len()));
        out.extend_from_slice(&stream);
        for message in &messages {
            let mut one = out.clone();
            message.encode(&mut one);
            found.push(one);
        }
    }
    found
}

fn entries() -> Vec<Entry> {
    let plain = |name: &str, mode: u32, len: u64| Entry {
        name: name.into(),
        mode,
        len,
        mtime: 1_704_164_645,
        content_dir: mode == 0o040_755,
        ..Entry::default()
    };
    let attribute =
        |name: &str, value: &[u8]| Xattr { name: name.into(), value: XattrValue::of(value) };
    let attributes = vec![attribute("user.a", b"abc"), attribute("user.b", &[b'L'; 100])];
    let named = vec![AclEntry { user: true, id: 1000, perm: 7, name: Some(b"u".to_vec()) }];
    let acl = Acl { group: Some(4), named, ..Acl::default() };
    vec![
        Entry { top_dir: true, ..plain(".", 0o040_755, 4096) },
        Entry {
            mtime_nsec: 500,
            uid: 1000,
            acls: Some(Acls { access: AclRef::List(acl), default: None }),
            xattrs: Some(Xattrs::List(attributes)),
            ..plain("a.txt", 0o100_644, 12)
        },
        plain("a.text", 0o100_600, 1 << 40),
        Entry { link_target: Some(b"a.txt".to_vec()), ..plain("link", 0o120_777, 5) },
        Entry { rdev: (8, 1), ..plain("node", 0o060_660, 0) },
        plain("pipe", 0o010_644, 0),
        plain("sub", 0o040_755, 4096),
    ]
}

fn file_lists() -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for (a, b) in [(0b0011_1110, 7), (0b1111_1110, 7), (0b0000_0000, 1), (0b1101_1101, 0x27)] {
        let opts: FlistOptions = decoders::flist_options(a, b);
        let mut encoder = Encoder::new(opts.clone());
        let mut out = vec![a, b];
        encoder.begin_segment(1);
        let made = entries().iter().try_for_each(|entry| encoder.entry(&mut out, entry).map(drop));
        if made.is_err() {
            continue;
        }
        encoder.end(&mut out, 0);
        if opts.inc {
            out.push(1);
            encoder.begin_segment(9);
            let inside = Entry { name: b"sub/file".to_vec(), mode: 0o100_644, ..Entry::default() };
            if encoder.entry(&mut out, &inside).is_err() {
                continue;
            }
            encoder.end(&mut out, 1);
        } else {
            encoder.id_lists(&mut out, &mut |_, id| Some(format!("name{id}").into_bytes()));
        }
        found.push(out);
    }
    found
}

fn requests() -> Vec<Vec<u8>> {
    let basis: Vec<u8> = (0..3000_u32).map(|i| (i % 251) as u8).collect();
    let mut found = Vec::new();
    for (selector, flags) in [(0x80, 0x8000), (1, 0x8808), (2, 0x9800), (3, 0xa004)] {
        let kind = [ChecksumKind::Xxh128, ChecksumKind::Md5, ChecksumKind::Xxh64]
            .get(usize::from(selector & 3_u8))
            .copied()
            .unwrap_or(ChecksumKind::Sha1);
        let sums = SumContext { kind, seed: i32::from(selector), seed_first: false };
        let item = ItemHead {
            ndx: 5,
            iflags: ItemFlags::from_wire(flags),
            basis: Some(0x81),
            xname: Some(b"other".to_vec()),
        };
        let mut out = vec![selector];
        if item.encode(&mut out, &mut NdxWriter::new(), Protocol::NEWEST).is_err() {
            continue;
        }
        let head = SumHead::for_basis(
            basis.len() as u64,
            sums.digest_len(),
            false,
            None,
            Protocol::NEWEST,
        );
        let head = head.unwrap_or_default();
        head.encode(&mut out);
        for block in basis.chunks(head.block_len.max(1) as usize) {
            put_block_sum(&mut out, &head, &sums, block);
        }
        // Found again by the search, which reads this same input as its source.
        out.extend_from_slice(&basis);
        found.push(out);
    }
    found
}

fn xattr_exchanges() -> Vec<Vec<u8>> {
    let mut out = vec![200];
    xattrs::put_request(&mut out, &[1, 2, 150]);
    xattrs::put_answer(&mut out, 0, 1, b"a value");
    xattrs::put_answer(&mut out, 1, 150, &[7; 300]);
    xattrs::end_answer(&mut out);
    vec![out]
}

fn tokens() -> Vec<Vec<u8>> {
    let text = b"some text, some text, and some more of the same text".repeat(40);
    let mut found = Vec::new();
    for (number, name) in ["none", "zlib", "zlibx", "lz4", "zstd"].iter().enumerate() {
        let Some(kind) = TokenKind::parse(name.as_bytes()) else { continue };
        let Ok(mut writer) = TokenWriter::new(kind, None, Protocol::NEWEST) else { continue };
        let mut out = vec![number as u8 * 3 + 2];
        let mut write = |out: &mut Vec<u8>| {
            writer.literal(out, &text)?;
            for index in [0, 1, 2, 9, 4000] {
                writer.block(out, index, &vec![index as u8; 700])?;
            }
            writer.literal(out, &text[..17])?;
            writer.end(out)?;
            writer.literal(out, &text)?;
            writer.end(out)
        };
        if write(&mut out).is_ok() {
            found.push(out);
        }
    }
    found
}

fn filters() -> Vec<Vec<u8>> {
    let text = "- *.o\n+ /dir/***\n-s,! secret\n: .rules\n:n,w- .cvsignore\n!\nhide *.tmp\n\
                P /keep/[a-z]?*\n-C\n. other\nmerge,- other\ndir-merge,e /.filter\n+ */\n- *\n";
    let rules: Vec<Vec<u8>> = ["- *.o", "+ /dir/***", ":s .rules", "-r keep", "-p CVS"]
        .iter()
        .map(|rule| rule.as_bytes().to_vec())
        .collect();
    let mut found: Vec<Vec<u8>> =
        [0, 1, 4, 0x14, 8, 0x18].map(|s| with_selector(s, text.as_bytes())).to_vec();
    let mut out = vec![2];
    if wire_form::put_rules(&mut out, &rules).is_ok() {
        found.push(out);
    }
    found
}

fn daemon_configs() -> Vec<Vec<u8>> {
    let whole = "# comment\nport = 873\nuid = 0\nuse chroot = no\nmax connections = 200\n\
        timeout = 300\nmotd file = /etc/motd\ndont compress = *.gz *.zip\n\n[backup]\n\
        path = %HOME%/data/./copy\nread only = false\nlist = yes\nhosts allow = 192.168.0.0/16 \
        fe80::1%eth0 *.example [a-z]*\nhosts deny = *\nauth users = user:rw @group:ro *:deny\n\
        secrets file = /etc/secrets\nincoming chmod = D755,F644\nfilter = - *.o + *.c\n\
        refuse options = * !archive delete\n&include /etc/rsyncd.d\n";
    let parts = ["[a]\npath=/x\\\n/y\n[global]\nlog format = %o %f\n", "&merge other\n[", "x"];
    let mut found = vec![whole.as_bytes().to_vec()];
    found.extend(parts.map(|part| part.as_bytes().to_vec()));
    found
}
