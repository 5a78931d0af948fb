//! The alias files of popt: options that stand for other words.
//!
//! Called by the program with what `/etc/popt`, `/etc/popt.d/*` and `~/.popt` hold, for the command
//! line of a person; the words of a server and of a daemon are taken as they are. A line is
//! `rsync alias OPTION WORD...`, its first word a pattern for the name of the program; `#` begins a
//! comment line, a backslash at the end joins lines. The last line about an option counts. An option
//! inside of what stands for it is not replaced again.

use std::collections::VecDeque;

use wire::filter::wildmatch::Glob;

use super::parse::UsageError;
use super::table::{self, OptionKind};

/// One line about an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// With its dashes: a long name, or one letter.
    option: Vec<u8>,
    /// What it stands for; `None` for a program that is to be run in the place of this one.
    words: Option<Vec<Vec<u8>>>,
}

impl Alias {
    /// A long option, with its dashes, that stands for words.
    pub fn new(option: &[u8], words: Vec<Vec<u8>>) -> Alias {
        Alias { option: option.to_vec(), words: Some(words) }
    }
}

/// Reads a file. Lines of other programs and lines that make no sense say nothing.
pub fn read(text: &[u8], aliases: &mut Vec<Alias>) {
    let mut lines = text.split(|&b| b == b'\n');
    while let Some(line) = lines.next() {
        let mut whole = line.to_vec();
        while whole.last() == Some(&b'\\') {
            whole.pop();
            whole.extend_from_slice(lines.next().unwrap_or_default());
        }
        aliases.extend(alias(&whole));
    }
}

fn alias(line: &[u8]) -> Option<Alias> {
    let line = line.trim_ascii_start();
    if line.starts_with(b"#") {
        return None;
    }
    let (program, rest) = first_word(line);
    let (kind, rest) = first_word(rest);
    let (option, rest) = first_word(rest);
    if !Glob::new(program).matches(PROGRAM) {
        return None;
    }
    let long = option.strip_prefix(b"--").is_some_and(|name| !name.is_empty());
    if !long && !matches!(option, [b'-', letter] if *letter != b'-') {
        return None;
    }
    let told = |word: &Vec<u8>| TOLD.iter().any(|start| word.starts_with(start));
    let words: Vec<Vec<u8>> = split(rest).into_iter().filter(|word| !told(word)).collect();
    let words = match kind {
        _ if words.is_empty() => return None,
        b"alias" => Some(words),
        b"exec" => None,
        _ => return None,
    };
    Some(Alias { option: option.to_vec(), words })
}

/// A word and what is behind the blanks that follow it.
fn first_word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (word, rest.trim_ascii_start())
}

/// Words as a shell would part them: quotes hold blanks together, a backslash takes what follows as
/// it is, between quotes only the quote.
fn split(text: &[u8]) -> Vec<Vec<u8>> {
    let (mut words, mut word): (Vec<Vec<u8>>, Option<Vec<u8>>) = (Vec::new(), None);
    let mut quote = None;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        let taken = word.get_or_insert_default();
        match (quote, byte) {
            (Some(end), _) if byte == end => quote = None,
            (Some(end), b'\\') => match bytes.next() {
                Some(next) if next == end => taken.push(next),
                Some(next) => taken.extend([b'\\', next]),
                None => {}
            },
            (Some(_), _) => taken.push(byte),
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'\\') => taken.extend(bytes.next()),
            (None, b' ' | b'\t' | b'\r' | 0x0b | 0x0c) => {
                words.extend(word.take().filter(|word| !word.is_empty()));
            }
            (None, _) => taken.push(byte),
        }
    }
    words.extend(word.filter(|word| !word.is_empty()));
    words
}

/// A word, and the aliases that it came from.
type Traced = (Vec<u8>, Vec<usize>);

/// Puts what options stand for in their place. Errors: a program would have to be run.
pub fn expand(args: &[Vec<u8>], aliases: &[Alias]) -> Result<Vec<Vec<u8>>, UsageError> {
    if aliases.is_empty() || args.first().is_some_and(|word| word == b"--server") {
        return Ok(args.to_vec());
    }
    let mut todo: VecDeque<Traced> = args.iter().map(|word| (word.clone(), Vec::new())).collect();
    let mut done: Vec<Vec<u8>> = Vec::new();
    while let Some((word, from)) = todo.pop_front() {
        match word.as_slice() {
            b"--" => {
                done.push(word);
                done.extend(todo.into_iter().map(|(word, _)| word));
                break;
            }
            [b'-', b'-', ..] => long((word, from), aliases, &mut todo, &mut done)?,
            [b'-', _, ..] => letters((word, from), aliases, &mut todo, &mut done)?,
            _ => done.push(word),
        }
        if done.len() + todo.len() > WORDS_MAX {
            let text = format!("rsync: aliases make more than {WORDS_MAX} words");
            return Err(UsageError::plain(text, "client"));
        }
    }
    Ok(done)
}

/// The last line about an option that has not brought it here, by its number.
fn find(option: &[u8], from: &[usize], aliases: &[Alias]) -> Option<usize> {
    let at = aliases.iter().rposition(|a| a.option == option && a.words.is_some());
    let at = at.or_else(|| aliases.iter().rposition(|a| a.option == option));
    at.filter(|at| !from.contains(at))
}

/// Puts the words of a line, and what was said behind the option, in front of what is left.
fn put(
    at: usize,
    behind: Vec<Traced>,
    from: &[usize],
    aliases: &[Alias],
    todo: &mut VecDeque<Traced>,
) -> Result<(), UsageError> {
    let Some(Alias { option, words }) = aliases.get(at) else { return Ok(()) };
    let Some(words) = words else {
        let option = String::from_utf8_lossy(option).into_owned();
        let text = format!("livemirror: {option}: a line \"exec\" of popt is not done here");
        let exit = wire::exit::ExitCode::Unsupported;
        return Err(UsageError { exit, ..UsageError::plain(text, "client") });
    };
    let trace: Vec<usize> = from.iter().copied().chain([at]).collect();
    let words = words.iter().map(|word| (word.clone(), trace.clone()));
    words.chain(behind).rev().for_each(|word| todo.push_front(word));
    Ok(())
}

fn long(
    (word, from): Traced,
    aliases: &[Alias],
    todo: &mut VecDeque<Traced>,
    done: &mut Vec<Vec<u8>>,
) -> Result<(), UsageError> {
    let equals = word.iter().position(|&b| b == b'=');
    let (option, value) = match equals {
        Some(at) => (word.get(..at).unwrap_or_default(), word.get(at + 1..)),
        None => (word.as_slice(), None),
    };
    if let Some(at) = find(option, &from, aliases) {
        let value = value.map(|value| (value.to_vec(), from.clone()));
        return put(at, value.into_iter().collect(), &from, aliases, todo);
    }
    let row = option.strip_prefix(b"--").and_then(|name| table::by_long_name(name, false));
    let wants = row.is_some_and(|(row, negated)| row.kind != OptionKind::Flag && !negated);
    let next = if wants && value.is_none() { todo.pop_front() } else { None };
    done.push(word);
    done.extend(next.map(|(word, _)| word));
    Ok(())
}

fn letters(
    (word, from): Traced,
    aliases: &[Alias],
    todo: &mut VecDeque<Traced>,
    done: &mut Vec<Vec<u8>>,
) -> Result<(), UsageError> {
    for (at, &letter) in word.iter().enumerate().skip(1) {
        let (before, rest) = (word.get(..at), word.get(at + 1..).unwrap_or_default());
        if let Some(alias) = find(&[b'-', letter], &from, aliases) {
            done.extend(before.filter(|before| before.len() > 1).map(<[u8]>::to_vec));
            let rest = (!rest.is_empty()).then(|| ([b"-", rest].concat(), from.clone()));
            return put(alias, rest.into_iter().collect(), &from, aliases, todo);
        }
        match table::by_letter(letter, false) {
            Some(row) if row.kind == OptionKind::Flag => {}
            // The rest is its value, or the next word is.
            Some(_) => {
                let next = if rest.is_empty() { todo.pop_front() } else { None };
                done.push(word);
                done.extend(next.map(|(word, _)| word));
                return Ok(());
            }
            None => break,
        }
    }
    done.push(word);
    Ok(())
}

/// The name that lines are about.
const PROGRAM: &[u8] = b"rsync";
/// Words that describe an alias in a help text.
const TOLD: [&[u8]; 2] = [b"--POPTdesc=", b"--POPTargs="];
/// Words that a command line may come to.
const WORDS_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn aliases(text: &str) -> Vec<Alias> {
        let mut aliases = Vec::new();
        read(text.as_bytes(), &mut aliases);
        aliases
    }

    fn expanded(text: &str, line: &str) -> String {
        let args: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let words = expand(&args, &aliases(text)).unwrap();
        words.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn options_stand_for_words() {
        // A failure would run another command than the one that somebody has named.
        for (text, line, want) in [
            ("rsync alias --aa -v --stats", "-r --aa s d", "-r -v --stats s d"),
            ("rsync alias --aa -v", "--aa=x s", "-v x s"),
            (
                "rsync alias --aa -v",
                "--exclude --aa --exclude=--aa -f --aa",
                "--exclude --aa --exclude=--aa -f --aa",
            ),
            ("rsync alias --aa -v", "-- --aa", "-- --aa"),
            ("rsync alias --aa -v", "--server --aa", "--server --aa"),
            ("rsync alias -Z -n", "-aZv -xZ -eZ", "-a -n -v -x -n -eZ"),
            ("rsync alias -v -vv", "-rv", "-r -vv"),
            ("rsync alias --aa --bb\nrsync alias --bb -v", "--aa", "-v"),
            ("rsync alias --aa --bb\nrsync alias --bb --aa", "--aa", "--aa"),
            ("rsync alias --aa -v\nrsync alias --aa -q", "--aa", "-q"),
            ("r*c alias --aa -v\nother alias --aa -q", "--aa", "-v"),
            ("  # rsync alias --aa -q\n\trsync\talias  --aa \\\n  -v", "--aa", "-v"),
            (
                "rsync alias aa -v\nrsync alias --aa\nrsync alias -aa -v\nrsync alais --aa -v",
                "--aa",
                "--aa",
            ),
            ("rsync alias --aa -v --POPTdesc=$\"text\"", "--aa", "-v"),
        ] {
            assert_eq!(expanded(text, line), want, "{text}: {line}");
        }
    }

    #[test]
    fn words_are_parted_as_by_a_shell() {
        // A failure would take half of a pattern.
        let words = split(br#"-x='a b' "c\"d\e" f\ g\\ '' "open"#);
        let words: Vec<&str> = words.iter().map(|w| std::str::from_utf8(w).unwrap()).collect();
        assert_eq!(words, ["-x=a b", "c\"d\\e", "f g\\", "open"]);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        // A failure would run away, or leave a program out in silence.
        let args = |line: &str| line.split(' ').map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>();
        let error = expand(&args("--hello s"), &aliases("rsync exec --hello /bin/echo hi"));
        assert_eq!(error.unwrap_err().exit.code(), 4);
        let mut text = String::new();
        for n in 0..40 {
            text.push_str(&format!("rsync alias --a{n} --a{} --a{}\n", n + 1, n + 1));
        }
        assert!(expand(&args("--a0"), &aliases(&text)).is_err());
    }
}
