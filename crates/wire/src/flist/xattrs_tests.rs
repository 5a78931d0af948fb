//! The captured list of attributes, its request and answer; round trips; what is refused.

use proptest::prelude::*;

use super::*;
use crate::codec::SliceSource;
use crate::flist::decode::Decoder;
use crate::flist::encode::Encoder;
use crate::flist::entry::Entry;
use crate::flist::flags::FlistOptions;
use crate::version::Protocol;

fn golden_list() -> Vec<Xattr> {
    let item = |name: &str, value: &[u8]| Xattr { name: name.into(), value: XattrValue::of(value) };
    vec![item("user.a", b"abc"), item("user.b", &[b'L'; 100])]
}

const GOLDEN: &[u8] = b"\x00\x02\x07\x03user.a\0abc\x07\x64user.b\0\
    \x54\xa0\xe7\x2a\x66\x98\xb7\x08\x70\x42\x07\x29\x86\xfb\xe2\x90";

#[test]
fn the_captured_list_is_byte_exact() {
    let mut out = Vec::new();
    put(&mut out, &golden_list(), None);
    assert_eq!(out, GOLDEN);
    let read = get(&mut SliceSource::new(GOLDEN), 0);
    assert_eq!(read, Ok(Xattrs::List(golden_list())));
    assert!(golden_list()[1].value.is_of(&[b'L'; 100]));
    assert!(!golden_list()[1].value.is_of(&[b'M'; 100]));
}

#[test]
fn the_captured_request_and_answer_are_byte_exact() {
    let mut out = Vec::new();
    put_request(&mut out, &[2]);
    assert_eq!(out, [2, 0]);
    assert_eq!(get_request(&mut SliceSource::new(&out), 2), Ok(vec![2]));
    out.clear();
    put_answer(&mut out, 0, 2, &[b'L'; 100]);
    end_answer(&mut out);
    assert_eq!(out, [&[2, 100][..], &[b'L'; 100], &[0]].concat());
    let mut src = SliceSource::new(&out);
    assert_eq!(get_answer(&mut src, 0, 2), Ok(Some((2, vec![b'L'; 100]))));
    assert_eq!(get_answer(&mut src, 2, 2), Ok(None));
}

#[test]
fn a_list_travels_once() {
    let opts = FlistOptions { xattrs: true, ..FlistOptions::plain(Protocol::NEWEST) };
    let (mut encoder, mut out) = (Encoder::new(opts.clone()), Vec::new());
    let entry = |name: &str, list: Vec<Xattr>| Entry {
        name: name.into(),
        mode: 0o100_644,
        xattrs: Some(Xattrs::List(list)),
        ..Entry::default()
    };
    for (name, list) in [("a", golden_list()), ("b", Vec::new()), ("c", golden_list())] {
        encoder.entry(&mut out, &entry(name, list)).unwrap();
    }
    assert_eq!(out.last(), Some(&1));
    let (mut decoder, mut src) = (Decoder::new(opts), SliceSource::new(&out));
    let mut next = || decoder.next(&mut src).unwrap().unwrap().xattrs.unwrap();
    assert_eq!(next(), Xattrs::List(golden_list()));
    assert_eq!(next(), Xattrs::List(Vec::new()));
    assert_eq!(next(), Xattrs::Number(0));
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let code = |bytes: &[u8]| get(&mut SliceSource::new(bytes), 1).unwrap_err().exit_code();
    for (bytes, exit) in [
        (&b"\x02"[..], ExitCode::StreamIo),
        (b"\xf0\xff\xff\xff\xff", ExitCode::StreamIo),
        (b"\x00\xc1\x01\x01", ExitCode::Protocol),
        (b"\x00\xf0\xff\xff\xff\xff", ExitCode::Protocol),
        (b"\x00\x01\x00\x00", ExitCode::Protocol),
        (b"\x00\x01\x01\x00\0", ExitCode::StreamIo),
        (b"\x00\x01\x02\x00ab", ExitCode::StreamIo),
        (b"\x00\x01\x02\xe8\x01\x00\x00a\0", ExitCode::Protocol),
    ] {
        assert_eq!(code(bytes), exit, "{bytes:02x?}");
    }
    assert_eq!(get(&mut SliceSource::new(b"\x01"), 1), Ok(Xattrs::Number(0)));
    for bytes in [&b"\x03\0"[..], b"\x01\x02\0", b"\xf0\xff\xff\xff\xff\0"] {
        let read = get_request(&mut SliceSource::new(bytes), 2);
        assert_eq!(read.unwrap_err().exit_code(), ExitCode::Protocol, "{bytes:02x?}");
    }
}

#[test]
fn requests_may_go_back_but_not_on_for_ever() {
    let request = |steps: &[i32]| {
        let mut bytes = Vec::new();
        steps.iter().for_each(|step| put_varint(&mut bytes, *step));
        bytes.push(0);
        get_request(&mut SliceSource::new(&bytes), 4).map_err(|error| error.exit_code())
    };
    assert_eq!(request(&[4, -2, 1]), Ok(vec![2, 3, 4]));
    let wrong = Err(ExitCode::Protocol);
    assert_eq!(request(&[4, -4]), wrong);
    assert_eq!(request(&[2, i32::MIN]), wrong);
    assert_eq!(request(&[1, 1, -1, 1, -1]), wrong);
}

proptest! {
    #[test]
    fn lists_survive_the_wire(
        items in prop::collection::vec(("[a-z.%]{1,9}", prop::collection::vec(any::<u8>(), 0..70)), 0..9),
        picked in prop::collection::btree_set(1..200u32, 0..9),
    ) {
        let list: Vec<Xattr> = items
            .iter()
            .map(|(name, value)| Xattr { name: name.clone().into(), value: XattrValue::of(value) })
            .collect();
        let mut out = Vec::new();
        put(&mut out, &list, None);
        prop_assert_eq!(get(&mut SliceSource::new(&out), 0), Ok(Xattrs::List(list)));
        let picked: Vec<u32> = picked.into_iter().collect();
        out.clear();
        put_request(&mut out, &picked);
        prop_assert_eq!(get_request(&mut SliceSource::new(&out), 200), Ok(picked));
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = get(&mut SliceSource::new(&bytes), 3);
        let _ = get_request(&mut SliceSource::new(&bytes), 9);
        let mut src = SliceSource::new(&bytes);
        while let Ok(Some(_)) = get_answer(&mut src, 0, 9) {}
    }
}
