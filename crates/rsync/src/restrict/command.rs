//! The command that a client of a restricted key asked for: its words, and what of them is taken.
//!
//! Called by `restrict` with the text of `SSH_ORIGINAL_COMMAND`. No shell reads that text: blanks
//! divide it, a backslash takes the next byte as it is, and nothing else has a meaning. In steps:
//! the text must begin with `rsync --server`; the words up to `.` are options of a closed list;
//! values that are paths are moved below the directory; what follows `.` are the paths.

use super::{Grants, Refused};

/// A word of the command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// What it says.
    pub text: Vec<u8>,
    /// The same as a pattern: what was behind a backslash and would be a wildcard keeps it.
    pub pattern: Vec<u8>,
}

/// What the client asked for, as far as it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `--server`, perhaps `--sender`, and the options.
    pub options: Vec<Vec<u8>>,
    /// What followed the `.`, without `..`.
    pub paths: Vec<Word>,
    /// Whether this side sends.
    pub sending: bool,
    /// Directories that options name, from the top of the restricted one.
    pub dirs: Vec<Vec<u8>>,
}

/// Letters that stand alone or in a bundle.
const LETTERS: &[u8] = b"bcdglmnopqrtuvxyzACDEHIJNORSUWX";

/// Letters that are refused by name.
const LETTERS_OFF: &[u8] = b"sLkK";

/// Options without a value.
const FLAGS: &[&str] = &[
    "append",
    "delay-updates",
    "delete",
    "delete-after",
    "delete-before",
    "delete-delay",
    "delete-during",
    "delete-excluded",
    "delete-missing-args",
    "dirs",
    "existing",
    "fake-super",
    "force",
    "from0",
    "fsync",
    "fuzzy",
    "group",
    "hard-links",
    "ignore-errors",
    "ignore-existing",
    "ignore-missing-args",
    "ignore-times",
    "inplace",
    "links",
    "list-only",
    "mkpath",
    "msgs2stderr",
    "munge-links",
    "new-compress",
    "no-W",
    "no-implied-dirs",
    "no-msgs2stderr",
    "no-r",
    "no-relative",
    "no-specials",
    "numeric-ids",
    "old-compress",
    "one-file-system",
    "open-noatime",
    "owner",
    "partial",
    "perms",
    "preallocate",
    "recursive",
    "remove-sent-files",
    "remove-source-files",
    "safe-links",
    "size-only",
    "specials",
    "stats",
    "super",
    "times",
];

/// Options with a value that names nothing.
const VALUES: &[&str] = &[
    "block-size",
    "bwlimit",
    "checksum-choice",
    "checksum-seed",
    "compress-choice",
    "compress-level",
    "compress-threads",
    "groupmap",
    "iconv",
    "info",
    "log-format",
    "max-alloc",
    "max-delete",
    "max-size",
    "min-size",
    "modify-window",
    "only-write-batch",
    "skip-compress",
    "stderr",
    "suffix",
    "timeout",
    "usermap",
];

/// Options whose value is a directory.
const DIRS: &[&str] =
    &["backup-dir", "compare-dest", "copy-dest", "link-dest", "partial-dir", "temp-dir"];

/// Refused by name, whatever the operator granted: they lead out, or say what this side says.
const OFF: &[&str] = &[
    "sender",
    "daemon",
    "debug",
    "log-file",
    "copy-devices",
    "write-devices",
    "no-munge-links",
    "copy-unsafe-links",
];

/// Refused where nothing that exists may be written over: they reach other names than the file's.
const OVERWRITING: &[&str] = &["partial-dir", "delay-updates", "backup-dir"];

/// Reads the command.
pub fn understand(text: &[u8], grants: &Grants) -> Result<Request, Refused> {
    let rest = text.strip_prefix(b"rsync ".as_slice());
    let rest = rest.ok_or_else(|| Refused::new("SSH_ORIGINAL_COMMAND does not run rsync"))?;
    let rest = match rest.strip_prefix(b"--server".as_slice()) {
        Some(rest) if rest.is_empty() || rest.starts_with(b" ") => rest,
        _ => return Err(Refused::new("--server option is not the first arg")),
    };
    let mut words = split(rest).into_iter().peekable();
    let sending = words.next_if(|word| word.text == b"--sender").is_some();
    if sending && grants.write_only {
        return Err(Refused::new("reading from write-only server is not allowed"));
    }
    if !sending && grants.read_only {
        return Err(Refused::new("sending to read-only server is not allowed"));
    }
    let mut reading = Reading {
        grants,
        request: Request {
            options: vec![b"--server".to_vec()],
            paths: Vec::new(),
            sending,
            dirs: Vec::new(),
        },
    };
    if sending {
        reading.request.options.push(b"--sender".to_vec());
    }
    loop {
        let word = words.next().ok_or_else(unreadable)?.text;
        match word.as_slice() {
            b"." => break,
            [b'-', b'-', name @ ..] => {
                let value = match name.iter().position(|b| *b == b'=') {
                    Some(_) => None,
                    None if takes_value(name) => Some(words.next().ok_or_else(unreadable)?.text),
                    None => None,
                };
                let joined = value.map(|value| [name, b"=", &value].concat());
                reading.long(joined.as_deref().unwrap_or(name))?;
            }
            [b'-', letters @ ..] => reading.letters(&word, letters)?,
            _ => return Err(unreadable()),
        }
    }
    let mut request = reading.request;
    for word in words {
        if climbs(&word.text) {
            return Err(above("arg"));
        }
        request.paths.push(word);
    }
    Ok(request)
}

/// The words of a command line.
fn split(text: &[u8]) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        let (byte, taken) = match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {
                words.extend(word.take());
                continue;
            }
            b'\\' => (bytes.next().unwrap_or(b'\\'), true),
            byte => (byte, false),
        };
        let word = word.get_or_insert_default();
        word.text.push(byte);
        if taken && b"*?[]\\".contains(&byte) {
            word.pattern.push(b'\\');
        }
        word.pattern.push(byte);
    }
    words.extend(word);
    words
}

fn takes_value(name: &[u8]) -> bool {
    let named = |list: &[&str]| list.iter().any(|known| known.as_bytes() == name);
    named(VALUES) || named(DIRS) || name == b"files-from"
}

/// Whether a path has a component that leads up.
fn climbs(path: &[u8]) -> bool {
    path.split(|b| *b == b'/').any(|part| part == b"..")
}

fn unreadable() -> Refused {
    Refused::new("invalid rsync-command syntax or options")
}

fn above(what: &str) -> Refused {
    Refused::new(format!(
        "do not use .. in {what} (anchor the path at the root of your restricted dir)"
    ))
}

fn disabled(option: &str) -> Refused {
    Refused::new(format!("option {option} has been disabled on this server."))
}

struct Reading<'a> {
    grants: &'a Grants,
    request: Request,
}

impl Reading<'_> {
    /// A bundle of letters, the last of which may have a value.
    fn letters(&mut self, word: &[u8], letters: &[u8]) -> Result<(), Refused> {
        let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let known = match letters {
            [] => false,
            [b'B', value @ ..] | [b'@', b'-', value @ ..] | [b'@', value @ ..] => digits(value),
            letters => {
                let end = letters.iter().position(|b| *b == b'e').unwrap_or(letters.len());
                let (bundle, shell) = letters.split_at(end);
                let off =
                    |b: &u8| LETTERS_OFF.contains(b) || *b == b'b' && self.grants.no_overwrite;
                if let Some(letter) = bundle.iter().find(|b| off(b)) {
                    return Err(disabled(&format!("-{}", char::from(*letter))));
                }
                let capabilities = |b: &u8| b.is_ascii_alphanumeric() || *b == b'.';
                bundle.iter().all(|b| LETTERS.contains(b))
                    && (shell.is_empty() || shell.len() > 1 && shell.iter().all(capabilities))
            }
        };
        if !known {
            return Err(unreadable());
        }
        self.request.options.push(word.to_vec());
        Ok(())
    }

    /// A long option with its value.
    fn long(&mut self, word: &[u8]) -> Result<(), Refused> {
        let (name, value) = match word.iter().position(|b| *b == b'=') {
            Some(at) => (&word[..at], word.get(at + 1..)),
            None => (word, None),
        };
        let name = str::from_utf8(name).map_err(|_| unreadable())?;
        let grants = self.grants;
        let deletes = name.starts_with("delete") || name.starts_with("remove");
        if OFF.contains(&name)
            || grants.no_del && deletes
            || grants.no_overwrite && OVERWRITING.contains(&name)
        {
            return Err(disabled(&format!("--{name}")));
        }
        let word = match value {
            None if FLAGS.contains(&name) => format!("--{name}").into_bytes(),
            Some(value) if VALUES.contains(&name) => joined(name, value),
            Some(b"-") if name == "files-from" => joined(name, b"-"),
            Some(value) if DIRS.contains(&name) || name == "files-from" => {
                if name == "files-from" && grants.write_only {
                    return Err(disabled("--files-from"));
                }
                if climbs(value) {
                    return Err(above(&format!("--{name}")));
                }
                // Paths of options begin at the top too, whatever the destination is.
                let below = crate::scan::clean(crate::scan::trim_root(value));
                if name != "files-from" {
                    let here: &[u8] = if below.is_empty() { b"." } else { &below };
                    self.request.dirs.push(here.to_vec());
                }
                joined(name, &[b"/", below.as_slice()].concat())
            }
            _ => return Err(unreadable()),
        };
        self.request.options.push(word);
        Ok(())
    }
}

fn joined(name: &str, value: &[u8]) -> Vec<u8> {
    [b"--", name.as_bytes(), b"=", value].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str, grants: &Grants) -> String {
        understand(text.as_bytes(), grants).unwrap_err().text()
    }

    fn options(text: &str) -> Vec<String> {
        let request = understand(text.as_bytes(), &Grants::default()).unwrap();
        request.options.into_iter().map(|word| String::from_utf8(word).unwrap()).collect()
    }

    #[test]
    fn no_shell_reads_the_command() {
        let read = |text: &str| {
            let request = understand(text.as_bytes(), &Grants::default()).unwrap();
            request.paths.into_iter().map(|word| word.text).collect::<Vec<_>>()
        };
        assert_eq!(read(r"rsync --server -r . a\ b c"), [&b"a b"[..], b"c"]);
        assert_eq!(read("rsync --server -r . 'a' $(x); \"y"), [&b"'a'"[..], b"$(x);", b"\"y"]);
        let words = split(br"x\*y* \\");
        assert_eq!((&*words[0].text, &*words[0].pattern), (&b"x*y*"[..], &br"x\*y*"[..]));
        assert_eq!((&*words[1].text, &*words[1].pattern), (&br"\"[..], &br"\\"[..]));
    }

    #[test]
    fn only_a_server_and_options_of_the_list() {
        let none = Grants::default();
        let said = |text: &str| refusal(text, &none);
        assert_eq!(said("ls"), "SSH_ORIGINAL_COMMAND does not run rsync");
        assert_eq!(said("rsyncx --server . a"), "SSH_ORIGINAL_COMMAND does not run rsync");
        for text in ["rsync --daemon", "rsync -r --server . a", "rsync --serverx . a"] {
            assert_eq!(said(text), "--server option is not the first arg", "{text}");
        }
        for word in [
            "",
            "x",
            "--",
            "-",
            "-Z",
            "-V",
            "-M--x",
            "-e",
            "-rex;y",
            "-B",
            "-B6x",
            "-@",
            "--copy-links",
            "--insecure-links",
            "--confine-root=/",
            "--filter=x",
            "--exclude-from=x",
            "--rsh=x",
            "--delete=x",
            "--secluded-args",
            "--config=x",
            "--write-batch=x",
            "--fuz",
        ] {
            let text = format!("rsync --server -r {word} ");
            assert_eq!(said(&text), "invalid rsync-command syntax or options", "{word}");
        }
        for (word, option) in [
            ("-rs", "-s"),
            ("-L", "-L"),
            ("-rk", "-k"),
            ("-K", "-K"),
            ("--sender", "--sender"),
            ("--daemon", "--daemon"),
            ("--debug=ALL", "--debug"),
            ("--log-file=x", "--log-file"),
            ("--copy-devices", "--copy-devices"),
            ("--no-munge-links", "--no-munge-links"),
            ("--copy-unsafe-links", "--copy-unsafe-links"),
        ] {
            let text = format!("rsync --server -r {word} . a");
            let expected = format!("option {option} has been disabled on this server.");
            assert_eq!(said(&text), expected, "{word}");
        }
        assert_eq!(
            options("rsync --server --sender -vlogDtpre.iLsfxCIvu -B700 --suffix .old --stats . a"),
            ["--server", "--sender", "-vlogDtpre.iLsfxCIvu", "-B700", "--suffix=.old", "--stats"]
        );
    }

    #[test]
    fn paths_stay_below_the_top() {
        let none = Grants::default();
        for name in DIRS.iter().chain(&["files-from"]) {
            for value in ["..", "../x", "a/../b", "/..", "a/.."] {
                for text in [format!("--{name}={value}"), format!("--{name} {value}")] {
                    let said = refusal(&format!("rsync --server -r {text} . a"), &none);
                    assert!(said.starts_with(&format!("do not use .. in --{name} (")), "{said}");
                }
            }
            for value in ["//a/./b/", "a/b", "/a/b"] {
                let found = options(&format!("rsync --server -r --{name}={value} . a"));
                assert_eq!(found[2], format!("--{name}=/a/b"));
            }
        }
        let said = refusal("rsync --server -r . a b/../..", &none);
        assert!(said.starts_with("do not use .. in arg ("), "{said}");
        assert_eq!(options("rsync --server -r --files-from=- . a")[2], "--files-from=-");
    }

    #[test]
    fn grants_take_options_away() {
        let off = |word: &str, grants: &Grants| {
            let text = format!("rsync --server --sender -r {word} . a");
            understand(text.as_bytes(), grants).is_err_and(|e| e.text().contains("disabled"))
        };
        let reading = Grants { read_only: true, no_del: true, ..Grants::default() };
        let no_overwrite = Grants { no_overwrite: true, ..Grants::default() };
        for word in FLAGS.iter().filter(|w| w.starts_with("delete") || w.starts_with("remove")) {
            assert!(off(&format!("--{word}"), &reading), "{word}");
        }
        for word in ["-lb", "--backup-dir=x", "--partial-dir=x", "--delay-updates"] {
            assert!(off(word, &no_overwrite) && !off(word, &reading), "{word}");
        }
        let writing = Grants { write_only: true, ..Grants::default() };
        assert_eq!(
            refusal("rsync --server --sender -r . a", &writing),
            "reading from write-only server is not allowed"
        );
        assert_eq!(
            refusal("rsync --server -r . a", &reading),
            "sending to read-only server is not allowed"
        );
        let said = refusal("rsync --server -r --files-from=x . a", &writing);
        assert!(said.contains("--files-from has been disabled"), "{said}");
    }
}
