//! Takes an argument vector apart into options and operands, in the manner of popt.
//!
//! Long names are exact; `--name=value` or `--name value`, where the next word is taken even if it
//! begins with a dash. Letters bundle; a letter with a value takes the rest of its word (without a
//! leading `=`) or the next word. `--` ends the options, `-` alone is an operand. What the letters
//! and names mean is the table's business, what they do `parse`'s.

use super::table::{self, OptionKind, Row};

/// One element of a command line.
#[derive(Debug)]
pub enum Scanned {
    /// An option.
    Option {
        /// Its row.
        row: &'static Row,
        /// A `--no-` form.
        negated: bool,
        /// Its value, for rows that take one and are not negated.
        value: Vec<u8>,
    },
    /// Anything else.
    Operand(Vec<u8>),
}

/// Why a word is not an option as the table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanError {
    /// No such name or letter.
    Unknown,
    /// A value is needed and no word follows.
    Missing,
    /// A value is given to an option that takes none.
    NoValue,
}

impl ScanError {
    /// The words after `OPT: `.
    pub fn text(self) -> &'static str {
        match self {
            ScanError::Unknown => "unknown option",
            ScanError::Missing => "missing argument",
            ScanError::NoValue => "option does not take an argument",
        }
    }
}

/// The position in an argument vector.
pub struct WordScanner<'a> {
    words: &'a [Vec<u8>],
    /// Index of the next word.
    next: usize,
    /// Offset of the next letter in word `next - 1`, inside a bundle.
    letter: Option<usize>,
    only_operands: bool,
    daemon: bool,
}

impl<'a> WordScanner<'a> {
    /// Starts at the first of `words`, which do not include the program's name.
    pub fn new(words: &'a [Vec<u8>], daemon: bool) -> Self {
        WordScanner { words, next: 0, letter: None, only_operands: false, daemon }
    }

    /// The word taken last, which messages quote.
    pub fn last_word(&self) -> &'a [u8] {
        let last = self.next.checked_sub(1).and_then(|at| self.words.get(at));
        last.map_or(&[], Vec::as_slice)
    }

    /// The next element, `None` at the end.
    pub fn next_element(&mut self) -> Result<Option<Scanned>, ScanError> {
        if let Some(offset) = self.letter.take() {
            return self.bundled(self.last_word(), offset).map(Some);
        }
        let Some(word) = self.take_word() else { return Ok(None) };
        if self.only_operands || !word.starts_with(b"-") || word == b"-" {
            return Ok(Some(Scanned::Operand(word.to_vec())));
        }
        if word == b"--" {
            self.only_operands = true;
            return self.next_element();
        }
        match word.strip_prefix(b"--") {
            Some(long) => self.long(long).map(Some),
            None => self.bundled(word, 1).map(Some),
        }
    }

    fn take_word(&mut self) -> Option<&'a [u8]> {
        let word = self.words.get(self.next)?;
        self.next += 1;
        Some(word)
    }

    fn long(&mut self, text: &[u8]) -> Result<Scanned, ScanError> {
        let (name, value) = match text.iter().position(|&b| b == b'=') {
            Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..)),
            None => (text, None),
        };
        let (row, negated) = table::by_long_name(name, self.daemon).ok_or(ScanError::Unknown)?;
        let value = match (row.kind == OptionKind::Flag || negated, value) {
            (true, Some(_)) => return Err(ScanError::NoValue),
            (true, None) => Vec::new(),
            (false, Some(value)) => value.to_vec(),
            (false, None) => self.take_word().ok_or(ScanError::Missing)?.to_vec(),
        };
        Ok(Scanned::Option { row, negated, value })
    }

    fn bundled(&mut self, word: &[u8], offset: usize) -> Result<Scanned, ScanError> {
        let letter = *word.get(offset).ok_or(ScanError::Unknown)?;
        let row = table::by_letter(letter, self.daemon).ok_or(ScanError::Unknown)?;
        let rest = word.get(offset + 1..).unwrap_or_default();
        let value = match (row.kind, rest) {
            (OptionKind::Flag, [b'=', ..]) => return Err(ScanError::NoValue),
            (OptionKind::Flag, []) => Vec::new(),
            (OptionKind::Flag, _) => {
                self.letter = Some(offset + 1);
                Vec::new()
            }
            (_, []) => self.take_word().ok_or(ScanError::Missing)?.to_vec(),
            (_, [b'=', value @ ..]) => value.to_vec(),
            (_, value) => value.to_vec(),
        };
        Ok(Scanned::Option { row, negated: false, value })
    }
}
