//! The lines of `rsyncd.conf`: from bytes to blank, section, directive or parameter.
//!
//! Called by `config` alone. In steps: carriage returns are dropped; a line whose first non-blank
//! is `#` or `;` is a comment and is never continued; any other line that ends in `\` is joined
//! with the next one, nothing in between; the result is split at the first `=`. There are no
//! quotes and no comments behind a value.

/// What one logical line says. Values have no blanks at their ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// `[name]`; runs of blanks inside are single blanks. What follows the bracket is ignored.
    Section(Vec<u8>),
    /// `&name value`.
    Directive { name: Vec<u8>, value: Vec<u8> },
    /// `name = value`.
    Setting { name: Vec<u8>, value: Vec<u8> },
    /// Anything without `=`: ignored with a warning.
    Malformed(Vec<u8>),
    /// A section without its closing bracket: ends the reading.
    Unclosed(Vec<u8>),
}

/// A logical line and where it began, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) item: Item,
}

/// Splits a file into its logical lines, without the blank ones and the comments.
pub(crate) fn lines(content: &[u8]) -> Vec<Line> {
    let mut found = Vec::new();
    let mut physical = content.split(|b| *b == b'\n').enumerate();
    while let Some((index, line)) = physical.next() {
        let mut text: Vec<u8> = line.iter().copied().filter(|b| *b != b'\r').collect();
        if matches!(text.trim_ascii_start().first(), None | Some(b'#' | b';')) {
            continue;
        }
        while text.trim_ascii_end().last() == Some(&b'\\') {
            let Some((_, next)) = physical.next() else { break };
            text.truncate(text.trim_ascii_end().len() - 1);
            text.extend(next.iter().copied().filter(|b| *b != b'\r'));
        }
        found.push(Line { number: index + 1, item: item(text.trim_ascii()) });
    }
    found
}

fn item(text: &[u8]) -> Item {
    match text {
        [b'[', rest @ ..] => match rest.iter().position(|b| *b == b']') {
            Some(end) => Item::Section(single_blanks(rest.get(..end).unwrap_or_default())),
            None => Item::Unclosed(rest.to_vec()),
        },
        [b'&', rest @ ..] => directive(text, rest),
        _ => match text.iter().position(|b| *b == b'=') {
            Some(at) => {
                let (name, value) = text.split_at(at);
                let value = value.get(1..).unwrap_or_default();
                Item::Setting { name: single_blanks(name), value: value.trim_ascii().to_vec() }
            }
            None => Item::Malformed(text.to_vec()),
        },
    }
}

/// `&include FILE`, `&include = FILE`: a blank or `=` ends the name.
fn directive(whole: &[u8], rest: &[u8]) -> Item {
    let end = rest.iter().position(|b| b.is_ascii_whitespace() || *b == b'=');
    let Some((name, value)) = end.and_then(|at| rest.split_at_checked(at)) else {
        return Item::Malformed(whole.to_vec());
    };
    let value = value.trim_ascii();
    let value = value.strip_prefix(b"=").unwrap_or(value).trim_ascii();
    Item::Directive { name: name.to_vec(), value: value.to_vec() }
}

fn single_blanks(text: &[u8]) -> Vec<u8> {
    let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str, value: &str) -> Item {
        Item::Setting { name: name.into(), value: value.into() }
    }

    fn items(content: &str) -> Vec<Item> {
        lines(content.as_bytes()).into_iter().map(|line| line.item).collect()
    }

    #[test]
    fn splits_names_values_sections_and_directives() {
        assert_eq!(items(" pa th =  /x  y = z \r\n"), [setting("pa th", "/x  y = z")]);
        assert_eq!(items("[ a \t b ] # text"), [Item::Section(b"a b".to_vec())]);
        assert_eq!(items("[]"), [Item::Section(Vec::new())]);
        assert_eq!(items("[c"), [Item::Unclosed(b"c".to_vec())]);
        assert_eq!(items("ignore errors"), [Item::Malformed(b"ignore errors".to_vec())]);
        assert_eq!(items("&include"), [Item::Malformed(b"&include".to_vec())]);
        let merge = Item::Directive { name: b"merge".to_vec(), value: b"/d x".to_vec() };
        assert_eq!(items("&merge = /d x\n&merge\t/d x\n"), [merge.clone(), merge]);
        assert_eq!(items("= 4"), [setting("", "4")]);
    }

    #[test]
    fn a_backslash_joins_lines_but_not_after_a_comment() {
        assert_eq!(items("comment = hello \\ \n  world  "), [setting("comment", "hello   world")]);
        assert_eq!(items("co\\\nmment=x"), [setting("comment", "x")]);
        assert_eq!(items("# c \\\n; d\\\na = b"), [setting("a", "b")]);
        assert_eq!(items("a = b\\"), [setting("a", "b\\")]);
        let numbers: Vec<usize> = lines(b"\na=\\\n1\n\nb=2").iter().map(|l| l.number).collect();
        assert_eq!(numbers, [2, 5]);
    }
}
