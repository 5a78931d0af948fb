//! The client's argument list: reading it, and making its paths usable inside the module.
//!
//! Called by `connection` after `@RSYNCD: OK`. In steps: words are read up to the empty one (with
//! secluded arguments, a second list follows); one level of backslashes is removed from the
//! options of an ordinary list; the module's name is taken off the paths; wildcards are replaced
//! by what is there; every path is cleaned so that it neither begins at a root nor leads above
//! the module. That cleaning is convenience: confinement is the business of `tree::root`.

use wire::limits::{DAEMON_ARG_LEN_MAX, DAEMON_ARGS_MAX};
use wire::version::Protocol;

use super::deadline::{PhaseError, TextStream};
use crate::charset::Charset;
use crate::wildcards;

/// Bytes of all words together: as many paths as there may be, of the length paths really have.
const ARG_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The words of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// Everything before the `.` word.
    pub options: Vec<Vec<u8>>,
    /// Everything behind it, as sent.
    pub paths: Vec<Vec<u8>>,
}

/// Reads the list or lists. The words of the first end as the protocol says, those of the second
/// always in NULs, and come in UTF-8 where the client asks for conversion to the module's `charset`.
pub fn read(
    stream: &mut TextStream,
    protocol: Protocol,
    charset: Option<&Charset>,
) -> Result<Arguments, PhaseError> {
    let end = if protocol.has_nul_arguments() { 0 } else { b'\n' };
    let outer = read_list(stream, end)?;
    let (mut options, mut paths) = split_at_dot(outer);
    options.iter_mut().for_each(|word| *word = without_escapes(word));
    if has_letter(&options, b's', &["--secluded-args", "--protect-args"]) {
        // The first word of the second list is the program's name.
        let converts = options.iter().any(|word| word.starts_with(b"--iconv="));
        let mut words: Vec<Vec<u8>> = read_list(stream, 0)?.into_iter().skip(1).collect();
        if let Some(charset) = charset.filter(|_| converts) {
            words.iter_mut().for_each(|word| *word = charset.hear(word));
        }
        let (inner, inner_paths) = split_at_dot(words);
        options.extend(inner);
        paths = inner_paths;
    }
    Ok(Arguments { options, paths })
}

fn read_list(stream: &mut TextStream, end: u8) -> Result<Vec<Vec<u8>>, PhaseError> {
    let mut words = Vec::new();
    let mut total = 0usize;
    loop {
        let word = stream.word(end, DAEMON_ARG_LEN_MAX)?;
        if word.is_empty() {
            return Ok(words);
        }
        total = total.saturating_add(word.len());
        if words.len() >= DAEMON_ARGS_MAX || total > ARG_BYTES_MAX {
            return Err(PhaseError::TooLong);
        }
        words.push(word);
    }
}

fn split_at_dot(words: Vec<Vec<u8>>) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut words = words.into_iter();
    let options = words.by_ref().take_while(|word| word != b".").collect();
    (options, words.collect())
}

fn without_escapes(word: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(word.len());
    let mut bytes = word.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => result.push(*bytes.next().unwrap_or(&b'\\')),
            byte => result.push(*byte),
        }
    }
    result
}

/// Whether a bundle of letters has one, or a long word is one of the names. A letter that takes
/// the rest of its word as a value ends the search in that word.
pub fn has_letter(options: &[Vec<u8>], letter: u8, names: &[&str]) -> bool {
    options.iter().any(|word| match word.as_slice() {
        [b'-', b'-', ..] => names.iter().any(|name| name.as_bytes() == word),
        [b'-', letters @ ..] => {
            let takes_value = |b: &&u8| b"eBfMT@".contains(*b);
            letters.iter().take_while(|b| !takes_value(b)).any(|b| *b == letter)
        }
        _ => false,
    })
}

impl Arguments {
    /// Whether the client asks this side to send.
    pub fn sending(&self) -> bool {
        self.options.iter().any(|word| word == b"--sender")
    }

    /// The paths inside the module: split, stripped, and with wildcards replaced by what `list`
    /// (names in a directory) gives and `exists` confirms. Where the module is the root of the
    /// process (`confined`), `.` components are told as they were written.
    pub fn module_paths(
        &self,
        (module, confined): (&[u8], bool),
        list: &dyn Fn(&[u8]) -> Vec<Vec<u8>>,
        exists: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Vec<Vec<u8>>, PhaseError> {
        let keep_dots = confined || has_letter(&self.options, b'R', &["--relative"]);
        let mut paths = Vec::new();
        let words = self.paths.iter().flat_map(|word| split_at_module(word, module));
        for word in words {
            let path = clean(strip_module(&word, module), keep_dots);
            paths.extend(wildcards::expand(&path, list, exists).ok_or(PhaseError::TooLong)?);
            if paths.len() > DAEMON_ARGS_MAX {
                return Err(PhaseError::TooLong);
            }
        }
        Ok(paths)
    }
}

/// The words of a session as a command sees them: where the module is the root of the process, its
/// paths begin there.
pub fn shown(args: &[Vec<u8>], confined: bool) -> Vec<Vec<u8>> {
    let first_path = args.iter().position(|word| word == b".").map_or(args.len(), |at| at + 1);
    let shown = |(at, word): (usize, &Vec<u8>)| match word.as_slice() {
        b"." if confined && at >= first_path => b"/".to_vec(),
        path if confined && at >= first_path => [b"/", path].concat(),
        word => word.to_vec(),
    };
    args.iter().enumerate().map(shown).collect()
}

/// A word cut wherever ` MODULE/` stands in it.
fn split_at_module(word: &[u8], module: &[u8]) -> Vec<Vec<u8>> {
    let mark = [b" ", module, b"/"].concat();
    let mut parts = Vec::new();
    let mut rest = word;
    while let Some(at) = memchr::memmem::find(rest, &mark) {
        let (part, tail) = rest.split_at(at);
        parts.push(part.to_vec());
        rest = tail.get(1..).unwrap_or_default();
    }
    parts.push(rest.to_vec());
    parts
}

fn strip_module<'a>(word: &'a [u8], module: &[u8]) -> &'a [u8] {
    match word.strip_prefix(module) {
        Some([]) => b".",
        Some([b'/', rest @ ..]) => rest,
        _ => word,
    }
}

/// A path below the module: no slash in front, no `..` that leads above, no empty component. A
/// slash at the end stays. `.` components stay where `keep_dots` (they divide the path of
/// `--relative`). Nothing left is `.`.
pub fn clean(path: &[u8], keep_dots: bool) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" => {}
            b"." if keep_dots => parts.push(part),
            b"." => {}
            b".." => {
                while parts.last() == Some(&&b"."[..]) {
                    parts.pop();
                }
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut result = parts.join(&b'/');
    if result.is_empty() {
        return b".".to_vec();
    }
    if path.ends_with(b"/") || path.ends_with(b"/.") && !keep_dots {
        result.push(b'/');
    }
    result
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split(' ').filter(|w| !w.is_empty()).map(|w| w.as_bytes().to_vec()).collect()
    }

    fn reading(bytes: &[u8]) -> Arguments {
        reading_in(Protocol::NEWEST, bytes)
    }

    fn reading_in(protocol: Protocol, bytes: &[u8]) -> Arguments {
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        let output = ours.try_clone().unwrap();
        let mut stream = TextStream::new(ours.into(), output.into(), true);
        read(&mut stream, protocol, None).unwrap()
    }

    #[test]
    fn the_golden_lists() {
        let list = b"--server\0--sender\0-logDtpre.iLsfxCIvu\0.\0mod/\0\0";
        let read = reading(list);
        assert_eq!(read.options, words("--server --sender -logDtpre.iLsfxCIvu"));
        assert_eq!(read.paths, words("mod/"));
        assert!(read.sending());
        let list = b"--server\0--sender\0-slogDtpRe.LsfxCIvu\0\0\
                     rsync\0--files-from=-\0--from0\0.\0mod/\0\0";
        let read = reading(list);
        let expected = "--server --sender -slogDtpRe.LsfxCIvu --files-from=- --from0";
        assert_eq!(read.options, words(expected));
        assert_eq!(read.paths, words("mod/"));
        let read = reading(b"--server\0--suffix=a\\ b\\\\\0.\0mod/a\\b\0\0");
        assert_eq!(read.options, [&b"--server"[..], b"--suffix=a b\\"]);
        assert_eq!(read.paths, [b"mod/a\\b"]);
        let old = Protocol::new(29).unwrap();
        let read = reading_in(old, b"--server\n--sender\n-logDtpr\n.\nmod/a.txt\nmod/sub\n\n");
        assert_eq!(read.options, words("--server --sender -logDtpr"));
        assert_eq!(read.paths, words("mod/a.txt mod/sub"));
    }

    #[test]
    fn letters_end_where_a_value_begins() {
        assert!(has_letter(&words("--server -slR"), b's', &[]));
        assert!(!has_letter(&words("-le.LsfxCIvu"), b's', &[]));
        assert!(has_letter(&words("--secluded-args"), b's', &["--secluded-args"]));
    }

    #[test]
    fn cleaning_keeps_paths_below_the_module() {
        let check = |path: &str, keep: bool, expected: &str| {
            let found = String::from_utf8(clean(path.as_bytes(), keep)).unwrap();
            assert_eq!(found, expected, "{path}");
        };
        check("/etc/../../x/", false, "x/");
        check("a/../../b/../c", false, "c");
        check("..", false, ".");
        check("", false, ".");
        check("./", false, ".");
        check("a//./b/.", false, "a/b/");
        check("a/./b", true, "a/./b");
        check("./a", true, "./a");
        check("a/./../../b", true, "b");
    }

    #[test]
    fn modules_are_stripped_and_words_split() {
        let paths = |text: &[u8]| {
            let args = Arguments { options: Vec::new(), paths: vec![text.to_vec()] };
            args.module_paths((b"mod", false), &|_| Vec::new(), &|_| true).unwrap()
        };
        assert_eq!(paths(b"mod"), [b"."]);
        assert_eq!(paths(b"mod/"), [b"."]);
        assert_eq!(paths(b"mod/a b mod/c/"), [&b"a b"[..], b"c/"]);
        assert_eq!(paths(b"module/x"), [b"module/x"]);
        assert_eq!(paths(b"mod//etc/passwd"), [b"etc/passwd"]);
    }
}
