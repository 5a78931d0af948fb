//! The script beside a batch file: the command that reads it.
//!
//! Every word of the command line in quotes, with the option that writes turned into the one that
//! reads; operands and rules are left out, and the rules follow as a here-document.

use crate::options::Options;
use crate::options::table::{self, Opt, OptionKind};

/// The lines of the script.
pub(crate) fn script(opts: &Options, rules: &[Vec<u8>], dest: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for word in &opts.batch.program {
        quote(word, &mut text);
        text.push(b' ');
    }
    if !rules.is_empty() {
        text.extend_from_slice(b"--filter='._-' ");
    }
    let mut words = opts.batch.words.iter();
    while let Some(word) = words.next() {
        if !word.starts_with(b"-") || word == b"-" {
            continue;
        }
        let (opt, has_value) = meaning(word);
        let value = if has_value { words.next() } else { None };
        if is_rule(opt) {
            continue;
        }
        option(word, opt, &mut text);
        if let Some(value) = value {
            quote(value, &mut text);
            text.push(b' ');
        }
        if word == b"--" {
            break;
        }
    }
    text.extend_from_slice(b"${1:-");
    quote(dest, &mut text);
    text.push(b'}');
    if !rules.is_empty() {
        text.extend_from_slice(b" <<'#E#'\n");
        for rule in rules {
            text.extend_from_slice(rule);
            text.push(b'\n');
        }
        text.extend_from_slice(b"#E#");
    }
    text.push(b'\n');
    text
}

fn is_rule(opt: Option<Opt>) -> bool {
    use Opt::{Exclude, ExcludeFrom, FilesFrom, Filter, Include, IncludeFrom};
    matches!(opt, Some(Exclude | ExcludeFrom | FilesFrom | Filter | Include | IncludeFrom))
}

/// The option a word stands for, of a bundle of letters the first; and whether the next word is the
/// value of the last.
fn meaning(word: &[u8]) -> (Option<Opt>, bool) {
    if let Some(long) = word.strip_prefix(b"--") {
        let name = long.split(|&b| b == b'=').next().unwrap_or_default();
        let Some((row, negated)) = table::by_long_name(name, false) else { return (None, false) };
        let valued = row.kind != OptionKind::Flag && !negated;
        return (Some(row.opt), valued && !long.contains(&b'='));
    }
    let letters = word.get(1..).unwrap_or_default();
    let mut first = None;
    for (at, &letter) in letters.iter().enumerate() {
        let Some(row) = table::by_letter(letter, false) else { break };
        first = first.or(Some(row.opt));
        if row.kind != OptionKind::Flag {
            return (first, at + 1 == letters.len());
        }
    }
    (first, false)
}

/// A word that begins with `-`; what stands before `=` needs no quotes.
fn option(word: &[u8], opt: Option<Opt>, text: &mut Vec<u8>) {
    let writes = matches!(opt, Some(Opt::WriteBatch | Opt::OnlyWriteBatch));
    let cut = word.iter().position(|&b| b == b'=').filter(|_| word.starts_with(b"--"));
    match cut.map(|at| word.split_at(at)) {
        Some((name, value)) => {
            text.extend_from_slice(if writes { b"--read-batch" } else { name });
            text.push(b'=');
            quote(value.get(1..).unwrap_or_default(), text);
        }
        None if writes => text.extend_from_slice(b"--read-batch"),
        None => quote(word, text),
    }
    text.push(b' ');
}

fn quote(word: &[u8], text: &mut Vec<u8>) {
    text.push(b'\'');
    for &byte in word {
        match byte {
            b'\'' => text.extend_from_slice(b"'\\''"),
            other => text.push(other),
        }
    }
    text.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str], rules: &[&str]) -> String {
        let mut opts = Options::default();
        let bytes = |words: &[&str]| words.iter().map(|w| w.as_bytes().to_vec()).collect();
        opts.batch.program = bytes(&["rsync"]);
        opts.batch.words = bytes(words);
        let rules: Vec<Vec<u8>> = bytes(rules);
        String::from_utf8(script(&opts, &rules, b"t 'q/")).unwrap()
    }

    #[test]
    fn as_the_reference_writes_it() {
        let words = ["-av", "--exclude=*.o", "--include", "a b", "-f", "P x", "-e", "ssh -p 1"];
        let more = ["--files-from=-", "--write-batch", "f'b", "src/", "t 'q/", "--suffix=x y"];
        assert_eq!(
            of(&[words.as_slice(), more.as_slice()].concat(), &["- *.o", "+ a b", "-r x"]),
            "'rsync' --filter='._-' '-av' '-e' 'ssh -p 1' --read-batch 'f'\\''b' --suffix='x y' \
             ${1:-'t '\\''q/'} <<'#E#'\n- *.o\n+ a b\n-r x\n#E#\n"
        );
        assert_eq!(
            of(&["--only-write-batch=b", "-avvf", "- x", "--", "-src", "-dst"], &[]),
            "'rsync' --read-batch='b' '-avvf' '- x' '--' ${1:-'t '\\''q/'}\n"
        );
    }
}
