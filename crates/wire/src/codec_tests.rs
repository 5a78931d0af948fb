//! The tables of primitive encodings, both ways, and what a hostile stream cannot do.

use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn written(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out);
    out
}

#[test]
fn varints_are_those_of_the_table() {
    for (value, want) in [
        (0, "00"),
        (127, "7f"),
        (128, "8080"),
        (255, "80ff"),
        (256, "8100"),
        (500, "81f4"),
        (16383, "bfff"),
        (16384, "c00040"),
        (65536, "c10000"),
        (2_097_152, "e0000020"),
        (268_435_456, "f000000010"),
        (i32::MAX, "f0ffffff7f"),
        (-1, "f0ffffffff"),
    ] {
        let bytes = hex(want);
        assert_eq!(written(|out| put_varint(out, value)), bytes, "{value}");
        let mut src = SliceSource::new(&bytes);
        assert_eq!(get_varint(&mut src), Ok(value), "{want}");
        assert!(src.is_empty(), "{want}");
    }
}

#[test]
fn varlongs_are_those_of_the_table() {
    for (value, three, four) in [
        (0, "000000", "00000000"),
        (12, "000c00", "000c0000"),
        (4096, "000010", "00001000"),
        (65536, "010000", "00000001"),
        (8_388_607, "7fffff", "00ffff7f"),
        (8_388_608, "80000080", "00000080"),
        (16_777_216, "81000000", "01000000"),
        ((1 << 31) - 1, "c0ffffff7f", "7fffffff"),
        (1 << 31, "c000000080", "8000000080"),
        (1 << 32, "c100000000", "8100000000"),
        (1 << 40, "e10000000000", "c10000000000"),
        (1_704_164_645, "c0257d9365", "65257d93"),
        (-1, "fcffffffffffffffff", "f8ffffffffffffffff"),
    ] {
        for (min, want) in [(3, three), (4, four)] {
            let bytes = hex(want);
            assert_eq!(written(|out| put_varlong(out, value, min)), bytes, "{value}({min})");
            let mut src = SliceSource::new(&bytes);
            assert_eq!(get_varlong(&mut src, min), Ok(value), "{want}({min})");
            assert!(src.is_empty(), "{want}({min})");
        }
    }
}

#[test]
fn overlong_numbers_are_refused() {
    let bytes = [0xf8; 16];
    let error = get_varint(&mut SliceSource::new(&bytes)).unwrap_err();
    assert_eq!(error.to_string(), "Overflow in read_varint()");
    assert_eq!(error.exit_code(), ExitCode::StreamIo);
    let error = get_varlong(&mut SliceSource::new(&[0xff; 16]), 4).unwrap_err();
    assert_eq!(error.to_string(), "Overflow in read_varlong()");
    assert_eq!(error.exit_code(), ExitCode::StreamIo);
    assert_eq!(get_varlong(&mut SliceSource::new(&[0xff; 16]), 3), Ok(-1));
    // Bits above 32 of a varint are dropped, as other readers do.
    assert_eq!(get_varint(&mut SliceSource::new(&[0xf7, 1, 0, 0, 0])), Ok(1));
}

#[test]
fn longints_switch_at_two_gigabytes() {
    for (value, want) in [
        (0, "00000000"),
        (i64::from(i32::MAX), "ffffff7f"),
        (1 << 31, "ffffffff0000008000000000"),
        (-1, "ffffffffffffffffffffffff"),
    ] {
        let bytes = hex(want);
        assert_eq!(written(|out| put_longint(out, value)), bytes);
        assert_eq!(get_longint(&mut SliceSource::new(&bytes)), Ok(value));
    }
}

#[test]
fn vstrings_have_a_second_length_byte_from_128_on() {
    for (len, head) in [(0, "00"), (127, "7f"), (128, "8080"), (300, "812c"), (32767, "ffff")] {
        let text = vec![b'x'; len];
        let bytes = written(|out| put_vstring(out, &text).unwrap());
        assert_eq!(bytes, [hex(head), text.clone()].concat());
        assert_eq!(get_vstring(&mut SliceSource::new(&bytes), len), Ok(text));
        if len > 0 {
            let error = get_vstring(&mut SliceSource::new(&bytes), len - 1).unwrap_err();
            assert_eq!(error.exit_code(), ExitCode::Protocol);
        }
    }
    assert!(matches!(put_vstring(&mut Vec::new(), &[0; 32768]), Err(Error::TooBig { .. })));
}

#[test]
fn fixed_integers_are_little_endian() {
    let bytes = written(|out| {
        put_u16(out, 0x8001);
        put_i32(out, -2);
        put_u32(out, 0xdead_beef);
    });
    assert_eq!(bytes, hex("0180 feffffff efbeadde"));
    let mut src = SliceSource::new(&bytes);
    assert_eq!(get_u16(&mut src), Ok(0x8001));
    assert_eq!(get_i32(&mut src), Ok(-2));
    assert_eq!(get_u32(&mut src), Ok(0xdead_beef));
    assert_eq!(get_u16(&mut src), Err(Error::Truncated));
}

#[test]
fn a_count_alone_allocates_nothing() {
    // With the whole length taken at once this would abort for want of memory.
    let error = SliceSource::new(b"short").read_vec(usize::MAX).unwrap_err();
    assert_eq!(error, Error::Truncated);
    let bytes = vec![7; 200_000];
    assert_eq!(SliceSource::new(&bytes).read_vec(200_000), Ok(bytes.clone()));
    let mut src = SliceSource::new(&bytes);
    src.skip(199_999).unwrap();
    assert_eq!(src.rest(), [7]);
    assert_eq!(src.skip(u64::MAX), Err(Error::Truncated));
}

proptest! {
    #[test]
    fn numbers_survive_the_way(short: i32, long: i64, min in 3_usize..=8) {
        let mut out = Vec::new();
        put_varint(&mut out, short);
        put_varlong(&mut out, long, min);
        put_longint(&mut out, long);
        let mut src = SliceSource::new(&out);
        prop_assert_eq!(get_varint(&mut src), Ok(short));
        prop_assert_eq!(get_varlong(&mut src, min), Ok(long));
        prop_assert_eq!(get_longint(&mut src), Ok(long));
        prop_assert!(src.is_empty());
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>, min in 3_usize..=8) {
        let _ = get_varint(&mut SliceSource::new(&bytes));
        let _ = get_varlong(&mut SliceSource::new(&bytes), min);
        let _ = get_vstring(&mut SliceSource::new(&bytes), 4095);
    }
}
