//! `--iconv`: names travel as UTF-8 and are in this side's charset on disk, in rules and on screen.
//!
//! A [`Charset`] belongs to a session ([`crate::setup::Agreed`]): the sender converts what it lists,
//! the receiver what it is listed, and either what it says through the connection. What a name
//! becomes is checked as any name of a peer is, after the conversion. Sources: [flist-iconv],
//! [mux-text].

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex};

use tree::charset::Converter;
use wire::exit::ExitCode;
use wire::flist::entry::Entry;

use crate::fatal::Fatal;
use crate::receiving::Receiving;
use crate::report::messages::{IO_GENERAL, Reporter, Role};

/// The charset of the connection.
const WIRE: &[u8] = b"UTF-8";

/// `--iconv=OWN[,OTHER]`: which charsets the two sides have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CharsetPair {
    /// This side's; without one nothing is converted.
    pub own: Option<Vec<u8>>,
    /// The other side's.
    pub other: Option<Vec<u8>>,
}

impl CharsetPair {
    /// Reads the value of the option.
    pub fn parse(value: &[u8]) -> CharsetPair {
        let (own, other) = match value.iter().position(|&b| b == b',') {
            Some(at) => (&value[..at], &value[at + 1..]),
            None => (value, value),
        };
        CharsetPair { own: Some(own.to_vec()), other: Some(other.to_vec()) }
    }

    /// As the other side sees it.
    pub fn turned(&self) -> CharsetPair {
        CharsetPair { own: self.other.clone(), other: self.own.clone() }
    }
}

/// The conversions of one side.
#[derive(Debug)]
pub struct Charset {
    name: Vec<u8>,
    to_wire: Mutex<Converter>,
    from_wire: Mutex<Converter>,
}

impl Charset {
    /// Opens the conversions; none where nothing is to be converted. An empty name and `.` stand
    /// for the charset of the locale.
    ///
    /// # Errors
    /// The system does not know the charset.
    pub fn open(own: Option<&[u8]>) -> Result<Option<Arc<Charset>>, Fatal> {
        let Some(own) = own else { return Ok(None) };
        let name = match own {
            b"" | b"." => tree::charset::of_locale(),
            own => own.to_vec(),
        };
        let converter = |to: &[u8], from: &[u8]| {
            Converter::open(to, from).map(Mutex::new).map_err(|_| {
                let words = [b"iconv_open(\"", to, b"\", \"", from, b"\") failed"];
                Fatal::bare(ExitCode::Unsupported, words.concat())
            })
        };
        let (to_wire, from_wire) = (converter(WIRE, &name)?, converter(&name, WIRE)?);
        Ok(Some(Arc::new(Charset { name, to_wire, from_wire })))
    }

    /// What `-vv` says of it in the name of `role`.
    pub fn told(&self, role: Role) -> Vec<u8> {
        let head = format!("[{}] charset: ", role.word());
        [head.as_bytes(), &self.name, b"\n"].concat()
    }

    /// A text of this side as it travels.
    ///
    /// # Errors
    /// It is none of this side's charset.
    pub fn to_wire(&self, text: &[u8]) -> io::Result<Vec<u8>> {
        convert(&self.to_wire, text)
    }

    /// A text that has travelled as it is on this side.
    ///
    /// # Errors
    /// It has no form in this side's charset.
    pub fn from_wire(&self, text: &[u8]) -> io::Result<Vec<u8>> {
        convert(&self.from_wire, text)
    }

    /// A message of this side as it travels; what cannot be converted passes as it is.
    pub fn say(&self, text: &[u8]) -> Vec<u8> {
        converted_in_parts(&self.to_wire, text)
    }

    /// A message of the other side.
    pub fn hear(&self, text: &[u8]) -> Vec<u8> {
        converted_in_parts(&self.from_wire, text)
    }
}

fn convert(by: &Mutex<Converter>, text: &[u8]) -> io::Result<Vec<u8>> {
    by.lock().map_err(|_| io::Error::other("a converter is lost"))?.convert(text)
}

fn converted_in_parts(by: &Mutex<Converter>, text: &[u8]) -> Vec<u8> {
    by.lock().map_or_else(|_| text.to_vec(), |mut by| by.convert_in_parts(text))
}

/// Entries as they travel: of each, its name and the text of its link in UTF-8. What cannot be
/// converted is told and left out, and with a directory what is in it. Texts of links are converted
/// where both sides do.
pub fn outgoing(
    (charset, links): (&Charset, bool),
    entries: &mut Vec<Entry>,
    reporter: &Reporter,
    shown: &dyn Fn(&Entry) -> Vec<u8>,
) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut texts = Vec::with_capacity(entries.len());
    // What is in a directory that is left out is left out without a word.
    let mut lost_dirs: HashSet<Vec<u8>> = HashSet::new();
    entries.retain(|entry| {
        let above = entry.name.iter().rposition(|&b| b == b'/').map(|at| &entry.name[..at]);
        if above.is_some_and(|above| lost_dirs.contains(above)) {
            if entry.is_dir() {
                lost_dirs.insert(entry.name.clone());
            }
            return false;
        }
        let link = match entry.link_target.as_deref().filter(|_| links) {
            None => None,
            Some(text) => match charset.to_wire(text) {
                Ok(text) => Some(text),
                Err(error) => {
                    link_lost(reporter, Role::Sender, &shown(entry), &error);
                    return false;
                }
            },
        };
        match charset.to_wire(&entry.name) {
            Ok(name) => {
                texts.push((name, link));
                true
            }
            Err(error) => {
                name_lost(reporter, Role::Sender, &entry.name, &error);
                if entry.is_dir() {
                    lost_dirs.insert(entry.name.clone());
                }
                false
            }
        }
    });
    texts
}

/// Converts the texts of an entry that has arrived; `false` for one that has no form here, which is
/// told.
pub fn incoming(charset: &Charset, entry: &mut Entry, recv: &Receiving) -> bool {
    let links = recv.agreed.converts_links;
    let (reporter, role) = (&recv.reporter, Role::SoleReceiver);
    let fits = |text: Vec<u8>, max: usize| match text.len() <= max {
        true => Ok(text),
        false => Err(io::Error::from_raw_os_error(libc::E2BIG)),
    };
    let name = charset.from_wire(&entry.name);
    match name.and_then(|name| fits(name, wire::limits::NAME_MAX_LEN)) {
        Ok(name) => entry.name = name,
        Err(error) => {
            name_lost(reporter, role, &entry.name, &error);
            return false;
        }
    }
    let Some(text) = entry.link_target.as_mut().filter(|_| links) else { return true };
    match charset.from_wire(text).and_then(|text| fits(text, wire::limits::NAME_MAX_LEN)) {
        Ok(converted) => *text = converted,
        Err(error) => {
            // Nobody knows yet where it will be: the list comes first.
            let shown = match reporter.module {
                Some(_) => entry.name.clone(),
                None => [crate::location::cwd().as_slice(), b"/", &entry.name].concat(),
            };
            link_lost(reporter, role, &shown, &error);
            return false;
        }
    }
    true
}

fn name_lost(reporter: &Reporter, role: Role, name: &[u8], error: &io::Error) {
    lost(reporter, role, &[b"filename: ", name].concat(), error);
}

fn link_lost(reporter: &Reporter, role: Role, shown: &[u8], error: &io::Error) {
    lost(
        reporter,
        role,
        &[b"symlink data for: ", reporter.quoted(shown).as_slice()].concat(),
        error,
    );
}

fn lost(reporter: &Reporter, role: Role, what: &[u8], error: &io::Error) {
    let (head, why) =
        (format!("[{}] cannot convert ", role.word()), crate::fatal::errno_words(error));
    let line = [head.as_bytes(), what, b" (", why.as_bytes(), b")"].concat();
    match role {
        Role::Sender => reporter.final_error(&line),
        // What it tells of has the form of the connection.
        _ => reporter.error_as_it_came(&line),
    }
    reporter.add_io_error(IO_GENERAL);
}

#[cfg(test)]
mod tests {
    use wire::flist::decode::Decoder;
    use wire::flist::flags::FlistOptions;
    use wire::version::Protocol;

    use super::*;

    #[test]
    fn the_value_names_both_sides() {
        let some = |text: &[u8]| Some(text.to_vec());
        let pair = CharsetPair::parse(b"A,B");
        assert_eq!((pair.own.clone(), pair.other.clone()), (some(b"A"), some(b"B")));
        assert_eq!(pair.turned().own, some(b"B"));
        assert_eq!(CharsetPair::parse(b"A").other, some(b"A"));
        assert_eq!(CharsetPair::parse(b"A,-").other, some(b"-"));
    }

    #[test]
    fn what_a_name_becomes_is_checked_again() {
        // In a charset of two bytes a letter can hold what would lead out of the target.
        let charset = Charset::open(Some(b"UTF-16LE")).unwrap().unwrap();
        let name = charset.from_wire("\u{2f2e}\u{2e2e}".as_bytes()).unwrap();
        assert_eq!(name, b"./..");
        let entry = Entry { name, mode: 0o100_644, ..Entry::default() };
        assert!(Decoder::new(FlistOptions::plain(Protocol::NEWEST)).check(&entry).is_err());
    }

    #[test]
    fn messages_keep_what_has_no_form() {
        let charset = Charset::open(Some(b"ISO-8859-1")).unwrap().unwrap();
        assert_eq!(charset.say(b"caf\xe9\n"), "café\n".as_bytes());
        assert_eq!(charset.hear("café €\n".as_bytes()), b"caf\xe9 \xe2\x82\xac\n");
        let unknown = Charset::open(Some(b"BOGUS")).unwrap_err();
        assert_eq!(unknown.text, b"iconv_open(\"UTF-8\", \"BOGUS\") failed");
        assert_eq!(unknown.exit, ExitCode::Unsupported);
    }
}
