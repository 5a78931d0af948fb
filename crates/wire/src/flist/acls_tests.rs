//! The captured access control list, round trips, and what is refused.

use proptest::prelude::*;

use super::*;
use crate::codec::SliceSource;
use crate::flist::decode::Decoder;
use crate::flist::encode::Encoder;
use crate::flist::entry::Entry;
use crate::flist::flags::FlistOptions;
use crate::version::Protocol;

fn golden() -> Acl {
    let named = vec![AclEntry { user: true, id: 1000, perm: 7, name: None }];
    Acl { group: Some(4), named, ..Acl::default() }
}

const GOLDEN: &[u8] = b"\x00\x12\x04\x01\x83\xe8\x1e";

#[test]
fn the_captured_list_is_byte_exact() {
    let mut out = Vec::new();
    put(&mut out, &golden(), true, &mut |_, _| true);
    assert_eq!(out, GOLDEN);
    assert_eq!(get(&mut SliceSource::new(GOLDEN), 0), Ok(AclRef::List(golden())));
}

#[test]
fn kinds_are_numbered_apart_and_names_travel_once() {
    let opts = FlistOptions { acls: true, inc: true, ..FlistOptions::plain(Protocol::NEWEST) };
    let name = Some(b"u".to_vec());
    let named = vec![AclEntry { user: true, id: 9, perm: 5, name: name.clone() }];
    let acl = Acl { named, ..Acl::default() };
    let entry = |name: &str, mode, access: &Acl, default: Option<&Acl>| Entry {
        name: name.into(),
        mode,
        acls: Some(Acls {
            access: AclRef::List(access.clone()),
            default: default.map(|acl| AclRef::List(acl.clone())),
        }),
        content_dir: mode == 0o040_755,
        ..Entry::default()
    };
    let entries = [
        entry("a", 0o040_755, &acl, Some(&Acl::default())),
        entry("b", 0o040_755, &acl, Some(&acl)),
        entry("c", 0o100_644, &Acl::default(), None),
        Entry { name: b"l".to_vec(), mode: 0o120_777, link_target: name, ..Entry::default() },
    ];
    let (mut encoder, mut out) = (Encoder::new(opts.clone()), Vec::new());
    for entry in &entries {
        encoder.entry(&mut out, entry).unwrap();
    }
    let (mut decoder, mut src) = (Decoder::new(opts), SliceSource::new(&out));
    let mut next = || decoder.next(&mut src).unwrap().unwrap().acls;
    let list = AclRef::List;
    let unnamed =
        Acl { named: vec![AclEntry { name: None, ..acl.named[0].clone() }], ..Acl::default() };
    assert_eq!(next(), Some(Acls { access: list(acl), default: Some(list(Acl::default())) }));
    assert_eq!(next(), Some(Acls { access: AclRef::Number(0), default: Some(list(unnamed)) }));
    assert_eq!(next(), Some(Acls { access: list(Acl::default()), default: None }));
    assert_eq!(next(), None);
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let code = |bytes: &[u8]| get(&mut SliceSource::new(bytes), 1).unwrap_err().exit_code();
    for (bytes, exit) in [
        (&b"\x02"[..], ExitCode::StreamIo),
        (b"\xf0\xff\xff\xff\xff", ExitCode::StreamIo),
        (b"\x00\x01\x08", ExitCode::StreamIo),
        (b"\x00\x10\x01\x05\x20", ExitCode::StreamIo),
        (b"\x00\x10\xc1\x01\x00", ExitCode::Protocol),
    ] {
        assert_eq!(code(bytes), exit, "{bytes:02x?}");
    }
    assert_eq!(get(&mut SliceSource::new(b"\x01"), 1), Ok(AclRef::Number(0)));
}

proptest! {
    #[test]
    fn lists_survive_the_wire(
        parts in prop::array::uniform4(prop::option::of(0..8u8)),
        named in prop::collection::vec((any::<bool>(), any::<u32>(), 0..8u8, "[a-z]{0,5}"), 0..9),
    ) {
        let [owner, group, mask, other] = parts;
        let entry = |(user, id, perm, name): (bool, u32, u8, String)| {
            AclEntry { user, id, perm, name: Some(name.into_bytes()).filter(|n| !n.is_empty()) }
        };
        let named = named.into_iter().map(entry).collect();
        let acl = Acl { owner, group, mask, other, named };
        let mut out = Vec::new();
        put(&mut out, &acl, true, &mut |_, _| true);
        prop_assert_eq!(get(&mut SliceSource::new(&out), 0), Ok(AclRef::List(acl)));
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = get(&mut SliceSource::new(&bytes), 3);
    }
}
