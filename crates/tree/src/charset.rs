//! Conversion of names between the charsets that this system knows, by the C library's `iconv`.
//!
//! Called where `--iconv` is in use, so that a name of a charset means what it means to every other
//! program of the system. A converter keeps state only within one text.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;

/// Bytes that a text may have once converted; longer is refused as what cannot be converted.
pub const CONVERTED_MAX: usize = 65_536;

/// Bytes converted at a time; far more than one character needs.
const ROOM: usize = 1024;

// The declarations that the `libc` crate has not for this system.
unsafe extern "C" {
    fn iconv_open(to: *const c_char, from: *const c_char) -> *mut c_void;
    fn iconv(
        converter: *mut c_void,
        input: *mut *mut c_char,
        left: *mut usize,
        output: *mut *mut c_char,
        room: *mut usize,
    ) -> usize;
    fn iconv_close(converter: *mut c_void) -> c_int;
    fn nl_langinfo_l(item: libc::nl_item, locale: libc::locale_t) -> *mut c_char;
}

/// A conversion from one charset to another.
#[derive(Debug)]
pub struct Converter(*mut c_void);

// SAFETY: a descriptor belongs to no thread, and whoever converts has it alone (`&mut self`).
unsafe impl Send for Converter {}

impl Converter {
    /// Opens the conversion.
    ///
    /// # Errors
    /// The system does not know one of the charsets, or cannot convert between them.
    pub fn open(to: &[u8], from: &[u8]) -> io::Result<Converter> {
        let (to, from) = (CString::new(to)?, CString::new(from)?);
        // SAFETY: both are texts with their end, which the call only reads.
        let opened = unsafe { iconv_open(to.as_ptr(), from.as_ptr()) };
        match opened.addr() {
            usize::MAX => Err(io::Error::last_os_error()),
            _ => Ok(Converter(opened)),
        }
    }

    /// Converts a whole text.
    ///
    /// # Errors
    /// Bytes that are none of the charset, or have no form in the other; a text that ends within a
    /// character; more than [`CONVERTED_MAX`] bytes.
    pub fn convert(&mut self, text: &[u8]) -> io::Result<Vec<u8>> {
        let (mut done, mut rest) = (Vec::with_capacity(text.len()), text);
        self.forget();
        loop {
            match self.step(&mut rest, &mut done) {
                Ok(()) => return Ok(done),
                Err(error) if !is_full(&error) => return Err(error),
                Err(error) if done.len() > CONVERTED_MAX => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Converts what can be, and passes each byte that cannot as it is.
    pub fn convert_in_parts(&mut self, text: &[u8]) -> Vec<u8> {
        let (mut done, mut rest) = (Vec::with_capacity(text.len()), text);
        self.forget();
        loop {
            match self.step(&mut rest, &mut done) {
                Ok(()) => return done,
                Err(error) if is_full(&error) => {}
                Err(_) => {
                    let Some((byte, after)) = rest.split_first() else { return done };
                    done.push(*byte);
                    rest = after;
                    self.forget();
                }
            }
        }
    }

    /// Forgets what a text before left.
    fn forget(&mut self) {
        let none = std::ptr::null_mut::<c_void>();
        // SAFETY: without input and output the call only sets the state back.
        unsafe { iconv(self.0, none.cast(), none.cast(), none.cast(), none.cast()) };
    }

    /// Takes from `rest` and adds to `done` as much as one room holds; then the error says so. At any
    /// other error `rest` begins with what cannot be converted.
    fn step(&mut self, rest: &mut &[u8], done: &mut Vec<u8>) -> io::Result<()> {
        let mut room = [0_u8; ROOM];
        let mut input = rest.as_ptr().cast_mut().cast::<c_char>();
        let mut left = rest.len();
        let mut output = room.as_mut_ptr().cast::<c_char>();
        let mut free = room.len();
        // SAFETY: the pointers and lengths are those of `rest`, which is only read, and `room`.
        let mut status =
            unsafe { iconv(self.0, &raw mut input, &raw mut left, &raw mut output, &raw mut free) };
        if status != usize::MAX {
            let none = std::ptr::null_mut::<c_void>();
            // SAFETY: as before; what ends a text in a charset with states is written.
            status =
                unsafe { iconv(self.0, none.cast(), none.cast(), &raw mut output, &raw mut free) };
        }
        let error = io::Error::last_os_error();
        done.extend_from_slice(&room[..ROOM - free]);
        *rest = &rest[rest.len() - left..];
        if status == usize::MAX { Err(error) } else { Ok(()) }
    }
}

/// Whether only the room was too small.
fn is_full(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::E2BIG)
}

impl Drop for Converter {
    fn drop(&mut self) {
        // SAFETY: it was opened, and nobody else has it.
        unsafe { iconv_close(self.0) };
    }
}

/// The charset of the locale that the environment names; the process's own locale stays what it is.
pub fn of_locale() -> Vec<u8> {
    // SAFETY: the name is a text with its end; a locale that there is not gives null.
    let locale =
        unsafe { libc::newlocale(libc::LC_CTYPE_MASK, c"".as_ptr(), std::ptr::null_mut()) };
    if locale.is_null() {
        return b"ANSI_X3.4-1968".to_vec();
    }
    // SAFETY: the locale is there; the text lives as long as it does, and is copied before.
    let name = unsafe { CStr::from_ptr(nl_langinfo_l(libc::CODESET, locale)) }.to_bytes().to_vec();
    // SAFETY: nobody else has it.
    unsafe { libc::freelocale(locale) };
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_converted_whole_or_not() {
        let mut there = Converter::open(b"UTF-8", b"ISO-8859-1").unwrap();
        assert_eq!(there.convert(b"caf\xe9").unwrap(), "café".as_bytes());
        assert_eq!(there.convert(b"").unwrap(), b"");
        let mut back = Converter::open(b"ISO-8859-1", b"UTF-8").unwrap();
        assert_eq!(back.convert("café".as_bytes()).unwrap(), b"caf\xe9");
        let illegal = back.convert("€".as_bytes()).unwrap_err();
        assert_eq!(illegal.raw_os_error(), Some(libc::EILSEQ));
        let cut = back.convert(b"caf\xc3").unwrap_err();
        assert_eq!(cut.raw_os_error(), Some(libc::EINVAL));
        // What a text before left is forgotten.
        assert_eq!(back.convert(b"plain").unwrap(), b"plain");
        assert!(Converter::open(b"UTF-8", b"BOGUS").is_err());
        // Time and room grow with the text, whatever is in it.
        let odd = [b"\xff".repeat(1 << 20), b"caf\xc3".to_vec()].concat();
        assert_eq!(back.convert_in_parts(&odd), odd);
        assert_eq!(there.convert_in_parts(&odd).len(), 2 * (odd.len() - 3) + 3);
        let long = vec![b'a'; CONVERTED_MAX];
        assert_eq!(back.convert(&long).unwrap().len(), CONVERTED_MAX);
        assert!(Converter::open(b"UTF-32", b"UTF-8").unwrap().convert(&long).is_err());
    }
}
