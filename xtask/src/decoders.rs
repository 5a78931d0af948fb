//! The decoders of a peer's or an operator's bytes, each as a function of bytes.
//!
//! Called by the fuzz targets of `fuzz/` and by `cargo xtask fuzz`. A function must return for any
//! input. It panics where a decoder does, or where what was decoded breaks a promise: what was read
//! can be written and read again, lists are in order, ranges lie inside the basis.
//!
//! The first byte or two of an input choose the session (protocol, options); the rest is the wire.

use std::io;
use std::net::Ipv4Addr;

use rsync::daemon::module::Module;
use rsync::daemon::{access, advice, config, refuse, secrets};
use wire::checksum::strong::{ChecksumKind, SumContext};
use wire::codec::{ByteSource, SliceSource};
use wire::delta::search::{self, Window, search};
use wire::delta::table::SumTable;
use wire::error::Error;
use wire::exchange::goodbye::{DelStats, Stats};
use wire::exchange::request::ItemHead;
use wire::filter::list::FilterList;
use wire::filter::parse::{Origin, Syntax};
use wire::filter::requested::{RequestShape, RequestedNames};
use wire::filter::{Side, wire_form};
use wire::flist::acls::AclRef;
use wire::flist::decode::Decoder;
use wire::flist::encode::Encoder;
use wire::flist::entry::Entry;
use wire::flist::flags::FlistOptions;
use wire::flist::list::FileList;
use wire::flist::order;
use wire::flist::segment::DirTable;
use wire::flist::xattrs as exchange;
use wire::handshake::{self, CompatFlags};
use wire::message::{self, Message, MessagePolicy};
use wire::ndx::{NdxReader, NdxWriter};
use wire::proxy_header::{self, ProxyStep};
use wire::sum::{BlockSums, SumHead};
use wire::token::{Received, TokenKind, TokenReader};
use wire::version::Protocol;
use wire::{auth, greeting, limits, mux, negotiate};

/// A decoder by name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("greeting", greeting),
    ("frames", frames),
    ("file_list", file_list),
    ("request", request),
    ("xattrs", xattrs),
    ("token", token),
    ("filter", filter),
    ("daemon_config", daemon_config),
];

/// Output of a token stream after which a run stops: a small input may expand without end, which
/// the receiver bounds by the disk, not by memory.
const EXPANDED_MAX: usize = 8 << 20;
/// Bytes searched for blocks; enough for a few blocks of each size.
const SEARCHED_MAX: usize = 1 << 16;

fn first(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}

fn protocol(selector: u8) -> Protocol {
    Protocol::new(27 + i32::from(selector % 6)).unwrap_or(Protocol::NEWEST)
}

/// What is said before the stream: greeting, login, capabilities, compatibility flags, name lists.
pub fn greeting(data: &[u8]) {
    let (selector, data) = first(data);
    let own = protocol(selector);
    match greeting::parse_greeting(data) {
        Ok(theirs) => {
            let _ = theirs.negotiate(own);
            let digest = auth::choose_daemon(theirs.digests.as_deref(), own);
            let _ = auth::choose_client(theirs.digests.as_deref(), own);
            if let Some(digest) = digest {
                let answer = auth::response(digest, b"password", b"challenge");
                assert!(auth::verify(digest, b"password", b"challenge", answer.as_bytes()));
                assert!(!auth::verify(digest, b"password", b"challenge", data));
            }
        }
        Err(defect) => drop((defect.client_text(data), defect.daemon_text(data))),
    }
    let steps = (0..=data.len()).map(|len| proxy_header::parse(data.get(..len).unwrap_or(data)));
    let wanted = steps.take_while(|step| *step == ProxyStep::More).count();
    assert!(wanted <= limits::PROXY_BINARY_MAX, "a proxy's header ends");
    let _ = handshake::server_protocol(own, data);
    let flags = handshake::flags_for_client(data, selector & 0x80 != 0);
    let mut out = Vec::new();
    flags.encode_for(data, &mut out);
    // To the historic letter V they are one byte, which its senders do not read as a varint.
    let read = CompatFlags::decode(&mut SliceSource::new(&out)).is_ok();
    assert!(read || data.contains(&b'V'), "our own flags are read");
    let mut src = SliceSource::new(data);
    let _ = CompatFlags::decode(&mut src);
    if let Ok(names) = negotiate::get_list(&mut src) {
        let own = negotiate::checksum_list(None, true);
        let _ = negotiate::choose_server(&names, &own);
        let _ = negotiate::choose_client(&own, &names);
    }
    // The same words as an environment variable would give them.
    let _ = negotiate::choose_server(data, &negotiate::compress_list(Some(data), false));
}

/// Frames, and the messages in them.
pub fn frames(data: &[u8]) {
    let (selector, data) = first(data);
    let policy = match selector % 4 {
        0 => MessagePolicy::from_sending_server(),
        1 => MessagePolicy::from_receiving_server(),
        2 => MessagePolicy::from_sending_client(),
        _ => MessagePolicy::from_receiving_client(),
    };
    let mut src = SliceSource::new(data);
    let mut stream = Vec::new();
    loop {
        let mut header = [0; 4];
        if src.read_exact(&mut header).is_err() {
            break;
        }
        let Ok((tag, len)) = mux::parse(header) else { break };
        if tag != mux::DATA && message::payload_limit(tag).is_ok_and(|limit| len > limit) {
            break;
        }
        let Ok(payload) = src.read_vec(len) else { break };
        if tag == mux::DATA {
            stream.extend_from_slice(&payload);
            continue;
        }
        let Ok(said) = Message::decode(tag, &payload, policy) else { break };
        let mut again = Vec::new();
        said.encode(&mut again);
        if again.is_empty() && payload.is_empty() {
            // A text of no bytes says nothing, in no frame.
            continue;
        }
        let (tag, len) = header_of(&again);
        assert_eq!(again.len(), 4 + len);
        assert_eq!(Message::decode(tag, &again[4..], policy), Ok(said));
    }
    let mut src = SliceSource::new(&stream);
    let mut ndx = NdxReader::new();
    while ndx.get(&mut src).is_ok() {}
}

fn header_of(frame: &[u8]) -> (u8, usize) {
    assert!(frame.len() >= 4, "a message has a header");
    let parsed = mux::parse([frame[0], frame[1], frame[2], frame[3]]);
    assert!(parsed.is_ok(), "our own header is read");
    parsed.unwrap_or_default()
}

/// The shape of a session that two bytes choose.
pub(crate) fn flist_options(a: u8, b: u8) -> FlistOptions {
    let bit = |byte: u8, n: u8| byte >> n & 1 == 1;
    FlistOptions {
        protocol: protocol(a),
        varint_flags: bit(a, 2),
        safe_flist: bit(a, 3),
        id0_names: bit(a, 4),
        inc: bit(a, 5),
        atimes: bit(b, 1) && bit(b, 6),
        owner: bit(a, 6),
        group: bit(a, 7),
        links: bit(b, 0),
        devices: bit(b, 1),
        specials: bit(b, 2),
        hard_links: bit(b, 3),
        acls: bit(a, 4) && bit(b, 2),
        xattrs: bit(a, 3) && bit(b, 2),
        checksum_len: bit(b, 4).then_some(16),
        numeric_ids: bit(b, 5),
        relative: bit(b, 6),
        delete_missing_args: bit(b, 7),
        recurse: bit(a, 0),
    }
}

/// File lists: entries, their order, the table of directories, the lists of ids.
pub fn file_list(data: &[u8]) {
    let (a, data) = first(data);
    let (b, data) = first(data);
    let opts = flist_options(a, b);
    let mut src = SliceSource::new(data);
    let mut decoder = Decoder::new(opts.clone());
    let mut dirs = DirTable::new();
    let mut parent = None;
    let mut start = 1;
    loop {
        decoder.begin_segment(start);
        let Some(list) = segment(&mut decoder, &mut src, &opts, start, parent) else { return };
        dirs.add_list(&list);
        start = start.saturating_add(i32::try_from(list.len()).unwrap_or(i32::MAX)) + 1;
        if !opts.inc {
            let _ = decoder.id_lists(&mut src);
            return;
        }
        // The number of the next directory comes as an index of the request stream would.
        let Ok(next) = src.byte() else { return };
        let number = i32::from(next.cast_signed());
        if dirs.announce(number).is_err() {
            return;
        }
        assert!(dirs.name(number).is_some(), "an announced directory has a name");
        parent = Some(number);
    }
}

fn segment(
    decoder: &mut Decoder,
    src: &mut SliceSource<'_>,
    opts: &FlistOptions,
    start: i32,
    parent: Option<i32>,
) -> Option<FileList> {
    let mut list = FileList::new(start, parent);
    let mut entries = Vec::new();
    while let Some(entry) = decoder.next(src).ok()? {
        assert!(!entry.name.is_empty() && !entry.name.contains(&0), "a name is usable");
        assert!(!entry.name.split(|&b| b == b'/').any(|part| part == b".."), "a name stays below");
        assert!(opts.relative || !entry.name.starts_with(b"/"), "a name is relative");
        entries.push(entry.clone());
        list.push(entry);
    }
    let _ = decoder.take_io_error();
    list.finish(true);
    assert_eq!(list.len(), entries.len());
    in_order(&list);
    if !opts.hard_links && parent.is_none() && start == 1 {
        written_again(&entries, opts);
    }
    Some(list)
}

fn in_order(list: &FileList) {
    for pos in 0..list.len() {
        let here = list.get(pos);
        if let Some(before) = pos.checked_sub(1).map(|pos| list.get(pos)) {
            let order =
                order::compare(&before.name(), before.is_dir(), &here.name(), here.is_dir());
            assert!(order.is_le(), "a finished list is sorted");
        }
        if list.is_active(pos) {
            assert!(list.find(&here.name()).is_some(), "what is listed is found");
        }
    }
}

/// Whether an entry names a list of ACLs sent before by its number, which differs where a list
/// comes twice: it is then written once.
fn has_numbered_acls(entry: &Entry) -> bool {
    let numbered = |acl: &AclRef| matches!(acl, AclRef::Number(_));
    let Some(acls) = &entry.acls else { return false };
    numbered(&acls.access) || acls.default.as_ref().is_some_and(numbered)
}

/// Entries without link groups lose nothing on the wire.
fn written_again(entries: &[Entry], opts: &FlistOptions) {
    if entries.iter().any(has_numbered_acls) {
        return;
    }
    let mut encoder = Encoder::new(opts.clone());
    encoder.begin_segment(1);
    let mut out = Vec::new();
    for entry in entries {
        assert!(encoder.entry(&mut out, entry).is_ok(), "what was read can be written");
    }
    encoder.end(&mut out, 0);
    let mut decoder = Decoder::new(opts.clone());
    decoder.begin_segment(1);
    let mut src = SliceSource::new(&out);
    for entry in entries {
        let again = decoder.next(&mut src).ok().flatten().unwrap_or_default();
        let facts = |e: &Entry| {
            let times = (e.mtime, e.mtime_nsec, e.atime);
            (e.name.clone(), e.mode, e.len, times, e.link_target.clone())
        };
        assert_eq!(facts(&again), facts(entry));
    }
    assert!(matches!(decoder.next(&mut src), Ok(None)), "the list ends where it ended");
}

struct InMemory<'a>(&'a [u8]);

impl Window for InMemory<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn slice(&mut self, offset: u64, len: usize) -> &[u8] {
        let start = offset as usize;
        assert!(start + len <= self.0.len(), "a search stays inside the file");
        &self.0[start..start + len]
    }
}

/// What a receiving side sends: item records, sums of a basis, statistics; and a search with the
/// sums it chose.
pub fn request(data: &[u8]) {
    let (selector, data) = first(data);
    let mut src = SliceSource::new(data);
    let protocol = protocol(selector / 16);
    let mut reader = NdxReader::of(protocol);
    let mut writer = NdxWriter::of(protocol);
    let Ok(ndx) = reader.get(&mut src) else { return };
    if ndx < 0 {
        let _ = DelStats::decode(&mut src.clone());
        let _ = Stats::decode(&mut src, protocol);
        return;
    }
    let Ok(item) = ItemHead::decode_after_ndx(&mut src, ndx, protocol) else { return };
    let _ = item.check_basis(usize::from(selector >> 4), selector & 8 != 0);
    let mut again = Vec::new();
    assert!(item.encode(&mut again, &mut writer, protocol).is_ok(), "what was read can be written");
    let mut echo = SliceSource::new(&again);
    let ndx = NdxReader::of(protocol).get(&mut echo).unwrap_or(-1);
    assert_eq!(ItemHead::decode_after_ndx(&mut echo, ndx, protocol), Ok(item));

    let kind = [ChecksumKind::Xxh128, ChecksumKind::Md5, ChecksumKind::Xxh64, ChecksumKind::Sha1]
        [usize::from(selector % 4)];
    let sums = SumContext { kind, seed: i32::from(selector), seed_first: selector & 4 != 0 };
    let Ok(head) = SumHead::decode(&mut src, sums.digest_len(), protocol) else { return };
    let mut again = Vec::new();
    head.encode(&mut again);
    assert_eq!(
        SumHead::decode(&mut SliceSource::new(&again), sums.digest_len(), protocol),
        Ok(head)
    );
    let Ok(blocks) = BlockSums::decode(&mut src, head) else { return };
    for k in [0, head.count / 2, head.count.saturating_sub(1)] {
        if let Some((offset, len)) = head.block_range(k) {
            assert!(offset + u64::from(len) <= head.basis_len(), "a block lies inside the basis");
        }
    }
    let source = &data[..data.len().min(SEARCHED_MAX)];
    let table = SumTable::new(blocks);
    let limit = search::work_limit(source.len() as u64, &head);
    let mut total = 0;
    let found: Result<_, Error> =
        search(&table, &sums, &mut InMemory(source), selector & 0x80 != 0, limit, &mut |token| {
            total += match token {
                search::Token::Literal(bytes) => bytes.len(),
                search::Token::Block { index, data } => {
                    assert!(index < head.count, "a block exists");
                    data.len()
                }
            };
            Ok(())
        });
    assert!(found.is_ok());
    assert_eq!(total, source.len(), "a search gives back the whole file");
}

/// The exchange of long values of extended attributes.
pub fn xattrs(data: &[u8]) {
    let (count, data) = first(data);
    let count = usize::from(count);
    let mut src = SliceSource::new(data);
    if let Ok(items) = exchange::get_request(&mut src, count) {
        assert!(items.is_sorted_by(|a, b| a < b), "a request is ascending");
        let mut again = Vec::new();
        exchange::put_request(&mut again, &items);
        let read = exchange::get_request(&mut SliceSource::new(&again), count);
        assert_eq!(read, Ok(items), "what was read can be written");
    }
    let mut last = 0;
    while let Ok(Some((item, value))) = exchange::get_answer(&mut src, last, count) {
        assert!(item > last && item as usize <= count, "an item exists");
        assert!(value.len() <= data.len(), "a value came");
        last = item;
    }
}

/// Token streams in all codecs.
pub fn token(data: &[u8]) {
    let (selector, data) = first(data);
    let kinds = ["none", "zlib", "zlibx", "lz4", "zstd"];
    let name = kinds[usize::from(selector / 3) % kinds.len()];
    let Some(kind) = TokenKind::parse(name.as_bytes()) else { return };
    let Ok(mut reader) = TokenReader::new(kind, protocol(selector)) else { return };
    let mut src = SliceSource::new(data);
    let mut expanded = 0;
    let mut files = 0;
    while expanded < EXPANDED_MAX && files < 64 {
        match reader.next(&mut src) {
            Ok(Received::Literal(bytes)) => {
                assert!(!bytes.is_empty(), "literal data is data");
                expanded += bytes.len();
            }
            Ok(Received::Block(index)) => {
                expanded += 700;
                let block = vec![index as u8; 700];
                if reader.saw_block(&block).is_err() {
                    return;
                }
            }
            Ok(Received::End) => files += 1,
            Err(_) => return,
        }
    }
}

/// Filter rules: from the wire, from a file, from a module's parameters; then matched.
pub fn filter(data: &[u8]) {
    let (selector, data) = first(data);
    if let Ok(rules) = wire_form::get_rules(&mut SliceSource::new(data)) {
        let mut again = Vec::new();
        assert!(wire_form::put_rules(&mut again, &rules).is_ok(), "what was read can be written");
        assert_eq!(wire_form::get_rules(&mut SliceSource::new(&again)), Ok(rules.clone()));
        let mut list = FilterList::new();
        if list.add_from_wire(&rules, Protocol::NEWEST).is_ok() {
            judge(&mut list, data);
        }
    }
    let mut list = FilterList::new();
    list.set_from0(selector & 1 != 0);
    list.set_delete_excluded(selector & 2 != 0);
    let syntax = match selector >> 2 & 3 {
        0 => Syntax::Filter,
        1 => Syntax::Old { include: selector & 0x10 != 0 },
        _ => Syntax::Bare { include: false, clears: selector & 0x10 != 0 },
    };
    // Rule files may name themselves.
    let mut read = rule_file(data);
    let read_whole = list.add_lines(data, syntax, b"rules", &mut read).is_ok();
    let one = data.split(|&b| b == b'\n').next().unwrap_or_default();
    let _ = FilterList::new().add_rule_text(one, &Origin::Argument, &mut |_, _| None);
    if read_whole {
        judge(&mut list, data);
        let mut requested = RequestedNames::new(RequestShape::default());
        requested.add(one);
        let _ = requested.judge(b"dir/file", false);
    }
}

/// A rule file with the start of `data`, which can be read a few times: what it holds is input too.
fn rule_file(data: &[u8]) -> impl FnMut(&[u8], &[u8]) -> Option<Vec<u8>> {
    let content = data[..data.len().min(256)].to_vec();
    let mut left = 8;
    move |_, _| {
        left = usize::checked_sub(left, 1)?;
        Some(content.clone())
    }
}

fn judge(list: &mut FilterList, data: &[u8]) {
    let _ = list.encode_for_peer(true);
    let _ = list.encode_for_peer(false);
    let mut read = rule_file(data);
    let _ = list.move_to_dir(b"dir/deeper", &mut read);
    for name in [b"file".as_slice(), b"dir/deeper/file.o", b"dir", b"aaaaaaaaaaaaaaaaaaaaaaaaaaab"]
    {
        let _ = list.check(name, false, Side::Sender);
        let _ = list.check(name, true, Side::Receiver);
        let _ = list.refuses_received(name, true);
    }
}

/// `rsyncd.conf`, with what is read out of its values.
pub fn daemon_config(data: &[u8]) {
    let load = |path: &[u8], _: &str| Ok(vec![(path.to_vec(), data.to_vec())]);
    let environment = |name: &[u8]| (name == b"HOME").then(|| b"/root".to_vec());
    let Ok(config) = config::parse(b"rsyncd.conf", &[], &load, &environment) else { return };
    let _ = config.globals(&environment);
    let rows = refuse::option_rows();
    let addr = Ipv4Addr::new(192, 168, 2, 230).into();
    let peer = access::ClientPeer { addr, scope: None, host: b"client.example".to_vec() };
    for section in config.sections.iter().take(2) {
        let Ok(module) = Module::resolve(section, &environment) else { continue };
        let _ = module.chroot_parts();
        let _ = access::check(&module.hosts_allow, &module.hosts_deny, &peer, None);
        let _ = secrets::rule_for(&module.auth_users, b"user", &Vec::new);
        let _ = refuse::RefuseSet::compile(&module.refuse_options, &rows, false).refuses("delete");
    }
    let facts = advice::LintFacts {
        directory: &|_| Err(io::ErrorKind::NotFound.into()),
        secrets: &|_| Err(io::ErrorKind::NotFound.into()),
        ids: &|_| Err("no such user".into()),
        label: &|_| None,
        euid: 0,
    };
    let _ = advice::lint_with(&config, &facts);
}
