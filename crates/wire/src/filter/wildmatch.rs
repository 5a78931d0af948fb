//! Wildcard patterns over path bytes: `*`, `**`, `?`, `[...]` and `\`.
//!
//! Called by [`super::rule`] for every name a scan meets and by [`super::requested`].
//!
//! A pattern is compiled once into tokens. Matching then takes at most
//! `tokens * bytes` steps whatever the pattern:
//!
//! 1. Without `**` no token but `/` itself matches a `/`, so path and pattern align component by
//!    component, and going back to the latest `*` alone is enough.
//! 2. With `**` all positions in the pattern are tracked at once, one text byte after the other.
//!
//! Case is not folded; bytes are not decoded.

use memchr::memmem;

/// One step of a compiled pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    Byte(u8),
    /// `?`: one byte except `/`.
    One,
    /// `*`: any run without `/`.
    Star,
    /// `**` and longer: any run.
    DoubleStar,
    /// `[...]`: one byte of the set, never `/`.
    Set(Box<ByteSet>),
    /// An unterminated set or a dangling `\`: matches nothing.
    Never,
}

/// Which of the 256 bytes are members, one bit each: rules come from peers, so they are kept small.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct ByteSet([u128; 2]);

impl ByteSet {
    fn contains(&self, byte: u8) -> bool {
        let [low, high] = self.0;
        let half = if byte < 128 { low } else { high };
        half >> (byte & 127) & 1 != 0
    }

    fn insert(&mut self, byte: u8) {
        let [low, high] = &mut self.0;
        let half = if byte < 128 { low } else { high };
        *half |= 1 << (byte & 127);
    }

    fn negate(&mut self) {
        self.0 = self.0.map(|half| !half);
    }
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Token::Byte(b) => *b == byte,
            Token::One => byte != b'/',
            Token::Set(set) => byte != b'/' && set.contains(byte),
            Token::Star | Token::DoubleStar | Token::Never => false,
        }
    }
}

/// A compiled wildcard pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Glob {
    tokens: Vec<Token>,
    double: bool,
}

/// Whether `text` needs wildcard matching at all; without one of these bytes it is compared plainly
/// and `\` is an ordinary byte.
pub fn has_wildcard(text: &[u8]) -> bool {
    text.iter().any(|b| matches!(b, b'*' | b'?' | b'['))
}

/// Whether the text holds two stars in a row.
pub(crate) fn has_double_star(text: &[u8]) -> bool {
    memmem::find(text, b"**").is_some()
}

impl Glob {
    /// Compiles `pattern`. Every byte string is a pattern; a broken one never matches.
    pub fn new(pattern: &[u8]) -> Glob {
        let mut tokens = Vec::with_capacity(pattern.len());
        let mut rest = pattern;
        while let Some((&first, tail)) = rest.split_first() {
            rest = tail;
            tokens.push(match first {
                b'?' => Token::One,
                b'*' => {
                    let stars = tail.iter().take_while(|b| **b == b'*').count();
                    rest = tail.get(stars..).unwrap_or_default();
                    if stars == 0 { Token::Star } else { Token::DoubleStar }
                }
                b'\\' => match tail.split_first() {
                    Some((&escaped, after)) => {
                        rest = after;
                        Token::Byte(escaped)
                    }
                    None => Token::Never,
                },
                b'[' => match parse_set(tail) {
                    Some((set, after)) => {
                        rest = after;
                        Token::Set(set)
                    }
                    None => Token::Never,
                },
                byte => Token::Byte(byte),
            });
        }
        let double = tokens.contains(&Token::DoubleStar);
        Glob { tokens, double }
    }

    /// Whether the whole of `text` matches the whole pattern.
    pub fn matches(&self, text: &[u8]) -> bool {
        if self.double { self.track(text.iter().copied(), false) } else { self.align(text) }
    }

    /// As [`Glob::matches`], for text that comes in pieces. With `floating` the match may begin at
    /// the start of any component instead of the first only.
    pub(crate) fn matches_pieces(&self, text: impl Iterator<Item = u8>, floating: bool) -> bool {
        self.track(text, floating)
    }

    /// Case 1 of the module header: at most one position to return to.
    fn align(&self, text: &[u8]) -> bool {
        let (mut at, mut token) = (0, 0);
        // Token after the latest star, and the text position that star has grown to.
        let mut star: Option<(usize, usize)> = None;
        loop {
            let step = match (self.tokens.get(token), text.get(at)) {
                (Some(Token::Star), _) => {
                    star = Some((token + 1, at));
                    token += 1;
                    continue;
                }
                (Some(t), Some(&byte)) => t.takes(byte),
                (None, None) => return true,
                _ => false,
            };
            if step {
                at += 1;
                token += 1;
                continue;
            }
            let Some((after, grown)) = star else { return false };
            match text.get(grown) {
                None | Some(b'/') => return false,
                Some(_) => {
                    star = Some((after, grown + 1));
                    token = after;
                    at = grown + 1;
                }
            }
        }
    }

    /// Case 2 of the module header: the set of all reachable pattern positions.
    fn track(&self, text: impl Iterator<Item = u8>, floating: bool) -> bool {
        let mut now = vec![false; self.tokens.len() + 1];
        let mut next = now.clone();
        self.reach(&mut now, 0);
        for byte in text {
            next.fill(false);
            for (i, token) in self.tokens.iter().enumerate() {
                if !now.get(i).copied().unwrap_or(false) {
                    continue;
                }
                match token {
                    Token::DoubleStar => self.reach(&mut next, i),
                    Token::Star if byte != b'/' => self.reach(&mut next, i),
                    t if t.takes(byte) => self.reach(&mut next, i + 1),
                    _ => {}
                }
            }
            if floating && byte == b'/' {
                self.reach(&mut next, 0);
            }
            std::mem::swap(&mut now, &mut next);
        }
        now.last().copied().unwrap_or(false)
    }

    /// Marks position `i` and those behind it that need no text.
    fn reach(&self, states: &mut [bool], mut i: usize) {
        while let Some(state) = states.get_mut(i) {
            if *state {
                return;
            }
            *state = true;
            if !matches!(self.tokens.get(i), Some(Token::Star | Token::DoubleStar)) {
                return;
            }
            i += 1;
        }
    }
}

/// Parses the set behind a `[`; gives the set and what follows its `]`, `None` if it is broken.
fn parse_set(text: &[u8]) -> Option<(Box<ByteSet>, &[u8])> {
    let (negated, mut rest) = match text.split_first() {
        Some((b'!' | b'^', tail)) => (true, tail),
        _ => (false, text),
    };
    let mut set = Box::<ByteSet>::default();
    let mut first = true;
    // The start of a possible range: the latest single byte of the set.
    let mut low: Option<u8> = None;
    loop {
        let (&byte, tail) = rest.split_first()?;
        match (byte, tail) {
            (b']', _) if !first => {
                rest = tail;
                break;
            }
            (b'-', [end, ..]) if low.is_some() && *end != b']' => {
                let (high, after) = if *end == b'\\' {
                    let (escaped, after) = tail.get(1..)?.split_first()?;
                    (*escaped, after)
                } else {
                    (*end, tail.get(1..)?)
                };
                for b in low.take().unwrap_or(0)..=high {
                    set.insert(b);
                }
                rest = after;
            }
            (b'[', [b':', class @ ..]) => {
                let end = class.iter().position(|b| *b == b']')?;
                match class.get(..end)?.split_last() {
                    Some((b':', name)) => {
                        add_class(&mut set, name)?;
                        rest = class.get(end + 1..)?;
                        low = None;
                    }
                    // Without `:]` the bracket is an ordinary member.
                    _ => {
                        set.insert(b'[');
                        rest = tail;
                        low = Some(b'[');
                    }
                }
            }
            (b'\\', [escaped, after @ ..]) => {
                set.insert(*escaped);
                low = Some(*escaped);
                rest = after;
            }
            (b'\\', []) => return None,
            (member, _) => {
                set.insert(member);
                low = Some(member);
                rest = tail;
            }
        }
        first = false;
    }
    if negated {
        set.negate();
    }
    Some((set, rest))
}

/// Adds the ASCII class `name`; `None` if there is no such class.
fn add_class(set: &mut ByteSet, name: &[u8]) -> Option<()> {
    let holds: fn(&u8) -> bool = match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |b| matches!(b, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |b| (b' '..=b'~').contains(b),
        b"punct" => u8::is_ascii_punctuation,
        // Unlike the standard library's class this one has the vertical tab.
        b"space" => |b| matches!(b, b' ' | b'\t'..=b'\r'),
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    };
    (0..=u8::MAX).filter(holds).for_each(|byte| set.insert(byte));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        let got = Glob::new(pattern.as_bytes()).matches(text.as_bytes());
        assert_eq!(got, expected, "{pattern:?} against {text:?}");
    }

    #[test]
    fn stars_stop_at_slashes_and_double_stars_do_not() {
        check("*", "", true);
        check("*", "a/b", false);
        check("a*c", "abbc", true);
        check("*/b", "a/b", true);
        check("*/b", "a/a/b", false);
        check("**/b", "a/a/b", true);
        check("a/**", "a/", true);
        check("a/**/b", "a/b", false);
        check("a**b*c", "a/x/bxbc", true);
        check("***", "a/b", true);
        check("?", "/", false);
        check("a*", "a/", false);
    }

    #[test]
    fn sets_follow_the_rules_of_brackets() {
        check("[a-c]x", "bx", true);
        check("[]a]", "]", true);
        check("[!]a]", "]", false);
        check("[^a]", "b", true);
        check("[a-]", "-", true);
        check("[c-a]", "b", false);
        check("[[:digit:]x]", "7", true);
        check("[[:nope:]]", "n", false);
        check("[ab", "a", false);
        check("[\\]]", "]", true);
        check("[!a]", "/", false);
        check("a\\*", "a*", true);
        check("*\\", "x\\", false);
    }

    #[test]
    fn hostile_patterns_take_bounded_work() {
        let text = "a".repeat(4000);
        check(&format!("{}b", "*a".repeat(1000)), &text, false);
        check(&format!("{}b", "**a".repeat(300)), &text[..2000], false);
    }
}
