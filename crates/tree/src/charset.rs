//! Conversion of names between the charsets that this system knows, by the C library's `iconv`.
//!
//! Called where `--iconv` is in use, so that a name of a charset means what it means to every other
//! program of the system. A converter keeps state only within one text.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;

/// Bytes that a text may have once converted; longer is refused as what cannot be converted.
pub const CONVERTED_MAX: usize = 65_536;

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
        self.convert_start(text).map_err(|(error, _)| error)
    }

    /// Converts what can be, and passes each byte that cannot as it is.
    pub fn convert_in_parts(&mut self, text: &[u8]) -> Vec<u8> {
        let (mut done, mut rest) = (Vec::new(), text);
        loop {
            match self.convert_start(rest) {
                Ok(last) => {
                    done.extend_from_slice(&last);
                    return done;
                }
                Err((_, at)) => {
                    let (good, bad) = rest.split_at(at.min(rest.len()));
                    done.extend_from_slice(&self.convert(good).unwrap_or_else(|_| good.to_vec()));
                    let Some((byte, after)) = bad.split_first() else { return done };
                    done.push(*byte);
                    rest = after;
                }
            }
        }
    }

    /// Converts a text; an error comes with the place of what cannot be.
    fn convert_start(&mut self, text: &[u8]) -> Result<Vec<u8>, (io::Error, usize)> {
        let mut room = vec![0_u8; text.len().saturating_mul(2).saturating_add(16)];
        loop {
            match self.convert_into(text, &mut room) {
                Ok(len) => {
                    room.truncate(len);
                    return Ok(room);
                }
                Err((error, at)) if error.raw_os_error() != Some(libc::E2BIG) => {
                    return Err((error, at));
                }
                Err(failed) if room.len() >= CONVERTED_MAX => return Err(failed),
                Err(_) => room.resize((room.len() * 2).min(CONVERTED_MAX), 0),
            }
        }
    }

    fn convert_into(&mut self, text: &[u8], room: &mut [u8]) -> Result<usize, (io::Error, usize)> {
        let none = std::ptr::null_mut::<c_void>();
        let mut input = text.as_ptr().cast_mut().cast::<c_char>();
        let mut left = text.len();
        let mut output = room.as_mut_ptr().cast::<c_char>();
        let mut free = room.len();
        // SAFETY: without input the call only forgets what a text before left.
        unsafe { iconv(self.0, none.cast(), none.cast(), none.cast(), none.cast()) };
        // SAFETY: the pointers and lengths are those of `text`, which is only read, and `room`.
        let done =
            unsafe { iconv(self.0, &raw mut input, &raw mut left, &raw mut output, &raw mut free) };
        let failed = |left: usize| (io::Error::last_os_error(), text.len() - left);
        if done == usize::MAX {
            return Err(failed(left));
        }
        // SAFETY: as before; what ends a text in a charset with states is written.
        let ended =
            unsafe { iconv(self.0, none.cast(), none.cast(), &raw mut output, &raw mut free) };
        if ended == usize::MAX {
            return Err(failed(left));
        }
        Ok(room.len() - free)
    }
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
        let long = vec![b'a'; CONVERTED_MAX];
        assert_eq!(back.convert(&long).unwrap().len(), CONVERTED_MAX);
        assert!(Converter::open(b"UTF-32", b"UTF-8").unwrap().convert(&long).is_err());
    }
}
